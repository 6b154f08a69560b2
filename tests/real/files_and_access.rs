//! Problems of the environment, the repository, its secrets and the kubeconfig, set up one by one: `check` reports each,
//! with `--offline` if it needs no cluster.

use std::path::PathBuf;

use super::fixture::{Fixture, Invocation};
use super::preflight::{old_helmfile, with_ca, with_programs, with_token};
use super::problem_table::{Table, assert_healthy, none, problem};

const OFFLINE: [&str; 2] = ["check", "--offline"];
const APPS: &str = "bootstrap/helmfile.d/01-apps.yaml";
const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";

/// A file in the folder that Flux syncs.
const SYNCED: &str = "kubernetes/flux/cluster/secret.sops.yaml";

/// The manifests of the operator's own version, in the values of flux-instance.
const ARTIFACT: &str = "artifact: oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests:v0.37.1";

/// A replacement in a file, and the check that reports it.
struct Edit {
    name: &'static str,
    rule: &'static str,
    mark: &'static str,
    words: &'static [&'static str],
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

#[test]
fn problems_of_files_and_access() {
    let fixture = Fixture::with_own_registry("files-and-access");
    let mark = fixture.sandbox.audit_mark().unwrap();
    // Downloads all charts, so that values keys can be checked.
    assert_healthy(&fixture.k3s_boot(&["check"]).run());
    let offline = fixture.sandbox.audit_mark().unwrap();
    let requests = fixture.sandbox.registry().faults().count();
    assert_healthy(&fixture.k3s_boot(&OFFLINE).run());
    let mut table = Table::new(&fixture);
    programs(&mut table);
    for edit in HELMFILES.iter().chain(VALUES_OF_RELEASES) {
        edited(&mut table, edit);
    }
    repository(&mut table);
    age_keys(&mut table);
    encrypted_files(&mut table);
    assert_eq!(fixture.sandbox.registry().faults().count(), requests, "offline contacts no registry");
    let events = fixture.sandbox.audit_since(offline).unwrap();
    assert!(!events.iter().any(sandbox::AuditEvent::is_from_admin), "offline contacts no cluster");
    charts(&mut table);
    kubeconfigs(&mut table);
    clusters(&mut table);
    table.end();
    assert_healthy(&fixture.k3s_boot(&["check"]).run());
    assert_healthy(&fixture.k3s_boot(&OFFLINE).run());
    assert_eq!(fixture.changes(mark), [""; 0]);
}

/// A problem that `check --offline` reports.
#[track_caller]
fn offline(table: &mut Table<'_>, case: [&str; 3], words: &[&str], set_up: impl FnOnce()) {
    let [name, rule, mark] = case;
    let fixture = table.fixture;
    table.check_with(
        &problem(name, rule, mark, words),
        set_up,
        || clean(fixture),
        &OFFLINE,
        |k3s_boot| k3s_boot,
    );
}

/// A problem of the environment.
#[track_caller]
fn run_with<'a>(
    table: &mut Table<'a>,
    case: [&str; 3],
    words: &[&str],
    args: &[&str],
    change: impl FnOnce(Invocation<'a>) -> Invocation<'a>,
) {
    let [name, rule, mark] = case;
    table.check_with(&problem(name, rule, mark, words), none, none, args, change);
}

#[track_caller]
fn edited(table: &mut Table<'_>, edit: &Edit) {
    let fixture = table.fixture;
    let Edit { name, rule, mark, words, file, from, to } = edit;
    offline(table, [name, rule, mark], words, || fixture.replace(file, from, to));
}

/// Restores the repository.
fn clean(fixture: &Fixture) {
    fixture.restore();
    for file in [".sops.yaml", "k3s-boot.yaml"] {
        _ = std::fs::remove_file(fixture.root.join(file));
    }
    for folder in ["kubernetes", "scripts"] {
        _ = std::fs::remove_dir_all(fixture.root.join(folder));
    }
    let added = ["age.key", ".sops.yaml", "kubernetes", "bootstrap/other.sops.yaml"];
    fixture.git(&[&["rm", "-r", "--quiet", "--cached", "--ignore-unmatch", "--"][..], &added].concat());
}

