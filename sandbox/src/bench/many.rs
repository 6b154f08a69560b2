//! A repository with many small releases and namespaces.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::json;

use crate::charts::Chart;
use crate::checkout::Checkout;

/// The small chart's name.
const CHART: &str = "small";

/// The chart that all of the small releases are made with.
pub(super) fn chart() -> Chart {
    Chart::generic(CHART)
}

/// Makes the repository ask for so many releases, the first of them among the CRDs, and for so many namespaces.
pub(super) fn write(checkout: &Checkout, releases: usize, namespaces: usize) -> Result<()> {
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
    let mut text = "namespaces:\n".to_owned();
    for number in 0..namespaces {
        writeln!(text, "  - many-{number}")?;
    }
    checkout.write("k3s-boot.yaml", &text)
}
