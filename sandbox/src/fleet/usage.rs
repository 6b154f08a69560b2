//! Where the processor time and the memory of a run go.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::cluster::Sandbox;

/// Time between two looks at the processes.
const STEP: Duration = Duration::from_millis(50);
/// The kernel adds up the memory of a process page by page, so only each tenth look asks for it.
const MEMORY_LOOKS: usize = 10;

/// What a run used.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) wall: f64,
    /// Seconds of processor time of the program and all its descendants.
    pub(super) total: f64,
    /// Of these, the seconds of each program. What ended between two looks is missing.
    pub(super) programs: BTreeMap<String, f64>,
    /// Seconds of processor time of the control planes, and of their API servers alone.
    pub(super) planes: f64,
    pub(super) api_servers: f64,
    /// Peak memory of the program and all its descendants, in bytes.
    pub(super) memory: u64,
    /// Memory of the control planes at the end, in bytes.
    pub(super) planes_memory: u64,
}

/// A process, as /proc/PID/stat describes it (proc(5)).
struct Stat {
    name: String,
    parent: u32,
    /// Ticks of the process, and of its descendants that have been waited for.
    own: u64,
    children: u64,
}

/// Waits for a program and measures it.
pub(super) fn measure(child: &mut Child, sandboxes: &[Sandbox]) -> Result<(ExitStatus, Usage)> {
    let started = Instant::now();
    let services: Vec<_> = sandboxes.iter().flat_map(own_services).collect();
    let before: Vec<_> = services.iter().map(|(_, pid)| ticks(*pid)).collect();
    let root = child.id();
    let mut seen = HashMap::<u32, (String, u64)>::new();
    let (mut usage, mut looks) = (Usage::default(), 0_usize);
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let pid = Pid::from_raw(i32::try_from(root)?);
    while waitid(Id::Pid(pid), flags)? == WaitStatus::StillAlive {
        let all = processes()?;
        let descendants: Vec<_> = all.iter().filter(|(pid, _)| is_descendant(**pid, root, &all)).collect();
        for (pid, stat) in &descendants {
            seen.insert(**pid, (stat.name.clone(), stat.own));
        }
        if looks % MEMORY_LOOKS == 0 {
            usage.memory = usage.memory.max(memory(descendants.iter().map(|(pid, _)| **pid)));
        }
        looks += 1;
        std::thread::sleep(STEP);
    }
    usage.wall = started.elapsed().as_secs_f64();
    // Not reaped yet: its own figures still exist.
    let root = stat(root).context("the program has no process")?;
    usage.total = seconds(root.own + root.children)?;
    for (name, own) in seen.into_values() {
        *usage.programs.entry(name).or_default() += seconds(own)?;
    }
    for ((name, pid), before) in services.iter().zip(before) {
        let used = seconds(ticks(*pid).saturating_sub(before))?;
        usage.planes += used;
        usage.api_servers += if name == "kube-apiserver" { used } else { 0.0 };
    }
    usage.planes_memory = memory(services.iter().map(|(_, pid)| *pid));
    Ok((child.wait()?, usage))
}

/// The processes of a sandbox, without those of a shared registry.
fn own_services(sandbox: &Sandbox) -> Vec<(String, u32)> {
    let shared = sandbox.registry().processes();
    sandbox.processes().into_iter().filter(|one| !shared.contains(one)).collect()
}

fn ticks(pid: u32) -> u64 {
    stat(pid).map_or(0, |stat| stat.own)
}

#[expect(clippy::cast_precision_loss, reason = "ticks far below 2^52")]
fn seconds(ticks: u64) -> Result<f64> {
    let rate = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
    Ok(ticks as f64 / rate as f64)
}

/// The memory of processes in bytes; pages that they share count once.
fn memory(pids: impl Iterator<Item = u32>) -> u64 {
    let of_process = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    pids.filter_map(of_process).sum::<u64>() * 1024
}

fn is_descendant(pid: u32, root: u32, all: &HashMap<u32, Stat>) -> bool {
    let mut pid = pid;
    loop {
        if pid == root {
            return true;
        }
        match all.get(&pid) {
            Some(stat) if stat.parent > 1 => pid = stat.parent,
            _ => return false,
        }
    }
}

fn processes() -> Result<HashMap<u32, Stat>> {
    let mut found = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(pid.and_then(|pid| Some((pid, stat(pid)?))));
    }
    Ok(found)
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, rest) = text.rsplit_once(") ")?;
    let (_, name) = start.split_once('(')?;
    let fields: Vec<_> = rest.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        own: number(11)? + number(12)?,
        children: number(13)? + number(14)?,
    })
}
