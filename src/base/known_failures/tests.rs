use std::collections::BTreeSet;

use super::Origin::{Api, Chart, Flux, Release, State};
use super::*;

#[test]
fn every_row_of_the_table_is_valid() {
    let ids: BTreeSet<_> = table().map(|known| known.id).collect();
    assert_eq!(ids.len(), table().count(), "IDs are unique");
    for known in table() {
        assert!(!known.shapes.is_empty() && !known.samples.is_empty(), "{}", known.id);
        assert!(known.samples.iter().all(|sample| !sample.by.is_empty()), "{}", known.id);
        assert!(!known.cause.is_empty() && !known.fix(&"a/b".into(), None).contains("{n"), "{}", known.id);
        for shape in known.shapes {
            assert!(regex::bytes::Regex::new(&shape.pattern()).is_ok(), "{}", shape.text);
        }
    }
}

#[test]
fn every_sample_fits_exactly_one_row() {
    let ids: Vec<_> = table().map(|known| known.id).collect();
    let mut wrong = Vec::new();
    for (row, known) in table().enumerate() {
        for sample in known.samples {
            let found = find(sample.origin, sample.message).map(|found| found.id);
            let parts = |message: &str| fitting(sample.origin, message);
            let fits = match reasons_of_scheduler(sample.message) {
                // Each reason is a message of its own.
                Some(mut reasons) => reasons.all(|reason| parts(reason).len() <= 1),
                None => parts(sample.message) == [row],
            };
            if found != Some(known.id) || !fits {
                let fitting: Vec<_> = parts(sample.message).into_iter().map(|row| ids[row]).collect();
                wrong.push(format!("{}: {found:?}, fits {fitting:?}: {}", known.id, sample.message));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Messages that share words with a row and have another cause, or none that is certain.
const NEAR_MISSES: &[(Origin, &str, Option<&str>)] = &[
    (Release, "context deadline exceeded", None),
    (Release, "exit code 1", None),
    (
        Flux,
        "Kustomization flux-system/apps: ArtifactFailed: failed to untar artifact: tar file entry has unsupported type",
        None,
    ),
    (
        State,
        "FailedCreate: Error creating: pods \"x\" is forbidden: error looking up service account media/plex: serviceaccount \"plex\" not found",
        None,
    ),
    // Of the repository, not of a chart.
    (Chart, "repo jetstack not found", Some("repository-missing")),
    (Chart, "exec: \"helm\": executable file not found in $PATH", None),
    (Chart, "scheme \"git+https\" not supported: plugin not found", None),
    (
        Chart,
        "error getting credentials - err: exit status 1, out: `credentials not found in native keychain`",
        Some("credential-helper"),
    ),
    (
        Flux,
        "OCIRepository media/dragonfly: OCIArtifactPullFailed: failed to determine artifact digest: GET https://github.com/-/v2/packages/container/package/x: unexpected status code 404 Not Found: Not Found",
        None,
    ),
    (Chart, "failed to authorize: failed to fetch anonymous token: unexpected status: 400 Bad Request", None),
    // A registry or a secret store is not the API server.
    (
        Chart,
        "looks like \"http://127.0.0.1:1\" is not a valid chart repository or cannot be reached: Get \"http://127.0.0.1:1/index.yaml\": dial tcp 127.0.0.1:1: connect: connection refused",
        Some("registry-gone"),
    ),
    (
        Chart,
        "looks like \"https://charts.jetstack.io\" is not a valid chart repository or cannot be reached: Get \"https://charts.jetstack.io/index.yaml\": proxyconnect tcp: dial tcp 127.0.0.1:3128: connect: connection refused",
        Some("proxy"),
    ),
    (
        Flux,
        "FluxInstance flux-system/flux: ArtifactFailed: pulling artifact oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests:v0.54.0 failed: Get \"https://ghcr.io/token\": dial tcp 140.82.121.34:443: connect: connection refused",
        None,
    ),
    // Volumes that are not Secrets.
    (
        State,
        "FailedMount: MountVolume.MountDevice failed for volume \"pvc-1\" : kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: driver name rbd.csi.ceph.com not found in the list of registered CSI drivers",
        None,
    ),
    (
        State,
        "FailedMount: MountVolume.SetUp failed for volume \"media\" : mount failed: exit status 32 Mounting command: mount Mounting arguments: -t nfs nas.lan:/tank /var/lib/kubelet/pods/x Output: mount.nfs: Connection timed out",
        None,
    ),
    (
        State,
        "FailedMount: MountVolume.SetUp failed for volume \"kube-api-access-x7k2p\" : failed to sync configmap cache: timed out waiting for the condition",
        None,
    ),
    (
        State,
        "container d: CreateContainerConfigError: container has runAsNonRoot and image has non-numeric user (node), cannot verify user is non-root (pod: \"a_b(c)\", container: d)",
        None,
    ),
    // A namespace that is called `network`, and an image that cannot be pulled, are not the network plugin.
    (
        State,
        "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = DeadlineExceeded desc = failed to reserve sandbox name \"envoy-gateway-7d4c_network_b5b3cee7-47e0-4922-8dcb-12bdbc448f5f_0\": name \"envoy-gateway-7d4c_network_b5b3cee7-47e0-4922-8dcb-12bdbc448f5f_0\" is reserved for \"4e4719cb\"",
        Some("sandbox"),
    ),
    (
        State,
        "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox image \"rancher/mirrored-pause:3.6\": failed to pull image \"rancher/mirrored-pause:3.6\": failed to pull and unpack image \"docker.io/rancher/mirrored-pause:3.6\": failed to resolve reference \"docker.io/rancher/mirrored-pause:3.6\": failed to do request: Head \"https://registry-1.docker.io/v2/rancher/mirrored-pause/manifests/3.6\": dial tcp 103.252.115.53:443: connect: network is unreachable",
        Some("image-unreachable"),
    ),
    (
        State,
        "container cert-manager-startupapicheck: ImagePullBackOff: Back-off pulling image \"quay.io/jetstack/cert-manager-startupapicheck:v9\": ErrImagePull: quay.io/jetstack/cert-manager-startupapicheck:v9: not found",
        Some("image-missing"),
    ),
    (
        State,
        "container main: ImagePullBackOff: Back-off pulling image \"a:1\": ErrImagePull: credential not found",
        Some("image"),
    ),
    (Release, "Request entity too large", None),
    // The words of other programs.
    (State, "acme: urn:ietf:params:acme:error:rateLimited: too many requests", None),
    (State, "dial tcp 10.43.0.10:53: connect: connection refused", None),
    (
        Release,
        "failed to create challenge: Cloudflare API error: HTTP status code 403: Authentication error",
        None,
    ),
    (
        Api,
        "cluster reachability check failed: kubernetes cluster unreachable: stat /nowhere: no such file or directory",
        None,
    ),
    // The key is there, but the file was changed after its encryption.
    (
        Flux,
        "Kustomization flux-system/apps: BuildFailed: decryption failed for 'cluster-secrets': failed to decrypt and format 'media/cluster-secrets' Secret data: failed to verify sops data integrity: expected mac 'A', got 'B'",
        None,
    ),
];

#[test]
fn near_misses_have_no_wrong_cause() {
    let mut wrong = Vec::new();
    for (origin, message, expected) in NEAR_MISSES {
        let found = find(*origin, message).map(|known| known.id);
        if found != *expected {
            wrong.push(format!("{found:?} for {expected:?}: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_most_urgent_reason_of_the_scheduler_counts() {
    let mixed = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.";
    assert_eq!(find(Origin::State, mixed).unwrap().id, "node-not-ready");
    let unnamed = "0/1 nodes are available: 1 node(s) had untolerated taint(s).";
    assert!(find(Origin::State, unnamed).is_none(), "which taint is unknown");
}

#[test]
fn a_fix_that_allows_privileged_pods_warns() {
    let privileged: Vec<_> = table().filter(|known| known.fix.contains("=privileged")).collect();
    assert_eq!(privileged.len(), 1);
    for known in privileged {
        for words in ["may take over its node", "only; otherwise "] {
            assert!(known.fix.contains(words), "{}: {}", known.id, known.fix);
        }
    }
}

#[test]
fn only_transient_failures_are_retried() {
    let transient: BTreeSet<_> = table().filter(|known| known.is_transient()).map(|known| known.id).collect();
    let expected = [
        "aggregated-api",
        "api-busy",
        "api-gone",
        "api-starting",
        "etcd",
        "image-rate-limit",
        "raced",
        "rate-limit",
        "registry-down",
        "registry-gone",
        "registry-name",
        "service-account",
        "webhook",
        "webhook-certificate",
    ];
    assert_eq!(transient, expected.into());
}

proptest::proptest! {
    #[test]
    fn no_words_make_it_panic(words: String, release: String, near in crate::base::mutate::text(&[
        "cannot patch \"cilium-operator\" with kind Deployment: Deployment.apps \"cilium-operator\" is invalid: spec.selector: Invalid value: field is immutable",
        "0/1 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {a: b}. preemption: 0/1 nodes are available",
        "failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: Post \"https://x.svc:443/mutate?timeout=30s\": no endpoints available for service \"x\"",
        "container c: ImagePullBackOff: Back-off pulling image \"a:b\": ErrImagePull: not found: İ",
    ])) {
        for words in [&words, &near] {
            _ = find(Origin::State, words).map(|known| known.fix(&release.as_str().into(), Some(words)));
        }
    }
}
