use super::*;

fn chart() -> ChartRef {
    ChartRef::new("oci://ghcr.io/prometheus-community/charts/crds", "19.1.0")
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn paths_are_those_of_helmfiles_cache() {
    assert_eq!(chart().version_path(), Path::new("oci__ghcr_io/prometheus-community/charts/crds/19.1.0"));
    let place = |chart: &str, version: &str| ChartRef::new(chart, version).version_path();
    let digest = "sha256:4321";
    for (chart, version, expected) in [
        ("oci://127.0.0.1:5000/a/b", "1.0.0", "oci__127_0_0_1_5000/a/b/1.0.0"),
        ("oci://r.io/a/b:2.0.0", "", "oci__r_io/a/b_2_0_0/2.0.0"),
        ("oci://r.io/a/b:2.0.0", "1.0.0", "oci__r_io/a/b_2_0_0/1.0.0"),
        (&format!("oci://r.io/a/b@{digest}"), "", "oci__r_io/a/b@sha256_4321"),
        (&format!("oci://r.io:443/a/b:2.0.0@{digest}"), "", "oci__r_io_443/a/b_2_0_0@sha256_4321/2.0.0"),
        ("oci://r.io/a/b", &format!("1.0.0@{digest}"), "oci__r_io/a/b/1.0.0"),
        ("oci://r.io/a/b", ">=1.0, <2", "oci__r_io/a/b/__1.0___2"),
        ("r/b", "1.0.0", "r/b/1.0.0"),
    ] {
        assert_eq!(place(chart, version), Path::new(expected), "{chart} {version}");
        let folder = ChartRef::new(chart, version).folder(Path::new("/c"));
        assert_eq!(folder, Path::new("/c").join(expected).join("b"), "{chart} {version}");
    }
}

#[test]
fn chart_is_pinned_by_version_tag_or_digest() {
    let asked = |chart: &str, version: &str| {
        let chart = ChartRef::new(chart, version);
        (chart.address(), chart.asked_version().map(ToOwned::to_owned), chart.is_exact())
    };
    let owned = |(address, version, exact): (&str, Option<&str>, bool)| {
        (address.to_owned(), version.map(ToOwned::to_owned), exact)
    };
    for (chart, version, expected) in [
        ("oci://r.io:1/a/b", "1.0.0", ("oci://r.io:1/a/b", Some("1.0.0"), true)),
        ("oci://r.io:1/a/b", "", ("oci://r.io:1/a/b", None, false)),
        ("oci://r.io/a/b:2.0.0", "", ("oci://r.io/a/b", Some("2.0.0"), true)),
        ("oci://r.io/a/b:2.0.0", "1.0.0", ("oci://r.io/a/b", Some("1.0.0"), true)),
        ("oci://r.io/a/b@sha256:1", "", ("oci://r.io/a/b@sha256:1", None, true)),
        ("oci://r.io/a/b:2.0.0@sha256:1", "", ("oci://r.io/a/b@sha256:1", None, true)),
        // A chart with another digest would be in the same folder.
        ("oci://r.io/a/b", "1.0.0@sha256:1", ("oci://r.io/a/b@sha256:1", None, false)),
        // Another helmfile may use the name for another repository.
        ("r/b", "1.0.0", ("r/b", Some("1.0.0"), false)),
    ] {
        assert_eq!(asked(chart, version), owned(expected), "{chart} {version}");
    }
    let local = Pin::of("../charts/a@b:c", "");
    assert_eq!((local.name(), local.digest), ("a@b:c", None));
}

#[test]
fn only_complete_charts_are_reused() {
    let folder = tempfile::tempdir().unwrap();
    let store = ChartStore::new(folder.path().join("store"));
    let staging = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let first = staging("first");
    let inside = chart().version_path().join("crds");
    write(&first.join(&inside).join("Chart.yaml"), "name: crds\n");
    write(&first.join(&inside).join("templates/a.yaml"), "a: 1\n");
    write(&first.join(chart().version_path().with_extension("lock")), "");
    store.publish(&first).unwrap();

    let second = staging("second");
    store.seed(&second, &[chart()]).unwrap();
    assert_eq!(std::fs::read_to_string(second.join(&inside).join("templates/a.yaml")).unwrap(), "a: 1\n");

    // A file is missing, as after a power failure.
    std::fs::remove_file(store.path().join(&inside).join("templates/a.yaml")).unwrap();
    let third = staging("third");
    store.seed(&third, &[chart()]).unwrap();
    assert!(!third.join(&inside).exists());
    // Fetched again, it replaces the broken one.
    write(&third.join(&inside).join("Chart.yaml"), "name: crds\n");
    write(&third.join(&inside).join("templates/a.yaml"), "a: 2\n");
    store.publish(&third).unwrap();
    let fourth = staging("fourth");
    store.seed(&fourth, &[chart()]).unwrap();
    assert_eq!(std::fs::read_to_string(fourth.join(&inside).join("templates/a.yaml")).unwrap(), "a: 2\n");
}

#[test]
fn concurrent_runs_can_store_the_same_chart() {
    let folder = tempfile::tempdir().unwrap();
    let store = ChartStore::new(folder.path().join("store"));
    let names: Vec<_> = (0..8).map(|number| folder.path().join(number.to_string())).collect();
    std::thread::scope(|scope| {
        for staging in &names {
            scope.spawn(|| {
                let file = staging.join(chart().version_path()).join("crds/Chart.yaml");
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(&file, "name: crds").unwrap();
                store.publish(staging).unwrap();
                let seeded = staging.join("again");
                store.seed(&seeded, &[chart()]).unwrap();
                let again = seeded.join(chart().version_path()).join("crds/Chart.yaml");
                assert_eq!(std::fs::read_to_string(again).unwrap(), "name: crds");
            });
        }
    });
}

#[test]
fn chart_of_two_releases_stays_complete() {
    let folder = tempfile::tempdir().unwrap();
    let store = ChartStore::new(folder.path().join("store"));
    let file = chart().version_path().join("crds/Chart.yaml");
    write(&folder.path().join("in").join(&file), "name: crds\n");
    store.publish(&folder.path().join("in")).unwrap();
    let staging = folder.path().join("out");
    store.seed(&staging, &[chart(), chart()]).unwrap();
    for root in [store.path(), &staging] {
        assert_eq!(std::fs::read_to_string(root.join(&file)).unwrap(), "name: crds\n");
    }
}

#[test]
fn version_range_is_never_reused() {
    let folder = tempfile::tempdir().unwrap();
    let store = ChartStore::new(folder.path().join("store"));
    let range = ChartRef { version: "~1.0".to_owned(), ..chart() };
    write(&folder.path().join("in").join(range.version_path()).join("crds/Chart.yaml"), "name: crds\n");
    store.publish(&folder.path().join("in")).unwrap();
    store.seed(&folder.path().join("out"), std::slice::from_ref(&range)).unwrap();
    assert!(!folder.path().join("out").join(range.version_path()).exists());
}

#[test]
fn chart_pinned_by_digest_is_reused() {
    let folder = tempfile::tempdir().unwrap();
    let store = ChartStore::new(folder.path().join("store"));
    let pinned =
        ["oci://r.io/a/b@sha256:1", "oci://r.io/a/b:1.0.0@sha256:2"].map(|chart| ChartRef::new(chart, ""));
    for chart in &pinned {
        write(&chart.folder(&folder.path().join("in")).join("Chart.yaml"), "name: b\n");
    }
    store.publish(&folder.path().join("in")).unwrap();
    store.seed(&folder.path().join("out"), &pinned).unwrap();
    for chart in pinned {
        assert!(chart.folder(&folder.path().join("out")).join("Chart.yaml").is_file());
    }
}

proptest::proptest! {
    #![proptest_config(crate::base::mutate::slow_config())]

    #[test]
    fn references_and_markers_never_panic(chart in crate::base::mutate::text(&["oci://ghcr.io:443/a/charts/b&c/", "repo/chart"]), version: String,
        marker in crate::base::mutate::text(&[r#"{"files":12,"bytes":34567,"digest":"0123456789abcdef"}"#])) {
        let chart = ChartRef::new(&chart, &version);
        _ = (chart.address(), chart.asked_version());
        _ = (chart.folder(Path::new("/c")), chart.is_exact());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(marker_path(&folder.path().join("x")), &marker).unwrap();
        _ = read_marker(&folder.path().join("x"));
    }
}
