//! Findings for charts that cannot be fetched: one for each cause.

use crate::base::finding::Finding;
use crate::base::known_failures::find;
use crate::base::logger::{self, Level};
use crate::base::release_id::ReleaseId;
use crate::desired::state_file::StateFile;
use crate::tools::charts::ChartRef;
use crate::tools::unanswered::is_refused_by_proxy;

/// Why a chart cannot be fetched, by the shape of helm's error (helm 4.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The registry has no such chart or version. Only this one is about a single chart.
    NoChart,
    /// The registry rejects the login.
    Denied,
    /// The registry requires a login, and none is stored.
    NoLogin,
    /// The program that stores logins is not installed.
    NoHelper,
    /// The stored login cannot be read.
    BrokenLogin,
    /// The proxy requires a login.
    ProxyLogin,
    /// The proxy refuses the connection, or is unreachable.
    Proxy,
    /// The name of the registry is unknown.
    NoName,
    /// Any other, such as a broken connection.
    Other,
}

impl Problem {
    /// Reads an error of helm.
    pub(super) fn of(reason: &str) -> Self {
        let error = without_request(reason);
        let lower = error.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if lower.contains("exec: \"docker-credential-") && lower.contains("executable file not found") {
            Self::NoHelper
        } else if error.starts_with("failed to decode auth field: ") {
            Self::BrokenLogin
        } else if error == "basic credential not found" {
            Self::NoLogin
        } else if error == "Proxy Authentication Required" {
            Self::ProxyLogin
        } else if is_refused_by_proxy(error) {
            Self::Proxy
        } else if lower.starts_with("dial tcp: lookup ") && lower.ends_with(": no such host") {
            Self::NoName
        } else if has(&["status code 401", "status code 403", "unauthorized", "denied", "forbidden"]) {
            Self::Denied
        } else if has(&["manifest unknown", "manifest_unknown", "name unknown", "name_unknown", "not found"])
        {
            Self::NoChart
        } else {
            Self::Other
        }
    }
}

/// The error of a request without its method and URL: `Get "https://…": …`. A login is a request within a request.
fn without_request(reason: &str) -> &str {
    let mut error = reason;
    for (at, end) in reason.match_indices("\": ") {
        if reason[..at].rsplit('"').next().is_some_and(|quoted| quoted.starts_with("http")) {
            error = &reason[at + end.len()..];
        }
    }
    error
}

/// The cause and the fix, if the error is known; for a chart that does not exist, `{release}` is a placeholder.
fn known(reason: &str, charts: &[&str]) -> Option<(&'static str, String)> {
    let mut hosts: Vec<_> = charts.iter().map(|chart| host(chart)).collect();
    hosts.dedup();
    let for_each =
        |command: &str| hosts.iter().map(|host| command.replace("HOST", host)).collect::<Vec<_>>().join("; ");
    let names = hosts.join(",");
    match Problem::of(reason) {
        Problem::NoHelper => Some((
            "the Docker configuration names a credential helper that is not installed",
            "install the helper, or remove `credsStore` and `credHelpers` from ~/.docker/config.json"
                .to_owned(),
        )),
        Problem::BrokenLogin => Some((
            "the stored login of the registry cannot be read",
            for_each("helm registry logout HOST; docker logout HOST"),
        )),
        Problem::NoLogin => {
            Some(("the registry requires a login, and none is stored", for_each("helm registry login HOST")))
        }
        Problem::ProxyLogin => Some((
            "the proxy requires a login",
            format!("export HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT, or add {names} to NO_PROXY"),
        )),
        Problem::Proxy => Some((
            "the proxy refuses the connection or cannot be reached",
            format!("correct HTTPS_PROXY, or add {names} to NO_PROXY"),
        )),
        Problem::NoName => Some((
            "this machine cannot resolve the name of the registry",
            "check the network and DNS of this machine, and its proxy (HTTPS_PROXY)".to_owned(),
        )),
        Problem::NoChart | Problem::Denied | Problem::Other => {
            // helm's error has another meaning when it comes from the cluster, hence the prefix.
            let known = find(&format!("chart cannot be fetched: {reason}"))?;
            Some((known.cause, known.fix(&ReleaseId::new("", "{release}"), None)))
        }
    }
}

