//! A tool to be run, as data.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretSlice;
use tokio::sync::watch;

/// How long a tool has between INT and KILL, unless its invocation says otherwise.
pub const GRACE: Duration = Duration::from_secs(5);

/// A tool to be run, as data.
pub struct Invocation {
    /// The tool's name, for messages.
    pub tool: &'static str,
    /// The absolute path of its program.
    pub program: PathBuf,
    /// The arguments after the program; never a secret.
    pub args: Vec<OsString>,
    /// Variables on top of the environment that all tools get; `None` removes one.
    pub env: BTreeMap<OsString, Option<OsString>>,
    /// What it reads; nothing when absent.
    pub stdin: Option<SecretSlice<u8>>,
    /// Whether what it prints on stdout is talk to be logged; otherwise it is data, which may hold secrets.
    pub stdout_is_talk: bool,
    /// How long it may take.
    pub deadline: Duration,
    /// How long it has between INT and KILL.
    pub grace: Duration,
    /// Says when it is in vain: it is ended then.
    pub in_vain: Option<watch::Receiver<bool>>,
    /// What of each line that it prints may be logged and kept, `None` for nothing of it; without one all of it may.
    pub public_part: Option<PublicPart>,
}

/// See [`Invocation::public_part`]; it is asked for every line in its order.
pub type PublicPart = Box<dyn FnMut(&str) -> Option<String> + Send>;

impl Invocation {
    /// A tool with arguments, stdin null, stdout as data.
    pub fn new(
        tool: &'static str,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            tool,
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            stdin: None,
            stdout_is_talk: false,
            deadline: Duration::from_mins(1),
            grace: GRACE,
            in_vain: None,
            public_part: None,
        }
    }

    /// Sets how long it may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets what it reads on stdin.
    #[must_use]
    pub fn stdin(mut self, bytes: SecretSlice<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Sets what of its lines may be logged and kept.
    #[must_use]
    pub fn public_part(mut self, public_part: PublicPart) -> Self {
        self.public_part = Some(public_part);
        self
    }

    /// Sets a variable for this tool alone.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), Some(value.into()));
        self
    }

    /// Keeps variables from this tool.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.env.extend(names.iter().map(|name| (OsString::from(name), None)));
        self
    }
}

/// The tool's name and its arguments; never its environment or its stdin.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tool)?;
        for arg in &self.args {
            write!(f, " {}", arg.to_string_lossy())?;
        }
        Ok(())
    }
}
