//! Measures k3s-boot and its kubectl while they wait for a release.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::measure::{Place, memory};
use crate::fixture::{LIMIT, text};
use crate::output;
use crate::process::wait_for;
use crate::registry::Registry;
use crate::tools::Tools;

/// The release that does not become ready, and its pods.
const RELEASE: &str = "kube-system/coredns";
const PODS: (&str, &str) = ("kube-system", "coredns");
/// Time from the start until k3s-boot only waits.
const SETTLED: Duration = Duration::from_secs(30);
/// The duration of the measurement.
const MEASURED: Duration = Duration::from_mins(5);

/// The clock ticks per second in which Linux counts CPU time (`USER_HZ`, time(7)).
const TICKS: f64 = 100.0;

/// Measures a wait and prints its cost.
pub(super) fn wait(tools: &Tools, program: &Path) -> Result<()> {
    let place = Place::fresh(tools, &Registry::start(tools)?, program)?;
    place.sandbox.hold(PODS.0, PODS.1)?;
    let log = place.checkout.folder().join("log");
    let file = File::create(&log)?;
    let mut command = place.checkout.command(&place.sandbox, program);
    command
        .args(["apps", "--release-timeout", "20m"])
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let mut child = command.spawn().context("cannot run `k3s-boot`")?;
    let started = format!("Syncing release release=\"{RELEASE}\"");
    wait_for("the release that has to wait", LIMIT, || Ok(text(&log)?.contains(&started).then_some(())))?;
    sleep(SETTLED);
    let pids = [vec![child.id()], kubectls(child.id())?];
    let before = pids.each_ref().map(|pids| seconds(pids));
    sleep(MEASURED);
    let after = pids.each_ref().map(|pids| seconds(pids));
    let resident = memory(child.id(), "VmRSS:").context("k3s-boot has exited")?;
    output::result(&format!(
        "| {} minutes of waiting for a release | processor | memory |",
        MEASURED.as_secs() / 60
    ));
    output::result("|---|---|---|");
    let percent = |index: usize| 100.0 * (after[index] - before[index]) / MEASURED.as_secs_f64();
    output::result(&format!(
        "| k3s-boot | {:.2} % of a core | {:.1} MB |",
        percent(0),
        super::to_megabytes(resident)
    ));
    output::result(&format!("| its kubectl ({}) | {:.2} % of a core | |", pids[1].len(), percent(1)));
    output::result("");
    place.sandbox.release()?;
    let status = wait_for("k3s-boot apps", LIMIT, || Ok(child.try_wait()?))?;
    ensure!(status.success(), "k3s-boot failed with {status}:\n{}", text(&log)?);
    Ok(())
}

/// The CPU time of processes in seconds (proc(5), fields 14 and 15 of `stat`).
fn seconds(pids: &[u32]) -> f64 {
    let ticks = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    };
    pids.iter().filter_map(ticks).sum::<f64>() / TICKS
}

/// The kubectl started by a process.
fn kubectls(pid: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let is_kubectl = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "kubectl")
    };
    Ok(children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(is_kubectl).collect())
}
