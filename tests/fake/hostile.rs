//! Hostile repositories and tools: a clear error in time, and no panic.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::fixture::{APPS, Fixture, RunResult, identity};
use super::listener::{HANG_TIMEOUT, Listener};

/// The commands that read the repository.
const COMMANDS: [&[&str]; 4] = [&["check"], &["check", "--offline"], &["diff"], &["apps"]];

const FOREVER: u64 = u64::MAX;

fn command(words: &[&str]) -> Fixture {
    Fixture::for_command(words[0]).args(&words[1..])
}

/// Runs it and checks that it ends in time, without a panic, an escape sequence or a remaining process.
#[track_caller]
fn run(fixture: &Fixture, what: &str) -> RunResult {
    let start = Instant::now();
    let ran = fixture.run();
    // Much longer than needed, because tests share the machine.
    assert!(start.elapsed() < HANG_TIMEOUT, "{what}: {:?}", start.elapsed());
    let output = [ran.stdout.as_str(), &ran.stderr].concat();
    assert!(!output.contains("panicked"), "{what}: {output}");
    assert!(!output.contains('\u{1b}'), "{what}: {output:?}");
    assert_eq!(running_tools(fixture), [""; 0], "{what}");
    ran
}

/// The fake tools of this fixture that are still running.
fn running_tools(fixture: &Fixture) -> Vec<String> {
    let scenario = format!("FAKE_SCENARIO={}", fixture.path("scenario.json").display());
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let ours = processes.filter(|process| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == scenario.as_bytes())
    });
    ours.map(|process| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default()).collect()
}

/// What replaces a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Broken,
    Large,
    Deep,
    Wide,
    Aliases,
    Binary,
    NotUtf8,
    Loop,
    Pipe,
    Folder,
    Device,
}

impl Content {
    const ALL: [Self; 11] = {
        use Content::{Aliases, Binary, Broken, Deep, Device, Folder, Large, Loop, NotUtf8, Pipe, Wide};
        [Broken, Large, Deep, Wide, Aliases, Binary, NotUtf8, Loop, Pipe, Folder, Device]
    };

    /// Whether it is text, so that only a YAML parser rejects it.
    fn is_text(self) -> bool {
        matches!(self, Self::Broken | Self::Deep | Self::Wide | Self::Aliases)
    }

    fn write_to(self, path: &Path) {
        _ = std::fs::remove_file(path);
        let aliases = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(1000), "*a,".repeat(20_000));
        let bytes = match self {
            Self::Broken => b"a: [\n\x1b[31m: }\n".to_vec(),
            Self::Large => "a: words and more\n# of them\n".repeat(400_000).into_bytes(),
            Self::Deep => "{a: ".repeat(1 << 18).into_bytes(),
            Self::Wide => "- []\n".repeat(1 << 19).into_bytes(),
            Self::Aliases => aliases.into_bytes(),
            Self::Binary => (0..=u8::MAX).cycle().take(1 << 16).collect(),
            Self::NotUtf8 => b"a: \xff\xfe\n".to_vec(),
            Self::Loop => return symlink(path.file_name().unwrap(), path).unwrap(),
            Self::Pipe => return mkfifo(path, Mode::S_IRWXU).unwrap(),
            Self::Folder => return std::fs::create_dir(path).unwrap(),
            Self::Device => return symlink("/dev/zero", path).unwrap(),
        };
        std::fs::write(path, bytes).unwrap();
    }
}

/// Replaces a file by each kind of content and runs all commands. If `fails`, the error must name the file.
#[track_caller]
fn replace_by_hostile_content(name: &str, fails: fn(&[&str], Content) -> bool) {
    for content in Content::ALL {
        for words in COMMANDS {
            let fixture = command(words);
            let path = fixture.path("root").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            content.write_to(&path);
            let what = format!("{name} {content:?} {words:?}");
            let ran = run(&fixture, &what);
            let output = [ran.stdout.as_str(), &ran.stderr].concat();
            assert_eq!(ran.code(), i32::from(fails(words, content)), "{what}: {output}");
            if ran.code() == 1 {
                let file = Path::new(name).file_name().unwrap().to_str().unwrap();
                assert!(output.contains(file), "{what}: {output}");
                assert_eq!(ran.mutating(), [""; 0], "{what}");
            }
        }
    }
}

