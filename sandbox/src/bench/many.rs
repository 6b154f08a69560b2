//! A repository with many small releases and namespaces.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::json;

use crate::charts::Chart;
use crate::checkout::Checkout;

/// The name of the small chart.
const CHART: &str = "small";

/// The chart of all small releases.
pub(super) fn chart() -> Chart {
    Chart::generic(CHART)
}

/// Writes helmfiles with this many releases, the first of them in the CRDs helmfile, and this many namespaces. Without Flux the
/// repository has no name, so its configuration pins the cluster with this UID.
pub(super) fn write(checkout: &Checkout, uid: &str, releases: usize, namespaces: usize) -> Result<()> {
    let release = |number: usize| {
        json!({"name": format!("small-{number}"), "namespace": format!("many-{}", number % 5),
            "chart": format!("oci://ghcr.io/k3s-boot/charts/{CHART}"), "version": chart().version(),
            "values": [{"settings": {"number": number.to_string()}}]})
    };
    let file = |releases: Vec<_>| {
        serde_yaml::to_string(
            &json!({"helmDefaults": {"wait": true, "waitForJobs": true}, "releases": releases}),
        )
    };
    checkout.write("bootstrap/helmfile.d/00-crds.yaml", &file(vec![release(0)])?)?;
    checkout.write("bootstrap/helmfile.d/01-apps.yaml", &file((1..releases).map(release).collect())?)?;
    let mut text = format!("cluster:\n  uid: {uid}\nnamespaces:\n");
    for number in 0..namespaces {
        writeln!(text, "  - many-{number}")?;
    }
    checkout.write("k3s-boot.yaml", &text)
}
