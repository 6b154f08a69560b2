//! Whether Flux will install the releases as the helmfiles do.

use std::path::Path;

use semver::Version;
use serde_json::Value;

use crate::base::finding::Finding;
use crate::base::redact::{REDACTED, Redactor};
use crate::base::version_range::meets;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::flux_releases::{ChartVersion, FluxChart, FluxRelease, is_open};
use crate::desired::releases::Release;
use crate::desired::values::{ValueChange, changes, cut, path_below, shown};
use crate::desired::{Desired, STAND_IN};
use crate::tools::charts::{Pin, exact_version};

pub(super) const RULE: Rule = Rule {
    id: "parity",
    group: Group::Repository,
    title: "Flux will install the releases as the helmfiles do",
    why: "After the bootstrap, Flux takes over the releases for which the repository has a HelmRelease, and applies chart, \
          version and values of that. Where they differ from the helmfile, it upgrades or downgrades the release right \
          after the bootstrap: the CNI restarts, for example. Different values are information only, because many \
          bootstraps leave out what needs the rest of the cluster, such as ServiceMonitors. Values with variables \
          of Flux (`${NAME}`), from Secrets and from ConfigMaps that are not generated from a file are not compared; \
          patches of kustomize are not applied.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

/// How many values are listed.
const MAX_VALUES: usize = 10;

fn check(facts: &Facts<'_>) -> Answer {
    let desired = facts.desired;
    let mut inspection = facts.inspect_releases();
    let mut compared = 0;
    for release in desired.releases().filter(|release| release.is_wanted()) {
        let id = release.id();
        match candidates(desired, release)[..] {
            [] => {}
            [flux] => {
                let (chart, values) =
                    (compare_charts(desired, release, flux), compare_values(desired, release, flux));
                if let Err(reason) = &chart {
                    inspection.miss(format!("{id}: the chart was not compared: {reason}"));
                }
                let found = values.finding(release, flux);
                let mut findings: Vec<_> = chart.into_iter().flatten().chain(found).collect();
                match (values.missed(), findings.pop()) {
                    (Some(missed), Some(last)) => findings.push(last.with("unknown", missed)),
                    (Some(missed), None) => inspection.miss(format!("{id}: {missed}")),
                    (None, last) => findings.extend(last),
                }
                inspection.look(findings);
                compared += 1;
            }
            [one, other, ..] => inspection.miss(format!(
                "{id} has several HelmReleases: {}, {}",
                one.file.display(),
                other.file.display()
            )),
        }
    }
    match inspection.answer("no release has a HelmRelease in kubernetes/") {
        Answer::Ok if compared == 1 => Answer::Counted("1 release".to_owned()),
        Answer::Ok => Answer::Counted(format!("{compared} releases")),
        answer => answer,
    }
}

/// The HelmReleases of a release: those that Flux applies, if that is known.
fn candidates<'a>(desired: &'a Desired, release: &Release) -> Vec<&'a FluxRelease> {
    let id = release.id();
    let all: Vec<_> = desired.flux_releases.iter().filter(|flux| flux.release == id).collect();
    let is_synced = |file: &Path| desired.synced.as_ref().is_ok_and(|synced| synced.has(file));
    let synced: Vec<_> = all.iter().copied().filter(|flux| is_synced(&flux.file)).collect();
    if synced.is_empty() { all } else { synced }
}

/// Compares the charts.
///
/// # Errors
///
/// Why they cannot be compared.
fn compare_charts(
    desired: &Desired,
    release: &Release,
    flux: &FluxRelease,
) -> Result<Option<Finding>, String> {
    let chart = flux.chart.as_ref().map_err(Clone::clone)?;
    let with =
        |finding: Finding| finding.with("release", release.id()).with("helm_release", flux.file.display());
    if release.chart_name() != chart.name {
        let finding = Finding::warning(RULE.id, "Flux will install another chart")
            .with("release", release.id())
            .with("helm_release", flux.file.display())
            .with("chart", &release.chart)
            .with("flux_chart", format!("{} from {}", chart.name, chart.url));
        return Ok(Some(finding.fix("use the same chart in the helmfile and in the HelmRelease")));
    }
    if let Some(summary) = compare_versions(desired, release, chart)? {
        let (version, flux_version) =
            (pinned(&release.version, release.digest.as_deref()), chart_version(chart));
        let found = if summary == IN_RANGE { Finding::info } else { Finding::warning };
        return Ok(Some(
            with(found(RULE.id, summary))
                .with("version", version)
                .with("flux_version", &flux_version)
                .fix(format!("set the same version in the helmfile and in {}", chart.file.display())),
        ));
    }
    let url = url(release).filter(|url| !is_same_url(url, &chart.url));
    Ok(url.map(|url| {
        with(Finding::info(RULE.id, "Flux will install the chart from another place"))
            .with("chart", url)
            .with("flux_chart", &chart.url)
    }))
}

