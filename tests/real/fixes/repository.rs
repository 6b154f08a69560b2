//! Fixes that change the repository or this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Scenario, commands};
use crate::fixture::Fixture;

/// A file in the folder that Flux syncs.
const SYNCED: &str = "kubernetes/flux/cluster/a.sops.yaml";

const OFFLINE: [&str; 1] = ["--offline"];

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: flux-system}\nstringData: {k: a-value-of-a-secret}\n";

#[test]
fn fixes_in_the_repository() {
    let fixture = Fixture::with_own_registry("fixes-repository");
    age_key(&fixture);
    encrypted_files(&fixture);
    other_files(&fixture);
    variables(&fixture);
    kubeconfig(&fixture);
    stale_login(&fixture);
}

fn age_key(fixture: &Fixture) {
    let key = fixture.root.join("age.key");
    let mode = || std::fs::metadata(&key).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    Scenario::new(fixture, "age-key-mode").args(&OFFLINE).runs();
    assert_eq!(mode(), 0o600);

    fixture.git(&["add", "--force", "age.key"]);
    Scenario::new(fixture, "age-key-git").args(&OFFLINE).runs();
    assert!(key.is_file(), "removed from Git only");
    // Nothing ignores it.
    std::fs::remove_file(fixture.root.join(".gitignore")).unwrap();
    std::fs::write(fixture.root.join(".git/info/exclude"), "").unwrap();
    Scenario::new(fixture, "age-key-git").args(&OFFLINE).runs();

    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, "no identity\n").unwrap();
    let broken = Scenario::new(fixture, "age-key").args(&OFFLINE);
    // `age-keygen` never overwrites a file.
    std::fs::remove_file(&key).unwrap();
    std::fs::write(&key, "no identity\n").unwrap();
    broken.runs_with(|fix| format!("rm age.key; {}", commands(&fix)[0]));
    std::fs::write(&key, good).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Checks that only the values of a Secret are encrypted, for these recipients.
#[track_caller]
fn assert_encrypted(file: &Path, recipients: &[&str]) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("kind: Secret") && !text.contains("a-value-of-a-secret"), "{text}");
    for recipient in recipients {
        assert!(text.contains(recipient), "{text}");
    }
}

fn encrypted_files(fixture: &Fixture) {
    let recipient = fixture.recipient(&fixture.sandbox.age_key());
    let other = fixture.sandbox.other_age_key();
    let rules = |path: &str| {
        let text = format!(
            "creation_rules:\n- path_regex: '{path}'\n  encrypted_regex: ^(data|stringData)$\n  age: {recipient}\n"
        );
        fixture.write(".sops.yaml", &text);
    };
    // Without creation rules, with rules for other files, and with a rule for this file.
    for config in [None, Some("^talos/"), Some(r"\.sops\.yaml$")] {
        if let Some(path) = config {
            rules(path);
        }
        fixture.write(SYNCED, SECRET);
        fixture.git(&["add", SYNCED]);
        Scenario::new(fixture, "sops-plain").args(&OFFLINE).runs();
        assert_encrypted(&fixture.root.join(SYNCED), &[&recipient]);
        let file = "bootstrap/plain.sops.yaml";
        fixture.write(file, SECRET);
        Scenario::new(fixture, "sops").args(&OFFLINE).runs();
        assert_encrypted(&fixture.root.join(file), &[&recipient]);
        std::fs::remove_file(fixture.root.join(file)).unwrap();
    }
    let second = "kubernetes/flux/cluster/b.sops.yaml";
    for file in [SYNCED, second] {
        fixture.encrypt(file, &other);
        fixture.git(&["add", file]);
    }
    rules("^talos/");
    let identity = other.display().to_string();
    Scenario::new(fixture, "sops-recipients").args(&OFFLINE).env(&[("SOPS_AGE_KEY_FILE", &identity)]).runs();
    let recipients = [recipient.as_str(), &fixture.recipient(&other)];
    for file in [SYNCED, second] {
        assert_encrypted(&fixture.root.join(file), &recipients);
    }
    rules(r"\.sops\.yaml$");
    let changed = "bootstrap/changed.sops.yaml";
    let key = fixture.sandbox.age_key();
    fixture.encrypt(changed, &key);
    let text = std::fs::read_to_string(fixture.root.join(changed)).unwrap();
    // The MAC covers names, too.
    fixture.write(changed, &text.replace("name: a", "name: b"));
    let identity = key.display().to_string();
    Scenario::new(fixture, "sops")
        .env(&[("SOPS_AGE_KEY_FILE", &identity)])
        .runs_with(|fix| commands(&fix).pop().unwrap());
    std::fs::remove_file(fixture.root.join(changed)).unwrap();
    std::fs::remove_file(fixture.root.join(".sops.yaml")).unwrap();
}

