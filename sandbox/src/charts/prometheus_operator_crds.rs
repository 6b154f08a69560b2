//! prometheus-operator-crds: the ten CRDs of prometheus-operator, each with a switch.

use super::Chart;
use super::schema::{CORE, Crd, Types};

pub(super) const TYPES: &str = include_str!("types/prometheus.types");

const GROUP: &str = "monitoring.coreos.com";

/// Sizes as in the real chart, the biggest 778 KB: client-side apply of it is impossible.
const CRDS: [Crd; 10] = [
    Crd {
        short_names: &["amcfg"],
        ..monitoring("v1alpha1", "AlertmanagerConfig", "alertmanagerconfigs", 486_000)
    },
    Crd { short_names: &["am"], ..monitoring("v1", "Alertmanager", "alertmanagers", 552_000) },
    Crd { short_names: &["pmon"], ..monitoring("v1", "PodMonitor", "podmonitors", 82_000) },
    Crd { short_names: &["prb"], root: Some("MonitorProbe"), ..monitoring("v1", "Probe", "probes", 78_000) },
    Crd {
        short_names: &["promagent"],
        ..monitoring("v1alpha1", "PrometheusAgent", "prometheusagents", 648_000)
    },
    Crd { short_names: &["prom"], ..monitoring("v1", "Prometheus", "prometheuses", 776_000) },
    Crd { short_names: &["promrule"], ..monitoring("v1", "PrometheusRule", "prometheusrules", 9_000) },
    Crd { short_names: &["scfg"], ..monitoring("v1alpha1", "ScrapeConfig", "scrapeconfigs", 718_000) },
    Crd { short_names: &["smon"], ..monitoring("v1", "ServiceMonitor", "servicemonitors", 86_000) },
    Crd { short_names: &["ruler"], ..monitoring("v1", "ThanosRuler", "thanosrulers", 550_000) },
];

const fn monitoring(version: &'static str, kind: &'static str, plural: &'static str, size: usize) -> Crd {
    Crd { categories: &["prometheus-operator"], ..Crd::new(GROUP, version, kind, plural, size) }
}

const METADATA: &str = "  annotations:
    controller-gen.kubebuilder.io/version: v0.17.2
    operator.prometheus.io/version: 0.81.0
{{- with .Values.annotations }}
{{- toYaml . | nindent 4 }}
{{- end }}
";

/// The templates lie in a subchart, as in the real one: Helm does not store a subchart's templates with the release,
/// which otherwise would come too near to the 1 MiB that a Secret may hold.
pub(super) fn chart() -> anyhow::Result<Chart> {
    let types = Types::parse(&[CORE, TYPES])?;
    let mut chart = Chart::new(
        "prometheus-operator-crds",
        "19.1.0",
        "ghcr.io/prometheus-community/charts",
        "A Helm chart that collects custom resource definitions (CRDs) from the Prometheus Operator",
    );
    "v0.81.0".clone_into(&mut chart.app_version);
    chart.kube_version = Some("1.16.0-0");
    chart.subcharts = &["crds"];
    let mut switches = String::new();
    for crd in &CRDS {
        let body = crd.render(&types, METADATA)?;
        let text = format!("{{{{- if .Values.{}.enabled }}}}\n---\n{body}{{{{- end }}}}\n", crd.plural);
        chart = chart.with_file(&format!("charts/crds/templates/crd-{}.yaml", crd.plural), text);
        switches.extend(["  ", crd.plural, ":\n    enabled: true\n"]);
    }
    Ok(chart
        .with_file("values.yaml", format!("crds:\n  # Added to every CRD.\n  annotations: {{}}\n{switches}"))
        .with_file(
            "charts/crds/Chart.yaml",
            "apiVersion: v2\nname: crds\nversion: 0.0.0\ntype: application\n",
        ))
}
