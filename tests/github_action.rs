//! The scripts of `action.yml`, with releases in a folder.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests end a test by panicking")]
#![allow(clippy::print_stdout, reason = "shown for a test that fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// In place of the program of a release: prints its arguments and what looks like markup and like a command of the runner.
const PROGRAM: &str =
    "#!/bin/sh\nfor argument; do echo \"<$argument>\"; done\necho '::group::a'\nexit \"${EXIT:-0}\"\n";

struct Runner(TempDir);

impl Runner {
    fn new() -> Self {
        let runner = Self(TempDir::new().unwrap());
        for folder in ["temp", "tools", "releases"] {
            fs::create_dir(runner.path(folder)).unwrap();
        }
        runner
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What a step has written to a file of the runner.
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Makes a release as `cargo xtask release` does.
    fn release(&self, version: &str) {
        let name = format!("k3s-boot-{version}-x86_64-unknown-linux-musl");
        let folder = self.path(&name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("k3s-boot"), PROGRAM).unwrap();
        fs::set_permissions(folder.join("k3s-boot"), fs::Permissions::from_mode(0o755)).unwrap();
        let release = self.path(&format!("releases/v{version}"));
        fs::create_dir(&release).unwrap();
        let archive = release.join(format!("{name}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&archive).arg("-C").arg(self.0.path()).arg(&name);
        assert!(tar.status().unwrap().success());
        let sum = Sha256::digest(fs::read(&archive).unwrap());
        let other = "0".repeat(64);
        fs::write(release.join("SHA256SUMS"), format!("{other}  k3s-boot.rb\n{sum:x}  {name}.tar.gz\n"))
            .unwrap();
    }

    fn script(&self, name: &str, env: &[(&str, &str)]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("bash");
        command
            .arg(root.join("deploy/github").join(name))
            .current_dir(self.0.path())
            .env("GITHUB_ACTION_PATH", root)
            .env("GITHUB_OUTPUT", self.path("output"))
            .env("GITHUB_PATH", self.path("path"))
            .env("GITHUB_STEP_SUMMARY", self.path("summary"))
            .env("RUNNER_ARCH", "X64")
            .env("RUNNER_OS", "Linux")
            .env("RUNNER_TEMP", self.path("temp"))
            .env("RUNNER_TOOL_CACHE", self.path("tools"))
            .envs(env.iter().copied());
        let output = command.output().unwrap();
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        output
    }

    fn install(&self, version: &str) -> Output {
        let releases = format!("file://{}", self.path("releases").display());
        self.script("install.sh", &[("VERSION", version), ("RELEASES", &releases)])
    }

    fn run(&self, command: &str, arguments: &str, exit: &str) -> Output {
        // The runner puts each line in front of PATH.
        let path =
            format!("{}:{}", self.read("path").lines().next().unwrap(), std::env::var("PATH").unwrap());
        let env = [("COMMAND", command), ("ARGUMENTS", arguments), ("EXIT", exit), ("PATH", &path)];
        self.script("run.sh", &env)
    }
}

#[track_caller]
fn assert_fails(output: &Output, message: &str) {
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("::error title=k3s-boot::") && stdout.contains(message), "no `{message}`");
}

#[test]
fn a_release_is_verified_installed_and_run() {
    let runner = Runner::new();
    runner.release("1.2.3");
    assert!(runner.install("v1.2.3").status.success());
    assert_eq!(runner.read("output"), "version=1.2.3\n");
    // Nothing is downloaded twice.
    fs::remove_dir_all(runner.path("releases")).unwrap();
    assert!(runner.install("1.2.3").status.success());

    let ran = runner.run("check", "--offline  $(id)\n*", "1");
    assert_eq!(ran.status.code(), Some(1));
    let report = runner.path("temp/k3s-boot-check.json");
    assert!(runner.read("output").ends_with(&format!("exit-code=1\nreport={}\n", report.display())));
    let summary = format!(
        "## k3s-boot check\n<pre>\n&lt;check>\n&lt;--report>\n&lt;{}>\n&lt;--offline>\n&lt;$(id)>\n&lt;*>\n</pre>\n",
        report.display()
    );
    assert_eq!(runner.read("summary"), summary);
    // The program writes the summary of `apps`.
    assert!(runner.run("apps", "", "0").status.success());
    assert_eq!(runner.read("summary"), summary);
    assert_eq!(runner.run("recover", "", "0").status.code(), Some(2));
}

#[test]
fn nothing_is_installed_without_the_right_checksum() {
    let runner = Runner::new();
    runner.release("1.2.3");
    let sums = runner.path("releases/v1.2.3/SHA256SUMS");
    let right = fs::read_to_string(&sums).unwrap();
    let archive = runner.path("releases/v1.2.3/k3s-boot-1.2.3-x86_64-unknown-linux-musl.tar.gz");
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, [&bytes[..], b"x"].concat()).unwrap();
    assert_fails(&runner.install("1.2.3"), "does not have the checksum");
    fs::write(&archive, bytes).unwrap();
    fs::write(&sums, right.lines().next().unwrap()).unwrap();
    assert_fails(&runner.install("1.2.3"), "has no checksum of");
    assert_fails(&runner.install("1.2.4"), "cannot download");
    assert_fails(&runner.install("../1"), "not a version");
    assert_eq!((runner.read("path"), runner.read("output")), (String::new(), String::new()));
    fs::write(&sums, right).unwrap();
    assert!(runner.install("1.2.3").status.success());
}
