//! Waits for the cluster DNS that k3s deploys, if it is used.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::observed::workloads::Workload;
use crate::run::Waiting;
use crate::tools::Toolbox;

/// The label of the cluster DNS, whatever deploys it (kubernetes/dns, `specification.md`).
const LABEL: (&str, &str) = ("k8s-app", "kube-dns");

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The workloads that serve cluster DNS.
pub fn of(workloads: &[Workload]) -> impl Iterator<Item = &Workload> {
    workloads.iter().filter(|workload| {
        workload.namespace == "kube-system"
            && matches!(workload.kind.as_str(), "Deployment" | "DaemonSet")
            && workload.labels.get(LABEL.0).is_some_and(|value| value == LABEL.1)
    })
}

/// What is not ready, unless a pod is.
fn pending(workloads: &[Workload]) -> Option<String> {
    let mut all = of(workloads).peekable();
    let Some(first) = all.peek() else { return Some("cluster DNS: not found yet".to_owned()) };
    let Workload { kind, namespace, name, have, want, .. } = *first;
    let words = format!("{kind} {namespace}/{name} {have}/{want}");
    (!all.any(|workload| workload.have > 0)).then_some(words)
}

/// Waits until a pod of the cluster DNS is ready; `seen` are the workloads that were observed before.
///
/// # Errors
///
/// The timeout expired, the API server does not respond, or k3s-boot was interrupted.
pub async fn wait(
    tools: &Toolbox,
    stage: &'static str,
    seen: &[Workload],
    deadline: Duration,
) -> Result<(), Error> {
    let after = tools.clock.cap(deadline);
    let start = Instant::now();
    let mut waiting = Waiting::new("Waiting for cluster DNS").within(after);
    let mut pending = pending(seen);
    while let Some(waiting_for) = pending {
        waiting.say(&[("waiting_for", waiting_for.clone())]);
        if start.elapsed() >= after {
            return Err(Error::Deadline { stage, after, waiting_for });
        }
        let left = after.saturating_sub(start.elapsed());
        tools.runner.stop().sleep(POLL_INTERVAL.min(left)).await?;
        pending = match tools.observe_workloads("kube-system").await {
            Err(error) if error.is_late() => Some(waiting_for),
            seen => self::pending(&seen?),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ready_pod_is_enough() {
        let dns = |have| Workload {
            kind: "Deployment".to_owned(),
            namespace: "kube-system".to_owned(),
            name: "coredns".to_owned(),
            labels: [(LABEL.0.to_owned(), LABEL.1.to_owned())].into(),
            have,
            want: 2,
            ..Workload::default()
        };
        assert_eq!(pending(&[dns(1)]), None);
        assert_eq!(pending(&[dns(0)]).as_deref(), Some("Deployment kube-system/coredns 0/2"));
        let elsewhere = Workload { namespace: "x".to_owned(), ..dns(1) };
        assert_eq!(pending(&[elsewhere]).as_deref(), Some("cluster DNS: not found yet"));
    }
}
