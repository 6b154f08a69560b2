//! Problems of the environment, the repository, its secrets and the kubeconfig, set up one by one: `check` reports each,
//! with `--offline` if it needs no cluster.

mod access;
mod edits;

use self::access::{clusters, kubeconfigs};
use self::edits::{Edit, HELMFILES, VALUES_OF_RELEASES};
use super::fixture::{Fixture, Invocation};
use super::preflight::{old_helmfile, with_programs};
use super::problem_table::{Table, assert_healthy, none, problem};

const OFFLINE: [&str; 2] = ["check", "--offline"];
const APPS: &str = "bootstrap/helmfile.d/01-apps.yaml";
const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";

/// A file in the folder that Flux syncs.
const SYNCED: &str = "kubernetes/flux/cluster/secret.sops.yaml";

/// The manifests of the operator's own version, in the values of flux-instance.
const ARTIFACT: &str = "artifact: oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests:v0.37.1";

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
        ["name that cannot be a namespace", "namespaces", "!"],
        &["kubernetes/apps/Media"],
        || fixture.write("kubernetes/apps/Media/kustomization.yaml", "namespace: Media\n"),
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
