//! Objects that k3s-boot applies itself: those of encrypted files, commands and manifests.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;

use super::crds::{self, Kept};
use super::namespaces;
use super::options::PlanOptions;
use crate::base::finding::Finding;
use crate::base::stages::Stage;
use crate::desired::Desired;
use crate::desired::objects::{Object, ObjectId};
use crate::observed::Live;
use crate::observed::objects::LiveObject;

/// An object, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectPlan {
    pub id: ObjectId,
    /// The stage in which it is applied.
    pub stage: Stage,
    pub action: ObjectAction,
}

/// What happens to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ObjectAction {
    /// It does not exist, or cannot be read before its CRD is installed.
    Create,
    /// These fields differ.
    Change(Vec<String>),
    UpToDate,
    /// Flux or a Helm release manages it, such as `Kustomization flux-system/apps`.
    ManagedElsewhere(String),
    /// It stays as it is, for this reason.
    Keep(String),
}

impl ObjectAction {
    /// Whether it is applied.
    pub(crate) fn applies(&self) -> bool {
        matches!(self, Self::Create | Self::Change(_))
    }
}

/// Plans the objects whose stage is not skipped. Reasons why they must not be applied go to `findings`.
pub(super) fn plan(
    desired: &Desired,
    live: &Live,
    objects: &BTreeMap<ObjectId, LiveObject>,
    plan_options: &PlanOptions,
    findings: &mut Vec<Finding>,
) -> Vec<ObjectPlan> {
    let mut plans = Vec::new();
    for object in &desired.objects {
        let stage = object.source.stage();
        if plan_options.stages.has(stage) {
            continue;
        }
        let action = action(object, objects);
        if action == ObjectAction::Create {
            findings.extend(namespaces::missing(object, desired, live, plan_options));
        }
        if matches!(action, ObjectAction::Change(_)) {
            findings.extend(rejected(object, objects));
        }
        if matches!(action, ObjectAction::Change(_)) && !plan_options.rotate_age_key {
            findings.extend(removed_identity(object, objects));
        }
        plans.push(ObjectPlan { id: object.id.clone(), stage, action });
    }
    plans
}

fn action(object: &Object, objects: &BTreeMap<ObjectId, LiveObject>) -> ObjectAction {
    let Some(live) = objects.get(&object.id) else {
        return ObjectAction::Create;
    };
    if let Some(owner) = &live.owner {
        return ObjectAction::ManagedElsewhere(owner.clone());
    }
    if let Some(comparison) = &live.crd {
        let desired = serde_json::from_str(object.manifest.expose_secret()).unwrap_or_default();
        match crds::kept(comparison, &desired) {
            Some(Kept::Newer) => return ObjectAction::Keep("newer in the cluster".to_owned()),
            Some(Kept::Versions(versions)) => {
                let versions = versions.join(", ");
                return ObjectAction::Keep(format!(
                    "objects may be stored in version {versions}, which it does not have"
                ));
            }
            None => {}
        }
    }
    let by_hash = || {
        let gone = live.ours.iter().filter(|key| !object.fingerprint.sets(key));
        let gone = gone.map(|key| format!("data.{}", key.replace('.', "\\.")));
        object.fingerprint.differs_from(&live.fingerprint).into_iter().chain(gone).collect()
    };
    let mut differs: Vec<_> = live.would_change.clone().unwrap_or_else(by_hash);
    if live.last_applied {
        differs.push("the last-applied annotation".to_owned());
    }
    if differs.is_empty() { ObjectAction::UpToDate } else { ObjectAction::Change(differs) }
}

/// An object that the API server rejects would end the run half-way.
fn rejected(object: &Object, objects: &BTreeMap<ObjectId, LiveObject>) -> Option<Finding> {
    let reason = objects.get(&object.id)?.rejected.as_ref()?;
    let problem = object.source.problem("contains an object that the API server rejects");
    let fix = format!(
        "correct it, or delete the object in the cluster if it may be replaced ({})",
        object.id.words()
    );
    Some(problem.with("object", object.id.words()).with("reason", reason).fix(fix))
}