fn other_files(fixture: &Fixture) {
    fixture.write("k3s-boot.yml", "nodes: 1\n");
    Scenario::new(fixture, "config").args(&OFFLINE).runs();
    assert!(fixture.root.join("k3s-boot.yaml").is_file());
    std::fs::remove_file(fixture.root.join("k3s-boot.yaml")).unwrap();

    let script = include_str!("../../fixtures/original/scripts/bootstrap-apps.sh");
    for is_tracked in [true, false] {
        fixture.write("scripts/bootstrap-apps.sh", script);
        if is_tracked {
            fixture.git(&["add", "scripts"]);
        }
        Scenario::new(fixture, "old-script").args(&OFFLINE).runs();
    }

    // helmfile renders it under its other name only.
    let [plain, template] = ["", ".gotmpl"].map(|end| format!("bootstrap/helmfile.d/01-apps.yaml{end}"));
    let text = std::fs::read_to_string(fixture.root.join(&plain)).unwrap();
    fixture.write(&plain, &format!("{{{{ $name := 1 }}}}\n{text}"));
    fixture.git(&["add", &plain]);
    Scenario::new(fixture, "helmfile").args(&OFFLINE).runs();
    fixture.git(&["mv", &template, &plain]);
    fixture.write(&plain, &text);
}

fn variables(fixture: &Fixture) {
    let missing = Scenario::new(fixture, "env").args(&OFFLINE).env(&[("K3S_API_HOST", "")]);
    let fix = missing.fix();
    assert_eq!(fix, "export K3S_API_HOST=...");
    let ran = fixture.shell_with(
        &format!("{} && k3s-boot check --offline", fix.replace("...", "10.0.0.10")),
        &[("K3S_API_HOST", "")],
    );
    ran.assert().code(0);
}

/// A changed copy of the kubeconfig.
fn copy(fixture: &Fixture, name: &str, change: impl Fn(&str) -> String) -> String {
    let path = fixture.root.parent().unwrap().join(name);
    std::fs::write(&path, change(&std::fs::read_to_string(fixture.sandbox.kubeconfig()).unwrap())).unwrap();
    path.display().to_string()
}

fn kubeconfig(fixture: &Fixture) {
    let without_current = copy(fixture, "no-context", |text| {
        let lines = text.lines().filter(|line| !line.contains("current-context"));
        lines.collect::<Vec<_>>().join("\n")
    });
    let env = [("KUBECONFIG", without_current.as_str())];
    Scenario::new(fixture, "kubeconfig")
        .env(&env)
        .runs_with(|fix| commands(&fix)[0].replace("NAME", "default"));

    // As k3s writes it, used on another machine.
    let text = std::fs::read_to_string(fixture.sandbox.kubeconfig()).unwrap();
    let server = text.split("https://").nth(1).unwrap().split(['"', '\n', ' ']).next().unwrap().to_owned();
    let elsewhere = copy(fixture, "elsewhere", |text| text.replace(&server, "127.0.0.1:1"));
    let env = [("KUBECONFIG", elsewhere.as_str())];
    Scenario::new(fixture, "api").env(&env).runs_with(|fix| commands(&fix)[0].replace("SERVER:1", &server));
}

fn stale_login(fixture: &Fixture) {
    let file = fixture.sandbox.home().join(".config/helm/registry/config.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, r#"{"auths": {"ghcr.io": {"auth": "bWU6b2xkLXBhc3N3b3Jk"}}}"#).unwrap();
    let faults = fixture.sandbox.registry().faults();
    faults.refuse_logins(403);
    let cache = fixture.root.parent().unwrap().join("cache").display().to_string();
    Scenario::new(fixture, "chart-login").env(&[("XDG_CACHE_HOME", &cache)]).runs_with(|fix| {
        assert_eq!(fix, "helm registry logout ghcr.io; docker logout ghcr.io");
        fix.replace("; docker logout ghcr.io", "")
    });
    faults.clear();
}