fn host(chart: &str) -> &str {
    let rest = chart.split_once("://").map_or(chart, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
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
    let problem = Problem::of(reason);
    match finding.rule {
        "charts" if problem == Problem::NoChart => None,
        "charts" | "chart-login" => {
            // Each registry has its logins.
            let is_login = matches!(problem, Problem::Denied | Problem::NoLogin | Problem::BrokenLogin);
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

    /// Errors of helm 4.2.4, and what they mean.
    const ERRORS: &[(&str, Problem)] = &[
        (
            r#"failed to perform "FetchReference" on source: GET "http://127.0.0.1:7001/v2/a/x/manifests/1.2.3": exec: "docker-credential-desktop": executable file not found in $PATH"#,
            Problem::NoHelper,
        ),
        (
            r#"failed to perform "FetchReference" on source: GET "http://127.0.0.1:7002/v2/a/x/manifests/1.2.3": failed to resolve credential: exec: "docker-credential-ecr-login": executable file not found in $PATH"#,
            Problem::NoHelper,
        ),
        (
            r#"failed to perform "FetchReference" on source: GET "http://127.0.0.1:7001/v2/a/x/manifests/1.2.3": failed to decode auth field: (withheld)"#,
            Problem::BrokenLogin,
        ),
        (
            r#"failed to perform "FetchReference" on source: GET "http://127.0.0.1:7002/v2/a/x/manifests/1.2.3": basic credential not found"#,
            Problem::NoLogin,
        ),
        (
            r#"failed to perform "FetchReference" on source: GET "http://127.0.0.1:7001/v2/a/x/manifests/1.2.3": GET "http://127.0.0.1:7001/token?scope=repository%3Aa%2Fx%3Apull&service=x": response status code 403: denied: denied"#,
            Problem::Denied,
        ),
        (
            r#"failed to perform "FetchReference" on source: Get "https://ghcr.io/v2/a/x/manifests/1.2.3": Forbidden"#,
            Problem::Proxy,
        ),
        (
            r#"looks like "https://helm.cilium.io" is not a valid chart repository or cannot be reached: Get "https://helm.cilium.io/index.yaml": Forbidden"#,
            Problem::Proxy,
        ),
        (
            r#"failed to perform "FetchReference" on source: Get "https://ghcr.io/v2/a/x/manifests/1.2.3": Proxy Authentication Required"#,
            Problem::ProxyLogin,
        ),
        (
            r#"failed to perform "FetchReference" on source: Get "https://ghcr.io/v2/a/x/manifests/1.2.3": proxyconnect tcp: dial tcp 127.0.0.1:9999: connect: connection refused"#,
            Problem::Proxy,
        ),
        (
            r#"failed to perform "FetchReference" on source: Get "https://ghcr.invalid/v2/x/y/manifests/1.2.3": dial tcp: lookup ghcr.invalid on 127.0.0.53:53: no such host"#,
            Problem::NoName,
        ),
        (
            r#"looks like "https://helm.invalid" is not a valid chart repository or cannot be reached: Get "https://helm.invalid/index.yaml": dial tcp: lookup helm.invalid on 127.0.0.53:53: no such host"#,
            Problem::NoName,
        ),
        (
            r#"failed to perform "FetchReference" on source: Get "https://ghcr.io/v2/a/x/manifests/1.2.3": unexpected EOF"#,
            Problem::Other,
        ),
        (
            r#"failed to perform "FetchReference" on source: GET "http://127.0.0.1:7001/v2/a/x/manifests/1.2.3": error: the keychain is locked"#,
            Problem::Other,
        ),
        ("ghcr.io/coredns/charts/coredns:1.45.999: not found", Problem::NoChart),
        (r#"chart "cilium" version "1.18.6" not found in https://helm.invalid repository"#, Problem::NoChart),
    ];

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
    fn errors_are_told_apart_by_their_shape() {
        for (reason, problem) in ERRORS {
            assert_eq!(Problem::of(reason), *problem, "{reason}");
            let (has_cause, is_known) = (known(reason, &["oci://h/x"]).is_some(), *problem != Problem::Other);
            assert!(has_cause || !is_known, "{reason}");
        }
    }

    #[test]
    fn one_cause_is_one_finding() {
        for (reason, problem) in ERRORS {
            let other =
                reason.replace("ghcr.io", "quay.io").replace("helm.", "charts.").replace("1.2.3", "2.3.4");
            let merged = merge(vec![
                Finding::error("env", "Missing"),
                finding("oci://h/a", "a", reason),
                finding("oci://h/b", "b", &other),
            ]);
            assert_eq!(merged.len(), if *problem == Problem::NoChart { 3 } else { 2 }, "{reason}");
            if *problem != Problem::NoChart {
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
                _ = (Problem::of(&reason), merge(vec![finding("oci://h/a", "a", &reason)]));
            }
        }
    }
}
