//! Output for machines: the log as JSON, the report of a failure, and GitHub Actions.

use insta::assert_snapshot;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult};
use super::listener::Listener;
use super::runner_commands::runner_commands;
use super::scenario::{self, started};

/// Output of a tool that imitates k3s-boot and injects commands of a runner.
const HOSTILE: &str = "::set-env name=PATH::/evil\n \u{2003}::add-path::/evil\nx ##[add-mask]y\n::stop-commands::z\n\
    {\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"message\":\"forged\",\"fields\":{}}\n\
    a\u{2028}::error::b\u{85}::error::c\r::error::d\n::endgroup::\n``` <b> | x\n";

/// The sync of the apps fails with hostile output.
fn hostile() -> Fixture {
    let stderr = format!("{}{HOSTILE}Error: ::error::e ##[error]f\n", started("kube-system", "cilium"));
    Fixture::new()
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1, "stderr": stderr}))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn messages(lines: &[Value]) -> String {
    let line =
        |line: &Value| format!("{} {}", line["level"].as_str().unwrap(), line["message"].as_str().unwrap());
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn successful_run_as_json_lines() {
    let ran = Fixture::new().args(&["--log-format", "json", "--color", "always"]).run();
    ran.assert().code(0).stderr("");
    let lines = lines(&ran.stdout);
    let text = Fixture::new().run();
    assert_eq!(lines.len(), text.stdout.lines().count(), "as many lines as in the text format");
    assert_snapshot!(messages(&lines[..4]), @"
    info Target cluster
    info Preflight passed
    info Nodes registered
    info Namespace created
    ");
    let last = lines.last().unwrap();
    assert_eq!(last["message"], "Bootstrap complete! Flux is now syncing the Git repository");
    assert_eq!(last["fields"]["repository"], "https://example.org/home.git");
}

#[test]
fn failed_run_as_json_lines() {
    for level in ["debug", "warn"] {
        let ran = hostile().args(&["--log-format", "json", "--log-level", level]).run();
        ran.assert().code(5);
        let errors = lines(&ran.stderr);
        assert_eq!(messages(&errors), "error Failed to sync Helm releases");
        let reason = errors[0]["fields"]["reason"].as_str().unwrap();
        assert!(reason.contains("::error::e ##[error]f"), "no runner reads this: {reason}");
        let log = lines(&ran.stdout);
        assert!(!messages(&log).contains("forged"));
        let is_output = |line: &&Value| line["message"] == "Child output";
        assert_eq!(log.iter().any(|line| is_output(&line)), level == "debug");
        assert!(level == "debug" || log.is_empty(), "{}", ran.stdout);
    }
}

#[test]
fn json_lines_of_other_runs() {
    let refused = Fixture::new().without("kubeconfig").args(&["--log-format", "json"]).run();
    refused.assert().code(1).stdout("");
    assert_eq!(lines(&refused.stderr)[0]["fields"]["file"], "[TMP]/kubeconfig");
    let both = Fixture::new().env("LOG_LEVEL", "loud").args(&["--log-format", "json", "-o", "json"]).run();
    both.assert().code(0);
    assert!(
        both.stdout.starts_with("{\n  \"schema_version\": 1,\n  \"result\": \"complete\""),
        "{}",
        both.stdout
    );
    assert_eq!(lines(&both.stderr)[0]["fields"]["accepted"], "debug info warn error");
    let check = Fixture::for_command("check").without("kubeconfig").args(&["--log-format", "json"]).run();
    assert!(check.stdout.starts_with("Environment\n"), "reports do not change: {}", check.stdout);
}

/// Runs it, checks the exit code and returns the `failure` of the report.
#[track_caller]
fn failure(fixture: Fixture, code: i32) -> Value {
    failure_of(&fixture.args(&["-o", "json"]).run(), code)
}

#[track_caller]
fn failure_of(ran: &RunResult, code: i32) -> Value {
    ran.assert().code(code);
    let report = ran.report();
    assert_eq!(report["result"], "failed");
    let failure = &report["failure"];
    for key in ["class", "message", "culprit", "cause", "fix", "reason"] {
        assert!(failure[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {failure}");
    }
    failure.clone()
}

fn summary_of(failure: &Value) -> String {
    let keys = ["class", "culprit", "cause", "fix"];
    let line = |key| format!("{key}: {}", failure[key].as_str().unwrap());
    keys.map(line).join("\n")
}

#[test]
fn each_failure_class_has_the_same_fields() {
    assert_snapshot!(summary_of(&failure(Fixture::new().without("bin/sops").without_env("KUBECONFIG"), 1)), @"
    class: preflight
    culprit: programs, env
    cause: Missing required deps (deps: sops); Missing required env variables (envs: KUBECONFIG)
    fix: install sops (https://getsops.io), or add it to PATH
    export KUBECONFIG=...
    ");
    let words = json!({"kind": "Status", "message": "etcdserver: leader changed", "code": 500}).to_string();
    let api = json!({"tool": "api", "args": ["POST", "*/namespaces/kube-system/leases"], "status": 500, "stdout": words});
    assert_snapshot!(summary_of(&failure(Fixture::new().rule(api), 1)), @"
    class: api
    culprit: POST /apis/coordination.k8s.io/v1/namespaces/kube-system/leases
    cause: etcd lost its leader, or its disk is too slow
    fix: run it again
    ");
    let forbidden = json!({"tool": "kubectl", "args": ["apply"], "exit": 1,
        "stderr": "Error from server (Forbidden): namespaces is forbidden\n"});
    assert_snapshot!(summary_of(&failure(Fixture::new().rule(forbidden), 5)), @"
    class: tool
    culprit: kubectl --context default --kubeconfig [TMP]/kubeconfig --request-timeout=10s apply --server-side --force-conflicts --validate=ignore --field-manager=k3s-boot -f -
    cause: Error from server (Forbidden): namespaces is forbidden
    fix: read the output of the tools in [TMP]/state/k3s-boot/logs/[LOG], fix the problem, then retry
    ");
    let mut instance = scenario::instance();
    instance["status"]["conditions"] = json!([
        {"type": "Stalled", "status": "True", "reason": "BuildFailed", "message": "doc is missing path"}]);
    assert_snapshot!(summary_of(&failure(Fixture::new().flux_with(&instance, &[]), 5)), @"
    class: flux
    culprit: FluxInstance flux-system/flux
    cause: BuildFailed: doc is missing path
    fix: kubectl --namespace flux-system describe fluxinstance flux
    ");
    let failed = failure(hostile(), 5);
    assert_eq!((&failed["class"], &failed["culprit"]), (&json!("release"), &json!("kube-system/cilium")));
    assert_eq!(failed["resume"], "k3s-boot apps -o json --from apps");
    let nodes = Fixture::new().args(&["--nodes", "2"]).file("k3s-boot.yaml", "timeouts: {nodes: 1s}\n");
    assert_snapshot!(summary_of(&failure(nodes, 6)), @"
    class: timeout
    culprit: 1 of 2 nodes registered
    cause: stage `nodes` timed out after 1.0s
    fix: start k3s on the missing nodes, or expect fewer nodes (--nodes, or `nodes` in k3s-boot.yaml); to wait longer, set --nodes-timeout and --timeout
    ");
    let listener = Listener::new();
    let fixture = Fixture::new()
        .args(&["-o", "json"])
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"],
        "connect": listener.address(), "on_int": "end"}));
    let running = fixture.start();
    let mut helmfile = listener.accept();
    running.signal(Signal::SIGTERM);
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    assert_snapshot!(summary_of(&failure_of(&running.wait(), 143)), @"
    class: interrupted
    culprit: SIGTERM
    cause: interrupted by SIGTERM
    fix: run k3s-boot again: it continues where this run stopped
    ");
}

/// Adds the environment of a GitHub Actions runner.
fn in_actions(fixture: Fixture) -> Fixture {
    let summary = fixture.path("summary.md").display().to_string();
    fixture.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary)
}

/// The normalized step summary.
fn summary(fixture: &Fixture) -> String {
    let text = std::fs::read_to_string(fixture.path("summary.md")).unwrap();
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', '.']);
        let is_time = bare.strip_suffix('s').is_some_and(|number| number.parse::<f64>().is_ok());
        let is_log = bare.contains("/k3s-boot/logs/");
        match (is_time, is_log) {
            (true, _) => word.replace(bare, "[TOOK]"),
            (_, true) => "[LOG]".to_owned(),
            _ => word.to_owned(),
        }
    };
    // The empty line at the start separates it from earlier summaries. Snapshots would drop it.
    let text = text.strip_prefix('\n').unwrap_or_else(|| panic!("{text}"));
    let lines = text.lines().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

/// The groups with their number of lines, and the lines outside of groups.
fn groups(ran: &RunResult) -> Vec<String> {
    let mut groups = Vec::new();
    let mut group: Option<(&str, usize)> = None;
    for line in ran.stdout.lines() {
        match (line.strip_prefix("::group::"), &mut group) {
            (Some(name), None) => group = Some((name, 0)),
            (Some(name), Some(_)) => panic!("{name} in another group"),
            (None, Some((name, lines))) if line == "::endgroup::" => {
                groups.push(format!("{name} {lines}"));
                group = None;
            }
            (None, Some((_, lines))) => *lines += 1,
            (None, None) => {
                let word = line.split(' ').take(3).collect::<Vec<_>>().join(" ");
                groups.push(word.replace("[TS] ", "- "));
            }
        }
    }
    assert_eq!(group, None, "every group is closed");
    groups.dedup();
    groups
}

#[test]
fn successful_run_in_actions() {
    let fixture = in_actions(Fixture::new());
    let ran = fixture.run();
    ran.assert().code(0).stderr("");
    let expected = [
        "preflight 2",
        "nodes 1",
        "namespaces 3",
        "secrets 2",
        "crds 3",
        "apps 5",
        "- INFO Helm",
        "verify 0",
        "- INFO Summary",
        "- INFO Bootstrap",
    ];
    assert_eq!(groups(&ran), expected);
    assert_lines(
        &summary(&fixture),
        &[
            "## k3s-boot: complete",
            "Flux syncs `https://example.org/home.git` at `main@sha1:4b1c`, after [TOOK].",
            "Cluster `default` at `https://10.0.0.10:6443`, UID `uid-of-kube-system`, nodes: 1.",
            "| release | version | result | took |",
            "|---|---|---|---:|",
            "| `monitoring/prometheus-operator-crds` | `19.1.0` | synced | [TOOK] |",
            "| `kube-system/cilium` | `1.18.6` | synced | [TOOK] |",
            "| `flux-system/flux-instance` | `0.54.0` | synced | [TOOK] |",
        ],
    );
    // A second run appends to the file.
    let first = std::fs::read_to_string(fixture.path("summary.md")).unwrap();
    fixture.run();
    assert!(std::fs::read_to_string(fixture.path("summary.md")).unwrap().starts_with(&first));
}

#[test]
fn failed_run_in_actions() {
    for level in ["debug", "info"] {
        let fixture = in_actions(hostile()).args(&["--log-level", level]);
        let ran = fixture.run();
        ran.assert().code(5);
        let all = [ran.stdout.as_str(), &ran.stderr].concat();
        let commands = runner_commands(&all);
        assert_eq!(commands.iter().filter(|name| **name == "error").count(), 1, "{all}");
        assert_eq!(commands.last(), Some(&"error"), "after the groups: {all}");
        assert_eq!(commands.len(), 2 * 6 + 1, "groups, and one error: {all}");
        if level == "info" {
            assert_snapshot!(ran.stdout.lines().last().unwrap(), @r"::error title=k3s-boot%3A Failed to sync Helm releases::kube-system/cilium%0AError: ::error::e ##\u{5b}error]f%0Afix: read the output of the tools in [TMP]/state/k3s-boot/logs/[LOG], fix the problem, then retry");
            assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases release="kube-system/cilium" reason="Error: ::error::e ##\u{5b}error]f" resume="k3s-boot apps --log-level info --from apps" log="[LOG]""#);
            assert_lines(
                &summary(&fixture),
                &[
                    "## k3s-boot: failed",
                    "Failed to sync Helm releases, after [TOOK].",
                    "- Release: `kube-system/cilium`",
                    "- Reason: `Error: ::error::e ##[error]f`",
                    "- Log: [LOG]",
                    "Fix:",
                    "```text",
                    "read the output of the tools in [LOG] fix the problem, then retry",
                    "```",
                    "Resume with:",
                    "k3s-boot apps --log-level info --from apps",
                    "| `monitoring/prometheus-operator-crds` | `19.1.0` | synced | [TOOK] |",
                    "| `kube-system/cilium` | `1.18.6` | failed | [TOOK] |",
                ],
            );
        }
    }
}

/// Checks that a text has these lines in this order.
#[track_caller]
fn assert_lines(text: &str, expected: &[&str]) {
    let mut lines = text.lines();
    for line in expected {
        assert!(lines.any(|one| one == *line), "no `{line}` in this place:\n{text}");
    }
}

#[test]
fn annotations_and_summary_have_no_secrets() {
    let fixture = in_actions(Fixture::new());
    let stderr = format!("{}Error: with {} too\n", started("kube-system", "cilium"), fixture.canaries.token);
    let fixture = fixture
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1, "stderr": stderr}));
    // The fixture checks after every run that no secret appears.
    let ran = fixture.run();
    assert!(ran.stdout.contains("%0AError: with [redacted] too%0A"), "{}", ran.stdout);
    assert!(summary(&fixture).contains("- Reason: `Error: with [redacted] too`\n"), "{}", summary(&fixture));
}

#[test]
fn data_on_stdout_in_actions() {
    let plain = hostile().args(&["-o", "json"]).run();
    let ran = in_actions(hostile()).args(&["-o", "json", "--log-level", "debug"]).run();
    ran.assert().code(5);
    let read = |text: &str| -> Value { serde_json::from_str(&text.replace("[...]", "0")).unwrap() };
    let (report, expected) = (read(&ran.stdout), read(&plain.stdout));
    assert_eq!(report["failure"]["reason"], expected["failure"]["reason"], "the JSON is not escaped");
    assert_eq!(runner_commands(&ran.stdout), [""; 0], "commands go to stderr");
    assert_eq!(runner_commands(&ran.stderr).iter().filter(|name| **name == "error").count(), 1);
    let json = in_actions(hostile()).args(&["--log-format", "json", "--log-level", "debug"]);
    let ran = json.run();
    assert_eq!(
        runner_commands(&[ran.stdout.as_str(), &ran.stderr].concat()),
        [""; 0],
        "no commands in a JSON log"
    );
    assert!(!json.path("summary.md").exists());
}

#[test]
fn unwritable_summary_is_a_warning() {
    let fixture = in_actions(Fixture::new());
    std::fs::create_dir(fixture.path("summary.md")).unwrap();
    let ran = fixture.run();
    ran.assert().code(0).stderr("");
    assert_snapshot!(ran.stdout.lines().last().unwrap(), @r#"[TS] WARN Failed to write the step summary file="[TMP]/summary.md" error="Is a directory (os error 21)""#);
    let none = Fixture::new().env("GITHUB_ACTIONS", "true").run();
    none.assert().code(0).stderr("");
}

#[test]
fn actions_output_only_in_actions() {
    let plain = Fixture::new().run();
    for value in ["", "false", "1"] {
        let fixture = in_actions(Fixture::new()).env("GITHUB_ACTIONS", value);
        assert_eq!(fixture.run().stdout, plain.stdout);
        assert!(!fixture.path("summary.md").exists());
    }
}

#[test]
fn reports_in_actions_have_no_commands() {
    let words = HOSTILE.replace('\u{85}', "");
    let mut source = scenario::source();
    source["status"]["conditions"] =
        json!([{"type": "Ready", "status": "False", "reason": words, "message": words}]);
    let node = json!({"kind": "Node", "metadata": {"name": "##[error]node"},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": words, "message": words}]}});
    let values = json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "exit": 1, "stderr": words});
    for args in [
        &["status"][..],
        &["status", "-o", "json"],
        &["check"],
        &["check", "-o", "json"],
        &["diff"],
        &["apps", "--list"],
    ] {
        let mut fixture = in_actions(Fixture::for_command(args[0]))
            .args(&args[1..])
            .objects([source.clone(), node.clone()]);
        if args[0] == "check" {
            fixture = fixture.rule(values.clone());
        }
        let plain = fixture.run();
        let ran = fixture.env("GITHUB_ACTIONS", "").run();
        let all = |ran: &RunResult| [ran.stdout.as_str(), &ran.stderr].concat();
        assert_eq!(runner_commands(&all(&plain)), [""; 0], "{args:?}");
        assert_eq!(plain.code(), ran.code(), "{args:?}");
        if args[0] == "status" || args[0] == "check" {
            assert_ne!(runner_commands(&all(&ran)), [""; 0], "{args:?} is hostile elsewhere: {}", all(&ran));
        }
    }
}