/// Variables and programs.
fn programs(table: &mut Table<'_>) {
    let fixture = table.fixture;
    let last = ["variable of the last release missing", "env", "✗"];
    run_with(table, last, &["FLUX_GIT_URL"], &OFFLINE, |k3s_boot| k3s_boot.env_remove("FLUX_GIT_URL"));
    let both = ["variables of the first and of the last release missing", "env", "✗"];
    run_with(table, both, &["FLUX_GIT_URL K3S_API_HOST"], &OFFLINE, |k3s_boot| {
        k3s_boot.env_remove("FLUX_GIT_URL").env_remove("K3S_API_HOST")
    });
    let missing = ["a program missing", "programs", "✗"];
    run_with(table, missing, &["deps: sops"], &OFFLINE, |k3s_boot| {
        with_programs(fixture, k3s_boot, &["helmfile", "kubectl", "helm"], None)
    });
    let old = ["helmfile too old", "versions", "✗"];
    run_with(table, old, &["helmfile", "1.7.0", "1.7.1 or later"], &OFFLINE, |k3s_boot| {
        with_programs(
            fixture,
            k3s_boot,
            &["kubectl", "sops", "helm"],
            Some(("helmfile", old_helmfile(fixture))),
        )
        .env("FAKE_SCENARIO", fixture.root.join("old-helmfile.json"))
        .env("FAKE_TRANSCRIPT", fixture.root.join("old-helmfile.jsonl"))
    });
    let address = ["API host with the port of another address", "api-port", "!"];
    run_with(table, address, &["k8sServicePort: 6444"], &OFFLINE, |k3s_boot| {
        fixture.replace(VALUES, "{{ if eq $host \"127.0.0.1\" }}6444{{ else }}6443{{ end }}", "6443");
        k3s_boot.env("K3S_API_HOST", "127.0.0.1")
    });
    clean(fixture);
}

const HELMFILES: &[Edit] = &[
    Edit {
        name: "helmfile that is not valid YAML",
        rule: "helmfile",
        mark: "✗",
        words: &["not valid YAML", "01-apps.yaml", "line: "],
        file: APPS,
        from: "needs: ['kube-system/cilium']",
        to: "needs: ['kube-system/cilium'",
    },
    Edit {
        name: "values path of the original",
        rule: "helmfile",
        mark: "✗",
        words: &[
            "Values file not found",
            "./templates/values.yaml.gotmpl",
            "`../templates/values.yaml.gotmpl`",
        ],
        file: APPS,
        from: "'../templates/",
        to: "'./templates/",
    },
    Edit {
        name: "template that does not render",
        rule: "helmfile",
        mark: "✗",
        words: &["Helmfile cannot be rendered", "01-apps.yaml", "values.yaml.gotmpl"],
        file: VALUES,
        from: "{{- $release := .Release.Name -}}",
        to: "{{- $release := .Release.Nome -}}",
    },
    Edit {
        name: "`prepare` hook",
        rule: "hooks",
        mark: "✗",
        words: &["`prepare` hook", "--allow-hooks"],
        file: APPS,
        from: "  - name: coredns\n",
        to: "  - name: coredns\n    hooks: [{events: [prepare], command: touch, args: [hook-ran]}]\n",
    },
    Edit {
        name: "`needs` names an unknown release",
        rule: "releases",
        mark: "✗",
        words: &["needs: kube-system/celium", "release: kube-system/coredns"],
        file: APPS,
        from: "kube-system/cilium",
        to: "kube-system/celium",
    },
    Edit {
        name: "cycle of `needs`",
        rule: "releases",
        mark: "✗",
        words: &["cycle", "remove one of their `needs`"],
        file: APPS,
        from: "    version: 1.18.6\n",
        to: "    version: 1.18.6\n    needs: ['flux-system/flux-instance']\n",
    },
    Edit {
        name: "invalid name of a release",
        rule: "releases",
        mark: "✗",
        words: &["invalid name", "kube-system/Coredns"],
        file: APPS,
        from: "- name: coredns",
        to: "- name: Coredns",
    },
    Edit {
        name: "chart folder missing",
        rule: "releases",
        mark: "✗",
        words: &["Chart folder not found", "path: ", "bootstrap/helmfile.d/"],
        file: APPS,
        from: "oci://ghcr.io/coredns/charts/coredns",
        to: "./charts/coredns",
    },
    Edit {
        name: "deprecated mirror",
        rule: "mirror",
        mark: "!",
        words: &["deprecated mirror", "chart: oci://quay.io/cilium/charts/cilium", "version: 1.18.6"],
        file: APPS,
        from: "oci://quay.io/cilium/charts/cilium\n    version: 1.18.6",
        to: "oci://ghcr.io/home-operations/charts-mirror/cilium\n    version: 1.18.5",
    },
    Edit {
        name: "different versions of flux-operator and flux-instance",
        rule: "flux-pair",
        mark: "!",
        words: &["flux_operator: 0.37.1", "flux_instance: 0.38.0", "version: 0.37.1"],
        file: APPS,
        from: "charts/flux-instance\n    version: 0.37.1",
        to: "charts/flux-instance\n    version: 0.38.0",
    },
    Edit {
        name: "chart not downloaded",
        rule: "charts",
        mark: "?",
        words: &["not downloaded: coredns 1.45.9"],
        file: APPS,
        from: "version: 1.45.0",
        to: "version: 1.45.9",
    },
];

