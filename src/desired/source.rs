//! The repository that Flux will sync.

use crate::desired::Desired;

/// The source that the helmfiles configure for Flux.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SyncSource {
    /// The URL of the repository, as in the helmfile.
    pub(crate) url: Option<String>,
    /// The Git reference.
    pub(crate) reference: Option<String>,
    /// Whether this run installed a FluxInstance.
    pub(crate) is_installed: bool,
}

impl SyncSource {
    /// The URL of the repository, if one is configured.
    pub(crate) fn url(&self) -> Option<&str> {
        self.url.as_deref().filter(|url| !url.is_empty())
    }

    /// Reads the source from the values of the release that creates the FluxInstance.
    pub(crate) fn of(desired: &Desired) -> Self {
        let release =
            desired.releases().find(|release| release.value(&["instance", "sync", "url"]).is_some());
        let value = |key| {
            let value = release?.value(&["instance", "sync", key])?.as_str()?;
            Some(value.to_owned())
        };
        Self { url: value("url"), reference: value("ref"), is_installed: false }
    }

    /// Sets whether this run installed a FluxInstance, which is waited for then: with several API servers, one may not know
    /// the new kind yet.
    pub(crate) fn installed(self, is_installed: bool) -> Self {
        Self { is_installed, ..self }
    }
}
