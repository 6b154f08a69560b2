//! The Secret with the age key, `flux-system/sops-age`: from a key file, from an encrypted file, or from both.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Object, ObjectId};
use crate::base::finding::Finding;
use crate::base::fingerprint::HashKey;
use crate::base::yaml::{self, PRINTED};
use crate::desired::AgeKey;
use crate::desired::age::{self, Identity};
use crate::desired::object_source::ObjectSource;

/// How the keys of the Secret end that kustomize-controller reads as age identities (`DecryptionAgeExt`).
const AGE_SUFFIX: &str = ".agekey";

/// The public properties of the Secret.
#[derive(Default)]
pub(crate) struct SopsAge {
    age_key: AgeKey,
    /// Whether it has keys besides those with age identities.
    has_other_keys: bool,
    /// Whether it was made from a key file.
    pub(super) is_key_file: bool,
    /// The key of the Secret that Flux cannot use, and why.
    problem: Option<(String, String)>,
}

impl SopsAge {
    pub(super) fn new(secret: &Value, source: &ObjectSource) -> Self {
        let mut found = Self::default();
        let mut misnamed = None;
        let mut identities = Vec::new();
        for (key, text) in texts(secret) {
            if key.ends_with(AGE_SUFFIX) {
                match age::parse(&text) {
                    Ok(mut file) => identities.append(&mut file.identities),
                    Err(error) => _ = found.problem.get_or_insert((key, error.to_string())),
                }
            } else {
                found.has_other_keys = true;
                if text.lines().any(|line| line.starts_with("AGE-")) {
                    let reason = format!("Flux reads only keys that end in `{AGE_SUFFIX}`");
                    misnamed.get_or_insert((key, reason));
                }
            }
        }
        found.problem = found.problem.or(misnamed.filter(|_| identities.is_empty()));
        found.age_key = AgeKey {
            path: PathBuf::from(source.to_string()),
            post_quantum: identities.iter().any(Identity::is_post_quantum),
            plugin: identities.iter().any(Identity::is_plugin),
            public: identities.into_iter().filter_map(|identity| identity.public).collect(),
            is_encrypted: true,
            ..AgeKey::default()
        };
        found
    }
}

/// The keys and texts of a Secret.
fn texts(secret: &Value) -> impl Iterator<Item = (String, String)> {
    let map = |name: &str| secret.get(name).and_then(Value::as_object).into_iter().flatten();
    let plain = map("stringData").filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let encoded = map("data").map(|(key, value)| {
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text.replace(['\n', '\r'], "")).ok());
        (key.clone(), bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default())
    });
    plain.chain(encoded).collect::<Vec<_>>().into_iter()
}

/// Hashes of the age identities in a Secret that Flux reads.
pub(crate) fn identities(secret: &Value, key: &HashKey) -> Vec<u64> {
    let texts = texts(secret).filter(|(name, _)| name.ends_with(AGE_SUFFIX));
    let lines = texts.flat_map(|(_, text)| {
        text.lines().filter(|line| line.starts_with("AGE-")).map(|line| key.hash(line)).collect::<Vec<_>>()
    });
    lines.collect()
}

/// Reports a Secret that Flux cannot use.
pub(super) fn check(object: &Object) -> Option<Finding> {
    let (key, reason) = object.sops_age.as_ref()?.problem.as_ref()?;
    Some(
        Finding::error("age-key", "Age key cannot be used")
            .with(object.source.key(), &object.source)
            .with("key", key)
            .with("reason", reason)
            .fix(format!("put the identities into `stringData.{}`, one in each line", super::AGE_KEY)),
    )
}

/// Whether a Secret replaces another: the one that stays has everything of the other. A key file may have fewer identities than an
/// encrypted Secret, but not more, because the Secret shows what the cluster should have.
///
/// # Errors
///
/// The Secrets contradict each other.
pub(super) fn replaces(known: &Object, object: &Object) -> Result<bool, Finding> {
    let has_all_of = |one: &Object, other: &Object| {
        let has_other_keys = other.sops_age.as_ref().is_some_and(|secret| secret.has_other_keys);
        !has_other_keys && other.identities.iter().all(|identity| one.identities.contains(identity))
    };
    if has_all_of(object, known) {
        return Ok(true);
    }
    let is_key_file = known.sops_age.as_ref().is_some_and(|secret| secret.is_key_file);
    if !is_key_file && has_all_of(known, object) {
        return Ok(false);
    }
    let public = |object: &Object| {
        object.sops_age.as_ref().map(|secret| secret.age_key.public.join(" ")).unwrap_or_default()
    };
    Err(Finding::error("age-key", "Two files define different age keys")
        .with(known.source.key(), &known.source)
        .with("public", public(known))
        .with("other", &object.source)
        .with("other_public", public(object))
        .fix("remove the wrong file, or put the same identities into both"))
}

/// Whether a file named as encrypted shows that it is the Secret with the age key.
pub(crate) fn is_named(text: &str) -> bool {
    yaml::documents::<Value>(text, PRINTED).map_while(Result::ok).any(|document| {
        ObjectId::of(&document).is_some_and(|mut id| {
            let sops_age = ObjectId::sops_age();
            id.namespace = id.namespace.or_else(|| sops_age.namespace.clone());
            id == sops_age
        })
    })
}

