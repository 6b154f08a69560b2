//! Flux is not stalled, if it is installed.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::diagnose::flux::stalled;
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
    found.extend(stalled(instance).map(|problem| {
        Finding::warning(RULE.id, "FluxInstance is stalled")
            .with("object", instance.object())
            .with("reason", &problem.reason)
            .fix(problem.advice(false))
    }));
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
        found(instance).into_iter().map(|finding| finding.summary).collect()
    }

    fn found(instance: Option<Value>) -> Vec<Finding> {
        let instance = instance.map(|instance| serde_json::from_value(instance).unwrap());
        let live = Live { claims: Ok(Claims { instance, ..Claims::default() }), ..Live::default() };
        let facts = Facts {
            options: &CheckOptions::default(),
            desired: &Desired::default(),
            observed: &Observed::default(),
            manifests: &Manifests::default(),
        };
        match check(&facts, &live) {
            Answer::Found(found) => found,
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

    #[test]
    fn only_the_message_of_a_newer_flux_gets_the_advice_to_pin() {
        let fix = |message: &str| {
            let instance = json!({"kind": "FluxInstance", "metadata": {"name": "flux", "namespace": "flux-system", "generation": 1},
                "spec": {"sync": {"kind": "GitRepository", "url": "ssh://x"}}, "status": {"conditions": [
                    {"type": "Stalled", "status": "True", "reason": "BuildFailed", "message": message, "observedGeneration": 1}]}});
            found(Some(instance)).remove(0).fix.unwrap()
        };
        let newer = "build failed: add operation does not apply: doc is missing path: \"/spec/versions/1/schema\": missing value";
        assert!(fix(newer).starts_with("pin `instance.distribution.artifact`"));
        let other =
            "build failed: failed to read /etc/os-release: open /etc/os-release: no such file or directory";
        assert_eq!(fix(other), "kubectl --namespace flux-system describe fluxinstance flux");
    }
}
