//! Looking at the cluster for what is behind a release that failed.

use std::time::Duration;

use serde::de::IgnoredAny;

use super::known::{Diagnosis, find};
use super::pods::{Stage, Trouble, Warnings};
use super::release::{in_the_way, of_workload};
use super::{taints, webhooks};
use crate::error::{Error, ReleaseFailure};
use crate::observed::events::Event;
use crate::observed::pods::Pod;
use crate::observed::workloads::{Workload, lacking};
use crate::tools::Toolbox;
use crate::tools::api::{Call, segment};

/// How long looking may take: the failure itself is known already.
const LONGEST: Duration = Duration::from_secs(10);

/// So many of a crashed container's last lines are told.
const LINES: usize = 20;

/// And so many bytes of them are read at most.
const BYTES: usize = 64 * 1024;

/// So many further warnings about an object are told.
const WARNINGS: usize = 3;

/// The label of Flux's own controllers (fluxcd/flux2, `manifests/install`).
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "flux");

/// Finds out what is behind a failure: by helm's words, or by the pods that are not ready. What cannot be read is not told;
/// nor what the cluster has warned of until `before` (RFC 3339, by its own clock).
pub async fn behind(tools: &Toolbox, failure: &ReleaseFailure, before: &str) -> Diagnosis {
    let Some(release) = &failure.release else {
        return find(&failure.reason).map(|known| Diagnosis::known("", None, known)).unwrap_or_default();
    };
    let by_words = find(&failure.reason).map(|known| Diagnosis::known(release, None, known));
    // Unless it was stopped: what it waited for cannot become ready, helm has said what it is.
    if let Some(diagnosis) = by_words.as_ref().filter(|_| !failure.timed_out) {
        return Diagnosis { object: webhooks::behind(tools, &failure.reason).await, ..diagnosis.clone() };
    }
    let looked = tokio::time::timeout(LONGEST, look(tools, release, before)).await;
    let by_words = || Diagnosis { object: waited_for(&failure.reason), ..by_words.unwrap_or_default() };
    looked.ok().and_then(Result::ok).flatten().unwrap_or_else(by_words)
}

/// The first object that helm says it has waited for (Helm 4.2.4 and 3.21.4: `resource KIND/NAMESPACE/NAME not ready`).
fn waited_for(reason: &str) -> Option<String> {
    let (_, rest) = reason.split_once("resource ")?;
    let (object, _) = rest.split_once(" not ready")?;
    let (kind, name) = object.split_once('/').filter(|_| !object.contains(' '))?;
    Some(format!("{kind} {name}"))
}

/// What is in the way of a release that nobody works at; nothing where that cannot be told.
pub async fn of_kept(tools: &Toolbox, release: &str) -> Diagnosis {
    let looked = tokio::time::timeout(LONGEST, worst(tools, release)).await;
    looked.ok().and_then(Result::ok).flatten().unwrap_or_default()
}

async fn worst(tools: &Toolbox, release: &str) -> Result<Option<Diagnosis>, Error> {
    let seen = Seen::of(tools, release).await?;
    let trouble = seen.troubles(tools, release, "").await?.into_iter().next();
    Ok(match trouble {
        Some(trouble) => Some(told(tools, release, trouble, &seen.events).await),
        None => None,
    })
}

async fn look(tools: &Toolbox, release: &str, before: &str) -> Result<Option<Diagnosis>, Error> {
    let seen = Seen::of(tools, release).await?;
    let mut troubles = seen.troubles(tools, release, before).await?;
    if troubles.is_empty() {
        troubles = seen.troubles_of_flux(before);
    }
    if let Some(trouble) = troubles.into_iter().next() {
        return Ok(Some(told(tools, release, trouble, &seen.events).await));
    }
    let first = lacking(&seen.workloads, release).next();
    Ok(first.map(|workload| Diagnosis { object: Some(workload.words()), ..Diagnosis::default() }))
}

/// What stands in the namespace of a release.
pub struct Seen {
    /// What runs pods.
    pub workloads: Vec<Workload>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// What the cluster has warned of lately.
    pub events: Vec<Event>,
}

impl Seen {
    /// Looks.
    ///
    /// # Errors
    ///
    /// The API server does not answer.
    pub async fn of(tools: &Toolbox, release: &str) -> Result<Self, Error> {
        let namespace = namespace_of(release);
        let (workloads, pods, events) = tokio::join!(
            tools.observe_workloads(namespace),
            tools.observe_pods(namespace),
            tools.observe_warnings_in(namespace)
        );
        Ok(Self { workloads: workloads?, pods: pods?, events: events? })
    }

