//! Runs commands, and services that end with the sandbox.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

/// Time between two checks of a condition that can only be polled.
const STEP: Duration = Duration::from_millis(10);

/// Polls `ready` every 10 ms until it returns a value.
///
/// Fails after `limit`, naming `what`, or with the first error of `ready`.
pub fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if Instant::now() > end {
            bail!("timed out after {} s waiting for {what}", limit.as_secs());
        }
        std::thread::sleep(STEP);
    }
}

/// Makes Go programs collect garbage a quarter as often: processes are short-lived, and garbage collection takes a third of the
/// time of the API server.
pub const GARBAGE: (&str, &str) = ("GOGC", "400");

/// Runs a command without input and returns its output. If it fails, the error shows the end of its stderr.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{name}`"))?;
    check(&name, output)
}

/// As [`run`], with `input` on stdin.
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
                // A command that exits before it has read everything reports why on stderr.
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
    let printed = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let printed = String::from_utf8_lossy(printed);
    Err(anyhow!("`{name}` failed with {}: {}", output.status, tail(&printed, 20)))
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The script of the watchdog. It keeps a list of process IDs. When its input ends, because the sandbox closed it or because the
/// process of the sandbox died, it kills these processes and removes the folder.
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

/// A shell process that kills the services and removes the folder of a sandbox, even if the process of the sandbox is killed.
///
/// Rust runs no destructors for statics, nor after SIGKILL, but a pipe is closed in every case.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Mutex<(Child, Option<ChildStdin>)>,
}

impl Watchdog {
    /// Starts the watchdog, which removes `folder` in the end.
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
            .context("cannot start the watchdog")?;
        let pipe = shell.stdin.take();
        Ok(Arc::new(Self { shell: Mutex::new((shell, pipe)) }))
    }

    /// The watchdog's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner).0.id()
    }

    fn send(&self, what: &str, pid: u32) -> Result<()> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = shell.1.as_mut().context("the watchdog has exited")?;
        writeln!(pipe, "{what} {pid}").context("cannot write to the watchdog")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        shell.1 = None;
        drop(shell.0.wait());
    }
}

/// A long-running process of the sandbox. Dropping it kills the process and waits for its end.
#[derive(Debug)]
pub(crate) struct Service {
    name: String,
    child: Child,
    log: PathBuf,
    watchdog: Arc<Watchdog>,
}

impl Service {
    /// Starts `command` in its own process group, with its output in the file `log`.
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
        watchdog.send("start", service.pid())?;
        Ok(service)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The exit status, if the process has exited.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Fails with the end of the log if the process has exited.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.ended() else { return Ok(()) };
        bail!("{} exited with {status}: {}", self.name, self.log_tail());
    }

    /// The last lines of the log.
    pub(crate) fn log_tail(&self) -> String {
        match fs::read(&self.log) {
            Ok(log) => tail(&String::from_utf8_lossy(&log), 10),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => format!("cannot read `{}`: {error}", self.log.display()),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Kill it at once: none of its data outlives the sandbox, and a graceful shutdown of the API server takes seconds.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(self.watchdog.send("end", self.child.id()));
    }
}

/// Whether a process with this ID is running; zombies do not count.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name in parentheses can contain anything; the state follows the last parenthesis.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The start time of a process in clock ticks since boot. Together with the ID, it identifies a process.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}
