//! Repositories with small local charts, for tests that do not need the shipped ones.

use super::fixture::Fixture;

pub(crate) const CRDS: &str = "bootstrap/helmfile.d/00-crds.yaml";
pub(crate) const APPS: &str = "bootstrap/helmfile.d/01-apps.yaml";

const CHART: &str = "apiVersion: v2\nname: small\nversion: 1.0.0\n";

/// Every value appears in an object.
const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n  namespace: {{ .Release.Namespace }}\ndata:\n  \
                        values: {{ toJson .Values | quote }}\n";

const SCHEMA: &str = r#"{"type": "object", "properties": {"letters": {"type": "string", "pattern": "^[a-z]*$"}, "number": {"type": "integer"}}}"#;

/// Replaces the shipped helmfiles by one that can use the chart `../charts/small`.
#[track_caller]
pub(crate) fn write(fixture: &Fixture, apps: &str) {
    fixture.write(CRDS, &releases(&["    name: crds\n    namespace: monitoring\n"]));
    fixture.write(APPS, apps);
    for (file, text) in
        [("Chart.yaml", CHART), ("templates/all.yaml", TEMPLATE), ("values.schema.json", SCHEMA)]
    {
        fixture.write(&format!("bootstrap/charts/small/{file}"), text);
    }
    // Without a remote, only a pin identifies the cluster.
    fixture.git(&["config", "remote.origin.url", "ssh://git@git.sandbox.test/home.git"]);
    fixture.git(&["add", "--all", "bootstrap"]);
}

/// A helmfile with releases of the small chart, given as the lines after `chart`.
pub(crate) fn releases(releases: &[&str]) -> String {
    let releases = releases.iter().map(|lines| format!("  - chart: ../charts/small\n{lines}"));
    format!("releases:\n{}", releases.collect::<String>())
}
