//! Reads a state file before helmfile does: helmfile runs `prepare` hooks and `exec` even for read-only commands.

mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use self::text::runs_commands;
pub(crate) use self::text::{ValueSources, refers_to_secrets};
use super::Kind;
use super::releases::is_for_template;
use crate::base::files;
use crate::base::finding::Finding;
use crate::base::yaml::{self, WRITTEN};
use crate::desired::repository::unrendered_fix;
use crate::tools::charts::ChartRef;

/// The maximum depth of nested `bases` and `helmfiles`, which ends loops.
const MAX_DEPTH: usize = 8;

/// The maximum number of files: files that include each other several times would never end.
const MAX_FILES: usize = 256;

/// A state file that was read.
#[derive(Debug)]
pub(crate) struct StateFile {
    /// Which of the two helmfiles it is.
    pub kind: Kind,
    pub path: PathBuf,
    /// The charts with exact versions that it names without templates.
    pub charts: Vec<ChartRef>,
    /// Those of releases that may be disabled: by `condition` or `installed`.
    pub optional: BTreeSet<ChartRef>,
    /// The possible sources of its values.
    pub sources: ValueSources,
    /// Whether helmfile cannot, or must not, read it.
    pub broken: bool,
    /// Paths of missing values files, each with the correct path.
    pub path_fixes: Vec<(String, String)>,
    /// The namespace and name of each release that it names without templates.
    pub releases: Vec<(String, String)>,
    /// Whether it may have more releases.
    pub partial: bool,
    /// Whether its releases are only rendered, as far as its text shows that.
    pub only_rendered: bool,
}

