//! What the helmfiles and the repository ask for.

pub mod objects;
pub mod releases;
pub mod repository;
pub mod state_file;

use std::path::PathBuf;

use self::objects::Object;
use self::releases::Release;

/// Everything that a bootstrap brings about.
pub struct Desired {
    /// Namespaces, in the order in which they are made.
    pub namespaces: Vec<String>,
    /// Secrets and what else the encrypted files hold.
    pub objects: Vec<Object>,
    /// The helmfiles, in the order in which they are synced.
    pub helmfiles: Vec<Helmfile>,
}

impl Desired {
    /// All releases of all helmfiles.
    pub fn releases(&self) -> impl Iterator<Item = &Release> {
        self.helmfiles.iter().flat_map(|helmfile| &helmfile.releases)
    }
}

/// Which of the two helmfiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The one for custom resource definitions.
    Crds,
    /// The one for everything else.
    Apps,
}

impl Kind {
    /// The stage in which it is synced.
    #[must_use]
    pub fn stage(self) -> &'static str {
        match self {
            Self::Crds => "crds",
            Self::Apps => "apps",
        }
    }
}

/// A helmfile with its releases.
pub struct Helmfile {
    /// Which one it is.
    pub kind: Kind,
    /// Its path.
    pub path: PathBuf,
    /// Its releases.
    pub releases: Vec<Release>,
    /// Whether its values may refer to encrypted files.
    pub needs_identities: bool,
}
