//! Test fixtures: facts from YAML, and those of the shipped `bootstrap/` with the charts of the sandbox.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Answer, Facts, Rule};
use crate::base::distribution::Distribution;
use crate::check::options::CheckOptions;
use crate::desired::chart::Chart;
use crate::desired::distribution::Sign;
use crate::desired::encrypted::{EncryptedFile, EncryptedState};
use crate::desired::manifests::Manifests;
use crate::desired::releases::parse;
use crate::desired::{Desired, Helmfile, Kind};
use crate::observed::Observed;

/// The input of all rules.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) options: CheckOptions,
    pub(crate) desired: Desired,
    pub(crate) observed: Observed,
    pub(crate) manifests: Manifests,
}

impl World {
    /// Only these releases, in the second helmfile: the items of `releases` as YAML.
    pub(crate) fn of(releases: &str) -> Self {
        let mut world = Self::default();
        world.options.root = PathBuf::from("/repository");
        world.desired.tracked = Ok(BTreeSet::new());
        world.desired.signs = signs(Distribution::K3s);
        world.add(Kind::Apps, releases);
        world
    }

    /// An encrypted file with these age recipients.
    pub(crate) fn encrypt(&mut self, path: &str, in_bootstrap: bool, age: impl IntoIterator<Item = String>) {
        let state = EncryptedState::Encrypted { age: age.into_iter().collect(), others: false };
        let file = EncryptedFile { path: path.into(), in_bootstrap, state, ..EncryptedFile::default() };
        self.desired.encrypted.push(file);
    }

    /// Only a release with these values, as YAML in one line or indented by six.
    pub(crate) fn with_values(chart: &str, version: &str, values: &str) -> Self {
        let id = format!("name: {chart}, namespace: a, chart: 'oci://r.io/{chart}', version: '{version}'");
        let fields = id.replace(", ", "\n  ");
        Self::of(&format!("- {fields}\n  values:\n    - {values}\n"))
    }

    /// Adds a helmfile.
    pub(crate) fn add(&mut self, kind: Kind, releases: &str) {
        let path = PathBuf::from(format!("/repository/bootstrap/helmfile.d/{}.yaml", kind.stage().name()));
        let releases = parse(format!("releases:\n{releases}").as_bytes(), "default").unwrap().releases;
        self.desired.helmfiles.push(Helmfile { kind, path, releases, needs_identities: false });
    }

    /// The shipped `bootstrap/` with the charts of the sandbox.
    pub(crate) fn shipped() -> Self {
        let mut world = Self {
            options: CheckOptions { root: "/repository".into(), ..CheckOptions::default() },
            desired: Desired {
                tracked: Ok(BTreeSet::new()),
                signs: signs(Distribution::K3s),
                ..Desired::default()
            },
            ..Self::default()
        };
        for (kind, file) in [(Kind::Crds, "00-crds.yaml"), (Kind::Apps, "01-apps.yaml")] {
            let text = std::fs::read_to_string(root().join("bootstrap/helmfile.d").join(file)).unwrap();
            let mut releases =
                parse(text.replace("values:", "unread:").as_bytes(), "default").unwrap().releases;
            for release in &mut releases {
                release.values = vec![serde_yaml::from_str(&shipped_values(&release.name)).unwrap()];
            }
            let path = root().join("bootstrap/helmfile.d").join(file);
            world.desired.helmfiles.push(Helmfile { kind, path, releases, needs_identities: false });
        }
        world.add_charts();
        world
    }

    /// Adds the charts of the sandbox for the releases that use them.
    pub(crate) fn add_charts(&mut self) {
        let releases = self.desired.releases();
        let charts: Vec<_> = releases
            .filter_map(|release| Some((release.id(), chart(release.chart_name(), &release.version)?)))
            .collect();
        self.desired.charts.extend(charts);
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        let Self { options, desired, observed, manifests } = self;
        Facts { options, desired, observed, manifests }
    }