/// Reads a state file and the files that it includes, and returns its problems. Releases without a namespace are in
/// `default_namespace`, that of the kubeconfig's context.
pub(crate) fn read(
    kind: Kind,
    path: &Path,
    allow_hooks: bool,
    default_namespace: &str,
) -> (StateFile, Vec<Finding>) {
    let mut scan = Scan { allow_hooks, left: MAX_FILES, ..Scan::default() };
    scan.state(path, MAX_DEPTH);
    let releases = scan.releases.into_iter();
    let releases = releases
        .map(|(namespace, name)| (namespace.unwrap_or_else(|| default_namespace.to_owned()), name))
        .collect();
    let state = StateFile {
        kind,
        path: path.to_owned(),
        charts: scan.charts,
        optional: scan.optional,
        sources: scan.sources,
        broken: scan.broken,
        path_fixes: scan.path_fixes,
        releases,
        partial: scan.partial,
        only_rendered: scan.only_rendered,
    };
    (state, scan.findings)
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
struct Scan {
    allow_hooks: bool,
    /// The number of files that may still be read.
    left: usize,
    findings: Vec<Finding>,
    charts: Vec<ChartRef>,
    optional: BTreeSet<ChartRef>,
    sources: ValueSources,
    broken: bool,
    path_fixes: Vec<(String, String)>,
    /// The namespace, if it is set, and the name.
    releases: Vec<(Option<String>, String)>,
    /// The same for the current state file, and its top-level `namespace`.
    own: Vec<(Option<String>, String)>,
    namespace: Option<String>,
    partial: bool,
    only_rendered: bool,
}

impl Scan {
    /// Reads a state file with its `bases`. Its top-level `namespace` overrides those of its releases, but not of those in
    /// its `helmfiles` (helmfile 1.7.4, `HelmState.ApplyOverrides`).
    fn state(&mut self, path: &Path, depth: usize) {
        let outer = (self.namespace.take(), std::mem::take(&mut self.own));
        self.file(path, depth);
        let (namespace, own) =
            (std::mem::replace(&mut self.namespace, outer.0), std::mem::replace(&mut self.own, outer.1));
        match namespace {
            Some(template) if template.contains("{{") => self.partial = true,
            Some(namespace) => {
                self.releases.extend(own.into_iter().map(|(_, name)| (Some(namespace.clone()), name)));
            }
            None => self.releases.extend(own),
        }
    }

    fn file(&mut self, path: &Path, depth: usize) {
        self.left = self.left.saturating_sub(1);
        let text = match files::text(path, files::LARGEST) {
            Ok(text) => text,
            Err(error) => {
                let finding = Finding::error("helmfile", "Helmfile cannot be read");
                self.findings.push(finding.with("file", path.display()).with("reason", error));
                self.broken = true;
                self.partial = true;
                return;
            }
        };
        self.sources.add_helmfile(&text);
        if !self.allow_hooks && runs_commands(&text) {
            self.refuse(path, "exec");
        }
        if path.extension().is_some_and(|extension| extension == "gotmpl") {
            // It is YAML only after rendering, which would run the hooks.
            let prepares =
                text.lines().any(|line| line.contains("prepare") && !line.trim_start().starts_with('#'));
            if !self.allow_hooks && text.contains("hooks:") && prepares {
                self.refuse(path, "a `prepare` hook");
            }
            self.partial |= text.contains("releases:");
            self.only_rendered |= text
                .lines()
                .any(|line| line.contains("--include-crds") && !line.trim_start().starts_with('#'));
            // Its values files are unknown too.
            self.sources.files = true;
            return;
        }
        for document in yaml::documents::<Value>(&text, WRITTEN) {
            match document {
                Ok(document) if document.is_mapping() || document.is_null() => {
                    self.document(path, &document, depth);
                }
                Ok(_) => {
                    let finding = Finding::error("helmfile", "Helmfile is not a mapping");
                    self.findings.push(finding.with("file", path.display()));
                    self.broken = true;
                    self.partial = true;
                    return;
                }
                Err(error) => {
                    let finding = Finding::error("helmfile", "Helmfile is not valid YAML");
                    let mut finding = finding.with("file", path.display());
                    finding.details.extend(error.line.map(|line| ("line", line.to_string())));
                    let fix = unrendered_fix(path, &text);
                    self.findings.push(Finding { fix, ..finding.with("reason", error) });
                    self.broken = true;
                    self.partial = true;
                    return;
                }
            }
        }
    }

    fn refuse(&mut self, path: &Path, what: &str) {
        self.findings.push(
            Finding::error("hooks", "Helmfile runs commands while rendering")
                .with("file", path.display())
                .with("found", what)
                .fix("remove it, or allow it with --allow-hooks"),
        );
        self.broken = true;
    }

    fn document(&mut self, path: &Path, document: &Value, depth: usize) {
        let folder = path.parent().unwrap_or(path);
        let releases = || sequence(document, "releases");
        let hooks =
            sequence(document, "hooks").chain(releases().flat_map(|release| sequence(release, "hooks")));
        if !self.allow_hooks
            && hooks.flat_map(|hook| sequence(hook, "events")).any(|event| event == "prepare")
        {
            self.refuse(path, "a `prepare` hook");
        }
        let args = document.get("helmDefaults").and_then(|defaults| defaults.get("args"));
        self.only_rendered |= args.is_some_and(is_for_template);
        if let Some(namespace) = document.get("namespace").and_then(Value::as_str) {
            self.namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
        }
        let environments = document.get("environments").and_then(Value::as_mapping).into_iter().flatten();
        let values = environments.flat_map(|(_, environment)| sequence(environment, "values"));
        for file in values.filter_map(Value::as_str).filter(|file| is_local(file)) {
            // helmfile reports missing files itself.
            if let Ok(text) = files::text(&folder.join(file), files::LARGEST) {
                self.sources.add_values(&text);
            }
        }
        for release in releases() {
            self.release(path, folder, document, release);
        }
        let bases = sequence(document, "bases").map(|entry| (entry, true));
        let helmfiles = sequence(document, "helmfiles").map(|entry| (entry, false));
        for (entry, is_base) in bases.chain(helmfiles) {
            let path = entry.as_str().or_else(|| entry.get("path")?.as_str()).filter(|path| is_local(path));
            let file = path
                .map(|path| folder.join(path))
                .filter(|file| depth > 0 && self.left > 0 && file.is_file());
            match file {
                Some(file) if is_base => self.file(&file, depth - 1),
                Some(file) => self.state(&file, depth - 1),
                None => self.partial = true,
            }
        }
    }

    fn release(&mut self, path: &Path, folder: &Path, document: &Value, release: &Value) {
        let text = |key| release.get(key).and_then(Value::as_str).filter(|text| !text.contains("{{"));
        let version = || release.get("version").map_or(Some(""), |_| text("version"));
        if let Some(chart) = text("chart").filter(|chart| chart.starts_with("oci://"))
            && let Some(version) = version()
        {
            let chart = ChartRef::new(chart, version);
            let installed =
                release.get("installed").is_none_or(|installed| installed.as_bool() == Some(true));
            if !installed || release.get("condition").is_some() {
                self.optional.insert(chart.clone());
            }
            self.charts.push(chart);
        }
        let namespace = text("namespace").filter(|namespace| !namespace.is_empty());
        let is_known = namespace.is_some() || release.get("namespace").is_none_or(|value| value == "");
        match text("name").filter(|_| is_known) {
            Some(name) => self.own.push((namespace.map(ToOwned::to_owned), name.to_owned())),
            None => self.partial = true,
        }
        // A release may ignore missing files.
        let handler = release.get("missingFileHandler").or_else(|| document.get("missingFileHandler"));
        if handler.and_then(Value::as_str).is_some_and(|handler| handler != "Error") {
            return;
        }
        for file in sequence(release, "values").filter_map(Value::as_str).filter(|file| is_local(file)) {
            let place = folder.join(file);
            if place.exists() {
                match files::text(&place, files::LARGEST) {
                    Ok(text) => self.sources.add_values(&text),
                    Err(error) => {
                        let finding = Finding::error("helmfile", "Values file cannot be read");
                        let finding = finding.with("helmfile", path.display());
                        self.findings.push(finding.with("values", place.display()).with("reason", error));
                        // helmfile would block on a pipe, and read a device indefinitely.
                        self.broken = true;
                    }
                }
            } else {
                let name = release.get("name").and_then(Value::as_str);
                self.findings.push(missing_values(path, name, file, folder));
                match path_beside(file, folder) {
                    Some(right) => self.path_fixes.push((file.to_owned(), right)),
                    None => self.broken = true,
                }
            }
        }
    }
}

/// The finding for a missing values file.
pub(crate) fn missing_values(helmfile: &Path, release: Option<&str>, file: &str, folder: &Path) -> Finding {
    let mut finding = Finding::error("helmfile", "Values file not found")
        .with("helmfile", helmfile.display())
        .with("values", file)
        .with("searched", folder.display());
    if let Some(release) = release {
        finding.details.insert(1, ("release", release.to_owned()));
    }
    match path_beside(file, folder) {
        Some(right) => finding.fix(format!("write `{right}`: paths are relative to the helmfile's folder")),
        None => finding,
    }
}

/// The correct path of a values file beside the helmfile's folder, where the original `bootstrap-apps.sh` has it.
fn path_beside(file: &str, folder: &Path) -> Option<String> {
    let name = Path::new(file).strip_prefix("./").unwrap_or(Path::new(file));
    folder.parent()?.join(name).is_file().then(|| format!("../{}", name.display()))
}

/// Replaces wrong paths in the text of a helmfile, except where one is the end of another path (`./x` of `../x`).
pub(crate) fn fix_paths(text: &str, path_fixes: &[(String, String)]) -> String {
    path_fixes.iter().fold(text.to_owned(), |text, (wrong, right)| {
        let mut fixed = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(wrong.as_str()) {
            let (before, found) = rest.split_at(at);
            fixed.push_str(before);
            let inside = fixed.ends_with(['.', '/']);
            fixed.push_str(if inside { wrong } else { right });
            rest = &found[wrong.len()..];
        }
        fixed + rest
    })
}

fn sequence<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_sequence).into_iter().flatten()
}

