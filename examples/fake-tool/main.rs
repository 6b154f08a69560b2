//! Simulates the programs that k3s-boot calls, for `tests/fake`.
//!
//! The name under which it is started selects the program. It follows the first matching rule of the file in
//! `FAKE_SCENARIO` and records every call in the file in `FAKE_TRANSCRIPT`. As `kubectl proxy` it simulates an API server
//! with the objects of the scenario. It is an example, so that it is built for tests but never installed.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "it prints the output of the simulated tool")]

mod api;
mod scenario;
mod store;
mod transcript;

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Sender};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{SigSet, Signal};

use self::scenario::{OnInt, Rule, Scenario};
use self::transcript::{Input, record};

/// Set for the process that a rule with `grandchild` starts.
const GRANDCHILD: &str = "FAKE_GRANDCHILD";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("fake-tool: {error}");
        ExitCode::from(99)
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args();
    let name = args.next().ok_or("started without a name")?;
    let tool =
        Path::new(&name).file_name().and_then(|name| name.to_str()).ok_or("the name is not valid UTF-8")?;
    if let Ok(address) = std::env::var(GRANDCHILD) {
        wait_for_test("grandchild", address.parse()?, OnInt::Ignore)?;
        return Ok(ExitCode::SUCCESS);
    }
    let args: Vec<_> = args.collect();
    let scenario = Scenario::read()?;
    let (kind, stdin) = read_stdin()?;
    let rule = scenario.find(tool, &args)?;
    let socket = args.iter().find_map(|arg| arg.strip_prefix("--unix-socket="));
    let socket = socket.filter(|_| tool == "kubectl" && rule.is_none());
    record(
        tool,
        &args,
        &Input { kind, bytes: &stdin },
        &scenario.canaries,
        rule.is_some() || socket.is_some(),
    )?;
    if let Some(rule) = rule {
        return simulate(tool, &args, rule, &stdin);
    }
    match socket.map(ToOwned::to_owned) {
        Some(socket) => api::serve(scenario, &socket).map(|()| ExitCode::SUCCESS),
        None => Err(format!("no rule for `{tool} {}`", args.join(" ")).into()),
    }
}

fn simulate(tool: &str, args: &[String], rule: &Rule, stdin: &[u8]) -> Result<ExitCode, Box<dyn Error>> {
    let mut stdout = STANDARD.decode(&rule.bytes)?;
    stdout.extend_from_slice(rule.stdout.as_deref().unwrap_or_default().as_bytes());
    for _ in 0..=rule.repeat.min(u64::MAX - 1) {
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
        let path = Path::new(folder.ok_or("no output folder in the arguments")?).join(name);
        std::fs::create_dir_all(path.parent().ok_or("the file has no folder")?)?;
        std::fs::write(path, text)?;
    }
    if rule.grandchild {
        let address = rule.connect.ok_or("`grandchild` needs `connect`")?;
        // It outlives this process on purpose.
        Command::new(std::env::current_exe()?).env(GRANDCHILD, address.to_string()).spawn()?;
    }
    let hook = match rule.hook.split_first() {
        Some((command, args)) => Some(Command::new(command).args(args).stdin(Stdio::piped()).spawn()?),
        None => None,
    };
    let interrupted = match rule.connect {
        Some(address) => wait_for_test(tool, address, rule.on_int)?,
        None => false,
    };
    if let Some(mut hook) = hook {
        // Closes its stdin.
        hook.wait()?;
    }
    Ok(ExitCode::from(if interrupted { 1 } else { rule.exit }))
}

enum Event {
    Int,
    Line,
    Closed,
}

/// Connects to the test and waits for a line. Returns true if INT or the end of the connection came first.
fn wait_for_test(name: &str, address: SocketAddr, on_int: OnInt) -> Result<bool, Box<dyn Error>> {
    let (sender, events) = mpsc::channel();
    if on_int != OnInt::Die {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        // A blocked signal stays pending until the thread receives it, so none is lost and none ends the process.
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
            Event::Line => {
                // Ends the reader of the test too, because this process may continue.
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
        _ = sender.send(Event::Line);
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
