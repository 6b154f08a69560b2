//! `k3s-boot status`: the state of the cluster; changes nothing.

use std::time::Duration;

use super::Session;
use crate::base::env::Env;
use crate::base::error::{End, Error};
use crate::base::finding::Finding;
use crate::base::github::CommandEscape;
use crate::base::redact::Redactor;
use crate::base::scratch::Scratch;
use crate::gather::{self, Named};
use crate::report;
use crate::report::status::{Seen, StatusReport, View, text};
use crate::settings::Settings;
use crate::tools::{Clock, Toolbox};

const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// The maximum length of messages of the cluster on a terminal.
const MAX_MESSAGE: usize = 100;

/// Prints the state of the cluster, once or repeatedly; returns the exit code.
///
/// # Errors
///
/// Writing to stdout fails.
pub(crate) async fn status(session: &Session<'_>, watch: bool) -> std::io::Result<u8> {
    let Session { settings, env, redactor, stop, .. } = session;
    let mut screen = Screen::new(settings, env, watch);
    let error = match Box::pin(run(session, &mut screen)).await {
        Ok(written) => return report::ignore_broken_pipe(written).map(|()| 0),
        Err(error) => error,
    };
    let exit_code = error.exit_code(false);
    if error.is_interruption() {
        // With `--watch` an interrupt is the normal end.
        if !watch {
            error.report(&End { killed: stop.killed(), ..End::default() });
        }
        return Ok(exit_code);
    }
    error.report(&End { killed: stop.killed(), ..End::default() });
    report::ignore_broken_pipe(screen.show_failure(&error, redactor))?;
    Ok(exit_code)
}

async fn run(session: &Session<'_>, screen: &mut Screen) -> Result<std::io::Result<()>, Error> {
    let Session { settings, redactor, .. } = session;
    let files = gather::files_for_looking(settings, redactor);
    if gather::stops(&files.problems) {
        return Err(Error::Preflight(files.problems));
    }
    files.problems.iter().for_each(Finding::log);
    let scratch = Scratch::new(&settings.temp)?;
    let mut tools = session.toolbox(&files, &scratch)?;
    let named = Named::read(settings, &tools.target.namespace);
    let mut lost: Option<Vec<Finding>> = None;
    let mut answered = false;
    loop {
        tools.clock = Clock::new(settings.timeout);
        let shown = match read(&tools, &named, redactor).await {
            Ok(report) => {
                (answered, lost) = (true, None);
                screen.show(&report)
            }
            // A cluster that was reachable may come back.
            Err(error) if answered && screen.watch && !error.is_interruption() => {
                if let Error::Preflight(findings) = &error
                    && lost.as_ref() != Some(findings)
                {
                    error.report(&End::default());
                    lost = Some(findings.clone());
                }
                screen.show_failure(&error, redactor)
            }
            Err(error) => return Err(error),
        };
        if shown.is_err() || !screen.watch {
            return Ok(shown);
        }
        tools.runner.stop().sleep(REFRESH_INTERVAL).await?;
    }
}

async fn read(tools: &Toolbox, named: &Named, redactor: &Redactor) -> Result<StatusReport, Error> {
    let standing = Box::pin(gather::standing(tools, named)).await?;
    Ok(StatusReport::new(&Seen { target: &tools.target, standing: &standing, named }, redactor))
}

/// Prints reports.
struct Screen {
    json: bool,
    guard: CommandEscape,
    watch: bool,
    view: View,
    /// Whether the last report can be overwritten.
    rewritable: bool,
    /// The last report.
    last: Option<String>,
}

impl Screen {
    fn new(settings: &Settings, env: &Env, watch: bool) -> Self {
        let terminal = env.stdout_is_terminal;
        Self {
            json: settings.json,
            guard: settings.guard,
            watch,
            view: View { colour: settings.colour, longest: terminal.then_some(MAX_MESSAGE) },
            rewritable: watch && terminal && !settings.json && env.text("TERM") != Some("dumb"),
            last: None,
        }
    }

    fn show(&mut self, report: &StatusReport) -> std::io::Result<()> {
        let Some(frame) = self.frame(report)? else { return Ok(()) };
        if self.json { report::print_json(frame, self.guard) } else { report::print_words(frame, self.guard) }
    }

    /// As text the failure is only logged.
    fn show_failure(&mut self, error: &Error, redactor: &Redactor) -> std::io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let findings = match error {
            Error::Preflight(findings) => findings.clone(),
            other => vec![Finding::error("api", other.to_string())],
        };
        self.show(&StatusReport::failed(&findings, error.exit_code(false), redactor))
    }

    /// What to write; nothing if it has not changed.
    fn frame(&mut self, report: &StatusReport) -> std::io::Result<Option<String>> {
        let document = match (self.json, self.watch) {
            (false, _) => text(report, self.view),
            (true, false) => serde_json::to_string_pretty(report)? + "\n",
            (true, true) => serde_json::to_string(report)? + "\n",
        };
        if self.rewritable {
            // Overwrite each line, then clear the rest: clearing everything first would flicker.
            let first = if self.last.is_none() { "\u{1b}[2J" } else { "" };
            let frame = format!("{first}\u{1b}[H{}\u{1b}[J", document.replace('\n', "\u{1b}[K\n"));
            self.last = Some(document);
            return Ok(Some(frame));
        }
        if self.last.as_ref() == Some(&document) {
            return Ok(None);
        }
        let between = if self.last.is_some() && !self.json { "\n" } else { "" };
        let frame = format!("{between}{document}");
        self.last = Some(document);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(json: bool, terminal: bool) -> Screen {
        let mut env = Env::from_vars([("TERM", "xterm")], "/".into());
        env.stdout_is_terminal = terminal;
        Screen::new(&Settings { json, ..Settings::default() }, &env, true)
    }

    fn failed(reason: &str) -> StatusReport {
        StatusReport::failed(&[Finding::error("api", reason)], 1, &Redactor::default())
    }

    #[test]
    fn a_document_is_written_when_it_changed() {
        let mut screen = screen(true, true);
        let lines: Vec<_> = ["a", "a", "b"].map(|reason| screen.frame(&failed(reason)).unwrap()).into();
        assert_eq!(lines[1], None);
        for line in [&lines[0], &lines[2]] {
            let line = line.as_ref().unwrap();
            assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        }
    }

    #[test]
    fn a_terminal_is_overwritten() {
        let mut screen = screen(false, true);
        let frames = ["a", "a"].map(|reason| screen.frame(&failed(reason)).unwrap().unwrap());
        assert!(frames[0].starts_with("\u{1b}[2J\u{1b}[H"));
        assert!(frames[1].starts_with("\u{1b}[H") && frames[1].ends_with("\u{1b}[K\n\u{1b}[J"));
    }

    #[test]
    fn text_reports_are_separated_by_an_empty_line() {
        let mut screen = screen(false, false);
        let first = screen.frame(&failed("a")).unwrap().unwrap();
        assert!(!first.contains('\u{1b}'));
        assert_eq!(screen.frame(&failed("b")).unwrap().map(|text| text.starts_with("\n\n")), Some(true));
    }
}
