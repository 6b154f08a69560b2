//! Problems of k3s and its nodes, set up one by one: `check` reports each, and changes nothing.

use super::fixture::Fixture;
use super::manifests::{BUNDLED_COREDNS, USER_WORKLOAD};
use super::problem_table::{Table, assert_healthy, none, problem};

const NODE: &str = "node-1";

const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";

pub(crate) const GOOD_ARGS: &str = r#","--flannel-backend","none","--disable-network-policy","true","--disable-kube-proxy","true","--disable","coredns","--disable","servicelb","--disable","traefik""#;

pub(crate) fn node_args(fixture: &Fixture, args: &str) {
    let change = format!("k3s.io/node-args=[\"server\"{args}]");
    fixture.kubectl(&["annotate", "--overwrite", "node", NODE, &change]);
}

/// The flags of k3s, and the objects in the cluster.
#[test]
fn problems_of_k3s_and_its_nodes() {
    let fixture = Fixture::start("states-of-k3s");
    let mark = fixture.sandbox.audit_mark().unwrap();
    assert_healthy(&fixture.k3s_boot(&["check"]).run());
    let mut table = Table::new(&fixture);
    // While the node is young.
    first_minute(&mut table);
    k3s(&mut table);
    nodes(&mut table);
    addresses(&mut table);
    table.end();
    assert_healthy(&fixture.k3s_boot(&["check"]).run());
    assert_eq!(fixture.changes(mark), [""; 0]);
}

fn k3s(table: &mut Table<'_>) {
    let fixture = table.fixture;
    let good = || node_args(fixture, GOOD_ARGS);
    let without = |args: &str| node_args(fixture, &GOOD_ARGS.replace(args, ""));
    let states: [(&str, &str, &str, &[&str], &str); 5] = [
        (
            "flannel still on",
            "k3s-flannel",
            "✗",
            &["flannel-backend: \"none\"", NODE],
            r#","--flannel-backend","none""#,
        ),
        (
            "network policy controller still on",
            "k3s-network-policy",
            "!",
            &["disable-network-policy: true"],
            r#","--disable-network-policy","true""#,
        ),
        (
            "kube-proxy still on",
            "k3s-kube-proxy",
            "!",
            &["disable-kube-proxy: true"],
            r#","--disable-kube-proxy","true""#,
        ),
        ("CoreDNS not disabled", "k3s-coredns", "!", &["coredns"], r#","--disable","coredns""#),
        (
            "servicelb and traefik still bundled",
            "k3s-bundled",
            "i",
            &["servicelb", "traefik"],
            r#","--disable","servicelb","--disable","traefik""#,
        ),
    ];
    for (name, rule, mark, words, args) in states {
        table.check(&problem(name, rule, mark, words), || without(args), good);
    }
    table.check(
        &problem("bundled CoreDNS still there", "coredns-bundled", "✗", &["coredns"]),
        || fixture.apply(BUNDLED_COREDNS),
        || fixture.delete(BUNDLED_COREDNS),
    );
    for row in &table.rows {
        assert!(!row.contains("take-ownership") && !row.contains("take_ownership"), "{row}");
    }
    let flannel = || {
        fixture.apply(USER_WORKLOAD);
        without(r#","--flannel-backend","none""#);
    };
    let reset = || {
        fixture.delete(USER_WORKLOAD);
        good();
    };
    table.check(
        &problem(
            "flannel still on, with user workloads",
            "k3s-flannel",
            "✗",
            &["would interrupt networking"],
        ),
        flannel,
        reset,
    );
    let row = table.rows.last().unwrap();
    assert!(
        !row.contains("· flannel-backend: \"none\""),
        "a flag that interrupts the network must not be ready to paste: {row}"
    );
}

fn first_minute(table: &mut Table<'_>) {
    let fixture = table.fixture;
    let kubelet = |message: &str| {
        let patch = serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady",
            "message": message, "lastTransitionTime": "2026-11-23T00:00:00Z"}]}});
        let patch = patch.to_string();
        fixture.kubectl(&[
            "patch",
            "node",
            NODE,
            "--subresource=status",
            "--type=strategic",
            "--patch",
            &patch,
        ]);
    };
    table.check(
        &problem(
            "NotReady for another reason, in its first minute",
            "nodes-ready",
            "!",
            &["PLEG is not healthy"],
        ),
        || kubelet("PLEG is not healthy"),
        || kubelet("Network plugin returns error: cni plugin not initialized"),
    );
}