    /// What is in the way of the release, the worst first; the nodes are asked where only they can tell. Warnings until
    /// `before` are not of now.
    ///
    /// # Errors
    ///
    /// The API server does not answer.
    pub async fn troubles(
        &self,
        tools: &Toolbox,
        release: &str,
        before: &str,
    ) -> Result<Vec<Trouble>, Error> {
        let warnings = Warnings { events: &self.events, before };
        let mut troubles = in_the_way(release, &self.workloads, &self.pods, warnings);
        let is = |trouble: &Trouble, id| find(&trouble.state).is_some_and(|known| known.id == id);
        let lacks_volume = |trouble: &Trouble| is(trouble, "volume");
        // Where that may not be read, the rest is worth telling.
        if troubles.iter().any(lacks_volume) && !tools.has_storage_class().await.unwrap_or(true) {
            for trouble in troubles.iter_mut().filter(|trouble| lacks_volume(trouble)) {
                trouble.add("there is no StorageClass");
            }
        }
        // Until Kubernetes 1.33 the scheduler's words are known as they are.
        let lacks_node = |trouble: &Trouble| is(trouble, "node-not-ready");
        let open = |trouble: &Trouble| taints::are_unnamed(&trouble.state) || lacks_node(trouble);
        let vague = troubles.iter().all(|trouble| trouble.stage >= Stage::Warned);
        let waiting = if vague { self.nodes_of_waiting(release) } else { Vec::new() };
        if !troubles.iter().any(open) && waiting.is_empty() {
            return Ok(troubles);
        }
        let nodes = tools.observe_nodes().await?;
        for trouble in troubles.iter_mut().filter(|trouble| open(trouble)) {
            let pod = self.pods.iter().find(|pod| trouble.is_of(pod));
            let tolerations = pod.map(|pod| pod.tolerations.as_slice()).unwrap_or_default();
            trouble.state = taints::named(&trouble.state, &nodes, tolerations);
            if let Some(unready) = taints::unready(&nodes).filter(|_| lacks_node(trouble)) {
                trouble.add(&unready);
            }
        }
        let down = nodes.iter().find(|node| !node.ready && waiting.contains(&node.name.as_str()));
        troubles.extend(down.map(|node| Trouble {
            object: format!("Node {}", node.name),
            stage: Stage::Node,
            state: format!("NodeNotReady: {}", node.message),
            crashed: None,
            is_current: true,
        }));
        troubles.sort_by_key(|trouble| trouble.stage);
        Ok(troubles)
    }

    /// What is in the way of Flux's own controllers, which no release has made: flux-operator has. The worst first.
    #[must_use]
    pub fn troubles_of_flux(&self, before: &str) -> Vec<Trouble> {
        let warnings = Warnings { events: &self.events, before };
        let of_flux = self.workloads.iter().filter(|workload| {
            workload.labels.get(PART_OF.0).is_some_and(|part_of| part_of == PART_OF.1)
                && workload.release().is_none()
                && workload.have < workload.want
        });
        let mut troubles: Vec<_> =
            of_flux.filter_map(|workload| of_workload(workload, &self.pods, warnings)).collect();
        troubles.sort_by_key(|trouble| trouble.stage);
        troubles
    }

    /// The nodes of those of its pods that are not ready.
    fn nodes_of_waiting(&self, release: &str) -> Vec<&str> {
        let lacking: Vec<_> = lacking(&self.workloads, release).collect();
        let ours = |pod: &&Pod| !pod.ready && lacking.iter().any(|workload| workload.has_pod(pod));
        self.pods.iter().filter(ours).filter_map(|pod| pod.node.as_deref()).collect()
    }
}

/// What is known of a trouble, with what else the cluster has warned of about it, and the last words of what has crashed.
/// All of it is in the transcript, however long.
pub async fn told(tools: &Toolbox, release: &str, trouble: Trouble, events: &[Event]) -> Diagnosis {
    let known = find(&trouble.state).map(|known| Diagnosis::known(release, trouble.pod(), known));
    let warnings = warnings_about(&trouble, events);
    let last_words = last_words(tools, namespace_of(release), &trouble).await;
    let Trouble { object, state, .. } = trouble;
    let seen = std::iter::once(&state).chain(&warnings).chain(&last_words);
    tools.runner.transcript().seen(&object, seen.map(String::as_str));
    let (object, state) = (Some(object), Some(state));
    Diagnosis { object, state, warnings, last_words, ..known.unwrap_or_default() }
}

/// What the cluster has warned of last about the object of a trouble, less what its state tells already.
fn warnings_about(trouble: &Trouble, events: &[Event]) -> Vec<String> {
    let about =
        |event: &&Event| trouble.object == format!("{} {}/{}", event.kind, event.namespace, event.name);
    // What the scheduler says is the state itself, in more words; and one refusal is like the other, but for a pod's name.
    let placing = matches!(trouble.stage, Stage::Unplaced | Stage::Follows);
    let told = |event: &Event| {
        placing && event.reason == "FailedScheduling"
            || trouble.stage == Stage::Refused && trouble.state.starts_with(&format!("{}: ", event.reason))
    };
    let mut about: Vec<_> = events
        .iter()
        .filter(about)
        .filter(|event| !told(event))
        .filter(|event| !event.message.is_empty() && !trouble.state.contains(&event.message))
        .collect();
    about.sort_by(|one, other| other.last.cmp(&one.last));
    let words = |event: &Event| {
        let times = if event.count > 1 { format!(" (x{})", event.count) } else { String::new() };
        format!("{}: {}{times}", event.reason, event.message)
    };
    about.into_iter().take(WARNINGS).map(words).collect()
}

impl Toolbox {
    /// Whether there is any `StorageClass`.
    async fn has_storage_class(&self) -> Result<bool, Error> {
        let classes: Vec<IgnoredAny> =
            self.api_list("/apis/storage.k8s.io/v1/storageclasses?limit=1").await?;
        Ok(!classes.is_empty())
    }
}

fn namespace_of(release: &str) -> &str {
    release.split_once('/').map_or("default", |(namespace, _)| namespace)
}

/// The last lines of the container that crashed; none where the kubelet does not give them.
async fn last_words(tools: &Toolbox, namespace: &str, trouble: &Trouble) -> Vec<String> {
    let (Some(container), Some(pod)) = (&trouble.crashed, trouble.pod()) else {
        return Vec::new();
    };
    let [namespace, pod, container] = [namespace, pod, container].map(segment);
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous=true&tailLines={LINES}&limitBytes={BYTES}"
    );
    let answer = match tools.ask(Call::get(&path).soon()).await {
        Ok(answer) => answer.found(),
        Err(_) => return Vec::new(),
    };
    let text = answer.ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(ToOwned::to_owned).collect()
}
