//! The only module that reads the process environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::PathBuf;

/// The environment k3s-boot was started in, read once.
///
/// `Debug` is written by hand, because values may be secret.
#[derive(Clone, Default)]
pub(crate) struct Env {
    vars: BTreeMap<OsString, OsString>,
    /// The command line without the program name.
    pub args: Vec<OsString>,
    /// The working directory, the base of relative paths.
    pub cwd: PathBuf,
    /// Whether standard input is a terminal.
    pub stdin_is_terminal: bool,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env")
            .field("names", &self.vars.keys())
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

impl Env {
    /// Reads the environment of this process.
    ///
    /// # Errors
    ///
    /// The working directory does not exist any more.
    pub(crate) fn from_process() -> std::io::Result<Self> {
        Ok(Self {
            vars: std::env::vars_os().collect(),
            args: std::env::args_os().skip(1).collect(),
            cwd: std::env::current_dir()?,
            stdin_is_terminal: std::io::stdin().is_terminal(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
        })
    }

    /// An environment with the given variables, for tests.
    #[cfg(test)]
    pub(crate) fn from_vars<I, K, V>(vars: I, cwd: PathBuf) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let vars = vars.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self { vars, cwd, ..Self::default() }
    }

    /// A variable's value; an empty value counts as unset, as for helmfile's `requiredEnv`.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable's value as text; a value that is not UTF-8 counts as unset.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(OsStr::to_str)
    }

    /// A variable's value as an absolute path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(|value| self.cwd.join(value))
    }

    /// All variables.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.vars.iter().map(|(key, value)| (key.as_os_str(), value.as_os_str()))
    }

    /// The user's cache folder for k3s-boot (`XDG_CACHE_HOME`, else `~/.cache`), if either is known.
    pub(crate) fn cache_dir(&self) -> Option<PathBuf> {
        self.xdg("XDG_CACHE_HOME", ".cache")
    }

    /// The user's state folder for k3s-boot (`XDG_STATE_HOME`, else `~/.local/state`), if either is known.
    pub(crate) fn state_dir(&self) -> Option<PathBuf> {
        self.xdg("XDG_STATE_HOME", ".local/state")
    }

    /// The folder for temporary files (`TMPDIR`, else `/tmp`).
    pub(crate) fn temp_dir(&self) -> PathBuf {
        self.path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"))
    }

    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        // The XDG base directory specification requires ignoring relative paths.
        let from_variable = self.get(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = from_variable.or_else(|| self.path("HOME").map(|home| home.join(below_home)))?;
        Some(base.join("k3s-boot"))
    }
}
