//! cert-manager: three workloads, six CRDs that are disabled by default, a closed schema and a hook.

use super::Chart;
use super::schema::{CORE, Crd, Types};

pub(super) const FILES: &[(&str, &str)] = &[
    ("templates/_helpers.tpl", include_str!("cert-manager/templates/_helpers.tpl")),
    ("templates/rbac.yaml", include_str!("cert-manager/templates/rbac.yaml")),
    ("templates/startupapicheck.yaml", include_str!("cert-manager/templates/startupapicheck.yaml")),
    ("templates/webhooks.yaml", include_str!("cert-manager/templates/webhooks.yaml")),
    ("templates/workloads.yaml", include_str!("cert-manager/templates/workloads.yaml")),
    ("values.schema.json", include_str!("cert-manager/values.schema.json")),
    ("values.yaml", include_str!("cert-manager/values.yaml")),
];

pub(super) const TYPES: &str = include_str!("types/cert-manager.types");

const GROUP: &str = "cert-manager.io";
const ACME: &str = "acme.cert-manager.io";

const COLUMNS: &[(&str, &str, &str)] = &[
    ("Ready", "string", ".status.conditions[?(@.type == \"Ready\")].status"),
    ("Status", "string", ".status.conditions[?(@.type == \"Ready\")].message"),
    ("Age", "date", ".metadata.creationTimestamp"),
];

const CRDS: [Crd; 6] = [
    Crd { short_names: &["cr", "crs"], ..issued("CertificateRequest", "certificaterequests", 22_000) },
    Crd { short_names: &["cert", "certs"], ..issued("Certificate", "certificates", 44_000) },
    Crd {
        categories: &["cert-manager", "cert-manager-acme"],
        ..Crd::new(ACME, "v1", "Challenge", "challenges", 292_000)
    },
    Crd {
        cluster_scoped: true,
        root: Some("Issuer"),
        short_names: &["ciss"],
        ..issued("ClusterIssuer", "clusterissuers", 310_000)
    },
    Crd { short_names: &["iss"], ..issued("Issuer", "issuers", 310_000) },
    Crd {
        categories: &["cert-manager", "cert-manager-acme"],
        ..Crd::new(ACME, "v1", "Order", "orders", 17_000)
    },
];

const fn issued(kind: &'static str, plural: &'static str, size: usize) -> Crd {
    Crd { categories: &["cert-manager"], columns: COLUMNS, ..Crd::new(GROUP, "v1", kind, plural, size) }
}

const METADATA: &str = "  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
  labels:
    {{- include \"cert-manager.labels\" (dict \"root\" . \"part\" \"\") | nindent 4 }}
";

pub(super) fn chart() -> anyhow::Result<Chart> {
    let types = Types::parse(&[CORE, TYPES])?;
    let mut chart =
        Chart::new("cert-manager", "v1.19.2", "quay.io/jetstack/charts", "A Helm chart for cert-manager")
            .with_files(FILES);
    chart.kube_version = Some("1.22.0-0");
    for crd in &CRDS {
        let body = crd.render(&types, METADATA)?;
        let text =
            format!("{{{{- if or .Values.crds.enabled .Values.installCRDs }}}}\n---\n{body}{{{{- end }}}}\n");
        chart = chart.with_file(&format!("templates/crd-{}.{}.yaml", crd.group, crd.plural), text);
    }
    Ok(chart)
}
