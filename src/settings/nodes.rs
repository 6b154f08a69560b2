//! The expected number of nodes.

use crate::check::options::NodesFrom;

/// The expected number of nodes and where it comes from; the flag overrides the configuration.
pub(super) fn expected(flag: Option<u32>, configured: Option<u32>) -> (usize, NodesFrom) {
    let (nodes, from) = match (flag, configured) {
        (Some(nodes), _) => (nodes, NodesFrom::Flag),
        (None, Some(nodes)) => (nodes, NodesFrom::Config),
        (None, None) => (1, NodesFrom::Default),
    };
    (usize::try_from(nodes).unwrap_or(usize::MAX), from)
}
