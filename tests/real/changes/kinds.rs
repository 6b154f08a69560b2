//! The kinds of changes, each with its expected effect.

use serde_json::{Value, json};

use super::effect::{installed, secret_line, synced, value_line};
use super::repository::{CHARTS, Release, Repository, VERSIONS};

/// A change.
pub(super) struct Change {
    pub(super) what: String,
    /// The expected effects in the plan and in the cluster.
    pub(super) expected: Vec<String>,
    /// Texts that the reasons of the plan must contain.
    pub(super) words: Vec<String>,
}

impl Change {
    fn new(what: impl Into<String>, expected: Vec<String>) -> Self {
        Self { what: what.into(), expected, words: Vec::new() }
    }

    fn with(mut self, words: impl Into<String>) -> Self {
        self.words.push(words.into());
        self
    }
}

pub(super) type Kind = fn(&mut Repository<'_>) -> Change;

pub(super) const KINDS: &[Kind] = &[
    version_up,
    version_down,
    other_chart,
    value_changed,
    value_added,
    value_removed,
    nested_value,
    list_value,
    number_becomes_text,
    default_removed,
    secret_looking_value,
    release_added,
    release_removed,
    release_in_new_namespace,
    namespace_folder,
    secret_value,
    secret_key_added,
    secret_key_removed,
    encoded_secret_key_removed,
    secret_added,
    annotation_left,
    object_deleted,
    marked_failed,
    release_uninstalled,
    claimed,
    local_template,
    local_defaults,
    two_changes,
];

fn any(_: &Release) -> bool {
    true
}

fn to_version(repository: &mut Repository<'_>, what: &str, step: impl Fn(usize) -> Option<usize>) -> Change {
    let place = |version: &str| VERSIONS.iter().position(|known| *known == version).unwrap();
    let index = repository.pick(|release| release.chart.is_some() && step(place(&release.version)).is_some());
    let release = &mut repository.releases[index];
    let old = release.version.clone();
    VERSIONS[step(place(&old)).unwrap()].clone_into(&mut release.version);
    let expected = synced(&release.id(), (&old, &release.version), &[]);
    let change = Change::new(format!("{what} of {}", release.id()), vec![expected]);
    change.with(format!("version {old} → {}", release.version))
}

fn version_up(repository: &mut Repository<'_>) -> Change {
    to_version(repository, "chart version up", |at| Some(at + 1).filter(|at| *at < VERSIONS.len()))
}

fn version_down(repository: &mut Repository<'_>) -> Change {
    let index = repository.pick(|release| release.chart.is_some());
    let release = &mut repository.releases[index];
    let old = release.version.clone();
    if old == VERSIONS[0] {
        // There is no version below the oldest: the test goes two versions up first and then down.
        VERSIONS[2].clone_into(&mut release.version);
    } else {
        VERSIONS[0].clone_into(&mut release.version);
    }
    let expected = synced(&release.id(), (&old, &release.version), &[]);
    Change::new(format!("downgraded chart, or upgraded by two versions, of {}", release.id()), vec![expected])
}

fn other_chart(repository: &mut Repository<'_>) -> Change {
    let index = repository.pick(|release| release.chart.is_some());
    let release = &mut repository.releases[index];
    let other = CHARTS.into_iter().find(|name| Some(*name) != release.chart.as_deref()).unwrap();
    release.chart = Some(other.to_owned());
    let expected = synced(&release.id(), (&release.version, &release.version), &[]);
    Change::new(format!("another chart for {}", release.id()), vec![expected]).with(format!("→ {other}"))
}

/// Sets or removes a value.
fn set(repository: &mut Repository<'_>, what: &str, path: &[&str], new: Option<&Value>) -> Change {
    let shown = path.iter().map(|key| key.replace('.', "\\.")).collect::<Vec<_>>().join(".");
    let (last, above) = path.split_last().unwrap();
    let get = |release: &Release| path.iter().try_fold(&release.values, |value, key| value.get(key)).cloned();
    let is_new = what.ends_with("added") || new.is_some_and(Value::is_null);
    let index = repository.pick(|release| get(release).as_ref() != new && get(release).is_none() == is_new);
    let release = &mut repository.releases[index];
    let old = get(release);
    let mut place = &mut release.values;
    for key in above {
        place = &mut place[key];
    }
    match new {
        Some(new) => place[*last] = new.clone(),
        None => _ = place.as_object_mut().unwrap().remove(*last),
    }
    let value = value_line(&shown, old.as_ref(), new);
    let expected = synced(&release.id(), (&release.version, &release.version), &[value]);
    Change::new(format!("{what} of {}: `{shown}`", release.id()), vec![expected]).with(shown)
}

fn value_changed(repository: &mut Repository<'_>) -> Change {
    let color = repository.fresh("color");
    set(repository, "value changed", &["settings", "color"], Some(&color.into()))
}

fn value_added(repository: &mut Repository<'_>) -> Change {
    let key = repository.fresh("added");
    set(repository, "value added", &["settings", &key], Some(&"yes".into()))
}

fn value_removed(repository: &mut Repository<'_>) -> Change {
    set(repository, "value removed", &["settings", "a.b"], None)
}

fn nested_value(repository: &mut Repository<'_>) -> Change {
    let number = repository.random.below(1000) + 10;
    set(repository, "nested value", &["nested", "deep", "x"], Some(&number.into()))
}

fn list_value(repository: &mut Repository<'_>) -> Change {
    let number = repository.random.below(1000) + 10;
    set(repository, "list", &["list"], Some(&json!([1, {"x": number}, "more"])))
}

fn number_becomes_text(repository: &mut Repository<'_>) -> Change {
    set(repository, "number that becomes a text", &["nested", "deep", "y"], Some(&"2.5".into()))
}

fn default_removed(repository: &mut Repository<'_>) -> Change {
    set(repository, "the default of the chart removed", &["note"], Some(&Value::Null))
}

fn secret_looking_value(repository: &mut Repository<'_>) -> Change {
    let text = repository.secret_text();
    set(repository, "value that looks secret", &["auth", "password"], Some(&text.into()))
}

fn release_added(repository: &mut Repository<'_>) -> Change {
    let id = format!("media/{}", repository.fresh("new"));
    let chart = CHARTS[repository.random.below(CHARTS.len())];
    let release =
        Release::new(&id, Some(chart), json!({"settings": {"color": "new"}, "nested": {"deep": {}}}));
    let expected = installed(&id, chart, &release.version);
    repository.releases.push(release);
    Change::new(format!("release {id} added"), vec![expected]).with("not installed")
}

fn release_removed(repository: &mut Repository<'_>) -> Change {
    // The first release is the only one in its helmfile.
    let first = repository.releases[0].id();
    let index = repository.pick(|release| release.id() != first && release.chart.is_some());
    let release = repository.releases.remove(index);
    Change::new(format!("release {} removed from the helmfile", release.id()), Vec::new())
}

fn release_in_new_namespace(repository: &mut Repository<'_>) -> Change {
    let namespace = repository.fresh("space");
    let id = format!("{namespace}/{}", repository.fresh("new"));
    let expected = vec![format!("namespace {namespace} created"), installed(&id, CHARTS[0], VERSIONS[0])];
    repository.releases.push(Release::new(&id, Some(CHARTS[0]), json!({})));
    Change::new(format!("release {id} added, in a new namespace"), expected)
}

fn namespace_folder(repository: &mut Repository<'_>) -> Change {
    let name = repository.fresh("folder");
    repository.folders.push(name.clone());
    let what = format!("folder kubernetes/apps/{name} added");
    Change::new(what, vec![format!("namespace {name} created")])
}

fn secret_id(repository: &Repository<'_>, name: &str) -> String {
    format!("{}/{name}", repository.secrets[name].namespace)
}

fn set_key(
    repository: &mut Repository<'_>,
    what: &str,
    name: &str,
    key: &str,
    value: Option<String>,
) -> Change {
    let keys = &mut repository.secrets.get_mut(name).unwrap().keys;
    match value {
        Some(value) => _ = keys.insert(key.to_owned(), value),
        None => assert!(keys.remove(key).is_some()),
    }
    repository.write_secret(name);
    let id = secret_id(repository, name);
    let expected = secret_line(&id, &[format!("data.{}", key.replace('.', "\\."))]);
    Change::new(format!("{what} in the encrypted file of {id}: `{key}`"), vec![expected])
}

fn secret_value(repository: &mut Repository<'_>) -> Change {
    let (name, value) = (repository.pick_secret(None), repository.secret_text());
    set_key(repository, "value changed", &name, "token", Some(value))
}

fn secret_key_added(repository: &mut Repository<'_>) -> Change {
    let (name, key, value) =
        (repository.pick_secret(None), repository.fresh("key"), repository.secret_text());
    set_key(repository, "key added", &name, &key, Some(value))
}

fn secret_key_removed(repository: &mut Repository<'_>) -> Change {
    set_key(repository, "key removed", "one", "user.name", None)
}

fn encoded_secret_key_removed(repository: &mut Repository<'_>) -> Change {
    // Together with another changed key.
    let value = repository.secret_text();
    set_key(repository, "value changed", "two", "token", Some(value));
    let mut change = set_key(repository, "a key removed, another changed", "two", "user.name", None);
    let fields = ["data.token".to_owned(), "data.user\\.name".to_owned()];
    change.expected = vec![secret_line(&secret_id(repository, "two"), &fields)];
    change
}

fn secret_added(repository: &mut Repository<'_>) -> Change {
    let name = repository.fresh("secret");
    let encoded = repository.random.below(2) == 0;
    repository.add_secret(&name, "media", encoded);
    Change::new(
        format!("encrypted file {name}.sops.yaml added"),
        vec![format!("Secret media/{name} created")],
    )
}

fn annotation_left(repository: &mut Repository<'_>) -> Change {
    let name = repository.pick_secret(None);
    let file = repository.fixture.root.parent().unwrap().join("client-side.json");
    std::fs::write(&file, repository.manifest(&name, true).to_string()).unwrap();
    repository.fixture.kubectl(&["apply", "--force-conflicts=false", "-f", &file.display().to_string()]);
    std::fs::remove_file(&file).unwrap();
    let id = secret_id(repository, &name);
    let expected = secret_line(&id, &["the last-applied annotation".to_owned()]);
    Change::new(format!("client-side apply of {id} by another client"), vec![expected])
}

fn object_deleted(repository: &mut Repository<'_>) -> Change {
    let index = repository.pick(any);
    let release = &repository.releases[index];
    let (id, namespace, name) = (release.id(), release.namespace.clone(), release.name.clone());
    let expected = synced(&id, (&release.version, &release.version), &[]);
    let kinds = ["ConfigMap", "Service", "ServiceAccount", "Deployment"];
    let kind = kinds[repository.random.below(kinds.len())];
    repository.fixture.kubectl(&["delete", kind, &name, "--namespace", &namespace]);
    Change::new(format!("{kind} {id} deleted"), vec![expected]).with(format!("missing: {kind} {id}"))
}

fn marked_failed(repository: &mut Repository<'_>) -> Change {
    let index = repository.pick(any);
    let release = repository.releases[index].clone();
    repository.mark_failed(&release);
    let expected = synced(&release.id(), (&release.version, &release.version), &[]);
    Change::new(format!("an upgrade of {} failed", release.id()), vec![expected])
        .with("its last revision is failed")
}

fn release_uninstalled(repository: &mut Repository<'_>) -> Change {
    let index = repository.pick(any);
    let release = &repository.releases[index];
    let output =
        repository.fixture.helm(&["uninstall", &release.name, "--namespace", &release.namespace, "--wait"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = installed(&release.id(), release.chart_name(), &release.version);
    Change::new(format!("{} uninstalled with helm", release.id()), vec![expected])
}

const CRD: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: helmreleases.helm.toolkit.fluxcd.io}
spec:
  group: helm.toolkit.fluxcd.io
  names: {kind: HelmRelease, listKind: HelmReleaseList, plural: helmreleases, singular: helmrelease}
  scope: Namespaced
  versions:
  - name: v2
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

fn claimed(repository: &mut Repository<'_>) -> Change {
    let color = repository.fresh("color");
    // The release of the local chart is needed for other changes.
    let index = repository.pick(|release| release.chart.is_some());
    let release = &mut repository.releases[index];
    // Later changes have no effect.
    release.values["settings"]["color"] = color.into();
    release.free = false;
    let (namespace, name) = (release.namespace.clone(), release.name.clone());
    let fixture = repository.fixture;
    fixture.apply(CRD);
    let crd = "crd/helmreleases.helm.toolkit.fluxcd.io";
    fixture.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=60s"]);
    fixture.apply(&format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{}}\n"
    ));
    Change::new(format!("a HelmRelease claims {namespace}/{name}, and a value changed"), Vec::new())
        .with(format!("skip {namespace}/{name}: managed by HelmRelease {namespace}/{name}"))
}

