//! k3s restarts, in the phases that were recorded on real servers.

use sandbox::{Restart, wait_for};

use super::fixture::{Fixture, LIMIT};

#[test]
fn restart_during_a_run_is_waited_for() {
    let fixture = Fixture::start("restart");
    let mut running = fixture.apps(&[]).start();
    running.wait_for_line("Syncing release release=\"kube-system/cilium\"");
    fixture.sandbox.api_restart(Restart::QUICK).unwrap();
    let ran = running.finish();
    ran.assert().code(0);
    assert!(ran.stdout.contains("Bootstrap complete!"), "{}", ran.stdout);
    let again = fixture.apps(&[]).run();
    assert!(again.stdout.contains("Nothing to change"), "{}", again.stdout);
}

#[test]
fn starting_server_is_waited_for() {
    let fixture = Fixture::start("starting");
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| fixture.sandbox.api_restart(Restart::SLOW));
        let is_starting = || {
            let answer = fixture.sandbox.get("/api/v1/namespaces/default");
            Ok(answer.is_err_and(|error| format!("{error:#}").contains("503")).then_some(()))
        };
        wait_for("the restart", LIMIT, is_starting).unwrap();
        let ran = fixture.apps(&[]).run();
        ran.assert().code(0);
        assert!(ran.stdout.contains("API server is starting, waiting for it"), "{}", ran.stdout);
        assert!(ran.stdout.contains("API server answers again"), "{}", ran.stdout);
        restart.join().unwrap().unwrap();
    });
}
