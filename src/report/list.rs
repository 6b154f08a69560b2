//! What `k3s-boot apps --list` prints: for people, or as JSON.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::escape::escaped;

/// The stages of a bootstrap, as `-o json` prints them.
#[derive(Debug, JsonSchema, Serialize)]
pub struct StagesReport {
    /// All stages that can be left out, in their order.
    pub stages: Vec<ListedStage>,
}

/// A stage.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ListedStage {
    /// Its name, as `--only`, `--from` and `--skip` take it.
    pub name: &'static str,
    /// Whether the flags leave it out.
    pub left_out: bool,
    /// What it is about: namespaces, encrypted files, or releases as `NAMESPACE/NAME`.
    pub items: Vec<String>,
    /// Why there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

impl StagesReport {
    /// A line a stage, and a line for each of its items.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for stage in &self.stages {
            let note = if stage.left_out { " (left out)" } else { "" };
            _ = writeln!(text, "{}{note}", stage.name);
            for item in &stage.items {
                _ = writeln!(text, "  {}", escaped(item));
            }
            if let Some(reason) = &stage.unknown {
                _ = writeln!(text, "  ? {}", escaped(reason));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_each() {
        let stage = |name, left_out, items: &[&str], unknown: Option<&str>| ListedStage {
            name,
            left_out,
            items: items.iter().map(|item| (*item).to_owned()).collect(),
            unknown: unknown.map(ToOwned::to_owned),
        };
        let stages = vec![
            stage("nodes", true, &[], None),
            stage("crds", false, &["a/b"], None),
            stage("apps", false, &["n/\u{1b}[2J"], Some("`x` does not tell all its releases")),
        ];
        let expected =
            "nodes (left out)\ncrds\n  a/b\napps\n  n/\\u{1b}[2J\n  ? `x` does not tell all its releases\n";
        assert_eq!(StagesReport { stages }.text(), expected);
    }
}
