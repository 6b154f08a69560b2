//! Looking at the cluster for what is behind a release that failed.

use std::time::Duration;

use super::known::{Diagnosis, find};
use super::pods::{Stage, Trouble};
use super::release::in_the_way;
use super::taints;
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

/// Finds out what is behind a failure: by helm's words, or by the pods that are not ready. What cannot be read is not told.
pub async fn behind(tools: &Toolbox, failure: &ReleaseFailure) -> Diagnosis {
    let Some(release) = &failure.release else {
        return find(&failure.reason).map(|known| Diagnosis::known("", None, known)).unwrap_or_default();
    };
    let by_words = find(&failure.reason).map(|known| Diagnosis::known(release, None, known));
    // Unless it waited in vain, helm has said what it is.
    if let Some(diagnosis) = by_words.as_ref().filter(|_| !failure.timed_out) {
        return diagnosis.clone();
    }
    let looked = tokio::time::timeout(LONGEST, look(tools, release)).await;
    looked.ok().and_then(Result::ok).flatten().or(by_words).unwrap_or_default()
}

async fn look(tools: &Toolbox, release: &str) -> Result<Option<Diagnosis>, Error> {
    let seen = Seen::of(tools, release).await?;
    if let Some(trouble) = seen.troubles(tools, release).await?.into_iter().next() {
        return Ok(Some(told(tools, release, trouble).await));
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

    /// What is in the way of the release, the worst first; the nodes are asked where only they can tell.
    ///
    /// # Errors
    ///
    /// The API server does not answer.
    pub async fn troubles(&self, tools: &Toolbox, release: &str) -> Result<Vec<Trouble>, Error> {
        let mut troubles = in_the_way(release, &self.workloads, &self.pods, &self.events);
        let unnamed = troubles.iter().any(|trouble| taints::are_unnamed(&trouble.state));
        let vague = troubles.iter().all(|trouble| trouble.stage >= Stage::Warned);
        let waiting = if vague { self.nodes_of_waiting(release) } else { Vec::new() };
        if !unnamed && waiting.is_empty() {
            return Ok(troubles);
        }
        let nodes = tools.observe_nodes().await?;
        for trouble in troubles.iter_mut().filter(|trouble| taints::are_unnamed(&trouble.state)) {
            trouble.state = taints::named(&trouble.state, &nodes);
        }
        let down = nodes.iter().find(|node| !node.ready && waiting.contains(&node.name.as_str()));
        troubles.extend(down.map(|node| Trouble {
            object: format!("Node {}", node.name),
            stage: Stage::Node,
            state: format!("NodeNotReady: {}", node.message),
            crashed: None,
        }));
        troubles.sort_by_key(|trouble| trouble.stage);
        Ok(troubles)
    }

    /// The nodes of those of its pods that are not ready.
    fn nodes_of_waiting(&self, release: &str) -> Vec<&str> {
        let lacking: Vec<_> = lacking(&self.workloads, release).collect();
        let ours = |pod: &&Pod| !pod.ready && lacking.iter().any(|workload| workload.has_pod(pod));
        self.pods.iter().filter(ours).filter_map(|pod| pod.node.as_deref()).collect()
    }
}

/// What is known of a trouble, with the last words of what has crashed.
pub async fn told(tools: &Toolbox, release: &str, trouble: Trouble) -> Diagnosis {
    let known = find(&trouble.state).map(|known| Diagnosis::known(release, trouble.pod(), known));
    let last_words = last_words(tools, namespace_of(release), &trouble).await;
    let (object, state) = (Some(trouble.object), Some(trouble.state));
    Diagnosis { object, state, last_words, ..known.unwrap_or_default() }
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
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous=true&tailLines={LINES}"
    );
    let answer = match tools.ask(Call::get(&path).soon()).await {
        Ok(answer) => answer.found(),
        Err(_) => return Vec::new(),
    };
    let text = answer.ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(ToOwned::to_owned).collect()
}
