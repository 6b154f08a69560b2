//! The generated files are current: reference, schemas, completions and manual page.
//!
//! `UPDATE_GENERATED=1 cargo test --test generated` writes them.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests end a test by panicking, as the tests themselves do"
)]

use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use k3s_boot::internals::{Cli, Shell, docs};

fn is_update() -> bool {
    std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1")
}

#[track_caller]
fn check(name: &str, made: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if is_update() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
        return;
    }
    let stored = std::fs::read(&path).unwrap_or_default();
    assert!(stored == made, "{name} is stale: run `UPDATE_GENERATED=1 cargo test --test generated`");
}

#[test]
fn the_reference() {
    check("docs/cli.md", docs::reference().as_bytes());
}

#[test]
fn the_schema() {
    check("docs/k3s-boot.schema.json", docs::config_schema().unwrap().as_bytes());
}

#[test]
fn the_schemas_of_reports() {
    for (command, schema) in docs::report_schemas().unwrap() {
        check(&format!("docs/{command}.schema.json"), schema.as_bytes());
    }
}

#[test]
fn the_checks() {
    check("docs/checks.md", docs::checks().as_bytes());
}

#[test]
fn the_known_failures() {
    check("docs/failures.md", docs::failures().as_bytes());
}

#[test]
fn the_manual() {
    check("man/k3s-boot.1", &docs::man(Cli::command()).unwrap());
    let pages = docs::man_of_commands().unwrap();
    assert!(
        pages.iter().any(|(name, _)| name == "k3s-boot-apps.1"),
        "{:?}",
        pages.iter().map(|(name, _)| name)
    );
    for (name, page) in pages {
        check(&format!("man/{name}"), &page);
    }
}

#[test]
fn the_completions() {
    check("completions/k3s-boot.bash", &docs::completions(Shell::Bash));
    check("completions/_k3s-boot", &docs::completions(Shell::Zsh));
    check("completions/k3s-boot.fish", &docs::completions(Shell::Fish));
    check("completions/k3s-boot.elv", &docs::completions(Shell::Elvish));
    check("completions/k3s-boot.nu", &docs::completions(Shell::Nushell));
}

/// `cargo fmt` misses modules that are declared by the macro in `src/check/rules.rs`.
#[test]
fn the_format_of_rules() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check/rules");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024"]).args(files);
    if !is_update() {
        rustfmt.arg("--check");
    }
    // A toolchain without rustfmt can still run the tests.
    let Ok(output) = rustfmt.output() else { return };
    let diff = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "run `rustfmt --edition 2024 src/check/rules/*.rs`:\n{diff}");
}
