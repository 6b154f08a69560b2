//! flux-operator accepts the patches of the FluxInstance.
//!
//! Patches go to kustomize (flux-operator 0.59, `internal/builder/templates.go`), whose conditions are in
//! `api/internal/builtins/PatchTransformer.go` and `api/resource/factory.go` of kustomize 0.21.

use serde_json::Value;

use crate::base::finding::Finding;
use crate::base::yaml::{self, WRITTEN};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::desired::STAND_IN;
use crate::desired::releases::Release;

pub(super) const RULE: Rule = Rule {
    id: "flux-patches",
    group: Group::Repository,
    title: "flux-operator accepts the patches of the FluxInstance",
    why: "One patch in `instance.kustomize.patches` that kustomize refuses stalls the FluxInstance: flux-operator then \
          installs nothing of Flux. A merge patch has to name its object, even if `target` selects the objects.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let release = match facts.release_of_chart("flux-instance") {
        Ok(release) => release,
        Err(answer) => return answer,
    };
    let values = facts.desired.values(release);
    let patches = values.pointer("/instance/kustomize/patches").and_then(Value::as_array);
    let Some(patches) = patches.filter(|patches| !patches.is_empty()) else {
        return Answer::not_applicable("`instance.kustomize.patches` has no patches");
    };
    let refused = patches.iter().enumerate().filter_map(|(index, patch)| {
        let Refusal { reason, fix } = refusal(patch, release)?;
        let finding = Finding::error(RULE.id, "Kustomize refuses a patch of the FluxInstance")
            .with("release", release.id())
            .with("key", format!("instance.kustomize.patches[{index}]"))
            .with("reason", reason)
            .fix(fix);
        Some(Finding { severity: facts.severity_for(release), ..finding })
    });
    Answer::judged(refused)
}

/// Why kustomize refuses a patch.
struct Refusal {
    reason: &'static str,
    fix: String,
}

/// Kinds of Flux' manifests that have no namespace.
const CLUSTER_SCOPED: [&str; 4] =
    ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"];

fn refusal(patch: &Value, release: &Release) -> Option<Refusal> {
    let refused = |reason, fix: &str| Some(Refusal { reason, fix: fix.to_owned() });
    let text = patch.get("patch").and_then(Value::as_str).unwrap_or_default().trim();
    if text.contains(STAND_IN) {
        return None;
    }
    if text.is_empty() {
        return refused("it is empty", "remove the entry, or write the patch below `patch: |`");
    }
    let target = patch.get("target").filter(|target| !target.is_null());
    if text.starts_with('[') {
        let is_json = serde_json::from_str::<Vec<Value>>(text).is_ok();
        return match target {
            _ if !is_json => refused(
                "a patch that begins with `[` has to be JSON",
                "write a line for each field of the patch:\n- op: add\n  path: /spec/…\n  value: …",
            ),
            None => refused(NO_TARGET, TARGET),
            Some(_) => None,
        };
    }
    let Ok(documents) = yaml::documents::<Value>(text, WRITTEN).collect::<Result<Vec<_>, _>>() else {
        return refused("it is not valid YAML", "correct the YAML of the patch");
    };
    let documents: Vec<_> = documents.into_iter().filter(|document| !document.is_null()).collect();
    if documents.iter().any(Value::is_array) {
        return target.is_none().then(|| Refusal { reason: NO_TARGET, fix: TARGET.to_owned() });
    }
    if documents.len() > 1 && target.is_some() {
        let fix = "write an entry of `patches` for each document, or remove `target`";
        return refused("an entry with a `target` may have one merge patch only", fix);
    }
    documents.iter().find_map(|document| incomplete(document, target, release))
}

const NO_TARGET: &str = "a list of operations needs a `target`";

const TARGET: &str = "# beside `patch`\ntarget:\n  kind: Kustomization  # of the objects to change";

