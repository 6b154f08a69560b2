//! What kwok does to pods, and how tests make pods stay unready.

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
/// Longer than kwok takes to make pods ready on a busy machine.
const TAKEN: Duration = Duration::from_mins(1);
/// Time for kwok to take a pod, or to answer, before it is asked again.
const AGAIN: Duration = Duration::from_millis(300);
/// The stage by which kwok answers.
const ANSWERS: &str = "node-answers";
/// The annotation of nodes that kwok is asked by.
const ASKED: &str = "sandbox/asked";
/// The annotation of nodes that kwok answers by.
const ANSWERED: &str = "sandbox/answered";
/// What the stages of [`PodPlay`]s are called, before their number.
const PLAYED: &str = "pod-played";

/// Pods of one namespace whose names begin alike, and do not get ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) namespace: String,
    pub(crate) prefix: String,
    /// What becomes of them instead; they stay as the scheduler leaves them if nothing does.
    pub(crate) play: Option<PodPlay>,
}

/// A bad state of pods, in the kubelet's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PodPlay {
    pub(crate) state: PodState,
    /// The kubelet's warning about it: a word and a sentence.
    pub(crate) warning: (&'static str, &'static str),
    /// What the containers have said, if anything.
    pub(crate) said: &'static str,
}

/// Where a pod on a node stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodState {
    /// Its containers wait, for a reason and with a message.
    Waiting(&'static str, &'static str),
    /// Its containers have ended with exit code 1 and were started again, so many times.
    Crashing(u32),
    /// The same of its init containers.
    InitCrashing(u32),
    /// Its containers run, and are not ready.
    Unready,
}

/// The stages in the cluster.
#[derive(Debug)]
pub(crate) struct Stages {
    client: Client,
    /// For what containers have said.
    folder: PathBuf,
    ready: Value,
    holds: Vec<Hold>,
    /// How often kwok was asked.
    asked: u64,
}

impl Stages {
    /// Applies kwok's own stages: pods become ready, pods of Jobs succeed, deleted pods go.
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

    /// Waits until kwok goes by the stages as they are now, and looks after this node; `alive` fails if it has ended.
    ///
    /// kwok keeps what it has read of its stages under a version that may be newer, and then knows no better until the next
    /// change (0.8.0, `pkg/config/resources/cache.go`): that befalls one change in a thousand. It learns of stages in the
    /// order of their changes, so once it goes by one that was written after all others, it goes by those too.
    pub(crate) fn settle(&mut self, node: &str, mut alive: impl FnMut() -> Result<()>) -> Result<()> {
        let path = format!("/api/v1/nodes/{node}");
        let first = self.asked + 1;
        let mut asked: Option<Instant> = None;
        wait_for("kwok to go by its stages", TAKEN, || {
            alive()?;
            if asked.is_none_or(|asked| asked.elapsed() > AGAIN) {
                self.ask(&path)?;
                asked = Some(Instant::now());
            }
            let node = self.client.get(&path)?.unwrap_or_default();
            let answer =
                node["metadata"]["annotations"][ANSWERED].as_str().and_then(|text| text.parse().ok());
            Ok(answer.filter(|answer: &u64| *answer >= first).map(drop))
        })
    }

    /// kwok looks after nodes, and so after the pods on them, only if there is a stage for nodes. This is the only one: the
    /// sandbox itself says how its nodes are.
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
        // It looks at a node again only when that changes.
        self.client.merge(node, &json!({"metadata": {"annotations": {ASKED: asked}}})).map(drop)
    }

    /// Pods that begin from now on do not get ready if they match.
    pub(crate) fn hold(&mut self, hold: Hold) -> Result<()> {
        let name = format!("{PLAYED}-{}", self.holds.len() + 1);
        let played =
            hold.play.map(|play| (played_stage(&name, &hold, &play), hold.namespace.clone(), play.said));
        self.holds.push(hold);
        self.update()?;
        let Some((stage, namespace, said)) = played else { return Ok(()) };
        if !said.is_empty() {
            let file = self.folder.join(format!("{name}.log"));
            fs::write(&file, said)?;
            self.client.apply(&format!("{LOGS}/{name}"), &logs(&name, &namespace, &file))?;
        }
        self.client.apply(&format!("{STAGES}/{name}"), &stage).map(drop)
    }

    /// Ends all holds, and returns them.
    pub(crate) fn release(&mut self) -> Result<Vec<Hold>> {
        let holds = std::mem::take(&mut self.holds);
        for (index, _) in holds.iter().enumerate().filter(|(_, hold)| hold.play.is_some()) {
            for kind in [STAGES, LOGS] {
                self.client.delete(&format!("{kind}/{PLAYED}-{}", index + 1))?;
            }
        }
        self.update()?;
        Ok(holds)
    }

    /// Waits until kwok has taken the pods that were held.
    pub(crate) fn take(&self, hold: &Hold) -> Result<()> {
        let mut round = 0;
        wait_for("kwok to take pods that were held", TAKEN, || {
            round += 1;
            let left = self.touch(hold, round)?;
            if left {
                std::thread::sleep(AGAIN);
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

    /// kwok looks at a pod again only when it changes. Tells whether there is one that it has not taken yet.
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
                // One that is gone by now is not there when it is looked for again.
                drop(self.client.merge(&format!("{path}/{name}"), &change));
            }
        }
        Ok(left)
    }
}

impl Hold {
    /// The jq expression that gives the name of a pod that matches, and nothing for any other.
    fn names(&self) -> String {
        format!(
            ".metadata | select((.namespace == {}) and (.name | startswith({}))) | .name",
            json!(self.namespace),
            json!(self.prefix)
        )
    }
}

/// The stage that brings pods into a state, once, when a node has them. The phase stays Pending, so that the stage
/// `pod-ready` takes them when it may: kwok's own stages look at nothing else.
fn played_stage(name: &str, hold: &Hold, play: &PodPlay) -> Value {
    let (reason, message) = play.warning;
    let matches = json!([
        {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
        {"key": ".status.startTime", "operator": "DoesNotExist"},
        {"key": hold.names(), "operator": "Exists"},
    ]);
    let next = json!({
        "event": {"type": "Warning", "reason": reason, "message": message},
        "statusTemplate": play.state.template(),
    });
    stage(name, "Pod", &matches, &next)
}

/// What happens `next` to those objects of a kind that match all expressions.
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

/// What all containers of a namespace have said, now and before they were started again.
fn logs(name: &str, namespace: &str, file: &Path) -> Value {
    // kwok's log files are the kubelet's: each line has its time and stream.
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
    /// The status, as a template of kwok.
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
