//! The kill campaign: kills `k3s-boot apps` at random moments and checks that the next run recovers by itself.

mod ending;
mod restart;
mod scenario;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;

use self::ending::{KillMethod, Meanwhile};
use self::restart::Restart;
use self::scenario::{Recovered, Scenario};
use crate::bench::median;
use crate::charts::Chart;
use crate::random::Random;
use crate::registry::Registry;
use crate::tools::Tools;

/// The charts that are upgraded, with the parts of their versions before and at the last number.
const UPGRADED: [(&str, &str, usize); 4] = [
    ("prometheus-operator-crds", "19.1.", 0),
    ("cilium", "1.18.", 6),
    ("coredns", "1.45.", 0),
    ("cert-manager", "v1.19.", 2),
];

/// Maximum time until a run begins its work after a restart. A run that waits for the lock of the previous run is too late: a
/// Lease that is not renewed expires after 15 s.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// How often k3s-boot is killed, and how.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Seed for the random moments, which are fractions of the usual duration of a run.
    pub seed: u64,
    /// Power cuts: k3s-boot and all its descendants are killed at the same instant.
    pub cuts: Runs,
    /// Power cuts after which the machine has another boot ID. Before the next run, alternately, nothing happens, the lock is
    /// released, or (in upgrades) a run skips the pending release.
    pub restarts: Runs,
    /// Maximum time until a run begins its work after a restart: 5 s on an otherwise idle machine.
    pub soon: Duration,
    /// Whether the CRDs are as large as those of the real charts.
    pub large_crds: bool,
    /// How often each of INT, TERM, HUP and KILL is sent to k3s-boot alone, alternating between first runs and upgrades.
    pub signals: usize,
}

/// How many runs are killed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    /// First runs.
    pub first: usize,
    /// Upgrades of all releases.
    pub upgrades: usize,
}

/// The kind of run that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    First,
    Upgrade,
}

/// A kill.
#[derive(Clone, Copy, Debug)]
struct Kill {
    work: Work,
    method: KillMethod,
    /// The moment, as a fraction of the usual duration.
    at: f64,
}

/// The results of kills of one kind.
#[derive(Default)]
struct Outcome {
    /// The number of killed runs; a run that finished before its moment does not count.
    killed: usize,
    converged: usize,
    /// How often runs were killed at each stage.
    during: BTreeMap<String, usize>,
    /// Durations of the next runs in seconds.
    next: Vec<f64>,
    /// Seconds until the next runs began their work, if they had any.
    at_work: Vec<f64>,
}

/// Fails if this machine cannot simulate its restart, naming what is missing.
pub(crate) fn check_restarts() -> Result<()> {
    Restart::new().map(drop)
}

