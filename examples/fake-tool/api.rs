//! Simulates `kubectl proxy` and the API server behind it.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::scenario::{Rule, Scenario};
use crate::store::Store;
use crate::transcript::{Input, record};
use crate::wait_for_test;

/// Serves until the process is killed.
pub(crate) fn serve(scenario: Scenario, socket: &str) -> Result<(), Box<dyn Error>> {
    let listener = UnixListener::bind(socket)?;
    let store = Store::new(&scenario);
    let served = Arc::new((scenario, store));
    println!("Starting to serve on {socket}");
    for connection in listener.incoming() {
        let connection = connection?;
        let served = Arc::clone(&served);
        std::thread::spawn(move || {
            // The client may have exited. If a test waits for the answer, it fails.
            if let Err(error) = answer(&served.0, &served.1, connection) {
                eprintln!("fake-tool: {error}");
            }
        });
    }
    Ok(())
}

fn answer(scenario: &Scenario, store: &Store, connection: UnixStream) -> Result<(), Box<dyn Error>> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let args = [method.to_owned(), path.to_owned()];
    let rule = scenario.find("api", &args)?;
    let kind = if body.is_empty() { "null" } else { "pipe" };
    record("api", &args, &Input { kind, bytes: &body }, &scenario.canaries, true)?;
    if let Some(address) = rule.and_then(|rule| rule.connect) {
        wait_for_test("api", address, crate::scenario::OnInt::Die)?;
    }
    if let Some(rule) = rule.filter(|rule| rule.has_answer()) {
        if rule.execute {
            store.answer(method, path, &body)?;
        }
        return answer_by_rule(rule, connection);
    }
    let (status, text) = store.answer(method, path, &body)?;
    send(connection, status, "", text.as_bytes(), 0)
}

fn answer_by_rule(rule: &Rule, connection: UnixStream) -> Result<(), Box<dyn Error>> {
    let mut bytes = STANDARD.decode(&rule.bytes)?;
    bytes.extend_from_slice(rule.stdout.as_deref().unwrap_or_default().as_bytes());
    let status = rule.status.unwrap_or(if rule.exit > 0 { 500 } else { 200 });
    if status >= 300 {
        bytes.extend_from_slice(rule.stderr.as_bytes());
    }
    let retry = rule.retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    send(connection, status, &retry, &bytes, rule.repeat)
}

/// Sends an answer. It ends when the connection is closed.
fn send(
    mut connection: UnixStream,
    status: u16,
    more_headers: &str,
    bytes: &[u8],
    repeat: u64,
) -> Result<(), Box<dyn Error>> {
    write!(
        connection,
        "HTTP/1.1 {status} Simulated\r\nContent-Type: application/json\r\nConnection: close\r\n{more_headers}\r\n"
    )?;
    for _ in 0..=repeat.min(u64::MAX - 1) {
        connection.write_all(bytes)?;
    }
    Ok(())
}