#[test]
fn hostile_helmfile() {
    replace_by_hostile_content("bootstrap/helmfile.d/01-apps.yaml", |_, _| true);
}

#[test]
fn hostile_values_file() {
    // helmfile renders the text before anyone parses it.
    replace_by_hostile_content("bootstrap/templates/values.yaml.gotmpl", |_, content| !content.is_text());
}

#[test]
fn hostile_encrypted_file() {
    replace_by_hostile_content("bootstrap/github.sops.yaml", |_, _| true);
}

#[test]
fn hostile_age_key() {
    // A dangling link is a missing key, which is a warning.
    replace_by_hostile_content("age.key", |_, content| content != Content::Loop);
}

#[test]
fn hostile_configuration() {
    replace_by_hostile_content("k3s-boot.yaml", |_, _| true);
}

#[test]
fn hostile_sops_configuration() {
    replace_by_hostile_content(".sops.yaml", |_, _| false);
}

#[test]
fn hostile_namespace() {
    replace_by_hostile_content("kubernetes/apps/media/kustomization.yaml", |_, _| false);
}

#[test]
fn hostile_kubeconfig() {
    replace_by_hostile_content("../kubeconfig", |words, _| !words.contains(&"--offline"));
}

#[test]
fn circular_helmfiles() {
    let every = "helmfiles:\n".to_owned() + &"- path: 01-apps.yaml\n".repeat(100);
    for words in COMMANDS {
        let fixture = command(words).file("bootstrap/helmfile.d/01-apps.yaml", &(APPS.to_owned() + &every));
        run(&fixture, "a loop").assert().code(0);
    }
}

#[test]
fn circular_folders() {
    for words in COMMANDS {
        let fixture = command(words);
        let root = fixture.path("root");
        // Two identities make k3s-boot search the repository for recipients; a wrong path makes it copy the helmfile.
        let key = std::fs::read_to_string(root.join("age.key")).unwrap() + &identity() + "\n";
        let apps = APPS.replace("../templates/", "./templates/");
        let fixture = fixture.file("age.key", &key).file("bootstrap/helmfile.d/01-apps.yaml", &apps);
        std::fs::create_dir_all(root.join("kubernetes/apps/media")).unwrap();
        for folder in ["", "bootstrap", "bootstrap/helmfile.d", "kubernetes/apps", "kubernetes/apps/media"] {
            let folder = root.join(folder);
            symlink("..", folder.join("up")).unwrap();
            symlink(&root, folder.join("root")).unwrap();
            symlink("self.sops.yaml", folder.join("self.sops.yml")).unwrap();
            symlink("self.sops.yml", folder.join("self.sops.yaml")).unwrap();
            mkfifo(&folder.join("pipe"), Mode::S_IRWXU).unwrap();
            let odd = |name: &[u8]| folder.join(OsStr::from_bytes(name));
            std::fs::write(odd(b"\xff\x1b[31m.sops.yaml"), "a: 1\n").unwrap();
            std::fs::create_dir(odd(b"\xff\x1b[31m")).unwrap();
        }
        let ran = run(&fixture, &format!("{words:?}"));
        let output = [ran.stdout.as_str(), &ran.stderr].concat();
        assert_eq!(ran.code(), 1, "{output}");
        for part in ["Values file not found", "self.sops.yaml", "Encrypted file is plain text"] {
            assert!(output.contains(part), "{words:?} {part}: {output}");
        }
    }
}

#[test]
fn hundred_thousand_files() {
    let fixture = Fixture::for_command("check");
    let root = fixture.path("root");
    let key = std::fs::read_to_string(root.join("age.key")).unwrap() + &identity() + "\n";
    let fixture = fixture.file("age.key", &key);
    let folder = root.join("kubernetes/flux/cluster");
    std::fs::create_dir_all(&folder).unwrap();
    let names: Vec<_> = (0..100_000).map(|number| format!("kubernetes/flux/cluster/{number}.yaml")).collect();
    for name in &names {
        std::fs::File::create_new(root.join(name)).unwrap();
    }
    let listed: Vec<_> = names.iter().map(|name| format!("../../other/{name}")).collect();
    let list = format!("resources: [{}]\n", listed.join(", "));
    let fixture =
        fixture.file("kubernetes/flux/cluster/kustomization.yaml", &list[..1_000_000.min(list.len())]);
    let all = [names.as_slice(), &["kubernetes/flux/cluster/kustomization.yaml".to_owned()]].concat();
    let fixture = with_git(fixture).rules([
        json!({"tool": "git", "args": ["ls-files"], "stdout": all.join("\0")}),
        json!({"tool": "git", "args": ["config"], "stdout": "ssh://git@example.org/home.git\n"}),
    ]);
    let ran = run(&fixture, "many files");
    ran.assert().code(0);
}

