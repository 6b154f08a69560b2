//! Runs the binary in a world of its own, and checks after every run what must hold whatever happens.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Instant;

use assert_cmd::assert::Assert;
use bech32::{Bech32, Hrp};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox::files;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::listener::BROKEN;
use super::scenario;
use super::streams::{assert_json_lines, assert_own_commands, without_commands};
use super::support::{
    assert_log_lines, assert_no_canary, assert_no_canary_in_files, assert_run, fake_tool, k3s_boot,
};

/// Secrets made for one test, which must show nowhere.
pub(crate) struct Canaries {
    /// The identity in `age.key`.
    pub(crate) age: String,
    /// The identity in `SOPS_AGE_KEY`.
    pub(crate) age_in_env: String,
    /// Stands in `bootstrap/github.sops.yaml`, decrypted.
    pub(crate) decrypted: String,
    /// The value of `GITHUB_TOKEN`.
    pub(crate) token: String,
    /// A value of a release.
    pub(crate) value: String,
    /// The token in the kubeconfig.
    pub(crate) kubeconfig: String,
}

impl Canaries {
    fn new() -> Self {
        let word = |name: &str| {
            let number = u128::from_le_bytes(random()[..16].try_into().unwrap());
            format!("CANARY-{name}-{number:032x}")
        };
        Self {
            age: identity(),
            age_in_env: identity(),
            decrypted: word("decrypted"),
            token: word("token"),
            value: word("value"),
            kubeconfig: word("kubeconfig"),
        }
    }

    fn all(&self) -> Vec<String> {
        let Self { age, age_in_env, decrypted, token, value, kubeconfig } = self;
        [age, age_in_env, decrypted, token, value, kubeconfig].map(Clone::clone).to_vec()
    }
}

/// A new X25519 identity: any 32 bytes are one.
pub(crate) fn identity() -> String {
    bech32::encode_upper::<Bech32>(Hrp::parse("age-secret-key-").unwrap(), &random()).unwrap()
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut source = std::fs::File::open("/dev/urandom").unwrap();
    source.read_exact(&mut bytes).unwrap();
    bytes
}

/// A repository, a kubeconfig and tools, in which k3s-boot runs.
#[must_use]
pub(crate) struct Boot {
    folder: TempDir,
    pub(crate) canaries: Canaries,
    /// More secrets, of one test.
    more_canaries: Vec<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    rules: Vec<Value>,
    /// What stands in the cluster.
    objects: Vec<Value>,
    /// What stands there once the apps were synced.
    flux: Vec<Value>,
    /// Objects about which more is said than that they stand.
    special: Vec<Value>,
    /// What is started with the program and its arguments after its own, if not the program.
    starter: Vec<String>,
    cwd: PathBuf,
    /// Whether values refer to encrypted files, so that helmfile needs identities too.
    helmfile_decrypts: bool,
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

impl Boot {
    /// A world in which a first run goes well.
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
            // A link, for a program that was just written cannot always be started (ETXTBSY).
            symlink(&fake, folder.path().join("bin").join(tool)).unwrap();
        }
        let boot = Self {
            more_canaries: Vec::new(),
            args: vec!["apps".to_owned()],
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            rules: Vec::new(),
            objects: scenario::cluster(&[("kube-system", "Active")], 1),
            flux: vec![scenario::instance(), scenario::source(), scenario::root()],
            special: Vec::new(),
            starter: Vec::new(),
            helmfile_decrypts: false,
            cwd: folder.path().join("root"),
            folder,
            canaries,
        };
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: default\n\
             contexts:\n- name: default\n  context: {{cluster: default, user: default}}\n\
             clusters:\n- name: default\n  cluster: {{server: \"https://10.0.0.10:6443\"}}\n\
             users:\n- name: default\n  user: {{token: {}}}\n",
            boot.canaries.kubeconfig
        );
        let age_key = format!("# created: today\n{}\n", boot.canaries.age);
        let encrypted = "apiVersion: v1\nkind: Secret\nstringData: {token: 'ENC[AES256_GCM,data:x]'}\nsops: {mac: 'ENC[x]'}\n";
        boot.file("../kubeconfig", &kubeconfig)
            .file("bootstrap/helmfile.d/00-crds.yaml", CRDS)
            .file("bootstrap/helmfile.d/01-apps.yaml", APPS)
            .file("bootstrap/templates/values.yaml.gotmpl", "k: 1\n")
            .file("bootstrap/github.sops.yaml", encrypted)
            .file("age.key", &age_key)
            .mode("age.key", 0o600)
    }

