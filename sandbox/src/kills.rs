//! The kill campaign: `k3s-boot apps` is ended at random moments, and the next run has to mend everything by itself.

mod ending;
mod restart;
mod site;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;

use self::ending::{Meanwhile, Way};
use self::restart::Restart;
use self::site::{Mended, Site};
use crate::bench::median;
use crate::charts::Chart;
use crate::random::Random;
use crate::registry::Registry;
use crate::tools::Tools;

/// The charts of which there are newer versions, and the parts of their versions before the last number.
const UPGRADED: [(&str, &str, usize); 4] = [
    ("prometheus-operator-crds", "19.1.", 0),
    ("cilium", "1.18.", 6),
    ("coredns", "1.45.", 0),
    ("cert-manager", "v1.19.", 2),
];

/// How soon a run has to work after a restart. A run that waited for the lock of the run before comes too late: a Lease that is
/// not renewed holds for 15 s.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// How often k3s-boot is ended, and how.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Of the random moments: the same seed gives the same ones, as fractions of what a run takes.
    pub seed: u64,
    /// Power cuts: k3s-boot and all its descendants are killed at one instant.
    pub cuts: Runs,
    /// Power cuts after which the machine has another boot ID. By turns, nothing happens before the next run, somebody lets go
    /// of the lock, and, in upgrades, a run skips the release that is pending.
    pub restarts: Runs,
    /// How soon a run has to work after a restart: 5 s, unless others slow it down.
    pub soon: Duration,
    /// Of each of INT, TERM, HUP and KILL, to k3s-boot alone, in first runs and in upgrades by turns.
    pub signals: usize,
}

/// How many runs are ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    /// First runs.
    pub first: usize,
    /// Upgrades of all releases.
    pub upgrades: usize,
}

/// What is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    First,
    Upgrade,
}

/// A kill.
#[derive(Clone, Copy, Debug)]
struct Kill {
    work: Work,
    way: Way,
    /// The moment, as a fraction of what the work takes.
    at: f64,
}

/// What became of kills of one kind.
#[derive(Default)]
struct Outcome {
    /// How many runs were ended; one that is over before its moment does not count.
    ended: usize,
    converged: usize,
    /// What the ended runs had said last, and how often.
    during: BTreeMap<String, usize>,
    /// Seconds of the next runs.
    next: Vec<f64>,
    /// Seconds until they worked, of those that had something to do.
    at_work: Vec<f64>,
}

/// Fails with what is missing when the machine cannot be restarted for a program here.
pub(crate) fn check_restarts() -> Result<()> {
    Restart::new().map(drop)
}

/// Runs a campaign, telling each line of its table; fails if a single kill was not mended.
///
/// A kill's cluster is used for upgrades after it, as long as nothing went wrong there.
pub fn run(tools: &Tools, program: &Path, campaign: &Campaign, tell: &dyn Fn(&str)) -> Result<()> {
    let (mut firsts, mut upgrades) = campaign.kills();
    // The first cluster is upgraded once more, to see how long that takes.
    let rounds = 1 + upgrades.len().div_ceil(firsts.len().max(1));
    let restart =
        (campaign.restarts.first + campaign.restarts.upgrades > 0).then(Restart::new).transpose()?;
    let restart = restart.map(|restart| (restart, campaign.soon));
    let registry = Registry::start_with(tools, &newer(rounds)?)?;
    let start = || Site::start(tools, program, &registry, restart);

    let mut site = start()?;
    let usual = [site.first_run()?, site.upgraded()?];
    let [first, upgrade] = usual.map(|time| time.as_secs_f64());
    tell(&format!("a first run takes {first:.1} s, an upgrade {upgrade:.1} s"));
    let mut outcomes: BTreeMap<_, Outcome> = BTreeMap::new();
    let mut failures = Vec::new();
    loop {
        let next = if site.is_up() && site.upgrades() < rounds { upgrades.pop() } else { None };
        let kill = if let Some(kill) = next {
            kill
        } else if firsts.is_empty() && upgrades.is_empty() {
            break;
        } else {
            site = start()?;
            let Some(kill) = firsts.pop() else {
                site.first_run()?;
                continue;
            };
            kill
        };
        let moment = usual[usize::from(kill.work == Work::Upgrade)].mul_f64(kill.at);
        let outcome = outcomes.entry((kill.work, kill.way.name())).or_default();
        match site.end_and_mend(&kill, moment) {
            Ok(Some(mended)) => {
                let (work, way, at) = (kill.work.name(), kill.way.name(), moment.as_secs_f64());
                let (during, next) = (&mended.during, mended.next.as_secs_f64());
                let worked = mended.at_work.map_or_else(
                    || "nothing was to be done".to_owned(),
                    |time| format!("it began to work after {:.1} s", time.as_secs_f64()),
                );
                tell(&format!(
                    "{work}, {way}, after {at:.2} s, at {during}: mended in {next:.1} s, {worked}"
                ));
                outcome.add(mended);
            }
            // It was over before its moment: once more, at an earlier one.
            Ok(None) => {
                let list = if kill.work == Work::First { &mut firsts } else { &mut upgrades };
                let (way, at) = (kill.way.name(), kill.at * 0.9);
                ensure!(at > 0.01, "{way} never ends it");
                list.push(Kill { at, ..kill });
            }
            Err(error) => {
                outcome.ended += 1;
                let (work, way) = (kill.work.name(), kill.way.name());
                let words = format!("{work}, {way}, after {:.2} s: {error:#}", moment.as_secs_f64());
                tell(&format!("not mended: {words}"));
                failures.push(words);
                site.give_up();
            }
        }
    }
    tell("| run | ended by | times | converged | next run | began to work after | it was at |");
    tell("|---|---|---|---|---|---|---|");
    for ((work, way), outcome) in &mut outcomes {
        tell(&outcome.row(*work, way));
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} kills were not mended:\n{}", failures.len(), failures.join("\n"))
}

