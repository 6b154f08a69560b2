//! Simulates what clients see when k3s restarts, as recorded from v1.36.3+k3s1: connection refused, 503 `starting`, 503
//! `apiserver not ready`, and then the answers of any API server that is not ready yet.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::http::{content_length, read_head, tls_config};
use crate::pki::Identity;

/// Timeout for the request of a client.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two checks for a connection.
const STEP: Duration = Duration::from_millis(5);

/// How long each phase lasts.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    refused: Duration,
    starting: Duration,
    not_ready: Duration,
}

impl Restart {
    /// As recorded from a server without an agent.
    pub const QUICK: Self = Self::new(3500, 600, 1800);
    /// As recorded from a server with an agent on a busy machine.
    pub const SLOW: Self = Self::new(8000, 1300, 15_700);

    const fn new(refused: u64, starting: u64, not_ready: u64) -> Self {
        Self {
            refused: Duration::from_millis(refused),
            starting: Duration::from_millis(starting),
            not_ready: Duration::from_millis(not_ready),
        }
    }

    /// Goes through the phases before the start of the API server, which has this port and folder. The returned front answers
    /// until the API server listens.
    pub(crate) fn simulate(self, port: u16, folder: &Path) -> Result<Front> {
        std::thread::sleep(self.refused);
        let front = Front::start(port, folder)?;
        std::thread::sleep(self.starting);
        front.has_server.store(true, Ordering::Relaxed);
        std::thread::sleep(self.not_ready);
        Ok(front)
    }
}

/// Answers for an API server that does not listen yet. The API server must share the port.
#[derive(Debug)]
pub(crate) struct Front {
    has_server: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    fn start(port: u16, folder: &Path) -> Result<Self> {
        let listener = shared(port).context("cannot listen on the port of the API server")?;
        listener.set_nonblocking(true)?;
        let read = |file: &str| fs::read_to_string(folder.join(file));
        let identity = Identity { cert: read("api-server.crt")?, key: read("api-server.key")? };
        let config = Arc::new(tls_config(&identity)?);
        let [has_server, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (message, stopped) = (Arc::clone(&has_server), Arc::clone(&stop));
        let ends = move || stopped.load(Ordering::Relaxed) || listeners(port) > 1;
        let thread = std::thread::spawn(move || serve(&listener, &config, &message, ends));
        Ok(Self { has_server, stop, thread: Some(thread) })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A listener that shares its port with others that allow it.
fn shared(port: u16) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

/// The number of sockets that listen on a port of 127.0.0.1 (`/proc/net/tcp`, proc(5)); 0 where that cannot be read.
fn listeners(port: u16) -> usize {
    let address = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let is_listener = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(&address) && words.nth(1) == Some("0A")
    };
    table.lines().filter(is_listener).count()
}

fn serve(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
    has_server: &Arc<AtomicBool>,
    ends: impl Fn() -> bool,
) {
    while !ends() {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(STEP);
            continue;
        };
        let (config, has_server) = (Arc::clone(config), Arc::clone(has_server));
        std::thread::spawn(move || drop(answer(stream, config, &has_server)));
    }
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>, has_server: &AtomicBool) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, stream);
    let Some(head) = read_head(&mut stream)? else { return Ok(()) };
    let mut body = vec![0; content_length(&head)?];
    stream.read_exact(&mut body)?;
    let message = if has_server.load(Ordering::Relaxed) { "apiserver not ready" } else { "starting" };
    // k3s sends no `apiVersion`.
    let answer = format!(
        r#"{{"kind":"Status","metadata":{{}},"status":"Failure","message":"{message}","reason":"ServiceUnavailable","code":503}}"#
    );
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
    )?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::wait_for;

    #[test]
    #[cfg(target_os = "linux")]
    fn listeners_of_a_port_are_counted() {
        let first = shared(0).unwrap();
        let port = first.local_addr().unwrap().port();
        assert_eq!(listeners(port), 1);
        let second = shared(port).unwrap();
        assert_eq!(listeners(port), 2);
        drop((first, second));
        // A process that another test starts holds copies until it executes its program.
        wait_for("the listeners", READ_TIMEOUT, || Ok((listeners(port) == 0).then_some(()))).unwrap();
    }
}
