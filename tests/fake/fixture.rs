//! Runs the binary with a temporary repository and fake tools, and checks after every run what must always hold.

mod canaries;
mod checks;
mod normalize;
mod run_result;
mod running;
mod terminal;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use nix::pty::{OpenptyResult, Winsize, openpty};
use sandbox::files;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use self::canaries::{Canaries, identity};
pub(crate) use self::run_result::RunResult;
pub(crate) use self::running::Running;
use self::running::read;
use self::terminal::TerminalRun;
use super::scenario;
use super::support::{assert_no_canary, fake_tool, k3s_boot};

/// A temporary repository with a kubeconfig, fake tools and a simulated cluster.
#[must_use]
pub(crate) struct Fixture {
    folder: TempDir,
    pub(crate) canaries: Canaries,
    /// Additional secrets of one test.
    more_canaries: Vec<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    rules: Vec<Value>,
    /// The objects in the cluster.
    objects: Vec<Value>,
    /// The objects of Flux, which exist once the apps are synced.
    flux: Vec<Value>,
    /// Objects with further options of the fake tool.
    special: Vec<Value>,
    /// A program that starts k3s-boot, with its arguments; empty to start k3s-boot directly.
    starter: Vec<String>,
    cwd: PathBuf,
    /// Whether values refer to encrypted files, so that helmfile needs age identities too.
    helmfile_decrypts: bool,
    /// Variables with secrets that only helmfile gets.
    template_variables: Vec<String>,
}

const CRDS: &str = "releases:
  - name: prometheus-operator-crds
    namespace: monitoring
    chart: oci://registry.invalid/charts/prometheus-operator-crds
    version: 19.1.0
";

pub(crate) const APPS: &str = "helmDefaults:
  wait: true
releases:
  - name: cilium
    namespace: kube-system
    chart: oci://registry.invalid/charts/cilium
    version: 1.18.6
    values:
      - ../templates/values.yaml.gotmpl
  - name: flux-instance
    namespace: flux-system
    chart: oci://registry.invalid/charts/flux-instance
    version: 0.54.0
    needs:
      - kube-system/cilium
";

