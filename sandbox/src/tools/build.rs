//! Builds tools with Go.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

use super::catalog::{Source, Tool};
use super::{rename, staging};
use crate::output::Progress;
use crate::process::run;

/// The oldest Go that builds everything (helmfile's go.mod asks for it).
const GO: (u32, u32, u32) = (1, 26, 2);

/// How often the status line is renewed.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// How much of Go's output an error shows.
const MAX_ERROR_LINES: usize = 20;

/// The name of the step, for [`Progress::status`].
const STEP: &str = "tools";

/// Builds the tools that are missing from the cache, each into a staging folder that is then renamed: the cache holds a tool
/// completely or not at all.
pub(super) fn build(missing: &[&Tool], cache: &Path, progress: &dyn Progress) -> Result<()> {
    require_go()?;
    let _lock = lock(cache, progress)?;
    // Another process may have built some in the meantime.
    let missing: Vec<&Tool> =
        missing.iter().copied().filter(|tool| !tool.is_in(&cache.join(tool.folder()))).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Go compiles only when it has downloaded all modules of a program, so the next ones are downloaded meanwhile.
        scope.spawn(|| download_ahead(missing.get(1..).unwrap_or_default(), &stop));
        let built = build_all(&missing, cache, progress);
        progress.status(STEP, None);
        stop.store(true, Ordering::Relaxed);
        built
    })
}

fn build_all(missing: &[&Tool], cache: &Path, progress: &dyn Progress) -> Result<()> {
    for (index, tool) in missing.iter().enumerate() {
        let what = format!("{}/{} ({} {})", index + 1, missing.len(), tool.name, tool.version);
        progress.start(&format!("building tools: {what}"));
        let started = Instant::now();
        let status = |detail: &str| {
            let seconds = started.elapsed().as_secs();
            progress.status(STEP, Some(format!("building tools: {what} {seconds} s{detail}")));
        };
        build_one(tool, cache, &status)
            .with_context(|| format!("cannot build {} {}", tool.name, tool.version))?;
        progress.line(&format!("built tools: {what} in {} s", started.elapsed().as_secs()));
    }
    Ok(())
}

fn build_one(tool: &Tool, cache: &Path, status: &dyn Fn(&str)) -> Result<()> {
    let staging = staging(cache)?;
    match &tool.source {
        Source::Module { ldflags, .. } => {
            let mut command = in_module("build", &tool.source);
            command.args(["-v", &format!("-ldflags=-s -w {ldflags}"), "-o"]).arg(staging.path().join(""));
            compile(command.args(packages(&tool.source)), status)?;
        }
        Source::Install { package, ldflags } => {
            let mut command = go("install");
            command.args(["-v", &format!("-ldflags=-s -w {ldflags}"), package]);
            compile(command.env("GOBIN", staging.path()), status)?;
        }
        Source::Files { module, folders } => {
            let module = download(module)?;
            for folder in *folders {
                copy_yaml(&module.join(folder), staging.path())?;
            }
        }
    }
    name_etcd(staging.path())?;
    if let Some(missing) = tool.files.iter().find(|file| !staging.path().join(file).is_file()) {
        bail!("the build did not produce `{missing}`");
    }
    let target = cache.join(tool.folder());
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("cannot remove `{}`", target.display()))?;
    }
    rename(staging, &target)
}

/// Downloads the modules of tools that are built later. Errors are left to the build.
fn download_ahead(tools: &[&Tool], stop: &AtomicBool) {
    for tool in tools {
        if !matches!(tool.source, Source::Module { .. }) {
            continue;
        }
        let mut command = in_module("list", &tool.source);
        command.args(["-deps", "-f", ""]).args(packages(&tool.source));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = child else { return };
        while matches!(child.try_wait(), Ok(None)) {
            if stop.load(Ordering::Relaxed) {
                drop(child.kill());
                drop(child.wait());
                return;
            }
            std::thread::sleep(STATUS_INTERVAL);
        }
    }
}

/// `go VERB` in the folder of a module, with its tags.
fn in_module(verb: &str, source: &Source) -> Command {
    let mut command = go(verb);
    if let Source::Module { folder, tags, .. } = source {
        command
            .args(["-tags", tags])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(folder));
    }
    command
}

fn packages(source: &Source) -> &'static [&'static str] {
    match source {
        Source::Module { packages, .. } => packages,
        _ => &[],
    }
}

fn go(verb: &str) -> Command {
    let mut command = Command::new("go");
    command
        // The registry's main package is in this repository; its revision is not part of the program.
        .args([verb, "-buildvcs=false"])
        // Without cgo no C compiler is needed, and all programs share one build of the standard library.
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS");
    command
}

