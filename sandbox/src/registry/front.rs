//! A CONNECT proxy that terminates TLS, injects faults and forwards all other requests to the registry.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{HOSTS, listen};
use crate::git_server::{self, GitServer};
use crate::http::{content_length, header, read_head, tls_config};
use crate::pki::Identity;

/// The path of the token endpoint, and the token for everybody.
const TOKEN_PATH: &str = "/token";
const TOKEN: &str = "anonymous";

/// The injected faults of the registry. They affect requests that arrive after the call.
#[derive(Debug, Default)]
pub struct Faults {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    delay: Duration,
    next: Vec<Fault>,
    /// The fault of all requests.
    always: Option<Fault>,
    /// A certificate to show instead of the right one.
    shown: Option<Arc<ServerConfig>>,
    /// The number of requests to answer before all later ones are held.
    held_after: Option<usize>,
    holding: usize,
    /// The HTTP status for logins.
    refused_login: Option<u16>,
    requests: Vec<String>,
    /// The bytes of the answers of the registry.
    bytes: usize,
    /// Files to serve instead of asking the registry, by their path.
    files: BTreeMap<String, Vec<u8>>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Status(u16),
    Reset,
}

impl Faults {
    /// Delays every request by this time.
    pub fn delay(&self, time: Duration) {
        self.state().delay = time;
    }

    /// Answers the next `count` requests with this HTTP status.
    pub fn answer(&self, count: usize, status: u16) {
        self.state().next.extend(std::iter::repeat_n(Fault::Status(status), count));
    }

    /// Closes the connections of the next `count` requests without an answer.
    pub fn reset(&self, count: usize) {
        self.state().next.extend(std::iter::repeat_n(Fault::Reset, count));
    }

    /// Answers all requests with this HTTP status until [`Faults::clear`].
    pub fn answer_all(&self, status: u16) {
        self.state().always = Some(Fault::Status(status));
    }

    /// Closes the connections of all requests without an answer until [`Faults::clear`].
    pub fn reset_all(&self) {
        self.state().always = Some(Fault::Reset);
    }

    /// Shows this certificate to new connections until [`Faults::clear`].
    pub(super) fn show(&self, identity: &Identity) -> Result<()> {
        self.state().shown = Some(Arc::new(tls_config(identity)?));
        Ok(())
    }

    /// Answers this many more requests, and holds all later ones until [`Faults::clear`].
    pub fn hold_after(&self, answered: usize) {
        self.state().held_after = Some(answered);
    }

    /// Requires a token, as ghcr.io does: anonymous clients get one for public charts, but a request for a token with a login
    /// gets this HTTP status.
    pub fn refuse_logins(&self, status: u16) {
        self.state().refused_login = Some(status);
    }

    /// Waits until at least one request is held; false after `limit`.
    pub fn wait_held(&self, limit: Duration) -> bool {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), limit, |state| state.holding == 0)
            .unwrap_or_else(PoisonError::into_inner);
        state.holding > 0
    }

    /// Removes all faults and continues held requests.
    pub fn clear(&self) {
        let mut state = self.state();
        state.delay = Duration::ZERO;
        state.next.clear();
        state.always = None;
        state.shown = None;
        state.held_after = None;
        state.refused_login = None;
        self.changed.notify_all();
        // Requests held so far must not count for the next hold.
        drop(
            self.changed.wait_while(state, |state| state.holding > 0).unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Serves a file at this path, on every host.
    pub fn serve(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.state().files.insert(path.to_owned(), content.into());
    }

    /// The answer to a request for a file that [`Self::serve`] named.
    fn file(&self, head: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let content = state.files.get(head.split(' ').nth(1)?)?;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
        Some([head.as_bytes(), content].concat())
    }

    /// The number of requests so far.
    pub fn count(&self) -> usize {
        self.state().requests.len()
    }

    /// The bytes of the registry's answers so far.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// The requests so far, as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request, waits as long as it is delayed or held, and returns its fault.
    fn meet(&self, request: &str) -> Option<Fault> {
        let mut state = self.state();
        state.requests.push(request.to_owned());
        let fault = if state.next.is_empty() { state.always } else { Some(state.next.remove(0)) };
        let delay = state.delay;
        let held = match &mut state.held_after {
            None => false,
            Some(0) => true,
            Some(answered) => {
                *answered -= 1;
                false
            }
        };
        if held {
            state.holding += 1;
            self.changed.notify_all();
            state = self
                .changed
                .wait_while(state, |state| state.held_after.is_some() && !state.ended)
                .unwrap_or_else(PoisonError::into_inner);
            state.holding -= 1;
            self.changed.notify_all();
        }
        drop(state);
        std::thread::sleep(delay);
        fault
    }

    /// The answer to a request for a token or without a token; `None` if the request may pass.
    fn gate(&self, head: &str) -> Option<String> {
        let status = self.state().refused_login?;
        let authorization = header(head, "authorization");
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path.starts_with(TOKEN_PATH) {
            return Some(match authorization {
                None => {
                    let body = format!(r#"{{"token": "{TOKEN}"}}"#);
                    let length = body.len();
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                    )
                }
                Some(_) => format!("HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\n\r\n"),
            });
        }
        if authorization.and_then(|text| text.strip_prefix("Bearer ")) == Some(TOKEN) {
            return None;
        }
        let host = header(head, "host").unwrap_or_default();
        Some(format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"https://{host}{TOKEN_PATH}\",service=\"{host}\"\r\n\
             Content-Length: 0\r\n\r\n"
        ))
    }

    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }
}