/// The age key that goes into the cluster. `file` is the key file, if there is one.
pub(crate) fn age_key(objects: &[Object], file: Option<AgeKey>) -> Option<AgeKey> {
    let mut secrets = objects.iter().filter(|object| !object.identities.is_empty());
    let Some(secret) = secrets.find_map(|object| object.sops_age.as_ref()) else { return file };
    let AgeKey { public, post_quantum, plugin, .. } = secret.age_key.clone();
    match file {
        Some(file) => Some(AgeKey { public, post_quantum, plugin, ..file }),
        None => Some(secret.age_key.clone()),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::base::redact::Redactor;
    use crate::desired::objects::{merge, parse};

    fn secret(key: &HashKey, name: &str, data: &str) -> Object {
        let text =
            format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: sops-age}}\nstringData: {{{data}}}\n");
        parse(&ObjectSource::Encrypted(name.into()), &SecretString::from(text), key, &Redactor::default())
            .ok()
            .unwrap()
            .remove(0)
    }

    #[test]
    fn the_secret_with_everything_stays() {
        let key = HashKey::default();
        let (one, two) = ("AGE-PLUGIN-X-1ONE", "AGE-PLUGIN-X-1TWO");
        let of = |name: &str, identities: &[&str]| {
            secret(&key, name, &format!("age.agekey: \"{}\\n\"", identities.join("\\n")))
        };
        let stays = |objects: [Object; 2]| match merge(objects) {
            Ok(merged) => merged[0].source.to_string(),
            Err(findings) => findings[0].summary.clone(),
        };
        let of_file = |identities: &[&str]| {
            let mut object = of("age.key", identities);
            object.sops_age.as_mut().unwrap().is_key_file = true;
            object
        };
        let contradiction = "Two files define different age keys";
        assert_eq!(stays([of_file(&["# mine", one]), of("b", &[one])]), "b");
        assert_eq!(stays([of_file(&[two, one]), of("b", &[one, two])]), "b");
        assert_eq!(stays([of_file(&[one]), of("b", &[one, two])]), "b");
        assert_eq!(stays([of_file(&[one, two]), of("b", &[one])]), contradiction);
        assert_eq!(stays([of_file(&[one]), of("b", &[two])]), contradiction);
        assert_eq!(stays([of("a", &[one, two]), of("b", &[one])]), "a");
        assert_eq!(stays([of("a", &[one]), of("b", &[one, two])]), "b");
        // No key of another kind gets lost.
        let with_pgp = |name: &str| secret(&key, name, &format!("k.agekey: {one}, pgp.asc: x"));
        assert_eq!(stays([of_file(&[one]), with_pgp("b")]), "b");
        assert_eq!(stays([with_pgp("a"), of("b", &[one, two])]), contradiction);
    }

    #[test]
    fn what_flux_cannot_use_is_found() {
        let key = HashKey::default();
        let problem = |data: &str| {
            let finding = check(&secret(&key, "a", data))?;
            assert!(!format!("{finding:?}").contains("CANARY"), "{finding:?}");
            Some(format!("{}: {}", finding.details[1].1, finding.details[2].1))
        };
        let good = "AGE-PLUGIN-X-1CANARY";
        assert_eq!(problem(&format!("a.agekey: {good}, old.txt: {good}")), None);
        assert_eq!(problem("pgp.asc: CANARY"), None);
        assert_eq!(
            problem(&format!("a.txt: {good}")).unwrap(),
            "a.txt: Flux reads only keys that end in `.agekey`"
        );
        assert_eq!(
            problem("a.agekey: age1CANARY").unwrap(),
            "a.agekey: line 1 is a public key; the file must hold the private one"
        );
    }

    #[test]
    fn the_key_of_the_cluster_is_that_of_the_secret() {
        let objects = [secret(&HashKey::default(), "/b", "x.agekey: AGE-PLUGIN-X-1ONE")];
        let own = age_key(&objects, None).unwrap();
        assert!(own.is_encrypted && own.plugin && own.path == std::path::Path::new("/b"));
        let file = || AgeKey { path: "/age.key".into(), mode: Some(0o600), ..AgeKey::default() };
        let both = age_key(&objects, Some(file())).unwrap();
        assert_eq!(both, AgeKey { plugin: true, ..file() });
        assert_eq!(age_key(&[], Some(file())), Some(file()));
        assert_eq!(age_key(&[secret(&HashKey::default(), "/b", "pgp.asc: x")], None), None);
    }

    #[test]
    fn an_encrypted_file_shows_its_name() {
        let text = |namespace: &str| {
            format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: sops-age{namespace}}}\ndata: ENC[x]\n")
        };
        assert!(is_named(&text("")) && is_named(&text(", namespace: flux-system")));
        assert!(is_named(&format!("kind: x\n---\n{}", text(""))));
        assert!(!is_named(&text(", namespace: other")) && !is_named("kind: ENC[x]\n") && !is_named("["));
    }

    proptest::proptest! {
        #[test]
        fn no_secret_makes_it_panic(odd in crate::base::mutate::json(
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"sops-age"},"data":{"a.agekey":"QUdFLTE="},"stringData":{"b.agekey":"AGE-PLUGIN-X"}}"#), text: String) {
            _ = (SopsAge::new(&odd, &ObjectSource::Encrypted("a".into())).problem, identities(&odd, &HashKey::default()));
            _ = (is_named(&text), is_named(&odd.to_string()));
        }
    }
}
