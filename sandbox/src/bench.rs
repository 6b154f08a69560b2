//! `cargo sandbox bench`: compares k3s-boot with plain helmfile and prints a table for the docs.

mod crds;
mod many;
mod measure;
mod wait;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use self::measure::{Cost, Place};
use crate::output;
use crate::process::run;
use crate::registry::Registry;
use crate::tools::Tools;

/// The number of runs of `--version`.
const STARTS: usize = 50;
/// The number of runs that change nothing.
const LOOKS: usize = 9;
/// The number of helmfile syncs with nothing to do, and of runs with a changed value.
const SYNCS: usize = 3;
/// The delay of each request to a slow registry.
const SLOW: Duration = Duration::from_millis(300);
/// The values file in which a value is changed, and the line before it.
const VALUE: (&str, &str) = ("bootstrap/templates/values.yaml.gotmpl", "rollOutCiliumPods: true\n");

/// A case to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// A first run
    Cold,
    /// A first run with a registry that delays each request by 0.3 s
    Slow,
    /// A run with nothing to do
    Second,
    /// A run after a change of one value
    Value,
    /// A run with nothing to do, with 5, 10, 25 and 50 releases; the last with 200 namespaces
    Many,
    /// A CRD helmfile with 20 charts and 100 CRDs that is only rendered: first and second runs
    Crds,
    /// Waiting five minutes for a release
    Wait,
    /// The commands that change nothing, and `--version`
    Looks,
}

/// A row of the table: median times, and maximum requests and memory.
struct Row {
    what: String,
    plain: Option<Cost>,
    ours: Cost,
    /// Whether the wait for Flux, which plain helmfile does not do, is excluded.
    without_verify: bool,
}

