//! `cargo sandbox bench`: a cold bootstrap by k3s-boot against helmfile alone, and the commands that only look.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cluster::{Options, Sandbox};
use crate::output;
use crate::process::run;
use crate::registry::Registry;
use crate::state::workspace;
use crate::tools::Tools;

/// How often `--version` is run.
const STARTS: usize = 50;
/// How often a command that only looks is run.
const LOOKS: usize = 9;
/// Time between two looks at the program's memory; the kernel keeps the peak in between.
const MEMORY_STEP: Duration = Duration::from_millis(20);
/// The stage that plain helmfile has not.
const VERIFY: &str = "verify";

/// One run of k3s-boot.
struct Run {
    /// Seconds from start to end.
    whole: f64,
    /// Seconds of the stage that waits for Flux.
    verify: f64,
    /// Peak memory of the process itself, in KiB.
    memory: u64,
}

/// Runs `pairs` pairs of cold bootstraps in turn and prints them.
pub(crate) fn cold(tools: &Tools, program: &Path, pairs: usize) -> Result<()> {
    let registry = Registry::start(tools)?;
    output::result("pair  plain s  k3s-boot s  verify s  without verify s  peak MB");
    let (mut plain, mut ours, mut memory) = (Vec::new(), Vec::new(), 0);
    for pair in 1..=pairs {
        let alone = plain_run(tools, &registry)?;
        let run = k3s_boot_run(tools, &registry, program)?;
        let without = run.whole - run.verify;
        let megabytes = to_megabytes(run.memory * 1024);
        output::result(&format!(
            "{pair:>4}  {alone:>7.2}  {:>10.2}  {:>8.2}  {without:>16.2}  {megabytes:>7.1}",
            run.whole, run.verify
        ));
        plain.push(alone);
        ours.push(without);
        memory = memory.max(run.memory);
    }
    let (plain, ours) = (median(&mut plain)?, median(&mut ours)?);
    output::result(&format!(
        "median: plain {plain:.2} s, k3s-boot without verify {ours:.2} s, ratio {:.3}",
        ours / plain
    ));
    output::result(&format!("peak memory of k3s-boot itself: {:.1} MB", to_megabytes(memory * 1024)));
    let start = start_time(program)?;
    output::result(&format!("start (`--version`), median of {STARTS}: {:.2} ms", start * 1000.0));
    output::result(&format!("release binary: {:.2} MB", to_megabytes(fs::metadata(program)?.len())));
    Ok(())
}

/// Times the commands that only look, each nine times: on an empty cluster, and on one that was bootstrapped. The charts
/// are there already.
pub(crate) fn looks(tools: &Tools, program: &Path) -> Result<()> {
    let sandbox = fresh(tools, &Registry::start(tools)?)?;
    output::result("medians of nine, charts cached           s  changing requests");
    // The first one fetches the charts.
    look(&sandbox, program, &["check"])?;
    looked(&sandbox, program, "empty cluster", &["check"])?;
    look(&sandbox, program, &["apps"])?;
    let commands: [&[&str]; 6] =
        [&["check"], &["check", "--offline"], &["diff"], &["diff", "--manifests"], &["status"], &["apps"]];
    for command in commands {
        looked(&sandbox, program, "six releases", command)?;
    }
    Ok(())
}

fn looked(sandbox: &Sandbox, program: &Path, cluster: &str, command: &[&str]) -> Result<()> {
    let mark = sandbox.audit_mark()?;
    let times: Result<Vec<_>> = (0..LOOKS).map(|_| look(sandbox, program, command)).collect();
    let changes = sandbox.mutating_since(mark)?.len();
    let name = format!("{cluster}: {}", command.join(" "));
    output::result(&format!("{name:<36}  {:.2}  {changes:>17}", median(&mut times?)?));
    Ok(())
}

fn look(sandbox: &Sandbox, program: &Path, command: &[&str]) -> Result<f64> {
    let started = Instant::now();
    let mut process = sandbox.command(program);
    process.args(command).arg("--root").arg(workspace());
    if command != ["status"] {
        process.arg("--age-key").arg(sandbox.age_key());
    }
    run(&mut process)?;
    Ok(started.elapsed().as_secs_f64())
}

fn fresh(tools: &Tools, registry: &Arc<Registry>) -> Result<Sandbox> {
    let options =
        Options { name: "bench".to_owned(), registry: Some(Arc::clone(registry)), ..Options::default() };
    Sandbox::start_with(tools, options)
}

fn plain_run(tools: &Tools, registry: &Arc<Registry>) -> Result<f64> {
    let sandbox = fresh(tools, registry)?;
    let started = Instant::now();
    for file in ["bootstrap/helmfile.d/00-crds.yaml", "bootstrap/helmfile.d/01-apps.yaml"] {
        run(sandbox
            .command(tools.helmfile())
            .args(["--file", file, "sync", "--hide-notes"])
            .current_dir(workspace()))?;
    }
    Ok(started.elapsed().as_secs_f64())
}

fn k3s_boot_run(tools: &Tools, registry: &Arc<Registry>, program: &Path) -> Result<Run> {
    let sandbox = fresh(tools, registry)?;
    let started = Instant::now();
    let mut child = sandbox
        .command(program)
        .args(["apps", "--output", "json", "--root"])
        .arg(workspace())
        .arg("--age-key")
        .arg(sandbox.age_key())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `k3s-boot`")?;
    let (mut stdout, mut stderr) =
        (child.stdout.take().context("no stdout")?, child.stderr.take().context("no stderr")?);
    let said = thread::spawn(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).map(|_| said)
    });
    let pid = child.id();
    let report = thread::spawn(move || {
        let mut report = Vec::new();
        stdout.read_to_end(&mut report).map(|_| report)
    });
    let mut memory = 0;
    let status = loop {
        memory = peak_memory(pid).unwrap_or(0).max(memory);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(MEMORY_STEP);
    };
    let whole = started.elapsed().as_secs_f64();
    let joined = |_| anyhow::anyhow!("a reader of k3s-boot's output panicked");
    let (report, said) = (report.join().map_err(joined)??, said.join().map_err(joined)??);
    if !status.success() {
        bail!("`k3s-boot apps` ended with {status}: {}", said.trim());
    }
    let report: Value =
        serde_json::from_slice(&report).context("the report of `k3s-boot apps` is no JSON")?;
    let stages = report["stages"].as_array().context("the report of `k3s-boot apps` has no `stages`")?;
    let verify =
        stages.iter().filter(|stage| stage["name"] == VERIFY).filter_map(|stage| stage["seconds"].as_f64());
    Ok(Run { whole, verify: verify.sum(), memory })
}

/// `VmHWM` of a process, in KiB.
fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn start_time(program: &Path) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        run(Command::new(program).arg("--version"))?;
        times.push(started.elapsed().as_secs_f64());
    }
    median(&mut times)
}

/// The middle of some values, which get sorted.
pub(crate) fn median(values: &mut [f64]) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => bail!("there is nothing to take the median of"),
        (Some(&value), 1) => Ok(value),
        (Some(&value), _) => Ok(f64::midpoint(values[middle - 1], value)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn to_megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&mut [3.0, 1.0, 2.0]).unwrap() - 2.0).abs() < 1e-9);
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]).unwrap() - 2.5).abs() < 1e-9);
        assert!(median(&mut []).is_err());
    }
}
