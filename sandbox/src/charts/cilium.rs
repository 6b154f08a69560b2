//! cilium: two `DaemonSet`s and the operator, of which two replicas never share a node.

use super::Chart;

pub(super) const FILES: &[(&str, &str)] = &[
    ("templates/_helpers.tpl", include_str!("cilium/templates/_helpers.tpl")),
    ("templates/accounts.yaml", include_str!("cilium/templates/accounts.yaml")),
    ("templates/cilium-configmap.yaml", include_str!("cilium/templates/cilium-configmap.yaml")),
    ("templates/cilium-daemonset.yaml", include_str!("cilium/templates/cilium-daemonset.yaml")),
    ("templates/envoy.yaml", include_str!("cilium/templates/envoy.yaml")),
    ("templates/hubble.yaml", include_str!("cilium/templates/hubble.yaml")),
    ("templates/operator.yaml", include_str!("cilium/templates/operator.yaml")),
    ("templates/rbac.yaml", include_str!("cilium/templates/rbac.yaml")),
    ("templates/validate.yaml", include_str!("cilium/templates/validate.yaml")),
    ("values.schema.json", include_str!("cilium/values.schema.json")),
    ("values.yaml", include_str!("cilium/values.yaml")),
];

pub(super) fn chart() -> Chart {
    let mut chart = Chart::new(
        "cilium",
        "1.18.6",
        "quay.io/cilium/charts",
        "eBPF-based Networking, Security, and Observability",
    )
    .with_files(FILES);
    "1.18.6".clone_into(&mut chart.app_version);
    chart.kube_version = Some("1.21.0-0");
    chart
}
