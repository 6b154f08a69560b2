//! A repository with small charts, with generated changes to it and to its cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox::Random;
use sandbox::charts::Chart;
use serde_json::{Value, json};

use super::super::fixture::Fixture;

/// The prefix of all generated secrets.
pub(super) const CANARY: &str = "canaryOfTheChanges-";

pub(super) const CHARTS: [&str; 2] = ["small-a", "small-b"];

/// The versions of each chart, oldest first.
pub(super) const VERSIONS: [&str; 4] = ["1.0.0", "1.1.0", "1.2.0", "2.0.0"];

const LOCAL: &str = "bootstrap/charts/local";

const SECRET: &str = "{{- with .Values.auth.password }}
apiVersion: v1
kind: Secret
metadata:
  name: {{ $.Release.Name }}
  namespace: {{ $.Release.Namespace }}
stringData:
  password: {{ . | quote }}
{{- end }}
";

/// A small chart with an object for each value.
pub(super) fn chart(name: &str) -> Chart {
    let all = "  settings.yaml: |\n    {{- toYaml .Values | nindent 4 }}\n";
    let each = "  list: {{ toJson .Values.list | quote }}\n  nested: {{ toJson .Values.nested | quote }}\n  note: {{ toJson .Values.note | quote }}\n";
    let values = Chart::generic(name).file("values.yaml").unwrap().to_owned();
    Chart::generic(name)
        .with_replaced("templates/all.yaml", all, each)
        .unwrap()
        .with_file("templates/secret.yaml", SECRET)
        .with_file("values.yaml", values + "list: []\nnested: {}\nnote: hello\nauth: {}\n")
}

/// A release of a helmfile.
#[derive(Clone)]
pub(super) struct Release {
    pub(super) namespace: String,
    pub(super) name: String,
    /// None for the local chart.
    pub(super) chart: Option<String>,
    pub(super) version: String,
    pub(super) values: Value,
    /// Whether it can be changed.
    pub(super) free: bool,
}

impl Release {
    pub(super) fn new(id: &str, chart: Option<&str>, values: Value) -> Self {
        let (namespace, name) = id.split_once('/').unwrap();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            chart: chart.map(ToOwned::to_owned),
            version: VERSIONS[0].to_owned(),
            values,
            free: true,
        }
    }

    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(super) fn chart_name(&self) -> &str {
        self.chart.as_deref().unwrap_or("local")
    }

    /// The chart reference.
    pub(super) fn address(&self) -> Option<String> {
        self.chart.as_ref().map(|name| format!("oci://ghcr.io/k3s-boot/charts/{name}"))
    }

    fn entry(&self) -> Value {
        let mut entry = json!({"name": self.name, "namespace": self.namespace, "values": [self.values],
            "chart": self.address().unwrap_or_else(|| "../charts/local".to_owned())});
        if self.chart.is_some() {
            entry["version"] = self.version.as_str().into();
        }
        entry
    }
}

/// A Secret in an encrypted file.
pub(super) struct SecretFile {
    pub(super) namespace: String,
    pub(super) keys: BTreeMap<String, String>,
    /// Whether it has `data` instead of `stringData`.
    pub(super) encoded: bool,
}

/// The repository and its cluster.
pub(super) struct Repository<'a> {
    pub(super) fixture: &'a Fixture,
    pub(super) random: Random,
    /// The first one is in the helmfile of the CRDs.
    pub(super) releases: Vec<Release>,
    /// By the names of the Secrets.
    pub(super) secrets: BTreeMap<String, SecretFile>,
    pub(super) folders: Vec<String>,
    recipient: String,
    made: usize,
}

impl<'a> Repository<'a> {
    pub(super) fn new(fixture: &'a Fixture, seed: u64) -> Self {
        let output = fixture
            .sandbox
            .command(fixture.sandbox.tools().age_keygen())
            .arg("-y")
            .arg(fixture.sandbox.age_key())
            .output()
            .unwrap();
        let values = |port: u16| {
            json!({"port": port, "settings": {"color": "red", "size": "10", "a.b": "dotted"}, "list": [1, {"x": "y"}],
                "nested": {"deep": {"x": 1, "y": 2.5, "z": true}}, "auth": {"password": format!("{CANARY}{port}")}})
        };
        let ids = ["platform/base", "media/alpha", "media/beta", "home/gamma", "home/delta", "home/own"];
        let charts =
            [Some(CHARTS[0]), Some(CHARTS[0]), Some(CHARTS[1]), Some(CHARTS[0]), Some(CHARTS[1]), None];
        let releases = ids.iter().zip(charts).zip(8080..);
        let releases = releases.map(|((id, chart), port)| Release::new(id, chart, values(port))).collect();
        let mut repository = Self {
            fixture,
            random: Random::new(seed),
            releases,
            secrets: BTreeMap::new(),
            folders: vec!["home".to_owned(), "media".to_owned()],
            recipient: String::from_utf8(output.stdout).unwrap().trim().to_owned(),
            made: 0,
        };
        for (name, namespace, encoded) in [("one", "flux-system", false), ("two", "home", true)] {
            repository.add_secret(name, namespace, encoded);
        }
        repository.write_local("", 1);
        repository.write();
        repository
    }

