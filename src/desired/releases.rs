//! Parses the releases that `helmfile build --embed-values` prints.

mod features;
mod hooks;
mod set;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_yaml::Value;

pub(crate) use self::features::Requirements;
use self::features::{SECRETS, unsafe_features};
pub(crate) use self::hooks::{Hook, HookEvent, HookMatch};
use self::set::SetValue;
use crate::base::release_id::ReleaseId;
use crate::base::yaml::{self, PRINTED};
use crate::tools::charts::Pin;

/// A release of a helmfile. Has no `Debug`: its values may contain secrets.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct Release {
    /// The namespace of the helmfile, else that of the kubeconfig's context, as in Helm.
    pub namespace: String,
    /// Whether the helmfile sets the namespace.
    pub names_namespace: bool,
    pub name: String,
    /// The chart reference.
    pub chart: String,
    /// The chart version, from `version` or from the chart reference; empty for the latest version and for local charts.
    pub version: String,
    /// The digest that pins the chart, if any: `sha256:…`.
    pub digest: Option<String>,
    /// The releases that it is installed after.
    pub needs: Vec<ReleaseId>,
    /// The values in merge order. The last are those of `set` and `setString`.
    pub values: Vec<Value>,
    /// The values that helm gets as `--set` and `--set-string`.
    set: [Vec<SetValue>; 2],
    /// Whether it should be installed; otherwise `helmfile sync` uninstalls it.
    pub installed: bool,
    /// Whether the user skips it.
    pub skipped: bool,
    /// helm's timeout in seconds, if the helmfile sets one.
    pub timeout: Option<u64>,
    /// Whether the chart comes from an OCI registry.
    pub is_in_registry: bool,
    /// Whether the helmfile defines the repository of the chart.
    pub has_repository: bool,
    /// The URL of the chart repository, if the chart comes from one.
    pub repository: Option<String>,
    /// The kubeconfig context that it sets, if any.
    pub kube_context: Option<String>,
    /// Whether some values were decrypted or printed by a command, so that none is shown.
    pub has_secret_values: bool,
    /// The hooks that helmfile runs on a sync: those of the release, then those of the helmfile.
    pub hooks: Vec<Hook>,
    /// The helmfile features in use that change what is installed beyond chart and values.
    pub unsafe_features: Vec<String>,
    /// The programs and plugins that it needs.
    pub requirements: Requirements,
}

/// The name of `set` and `setString` in [`Release::unsafe_features`].
const SET: &str = "set";

impl Release {
    /// Its namespace, if the helmfile names one.
    pub(crate) fn named_namespace(&self) -> Option<&str> {
        self.names_namespace.then_some(self.namespace.as_str())
    }

    pub(crate) fn id(&self) -> ReleaseId {
        ReleaseId::new(&self.namespace, &self.name)
    }

    /// Whether it has files that the plugin helm-secrets decrypts, which are not part of its values.
    pub(crate) fn has_encrypted_files(&self) -> bool {
        self.unsafe_features.iter().any(|feature| feature == SECRETS)
    }

    /// Whether it has values that are not part of [`Self::values`].
    pub(crate) fn has_unread_values(&self) -> bool {
        self.has_encrypted_files() || self.unsafe_features.iter().any(|feature| feature == SET)
    }

    /// Whether helmfile reports this release with this namespace and name; the namespace is empty if the helmfile sets
    /// none.
    pub(crate) fn is_reported_as(&self, namespace: &str, name: &str) -> bool {
        let own = if self.names_namespace { self.namespace.as_str() } else { "" };
        self.name == name && own == namespace
    }

    /// Whether the helmfile sets a shorter timeout than this.
    pub(crate) fn is_shorter_than(&self, longest: Duration) -> bool {
        self.timeout.is_some_and(|seconds| Duration::from_secs(seconds) < longest)
    }

    /// Whether it should exist after the bootstrap.
    pub(crate) fn is_wanted(&self) -> bool {
        self.installed && !self.skipped
    }

    /// The chart name: the last part of its reference, without tag and digest.
    pub(crate) fn chart_name(&self) -> &str {
        Pin::of(&self.chart, "").name()
    }

    /// Replaces all values, including those of encrypted files.
    pub(crate) fn set_resolved_values(&mut self, values: Value) {
        self.set_values(vec![values]);
        self.unsafe_features.retain(|feature| feature != SECRETS);
    }