    /// Sets the mode of a file of the repository.
    fn mode(self, name: &str, mode: u32) -> Self {
        std::fs::set_permissions(self.path("root").join(name), Permissions::from_mode(mode)).unwrap();
        self
    }

    /// The same world for another command.
    pub(crate) fn of(command: &str) -> Self {
        let mut boot = Self::new();
        command.clone_into(&mut boot.args[0]);
        boot
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

    /// Adds a rule; later ones come first, and those of the first run come last.
    pub(crate) fn rule(mut self, rule: Value) -> Self {
        self.rules.insert(0, rule);
        self
    }

    /// Adds rules, in their order.
    pub(crate) fn rules(self, rules: impl IntoIterator<Item = Value, IntoIter: DoubleEndedIterator>) -> Self {
        rules.into_iter().rev().fold(self, Self::rule)
    }

    /// These objects stand in the cluster too, or instead of those of their names.
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

    /// This object stands once such a call was made.
    pub(crate) fn object_after(mut self, object: &Value, call: &[&str]) -> Self {
        self.special.push(json!({"object": object, "after": call}));
        self
    }

    /// Somebody writes this object again and again.
    pub(crate) fn object_that_lives(mut self, object: &Value) -> Self {
        self.special.push(json!({"object": object, "lives": true}));
        self
    }

    /// No object of this kind stands in the cluster.
    pub(crate) fn without_objects(mut self, kind: &str) -> Self {
        self.objects.retain(|object| object["kind"] != kind);
        self
    }

    /// Beside the FluxInstance, these are the objects of Flux that come of the releases.
    pub(crate) fn flux(self, resources: &[Value]) -> Self {
        self.flux_with(&scenario::instance(), resources)
    }

    /// As [`Self::flux`], with another FluxInstance.
    pub(crate) fn flux_with(mut self, instance: &Value, resources: &[Value]) -> Self {
        self.flux = [std::slice::from_ref(instance), resources].concat();
        self
    }

    /// Adds a secret that must show nowhere.
    pub(crate) fn canary(mut self, canary: &str) -> Self {
        self.more_canaries.push(canary.to_owned());
        self
    }

    /// Has the program started by another one.
    pub(crate) fn started_by(mut self, starter: &[&str]) -> Self {
        self.starter = starter.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// From now on helmfile may have identities.
    pub(crate) fn helmfile_decrypts(mut self) -> Self {
        self.helmfile_decrypts = true;
        self
    }

    /// Starts in another folder.
    pub(crate) fn cwd(mut self, name: &str) -> Self {
        self.cwd = self.path(name);
        self
    }

    /// A path below the folder of this world: `root`, `tmp`, `state`, …
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

    /// Starts the program.
    #[track_caller]
    pub(crate) fn start(&self) -> Running<'_> {
        self.start_with(&[])
    }

    /// Writes down what the tools play, and forgets what they played.
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
        Running { boot: self, child, lines, streams: Some((stdout, stderr)) }
    }

    /// Runs the program to its end with another stdout, of which nothing is read.
    #[track_caller]
    pub(crate) fn run_into(&self, stdout: impl Into<Stdio>) -> Ran {
        self.prepare();
        let output = self.command().stdout(stdout).spawn().unwrap().wait_with_output().unwrap();
        self.finish(output.status, "", &String::from_utf8(output.stderr).unwrap())
    }