/// Runs a `go build` or `go install` with `-v`, which names each package that it compiles.
fn compile(command: &mut Command, status: &dyn Fn(&str)) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `go`")?;
    let stderr = child.stderr.take();
    let seen = Mutex::new(Seen::default());
    let status = std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in
                stderr.map(BufReader::new).into_iter().flat_map(|lines| lines.lines().map_while(Result::ok))
            {
                seen.lock().unwrap_or_else(PoisonError::into_inner).add(line);
            }
        });
        wait(&mut child, || status(&seen.lock().unwrap_or_else(PoisonError::into_inner).detail()))
    })?;
    if status.success() {
        return Ok(());
    }
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    bail!("`go` failed with {status}: {}", seen.error())
}

fn wait(child: &mut Child, tick: impl Fn()) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        tick();
        std::thread::sleep(STATUS_INTERVAL);
    }
}

/// What `go build -v` has printed so far.
#[derive(Default)]
struct Seen {
    compiled: usize,
    downloading: Option<String>,
    messages: Vec<String>,
}

impl Seen {
    fn add(&mut self, line: String) {
        if let Some(module) = line.strip_prefix("go: downloading ") {
            self.downloading = module.split(' ').next().map(str::to_owned);
        } else if is_package(&line) {
            self.compiled += 1;
            self.downloading = None;
        } else {
            self.messages.push(line);
        }
    }

    fn detail(&self) -> String {
        match &self.downloading {
            Some(module) => format!(", downloading {module}"),
            None if self.compiled == 0 => String::new(),
            None => format!(", {} packages compiled", self.compiled),
        }
    }

    fn error(&self) -> String {
        self.messages[self.messages.len().saturating_sub(MAX_ERROR_LINES)..].join("\n")
    }
}

/// Whether a line is an import path; messages have spaces or begin with `#`.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.contains([' ', '\t', ':', '#'])
}

/// etcd's main package is at the top of its module, so Go names the program after the last element of the path.
fn name_etcd(folder: &Path) -> Result<()> {
    for name in ["server", "v3"] {
        if folder.join(name).is_file() {
            fs::rename(folder.join(name), folder.join("etcd"))?;
        }
    }
    Ok(())
}

fn download(module: &str) -> Result<PathBuf> {
    let output = run(Command::new("go").args(["mod", "download", "-json", module]).current_dir("/"))?;
    let info: Value = serde_json::from_slice(&output.stdout)?;
    Ok(PathBuf::from(info["Dir"].as_str().context("`go mod download` printed no folder")?))
}

fn copy_yaml(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name()
            && path.extension() == Some(OsStr::new("yaml"))
        {
            fs::write(to.join(name), fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// The folder on PATH that holds a tool, completely and in the right version.
pub(super) fn on_path(tool: &Tool) -> Option<PathBuf> {
    let (arguments, version) = tool.probe?;
    let first = tool.files.first()?;
    let path = env::var_os("PATH")?;
    let folder = env::split_paths(&path).find(|folder| folder.join(first).is_file())?;
    if !folder.is_absolute() || !tool.is_in(&folder) {
        return None;
    }
    let output = Command::new(folder.join(first)).args(arguments).stdin(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).contains(version).then_some(folder)
}

fn require_go() -> Result<()> {
    let required = format!("{}.{}.{}", GO.0, GO.1, GO.2);
    let Ok(output) = Command::new("go").args(["env", "GOVERSION"]).current_dir("/").output() else {
        bail!("`go` is not on PATH: install Go {required} or later, which builds the tools of the sandbox");
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if parse_go_version(&version).is_none_or(|found| found < GO) {
        bail!(
            "`go` on PATH is `{version}`: install Go {required} or later, which builds the tools of the sandbox"
        );
    }
    Ok(())
}

fn parse_go_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    Some((next()?, next()?, next().unwrap_or(0)))
}

fn lock(cache: &Path, progress: &dyn Progress) -> Result<Flock<File>> {
    fs::create_dir_all(cache).with_context(|| format!("cannot create `{}`", cache.display()))?;
    let path = cache.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, _)) => {
            progress.line("waiting for another process that builds tools");
            Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, error)| error)
                .with_context(|| format!("cannot lock `{}`", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_compared_by_number() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26, 8)));
        assert_eq!(parse_go_version("go1.27rc1"), Some((1, 27, 0)));
        assert_eq!(parse_go_version("go1.26"), Some((1, 26, 0)));
        assert_eq!(parse_go_version("devel"), None);
        assert!(parse_go_version("go1.9.2").is_some_and(|version| version < GO));
    }

    #[test]
    fn output_of_go_becomes_progress_and_errors() {
        let mut seen = Seen::default();
        assert_eq!(seen.detail(), "");
        seen.add("go: downloading k8s.io/api v0.36.3".to_owned());
        assert_eq!(seen.detail(), ", downloading k8s.io/api");
        seen.add("internal/goarch".to_owned());
        seen.add("k8s.io/api/core/v1".to_owned());
        assert_eq!(seen.detail(), ", 2 packages compiled");
        seen.add("# k8s.io/api/core/v1".to_owned());
        seen.add("types.go:1:2: undefined: x".to_owned());
        assert_eq!(seen.error(), "# k8s.io/api/core/v1\ntypes.go:1:2: undefined: x");
    }
}