/// The proxy. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
    faults: Arc<Faults>,
    stop: Arc<AtomicBool>,
    accept: Option<JoinHandle<()>>,
}

impl Front {
    /// Starts a proxy with its own faults to the socket of a registry, and to a Git server, which has no faults.
    pub(super) fn start(identity: &Identity, registry: &Path, git: Option<Arc<GitServer>>) -> Result<Self> {
        let (listener, address) = listen()?;
        let faults = Arc::new(Faults::default());
        let stop = Arc::new(AtomicBool::new(false));
        let served = Served {
            tls: Arc::new(tls_config(identity)?),
            registry: registry.to_owned(),
            git,
            faults: Arc::clone(&faults),
        };
        let stopped = Arc::clone(&stop);
        let accept = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let served = served.clone();
                // A client that goes away in the middle is its own business.
                std::thread::spawn(move || drop(served.proxy(stream)));
            }
        });
        Ok(Self { address, faults, stop, accept: Some(accept) })
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.faults.end();
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(accept) = self.accept.take() {
            drop(accept.join());
        }
    }
}

#[derive(Clone)]
struct Served {
    tls: Arc<ServerConfig>,
    registry: PathBuf,
    git: Option<Arc<GitServer>>,
    faults: Arc<Faults>,
}

impl Served {
    fn proxy(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let Some(head) = read_head(&mut stream)? else {
            return Ok(());
        };
        let host = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(':').next());
        let git = self.git.as_ref().filter(|_| host == Some(git_server::host_and_path().0));
        if git.is_none() && !host.is_some_and(|host| HOSTS.contains(&host)) {
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            return Ok(());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let shown = self.faults.state().shown.clone();
        let connection = ServerConnection::new(shown.unwrap_or_else(|| Arc::clone(&self.tls)))?;
        let mut stream = StreamOwned::new(connection, stream);
        while let Some(head) = read_head(&mut stream)? {
            let mut body = vec![0; content_length(&head)?];
            stream.read_exact(&mut body)?;
            if let Some(git) = git {
                stream.write_all(&git.answer(&head, &body)?)?;
                stream.flush()?;
                continue;
            }
            let request = head.split(' ').take(2).collect::<Vec<_>>().join(" ");
            match self.faults.meet(&request) {
                Some(Fault::Reset) => {
                    drop(stream.sock.shutdown(Shutdown::Both));
                    return Ok(());
                }
                Some(Fault::Status(status)) => {
                    let answer = format!("HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes())?;
                }
                None => match (self.faults.file(&head), self.faults.gate(&head)) {
                    (Some(answer), _) => stream.write_all(&answer)?,
                    (None, Some(answer)) => stream.write_all(answer.as_bytes())?,
                    (None, None) => stream.write_all(&self.ask_registry(&head, &body)?)?,
                },
            }
            stream.flush()?;
        }
        Ok(())
    }

    /// One request on a connection of its own; the answer is whole when the registry closes it.
    fn ask_registry(&self, head: &str, body: &[u8]) -> Result<Vec<u8>> {
        let mut registry = UnixStream::connect(&self.registry)?;
        let head = with_header(&without_header(head, "connection"), "Connection: close");
        registry.write_all(head.as_bytes())?;
        registry.write_all(body)?;
        let mut answer = Vec::new();
        registry.read_to_end(&mut answer)?;
        let end = find_head_end(&answer).context("the registry's answer has no head")?;
        let head = std::str::from_utf8(&answer[..end])?;
        self.faults.state().bytes += answer.len();
        // The client may use the connection again.
        let mut whole = without_header(head, "connection").into_bytes();
        whole.extend_from_slice(&answer[end..]);
        Ok(whole)
    }
}

fn find_head_end(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4)
}

fn without_header(head: &str, name: &str) -> String {
    head.split_inclusive("\r\n")
        .filter(|line| line.split_once(':').is_none_or(|(key, _)| !key.eq_ignore_ascii_case(name)))
        .collect()
}

fn with_header(head: &str, header: &str) -> String {
    format!("{}{header}\r\n\r\n", head.strip_suffix("\r\n").unwrap_or(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_gets_no_token_and_everybody_else_does() {
        let faults = Faults::default();
        let ask = |path: &str, authorization: &str| {
            let head = format!("GET {path} HTTP/1.1\r\nHost: ghcr.io\r\n{authorization}\r\n");
            faults.gate(&head).map(|answer| answer.lines().next().unwrap_or_default().to_owned())
        };
        assert_eq!(ask("/v2/", ""), None);
        faults.refuse_logins(403);
        assert_eq!(ask("/v2/", "").as_deref(), Some("HTTP/1.1 401 Unauthorized"));
        assert_eq!(ask("/token?scope=a", "").as_deref(), Some("HTTP/1.1 200 OK"));
        let login = "Authorization: Basic b2xk\r\n";
        assert_eq!(ask("/token?scope=a", login).as_deref(), Some("HTTP/1.1 403 Fault"));
        assert_eq!(ask("/v2/", "Authorization: Bearer anonymous\r\n"), None);
        faults.clear();
        assert_eq!(ask("/v2/", ""), None);
    }

    #[test]
    fn heads_are_rewritten() {
        let head = "GET / HTTP/1.1\r\nHost: a:443\r\nconnection: keep-alive\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(content_length(head).unwrap(), 12);
        let without = without_header(head, "Connection");
        assert_eq!(without, "GET / HTTP/1.1\r\nHost: a:443\r\nContent-Length: 12\r\n\r\n");
        assert_eq!(
            with_header("GET / HTTP/1.1\r\nA: b\r\n\r\n", "C: d"),
            "GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n"
        );
    }
}
