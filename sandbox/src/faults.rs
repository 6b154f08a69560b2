//! The fault campaign: whatever goes wrong with a bootstrap is injected, one after the other, and `k3s-boot apps` has to name
//! the object, the cause and the cure, sooner than plain helmfile ends; and to converge once the fault is lifted.

mod catalog;
mod injection;
mod judge;
mod report;
mod stand;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use self::catalog::FAULTS;
use self::injection::{Injection, When};
use self::judge::{Expected, Plain, Verdict, judge};
use self::report::{Row, head, summary};
use self::stand::Stand;
use crate::tools::Tools;

/// A fault, and what is expected of a run that meets it.
struct Fault {
    /// Its name, for `--only`.
    name: &'static str,
    /// What is wrong, for people.
    what: &'static str,
    /// How that comes about, and is lifted again.
    injections: &'static [Injection],
    /// From when on.
    when: When,
    /// Whether all was well once before: what it meets is an upgrade.
    upgrade: bool,
    /// More arguments of `k3s-boot apps`.
    args: &'static [&'static str],
    /// More arguments of the run after the fault was lifted.
    next: &'static [&'static str],
    expected: Expected,
    plain: Plain,
}

/// What is played.
#[derive(Clone, Debug)]
pub struct FaultCampaign {
    /// The names of the faults; all if there are none.
    pub only: Vec<String>,
    /// Whether plain helmfile meets the same faults, each on a cluster of its own.
    pub plain: bool,
    /// Whether k3s-boot meets all of them on one cluster, and has to converge only at the end. They must come in the order of
    /// the releases at which they show.
    pub one_cluster: bool,
}

/// The names of all faults with what is wrong, as lines.
pub(crate) fn list() -> Vec<String> {
    FAULTS.iter().map(|fault| format!("{:26} {}", fault.name, fault.what)).collect()
}

/// Runs a campaign, telling each line of its table; fails if a single expectation does. What was said is kept in a folder.
pub fn run(tools: &Tools, program: &Path, campaign: &FaultCampaign, tell: &dyn Fn(&str)) -> Result<()> {
    let faults = campaign.faults()?;
    let logs = tempfile::Builder::new().prefix("sandbox-faults-").tempdir()?.keep();
    let player = Player { tools, program, logs };
    tell(&format!("what was said is in {}", player.logs.display()));
    for line in head() {
        tell(line);
    }
    let mut rows = Vec::new();
    let mut shared = None;
    if campaign.one_cluster {
        shared = Some(Stand::start(tools, program, "faults")?);
    }
    for fault in faults {
        let row = match &mut shared {
            Some(stand) => player.on(stand, fault, false),
            None => player.both(fault, campaign.plain),
        };
        let row = row.unwrap_or_else(|error| Row::unplayed(fault.name, fault.what, format!("{error:#}")));
        tell(&row.text());
        row.problems().for_each(|problem| tell(&format!("  {}: {problem}", fault.name)));
        rows.push(row);
    }
    for line in summary(&rows) {
        tell(&line);
    }
    if let Some(stand) = shared {
        stand.converge(&[]).context("after all faults were lifted")?;
    }
    let wrong: Vec<_> =
        rows.iter().filter(|row| row.problems().next().is_some()).map(|row| row.name).collect();
    ensure!(wrong.is_empty(), "not as expected: {}; see {}", wrong.join(", "), player.logs.display());
    Ok(())
}

impl FaultCampaign {
    fn faults(&self) -> Result<Vec<&'static Fault>> {
        if self.only.is_empty() {
            return Ok(FAULTS.iter().collect());
        }
        let find = |name: &String| match FAULTS.iter().find(|fault| fault.name == name) {
            Some(fault) => Ok(fault),
            None => bail!("no fault `{name}`; `--list` shows the names"),
        };
        self.only.iter().map(find).collect()
    }
}

/// What it takes to play a fault.
struct Player<'a> {
    tools: &'a Tools,
    program: &'a Path,
    logs: PathBuf,
}

impl Player<'_> {
    /// Plays a fault on a fresh cluster for k3s-boot, and then on another one for plain helmfile: side by side each would
    /// have half the machine, and all that comes before the fault shows would take twice as long.
    fn both(&self, fault: &'static Fault, plain: bool) -> Result<Row> {
        let mut stand = Stand::start(self.tools, self.program, fault.name)?;
        let mut row = self.on(&mut stand, fault, true)?;
        drop(stand);
        if plain && fault.plain != Plain::Unmet {
            row.meet_plain(fault.plain, &self.plain(fault)?);
        }
        Ok(row)
    }

    /// Plays a fault, lifts it, and checks that the next run converges if that is asked.
    fn on(&self, stand: &mut Stand, fault: &'static Fault, converges: bool) -> Result<Row> {
        let told = stand.meet(fault, |site| {
            let mut command = site.command("apps");
            command.args(["--release-timeout", "60s"]).args(fault.args);
            vec![command]
        })?;
        let folder = self.logs.join(fault.name);
        told.write(&folder, "k3s-boot")?;
        let Verdict { named, found, mut problems } = judge(&told, &fault.expected);
        problems.extend(stand.discreet(&folder).err().map(|error| format!("{error:#}")));
        stand.lift(fault)?;
        if converges && let Err(error) = stand.converge(fault.next) {
            problems.push(format!("after it was lifted: {error:#}"));
        }
        Ok(Row::new(fault.name, fault.what, &told, named, found, problems))
    }

    fn plain(&self, fault: &'static Fault) -> Result<judge::Told> {
        let mut stand = Stand::start(self.tools, self.program, fault.name)?;
        let told = stand.meet(fault, |site| {
            let sync = |file: &str| {
                let mut command = site.checkout.command(&site.sandbox, &self.tools.helmfile());
                command.args(["--file", file, "sync", "--hide-notes", "--timeout", "60"]);
                command
            };
            ["bootstrap/helmfile.d/00-crds.yaml", "bootstrap/helmfile.d/01-apps.yaml"].map(sync).into()
        })?;
        told.write(&self.logs.join(fault.name), "plain")?;
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_is_sound() {
        let names: BTreeSet<_> = FAULTS.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), FAULTS.len(), "a name for each");
        for fault in FAULTS {
            assert!(!fault.injections.is_empty() && !fault.what.contains('|'), "{}", fault.name);
            let Expected { code, culprit, cause, fix, .. } = fault.expected;
            assert_eq!(culprit.is_empty(), cause.is_empty(), "{}", fault.name);
            assert!(code == 0 || !fix.is_empty(), "{}: what is not repaired has a cure", fault.name);
        }
    }

    #[test]
    fn faults_are_chosen_by_name() {
        let campaign = |names: &[&str]| FaultCampaign {
            only: names.iter().map(|&name| name.to_owned()).collect(),
            plain: false,
            one_cluster: false,
        };
        assert_eq!(campaign(&[]).faults().unwrap().len(), FAULTS.len());
        let chosen = campaign(&["taint", "cpu"]).faults().unwrap();
        assert_eq!(chosen.iter().map(|fault| fault.name).collect::<Vec<_>>(), ["taint", "cpu"]);
        assert!(campaign(&["none"]).faults().is_err());
    }
}
