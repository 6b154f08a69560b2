//! All rules, a file each, in the order in which they are told.

mod age_key;
mod api;
mod chart_login;
mod charts;
mod env;
mod flux_owned;
mod flux_state;
mod guard;
mod helmfile;
mod hooks;
mod kubeconfig;
mod namespaces;
mod ownership;
mod pending;
mod plan;
mod programs;
mod releases;
mod sops;
mod versions;

use super::Rule;

/// All rules, in the order in which they are told; those of a group stand together.
pub const ALL: &[&Rule] = &[
    // Environment
    &env::RULE,
    &programs::RULE,
    &versions::RULE,
    // Repository
    &helmfile::RULE,
    &hooks::RULE,
    &releases::RULE,
    &charts::RULE,
    &chart_login::RULE,
    &namespaces::RULE,
    // Secrets
    &age_key::RULE,
    &sops::RULE,
    // Kubeconfig
    &kubeconfig::RULE,
    &api::RULE,
    &guard::RULE,
    // Helm and Flux
    &pending::RULE,
    &ownership::RULE,
    &flux_owned::RULE,
    &flux_state::RULE,
    &plan::RULE,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A finding that no rule tells would be lost.
    #[test]
    fn every_finding_is_of_a_rule() {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for kind in ["error", "warning", "info"] {
                    let start = format!("Finding::{kind}(");
                    for rest in text.split(&start).skip(1) {
                        let Some(id) =
                            rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
                        else {
                            continue;
                        };
                        assert!(ALL.iter().any(|rule| rule.id == id), "`{id}` in {}", path.display());
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 20, "{found}");
    }

    #[test]
    fn every_file_is_a_rule_and_every_group_stands_together() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check/rules");
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, ALL.len());
        let ids: BTreeSet<_> = ALL.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), ALL.len(), "every rule has a name of its own");
        assert!(ALL.is_sorted_by_key(|rule| rule.group));
        for rule in ALL {
            assert!(rule.why.len() > 40 && rule.why.ends_with('.'), "{} tells why", rule.id);
            assert!(
                rule.id.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit()),
                "{}",
                rule.id
            );
        }
    }
}
