//! What kwok does to pods, and how tests make pods stay unready.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::kube::Client;
use crate::tools::Tools;

const STAGES: &str = "/apis/kwok.x-k8s.io/v1alpha1/stages";

/// Pods of one namespace whose names begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) namespace: String,
    pub(crate) prefix: String,
}

/// The stages in the cluster.
#[derive(Debug)]
pub(crate) struct Stages {
    client: Client,
    ready: Value,
    holds: Vec<Hold>,
}

impl Stages {
    /// Applies kwok's own stages: pods become ready, pods of Jobs succeed, deleted pods go.
    pub(crate) fn apply(tools: &Tools, client: Client) -> Result<Self> {
        let mut ready = Value::Null;
        for name in ["pod-ready", "pod-complete", "pod-delete"] {
            let stage: Value = serde_yaml::from_str(&tools.kwok_stage(&format!("{name}.yaml"))?)
                .with_context(|| format!("stage `{name}`"))?;
            client.apply(&format!("{STAGES}/{name}"), &stage)?;
            if name == "pod-ready" {
                ready = stage;
            }
        }
        // kwok looks after nodes, and so after the pods on them, only if there is a stage for nodes. This one never
        // matches: the sandbox itself says how its nodes are.
        let never = json!([{"key": ".metadata.name", "operator": "In", "values": ["none"]}]);
        client.apply(
            &format!("{STAGES}/node-untouched"),
            &json!({
                "apiVersion": "kwok.x-k8s.io/v1alpha1",
                "kind": "Stage",
                "metadata": {"name": "node-untouched"},
                "spec": {
                    "resourceRef": {"apiGroup": "v1", "kind": "Node"},
                    "selector": {"matchExpressions": never},
                    "next": {"statusTemplate": "{}"},
                },
            }),
        )?;
        Ok(Self { client, ready, holds: Vec::new() })
    }

    /// Pods that begin from now on stay Pending if they match.
    pub(crate) fn hold(&mut self, hold: Hold) -> Result<()> {
        self.holds.push(hold);
        self.update()
    }

    /// Ends all holds; pods that were held become ready.
    pub(crate) fn release(&mut self) -> Result<()> {
        let holds = std::mem::take(&mut self.holds);
        self.update()?;
        for hold in holds {
            self.touch(&hold)?;
        }
        Ok(())
    }

    fn update(&self) -> Result<()> {
        let mut stage = self.ready.clone();
        let expressions = stage["spec"]["selector"]["matchExpressions"]
            .as_array_mut()
            .context("the stage `pod-ready` has no `matchExpressions`")?;
        for Hold { namespace, prefix } in &self.holds {
            expressions.push(json!({
                "key": format!(
                    ".metadata | select((.namespace == {}) and (.name | startswith({}))) | .name",
                    json!(namespace),
                    json!(prefix)
                ),
                "operator": "DoesNotExist",
            }));
        }
        self.client.apply(&format!("{STAGES}/pod-ready"), &stage).map(drop)
    }

    /// kwok looks at a pod again only when it changes.
    fn touch(&self, hold: &Hold) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}/pods", hold.namespace);
        let pods = self.client.get(&path)?.unwrap_or_default();
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            if name.starts_with(&hold.prefix) {
                let change = json!({"metadata": {"annotations": {"sandbox/released": "true"}}});
                self.client.merge(&format!("{path}/{name}"), &change)?;
            }
        }
        Ok(())
    }
}
