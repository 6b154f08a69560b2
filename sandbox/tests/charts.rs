//! Renders the generated charts with real helm and the values in `bootstrap/`: the objects have the kinds, numbers and
//! sizes of the real charts, and the logic that affects a bootstrap.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic like the tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use flate2::{Compression, write::GzEncoder};
use sandbox::charts::{self, Chart};

/// The archives and the values of `bootstrap/`, created once for all tests.
struct Lab {
    /// In the target folder, because a static is never dropped.
    dir: PathBuf,
}

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("charts");
    std::fs::create_dir_all(&dir).unwrap();
    charts::build(&dir).unwrap();
    let output = Command::new(tool("helmfile-1.7.4/helmfile"))
        .args(["--quiet", "--helm-binary"])
        .arg(tool("helm-4.2.4/helm"))
        .arg("--file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../bootstrap/helmfile.d/01-apps.yaml"))
        .args(["write-values", "--output-file-template"])
        .arg(dir.join("{{ .Release.Name }}.yaml"))
        .envs([
            ("HELMFILE_UPGRADE_NOTICE_DISABLED", "true"),
            ("K3S_API_HOST", "10.0.0.10"),
            ("FLUX_GIT_URL", "ssh://git@example.org/home.git"),
        ])
        .env_remove("FLUX_GIT_REF")
        .env_remove("FLUX_GIT_PATH")
        .env_remove("FLUX_GIT_PULL_SECRET")
        .env("HOME", &dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(dir.join("prometheus-operator-crds.yaml"), "{}\n").unwrap();
    Lab { dir }
});

/// A tool of the sandbox.
fn tool(path: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("`HOME` is set")).join(".cache"),
        PathBuf::from,
    );
    let file = cache.join("k3s-boot-sandbox/tools").join(path);
    assert!(file.is_file(), "`{}` is missing: start the sandbox once, it builds its tools", file.display());
    file
}

