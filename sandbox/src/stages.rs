//! The kwok stages that simulate the kubelet, and holds that keep pods unready.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::kube::Client;
use crate::process::wait_for;
use crate::tools::Tools;

const STAGES: &str = "/apis/kwok.x-k8s.io/v1alpha1/stages";
const LOGS: &str = "/apis/kwok.x-k8s.io/v1alpha1/clusterlogs";
/// More than kwok needs to make pods ready on a busy machine.
const KWOK_TIMEOUT: Duration = Duration::from_mins(1);
/// How long kwok gets to handle a pod or to answer before the next attempt.
const RETRY_INTERVAL: Duration = Duration::from_millis(300);
/// The stage with which kwok confirms that it uses the current stages.
const ANSWERS: &str = "node-answers";
/// The node annotation with the number of the last question.
const ASKED: &str = "sandbox/asked";
/// The node annotation with the number of the last answer.
const ANSWERED: &str = "sandbox/answered";
/// The name prefix of the stages for [`PodBehavior`]s.
const SIMULATED: &str = "pod-simulated";

/// Keeps pods of a namespace whose names have a prefix from becoming ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) namespace: String,
    pub(crate) prefix: String,
    /// The state that they get instead; without it they stay as they are after scheduling.
    pub(crate) behavior: Option<PodBehavior>,
}

/// A failing state of pods, as the kubelet reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PodBehavior {
    pub(crate) state: PodState,
    /// Reason and message of the kubelet's warning event.
    pub(crate) warning: (&'static str, &'static str),
    /// The logs of the containers.
    pub(crate) log: &'static str,
}

/// Why a scheduled pod does not become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodState {
    /// Its containers are waiting, with this reason and message.
    Waiting(&'static str, &'static str),
    /// Its containers exit with code 1 and have been restarted this many times.
    Crashing(u32),
    /// As [`Self::Crashing`], for the init containers.
    InitCrashing(u32),
    /// Its containers are running but not ready.
    Unready,
}

/// The stages in the cluster.
#[derive(Debug)]
pub(crate) struct Stages {
    client: Client,
    /// Holds the logs of containers.
    folder: PathBuf,
    ready: Value,
    holds: Vec<Hold>,
    /// The number of questions to kwok so far.
    asked: u64,
}

impl Stages {
    /// Applies the stages that kwok ships: pods become ready, pods of Jobs succeed, deleted pods disappear.
    pub(crate) fn apply(tools: &Tools, client: Client, folder: &Path) -> Result<Self> {
        let mut ready = Value::Null;
        for name in ["pod-ready", "pod-complete", "pod-delete"] {
            let stage: Value = serde_yaml::from_str(&tools.kwok_stage(&format!("{name}.yaml"))?)
                .with_context(|| format!("stage `{name}`"))?;
            client.apply(&format!("{STAGES}/{name}"), &stage)?;
            if name == "pod-ready" {
                ready = stage;
            }
        }
        Ok(Self { client, folder: folder.to_owned(), ready, holds: Vec::new(), asked: 0 })
    }

    /// Waits until kwok uses the current stages and manages this node; `alive` fails if kwok has exited.
    ///
    /// kwok may cache stages under a resource version that is too new, and then miss a change until the next one (0.8.0,
    /// `pkg/config/resources/cache.go`): this happens to one change in a thousand. It reads changes in order, so once it uses
    /// the stage that was written last, it uses all others too.
    pub(crate) fn settle(&mut self, node: &str, mut alive: impl FnMut() -> Result<()>) -> Result<()> {
        let path = format!("/api/v1/nodes/{node}");
        let first = self.asked + 1;
        let mut asked: Option<Instant> = None;
        wait_for("kwok to use its stages", KWOK_TIMEOUT, || {
            alive()?;
            if asked.is_none_or(|asked| asked.elapsed() > RETRY_INTERVAL) {
                self.ask(&path)?;
                asked = Some(Instant::now());
            }
            let node = self.client.get(&path)?.unwrap_or_default();
            let answer =
                node["metadata"]["annotations"][ANSWERED].as_str().and_then(|text| text.parse().ok());
            Ok(answer.filter(|answer: &u64| *answer >= first).map(drop))
        })
    }

    /// kwok manages nodes, and so the pods on them, only if there is a stage for nodes. This is the only one: the sandbox itself
    /// sets the status of its nodes.
    fn ask(&mut self, node: &str) -> Result<()> {
        self.asked += 1;
        let asked = self.asked.to_string();
        let unanswered = json!([
            {"key": format!(".metadata.annotations[{ANSWERED:?}]"), "operator": "NotIn", "values": [asked]},
        ]);
        let template = json!({"metadata": {"annotations": {ANSWERED: asked}}}).to_string();
        let answer = json!({"patches": [{"type": "merge", "template": template}]});
        let stage = stage(ANSWERS, "Node", &unanswered, &answer);
        self.client.apply(&format!("{STAGES}/{ANSWERS}"), &stage)?;
        // kwok handles a node again only when the node changes.
        self.client.merge(node, &json!({"metadata": {"annotations": {ASKED: asked}}})).map(drop)
    }

