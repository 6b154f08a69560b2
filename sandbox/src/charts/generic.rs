//! A small chart of any name, for clusters with many releases.

use super::Chart;

pub(super) const FILES: &[(&str, &str)] = &[
    ("templates/all.yaml", include_str!("generic/templates/all.yaml")),
    ("values.yaml", include_str!("generic/values.yaml")),
];

pub(super) fn chart(name: &str) -> Chart {
    Chart::new(name, "1.0.0", "ghcr.io/k3s-boot/charts", "A small workload").with_files(FILES)
}
