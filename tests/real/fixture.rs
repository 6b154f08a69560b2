//! A cluster, a repository and k3s-boot, with secrets whose leaks are detected.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use assert_cmd::assert::Assert;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox::charts::Chart;
use sandbox::{Checkout, GARBAGE, Mark, Options, Registry, Sandbox, Tools, wait_for};
use serde_json::Value;

use super::support::{assert_log_lines, assert_no_canary, assert_no_canary_in_files, assert_run, k3s_boot};

/// A secret in the environment, which must not appear in output and files.
const TOKEN: &str = "ghp_canaryOfTheEnvironment0123456789";

/// Tests fail after this time: something hangs.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

pub(crate) struct Fixture {
    pub(crate) sandbox: Sandbox,
    pub(crate) root: PathBuf,
    checkout: Checkout,
    canaries: Vec<String>,
}

pub(crate) fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let tools = Tools::install(&|line| println!("{line}")).unwrap();
        tools.with_quick_helm_version().unwrap()
    })
}

/// The registry of all tests that inject no faults into it. The CRDs have no schemas: two thirds of a bootstrap would be spent
/// on those.
fn registry() -> Arc<Registry> {
    static REGISTRY: Mutex<Option<Arc<Registry>>> = Mutex::new(None);
    let mut registry = REGISTRY.lock().unwrap();
    Arc::clone(registry.get_or_insert_with(|| registry_with(&[])))
}

/// A registry with these additional charts.
pub(crate) fn registry_with(charts: &[Chart]) -> Arc<Registry> {
    let charts = charts.iter().cloned().map(Chart::without_schemas);
    let charts: Vec<_> = Chart::large_without_schemas().unwrap().into_iter().chain(charts).collect();
    Registry::start_with(tools(), &charts).unwrap()
}

impl Fixture {
    pub(crate) fn start(name: &str) -> Self {
        Self::with_registry(name, registry())
    }

    /// With its own registry, to inject faults.
    pub(crate) fn with_own_registry(name: &str) -> Self {
        Self::with_charts(name, &[])
    }

    /// With CRDs as large as those of the real charts.
    pub(crate) fn with_large_crds(name: &str) -> Self {
        Self::with(options(name))
    }

    /// With a registry that has these additional charts.
    pub(crate) fn with_charts(name: &str, charts: &[Chart]) -> Self {
        Self::with_registry(name, registry_with(charts))
    }

    pub(crate) fn with_registry(name: &str, registry: Arc<Registry>) -> Self {
        Self::with(Options { registry: Some(registry), ..options(name) })
    }

    fn with(options: Options) -> Self {
        let sandbox = Sandbox::start_with(tools(), options).unwrap();
        let checkout = Checkout::new(&sandbox).unwrap();
        let canaries = [vec![TOKEN.to_owned()], sandbox.secrets().unwrap()].concat();
        Self { sandbox, root: checkout.root(), checkout, canaries }
    }

    /// Adds a secret that must not appear anywhere.
    pub(crate) fn add_secret(&mut self, canary: &str) {
        self.canaries.push(canary.to_owned());
    }

