//! The report of `k3s-boot apps --list`, as text or JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::SchemaVersion;
use crate::base::escape::escaped;
use crate::base::stages::Stage;

/// The report of `k3s-boot apps --list`, as `-o json` prints it.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct StagesReport {
    /// The version of this report.
    pub schema_version: SchemaVersion,
    /// The stages, in order.
    pub stages: Vec<ListedStage>,
}

/// A stage.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ListedStage {
    /// The name, as `--only`, `--from` and `--skip` accept it.
    pub name: Stage,
    /// Whether the flags skip it.
    pub skipped: bool,
    /// Namespaces, encrypted files, commands, manifests, or releases as `NAMESPACE/NAME`.
    pub items: Vec<String>,
    /// Where each namespace comes from, as in `diff`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, String>,
    /// Why the list may be incomplete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

impl StagesReport {
    /// A line for each stage and each of its items.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for stage in &self.stages {
            let note = if stage.skipped { " (skipped)" } else { "" };
            _ = writeln!(text, "{}{note}", stage.name.name());
            for item in &stage.items {
                let source =
                    stage.sources.get(item).map_or_else(String::new, |source| format!(" ({source})"));
                _ = writeln!(text, "  {}", escaped(&format!("{item}{source}")));
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
    fn items_follow_their_stage() {
        let stage = |name, skipped, items: &[&str], unknown: Option<&str>| ListedStage {
            name,
            skipped,
            items: items.iter().map(|item| (*item).to_owned()).collect(),
            sources: [("a/b".to_owned(), "k3s-boot.yaml".to_owned())].into(),
            unknown: unknown.map(ToOwned::to_owned),
        };
        let stages = vec![
            stage(Stage::Nodes, true, &[], None),
            stage(Stage::Crds, false, &["a/b"], None),
            stage(Stage::Apps, false, &["n/\u{1b}[2J"], Some("`x` names releases in templates")),
        ];
        let expected = "nodes (skipped)\ncrds\n  a/b (k3s-boot.yaml)\napps\n  n/\\u{1b}[2J\n  ? `x` names releases in templates\n";
        assert_eq!(StagesReport { schema_version: SchemaVersion, stages }.text(), expected);
    }
}
