//! Findings for charts that cannot be fetched: one for each cause.

use crate::base::finding::Finding;
use crate::base::known_failures::{Origin, find};
use crate::base::logger::{self, Level};
use crate::base::release_id::ReleaseId;
use crate::base::url::Url;
use crate::desired::state_file::StateFile;
use crate::tools::charts::ChartRef;

/// Whether an error is about one chart, so that fetching the others is worth a try: the registry has no such chart or version.
pub(super) fn is_about_one(reason: &str) -> bool {
    id(reason) == Some("chart-gone")
}

/// Whether the registry rejects the login.
pub(super) fn is_denied(reason: &str) -> bool {
    id(reason) == Some("registry-denied")
}

fn id(reason: &str) -> Option<&'static str> {
    find(Origin::Chart, reason).map(|known| known.id)
}

/// The error of a request without its method and URL: `Get "https://…": …`. A login is a request within a request.
pub(super) fn without_request(reason: &str) -> &str {
    let mut error = reason;
    for (at, end) in reason.match_indices("\": ") {
        if reason[..at].rsplit('"').next().is_some_and(|quoted| quoted.starts_with("http")) {
            error = &reason[at + end.len()..];
        }
    }
    error
}

/// The cause and the fix, if the error is known; for a chart that does not exist, `{release}` is a placeholder.
pub(super) fn known(reason: &str, charts: &[&str]) -> Option<(&'static str, String)> {
    let known = find(Origin::Chart, reason)?;
    let fix = known.fix(&ReleaseId::new("", "{release}"), None);
    let mut hosts: Vec<_> = charts.iter().map(|chart| host(chart)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let fix = match (fix.contains("NO_PROXY"), fix.contains("HOST")) {
        (true, true) => fix.replace("HOST", &hosts.join(",")),
        (false, true) => hosts.iter().map(|host| fix.replace("HOST", host)).collect::<Vec<_>>().join("; "),
        _ => fix,
    };
    Some((known.cause, fix))
}

/// The registry of a chart, with its port.
pub(super) fn host(chart: &str) -> &str {
    Url::parse(chart).map_or_else(|| chart.split('/').next().unwrap_or(chart), Url::authority)
}

/// Joins the findings about charts that have the same cause.
pub(super) fn merge(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<(Option<String>, Vec<Finding>)> = Vec::new();
    for finding in findings {
        let cause = cause(&finding);
        let same = merged.iter_mut().find(|(known, _)| cause.is_some() && *known == cause);
        match same {
            Some((_, all)) => all.push(finding),
            None => merged.push((cause, vec![finding])),
        }
    }
    merged.iter().filter_map(|(_, all)| joined(all)).collect()
}

/// What findings with the same cause have in common; none if the finding is about one chart only.
fn cause(finding: &Finding) -> Option<String> {
    let (chart, reason) = (finding.detail("chart")?, finding.detail("reason")?);
    let id = id(reason);
    match finding.rule {
        "charts" if id == Some("chart-gone") => None,
        "charts" | "chart-login" => {
            // Each registry has its logins.
            let is_login = matches!(id, Some("registry-denied" | "login-missing" | "login-broken"));
            let host = if is_login { host(chart) } else { "" };
            Some(format!("{} {host} {}", finding.rule, without_names(without_request(reason))))
        }
        _ => None,
    }
}

/// An error without URLs, hosts and addresses.
fn without_names(error: &str) -> String {
    let mut before = "";
    let words = error.split_whitespace().map(|word| {
        let is_name =
            ["lookup", "tcp", "udp"].contains(&before) || word.contains("://") || word.contains("->");
        before = word;
        if is_name { "…" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// One finding that names the charts and releases of all.
fn joined(all: &[Finding]) -> Option<Finding> {
    let list = |key: &str| {
        let mut names: Vec<_> = all.iter().filter_map(|finding| finding.detail(key)).collect();
        names.retain(|name| !name.is_empty());
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        names.join(", ")
    };
    let chart = |finding: &Finding| {
        let version = finding.detail("version").unwrap_or_default();
        format!("{} {version}", finding.detail("chart").unwrap_or_default()).trim_end().to_owned()
    };
    let mut charts: Vec<_> = all.iter().map(chart).collect();
    charts.dedup();
    let (releases, files) = (list("release"), list("file"));
    let first = all.first()?.clone();
    if all.len() == 1 {
        return Some(first);
    }
    let summary =
        first.summary.replace("Chart cannot", "Charts cannot").replace("a public chart", "public charts");
    let reason = first.detail("reason").unwrap_or_default().to_owned();
    let urls: Vec<_> = all.iter().filter_map(|finding| finding.detail("chart")).collect();
    let fix = match first.rule {
        "charts" => known(&reason, &urls).map(|(_, fix)| fix),
        _ => None,
    };
    let fix = fix.or_else(|| first.fix.clone());
    let mut finding = Finding::error(first.rule, summary).with("charts", charts.join(", "));
    for (key, value) in [("releases", releases), ("files", files)] {
        if !value.is_empty() {
            finding = finding.with(key, value);
        }
    }
    finding = finding.with("reason", reason);
    if let Some(cause) = first.detail("cause") {
        finding = finding.with("cause", cause);
    }
    finding.fix = fix;
    Some(finding)
}

/// Logs that a registry does not have a chart, before it is known which release needs it.
pub(super) fn log_missing(ChartRef { chart, version, .. }: &ChartRef, reason: &str) {
    let mut pairs =
        vec![("chart", chart.clone()), ("version", version.clone()), ("reason", reason.to_owned())];
    if let Some((cause, fix)) = known(reason, &[chart]) {
        let name = chart.rsplit('/').next().unwrap_or(chart);
        pairs.extend([("cause", cause.to_owned()), ("fix", fix.replace("{release}", name))]);
    }
    logger::log(Level::Warn, "Chart not found; continuing with the other checks", &pairs);
}

/// `show` holds the arguments with which `helm show chart` reproduces the error.
pub(super) fn missing_chart(
    state: &StateFile,
    release: &str,
    chart: &str,
    version: &str,
    reason: &str,
    show: &str,
) -> Finding {
    let version_flag = if version.is_empty() { String::new() } else { format!(" --version {version}") };
    let finding = Finding::error("charts", "Chart cannot be fetched")
        .with("chart", chart)
        .with("version", version)
        .with("release", release)
        .with("file", state.path.display())
        .with("reason", reason);
    match known(reason, &[chart]) {
        Some((cause, fix)) => finding.with("cause", cause).fix(fix.replace("{release}", release)),
        None => finding.fix(format!("run `helm show chart {show}{version_flag}` to see the error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::known_failures::{Sample, table};

    const NEAR: &[&str] = &[
        r#"failed to perform "FetchReference" on source: GET "http://h/v2/x": GET "http://h/token": response status code 403: denied"#,
        r#"looks like "https://h" cannot be reached: Get "https://h/index.yaml": dial tcp: lookup h on 127.0.0.53:53: no such host"#,
    ];

    fn finding(chart: &str, release: &str, reason: &str) -> Finding {
        Finding::error("charts", "Chart cannot be fetched")
            .with("chart", chart)
            .with("version", "1.2.3")
            .with("release", release)
            .with("reason", reason)
    }

    #[test]
    fn one_cause_is_one_finding() {
        let samples = table().flat_map(|known| known.samples.iter().map(move |sample| (known.id, sample)));
        let of_charts: Vec<_> = samples.filter(|(_, sample)| sample.origin == Origin::Chart).collect();
        assert!(of_charts.len() > 10);
        for (id, Sample { message, .. }) in of_charts {
            let other = message.replace("ghcr.io", "quay.io").replace("1.2.3", "2.3.4");
            let merged = merge(vec![
                Finding::error("env", "Missing"),
                finding("oci://h/a", "a", message),
                finding("oci://h/b", "b", &other),
            ]);
            let each = id == "chart-gone";
            assert_eq!(merged.len(), if each { 3 } else { 2 }, "{message}");
            if !each {
                assert_eq!(merged[1].detail("charts"), Some("oci://h/a 1.2.3, oci://h/b 1.2.3"));
                assert_eq!(merged[1].detail("releases"), Some("a, b"));
            }
        }
    }

    #[test]
    fn each_registry_has_its_login() {
        let denied = r#"GET "https://h/v2/x/manifests/1": response status code 403: denied: denied"#;
        let charts = ["oci://one/a", "oci://two/b"].map(|chart| finding(chart, "a", denied));
        assert_eq!(merge(charts.to_vec()).len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn reading_errors_never_panics(words: String, near in crate::base::mutate::text(NEAR)) {
            for reason in [words, near] {
                _ = (is_denied(&reason), merge(vec![finding("oci://h/a", "a", &reason)]));
            }
        }
    }
}