    pub(crate) fn ask(&self, rule: &Rule) -> Answer {
        rule.ask(&self.facts())
    }

    /// Asserts the findings of a rule as `severity message`, an unknown answer as `unknown reason`, and one that is not
    /// applicable as `- reason`.
    #[track_caller]
    pub(crate) fn assert_found(&self, rule: &Rule, expected: &[&str]) {
        let found: Vec<_> = match self.ask(rule) {
            Answer::Ok | Answer::Counted(_) => Vec::new(),
            Answer::NotApplicable(reason) => vec![format!("- {reason}")],
            Answer::Unknown(reason) => vec![format!("unknown {reason}")],
            Answer::Found(findings) => findings
                .iter()
                .map(|finding| {
                    assert_eq!(finding.rule, rule.id);
                    assert!(!finding.summary.ends_with('.'));
                    format!("{} {}", finding.severity.name(), finding.summary)
                })
                .collect(),
        };
        assert_eq!(found, expected);
    }

    /// A detail of the first finding of a rule.
    #[track_caller]
    pub(crate) fn detail(&self, rule: &Rule, key: &str) -> String {
        let Answer::Found(findings) = self.ask(rule) else { panic!("{} finds nothing", rule.id) };
        findings[0].detail(key).unwrap_or_default().to_owned()
    }

    /// The fix of the first finding of a rule.
    #[track_caller]
    pub(crate) fn fix(&self, rule: &Rule) -> String {
        let Answer::Found(findings) = self.ask(rule) else { panic!("{} finds nothing", rule.id) };
        findings[0].fix.clone().unwrap_or_default()
    }
}

/// A template that names a distribution.
pub(crate) fn signs(distribution: Distribution) -> Vec<Sign> {
    vec![Sign { distribution, file: "bootstrap/templates/values.yaml.gotmpl".into() }]
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A chart of the sandbox.
pub(crate) fn chart(name: &str, version: &str) -> Option<Chart> {
    let folder = root().join("sandbox/src/charts").join(name);
    let values = std::fs::read_to_string(folder.join("values.yaml")).ok()?;
    let mut files: Vec<_> =
        std::fs::read_dir(folder.join("templates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let templates = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    Some(Chart {
        name: name.to_owned(),
        version: version.to_owned(),
        values,
        schema: std::fs::read_to_string(folder.join("values.schema.json")).ok(),
        templates,
        folder,
        ..Chart::default()
    })
}

/// The values of a release that the shipped template renders with all variables set. It is simple enough to be rendered
/// without a template engine.
fn shipped_values(release: &str) -> String {
    let text = std::fs::read_to_string(root().join("bootstrap/templates/values.yaml.gotmpl")).unwrap();
    let start = text.find(&format!("if eq $release \"{release}\""));
    let Some(section) = start.map(|start| &text[start..]) else { return "{}".to_owned() };
    let section = section.split_once("}}\n").unwrap().1;
    let section = section.split("{{- else").next().unwrap();
    let mut values = String::new();
    for line in section.lines().filter(|line| !line.trim_start().starts_with("{{-")) {
        let line = match line.split_once("{{") {
            Some((before, action)) if action.contains("6444") => format!("{before}6444"),
            Some((before, action)) if action.contains("$host") => format!("{before}127.0.0.1"),
            Some((before, action)) if action.contains("_URL") => {
                format!("{before}ssh://git@example.org/home.git")
            }
            Some((before, action)) if action.contains("_REF") => format!("{before}refs/heads/main"),
            Some((before, action)) if action.contains("_PATH") => format!("{before}kubernetes/flux/cluster"),
            Some((before, action)) if action.trim_start().starts_with('.') => format!("{before}deploy-key"),
            Some(_) => panic!("unexpected template action: {line}"),
            None => line.to_owned(),
        };
        values += &line;
        values.push('\n');
    }
    values
}
