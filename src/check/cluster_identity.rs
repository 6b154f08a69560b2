//! Identifies the cluster: every k3s kubeconfig calls its context `default`, so names do not.

use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::check::options::CheckOptions;
use crate::desired::source::SyncSource;
use crate::desired::{Desired, STAND_IN};
use crate::observed::Live;
use crate::observed::manager::Manager;

/// The annotation on the Lease of the lock with the repository from which the cluster was bootstrapped.
pub(crate) const MARK: &str = "k3s-boot/repository";

/// The mark of k3s-boot 0.1.0 for every repository without a URL: it identifies none.
const UNNAMED: &str = "unnamed";

/// The rules that report unreadable helmfiles.
const HELMFILE_RULES: [&str; 3] = ["helmfile", "hooks", "env"];

/// Whether this is the right cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Yes, for this reason.
    Right(&'static str),
    /// It has no workloads that could be harmed.
    Fresh,
    /// Unknown, with these workloads.
    Unknown(Vec<String>),
    /// No.
    Refused(Finding),
}

/// The name of a repository, `host/path`: its URL without scheme, port, credentials and `.git`, so that it is the same for
/// ssh and https. A URL without a host, such as a folder, is another repository on every machine.
pub(crate) fn repository_name(url: &str) -> Option<String> {
    let scp = |url: &str| url.split_once(':').is_some_and(|(host, _)| !host.contains('/'));
    let is_remote = url.contains("://") || scp(url.trim());
    Some(repository(url)).filter(|name| is_remote && !name.starts_with('/') && name.contains('/'))
}

