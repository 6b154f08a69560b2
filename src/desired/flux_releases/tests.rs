use serde_json::json;

use super::*;

/// The releases of files, each a path and its text.
fn releases(files: &[(&str, &str)]) -> Vec<FluxRelease> {
    let mut objects = FluxObjects::default();
    for (file, text) in files {
        objects.add(Path::new(file), text);
    }
    let read = |path: &Path| {
        files.iter().find(|(file, _)| Path::new(file) == path).map(|(_, text)| (*text).to_owned())
    };
    objects.releases(read)
}

fn helm_release(metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{{metadata}}}\nspec: {{{spec}}}\n"
    )
}

fn source(kind: &str, metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {{{spec}}}\n"
    )
}

fn kustomization(spec: &str) -> String {
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: a}}\nspec: {{{spec}}}\n"
    )
}

const APP: &str = "kubernetes/apps/kube-system/cilium/app/helmrelease.yaml";

/// The chart of a HelmRelease in [`APP`], with further objects in another file.
fn chart(spec: &str, others: &str) -> Fact<FluxChart> {
    let release = helm_release("name: cilium", spec);
    let mut found = releases(&[(APP, &release), ("kubernetes/flux/sources.yaml", others)]);
    found.remove(0).chart
}

#[test]
fn a_release_is_named_as_in_helm_controller() {
    let id = |metadata: &str, spec: &str| {
        let text = helm_release(metadata, spec);
        releases(&[("kubernetes/x.yaml", &text)])
            .iter()
            .map(|one| one.release.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(id("name: a, namespace: n", ""), ["n/a"]);
    assert_eq!(id("name: a, namespace: n", "releaseName: b"), ["n/b"]);
    assert_eq!(id("name: a, namespace: n", "targetNamespace: t"), ["n/t-a"]);
    assert_eq!(
        id("name: a, namespace: n", "targetNamespace: t, storageNamespace: t, releaseName: a"),
        ["t/a"]
    );
    assert_eq!(id("name: a, namespace: n", "kubeConfig: {secretRef: {name: x}}"), [""; 0], "another cluster");
    let long = "x".repeat(60);
    let name = &id(&format!("name: {long}, namespace: n"), "")[0];
    assert!(name.len() == 55 && name.starts_with("n/xxx"), "{name}");
}

#[test]
fn the_namespace_comes_from_kustomizations_and_folders() {
    let release = helm_release("name: cilium, namespace: own", "");
    let bare = helm_release("name: cilium", "");
    let ks = |more: &str| kustomization(&format!("path: ./kubernetes/apps/kube-system/cilium/app{more}"));
    let found = |release: &str, others: &[(&str, &str)]| {
        let files: Vec<_> = std::iter::once((APP, release)).chain(others.iter().copied()).collect();
        let found = releases(&files);
        found.iter().map(|one| one.release.namespace.clone()).collect::<Vec<_>>().join(" ")
    };
    let cluster = kustomization("path: kubernetes/apps");
    let cluster = ("kubernetes/flux/cluster/ks.yaml", cluster.as_str());
    assert_eq!(found(&release, &[cluster]), "own");
    assert_eq!(found(&bare, &[cluster]), "kube-system", "from the folder");
    let (targeted, plain) = (ks(", targetNamespace: &ns target"), ks(""));
    let at = "kubernetes/apps/kube-system/cilium/ks.yaml";
    assert_eq!(found(&release, &[cluster, (at, &targeted)]), "target");
    // The file of the folder above sets the namespace of `ks.yaml` only.
    let above = (
        "kubernetes/apps/kube-system/kustomization.yaml",
        "namespace: above\nresources: [./cilium/ks.yaml]\n",
    );
    assert_eq!(found(&release, &[cluster, above, (at, &plain)]), "own");
    assert_eq!(found(&release, &[cluster, above]), "above", "without another Kustomization");
    let inner = ("kubernetes/apps/kube-system/cilium/app/kustomization.yaml", "namespace: inner\n");
    assert_eq!(found(&release, &[cluster, above, inner]), "above", "the outermost one");
    assert_eq!(found(&release, &[cluster, above, inner, (at, &plain)]), "inner");
    assert_eq!(found(&release, &[inner, above]), "inner");
    let twice = format!("{targeted}---\n{}", ks(", targetNamespace: other"));
    assert_eq!(found(&release, &[(at, &twice)]), "other target");
    assert_eq!(found(&release, &[(at, &ks(", targetNamespace: '${NS}'"))]), "own");
}

#[test]
fn charts_come_from_each_kind_of_source() {
    let oci = |reference: &str| {
        let spec = format!("url: 'oci://r.io/charts/cilium', ref: {{{reference}}}");
        let chart =
            chart("chartRef: {kind: OCIRepository, name: c}", &source("OCIRepository", "name: c", &spec));
        chart.map(|chart| {
            assert_eq!((chart.name.as_str(), chart.url.as_str()), ("cilium", "oci://r.io/charts/cilium"));
            assert_eq!(chart.file, Path::new("kubernetes/flux/sources.yaml"));
            (chart.version, chart.digest.unwrap_or_default())
        })
    };
    let exact = |version: &str| ChartVersion::Exact(version.to_owned());
    let range = |version: &str| ChartVersion::Range(version.to_owned());
    assert_eq!(oci("tag: 1.18.6"), Ok((exact("1.18.6"), String::new())));
    assert_eq!(oci("tag: 1.18.6_build.1"), Ok((exact("1.18.6+build.1"), String::new())));
    assert_eq!(oci("tag: latest"), Ok((ChartVersion::Unknown, String::new())));
    assert_eq!(oci(""), Ok((ChartVersion::Unknown, String::new())));
    assert_eq!(oci("tag: 1.18.6, semver: 1.x"), Ok((range("1.x"), String::new())));
    assert_eq!(
        oci("tag: 1.18.6, semver: 1.x, digest: 'sha256:0'"),
        Ok((exact("1.18.6"), "sha256:0".to_owned()))
    );
    assert_eq!(oci("tag: '1.18.6@sha256:0'"), Ok((exact("1.18.6"), "sha256:0".to_owned())));
    assert_eq!(oci("tag: '${VERSION}'"), Err("its source uses variables of Flux".to_owned()));

    let template = "chart: {spec: {chart: cilium, version: 1.18.6, sourceRef: {kind: HelmRepository, name: r, namespace: flux-system}}}";
    let repository =
        |url: &str| source("HelmRepository", "name: r, namespace: flux-system", &format!("url: '{url}'"));
    let found = chart(template, &repository("https://helm.cilium.io/")).unwrap();
    assert_eq!((found.url.as_str(), &found.version), ("https://helm.cilium.io", &exact("1.18.6")));
    assert_eq!(found.file, Path::new(APP));
    assert_eq!(chart(template, &repository("oci://r.io/charts")).unwrap().url, "oci://r.io/charts/cilium");
    let found = chart(&template.replace("version: 1.18.6, ", ""), &repository("https://x")).unwrap();
    assert_eq!(found.version, range("*"));

    let helm_chart = source(
        "HelmChart",
        "name: h",
        "chart: cilium, version: ~1.18, sourceRef: {kind: HelmRepository, name: r}",
    );
    let found = chart(
        "chartRef: {kind: HelmChart, name: h}",
        &format!("{helm_chart}---\n{}", repository("https://x")),
    )
    .unwrap();
    assert_eq!((found.name.as_str(), &found.version), ("cilium", &range("~1.18")));

    let git = "chart: {spec: {chart: ./charts/cilium, sourceRef: {kind: GitRepository, name: g}}}";
    assert_eq!(
        chart(git, &source("GitRepository", "name: g", "url: x")),
        Err("the chart comes from a GitRepository".to_owned())
    );
    assert_eq!(chart(template, ""), Err("the repository has no HelmRepository r".to_owned()));
    assert_eq!(chart("", ""), Err("it names no chart".to_owned()));
}

#[test]
fn of_several_sources_the_one_of_the_namespace_or_the_nearest_is_used() {
    let release = helm_release("name: app", "chartRef: {kind: OCIRepository, name: app}");
    let oci = |namespace: &str, tag: &str| {
        source(
            "OCIRepository",
            &format!("name: app{namespace}"),
            &format!("url: 'oci://r.io/app', ref: {{tag: {tag}}}"),
        )
    };
    let version = |others: &[(&str, &str)]| {
        let files: Vec<_> = std::iter::once(("kubernetes/main/apps/media/app/hr.yaml", release.as_str()))
            .chain(others.iter().copied())
            .collect();
        releases(&files).remove(0).chart.map(|chart| chart.version)
    };
    let exact = |version: &str| Ok(ChartVersion::Exact(version.to_owned()));
    let (one, two) = (oci(", namespace: media", "1.0.0"), oci(", namespace: other", "2.0.0"));
    assert_eq!(version(&[("kubernetes/a.yaml", &two), ("kubernetes/b.yaml", &one)]), exact("1.0.0"));
    let (one, two) = (oci("", "1.0.0"), oci("", "2.0.0"));
    let cases = [
        ("kubernetes/test/apps/media/app/oci.yaml", two.as_str()),
        ("kubernetes/main/apps/media/app/oci.yaml", &one),
    ];
    assert_eq!(version(&cases), exact("1.0.0"), "of the same cluster");
    let error = version(&[("kubernetes/a.yaml", &one), ("kubernetes/b.yaml", &two)]);
    assert_eq!(error, Err("the repository has several OCIRepository app".to_owned()));
}

#[test]
fn values_are_merged_as_in_helm_controller() {
    let found = |spec: &str, kustomize: &str, values: &str| {
        let release = helm_release("name: cilium", spec);
        let folder = "kubernetes/apps/kube-system/cilium/app";
        let (kustomization, file) =
            (format!("{folder}/kustomization.yaml"), format!("{folder}/helm/values.yaml"));
        let found = releases(&[(APP, &release), (&kustomization, kustomize), (&file, values)]).remove(0);
        (found.values, found.unread)
    };
    assert_eq!(found("values: {a: 1}", "", "").0, json!({"a": 1}));
    let from =
        |more: &str| format!("valuesFrom: [{{kind: ConfigMap, name: v{more}}}], values: {{a: {{b: 2}}}}");
    let generator = |file: &str| format!("configMapGenerator: [{{name: v, files: [{file}]}}]\n");
    let values = "a: {b: 1, c: 3}\n";
    let merged = json!({"a": {"b": 2, "c": 3}});
    assert_eq!(
        found(&from(""), &generator("values.yaml=./helm/values.yaml"), values),
        (merged.clone(), vec![])
    );
    assert_eq!(found(&from(""), &generator("helm/values.yaml"), values).0, merged);
    assert_eq!(found(&from(", valuesKey: x"), &generator("x=helm/values.yaml"), values).0, merged);
    let unknown = (json!({"a": {"b": 2}}), vec!["ConfigMap v".to_owned()]);
    let outside = generator("values.yaml=../../../../../../x");
    for kustomize in ["", &generator("y=helm/values.yaml"), &outside, "configMapGenerator: [{name: w}]\n"] {
        assert_eq!(found(&from(""), kustomize, values), unknown, "{kustomize}");
    }
    assert_eq!(found(&from(", targetPath: a.b"), &generator("helm/values.yaml"), values), unknown);
    assert_eq!(found(&from(""), &generator("helm/values.yaml"), "a: ["), unknown);
    let secret = "valuesFrom: [{kind: ConfigMap, name: v}, {kind: Secret, name: s}]";
    assert_eq!(
        found(secret, &generator("helm/values.yaml"), values),
        (json!({}), vec!["Secret s".to_owned()])
    );
    let merge_key = "values: {x: &x {k: 1}, y: {<<: *x, l: 2}}";
    assert_eq!(found(merge_key, "", "").0["y"], json!({"k": 1, "l": 2}));
}

proptest::proptest! {
    #[test]
    fn no_object_makes_it_panic(text: String, near in crate::base::mutate::text(&[
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: cilium, namespace: kube-system}\nspec:\n  \
         targetNamespace: x\n  chartRef: {kind: OCIRepository, name: cilium}\n  valuesFrom: [{kind: ConfigMap, name: v, valuesKey: k}]\n  \
         values: {a: &a {b: '${C}'}, d: {<<: *a}}\n---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\n\
         metadata: {name: cilium}\nspec: {url: oci://r.io/a/cilium, ref: {tag: 1.2.3@sha256:0, semver: '>=1'}}\n",
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: a}\nspec: {chart: {spec: {chart: a, version: 1.x, sourceRef: {kind: HelmRepository, name: r}}}}\n\
         ---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\nmetadata: {name: r}\nspec: {url: https://r.io/}\n\
         ---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec: {path: ./kubernetes, targetNamespace: n}\n",
        "configMapGenerator:\n- {name: v, files: [k=./values.yaml, ../x]}\nnamespace: n\n",
    ])) {
        for text in [text, near] {
            let mut objects = FluxObjects::default();
            objects.add(Path::new("kubernetes/apps/a/kustomization.yaml"), &text);
            objects.add(Path::new("kubernetes/apps/a/app/x.yaml"), &text);
            _ = objects.releases(|_| Some(text.clone())).len();
        }
    }
}