    /// `k3s-boot apps` in the repository.
    pub(crate) fn apps(&self, args: &[&str]) -> Invocation<'_> {
        Invocation::new(self, k3s_boot(), &[&["apps"], args].concat())
    }

    /// Another command of k3s-boot in the repository.
    pub(crate) fn k3s_boot(&self, args: &[&str]) -> Invocation<'_> {
        Invocation::new(self, k3s_boot(), args)
    }

    /// Applies objects as another client.
    #[track_caller]
    pub(crate) fn apply(&self, manifest: &str) {
        self.with_manifest(&["apply", "--server-side", "--force-conflicts", "-f"], manifest);
    }

    /// Deletes objects and waits until they are gone.
    #[track_caller]
    pub(crate) fn delete(&self, manifest: &str) {
        self.with_manifest(&["delete", "--ignore-not-found", "-f"], manifest);
    }

    #[track_caller]
    fn with_manifest(&self, args: &[&str], manifest: &str) {
        let file = self.root.parent().unwrap().join("manifest.yaml");
        std::fs::write(&file, manifest).unwrap();
        self.kubectl(&[args, &[&file.display().to_string()]].concat());
    }

    /// Sets the command line of k3s on a node.
    #[track_caller]
    pub(crate) fn set_node_args(&self, node: &str, args: &[&str]) {
        let annotation = format!("k3s.io/node-args={}", serde_json::to_string(args).unwrap());
        self.kubectl(&["annotate", "--overwrite", "node", node, &annotation]);
    }

    /// Gets an object that must exist.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.sandbox.get(path).unwrap().unwrap_or_else(|| panic!("{path} does not exist"))
    }

    /// Runs helm as another client.
    #[track_caller]
    pub(crate) fn helm(&self, args: &[&str]) -> Output {
        let kubeconfig = self.sandbox.folder().join("sandbox.kubeconfig");
        let mut command = self.sandbox.command(self.sandbox.tools().helm());
        command.env("KUBECONFIG", kubeconfig).args(args).output().unwrap()
    }

    /// Runs kubectl as another client.
    #[track_caller]
    pub(crate) fn kubectl(&self, args: &[&str]) {
        let output = self.sandbox.kubectl(args).unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs another program in the same environment.
    pub(crate) fn program(&self, program: &str, args: &[&str]) -> Invocation<'_> {
        Invocation::new(self, Path::new(program), args)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        self.checkout.write(file, text).unwrap();
    }

    /// Changes a file of the repository.
    pub(crate) fn replace(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.root.join(file)).unwrap();
        assert!(text.contains(from), "`{from}` is not in {file}");
        self.write(file, &text.replace(from, to));
    }

    /// Restores the shipped files and the age key.
    pub(crate) fn restore(&self) {
        self.checkout.ship(&self.sandbox).unwrap();
    }

    /// Writes a file with all values encrypted for the age key of the repository.
    #[track_caller]
    pub(crate) fn encrypt_text(&self, file: &str, text: &str) {
        self.write(file, text);
        let sops = self.sandbox.command(self.sandbox.tools().sops());
        let recipient = self.recipient(&self.sandbox.age_key());
        run(sops, &["encrypt", "--in-place", "--input-type", "yaml", "--age", &recipient, file], &self.root);
    }

    /// Checks that no secret is in any file that a program may have written.
    #[track_caller]
    pub(crate) fn assert_no_canary_in(&self, file: &Path) {
        if let Ok(bytes) = std::fs::read(file) {
            assert_no_canary(&self.canaries, &file.display().to_string(), &bytes);
        }
    }

    /// Writes a Secret, encrypted for an age key.
    #[track_caller]
    pub(crate) fn encrypt(&self, file: &str, key: &Path) {
        self.write(
            file,
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: a-value-of-a-secret}\n",
        );
        let sops = self.sandbox.command(self.sandbox.tools().sops());
        let recipient = self.recipient(key);
        let args =
            ["encrypt", "--in-place", "--age", &recipient, "--encrypted-regex", "^(data|stringData)$", file];
        run(sops, &args, &self.root);
    }

    /// The public key of an age key.
    #[track_caller]
    pub(crate) fn recipient(&self, key: &Path) -> String {
        let keygen = Command::new(self.sandbox.tools().age_keygen());
        run(keygen, &["-y", &key.display().to_string()], &self.root).trim().to_owned()
    }

    /// Runs git in the repository.
    #[track_caller]
    pub(crate) fn git(&self, args: &[&str]) {
        run(Command::new("git"), args, &self.root);
    }

    /// The changes by the programs under test since `mark`.
    pub(crate) fn changes(&self, mark: Mark) -> Vec<String> {
        let changes = self.sandbox.mutating_since(mark).unwrap();
        changes.iter().map(|event| format!("{} {}", event.verb, event.uri)).collect()
    }
}

fn options(name: &str) -> Options {
    Options { name: name.to_owned(), ..Options::default() }
}

