//! Pods and the state of their containers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::node::Taint;
use crate::base::error::Error;
use crate::tools::Toolbox;
use crate::tools::api::segment;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    pub namespace: String,
    pub name: String,
    /// The node that it is scheduled to.
    pub node: Option<String>,
    /// Why it is unschedulable: the message of the scheduler.
    pub unschedulable: Option<String>,
    /// Whether all of its containers are ready, or it has succeeded.
    pub ready: bool,
    /// Whether it is being deleted.
    pub leaving: bool,
    /// Whether it has failed for good, such as a pod of a Job, or an evicted pod.
    pub failed: bool,
    /// Why the kubelet rejected or evicted it: reason and message.
    pub rejected: Option<(String, String)>,
    /// The kind and name of its controller.
    pub owner: Option<(String, String)>,
    pub labels: BTreeMap<String, String>,
    pub tolerations: Vec<Toleration>,
    /// Its containers, init containers first.
    pub containers: Vec<Container>,
}

/// A toleration of a pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Toleration {
    /// The key; empty for any key.
    pub key: String,
    /// `Exists`, or `Equal` to compare the value.
    pub operator: String,
    pub value: String,
    /// The effect; empty for any effect.
    pub effect: String,
}

impl Toleration {
    /// Whether it tolerates this taint (`ToleratesTaint` of k8s.io/api/core/v1).
    pub(crate) fn covers(&self, taint: &Taint) -> bool {
        let matches = |pattern: &str, value: &str| pattern.is_empty() || pattern == value;
        matches(&self.effect, &taint.effect)
            && matches(&self.key, &taint.key)
            && (self.operator == "Exists" || self.value == taint.value)
    }
}

