//! A tool to be run, as data.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretSlice;
use tokio::sync::watch;

/// The default grace period between INT and KILL.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// A tool to be run, as data.
pub(crate) struct Invocation {
    /// The name of the tool, for messages.
    pub tool: &'static str,
    /// The absolute path of its program.
    pub program: PathBuf,
    /// The arguments; never a secret.
    pub args: Vec<OsString>,
    /// Variables in addition to the environment of all tools; `None` removes one.
    pub env: BTreeMap<OsString, Option<OsString>>,
    /// Its working folder; that of k3s-boot if absent.
    pub folder: Option<PathBuf>,
    /// Its stdin; null if absent.
    pub stdin: Option<SecretSlice<u8>>,
    /// Whether it may ask on the terminal: it gets it as stdin, unless that is set, and stays in the process group of k3s-boot,
    /// because only the foreground group may read from a terminal.
    pub can_ask: bool,
    /// Whether stdout is logged; otherwise it is data, which may contain secrets.
    pub stdout_is_talk: bool,
    /// The timeout.
    pub deadline: Duration,
    /// The grace period between INT and KILL.
    pub grace: Duration,
    /// Becomes true when the tool must be stopped, because what it waits for cannot become ready.
    pub cancel: Option<watch::Receiver<bool>>,
    /// Receives its process ID when it has been started.
    pub pid: Option<watch::Sender<Option<u32>>>,
    /// Returns the part of a line that may be logged and kept, or `None`; if absent, all lines may.
    pub public_part: Option<PublicPart>,
}

/// See [`Invocation::public_part`]; called for every line in order.
pub(crate) type PublicPart = Box<dyn FnMut(&str) -> Option<String> + Send>;

impl Invocation {
    /// A tool with arguments, stdin null, stdout as data.
    pub(crate) fn new(
        tool: &'static str,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            tool,
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            folder: None,
            stdin: None,
            can_ask: false,
            stdout_is_talk: false,
            deadline: Duration::from_mins(1),
            grace: GRACE,
            cancel: None,
            pid: None,
            public_part: None,
        }
    }

    /// Sets the timeout.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets its stdin.
    pub(crate) fn stdin(mut self, bytes: SecretSlice<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Sets its working folder.
    pub(crate) fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sets whether it may ask on the terminal.
    pub(crate) fn can_ask(mut self, can_ask: bool) -> Self {
        self.can_ask = can_ask;
        self
    }

    /// Sets the part of its lines that may be logged and kept.
    pub(crate) fn public_part(mut self, public_part: PublicPart) -> Self {
        self.public_part = Some(public_part);
        self
    }

    /// Sets a variable for this tool only.
    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), Some(value.into()));
        self
    }

    /// Removes variables for this tool.
    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.env.extend(names.iter().map(|name| (OsString::from(name), None)));
        self
    }
}

/// The tool's name, that of its program if it is another, and its arguments; never its environment or its stdin.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tool)?;
        if let Some(program) = self.program.file_name().filter(|name| *name != self.tool) {
            write!(f, " {}", program.to_string_lossy())?;
        }
        for arg in &self.args {
            write!(f, " {}", arg.to_string_lossy())?;
        }
        Ok(())
    }
}