    /// Runs the program to its end on a terminal of this width; what that shows stands in `stdout`, with its escapes.
    #[track_caller]
    pub(crate) fn run_on_terminal(&self, columns: u16) -> Ran {
        let (status, shown) = self.start_on_terminal(24, columns).rest();
        self.finish(status, &shown, "")
    }

    /// Starts the program on a terminal of this size.
    #[track_caller]
    pub(crate) fn start_on_terminal(&self, rows: u16, columns: u16) -> OnTerminal<'_> {
        self.prepare();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let mut command = self.command();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (sender, bytes) = mpsc::channel();
        let mut master = std::fs::File::from(master);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal that nobody writes to any more ends with an error.
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let screen = vt100::Parser::new(rows, columns, 0);
        OnTerminal { boot: self, child, bytes, shown: Vec::new(), screen }
    }

    /// Runs the program to its end.
    #[track_caller]
    pub(crate) fn run(&self) -> Ran {
        self.start().wait()
    }

    /// Runs it to the end of a run that was refused: nothing on stdout but lines of what is in order, exit code 1,
    /// and no call that could change anything. Gives stderr. Runs it at debug level too, where secrets could show.
    #[track_caller]
    pub(crate) fn refused(&self) -> String {
        let debug = self.start_with(&[("LOG_LEVEL", "debug")]).wait();
        let ran = self.run();
        for ran in [&debug, &ran] {
            ran.assert().code(1);
            assert_eq!(ran.mutating(), [""; 0]);
        }
        assert_eq!(debug.stderr, ran.stderr);
        assert!(files(&self.path("state")).unwrap().is_empty(), "no log of a refused run");
        for line in ran.stdout.lines() {
            let early = line.contains(" WARN Chart not found; continuing with the other checks ");
            assert!(early || line.contains(" INFO Target cluster "), "{line}");
        }
        ran.stderr
    }

    fn finish(&self, status: ExitStatus, stdout: &str, stderr: &str) -> Ran {
        let canaries = self.all_canaries();
        assert_no_canary(&canaries, "stdout", stdout.as_bytes());
        assert_no_canary(&canaries, "stderr", stderr.as_bytes());
        for place in ["transcript", "home", "tmp", "cache", "state", "summary.md"] {
            let path = self.path(place);
            if path.is_file() {
                assert_no_canary(&canaries, place, &std::fs::read(path).unwrap());
            } else {
                assert_no_canary_in_files(&canaries, &path);
            }
        }
        let in_actions = self.env.get("GITHUB_ACTIONS").is_some_and(|value| value == "true");
        if in_actions {
            assert_own_commands([stdout, stderr].concat().as_str());
        }
        let has = |words: &[&str]| self.args.windows(words.len()).any(|args| args == words);
        let lines = if has(&["--log-format", "json"]) { assert_json_lines } else { assert_log_lines };
        if !has(&["always"]) {
            let told = |text: &str| lines(&if in_actions { without_commands(text) } else { text.to_owned() });
            let data =
                has(&["-o", "json"]) || has(&["--output", "json"]) || has(&["--dry-run"]) || has(&["--list"]);
            if self.args[0] == "apps" && !data {
                told(stdout);
            }
            // What is wrong with the command line is told before there is a log.
            if status.code() != Some(2) {
                told(stderr);
            }
        }
        let transcript = std::fs::read_to_string(self.path("transcript")).unwrap();
        let calls: Vec<Value> = transcript.lines().filter_map(noted).collect();
        for call in &calls {
            assert_call(call, &self.cwd, self.helmfile_decrypts);
        }
        let ran = Ran {
            command: self.args.join(" "),
            status,
            stdout: self.normalized(stdout),
            stderr: self.normalized(stderr),
            calls,
            folder: self.folder.path().display().to_string(),
        };
        let killed = std::os::unix::process::ExitStatusExt::signal(&status).is_some();
        if !killed {
            for place in ["tmp", "cache/k3s-boot/staging"] {
                let left: Vec<_> = std::fs::read_dir(self.path(place))
                    .into_iter()
                    .flatten()
                    .map(|entry| entry.unwrap().path())
                    .collect();
                assert!(left.is_empty(), "left over: {left:?}");
            }
        }
        ran
    }

    /// A text without what differs from run to run: times, durations, paths, names of logs.
    fn normalized(&self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let text = without_logs(&text.replace(&folder, "[TMP]"));
        let lines = text.split_inclusive('\n').map(|line| {
            let line = match line.split_once(' ') {
                Some((time, rest)) if time.len() == 20 && time.ends_with('Z') => format!("[TS] {rest}"),
                _ => line.to_owned(),
            };
            let line = ["took", "elapsed", "after", "log", "checks"]
                .iter()
                .fold(line, |line, key| without_value(&line, key));
            ["\"seconds\"", "\"log\""].iter().fold(line, |line, key| without_json_value(&line, key))
        });
        lines.collect()
    }
}

