//! sops and Flux support this type of age key.

use semver::Version;
use serde_json::Value;

use crate::base::finding::{Finding, Severity};
use crate::check::{Answer, Check, Facts, Group, Inspection, Needs, Rule};
use crate::desired::encrypted::EncryptedState;
use crate::desired::{AgeKey, Desired};

/// The first sops version that supports post-quantum identities.
const SOPS: Version = Version::new(3, 12, 0);

/// The first minor version of Flux 2 that supports them.
const FLUX_MINOR: u64 = 9;

/// The last flux-operator version whose manifests are known to contain an older Flux (2.7.5).
const OLD_OPERATOR: Version = Version::new(0, 37, 1);

pub(super) const RULE: Rule = Rule {
    id: "age-key-flux",
    group: Group::Secrets,
    title: "sops and Flux support this type of age key",
    why: "Post-quantum identities need sops 3.12 and Flux 2.9 (kustomize-controller 1.9) or later, and no Flux \
          controller has age plugins. Flux reports it only when it first decrypts a file.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let key = match facts.age_key() {
        Ok(key) => key,
        Err(answer) => return answer,
    };
    let mut inspection = Inspection::default();
    inspection.look(plugin(facts.desired, key));
    // All support the others.
    if key.post_quantum {
        match sops_version(facts) {
            Some(version) => inspection.look(sops(facts.desired, key, version)),
            None => inspection.miss("the version of sops is unknown"),
        }
        facts.desired.unread().into_iter().for_each(|reason| inspection.miss(reason));
        inspection.look(flux(facts.desired, key));
    }
    inspection.answer("there is no age key")
}

fn sops_version<'a>(facts: &Facts<'a>) -> Option<&'a Version> {
    let program = facts.observed.programs.iter().find(|program| program.name == "sops")?;
    program.version.as_ref().ok()?.as_ref()
}

fn encrypted(desired: &Desired, in_bootstrap: bool) -> bool {
    desired.for_cluster().any(|file| {
        file.in_bootstrap == in_bootstrap
            && matches!(&file.state, EncryptedState::Encrypted { age, .. } if !age.is_empty())
    })
}

/// An error if the key is needed, else a warning.
fn found(message: &str, key: &AgeKey, needed: bool) -> Finding {
    let severity = if needed { Severity::Error } else { Severity::Warning };
    Finding { severity, ..Finding::error(RULE.id, message) }.with("file", key.path.display())
}

fn plugin(desired: &Desired, key: &AgeKey) -> Option<Finding> {
    let only = key.public.is_empty() && !key.post_quantum;
    key.plugin.then(|| {
        found("Flux does not support age plugins", key, only && encrypted(desired, false))
            .fix("create a key for Flux with `age-keygen`, add its public key to .sops.yaml, and run `sops updatekeys` on every encrypted file")
    })
}

fn sops(desired: &Desired, key: &AgeKey, version: &Version) -> Option<Finding> {
    // Pre-releases count as their final version.
    let plain = Version::new(version.major, version.minor, version.patch);
    (plain < SOPS).then(|| {
        found("sops does not support post-quantum age keys", key, encrypted(desired, true))
            .with("sops", version)
            .fix("install sops 3.12 or later")
    })
}

fn flux(desired: &Desired, key: &AgeKey) -> Option<Finding> {
    let version = too_old_version(desired)?;
    Some(
        found("Flux does not support post-quantum age keys", key, encrypted(desired, false))
            .with("flux", version)
            .fix(
                "upgrade flux-operator, flux-instance and `instance.distribution` to Flux 2.9 or later, or create a key \
                 with `age-keygen` (without `-pq`)",
            ),
    )
}