const VALUES_OF_RELEASES: &[Edit] = &[
    Edit {
        name: "manifests of Flux not pinned",
        rule: "flux-pair",
        mark: "✗",
        words: &[
            "too new for flux-operator",
            "artifact: oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests:latest",
            "v0.37.1",
        ],
        file: VALUES,
        from: ARTIFACT,
        to: "variant: upstream-alpine",
    },
    Edit {
        name: "manifests of Flux for another operator",
        rule: "flux-pair",
        mark: "!",
        words: &["belong to another flux-operator version", "flux-operator-manifests:v0.37.1"],
        file: VALUES,
        from: "manifests:v0.37.1",
        to: "manifests:v0.36.0",
    },
    Edit {
        name: "unreplaced placeholder of Flux",
        rule: "placeholders",
        mark: "!",
        words: &["${SECRET_DOMAIN}", "key: priorityClassName", "requiredEnv \"SECRET_DOMAIN\""],
        file: VALUES,
        from: "priorityClassName: system-cluster-critical",
        to: "priorityClassName: a.${SECRET_DOMAIN}",
    },
    Edit {
        name: "`cgroup.automount` of cilium",
        rule: "values-keys",
        mark: "!",
        words: &["key: cgroup.automount", "suggestion: cgroup.autoMount", "write `autoMount`"],
        file: VALUES,
        from: "rollOutCiliumPods: true",
        to: "cgroup: {automount: {enabled: false}}",
    },
    Edit {
        name: "`serviceMonitor.enabled` of flux-operator",
        rule: "values-keys",
        mark: "!",
        words: &["key: serviceMonitor.enabled", "suggestion: serviceMonitor.create", "write `create`"],
        file: VALUES,
        from: "  create: false",
        to: "  enabled: false",
    },
    Edit {
        name: "`service.clusterIp` of coredns",
        rule: "values-keys",
        mark: "!",
        words: &["key: service.clusterIp", "suggestion: service.clusterIP", "write `clusterIP`"],
        file: VALUES,
        from: "  clusterIP: 10.43.0.10",
        to: "  clusterIP: 10.43.0.10\n  clusterIp: 10.43.0.10",
    },
    Edit {
        name: "key that is not in a closed schema",
        rule: "values-keys",
        mark: "✗",
        words: &["Chart rejects a values key", "key: crds.enable", "suggestion: crds.enabled"],
        file: VALUES,
        from: "crds:\n  enabled: true",
        to: "crds:\n  enabled: true\n  enable: true",
    },
    Edit {
        name: "cilium with its own address pool",
        rule: "cilium-values",
        mark: "!",
        words: &["pool: 10.0.0.0/8", "mode: kubernetes"],
        file: VALUES,
        from: "  mode: kubernetes",
        to: "  mode: cluster-pool",
    },
    Edit {
        name: "kubeProxyReplacement: strict",
        rule: "cilium-values",
        mark: "✗",
        words: &["value: strict", "kubeProxyReplacement: true"],
        file: VALUES,
        from: "kubeProxyReplacement: true",
        to: "kubeProxyReplacement: strict",
    },
    Edit {
        name: "coredns without the name kube-dns",
        rule: "coredns-values",
        mark: "!",
        words: &["key: service.name", "name: kube-dns"],
        file: VALUES,
        from: "  name: kube-dns\n",
        to: "",
    },
    Edit {
        name: "coredns without an address",
        rule: "coredns-values",
        mark: "✗",
        words: &["key: service.clusterIP", "clusterIP: 10.43.0.10"],
        file: VALUES,
        from: "  clusterIP: 10.43.0.10\n",
        to: "",
    },
    Edit {
        name: "coredns without a service account",
        rule: "coredns-values",
        mark: "!",
        words: &["key: serviceAccount.create", "create: true"],
        file: VALUES,
        from: "serviceAccount:\n  create: true",
        to: "serviceAccount:\n  create: false",
    },
    Edit {
        name: "coredns without the label kube-dns",
        rule: "coredns-values",
        mark: "!",
        words: &["key: k8sAppLabelOverride", "k8sAppLabelOverride: kube-dns"],
        file: VALUES,
        from: "k8sAppLabelOverride: kube-dns\n",
        to: "",
    },
    Edit {
        name: "cert-manager without CRDs",
        rule: "cert-manager-crds",
        mark: "✗",
        words: &["key: crds.enabled", "crds:", "enabled: true"],
        file: VALUES,
        from: "crds:\n  enabled: true",
        to: "crds:\n  enabled: false",
    },
    Edit {
        name: "no sync source",
        rule: "flux-sync",
        mark: "!",
        words: &["Flux has no source to sync", "url: https://", "pullSecret"],
        file: VALUES,
        from: "    url: {{ requiredEnv \"FLUX_GIT_URL\" | quote }}\n",
        to: "",
    },
    Edit {
        name: "sync source without a branch",
        rule: "flux-sync",
        mark: "!",
        words: &["Flux source is incomplete", "key: instance.sync.ref", "ref: refs/heads/main"],
        file: VALUES,
        from: "    ref: {{ env \"FLUX_GIT_REF\" | default \"refs/heads/main\" | quote }}\n",
        to: "",
    },
    Edit {
        name: "Flux without decryption",
        rule: "flux-decryption",
        mark: "!",
        words: &["age_key: ", "instance.kustomize.patches", "path: /spec/decryption", "name: sops-age"],
        file: VALUES,
        from: "path: /spec/decryption",
        to: "path: /spec/prune",
    },
    Edit {
        name: "API port of another address",
        rule: "api-port",
        mark: "!",
        words: &["k8s_service_host: 10.0.0.10", "k8sServicePort: 6443"],
        file: VALUES,
        from: "{{ if eq $host \"127.0.0.1\" }}6444{{ else }}6443{{ end }}",
        to: "6444",
    },
    Edit {
        name: "API host with a scheme and a port",
        rule: "api-host",
        mark: "✗",
        words: &["is not a bare host", "k8sServiceHost: 10.0.0.10"],
        file: VALUES,
        from: "k8sServiceHost: {{ $host | quote }}",
        to: "k8sServiceHost: https://10.0.0.10:6443",
    },
];

