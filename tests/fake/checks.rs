//! `check`, `diff` and the identity of the cluster.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult};
use super::scenario;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

fn workload() -> Value {
    json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "player", "namespace": "media"}, "spec": {"replicas": 1}})
}

fn lease_of(repository: &str) -> Value {
    json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "k3s-boot", "namespace": "kube-system",
        "annotations": {"k3s-boot/repository": repository}}})
}

/// The text of a check: its line and the indented lines below.
#[track_caller]
fn text_of(ran: &RunResult, rule: &str) -> String {
    let start = format!(" {rule}: ");
    let mut lines = ran.stdout.lines().skip_while(|line| !line.contains(&start));
    let first = lines.next().unwrap_or_else(|| panic!("no `{rule}` in\n{}{}", ran.stdout, ran.stderr));
    let below = lines.take_while(|line| line.starts_with("      "));
    std::iter::once(first).chain(below).collect::<Vec<_>>().join("\n")
}

pub(crate) fn status_of<'a>(report: &'a Value, rule: &str) -> &'a str {
    let all = report["checks"].as_array().unwrap();
    all.iter().find(|check| check["id"] == rule).unwrap()["status"].as_str().unwrap()
}

#[test]
fn check_calls_all_tools_and_changes_nothing() {
    let ran = Fixture::for_command("check").run();
    ran.assert().code(0);
    assert_eq!(ran.mutating(), [""; 0]);
    assert!(ran.stdout.starts_with("Environment\n  ✓ "), "{}", ran.stdout);
    for (tool, arg) in [
        ("kubectl", "version"),
        ("api", "/version"),
        ("api", REVIEWS),
        ("helmfile", "build"),
        ("sops", "decrypt"),
    ] {
        assert!(!ran.calls_of(tool, arg).is_empty(), "{tool} {arg}");
    }
    let again = Fixture::for_command("check").args(&["-o", "json"]).run();
    let report = again.report();
    assert_eq!(report["cluster"]["uid"], "uid-of-kube-system");
    assert_eq!((report["exit_code"].as_i64(), status_of(&report, "api")), (Some(0), "ok"));
}