/// What a container does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for its start or its restart.
    #[default]
    Waiting,
    Running,
    /// It has ended and was not restarted yet.
    Terminated,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Container {
    pub name: String,
    /// Whether it is an init container that must end. Sidecars are containers like the others.
    pub init: bool,
    /// The reason why it is waiting, such as `ImagePullBackOff`.
    pub waiting: Option<String>,
    /// The message about why it is waiting.
    pub message: String,
    /// The exit code and reason of its last termination.
    pub ended: Option<(i64, String)>,
    /// The message about its last termination, such as why the runtime could not start it.
    pub ended_message: String,
    /// How often it was restarted.
    pub restarts: u64,
    pub phase: Phase,
    pub ready: bool,
    /// How long its startup and readiness probes let it be unready, from its start.
    pub patience: Duration,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    tolerations: Vec<Toleration>,
    init_containers: Vec<ContainerSpec>,
    containers: Vec<ContainerSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerSpec {
    name: String,
    restart_policy: Option<String>,
    startup_probe: Option<Probe>,
    readiness_probe: Option<Probe>,
}

/// A probe (`Probe` of `k8s.io/api/core/v1`).
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Probe {
    initial_delay_seconds: u64,
    period_seconds: u64,
    failure_threshold: u64,
}

impl Default for Probe {
    fn default() -> Self {
        Self { initial_delay_seconds: 0, period_seconds: 10, failure_threshold: 3 }
    }
}

impl Probe {
    /// The time in which it may fail: each of its attempts comes a period after the one before.
    fn attempts(&self) -> u64 {
        self.period_seconds.saturating_mul(self.failure_threshold)
    }
}

impl ContainerSpec {
    /// The readiness probe begins when the startup probe has succeeded, but not before its own delay.
    fn patience(&self) -> Duration {
        let of_startup = self
            .startup_probe
            .as_ref()
            .map_or(0, |probe| probe.initial_delay_seconds.saturating_add(probe.attempts()));
        let seconds = self.readiness_probe.as_ref().map_or(of_startup, |probe| {
            of_startup.max(probe.initial_delay_seconds).saturating_add(probe.attempts())
        });
        Duration::from_secs(seconds)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
    owner_references: Vec<Owner>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Owner {
    kind: String,
    name: String,
    controller: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    reason: String,
    message: String,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    ready: bool,
    restart_count: u64,
    state: State,
    last_state: State,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    running: Option<Running>,
    terminated: Option<Terminated>,
}

#[derive(Default, Deserialize)]
struct Running {}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    exit_code: i64,
    reason: String,
    message: String,
}

impl ContainerStatus {
    fn read(self, init: bool, specs: &[ContainerSpec]) -> Container {
        let spec = specs.iter().find(|spec| spec.name == self.name);
        let phase = match &self.state {
            State { terminated: Some(_), .. } => Phase::Terminated,
            State { running: Some(_), .. } => Phase::Running,
            _ => Phase::Waiting,
        };
        let (waiting, message) = match self.state.waiting {
            Some(Waiting { reason, message }) => (Some(reason), message),
            None => (None, String::new()),
        };
        let is_sidecar = spec.is_some_and(|spec| spec.restart_policy.as_deref() == Some("Always"));
        let ended = self.state.terminated.or(self.last_state.terminated);
        let (ended, ended_message) =
            ended.map(|ended| ((ended.exit_code, ended.reason), ended.message)).unzip();
        Container {
            name: self.name,
            init: init && !is_sidecar,
            waiting,
            message,
            ended,
            ended_message: ended_message.unwrap_or_default(),
            restarts: self.restart_count,
            phase,
            ready: self.ready,
            patience: spec.map(ContainerSpec::patience).unwrap_or_default(),
        }
    }
}

impl From<Item> for Pod {
    fn from(Item { metadata, spec, status }: Item) -> Self {
        let condition = |kind: &str| status.conditions.iter().find(|condition| condition.kind == kind);
        let unschedulable = condition("PodScheduled").filter(|scheduled| scheduled.status == "False");
        let unschedulable = unschedulable.map(|scheduled| scheduled.message.clone());
        let ready =
            status.phase == "Succeeded" || condition("Ready").is_some_and(|ready| ready.status == "True");
        let init = status.init_container_statuses.into_iter();
        let main = status.container_statuses.into_iter();
        let containers = init.map(|status| status.read(true, &spec.init_containers));
        let containers = containers.chain(main.map(|status| status.read(false, &spec.containers))).collect();
        let failed = status.phase == "Failed";
        let rejected =
            Some((status.reason, status.message)).filter(|(reason, _)| failed && !reason.is_empty());
        let Metadata { namespace, name, labels, deletion_timestamp, owner_references } = metadata;
        let owner = owner_references.into_iter().find(|owner| owner.controller);
        Self {
            namespace,
            name,
            node: spec.node_name,
            unschedulable,
            ready,
            leaving: deletion_timestamp.is_some(),
            failed,
            rejected,
            owner: owner.map(|owner| (owner.kind, owner.name)),
            labels,
            tolerations: spec.tolerations,
            containers,
        }
    }
}

impl Toolbox {
    /// The pods of a namespace.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_pods(&self, namespace: &str) -> Result<Vec<Pod>, Error> {
        let path = format!("/api/v1/namespaces/{}/pods", segment(namespace));
        let items: Vec<Item> = self.api_list(&path).await?;
        Ok(items.into_iter().map(Pod::from).collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::strategy::Strategy;

    const POD: &str = r#"{"metadata":{"namespace":"n","name":"p","labels":{"pod-template-hash":"r"},"ownerReferences":[{"kind":"ReplicaSet","name":"r","controller":true}]},
        "spec":{"tolerations":[{"key":"k","operator":"Exists"}]},"status":{"phase":"Pending","conditions":[
        {"type":"PodScheduled","status":"False","message":"0/1 nodes"},{"type":"Ready","status":"False"}],
        "initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":0,"reason":"Completed"}},"ready":true}],
        "containerStatuses":[{"name":"c","restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off"}},
            "lastState":{"terminated":{"exitCode":137,"reason":"OOMKilled"}}}]}}"#;

    #[test]
    fn reads_why_a_pod_is_waiting() {
        let pod: Pod = serde_json::from_str::<Item>(POD).unwrap().into();
        assert_eq!((pod.unschedulable.as_deref(), pod.ready), (Some("0/1 nodes"), false));
        assert_eq!(pod.owner, Some(("ReplicaSet".to_owned(), "r".to_owned())));
        assert!(!pod.leaving && !pod.failed);
        let [init, main] = &pod.containers[..] else { panic!() };
        assert!(init.init && init.ready && !main.init);
        assert_eq!((main.waiting.as_deref(), main.restarts), (Some("CrashLoopBackOff"), 3));
        assert_eq!(main.ended, Some((137, "OOMKilled".to_owned())));
    }

    #[test]
    fn patience_follows_the_probes() {
        use serde_json::json;

        let patience = |probes: serde_json::Value| {
            let mut container = probes;
            container["name"] = "c".into();
            let pod = read(
                &serde_json::json!({"spec": {"containers": [container]}, "status": {"containerStatuses": [{"name": "c"}]}}),
            );
            pod.containers[0].patience.as_secs()
        };
        assert_eq!(patience(json!({})), 0);
        // CoreDNS of k3s, and the defaults of the API server.
        let coredns = json!({"initialDelaySeconds": 30, "periodSeconds": 10, "failureThreshold": 3});
        assert_eq!(patience(json!({"readinessProbe": coredns})), 60);
        assert_eq!(patience(json!({"readinessProbe": {"httpGet": {}}})), 30);
        let startup = json!({"periodSeconds": 2, "failureThreshold": 105});
        assert_eq!(patience(json!({"startupProbe": startup})), 210);
        assert_eq!(patience(json!({"startupProbe": startup, "readinessProbe": coredns})), 240);
        let endless = json!({"periodSeconds": u64::MAX, "failureThreshold": u64::MAX});
        assert_eq!(patience(json!({"startupProbe": endless, "readinessProbe": endless})), u64::MAX);
    }

    #[test]
    fn toleration_covers_taint() {
        let taint = |key: &str, value: &str, effect: &str| Taint {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: effect.to_owned(),
        };
        let gpu = taint("gpu", "yes", "NoSchedule");
        let read = |text: &str| serde_json::from_str::<Toleration>(text).unwrap();
        for (text, covers) in [
            (r#"{"operator":"Exists"}"#, true),
            (r#"{"key":"gpu","operator":"Exists"}"#, true),
            (r#"{"key":"gpu","value":"yes"}"#, true),
            (r#"{"key":"gpu","operator":"Equal","value":"no"}"#, false),
            (r#"{"key":"gpu","operator":"Exists","effect":"NoExecute"}"#, false),
            (r#"{"key":"other","operator":"Exists"}"#, false),
        ] {
            assert_eq!(read(text).covers(&gpu), covers, "{text}");
        }
    }

    /// A pod as the API server lists it.
    pub(crate) fn read(pod: &serde_json::Value) -> Pod {
        Item::deserialize(pod).unwrap().into()
    }

    /// Mutations of a pod as the API server lists it.
    pub(crate) fn odd_pods() -> impl Strategy<Value = Option<Pod>> {
        let pod = |item: Item| Pod::from(item);
        crate::base::mutate::json(POD).prop_map(move |odd| serde_json::from_value(odd).map(pod).ok())
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(answer: Vec<u8>) {
            _ = serde_json::from_slice(&answer).map(|item: Item| Pod::from(item));
        }
    }
}
