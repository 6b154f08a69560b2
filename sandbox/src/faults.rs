//! The fault campaign: injects faults one by one and checks that `k3s-boot apps` names the object, the cause and the fix before
//! plain helmfile ends, and converges once the fault is removed.

mod catalog;
mod fixture;
mod injection;
mod report;
mod verdict;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use self::catalog::faults;
use self::fixture::FaultFixture;
use self::injection::{Injection, When};
use self::report::{Row, head, summary};
use self::verdict::{Expected, Output, Plain, evaluate};
use crate::tools::Tools;

/// A fault, and the expected result of a run with it.
struct Fault {
    /// The name for `--only`.
    name: &'static str,
    /// A description.
    what: &'static str,
    /// How it is injected and removed.
    injections: &'static [Injection],
    /// When it is injected.
    when: When,
    /// Whether it hits an upgrade instead of a first run.
    upgrade: bool,
    /// Arguments for `k3s-boot apps`.
    args: &'static [&'static str],
    /// Arguments for the run after the fault is removed.
    next: &'static [&'static str],
    expected: Expected,
    plain: Plain,
}

/// Which faults are injected, and how.
#[derive(Clone, Debug)]
pub struct FaultCampaign {
    /// The names of the faults; empty for all.
    pub only: Vec<String>,
    /// Whether plain helmfile runs with the same faults, each on another cluster.
    pub plain: bool,
    /// Whether all faults are injected into one cluster, which must converge only at the end. They must be in the order of the
    /// releases at which they show.
    pub one_cluster: bool,
    /// Whether the CRDs are as large as those of the real charts.
    pub large_crds: bool,
}

/// Lines with the names and descriptions of all faults.
pub(crate) fn list() -> Vec<String> {
    faults().map(|fault| format!("{:26} {}", fault.name, fault.what)).collect()
}

/// Runs a campaign and prints each line of its table with `print`; fails if an expectation fails. Keeps the logs in a folder.
pub fn run(tools: &Tools, program: &Path, campaign: &FaultCampaign, print: &dyn Fn(&str)) -> Result<()> {
    let chosen = campaign.faults()?;
    let logs = tempfile::Builder::new().prefix("sandbox-faults-").tempdir()?.keep();
    let runner = Runner { tools, program, logs, large_crds: campaign.large_crds };
    print(&format!("logs are in {}", runner.logs.display()));
    for line in head() {
        print(line);
    }
    let mut rows = Vec::new();
    let mut shared = None;
    if campaign.one_cluster {
        shared = Some(FaultFixture::start(tools, program, "faults", campaign.large_crds)?);
    }
    for fault in chosen {
        let row = match &mut shared {
            Some(fixture) => runner.on(fixture, fault, false),
            None => runner.both(fault, campaign.plain),
        };
        let row = row.unwrap_or_else(|error| Row::failed(fault.name, fault.what, format!("{error:#}")));
        print(&row.text());
        row.problems().for_each(|problem| print(&format!("  {}: {problem}", fault.name)));
        rows.push(row);
    }
    for line in summary(&rows) {
        print(&line);
    }
    if let Some(fixture) = shared {
        fixture.converge(&[]).context("after all faults were removed")?;
    }
    let wrong: Vec<_> =
        rows.iter().filter(|row| row.problems().next().is_some()).map(|row| row.name).collect();
    ensure!(wrong.is_empty(), "unexpected results: {}; see {}", wrong.join(", "), runner.logs.display());
    Ok(())
}

impl FaultCampaign {
    fn faults(&self) -> Result<Vec<&'static Fault>> {
        if self.only.is_empty() {
            return Ok(faults().collect());
        }
        let find = |name: &String| match faults().find(|fault| fault.name == name) {
            Some(fault) => Ok(fault),
            None => bail!("no fault `{name}`; `--list` shows the names"),
        };
        self.only.iter().map(find).collect()
    }
}

/// Runs k3s-boot and plain helmfile with faults.
struct Runner<'a> {
    tools: &'a Tools,
    program: &'a Path,
    logs: PathBuf,
    large_crds: bool,
}

impl Runner<'_> {
    /// Injects a fault into a fresh cluster for k3s-boot, and then into another one for plain helmfile. At the same time, each
    /// would have half of the machine, and take twice as long until the fault shows.
    fn both(&self, fault: &'static Fault, plain: bool) -> Result<Row> {
        let mut fixture = FaultFixture::start(self.tools, self.program, fault.name, self.large_crds)?;
        let mut row = self.on(&mut fixture, fault, true)?;
        drop(fixture);
        if plain && fault.plain != Plain::NotApplicable {
            row.add_plain(fault.plain, &self.plain(fault)?);
        }
        Ok(row)
    }

    /// Injects a fault, removes it, and checks that the next run converges if `converges`.
    fn on(&self, fixture: &mut FaultFixture, fault: &'static Fault, converges: bool) -> Result<Row> {
        let output = fixture.run(fault, |fixture| {
            let mut command = fixture.command("apps");
            command.args(["--release-timeout", "60s"]).args(fault.args);
            vec![command]
        })?;
        let folder = self.logs.join(fault.name);
        output.write(&folder, "k3s-boot")?;
        let mut verdict = evaluate(&output, &fault.expected);
        verdict.problems.extend(fixture.check_secrets(&folder).err().map(|error| format!("{error:#}")));
        fixture.remove(fault)?;
        if converges && let Err(error) = fixture.converge(fault.next) {
            verdict.problems.push(format!("after the fault was removed: {error:#}"));
        }
        Ok(Row::new(fault.name, fault.what, &output, verdict))
    }

    fn plain(&self, fault: &'static Fault) -> Result<Output> {
        let mut fixture = FaultFixture::start(self.tools, self.program, fault.name, self.large_crds)?;
        let output = fixture.run(fault, |fixture| {
            let sync = |file: &str| {
                let mut command = fixture.checkout.command(&fixture.sandbox, &self.tools.helmfile());
                command.args(["--file", file, "sync", "--hide-notes", "--timeout", "60"]);
                command
            };
            ["bootstrap/helmfile.d/00-crds.yaml", "bootstrap/helmfile.d/01-apps.yaml"].map(sync).into()
        })?;
        output.write(&self.logs.join(fault.name), "plain")?;
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_is_complete() {
        let names: BTreeSet<_> = faults().map(|fault| fault.name).collect();
        assert_eq!(names.len(), faults().count(), "names must be unique");
        for fault in faults() {
            assert!(!fault.injections.is_empty() && !fault.what.contains('|'), "{}", fault.name);
            let Expected { code, object, cause, fix, .. } = fault.expected;
            assert_eq!(object.is_empty(), cause.is_empty(), "{}", fault.name);
            assert!(code == 0 || !fix.is_empty(), "{}: a failure needs a fix", fault.name);
        }
    }

    #[test]
    fn faults_are_chosen_by_name() {
        let campaign = |names: &[&str]| FaultCampaign {
            only: names.iter().map(|&name| name.to_owned()).collect(),
            plain: false,
            one_cluster: false,
            large_crds: true,
        };
        assert_eq!(campaign(&[]).faults().unwrap().len(), faults().count());
        let chosen = campaign(&["taint", "cpu"]).faults().unwrap();
        assert_eq!(chosen.iter().map(|fault| fault.name).collect::<Vec<_>>(), ["taint", "cpu"]);
        assert!(campaign(&["none"]).faults().is_err());
    }
}
