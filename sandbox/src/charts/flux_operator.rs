//! flux-operator: the operator and its four CRDs, which stay when the release goes.

use super::Chart;
use super::schema::{CORE, Crd, Types};

pub(super) const FILES: &[(&str, &str)] = &[
    ("templates/_helpers.tpl", include_str!("flux-operator/templates/_helpers.tpl")),
    ("templates/deployment.yaml", include_str!("flux-operator/templates/deployment.yaml")),
    ("templates/rbac.yaml", include_str!("flux-operator/templates/rbac.yaml")),
    ("templates/service.yaml", include_str!("flux-operator/templates/service.yaml")),
    ("values.schema.json", include_str!("flux-operator/values.schema.json")),
    ("values.yaml", include_str!("flux-operator/values.yaml")),
];

pub(super) const TYPES: &str = include_str!("types/flux.types");

const GROUP: &str = "fluxcd.controlplane.io";

const STATUS: &[(&str, &str, &str)] = &[
    ("Age", "date", ".metadata.creationTimestamp"),
    ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
    ("Status", "string", ".status.conditions[?(@.type==\"Ready\")].message"),
];

const CRDS: [Crd; 4] = [
    Crd {
        columns: &[
            ("Age", "date", ".metadata.creationTimestamp"),
            ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
            ("Status", "string", ".status.conditions[?(@.type==\"Ready\")].message"),
            ("Revision", "string", ".status.lastAttemptedRevision"),
        ],
        rules: &[("self.metadata.name == 'flux'", "the only accepted name for a FluxInstance is 'flux'")],
        ..Crd::new(GROUP, "v1", "FluxInstance", "fluxinstances", 26_500)
    },
    Crd {
        columns: STATUS,
        rules: &[("self.metadata.name == 'flux'", "the only accepted name for a FluxReport is 'flux'")],
        ..Crd::new(GROUP, "v1", "FluxReport", "fluxreports", 14_000)
    },
    Crd {
        columns: STATUS,
        short_names: &["rset"],
        ..Crd::new(GROUP, "v1", "ResourceSet", "resourcesets", 20_500)
    },
    Crd {
        columns: STATUS,
        short_names: &["rsip"],
        ..Crd::new(GROUP, "v1", "ResourceSetInputProvider", "resourcesetinputproviders", 18_500)
    },
];

const METADATA: &str = "  annotations:
    controller-gen.kubebuilder.io/version: v0.19.0
    helm.sh/resource-policy: keep
  labels:
    {{- include \"flux-operator.labels\" . | nindent 4 }}
";

pub(super) fn chart() -> anyhow::Result<Chart> {
    let types = Types::parse(&[CORE, TYPES])?;
    let mut crds = "{{- if .Values.installCRDs }}\n".to_owned();
    for crd in &CRDS {
        crds.extend(["---\n", &crd.render(&types, METADATA)?]);
    }
    crds.push_str("{{- end }}\n");
    let mut chart = Chart::new(
        "flux-operator",
        "0.37.1",
        "ghcr.io/controlplaneio-fluxcd/charts",
        "A Helm chart for deploying the Flux Operator",
    )
    .with_files(FILES)
    .with_file("templates/crds.yaml", crds);
    "v0.37.1".clone_into(&mut chart.app_version);
    chart.kube_version = Some("1.22.0-0");
    Ok(chart)
}
