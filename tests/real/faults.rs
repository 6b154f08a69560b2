//! The short form of the fault campaign, `cargo sandbox faults`: faults that appear early, on one cluster.

use sandbox::{FaultCampaign, run_faults};

use super::fixture::tools;
use super::support::k3s_boot;

/// In the order in which they appear: before charts are downloaded, before anything is changed, and then by release.
const FAULTS: [&str; 20] = [
    "disk-full",
    "registry-401",
    "registry-429",
    "registry-reset",
    "registry-certificate",
    "clock",
    "chart-missing",
    "schema",
    "schema-key",
    "coredns-bundled",
    "dns-address",
    "second-operator",
    "taint",
    "pending",
    "terminating",
    "template",
    "immutable",
    "record-too-large",
    "webhook",
    "flux-stalled",
];

#[test]
fn failures_name_object_cause_and_fix() {
    let only = FAULTS.map(ToOwned::to_owned).to_vec();
    let campaign = FaultCampaign { only, plain: false, one_cluster: true, large_crds: false };
    run_faults(tools(), k3s_boot(), &campaign, &|line| println!("{line}")).unwrap();
}
