//! Sets what `k3s-boot version` shows: the target, and the commit of a release build.

#![allow(clippy::print_stdout, reason = "cargo reads the output of a build script")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(target) = std::env::var("TARGET") {
        println!("cargo::rustc-env=K3S_BOOT_TARGET={target}");
    }
    // Other builds would compile everything again after each commit. A source archive may lie in another repository.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if !is_release || !Path::new(".git").exists() {
        return;
    }
    // What a commit, a checkout and `git add` change.
    for file in ["HEAD", "logs/HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    if let Some(commit) = git(&["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]) {
        println!("cargo::rustc-env=K3S_BOOT_COMMIT={commit}");
    }
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