/// A text with one name for all logs, each of which has another one.
fn without_logs(text: &str) -> String {
    let folder = "[TMP]/state/k3s-boot/logs/";
    let mut parts = text.split(folder);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + folder + "[LOG]" + part.split_once(".log").map_or(part, |(_, rest)| rest)
    })
}

/// `key="…"` with another value.
fn without_value(line: &str, key: &str) -> String {
    let start = format!(" {key}=\"");
    let Some((before, rest)) = line.split_once(&start) else {
        return line.to_owned();
    };
    let (_, after) = rest.split_once('"').unwrap();
    format!("{before}{start}[{}]\"{after}", key.to_uppercase())
}

/// `"key": …` of a pretty JSON document with another value.
fn without_json_value(line: &str, key: &str) -> String {
    let Some((before, rest)) = line.split_once(&format!("{key}: ")) else {
        return line.to_owned();
    };
    let comma = if rest.trim_end().ends_with(',') { "," } else { "" };
    format!("{before}{key}: [...]{comma}\n")
}

/// A call that was noted; none where the line has no end, for what wrote it was killed.
fn noted(line: &str) -> Option<Value> {
    match serde_json::from_str(line) {
        Ok(call) => Some(call),
        Err(error) if line.is_empty() || error.is_eof() => None,
        Err(error) => panic!("{error}: {line}"),
    }
}

/// What holds for every call of a tool, whatever the test.
fn assert_call(call: &Value, cwd: &Path, helmfile_decrypts: bool) {
    assert_eq!(call["known"], true, "a call that no rule fits: {call}");
    assert_eq!(call["own_group"], true, "{call}");
    assert_eq!(call["canary_in_argv"], false, "{call}");
    assert!(call["stdin"] == "null" || call["stdin"] == "pipe", "{call}");
    assert_eq!(call["cwd"], cwd.display().to_string(), "{call}");
    // Templates may want a token; an identity is for sops alone.
    let argv = call["argv"].as_array().unwrap();
    let decrypts = match call["tool"].as_str() {
        Some("sops") => argv[0] == "decrypt",
        Some("helmfile") => helmfile_decrypts && argv[0] != "--version",
        _ => false,
    };
    for secret in call["canary_in_env"].as_array().unwrap() {
        let allowed = secret == "GITHUB_TOKEN" || (secret == "SOPS_AGE_KEY" && decrypts);
        assert!(allowed, "{secret} for {} {}", call["tool"], call["argv"]);
    }
}

/// A run on a terminal that has not ended. It is killed when the test ends first.
pub(crate) struct OnTerminal<'a> {
    boot: &'a Boot,
    child: Child,
    bytes: Receiver<Vec<u8>>,
    shown: Vec<u8>,
    screen: vt100::Parser,
}

