//! Completions, manual page, help and usage errors.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use assert_cmd::assert::{Assert, OutputAssertExt as _};

use super::runner_commands::runner_commands;
use super::support::{assert_no_canary, k3s_boot};

/// Runs k3s-boot with an environment that has only secrets, which it must not print.
#[track_caller]
fn run(args: &[&str]) -> Assert {
    let canary = "CANARY-token-b4a7c3";
    let ran = Command::new(k3s_boot())
        .args(args)
        .env_clear()
        .envs(
            ["KUBECONFIG", "SOPS_AGE_KEY", "SOPS_AGE_KEY_FILE", "GITHUB_TOKEN", "ROOT_DIR", "LOG_LEVEL"]
                .map(|name| (name, canary)),
        )
        .stdin(Stdio::null())
        .assert();
    let Output { stdout, stderr, .. } = ran.get_output();
    assert_no_canary(&[canary.to_owned()], "stdout", stdout);
    assert_no_canary(&[canary.to_owned()], "stderr", stderr);
    ran
}

#[track_caller]
fn printed(args: &[&str]) -> String {
    let ran = run(args).success().stderr("");
    String::from_utf8(ran.get_output().stdout.clone()).unwrap()
}

#[track_caller]
fn usage_error(args: &[&str]) -> String {
    let ran = run(args).code(2).stdout("");
    String::from_utf8(ran.get_output().stderr.clone()).unwrap()
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn completions_and_manual_match_the_repository() {
    assert_eq!(printed(&["completions", "bash"]), file("completions/k3s-boot.bash"));
    assert_eq!(printed(&["completions", "zsh"]), file("completions/_k3s-boot"));
    assert_eq!(printed(&["completions", "fish"]), file("completions/k3s-boot.fish"));
    assert_eq!(printed(&["completions", "elvish"]), file("completions/k3s-boot.elv"));
    assert_eq!(printed(&["completions", "nushell"]), file("completions/k3s-boot.nu"));
    assert_eq!(printed(&["man"]), file("man/k3s-boot.1"));
}

/// The script of `clap_complete` completed only the commands (see `docs::completions`).
#[test]
fn bash_completes_what_follows_a_command() {
    let script = r#"
        source completions/k3s-boot.bash
        for line in 'k3s-boot ap' 'k3s-boot apps --rot' 'k3s-boot completions nu'; do
            COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _k3s__boot k3s-boot "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[@]}"
        done"#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script]).current_dir(env!("CARGO_MANIFEST_DIR"));
    bash.assert().success().stdout("apps\n--rotate-age-key\nnushell\n");
}

#[test]
fn version_is_printed() {
    for flag in ["--version", "-V"] {
        assert_eq!(printed(&[flag]), concat!("k3s-boot ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

#[test]
fn help_matches_the_reference() {
    let reference = file("docs/cli.md");
    for args in [&["--help"][..], &["apps", "--help"], &["help", "apps"]] {
        let help: Vec<_> = printed(args).lines().map(|line| line.trim_end().to_owned()).collect();
        assert!(reference.contains(help.join("\n").trim()), "{args:?}");
    }
}

#[test]
fn usage_errors_end_with_2() {
    assert!(usage_error(&[]).contains("Usage: k3s-boot "));
    let possible = |values: &str| format!("[possible values: {values}]");
    let errors: [(&[&str], &str, &str); 8] = [
        (&["app"], "unrecognized subcommand 'app'", "tip: a similar subcommand exists: 'apps'"),
        (&["apps", "--nodes", "0"], "invalid value '0' for '--nodes <N>'", "0 is not in 1..=4294967295"),
        (
            &["apps", "--timeout", "soon"],
            "invalid value 'soon' for '--timeout <DURATION>'",
            "expected a duration such as `90s`, `15m` or `1h30m`",
        ),
        (
            &["apps", "--timeout", "10ms"],
            "invalid value '10ms' for '--timeout <DURATION>'",
            "must be 1s or longer",
        ),
        (
            &["apps", "--log-level", "verbose"],
            "invalid value 'verbose' for '--log-level <LEVEL>'",
            &possible("debug, info, warn, error"),
        ),
        (
            &["apps", "-v", "--log-level", "info"],
            "the argument '--verbose...' cannot be used with '--log-level <LEVEL>'",
            "",
        ),
        (
            &["apps", "--log-format", "yaml"],
            "invalid value 'yaml' for '--log-format <FORMAT>'",
            &possible("text, json"),
        ),
        (
            &["completions", "tcsh"],
            "invalid value 'tcsh' for '<SHELL>'",
            &possible("bash, elvish, fish, nushell, powershell, zsh"),
        ),
    ];
    for (args, start, details) in errors {
        let error = usage_error(args);
        assert!(error.starts_with(&format!("error: {start}")), "{args:?}: {error}");
        assert!(error.contains(details), "{args:?}: {error}");
        assert!(error.ends_with("For more information, try '--help'.\n"), "{args:?}: {error}");
    }
}

/// A workflow may pass untrusted text as an argument.
#[test]
fn arguments_cannot_inject_runner_commands() {
    let hostile = "x\n::error::a\n \u{2003}::add-path::b\ny ##[add-path]c";
    for args in [&["apps", "--only", hostile][..], &["apps", "--nodes", hostile], &[hostile]] {
        let error = usage_error(args);
        assert_eq!(runner_commands(&error), [""; 0], "{error}");
        assert!(error.contains("x\n"), "it quotes the value: {error}");
    }
}