/// The pinned Flux version, if it is known to be too old.
fn too_old_version(desired: &Desired) -> Option<String> {
    let values = desired.release_of_chart("flux-instance")?.merged();
    let distribution = values.pointer("/instance/distribution")?;
    let version = match distribution.get("version") {
        Some(Value::String(version)) => version.clone(),
        Some(Value::Number(version)) => version.to_string(),
        _ => String::new(),
    };
    let minor = version.trim_start_matches(['v', '=', '~']).strip_prefix("2.").map(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse::<u64>()
    });
    if let Some(Ok(minor)) = minor {
        return (minor < FLUX_MINOR).then_some(version);
    }
    let artifact = distribution.get("artifact")?.as_str()?;
    let tag = artifact.split_once("/flux-operator-manifests:v").map(|(_, tag)| tag)?;
    let operator = Version::parse(tag.split('@').next()?).ok()?;
    (operator <= OLD_OPERATOR).then(|| format!("the one of flux-operator {operator}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::desired::synced::Synced;
    use crate::observed::Program;

    fn world(distribution: &str, key: AgeKey) -> World {
        let values = format!("{{instance: {{distribution: {{{distribution}}}}}}}");
        let mut world = World::with_values("flux-instance", "0.37.1", &values);
        world.desired.age_key = Some(key);
        world.desired.synced = Ok(Synced { path: "k".into(), ..Synced::default() });
        for (path, in_bootstrap) in [("k/a.sops.yaml", false), ("bootstrap/b.sops.yaml", true)] {
            world.encrypt(path, in_bootstrap, ["age1".to_owned()]);
        }
        world
    }

    fn post_quantum() -> AgeKey {
        AgeKey { post_quantum: true, ..AgeKey::default() }
    }

    #[test]
    fn an_ordinary_key_is_supported_everywhere() {
        let mut shipped = World::shipped();
        shipped.assert_found(&RULE, &["- there is no age key"]);
        shipped.desired.problems.push(Finding::error("age-key", "Age key cannot be used"));
        shipped.assert_found(&RULE, &["unknown the age key cannot be read"]);
        let key = AgeKey { public: vec!["age1a".to_owned()], ..AgeKey::default() };
        shipped.desired.age_key = Some(key);
        shipped.assert_found(&RULE, &[]);
    }

    #[test]
    fn a_post_quantum_key_needs_a_new_flux() {
        let message = "Flux does not support post-quantum age keys";
        let error = format!("error {message}");
        let artifact = |tag: &str| {
            format!("artifact: 'oci://ghcr.io/controlplaneio-fluxcd/flux-operator-manifests:{tag}'")
        };
        for (distribution, too_old) in [
            ("version: 2.7.x", true),
            ("version: 2.8", true),
            ("version: 2.9.x", false),
            ("version: 2.x", false),
            (artifact("v0.37.1").as_str(), true),
            (artifact("v0.58.1").as_str(), false),
            (artifact("latest").as_str(), false),
            ("", false),
        ] {
            let expected: &[&str] = if too_old { &[&error] } else { &[] };
            let mut world = world(distribution, post_quantum());
            let version = Ok(Some(Version::new(3, 12, 0)));
            world.observed.programs = vec![Program { name: "sops", path: None, version }];
            world.assert_found(&RULE, expected);
        }
        let mut idle = world("version: 2.7.x", post_quantum());
        idle.desired.encrypted.clear();
        idle.assert_found(&RULE, &[&format!("warning {message}")]);
    }

    #[test]
    fn a_post_quantum_key_needs_a_new_sops() {
        let mut world = world("", post_quantum());
        let message = "error sops does not support post-quantum age keys";
        for (version, expected) in [
            (Ok(Some(Version::new(3, 11, 0))), &[message] as &[&str]),
            (Ok(Some(Version::new(3, 12, 0))), &[]),
            (Ok(None), &["unknown the version of sops is unknown"]),
            (Err("not asked".to_owned()), &["unknown the version of sops is unknown"]),
        ] {
            world.observed.programs = vec![Program { name: "sops", path: None, version }];
            world.assert_found(&RULE, expected);
        }
    }

    #[test]
    fn no_controller_has_age_plugins() {
        let key = AgeKey { plugin: true, ..AgeKey::default() };
        world("", key.clone()).assert_found(&RULE, &["error Flux does not support age plugins"]);
        let beside = AgeKey { public: vec!["age1a".to_owned()], ..key };
        world("", beside).assert_found(&RULE, &["warning Flux does not support age plugins"]);
    }
}
