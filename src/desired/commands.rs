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

/// What a file with manifests needs before it can be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// It is a template for minijinja.
    template: bool,
    /// It has references to 1Password (`op://`).
    op: bool,
    /// It has references for vals (`ref+op://`, `ref+vault://` …).
    vals: bool,
}

impl Needs {
    /// What a file with manifests needs; `None` if it has none, or needs nothing.
    pub(crate) fn of(path: &Path, text: &str) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        let template = extension == "j2";
        let is_manifest = text.lines().any(|line| line.starts_with("kind:"));
        let is_encrypted = text.lines().any(|line| line.starts_with("sops:"));
        if !is_manifest || is_encrypted || !(template || ["yaml", "yml", "tpl"].contains(&extension)) {
            return None;
        }
        let op = text.replace("ref+op://", "").contains("op://");
        let needs = Self { template, op, vals: text.contains("ref+") };
        (needs != Self::default()).then_some(needs)
    }

    /// What two files need together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            template: self.template || other.template,
            op: self.op || other.op,
            vals: self.vals || other.vals,
        }
    }

    /// The command for a file, by its path relative to the root.
    pub(crate) fn command_for_file(self, file: &str) -> SecretsCommand {
        let first: &[&str] = match self {
            Self { template: true, .. } => &["minijinja-cli", file],
            Self { op: true, .. } => &["op", "inject", "--in-file", file],
            Self { .. } => &["vals", "eval", "-f", file],
        };
        let rest = Self {
            template: false,
            op: self.op && self.template,
            vals: self.vals && (self.template || self.op),
        };
        rest.after(first)
    }

    /// The command for a folder with a kustomization, by its path relative to the root.
    pub(crate) fn command_for_folder(self, folder: &str) -> SecretsCommand {
        self.after(&["kubectl", "kustomize", folder])
    }

    /// A command whose output is read by the programs that are needed.
    fn after(self, first: &[&str]) -> SecretsCommand {
        let programs: [(bool, &[&str]); 3] = [
            (self.template, &["minijinja-cli", "-"]),
            (self.op, &["op", "inject"]),
            (self.vals, &["vals", "eval", "-f", "-"]),
        ];
        let programs = programs.iter().filter(|(needed, _)| *needed).map(|(_, words)| *words);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let pipeline = std::iter::once(first).chain(programs).map(words).collect();
        SecretsCommand { pipeline, ..SecretsCommand::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_need_a_command_are_recognized() {
        const SECRET: &str = "apiVersion: v1\nkind: Secret\nstringData:\n  token: op://home/x/token\n";
        const VALS: &str = "kind: Secret\nstringData: {a: ref+op://home/x/y}\n";
        let shown = |path: &str, text: &str| {
            Needs::of(Path::new(path), text).map(|needs| needs.command_for_file(path).to_string())
        };
        for (path, text, expected) in [
            ("a.yaml.j2", SECRET, "minijinja-cli a.yaml.j2 | op inject"),
            ("a.j2", "{% for x in y %}\nkind: Secret\n{% endfor %}\n", "minijinja-cli a.j2"),
            ("a.j2", VALS, "minijinja-cli a.j2 | vals eval -f -"),
            ("a.yaml", SECRET, "op inject --in-file a.yaml"),
            ("a.yaml.tpl", SECRET, "op inject --in-file a.yaml.tpl"),
            ("a.yml", VALS, "vals eval -f a.yml"),
        ] {
            assert_eq!(shown(path, text).as_deref(), Some(expected), "{path}");
        }
        for (path, text) in [
            ("x.sops.yaml", "kind: Secret\nstringData: {a: ENC[x]}\nsops: {}\n"),
            ("x.yaml", "kind: ConfigMap\ndata: {a: b}\n"),
            ("machine.yaml.j2", "machine: {token: op://home/x/y}\n"),
            (".env", "TOKEN=op://home/x/y\n"),
            ("readme.md", SECRET),
        ] {
            assert_eq!(shown(path, text), None, "{path}");
        }
    }

    #[test]
    fn a_folder_needs_what_its_files_need() {
        let of = |text: &str| Needs::of(Path::new("a.yaml"), text).unwrap();
        let needs = of("kind: Secret\na: op://x\n").and(of("kind: Secret\na: ref+vault://x\n"));
        let lines = "  - command: [kubectl, kustomize, bootstrap/x]\n    pipe:\n    - [op, inject]\n    - [vals, eval, -f, -]\n";
        assert_eq!(needs.command_for_folder("bootstrap/x").lines(), lines);
    }
}