const MORE: &str = "---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-more
  namespace: {{ .Release.Namespace }}
";

fn local_template(repository: &mut Repository<'_>) -> Change {
    repository.write_local(MORE, 1);
    let expected = synced("home/own", ("1.0.0", "1.0.0"), &[]);
    Change::new("a template of the local chart changed with the same version", vec![expected])
        .with("its chart has changed: templates/")
}

fn local_defaults(repository: &mut Repository<'_>) -> Change {
    let template = std::fs::read_to_string(repository.local().join("templates/all.yaml")).unwrap();
    let more = if template.contains("-more") { MORE } else { "" };
    repository.write_local(more, 2);
    let expected = synced("home/own", ("1.0.0", "1.0.0"), &[]);
    Change::new("a default of the local chart changed with the same version", vec![expected])
}

fn two_changes(repository: &mut Repository<'_>) -> Change {
    let one = version_up(repository);
    let index = repository.releases.iter().position(|release| one.what.ends_with(&release.id())).unwrap();
    // The second change is for another release.
    let kept = std::mem::replace(&mut repository.releases[index].free, false);
    let two = value_changed(repository);
    repository.releases[index].free = kept;
    let three = secret_value(repository);
    let mut expected = [one.expected, two.expected, three.expected].concat();
    expected.sort();
    let words = [one.words, two.words].concat();
    Change { what: format!("{}; {}; {}", one.what, two.what, three.what), expected, words }
}