/// A merge patch that does not name its object. With a target, it only has to have some name.
fn incomplete(document: &Value, target: Option<&Value>, release: &Release) -> Option<Refusal> {
    let text = |pointer: &str| {
        let text = document.pointer(pointer).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let selected = |key: &str| {
        let plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        target?.get(key).and_then(Value::as_str).filter(|text| !text.is_empty() && plain(text))
    };
    let kind = text("/kind");
    let has_name = text("/metadata/name").is_some() || kind.is_some_and(|kind| kind.ends_with("List"));
    let needs_namespace = kind.is_none_or(|kind| !CLUSTER_SCOPED.contains(&kind));
    let reason = if kind.is_none() || !has_name {
        "a merge patch needs `kind` and `metadata.name`"
    } else if target.is_some() {
        return None;
    } else if text("/apiVersion").is_none() || (needs_namespace && text("/metadata/namespace").is_none()) {
        "without a `target`, a merge patch needs the `apiVersion` and `metadata.namespace` of the object too"
    } else {
        return None;
    };
    let kind = kind.or(selected("kind")).unwrap_or("Kustomization");
    let api_version = text("/apiVersion").unwrap_or(match kind {
        "Kustomization" => "kustomize.toolkit.fluxcd.io/v1",
        "GitRepository" | "OCIRepository" | "Bucket" => "source.toolkit.fluxcd.io/v1",
        "Deployment" => "apps/v1",
        _ => "…",
    });
    let name = text("/metadata/name").or(selected("name")).unwrap_or(&release.namespace);
    let namespace = if CLUSTER_SCOPED.contains(&kind) {
        String::new()
    } else {
        format!("\n  namespace: {}", release.namespace)
    };
    let fix = format!(
        "# at the start of the patch: the object that it changes\napiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {name}{namespace}"
    );
    Some(Refusal { reason, fix })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use serde_json::json;

    fn world(patch: &Value) -> World {
        let values = json!({"instance": {"kustomize": {"patches": [patch]}}}).to_string();
        World::with_values("flux-instance", "0.37.1", &values)
    }

    /// Each was tried with `kubectl kustomize` of kubectl 1.36.3.
    #[test]
    fn what_kustomize_accepts_passes() {
        World::shipped().assert_found(&RULE, &[]);
        World::with_values("flux-instance", "0.37.1", "{}")
            .assert_found(&RULE, &["- `instance.kustomize.patches` has no patches"]);
        let operations = "- op: add\n  path: /spec/wait\n  value: true";
        let named = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
                     metadata: {name: flux-system, namespace: flux-system}\nspec: {wait: true}";
        for patch in [
            json!({"target": {"kind": "Kustomization"}, "patch": operations}),
            json!({"target": {}, "patch": "{kind: x, metadata: {name: y}, spec: {wait: true}}"}),
            json!({"target": {"kind": "A"}, "patch": r#"[{"op": "add", "path": "/spec/wait", "value": true}]"#}),
            json!({"target": {"kind": "A"}, "patch": "# nothing"}),
            json!({"patch": named}),
            json!({"patch": format!("{named}\n---\n{named}")}),
            json!({"patch": "{apiVersion: v1, kind: Namespace, metadata: {name: flux-system}}"}),
            json!({"patch": "https://stand-in.invalid"}),
        ] {
            world(&patch).assert_found(&RULE, &[]);
        }
    }

    /// As above.
    #[test]
    fn what_kustomize_refuses_is_an_error() {
        let operations = "- op: add\n  path: /spec/wait\n  value: true";
        let target = json!({"kind": "Kustomization", "name": "flux-system"});
        let kind = "`kind` and `metadata.name`";
        for (patch, reason, fix) in [
            (json!({"patch": "spec: {wait: true}"}), kind, "\nkind: Kustomization\n"),
            (json!({"target": {"kind": "Bucket"}, "patch": "spec: {a: b}"}), kind, "\nkind: Bucket\n"),
            (json!({"target": target, "patch": "{kind: Kustomization}"}), kind, "\n  name: flux-system\n"),
            (
                json!({"patch": "{kind: Deployment, metadata: {name: a}}"}),
                "`apiVersion`",
                "apiVersion: apps/v1\n",
            ),
            (
                json!({"patch": "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}"}),
                "`metadata.namespace`",
                "\n  name: a\n  namespace: a",
            ),
            (json!({"patch": operations}), "needs a `target`", "target:\n  kind: "),
            (json!({"patch": "[]"}), "needs a `target`", "target:\n  kind: "),
            (json!({"target": target, "patch": "[{op: remove, path: /spec/wait}]"}), "to be JSON", "- op: "),
            (
                json!({"target": target, "patch": "{kind: a, metadata: {name: a}}\n---\n{kind: a, metadata: {name: a}}"}),
                "one merge patch",
                "an entry",
            ),
            (json!({"target": target, "patch": "a: ["}), "not valid YAML", "correct"),
            (json!({"target": target, "patch": "hello"}), kind, "\nkind: Kustomization\n"),
            (json!({"target": target}), "empty", "remove"),
        ] {
            let world = world(&patch);
            world.assert_found(&RULE, &["error Kustomize refuses a patch of the FluxInstance"]);
            assert!(world.detail(&RULE, "reason").contains(reason), "{patch}");
            assert!(world.fix(&RULE).contains(fix), "{patch}: {}", world.fix(&RULE));
        }
    }
}