impl Fixture {
    /// `apps` on a fresh cluster, with a successful first run.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let canaries = Canaries::new();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let env = [
            ("PATH", path("bin")),
            ("HOME", path("home")),
            ("XDG_CACHE_HOME", path("cache")),
            ("XDG_STATE_HOME", path("state")),
            ("TMPDIR", path("tmp")),
            ("KUBECONFIG", path("kubeconfig")),
            ("NO_COLOR", "1".to_owned()),
            ("GITHUB_TOKEN", canaries.token.clone()),
            ("SOPS_AGE_KEY", canaries.age_in_env.clone()),
            ("FAKE_SCENARIO", path("scenario.json")),
            ("FAKE_TRANSCRIPT", path("transcript")),
        ];
        for name in ["bin", "home", "tmp", "root/.git"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let fake = fake_tool();
        for tool in ["helmfile", "kubectl", "sops", "helm"] {
            // A link, because a program that was just written cannot always be started (ETXTBSY).
            symlink(&fake, folder.path().join("bin").join(tool)).unwrap();
        }
        let fixture = Self {
            more_canaries: Vec::new(),
            args: vec!["apps".to_owned()],
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            rules: Vec::new(),
            objects: scenario::cluster(&[("kube-system", "Active")], 1),
            flux: vec![scenario::instance(), scenario::source(), scenario::root()],
            special: Vec::new(),
            starter: Vec::new(),
            helmfile_decrypts: false,
            template_variables: Vec::new(),
            cwd: folder.path().join("root"),
            folder,
            canaries,
        };
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: default\n\
             contexts:\n- name: default\n  context: {{cluster: default, user: default}}\n\
             clusters:\n- name: default\n  cluster: {{server: \"https://10.0.0.10:6443\"}}\n\
             users:\n- name: default\n  user: {{token: {}}}\n",
            fixture.canaries.kubeconfig
        );
        let age_key = format!("# created: today\n{}\n", fixture.canaries.age);
        let encrypted = "apiVersion: v1\nkind: Secret\nstringData: {token: 'ENC[AES256_GCM,data:x]'}\nsops: {mac: 'ENC[x]'}\n";
        fixture
            .file("../kubeconfig", &kubeconfig)
            .file("bootstrap/helmfile.d/00-crds.yaml", CRDS)
            .file("bootstrap/helmfile.d/01-apps.yaml", APPS)
            .file("bootstrap/templates/values.yaml.gotmpl", "# for k3s\nk: 1\n")
            .file("bootstrap/github.sops.yaml", encrypted)
            .file("age.key", &age_key)
            .mode("age.key", 0o600)
    }

    /// Sets the mode of a file of the repository.
    fn mode(self, name: &str, mode: u32) -> Self {
        std::fs::set_permissions(self.path("root").join(name), Permissions::from_mode(mode)).unwrap();
        self
    }

    /// The same for another command.
    pub(crate) fn for_command(command: &str) -> Self {
        let mut fixture = Self::new();
        command.clone_into(&mut fixture.args[0]);
        fixture
    }

    /// Writes a file of the repository.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.path("root").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Removes a file or link.
    pub(crate) fn without(self, name: &str) -> Self {
        std::fs::remove_file(self.path(name)).unwrap();
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes a variable.
    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Adds a rule for the fake tools. Later rules take precedence, and all take precedence over those of the first run.
    pub(crate) fn rule(mut self, rule: Value) -> Self {
        self.rules.insert(0, rule);
        self
    }

    /// Adds rules. The first one takes precedence.
    pub(crate) fn rules(self, rules: impl IntoIterator<Item = Value, IntoIter: DoubleEndedIterator>) -> Self {
        rules.into_iter().rev().fold(self, Self::rule)
    }

    /// Adds objects to the cluster, or replaces those with the same name.
    pub(crate) fn objects(mut self, objects: impl IntoIterator<Item = Value>) -> Self {
        let id = |object: &Value| {
            let metadata = &object["metadata"];
            [&object["kind"], &metadata["namespace"], &metadata["name"]].map(Clone::clone)
        };
        for object in objects {
            self.objects.retain(|known| id(known) != id(&object));
            self.objects.push(object);
        }
        self
    }

    /// Adds an object that exists once a tool was called with these arguments.
    pub(crate) fn object_after(mut self, object: &Value, call: &[&str]) -> Self {
        self.special.push(json!({"object": object, "after": call}));
        self
    }

    /// Adds an object whose `resourceVersion` changes with every call.
    pub(crate) fn updated_object(mut self, object: &Value) -> Self {
        self.special.push(json!({"object": object, "updates": true}));
        self
    }

    /// Removes all objects of this kind from the cluster.
    pub(crate) fn without_objects(mut self, kind: &str) -> Self {
        self.objects.retain(|object| object["kind"] != kind);
        self
    }

    /// Sets the objects of Flux that exist once the apps are synced, besides the `FluxInstance`.
    pub(crate) fn flux(self, resources: &[Value]) -> Self {
        self.flux_with(&scenario::instance(), resources)
    }

    /// As [`Self::flux`], with another FluxInstance.
    pub(crate) fn flux_with(mut self, instance: &Value, resources: &[Value]) -> Self {
        self.flux = [std::slice::from_ref(instance), resources].concat();
        self
    }

    /// Adds a secret that must not appear anywhere.
    pub(crate) fn canary(mut self, canary: &str) -> Self {
        self.more_canaries.push(canary.to_owned());
        self
    }

    /// Starts k3s-boot through another program.
    pub(crate) fn started_by(mut self, starter: &[&str]) -> Self {
        self.starter = starter.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Allows helmfile to have age identities in its environment.
    pub(crate) fn helmfile_decrypts(mut self) -> Self {
        self.helmfile_decrypts = true;
        self
    }

    /// Allows this variable to hold a secret in the environment of helmfile, and of no other tool.
    pub(crate) fn template_variable(mut self, name: &str) -> Self {
        self.template_variables.push(name.to_owned());
        self
    }

    /// Sets the working directory.
    pub(crate) fn cwd(mut self, name: &str) -> Self {
        self.cwd = self.path(name);
        self
    }

    /// A path in the folder of this fixture: `root`, `tmp`, `state`, …
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn all_canaries(&self) -> Vec<String> {
        [self.canaries.all(), self.more_canaries.clone()].concat()
    }

    fn command(&self) -> Command {
        let program = k3s_boot().display().to_string();
        let mut words = [self.starter.as_slice(), &[program], &self.args].concat().into_iter();
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    #[track_caller]
    pub(crate) fn start(&self) -> Running<'_> {
        self.start_with(&[])
    }

    /// Writes the scenario of the fake tools, and removes the transcript of the previous run.
    fn prepare(&self) {
        for path in files(self.folder.path()).unwrap() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.parent() == Some(self.folder.path())
                && (name == "transcript" || name.starts_with("scenario."))
            {
                std::fs::remove_file(path).unwrap();
            }
        }
        let rules = [self.rules.clone(), scenario::first_run(&self.canaries)].concat();
        let objects = self.objects.iter().map(|object| json!({"object": object}));
        let synced = ["*/01-apps.yaml", "sync"];
        let flux = self.flux.iter().map(|object| json!({"object": object, "after": synced}));
        let objects: Vec<_> = objects.chain(flux).chain(self.special.clone()).collect();
        let scenario = json!({"canaries": self.all_canaries(), "rules": rules, "objects": objects});
        std::fs::write(self.path("scenario.json"), scenario.to_string()).unwrap();
        std::fs::write(self.path("transcript"), "").unwrap();
    }

    #[track_caller]
    fn start_with(&self, env: &[(&str, &str)]) -> Running<'_> {
        self.prepare();
        let mut child = self.command().envs(env.iter().copied()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = read(child.stdout.take().unwrap(), sender.clone());
        let stderr = read(child.stderr.take().unwrap(), sender);
        Running { fixture: self, child, lines, streams: Some((stdout, stderr)) }
    }

    /// Runs k3s-boot with another stdout, which is not read.
    #[track_caller]
    pub(crate) fn run_into(&self, stdout: impl Into<Stdio>) -> RunResult {
        self.prepare();
        let output = self.command().stdout(stdout).spawn().unwrap().wait_with_output().unwrap();
        self.finish(output.status, "", &String::from_utf8(output.stderr).unwrap())
    }

    /// Runs k3s-boot on a terminal of this width. `stdout` has the output with escape sequences.
    #[track_caller]
    pub(crate) fn run_on_terminal(&self, columns: u16) -> RunResult {
        let (status, shown) = self.start_on_terminal(24, columns).read_to_end();
        // Long warnings and errors have several lines.
        assert_no_canary(&self.all_canaries(), "the terminal", shown.as_bytes());
        RunResult { stdout: self.normalized(&shown), ..self.finish(status, "", "") }
    }

    #[track_caller]
    pub(crate) fn start_on_terminal(&self, rows: u16, columns: u16) -> TerminalRun<'_> {
        self.prepare();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let mut command = self.command();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (sender, bytes) = mpsc::channel();
        let mut master = std::fs::File::from(master);
        let keyboard = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Linux reports the end of a terminal as an error.
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let screen = vt100::Parser::new(rows, columns, 0);
        TerminalRun { fixture: self, child, keyboard, bytes, shown: Vec::new(), screen }
    }

    #[track_caller]
    pub(crate) fn run(&self) -> RunResult {
        self.start().wait()
    }

    /// Runs k3s-boot, which must stop with exit code 1 before it changes anything, and returns stderr. A second run at debug
    /// level checks that no secret appears there.
    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
        let debug = self.start_with(&[("LOG_LEVEL", "debug")]).wait();
        let ran = self.run();
        for ran in [&debug, &ran] {
            ran.assert().code(1);
            assert_eq!(ran.mutating(), [""; 0]);
        }
        assert_eq!(debug.stderr, ran.stderr);
        assert!(files(&self.path("state")).unwrap().is_empty(), "a run that changed nothing keeps no log");
        for line in ran.stdout.lines() {
            let is_expected = line.contains(" WARN Chart not found; continuing with the other checks ");
            assert!(is_expected || line.contains(" INFO Target cluster "), "{line}");
        }
        ran.stderr
    }
}
