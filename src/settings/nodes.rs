//! The expected number of nodes.

/// Where the number of expected nodes comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodesFrom {
    /// `--nodes`.
    Flag,
    /// `nodes` in the configuration.
    Config,
    /// The default.
    #[default]
    Default,
}

impl NodesFrom {
    /// How to expect fewer nodes; none for the default of one.
    #[must_use]
    pub fn lower(self) -> Option<&'static str> {
        match self {
            Self::Flag => Some("lower --nodes"),
            Self::Config => Some("lower `nodes` in k3s-boot.yaml"),
            Self::Default => None,
        }
    }
}

/// The expected number of nodes and where it comes from; the flag overrides the configuration.
pub(super) fn expected(flag: Option<u32>, configured: Option<u32>) -> (usize, NodesFrom) {
    let (nodes, from) = match (flag, configured) {
        (Some(nodes), _) => (nodes, NodesFrom::Flag),
        (None, Some(nodes)) => (nodes, NodesFrom::Config),
        (None, None) => (1, NodesFrom::Default),
    };
    (usize::try_from(nodes).unwrap_or(usize::MAX), from)
}