/// The URL of a chart in a registry, or of its chart repository, if it is known.
fn url(release: &Release) -> Option<&str> {
    let is_address = release.chart.starts_with("oci://");
    if is_address { Some(Pin::of(&release.chart, "").base) } else { release.repository.as_deref() }
}

fn is_same_url(one: &str, other: &str) -> bool {
    one.trim_end_matches('/').eq_ignore_ascii_case(other.trim_end_matches('/'))
}

/// The version of the helmfile is in the range of Flux, and newer ones would be too.
const IN_RANGE: &str = "Flux will install the newest version in its range";

/// What Flux will do if the versions differ, or may differ.
///
/// # Errors
///
/// Why they cannot be compared.
fn compare_versions(
    desired: &Desired,
    release: &Release,
    chart: &FluxChart,
) -> Result<Option<&'static str>, String> {
    if let (Some(own), Some(digest)) = (&release.digest, &chart.digest) {
        return Ok((own != digest).then_some("Flux will install another version of the chart"));
    }
    let own = desired.chart_version(release);
    match &chart.version {
        ChartVersion::Unknown => Err(format!("{} names no version", chart.file.display())),
        ChartVersion::Exact(version) | ChartVersion::Range(version) if *version == release.version => {
            Ok(None)
        }
        ChartVersion::Exact(version) => {
            let own = own.ok_or("the version in the helmfile is not exact")?;
            let other = exact_version(version).ok_or("its version cannot be read")?;
            Ok(match own.cmp(&other) {
                std::cmp::Ordering::Less => Some("Flux will upgrade the release"),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some("Flux will downgrade the release"),
            })
        }
        ChartVersion::Range(range) => {
            let own = own.ok_or("the version in the helmfile is not exact")?;
            let is_met = meets(range, &own).ok_or_else(|| format!("the version `{range}` cannot be read"))?;
            let is_newer_met = newer(&own).iter().any(|version| meets(range, version) == Some(true));
            Ok(match (is_met, is_newer_met) {
                (false, _) => Some("Flux will install another version of the chart"),
                (true, true) => Some(IN_RANGE),
                (true, false) => None,
            })
        }
    }
}

/// The next versions that a chart may have.
fn newer(version: &Version) -> [Version; 3] {
    let Version { major, minor, patch, .. } = *version;
    [
        Version::new(major, minor, patch.saturating_add(1)),
        Version::new(major, minor.saturating_add(1), 0),
        Version::new(major.saturating_add(1), 0, 0),
    ]
}

fn chart_version(chart: &FluxChart) -> String {
    let version = match &chart.version {
        ChartVersion::Exact(version) | ChartVersion::Range(version) => version.as_str(),
        ChartVersion::Unknown => "",
    };
    pinned(version, chart.digest.as_deref())
}

fn pinned(version: &str, digest: Option<&str>) -> String {
    digest.map_or_else(|| version.to_owned(), |digest| format!("{version}@{digest}"))
}

/// The result of comparing values.
#[derive(Default)]
struct Compared {
    changes: Vec<ValueChange>,
    /// How many values were not compared, because only Flux knows them.
    open: usize,
    /// Where values come from that were not read.
    unread: Vec<String>,
}

impl Compared {
    /// What was not compared.
    fn missed(&self) -> Option<String> {
        let mut missed = Vec::new();
        match self.open {
            0 => {}
            1 => missed.push("1 value with variables was not compared".to_owned()),
            open => missed.push(format!("{open} values with variables were not compared")),
        }
        if !self.unread.is_empty() {
            missed.push(format!("values from {} were not compared", self.unread.join(" and ")));
        }
        (!missed.is_empty()).then(|| missed.join(", "))
    }

