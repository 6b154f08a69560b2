//! Output to a closed pipe, a file and a terminal.

use insta::assert_snapshot;
use serde_json::json;

use super::fixture::Fixture;
use super::scenario::{self, started};

/// A pipe whose reading end is closed.
pub(crate) fn closed() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[test]
fn bootstrap_continues_with_closed_stdout() {
    let plain = Fixture::new().run();
    for args in [&[][..], &["--log-level", "debug"], &["--log-format", "json"], &["-o", "json"]] {
        let ran = Fixture::new().args(args).run_into(closed());
        assert_eq!(ran.code(), 0, "{args:?} {}", ran.stderr);
        assert_eq!(ran.mutating(), plain.mutating(), "{args:?}");
        assert!(!ran.stderr.contains("ERROR"), "{args:?} {}", ran.stderr);
    }
    let failing = json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1});
    let ran = Fixture::new().rule(failing).args(&["-o", "json"]).run_into(closed());
    assert_eq!(ran.code(), 5, "the exit code is the same: {}", ran.stderr);
}

#[test]
fn data_commands_stop_quietly_with_closed_stdout() {
    for args in [
        &["status"][..],
        &["status", "-o", "json"],
        &["status", "--watch"],
        &["check"],
        &["check", "-o", "json"],
        &["check", "--explain", "programs"],
        &["diff"],
        &["apps", "--dry-run"],
        &["apps", "--list"],
        &["completions", "bash"],
        &["man"],
    ] {
        let ran = Fixture::for_command(args[0]).args(&args[1..]).run_into(closed());
        assert_eq!(ran.code(), 0, "{args:?} {}", ran.stderr);
        assert!(!ran.stderr.contains("ERROR") && !ran.stderr.contains("stdout"), "{args:?} {}", ran.stderr);
    }
}

#[test]
fn exit_codes_do_not_depend_on_stdout() {
    let broken =
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "exit": 1, "stderr": "boom"});
    for args in [
        &["check"][..],
        &["check", "-o", "json"],
        &["diff"],
        &["diff", "-o", "json"],
        &["diff", "--exit-code"],
        &["status", "-o", "json"],
    ] {
        let mut fixture = Fixture::for_command(args[0]).args(&args[1..]);
        match args {
            ["status", ..] => {
                fixture = fixture.rule(json!({"tool": "kubectl", "args": ["proxy"], "exit": 1}));
            }
            [.., "--exit-code"] => {}
            _ => fixture = fixture.rule(broken.clone()),
        }
        let read = fixture.run();
        let unread = fixture.run_into(closed());
        assert_ne!(read.code(), 0, "{args:?} {}", read.stdout);
        assert_eq!(read.code(), unread.code(), "{args:?} {}", unread.stderr);
    }
}

#[test]
fn all_streams_can_be_closed() {
    let plain = Fixture::new().run();
    let shell = |redirections: &str| format!("exec \"$0\" \"$@\" {redirections}");
    for redirections in ["<&-", "<&- >&-", "<&- >&- 2>&-"] {
        // Also without a controlling terminal.
        let script = shell(redirections);
        let ran = Fixture::new().started_by(&["/usr/bin/setsid", "--wait", "/bin/sh", "-c", &script]).run();
        assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{redirections}");
        assert_eq!(ran.mutating(), plain.mutating(), "{redirections}");
    }
    // Without a terminal, the answer to a question is no.
    let script = shell("<&-");
    let workload = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "player", "namespace": "media"}});
    let ran = Fixture::new()
        .objects([workload])
        .started_by(&["/usr/bin/setsid", "--wait", "/bin/sh", "-c", &script])
        .run();
    ran.assert().code(1);
    assert!(ran.stderr.contains("--cluster uid-of-kube-system"), "{}", ran.stderr);
    assert_eq!(ran.mutating(), [""; 0]);
}