/// Refuses to remove an age identity: what only it can decrypt would be lost.
fn removed_identity(object: &Object, objects: &BTreeMap<ObjectId, LiveObject>) -> Option<Finding> {
    let live = objects.get(&object.id)?;
    let lost = live.identities.iter().filter(|identity| !object.identities.contains(identity)).count();
    (lost > 0).then(|| {
        Finding::error("plan", "This would remove an age identity from the cluster")
            .with("secret", object.id.path())
            .with(object.source.key(), &object.source)
            .with("identities", lost)
            .fix("add the old identity to the file, or replace it with --rotate-age-key")
    })
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::ObjectAction::{Change, Create, Keep, ManagedElsewhere, UpToDate};
    use super::*;
    use crate::base::fingerprint::HashKey;
    use crate::base::redact::Redactor;
    use crate::desired::namespaces::{self, Declared};
    use crate::desired::object_source::ObjectSource;
    use crate::observed::crds::Comparison;

    fn secret(key: &HashKey, name: &str, value: &str) -> Object {
        let text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: flux-system}}\nstringData: {{age.agekey: {value}}}\n"
        );
        crate::desired::objects::parse(
            &ObjectSource::Encrypted("f".into()),
            &SecretString::from(text),
            key,
            &Redactor::default(),
        )
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

    fn planned(
        objects: Vec<Object>,
        existing: Vec<(ObjectId, LiveObject)>,
        plan_options: &PlanOptions,
    ) -> (Vec<ObjectAction>, Vec<Finding>) {
        let none = Declared::default();
        let namespaces = namespaces::namespaces(
            &none,
            Some(&["flux-system".to_owned()]),
            std::iter::empty(),
            std::iter::empty(),
        );
        let desired = Desired { namespaces, objects, ..Desired::default() };
        let mut findings = Vec::new();
        let existing = existing.into_iter().collect();
        let plans = plan(&desired, &Live::default(), &existing, plan_options, &mut findings);
        (plans.into_iter().map(|plan| plan.action).collect(), findings)
    }

    #[test]
    fn only_differences_are_applied() {
        let key = HashKey::default();
        let names = ["new", "same", "other", "annotated", "flux", "less"];
        let make = || names.map(|name| secret(&key, name, "AGE-1"));
        let [_, same, other, annotated, flux, less] = make();
        let ours = ["age.agekey", "old.key"].map(ToOwned::to_owned).to_vec();
        let changed = secret(&key, "other", "AGE-2");
        let owner = "Kustomization x/y".to_owned();
        let existing = vec![
            (same.id.clone(), live(&same)),
            (other.id.clone(), live(&changed)),
            (annotated.id.clone(), LiveObject { last_applied: true, ..live(&annotated) }),
            (flux.id.clone(), LiveObject { owner: Some(owner.clone()), ..live(&changed) }),
            (less.id.clone(), LiveObject { ours, ..live(&less) }),
        ];
        let (actions, findings) = planned(make().into(), existing, &PlanOptions::default());
        let changed = Change(vec!["data.age\\.agekey".to_owned()]);
        let annotated = Change(vec!["the last-applied annotation".to_owned()]);
        let less = Change(vec!["data.old\\.key".to_owned()]);
        assert_eq!(actions, [Create, UpToDate, changed, annotated, ManagedElsewhere(owner), less]);
        assert_eq!(findings, []);
    }

    #[test]
    fn an_identity_is_removed_only_on_request() {
        let key = HashKey::default();
        let old = secret(&key, "sops-age", "AGE-1");
        let found = |wanted: &str, plan_options: &PlanOptions| {
            let existing = vec![(old.id.clone(), live(&old))];
            planned(vec![secret(&key, "sops-age", wanted)], existing, plan_options).1
        };
        let rotate = PlanOptions { rotate_age_key: true, ..PlanOptions::default() };
        let findings = found("AGE-2", &PlanOptions::default());
        assert_eq!(findings[0].summary, "This would remove an age identity from the cluster");
        assert_eq!(found("AGE-2", &rotate), []);
        assert_eq!(
            found("\"AGE-2\\nAGE-1\\n\"", &PlanOptions::default()),
            [],
            "one that is added takes nothing away"
        );
    }

    #[test]
    fn a_crd_is_never_downgraded() {
        let text = r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "xs.example.org"},
            "spec": {"group": "example.org", "names": {"kind": "X", "plural": "xs"}, "versions": [{"name": "v1"}]}}"#;
        let source = ObjectSource::Manifest("crds.yaml".to_owned());
        let crd = || {
            let parsed = crate::desired::objects::parse(
                &source,
                &text.into(),
                &HashKey::default(),
                &Redactor::default(),
            );
            parsed.ok().unwrap().remove(0)
        };
        let act = |versions: &[&str], stored: &[&str], rejected: Option<&str>| {
            let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let comparison = Comparison {
                versions: set(versions),
                stored: set(stored),
                annotations: BTreeMap::new(),
                would_change: Ok(Vec::new()),
                next_generation: 2,
            };
            let would_change = Some(vec!["spec".to_owned()]).filter(|_| rejected.is_none());
            let rejected = rejected.map(ToOwned::to_owned);
            let live = LiveObject { crd: Some(comparison), would_change, rejected, ..LiveObject::default() };
            let (actions, findings) = planned(vec![crd()], vec![(crd().id, live)], &PlanOptions::default());
            (actions[0].clone(), findings.into_iter().map(|finding| finding.summary).collect::<Vec<_>>())
        };
        assert_eq!(act(&["v1"], &["v1"], None).0, Change(vec!["spec".to_owned()]));
        assert_eq!(act(&["v1", "v2"], &["v1"], None).0, Keep("newer in the cluster".to_owned()));
        assert!(
            matches!(act(&["v1beta1"], &["v1beta1"], None).0, Keep(reason) if reason.contains("v1beta1"))
        );
        // It would only be rejected after other objects have been applied.
        let (action, findings) = act(&["v1"], &["v1"], Some("spec.scope is immutable"));
        assert!(matches!(action, Change(_)));
        assert_eq!(findings, ["Manifest contains an object that the API server rejects"]);
    }
}
