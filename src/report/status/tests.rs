mod text;

use std::collections::BTreeMap;

use insta::assert_snapshot;
use serde_json::json;

use super::*;
use crate::base::release_id::ReleaseId;
use crate::observed::Live;
use crate::observed::claims::Claim;
use crate::observed::cluster::Cluster;
use crate::observed::helm::Record;
use crate::observed::kinds::Kinds;
use crate::observed::node::{Address, Info};

struct World {
    standing: Snapshot,
    named: Named,
    redactor: Redactor,
}

fn resource(kind: &str, id: &str, ready: &str, reason: &str, message: &str) -> Resource {
    let (namespace, name) = id.split_once('/').unwrap();
    let condition = json!({"type": "Ready", "status": ready, "reason": reason, "message": message});
    serde_json::from_value(
        json!({"kind": kind, "metadata": {"namespace": namespace, "name": name, "generation": 2},
        "status": {"observedGeneration": 2, "conditions": [condition]}}),
    )
    .unwrap()
}

fn node(name: &str, address: &str) -> Node {
    Node {
        name: name.to_owned(),
        ready: true,
        reason: "KubeletReady".to_owned(),
        message: "kubelet is posting ready status".to_owned(),
        labels: [("node-role.kubernetes.io/control-plane".to_owned(), "true".to_owned())].into(),
        addresses: vec![Address { r#type: "InternalIP".to_owned(), address: address.to_owned() }],
        info: Info { kubelet_version: "v1.36.3+k3s1".to_owned(), ..Info::default() },
        ..Node::default()
    }
}

fn workload(kind: &str, id: &str, release: Option<&str>) -> Workload {
    let (namespace, name) = id.split_once('/').unwrap();
    let annotations = release.map(|release| {
        let (namespace, name) = release.split_once('/').unwrap();
        [("meta.helm.sh/release-namespace", namespace), ("meta.helm.sh/release-name", name)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    });
    Workload {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        annotations: annotations.unwrap_or_default(),
        have: 1,
        want: 1,
        ..Workload::default()
    }
}

fn stored(id: &str) -> Stored {
    let (namespace, name) = id.split_once('/').unwrap();
    Stored {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        status: "deployed".to_owned(),
        revision: 1,
        modified: Some(1_763_900_000),
        ..Stored::default()
    }
}

fn record(stored: &Stored, version: &str) -> (ReleaseId, Record) {
    let record = Record {
        stored: stored.clone(),
        chart: stored.name.clone(),
        version: version.to_owned(),
        description: "Release failed: context deadline exceeded".to_owned(),
        ..Record::default()
    };
    (stored.id(), record)
}

impl World {
    /// A cluster that Flux has taken over, all of it ready.
    fn new() -> Self {
        let releases = ["flux-system/flux-instance", "kube-system/cilium", "media/plex"].map(stored);
        let records = [record(&releases[0], "0.37.1"), record(&releases[1], "1.18.6")];
        let mut plex = workload("Deployment", "media/plex", Some("media/plex"));
        plex.labels.insert("helm.sh/chart".to_owned(), "app-template-4.4.0".to_owned());
        let cluster = Cluster {
            uid: "7f0c".to_owned(),
            created: "2026-11-23T08:00:00Z".to_owned(),
            nodes: vec![node("alpha", "10.0.0.1"), node("b", "10.0.0.2")],
            workloads: vec![
                workload("Deployment", "kube-system/cilium-operator", Some("kube-system/cilium")),
                workload("DaemonSet", "kube-system/cilium", Some("kube-system/cilium")),
                plex,
                workload("Deployment", "flux-system/source-controller", None),
            ],
            ..Cluster::default()
        };
        let words = "Applied revision: main@sha1:4b1c";
        let mut source =
            resource("GitRepository", "flux-system/flux-system", "True", "Succeeded", "stored artifact");
        source.status.artifact = serde_json::from_value(json!({"revision": "main@sha1:4b1c"})).unwrap();
        let done = "Reconciliation finished in 4s";
        let claims = Claims {
            instance: Some(resource("FluxInstance", "flux-system/flux", "True", "Succeeded", done)),
            sources: vec![source],
            kustomizations: ["flux-system/flux-system", "media/plex"]
                .map(|id| resource("Kustomization", id, "True", "ReconciliationSucceeded", words))
                .into(),
            helm_releases: vec![Claim {
                manager: "HelmRelease media/plex".into(),
                release: "media/plex".into(),
                suspended: false,
            }],
            helm_resources: vec![resource(
                "HelmRelease",
                "media/plex",
                "True",
                "InstallSucceeded",
                "Helm install succeeded",
            )],
            ..Claims::default()
        };
        let live = Live {
            version: "v1.36.3+k3s1".to_owned(),
            cluster,
            kinds: Ok(Kinds::default()),
            claims: Ok(claims),
            releases: Ok(releases.into()),
            records: Ok(records.into()),
            ..Live::default()
        };
        let named = ["kube-system/cilium", "kube-system/coredns", "flux-system/flux-instance"];
        Self {
            standing: Snapshot { live, warnings: Ok(Vec::new()) },
            named: Named { releases: named.map(Into::into).into(), unknown: None },
            redactor: Redactor::default(),
        }
    }

    fn release(&mut self, name: &str) -> &mut Stored {
        let releases = self.standing.live.releases.as_mut().unwrap();
        releases.iter_mut().find(|one| one.name == name).unwrap()
    }

    fn claims(&mut self) -> &mut Claims {
        self.standing.live.claims.as_mut().unwrap()
    }

    fn report(&self) -> StatusReport {
        let target = Target {
            files: Vec::new(),
            context: "default".to_owned(),
            server: "https://10.0.0.1:6443".to_owned(),
            ..Target::default()
        };
        let seen = Seen { target: &target, standing: &self.standing, named: &self.named };
        StatusReport::new(&seen, &self.redactor)
    }

    fn text(&self) -> String {
        text(&self.report(), View::default())
    }

    /// The report from the first problem on.
    fn problems(&self) -> String {
        let text = self.text();
        text.split_once("\nProblems\n").map(|(_, problems)| problems.to_owned()).unwrap_or_default()
    }
}

#[test]
fn all_is_ready() {
    let world = World::new();
    assert_eq!(world.report().result, StatusResult::Ready);
    assert_snapshot!(world.text(), @"
    Cluster default
      https://10.0.0.1:6443, v1.36.3+k3s1
      UID 7f0c, created 2026-11-23T08:00:00Z

    Nodes
      ✓ alpha  server  v1.36.3+k3s1  10.0.0.1
      ✓ b      server  v1.36.3+k3s1  10.0.0.2

    Releases
      ✓ kube-system/cilium         cilium 1.18.6         deployed  revision 1  helmfile
      ✓ flux-system/flux-instance  flux-instance 0.37.1  deployed  revision 1  helmfile
      ✓ media/plex                 app-template 4.4.0    deployed  revision 1  HelmRelease media/plex

    Flux
      ✓ FluxInstance   flux-system/flux         Reconciliation finished in 4s
      ✓ GitRepository  flux-system/flux-system  stored artifact
      ✓ Kustomization  flux-system/flux-system  Applied revision: main@sha1:4b1c
      ✓ Kustomization  media/plex               Applied revision: main@sha1:4b1c
      ✓ HelmRelease    media/plex               Helm install succeeded

    Everything is ready
    ");
}

#[test]
fn the_report_as_json() {
    let mut world = World::new();
    world.standing.live.cluster.nodes.truncate(1);
    world.standing.live.cluster.workloads[1].have = 0;
    world.standing.live.releases.as_mut().unwrap().remove(0);
    world.standing.warnings = Ok(vec![warning("Pod", "cilium-x2x4z", "FailedScheduling", "no node fits")]);
    let claims = world.claims();
    claims.kustomizations.clear();
    claims.helm_resources.clear();
    assert_snapshot!(serde_json::to_string_pretty(&world.report()).unwrap(), @r#"
    {
      "schema_version": 1,
      "result": "not-ready",
      "exit_code": 0,
      "cluster": {
        "context": "default",
        "server": "https://10.0.0.1:6443",
        "version": "v1.36.3+k3s1",
        "uid": "7f0c",
        "created": "2026-11-23T08:00:00Z"
      },
      "nodes": [
        {
          "name": "alpha",
          "role": "server",
          "ready": true,
          "cordoned": false,
          "version": "v1.36.3+k3s1",
          "address": "10.0.0.1"
        }
      ],
      "releases": [
        {
          "namespace": "kube-system",
          "name": "cilium",
          "chart": "cilium",
          "version": "1.18.6",
          "status": "deployed",
          "revision": 1,
          "owner": "helmfile",
          "in_helmfile": true,
          "ready": false,
          "unready": {
            "object": "DaemonSet kube-system/cilium",
            "ready": 0,
            "desired": 1,
            "event": {
              "object": "Pod kube-system/cilium-x2x4z",
              "reason": "FailedScheduling",
              "message": "no node fits",
              "count": 3,
              "last": "2026-11-23T09:00:00Z"
            }
          }
        },
        {
          "namespace": "media",
          "name": "plex",
          "chart": "app-template",
          "version": "4.4.0",
          "status": "deployed",
          "revision": 1,
          "owner": "HelmRelease media/plex",
          "in_helmfile": false,
          "ready": true
        }
      ],
      "flux": [
        {
          "kind": "FluxInstance",
          "namespace": "flux-system",
          "name": "flux",
          "ready": "True",
          "suspended": false,
          "reason": "Succeeded",
          "message": "Reconciliation finished in 4s"
        },
        {
          "kind": "GitRepository",
          "namespace": "flux-system",
          "name": "flux-system",
          "ready": "True",
          "suspended": false,
          "reason": "Succeeded",
          "message": "stored artifact",
          "revision": "main@sha1:4b1c"
        }
      ],
      "workloads": [],
      "problems": [
        {
          "severity": "error",
          "object": "Release kube-system/cilium",
          "reason": "DaemonSet kube-system/cilium 0/1 ready: FailedScheduling: no node fits"
        }
      ],
      "unknown": []
    }
    "#);
}

fn warning(kind: &str, name: &str, reason: &str, message: &str) -> Event {
    Event {
        kind: kind.to_owned(),
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        count: 3,
        last: "2026-11-23T09:00:00Z".to_owned(),
    }
}

#[test]
fn what_is_not_ready_is_told_with_the_reason_the_most_important_first() {
    let mut world = World::new();
    world.redactor.add(["hunter2hunter2"]);
    let cluster = &mut world.standing.live.cluster;
    let lost = ("NodeStatusUnknown", "Kubelet stopped posting node status.");
    let (first, second) = cluster.nodes.split_at_mut(1);
    first[0].unschedulable = true;
    second[0] = Node {
        ready: false,
        reason: lost.0.to_owned(),
        message: lost.1.to_owned(),
        labels: BTreeMap::new(),
        ..second[0].clone()
    };
    for (workload, (have, want)) in cluster.workloads.iter_mut().zip([(0, 1), (0, 2), (1, 1), (0, 1)]) {
        (workload.have, workload.want) = (have, want);
    }
    world.standing.warnings = Ok(vec![
        warning("Pod", "cilium-x2x4z", "BackOff", "of the DaemonSet"),
        warning("Pod", "cilium-operator-6f5d-x2x4z", "Failed", "pull: hunter2hunter2\n\u{1b}[31mno"),
    ]);
    world.release("flux-instance").status = "failed".to_owned();
    world.release("plex").status = "pending-upgrade".to_owned();
    let claims = world.claims();
    claims.sources[0].spec.suspend = true;
    claims.kustomizations = vec![
        resource("Kustomization", "a/waits", "False", "DependencyNotReady", "dependency 'a/b' is not ready"),
        resource("Kustomization", "a/works", "Unknown", "Progressing", "Reconciliation in progress"),
        resource("Kustomization", "a/broken", "False", "BuildFailed", "kustomize build failed"),
        Resource {
            status: crate::observed::flux::Status::default(),
            ..resource("Kustomization", "a/new", "", "", "")
        },
    ];
    assert_eq!(world.report().result, StatusResult::NotReady);
    assert_snapshot!(world.text(), @r#"
    Cluster default
      https://10.0.0.1:6443, v1.36.3+k3s1
      UID 7f0c, created 2026-11-23T08:00:00Z

    Nodes
      ! alpha  server  v1.36.3+k3s1  10.0.0.1  cordoned
      ✗ b      agent   v1.36.3+k3s1  10.0.0.2  NodeStatusUnknown

    Releases
      ✗ kube-system/cilium         cilium 1.18.6         deployed         revision 1  helmfile
      ✗ flux-system/flux-instance  flux-instance 0.37.1  failed           revision 1  helmfile
      ✗ media/plex                 app-template 4.4.0    pending-upgrade  revision 1  HelmRelease media/plex

    Flux
      ✓ FluxInstance   flux-system/flux         Reconciliation finished in 4s
      ! GitRepository  flux-system/flux-system  suspended
      ✗ Kustomization  a/waits                  DependencyNotReady
      ! Kustomization  a/works                  Progressing
      ✗ Kustomization  a/broken                 BuildFailed
      ! Kustomization  a/new                    Flux has not reconciled it yet
      ✓ HelmRelease    media/plex               Helm install succeeded

    Problems
      ✗ Node b: NodeStatusUnknown: Kubelet stopped posting node status.
      ✗ Release flux-system/flux-instance: failed: Release failed: context deadline exceeded
      ✗ Release media/plex: pending-upgrade since 2025-11-23T12:13:20Z
      ✗ Release kube-system/cilium: Deployment kube-system/cilium-operator 0/1 ready: Failed: pull: [redacted] \u{1b}[31mno
      ✗ Kustomization a/broken: BuildFailed: kustomize build failed
      ✗ Kustomization a/waits: DependencyNotReady: dependency 'a/b' is not ready
      ✗ Deployment flux-system/source-controller: 0/1 ready
      ! Node alpha: cordoned: accepts no new pods
      ! Kustomization a/works: Progressing: Reconciliation in progress
      ! Kustomization a/new: Flux has not reconciled it yet
      ! GitRepository flux-system/flux-system: suspended
    "#);
}

#[test]
fn what_was_stopped_on_purpose_is_told_and_is_ready() {
    let mut world = World::new();
    world.standing.live.cluster.nodes[0].unschedulable = true;
    world.claims().kustomizations[1].spec.suspend = true;
    assert_eq!(world.report().result, StatusResult::Ready);
    assert_snapshot!(world.problems(), @"
    ! Node alpha: cordoned: accepts no new pods
    ! Kustomization media/plex: suspended
    ");
}

#[test]
fn owners_are_told_as_far_as_they_are_known() {
    let mut world = World::new();
    let owners = |world: &World| {
        let report = world.report();
        report.releases.unwrap().into_iter().map(|release| release.owner).collect::<Vec<_>>()
    };
    assert_eq!(owners(&world), ["helmfile", "helmfile", "HelmRelease media/plex"]);
    world.claims().helm_releases.clear();
    assert_eq!(owners(&world), ["helmfile", "helmfile", "other"]);
    world.claims().helm_charts.push(crate::plan::helm_charts::tests::chart());
    world.named.unknown = Some("a template".to_owned());
    assert_eq!(owners(&world), ["HelmChart kube-system/cilium", "helmfile", "unknown"]);
    world.standing.live.claims = Err("refused".to_owned());
    assert_eq!(owners(&world), ["unknown"; 3]);
}

#[test]
fn what_could_not_be_read_is_told_with_the_reason() {
    let mut world = World::new();
    world.standing.live.releases = Err("releases are refused".to_owned());
    world.standing.live.records = Err("releases are refused".to_owned());
    world.standing.live.claims = Err("Flux is refused".to_owned());
    world.standing.warnings = Err("events are refused".to_owned());
    world.named.unknown = Some("no helmfiles in `/x`".to_owned());
    let report = world.report();
    assert_eq!((report.result, report.releases, report.flux), (StatusResult::Unknown, None, None));
    assert_snapshot!(world.text(), @"
    Cluster default
      https://10.0.0.1:6443, v1.36.3+k3s1
      UID 7f0c, created 2026-11-23T08:00:00Z

    Nodes
      ✓ alpha  server  v1.36.3+k3s1  10.0.0.1
      ✓ b      server  v1.36.3+k3s1  10.0.0.2

    Releases
      ? unknown: releases are refused

    Flux
      ? unknown: Flux is refused

    ? events unknown: events are refused
    ? helmfiles unknown: no helmfiles in `/x`
    ");
    world.standing.live.cluster.workloads[1].have = 0;
    assert_snapshot!(world.problems(), @"
      ✗ DaemonSet kube-system/cilium: 0/1 ready

    ? events unknown: events are refused
    ? helmfiles unknown: no helmfiles in `/x`
    ");
}
