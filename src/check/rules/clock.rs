//! The clocks of this machine and the cluster agree.

use std::time::{Duration, SystemTime};

use humantime::{format_rfc3339_seconds, parse_rfc3339};

use crate::base::duration::whole_seconds;
use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;
use crate::observed::cluster::Lease;

pub(super) const RULE: Rule = Rule {
    id: "clock",
    group: Group::Cluster,
    title: "the clocks of this machine and the cluster agree",
    why: "Certificates and tokens have a validity period: if the clocks differ, new ones are rejected as not valid \
          yet. The cluster's time comes from the Leases that its components renew every few seconds.",
    essential: false,
    needs: Needs::Cluster,
    check: Check::Cluster(check),
};

/// If a Lease is from our future by more than this, the clocks differ.
const MAX_AHEAD: Duration = Duration::from_secs(5);

/// If the newest Lease is older than this, the clocks differ: the API server renews its own every ten seconds.
const MAX_BEHIND: Duration = Duration::from_mins(1);

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    let now = facts.observed.now;
    if now == SystemTime::UNIX_EPOCH {
        return Answer::Unknown("the time is unknown".to_owned());
    }
    let leases = || {
        let known = live.cluster.leases.iter().filter(|lease| is_kubelet(lease) || is_control_plane(lease));
        known.filter_map(|lease| Some((lease, parse_rfc3339(lease.renewed.as_deref()?).ok()?)))
    };
    let Some((newest, renewed)) = leases().max_by_key(|(_, renewed)| *renewed) else {
        return Answer::Unknown("no Lease shows the cluster's time".to_owned());
    };
    if let Some(skew) = renewed.duration_since(now).ok().filter(|skew| *skew > MAX_AHEAD) {
        let skew = format!("{} behind", whole_seconds(skew));
        return Answer::judged(Some(found(newest, renewed, now, &skew)));
    }
    // One old Lease may belong to a server that is gone, but not all of them.
    let control_plane = leases().filter(|(lease, _)| is_control_plane(lease));
    let newest = control_plane.max_by_key(|(_, renewed)| *renewed);
    let behind = |renewed| now.duration_since(renewed).ok().filter(|skew| *skew > MAX_BEHIND);
    match newest {
        None if behind(renewed).is_some() => {
            Answer::unknown("no Lease of the control plane shows the cluster's time")
        }
        None => Answer::Ok,
        Some((newest, renewed)) => Answer::judged(
            behind(renewed)
                .map(|skew| found(newest, renewed, now, &format!("about {} ahead", whole_seconds(skew)))),
        ),
    }
}

/// API servers (`apiserver-HASH`), controller manager and scheduler.
fn is_control_plane(lease: &Lease) -> bool {
    lease.namespace == "kube-system"
        && ["apiserver-", "kube-"].iter().any(|start| lease.name.starts_with(start))
}

fn is_kubelet(lease: &Lease) -> bool {
    lease.namespace == "kube-node-lease"
}

fn found(lease: &Lease, renewed: SystemTime, now: SystemTime, skew: &str) -> Finding {
    Finding::warning(RULE.id, "Clocks differ")
        .with("local_time", format_rfc3339_seconds(now))
        .with("cluster_time", format_rfc3339_seconds(renewed))
        .with("lease", format!("{}/{}", lease.namespace, lease.name))
        .with("local_clock", skew)
        .fix(
            "compare `date -u` on this machine and on the nodes; where it is wrong: timedatectl set-ntp true",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Warning;
    use crate::check::testing::World;

    /// A healthy cluster at 08:10:00.
    fn with(leases: &[(&str, &str, &str)]) -> World {
        let mut world = World::healthy();
        world.live_mut().cluster.leases = leases
            .iter()
            .map(|(namespace, name, renewed)| Lease {
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
                renewed: Some((*renewed).to_owned()),
                ..Lease::default()
            })
            .collect();
        world
    }

    #[test]
    fn clocks_that_agree_pass() {
        let good = [
            &[("kube-system", "apiserver-abc", "2026-11-23T08:09:54.123456Z")][..],
            &[("kube-node-lease", "a", "2026-11-23T08:10:04Z")],
            // A stopped server and a running one.
            &[
                ("kube-system", "apiserver-abc", "2026-11-23T07:30:00Z"),
                ("kube-system", "kube-scheduler", "2026-11-23T08:09:58Z"),
            ],
            // The Lease of another program.
            &[
                ("kube-system", "apiserver-abc", "2026-11-23T08:09:54Z"),
                ("kube-system", "k3s-boot", "2027-11-23T08:09:54Z"),
            ],
        ];
        for leases in good {
            assert_eq!(with(leases).ask(&RULE), Answer::Ok, "{leases:?}");
        }
    }

    #[test]
    fn clocks_that_differ_are_a_warning() {
        let cases = [
            (&[("kube-node-lease", "a", "2026-11-23T08:10:30Z")][..], "30s behind"),
            (&[("kube-system", "apiserver-abc", "2026-11-23T08:05:00Z")], "about 5m ahead"),
            (
                &[
                    ("kube-system", "apiserver-abc", "2026-11-23T08:05:00Z"),
                    ("kube-system", "kube-scheduler", "2026-11-23T08:08:00Z"),
                ],
                "about 2m ahead",
            ),
        ];
        for (leases, skew) in cases {
            let world = with(leases);
            assert_eq!(world.found(&RULE), [(Warning, "Clocks differ".to_owned())]);
            assert_eq!(world.detail(&RULE, "local_clock"), skew);
        }
    }

    #[test]
    fn without_a_time_it_is_unknown() {
        let unknown = |world: World| matches!(world.ask(&RULE), Answer::Unknown(_));
        assert!(unknown(World::healthy()));
        // A node that is gone shows no skew.
        assert!(unknown(with(&[("kube-node-lease", "a", "2026-11-20T08:10:04Z")])));
        assert!(unknown(with(&[("kube-system", "apiserver-abc", "yesterday")])));
        let mut world = with(&[("kube-system", "apiserver-abc", "2026-11-23T08:05:00Z")]);
        world.observed.now = SystemTime::UNIX_EPOCH;
        assert!(unknown(world));
    }
}
