//! What has to be done: a pure function of what is wanted and what stands.

pub mod releases;

use std::collections::BTreeMap;

use self::releases::ReleasePlan;
use crate::check::Finding;
use crate::desired::objects::{Object, ObjectId};
use crate::desired::releases::Release;
use crate::desired::{Desired, Kind};
use crate::observed::Live;
use crate::observed::objects::LiveObject;

/// What a bootstrap will do.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// Each wanted namespace, and whether it must be made.
    pub namespaces: Vec<(String, NamespaceAction)>,
    /// Each wanted object and what becomes of it.
    pub objects: Vec<(ObjectId, ObjectAction)>,
    /// The helmfiles, with what becomes of their releases.
    pub helmfiles: Vec<(Kind, Vec<ReleasePlan>)>,
}

impl Plan {
    /// What becomes of all releases.
    pub fn releases(&self) -> impl Iterator<Item = &ReleasePlan> {
        self.helmfiles.iter().flat_map(|(_, releases)| releases)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespaces.iter().all(|(_, action)| *action != NamespaceAction::Create)
            && !self
                .objects
                .iter()
                .any(|(_, action)| matches!(action, ObjectAction::Create | ObjectAction::Change(_)))
            && !self.releases().any(|release| release.action.syncs())
    }
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
    /// It is there, but not as wanted: these of its fields differ.
    Change(Vec<String>),
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
pub fn plan(desired: &Desired, live: Option<&Live>, rotate_age_key: bool) -> Result<Plan, Vec<Finding>> {
    let unread = |reason: &str| vec![Finding::error("plan", "Cluster cannot be read").with("reason", reason)];
    let live = live.ok_or_else(|| unread("it does not answer"))?;
    let objects_there = live.objects.as_ref().map_err(|reason| unread(reason))?;
    // What may be somebody else's is not touched.
    live.claims.as_ref().map_err(|reason| unread(reason))?;
    let stored = live.releases.as_ref().map_err(|reason| unread(reason))?;
    let mut findings = Vec::new();
    let mut namespaces = Vec::new();
    for name in &desired.namespaces {
        let action = match live.cluster.namespaces.get(name).map(String::as_str) {
            None => NamespaceAction::Create,
            Some("Terminating") => {
                findings
                    .push(Finding::error("plan", "Namespace is being deleted").with("namespace", name).fix(
                    format!(
                        "wait until it is gone; `kubectl get namespace {name} -o yaml` tells what holds it"
                    ),
                ));
                continue;
            }
            Some(_) => NamespaceAction::Keep,
        };
        namespaces.push((name.clone(), action));
    }
    let mut objects = Vec::new();
    for object in &desired.objects {
        let action = object_action(object, objects_there);
        if matches!(action, ObjectAction::Change(_)) && !rotate_age_key {
            findings.extend(vanishing_identity(object, objects_there));
        }
        objects.push((object.id.clone(), action));
    }
    let unwanted = desired.releases().filter(|release| !release.installed).map(Release::id);
    let unwanted = unwanted.filter(|release| stored.iter().any(|stored| stored.id() == *release));
    findings.extend(unwanted.map(|release| {
        Finding::error("plan", "Release would be uninstalled")
            .with("release", release)
            .with("reason", "the helmfile says `installed: false`, and it is installed")
            .fix("remove the release from the helmfile, or uninstall it with helm if that is meant")
    }));
    if !findings.is_empty() {
        return Err(findings);
    }
    let releases = |releases: &[Release]| {
        let wanted = releases.iter().filter(|release| release.installed);
        wanted.map(|release| releases::plan(release, desired, live)).collect()
    };
    let helmfiles = desired.helmfiles.iter().map(|file| (file.kind, releases(&file.releases))).collect();
    Ok(Plan { namespaces, objects, helmfiles })
}

/// Whether a release's manifest has to be rendered: what is installed is not this chart with these values.
#[must_use]
pub fn needs_rendering(release: &Release, desired: &Desired, live: &Live) -> bool {
    let Some(record) = live.records.as_ref().ok().and_then(|records| records.get(&release.id())) else {
        return true;
    };
    let version = desired.charts.get(&release.id()).map_or(release.version.as_str(), |chart| &chart.version);
    record.stored.status != "deployed"
        || !releases::same_version(&record.version, version)
        || !releases::changes(&record.values, &release.merged()).is_empty()
}

fn object_action(object: &Object, objects: &BTreeMap<ObjectId, LiveObject>) -> ObjectAction {
    let Some(live) = objects.get(&object.id) else {
        return ObjectAction::Create;
    };
    if let Some(owner) = &live.flux_owner {
        return ObjectAction::LeaveToFlux(owner.clone());
    }
    let mut differs = object.fingerprint.differs_from(&live.fingerprint);
    let gone = live.ours.iter().filter(|key| !object.fingerprint.sets(key));
    differs.extend(gone.map(|key| format!("data.{}", key.replace('.', "\\."))));
    if live.last_applied {
        differs.push("a copy in an annotation".to_owned());
    }
    if differs.is_empty() { ObjectAction::Keep } else { ObjectAction::Change(differs) }
}

/// What only the identity in the cluster can decrypt would be lost with it.
fn vanishing_identity(object: &Object, objects: &BTreeMap<ObjectId, LiveObject>) -> Option<Finding> {
    let live = objects.get(&object.id)?;
    let lost = live.identities.iter().filter(|identity| !object.identities.contains(identity)).count();
    (lost > 0).then(|| {
        Finding::error("plan", "Age identity in the cluster would vanish")
            .with("secret", object.id.path())
            .with("file", object.source.display())
            .with("identities", lost)
            .fix("add the old identity to the file, or replace it with --rotate-age-key")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrecy::SecretString;

    use super::NamespaceAction as Namespace;
    use super::ObjectAction::{Change, Create, Keep, LeaveToFlux};
    use super::*;
    use crate::desired::releases::parse;
    use crate::desired::{Helmfile, objects};
    use crate::fingerprint::HashKey;
    use crate::observed::claims::Claims;
    use crate::observed::helm::Stored;
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

    fn observed(namespaces: &[(&str, &str)], objects: Vec<(ObjectId, LiveObject)>) -> Live {
        let namespaces =
            namespaces.iter().map(|(name, phase)| ((*name).to_owned(), (*phase).to_owned())).collect();
        let mut live = Live::default();
        live.cluster.namespaces = namespaces;
        live.objects = Ok(objects.into_iter().collect());
        live.releases = Ok(Vec::new());
        live.claims = Ok(Claims::default());
        live
    }

    fn desired(objects: Vec<Object>) -> Desired {
        Desired { namespaces: vec!["a".to_owned(), "b".to_owned()], objects, ..Desired::default() }
    }

    #[test]
    fn only_what_differs_is_done() {
        let key = HashKey::default();
        let names = ["new", "same", "other", "annotated", "flux", "less"];
        let make = || names.map(|name| secret(&key, name, "AGE-1"));
        let [_, same, other, annotated, flux, less] = make();
        let ours = ["age.agekey", "old.key"].map(ToOwned::to_owned).to_vec();
        let changed = secret(&key, "other", "AGE-2");
        let stands = vec![
            (same.id.clone(), live(&same)),
            (other.id.clone(), live(&changed)),
            (annotated.id.clone(), LiveObject { last_applied: true, ..live(&annotated) }),
            (flux.id.clone(), LiveObject { flux_owner: Some("x/y".to_owned()), ..live(&changed) }),
            (less.id.clone(), LiveObject { ours, ..live(&less) }),
        ];
        let plan = plan(&desired(make().into()), Some(&observed(&[("b", "Active")], stands)), false).unwrap();
        assert_eq!(plan.namespaces, [("a".to_owned(), Namespace::Create), ("b".to_owned(), Namespace::Keep)]);
        let actions: Vec<_> = plan.objects.into_iter().map(|(_, action)| action).collect();
        let changed = Change(vec!["data.age\\.agekey".to_owned()]);
        let annotated = Change(vec!["a copy in an annotation".to_owned()]);
        let less = Change(vec!["data.old\\.key".to_owned()]);
        assert_eq!(actions, [Create, Keep, changed, annotated, LeaveToFlux("x/y".to_owned()), less]);
    }

    #[test]
    fn an_identity_vanishes_only_when_asked() {
        let key = HashKey::default();
        let old = secret(&key, "sops-age", "AGE-1");
        let stands = || observed(&[], vec![(old.id.clone(), live(&old))]);
        let wanted = || desired(vec![secret(&key, "sops-age", "AGE-2")]);
        let findings = plan(&wanted(), Some(&stands()), false).unwrap_err();
        assert_eq!(findings[0].message, "Age identity in the cluster would vanish");
        assert!(plan(&wanted(), Some(&stands()), true).is_ok());
        let both = desired(vec![secret(&key, "sops-age", "\"AGE-2\\nAGE-1\\n\"")]);
        assert!(plan(&both, Some(&stands()), false).is_ok(), "one that is added takes nothing away");
    }

    #[test]
    fn what_cannot_be_read_is_not_changed() {
        let read = || observed(&[], Vec::new());
        let no = || "no".to_owned();
        let cases = [
            Live { claims: Err(no()), ..read() },
            Live { releases: Err(no()), ..read() },
            Live { objects: Err(no()), ..read() },
        ];
        for live in &cases {
            assert_eq!(
                plan(&desired(Vec::new()), Some(live), false).unwrap_err()[0].message,
                "Cluster cannot be read"
            );
        }
        assert!(plan(&desired(Vec::new()), None, false).is_err());
        assert!(plan(&desired(Vec::new()), Some(&read()), false).is_ok());
    }

    #[test]
    fn what_must_not_be_done_is_refused_all_at_once() {
        let mut stands = observed(&[("a", "Terminating")], Vec::new());
        stands.releases =
            Ok(vec![Stored { namespace: "x".to_owned(), name: "old".to_owned(), ..Stored::default() }]);
        let releases =
            parse(b"releases:\n- {name: old, namespace: x, chart: c, installed: false}\n").unwrap();
        let helmfile = Helmfile { kind: Kind::Apps, path: "x".into(), releases, needs_identities: false };
        let desired = Desired { helmfiles: vec![helmfile], ..desired(Vec::new()) };
        let messages: Vec<_> = plan(&desired, Some(&stands), false)
            .unwrap_err()
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(messages, ["Namespace is being deleted", "Release would be uninstalled"]);
    }
}
