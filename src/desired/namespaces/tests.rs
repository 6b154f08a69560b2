use super::*;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

/// A line for each namespace: name, source, labels and annotations.
fn lines(namespaces: &[Namespace]) -> Vec<String> {
    let texts = |texts: &BTreeMap<String, String>| {
        texts.iter().fold(String::new(), |line, (key, text)| line + " " + key + "=" + text)
    };
    let line = |one: &Namespace| {
        format!("{} ({}){}{}", one.name, one.source, texts(&one.labels), texts(&one.annotations))
    };
    namespaces.iter().map(line).collect()
}

fn found(files: &[(&str, &str)]) -> (Vec<String>, Vec<Finding>) {
    let root = tree(files);
    let declared = declared(root.path());
    let all: Vec<_> =
        declared.namespaces.iter().flatten().map(|(_, found)| found.namespace.clone()).collect();
    let mut findings = [declared.problems, declared.invalid_names].concat();
    for finding in &mut findings {
        for (_, detail) in &mut finding.details {
            *detail = detail.replace(&format!("{}/", root.path().display()), "");
        }
    }
    (lines(&all), findings)
}

fn names(root: &Path, named: Option<&[String]>) -> Vec<String> {
    let releases = ["kube-system/cilium", "observability/loki", "kube-system/coredns"];
    let objects = [
        ("dns", "bootstrap/dns.sops.yaml"),
        ("flux-system", "age.key"),
        ("dns", "bootstrap/other.sops.yaml"),
    ];
    let objects = objects.map(|(name, source)| (name.to_owned(), source.to_owned()));
    lines(&namespaces(&declared(root), named, objects.into_iter(), releases.into_iter().map(ReleaseId::from)))
}

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: not-used\n  labels: {pod-security.kubernetes.io/enforce: privileged}\n  \
                         annotations:\n    kustomize.toolkit.fluxcd.io/prune: disabled\n";

#[test]
fn without_kustomizations_every_folder_is_a_namespace() {
    let root = tree(&[]);
    let expected = [
        "flux-system (Flux)",
        "dns (bootstrap/dns.sops.yaml)",
        "kube-system (release kube-system/cilium)",
        "observability (release observability/loki)",
    ];
    assert_eq!(names(root.path(), None), expected);
    let root = tree(&[
        ("kubernetes/apps/media/x/ks.yaml", ""),
        ("kubernetes/apps/Bad_Name/x", ""),
        ("kubernetes/apps/readme.md", ""),
        ("kubernetes/apps/games/namespace.yaml", &NAMESPACE.replace("not-used", "games")),
    ]);
    let games = " pod-security.kubernetes.io/enforce=privileged kustomize.toolkit.fluxcd.io/prune=disabled";
    let expected = [
        &format!("games (kubernetes/apps/games/namespace.yaml){games}"),
        "media (kubernetes/apps/media)",
        "flux-system (Flux)",
        "kube-system (release kube-system/cilium)",
        "observability (release observability/loki)",
    ];
    assert_eq!(names(root.path(), None), expected);
    // A list replaces the names, not the labels.
    let own = ["home", "kube-system", "games"].map(ToOwned::to_owned);
    let expected = [
        "home (k3s-boot.yaml)",
        "kube-system (k3s-boot.yaml)",
        &format!("games (k3s-boot.yaml){games}"),
        "flux-system (Flux)",
        "observability (release observability/loki)",
    ];
    assert_eq!(names(root.path(), Some(&own)), expected);
    let invalid = &declared(root.path()).invalid_names[0];
    assert_eq!(invalid.summary, "Folder name is not a valid namespace");
}

#[test]
fn a_folder_is_a_namespace_if_its_kustomization_contains_or_sets_one() {
    let set = |name: &str| format!("kind: Kustomization\nnamespace: {name}\nresources: []\n");
    let (all, findings) = found(&[
        // It sets one, and its Namespace has a placeholder as its name.
        (
            "kubernetes/apps/media/kustomization.yaml",
            "namespace: media\nresources: [namespace.yaml]\ncommonAnnotations: {a: b}\n\
             labels:\n- pairs: {team: home, pod-security.kubernetes.io/enforce: baseline}\n",
        ),
        ("kubernetes/apps/media/namespace.yaml", NAMESPACE),
        // It contains one.
        ("kubernetes/apps/folder/kustomization.yml", "resources:\n- ./all.yaml\n- https://x.test/y.yaml\n"),
        (
            "kubernetes/apps/folder/all.yaml",
            "kind: Secret\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: games}\n",
        ),
        // It only sets one; a component has the Namespace of another.
        ("kubernetes/apps/set/Kustomization", &set("network")),
        (
            "kubernetes/apps/shared/kustomization.yaml",
            "namespace: shared\ncomponents: [../../components/common]\n",
        ),
        ("kubernetes/components/common/kustomization.yaml", "kind: Component\nresources: [namespace.yaml]\n"),
        ("kubernetes/components/common/namespace.yaml", NAMESPACE),
        // Groups and clusters.
        ("kubernetes/apps/group/kustomization.yaml", "resources: [./one, ./two]\n"),
        ("kubernetes/apps/group/one/kustomization.yaml", &set("one")),
        ("kubernetes/apps/group/two/kustomization.yaml", "resources: [ks.yaml]\n"),
        ("kubernetes/apps/group/two/ks.yaml", "kind: Kustomization\nspec: {targetNamespace: x}\n"),
        ("kubernetes/apps/main/nested/kustomization.yaml", &set("nested")),
        ("kubernetes/apps/base/x/app/kustomization.yaml", "resources: []\n"),
        // Flux substitutes its name.
        ("kubernetes/apps/variable/kustomization.yaml", &set("${NAMESPACE}")),
    ]);
    let of_file = "pod-security.kubernetes.io/enforce=privileged kustomize.toolkit.fluxcd.io/prune=disabled";
    let expected = [
        "games (kubernetes/apps/folder/all.yaml)",
        "media (kubernetes/apps/media/namespace.yaml) pod-security.kubernetes.io/enforce=baseline team=home a=b kustomize.toolkit.fluxcd.io/prune=disabled",
        "nested (kubernetes/apps/main/nested/kustomization.yaml)",
        "network (kubernetes/apps/set/Kustomization)",
        "one (kubernetes/apps/group/one/kustomization.yaml)",
        &format!("shared (kubernetes/components/common/namespace.yaml) {of_file}"),
    ];
    assert_eq!(all, expected);
    assert_eq!(findings, []);
}

