//! The report as text, on a terminal and elsewhere.

use super::*;

#[test]
fn an_empty_cluster() {
    let mut world = World::new();
    world.standing.live.cluster.workloads.clear();
    world.standing.live.cluster.nodes.clear();
    world.standing.live.releases = Ok(Vec::new());
    world.standing.live.claims = Ok(Claims::default());
    assert_snapshot!(world.text(), @"
    Cluster default
      https://10.0.0.1:6443, v1.36.3+k3s1
      UID 7f0c, created 2026-11-23T08:00:00Z

    Nodes
      none

    Releases
      none

    Flux
      none

    Problems
      ✗ Cluster: no node is registered
    ");
}

#[test]
fn a_full_cluster_fits_on_a_screen() {
    let mut world = World::new();
    let ids: Vec<_> = (10..90).map(|number| format!("apps/app-{number}")).collect();
    let releases = world.standing.live.releases.as_mut().unwrap();
    releases.extend(ids.iter().map(|id| stored(id)));
    for release in releases.iter_mut().skip(40).take(20) {
        release.status = "failed".to_owned();
    }
    let claims = world.claims();
    for id in &ids {
        let claim = Claim {
            manager: format!("HelmRelease {id}").as_str().into(),
            release: id.clone().into(),
            suspended: false,
        };
        claims.helm_releases.push(claim);
        claims.helm_resources.push(resource(
            "HelmRelease",
            id,
            "True",
            "UpgradeSucceeded",
            "Helm upgrade succeeded",
        ));
        claims.kustomizations.push(resource("Kustomization", id, "True", "Succeeded", "Applied"));
    }
    let report = world.report();
    assert_eq!(report.releases.as_ref().map(Vec::len), Some(83), "all of them for programs");
    let text = world.text();
    assert!(text.lines().count() < 60, "{text}");
    assert_snapshot!(text.lines().filter(|line| line.contains(" more")).collect::<Vec<_>>().join("\n"), @"
    ✗ 5 more: failed, HelmRelease
    ✓ 61 more: deployed, HelmRelease
    ✓ 81 more: HelmRelease, ready
    ✓ 81 more: Kustomization, ready
    and 5 more
    ");
}

#[test]
fn a_terminal_gets_short_sentences_and_colours() {
    let mut world = World::new();
    let claims = world.claims();
    claims.kustomizations[0] = resource("Kustomization", "a/b", "True", "Succeeded", &"word ".repeat(40));
    let view = View { colour: true, longest: Some(20) };
    let text = text(&world.report(), view);
    let line = text.lines().find(|line| line.contains("Kustomization  a/b")).unwrap();
    assert!(line.ends_with("  word word word word…"), "{line}");
    assert!(line.contains("\u{1b}["), "{line:?}");
}

#[test]
fn charts_are_read_from_labels() {
    let chart = |label: &str| {
        let mut workload = workload("Deployment", "a/b", None);
        workload.labels.insert("helm.sh/chart".to_owned(), label.to_owned());
        labelled_chart(&workload).map(|(name, version)| format!("{name} {version}"))
    };
    assert_eq!(chart("cert-manager-v1.19.2").as_deref(), Some("cert-manager v1.19.2"));
    assert_eq!(
        chart("kube-prometheus-stack-80.1.0-rc.1").as_deref(),
        Some("kube-prometheus-stack 80.1.0-rc.1")
    );
    assert_eq!(chart("a-1.0.0_b7").as_deref(), Some("a 1.0.0+b7"));
    assert_eq!((chart("nothing"), chart("-"), chart("ä-1")), (None, None, None));
    let since = |modified| Stored { modified: Some(modified), ..Stored::default() }.since();
    assert_eq!(since(u64::MAX), None);
    assert_eq!(since(1_763_900_000).as_deref(), Some("2025-11-23T12:13:20Z"));
}

proptest::proptest! {
    #[test]
    fn no_label_of_a_chart_makes_it_panic(label in crate::base::mutate::text(&["cert-manager-v1.19.2", "a-b-1.0.0_build-1"])) {
        let labels = [("helm.sh/chart".to_owned(), label)].into();
        _ = labelled_chart(&Workload { labels, ..Workload::default() });
    }
}
