//! Releases that do not become ready, and interrupted runs: the next run recovers.

use std::time::Instant;

use nix::sys::signal::Signal;

use super::fixture::{Fixture, LIMIT, left_running, temp_is_empty, wait_until_gone};

const COREDNS: &str = "Syncing release release=\"kube-system/coredns\"";

fn hold_coredns(fixture: &Fixture) {
    fixture.sandbox.hold("kube-system", "coredns").unwrap();
}

#[track_caller]
fn assert_converges(fixture: &Fixture) {
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("Bootstrap complete!"));
    let releases = fixture.sandbox.helm_list().unwrap();
    assert_eq!(releases.len(), 6);
    assert!(releases.iter().all(|release| release["status"] == "deployed"), "{releases:?}");
}

#[test]
fn unready_release_ends_at_its_timeout() {
    let fixture = Fixture::start("never-ready");
    hold_coredns(&fixture);
    let start = Instant::now();
    let ran = fixture.apps(&["--release-timeout", "12s"]).run();
    ran.assert().code(6);
    assert!(start.elapsed() < LIMIT);
    // The pending objects are logged while it waits, and the reason of helm at the end.
    assert!(ran.stdout.contains("Waiting for release release=\"kube-system/coredns\""), "{}", ran.stdout);
    assert!(ran.stdout.contains("pending=\"Deployment/coredns 0/1\""), "{}", ran.stdout);
    let [error] = ran.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", ran.stderr) };
    for words in [
        "Failed to sync Helm releases release=\"kube-system/coredns\"",
        "Deployment/kube-system/coredns",
        "context deadline exceeded",
        "log=\"",
    ] {
        assert!(error.contains(words), "no `{words}` in {error}");
    }
    assert!(!error.contains("ARGS:"), "helmfile's frame: {error}");
    let log = error.split("log=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(std::fs::read_to_string(log).unwrap().contains("context deadline exceeded"));

    // The timeout for the whole run, which limits that of helm.
    let ran = fixture.apps(&["--timeout", "25s"]).run();
    ran.assert().code(6);
    assert!(ran.stderr.contains("release=\"kube-system/coredns\""), "{}", ran.stderr);
    assert!(left_running(&fixture).is_empty());

    fixture.sandbox.release().unwrap();
    assert_converges(&fixture);
}

#[test]
fn interrupted_sync_leaves_nothing_behind() {
    let fixture = Fixture::start("interrupt");
    hold_coredns(&fixture);
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut running = fixture.apps(&[]).start();
        running.wait_for_line(COREDNS);
        running.signal(signal);
        running.wait_for_line("Interrupted, shutting down");
        let ran = running.finish();
        assert_eq!(ran.code, Some(code), "{signal}");
        assert_eq!(left_running(&fixture), [""; 0]);
        assert!(temp_is_empty(&fixture));
    }
    // The tools of a killed run exit too; helm marks the release, so that the next run can continue.
    let mut running = fixture.apps(&[]).start();
    running.wait_for_line(COREDNS);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish().code, None);
    wait_until_gone(&fixture);

    fixture.sandbox.release().unwrap();
    assert_converges(&fixture);
    assert!(temp_is_empty(&fixture), "what the killed run left is removed by the next");
}

#[test]
fn interrupted_download_leaves_no_partial_chart() {
    let fixture = Fixture::with_own_registry("pull");
    let faults = fixture.sandbox.registry().faults();
    for after in [0, 3, 7] {
        // The proxy answers this number of requests and holds the next one.
        faults.hold_after(after);
        let running = fixture.apps(&[]).start();
        assert!(faults.wait_held(LIMIT), "no request was held");
        running.signal(Signal::SIGINT);
        let ran = running.finish();
        ran.assert().code(130);
        faults.clear();
        assert_eq!(left_running(&fixture), [""; 0]);
        assert!(temp_is_empty(&fixture));
    }
    assert_converges(&fixture);
}
