//! Two clusters, both with the context `default`: only the right one is changed.

use std::io::{PipeWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fixture::{Fixture, Invocation, RunResult, Running};
use super::manifests::USER_WORKLOAD;
use super::problem_table::{blocks, reports};
use super::support::k3s_boot;

/// A token in the URL of a repository, which must not appear anywhere.
const TOKEN: &str = "glpat-canaryOfTheAddress987654321";

/// The repository of both sandboxes in the annotation of the Lease.
const HOME: &str = "git.sandbox.test/home";

/// The URL of A's repository, if it must differ from B's.
const OTHER_URL: &str = "https://git.example.org/me/other.git";

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/k3s-boot";

/// The repository of `a` with the cluster of `b`.
struct Pair {
    a: Fixture,
    b: Fixture,
    uid_a: String,
    uid_b: String,
}

#[test]
fn only_the_right_cluster_is_changed() {
    let mut pair = Pair {
        a: Fixture::start("identity-a"),
        b: Fixture::start("identity-b"),
        uid_a: String::new(),
        uid_b: String::new(),
    };
    pair.b.add_secret(TOKEN);
    (pair.uid_a, pair.uid_b) = (uid(&pair.a), uid(&pair.b));
    for fixture in [&pair.a, &pair.b] {
        let text = std::fs::read_to_string(fixture.sandbox.kubeconfig()).unwrap();
        assert!(
            text.contains("current-context: default") || text.contains("current-context: \"default\""),
            "both contexts have the same name"
        );
    }
    let mark = pair.b.sandbox.audit_mark().unwrap();
    another_pin(&pair);
    another_repository(&pair);
    user_workloads(&pair);
    assert_eq!(pair.b.changes(mark), [""; 0], "no refused run may change anything");
    variables_for_another_cluster(&pair);
    answered_yes(&pair);
    another_clone(&pair);
    another_flux(&pair);
}

fn uid(fixture: &Fixture) -> String {
    let namespace = fixture.sandbox.get("/api/v1/namespaces/kube-system").unwrap().unwrap();
    namespace["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn repository_of(fixture: &Fixture) -> String {
    let lease = fixture.sandbox.get(LEASE).unwrap().unwrap_or(Value::Null);
    lease["metadata"]["annotations"]["k3s-boot/repository"].as_str().unwrap_or("none").to_owned()
}

impl Pair {
    /// A command in A's repository with B's kubeconfig. The repositories differ.
    fn k3s_boot(&self, args: &[&str]) -> Invocation<'_> {
        self.a.k3s_boot(args).env("KUBECONFIG", self.b.sandbox.kubeconfig()).env("FLUX_GIT_URL", OTHER_URL)
    }

    /// Checks that there is one error and that B is unchanged.
    #[track_caller]
    fn assert_apps_fails(&self, args: &[&str], words: &[&str]) {
        let mark = self.b.sandbox.audit_mark().unwrap();
        let ran = self.k3s_boot(&[&["apps"], args].concat()).run();
        self.assert_refused(&ran, words);
        ran.assert_format();
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert_eq!(self.b.changes(mark), [""; 0], "{args:?}");
    }

    #[track_caller]
    fn assert_refused(&self, ran: &RunResult, words: &[&str]) {
        ran.assert().code(1);
        let output = format!("{}{}", ran.stdout, ran.stderr);
        let errors: Vec<_> = output.split(" ERROR ").skip(1).collect();
        let [error] = errors[..] else { panic!("{output}") };
        for words in [&[self.uid_b.as_str()], words].concat() {
            assert!(error.contains(words), "no `{words}` in {error}");
        }
        // On a terminal, a long error has a line for each field.
        assert!(error.contains("fix=\"") || error.contains("\n  fix: "), "no fix in {error}");
        assert!(!output.contains("Preflight passed"), "{output}");
    }

    /// Checks that `check` reports it and changes nothing.
    #[track_caller]
    fn assert_check_reports(&self, mark: &str, message: &str) {
        let begin = self.b.sandbox.audit_mark().unwrap();
        let ran = self.k3s_boot(&["check"]).run();
        let line = format!("  {mark} cluster-identity: {message}");
        assert!(ran.stdout.lines().any(|found| found == line), "no `{line}` in\n{}", ran.stdout);
        assert_eq!(ran.code, Some(i32::from(mark == "✗")));
        assert_eq!(self.b.changes(begin), [""; 0]);
        println!("| `cluster-identity` | {message} | {} |", line.trim());
    }

    /// Starts `apps` on a terminal and waits for its question. The second value is for typing the answer.
    fn on_terminal<'a>(&self, fixture: &'a Fixture, env: &[(&str, &str)]) -> (Running<'a>, PipeWriter) {
        let (stdin, keyboard) = std::io::pipe().unwrap();
        let command = format!("exec {} --color never apps", k3s_boot().display());
        let mut k3s_boot = fixture
            .program("script", &["--quiet", "--return", "--command", &command, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("KUBECONFIG", self.b.sandbox.kubeconfig())
            .stdin(stdin);
        for (name, value) in env {
            k3s_boot = k3s_boot.env(name, *value);
        }
        let mut running = k3s_boot.start();
        // The question has no line feed at its end.
        running.wait_for_line("WARN Unknown cluster with workloads on it");
        (running, keyboard)
    }
}

fn another_pin(pair: &Pair) {
    pair.a.write("k3s-boot.yaml", &format!("cluster:\n  uid: {}\n", pair.uid_a));
    let words = ["Cluster does not match the pinned UID", &pair.uid_a, "k3s-boot.yaml"];
    pair.assert_apps_fails(&[], &words);
    pair.assert_apps_fails(&["--yes"], &words);
    pair.assert_check_reports("✗", "Cluster does not match the pinned UID");
    std::fs::remove_file(pair.a.root.join("k3s-boot.yaml")).unwrap();
}

fn another_repository(pair: &Pair) {
    let lease = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata:\n  name: k3s-boot\n  namespace: kube-system\n  \
                 annotations: {k3s-boot/repository: git.sandbox.test/home}\n";
    pair.b.apply(lease);
    let words = [
        "Cluster was bootstrapped from another repository",
        HOME,
        "k3s-boot apps --moved-from git.sandbox.test/home",
    ];
    pair.assert_apps_fails(&[], &words);
    pair.assert_apps_fails(&["--yes"], &words);
    // `--cluster` confirms the cluster, but not its repository.
    pair.assert_apps_fails(&["--cluster", &pair.uid_b], &words);
    pair.assert_check_reports("✗", "Cluster was bootstrapped from another repository");
    pair.b.delete(lease);
}

fn user_workloads(pair: &Pair) {
    pair.b.apply(USER_WORKLOAD);
    let runs = "Deployment media/player";
    let named = format!("--cluster {}", pair.uid_b);
    let words = ["Unknown cluster with workloads on it", runs, &named];
    pair.assert_apps_fails(&[], &words);
    pair.assert_apps_fails(&["--yes"], &words);
    pair.assert_apps_fails(
        &["--cluster", &pair.uid_a],
        &["Cluster does not match --cluster", &pair.uid_a, "--cluster"],
    );
    pair.assert_check_reports("!", "Unknown cluster with workloads on it");

    // The question is asked only on a terminal.
    let mark = pair.b.sandbox.audit_mark().unwrap();
    let (stdin, mut pipe) = std::io::pipe().unwrap();
    pipe.write_all(b"yes\n").unwrap();
    drop(pipe);
    pair.assert_refused(&pair.k3s_boot(&["apps"]).stdin(stdin).run(), &words);
    // Other answers and the end of the input are tested with fake tools.
    let (running, mut keyboard) = pair.on_terminal(&pair.a, &[]);
    keyboard.write_all(b"y\n").unwrap();
    let ran = running.finish();
    assert!(ran.stdout.contains("Bootstrap this cluster? Type `yes` to continue: "), "{}", ran.stdout);
    pair.assert_refused(
        &ran,
        &["Bootstrap was declined: the answer was not `yes`, nothing was changed", &named],
    );
    let (running, mut keyboard) = pair.on_terminal(&pair.a, &[]);
    keyboard.write_all(b"\x03").unwrap();
    let ran = running.finish();
    ran.assert().code(130);
    assert!(!ran.stdout.contains("Preflight passed"), "{}", ran.stdout);
    assert_eq!(pair.b.changes(mark), [""; 0]);
}

/// Variables that select B for helm, helmfile or kubectl, with A's kubeconfig.
fn variables_for_another_cluster(pair: &Pair) {
    let server = server(&pair.b);
    let both = format!("{}:{}", pair.a.sandbox.kubeconfig().display(), renamed_kubeconfig(pair).display());
    let variables = [
        ("HELM_KUBEAPISERVER", server.as_str()),
        ("HELM_KUBECONTEXT", "elsewhere"),
        ("HELM_NAMESPACE", "media"),
        ("HELMFILE_KUBE_CONTEXT", "elsewhere"),
        ("KUBERNETES_MASTER", &server),
    ];
    let requests_to_b = |mark| {
        let events = pair.b.sandbox.audit_since(mark).unwrap();
        events
            .into_iter()
            .filter(sandbox::AuditEvent::is_from_admin)
            .map(|event| event.uri)
            .collect::<Vec<_>>()
    };
    // Proves that the variables work: helm itself uses B.
    let mark = pair.b.sandbox.audit_mark().unwrap();
    let helm = pair.a.sandbox.tools().helm();
    let list = pair.a.program(helm.to_str().unwrap(), &["list", "--all-namespaces"]);
    let ran = list.env("KUBECONFIG", &both).env("HELM_KUBECONTEXT", "elsewhere").run();
    ran.assert().code(0);
    assert_ne!(requests_to_b(mark), [""; 0], "helm was led to B");

    let mark = pair.b.sandbox.audit_mark().unwrap();
    for (args, changes) in [(&["check"][..], false), (&["apps"], true)] {
        let begin = pair.a.sandbox.audit_mark().unwrap();
        let k3s_boot = pair.a.k3s_boot(args).env("KUBECONFIG", &both);
        let ran = variables.iter().fold(k3s_boot, |k3s_boot, (name, value)| k3s_boot.env(name, *value)).run();
        ran.assert().code(0);
        let output = format!("{}{}", ran.stdout, ran.stderr);
        let warning = output.lines().find(|line| line.contains("WARN Ignoring environment variables"));
        let warning = warning.unwrap_or_else(|| panic!("{output}"));
        for (name, _) in variables {
            assert!(warning.contains(name), "no {name} in {warning}");
        }
        assert_eq!(!pair.a.changes(begin).is_empty(), changes, "{args:?}");
    }
    assert_eq!(requests_to_b(mark), [""; 0], "no requests to B");
    assert_eq!(repository_of(&pair.a), HOME);
    assert_eq!(pair.a.sandbox.helm_list().unwrap().len(), 6);
}

fn answered_yes(pair: &Pair) {
    let url = format!("https://me:{TOKEN}@{HOME}.git");
    let (mut running, mut keyboard) = pair.on_terminal(&pair.b, &[("FLUX_GIT_URL", &url)]);
    keyboard.write_all(b"yes\n").unwrap();
    running.wait_for_line("INFO Preflight passed");
    let ran = running.finish();
    ran.assert().code(0);
    assert_eq!(repository_of(&pair.b), HOME);
}

/// Another clone has another URL for the same repository.
fn another_clone(pair: &Pair) {
    let b = &pair.b;
    let clone = b.root.parent().unwrap().join("clone");
    let copied = std::process::Command::new("cp").arg("-R").arg(&b.root).arg(&clone).status().unwrap();
    assert!(copied.success());
    let clone = clone.to_str().unwrap();
    let ssh = format!("ssh://git@{HOME}.git");
    let key = "--from-literal=identity=-----BEGIN OPENSSH PRIVATE KEY-----";
    let hosts = "--from-literal=known_hosts=git.sandbox.test ssh-ed25519 AAAA";
    b.kubectl(&["create", "secret", "generic", "deploy-key", "--namespace", "flux-system", key, hosts]);
    let mark = b.sandbox.audit_mark().unwrap();
    for args in [
        &["check", "--root", clone][..],
        &["diff", "--root", clone],
        &["diff", "--manifests", "--root", clone],
    ] {
        let ran = b.k3s_boot(args).env("FLUX_GIT_URL", &ssh).env("FLUX_GIT_PULL_SECRET", "deploy-key").run();
        assert_eq!(ran.code, Some(0), "{args:?}");
        assert!(!ran.stdout.contains("cluster-identity:"), "{}", ran.stdout);
    }
    assert_eq!(b.changes(mark), [""; 0]);
    // The sandbox has no SSH server.
    let ran = b.apps(&["--root", clone]).env("FLUX_GIT_URL", format!("https://deploy@{HOME}.git")).run();
    ran.assert().code(0);
    assert_eq!(repository_of(b), HOME);
    // An unknown repository does not count as another one.
    let ran = b.k3s_boot(&["check", "--root", clone]).env_remove("FLUX_GIT_URL").run();
    assert!(
        blocks(&ran.stdout).iter().any(|block| reports(block, "?", "cluster-identity")),
        "{}",
        ran.stdout
    );
}

fn another_flux(pair: &Pair) {
    // With and without the annotation.
    let mark = ["Cluster was bootstrapped from another repository", HOME];
    pair.assert_apps_fails(&[], &mark);
    pair.b.kubectl(&["annotate", "--namespace", "kube-system", "lease", "k3s-boot", "k3s-boot/repository-"]);
    let words = [
        "Flux syncs another repository into this cluster",
        HOME,
        "git.example.org/me/other",
        "k3s-boot apps --moved-from git.sandbox.test/home",
    ];
    pair.assert_apps_fails(&[], &words);
    pair.assert_apps_fails(&["--yes"], &words);
    pair.assert_apps_fails(&["--cluster", &pair.uid_b], &words);
    pair.assert_check_reports("✗", "Flux syncs another repository into this cluster");
    // With the flag from the fix, the cluster is unknown and has another age key, for `apps` and `diff`.
    let ran = pair.k3s_boot(&["diff", "--moved-from", HOME, "--rotate-age-key"]).run();
    ran.assert().code(1);
    assert!(ran.stderr.contains("Unknown cluster with workloads on it"), "{}", ran.stderr);
    let named = ["diff", "--moved-from", HOME, "--rotate-age-key", "--cluster", &pair.uid_b];
    let ran = pair.k3s_boot(&named).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("instance.sync.url"), "{}", ran.stdout);
    // The same with credentials in our own URL, which must not be shown.
    let url = format!("https://me:{TOKEN}@git.example.org/me/third.git");
    let begin = pair.b.sandbox.audit_mark().unwrap();
    let ran = pair.b.apps(&[]).env("FLUX_GIT_URL", url).run();
    pair.assert_refused(&ran, &["Flux syncs another repository", "git.example.org/me/third"]);
    assert_eq!(pair.b.changes(begin), [""; 0]);
}

fn server(fixture: &Fixture) -> String {
    let text = std::fs::read_to_string(fixture.sandbox.kubeconfig()).unwrap();
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap();
    server.trim_matches('"').to_owned()
}

/// B's kubeconfig with other names, so that it can be merged with A's.
fn renamed_kubeconfig(pair: &Pair) -> PathBuf {
    let view = ["config", "view", "--raw", "--output", "json"];
    let kubectl = pair.b.sandbox.tools().kubectl();
    let output = pair.b.sandbox.command(kubectl).args(view).output().unwrap();
    let mut config: Value = serde_json::from_slice(&output.stdout).unwrap();
    for list in ["clusters", "contexts", "users"] {
        config[list][0]["name"] = "elsewhere".into();
    }
    config["contexts"][0]["context"] = serde_json::json!({"cluster": "elsewhere", "user": "elsewhere"});
    config["current-context"] = "elsewhere".into();
    let file = Path::new(&pair.a.root).parent().unwrap().join("elsewhere.kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    file
}
