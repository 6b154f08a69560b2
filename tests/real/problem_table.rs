//! A table of problems and the output of `check` for each.

use std::path::Path;

use k3s_boot::internals::rule_ids;

use super::fixture::{Fixture, Invocation, RunResult};

/// A problem.
pub(crate) struct Problem<'a> {
    pub(crate) name: &'a str,
    /// The check that reports it.
    pub(crate) rule: &'a str,
    /// `✗`, `!`, `i` for information, or `?` for unknown.
    pub(crate) mark: &'a str,
    /// Texts that the report must contain.
    pub(crate) texts: &'a [&'a str],
}

/// A row for each problem.
pub(crate) struct Table<'a> {
    pub(crate) fixture: &'a Fixture,
    pub(crate) rows: Vec<String>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(fixture: &'a Fixture) -> Self {
        Self { fixture, rows: Vec::new() }
    }

    /// Sets up a problem, runs `check` and removes the problem.
    #[track_caller]
    pub(crate) fn check(&mut self, problem: &Problem<'_>, set_up: impl FnOnce(), reset: impl FnOnce()) {
        self.check_with(problem, set_up, reset, &["check"], |k3s_boot| k3s_boot);
    }

    #[track_caller]
    pub(crate) fn check_with(
        &mut self,
        problem: &Problem<'_>,
        set_up: impl FnOnce(),
        reset: impl FnOnce(),
        args: &[&str],
        change: impl FnOnce(Invocation<'a>) -> Invocation<'a>,
    ) {
        set_up();
        let ran = change(self.fixture.k3s_boot(args)).run();
        reset();
        self.check_all(std::slice::from_ref(problem), &ran);
    }

    /// Checks that one run of `check` has reported all of these problems, with an error exactly if one of them is one.
    #[track_caller]
    pub(crate) fn check_all(&mut self, problems: &[Problem<'_>], ran: &RunResult) {
        for problem in problems {
            self.add(problem, ran);
        }
        let is_error = problems.iter().any(|problem| problem.mark == "✗");
        assert_eq!(ran.code, Some(i32::from(is_error)), "{}", problems[0].name);
    }

    #[track_caller]
    fn add(&mut self, problem: &Problem<'_>, ran: &RunResult) {
        let Problem { name, rule, mark, texts } = problem;
        let block = blocks(&ran.stdout)
            .into_iter()
            .filter(|block| reports(block, mark, rule))
            .find(|block| texts.iter().all(|text| block.contains(text)));
        let block = block.unwrap_or_else(|| {
            panic!("{name}: no `{mark} {rule}` with {texts:?} in\n{}{}", ran.stdout, ran.stderr)
        });
        let line: Vec<_> = block.lines().map(str::trim).collect();
        self.rows.push(format!("| `{rule}` | {name} | {} |", line.join(" · ").replace('|', "\\|")));
    }

    /// Prints the rows.
    #[track_caller]
    pub(crate) fn end(self) {
        for row in &self.rows {
            println!("{row}");
        }
        println!("problems: {}", self.rows.len());
    }
}

/// Whether a block reports a check with this mark. Checks that are unknown for the same reason share one block.
pub(crate) fn reports(block: &str, mark: &str, rule: &str) -> bool {
    match block.strip_prefix("  ? ").and_then(|rest| rest.split_once(": not checked\n")) {
        Some((rules, _)) => mark == "?" && rules.split(',').any(|one| one.trim() == rule),
        None => block.starts_with(&format!("  {mark} {rule}: ")),
    }
}

/// The text of each check: its line and the indented lines below.
pub(crate) fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("      ") {
            if let Some(block) = blocks.last_mut() {
                block.push('\n');
                block.push_str(line);
            }
        } else {
            blocks.push(line.to_owned());
        }
    }
    blocks
}

/// Checks that `check` has reported no problem.
#[track_caller]
pub(crate) fn assert_healthy(ran: &RunResult) {
    let marks = ["  ✗ ", "  ! "];
    let problems: Vec<_> =
        ran.stdout.lines().filter(|line| marks.iter().any(|mark| line.starts_with(mark))).collect();
    assert_eq!(problems, [""; 0], "{}", ran.stdout);
    ran.assert().code(0);
}

pub(crate) fn problem<'a>(name: &'a str, rule: &'a str, mark: &'a str, texts: &'a [&'a str]) -> Problem<'a> {
    Problem { name, rule, mark, texts }
}

/// Sets up or removes nothing.
pub(crate) fn none() {}

/// The text of all tests in this folder, each run of white space as one space.
fn tests(folder: &Path) -> String {
    let mut text = String::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            text.push_str(&tests(&path));
        } else {
            let file = std::fs::read_to_string(&path).unwrap();
            text.extend(file.split_whitespace().flat_map(|word| [word, " "]));
        }
    }
    text
}

/// Each rule reports a problem of a real repository or a real control plane in one of these tests: its ID stands before the mark
/// of a problem that a test expects, or in a [`super::fixes`] scenario, which fails without a finding.
#[test]
fn every_rule_reports_a_real_problem() {
    let tests = tests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real"));
    let is_real = |rule: &&str| {
        let problem = ["✗", "!", "i"].iter().any(|mark| {
            ["", "mark: "].iter().any(|key| tests.contains(&format!("\"{rule}\", {key}\"{mark}\"")))
        });
        problem
            || ["fixture", "&fixture"]
                .iter()
                .any(|name| tests.contains(&format!("Scenario::new({name}, \"{rule}\")")))
    };
    let missing: Vec<_> = rule_ids().filter(|rule| !is_real(rule)).collect();
    assert_eq!(missing, [""; 0], "no real problem makes these rules report something");
}
