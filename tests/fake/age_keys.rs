//! The age key as an encrypted Secret, beside `age.key` or in its place.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::{Fixture, RunResult, identity};

const FILE: &str = "bootstrap/sops-age.sops.yaml";

/// Encrypted as with `encrypted_regex: ^(data|stringData)$`.
const ENCRYPTED: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: sops-age, namespace: flux-system}\nstringData: {age.agekey: 'ENC[AES256_GCM,data:x]'}\nsops: {mac: 'ENC[x]'}\n";

/// Adds a Secret with this line and these identities.
fn with_secret(fixture: Fixture, key: &str, identities: &[&str]) -> Fixture {
    let lines = identities.join("\n    ");
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: sops-age, namespace: flux-system}}\nstringData:\n  {key}: |\n    {lines}\n"
    );
    let fixture = identities.iter().fold(fixture, |fixture, identity| fixture.canary(identity));
    fixture
        .file(FILE, ENCRYPTED)
        .rule(json!({"tool": "sops", "args": ["decrypt", "*sops-age.sops.yaml"], "stdout": text}))
}

fn own_identity(fixture: &Fixture) -> String {
    fixture.canaries.age.clone()
}

/// The Secret in the cluster.
fn live(identities: &[&str]) -> Value {
    let text = identities.join("\n") + "\n";
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sops-age", "namespace": "flux-system"},
        "stringData": {"age.agekey": text}})
}

#[track_caller]
fn assert_applied_once(ran: &RunResult) {
    ran.assert().code(0).stderr("");
    assert_eq!(ran.lines("INFO SOPS age secret applied ").len(), 1, "{}", ran.stdout);
    assert_eq!(ran.problems(), [""; 0]);
}

#[test]
fn same_identity_twice_is_one_key() {
    let fixture = Fixture::new();
    let own = own_identity(&fixture);
    let fixture = with_secret(fixture, "age.agekey", &[&own]);
    assert_applied_once(&fixture.run());
    // Flux reads every key that ends in `.agekey`.
    assert_applied_once(&with_secret(Fixture::new().file("age.key", &own), "home.agekey", &[&own]).run());
    let ran = fixture.objects([live(&[&own])]).run();
    assert_eq!(ran.lines("INFO SOPS age secret applied "), [""; 0]);
    assert_eq!(ran.lines("INFO Secret unchanged secret=\"flux-system/sops-age\"").len(), 1);
}

#[test]
fn encrypted_secret_may_have_more_identities() {
    let (fixture, other) = (Fixture::new(), identity());
    let own = own_identity(&fixture);
    let fixture = with_secret(fixture, "age.agekey", &[&own, &other]);
    assert_applied_once(&fixture.run());
    let ran = fixture.objects([live(&[&own, &other])]).run();
    assert_eq!(ran.lines("INFO Secret unchanged secret=\"flux-system/sops-age\"").len(), 1);
}

#[test]
fn contradiction_names_both_files() {
    let (fixture, other) = (Fixture::new(), identity());
    let fixture = with_secret(fixture, "age.agekey", &[&other]);
    let stderr = fixture.refusal();
    for words in [
        "ERROR Two files define different age keys file=\"[TMP]/root/age.key\" public=\"age1",
        " other=\"[TMP]/root/bootstrap/sops-age.sops.yaml\" other_public=\"age1",
        " fix=\"remove the wrong file",
    ] {
        assert!(stderr.contains(words), "no `{words}` in {stderr}");
    }
    // Nor may one of several identities be missing.
    let fixture = Fixture::new();
    let own = own_identity(&fixture);
    let fixture = with_secret(fixture, "age.agekey", &[&own]).file("age.key", &format!("{own}\n{other}\n"));
    let stderr = fixture.canary(&other).refusal();
    assert!(stderr.contains("ERROR Two files define different age keys "), "{stderr}");
}

#[test]
fn own_secret_needs_no_key_file() {
    for encrypted in [ENCRYPTED, "kind: 'ENC[x]'\nmetadata: {name: 'ENC[x]'}\nsops: {mac: 'ENC[x]'}\n"] {
        let own = identity();
        let make = |command: &str| {
            let fixture = Fixture::for_command(command).without("root/age.key");
            with_secret(fixture, "age.agekey", &[&own]).file(FILE, encrypted)
        };
        assert_applied_once(&make("apps").run());
        let ran = make("check").args(&["-o", "json"]).run();
        let checks = ran.report()["checks"].clone();
        let status = |id: &str| {
            let check = checks.as_array().unwrap().iter().find(|check| check["id"] == id).unwrap();
            check["status"].as_str().unwrap().to_owned()
        };
        let statuses = ["age-key", "age-key-flux", "age-key-mode", "age-key-git"].map(status);
        assert_eq!(statuses, ["ok", "ok", "not_applicable", "not_applicable"]);
    }
    let ran = Fixture::new().args(&["--list"]).without("root/age.key").run();
    assert!(ran.stdout.contains("secrets\n  bootstrap/github.sops.yaml\n"), "{}", ran.stdout);
}

#[test]
fn secret_that_flux_cannot_use_is_an_error() {
    let own = identity();
    let make =
        |key: &str, line: &str| with_secret(Fixture::new().without("root/age.key"), key, &[line]).refusal();
    assert_snapshot!(make("age.key", &own), @r#"[TS] ERROR Age key cannot be used file="[TMP]/root/bootstrap/sops-age.sops.yaml" key="age.key" reason="Flux reads only keys that end in `.agekey`" fix="put the identities into `stringData.age.agekey`, one in each line""#);
    let broken = own.replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1QQ");
    assert_snapshot!(make("age.agekey", &broken), @r#"[TS] ERROR Age key cannot be used file="[TMP]/root/bootstrap/sops-age.sops.yaml" key="age.agekey" reason="line 1 is a broken identity: its checksum or length is wrong" fix="put the identities into `stringData.age.agekey`, one in each line""#);
}

#[test]
fn unusable_age_key_is_one_finding() {
    // sops 3.13.2, with the public key in the file.
    let words = "Failed to get the data key required to decrypt the SOPS file.\n\nGroup 0: FAILED\n  age1q: FAILED\n    - | failed to load age identities. Errors while loading age\n      | identities: failed to parse 'SOPS_AGE_KEY_FILE' age\n      | identities: unknown identity type. Did not find keys in\n      | locations 'SOPS_AGE_KEY'.\n";
    let public = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    let fixture = Fixture::new()
        .file("age.key", &format!("{public}\n"))
        .file(".sops.yaml", &format!("creation_rules: [{{age: {public}}}]\n"))
        .rule(json!({"tool": "sops", "args": ["decrypt"], "exit": 128, "stderr": words}));
    let refusal = fixture.refusal();
    assert!(
        refusal.contains("line 1 is a public key") && refusal.contains("of a recipient that"),
        "{refusal}"
    );
    assert!(!refusal.contains("age-keygen") && !refusal.contains("cannot be decrypted"), "{refusal}");
}