    /// A unique word.
    pub(super) fn fresh(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}-{}", self.made)
    }

    /// A random release that can be changed.
    pub(super) fn pick(&mut self, wanted: impl Fn(&Release) -> bool) -> usize {
        let found = self.releases.iter().enumerate().filter(|(_, release)| release.free && wanted(release));
        let found: Vec<_> = found.map(|(index, _)| index).collect();
        found[self.random.below(found.len())]
    }

    pub(super) fn pick_secret(&mut self, encoded: Option<bool>) -> String {
        let wanted = |file: &SecretFile| encoded.is_none_or(|encoded| file.encoded == encoded);
        let names: Vec<_> =
            self.secrets.iter().filter(|(_, file)| wanted(file)).map(|(name, _)| name).collect();
        names[self.random.below(names.len())].clone()
    }

    /// A secret value.
    pub(super) fn secret_text(&mut self) -> String {
        let word = self.fresh("value");
        format!("{CANARY}{word}")
    }

    pub(super) fn add_secret(&mut self, name: &str, namespace: &str, encoded: bool) {
        let keys = ["token", "user.name"].map(|key| (key.to_owned(), self.secret_text()));
        let file = SecretFile { namespace: namespace.to_owned(), keys: keys.into(), encoded };
        self.secrets.insert(name.to_owned(), file);
        self.write_secret(name);
    }

    /// The Secret in plain text.
    pub(super) fn manifest(&self, name: &str, encoded: bool) -> Value {
        let file = &self.secrets[name];
        let encode = |value: &String| if encoded { STANDARD.encode(value) } else { value.clone() };
        let keys: BTreeMap<_, _> = file.keys.iter().map(|(key, value)| (key, encode(value))).collect();
        let field = if encoded { "data" } else { "stringData" };
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": file.namespace}, field: keys})
    }

    /// Writes and encrypts the file of a Secret.
    pub(super) fn write_secret(&self, name: &str) {
        let file = format!("bootstrap/{name}.sops.yaml");
        let text = serde_yaml::to_string(&self.manifest(name, self.secrets[name].encoded)).unwrap();
        self.fixture.write(&file, &text);
        let mut sops = self.fixture.sandbox.command(self.fixture.sandbox.tools().sops());
        let args =
            ["encrypt", "--in-place", "--age", &self.recipient, "--encrypted-regex", "^(data|stringData)$"];
        let status = sops.args(args).arg(&file).current_dir(&self.fixture.root).status().unwrap();
        assert!(status.success());
    }

    /// Writes the local chart, with text at the end of a template and this number of replicas.
    pub(super) fn write_local(&self, more: &str, replicas: u8) {
        let chart =
            chart("local").with_replaced("values.yaml", "replicas: 1", &format!("replicas: {replicas}"));
        let chart = chart.unwrap();
        let metadata = "apiVersion: v2\nname: local\nversion: 1.0.0\ntype: application\n";
        self.fixture.write(&format!("{LOCAL}/Chart.yaml"), metadata);
        for (path, more) in [("templates/all.yaml", more), ("templates/secret.yaml", ""), ("values.yaml", "")]
        {
            self.fixture.write(&format!("{LOCAL}/{path}"), &format!("{}{more}", chart.file(path).unwrap()));
        }
    }

    pub(super) fn local(&self) -> PathBuf {
        self.fixture.root.join(LOCAL)
    }

    /// Writes the helmfiles and the folders.
    pub(super) fn write(&self) {
        let flux = [
            json!({"name": "flux-operator", "namespace": "flux-system", "version": "0.37.1",
                "chart": "oci://ghcr.io/controlplaneio-fluxcd/charts/flux-operator",
                "values": ["../templates/values.yaml.gotmpl"]}),
            json!({"name": "flux-instance", "namespace": "flux-system", "version": "0.37.1",
                "chart": "oci://ghcr.io/controlplaneio-fluxcd/charts/flux-instance",
                "values": ["../templates/values.yaml.gotmpl"], "needs": ["flux-system/flux-operator"]}),
        ];
        let (crds, apps) = self.releases.split_at(1);
        let entries = |releases: &[Release]| releases.iter().map(Release::entry).collect::<Vec<_>>();
        let apps = [entries(apps), flux.to_vec()].concat();
        for (file, releases) in [("00-crds.yaml", entries(crds)), ("01-apps.yaml", apps)] {
            let defaults = json!({"wait": true, "waitForJobs": true});
            let text =
                serde_yaml::to_string(&json!({"helmDefaults": defaults, "releases": releases})).unwrap();
            self.fixture.write(&format!("bootstrap/helmfile.d/{file}"), &text);
        }
        for folder in &self.folders {
            self.fixture.write(&format!("kubernetes/apps/{folder}/README.md"), "");
        }
    }

    /// A `helm upgrade` without changes that times out.
    pub(super) fn mark_failed(&self, release: &Release) {
        let chart = release.address().unwrap_or_else(|| self.local().display().to_string());
        let version: &[&str] = if release.chart.is_some() { &["--version", &release.version] } else { &[] };
        let args = ["upgrade", &release.name, &chart, "--namespace", &release.namespace, "--reuse-values"];
        let args = [&args[..], version, &["--wait", "--timeout", "1ms"]].concat();
        let output = self.fixture.helm(&args);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