    /// Replaces the values, and appends those of `set` and `setString`.
    pub(crate) fn set_values(&mut self, values: Vec<Value>) {
        self.values = values;
        self.unsafe_features.retain(|feature| feature != SET);
        let [set, set_string] = &self.set;
        if set.is_empty() && set_string.is_empty() {
            return;
        }
        let mut merged = self.merged();
        let set = set::apply(&mut merged, set, set_string);
        match set.and_then(|()| serde_yaml::to_value(merged).ok()) {
            Some(merged) => self.values.push(merged),
            None => self.unsafe_features.push(SET.to_owned()),
        }
    }

    /// All values, merged as in Helm: maps key by key, everything else as a whole, the last one wins.
    pub(crate) fn merged(&self) -> serde_json::Value {
        let mut merged = serde_json::Value::Object(serde_json::Map::new());
        for values in self.values.iter().filter(|values| !values.is_null()) {
            // JSON has no keys other than strings; Helm rejects them too.
            merge(&mut merged, serde_json::to_value(values).unwrap_or_default());
        }
        merged
    }

    /// A scalar value as text, as in Helm; `None` if it is not set or not a scalar.
    pub(crate) fn text(&self, path: &[&str]) -> Option<String> {
        match self.value(path)? {
            Value::String(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// Whether a value is unknown because it uses a variable that is not set.
    pub(crate) fn is_open(&self, path: &[&str]) -> bool {
        self.value(path).and_then(Value::as_str).is_some_and(|text| text.contains(super::STAND_IN))
    }

    /// A value by its path; the last values file that sets it wins.
    pub(crate) fn value(&self, path: &[&str]) -> Option<&Value> {
        self.values.iter().rev().find_map(|values| path.iter().try_fold(values, |value, key| value.get(key)))
    }
}

/// Merges values as in Helm: maps key by key, everything else as a whole.
pub(super) fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Repository {
    name: String,
    url: String,
    oci: bool,
    /// A repository with credentials cannot be accessed without them.
    username: String,
}

impl Repository {
    /// Whether a chart such as `name/chart` comes from here.
    fn has(&self, chart: &str) -> bool {
        chart.split_once('/').is_some_and(|(name, _)| name == self.name)
    }
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    repositories: Vec<Repository>,
    #[serde(default)]
    releases: Option<Vec<Raw>>,
    #[serde(rename = "helmDefaults", default)]
    defaults: Defaults,
    #[serde(default)]
    hooks: Value,
    #[serde(rename = "kustomizeBinary", default)]
    kustomize_binary: Option<String>,
    #[serde(rename = "renderedvalues", default)]
    environment: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Defaults {
    #[serde(default)]
    timeout: u64,
    #[serde(default)]
    kube_context: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    name: String,
    #[serde(default)]
    namespace: String,
    chart: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    values: Vec<Value>,
    #[serde(default)]
    set: Vec<SetValue>,
    #[serde(default)]
    set_string: Vec<SetValue>,
    #[serde(default)]
    installed: Option<bool>,
    #[serde(default)]
    condition: Option<String>,
    #[serde(default)]
    timeout: Option<u64>,
    #[serde(default)]
    kube_context: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// The output of `helmfile build --embed-values`. Has no `Debug`: values may contain secrets.
#[derive(Default)]
pub(crate) struct Built {
    /// The releases of all state files.
    pub releases: Vec<Release>,
    /// The values of the environments.
    pub environments: Vec<Value>,
    /// Whether it only works with `helmfile template`.
    pub is_only_rendered: bool,
}

/// Arguments in `helmDefaults.args` that `helm upgrade` does not support: helmfiles with them are for `helmfile template`.
const ONLY_FOR_TEMPLATE: [&str; 2] = ["--include-crds", "--no-hooks"];

/// Whether arguments for helm only work with `helmfile template`.
pub(super) fn is_for_template(args: &Value) -> bool {
    let args = args.as_sequence().into_iter().flatten().filter_map(Value::as_str);
    args.flat_map(str::split_whitespace).any(|arg| ONLY_FOR_TEMPLATE.contains(&arg))
}

/// Parses the output of `helmfile build --embed-values`: a document for each state file, with its top-level `namespace`
/// applied. Releases without a namespace are in `default_namespace`, that of the kubeconfig's context.
///
/// # Errors
///
/// Where the output differs from that of helmfile 1.7. The error never contains a value.
pub(crate) fn parse(output: &[u8], default_namespace: &str) -> Result<Built, String> {
    let text = std::str::from_utf8(output).map_err(|_| "not UTF-8".to_owned())?;
    let mut built = Built::default();
    for document in yaml::documents::<Option<State>>(text, PRINTED) {
        let document =
            document.map_err(|error| error.without_content("not the state that helmfile 1.7 prints"));
        let Some(state) = document? else {
            continue;
        };
        let State { repositories, releases: raw, defaults, hooks, kustomize_binary, environment } = state;
        built.is_only_rendered |= defaults.others.get("args").is_some_and(is_for_template);
        for raw in raw.into_iter().flatten() {
            if raw.condition.as_deref().is_some_and(|condition| !holds(condition, &environment)) {
                continue;
            }
            let names_namespace = !raw.namespace.is_empty();
            let namespace = if names_namespace { raw.namespace } else { default_namespace.to_owned() };
            let repository = repositories.iter().find(|one| one.has(&raw.chart));
            let pin = Pin::of(&raw.chart, &raw.version);
            let own_hooks = raw.others.get("hooks").map(|own| Hook::list(own, false));
            let hooks = own_hooks.into_iter().flatten().chain(Hook::list(&hooks, true)).collect::<Vec<_>>();
            let mut release = Release {
                version: pin.version.to_owned(),
                digest: pin.digest.map(ToOwned::to_owned),
                set: [raw.set, raw.set_string],
                values: Vec::new(),
                names_namespace,
                needs: raw.needs.iter().map(|need| needed(need, &namespace)).collect(),
                namespace,
                name: raw.name,
                is_in_registry: raw.chart.starts_with("oci://") || repository.is_some_and(|one| one.oci),
                has_repository: repository.is_some(),
                repository: repository
                    .filter(|one| !one.oci && one.username.is_empty())
                    .map(|one| one.url.clone()),
                chart: raw.chart,
                installed: raw.installed.unwrap_or(true),
                skipped: false,
                has_secret_values: false,
                timeout: raw.timeout.or(Some(defaults.timeout).filter(|timeout| *timeout > 0)),
                kube_context: raw.kube_context.or_else(|| defaults.kube_context.clone()),
                unsafe_features: unsafe_features(&raw.others, &defaults.others),
                requirements: Requirements::new(
                    &raw.others,
                    &defaults.others,
                    &hooks,
                    kustomize_binary.as_deref(),
                ),
                hooks,
            };
            release.set_values(raw.values);
            built.releases.push(release);
        }
        built.environments.push(environment);
    }
    Ok(built)
}

/// An entry of `needs`. The full form is `context/namespace/name`; the default namespace is that of
/// the release (helmfile 1.7.4, `pkg/state/state.go`).
fn needed(need: &str, namespace: &str) -> ReleaseId {
    let mut parts = need.rsplitn(3, '/');
    let (name, within) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(namespace));
    ReleaseId::new(within, name)
}

/// A release's `condition` is a path into the environment's values, or with helmfile 1.8 and later a boolean, to which
/// `conditionTemplate` is rendered (helmfile 1.8.0, `ConditionEnabled` in `pkg/state/state.go`).
fn holds(condition: &str, environment: &Value) -> bool {
    if let Ok(literal) = condition.to_lowercase().parse() {
        return literal;
    }
    let found = condition.split('.').try_fold(environment, |value, key| value.get(key));
    found.and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Helmfile, Kind};

    // The output of helmfile 1.7.4, shortened.
    const BUILD: &str = "---\n#  Source: /t/01-apps.yaml\n\nfilepath: 01-apps.yaml\nhelmDefaults:\n  wait: true\n  timeout: 99\n\
        releases:\n  - chart: oci://x/cilium\n    version: 1.18.6\n    name: cilium\n    namespace: kube-system\n    values:\n      - k: 1\n        deep: {a: x}\n      - deep: {a: y}\n\
        \x20 - chart: ./local\n    name: gone\n    installed: false\n    timeout: 5\n    needs:\n      - kube-system/cilium\n\
        \x20 - chart: ./local\n    name: off\n    condition: foo.enabled\n\
        templates: {}\nrenderedvalues:\n  foo:\n    enabled: false\n";

    #[test]
    fn a_release_without_a_namespace_is_in_that_of_the_context() {
        let text = "releases:\n- {name: a, namespace: x, chart: c}\n- {name: a, chart: c, needs: [b]}\n- {name: b, chart: c}\n\
                    - {name: c, namespace: y, chart: c}\n";
        let releases = parse(text.as_bytes(), "media").unwrap().releases;
        let ids: Vec<_> = releases.iter().map(Release::id).collect();
        assert_eq!(ids, ["x/a", "media/a", "media/b", "y/c"]);
        assert_eq!(releases[1].needs, ["media/b"]);
        let helmfile = Helmfile { kind: Kind::Apps, path: "x".into(), releases, needs_identities: false };
        let selectors: Vec<_> = helmfile.releases.iter().map(|release| helmfile.selector(release)).collect();
        assert_eq!(selectors, ["namespace=x,name=a", "name=a,namespace!=x", "name=b", "namespace=y,name=c"]);
        // As in the progress messages of helmfile.
        let reported = |namespace: &str, name: &str| {
            let found = helmfile.releases.iter().find(|release| release.is_reported_as(namespace, name));
            found.map(Release::id)
        };
        assert_eq!(reported("", "a"), Some("media/a".into()));
        assert_eq!(reported("x", "a"), Some("x/a".into()));
        assert_eq!(reported("media", "b"), None);
    }

    #[test]
    fn releases_are_read() {
        let releases = parse(BUILD.as_bytes(), "default").unwrap().releases;
        let ids: Vec<_> = releases.iter().map(Release::id).collect();
        assert_eq!(
            ids,
            ["kube-system/cilium", "default/gone"],
            "a release whose condition is false is skipped"
        );
        let [cilium, gone] = releases.as_slice() else { panic!("two") };
        assert_eq!((cilium.timeout, gone.timeout), (Some(99), Some(5)));
        assert_eq!((cilium.installed, gone.installed), (true, false));
        assert_eq!(gone.needs, ["kube-system/cilium"]);
        assert_eq!(cilium.value(&["deep", "a"]).and_then(Value::as_str), Some("y"));
        assert_eq!(cilium.value(&["k"]).and_then(Value::as_u64), Some(1));
        assert!(cilium.value(&["deep", "b"]).is_none());
        assert_eq!(cilium.text(&["k"]).as_deref(), Some("1"));
        assert_eq!(cilium.text(&["deep"]), None);
        assert!(!cilium.is_open(&["deep", "a"]));
        assert_eq!(cilium.merged(), serde_json::json!({"k": 1, "deep": {"a": "y"}}));
        assert_eq!((cilium.chart_name(), gone.chart_name()), ("cilium", "local"));
    }

    #[test]
    fn a_condition_is_a_path_or_a_boolean() {
        // The output of helmfile 1.8.0, shortened.
        let text = "releases:\n- {name: a, chart: ./c, condition: 'true', trackMode: helm-legacy}\n- {name: b, chart: ./c, condition: 'False'}\n\
            - {name: d, chart: ./c, condition: x.enabled, trackMode: kubedog}\n- {name: e, chart: ./c, condition: y.enabled}\n\
            renderedvalues: {x: {enabled: true}}\n";
        let releases = parse(text.as_bytes(), "default").unwrap().releases;
        let names: Vec<_> = releases.iter().map(|release| release.name.as_str()).collect();
        assert_eq!(names, ["a", "d"]);
        // How helm waits changes nothing of what is installed.
        assert!(releases.iter().all(|release| release.unsafe_features.is_empty()));
    }

    #[test]
    fn charts_of_repositories_have_a_url() {
        let text = "repositories:\n- {name: a, url: 'https://a'}\n- {name: r, url: r.io, oci: true}\nreleases:\n\
            - {name: x, chart: a/x}\n- {name: y, chart: r/y}\n- {name: z, chart: ./a/z}\n";
        let releases = parse(text.as_bytes(), "default").unwrap().releases;
        let found: Vec<_> = releases.iter().map(|release| release.repository.as_deref()).collect();
        assert_eq!(found, [Some("https://a"), None, None]);
    }

    #[test]
    fn a_chart_may_be_pinned_in_its_reference() {
        let text = "repositories:\n- {name: r, url: r.io, oci: true}\nreleases:\n- {name: a, chart: 'oci://x/c:1.2.3'}\n\
            - {name: b, chart: 'oci://x/c@sha256:1'}\n- {name: c, chart: oci://x/c, version: '1.0.0@sha256:2'}\n- {name: d, chart: r/c}\n";
        let releases = parse(text.as_bytes(), "default").unwrap().releases;
        let found: Vec<_> = releases
            .iter()
            .map(|one| (one.chart_name(), one.version.as_str(), one.digest.as_deref()))
            .collect();
        let expected = [
            ("c", "1.2.3", None),
            ("c", "", Some("sha256:1")),
            ("c", "1.0.0", Some("sha256:2")),
            ("c", "", None),
        ];
        assert_eq!(found, expected);
        assert!(releases.iter().all(|release| release.is_in_registry));
    }

    #[test]
    fn set_values_come_after_the_others() {
        let set = |text: &str| {
            let text = format!(
                "releases:\n- {{name: a, chart: ./c, values: [{{k: 1, m: {{n: 1, o: 1}}}}], {text}}}\n"
            );
            parse(text.as_bytes(), "default").unwrap().releases.remove(0)
        };
        let mut release = set("set: [{name: m.n, value: '2'}], setString: [{name: k, value: '3'}]");
        assert_eq!(release.merged(), serde_json::json!({"k": "3", "m": {"n": 2, "o": 1}}));
        assert_eq!(release.text(&["m", "n"]).as_deref(), Some("2"));
        assert!(release.unsafe_features.is_empty());
        release.set_values(vec![]);
        assert_eq!(release.merged(), serde_json::json!({"k": "3", "m": {"n": 2}}));
        let unknown = set("set: [{name: m.n, file: x}]");
        assert_eq!((unknown.unsafe_features.as_slice(), unknown.values.len()), (&["set".to_owned()][..], 1));
        assert_eq!(set("env: [{name: k, value: HOME}]").unsafe_features, ["env"]);
    }

    #[test]
    fn hooks_are_those_of_a_release_or_of_its_helmfile() {
        let hooks = |text: &str| {
            let releases = parse(text.as_bytes(), "default").unwrap().releases;
            releases.iter().map(|release| !release.hooks.is_empty()).collect::<Vec<_>>()
        };
        let own = "releases:\n- {name: a, chart: ./c, hooks: [{events: [postsync], command: x}]}\n- {name: b, chart: ./c}\n";
        assert_eq!(hooks(own), [true, false]);
        let all = "releases:\n- {name: a, chart: ./c}\nhooks: [{events: [cleanup], command: x}]\n---\nreleases:\n- {name: b, chart: ./c}\n";
        assert_eq!(hooks(all), [true, false]);
    }

    #[test]
    fn an_error_contains_the_location_and_no_value() {
        let error = parse(b"releases:\n  - name: [CANARY-SECRET]\n    chart: x\n", "default").err().unwrap();
        assert!(error.starts_with("line ") && !error.contains("CANARY"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_output_makes_it_panic(output: Vec<u8>, near in crate::base::mutate::text(&[
            "---\n#  Source: /t/01-apps.yaml\n\nfilepath: 01-apps.yaml\nhelmDefaults:\n  timeout: 900\nrepositories: []\nreleases:\n- chart: oci://a/b\n  version: 1.0.0\n  \
             name: a\n  namespace: b\n  needs: [b/c]\n  values:\n  - image: {tag: &t v1}\n    other: *t\n  installed: false\ntemplates: {}\nrenderedvalues: {}\n",
        ]), odd in crate::base::mutate::json(
            r#"{"repositories":[{"name":"a","url":"x"}],"helmDefaults":{"timeout":1,"kubeContext":"c"},"renderedvalues":{"f":{"enabled":true}},"releases":
            [{"name":"a","namespace":"b","chart":"a/c","version":"1","needs":["x"],"values":[{"k":{"l":1}}],"installed":true,"condition":"f.enabled","timeout":1}]}"#)) {
            _ = parse(&output, "default");
            _ = parse(near.as_bytes(), "default");
            for release in parse(odd.to_string().as_bytes(), "default").unwrap_or_default().releases {
                _ = (release.id(), release.merged(), release.text(&["k", "l"]), release.chart_name().len());
            }
        }
    }
}