/// [`repository_name`] of any text, for comparing and showing it.
pub(crate) fn repository(url: &str) -> String {
    let url = url.trim();
    let rest = match url.split_once("://") {
        Some((_, rest)) => rest.to_owned(),
        // `git@host:path`, the scp syntax.
        None => url.replacen(':', "/", 1),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((&rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // The port does not identify the repository.
    let host = host.split(':').next().unwrap_or(host).to_lowercase();
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    if path.is_empty() { host } else { format!("{host}/{path}") }
}

/// The mark of this repository; none if it has no name, so that only a pin identifies it.
pub(crate) fn mark(desired: &Desired) -> Option<String> {
    let asked = SyncSource::of(desired);
    repository_name(asked.url().or(desired.origin.as_deref())?)
}

/// The mark on the cluster, if any.
fn mark_of(live: &Live) -> Option<&str> {
    live.cluster.lock()?.annotations.get(MARK).map(String::as_str).filter(|mark| *mark != UNNAMED)
}

/// Whether the repository is unknown: a variable that its URL uses is not set, or the helmfile that contains the URL
/// cannot be read.
pub(crate) fn is_repository_unknown(desired: &Desired) -> bool {
    let unread = || desired.problems.iter().any(|problem| HELMFILE_RULES.contains(&problem.rule));
    SyncSource::of(desired).url().map_or_else(unread, |url| url.contains(STAND_IN))
}

/// Decides whether this is the right cluster. The strongest evidence comes first: what was written down explicitly.
pub(crate) fn judge(options: &CheckOptions, desired: &Desired, live: &Live) -> Verdict {
    let uid = live.cluster.uid.as_str();
    let ours = mark(desired);
    let open = is_repository_unknown(desired);
    let pinned = options.cluster_uid.as_deref() == Some(uid);
    // A mark cannot be compared with a repository that has no name.
    let incomparable = open || (pinned && ours.is_none());
    let other = || other_repository(options, desired, live, ours.as_deref()).filter(|_| !incomparable);
    if let Some(refused) = other_pin(options, uid).or_else(other) {
        return Verdict::Refused(refused);
    }
    if options.cluster_flag.as_deref() == Some(uid) {
        return Verdict::Right("named with --cluster");
    }
    if pinned {
        return Verdict::Right("pinned");
    }
    if mark_of(live).is_some() && !open {
        return Verdict::Right("bootstrapped from this repository");
    }
    let claims = match &live.claims {
        Ok(claims) => claims,
        Err(reason) => return Verdict::Unknown(vec![format!("objects of Flux cannot be read: {reason}")]),
    };
    if ours.is_some_and(|ours| live_urls(live).iter().any(|url| repository(url) == ours)) {
        return Verdict::Right("synced by Flux from this repository");
    }
    let stored = match &live.releases {
        Ok(stored) => stored,
        Err(reason) => return Verdict::Unknown(vec![format!("Helm releases cannot be read: {reason}")]),
    };
    let mut workloads: Vec<_> =
        claims.instance.iter().map(|instance| instance.object().to_string()).collect();
    if claims.controllers && claims.instance.is_none() {
        workloads.push(Manager::FluxWithoutInstance.to_string());
    }
    let own = |release: &ReleaseId| claims.helm_charts.iter().any(|chart| chart.release == *release);
    let releases = stored.iter().map(crate::observed::helm::Stored::id).filter(|release| !own(release));
    workloads.extend(releases.map(|release| format!("Helm release {release}")));
    let others = live.cluster.workloads.iter().filter(|workload| workload.namespace != "kube-system");
    let others = others.filter(|workload| workload.release().is_none());
    workloads.extend(others.map(|workload| workload.object().to_string()));
    if workloads.is_empty() { Verdict::Fresh } else { Verdict::Unknown(workloads) }
}

/// Why a cluster with this UID is not the one that the user has named or pinned.
pub(crate) fn other_pin(options: &CheckOptions, uid: &str) -> Option<Finding> {
    let other = |named: &Option<String>| named.clone().filter(|named| named != uid);
    if let Some(named) = other(&options.cluster_flag) {
        let fix = "set KUBECONFIG to the right kubeconfig, or pass the right UID with --cluster";
        let finding = refused("Cluster does not match --cluster");
        return Some(finding.with("uid", uid).with("expected", named).fix(fix));
    }
    let pin = other(&options.cluster_uid)?;
    let finding = refused("Cluster does not match the pinned UID").with("uid", uid).with("pinned", pin);
    Some(finding.with("config", options.config_file.display()).fix(
        "set KUBECONFIG to the right kubeconfig; if this is the new cluster, pin it: k3s-boot check --pin --yes",
    ))
}

/// Why the cluster belongs to another repository: its mark, or what Flux syncs. A former URL of this repository, passed
/// with `--moved-from`, counts as this one.
fn other_repository(
    options: &CheckOptions,
    desired: &Desired,
    live: &Live,
    ours: Option<&str>,
) -> Option<Finding> {
    let former: Vec<_> = options.moved_from.iter().map(|url| repository(url)).collect();
    let asked = SyncSource::of(desired).url().map(repository);
    let is_ours =
        |name: &String| Some(name.as_str()) == ours || asked.as_ref() == Some(name) || former.contains(name);
    let mark = mark_of(live).map(ToOwned::to_owned).filter(|mark| !is_ours(mark));
    let synced: Vec<_> = live_urls(live).into_iter().map(repository).collect();
    // Without a URL there is nothing to compare with.
    let synced = synced.first().filter(|_| asked.is_some() && !synced.iter().any(is_ours)).cloned();
    let message = if mark.is_some() {
        "Cluster was bootstrapped from another repository"
    } else {
        "Flux syncs another repository into this cluster"
    };
    let mut others: Vec<_> = mark.into_iter().chain(synced).collect();
    others.dedup();
    let uid = &live.cluster.uid;
    let finding = refused(message).with("uid", uid).with("repository", others.first()?);
    let right = "use the kubeconfig of the right cluster";
    Some(match ours.or(asked.as_deref()) {
        Some(this) => {
            let flags: Vec<_> = others.iter().map(|other| format!("--moved-from {other}")).collect();
            let fix = format!("{right}; if this repository has a new URL: k3s-boot apps {}", flags.join(" "));
            finding.with("this_repository", this).fix(fix)
        }
        None => finding
            .with("this_repository", "a repository without a remote")
            .fix(format!("{right}; or pin this one in k3s-boot.yaml, with `cluster: {{uid: {uid}}}`")),
    })
}

fn refused(message: &str) -> Finding {
    Finding::error("cluster-identity", message)
}

/// The URLs from which Flux syncs the cluster: that of the FluxInstance, else that of the source that `flux bootstrap`
/// creates.
fn live_urls(live: &Live) -> Vec<&str> {
    let Ok(claims) = &live.claims else { return Vec::new() };
    let instance = claims.instance.as_ref().and_then(|instance| instance.spec.sync.as_ref());
    if let Some(sync) = instance {
        return vec![sync.url.as_str()];
    }
    let root = |source: &&crate::observed::flux::Resource| {
        source.metadata.namespace == "flux-system" && source.metadata.name == "flux-system"
    };
    claims.sources.iter().filter(root).filter_map(|source| source.spec.url.as_deref()).collect()
}

/// The finding for an unknown cluster with workloads.
pub(crate) fn unknown(live: &Live, workloads: &[String]) -> Finding {
    let uid = &live.cluster.uid;
    Finding::error("cluster-identity", "Unknown cluster with workloads on it")
        .with("uid", uid)
        .with("workloads", shortened(workloads))
        .fix(format!("if this is the right cluster: --cluster {uid}, or `k3s-boot check --pin` to pin it"))
}

/// The first few workloads, and how many more there are.
pub(crate) fn shortened(workloads: &[String]) -> String {
    const MAX_LISTED: usize = 5;
    let first = workloads.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if workloads.len() > MAX_LISTED {
        format!("{first} and {} more", workloads.len() - MAX_LISTED)
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::desired::releases::parse;
    use crate::desired::{Helmfile, Kind};
    use crate::observed::claims::Claims;
    use crate::observed::cluster::{LEASE, Lease};
    use crate::observed::helm::Stored;
    use crate::observed::workloads::Workload;

    fn desired(url: &str) -> Desired {
        let text = format!(
            "releases:\n- {{name: flux-instance, namespace: flux-system, chart: c, values: [{{instance: {{sync: {{url: '{url}'}}}}}}]}}\n"
        );
        let releases = parse(text.as_bytes(), "default").unwrap().releases;
        let helmfile = Helmfile { kind: Kind::Apps, path: "x".into(), releases, needs_identities: false };
        Desired { helmfiles: vec![helmfile], ..Desired::default() }
    }

    fn fresh() -> Live {
        let mut live = Live { claims: Ok(Claims::default()), releases: Ok(Vec::new()), ..Live::default() };
        "uid-a".clone_into(&mut live.cluster.uid);
        live
    }

    fn marked(repository: &str) -> Live {
        let mut live = fresh();
        live.cluster.leases = vec![Lease {
            namespace: LEASE.0.to_owned(),
            name: LEASE.1.to_owned(),
            annotations: BTreeMap::from([(MARK.to_owned(), repository.to_owned())]),
            ..Lease::default()
        }];
        live
    }

    fn instance(url: &str) -> crate::observed::flux::Resource {
        serde_json::from_value(
            json!({"kind": "FluxInstance", "metadata": {"name": "flux", "namespace": "flux-system"},
            "spec": {"sync": {"kind": "GitRepository", "url": url}}}),
        )
        .unwrap()
    }

    const URL: &str = "ssh://git@example.org/me/home.git";

    fn judged(options: &CheckOptions, live: &Live) -> Verdict {
        judge(options, &desired(URL), live)
    }

    fn message(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Refused(finding) => &finding.summary,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_repository_has_many_urls() {
        let same = [
            URL,
            "https://example.org/me/home",
            "https://me:token@Example.org/me/home.git/",
            "git@example.org:me/home.git",
            "ssh://git@example.org:2222/me/home",
        ];
        for url in same {
            assert_eq!(repository(url), "example.org/me/home", "{url}");
        }
        assert_ne!(repository("https://example.org/me/other"), repository(URL));
        assert_eq!(repository(""), "");
    }

    #[test]
    fn credentials_are_not_shown() {
        let claims = Claims { instance: Some(instance("https://example.org/other")), ..Claims::default() };
        let live = Live { claims: Ok(claims), ..fresh() };
        let desired = desired("https://me:CANARY@example.org/me/home.git");
        let refused = judge(&CheckOptions::default(), &desired, &live);
        assert!(message(&refused).contains("another repository"));
        assert!(!format!("{refused:?}").contains("CANARY"), "{refused:?}");
    }

    #[test]
    fn a_fresh_cluster_passes_and_one_with_workloads_is_unknown() {
        let options = CheckOptions::default();
        assert_eq!(judged(&options, &fresh()), Verdict::Fresh);
        let mut own = fresh();
        let traefik =
            Stored { namespace: "kube-system".to_owned(), name: "traefik".to_owned(), ..Stored::default() };
        own.releases = Ok(vec![traefik]);
        let chart = crate::observed::helm_charts::HelmChart {
            release: "kube-system/traefik".into(),
            ..crate::plan::helm_charts::tests::chart()
        };
        own.claims = Ok(Claims { helm_charts: vec![chart], ..Claims::default() });
        assert_eq!(judged(&options, &own), Verdict::Fresh, "a release of k3s");
        own.claims = Ok(Claims::default());
        assert_eq!(
            judged(&options, &own),
            Verdict::Unknown(vec!["Helm release kube-system/traefik".to_owned()])
        );
        let mut users = fresh();
        users.cluster.workloads = vec![Workload {
            kind: "Deployment".to_owned(),
            namespace: "media".to_owned(),
            name: "player".to_owned(),
            ..Workload::default()
        }];
        assert_eq!(judged(&options, &users), Verdict::Unknown(vec!["Deployment media/player".to_owned()]));
        let named = CheckOptions { cluster_flag: Some("uid-a".to_owned()), ..CheckOptions::default() };
        assert_eq!(judged(&named, &users), Verdict::Right("named with --cluster"));
        let pinned = CheckOptions { cluster_uid: Some("uid-a".to_owned()), ..CheckOptions::default() };
        assert_eq!(judged(&pinned, &users), Verdict::Right("pinned"));
        let unread = Live { claims: Err("no".to_owned()), ..fresh() };
        assert!(matches!(judged(&options, &unread), Verdict::Unknown(_)));
    }

    #[test]
    fn pins_and_marks_take_precedence() {
        let options = CheckOptions::default();
        assert!(matches!(judged(&options, &marked("example.org/me/home")), Verdict::Right(_)));
        let other = judged(&options, &marked("example.org/other"));
        assert_eq!(message(&other), "Cluster was bootstrapped from another repository");
        let pinned = CheckOptions { cluster_uid: Some("uid-b".to_owned()), ..CheckOptions::default() };
        assert_eq!(message(&judged(&pinned, &fresh())), "Cluster does not match the pinned UID");
        let named = CheckOptions { cluster_flag: Some("uid-b".to_owned()), ..CheckOptions::default() };
        assert_eq!(message(&judged(&named, &fresh())), "Cluster does not match --cluster");
        let both = CheckOptions { cluster_flag: Some("uid-a".to_owned()), ..pinned };
        assert_eq!(
            message(&judged(&both, &fresh())),
            "Cluster does not match the pinned UID",
            "a flag is no pin"
        );
        let claims = |url: &str| Claims { instance: Some(instance(url)), ..Claims::default() };
        let live = Live { claims: Ok(claims("https://t:CANARY@example.org/me/home")), ..fresh() };
        assert_eq!(judged(&options, &live), Verdict::Right("synced by Flux from this repository"));
        let live = Live { claims: Ok(claims("https://t:CANARY@example.org/other")), ..fresh() };
        let refused = judged(&options, &live);
        assert_eq!(message(&refused), "Flux syncs another repository into this cluster");
        assert!(!format!("{refused:?}").contains("CANARY"));
    }

    #[test]
    fn a_repository_without_a_name_is_identified_by_a_pin_only() {
        let options = CheckOptions::default();
        let pinned = CheckOptions { cluster_uid: Some("uid-a".to_owned()), ..CheckOptions::default() };
        let named = CheckOptions { cluster_flag: Some("uid-a".to_owned()), ..CheckOptions::default() };
        let workload = |live: &mut Live| {
            live.cluster.workloads = vec![Workload {
                kind: "Deployment".to_owned(),
                namespace: "media".to_owned(),
                name: "player".to_owned(),
                ..Workload::default()
            }];
        };
        for origin in [None, Some("/srv/git/home.git"), Some("../home.git"), Some("file:///srv/git/home.git")]
        {
            let unnamed = Desired { origin: origin.map(ToOwned::to_owned), ..Desired::default() };
            assert_eq!(mark(&unnamed), None, "{origin:?}");
            assert_eq!(judge(&options, &unnamed, &fresh()), Verdict::Fresh);
            // The mark of 0.1.0 for any repository without a name.
            let mut live = marked(UNNAMED);
            workload(&mut live);
            assert!(matches!(judge(&options, &unnamed, &live), Verdict::Unknown(_)), "{origin:?}");
            assert!(matches!(judged(&options, &live), Verdict::Unknown(_)));
            assert_eq!(judge(&pinned, &unnamed, &live), Verdict::Right("pinned"));
            // The mark of another repository.
            let live = marked("example.org/other");
            for options in [&options, &named] {
                let refused = judge(options, &unnamed, &live);
                assert_eq!(message(&refused), "Cluster was bootstrapped from another repository");
            }
            assert_eq!(judge(&pinned, &unnamed, &live), Verdict::Right("pinned"));
        }
    }

    #[test]
    fn a_corrected_url_takes_one_command() {
        // FLUX_GIT_URL was misspelt: the cluster is marked with it, and Flux tries to sync it.
        let claims =
            Claims { instance: Some(instance("ssh://git@exmaple.org/me/home")), ..Claims::default() };
        let live = Live { claims: Ok(claims), ..marked("exmaple.org/me/home") };
        let fix = |verdict: &Verdict| match verdict {
            Verdict::Refused(finding) => finding.fix.clone().unwrap(),
            other => panic!("{other:?}"),
        };
        let refused = judged(&CheckOptions::default(), &live);
        assert!(fix(&refused).ends_with(": k3s-boot apps --moved-from exmaple.org/me/home"), "{refused:?}");
        let moved = |names: &[&str]| CheckOptions {
            moved_from: names.iter().map(|name| (*name).to_owned()).collect(),
            ..CheckOptions::default()
        };
        assert!(matches!(judged(&moved(&["exmaple.org/me/home"]), &live), Verdict::Right(_)));
        assert!(matches!(judged(&moved(&["ssh://git@exmaple.org/me/home.git"]), &live), Verdict::Right(_)));
        assert!(matches!(judged(&moved(&["example.org/third"]), &live), Verdict::Refused(_)));
        // The mark was corrected, but not yet the source of Flux.
        let live = Live { claims: live.claims, ..marked("example.org/me/home") };
        assert_eq!(
            message(&judged(&CheckOptions::default(), &live)),
            "Flux syncs another repository into this cluster"
        );
        assert!(matches!(judged(&moved(&["exmaple.org/me/home"]), &live), Verdict::Right(_)));
        // One command names two former URLs.
        let live = Live { claims: live.claims, ..marked("git.example.org/me/home") };
        let refused = judged(&CheckOptions::default(), &live);
        assert!(
            fix(&refused).ends_with("--moved-from git.example.org/me/home --moved-from exmaple.org/me/home"),
            "{refused:?}"
        );
        let both = moved(&["git.example.org/me/home", "exmaple.org/me/home"]);
        assert!(matches!(judged(&both, &live), Verdict::Right(_)));
    }

    #[test]
    fn an_unknown_url_does_not_refuse_a_cluster() {
        let options = CheckOptions::default();
        let open = desired(STAND_IN);
        assert_eq!(judge(&options, &open, &fresh()), Verdict::Fresh);
        let mut marked = marked("example.org/me/home");
        let claims = Claims { instance: Some(instance(URL)), ..Claims::default() };
        marked.claims = Ok(claims);
        assert!(matches!(judge(&options, &open, &marked), Verdict::Unknown(_)));
        let pinned = CheckOptions { cluster_uid: Some("uid-b".to_owned()), ..CheckOptions::default() };
        assert_eq!(message(&judge(&pinned, &open, &marked)), "Cluster does not match the pinned UID");
        let unread = Desired {
            problems: vec![Finding::error("helmfile", "Helmfile cannot be read")],
            origin: Some("https://example.org/a/fork".to_owned()),
            ..Desired::default()
        };
        assert!(matches!(judge(&options, &unread, &marked), Verdict::Unknown(_)));
        let read = Desired { problems: Vec::new(), ..unread };
        assert_eq!(
            message(&judge(&options, &read, &marked)),
            "Cluster was bootstrapped from another repository"
        );
    }

    #[test]
    fn long_lists_are_shortened() {
        let runs: Vec<_> = (0..7).map(|number| format!("x{number}")).collect();
        assert_eq!(shortened(&runs), "x0, x1, x2, x3, x4 and 2 more");
    }

    proptest::proptest! {
        #[test]
        fn no_url_makes_it_panic(text: String, near in crate::base::mutate::text(&[
            "https://me:CANARY@Example.org:8443/me/home.git/?a=b#c", "git@example.org:me/home.git", "ssh://git@[::1]:22/home", "oci://x/y",
        ])) {
            for url in [text, near] {
                _ = (repository(&url), repository_name(&url));
            }
        }
    }
}