/// Measures these cases; first runs in `pairs` pairs, alternating.
pub(crate) fn bench(tools: &Tools, program: &Path, cases: &[Case], pairs: usize) -> Result<()> {
    let mut rows = Vec::new();
    for case in cases {
        match case {
            Case::Cold => rows.push(cold(tools, program, pairs, Duration::ZERO)?),
            Case::Slow => rows.push(cold(tools, program, pairs.min(SYNCS), SLOW)?),
            Case::Second => rows.push(second(tools, program)?),
            Case::Value => rows.push(value(tools, program)?),
            Case::Many => rows.extend(many(tools, program)?),
            Case::Crds => rows.extend(rendered_crds(tools, program, pairs)?),
            Case::Wait => wait::wait(tools, program)?,
            Case::Looks => looks(tools, program)?,
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    output::result(
        "| | plain `helmfile sync`, twice | `k3s-boot apps` | ratio | changing requests | all requests | peak memory |",
    );
    output::result("|---|---|---|---|---|---|---|");
    for row in &rows {
        output::result(&row.text());
    }
    Ok(())
}

impl Row {
    fn text(&self) -> String {
        let Self { what, ours, .. } = self;
        let seconds = if self.without_verify { ours.seconds - ours.verify } else { ours.seconds };
        let memory = to_megabytes(ours.memory);
        let plain = |show: &dyn Fn(&Cost) -> String| self.plain.as_ref().map_or_else(|| "-".to_owned(), show);
        format!(
            "| {what} | {} | {seconds:.2} s | {} | {} → {} | {} → {} | {memory:.1} MB |",
            plain(&|cost| format!("{:.2} s", cost.seconds)),
            plain(&|cost| ratio(seconds, cost.seconds)),
            plain(&|cost| cost.mutating.to_string()),
            ours.mutating,
            plain(&|cost| cost.requests.to_string()),
            ours.requests,
        )
    }
}

/// Small ratios are easier to read as a factor.
fn ratio(ours: f64, plain: f64) -> String {
    let ratio = ours / plain;
    if ratio < 0.2 { format!("{ratio:.3} ({:.0} times faster)", 1.0 / ratio) } else { format!("{ratio:.2}") }
}

/// First runs, each on a fresh cluster.
fn cold(tools: &Tools, program: &Path, pairs: usize, delay: Duration) -> Result<Row> {
    let registry = Registry::start(tools)?;
    registry.faults().delay(delay);
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for pair in 1..=pairs {
        plain.push(Place::fresh(tools, &registry, program)?.plain()?);
        ours.push(Place::fresh(tools, &registry, program)?.apps()?);
        let (one, other) = (plain[pair - 1], ours[pair - 1]);
        output::progress(&format!(
            "pair {pair}: plain {:.2} s, k3s-boot {:.2} s of which {:.2} s wait for Flux",
            one.seconds, other.seconds, other.verify
        ));
    }
    let mut what = "first run, the wait for Flux apart".to_owned();
    if delay > Duration::ZERO {
        what = format!("the same with {} s more for each request to a registry", delay.as_secs_f64());
    }
    Ok(Row { what, plain: Some(middle(&plain)?), ours: middle(&ours)?, without_verify: true })
}

/// A cluster that k3s-boot has bootstrapped.
fn bootstrapped(tools: &Tools, program: &Path) -> Result<Place> {
    let place = Place::fresh(tools, &Registry::start(tools)?, program)?;
    place.apps()?;
    Ok(place)
}

fn second(tools: &Tools, program: &Path) -> Result<Row> {
    let place = bootstrapped(tools, program)?;
    let before = place.revisions()?;
    let ours = times(LOOKS, || place.apps())?;
    ensure!(place.revisions()? == before, "a run with nothing to do created a revision");
    // Last, because it creates new revisions.
    let plain = times(SYNCS, || place.plain())?;
    let what = "second run, nothing to do".to_owned();
    Ok(Row { what, plain: Some(plain), ours, without_verify: false })
}

fn value(tools: &Tools, program: &Path) -> Result<Row> {
    let place = bootstrapped(tools, program)?;
    let (file, line) = VALUE;
    let mut round = 0;
    let mut change = || {
        round += 1;
        place.checkout.change(file, &[(line, format!("{line}podAnnotations: {{round: \"{round}\"}}\n"))])
    };
    let ours = times(SYNCS, || {
        let before = place.revisions()?;
        change()?;
        let cost = place.apps()?;
        let after = place.revisions()?;
        let new: Vec<_> = after.iter().filter(|revision| !before.contains(revision)).collect();
        ensure!(new.len() == 1, "releases with new revisions: {new:?}");
        Ok(cost)
    })?;
    let plain = times(SYNCS, || {
        change()?;
        place.plain()
    })?;
    let what = "one value changed".to_owned();
    Ok(Row { what, plain: Some(plain), ours, without_verify: false })
}

fn many(tools: &Tools, program: &Path) -> Result<Vec<Row>> {
    let registry = Registry::start_with(tools, &[many::chart()])?;
    let place = Place::fresh(tools, &registry, program)?;
    // These releases install no network.
    place.sandbox.set_node_ready("node-1", true)?;
    let namespace = place.sandbox.get("/api/v1/namespaces/kube-system")?.context("no `kube-system`")?;
    let uid = namespace["metadata"]["uid"].as_str().context("`kube-system` has no UID")?;
    let mut rows = Vec::new();
    for (releases, namespaces) in [(5, 5), (10, 5), (25, 5), (50, 200)] {
        many::write(&place.checkout, uid, releases, namespaces)?;
        place.apps()?;
        let ours = times(LOOKS, || place.apps())?;
        ensure!(ours.mutating == 0, "a run with nothing to do made changes");
        let plain = times(1, || place.plain())?;
        // k3s-boot must record what plain helmfile has synced.
        place.apps()?;
        let what = format!("nothing to do, {releases} small releases, {namespaces} namespaces");
        output::progress(&format!("{what}: {:.2} s, plain {:.2} s", ours.seconds, plain.seconds));
        rows.push(Row { what, plain: Some(plain), ours, without_verify: false });
    }
    Ok(rows)
}

/// A CRD helmfile that is only rendered, against `helmfile template`, `kubectl apply` and `helmfile sync`.
fn rendered_crds(tools: &Tools, program: &Path, pairs: usize) -> Result<Vec<Row>> {
    let registry = Registry::start_with(tools, &crds::charts())?;
    let fresh = || {
        let place = Place::fresh(tools, &registry, program)?;
        crds::write(&place)?;
        anyhow::Ok(place)
    };
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    let mut last = None;
    for pair in 1..=pairs {
        plain.push(crds::plain(&fresh()?)?);
        let place = fresh()?;
        ours.push(place.apps()?);
        let (one, other) = (plain[pair - 1], ours[pair - 1]);
        output::progress(&format!(
            "pair {pair}: plain {:.2} s, k3s-boot {:.2} s of which {:.2} s wait for Flux",
            one.seconds, other.seconds, other.verify
        ));
        last = Some(place);
    }
    let place = last.context("no pair was run")?;
    let again = times(LOOKS, || place.apps())?;
    ensure!(again.mutating == 0, "a run with nothing to do made changes");
    let again_plain = times(SYNCS, || crds::plain(&place))?;
    let what =
        "first run with a rendered CRD helmfile (20 charts, 100 CRDs), the wait for Flux apart".to_owned();
    let first = Row { what, plain: Some(middle(&plain)?), ours: middle(&ours)?, without_verify: true };
    let what = "second run of it, nothing to do".to_owned();
    Ok(vec![first, Row { what, plain: Some(again_plain), ours: again, without_verify: false }])
}

/// Measures the commands that change nothing, on an empty and on a bootstrapped cluster, with cached charts.
fn looks(tools: &Tools, program: &Path) -> Result<()> {
    let place = Place::fresh(tools, &Registry::start(tools)?, program)?;
    output::result("| medians of nine, charts cached | | changing requests |");
    output::result("|---|---|---|");
    let looked = |cluster: &str, command: &[&str]| {
        let cost = times(LOOKS, || place.look(command))?;
        let name = command.join(" ");
        output::result(&format!("| {cluster}: `{name}` | {:.2} s | {} |", cost.seconds, cost.mutating));
        anyhow::Ok(())
    };
    // The first one fetches the charts.
    place.look(&["check"])?;
    looked("empty cluster", &["check"])?;
    place.apps()?;
    let commands: [&[&str]; 5] =
        [&["check"], &["check", "--offline"], &["diff"], &["diff", "--manifests"], &["status"]];
    for command in commands {
        looked("six releases", command)?;
    }
    let start = start_time(program)?;
    output::result(&format!("| start (`--version`), median of {STARTS} | {:.2} ms | |", start * 1000.0));
    output::result(&format!(
        "| size of the program | {:.2} MB | |",
        to_megabytes(fs::metadata(program)?.len())
    ));
    output::result("");
    Ok(())
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

/// The median of this many runs.
fn times(count: usize, mut work: impl FnMut() -> Result<Cost>) -> Result<Cost> {
    let costs: Result<Vec<_>> = (0..count).map(|_| work()).collect();
    middle(&costs?)
}

/// Median times, and the maximum of all other figures.
fn middle(costs: &[Cost]) -> Result<Cost> {
    let median = |of: fn(&Cost) -> f64| median(&mut costs.iter().map(of).collect::<Vec<_>>());
    let most = |of: fn(&Cost) -> usize| costs.iter().map(of).max().unwrap_or_default();
    Ok(Cost {
        seconds: median(|cost| cost.seconds)?,
        verify: median(|cost| cost.verify)?,
        mutating: most(|cost| cost.mutating),
        requests: most(|cost| cost.requests),
        memory: costs.iter().map(|cost| cost.memory).max().unwrap_or_default(),
    })
}

/// The median of values, which get sorted.
pub(crate) fn median(values: &mut [f64]) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => bail!("no values to take the median of"),
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
    use super::{median, ratio};

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&mut [3.0, 1.0, 2.0]).unwrap() - 2.0).abs() < 1e-9);
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]).unwrap() - 2.5).abs() < 1e-9);
        assert!(median(&mut []).is_err());
    }

    #[test]
    fn ratios_are_easy_to_read() {
        assert_eq!(ratio(11.0, 10.0), "1.10");
        assert_eq!(ratio(1.0, 40.0), "0.025 (40 times faster)");
    }
}
