//! The one place where processes are started, watched and ended.
//!
//! A tool runs in its own process group with stdin null or a pipe. It is ended by one INT, a time of grace and then
//! KILL to the whole group; when k3s-boot itself is killed it gets INT from the kernel (see [`death`]).

pub mod death;
mod lines;
pub mod signals;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use self::lines::LineSplitter;
use self::signals::Stop;
use crate::run::seconds;
use crate::transcript::Transcript;

/// How long the pipes of an ended tool are still read; something it left behind may hold them open.
const DRAIN: Duration = Duration::from_secs(2);

/// A tool's answer larger than this is refused, so that one that never ends cannot fill the memory.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// Of a tool that talks on and on, only the last part is kept in memory; all of it stands in the transcript.
const LARGEST_TALK: usize = 2 * 1024 * 1024;

/// How long a tool has between INT and KILL, unless its invocation says otherwise.
pub const GRACE: Duration = Duration::from_secs(5);

/// Which of the two streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The stream's usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

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
}

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

    /// Sets a variable for this tool alone.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), Some(value.into()));
        self
    }

    /// Keeps a variable from this tool.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), None);
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

/// What an ended tool left.
pub struct Output {
    /// Its exit status; also not zero.
    pub status: ExitStatus,
    /// What it printed on stdout, when that is data.
    pub stdout: Vec<u8>,
    /// What it said: stderr, and stdout when that is talk; without colours, control characters left as they are.
    pub talk: String,
}

impl Output {
    /// Whether the tool ended with exit code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

/// Why a tool did not come to its own end.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("failed to start `{tool}`: {source}")]
    Spawn {
        /// The tool's name.
        tool: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Its pipes or its status could not be read.
    #[error("failed to read from `{tool}`: {source}")]
    Io {
        /// The tool's name.
        tool: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It printed more than any answer can be.
    #[error("`{tool}` printed more than {LARGEST_ANSWER} bytes")]
    TooMuch {
        /// The tool's name.
        tool: &'static str,
    },
    /// Its deadline passed.
    #[error("`{tool}` did not end within {}", seconds(*.after))]
    Deadline {
        /// The tool's name.
        tool: &'static str,
        /// How long it had.
        after: Duration,
        /// What it had said until then.
        talk: String,
    },
    /// k3s-boot was told to stop.
    #[error("interrupted by {signal}")]
    Interrupted {
        /// The first signal that came.
        signal: Signal,
    },
}

/// Starts tools: knows the environment that they get and the signals that end them.
pub struct Runner {
    env: Vec<(OsString, OsString)>,
    stop: Stop,
    transcript: Transcript,
}

impl Runner {
    /// A runner whose tools get exactly this environment.
    #[must_use]
    pub fn new(env: Vec<(OsString, OsString)>, stop: Stop, transcript: Transcript) -> Self {
        Self { env, stop, transcript }
    }

    /// The signals that end this run.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Where everything that tools say is kept.
    #[must_use]
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Runs a tool to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started or read, when its deadline passes, or when k3s-boot is told to stop. An exit code
    /// other than 0 is no error here.
    pub async fn run(&self, invocation: Invocation) -> Result<Output, ProcessError> {
        self.run_watched(invocation, |_, _| {}).await
    }

    /// Runs a tool to its end and shows every line that it says to `on_line` at once.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn run_watched(
        &self,
        mut invocation: Invocation,
        on_line: impl FnMut(Stream, &str),
    ) -> Result<Output, ProcessError> {
        let tool = invocation.tool;
        if let Some(signal) = self.stop.signal() {
            return Err(ProcessError::Interrupted { signal });
        }
        self.transcript.started(&invocation);
        let mut child = self.spawn(&invocation).map_err(|source| ProcessError::Spawn { tool, source })?;
        let group = Group::of(&child);
        if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), invocation.stdin.take()) {
            // A tool that ends without reading breaks the pipe; its exit code then says why.
            tokio::spawn(async move {
                _ = pipe.write_all(bytes.expose_secret()).await;
            });
        }
        let watch = Watch { runner: self, invocation: &invocation, group: &group };
        let result = watch.to_the_end(&mut child, on_line).await;
        match &result {
            Ok(output) => self.transcript.ended(tool, output.status),
            Err(error) => self.transcript.line(tool, Stream::Stderr, &error.to_string()),
        }
        group.disarm();
        result
    }

    fn spawn(&self, invocation: &Invocation) -> std::io::Result<Child> {
        let (program, args) = death::wrap(&invocation.program, &invocation.args);
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(if invocation.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for (name, value) in &invocation.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.spawn()
    }
}

/// The process group of a running tool; killed when it is dropped while armed.
struct Group {
    leader: Option<Pid>,
    armed: std::cell::Cell<bool>,
}

impl Group {
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { leader, armed: std::cell::Cell::new(true) }
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            match killpg(leader, signal) {
                // All of it has ended already.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => tracing::debug!(signal = %signal, error = %error, "Signal not delivered"),
            }
        }
    }

    fn disarm(&self) {
        self.armed.set(false);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.armed.get() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// Why a tool is being ended before its own end.
#[derive(Clone, Copy)]
enum Ending {
    Deadline,
    Interrupted(Signal),
    TooMuch,
}

enum Chunk {
    Data(Vec<u8>),
    Talk(Stream, Vec<u8>),
}

struct Watch<'a> {
    runner: &'a Runner,
    invocation: &'a Invocation,
    group: &'a Group,
}

