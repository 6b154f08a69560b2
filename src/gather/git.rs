//! What Git tracks, and where the repository comes from.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::base::error::Error;
use crate::base::fact::{Known, known};
use crate::process::find_program;
use crate::settings::Settings;
use crate::tools::Toolbox;

/// What Git says of the repository.
pub(super) struct Git {
    /// What it tracks.
    pub(super) tracked: Known<BTreeSet<PathBuf>>,
    /// The address of the remote `origin`.
    pub(super) origin: Option<String>,
}

/// Asks Git, if it is there and the root is a repository of it.
pub(super) async fn ask(tools: &Toolbox, settings: &Settings) -> Result<Git, Error> {
    let unknown = |reason: &str| Git { tracked: Err(reason.to_owned()), origin: None };
    if !settings.root.join(".git").exists() {
        return Ok(unknown("the root is no Git repository"));
    }
    let Some(git) = find_program("git", settings.path.as_deref(), &settings.cwd) else {
        return Ok(unknown("git is not there"));
    };
    let (tracked, origin) =
        tokio::join!(tools.git_tracked(&git, &settings.root), tools.git_origin(&git, &settings.root));
    Ok(Git { tracked: known(tracked)?, origin: known(origin)?.ok() })
}
