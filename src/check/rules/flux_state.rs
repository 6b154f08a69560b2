//! Flux is not stalled, if it is installed.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "flux-state",
    group: Group::Releases,
    title: "Flux is not stalled, if it is installed",
    why: "Waiting does not make a stalled FluxInstance Ready, and Helm's own wait ignores it (Helm 3 always, Helm 4 \
          until its first condition): a bootstrap would look fine while Flux syncs nothing.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Cluster(check),
};

fn check(_: &Facts<'_>, live: &Live) -> Answer {
    let claims = match &live.claims {
        Ok(claims) => claims,
        Err(reason) => return Answer::Unknown(reason.clone()),
    };
    let Some(instance) = &claims.instance else {
        return Answer::not_applicable("the cluster has no FluxInstance");
    };
    let mut found = Vec::new();
    if let Some(stalled) = instance.condition("Stalled").filter(|condition| condition.status == "True") {
        found.push(
            Finding::warning(RULE.id, "FluxInstance is stalled")
                .with("object", instance.object())
                .with("reason", format!("{}: {}", stalled.reason, stalled.message))
                .fix("set `instance.distribution.artifact` to the tag of the flux-operator version, or upgrade both charts"),
        );
    }
    if instance.spec.sync.is_none() {
        found.push(
            Finding::warning(RULE.id, "Flux has no source to sync")
                .with("object", instance.object())
                .fix("set `instance.sync` in the values of flux-instance"),
        );
    }
    Answer::judged(found)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::options::CheckOptions;
    use crate::desired::Desired;
    use crate::desired::manifests::Manifests;
    use crate::observed::Observed;
    use crate::observed::claims::Claims;

    fn messages(instance: Option<Value>) -> Vec<String> {
        let instance = instance.map(|instance| serde_json::from_value(instance).unwrap());
        let live = Live { claims: Ok(Claims { instance, ..Claims::default() }), ..Live::default() };
        let facts = Facts {
            options: &CheckOptions::default(),
            desired: &Desired::default(),
            observed: &Observed::default(),
            manifests: &Manifests::default(),
        };
        match check(&facts, &live) {
            Answer::Found(found) => found.into_iter().map(|finding| finding.summary).collect(),
            answer => {
                assert!(matches!(answer, Answer::Ok | Answer::NotApplicable(_)));
                Vec::new()
            }
        }
    }

    #[test]
    fn a_stalled_instance_and_a_missing_source_are_reported() {
        let sync = json!({"sync": {"kind": "GitRepository", "url": "ssh://x"}});
        let instance = |spec: &Value, kind: &str, status: &str| {
            json!({"kind": "FluxInstance", "metadata": {"name": "flux", "namespace": "flux-system", "generation": 1}, "spec": spec,
                "status": {"conditions": [{"type": kind, "status": status, "reason": "BuildFailed", "message": "m", "observedGeneration": 1}]}})
        };
        assert!(messages(None).is_empty());
        assert!(messages(Some(instance(&sync, "Ready", "True"))).is_empty());
        assert_eq!(messages(Some(instance(&sync, "Stalled", "True"))), ["FluxInstance is stalled"]);
        assert_eq!(messages(Some(instance(&json!({}), "Ready", "True"))), ["Flux has no source to sync"]);
    }
}