    fn finding(&self, release: &Release, flux: &FluxRelease) -> Option<Finding> {
        if self.changes.is_empty() {
            return None;
        }
        let mut lines: Vec<_> =
            self.changes.iter().take(MAX_VALUES).map(|change| line(release, change)).collect();
        let more = self.changes.len().saturating_sub(MAX_VALUES);
        if more > 0 {
            lines.push(format!("{more} more"));
        }
        Some(
            Finding::info(RULE.id, "Flux will apply other values")
                .with("release", release.id())
                .with("helm_release", flux.file.display())
                .with("values", lines.join(", ")),
        )
    }
}

/// A value on both sides. The report redacts known secrets.
fn line(release: &Release, change: &ValueChange) -> String {
    if release.has_secret_values {
        return change.path.clone();
    }
    let redactor = Redactor::default();
    let show = |value: &Option<Value>| {
        let value = value.as_ref().map(|value| shown(&change.path, value, &redactor));
        value.map_or_else(|| "not set".to_owned(), |value| value.to_string())
    };
    let (own, other) = (show(&change.old), show(&change.new));
    if own.contains(REDACTED) || other.contains(REDACTED) {
        return change.path.clone();
    }
    format!("{} ({}, in Flux {})", change.path, cut(&own), cut(&other))
}

fn compare_values(desired: &Desired, release: &Release, flux: &FluxRelease) -> Compared {
    if release.has_unread_values() {
        return Compared { unread: vec!["the helmfile".to_owned()], ..Compared::default() };
    }
    let mut open = Vec::new();
    find_open(&mut open, String::new(), &flux.values);
    let chart = desired.charts.get(&release.id()).and_then(|chart| chart.defaults().ok());
    let mut compared = Compared { unread: flux.unread.clone(), ..Compared::default() };
    for change in changes(&release.merged(), &flux.values) {
        let is_stand_in = |text: &str| text.contains(STAND_IN);
        if change.old.as_ref().is_some_and(|own| contains(own, &is_stand_in))
            || change.new.as_ref().is_some_and(|other| contains(other, &is_open))
        {
            open.push(change.path);
        } else if change.new.is_none() && !flux.unread.is_empty() {
            // An unread source may set it.
        } else if !is_default(chart.as_ref(), &change) {
            compared.changes.push(change);
        }
    }
    open.sort();
    open.dedup();
    compared.open = open.len();
    compared
}

/// Whether one side sets a value to the default of the chart, and the other does not set it.
fn is_default(chart: Option<&Value>, change: &ValueChange) -> bool {
    let ((None, Some(set)) | (Some(set), None)) = (&change.old, &change.new) else { return false };
    let mut default = chart;
    // Dots in a key are escaped.
    for key in change.path.replace("\\.", "\0").split('.') {
        default = default.and_then(|value| value.get(key.replace('\0', ".")));
    }
    default == Some(set)
}

/// Whether a text in a value meets a condition.
fn contains(value: &Value, is_met: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is_met(text),
        Value::Array(items) => items.iter().any(|item| contains(item, is_met)),
        Value::Object(map) => map.iter().any(|(key, value)| is_met(key) || contains(value, is_met)),
        _ => false,
    }
}

