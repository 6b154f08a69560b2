//! Fixes that change the repository or this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Scenario, commands};
use crate::world::World;

/// A file in the folder that Flux syncs.
const SYNCED: &str = "kubernetes/flux/cluster/a.sops.yaml";

const OFFLINE: [&str; 1] = ["--offline"];

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: flux-system}\nstringData: {k: a-value-of-a-secret}\n";

#[test]
fn fixes_in_the_repository() {
    let world = World::with_own_registry("fixes-repository");
    age_key(&world);
    encrypted_files(&world);
    other_files(&world);
    variables(&world);
    kubeconfig(&world);
    stale_login(&world);
}

fn age_key(world: &World) {
    let key = world.root.join("age.key");
    let mode = || std::fs::metadata(&key).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    Scenario::new(world, "age-key-mode").args(&OFFLINE).goes();
    assert_eq!(mode(), 0o600);

    world.git(&["add", "--force", "age.key"]);
    Scenario::new(world, "age-key-git").args(&OFFLINE).goes();
    assert!(key.is_file(), "it is not in Git any more, and still here");

    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, "no identity\n").unwrap();
    let broken = Scenario::new(world, "age-key").args(&OFFLINE);
    // `age-keygen` never overwrites a file.
    std::fs::remove_file(&key).unwrap();
    std::fs::write(&key, "no identity\n").unwrap();
    broken.goes_with(|fix| format!("rm age.key; {}", commands(&fix)[0]));
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

fn encrypted_files(world: &World) {
    let recipient = world.recipient(&world.sandbox.age_key());
    let other = world.sandbox.other_age_key();
    let rules = |path: &str| {
        let text = format!(
            "creation_rules:\n- path_regex: '{path}'\n  encrypted_regex: ^(data|stringData)$\n  age: {recipient}\n"
        );
        world.write(".sops.yaml", &text);
    };
    // Without creation rules, with rules for other files, and with a rule for this file.
    for config in [None, Some("^talos/"), Some(r"\.sops\.yaml$")] {
        if let Some(path) = config {
            rules(path);
        }
        world.write(SYNCED, SECRET);
        world.git(&["add", SYNCED]);
        Scenario::new(world, "sops-plain").args(&OFFLINE).goes();
        assert_encrypted(&world.root.join(SYNCED), &[&recipient]);
        let file = "bootstrap/plain.sops.yaml";
        world.write(file, SECRET);
        Scenario::new(world, "sops").args(&OFFLINE).goes();
        assert_encrypted(&world.root.join(file), &[&recipient]);
        std::fs::remove_file(world.root.join(file)).unwrap();
    }
    let second = "kubernetes/flux/cluster/b.sops.yaml";
    for file in [SYNCED, second] {
        world.encrypt(file, &other);
        world.git(&["add", file]);
    }
    rules("^talos/");
    let identity = other.display().to_string();
    Scenario::new(world, "sops-recipients").args(&OFFLINE).env(&[("SOPS_AGE_KEY_FILE", &identity)]).goes();
    let recipients = [recipient.as_str(), &world.recipient(&other)];
    for file in [SYNCED, second] {
        assert_encrypted(&world.root.join(file), &recipients);
    }
    std::fs::remove_file(world.root.join(".sops.yaml")).unwrap();
}

fn other_files(world: &World) {
    world.write("k3s-boot.yml", "nodes: 1\n");
    Scenario::new(world, "config").args(&OFFLINE).goes();
    assert!(world.root.join("k3s-boot.yaml").is_file());
    std::fs::remove_file(world.root.join("k3s-boot.yaml")).unwrap();

    let script = include_str!("../../fixtures/seed/scripts/bootstrap-apps.sh");
    for is_tracked in [true, false] {
        world.write("scripts/bootstrap-apps.sh", script);
        if is_tracked {
            world.git(&["add", "scripts"]);
        }
        Scenario::new(world, "old-script").args(&OFFLINE).goes();
    }
}

fn variables(world: &World) {
    let missing = Scenario::new(world, "env").args(&OFFLINE).env(&[("K3S_API_HOST", "")]);
    let fix = missing.fix();
    assert_eq!(fix, "export K3S_API_HOST=...");
    let ran = world.shell_with(
        &format!("{} && k3s-boot check --offline", fix.replace("...", "10.0.0.10")),
        &[("K3S_API_HOST", "")],
    );
    ran.assert().code(0);
}

/// A changed copy of the kubeconfig.
fn copy(world: &World, name: &str, change: impl Fn(&str) -> String) -> String {
    let path = world.root.parent().unwrap().join(name);
    std::fs::write(&path, change(&std::fs::read_to_string(world.sandbox.kubeconfig()).unwrap())).unwrap();
    path.display().to_string()
}

fn kubeconfig(world: &World) {
    let without_current = copy(world, "no-context", |text| {
        let lines = text.lines().filter(|line| !line.contains("current-context"));
        lines.collect::<Vec<_>>().join("\n")
    });
    let env = [("KUBECONFIG", without_current.as_str())];
    Scenario::new(world, "kubeconfig")
        .env(&env)
        .goes_with(|fix| commands(&fix)[0].replace("NAME", "default"));

    // As k3s writes it, used on another machine.
    let text = std::fs::read_to_string(world.sandbox.kubeconfig()).unwrap();
    let server = text.split("https://").nth(1).unwrap().split(['"', '\n', ' ']).next().unwrap().to_owned();
    let elsewhere = copy(world, "elsewhere", |text| text.replace(&server, "127.0.0.1:1"));
    let env = [("KUBECONFIG", elsewhere.as_str())];
    Scenario::new(world, "api").env(&env).goes_with(|fix| commands(&fix)[0].replace("SERVER:1", &server));
}

fn stale_login(world: &World) {
    let file = world.sandbox.home().join(".config/helm/registry/config.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, r#"{"auths": {"ghcr.io": {"auth": "bWU6b2xkLXBhc3N3b3Jk"}}}"#).unwrap();
    let faults = world.sandbox.registry().faults();
    faults.refuse_logins(403);
    let cache = world.root.parent().unwrap().join("cache").display().to_string();
    Scenario::new(world, "chart-login").env(&[("XDG_CACHE_HOME", &cache)]).goes_with(|fix| {
        assert_eq!(fix, "helm registry logout ghcr.io; docker logout ghcr.io");
        fix.replace("; docker logout ghcr.io", "")
    });
    faults.clear();
}
