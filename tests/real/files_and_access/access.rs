//! Problems of the kubeconfig, the credentials and the API server.

use std::path::PathBuf;

use super::run_with;
use crate::fixture::Fixture;
use crate::preflight::{with_ca, with_token};
use crate::problem_table::Table;

/// Writes another kubeconfig.
fn kubeconfig(fixture: &Fixture, name: &str, text: &str) -> PathBuf {
    let path = fixture.root.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, text).unwrap();
    path
}

/// The kubeconfig.
pub(super) fn kubeconfigs(table: &mut Table<'_>) {
    let fixture = table.fixture;
    let text = std::fs::read_to_string(fixture.sandbox.kubeconfig()).unwrap();
    let check = ["check"];
    run_with(table, ["KUBECONFIG unset", "env", "✗"], &["envs: KUBECONFIG"], &check, |k3s_boot| {
        k3s_boot.env_remove("KUBECONFIG")
    });
    let words = ["file: /none", "/etc/rancher/k3s/k3s.yaml"];
    run_with(table, ["kubeconfig missing", "kubeconfig", "✗"], &words, &check, |k3s_boot| {
        k3s_boot.env("KUBECONFIG", "/none")
    });
    let one = format!("{}:/none", fixture.sandbox.kubeconfig().display());
    run_with(
        table,
        ["one kubeconfig of two missing", "kubeconfig", "!"],
        &["file: /none", "remove it from KUBECONFIG"],
        &check,
        |k3s_boot| k3s_boot.env("KUBECONFIG", one),
    );
    let unknown = ["context unknown", "kubeconfig", "✗"];
    run_with(
        table,
        unknown,
        &["context: prod", "available: default", "--context"],
        &["check", "--context=prod"],
        |k3s_boot| k3s_boot,
    );
    let without = text.replace("current-context:", "other-context:");
    let without = kubeconfig(fixture, "without", &without);
    let case = ["no current context", "kubeconfig", "✗"];
    run_with(table, case, &["no current context", "--context"], &check, |k3s_boot| {
        k3s_boot.env("KUBECONFIG", without)
    });
    let broken = kubeconfig(fixture, "broken", "contexts: [\n");
    let case = ["kubeconfig that is not valid YAML", "kubeconfig", "✗"];
    run_with(table, case, &["not a kubeconfig: see line"], &check, |k3s_boot| {
        k3s_boot.env("KUBECONFIG", broken)
    });
}

/// Access to the API server.
pub(super) fn clusters(table: &mut Table<'_>) {
    let fixture = table.fixture;
    let text = std::fs::read_to_string(fixture.sandbox.kubeconfig()).unwrap();
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap();
    let down = text.replace(server.trim_matches('"'), "https://127.0.0.1:1");
    let states: [(&str, &[&str], PathBuf); 3] = [
        (
            "API unreachable, by the node's own 127.0.0.1",
            &["Cluster unreachable", "https://127.0.0.1:1", "kubectl config set-cluster"],
            kubeconfig(fixture, "down", &down),
        ),
        (
            "unknown credentials",
            &["does not accept the credentials", "copy the kubeconfig from the server again"],
            kubeconfig(fixture, "stranger", &with_token(&text, "wrong")),
        ),
        (
            "untrusted certificate",
            &["certificate is not trusted", "x509"],
            kubeconfig(fixture, "wrong-ca", &with_ca(&text, fixture.sandbox.registry().ca_file())),
        ),
    ];
    for (name, words, path) in states {
        run_with(table, [name, "api", "✗"], words, &["check"], |k3s_boot| k3s_boot.env("KUBECONFIG", path));
    }
    // One user can read everything except secrets, the other everything.
    fixture.apply(USERS);
    let token = |user: &str| {
        let output = fixture.sandbox.kubectl(&["create", "token", user, "--namespace=default"]).unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let tokens = ["viewer", "reader"].map(token);
    let states: [([&str; 3], [&str; 2]); 2] = [
        (["user who can only view", "api", "✗"], ["Access to the cluster is forbidden", "administrator"]),
        (
            ["user who can only read", "rights", "✗"],
            ["not a cluster administrator", "kubectl auth can-i '*' '*'"],
        ),
    ];
    for ((case, words), token) in states.into_iter().zip(&tokens) {
        let path = kubeconfig(fixture, case[1], &with_token(&text, token));
        run_with(table, case, &words, &["check"], |k3s_boot| k3s_boot.env("KUBECONFIG", path));
    }
    for row in &table.rows {
        assert!(tokens.iter().all(|token| !row.contains(token.as_str())), "{row}");
        assert!(!row.contains("reason: `kubectl"), "the error of kubectl without its command: {row}");
    }
    fixture.delete(USERS);
}

const USERS: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: viewer, namespace: default}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch]}
- {nonResourceURLs: ['*'], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: viewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: viewer, namespace: default}]
";