impl OnTerminal<'_> {
    /// What is on the screen once that is as wanted, without what differs from run to run.
    #[track_caller]
    pub(crate) fn frame(&mut self, is_wanted: impl Fn(&str) -> bool) -> String {
        let broken = Instant::now() + BROKEN;
        loop {
            let frame = self.boot.normalized(&self.screen.screen().contents());
            if is_wanted(&frame) {
                return frame;
            }
            let left = broken.saturating_duration_since(Instant::now());
            let bytes = self.bytes.recv_timeout(left);
            let bytes = bytes.unwrap_or_else(|_| panic!("it does not come, the screen shows:\n{frame}"));
            self.take(&bytes);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        self.shown.extend_from_slice(bytes);
    }

    /// Waits for the end and checks what must hold after every run. `stdout` is what the screen shows then.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ran {
        let (status, shown) = self.rest();
        // With a picture in between, it is no sequence of lines.
        assert_no_canary(&self.boot.all_canaries(), "the terminal", shown.as_bytes());
        let screen = self.boot.normalized(&self.screen.screen().contents());
        Ran { stdout: screen, ..self.boot.finish(status, "", "") }
    }

    /// All that it shows until its end.
    #[track_caller]
    fn rest(&mut self) -> (ExitStatus, String) {
        while let Ok(bytes) = self.bytes.recv_timeout(2 * BROKEN) {
            self.take(&bytes);
        }
        let status = self.child.wait().unwrap();
        (status, String::from_utf8(std::mem::take(&mut self.shown)).unwrap().replace("\r\n", "\n"))
    }
}

impl Drop for OnTerminal<'_> {
    fn drop(&mut self) {
        // Without effect on one that has ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Reads a stream to its end, and passes each line on as it comes.
fn read(stream: impl Read + Send + 'static, lines: Sender<String>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, mut all) = (BufReader::new(stream), String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap() == 0 {
                return all;
            }
            all.push_str(&line);
            _ = lines.send(line);
        }
    })
}

/// A run that has not ended. It is killed when the test ends first.
pub(crate) struct Running<'a> {
    boot: &'a Boot,
    child: Child,
    lines: Receiver<String>,
    streams: Option<(JoinHandle<String>, JoinHandle<String>)>,
}