/// The manifest or the error that `helm template` prints.
fn template(name: &str, archive: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new(tool("helm-4.2.4/helm"))
        .args(["template", name])
        .arg(archive)
        .args(args)
        .env("HOME", &LAB.dir)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn archive(name: &str) -> PathBuf {
    let version = Chart::named(name).unwrap().version().to_owned();
    LAB.dir.join(format!("{name}-{version}.tgz"))
}

/// A chart rendered with the values of `bootstrap/` and `args`.
fn shipped(name: &str, args: &[&str]) -> Result<String, String> {
    let values = LAB.dir.join(format!("{name}.yaml"));
    template(name, &archive(name), &[&["--values", values.to_str().unwrap()], args].concat())
}

/// A chart rendered with its own values and `args`.
fn plain(name: &str, args: &[&str]) -> Result<String, String> {
    template(name, &archive(name), args)
}

/// A chart, its size in bytes and its objects by kind.
type Expected = (&'static str, usize, &'static [(&'static str, usize)]);

/// The number of objects of each kind in a manifest.
fn kinds(manifest: &str) -> BTreeMap<&str, usize> {
    let mut kinds = BTreeMap::new();
    for kind in manifest.lines().filter_map(|line| line.strip_prefix("kind: ")) {
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

#[test]
fn charts_render_like_the_real_ones() {
    let expected: [Expected; 6] = [
        ("prometheus-operator-crds", 4_000_000, &[("CustomResourceDefinition", 10)]),
        (
            "cilium",
            65_000,
            &[
                ("ClusterRole", 2),
                ("ClusterRoleBinding", 2),
                ("ConfigMap", 2),
                ("DaemonSet", 2),
                ("Deployment", 1),
                ("Namespace", 1),
                ("Role", 3),
                ("RoleBinding", 3),
                ("Secret", 2),
                ("Service", 2),
                ("ServiceAccount", 3),
            ],
        ),
        (
            "coredns",
            6_000,
            &[
                ("ClusterRole", 1),
                ("ClusterRoleBinding", 1),
                ("ConfigMap", 1),
                ("Deployment", 1),
                ("Service", 1),
                ("ServiceAccount", 1),
            ],
        ),
        (
            "cert-manager",
            1_030_000,
            &[
                ("ClusterRole", 13),
                ("ClusterRoleBinding", 10),
                ("CustomResourceDefinition", 6),
                ("Deployment", 3),
                ("MutatingWebhookConfiguration", 1),
                ("Role", 4),
                ("RoleBinding", 4),
                ("Service", 3),
                ("ServiceAccount", 3),
                ("ValidatingWebhookConfiguration", 1),
            ],
        ),
        (
            "flux-operator",
            88_000,
            &[
                ("ClusterRole", 2),
                ("ClusterRoleBinding", 1),
                ("CustomResourceDefinition", 4),
                ("Deployment", 1),
                ("NetworkPolicy", 1),
                ("Service", 1),
                ("ServiceAccount", 1),
            ],
        ),
        ("flux-instance", 1_200, &[("FluxInstance", 1)]),
    ];
    for (name, size, objects) in expected {
        let manifest = shipped(name, &["--no-hooks"]).unwrap();
        assert_eq!(kinds(&manifest), objects.iter().copied().collect(), "{name}");
        let tolerance = size / 10;
        assert!(
            (size - tolerance..=size + tolerance).contains(&manifest.len()),
            "{name}: {} bytes, not {size}",
            manifest.len()
        );
    }
}

#[test]
fn crds_release_fits_into_a_secret() {
    let manifest = shipped("prometheus-operator-crds", &[]).unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut gzip, manifest.as_bytes()).unwrap();
    let record = gzip.finish().unwrap().len() * 4 / 3;
    // The real release has about 514 KB; the limit of a Secret is 1 MiB. It has no templates: they are in a subchart.
    assert!((400_000..=600_000).contains(&record), "{record}");
    assert!(manifest.contains("\n# Source: prometheus-operator-crds/charts/crds/templates/"));
    // A plain scalar that YAML 1.1 parses differently.
    assert!(manifest.lines().any(|line| line.trim_start() == "- ="));
}

#[test]
fn crds_have_switches() {
    let name = "prometheus-operator-crds";
    let fewer = plain(name, &["--set", "crds.probes.enabled=false,crds.annotations.a=b"]).unwrap();
    assert_eq!(kinds(&fewer), BTreeMap::from([("CustomResourceDefinition", 9)]));
    assert_eq!(fewer.matches("\n    a: b\n").count(), 9);
    assert!(!plain("cert-manager", &[]).unwrap().contains("CustomResourceDefinition"));
    let none = plain("flux-operator", &["--set", "installCRDs=false"]).unwrap();
    assert!(!none.contains("CustomResourceDefinition"));
    let kept = plain("flux-operator", &[]).unwrap();
    assert_eq!(kept.matches("helm.sh/resource-policy: keep").count(), 4);
}

#[test]
fn cilium_validates_values_like_the_real_chart() {
    let manifest = shipped("cilium", &[]).unwrap();
    for part in [
        "- name: KUBERNETES_SERVICE_HOST\n          value: \"10.0.0.10\"",
        "- name: KUBERNETES_SERVICE_PORT\n          value: \"6443\"",
        "  ipam: \"kubernetes\"\n",
        "  replicas: 1\n",
    ] {
        assert!(manifest.contains(part), "{part}");
    }
    assert!(plain("cilium", &[]).unwrap().contains("  replicas: 2\n"));
    let mistyped = plain("cilium", &["--set", "cgroup.automount.enabled=false"]).unwrap();
    assert!(mistyped.contains("- name: mount-cgroup"), "an unknown key is accepted and does nothing");
    let small = plain("cilium", &["--set", "envoy.enabled=false,hubble.enabled=false"]).unwrap();
    assert!(!small.contains("cilium-envoy") && !kinds(&small).contains_key("Secret"));

    for (value, message) in [
        (
            "kubeProxyReplacement=strict",
            "kubeProxyReplacement must be explicitly set to a valid value (true or false) to continue.",
        ),
        ("operator.replicas=two", "- at '/operator/replicas': got string, want integer"),
        ("prometheus.serviceMonitor.enabled=true", "Service Monitor requires monitoring.coreos.com/v1 CRDs."),
    ] {
        let error = plain("cilium", &["--set", value]).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let monitors = "prometheus.serviceMonitor.enabled=true,prometheus.serviceMonitor.trustCRDsExist=true";
    plain("cilium", &["--set", monitors]).unwrap();
}

#[test]
fn coredns_is_the_cluster_dns_only_if_enabled() {
    let manifest = shipped("coredns", &[]).unwrap();
    for part in
        ["  name: kube-dns\n", "  clusterIP: 10.43.0.10\n", "    k8s-app: \"kube-dns\"\n", "    .:53 {\n"]
    {
        assert!(manifest.contains(part), "{part}");
    }
    let default = plain("coredns", &[]).unwrap();
    assert!(!default.contains("clusterIP:") && !kinds(&default).contains_key("ServiceAccount"));
    let other = template("dns", &archive("coredns"), &[]).unwrap();
    assert!(other.contains("\n  name: dns-coredns\n"));
}

#[test]
fn cert_manager_has_a_closed_schema_and_a_hook() {
    let error = plain("cert-manager", &["--set", "crd.enabled=true"]).unwrap_err();
    assert!(error.contains("additional properties 'crd' not allowed"), "{error}");
    let manifest = shipped("cert-manager", &[]).unwrap();
    assert_eq!(manifest.matches("helm.sh/hook: post-install\n").count(), 4);
    assert_eq!(kinds(&manifest)["Job"], 1);
    assert!(manifest.contains("helm.sh/hook-weight: \"1\""));
}

#[test]
fn flux_instance_syncs_the_source_in_the_environment() {
    let manifest = shipped("flux-instance", &[]).unwrap();
    for part in [
        "  name: flux\n",
        "    artifact: oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests:v0.37.1\n",
        "    url: ssh://git@example.org/home.git\n    ref: refs/heads/main\n    path: kubernetes/flux/cluster\n",
        "            path: /spec/decryption\n",
        "                name: sops-age\n",
    ] {
        assert!(manifest.contains(part), "{part}\n{manifest}");
    }
    assert!(!manifest.contains("pullSecret"));
    assert!(!plain("flux-instance", &[]).unwrap().contains("sync:"));
    let error = plain("flux-instance", &["--set", "instance.sync.kind=Git"]).unwrap_err();
    assert!(error.contains("- at '/instance/sync/kind': value must be one of"), "{error}");
}

#[test]
fn variants_and_small_charts_render() {
    let dir = tempfile::tempdir().unwrap();
    let newer = Chart::named("coredns")
        .unwrap()
        .with_version("1.45.1")
        .with_replaced("templates/deployment.yaml", "dnsPolicy: Default", "dnsPolicy: None")
        .unwrap();
    let newer = charts::build_one(dir.path(), &newer).unwrap();
    let manifest = template("coredns", &newer.file, &[]).unwrap();
    assert!(manifest.contains("helm.sh/chart: \"coredns-1.45.1\"") && manifest.contains("dnsPolicy: None"));

    let small = charts::build_one(dir.path(), &Chart::generic("small-07")).unwrap();
    let manifest = template("app", &small.file, &["--set", "settings.a=b"]).unwrap();
    let expected = ["ConfigMap", "Deployment", "Service", "ServiceAccount"].map(|kind| (kind, 1));
    assert_eq!(kinds(&manifest), BTreeMap::from(expected));
}
