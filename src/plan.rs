//! What has to be done: a pure function of what is wanted and what stands.

use crate::check::Finding;
use crate::desired::objects::{Object, ObjectId};
use crate::desired::{Desired, Kind};
use crate::observed::Observed;

/// What a bootstrap will do.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each wanted namespace, and whether it must be made.
    pub namespaces: Vec<(String, NamespaceAction)>,
    /// Each wanted object and what becomes of it.
    pub objects: Vec<(ObjectId, ObjectAction)>,
    /// The helmfiles to be synced, with their releases as `namespace/name`.
    pub helmfiles: Vec<(Kind, Vec<String>)>,
}

/// What becomes of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceAction {
    /// It is not there yet.
    Create,
    /// It is there.
    Keep,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectAction {
    /// It is not there yet, or cannot be looked up before its CRD is there.
    Create,
    /// It is there, but not as wanted.
    Change,
    /// It is as wanted.
    Keep,
    /// A Kustomization of Flux manages it.
    LeaveToFlux(String),
}

/// Makes the plan.
///
/// # Errors
///
/// All reasons for which what is wanted must not be brought about.
pub fn plan(desired: &Desired, observed: &Observed, rotate_age_key: bool) -> Result<Plan, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut namespaces = Vec::new();
    for name in &desired.namespaces {
        let action = match observed.cluster.namespaces.get(name).map(String::as_str) {
            None => NamespaceAction::Create,
            Some("Terminating") => {
                findings.push(
                    Finding::error("namespaces", "Namespace is being deleted").with("namespace", name).fix(format!(
                        "wait until it is gone; `kubectl get namespace {name} -o yaml` tells what holds it"
                    )),
                );
                continue;
            }
            Some(_) => NamespaceAction::Keep,
        };
        namespaces.push((name.clone(), action));
    }
    let mut objects = Vec::new();
    for object in &desired.objects {
        let action = object_action(object, observed);
        if action == ObjectAction::Change && !rotate_age_key {
            findings.extend(vanishing_identity(object, observed));
        }
        objects.push((object.id.clone(), action));
    }
    findings.extend(observed.unwanted_releases.iter().map(|release| {
        Finding::error("releases", "Release would be uninstalled")
            .with("release", release)
            .with("reason", "the helmfile says `installed: false`, and it is installed")
            .fix("remove the release from the helmfile, or uninstall it with helm if that is meant")
    }));
    if !findings.is_empty() {
        return Err(findings);
    }
    let releases = |releases: &[crate::desired::releases::Release]| {
        releases
            .iter()
            .filter(|release| release.installed)
            .map(crate::desired::releases::Release::id)
            .collect()
    };
    let helmfiles = desired.helmfiles.iter().map(|file| (file.kind, releases(&file.releases))).collect();
    Ok(Plan { namespaces, objects, helmfiles })
}

fn object_action(object: &Object, observed: &Observed) -> ObjectAction {
    let Some(live) = observed.objects.get(&object.id) else {
        return ObjectAction::Create;
    };
    if let Some(owner) = &live.flux_owner {
        return ObjectAction::LeaveToFlux(owner.clone());
    }
    if object.fingerprint.is_in(&live.fingerprint) && !live.last_applied {
        return ObjectAction::Keep;
    }
    ObjectAction::Change
}

/// What only the identity in the cluster can decrypt would be lost with it.
fn vanishing_identity(object: &Object, observed: &Observed) -> Option<Finding> {
    let live = observed.objects.get(&object.id)?;
    let lost = live.identities.iter().filter(|identity| !object.identities.contains(identity)).count();
    (lost > 0).then(|| {
        Finding::error("age-key", "Age identity in the cluster would vanish")
            .with("secret", object.id.path())
            .with("file", object.source.display())
            .with("identities", lost)
            .fix("add the old identity to the file, or replace it with --rotate-age-key")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use secrecy::SecretString;

    use super::NamespaceAction as Namespace;
    use super::ObjectAction::{Change, Create, Keep, LeaveToFlux};
    use super::*;
    use crate::desired::objects;
    use crate::fingerprint::HashKey;
    use crate::observed::cluster::Cluster;
    use crate::observed::objects::LiveObject;
    use crate::redact::Redactor;

    fn secret(key: &HashKey, name: &str, value: &str) -> Object {
        let text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: flux-system}}\nstringData: {{age.agekey: {value}}}\n"
        );
        objects::parse(Path::new("f"), &SecretString::from(text), key, &Redactor::default())
            .ok()
            .unwrap()
            .remove(0)
    }

    fn live(object: &Object) -> LiveObject {
        LiveObject {
            fingerprint: object.fingerprint.clone(),
            identities: object.identities.clone(),
            ..LiveObject::default()
        }
    }

    fn observed(namespaces: &[(&str, &str)], objects: Vec<(ObjectId, LiveObject)>) -> Observed {
        let namespaces =
            namespaces.iter().map(|(name, phase)| ((*name).to_owned(), (*phase).to_owned())).collect();
        Observed {
            cluster: Cluster { namespaces, ..Cluster::default() },
            objects: objects.into_iter().collect::<BTreeMap<_, _>>(),
            unwanted_releases: Vec::new(),
        }
    }

    fn desired(objects: Vec<Object>) -> Desired {
        Desired { namespaces: vec!["a".to_owned(), "b".to_owned()], objects, helmfiles: Vec::new() }
    }

    #[test]
    fn only_what_differs_is_done() {
        let key = HashKey::default();
        let make = || ["new", "same", "other", "annotated", "flux"].map(|name| secret(&key, name, "AGE-1"));
        let [_, same, other, annotated, flux] = make();
        let changed = secret(&key, "other", "AGE-2");
        let stands = vec![
            (same.id.clone(), live(&same)),
            (other.id.clone(), live(&changed)),
            (annotated.id.clone(), LiveObject { last_applied: true, ..live(&annotated) }),
            (flux.id.clone(), LiveObject { flux_owner: Some("x/y".to_owned()), ..live(&changed) }),
        ];
        let plan = plan(&desired(make().into()), &observed(&[("b", "Active")], stands), false).unwrap();
        assert_eq!(plan.namespaces, [("a".to_owned(), Namespace::Create), ("b".to_owned(), Namespace::Keep)]);
        let actions: Vec<_> = plan.objects.into_iter().map(|(_, action)| action).collect();
        assert_eq!(actions, [Create, Keep, Change, Change, LeaveToFlux("x/y".to_owned())]);
    }

    #[test]
    fn an_identity_vanishes_only_when_asked() {
        let key = HashKey::default();
        let old = secret(&key, "sops-age", "AGE-1");
        let stands = || observed(&[], vec![(old.id.clone(), live(&old))]);
        let wanted = || desired(vec![secret(&key, "sops-age", "AGE-2")]);
        let findings = plan(&wanted(), &stands(), false).unwrap_err();
        assert_eq!(findings[0].message, "Age identity in the cluster would vanish");
        assert!(plan(&wanted(), &stands(), true).is_ok());
        let both = desired(vec![secret(&key, "sops-age", "\"AGE-2\\nAGE-1\\n\"")]);
        assert!(plan(&both, &stands(), false).is_ok(), "one that is added takes nothing away");
    }

    #[test]
    fn what_must_not_be_done_is_refused_all_at_once() {
        let mut stands = observed(&[("a", "Terminating")], Vec::new());
        stands.unwanted_releases = vec!["x/old".to_owned()];
        let messages: Vec<_> = plan(&desired(Vec::new()), &stands, false)
            .unwrap_err()
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(messages, ["Namespace is being deleted", "Release would be uninstalled"]);
    }
}
