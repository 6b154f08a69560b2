//! A tool that runs in the background.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::timeout;

use super::children::children;
use super::lines::LineSplitter;
use super::signals::{Order, Stop};
use super::{Group, Invocation, Output, Runner, Stream};
use crate::base::error::ProcessError;
use crate::process::transcript::Transcript;

/// A tool that runs in the background. Dropping it kills it at once, so it must have nothing to finish.
pub(crate) struct Service {
    state: watch::Receiver<State>,
    group: Group,
    pid: Option<u32>,
    talk: Talk,
}

/// The last lines of a service.
type Talk = Arc<Mutex<VecDeque<String>>>;

/// How many lines of a service are kept.
const MAX_TALK: usize = 50;

impl Drop for Service {
    fn drop(&mut self) {
        if self.has_ended() {
            // Its PID may have been reused.
            self.group.disarm();
        } else {
            self.group.end();
        }
    }
}

impl Service {
    /// Whether it has exited.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.state.borrow(), State::Ended(..))
    }

    /// Its last lines.
    pub(crate) fn talk(&self) -> Vec<String> {
        self.talk.lock().map(|talk| talk.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether a program that it has started is running.
    pub(crate) fn has_children(&self) -> bool {
        self.pid.is_some_and(|pid| !children(pid).is_empty())
    }
}

/// The state of a service.
#[derive(Clone)]
enum State {
    /// It has not reported yet that it is ready.
    Starting,
    Ready,
    /// It has exited; the text is what it printed last.
    Ended(Option<ExitStatus>, String),
}

impl Runner {
    /// Starts a tool and waits until it prints a line that starts with `ready`. If it exits before that, returns its output.
    ///
    /// # Errors
    ///
    /// It cannot be started, it does not become ready in time, or k3s-boot is interrupted.
    pub(crate) async fn serve(
        &self,
        invocation: Invocation,
        ready: &'static str,
    ) -> Result<Result<Service, Output>, ProcessError> {
        let Invocation { tool, deadline, .. } = invocation;
        let (child, group) = self.begin(&invocation)?;
        let (sender, state) = watch::channel(State::Starting);
        let (pid, talk) = (child.id(), Talk::default());
        tokio::spawn(attend(child, tool, ready, self.transcript.clone(), talk.clone(), sender));
        let service = Service { state, group, pid, talk };
        let mut stop: Stop = self.stop.clone();
        let mut state = service.state.clone();
        let started = async {
            let known = state.wait_for(|state| !matches!(state, State::Starting)).await;
            known.map_or(State::Ended(None, String::new()), |state| state.clone())
        };
        tokio::select! {
            state = timeout(deadline, started) => match state {
                Ok(State::Ended(Some(status), talk)) => Ok(Err(Output { status, stdout: Vec::new(), talk })),
                Ok(State::Ended(None, _)) => {
                    let source = std::io::ErrorKind::UnexpectedEof.into();
                    Err(ProcessError::Io { tool, source })
                }
                Ok(State::Starting | State::Ready) => Ok(Ok(service)),
                Err(_) => Err(ProcessError::Deadline { tool, after: deadline, talk: String::new() }),
            },
            Order::Stop(cause) | Order::Kill(cause) = stop.changed() => {
                Err(ProcessError::Interrupted { cause })
            }
        }
    }
}

/// Reads its output until it exits.
async fn attend(
    mut child: Child,
    tool: &'static str,
    ready: &'static str,
    transcript: Transcript,
    talk: Talk,
    state: watch::Sender<State>,
) {
    let heard = |stream, line: &str| {
        transcript.line(tool, stream, line);
        if line.starts_with(ready) {
            // Notifies only the first time.
            state.send_if_modified(|state| {
                matches!(state, State::Starting) && {
                    *state = State::Ready;
                    true
                }
            });
        } else if let Ok(mut talk) = talk.lock() {
            if talk.len() == MAX_TALK {
                talk.pop_front();
            }
            talk.push_back(line.to_owned());
        }
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = async {
        tokio::join!(
            lines(stdout, |line| heard(Stream::Stdout, line)),
            lines(stderr, |line| heard(Stream::Stderr, line)),
        );
    };
    let (status, ()) = tokio::join!(child.wait(), read);
    if let Ok(status) = status {
        transcript.ended(tool, status);
    }
    let last: Vec<_> = talk.lock().map(|talk| talk.iter().cloned().collect()).unwrap_or_default();
    _ = state.send(State::Ended(status.ok(), last.join("\n")));
}

async fn lines(pipe: Option<impl AsyncRead + Unpin>, on_line: impl Fn(&str)) {
    let Some(mut pipe) = pipe else { return };
    let mut splitter = LineSplitter::default();
    let mut buffer = vec![0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        splitter.push(&buffer[..length], &on_line);
    }
    // The last line may have no line feed.
    splitter.push(b"\n", |line| {
        if !line.is_empty() {
            on_line(line);
        }
    });
}
