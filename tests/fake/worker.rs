//! What an engine that runs k3s-boot for many clusters relies on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::listener::Listener;

/// The file of `--report`, parsed.
#[track_caller]
fn report(fixture: &Fixture) -> Value {
    let text = fs::read_to_string(fixture.path("report.json")).unwrap();
    without_times(serde_json::from_str(&text).unwrap())
}

fn without_times(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let timeless = fields.into_iter().filter(|(name, _)| name != "seconds");
            timeless.map(|(name, value)| (name, without_times(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_times).collect(),
        other => other,
    }
}

/// Has a report of an earlier run.
fn with_report(fixture: Fixture) -> Fixture {
    let path = fixture.path("report.json").display().to_string();
    fixture.file("report.json", "{\"result\": \"complete\"}").args(&["--report", &path])
}

#[test]
fn report_in_a_file_is_that_on_stdout() {
    let fixture = with_report(Fixture::new().args(&["-o", "json"]));
    let ran = fixture.run();
    ran.assert().code(0);
    assert_eq!(report(&fixture), without_times(ran.report()));
    assert_eq!(report(&fixture)["result"], "complete");
    for command in ["check", "diff"] {
        let fixture = with_report(Fixture::for_command(command));
        let ran = fixture.run();
        ran.assert().code(0);
        assert_eq!(report(&fixture)["exit_code"], 0);
        assert!(!ran.stdout.starts_with('{'), "text as without it: {}", ran.stdout);
    }
    let recover = with_report(Fixture::for_command("recover"));
    recover.run().assert().code(0);
    assert_eq!(report(&recover)["result"], "recovered");
}

#[test]
fn failed_runs_write_their_report_too() {
    let refused = with_report(Fixture::new().without("kubeconfig"));
    refused.run().assert().code(1);
    assert_eq!(report(&refused)["problems"][0]["rule"], "kubeconfig");
    let late = with_report(Fixture::new().args(&["--nodes", "2", "--nodes-timeout", "1s"]));
    late.run().assert().code(6);
    assert_eq!(report(&late)["failure"]["class"], "timeout");
    let listener = Listener::new();
    let fixture =
        with_report(Fixture::new().rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"],
        "connect": listener.address(), "on_int": "end"})));
    let running = fixture.start();
    let mut helmfile = listener.accept();
    assert!(!fixture.path("report.json").exists(), "that of the earlier run is gone");
    running.signal(Signal::SIGTERM);
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    running.wait().assert().code(143);
    assert_eq!(report(&fixture)["exit_code"], 143);
}

#[test]
fn killed_run_leaves_no_report() {
    let listener = Listener::new();
    let fixture =
        with_report(Fixture::new().rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"],
        "connect": listener.address(), "on_int": "end"})));
    let running = fixture.start();
    let mut helmfile = listener.accept();
    running.signal(Signal::SIGKILL);
    assert_eq!(helmfile.remaining_lines(), ["INT"]);
    drop(running.wait());
    assert!(!fixture.path("report.json").exists());
}

#[test]
fn report_that_cannot_be_written_is_an_error_before_anything_runs() {
    let ran = Fixture::new().args(&["--report", "/nonexistent/report.json"]).run();
    ran.assert().code(1);
    let line = "ERROR Run failed reason=\"failed to write the report to `/nonexistent/report.json`: No such file or directory (os error 2)\" ";
    assert!(ran.stderr.ends_with(&format!("{line}\n")), "{}", ran.stderr);
    assert_eq!(ran.calls.len(), 0);
    // The device accepts to be opened, but no byte.
    let full = Fixture::new().args(&["--report", "/dev/full"]).run();
    full.assert().code(5);
    assert!(full.stdout.contains("Bootstrap complete!"), "{}", full.stdout);
    assert!(full.stderr.contains("Report was not written file=\"/dev/full\""), "{}", full.stderr);
    let usage = Fixture::new().args(&["--list", "--report", "x"]).run();
    usage.assert().code(2);
}

#[test]
fn report_is_readable_by_its_owner_only() {
    let fixture = with_report(Fixture::new());
    fixture.run().assert().code(0);
    let mode = fs::metadata(fixture.path("report.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