#[test]
fn folders_of_other_clusters_are_dropped() {
    let root = tree(&[
        ("kubernetes/apps/main/media/kustomization.yaml", "namespace: media\n"),
        ("kubernetes/apps/test/trial/kustomization.yaml", "namespace: trial\n"),
    ]);
    let kept = |path: &str, further: &[&str]| {
        let mut declared = declared(root.path());
        let further = further.iter().map(PathBuf::from).collect();
        declared.keep_applied(&Synced { path: path.into(), further, decrypts: false });
        declared.namespaces.unwrap().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(kept("kubernetes/clusters/main", &["kubernetes/apps/main"]), ["media"]);
    assert_eq!(kept("kubernetes/apps/test", &["kubernetes/apps/test/x"]), ["trial"]);
    assert_eq!(kept("kubernetes", &[]), ["media", "trial"]);
    assert_eq!(kept("elsewhere", &[]), ["media", "trial"], "it is unknown which of them Flux applies");
}

#[test]
fn values_that_flux_substitutes_are_skipped() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: media\n  labels: {level: '${LEVEL:=baseline}', team: home, x: y}\n  annotations: {'${KEY}': a, b: c}\n";
    let (all, findings) = found(&[
        (
            "kubernetes/apps/media/kustomization.yaml",
            "resources: [namespace.yaml]\ncommonLabels: {x: '${X}'}\n",
        ),
        ("kubernetes/apps/media/namespace.yaml", text),
    ]);
    assert_eq!(all, ["media (kubernetes/apps/media/namespace.yaml) team=home b=c"]);
    assert_eq!(findings, []);
}

#[test]
fn what_cannot_be_read_is_reported() {
    let good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: good, labels: {a: true, b: 'not valid', -c: d, e: f, kubernetes.io/metadata.name: other}}\n";
    let (all, findings) = found(&[
        ("kubernetes/apps/a/kustomization.yaml", "resources: [\n"),
        ("kubernetes/apps/b/kustomization.yaml", "resources: [missing.yaml, github.com/x/y//z?ref=v1]\n"),
        ("kubernetes/apps/c/kustomization.yaml", "resources: [namespace.yaml]\n"),
        ("kubernetes/apps/c/namespace.yaml", "kind: Namespace\nmetadata: [CANARY\n"),
        ("kubernetes/apps/d/kustomization.yaml", "resources: [namespace.yaml]\n"),
        ("kubernetes/apps/d/namespace.yaml", good),
        ("kubernetes/apps/e/kustomization.yaml", "namespace: Bad_Name\n"),
        ("kubernetes/apps/0-loop/kustomization.yaml", "resources: [., ../0-loop]\ncomponents: [.]\n"),
    ]);
    assert_eq!(all, ["good (kubernetes/apps/d/namespace.yaml) e=f"]);
    let shown: Vec<_> = findings
        .iter()
        .map(|finding| {
            finding.details.iter().map(|(_, detail)| detail.as_str()).collect::<Vec<_>>().join(": ")
        })
        .collect();
    let expected = [
        "kubernetes/apps/a/kustomization.yaml: not valid YAML: line 2, column 1",
        "kubernetes/apps/b/missing.yaml: No such file or directory (os error 2)",
        "kubernetes/apps/c/namespace.yaml: not valid YAML: line 3, column 1",
        "kubernetes/apps/d/namespace.yaml: `labels.a` has a value other than text; put it in quotes",
        "kubernetes/apps/d/namespace.yaml: `labels.b` has an invalid value",
        "kubernetes/apps/d/namespace.yaml: `labels.-c` has an invalid key",
        "kubernetes/apps/e/kustomization.yaml: Bad_Name",
    ];
    assert_eq!(shown, expected);
    let files: Vec<_> =
        (0..30).map(|number| format!("kubernetes/apps/n{number}/kustomization.yaml")).collect();
    let (_, findings) = found(&files.iter().map(|file| (file.as_str(), "[")).collect::<Vec<_>>());
    assert_eq!((findings.len(), findings[0].detail("and_more")), (MAX_FINDINGS, Some("10")));
}

proptest::proptest! {
    #[test]
    fn no_file_makes_it_panic(text: String, kustomization in crate::base::mutate::text(&[
        "kind: Kustomization\nnamespace: a\nresources: [namespace.yaml, ./b]\ncomponents: [../c]\nlabels:\n- pairs: {x: y}\ncommonAnnotations: {a: b}\n",
    ]), namespace in crate::base::mutate::text(&[NAMESPACE])) {
        for namespace in [text, namespace] {
            _ = found(&[
                ("kubernetes/apps/a/kustomization.yaml", &kustomization),
                ("kubernetes/apps/a/namespace.yaml", &namespace),
                ("kubernetes/apps/b/namespace.yaml", &namespace),
            ]);
        }
    }
}
