//! All faults and the expected results. Causes and fixes are texts of the known failures of k3s-boot and of its checks.

mod charts;
mod cluster;
mod pods;
mod runtime;

use super::Fault;
use super::injection::{Injection, When};
use super::verdict::{Expected, Plain};

/// A fault that is injected before the run.
const fn fault(
    name: &'static str,
    what: &'static str,
    injections: &'static [Injection],
    expected: Expected,
    plain: Plain,
) -> Fault {
    let (when, args, next) = (When::Before, &[], &[]);
    Fault { name, what, injections, when, upgrade: false, args, next, expected, plain }
}

const fn expect(
    code: i32,
    object: &'static str,
    cause: &'static [&'static str],
    fix: &'static str,
) -> Expected {
    Expected { code, object, cause, fix, also: "" }
}

const HELMFILE: &str = "bootstrap/helmfile.d/01-apps.yaml";
const CRDS: &str = "bootstrap/helmfile.d/00-crds.yaml";

/// Lines of the values after which values of these releases can be inserted.
const CILIUM: &str = "rollOutCiliumPods: true\n";
const COREDNS: &str = "priorityClassName: system-cluster-critical\n";

/// The run succeeds without a message: helm retries, or k3s-boot restarts the program.
const RECOVERS: Expected = expect(0, "", &[], "");

/// All faults, in the order of the stages in which they show.
pub(super) fn faults() -> impl Iterator<Item = &'static Fault> {
    [pods::FAULTS, cluster::FAULTS, charts::FAULTS, runtime::FAULTS].into_iter().flatten()
}
