//! Charts that are pinned by digest or as an archive, and values from `set`: a second run changes nothing, and `diff`
//! shows the differences.

use sandbox::charts::Chart;

use super::fixture::Fixture;
use super::small_charts::{APPS, write};

const FROM: &str = "ghcr.io/k3s-boot/charts";
const NAMES: [&str; 5] = ["tagged", "pinned", "both", "aside", "named"];

/// The digest of a chart in the registry, as helm prints it.
#[track_caller]
fn digest(fixture: &Fixture, name: &str, version: &str) -> String {
    let helm = fixture.sandbox.tools().helm().display().to_string();
    let folder = fixture.root.parent().unwrap().display().to_string();
    let chart = format!("oci://{FROM}/{name}");
    let ran = fixture.program(&helm, &["pull", &chart, "--version", version, "--destination", &folder]).run();
    let text = format!("{}{}", ran.stdout, ran.stderr);
    let line = text.lines().find_map(|line| line.strip_prefix("Digest: "));
    line.unwrap_or_else(|| panic!("{text}")).trim().to_owned()
}

#[test]
fn pinned_chart_and_set_value_are_synced_once() {
    let charts = NAMES.map(Chart::generic);
    let newer = Chart::generic("pinned").with_version("1.1.0");
    let fixture = Fixture::with_charts("pins", &[&charts[..], &[newer]].concat());
    missing_pinned_chart_is_the_only_error(&fixture);
    let digest = |name: &str, version: &str| digest(&fixture, name, version);
    let release = |name: &str, chart: &str| {
        format!(
            "  - name: {name}\n    namespace: media\n    chart: {chart}\n    values: [{{a: {{b: 1, list: [x, y]}}}}]\n"
        )
    };
    let releases = [
        release("tagged", &format!("oci://{FROM}/tagged:1.0.0")),
        release("pinned", &format!("oci://{FROM}/pinned@{}", digest("pinned", "1.0.0"))),
        release("both", &format!("oci://{FROM}/both:1.0.0@{}", digest("both", "1.0.0"))),
        release("aside", &format!("oci://{FROM}/aside\n    version: 1.0.0@{}", digest("aside", "1.0.0"))),
        release("named", "own/named\n    version: 1.0.0"),
    ];
    let set = "    set: [{name: a.b, value: '2'}, {name: 'a.list[1]', value: z}, {name: 'c\\.d', values: [p, 'q,r']}]\n    setString: [{name: e, value: '1'}]\n";
    write(
        &fixture,
        &format!(
            "repositories: [{{name: own, url: {FROM}, oci: true}}]\nreleases:\n{}{set}",
            releases.concat()
        ),
    );

    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    let values = fixture.helm(&["get", "values", "named", "--namespace", "media", "--output", "json"]);
    let values: serde_json::Value = serde_json::from_slice(&values.stdout).unwrap();
    let expected = serde_json::json!({"a": {"b": 2, "list": ["x", "z"]}, "c.d": ["p", "q,r"], "e": "1"});
    assert_eq!(values, expected);
    let ran = fixture.apps(&[]).run();
    assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);

    // Only the differences are shown.
    fixture.replace(APPS, "{name: a.b, value: '2'}", "{name: a.b, value: '3'}");
    let pinned = releases[1].lines().nth(2).unwrap().trim().to_owned();
    fixture.replace(APPS, &pinned, &format!("chart: oci://{FROM}/pinned@{}", digest("pinned", "1.1.0")));
    let ran = fixture.k3s_boot(&["diff"]).run();
    let lines: Vec<_> = ran.stdout.lines().map(str::trim).collect();
    assert!(lines.contains(&"a.b: 2 → 3"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("(not set)"), "{}", ran.stdout);
    let ran = fixture.apps(&[]).run();
    let differs: Vec<_> = ran.stdout.lines().filter(|line| line.contains("Release is out of date")).collect();
    assert_eq!(differs.len(), 2, "{differs:?}");
    assert!(
        differs[0].contains(r#"release="media/pinned" reason="version 1.0.0 → 1.1.0""#),
        "{}",
        differs[0]
    );
    assert!(differs[1].contains(r#"release="media/named" reason="values changed: a.b""#), "{}", differs[1]);
    let ran = fixture.apps(&[]).run();
    assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
}

fn missing_pinned_chart_is_the_only_error(fixture: &Fixture) {
    let zeros = "0".repeat(64);
    write(
        fixture,
        &format!(
            "releases:\n  - {{name: tagged, namespace: media, chart: 'oci://{FROM}/tagged:1.0.0'}}\n  - {{name: gone, namespace: media, chart: 'oci://{FROM}/tagged@sha256:{zeros}'}}\n"
        ),
    );
    let ran = fixture.k3s_boot(&["check", "-o", "json"]).run();
    ran.assert().code(1);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let errors: Vec<_> = checks.iter().filter(|check| check["status"] == "error").collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(errors[0]["problems"][0]["details"]["release"], "gone", "{errors:#?}");
    // The other chart is still checked.
    let unknown = checks.iter().filter(|check| check["status"] == "unknown");
    for check in unknown {
        assert_ne!(check["id"], "helmfile", "{check:#}");
    }
}
