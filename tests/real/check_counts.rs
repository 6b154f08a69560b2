//! The counts of `check` for the shipped repository.

use serde_json::Value;

use super::fixture::{Fixture, Invocation, RunResult};

/// The variables that the shipped values require.
const DEMANDED: [&str; 2] = ["FLUX_GIT_URL", "K3S_API_HOST"];

/// The checks with nothing to look at on a fresh cluster.
const NOT_APPLICABLE: [&str; 17] = [
    "config",
    "environment",
    "helm-features",
    "manifests",
    "parity",
    "namespaces",
    "old-script",
    "sops",
    "secrets-commands",
    "sops-plain",
    "sops-recipients",
    "sops-rules",
    "flux-pull-secret",
    "bundled-adopted",
    "crds",
    "drift",
    "flux-state",
];

/// Those of them that do not need the cluster come first.
const NOT_APPLICABLE_OFFLINE: &[&str] = NOT_APPLICABLE.split_at(13).0;

const OFFLINE: &str = "it needs the cluster or a registry, and --offline contacts neither";

fn report(ran: &RunResult) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
}

/// The counts of a report: errors, warnings, information, unknown.
fn counts(report: &Value) -> [u64; 4] {
    ["errors", "warnings", "infos", "unknown"].map(|name| report["counts"][name].as_u64().unwrap())
}

/// The checks that looked at something and found no problem.
fn ok(report: &Value) -> u64 {
    report["counts"]["ok"].as_u64().unwrap()
}

/// The checks with nothing to look at, without those that `--offline` skips.
fn not_applicable(report: &Value) -> Vec<&str> {
    let all = report["checks"].as_array().unwrap();
    let found = all.iter().filter(|check| check["status"] == "not_applicable" && check["reason"] != OFFLINE);
    found.map(|check| check["id"].as_str().unwrap()).collect()
}

/// The checks that are unknown, with their reasons.
fn unknown(report: &Value) -> Vec<(&str, &str)> {
    let all = report["checks"].as_array().unwrap();
    let unknown = all.iter().filter(|check| check["status"] == "unknown");
    unknown.map(|check| (check["id"].as_str().unwrap(), check["reason"].as_str().unwrap())).collect()
}

#[test]
fn counts_of_the_shipped_repository() {
    let fixture = Fixture::start("figures");
    let offline = || fixture.k3s_boot(&["check", "--offline", "-o", "json"]);
    let online = || fixture.k3s_boot(&["check", "-o", "json"]);
    let unset = |k3s_boot: Invocation<'_>, names: &[&str]| {
        report(&names.iter().fold(k3s_boot, |k3s_boot, name| k3s_boot.env_remove(name)).run())
    };

    let without_charts = report(&offline().run());
    assert_eq!(counts(&without_charts), [0, 0, 0, 2]);
    assert!(ok(&without_charts) >= 20, "{without_charts:#}");
    assert_eq!(not_applicable(&without_charts), NOT_APPLICABLE_OFFLINE);
    let rules: Vec<_> = unknown(&without_charts).iter().map(|(rule, _)| *rule).collect();
    assert_eq!(rules, ["charts", "values-keys"]);
    let whole = report(&online().run());
    assert_eq!(counts(&whole), [0, 0, 1, 0]);
    assert!(ok(&whole) >= 53, "{whole:#}");
    assert_eq!(not_applicable(&whole), NOT_APPLICABLE);
    let with_charts = report(&offline().run());
    assert_eq!(counts(&with_charts), [0, 0, 0, 0], "with charts on this machine");
    assert_eq!(ok(&with_charts), ok(&without_charts) + 2);
    assert_eq!(not_applicable(&with_charts), NOT_APPLICABLE_OFFLINE);

    // Values that depend on variables are unknown; each variable is reported once.
    let open = "a variable that the values use is not set";
    let without_variables = unset(offline(), &DEMANDED);
    assert_eq!(counts(&without_variables), [1, 0, 0, 4]);
    // Whether the source needs a Secret depends on its URL.
    let not_applicable_without: Vec<_> =
        NOT_APPLICABLE_OFFLINE.iter().copied().filter(|rule| *rule != "flux-pull-secret").collect();
    assert_eq!(not_applicable(&without_variables), not_applicable_without);
    let by_values = ["flux-sync", "flux-pull-secret", "api-port", "api-host"].map(|rule| (rule, open));
    assert_eq!(unknown(&without_variables), by_values);
    let without_host = unset(online(), &["K3S_API_HOST"]);
    let errors = without_host["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "error");
    let errors: Vec<_> = errors.map(|check| check["problems"].to_string()).collect();
    assert!(errors.len() == 1 && errors[0].contains("K3S_API_HOST"), "{errors:?}");
    let rendered = "kube-system/cilium cannot be rendered: required variables are not set: K3S_API_HOST";
    let by_values = ["api-port", "api-host", "api-host-cert", "api-host-roles"].map(|rule| (rule, open));
    let by_manifests =
        ["taints", "replicas", "service-network", "renders", "ownership"].map(|rule| (rule, rendered));
    let mut expected = [&by_values[..], &by_manifests].concat();
    let mut found = unknown(&without_host);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let mut text = fixture.k3s_boot(&["check"]).env_remove("K3S_API_HOST").run().stdout;
    text.retain(|c| c != '\n');
    assert_eq!(text.matches("K3S_API_HOST").count(), 3, "the variable, its fix, and one reason: {text}");
}
