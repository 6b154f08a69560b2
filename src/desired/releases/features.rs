//! Keys of a release that need more than its chart and values: what they change, and what has to be installed for them
//! (helmfile 1.7.4, `pkg/state/state.go`).

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

/// The key of a release with files that the plugin helm-secrets decrypts.
pub(super) const SECRETS: &str = "secrets";

/// Keys that change what is installed in ways that its chart and values do not tell.
const UNSAFE: [&str; 9] = [
    "dependencies",
    "env",
    "forceNamespace",
    "jsonPatches",
    "postRenderer",
    "reuseValues",
    SECRETS,
    "strategicMergePatches",
    "transformers",
];

/// Keys for which helmfile runs kustomize.
const KUSTOMIZE: [&str; 3] = ["jsonPatches", "strategicMergePatches", "transformers"];

/// Keys that helmfile refuses with Helm 3.
const HELM_4: [&str; 3] = ["forceConflicts", "rollbackOnFailure", "serverSide"];

/// The events of hooks that helmfile runs when it syncs.
const SYNC_EVENTS: [&str; 5] = ["prepare", "presync", "postsync", "preuninstall", "cleanup"];

/// What has to be installed for the keys of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Its post-renderer: with Helm 3 a program, with Helm 4 a plugin.
    pub post_renderer: Option<String>,
    /// The commands of its hooks and of those of its helmfile that run at a sync, unless a template makes them.
    pub hook_commands: BTreeSet<String>,
    /// The keys for which helmfile runs kustomize.
    pub kustomize: Vec<&'static str>,
    /// What it runs as kustomize, where the helmfile names that: `kubectl kustomize`.
    pub kustomize_binary: Option<String>,
    /// The keys that helmfile refuses with Helm 3.
    pub helm_4: Vec<&'static str>,
}

impl Requirements {
    /// Reads them from the keys of a release, of `helmDefaults`, and from the `hooks` and the `kustomizeBinary` of the
    /// helmfile.
    pub(super) fn new(
        release: &BTreeMap<String, Value>,
        defaults: &BTreeMap<String, Value>,
        hooks: &Value,
        kustomize_binary: Option<&str>,
    ) -> Self {
        let used = |keys: &[&'static str]| {
            keys.iter().copied().filter(|key| is_used(release, defaults, key)).collect()
        };
        let text = |keys: &BTreeMap<String, Value>| {
            Some(keys.get("postRenderer")?.as_str()?.to_owned()).filter(|text| !text.is_empty())
        };
        let own = release.get("hooks").unwrap_or(&Value::Null);
        let kustomize: Vec<_> = used(&KUSTOMIZE);
        let binary = kustomize_binary.filter(|binary| !binary.is_empty() && !kustomize.is_empty());
        Self {
            post_renderer: text(release).or_else(|| text(defaults)),
            hook_commands: [own, hooks].into_iter().flat_map(commands).collect(),
            kustomize_binary: binary.map(ToOwned::to_owned),
            kustomize,
            helm_4: used(&HELM_4),
        }
    }

    /// Whether anything has to be installed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The program that kustomize is run as, if it is.
    #[must_use]
    pub fn kustomize_program(&self) -> Option<&str> {
        let binary = self.kustomize_binary.as_deref().unwrap_or("kustomize");
        (!self.kustomize.is_empty()).then(|| binary.split(' ').next().unwrap_or(binary))
    }
}

/// The commands of hooks that run at a sync.
fn commands(hooks: &Value) -> impl Iterator<Item = String> {
    let runs = |hook: &&Value| {
        let events = hook.get("events").and_then(Value::as_sequence);
        events
            .into_iter()
            .flatten()
            .any(|event| event.as_str().is_some_and(|event| SYNC_EVENTS.contains(&event)))
    };
    let hooks = hooks.as_sequence().into_iter().flatten().filter(runs);
    let commands = hooks.filter_map(|hook| Some(hook.get("command")?.as_str()?.to_owned()));
    commands.filter(|command| !command.is_empty() && !command.contains("{{"))
}

fn is_used(release: &BTreeMap<String, Value>, defaults: &BTreeMap<String, Value>, key: &str) -> bool {
    [release, defaults].iter().any(|keys| keys.get(key).is_some_and(is_set))
}

/// Whether a key holds anything that helmfile acts on.
pub(super) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Sequence(items) => !items.is_empty(),
        Value::Mapping(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// The keys that change what is installed in ways that chart and values do not tell, set by the release itself or for all.
pub(super) fn unsafe_features(
    release: &BTreeMap<String, Value>,
    defaults: &BTreeMap<String, Value>,
) -> Vec<String> {
    let used = UNSAFE.iter().filter(|key| is_used(release, defaults, key));
    let mut used: Vec<_> = used.map(|key| (*key).to_owned()).collect();
    // helmfile has made a chart of something else, or of a chart and something else.
    let path = release.get("chartPath").and_then(Value::as_str).unwrap_or_default();
    if used.is_empty() && path.contains("/chartify") {
        used.push("chart".to_owned());
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_installed_is_read() {
        let keys = |text: &str| serde_yaml::from_str::<BTreeMap<String, Value>>(text).unwrap();
        let hooks = "- {events: [presync], command: sh}\n- {events: [preapply], command: never}\n- {events: [postsync], command: '{{ .x }}'}\n";
        let release = keys(
            "{jsonPatches: [{a: b}], transformers: [], forceConflicts: true, serverSide: '', hooks: [{events: [postsync], command: ./x.sh}]}",
        );
        let defaults = keys("{postRenderer: pr, rollbackOnFailure: false}");
        let hooks = serde_yaml::from_str(hooks).unwrap();
        let expected = Requirements {
            post_renderer: Some("pr".to_owned()),
            hook_commands: ["./x.sh".to_owned(), "sh".to_owned()].into(),
            kustomize: vec!["jsonPatches"],
            kustomize_binary: Some("kubectl kustomize".to_owned()),
            helm_4: vec!["forceConflicts"],
        };
        let found = Requirements::new(&release, &defaults, &hooks, Some("kubectl kustomize"));
        assert_eq!((found.kustomize_program(), &found), (Some("kubectl"), &expected));
        let default = Requirements::new(&release, &defaults, &hooks, None);
        assert_eq!(default.kustomize_program(), Some("kustomize"));
        assert!(
            Requirements::new(&keys("{}"), &keys("{}"), &Value::Null, Some("kubectl kustomize")).is_empty()
        );
    }
}
