//! Looking at the cluster for what is behind a release that failed.

use std::time::Duration;

use super::known::{Diagnosis, find};
use super::pods::{Trouble, worst};
use super::taints;
use crate::error::{Error, ReleaseFailure};
use crate::observed::events::{Event, last_about};
use crate::observed::workloads::Workload;
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
    let namespace = release.split_once('/').map_or("default", |(namespace, _)| namespace);
    let (workloads, pods, events) = tokio::join!(
        tools.observe_workloads(namespace),
        tools.observe_pods(namespace),
        tools.observe_warnings()
    );
    let (workloads, pods, events) = (workloads?, pods?, events?);
    let ours = |workload: &&Workload| workload.release().as_deref() == Some(release);
    let lacking: Vec<_> = workloads.iter().filter(ours).filter(|one| one.have < one.want).collect();
    let of_ours = |namespace: &str, name: &str| {
        let event = Event {
            kind: "Pod".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Event::default()
        };
        lacking.iter().any(|workload| event.is_about(workload))
    };
    let pods = pods.iter().filter(|pod| of_ours(&pod.namespace, &pod.name));
    if let Some(mut trouble) = worst(pods, &events) {
        if taints::are_unnamed(&trouble.state) {
            trouble.state = taints::named(&trouble.state, &tools.observe_nodes().await.unwrap_or_default());
        }
        let pod = trouble.object.split_once('/').map(|(_, pod)| pod);
        let known = find(&trouble.state).map(|known| Diagnosis::known(release, pod, known));
        let mut diagnosis = known.unwrap_or_default();
        diagnosis.last_words = last_words(tools, namespace, &trouble).await;
        diagnosis.object = Some(trouble.object);
        diagnosis.state = Some(trouble.state);
        return Ok(Some(diagnosis));
    }
    // There may be no pod at all: a quota, or an admission that refuses it, is told of the workload.
    let told = lacking.iter().find_map(|workload| Some((*workload, last_about(&events, workload)?)));
    let Some((workload, event)) = told else {
        let object = lacking.first().map(|workload| workload.words());
        return Ok(object.map(|object| Diagnosis { object: Some(object), ..Diagnosis::default() }));
    };
    let state = format!("{}: {}", event.reason, event.message);
    let known = find(&state).map(|known| Diagnosis::known(release, None, known)).unwrap_or_default();
    let object = format!("{} {}/{}", workload.kind, workload.namespace, workload.name);
    Ok(Some(Diagnosis { object: Some(object), state: Some(state), ..known }))
}

/// The last lines of the container that crashed; none where the kubelet does not give them.
async fn last_words(tools: &Toolbox, namespace: &str, trouble: &Trouble) -> Vec<String> {
    let (Some(container), Some((_, pod))) = (&trouble.crashed, trouble.object.split_once('/')) else {
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