impl Running<'_> {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Asks the played API server as k3s-boot does; gives the answer's body.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let folders = std::fs::read_dir(self.boot.path("tmp")).unwrap();
        let sockets = folders.map(|folder| folder.unwrap().path().join("api.sock"));
        let socket = sockets.into_iter().find(|path| path.exists()).expect("a kubectl that listens");
        let mut connection = UnixStream::connect(socket).unwrap();
        write!(connection, "{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Sends a signal to the program alone, not to its group.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for a line that holds these words.
    #[track_caller]
    pub(crate) fn wait_for(&self, words: &str) {
        loop {
            let line = self.lines.recv_timeout(BROKEN).expect(words);
            if line.contains(words) {
                return;
            }
        }
    }

    /// Waits for the end and checks what must hold after every run.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ran {
        let broken = Instant::now() + 2 * BROKEN;
        loop {
            let left = broken.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
        let (stdout, stderr) = self.streams.take().unwrap();
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        let status = self.child.wait().unwrap();
        self.boot.finish(status, &stdout, &stderr)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Without effect on one that has ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A run that has ended.
pub(crate) struct Ran {
    /// Its arguments.
    command: String,
    pub(crate) status: ExitStatus,
    /// Without what differs from run to run.
    pub(crate) stdout: String,
    /// Without what differs from run to run.
    pub(crate) stderr: String,
    pub(crate) calls: Vec<Value>,
    folder: String,
}

impl Ran {
    /// The exit code, for comparisons that [`Self::assert`] does not have.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().expect("an exit code")
    }

    /// Assertions on exit code and output.
    #[track_caller]
    pub(crate) fn assert(&self) -> Assert {
        assert_run(&self.command, self.status, &self.stdout, &self.stderr)
    }

    /// A call as a line: the tool, its arguments, what its stdin was.
    fn line(&self, call: &Value) -> String {
        let args: Vec<_> = call["argv"].as_array().unwrap().iter().collect();
        let args: Vec<_> = args.iter().map(|arg| arg.as_str().unwrap()).collect();
        let line = format!(
            "{} {} < {}",
            call["tool"].as_str().unwrap(),
            args.join(" "),
            call["stdin"].as_str().unwrap()
        );
        let line = line.replace(&self.folder, "[TMP]");
        // The folder of a run has another name each time.
        match line.split_once("/k3s-boot.") {
            Some((before, rest)) => format!("{before}/k3s-boot.[RUN]/{}", rest.split_once('/').unwrap().1),
            None => line,
        }
    }

    /// The calls that may change something, in their order.
    pub(crate) fn mutating(&self) -> Vec<String> {
        let calls = self.calls.iter().filter(|call| is_mutating(call));
        calls.map(|call| self.line(call)).collect()
    }

    /// Whether the last change was to let go of the lock.
    pub(crate) fn let_go_of_the_lock(&self) -> bool {
        self.calls.iter().rfind(|call| is_mutating(call)).is_some_and(is_release)
    }

    /// All calls: the changes in their order, and what is read between two of them sorted, for it is read side by side.
    pub(crate) fn transcript(&self) -> String {
        let mut lines = Vec::new();
        // What is done at the end of a run to let go of its lock is done beside waiting for Flux.
        let end = self.calls.iter().rposition(|call| is_mutating(call) && !writes_lock(call));
        let (before, after) = self.calls.split_at(end.map_or(0, |end| end + 1));
        let (release, after): (Vec<_>, Vec<_>) = after.iter().cloned().partition(writes_lock);
        let calls = [before, &after, &release].concat();
        for calls in calls.chunk_by(|one, other| !is_mutating(one) && !is_mutating(other)) {
            let mut some: Vec<_> = calls.iter().map(|call| self.line(call)).collect();
            some.sort();
            let mark = if is_mutating(&calls[0]) { "!" } else { " " };
            lines.extend(some.into_iter().map(|line| format!("{mark} {line}")));
        }
        lines.join("\n")
    }

    /// The calls of a tool with this argument.
    pub(crate) fn calls_of(&self, tool: &str, arg: &str) -> Vec<&Value> {
        let wanted = |call: &&Value| {
            call["tool"] == tool && call["argv"].as_array().unwrap().iter().any(|found| found == arg)
        };
        self.calls.iter().filter(wanted).collect()
    }

    /// The requests to reconcile that were made of Flux.
    pub(crate) fn requests_of_flux(&self) -> Vec<&Value> {
        let requested = "/body/metadata/annotations/reconcile.fluxcd.io~1requestedAt";
        self.calls.iter().filter(|call| call.pointer(requested).is_some()).collect()
    }
}

/// Whether it changes the Lease that is the lock.
fn writes_lock(call: &Value) -> bool {
    call["tool"] == "api"
        && call["argv"][0] == "PATCH"
        && call["argv"][1].as_str().unwrap().ends_with("/leases/k3s-boot")
}

/// Whether it lets go of the lock.
fn is_release(call: &Value) -> bool {
    writes_lock(call) && call["body"].pointer("/spec/holderIdentity") == Some(&Value::Null)
}

fn is_mutating(call: &Value) -> bool {
    let reading = [
        "GET",
        "get",
        "proxy",
        "show",
        "version",
        "build",
        "template",
        "decrypt",
        "--version",
        "write-values",
        "plugin",
    ];
    let args = call["argv"].as_array().unwrap();
    let is_read = |arg: &str| arg.ends_with("accessreviews") || arg.contains("dryRun=All");
    let is_read = |arg: &Value| arg.as_str().is_some_and(is_read);
    !args.iter().any(|arg| is_read(arg) || reading.iter().any(|reading| arg == reading))
}