/// Runs a program that must succeed, and returns its output.
#[track_caller]
fn run(mut command: Command, args: &[&str], folder: &Path) -> String {
    let output = command.args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A command to run.
pub(crate) struct Invocation<'a> {
    fixture: &'a Fixture,
    command: Command,
    shown: String,
}

impl<'a> Invocation<'a> {
    fn new(fixture: &'a Fixture, program: &Path, args: &[&str]) -> Self {
        let mut command = fixture.checkout.command(&fixture.sandbox, program);
        command
            .args(args)
            .env("GITHUB_TOKEN", TOKEN)
            .env(GARBAGE.0, GARBAGE.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { fixture, command, shown: args.join(" ") }
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Its stdin.
    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    pub(crate) fn run(self) -> RunResult {
        self.start().finish()
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running<'a> {
        let mut child = self.command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in stdout.lines() {
                _ = sender.send(line.unwrap());
            }
        });
        let mut pipe = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).unwrap();
            text
        });
        Running {
            fixture: self.fixture,
            shown: self.shown,
            child,
            lines,
            seen: String::new(),
            reader,
            errors,
        }
    }
}

/// A running program.
pub(crate) struct Running<'a> {
    fixture: &'a Fixture,
    shown: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
    reader: JoinHandle<()>,
    errors: JoinHandle<String>,
}

impl Running<'_> {
    /// Waits for a line on stdout that contains this text.
    pub(crate) fn wait_for_line(&mut self, words: &str) {
        loop {
            let line =
                self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no `{words}` in:\n{}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(words) {
                return;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits until it has exited, and checks that no secret is in its output and files.
    pub(crate) fn finish(mut self) -> RunResult {
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        for line in &self.lines {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        let ran = RunResult {
            command: self.shown,
            status,
            code: status.code(),
            stdout: self.seen,
            stderr: self.errors.join().unwrap(),
        };
        println!("--- {} → {:?}\n{}{}", ran.command, ran.code, ran.stdout, ran.stderr);
        let Fixture { canaries, sandbox, checkout, .. } = self.fixture;
        assert_no_canary(canaries, "stdout", ran.stdout.as_bytes());
        assert_no_canary(canaries, "stderr", ran.stderr.as_bytes());
        assert_no_canary_in_files(canaries, &sandbox.home());
        assert_no_canary_in_files(canaries, &checkout.temp());
        ran
    }
}

/// The result of a program.
pub(crate) struct RunResult {
    command: String,
    status: ExitStatus,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl RunResult {
    /// Assertions on exit code and output.
    #[track_caller]
    pub(crate) fn assert(&self) -> Assert {
        assert_run(&self.command, self.status, &self.stdout, &self.stderr)
    }

    /// Checks that every line has the format of the log.
    #[track_caller]
    pub(crate) fn assert_format(&self) {
        assert_log_lines(&self.stdout);
        assert_log_lines(&self.stderr);
    }
}

/// The running processes of the programs under test: those with the kubeconfig of the sandbox in their arguments.
pub(crate) fn left_running(fixture: &Fixture) -> Vec<String> {
    let kubeconfig = fixture.sandbox.kubeconfig().display().to_string();
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(command) = std::fs::read_to_string(entry.path().join("cmdline")) else { continue };
        let mut args = command.split('\0');
        let program = args.next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
        let ours = ["helmfile", "helm", "kubectl", "sops", "exe"].contains(&program.as_str());
        if ours && args.any(|arg| arg == kubeconfig) {
            left.push(command.replace('\0', " "));
        }
    }
    left
}

/// Waits until they have exited.
pub(crate) fn wait_until_gone(fixture: &Fixture) {
    wait_for("the tools to end", LIMIT, || Ok(left_running(fixture).is_empty().then_some(()))).unwrap();
}

pub(crate) fn temp_is_empty(fixture: &Fixture) -> bool {
    std::fs::read_dir(fixture.checkout.temp()).unwrap().next().is_none()
}
