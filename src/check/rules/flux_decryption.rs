//! Flux decrypts what it applies.

use serde_json::Value;

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::encrypted::EncryptedState;

pub(super) const RULE: Rule = Rule {
    id: "flux-decryption",
    group: Group::Repository,
    title: "Flux decrypts what it applies",
    why: "The Kustomization that flux-operator creates from `sync` has no `spec.decryption`. Without a patch, the \
          age key is never used, and encrypted Secrets are applied as they are in Git, or rejected.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

const FIX: &str = "instance:
  kustomize:
    patches:
      - target:
          kind: Kustomization
        patch: |
          - op: add
            path: /spec/decryption
            value:
              provider: sops
              secretRef:
                name: sops-age";

fn check(facts: &Facts<'_>) -> Answer {
    let desired = facts.desired;
    let release = match facts.release_of_chart("flux-instance") {
        Ok(release) => release,
        Err(answer) => return answer,
    };
    let values = release.merged();
    let synced = desired.synced.as_ref();
    let kustomization = desired.sync_objects(release).kustomization;
    let decrypts = |object: &Value| object.pointer("/spec/decryption").is_some();
    if kustomization.as_ref().is_some_and(decrypts) || synced.is_ok_and(|synced| synced.decrypts) {
        return Answer::Ok;
    }
    if kustomization.is_none() {
        return Answer::unknown("a patch may change the Kustomization");
    }
    // Without a source, Flux may sync any file later.
    let url = values.pointer("/instance/sync/url").and_then(Value::as_str).unwrap_or_default();
    let encrypted = desired.encrypted.iter().find(|file| {
        matches!(file.state, EncryptedState::Encrypted { .. })
            && synced.map_or(url.is_empty(), |synced| synced.has(&file.path))
    });
    let reason = match (encrypted, &desired.age_key) {
        (Some(file), _) => ("encrypted", file.path.display()),
        (None, Some(key)) => ("age_key", key.path.display()),
        (None, None) => return facts.without_encrypted(),
    };
    match synced {
        // The Kustomizations of the repository may decrypt.
        Err(unknown) if encrypted.is_none() && !url.is_empty() => Answer::Unknown(unknown.clone()),
        _ => Answer::Found(vec![
            Finding::warning(RULE.id, "Flux does not decrypt what it applies")
                .with("release", release.id())
                .with(reason.0, reason.1)
                .with("key", "instance.kustomize.patches")
                .fix(FIX),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::desired::AgeKey;
    use crate::desired::synced::Synced;

    const FOUND: &str = "warning Flux does not decrypt what it applies";

    fn world(patches: &str) -> World {
        let values =
            format!("{{instance: {{sync: {{url: x, ref: y, path: k}}, kustomize: {{patches: {patches}}}}}}}");
        let mut world = World::with_values("flux-instance", "0.37.1", &values);
        world.desired.age_key = Some(AgeKey::default());
        world.desired.synced = Ok(Synced { path: "k".into(), ..Synced::default() });
        world
    }

    #[test]
    fn a_patch_or_the_repository_enables_decryption() {
        let mut shipped = World::shipped();
        shipped.desired.age_key = Some(AgeKey::default());
        shipped.desired.synced = Ok(Synced::default());
        shipped.assert_found(&RULE, &[]);
        World::of("- {name: a, chart: 'oci://r/a'}\n")
            .assert_found(&RULE, &["- no release uses the chart `flux-instance`"]);
        let patch = |kind: &str, op: &str, path: &str| {
            format!("[{{target: {{kind: {kind}}}, patch: '[{{op: {op}, path: {path}, value: {{}}}}]'}}]")
        };
        world(&patch("Kustomization", "add", "/spec/decryption")).assert_found(&RULE, &[]);
        world("[]").assert_found(&RULE, &[FOUND]);
        world(&patch("Kustomization", "add", "/spec/wait")).assert_found(&RULE, &[FOUND]);
        // It does not change the Kustomization.
        world(&patch("GitRepository", "add", "/spec/decryption")).assert_found(&RULE, &[FOUND]);
        world(&patch("Kustomization", "move", "/spec/decryption"))
            .assert_found(&RULE, &["unknown a patch may change the Kustomization"]);
        let mut own = world("[]");
        own.desired.synced = Ok(Synced { decrypts: true, ..Synced::default() });
        own.assert_found(&RULE, &[]);
    }

    #[test]
    fn nothing_to_decrypt_is_no_problem() {
        let mut world = world("[]");
        world.desired.age_key = None;
        world.assert_found(&RULE, &["- no encrypted file is meant for the cluster"]);
        world.encrypt("k/a.sops.yaml", false, ["age1a".to_owned()]);
        world.assert_found(&RULE, &[FOUND]);
        assert_eq!(world.detail(&RULE, "encrypted"), "k/a.sops.yaml");
        world.desired.encrypted[0].path = "elsewhere/a.sops.yaml".into();
        world.assert_found(&RULE, &["- no encrypted file is meant for the cluster"]);
        world.desired.synced = Err("no path".to_owned());
        world.assert_found(&RULE, &["unknown no path"]);
        world.desired.tracked = Err("no Git".to_owned());
        world.assert_found(&RULE, &["unknown no Git"]);
    }

    #[test]
    fn it_is_reported_before_a_source_is_configured() {
        let mut world = World::with_values("flux-instance", "0.37.1", "{}");
        world.assert_found(&RULE, &["- no encrypted file is meant for the cluster"]);
        world.desired.age_key = Some(AgeKey::default());
        world.assert_found(&RULE, &[FOUND]);
    }

    #[test]
    fn an_unknown_repository_is_unknown() {
        let mut world = world("[]");
        world.desired.synced = Err("git is not there".to_owned());
        world.assert_found(&RULE, &["unknown git is not there"]);
    }
}