impl Campaign {
    /// The kills of first runs and those of upgrades.
    fn kills(&self) -> (Vec<Kill>, Vec<Kill>) {
        let mut random = Random::new(self.seed);
        // Nearly to the end: the last moments are those in which a run is over already on a day when it is quicker.
        let mut kill = |work, way| Kill { work, way, at: random.fraction() * 0.97 };
        let mut firsts: Vec<_> = (0..self.cuts.first).map(|_| kill(Work::First, Way::PowerCut)).collect();
        let mut upgrades: Vec<_> =
            (0..self.cuts.upgrades).map(|_| kill(Work::Upgrade, Way::PowerCut)).collect();
        let ways = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL].map(Way::Alone);
        for (number, way) in (0..self.signals).flat_map(|_| ways).enumerate() {
            // By turns for each way.
            if (number + number / ways.len()) % 2 == 0 {
                firsts.push(kill(Work::First, way));
            } else {
                upgrades.push(kill(Work::Upgrade, way));
            }
        }
        let [nothing, free, skipped] =
            [Meanwhile::Nothing, Meanwhile::FreeLock, Meanwhile::SkippedRelease].map(Way::Restart);
        // What a first run has not installed yet cannot be skipped: others wait for it.
        let ways = [nothing, free].into_iter().cycle().take(self.restarts.first);
        firsts.extend(ways.map(|way| kill(Work::First, way)));
        let ways = [nothing, free, skipped].into_iter().cycle().take(self.restarts.upgrades);
        upgrades.extend(ways.map(|way| kill(Work::Upgrade, way)));
        random.shuffle(&mut firsts);
        random.shuffle(&mut upgrades);
        (firsts, upgrades)
    }
}

/// The charts as they are after `rounds` upgrades, and after each before.
fn newer(rounds: usize) -> Result<Vec<Chart>> {
    let versions = (1..=rounds)
        .flat_map(|round| UPGRADED.map(|(name, start, last)| (name, format!("{start}{}", last + round))));
    versions.map(|(name, version)| Ok(Chart::named(name)?.with_version(&version))).collect()
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
    fn add(&mut self, mended: Mended) {
        self.ended += 1;
        self.converged += 1;
        *self.during.entry(mended.during).or_default() += 1;
        self.next.push(mended.next.as_secs_f64());
        self.at_work.extend(mended.at_work.map(|time| time.as_secs_f64()));
    }

    fn row(&mut self, work: Work, way: &str) -> String {
        let during: Vec<_> = self.during.iter().map(|(words, count)| format!("{words} {count}")).collect();
        let [next, at_work] = [&mut self.next, &mut self.at_work].map(|times| {
            median(times).map_or_else(
                |_| "-".to_owned(),
                |median| format!("{median:.1} s, at most {:.1} s", times.iter().copied().fold(0.0, f64::max)),
            )
        });
        let (work, ended, converged) = (work.name(), self.ended, self.converged);
        format!("| {work} | {way} | {ended} | {converged} | {next} | {at_work} | {} |", during.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_come_in_all_ways() {
        let restarts = Runs { first: 3, upgrades: 4 };
        let cuts = Runs { first: 1, upgrades: 0 };
        let campaign = Campaign { seed: 1, cuts, restarts, soon: SOON, signals: 0 };
        let names = |kills: Vec<Kill>| {
            let mut names: Vec<_> = kills.iter().map(|kill| kill.way.name()).collect();
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