impl Watch<'_> {
    async fn to_the_end(
        &self,
        child: &mut Child,
        mut on_line: impl FnMut(Stream, &str),
    ) -> Result<Output, ProcessError> {
        let Invocation { tool, deadline, grace, stdout_is_talk, .. } = *self.invocation;
        let (sender, mut chunks) = mpsc::channel(16);
        if let Some(stdout) = child.stdout.take() {
            let wrap: fn(Vec<u8>) -> Chunk =
                if stdout_is_talk { |bytes| Chunk::Talk(Stream::Stdout, bytes) } else { Chunk::Data };
            tokio::spawn(pump(stdout, sender.clone(), wrap));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pump(stderr, sender, |bytes| Chunk::Talk(Stream::Stderr, bytes)));
        }
        let mut stop = self.runner.stop.clone();
        let mut heard = Heard::default();
        let mut status = None;
        let mut ending: Option<Ending> = None;
        let mut next = Instant::now() + deadline;
        let mut open = true;
        while open || status.is_none() {
            tokio::select! {
                chunk = chunks.recv(), if open => match chunk {
                    Some(Chunk::Data(bytes)) => {
                        heard.stdout.extend_from_slice(&bytes);
                        if heard.stdout.len() > LARGEST_ANSWER && ending.is_none() {
                            ending = Some(Ending::TooMuch);
                            self.group.signal(Signal::SIGKILL);
                        }
                    }
                    Some(Chunk::Talk(stream, bytes)) => heard.talk(stream, &bytes, |line| {
                        self.runner.transcript.line(tool, stream, line);
                        on_line(stream, line);
                    }),
                    None => open = false,
                },
                ended = child.wait(), if status.is_none() => {
                    status = Some(ended.map_err(|source| ProcessError::Io { tool, source })?);
                    next = Instant::now() + DRAIN;
                }
                () = sleep_until(next) => {
                    if status.is_some() || ending.is_some() {
                        self.group.signal(Signal::SIGKILL);
                        // What still holds a pipe after KILL is no member of the group: stop reading.
                        open = open && status.is_none();
                        next = Instant::now() + DRAIN;
                    } else {
                        ending = Some(Ending::Deadline);
                        self.group.signal(Signal::SIGINT);
                        next = Instant::now() + grace;
                    }
                }
                order = stop.changed() => match (order, ending) {
                    (signals::Order::Kill(signal), _) => {
                        ending = Some(Ending::Interrupted(signal));
                        self.group.signal(Signal::SIGKILL);
                    }
                    (signals::Order::Stop(signal), None) => {
                        ending = Some(Ending::Interrupted(signal));
                        self.group.signal(Signal::SIGINT);
                        if status.is_none() {
                            next = Instant::now() + grace;
                        }
                    }
                    (signals::Order::Stop(_), Some(_)) => {}
                },
            }
        }
        if ending.is_some() {
            // Whatever the leader left behind ends with it.
            self.group.signal(Signal::SIGKILL);
        }
        heard.finish(|stream, line| {
            self.runner.transcript.line(tool, stream, line);
            on_line(stream, line);
        });
        match (ending, status) {
            (Some(Ending::Deadline), _) => {
                Err(ProcessError::Deadline { tool, after: deadline, talk: heard.text })
            }
            (Some(Ending::Interrupted(signal)), _) => Err(ProcessError::Interrupted { signal }),
            (Some(Ending::TooMuch), _) => Err(ProcessError::TooMuch { tool }),
            (None, Some(status)) => Ok(Output { status, stdout: heard.stdout, talk: heard.text }),
            (None, None) => Err(ProcessError::Io { tool, source: std::io::ErrorKind::UnexpectedEof.into() }),
        }
    }
}

/// What a tool has said so far.
#[derive(Default)]
struct Heard {
    stdout: Vec<u8>,
    text: String,
    out: LineSplitter,
    err: LineSplitter,
}

impl Heard {
    fn talk(&mut self, stream: Stream, bytes: &[u8], mut on_line: impl FnMut(&str)) {
        let splitter = match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        let text = &mut self.text;
        splitter.push(bytes, |line| {
            if text.len() > LARGEST_TALK {
                // Errors come last.
                let from = text.ceil_char_boundary(LARGEST_TALK / 2);
                text.drain(..from);
            }
            text.push_str(line);
            text.push('\n');
            on_line(line);
        });
    }

    /// A last line may lack its line feed.
    fn finish(&mut self, mut on_line: impl FnMut(Stream, &str)) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.talk(stream, b"\n", |line| {
                if !line.is_empty() {
                    on_line(stream, line);
                }
            });
        }
    }
}

async fn pump(mut pipe: impl AsyncRead + Unpin, sender: mpsc::Sender<Chunk>, wrap: fn(Vec<u8>) -> Chunk) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                if sender.send(wrap(buffer[..length].to_vec())).await.is_err() {
                    break;
                }
            }
        }
    }
}

/// How an exit status reads in a message: `exit code 1`, or `signal SIGKILL`.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal().map(Signal::try_from)) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(Ok(signal))) => format!("signal {signal}"),
        _ => "unknown status".to_owned(),
    }
}

/// The absolute paths of programs, found on a PATH.
#[must_use]
pub fn find_program(name: &str, path: Option<&OsStr>, cwd: &std::path::Path) -> Option<PathBuf> {
    which::which_in(name, path, cwd).ok()
}
