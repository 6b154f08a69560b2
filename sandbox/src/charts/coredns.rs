//! coredns: without a schema, so that every mistyped value is accepted.

use super::Chart;

pub(super) const FILES: &[(&str, &str)] = &[
    ("templates/_helpers.tpl", include_str!("coredns/templates/_helpers.tpl")),
    ("templates/configmap.yaml", include_str!("coredns/templates/configmap.yaml")),
    ("templates/deployment.yaml", include_str!("coredns/templates/deployment.yaml")),
    ("templates/rbac.yaml", include_str!("coredns/templates/rbac.yaml")),
    ("templates/service.yaml", include_str!("coredns/templates/service.yaml")),
    ("values.yaml", include_str!("coredns/values.yaml")),
];

pub(super) fn chart() -> Chart {
    let mut chart = Chart::new(
        "coredns",
        "1.45.0",
        "ghcr.io/coredns/charts",
        "CoreDNS is a DNS server that chains plugins and provides Kubernetes DNS Services",
    )
    .with_files(FILES);
    "1.13.1".clone_into(&mut chart.app_version);
    chart
}
