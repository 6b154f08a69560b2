//! flux-instance: one `FluxInstance`, with `sync` only when it has a URL.

use super::Chart;

pub(super) const FILES: &[(&str, &str)] = &[
    ("templates/_helpers.tpl", include_str!("flux-instance/templates/_helpers.tpl")),
    ("templates/healthcheck.yaml", include_str!("flux-instance/templates/healthcheck.yaml")),
    ("templates/instance.yaml", include_str!("flux-instance/templates/instance.yaml")),
    ("values.schema.json", include_str!("flux-instance/values.schema.json")),
    ("values.yaml", include_str!("flux-instance/values.yaml")),
];

pub(super) fn chart() -> Chart {
    let mut chart = Chart::new(
        "flux-instance",
        "0.37.1",
        "ghcr.io/controlplaneio-fluxcd/charts",
        "A Helm chart for deploying a Flux instance managed by Flux Operator",
    )
    .with_files(FILES);
    "v0.37.1".clone_into(&mut chart.app_version);
    chart.kube_version = Some("1.22.0-0");
    chart
}