/// Runs a campaign and prints each line with `print`; fails if k3s-boot did not recover from every kill.
///
/// A cluster is used again for upgrades as long as nothing has failed there.
pub fn run(tools: &Tools, program: &Path, campaign: &Campaign, print: &dyn Fn(&str)) -> Result<()> {
    let (mut firsts, mut upgrades) = campaign.kills();
    // The first cluster is upgraded once more, to measure the usual duration.
    let rounds = 1 + upgrades.len().div_ceil(firsts.len().max(1));
    let restart =
        (campaign.restarts.first + campaign.restarts.upgrades > 0).then(Restart::new).transpose()?;
    let restart = restart.map(|restart| (restart, campaign.soon));
    let registry = Registry::start_with(tools, &campaign.charts(rounds)?)?;
    let start = || Scenario::start(tools, program, &registry, restart);

    let mut scenario = start()?;
    let usual = [scenario.first_run()?, scenario.upgraded()?];
    let [first, upgrade] = usual.map(|time| time.as_secs_f64());
    print(&format!("a first run takes {first:.1} s, an upgrade {upgrade:.1} s"));
    let mut outcomes: BTreeMap<_, Outcome> = BTreeMap::new();
    let mut failures = Vec::new();
    loop {
        let next = if scenario.is_up() && scenario.upgrades() < rounds { upgrades.pop() } else { None };
        let kill = if let Some(kill) = next {
            kill
        } else if firsts.is_empty() && upgrades.is_empty() {
            break;
        } else {
            scenario = start()?;
            let Some(kill) = firsts.pop() else {
                scenario.first_run()?;
                continue;
            };
            kill
        };
        let moment = usual[usize::from(kill.work == Work::Upgrade)].mul_f64(kill.at);
        let outcome = outcomes.entry((kill.work, kill.method.name())).or_default();
        match scenario.kill_and_recover(&kill, moment) {
            Ok(Some(recovered)) => {
                let (work, method, at) = (kill.work.name(), kill.method.name(), moment.as_secs_f64());
                let (during, next) = (&recovered.during, recovered.next.as_secs_f64());
                let worked = recovered.at_work.map_or_else(
                    || "nothing to do".to_owned(),
                    |time| format!("began its work after {:.1} s", time.as_secs_f64()),
                );
                print(&format!(
                    "{work}, {method}, after {at:.2} s, at {during}: recovered in {next:.1} s, {worked}"
                ));
                outcome.add(recovered);
            }
            // The run finished before its moment: try an earlier one.
            Ok(None) => {
                let list = if kill.work == Work::First { &mut firsts } else { &mut upgrades };
                let (method, at) = (kill.method.name(), kill.at * 0.9);
                ensure!(at > 0.01, "{method} does not stop k3s-boot");
                list.push(Kill { at, ..kill });
            }
            Err(error) => {
                outcome.killed += 1;
                let (work, method) = (kill.work.name(), kill.method.name());
                let failure = format!("{work}, {method}, after {:.2} s: {error:#}", moment.as_secs_f64());
                print(&format!("not recovered: {failure}"));
                failures.push(failure);
                scenario.give_up();
            }
        }
    }
    print("| run | killed by | times | converged | next run | began its work after | was at |");
    print("|---|---|---|---|---|---|---|");
    for ((work, method), outcome) in &mut outcomes {
        print(&outcome.row(*work, method));
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("no recovery from {} kills:\n{}", failures.len(), failures.join("\n"))
}

impl Campaign {
    /// The kills of first runs and those of upgrades.
    fn kills(&self) -> (Vec<Kill>, Vec<Kill>) {
        let mut random = Random::new(self.seed);
        // A quick run may have finished at the last moments.
        let mut kill = |work, method| Kill { work, method, at: random.fraction() * 0.97 };
        let mut firsts: Vec<_> =
            (0..self.cuts.first).map(|_| kill(Work::First, KillMethod::PowerCut)).collect();
        let mut upgrades: Vec<_> =
            (0..self.cuts.upgrades).map(|_| kill(Work::Upgrade, KillMethod::PowerCut)).collect();
        let methods =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL].map(KillMethod::Alone);
        for (number, method) in (0..self.signals).flat_map(|_| methods).enumerate() {
            // Alternate for each signal.
            if (number + number / methods.len()) % 2 == 0 {
                firsts.push(kill(Work::First, method));
            } else {
                upgrades.push(kill(Work::Upgrade, method));
            }
        }
        let [nothing, free, skipped] =
            [Meanwhile::Nothing, Meanwhile::FreeLock, Meanwhile::SkippedRelease].map(KillMethod::Restart);
        // A first run cannot skip a release that is not installed yet: others depend on it.
        let methods = [nothing, free].into_iter().cycle().take(self.restarts.first);
        firsts.extend(methods.map(|method| kill(Work::First, method)));
        let methods = [nothing, free, skipped].into_iter().cycle().take(self.restarts.upgrades);
        upgrades.extend(methods.map(|method| kill(Work::Upgrade, method)));
        random.shuffle(&mut firsts);
        random.shuffle(&mut upgrades);
        (firsts, upgrades)
    }

    /// The versions of the charts after 1 to `rounds` upgrades, and what else differs from the shipped charts.
    fn charts(&self, rounds: usize) -> Result<Vec<Chart>> {
        let versions = (1..=rounds)
            .flat_map(|round| UPGRADED.map(|(name, start, last)| (name, format!("{start}{}", last + round))));
        let newer = versions.map(|(name, version)| Ok(Chart::named(name)?.with_version(&version)));
        let newer: Result<Vec<_>> = newer.collect();
        if self.large_crds {
            return newer;
        }
        let newer = newer?.into_iter().map(Chart::without_schemas);
        Ok(Chart::large_without_schemas()?.into_iter().chain(newer).collect())
    }
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::First => "first run",
            Self::Upgrade => "upgrade",
        }
    }
}

impl Outcome {
    fn add(&mut self, recovered: Recovered) {
        self.killed += 1;
        self.converged += 1;
        *self.during.entry(recovered.during).or_default() += 1;
        self.next.push(recovered.next.as_secs_f64());
        self.at_work.extend(recovered.at_work.map(|time| time.as_secs_f64()));
    }

    fn row(&mut self, work: Work, method: &str) -> String {
        let during: Vec<_> = self.during.iter().map(|(words, count)| format!("{words} {count}")).collect();
        let [next, at_work] = [&mut self.next, &mut self.at_work].map(|times| {
            median(times).map_or_else(
                |_| "-".to_owned(),
                |median| format!("{median:.1} s, at most {:.1} s", times.iter().copied().fold(0.0, f64::max)),
            )
        });
        let (work, killed, converged) = (work.name(), self.killed, self.converged);
        format!("| {work} | {method} | {killed} | {converged} | {next} | {at_work} | {} |", during.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_come_in_all_ways() {
        let restarts = Runs { first: 3, upgrades: 4 };
        let cuts = Runs { first: 1, upgrades: 0 };
        let campaign = Campaign { seed: 1, cuts, restarts, soon: SOON, signals: 0, large_crds: true };
        let names = |kills: Vec<Kill>| {
            let mut names: Vec<_> = kills.iter().map(|kill| kill.method.name()).collect();
            names.sort_unstable();
            names
        };
        let (cut, lock, skipped) = ("power cut", "power cut, new boot ID, free lock", "release skipped");
        let (firsts, upgrades) = campaign.kills();
        let boot = "power cut, new boot ID";
        assert_eq!(names(firsts), [cut, boot, boot, lock]);
        assert_eq!(names(upgrades), [boot, boot, lock, &format!("{boot}, {skipped}")]);
    }
}