    /// Keeps matching pods that start after this call from becoming ready.
    pub(crate) fn hold(&mut self, hold: Hold) -> Result<()> {
        let name = format!("{SIMULATED}-{}", self.holds.len() + 1);
        let simulated = hold
            .behavior
            .map(|behavior| (simulated_stage(&name, &hold, &behavior), hold.namespace.clone(), behavior.log));
        self.holds.push(hold);
        self.update()?;
        let Some((stage, namespace, log)) = simulated else { return Ok(()) };
        if !log.is_empty() {
            let file = self.folder.join(format!("{name}.log"));
            fs::write(&file, log)?;
            self.client.apply(&format!("{LOGS}/{name}"), &logs(&name, &namespace, &file))?;
        }
        self.client.apply(&format!("{STAGES}/{name}"), &stage).map(drop)
    }

    /// Removes and returns all holds.
    pub(crate) fn release(&mut self) -> Result<Vec<Hold>> {
        let holds = std::mem::take(&mut self.holds);
        for (index, _) in holds.iter().enumerate().filter(|(_, hold)| hold.behavior.is_some()) {
            for kind in [STAGES, LOGS] {
                self.client.delete(&format!("{kind}/{SIMULATED}-{}", index + 1))?;
            }
        }
        self.update()?;
        Ok(holds)
    }

    /// Waits until kwok has handled the pods that were held.
    pub(crate) fn take(&self, hold: &Hold) -> Result<()> {
        let mut round = 0;
        wait_for("kwok to handle the pods that were held", KWOK_TIMEOUT, || {
            round += 1;
            let left = self.touch(hold, round)?;
            if left {
                std::thread::sleep(RETRY_INTERVAL);
            }
            Ok((!left).then_some(()))
        })
    }

    fn update(&self) -> Result<()> {
        let mut stage = self.ready.clone();
        let expressions = stage["spec"]["selector"]["matchExpressions"]
            .as_array_mut()
            .context("the stage `pod-ready` has no `matchExpressions`")?;
        for hold in &self.holds {
            expressions.push(json!({"key": hold.names(), "operator": "DoesNotExist"}));
        }
        self.client.apply(&format!("{STAGES}/pod-ready"), &stage).map(drop)
    }

    /// Changes the pods that kwok has not handled yet, because it handles a pod only when the pod changes. True if there are any.
    fn touch(&self, hold: &Hold, round: usize) -> Result<bool> {
        let path = format!("/api/v1/namespaces/{}/pods", hold.namespace);
        let pods = self.client.get(&path)?.unwrap_or_default();
        let mut left = false;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let waits = name.starts_with(&hold.prefix)
                && pod["status"]["phase"] == "Pending"
                && pod["spec"]["nodeName"].is_string()
                && pod["metadata"]["deletionTimestamp"].is_null();
            if waits {
                left = true;
                let change = json!({"metadata": {"annotations": {"sandbox/released": round.to_string()}}});
                // The next attempt does not find pods that are gone by now.
                drop(self.client.merge(&format!("{path}/{name}"), &change));
            }
        }
        Ok(left)
    }
}

impl Hold {
    /// A jq expression that yields the name of a matching pod, and nothing for other pods.
    fn names(&self) -> String {
        format!(
            ".metadata | select((.namespace == {}) and (.name | startswith({}))) | .name",
            json!(self.namespace),
            json!(self.prefix)
        )
    }
}

/// The stage that puts scheduled pods into a state, once. Their phase stays Pending, so that the stage `pod-ready` handles
/// them after the hold: it checks nothing else.
fn simulated_stage(name: &str, hold: &Hold, behavior: &PodBehavior) -> Value {
    let (reason, message) = behavior.warning;
    let matches = json!([
        {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
        {"key": ".status.startTime", "operator": "DoesNotExist"},
        {"key": hold.names(), "operator": "Exists"},
    ]);
    let next = json!({
        "event": {"type": "Warning", "reason": reason, "message": message},
        "statusTemplate": behavior.state.template(),
    });
    stage(name, "Pod", &matches, &next)
}

/// A stage that does `next` with the objects of a kind that match all expressions.
fn stage(name: &str, kind: &str, expressions: &Value, next: &Value) -> Value {
    json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": expressions},
            "next": next,
        },
    })
}

/// The logs of all containers of a namespace, current and previous.
fn logs(name: &str, namespace: &str, file: &Path) -> Value {
    // kwok reads the format of the kubelet's log files: each line has a time and a stream.
    json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchNamespaces": [namespace]},
            "logs": [{"logsFile": file, "previousLogsFile": file}],
        },
    })
}

impl PodState {
    /// The status as a kwok template.
    fn template(self) -> String {
        let crashed = r#"{"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}"#;
        let last = r#"{"terminated": {"exitCode": 1, "reason": "Error"}}"#;
        let (of, state, last, restarts) = match self {
            Self::Waiting(reason, message) => {
                let state = json!({"waiting": {"reason": reason, "message": message}}).to_string();
                ("containers", state, "{}", 0)
            }
            Self::Crashing(restarts) => ("containers", crashed.to_owned(), last, restarts),
            Self::InitCrashing(restarts) => ("initContainers", crashed.to_owned(), last, restarts),
            Self::Unready => {
                ("containers", r#"{"running": {"startedAt": {{ Now | Quote }}}}"#.to_owned(), "{}", 0)
            }
        };
        let statuses = if of == "containers" { "containerStatuses" } else { "initContainerStatuses" };
        format!(
            "startTime: {{{{ Now | Quote }}}}\n\
             {statuses}:\n\
             {{{{ range .spec.{of} }}}}\n\
             - image: {{{{ .image | Quote }}}}\n  name: {{{{ .name | Quote }}}}\n  ready: false\n  \
             restartCount: {restarts}\n  state: {state}\n  lastState: {last}\n\
             {{{{ end }}}}\n"
        )
    }
}