/// Adds a fake git.
fn with_git(fixture: Fixture) -> Fixture {
    let fake = std::fs::read_link(fixture.path("bin/helm")).unwrap();
    symlink(fake, fixture.path("bin/git")).unwrap();
    fixture
}

/// Calls of tools, each of which can be replaced.
const CALLS: [(&str, &[&str]); 18] = [
    ("kubectl", &["version"]),
    ("kubectl", &["proxy"]),
    ("api", &["/version"]),
    ("api", &["/api/v1/nodes"]),
    ("api", &["/apis"]),
    ("api", &["/api/v1/secrets?*"]),
    ("api", &["*/selfsubjectaccessreviews"]),
    ("api", &["/readyz"]),
    ("api", &["*/configz"]),
    ("api", &["*/secrets/sops-age"]),
    ("helmfile", &["--version"]),
    ("helmfile", &["*/01-apps.yaml", "build"]),
    ("helm", &["version"]),
    ("sops", &["--version"]),
    ("sops", &["decrypt"]),
    ("git", &["ls-files"]),
    ("git", &["config"]),
    ("api", &[]),
];

/// Whether `status` makes this call too.
fn is_used_by_status((tool, args): (&str, &[&str])) -> bool {
    tool == "api" || args == ["proxy"]
}

/// Replaces the output of all matching calls.
fn with_output(words: &[&str], (tool, args): (&str, &[&str]), answer: Value) -> Fixture {
    let mut rule = json!({"tool": tool, "args": args});
    let (Value::Object(rule_map), Value::Object(answer)) = (&mut rule, answer) else { panic!("maps") };
    rule_map.extend(answer);
    with_git(command(words)).rule(json!({"tool": "git"})).rule(rule)
}

/// Runs a test for each call, concurrently, because most of the time is spent waiting.
fn for_each_call(test: impl Fn((&str, &[&str])) + Sync) {
    for some in CALLS.chunks(4) {
        std::thread::scope(|scope| {
            for call in some {
                scope.spawn(|| test(*call));
            }
        });
    }
}

#[test]
fn tools_that_print_garbage() {
    let bytes = |bytes: &[u8]| STANDARD.encode(bytes);
    let ansi = "\u{1b}[31m\u{1b}]0;title\u{7}\u{9b}31m\r\u{8}\u{0}red\u{1b}";
    let named =
        json!({"kind": "Node", "metadata": {"name": ansi, "namespace": ansi}, "spec": {}, "status": {}});
    let version = json!({"gitVersion": ansi});
    let answer = json!({"items": [named], "serverVersion": version, "clientVersion": version});
    let cases = [
        json!({"bytes": bytes(b"\xff\xfe\x00\x1b[31m\x80")}),
        json!({"bytes": bytes(b"\xff\x1b[31m\x80"), "stderr": ansi, "exit": 1}),
        json!({"stdout": answer.to_string(), "stderr": ansi}),
        json!({"stdout": "[".repeat(100_000), "stderr": "[".repeat(100_000), "exit": 3}),
        json!({"stdout": "{\"items\":[null]}"}),
    ];
    let commands: [&[&str]; 4] = [&["check"], &["check", "-o", "json"], &["apps"], &["status"]];
    for_each_call(|call| {
        let commands = &commands[..if is_used_by_status(call) { 4 } else { 3 }];
        for (answer, words) in
            cases.iter().flat_map(|answer| commands.iter().map(move |words| (answer, words)))
        {
            let what = format!("{call:?} {words:?} {:.80}", answer.to_string());
            // k3s-boot waits for nodes that it cannot parse.
            let fixture =
                with_output(words, call, answer.clone()).file("k3s-boot.yaml", "timeouts: {total: 5s}\n");
            let ran = run(&fixture, &what);
            let output = [ran.stdout.as_str(), &ran.stderr].concat();
            assert!([0, 1, 5, 6].contains(&ran.code()), "{what}: {} {output}", ran.code());
        }
    });
}