/// Other files of the repository.
fn repository(table: &mut Table<'_>) {
    let fixture = table.fixture;
    offline(table, ["helmfile missing", "helmfile", "✗"], &["Helmfile not found", "--root"], || {
        std::fs::remove_file(fixture.root.join(APPS)).unwrap();
    });
    offline(
        table,
        ["the old script", "old-script", "!"],
        &["scripts/bootstrap-apps.sh", "rm scripts/"],
        || {
            let script = include_str!("../fixtures/original/scripts/bootstrap-apps.sh");
            fixture.write("scripts/bootstrap-apps.sh", script);
        },
    );
    offline(
        table,
        ["folder that cannot be a namespace", "namespaces", "!"],
        &["kubernetes/apps/Media"],
        || fixture.write("kubernetes/apps/Media/kustomization.yaml", "resources: []\n"),
    );
    offline(
        table,
        ["k3s-boot.yaml with an unknown key", "config", "✗"],
        &["node", "nodes", "line"],
        || {
            fixture.write("k3s-boot.yaml", "node: 3\n");
        },
    );
    assert!(!fixture.root.join("hook-ran").exists(), "no hook may run");
}

/// The age key.
fn age_keys(table: &mut Table<'_>) {
    let fixture = table.fixture;
    let key = fixture.root.join("age.key");
    offline(table, ["age key with a wrong line", "age-key", "✗"], &["line 2 is no age identity"], || {
        fixture.write("age.key", "# mine\nage-secret-key-canary\n");
    });
    offline(table, ["age key that others can read", "age-key-mode", "!"], &["0644", "chmod 600"], || {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    });
    offline(table, ["age key in Git", "age-key-git", "✗"], &["git rm --cached age.key", "history"], || {
        fixture.git(&["add", "--force", "age.key"]);
    });
    let words = ["post-quantum", "flux: the one of flux-operator 0.37.1", "2.9"];
    offline(table, ["post-quantum key, Flux 2.7", "age-key-flux", "!"], &words, || post_quantum(fixture));
    let words = ["post-quantum", "flux: 2.7.x", "2.9"];
    let case = ["post-quantum key, Flux 2.7, and a file that it encrypts", "age-key-flux", "✗"];
    offline(table, case, &words, || {
        fixture.replace(VALUES, ARTIFACT, &format!("version: 2.7.x\n    {ARTIFACT}"));
        post_quantum(fixture);
        fixture.encrypt(SYNCED, &key);
        fixture.git(&["add", SYNCED]);
    });
}

