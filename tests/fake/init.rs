//! `k3s-boot init`: what it writes, what it leaves alone, and what it asks.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult};
use super::listener::Listener;

const URL: &str = "https://git.example.org/me/home.git";

/// `init new`, below a repository with other files.
fn init(args: &[&str]) -> Fixture {
    Fixture::for_command("init").args(&[&["new", "--git-url", URL], args].concat())
}

fn root(fixture: &Fixture) -> std::path::PathBuf {
    fixture.path("root/new")
}

/// All files with their content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// The state of each file in the JSON report.
fn states(ran: &RunResult) -> BTreeMap<String, String> {
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let files = report["files"].as_array().unwrap().iter();
    files.map(|file| (text(&file["path"]), text(&file["state"]))).collect()
}

#[test]
fn a_second_run_changes_nothing() {
    let fixture = init(&["-o", "json"]);
    let ran = fixture.run();
    ran.assert().code(0);
    assert!(ran.mutating().is_empty(), "{:?}", ran.mutating());
    let written = files(&root(&fixture));
    let states_before = states(&ran);
    assert!(states_before.values().all(|state| state == "created"), "{states_before:?}");
    assert_eq!(states_before.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    let mode = std::fs::metadata(root(&fixture).join("age.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let identity = String::from_utf8(written["age.key"].clone()).unwrap();
    let identity = identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    // Also without the URL: the files have it.
    let again = fixture.canary(identity).args(&["--log-level", "debug"]);
    let ran = again.run();
    ran.assert().code(0);
    assert!(states(&ran).values().all(|state| state == "unchanged"), "{}", ran.stdout);
    assert_eq!(files(&root(&again)), written);
}

#[test]
fn a_new_key_is_not_made_for_an_encrypted_repository() {
    let fixture = init(&[]).file("new/.sops.yaml", "creation_rules: [{age: age1x}]\n");
    let ran = fixture.run();
    ran.assert().code(1);
    assert!(
        ran.stderr.contains("ERROR Repository has a SOPS configuration, but no age key"),
        "{}",
        ran.stderr
    );
    assert_eq!(files(&root(&fixture)).len(), 1);
}

#[test]
fn a_dry_run_writes_nothing() {
    let fixture = init(&["--dry-run", "--deploy-key"]);
    let ran = fixture.run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("created    bootstrap/git-deploy-key.sops.yaml\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("created    kubernetes/flux/cluster/ks.yaml\n"), "{}", ran.stdout);
    assert!(!root(&fixture).exists());
}

#[test]
fn the_layout_helmfile_is_the_shipped_bootstrap() {
    let fixture = Fixture::for_command("init").args(&["new", "--layout", "helmfile"]);
    fixture.run().assert().code(0);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = files(&root(&fixture));
    let expected =
        files(&shipped.join("bootstrap")).into_iter().map(|(path, text)| (format!("bootstrap/{path}"), text));
    let taskfile = std::fs::read(shipped.join("Taskfile.yaml")).unwrap();
    assert_eq!(written, expected.chain([("Taskfile.yaml".to_owned(), taskfile)]).collect());
}

#[test]
fn existing_files_stay_and_are_compared() {
    let fixture = init(&[])
        .file("new/.gitignore", "/mine\n")
        .file("new/kubernetes/apps/kube-system/namespace.yaml", "# mine\n")
        .file("new/other", "x");
    let ran = fixture.run();
    ran.assert().code(0);
    let written = files(&root(&fixture));
    assert_eq!(written[".gitignore"], b"/mine\n");
    assert_eq!(written["other"], b"x");
    assert!(
        ran.stdout.contains("kept       .gitignore\n") && ran.stdout.contains("-/mine\n+/age.key\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("-# mine\n"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("WARN File exists with other content, and stays file=\".gitignore\""),
        "{}",
        ran.stderr
    );
}

#[test]
fn without_a_terminal_missing_flags_are_named() {
    let fixture = Fixture::for_command("init").args(&["new", "--offline"]);
    let ran = fixture.run();
    ran.assert().code(2);
    assert!(
        ran.stderr.contains("required without a terminal: --nodes <N>, --git-url <URL>"),
        "{}",
        ran.stderr
    );
    assert!(!root(&fixture).exists());
}

#[test]
fn bad_input_changes_nothing() {
    for (args, code, message) in [
        (&["--git-url", "../home"][..], 1, "is no URL of a Git repository"),
        (&["--git-url", "ssh://git@git.example.org/home.git"], 1, "Flux needs a deploy key for this URL"),
        (&["--cluster-cidr", "10.42.0.0"], 2, "--cluster-cidr"),
        (&["--cluster-cidr", "fd00:42::/56", "--git-url", URL], 1, "clusters without IPv4"),
        (&["--nodes", "0"], 2, "--nodes"),
        (&["--cni", "calico"], 2, "possible values: cilium, flannel"),
    ] {
        let fixture = Fixture::for_command("init").args(&[&["new"], args].concat());
        let ran = fixture.run();
        ran.assert().code(code);
        assert!(ran.stderr.contains(message), "{args:?} {}", ran.stderr);
        assert!(!root(&fixture).exists(), "{args:?}");
    }
}

#[test]
fn an_invalid_configuration_changes_nothing() {
    for args in [&["--offline"][..], &[], &["--layout", "helmfile"]] {
        let fixture = init(args).file("new/k3s-boot.yaml", "cluster: {uid: 7, name: x}\n");
        let ran = fixture.run();
        ran.assert().code(1);
        assert!(ran.stderr.contains("k3s-boot.yaml") && ran.stderr.contains("ERROR"), "{}", ran.stderr);
        assert_eq!(files(&root(&fixture)).into_keys().collect::<Vec<_>>(), ["k3s-boot.yaml"], "{args:?}");
    }
}

#[test]
fn a_failed_write_leaves_no_half_file() {
    let whole = init(&["--offline", "--nodes", "1"]);
    whole.run().assert().code(0);
    let whole = files(&root(&whole));
    // No file can have more than one block, as on a full disk; the signal for that is ignored.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let limited = init(&["--offline", "--nodes", "1"]).started_by(&["/bin/sh", "-c", script]);
    let ran = limited.run();
    ran.assert().code(1);
    assert!(ran.stderr.contains("failed to write `"), "{}", ran.stderr);
    let written = files(&root(&limited));
    assert!(!written.is_empty() && written.len() < whole.len(), "{:?}", written.keys());
    for (path, content) in written.iter().filter(|(path, _)| *path != "age.key" && *path != ".sops.yaml") {
        assert_eq!(content, &whole[path], "{path}");
    }
    // With space again, the rest is written.
    let states = states(&limited.started_by(&[]).args(&["-o", "json"]).run());
    assert!(states.values().any(|state| state == "created") && !states.values().any(|state| state == "kept"));
    // A folder that is a file.
    let blocked = init(&[]).file("new/kubernetes", "x");
    let ran = blocked.run();
    ran.assert().code(1);
    let error =
        r#"ERROR Failed to read or write a file reason="failed to read `[TMP]/root/new/kubernetes/apps/"#;
    assert!(ran.stderr.contains(error), "{}", ran.stderr);
    assert_eq!(files(&root(&blocked))["kubernetes"], b"x");
}

/// A sops that waits for the test, and then prints what it got.
fn encrypting(listener: &Listener) -> Value {
    json!({"tool": "sops", "args": ["encrypt"], "connect": listener.address(), "on_int": "end"})
}

#[test]
fn an_interrupted_run_is_completed_by_the_next() {
    let listener = Listener::new();
    let fixture = Fixture::for_command("init").args(&[
        "new",
        "--deploy-key",
        "--git-url",
        "git@github.com:me/home.git",
    ]);
    let running = fixture.rule(encrypting(&listener));
    let started = running.start();
    let mut sops = listener.accept();
    started.signal(Signal::SIGINT);
    assert_eq!(sops.remaining_lines(), ["INT"]);
    started.wait().assert().code(130);
    let before = files(&root(&running));
    assert!(!before.contains_key("bootstrap/git-deploy-key.sops.yaml"), "{:?}", before.keys());
    assert!(!before.keys().any(|path| path.contains(".k3s-boot-")), "{:?}", before.keys());
    let next = running.rule(json!({"tool": "sops", "args": ["encrypt"], "stdout": "encrypted"}));
    let ran = next.run();
    ran.assert().code(0);
    let after = files(&root(&next));
    assert_eq!(after["bootstrap/git-deploy-key.sops.yaml"], b"encrypted");
    assert!(before.iter().all(|(path, content)| after[path] == *content));
    assert!(ran.stdout.contains("https://github.com/me/home/settings/keys/new"), "{}", ran.stdout);
}

#[test]
fn on_a_terminal_it_asks_for_what_is_missing() {
    let fixture = Fixture::for_command("init").args(&["new", "--offline"]);
    let mut terminal = fixture.start_on_terminal(50, 140);
    terminal.frame(|frame| frame.contains("Number of nodes"));
    terminal.type_line("3");
    terminal.frame(|frame| frame.contains("CNI plugin"));
    terminal.type_line("");
    terminal.frame(|frame| frame.contains("DNS server"));
    terminal.type_line("");
    terminal.frame(|frame| frame.contains("URL of the Git repository"));
    terminal.type_line("git@github.com:me/home.git");
    terminal.frame(|frame| frame.contains("Is the repository private?"));
    terminal.type_line("n");
    let ran = terminal.wait();
    ran.assert().code(0);
    let written = files(&root(&fixture));
    let text = |path: &str| String::from_utf8(written[path].clone()).unwrap();
    assert!(text("k3s-boot.yaml").contains("nodes: 3\n"));
    let instance = text("kubernetes/apps/flux-system/flux-instance/app/helmrelease.yaml");
    assert!(instance.contains("url: \"https://github.com/me/home.git\"\n"), "{instance}");
}

#[test]
fn a_signal_at_a_question_writes_nothing() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let fixture = Fixture::for_command("init").args(&["new", "--offline"]);
        let mut terminal = fixture.start_on_terminal(50, 140);
        terminal.frame(|frame| frame.contains("Number of nodes"));
        terminal.signal(signal);
        let ran = terminal.wait();
        ran.assert().code(code);
        assert!(!root(&fixture).exists());
    }
}

#[test]
fn a_cluster_that_does_not_answer_is_an_error() {
    let fixture = init(&[]).rule(json!({"tool": "kubectl", "args": ["proxy"], "exit": 1, "stderr": "no"}));
    fixture.run().assert().code(1);
    assert!(!root(&fixture).exists());
}
