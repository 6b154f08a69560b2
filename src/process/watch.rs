//! Reads the output of a running tool, and stops it if necessary.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::lines::LineSplitter;
use super::{Group, Invocation, Output, PublicPart, Runner, Stream, signals};
use crate::base::error::{Cause, MAX_OUTPUT, ProcessError};

/// How long to read the pipes of a tool that has exited: orphaned processes may hold them open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a program must be silent before the unfinished line that it printed counts as a prompt.
const PROMPT_DELAY: Duration = Duration::from_millis(100);

/// The interval at which a process group is polled: nothing signals its end.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The maximum size of messages in memory; only the last part is kept. The transcript has all of it.
const MAX_TALK: usize = 2 * 1024 * 1024;

/// Why a tool is being stopped.
#[derive(Clone, Copy)]
enum Ending {
    Deadline,
    Interrupted(Cause),
    Canceled,
    TooMuch,
}

enum Chunk {
    Data(Vec<u8>),
    Talk(Stream, Vec<u8>),
}

pub(super) struct Watch<'a> {
    pub(super) runner: &'a Runner,
    pub(super) invocation: &'a Invocation,
    pub(super) group: &'a Group,
}

impl Watch<'_> {
    /// Waits until the tool has exited and its pipes are read.
    pub(super) async fn finish(
        &self,
        child: &mut Child,
        public_part: Option<PublicPart>,
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
        let mut cancel = self.invocation.cancel.clone();
        let mut heard = Heard { public_part, ..Heard::default() };
        let mut status = None;
        let mut ending: Option<Ending> = None;
        let mut next = Instant::now() + deadline;
        let mut open = true;
        while open || status.is_none() {
            let asks = self.invocation.can_ask && heard.err.prompt().is_some();
            tokio::select! {
                // A program that writes the rest of a line at once does not wait for an answer.
                () = sleep(PROMPT_DELAY), if asks && status.is_none() => self.show_prompt(&mut heard.err),
                chunk = chunks.recv(), if open => match chunk {
                    Some(Chunk::Data(bytes)) => {
                        heard.stdout.extend_from_slice(&bytes);
                        if heard.stdout.len() > MAX_OUTPUT && ending.is_none() {
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
                    self.group.leader_exited();
                    next = Instant::now() + DRAIN_TIMEOUT;
                }
                () = sleep_until(next) => {
                    if status.is_some() || ending.is_some() {
                        self.group.signal(Signal::SIGKILL);
                        // A process that holds a pipe after KILL is not in the group: stop reading.
                        open = open && status.is_none();
                        next = Instant::now() + DRAIN_TIMEOUT;
                    } else {
                        ending = Some(Ending::Deadline);
                        self.group.signal(Signal::SIGINT);
                        next = Instant::now() + grace;
                    }
                }
                () = is_canceled(&mut cancel), if ending.is_none() && status.is_none() => {
                    ending = Some(Ending::Canceled);
                    self.group.signal(Signal::SIGINT);
                    next = Instant::now() + grace;
                }
                order = stop.changed() => match (order, ending) {
                    (signals::Order::Kill(cause), _) => {
                        ending = Some(Ending::Interrupted(cause));
                        self.group.signal(Signal::SIGKILL);
                    }
                    (signals::Order::Stop(cause), None) => {
                        ending = Some(Ending::Interrupted(cause));
                        self.group.signal(Signal::SIGINT);
                        if status.is_none() {
                            next = Instant::now() + grace;
                        }
                    }
                    (signals::Order::Stop(_), Some(_)) => {}
                },
            }
        }
        if ending.is_none() && status.is_some_and(|status| status.signal().is_some()) {
            // It was killed: what it started (helmfile starts helm) still runs, and gets the signal that it would have sent.
            self.group.signal(Signal::SIGINT);
            let until = Instant::now() + grace;
            while self.group.is_there() && Instant::now() < until && !self.runner.stop.killed() {
                sleep(POLL_INTERVAL).await;
            }
        }
        if ending.is_some() || status.is_some_and(|status| !status.success()) {
            // Orphans of the leader are killed as well.
            self.group.signal(Signal::SIGKILL);
        }
        heard.flush(|stream, line| {
            self.runner.transcript.line(tool, stream, line);
            on_line(stream, line);
        });
        match (ending, status) {
            (Some(Ending::Deadline), _) => {
                Err(ProcessError::Deadline { tool, after: deadline, talk: heard.text })
            }
            (Some(Ending::Interrupted(cause)), _) => Err(ProcessError::Interrupted { cause }),
            (Some(Ending::Canceled), _) => Err(ProcessError::Canceled { tool, talk: heard.text }),
            (Some(Ending::TooMuch), _) => Err(ProcessError::TooMuch { tool }),
            (None, Some(status)) => Ok(Output { status, stdout: heard.stdout, talk: heard.text }),
            (None, None) => Err(ProcessError::Io { tool, source: std::io::ErrorKind::UnexpectedEof.into() }),
        }
    }

    fn show_prompt(&self, messages: &mut LineSplitter) {
        if let Some(prompt) = messages.prompt() {
            self.runner.prompt(&prompt);
            messages.prompt_shown();
        }
    }
}

/// The output of a tool so far.
#[derive(Default)]
struct Heard {
    stdout: Vec<u8>,
    text: String,
    out: LineSplitter,
    err: LineSplitter,
    public_part: Option<PublicPart>,
}

impl Heard {
    fn talk(&mut self, stream: Stream, bytes: &[u8], mut on_line: impl FnMut(&str)) {
        let splitter = match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        let (text, public_part) = (&mut self.text, &mut self.public_part);
        splitter.push(bytes, |line| {
            let public = match public_part {
                Some(public_part) => public_part(line),
                None => Some(line.to_owned()),
            };
            let Some(line) = &public else { return };
            if text.len() > MAX_TALK {
                // Errors come last.
                let from = text.ceil_char_boundary(MAX_TALK / 2);
                text.drain(..from);
            }
            text.push_str(line);
            text.push('\n');
            on_line(line);
        });
    }

    /// The last line may have no line feed.
    fn flush(&mut self, mut on_line: impl FnMut(Stream, &str)) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.talk(stream, b"\n", |line| {
                if !line.is_empty() {
                    on_line(stream, line);
                }
            });
        }
    }
}

/// Waits until the tool is canceled.
async fn is_canceled(said: &mut Option<watch::Receiver<bool>>) {
    let Some(said) = said else { return std::future::pending().await };
    if said.wait_for(|said| *said).await.is_err() {
        std::future::pending::<()>().await;
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