/// Replaces the age key by a post-quantum one, which old programs cannot read.
fn post_quantum(fixture: &Fixture) {
    let key = fixture.root.join("age.key");
    std::fs::remove_file(&key).unwrap();
    let key = key.display().to_string();
    let keygen = fixture.sandbox.tools().age_keygen();
    let made = fixture.program(&keygen.display().to_string(), &["-pq", "-o", &key]).run();
    made.assert().code(0);
}

/// Encrypted files and `.sops.yaml`.
fn encrypted_files(table: &mut Table<'_>) {
    let fixture = table.fixture;
    let own = fixture.sandbox.age_key();
    let other = fixture.sandbox.other_age_key();
    let plain = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n";
    offline(
        table,
        ["plain-text file in bootstrap/", "sops", "✗"],
        &["plain text", "plain.sops.yaml"],
        || {
            fixture.write("bootstrap/plain.sops.yaml", plain);
        },
    );
    offline(
        table,
        ["plain-text file in Git", "sops-plain", "!"],
        &[SYNCED, "sops --config /dev/null encrypt --age age1", "--in-place"],
        || {
            fixture.write(SYNCED, plain);
            fixture.git(&["add", SYNCED]);
        },
    );
    let recipients = [fixture.recipient(&own), fixture.recipient(&other)];
    let words = [SYNCED, &recipients[0], &recipients[1], "sops rotate"];
    let case = ["file of Flux encrypted for another key", "sops-recipients", "✗"];
    offline(table, case, &words, || {
        fixture.encrypt(SYNCED, &other);
        fixture.git(&["add", SYNCED]);
    });
    let case = ["file in bootstrap/ encrypted for another key", "sops-recipients", "!"];
    offline(table, case, &["bootstrap/other.sops.yaml"], || {
        fixture.encrypt("bootstrap/other.sops.yaml", &other);
    });
    let rule = format!("creation_rules:\n- path_regex: kubernetes/.*\n  age: {}\n", recipients[1]);
    let case = ["encrypted file offline", "sops", "?"];
    offline(table, case, &["nothing is decrypted"], || fixture.encrypt("bootstrap/other.sops.yaml", &own));
    let case = ["creation rule without the age key", "sops-rules", "!"];
    offline(table, case, &["does not list the age key", "kubernetes/.*", &recipients[0]], || {
        fixture.encrypt(SYNCED, &own);
        fixture.write(".sops.yaml", &rule);
        fixture.git(&["add", SYNCED]);
    });
    let case = ["no creation rule for a file", "sops-rules", "!"];
    offline(table, case, &["No creation rule", SYNCED], || {
        fixture.encrypt(SYNCED, &own);
        fixture.write(".sops.yaml", &rule.replace("kubernetes", "clusters"));
        fixture.git(&["add", SYNCED]);
    });
}

