//! Hooks of helmfile: the commands that it runs around a sync (helmfile 1.7.4 and 1.8.0, `pkg/event/bus.go`).

use std::path::Path;

use serde_yaml::Value;

/// An event of `helmfile sync` at which hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HookEvent {
    /// Before charts are prepared, also when helmfile only renders.
    Prepare,
    Presync,
    Preuninstall,
    Postuninstall,
    Postsync,
    Cleanup,
}

impl HookEvent {
    const ALL: [Self; 6] = [
        Self::Prepare,
        Self::Presync,
        Self::Preuninstall,
        Self::Postuninstall,
        Self::Postsync,
        Self::Cleanup,
    ];

    /// The name in helmfiles.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Presync => "presync",
            Self::Preuninstall => "preuninstall",
            Self::Postuninstall => "postuninstall",
            Self::Postsync => "postsync",
            Self::Cleanup => "cleanup",
        }
    }

    /// Whether hooks of a helmfile, and not of a release, run at this event.
    fn is_global(self) -> bool {
        matches!(self, Self::Prepare | Self::Cleanup)
    }

    /// Whether it comes before helm is called for the release.
    pub(crate) fn is_before_helm(self) -> bool {
        matches!(self, Self::Prepare | Self::Presync | Self::Preuninstall)
    }
}

/// A hook that runs at one or more events of `helmfile sync`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hook {
    /// At least one.
    pub events: Vec<HookEvent>,
    /// The name that helmfile prints: `name`, else the command.
    pub name: String,
    pub command: String,
    pub args: Vec<String>,
    /// Whether it is a hook of the helmfile, and not of a release.
    pub is_global: bool,
}

/// How well the arguments of a process fit a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HookMatch {
    /// The program appears in the hook's command.
    Program,
    /// All arguments appear in the hook's command, such as those of the program that `sh -c` has replaced itself with.
    Words,
    /// It is the command itself.
    Command,
}

impl Hook {
    /// The hooks in the value of `hooks` that run on a sync.
    pub(super) fn list(hooks: &Value, is_global: bool) -> Vec<Self> {
        let hooks = hooks.as_sequence().into_iter().flatten();
        hooks.map(|hook| Self::new(hook, is_global)).filter(|hook| !hook.events.is_empty()).collect()
    }

    fn new(hook: &Value, is_global: bool) -> Self {
        let text = |key: &str| hook.get(key).and_then(Value::as_str).unwrap_or_default();
        let names: Vec<_> = texts(hook.get("events")).collect();
        let events = HookEvent::ALL.into_iter().filter(|event| !is_global || event.is_global());
        let events = events.filter(|event| names.iter().any(|name| name == event.name())).collect();
        let apply = hook.get("kubectlApply").and_then(Value::as_mapping);
        let (default_name, command, args) = match apply {
            Some(apply) => {
                let from = |(flag, key): (&str, &str)| {
                    let path = apply.get(key)?.as_str()?;
                    Some(["apply", flag, path].map(ToOwned::to_owned).to_vec())
                };
                let args = [("-f", "filename"), ("-k", "kustomize")].into_iter().find_map(from);
                ("kubectlApply", "kubectl", args.unwrap_or_default())
            }
            None => (text("command"), text("command"), texts(hook.get("args")).collect()),
        };
        let name = Some(text("name")).filter(|name| !name.is_empty()).unwrap_or(default_name).to_owned();
        Self { events, name, command: command.to_owned(), args, is_global }
    }

    /// The program that it starts, if that is known before helmfile renders it.
    pub(super) fn program(&self) -> Option<&str> {
        Some(self.command.as_str()).filter(|command| !command.is_empty() && !command.contains("{{"))
    }

    /// The command and its arguments, as one types them.
    pub(crate) fn command_line(&self) -> String {
        let words: Vec<_> = std::iter::once(&self.command).chain(&self.args).map(String::as_str).collect();
        // It fails only for NUL characters, which no command can have.
        shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" "))
    }

    /// How well a process with these arguments fits, if it may be this hook.
    pub(crate) fn matches(&self, args: &[String]) -> Option<HookMatch> {
        // A script may be preceded by its interpreter and that one's argument (execve(2)).
        let is_command = (0..args.len().min(3)).any(|at| {
            is_rendered(file_name(&self.command), file_name(&args[at]))
                && args.len() - at == self.args.len() + 1
                && self.args.iter().zip(&args[at + 1..]).all(|(own, arg)| is_rendered(own, arg))
        });
        if is_command {
            return Some(HookMatch::Command);
        }
        let (program, rest) = args.split_first()?;
        let text = self.args.join(" ");
        if !has_word(&text, file_name(program)) {
            return None;
        }
        let all = rest.iter().all(|arg| text.contains(arg.as_str()));
        Some(if all { HookMatch::Words } else { HookMatch::Program })
    }
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        _ => None,
    };
    list.and_then(Value::as_sequence).into_iter().flatten().filter_map(scalar)
}

fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

/// Whether a text may be what helmfile renders of a template.
fn is_rendered(template: &str, text: &str) -> bool {
    let Some((before, rest)) = template.split_once("{{") else { return template == text };
    let after = rest.rsplit_once("}}").map_or("", |(_, after)| after);
    text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
}

/// Whether a text contains a word that is not part of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !word.is_empty() && text.split(|c: char| !is_part(c)).any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(text: &str) -> Hook {
        let list = serde_yaml::from_str(&format!("[{{events: [postsync], {text}}}]")).unwrap();
        Hook::list(&list, false).remove(0)
    }

    fn matches(hook: &Hook, args: &[&str]) -> Option<HookMatch> {
        hook.matches(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn hooks_of_a_sync_are_read() {
        let text = "- {events: [postsync, presync, preapply], command: sh, args: [-c, 'echo a', 1, true]}\n\
                    - {events: [preapply], command: never}\n\
                    - {events: [cleanup], name: net, kubectlApply: {filename: net.yaml}}\n";
        let list = serde_yaml::from_str(text).unwrap();
        let found = Hook::list(&list, false);
        let expected = [
            Hook {
                events: vec![HookEvent::Presync, HookEvent::Postsync],
                name: "sh".to_owned(),
                command: "sh".to_owned(),
                args: ["-c", "echo a", "1", "true"].map(ToOwned::to_owned).to_vec(),
                is_global: false,
            },
            Hook {
                events: vec![HookEvent::Cleanup],
                name: "net".to_owned(),
                command: "kubectl".to_owned(),
                args: ["apply", "-f", "net.yaml"].map(ToOwned::to_owned).to_vec(),
                is_global: false,
            },
        ];
        assert_eq!(found, expected);
        assert_eq!(found[0].command_line(), "sh -c 'echo a' 1 true");
        // helmfile runs hooks of a helmfile only before and after everything.
        let names: Vec<_> = Hook::list(&list, true).into_iter().map(|hook| hook.name).collect();
        assert_eq!(names, ["net"]);
    }

    #[test]
    fn a_process_is_recognized_as_a_hook() {
        let wait = hook("command: sh, args: [-c, 'kubectl wait --for=create \"crd/x\" --timeout=5m']");
        let script = "kubectl wait --for=create \"crd/x\" --timeout=5m";
        assert_eq!(matches(&wait, &["/bin/sh", "-c", script]), Some(HookMatch::Command));
        // A shell replaces itself with the last program of its script.
        let replaced = ["/usr/bin/kubectl", "wait", "--for=create", "crd/x", "--timeout=5m"];
        assert_eq!(matches(&wait, &replaced), Some(HookMatch::Words));
        assert_eq!(matches(&wait, &["kubectl", "get", "nodes"]), Some(HookMatch::Program));
        for other in [&["helm", "upgrade", "--install"][..], &["kustomize", "build"], &["wai"], &[]] {
            assert_eq!(matches(&wait, other), None, "{other:?}");
        }
        let file = hook("command: ./scripts/a.sh, args: ['{{ .Release.Name }}-x']");
        assert_eq!(
            matches(&file, &["/bin/bash", "-e", "./scripts/a.sh", "cilium-x"]),
            Some(HookMatch::Command)
        );
        assert_eq!(matches(&file, &["/bin/bash", "./scripts/a.sh", "cilium-y"]), None);
        assert_eq!(matches(&file, &["./scripts/a.sh"]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_process_makes_it_panic(command: String, own: Vec<String>, args: Vec<String>) {
            let hook = Hook { command, args: own, ..Hook::default() };
            _ = (hook.matches(&args), hook.matches(&hook.args), hook.command_line());
        }
    }
}
