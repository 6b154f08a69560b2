//! Plays the programs that k3s-boot drives, for `tests/fake`.
//!
//! It acts by the name that it is called by and by the first fitting rule of the file named in `FAKE_SCENARIO`, and
//! notes every call in the file named in `FAKE_TRANSCRIPT`. As `kubectl proxy` it plays an API server with the objects of
//! that file. It is an example so that it is built for the tests but never installed.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "it is there to print what a tool would")]

mod api;
mod notes;
mod scenario;
mod store;

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc::{self, Sender};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{SigSet, Signal};

use self::notes::{Brought, note};
use self::scenario::{OnInt, Rule, Scenario};

/// Set in what a rule's `grandchild` starts.
const GRANDCHILD: &str = "FAKE_GRANDCHILD";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("fake-tool: {error}");
        ExitCode::from(99)
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args();
    let name = args.next().ok_or("called without a name")?;
    let tool = Path::new(&name).file_name().and_then(|name| name.to_str()).ok_or("called by an odd name")?;
    if let Ok(address) = std::env::var(GRANDCHILD) {
        last("grandchild", address.parse()?, OnInt::Ignore)?;
        return Ok(ExitCode::SUCCESS);
    }
    let args: Vec<_> = args.collect();
    let scenario = Scenario::read()?;
    let (kind, stdin) = read_stdin()?;
    let rule = scenario.find(tool, &args)?;
    let socket = args.iter().find_map(|arg| arg.strip_prefix("--unix-socket="));
    let socket = socket.filter(|_| tool == "kubectl" && rule.is_none());
    note(
        tool,
        &args,
        &Brought { kind, bytes: &stdin },
        &scenario.canaries,
        rule.is_some() || socket.is_some(),
    )?;
    if let Some(rule) = rule {
        return play(tool, &args, rule, &stdin);
    }
    match socket.map(ToOwned::to_owned) {
        Some(socket) => api::serve(scenario, &socket).map(|()| ExitCode::SUCCESS),
        None => Err(format!("no rule for `{tool} {}`", args.join(" ")).into()),
    }
}

fn play(tool: &str, args: &[String], rule: &Rule, stdin: &[u8]) -> Result<ExitCode, Box<dyn Error>> {
    let mut stdout = STANDARD.decode(&rule.bytes)?;
    stdout.extend_from_slice(rule.stdout.as_deref().unwrap_or_default().as_bytes());
    for _ in 0..=rule.again.min(u64::MAX - 1) {
        std::io::stdout().write_all(&stdout)?;
        std::io::stderr().write_all(rule.stderr.as_bytes())?;
    }
    std::io::stdout().flush()?;
    if rule.echo_stdin {
        eprintln!("{}", String::from_utf8_lossy(stdin));
    }
    if let Some(text) = &rule.leave_file {
        let folder = PathBuf::from(std::env::var("TMPDIR")?);
        std::fs::write(folder.join("left-over"), text)?;
    }
    let folder = args.iter().find_map(|arg| arg.split_once("/namespace-{{")).map(|(folder, _)| folder);
    for (name, text) in &rule.rendered {
        let path = Path::new(folder.ok_or("nothing tells where to render")?).join(name);
        std::fs::create_dir_all(path.parent().ok_or("no folder")?)?;
        std::fs::write(path, text)?;
    }
    if rule.grandchild {
        let address = rule.connect.ok_or("a grandchild must have something to connect to")?;
        // Not waited for: it is there to stay behind.
        Command::new(std::env::current_exe()?).env(GRANDCHILD, address.to_string()).spawn()?;
    }
    let interrupted = match rule.connect {
        Some(address) => last(tool, address, rule.on_int)?,
        None => false,
    };
    Ok(ExitCode::from(if interrupted { 1 } else { rule.exit }))
}

enum Event {
    Int,
    Go,
    Closed,
}

/// Connects and waits; tells whether INT ended it.
fn last(name: &str, address: SocketAddr, on_int: OnInt) -> Result<bool, Box<dyn Error>> {
    let (sender, events) = mpsc::channel();
    if on_int != OnInt::Die {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        // Blocked, it stays pending until the thread takes it: none is lost, and nothing is ended by it.
        signals.thread_block()?;
        let sender = sender.clone();
        std::thread::spawn(move || while signals.wait().is_ok() && sender.send(Event::Int).is_ok() {});
    }
    let mut connection = TcpStream::connect(address)?;
    writeln!(connection, "{name} {}", std::process::id())?;
    let lines = BufReader::new(connection.try_clone()?);
    std::thread::spawn(move || read_lines(lines, &sender));
    for event in events {
        match event {
            Event::Go => {
                // Whoever reads lines from it shall stop too, for this process may live on.
                connection.shutdown(Shutdown::Both)?;
                return Ok(false);
            }
            Event::Closed => return Ok(true),
            Event::Int => {
                writeln!(connection, "INT")?;
                if on_int == OnInt::End {
                    return Ok(true);
                }
            }
        }
    }
    Ok(true)
}

fn read_lines(lines: BufReader<TcpStream>, sender: &Sender<Event>) {
    for _ in lines.lines().map_while(Result::ok) {
        _ = sender.send(Event::Go);
    }
    _ = sender.send(Event::Closed);
}

fn read_stdin() -> std::io::Result<(&'static str, Vec<u8>)> {
    let stdin = std::fs::metadata("/dev/fd/0")?;
    let kind = if stdin.file_type().is_fifo() || stdin.file_type().is_socket() {
        "pipe"
    } else if stdin.rdev() == std::fs::metadata("/dev/null")?.rdev() {
        "null"
    } else {
        "other"
    };
    let mut bytes = Vec::new();
    if kind == "pipe" {
        std::io::stdin().read_to_end(&mut bytes)?;
    }
    Ok((kind, bytes))
}