#[test]
fn colors_follow_terminal_and_conventions() {
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], bool, bool);
    let cases: &[Case<'_>] = &[
        (&[], &[], true, true),
        (&[], &[], false, false),
        (&[], &[("NO_COLOR", "1")], true, false),
        (&[], &[("NO_COLOR", "")], true, true),
        (&[], &[("CLICOLOR_FORCE", "1")], false, true),
        (&[], &[("CLICOLOR_FORCE", "0")], false, false),
        (&[], &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true, false),
        (&[], &[("CLICOLOR", "0")], true, false),
        (&[], &[("TERM", "dumb")], true, false),
        (&[], &[("TERM", "dumb"), ("CLICOLOR_FORCE", "1")], true, true),
        (&["--color", "never"], &[("CLICOLOR_FORCE", "1")], true, false),
        (&["--color", "always"], &[("NO_COLOR", "1")], false, true),
    ];
    for (args, vars, terminal, coloured) in cases {
        for command in ["check", "status"] {
            let fixture = Fixture::for_command(command)
                .args(args)
                .without_env("NO_COLOR")
                .env("TERM", "xterm-256color");
            let fixture = vars.iter().fold(fixture, |fixture, (name, value)| fixture.env(name, value));
            let ran = if *terminal { fixture.run_on_terminal(80) } else { fixture.run() };
            ran.assert().code(0);
            assert_eq!(ran.stdout.contains('\u{1b}'), *coloured, "{command} {args:?} {vars:?} {terminal}");
        }
    }
}

#[test]
fn failed_write_is_reported() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ran = Fixture::for_command("status").run_into(full());
    ran.assert().code(1);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Run failed reason="failed to write to stdout: No space left on device (os error 28)""#);
    let ran = Fixture::new().run_into(full());
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "a failed write must not stop a bootstrap");
}

/// What people copy is not wrapped: commands and files.
#[test]
fn narrow_terminal_wraps_only_words() {
    let mut source = scenario::source();
    source["status"]["conditions"] = json!([{"type": "Ready", "status": "False", "reason": "GitOperationFailed",
        "message": "failed to checkout and determine revision: unable to clone 'https://example.org/home.git': dial tcp: lookup example.org: no such host"}]);
    for command in ["status", "check", "diff"] {
        let fixture = Fixture::for_command(command).env("TERM", "xterm").objects([source.clone()]);
        let [narrow, wide] = [40, 200].map(|columns| fixture.run_on_terminal(columns));
        let untimed = |text: &str| text.rsplit_once(", in ").map_or(text, |(text, _)| text).to_owned();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&untimed(&narrow.stdout)), words(&untimed(&wide.stdout)), "{command}");
        if command != "check" {
            assert_eq!(untimed(&narrow.stdout), untimed(&wide.stdout), "{command}");
        }
        assert_eq!(narrow.code(), wide.code());
        assert!(
            !narrow.stdout.contains('\u{1b}') && narrow.stdout.lines().any(|line| line.chars().count() > 40)
        );
    }
}

/// At the end of a failed run: what is blocked, why, and the fix, on lines of their own.
#[test]
fn long_error_has_a_line_for_each_field() {
    let stderr = format!(
        "{}Error: {}\n",
        started("kube-system", "cilium"),
        "resource Deployment/kube-system/cilium-operator not ready. status: InProgress; ".repeat(3)
            + "context deadline exceeded"
    );
    let unplaced = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "message": "0/1 nodes are available: 1 Insufficient cpu."}]});
    let fixture = || {
        let sync =
            json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1, "stderr": stderr});
        Fixture::new().env("TERM", "dumb").rule(sync).objects(scenario::waiting_pod(&unplaced))
    };
    let ran = fixture().run_on_terminal(80);
    ran.assert().code(6);
    let (_, error) = ran.stdout.split_once("[TS] ERROR ").unwrap();
    assert_snapshot!(error, @"
    Failed to sync Helm releases 
      release: kube-system/cilium
      object: Pod kube-system/cilium-operator-6f5d4c-x2x4z
      state: 0/1 nodes are available: 1 Insufficient cpu.
      cause: no node has enough free CPU for the requests of the pod
      fix: lower `resources.requests.cpu` in the values, or add a node
      resume: k3s-boot apps --from apps
      reason: Error: resource Deployment/kube-system/cilium-operator not ready.
        status: InProgress; resource Deployment/kube-system/cilium-operator
        not ready. status: InProgress; resource
        Deployment/kube-system/cilium-operator not ready. status: InProgress;
        context deadline exceeded
      log: [TMP]/state/k3s-boot/logs/[LOG]
    ");
    assert!(!ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    // A wide terminal, a pipe and a file get one line.
    for ran in [fixture().run_on_terminal(2000), fixture().run()] {
        let log = ran.stdout.clone() + &ran.stderr;
        assert_eq!(log.lines().filter(|line| line.starts_with("[TS] ERROR ")).count(), 1, "{log}");
        assert!(log.lines().all(|line| line.starts_with("[TS] ")), "{log}");
    }
    let json = fixture().args(&["--log-format", "json"]).run_on_terminal(80);
    assert!(json.stdout.lines().all(|line| line.starts_with('{')), "{}", json.stdout);
}