/// The paths of values that only Flux knows.
fn find_open(found: &mut Vec<String>, path: String, value: &Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                find_open(found, path_below(&path, key), value);
            }
        }
        value if contains(value, &is_open) => found.push(path),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::desired::chart::Chart;
    use crate::desired::flux_releases::FluxObjects;
    use crate::desired::synced::Synced;

    const FILE: &str = "kubernetes/apps/a/app/app/helmrelease.yaml";

    /// The release `a/app` with these keys, and a HelmRelease with an OCIRepository with this reference and these values.
    fn world(release: &str, reference: &str, values: &str) -> World {
        let release = if release.is_empty() { "version: 1.2.3" } else { release };
        let mut world =
            World::of(&format!("- {{name: app, namespace: a, chart: 'oci://r.io/charts/app', {release}}}\n"));
        world.desired.flux_releases = flux("oci://r.io/charts/app", reference, values);
        world
    }

    fn flux(url: &str, reference: &str, spec: &str) -> Vec<FluxRelease> {
        let text = format!(
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: app}}\n\
             spec: {{chartRef: {{kind: OCIRepository, name: app}}, {spec}}}\n---\n\
             apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {{name: app}}\n\
             spec: {{url: '{url}', ref: {{{reference}}}}}\n"
        );
        let mut objects = FluxObjects::default();
        objects.add(Path::new(FILE), &text);
        objects.releases(|_| None)
    }

    #[test]
    fn equal_releases_are_ok_and_others_not_applicable() {
        let same = "version: 1.2.3, values: [{replicas: 1, list: [a]}]";
        let mut same = world(same, "tag: 1.2.3", "values: {list: [a], replicas: 1.0}");
        assert_eq!(same.ask(&RULE), Answer::Counted("1 release".to_owned()));
        same.desired.coverage.unread = Some("x was not read".to_owned());
        same.assert_found(&RULE, &["unknown x was not read"]);
        let none = "- no release has a HelmRelease in kubernetes/";
        World::shipped().assert_found(&RULE, &[none]);
        let mut elsewhere = world("", "tag: 1.2.3", "targetNamespace: b");
        elsewhere.assert_found(&RULE, &[none]);
        elsewhere.desired.flux_releases = flux("oci://r.io/charts/app", "tag: 9.9.9", "");
        elsewhere.desired.helmfiles[0].releases[0].installed = false;
        elsewhere.assert_found(&RULE, &[none]);
    }

    #[test]
    fn another_version_is_a_warning() {
        let upgrade = "warning Flux will upgrade the release";
        let newer = world("", "tag: v1.3.0", "");
        newer.assert_found(&RULE, &[upgrade]);
        assert_eq!(
            (newer.detail(&RULE, "version"), newer.detail(&RULE, "flux_version")),
            ("1.2.3".into(), "v1.3.0".into())
        );
        assert_eq!(newer.fix(&RULE), format!("set the same version in the helmfile and in {FILE}"));
        world("", "tag: 1.2.0", "").assert_found(&RULE, &["warning Flux will downgrade the release"]);
        world("", "tag: v1.2.3", "").assert_found(&RULE, &[]);
        let other = "warning Flux will install another version of the chart";
        let newest = "info Flux will install the newest version in its range";
        world("", "semver: 1.x", "").assert_found(&RULE, &[newest]);
        world("", "semver: '>=1.2'", "").assert_found(&RULE, &[newest]);
        world("", "semver: '<=1.2.3'", "").assert_found(&RULE, &[]);
        world("", "semver: '>=1.3'", "").assert_found(&RULE, &[other]);
        let unread = "unknown a/app: the chart was not compared: the version `?` cannot be read";
        world("", "semver: '?'", "").assert_found(&RULE, &[unread]);
        world("version: 1.2.3@sha256:0", "digest: 'sha256:0'", "").assert_found(&RULE, &[]);
        world("version: 1.2.3@sha256:0", "tag: 1.2.3, digest: 'sha256:1'", "").assert_found(&RULE, &[other]);
        world("", "tag: 1.2.3, digest: 'sha256:1'", "").assert_found(&RULE, &[]);
        let without = format!("unknown a/app: the chart was not compared: {FILE} names no version");
        world("", "digest: 'sha256:1'", "").assert_found(&RULE, &[&without]);
        // The helmfile has no exact version, but the downloaded chart has.
        let mut range = world("version: 1.x", "tag: 1.3.0", "");
        range.assert_found(
            &RULE,
            &["unknown a/app: the chart was not compared: the version in the helmfile is not exact"],
        );
        range
            .desired
            .charts
            .insert("a/app".into(), Chart { version: "1.2.3".to_owned(), ..Chart::default() });
        range.assert_found(&RULE, &[upgrade]);
        world("version: 1.x", "semver: 1.x", "").assert_found(&RULE, &[]);
    }

    #[test]
    fn another_chart_is_a_warning_and_another_place_information() {
        let mut other = world("", "tag: 1.2.3", "");
        other.desired.flux_releases = flux("oci://r.io/charts/other", "tag: 1.2.3", "");
        other.assert_found(&RULE, &["warning Flux will install another chart"]);
        assert_eq!(other.detail(&RULE, "flux_chart"), "other from oci://r.io/charts/other");
        other.desired.flux_releases = flux("oci://mirror.io/app", "tag: 1.2.3", "");
        other.assert_found(&RULE, &["info Flux will install the chart from another place"]);
        assert_eq!(other.detail(&RULE, "chart"), "oci://r.io/charts/app");
        other.desired.flux_releases = flux("oci://R.io/charts/app/", "tag: 1.2.3", "");
        other.assert_found(&RULE, &[]);
    }

    #[test]
    fn other_values_are_information_with_both_sides() {
        let own = "version: 1.2.3, values: [{operator: {replicas: 1}, only: own, same: x}]";
        let other = "values: {operator: {replicas: 2}, theirs: [1], same: x, password: CANARY-1, url: 'https://me:CANARY-2@host'}";
        let mut world = world(own, "tag: 1.2.3", other);
        world.assert_found(&RULE, &["info Flux will apply other values"]);
        let expected = "only (\"own\", in Flux not set), operator.replicas (1, in Flux 2), password, theirs (not set, in Flux [1]), url";
        assert_eq!(world.detail(&RULE, "values"), expected);
        world.desired.helmfiles[0].releases[0].has_secret_values = true;
        assert_eq!(world.detail(&RULE, "values"), "only, operator.replicas, password, theirs, url");
        world.desired.helmfiles[0].releases[0].unsafe_features.push("secrets".to_owned());
        world.assert_found(&RULE, &["unknown a/app: values from the helmfile were not compared"]);
        let many: Vec<_> = (10..22).map(|n| format!("k{n}: 1")).collect();
        let many = super::tests::world("", "tag: 1.2.3", &format!("values: {{{}}}", many.join(", ")));
        assert!(many.detail(&RULE, "values").ends_with(", k19 (not set, in Flux 1), 2 more"));
    }

    #[test]
    fn a_default_of_the_chart_is_no_difference() {
        let mut world = world("version: 1.2.3, values: [{a: {b.c: 1}}]", "tag: 1.2.3", "values: {d: null}");
        let chart = |values: &str| Chart {
            values: values.to_owned(),
            version: "1.2.3".to_owned(),
            ..Chart::default()
        };
        let difference = ["info Flux will apply other values"];
        world.assert_found(&RULE, &difference);
        world.desired.charts.insert("a/app".into(), chart("a: {b.c: 1}\nd: x\n"));
        world.assert_found(&RULE, &difference);
        assert_eq!(world.detail(&RULE, "values"), "d (not set, in Flux null)", "null removes the default");
        world.desired.charts.insert("a/app".into(), chart("a: {b.c: 1}\nd: null\n"));
        world.assert_found(&RULE, &[]);
    }

    #[test]
    fn values_that_only_flux_knows_are_counted() {
        let own = "version: 1.2.3, values: [{host: '${HOST}', list: [1], open: 'x.stand-in.invalid', same: 1, a: 2}]";
        let flux =
            "values: {host: '${HOST}', list: ['${A}'], open: y, same: 1, key: 'ENC[AES256_GCM,data:x]'";
        let known = world(own, "tag: 1.2.3", &format!("{flux}, a: 2}}"));
        known.assert_found(&RULE, &["unknown a/app: 4 values with variables were not compared"]);
        let different = world(own, "tag: 1.2.3", &format!("{flux}, a: 3}}"));
        assert_eq!(different.detail(&RULE, "values"), "a (2, in Flux 3)");
        assert_eq!(different.detail(&RULE, "unknown"), "4 values with variables were not compared");
        let one = world("", "tag: 1.2.3", "values: {host: '${HOST}'}");
        one.assert_found(&RULE, &["unknown a/app: 1 value with variables was not compared"]);
        // A Secret may set what only the helmfile seems to set.
        let secret = "valuesFrom: [{kind: Secret, name: s}], values: {same: 1}";
        world("version: 1.2.3, values: [{same: 1, a: 2}]", "tag: 1.2.3", secret)
            .assert_found(&RULE, &["unknown a/app: values from Secret s were not compared"]);
        let secret = secret.replace("same: 1", "same: 2");
        assert_eq!(world(own, "tag: 1.2.3", &secret).detail(&RULE, "values"), "same (1, in Flux 2)");
    }

    #[test]
    fn of_several_helm_releases_flux_applies_one() {
        let mut world = world("", "tag: 1.2.3", "");
        let mut second = flux("oci://r.io/charts/app", "tag: 9.9.9", "");
        second[0].file = "kubernetes/test/helmrelease.yaml".into();
        world.desired.flux_releases.append(&mut second);
        let several =
            format!("unknown a/app has several HelmReleases: {FILE}, kubernetes/test/helmrelease.yaml");
        world.assert_found(&RULE, &[&several]);
        world.desired.synced = Ok(Synced { path: "kubernetes/apps".into(), ..Synced::default() });
        world.assert_found(&RULE, &[]);
        world.desired.synced = Ok(Synced { path: "kubernetes/test".into(), ..Synced::default() });
        world.assert_found(&RULE, &["warning Flux will upgrade the release"]);
    }
}
