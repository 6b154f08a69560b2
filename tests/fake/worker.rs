//! What an engine that runs k3s-boot for many clusters relies on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::listener::Listener;
use super::scenario::syncing;

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
    let fixture = with_report(Fixture::new().rule(syncing(&listener, "kube-system", "cilium")));
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
    let fixture = with_report(Fixture::new().rule(syncing(&listener, "kube-system", "cilium")));
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

/// Without `age.key`; with its content.
fn without_key_file() -> (Fixture, String) {
    let fixture = Fixture::new().without("root/age.key");
    let key = fixture.canaries.age.clone();
    (fixture, key)
}

#[test]
fn age_key_comes_from_stdin_or_a_variable() {
    let (piped, key) = without_key_file();
    let file = piped.path("mounted-key");
    fs::write(&file, format!("{key}\n")).unwrap();
    let shell = format!("exec \"$0\" \"$@\" < '{}'", file.display());
    let piped = piped.started_by(&["/bin/sh", "-c", &shell]).args(&["--age-key", "-"]);
    let (exported, key) = without_key_file();
    let exported = exported.env("CLUSTER_IDENTITY", &key).args(&["--age-key", "env:CLUSTER_IDENTITY"]);
    for fixture in [piped, exported] {
        let ran = fixture.run();
        ran.assert().code(0).stderr("");
        assert_eq!(ran.lines("INFO SOPS age secret applied ").len(), 1, "{}", ran.stdout);
        let decrypts = ran.calls_of("sops", "decrypt");
        let has_key_file =
            |call: &&&Value| call["env_names"].as_array().unwrap().contains(&json!("SOPS_AGE_KEY_FILE"));
        assert_eq!(decrypts.iter().filter(has_key_file).count(), decrypts.len());
        let has_variable =
            |call: &&Value| call["env_names"].as_array().unwrap().contains(&json!("CLUSTER_IDENTITY"));
        assert_eq!(ran.calls.iter().filter(has_variable).count(), 0, "no tool needs it");
        assert_eq!(fs::read_dir(fixture.path("tmp")).unwrap().count(), 0, "nothing is left");
    }
}

#[test]
fn unusable_age_key_is_named_by_its_source() {
    let (fixture, _) = without_key_file();
    let refused = |args: &[&str], env: (&str, &str)| {
        let (fixture, _) = without_key_file();
        let ran = fixture.args(args).env(env.0, env.1).run();
        ran.assert().code(1);
        assert_eq!(ran.mutating(), [""; 0]);
        ran.stderr.clone()
    };
    let unset = refused(&["--age-key", "env:NONE"], ("X", "y"));
    assert!(unset.contains("Age key cannot be read file=\"$NONE\" reason=\"not set\""), "{unset}");
    let invalid = refused(&["--age-key", "env:KEY"], ("KEY", "no identity"));
    assert!(invalid.contains("Age key cannot be used file=\"$KEY\""), "{invalid}");
    let empty = fixture.args(&["--age-key", "-"]).run();
    empty.assert().code(1);
    assert!(empty.stderr.contains("Age key cannot be used file=\"stdin\""), "{}", empty.stderr);
}

#[test]
fn variables_of_a_file_take_precedence_over_the_configuration() {
    let config = "environment: {variables: {CLUSTER: main, REGION: here}}\n";
    let run = |args: &[&str]| {
        let fixture = Fixture::new()
            .file("k3s-boot.yaml", config)
            .file("../edge.env", "CLUSTER=edge-7\n")
            .file("../site", "CLUSTER=site\nSITE=x\n");
        fixture.args(args).cwd("home").run()
    };
    let ran = run(&["--root", "../root", "--env-file", "../edge.env", "--env-file", "../site"]);
    ran.assert().code(0).stderr("");
    let build = &ran.calls_of("helmfile", "build")[0];
    let names = build["env_names"].as_array().unwrap();
    for name in ["CLUSTER", "REGION", "SITE"] {
        assert!(names.contains(&json!(name)), "{names:?}");
    }
    assert!(!ran.calls_of("kubectl", "apply")[0]["env_names"].as_array().unwrap().contains(&json!("SITE")));
    let gone = run(&["--root", "../root", "--env-file", "gone.env"]);
    gone.assert().code(1);
    assert!(gone.stderr.contains("correct the path of --env-file"), "{}", gone.stderr);
}

#[test]
fn charts_come_from_a_mirror() {
    let options =
        ["--chart-mirror", "registry.invalid=http://mirror.invalid:5000/cache", "--chart-pulls", "1"];
    let ran = Fixture::new().args(&options).run();
    ran.assert().code(0).stderr("");
    let pulls = ran.calls_of("helm", "pull");
    assert_eq!(pulls.len(), 3);
    for pull in pulls {
        let argv = pull["argv"].as_array().unwrap();
        assert!(argv[1].as_str().unwrap().starts_with("oci://mirror.invalid:5000/cache/charts/"), "{argv:?}");
        assert_eq!(argv[2], "--plain-http");
    }
    let failing = json!({"tool": "helm", "args": ["pull", "*/cilium"], "exit": 1,
        "stderr": "Error: mirror.invalid:5000/cache/charts/cilium:1.18.6: not found\n"});
    let ran = Fixture::new().args(&options).rule(failing).run();
    ran.assert().code(1);
    assert!(ran.stderr.contains("oci://mirror.invalid:5000/cache/charts/cilium"), "{}", ran.stderr);
    Fixture::new().args(&["--chart-mirror", "ghcr.io"]).run().assert().code(2);
}

#[test]
fn a_pod_without_a_service_account_is_named() {
    let ran = Fixture::new().args(&["--in-cluster"]).run();
    ran.assert().code(1);
    assert!(
        ran.stderr.contains("No credentials of a pod missing=\"KUBERNETES_SERVICE_HOST\""),
        "{}",
        ran.stderr
    );
    Fixture::new().args(&["--in-cluster", "--context", "x"]).run().assert().code(2);
}

/// As the kubelet mounts a Secret with `fsGroup`: a link to a file that its group can read.
#[test]
fn key_of_a_secret_volume_is_not_for_its_owner_only() {
    let (fixture, key) = without_key_file();
    let volume = fixture.path("volume");
    fs::create_dir_all(volume.join("..2026")).unwrap();
    fs::write(volume.join("..2026/age.agekey"), format!("{key}\n")).unwrap();
    std::os::unix::fs::symlink("..2026", volume.join("..data")).unwrap();
    let file = volume.join("age.agekey");
    std::os::unix::fs::symlink("..data/age.agekey", &file).unwrap();
    let ran = fixture.args(&["--age-key", &file.display().to_string()]).run();
    ran.assert().code(0).stderr("");
    assert_eq!(ran.problems(), [""; 0]);
}
