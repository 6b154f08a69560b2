//! The files that are generated from the definitions of the command line and the configuration.

use std::fmt::Write as _;

use clap::CommandFactory as _;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use crate::base::known_failures::{self, KnownFailure, Sample};
use crate::base::logger::json::LogLine;
use crate::base::release_id::ReleaseId;
use crate::check::rules;
use crate::report::Report;
use crate::report::checks::ChecksReport;
use crate::report::diff::DiffReport;
use crate::report::init::InitReport;
use crate::report::list::StagesReport;
use crate::report::recover::RecoverReport;
use crate::report::status::StatusReport;
use crate::report::version::VersionReport;
use crate::settings::cli::Cli;
use crate::settings::config::Config;
use crate::settings::shell::Shell;

/// The completion script for a shell.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    fn script(generator: impl clap_complete::Generator) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(generator, &mut Cli::command(), "k3s-boot", &mut script);
        script
    }
    match shell {
        // clap_complete 4.6.11 writes the `-` of the name in two ways, so that nothing below a command would be completed
        // (https://github.com/clap-rs/clap/issues/6421).
        Shell::Bash => String::from_utf8_lossy(&script(clap_complete::Shell::Bash))
            .replace("k3s__subcmd__boot", "k3s__boot")
            .into_bytes(),
        Shell::Elvish => script(clap_complete::Shell::Elvish),
        Shell::Fish => script(clap_complete::Shell::Fish),
        Shell::Nushell => script(clap_complete_nushell::Nushell),
        Shell::PowerShell => script(clap_complete::Shell::PowerShell),
        Shell::Zsh => script(clap_complete::Shell::Zsh),
    }
}

/// The manual page, with all commands.
///
/// # Errors
///
/// Never in practice: it writes into memory.
pub fn man(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut command = command.disable_help_subcommand(true);
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let man = clap_mangen::Man::new(sub.clone());
        page.extend_from_slice(format!(".SH {}\n", sub.get_name().to_uppercase()).as_bytes());
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    Ok(page)
}

/// The manual pages of the commands, by the names of their files.
///
/// # Errors
///
/// Never in practice: it writes into memory.
pub fn man_of_commands() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let pages = command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(|sub| {
        let man = clap_mangen::Man::new(sub.clone());
        let mut page = Vec::new();
        man.render(&mut page)?;
        Ok((man.get_filename(), page))
    });
    pages.collect()
}

/// The reference of the command line, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text =
        "# Command line\n\nGenerated from the program; `cargo test` fails if it is out of date.\n".to_owned();
    let mut command = Cli::command().term_width(100);
    command.build();
    let help = command.render_long_help().to_string();
    _ = write!(text, "\n```text\n{}\n```\n", trimmed(&help));
    for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let help = sub.render_long_help().to_string();
        _ = write!(text, "\n## k3s-boot {}\n\n```text\n{}\n```\n", sub.get_name(), trimmed(&help));
    }
    text
}

/// The checks with their reasons, as Markdown.
#[must_use]
pub fn checks() -> String {
    let mut text = "# Checks\n\nThe checks of `k3s-boot check`, which `k3s-boot apps` also runs before it changes anything. Generated from the \
                    program; a test fails if this file is out of date.\n\n\
                    An *error* (✗) would make this bootstrap fail or do harm: it stops `apps`, and the exit code is 1. A *warning* (!) \
                    is worth a look, and stops `apps` only with `--strict`. *Information* (i) is neither good nor bad. \
                    A check passes (✓) only if it has inspected something. What could not be inspected is *unknown* (?) and \
                    never stops a run; if there is nothing to inspect, a check is *not applicable* (–). \
                    `--skip-check ID` skips a check once, `skipChecks` in k3s-boot.yaml always; checks marked \\* cannot be skipped.\n"
        .to_owned();
    let mut group = None;
    for rule in rules::ALL {
        if group != Some(rule.group) {
            group = Some(rule.group);
            _ = write!(text, "\n## {}\n", rule.group.title());
        }
        let star = if rule.essential { " \\*" } else { "" };
        let place = match (rule.needs_cluster(), rule.works_offline()) {
            (true, _) => " Needs the cluster.",
            (false, false) => " Not applicable with `--offline`.",
            (false, true) => "",
        };
        _ = write!(text, "\n### `{}`{star}: {}\n\n{}{place}\n", rule.id, rule.title, rule.why);
    }
    text
}

/// The known failures with their causes and fixes, as Markdown.
#[must_use]
pub fn failures() -> String {
    let mut text = "# Known failures\n\nMessages of helm, the API server, the kubelet and Flux that k3s-boot recognizes, with the cause and \
                    the fix that it prints. In a fix, `NAMESPACE/NAME` is the release and `POD` its pod. Generated from the program; a test \
                    fails if this file is out of date.\n"
        .to_owned();
    for known in known_failures::table() {
        let fix = known.fix(&ReleaseId::new("NAMESPACE", "NAME"), Some("POD"));
        let KnownFailure { id, samples, cause, .. } = known;
        _ = write!(text, "\n## {id}: {cause}\n");
        for Sample { by, message, .. } in *samples {
            _ = write!(text, "\n{by}:\n\n```text\n{message}\n```\n");
        }
        _ = write!(text, "\nFix:\n\n```text\n{fix}\n```\n");
    }
    text
}

/// The JSON schema of the configuration file, for editors.
///
/// # Errors
///
/// Never in practice: it writes into memory.
pub fn config_schema() -> serde_json::Result<String> {
    schema::<Config>(SchemaSettings::draft07())
}

/// The JSON schemas of what commands print with `-o json`, by the command's name, and of a log line.
///
/// # Errors
///
/// Never in practice: it writes into memory.
pub fn report_schemas() -> serde_json::Result<[(&'static str, String); 9]> {
    // A key that may be missing in output is not required, unlike in input.
    let written = || SchemaSettings::draft07().for_serialize();
    Ok([
        ("apps", schema::<Report>(written())?),
        ("apps-list", schema::<StagesReport>(written())?),
        ("check", schema::<ChecksReport>(written())?),
        ("diff", schema::<DiffReport>(written())?),
        ("init", schema::<InitReport>(written())?),
        ("log", schema::<LogLine<'_>>(written())?),
        ("recover", schema::<RecoverReport>(written())?),
        ("status", schema::<StatusReport>(written())?),
        ("version", schema::<VersionReport>(written())?),
    ])
}

fn schema<T: JsonSchema>(settings: SchemaSettings) -> serde_json::Result<String> {
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    serde_json::to_string_pretty(&schema).map(|text| text + "\n")
}

fn trimmed(help: &str) -> String {
    help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned()
}