fn nodes(table: &mut Table<'_>) {
    let fixture = table.fixture;
    let args = ["check", "--nodes=3"];
    table.check_with(
        &problem("fewer nodes than expected", "nodes", "!", &["1", "3"]),
        none,
        none,
        &args,
        |k3s_boot| k3s_boot,
    );
    let taint = |args: &[&str]| fixture.kubectl(&[&["taint", "node", NODE][..], args].concat());
    table.check(
        &problem("a taint that nothing tolerates", "taints", "✗", &["dedicated", "NoSchedule"]),
        || taint(&["dedicated=db:NoSchedule"]),
        || taint(&["dedicated=db:NoSchedule-"]),
    );
    table.check(
        &problem(
            "CriticalAddonsOnly on the only node",
            "taints",
            "✗",
            &["CriticalAddonsOnly", "cilium-operator"],
        ),
        || taint(&["CriticalAddonsOnly=true:NoExecute"]),
        || taint(&["CriticalAddonsOnly=true:NoExecute-"]),
    );
    table.check(
        &problem("two operators for one node", "replicas", "✗", &["replicas: 1", "cilium-operator"]),
        || fixture.replace(VALUES, "  replicas: 1\n", "  replicas: 2\n"),
        || fixture.restore(),
    );
    let routing = "kubeProxyReplacement: true\nroutingMode: native\n";
    table.check(
        &problem(
            "native routing without the pods' network",
            "pod-cidr",
            "!",
            &["10.99.0.0/16", "10.42.0.0/24"],
        ),
        || {
            fixture.replace(
                VALUES,
                "kubeProxyReplacement: true\n",
                &format!("{routing}ipv4NativeRoutingCIDR: 10.99.0.0/16\n"),
            );
        },
        || fixture.restore(),
    );
    table.check(
        &problem("native routing without any network", "pod-cidr", "✗", &["ipv4NativeRoutingCIDR"]),
        || fixture.replace(VALUES, "kubeProxyReplacement: true\n", routing),
        || fixture.restore(),
    );
    table.check(
        &problem("a cordoned node", "nodes-ready", "!", &[NODE]),
        || fixture.kubectl(&["cordon", NODE]),
        || fixture.kubectl(&["uncordon", NODE]),
    );
}

fn addresses(table: &mut Table<'_>) {
    let fixture = table.fixture;
    table.check(
        &problem(
            "CoreDNS at another address than the kubelet's",
            "cluster-dns",
            "!",
            &["10.43.0.53", "10.43.0.10"],
        ),
        || fixture.replace(VALUES, "clusterIP: 10.43.0.10", "clusterIP: 10.43.0.53"),
        || fixture.restore(),
    );
    table.check(
        &problem(
            "an address outside the Service network",
            "service-network",
            "✗",
            &["address: 10.96.0.10", "network: 10.43.0.0/16", "clusterIP: 10.43.0.10"],
        ),
        || fixture.replace(VALUES, "clusterIP: 10.43.0.10", "clusterIP: 10.96.0.10"),
        || fixture.restore(),
    );
    table.check(
        &problem("the DNS address is taken", "dns-address", "✗", &["10.43.0.10", "kube-system/squatter"]),
        || fixture.apply(SQUATTER),
        || fixture.delete(SQUATTER),
    );
    let hosts: [(&str, [&str; 3], &[&str]); 2] = [
        ("https://10.0.0.10:6443", ["API host with a scheme", "api-host", "✗"], &["https://10.0.0.10:6443"]),
        (
            "api.example.org",
            ["API host that is not in the certificate", "api-host-cert", "✗"],
            &["api.example.org", "tls-san"],
        ),
    ];
    for (host, [name, rule, mark], words) in hosts {
        table.check_with(&problem(name, rule, mark, words), none, none, &["check"], |k3s_boot| {
            k3s_boot.env("K3S_API_HOST", host)
        });
    }
}

const SQUATTER: &str = "apiVersion: v1
kind: Service
metadata: {name: squatter, namespace: kube-system}
spec:
  clusterIP: 10.43.0.10
  ports: [{port: 80}]
";
