//! Measures runs of k3s-boot and of plain helmfile.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::checkout::Checkout;
use crate::cluster::{Options, Sandbox};
use crate::process::run;
use crate::registry::Registry;
use crate::tools::Tools;

/// Time between two readings of the peak memory, which the kernel records.
const MEMORY_STEP: Duration = Duration::from_millis(4);
/// The stage without a counterpart in plain helmfile.
const VERIFY: &str = "verify";

/// The cost of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Seconds from start to end.
    pub(super) seconds: f64,
    /// Seconds of them spent waiting for Flux.
    pub(super) verify: f64,
    /// Changing requests.
    pub(super) mutating: usize,
    /// All requests.
    pub(super) requests: usize,
    /// Peak memory of k3s-boot itself, in bytes.
    pub(super) memory: u64,
}

/// A cluster and a repository.
pub(super) struct Place {
    pub(super) sandbox: Sandbox,
    pub(super) checkout: Checkout,
    helmfile: PathBuf,
    program: PathBuf,
}

impl Place {
    pub(super) fn fresh(tools: &Tools, registry: &Arc<Registry>, program: &Path) -> Result<Self> {
        let options =
            Options { name: "bench".to_owned(), registry: Some(Arc::clone(registry)), ..Options::default() };
        let sandbox = Sandbox::start_with(tools, options)?;
        let checkout = Checkout::new(&sandbox)?;
        Ok(Self { sandbox, checkout, helmfile: tools.helmfile(), program: program.to_owned() })
    }

    /// The path of helmfile.
    pub(super) fn helmfile(&self) -> &Path {
        &self.helmfile
    }

    /// The two syncs.
    pub(super) fn plain(&self) -> Result<Cost> {
        self.counted(|| {
            let started = Instant::now();
            for file in ["bootstrap/helmfile.d/00-crds.yaml", "bootstrap/helmfile.d/01-apps.yaml"] {
                let mut command = self.checkout.command(&self.sandbox, &self.helmfile);
                run(command.args(["--file", file, "sync", "--hide-notes"]))?;
            }
            Ok(Cost { seconds: started.elapsed().as_secs_f64(), ..Cost::default() })
        })
    }

    /// `k3s-boot apps`.
    pub(super) fn apps(&self) -> Result<Cost> {
        self.counted(|| self.measured())
    }

    /// Another command of k3s-boot, which must succeed.
    pub(super) fn look(&self, args: &[&str]) -> Result<Cost> {
        self.counted(|| {
            let started = Instant::now();
            run(self.checkout.command(&self.sandbox, &self.program).args(args))?;
            Ok(Cost { seconds: started.elapsed().as_secs_f64(), ..Cost::default() })
        })
    }

    pub(super) fn counted(&self, work: impl FnOnce() -> Result<Cost>) -> Result<Cost> {
        let mark = self.sandbox.audit_mark()?;
        let cost = work()?;
        let events = self.sandbox.audit_since(mark)?;
        Ok(Cost {
            mutating: events.iter().filter(|event| event.is_mutating()).count(),
            requests: events.iter().filter(|event| event.is_from_admin()).count(),
            ..cost
        })
    }

    fn measured(&self) -> Result<Cost> {
        let started = Instant::now();
        let mut child = self
            .checkout
            .command(&self.sandbox, &self.program)
            .args(["apps", "--output", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run `k3s-boot`")?;
        let (mut stdout, mut stderr) =
            (child.stdout.take().context("no stdout")?, child.stderr.take().context("no stderr")?);
        let log = thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).map(|_| log)
        });
        let pid = child.id();
        let report = thread::spawn(move || {
            let mut report = Vec::new();
            stdout.read_to_end(&mut report).map(|_| report)
        });
        let mut peak = 0;
        let status = loop {
            peak = memory(pid, "VmHWM:").unwrap_or(0).max(peak);
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(MEMORY_STEP);
        };
        let seconds = started.elapsed().as_secs_f64();
        let joined = |_| anyhow::anyhow!("a reader of k3s-boot's output panicked");
        let (report, log) = (report.join().map_err(joined)??, log.join().map_err(joined)??);
        if !status.success() {
            bail!("`k3s-boot apps` failed with {status}: {}", log.trim());
        }
        let report: Value =
            serde_json::from_slice(&report).context("the report of `k3s-boot apps` is not JSON")?;
        let stages = report["stages"].as_array().context("the report of `k3s-boot apps` has no `stages`")?;
        let of_flux = stages.iter().filter(|stage| stage["name"] == VERIFY);
        let verify = of_flux.filter_map(|stage| stage["seconds"].as_f64()).sum();
        Ok(Cost { seconds, verify, memory: peak, ..Cost::default() })
    }

    /// The revisions of all releases.
    pub(super) fn revisions(&self) -> Result<Vec<String>> {
        let list = self.sandbox.helm_list()?;
        Ok(list.iter().map(|release| format!("{} {}", release["name"], release["revision"])).collect())
    }
}

/// The memory of a process in bytes: its peak (`VmHWM:`) or current size (`VmRSS:`, proc(5)).
pub(super) fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
