//! Plays the programs that k3s-boot drives, for `tests/fake`.
//!
//! It acts by the name that it is called by and by the first fitting rule of the file named in `FAKE_SCENARIO`, and
//! notes every call in the file named in `FAKE_TRANSCRIPT`. It is an example so that it is built for the tests but
//! never installed.

#![expect(clippy::print_stderr, reason = "it is there to print what a tool would")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc::{self, Sender};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{SigSet, Signal};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Set in what a rule's `grandchild` starts.
const GRANDCHILD: &str = "FAKE_GRANDCHILD";

/// These lead the tools somewhere, so the tests look at their values.
const SHOWN: [&str; 6] =
    ["HELMFILE_CACHE_HOME", "KUBECONFIG", "NO_COLOR", "ROOT_DIR", "SOPS_AGE_KEY_FILE", "TMPDIR"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// What must stand in no argument.
    canaries: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
struct Rule {
    tool: String,
    /// Must be among the arguments, in this order; `*x` stands for an argument that ends in `x`.
    #[serde(default)]
    args: Vec<String>,
    /// The rule does not fit when this variable has a value.
    unless_env: Option<String>,
    /// The rule fits as many calls and no more.
    times: Option<u32>,
    /// `{requested}` stands for the last request to reconcile that was made of Flux.
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    /// Printed on stdout before that: any bytes, in base64.
    #[serde(default)]
    bytes: String,
    /// How many times more it prints all that; the largest number is for ever.
    #[serde(default)]
    again: u64,
    #[serde(default)]
    exit: u8,
    /// Prints what it reads on stderr, as a tool does that complains about it.
    #[serde(default)]
    echo_stdin: bool,
    /// Leaves a file with this text in `TMPDIR`.
    leave_file: Option<String>,
    /// Connects there, says its name and process id, and lasts until a line comes or the connection is closed.
    connect: Option<SocketAddr>,
    #[serde(default)]
    on_int: OnInt,
    /// Starts a process that holds the pipes and connects too. It ends with its connection, and not by INT.
    #[serde(default)]
    grandchild: bool,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum OnInt {
    /// Does nothing about it.
    #[default]
    Die,
    /// Says `INT` to its connection and ends with exit code 1, as helmfile does.
    End,
    /// Says `INT` to its connection and goes on.
    Ignore,
}

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
    let scenario_path = PathBuf::from(std::env::var("FAKE_SCENARIO")?);
    let scenario: Scenario = serde_json::from_slice(&std::fs::read(&scenario_path)?)?;
    let stdin = read_stdin()?;
    let rule = find(&scenario.rules, tool, &args, &scenario_path)?;
    let entry = entry(tool, &args, &stdin, &scenario.canaries, rule.is_some())?;
    // One write, so that calls side by side do not tear each other's lines.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(std::env::var("FAKE_TRANSCRIPT")?)?
        .write_all(format!("{entry}\n").as_bytes())?;
    let Some(rule) = rule else {
        return Err(format!("no rule for `{tool} {}`", args.join(" ")).into());
    };
    play(tool, rule, &stdin.bytes)
}

fn play(tool: &str, rule: &Rule, stdin: &[u8]) -> Result<ExitCode, Box<dyn Error>> {
    let mut stdout = STANDARD.decode(&rule.bytes)?;
    stdout.extend_from_slice(rule.stdout.replace("{requested}", &requested()?).as_bytes());
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

/// The value of the last `reconcile.fluxcd.io/requestedAt` among all arguments of all calls; nothing if there was none.
fn requested() -> Result<String, Box<dyn Error>> {
    let calls = std::fs::read_to_string(std::env::var("FAKE_TRANSCRIPT")?)?;
    let found =
        calls.rsplit_once("reconcile.fluxcd.io/requestedAt=").and_then(|(_, rest)| rest.split('"').next());
    Ok(found.unwrap_or_default().to_owned())
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
            Event::Go => return Ok(false),
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

fn find<'a>(
    rules: &'a [Rule],
    tool: &str,
    args: &[String],
    scenario: &Path,
) -> Result<Option<&'a Rule>, Box<dyn Error>> {
    for (index, rule) in rules.iter().enumerate() {
        let unset = |name: &String| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let fits = rule.tool == tool && holds(args, &rule.args) && rule.unless_env.as_ref().is_none_or(unset);
        if fits && claim(rule, index, scenario)? {
            return Ok(Some(rule));
        }
    }
    Ok(None)
}

fn holds(args: &[String], wanted: &[String]) -> bool {
    let mut args = args.iter();
    wanted.iter().all(|wanted| match wanted.strip_prefix('*') {
        Some(end) => args.any(|arg| arg.ends_with(end)),
        None => args.any(|arg| arg == wanted),
    })
}

/// Takes one of a rule's `times`: a file for each beside the scenario, of which only one process can be the maker.
fn claim(rule: &Rule, index: usize, scenario: &Path) -> std::io::Result<bool> {
    let Some(times) = rule.times else {
        return Ok(true);
    };
    for time in 0..times {
        let path = scenario.with_extension(format!("{index}.{time}"));
        match File::create_new(path) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

struct Stdin {
    kind: &'static str,
    bytes: Vec<u8>,
}

fn read_stdin() -> std::io::Result<Stdin> {
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
    Ok(Stdin { kind, bytes })
}

fn entry(
    tool: &str,
    args: &[String],
    stdin: &Stdin,
    canaries: &[String],
    known: bool,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let holds_canary = |text: &str| canaries.iter().any(|canary| text.contains(canary));
    let env: BTreeMap<_, _> = std::env::vars().collect();
    let canary_in_env: Vec<_> =
        env.iter().filter(|(_, value)| holds_canary(value)).map(|(name, _)| name).collect();
    let shown: BTreeMap<_, _> = SHOWN.iter().map(|name| (name, env.get(*name))).collect();
    let pid = nix::unistd::getpid();
    Ok(json!({
        "tool": tool,
        "argv": args,
        "cwd": std::env::current_dir()?,
        "env": shown,
        "env_names": env.keys().collect::<Vec<_>>(),
        "canary_in_argv": args.iter().any(|arg| holds_canary(arg)),
        "canary_in_env": canary_in_env,
        "stdin": stdin.kind,
        "stdin_len": stdin.bytes.len(),
        "stdin_sha256": format!("{:x}", Sha256::digest(&stdin.bytes)),
        "own_group": nix::unistd::getpgrp() == pid,
        "known": known,
    }))
}
