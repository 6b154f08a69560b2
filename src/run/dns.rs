//! Waits for the cluster DNS that k3s deploys, if it is used.

use std::time::{Duration, Instant};

use crate::base::error::Error;
use crate::base::waiting::Waiting;
use crate::observed::workloads::{Workload, cluster_dns};
use crate::tools::Toolbox;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What is not ready, unless a pod is.
fn pending(workloads: &[Workload]) -> Option<String> {
    let mut all = cluster_dns(workloads).peekable();
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
pub(crate) async fn wait(
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
            labels: [("k8s-app".to_owned(), "kube-dns".to_owned())].into(),
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