#[test]
fn all_problems_are_reported_and_checks_can_be_skipped() {
    let broken = || {
        Fixture::for_command("check").file("age.key", "nonsense\n").rules([
            json!({"tool": "helm", "args": ["version"], "stdout": "v3.17.0\n"}),
            json!({"tool": "api", "args": [REVIEWS], "stdout": r#"{"status":{"allowed":false}}"#}),
        ])
    };
    let ran = broken().run();
    ran.assert().code(1);
    assert_snapshot!(text_of(&ran, "versions"), @r#"
      ✗ versions: Program version is not supported
          program: helm
          version: 3.17.0
          accepted: 3.18 or later, below 5
          fix: install a supported version of helm
    "#);
    assert!(text_of(&ran, "age-key").contains("reason: line 1 is no age identity"));
    assert!(text_of(&ran, "rights").starts_with("  ✗ "));
    let report = broken().args(&["-o", "json", "--skip-check", "versions"]).run().report();
    assert_eq!((status_of(&report, "versions"), status_of(&report, "age-key")), ("skipped", "error"));
    assert_eq!((report["result"].as_str(), report["exit_code"].as_i64()), (Some("errors"), Some(1)));
}

#[test]
fn warnings_fail_only_with_strict() {
    let warned = |command: &str, args: &[&str]| {
        Fixture::for_command(command)
            .without("root/age.key")
            .without("root/bootstrap/github.sops.yaml")
            .args(args)
            .run()
    };
    warned("check", &[]).assert().code(0);
    warned("check", &["--strict"]).assert().code(1);
    let stopped = warned("apps", &["--strict"]);
    assert_eq!((stopped.code(), stopped.mutating()), (1, Vec::new()));
    assert!(stopped.stderr.contains("No age key"), "{}", stopped.stderr);
}

#[test]
fn offline_check_contacts_nothing() {
    let ran = Fixture::for_command("check")
        .args(&["--offline"])
        .without_env("KUBECONFIG")
        .without("root/age.key")
        .run();
    ran.assert().code(0);
    let tools: Vec<_> = ran.calls.iter().map(|call| call["tool"].as_str().unwrap()).collect();
    assert!(!tools.contains(&"kubectl"), "{tools:?}");
    assert!(ran.calls_of("sops", "decrypt").is_empty());
    for call in ran.calls_of("helmfile", "build") {
        assert!(call["argv"].as_array().unwrap().contains(&"--skip-deps".into()), "{call}");
    }
    assert!(ran.stdout.contains("not applicable: kubeconfig, "), "{}", ran.stdout);
}

#[test]
fn check_is_explained() {
    let ran = Fixture::for_command("check").args(&["--explain", "cluster-identity"]).run();
    assert!(
        ran.stdout.starts_with("cluster-identity: the cluster is the right one\n\nEvery k3s kubeconfig"),
        "{}",
        ran.stdout
    );
    assert!(ran.calls.is_empty());
}

#[test]
fn unknown_cluster_with_workloads_is_not_changed() {
    let ran = Fixture::new().args(&["--yes"]).objects([workload()]).run();
    assert_eq!((ran.code(), ran.mutating()), (1, Vec::new()));
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Unknown cluster with workloads on it uid="uid-of-kube-system" workloads="Deployment media/player" fix="if this is the right cluster: --cluster uid-of-kube-system, or `k3s-boot check --pin` to pin it""#);
    let named = Fixture::new().args(&["--cluster", "uid-of-kube-system"]).objects([workload()]).run();
    named.assert().code(0);
    // The last one is the end of the input.
    for answer in ["No", "no", "y", "", "\u{4}"] {
        let asked = Fixture::new().objects([workload()]).env("TERM", "xterm");
        let mut terminal = asked.start_on_terminal(24, 120);
        terminal.frame(|frame| frame.contains("Bootstrap this cluster? Type `yes` to continue: "));
        terminal.type_line(answer);
        let declined = terminal.wait();
        assert_eq!((declined.code(), declined.mutating()), (1, Vec::new()), "{answer:?}");
        let words = "ERROR Bootstrap was declined: the answer was not `yes`, nothing was changed";
        assert!(declined.stdout.contains(words), "{answer:?}: {}", declined.stdout);
    }
    let wrong = Fixture::new().args(&["--cluster", "another"]).run();
    assert_eq!((wrong.code(), wrong.mutating()), (1, Vec::new()));
    assert_snapshot!(wrong.stderr, @r#"[TS] ERROR Cluster does not match --cluster uid="uid-of-kube-system" expected="another" fix="set KUBECONFIG to the right kubeconfig, or pass the right UID with --cluster""#);
    let ran = Fixture::for_command("check").objects([workload()]).run();
    assert_eq!(ran.code(), 0, "`check` accepts any cluster");
    assert!(
        text_of(&ran, "cluster-identity").starts_with("  ! cluster-identity: Unknown cluster with"),
        "{}",
        text_of(&ran, "cluster-identity")
    );
}

#[test]
fn cluster_of_another_repository_is_not_changed() {
    let other = Fixture::new().objects([lease_of("example.org/other")]).run();
    assert_eq!((other.code(), other.mutating()), (1, Vec::new()));
    assert_snapshot!(other.stderr, @r#"[TS] ERROR Cluster was bootstrapped from another repository uid="uid-of-kube-system" repository="example.org/other" this_repository="example.org/home" fix="use the kubeconfig of the right cluster; if this repository has a new URL: k3s-boot apps --moved-from example.org/other""#);
    // The printed fix.
    let moved = Fixture::new()
        .args(&["--moved-from", "example.org/other"])
        .objects([lease_of("example.org/other")])
        .run();
    moved.assert().code(0);
    let ours = Fixture::new().objects([lease_of("example.org/home"), workload()]).run();
    assert_eq!(ours.code(), 0, "{} {}", ours.stderr, ours.transcript());
    assert_eq!(
        ours.calls_of("kubectl", "apply").len(),
        2,
        "namespaces and secrets; the annotation is already there"
    );
    // 0.1.0 wrote `unnamed` for every repository without a remote, which identifies none.
    let unnamed = Fixture::new().objects([lease_of("unnamed"), workload()]).run();
    assert_eq!((unnamed.code(), unnamed.mutating()), (1, Vec::new()));
    assert!(unnamed.stderr.contains("Unknown cluster with workloads on it"), "{}", unnamed.stderr);
}

#[test]
fn pinned_cluster_is_enforced() {
    let uid = "7f0c2a9e-1111-4222-8333-123456789abc";
    let mut cluster = scenario::cluster(&[("kube-system", "Active")], 1);
    cluster[0]["metadata"]["uid"] = uid.into();
    let fixture = Fixture::for_command("check").args(&["--pin"]).objects(cluster.clone());
    let ran = fixture.run();
    ran.assert().code(0);
    assert!(ran.stderr.contains("Cluster pinned"), "{}", ran.stderr);
    let written = std::fs::read_to_string(fixture.path("root/k3s-boot.yaml")).unwrap();
    assert!(written.contains(&format!("uid: {uid}")), "{written}");
    let text = written.replace(uid, "00000000-1111-4222-8333-123456789abc");
    let other =
        |command: &str| Fixture::for_command(command).file("k3s-boot.yaml", &text).objects(cluster.clone());
    let apps = other("apps").run();
    assert_eq!((apps.code(), apps.mutating()), (1, Vec::new()));
    assert!(apps.stderr.contains("Cluster does not match the pinned UID"), "{}", apps.stderr);
    let kept = other("check").args(&["--pin"]);
    kept.run().assert().code(1);
    assert_eq!(std::fs::read_to_string(kept.path("root/k3s-boot.yaml")).unwrap(), text);
    let replaced = other("check").args(&["--pin", "--yes"]);
    replaced.run().assert().code(0);
    assert!(std::fs::read_to_string(replaced.path("root/k3s-boot.yaml")).unwrap().contains(uid));
}

#[test]
fn diff_shows_changes_without_secrets() {
    let fixture = Fixture::for_command("diff").canary("CANARY-of-before");
    let record = scenario::record(
        "cilium",
        "kube-system",
        "deployed",
        "1.18.5",
        &json!({"password": "CANARY-of-before", "gone": 1}),
    );
    let fixture = fixture.objects([record]).args(&["--cluster", "uid-of-kube-system"]);
    let ran = fixture.run();
    ran.assert().code(0);
    assert_eq!(ran.mutating(), [""; 0]);
    let lines: Vec<_> = ran.stdout.lines().map(str::trim).collect();
    for line in [
        "+ create flux-system (Flux)",
        "+ create monitoring (release monitoring/prometheus-operator-crds)",
        "+ create Secret flux-system/sops-age",
        "+ create Secret flux-system/github",
        "+ install monitoring/prometheus-operator-crds 19.1.0",
        "~ upgrade kube-system/cilium 1.18.5 → 1.18.6",
        "gone: 1 → (not set)",
        "ipam.mode: (not set) → \"kubernetes\"",
        "password: \"[redacted]\" → \"[redacted]\"",
        "+ install flux-system/flux-instance 0.54.0",
    ] {
        assert!(lines.contains(&line), "no `{line}` in\n{}", ran.stdout);
    }
    let changes = lines.iter().filter(|line| ["+ ", "~ ", "- "].iter().any(|mark| line.starts_with(mark)));
    assert_eq!(changes.count(), 2 + 2 + 3, "namespaces, Secrets and releases: {}", ran.stdout);
    assert_eq!(lines.last(), Some(&"Run `k3s-boot apps` to apply these changes"));
    let ran = fixture.args(&["--exit-code", "-o", "json"]).run();
    ran.assert().code(7);
    let report = ran.report();
    assert_eq!((report["changes"].as_bool(), report["exit_code"].as_i64()), (Some(true), Some(7)));
    assert_eq!(report["releases"][1]["old_version"], "1.18.5");
}

#[test]
fn failed_diff_is_reported_as_json() {
    let broken =
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "exit": 1, "stderr": "boom"});
    let fixture = Fixture::for_command("diff").args(&["-o", "json", "--exit-code"]);
    let ran = fixture.rule(broken).run();
    ran.assert().code(1);
    let report = ran.report();
    assert_eq!(report["changes"], Value::Null, "unknown");
    assert_eq!(report["exit_code"], 1);
    assert_eq!(report["failure"]["class"], "preflight");
    assert_eq!(report["problems"][0]["details"]["reason"], "boom");
    assert!(ran.stderr.contains("Helmfile cannot be rendered"), "{}", ran.stderr);
}

#[test]
fn dry_run_equals_diff() {
    let diff = Fixture::for_command("diff").run();
    let dry = Fixture::new().args(&["--dry-run"]).run();
    assert_eq!((dry.code(), dry.mutating()), (0, Vec::new()));
    assert_eq!(diff.stdout, dry.stdout);
}

#[test]
fn garbage_from_tools_never_panics() {
    let garbage =
        ["\u{0}\u{1}garbage\u{1b}[31m\n", "[[[[", "{\"items\":[{\"kind\":1}]}", "{}", &"[".repeat(100_000)];
    for text in garbage {
        for (tool, args) in [
            ("api", vec!["GET"]),
            ("api", vec!["/version"]),
            ("api", vec![REVIEWS]),
            ("kubectl", vec!["version"]),
            ("kubectl", vec!["proxy"]),
            ("helmfile", vec!["build"]),
            ("sops", vec!["decrypt"]),
        ] {
            let ran =
                Fixture::for_command("check").rule(json!({"tool": tool, "args": args, "stdout": text})).run();
            assert!(ran.code() <= 1, "{tool} {args:?}: {}", ran.stderr);
            assert!(!ran.stderr.contains("panicked") && !ran.stdout.contains('\u{1b}'), "{tool} {args:?}");
        }
    }
}

#[test]
fn an_encrypted_file_without_manifests_is_not_applied() {
    let data = "token: ENC[AES256_GCM,data:x]\nsops: {mac: 'ENC[x]'}\n";
    let common = "kind: Secret\nstringData: {a: 'ENC[x]'}\nsops: {mac: 'ENC[x]'}\n";
    let fixture = || {
        Fixture::for_command("check")
            .file("bootstrap/data.sops.yaml", data)
            .file("kubernetes/components/common/cluster-secrets.sops.yaml", common)
            .args(&["--offline"])
    };
    let ran = fixture().run();
    ran.assert().code(0);
    let words = "Encrypted file has no manifests and is not applied\n      file: [TMP]/root/bootstrap/data.sops.yaml\n";
    assert!(ran.stdout.contains(words), "{}", ran.stdout);
    let listed = Fixture::new()
        .file("kubernetes/components/common/cluster-secrets.sops.yaml", common)
        .args(&["--list"])
        .run();
    assert!(
        listed.stdout.contains("  kubernetes/components/common/cluster-secrets.sops.yaml\n"),
        "{}",
        listed.stdout
    );
}

#[test]
fn offline_every_context_may_be_right() {
    let of_production = |command: &str, args: &[&str]| {
        let fixture = Fixture::for_command(command).args(args);
        let built = scenario::apps_build(&fixture.canaries)
            .replace("version: 0.54.0\n", "version: 0.54.0\n    kubeContext: production\n");
        fixture.rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": built})).run()
    };
    let words = "Release sets a different context";
    let ran = of_production("check", &[]);
    assert!(ran.stdout.contains(words), "{}", ran.stdout);
    let ran = of_production("check", &["--offline"]);
    ran.assert().code(0);
    assert!(!ran.stdout.contains(words), "{}", ran.stdout);
}

#[test]
fn chart_of_an_undefined_repository_is_an_error() {
    let fixture = Fixture::new();
    let build = scenario::apps_build(&fixture.canaries)
        .replace("oci://registry.invalid/charts/cilium", "jetstack/cert-manager");
    let fixture =
        fixture.rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}));
    let ran = fixture.run();
    ran.assert().code(1);
    assert_eq!(ran.mutating(), [""; 0]);
    let refusal = ran.stderr;
    let expected = r#"ERROR Helmfile does not define the repository of a chart file="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" repository="jetstack" charts="jetstack/cert-manager" releases="cilium""#;
    assert!(refusal.contains(expected), "{refusal}");
    assert!(refusal.contains(r"- name: jetstack\n  url: https://…"), "{refusal}");
}
