//! Commands whose output is manifests.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A command whose output is manifests with secrets, such as `op inject`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SecretsCommand {
    /// The programs with their arguments; each reads the output of the one before.
    pub pipeline: Vec<Vec<String>>,
    /// The working folder.
    pub directory: PathBuf,
    /// The timeout for the whole pipeline, if the user sets one.
    pub timeout: Option<Duration>,
}

/// As a shell would read it.
impl fmt::Display for SecretsCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs = self.pipeline.iter().map(|words| {
            shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
        });
        f.write_str(&programs.collect::<Vec<_>>().join(" | "))
    }
}

impl SecretsCommand {
    /// The names of its programs.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &str> {
        self.pipeline.iter().filter_map(|words| words.first()).map(String::as_str)
    }

    /// The command that shows the messages of its programs, without its output.
    pub(crate) fn without_output(&self) -> String {
        let directory = self.directory.to_string_lossy();
        let directory = shlex::try_quote(&directory).unwrap_or_default();
        format!("(cd {directory} && {self}) >/dev/null")
    }
}

impl SecretsCommand {
    /// An item of `secrets.commands` in k3s-boot.yaml.
    pub(crate) fn lines(&self) -> String {
        let list = |words: &Vec<String>| format!("[{}]", words.join(", "));
        let Some((first, rest)) = self.pipeline.split_first() else { return String::new() };
        let mut lines = format!("  - command: {}\n", list(first));
        if !rest.is_empty() {
            lines.push_str("    pipe:\n");
            lines.extend(rest.iter().map(|words| format!("    - {}\n", list(words))));
        }
        lines
    }
}

/// The command that a template of manifests needs: one with references to 1Password, or one for minijinja. `path` is relative to
/// the root.
pub(crate) fn needed(path: &Path, text: &str) -> Option<SecretsCommand> {
    let extension = path.extension()?.to_str()?;
    let is_template = extension == "j2";
    let is_yaml = ["yaml", "yml", "tpl"].contains(&extension);
    let is_manifest =
        text.lines().any(|line| line.starts_with("kind:") || line.trim_start() == "kind: Secret");
    if !is_manifest || !(is_template || is_yaml) || text.lines().any(|line| line.starts_with("sops:")) {
        return None;
    }
    // `ref+op://` is a reference that helmfile resolves.
    let has_references = text.replace("ref+op://", "").contains("op://");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let file = path.to_str()?;
    let mut pipeline = Vec::new();
    if is_template {
        pipeline.push(words(&["minijinja-cli", file]));
        pipeline.extend(has_references.then(|| words(&["op", "inject"])));
    } else if has_references {
        pipeline.push(words(&["op", "inject", "--in-file", file]));
    } else {
        return None;
    }
    Some(SecretsCommand { pipeline, ..SecretsCommand::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_need_a_command_are_recognized() {
        const SECRET: &str = "apiVersion: v1\nkind: Secret\nstringData:\n  token: op://home/x/token\n";
        let lines = |path: &str, text: &str| needed(Path::new(path), text).map(|command| command.lines());
        let both =
            "  - command: [minijinja-cli, bootstrap/resources.yaml.j2]\n    pipe:\n    - [op, inject]\n";
        assert_eq!(lines("bootstrap/resources.yaml.j2", SECRET).as_deref(), Some(both));
        let alone = "  - command: [op, inject, --in-file, bootstrap/secrets.yaml]\n";
        assert_eq!(lines("bootstrap/secrets.yaml", SECRET).as_deref(), Some(alone));
        let template = "{% for ns in [\"a\"] %}\n---\nkind: Secret\n{% endfor %}\n";
        assert_eq!(lines("a.j2", template).as_deref(), Some("  - command: [minijinja-cli, a.j2]\n"));
        for (path, text) in [
            ("bootstrap/x.yaml", "kind: Secret\nstringData: {a: ref+op://home/x/y}\n"),
            ("bootstrap/x.sops.yaml", "kind: Secret\nstringData: {a: ENC[x]}\nsops: {}\n"),
            ("talos/machine.yaml.j2", "machine: {token: op://home/x/y}\n"),
            ("bootstrap/.env", "TOKEN=op://home/x/y\n"),
            ("bootstrap/readme.md", "kind: Secret op://home/x/y\n"),
        ] {
            assert_eq!(lines(path, text), None, "{path}");
        }
    }

    #[test]
    fn is_shown_as_a_shell_reads_it() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let command = SecretsCommand {
            pipeline: vec![words(&["minijinja-cli", "a file.j2"]), words(&["op", "inject"])],
            directory: "/my repo".into(),
            timeout: None,
        };
        assert_eq!(command.to_string(), "minijinja-cli 'a file.j2' | op inject");
        assert_eq!(
            command.without_output(),
            "(cd '/my repo' && minijinja-cli 'a file.j2' | op inject) >/dev/null"
        );
        assert_eq!(command.programs().collect::<Vec<_>>(), ["minijinja-cli", "op"]);
    }
}