/// Whether it is a local path without wildcards and templates.
fn is_local(path: &str) -> bool {
    !path.contains("://") && !path.contains("::") && !path.contains("{{") && !path.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, text: &str, allow_hooks: bool) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("helmfile.d").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::create_dir_all(folder.path().join("templates")).unwrap();
        std::fs::write(folder.path().join("templates/values.yaml.gotmpl"), "a: 1\n").unwrap();
        std::fs::write(&path, text).unwrap();
        let (_, findings) = read(Kind::Apps, &path, allow_hooks, "default");
        findings.iter().map(|finding| format!("{} {:?}", finding.summary, finding.fields())).collect()
    }

    #[test]
    fn commands_in_state_files_are_an_error_unless_allowed() {
        let cases = [
            ("a.yaml", "hooks:\n- events: [presync, prepare]\n  command: touch\n", true),
            (
                "a.yaml",
                "releases:\n- name: a\n  chart: b\n  hooks:\n  - events: [prepare]\n    command: x\n",
                true,
            ),
            ("a.yaml", "releases:\n- name: '{{ exec \"id\" (list) }}'\n  chart: b\n", true),
            ("a.yaml.gotmpl", "releases: {{ exec \"cat\" (list \"x\") }}\n", true),
            ("a.yaml.gotmpl", "hooks:\n- events: [\"prepare\"]\n", true),
            ("a.yaml", "hooks:\n- events: [presync]\n  command: touch\n", false),
            ("a.yaml", "releases:\n- name: prepare-exec\n  chart: b\n", false),
            ("a.yaml.gotmpl", "{{/* exec */}}\nreleases: []\n", false),
            ("a.yaml.gotmpl", "# hooks: prepare\nreleases: []\n", false),
        ];
        for (name, text, refused) in cases {
            assert_eq!(!findings(name, text, false).is_empty(), refused, "{text}");
            assert!(findings(name, text, true).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_missing_values_file_is_reported_with_the_correct_path() {
        let text =
            "releases:\n- name: cilium\n  chart: b\n  values: ['./templates/values.yaml.gotmpl', {a: 1}]\n";
        let found = findings("01-apps.yaml", text, false);
        assert_eq!(found.len(), 1);
        for part in [
            "Values file not found",
            "cilium",
            "searched",
            "helmfile.d\"",
            "`../templates/values.yaml.gotmpl`",
        ] {
            assert!(found[0].contains(part), "{part}: {found:?}");
        }
        for values in ["['../templates/values.yaml.gotmpl']", "['https://x/y.yaml', 'x/*.yaml', '{{ .A }}']"]
        {
            let text = format!("releases:\n- name: cilium\n  chart: b\n  values: {values}\n");
            assert!(findings("01-apps.yaml", &text, false).is_empty(), "{values}");
        }
        let path_fixes = [("./templates/v".to_owned(), "../templates/v".to_owned())];
        assert_eq!(
            fix_paths("['./templates/v', '../templates/v']", &path_fixes),
            "['../templates/v', '../templates/v']"
        );
        let warned = "releases:\n- name: a\n  chart: b\n  missingFileHandler: Warn\n  values: [none.yaml]\n";
        assert!(findings("01-apps.yaml", warned, false).is_empty());
    }

    #[test]
    fn invalid_helmfiles_are_an_error() {
        let broken = "releases:\n- name: a\n  needs: ['x'\n  chart: b\n";
        let found = findings("01-apps.yaml", broken, false);
        assert!(found[0].contains("not valid YAML") && found[0].contains("(\"line\", \"4\")"), "{found:?}");
        let list = findings("01-apps.yaml", "- releases: []\n", false);
        assert!(list[0].starts_with("Helmfile is not a mapping"), "{list:?}");
    }

    #[test]
    fn helmfiles_that_are_only_rendered_are_recognized() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [
            ("a.yaml", "helmDefaults:\n  args: ['--include-crds', '--no-hooks']\nreleases: []\n", true),
            ("a.yaml.gotmpl", "helmDefaults:\n  args:\n    - --include-crds\nreleases: {{ x }}\n", true),
            ("a.yaml", "bases: [base.yaml]\nreleases: []\n", true),
            ("a.yaml", "# args: [--include-crds]\nhelmDefaults: {args: [--debug]}\n", false),
            ("a.yaml.gotmpl", "# args: [--include-crds]\n", false),
        ];
        std::fs::write(folder.path().join("base.yaml"), cases[0].1).unwrap();
        for (name, text, expected) in cases {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let (state, findings) = read(Kind::Crds, &path, false, "default");
            assert_eq!((state.only_rendered, findings.len()), (expected, 0), "{text}");
        }
    }

    #[test]
    fn charts_without_templates_are_known_before_helmfile_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(
            &path,
            "releases:\n- {name: a, chart: 'oci://x/a', version: 1.0.0}\n- {name: b, chart: ./b}\n\
             - {name: c, chart: 'oci://x/{{ .Values.c }}', version: 1.0.0}\n\
             - {name: d, chart: 'oci://x/d', version: 1.0.0, condition: d.enabled}\n\
             - {name: e, chart: 'oci://x/e', version: 1.0.0, installed: false}\n",
        )
        .unwrap();
        let (state, findings) = read(Kind::Apps, &path, false, "default");
        assert!(findings.is_empty() && !state.broken);
        let chart = |name: &str| ChartRef::new(&format!("oci://x/{name}"), "1.0.0");
        assert_eq!(state.charts, [chart("a"), chart("d"), chart("e")]);
        assert_eq!(state.optional, BTreeSet::from([chart("d"), chart("e")]));
        assert_eq!(state.sources, ValueSources::default());
    }

    #[test]
    fn releases_without_templates_are_known_without_helmfile() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let (state, _) = read(Kind::Apps, &path, true, "media");
            let names: Vec<_> =
                state.releases.iter().map(|(space, name)| format!("{space}/{name}")).collect();
            (names.join(" "), state.partial)
        };
        let plain = "releases:\n- {name: a, namespace: x, chart: c}\n- {name: b, chart: c}\n";
        assert_eq!(named("a.yaml", plain), ("x/a media/b".to_owned(), false));
        assert_eq!(named("b.yaml", "helmfiles: [a.yaml]\n"), ("x/a media/b".to_owned(), false));
        let partial = [
            ("c.yaml", "helmfiles: ['*/a.yaml']\n"),
            ("d.yaml", "releases:\n- {name: a, namespace: '{{ .Namespace }}', chart: c}\n"),
            ("e.yaml", "releases: [\n"),
            ("f.yaml.gotmpl", plain),
        ];
        for (name, text) in partial {
            assert_eq!(named(name, text), (String::new(), true), "{name}");
        }
        assert_eq!(named("g.yaml.gotmpl", "environments: {}\n"), (String::new(), false));
        // A top-level namespace overrides all others, in any position, except those of other state files.
        let top = "namespace: top\n";
        assert_eq!(named("h.yaml", &format!("{plain}{top}")), ("top/a top/b".to_owned(), false));
        assert_eq!(
            named("i.yaml", &format!("helmfiles: [a.yaml]\n{top}")),
            ("x/a media/b".to_owned(), false)
        );
        assert_eq!(named("j.yaml", "helmfiles: [h.yaml, a.yaml]\n").0, "top/a top/b x/a media/b");
        std::fs::write(folder.path().join("base.yaml"), top).unwrap();
        assert_eq!(
            named("k.yaml", &format!("bases: [base.yaml]\n{plain}")),
            ("top/a top/b".to_owned(), false)
        );
        let template = format!("namespace: '{{{{ .Environment.Name }}}}'\n{plain}");
        assert_eq!(named("l.yaml", &template), (String::new(), true));
    }

    const FILES: &[&str] = &[
        include_str!("../../bootstrap/helmfile.d/00-crds.yaml"),
        "helmDefaults: {args: [--include-crds], timeout: 1}\nhooks:\n- {events: [prepare], command: x}\nbases: [base.yaml]\nhelmfiles:\n- path: 01-apps.yaml\n\
         releases:\n- name: a\n  namespace: b\n  chart: oci://c/d\n  version: 1.0.0\n  values: ['./templates/values.yaml.gotmpl', none.yaml]\n  missingFileHandler: Warn\n  \
         hooks: [{events: [presync, prepare]}]\n",
        "{{ range $i := until 3 }}\n- name: {{ exec \"id\" (list) }}\n{{- end }}{{/* exec */}}\n---\nhooks:\n- events: [\"prepare\"]\n",
    ];

    proptest::proptest! {
        #![proptest_config(crate::base::mutate::slow_config())]

        #[test]
        fn no_state_file_makes_it_panic(text in crate::base::mutate::text(FILES), allow_hooks: bool) {
            for name in ["01-apps.yaml", "01-apps.yaml.gotmpl"] {
                _ = findings(name, &text, allow_hooks);
            }
        }

        #[test]
        fn no_wrong_path_makes_it_panic(text in crate::base::mutate::text(FILES), wrong in "\\./t?|ä|[.]{1,3}", right: String) {
            _ = fix_paths(&text, &[(wrong, right)]);
        }
    }
}
