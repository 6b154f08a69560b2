//! Asks Git for the tracked files and the remote of the repository.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::process::find_program;
use crate::settings::Settings;
use crate::tools::Toolbox;

pub(super) struct Git {
    /// The tracked files, relative to the root.
    pub(super) tracked: Fact<BTreeSet<PathBuf>>,
    /// The URL of the remote `origin`.
    pub(super) origin: Option<String>,
    /// Whether `git add` would add the age key; `None` if that is unknown.
    pub(super) adds_age_key: Option<bool>,
}

/// Asks Git, if it is installed and the root is a Git repository.
pub(super) async fn ask(tools: &Toolbox, settings: &Settings) -> Result<Git, Error> {
    let unknown = |reason: &str| Git { tracked: Err(reason.to_owned()), origin: None, adds_age_key: None };
    if !settings.root.join(".git").exists() {
        return Ok(unknown("the root is not a Git repository"));
    }
    let Some(git) = find_program("git", settings.path.as_deref(), &settings.cwd) else {
        return Ok(unknown("git is not installed"));
    };
    let (tracked, origin) =
        tokio::join!(tools.git_tracked(&git, &settings.root), tools.git_origin(&git, &settings.root));
    let (tracked, origin) = (known(tracked)?, known(origin)?.ok());
    // A git that does not answer is not asked again.
    let adds_age_key = match &tracked {
        Ok(_) => {
            let added = tools.git_would_add(&git, &settings.root, settings.relative(&settings.age_key));
            known(added.await)?.ok()
        }
        Err(_) => None,
    };
    Ok(Git { tracked, origin, adds_age_key })
}
