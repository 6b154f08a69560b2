//! A repository whose CRD helmfile only works with `helmfile template`, and the plain way of bootstrapping it.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::measure::{Cost, Place};
use crate::charts::Chart;
use crate::process::{run, run_with_input};

/// The number of charts in the CRD helmfile.
const CHARTS: usize = 20;
/// The number of CRDs in each of them.
const CRDS: usize = 5;
/// The number of fields in the schema of a CRD.
const FIELDS: usize = 40;

const FILE: &str = "bootstrap/helmfile.d/00-crds.yaml";

/// The charts with CRDs.
pub(super) fn charts() -> Vec<Chart> {
    let crd = |chart: usize, number: usize| {
        let plural = format!("things{chart}x{number}");
        let field = |field: usize| {
            let text = json!({"type": "string", "description": format!("The setting {field} of a thing, which is shown here")});
            (format!("setting{field}"), text)
        };
        let fields: serde_json::Map<_, _> = (0..FIELDS).map(field).collect();
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.org")},
            "spec": {"group": "example.org", "scope": "Namespaced",
                "names": {"kind": format!("Thing{chart}x{number}"), "plural": plural},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}}}]}})
    };
    let chart = |chart: usize| {
        (0..CRDS).fold(Chart::generic(&name(chart)), |all, number| {
            all.with_file(&format!("crds/{number}.yaml"), crd(chart, number).to_string())
        })
    };
    (0..CHARTS).map(chart).collect()
}

fn name(chart: usize) -> String {
    format!("crds-{chart}")
}

/// Replaces the CRD helmfile by one with these charts.
pub(super) fn write(place: &Place) -> Result<()> {
    let mut text = "helmDefaults:\n  args: [--include-crds, --no-hooks]\nreleases:\n".to_owned();
    for chart in (0..CHARTS).map(name) {
        writeln!(
            text,
            "- {{name: {chart}, namespace: crds-only, chart: oci://ghcr.io/k3s-boot/charts/{chart}, version: 1.0.0}}"
        )?;
    }
    place.checkout.write(FILE, &text)
}

/// The plain way: `helmfile template`, of which only CRDs are kept, `kubectl apply`, and `helmfile sync` of the apps.
pub(super) fn plain(place: &Place) -> Result<Cost> {
    place.counted(|| {
        let started = Instant::now();
        let helmfile = || place.checkout.command(&place.sandbox, place.helmfile());
        let rendered = run(helmfile().args(["--file", FILE, "template"]))?;
        let crds = only_crds(&String::from_utf8(rendered.stdout)?)?;
        let kubectl = place.sandbox.tools().kubectl();
        let mut apply = place.checkout.command(&place.sandbox, &kubectl);
        run_with_input(
            apply.args(["apply", "--server-side", "--force-conflicts", "--filename", "-"]),
            crds.as_bytes(),
        )?;
        run(helmfile().args(["--file", "bootstrap/helmfile.d/01-apps.yaml", "sync", "--hide-notes"]))?;
        Ok(Cost { seconds: started.elapsed().as_secs_f64(), ..Cost::default() })
    })
}

fn only_crds(manifests: &str) -> Result<String> {
    let mut kept = String::new();
    for document in serde_yaml::Deserializer::from_str(manifests) {
        let object =
            Value::deserialize(document).context("helmfile printed something other than manifests")?;
        if object["kind"] == "CustomResourceDefinition" {
            writeln!(kept, "---\n{object}")?;
        }
    }
    Ok(kept)
}