#[test]
fn tools_that_print_too_much() {
    // 300 MB, or endless output: on stdout, and on stderr as lines and as one line.
    let line = format!("{}\n", "words and more \u{1b}[31m".repeat(200));
    let cases = [
        json!({"stdout": line, "repeat": 300_000_000 / line.len()}),
        json!({"stdout": line, "repeat": FOREVER}),
        json!({"stderr": line, "repeat": FOREVER}),
        json!({"stderr": line.trim_end(), "repeat": FOREVER}),
    ];
    let calls: [(&str, &[&str]); 4] = [
        ("kubectl", &["proxy"]),
        ("api", &["/api/v1/nodes"]),
        ("helmfile", &["*/01-apps.yaml", "build"]),
        ("git", &["ls-files"]),
    ];
    for call in calls {
        // Answers of the API server have no stderr.
        for answer in &cases[..if call.0 == "api" { 2 } else { 4 }] {
            let what = format!("{call:?} {}", answer["repeat"]);
            let ran = run(&with_output(&["check", "--timeout", "3s"], call, answer.clone()), &what);
            let output = [ran.stdout.as_str(), &ran.stderr].concat();
            let expected = ["than 268435456 bytes", "did not finish within", "was not answered within"];
            assert!(expected.iter().any(|words| output.contains(words)), "{what}: {output}");
            // Without git some checks are unknown, which is no error.
            let codes: &[i32] = if call.0 == "git" { &[0] } else { &[1, 6] };
            assert!(codes.contains(&ran.code()), "{what}: {} {output}", ran.code());
        }
    }
}

#[test]
fn tools_that_hang() {
    let commands: [&[&str]; 4] = [&["check"], &["diff"], &["apps"], &["status"]];
    for_each_call(|call| {
        let listener = Listener::new();
        for words in &commands[..if is_used_by_status(call) { 4 } else { 3 }] {
            let what = format!("{call:?} {words:?}");
            let answer = json!({"connect": listener.address()});
            // `status` has no `--timeout`.
            let fixture = with_output(words, call, answer).file("k3s-boot.yaml", "timeouts: {total: 2s}\n");
            let start = Instant::now();
            let ran = run(&fixture, &what);
            assert!(start.elapsed() < Duration::from_secs(20), "{what}: {:?}", start.elapsed());
            let output = [ran.stdout.as_str(), &ran.stderr].concat();
            // Optional calls make checks unknown. On a busy machine others time out as well.
            let needed = match (call.0, call.1.last()) {
                ("kubectl", Some(&"proxy"))
                | ("api", None | Some(&"/version" | &"/api/v1/nodes"))
                | ("helmfile", Some(&"build"))
                | ("sops", Some(&"decrypt")) => true,
                // Nothing is changed after the timeout of the run.
                _ => words[0] == "apps",
            };
            let codes: &[i32] = if needed { &[1, 6] } else { &[0, 1, 6] };
            assert!(codes.contains(&ran.code()), "{what}: {} {output}", ran.code());
            if needed {
                let expected = [
                    "did not finish within",
                    "was not answered within",
                    "no time was left for",
                    "Program version cannot be determined",
                    "Unknown cluster with workloads on it",
                ];
                // The whole output would be too long for a test log.
                let reasons: Vec<_> = output.lines().filter(|line| line.contains("reason")).collect();
                assert!(
                    expected.iter().any(|words| output.contains(words)),
                    "{what}: {} {reasons:#?}",
                    ran.code()
                );
                assert_eq!(ran.calls_of("helmfile", "sync").len(), 0, "{what}");
            }
        }
    });
}

#[test]
fn tool_that_ignores_signals() {
    let listener = Listener::new();
    let answer = json!({"connect": listener.address(), "on_int": "ignore", "grandchild": true});
    let fixture = with_output(&["check", "--timeout", "2s"], ("kubectl", &["version"]), answer);
    run(&fixture, "ignores INT").assert().code(1);
}
