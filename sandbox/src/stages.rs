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
        let simulated = hold.behavior.map(|behavior| {
            (simulated_stages(&name, &hold, &behavior), hold.namespace.clone(), behavior.log)
        });
        self.holds.push(hold);
        self.update()?;
        let Some((stages, namespace, log)) = simulated else { return Ok(()) };
        if !log.is_empty() {
            let file = self.folder.join(format!("{name}.log"));
            fs::write(&file, log)?;
            self.client.apply(&format!("{LOGS}/{name}"), &logs(&name, &namespace, &file))?;
        }
        for stage in stages {
            let name = stage["metadata"]["name"].as_str().unwrap_or_default();
            self.client.apply(&format!("{STAGES}/{name}"), &stage)?;
        }
        Ok(())
    }

    /// Removes and returns all holds.
    pub(crate) fn release(&mut self) -> Result<Vec<Hold>> {
        let holds = std::mem::take(&mut self.holds);
        for (index, _) in holds.iter().enumerate().filter(|(_, hold)| hold.behavior.is_some()) {
            let name = format!("{SIMULATED}-{}", index + 1);
            for next in NEXT {
                self.client.delete(&format!("{STAGES}/{name}{next}"))?;
            }
            self.client.delete(&format!("{LOGS}/{name}"))?;
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

/// The suffixes of the stages of a behavior: into its state, and, for a state that alternates, on and back.
const NEXT: [&str; 3] = ["", "-on", "-back"];

/// How long each of two alternating states lasts, in milliseconds.
const ALTERNATION: u64 = 3000;

/// The stages that put scheduled pods into a state. Their phase stays Pending, so that the stage `pod-ready` handles them after
/// the hold: it checks nothing else.
fn simulated_stages(name: &str, hold: &Hold, behavior: &PodBehavior) -> Vec<Value> {
    let PodBehavior { state, warning: (reason, message), .. } = *behavior;
    let message = match state {
        PodState::Waiting(PULL_ERROR, error) => {
            format!("Failed to pull image {:?}: {message}", error.split('"').nth(1).unwrap_or_default())
        }
        _ => message.to_owned(),
    };
    let mut matches = vec![
        json!({"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}),
        json!({"key": hold.names(), "operator": "Exists"}),
    ];
    let patch = |template: &str| json!([{"subresource": "status", "root": "status", "type": "merge", "template": template}]);
    let alternatives = state.states();
    let unstarted = json!({"key": ".status.startTime", "operator": "DoesNotExist"});
    let first = json!({
        "event": {"type": "Warning", "reason": reason, "message": message},
        "patches": patch(&state.template(&alternatives[0])),
    });
    let expressions = [&matches[..], &[unstarted]].concat();
    let mut stages = vec![stage(name, "Pod", &json!(expressions), &first)];
    if let [one, other] = &alternatives[..] {
        for (suffix, from, to) in [(NEXT[1], one, other), (NEXT[2], other, one)] {
            let key =
                format!(".status.{}[0].state | (.waiting.reason // .terminated.reason)", state.statuses());
            matches.push(json!({"key": key, "operator": "In", "values": [reason_of(from)]}));
            let mut next = stage(
                &format!("{name}{suffix}"),
                "Pod",
                &json!(matches),
                &json!({"patches": patch(&state.template(to))}),
            );
            next["spec"]["delay"] = json!({"durationMilliseconds": ALTERNATION});
            stages.push(next);
            matches.pop();
        }
    }
    stages
}

/// The reason of a container state.
fn reason_of(state: &Value) -> &Value {
    let reason = ["/waiting/reason", "/terminated/reason"].iter().find_map(|path| state.pointer(path));
    reason.unwrap_or(&Value::Null)
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

/// The reason of the kubelet while it cannot pull an image; between two attempts it is `ImagePullBackOff`.
const PULL_ERROR: &str = "ErrImagePull";

impl PodState {
    /// The container states between which a pod alternates, or the only one, as seen on k3s v1.36.3.
    fn states(self) -> Vec<Value> {
        let waiting =
            |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
        match self {
            Self::Waiting(PULL_ERROR, error) => {
                let pause = format!("Back-off pulling image \"{{{{ .image }}}}\": {PULL_ERROR}: {error}");
                vec![waiting(PULL_ERROR, error), waiting("ImagePullBackOff", &pause)]
            }
            Self::Waiting(reason, message) => vec![waiting(reason, message)],
            Self::Crashing(_) | Self::InitCrashing(_) => {
                let pause = "back-off 20s restarting failed container={{ .name }} pod=simulated";
                vec![
                    waiting("CrashLoopBackOff", pause),
                    json!({"terminated": {"exitCode": 1, "reason": "Error"}}),
                ]
            }
            Self::Unready => vec![json!({"running": {"startedAt": NOW}})],
        }
    }

    /// The list of statuses that shows the state.
    fn statuses(self) -> &'static str {
        if matches!(self, Self::InitCrashing(_)) { "initContainerStatuses" } else { "containerStatuses" }
    }

    /// The status as a kwok template, with this state of each container.
    fn template(self, state: &Value) -> String {
        let (last, restarts) = match self {
            Self::Crashing(restarts) | Self::InitCrashing(restarts) => {
                (r#"{"terminated": {"exitCode": 1, "reason": "Error"}}"#, restarts)
            }
            Self::Waiting(..) | Self::Unready => ("{}", 0),
        };
        let of = if matches!(self, Self::InitCrashing(_)) { "initContainers" } else { "containers" };
        let statuses = self.statuses();
        let state = state.to_string().replace(&format!("\"{NOW}\""), "{{ Now | Quote }}");
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

/// Replaced with the current time.
const NOW: &str = "NOW";