/// Registries.
fn charts(table: &mut Table<'_>) {
    let fixture = table.fixture;
    let words = [
        "oci://ghcr.io/coredns/charts/coredns",
        "version: 9.9.9",
        "not found",
        "correct `chart` or `version`",
    ];
    table.check(
        &problem("chart version does not exist", "charts", "✗", &words),
        || fixture.replace(APPS, "version: 1.45.0", "version: 9.9.9"),
        || fixture.restore(),
    );
    // The registries now require a token, and ghcr.io rejects this login.
    let login = r#"{"auths": {"ghcr.io": {"auth": "bWU6b2xkLXBhc3N3b3Jk"}}}"#;
    let home = fixture.sandbox.home();
    let places = [
        ("stale login of helm", ".config/helm/registry/config.json"),
        ("stale login of docker", ".docker/config.json"),
    ];
    for (name, place) in places {
        let file = home.join(place);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, login).unwrap();
        let faults = fixture.sandbox.registry().faults();
        let words = ["public chart", "403", "helm registry logout ghcr.io; docker logout ghcr.io"];
        table.check_with(
            &problem(name, "chart-login", "✗", &words),
            || faults.refuse_logins(403),
            || faults.clear(),
            &["check"],
            |k3s_boot| {
                k3s_boot.env("XDG_CACHE_HOME", fixture.root.join(format!("cache-{}", name.replace(' ', "-"))))
            },
        );
        std::fs::remove_file(file).unwrap();
    }
    let row = table.rows.last().unwrap();
    assert!(!row.contains("quay.io") && !row.contains("old-password"), "{row}");
}

/// Writes another kubeconfig.
fn kubeconfig(fixture: &Fixture, name: &str, text: &str) -> PathBuf {
    let path = fixture.root.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, text).unwrap();
    path
}

/// The kubeconfig.
fn kubeconfigs(table: &mut Table<'_>) {
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
fn clusters(table: &mut Table<'_>) {
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
    let states: [(&str, &str, &[&str]); 2] = [
        ("user who can only view", "api", &["Access to the cluster is forbidden", "administrator"]),
        ("user who can only read", "rights", &["not a cluster administrator", "kubectl auth can-i '*' '*'"]),
    ];
    for ((name, rule, words), token) in states.into_iter().zip(&tokens) {
        let path = kubeconfig(fixture, rule, &with_token(&text, token));
        run_with(table, [name, rule, "✗"], words, &["check"], |k3s_boot| k3s_boot.env("KUBECONFIG", path));
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
