//! Keys of a release beyond chart and values: what they change, and which programs they need (helmfile 1.7.4,
//! `pkg/state/state.go`).

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

use super::hooks::Hook;

/// The key of a release with files that the plugin helm-secrets decrypts.
pub(super) const SECRETS: &str = "secrets";

/// Keys that change what is installed beyond chart and values.
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

/// Keys that helmfile rejects with Helm 3.
const HELM_4: [&str; 3] = ["forceConflicts", "rollbackOnFailure", "serverSide"];

/// Keys for which helmfile passes flags that Helm 4 rejects: always (`--recreate-pods`), or when the release is synced again
/// (`--force`, which helmfile 1.7.4 passes on and Helm 4 takes for `--force-replace`, together with server-side apply).
const HELM_3: [&str; 2] = ["force", "recreatePods"];

/// The programs and plugins that the keys of a release need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    /// The post-renderer: a program with Helm 3, a plugin with Helm 4.
    pub post_renderer: Option<String>,
    /// The commands of its hooks and those of its helmfile that run on a sync, without templates.
    pub hook_commands: BTreeSet<String>,
    /// The keys for which helmfile runs kustomize.
    pub kustomize: Vec<&'static str>,
    /// The `kustomizeBinary` of the helmfile, such as `kubectl kustomize`.
    pub kustomize_binary: Option<String>,
    /// The keys that helmfile rejects with Helm 3.
    pub helm_4: Vec<&'static str>,
    /// The keys that do not work with Helm 4.
    pub helm_3: Vec<&'static str>,
}

impl Requirements {
    /// Reads the requirements from the keys of a release and of `helmDefaults`, from its hooks and those of the helmfile, and
    /// from `kustomizeBinary` of the helmfile.
    pub(super) fn new(
        release: &BTreeMap<String, Value>,
        defaults: &BTreeMap<String, Value>,
        hooks: &[Hook],
        kustomize_binary: Option<&str>,
    ) -> Self {
        let used = |keys: &[&'static str]| {
            keys.iter().copied().filter(|key| is_used(release, defaults, key)).collect()
        };
        let text = |keys: &BTreeMap<String, Value>| {
            Some(keys.get("postRenderer")?.as_str()?.to_owned()).filter(|text| !text.is_empty())
        };
        let kustomize: Vec<_> = used(&KUSTOMIZE);
        let binary = kustomize_binary.filter(|binary| !binary.is_empty() && !kustomize.is_empty());
        Self {
            post_renderer: text(release).or_else(|| text(defaults)),
            hook_commands: hooks.iter().filter_map(Hook::program).map(ToOwned::to_owned).collect(),
            kustomize_binary: binary.map(ToOwned::to_owned),
            kustomize,
            helm_4: used(&HELM_4),
            helm_3: used(&HELM_3),
        }
    }

    /// Whether nothing has to be installed.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The program that runs as kustomize, if it is needed.
    pub(crate) fn kustomize_program(&self) -> Option<&str> {
        let binary = self.kustomize_binary.as_deref().unwrap_or("kustomize");
        (!self.kustomize.is_empty()).then(|| binary.split(' ').next().unwrap_or(binary))
    }
}

fn is_used(release: &BTreeMap<String, Value>, defaults: &BTreeMap<String, Value>, key: &str) -> bool {
    [release, defaults].iter().any(|keys| keys.get(key).is_some_and(is_set))
}

/// Whether a key has a value that helmfile acts on.
pub(super) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Sequence(items) => !items.is_empty(),
        Value::Mapping(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// The keys in use that change what is installed beyond chart and values, of the release or of `helmDefaults`.
pub(super) fn unsafe_features(
    release: &BTreeMap<String, Value>,
    defaults: &BTreeMap<String, Value>,
) -> Vec<String> {
    let used = UNSAFE.iter().filter(|key| is_used(release, defaults, key));
    let mut used: Vec<_> = used.map(|key| (*key).to_owned()).collect();
    // helmfile has generated or extended the chart.
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
    fn requirements_are_read() {
        let keys = |text: &str| serde_yaml::from_str::<BTreeMap<String, Value>>(text).unwrap();
        let hooks = "- {events: [presync], command: sh}\n- {events: [postsync], command: ./x.sh}\n";
        let release = keys(
            "{jsonPatches: [{a: b}], transformers: [], forceConflicts: true, serverSide: '', recreatePods: true, force: false}",
        );
        let defaults = keys("{postRenderer: pr, rollbackOnFailure: false}");
        let hooks = Hook::list(&serde_yaml::from_str(hooks).unwrap(), false);
        let expected = Requirements {
            post_renderer: Some("pr".to_owned()),
            hook_commands: ["./x.sh".to_owned(), "sh".to_owned()].into(),
            kustomize: vec!["jsonPatches"],
            kustomize_binary: Some("kubectl kustomize".to_owned()),
            helm_4: vec!["forceConflicts"],
            helm_3: vec!["recreatePods"],
        };
        let found = Requirements::new(&release, &defaults, &hooks, Some("kubectl kustomize"));
        assert_eq!((found.kustomize_program(), &found), (Some("kubectl"), &expected));
        let default = Requirements::new(&release, &defaults, &hooks, None);
        assert_eq!(default.kustomize_program(), Some("kustomize"));
        assert!(Requirements::new(&keys("{}"), &keys("{}"), &[], Some("kubectl kustomize")).is_empty());
    }
}
