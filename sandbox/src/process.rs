//! Processes: short ones that are waited for, and services that end with the sandbox.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

/// Time between two looks at a condition that cannot be waited for otherwise.
const STEP: Duration = Duration::from_millis(10);

/// Waits until `ready` gives a value, looking every 10 ms.
///
/// Fails with `what` when `limit` has passed, or with the first error of `ready`.
pub fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if Instant::now() > end {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        std::thread::sleep(STEP);
    }
}

/// Has a Go program collect its garbage a quarter as often: nothing here lives for long, and with little to keep, collecting
/// takes a third of the API server's time.
pub const GARBAGE: (&str, &str) = ("GOGC", "400");

/// Runs a command with no input and returns its output; fails with what it said on stderr if it fails.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{name}`"))?;
    check(&name, output)
}

/// As [`run`], with `input` on the command's stdin.
pub(crate) fn run_with_input(command: &mut Command, input: &[u8]) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{name}`"))?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A command that ends before it has read everything says why on stderr.
                drop(stdin.write_all(input));
            }
        });
        child.wait_with_output()
    });
    check(&name, output.with_context(|| format!("cannot wait for `{name}`"))?)
}

fn check(name: &str, output: Output) -> Result<Output> {
    if output.status.success() {
        return Ok(output);
    }
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let said = String::from_utf8_lossy(said);
    Err(anyhow!("`{name}` ended with {}: {}", output.status, tail(&said, 20)))
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The watchdog's script. It remembers the ids it is told; when its input ends, because the sandbox said so or because the
/// process that held it died, it ends them and removes the folder.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
pids=' '
while read -r what pid; do
  case $what in
    start) pids="$pids$pid " ;;
    end) pids="${pids%% $pid *} ${pids#* $pid }" ;;
  esac
done
[ "$pids" = ' ' ] || kill -KILL $pids 2>/dev/null
tries=0
until rm -rf -- "$1" 2>/dev/null || [ $tries -gt 100 ]; do tries=$((tries + 1)); done
"#;

/// A shell process that ends the services and removes the folder of a sandbox, also when the sandbox' own process is killed.
///
/// Rust runs no destructor for statics, nor after SIGKILL; the end of a pipe is seen in every case.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Mutex<(Child, Option<ChildStdin>)>,
}

impl Watchdog {
    /// Starts the watchdog for `folder`, which it removes when it ends.
    pub(crate) fn start(folder: &Path) -> Result<Arc<Self>> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "sandbox-watchdog"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start the sandbox' watchdog")?;
        let pipe = shell.stdin.take();
        Ok(Arc::new(Self { shell: Mutex::new((shell, pipe)) }))
    }

    /// The watchdog's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner).0.id()
    }

    fn tell(&self, what: &str, pid: u32) -> Result<()> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = shell.1.as_mut().context("the sandbox' watchdog has ended")?;
        writeln!(pipe, "{what} {pid}").context("cannot tell the sandbox' watchdog")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        shell.1 = None;
        drop(shell.0.wait());
    }
}

/// A long-lived process of the sandbox. Dropping it ends the process and waits for that.
#[derive(Debug)]
pub(crate) struct Service {
    name: String,
    child: Child,
    log: PathBuf,
    watchdog: Arc<Watchdog>,
}

impl Service {
    /// Starts `command` in a process group of its own, its output going to the file `log`.
    pub(crate) fn start(
        watchdog: &Arc<Watchdog>,
        name: &str,
        command: &mut Command,
        log: &Path,
    ) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open `{}`", log.display()))?;
        let child = command
            .env(GARBAGE.0, GARBAGE.1)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let service =
            Self { name: name.to_owned(), child, log: log.to_owned(), watchdog: Arc::clone(watchdog) };
        watchdog.tell("start", service.pid())?;
        Ok(service)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The service's name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How the process ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Fails with the end of its log if the process is no longer there.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.ended() else { return Ok(()) };
        bail!("{} ended with {status}: {}", self.name, self.said());
    }

    /// The last lines of the service's log.
    pub(crate) fn said(&self) -> String {
        match fs::read(&self.log) {
            Ok(log) => tail(&String::from_utf8_lossy(&log), 10),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => format!("cannot read `{}`: {error}", self.log.display()),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Nothing that a service holds outlives the sandbox, so there is nothing to be gained by asking it politely: the
        // API server alone takes seconds to drain.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(self.watchdog.tell("end", self.child.id()));
    }
}

/// Whether a process with this id runs (an ended one that nobody waited for does not count).
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name in parentheses may hold anything; the state follows the last one.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// When a process began, in clock ticks since the machine did: with its id, this names one process for good.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}
