//! Reads the cluster: its identity, its state, and who manages what.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::json;

use super::no_answer::no_answer;
use super::{Files, Listener};
use crate::base::distribution::Distribution;
use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::base::finding::{Finding, Findings};
use crate::base::release_id::ReleaseId;
use crate::desired::distribution::decide;
use crate::desired::releases::Release;
use crate::desired::{Desired, STAND_IN};
use crate::observed::claims::Claims;
use crate::observed::cluster::Cluster;
use crate::observed::helm::{Record, Stored};
use crate::observed::kinds::Kinds;
use crate::observed::run_state::RunState;
use crate::observed::standing::ObjectState;
use crate::observed::{Kubelet, Live};
use crate::plan::options::PlanOptions;
use crate::plan::releases::is_skipped;
use crate::plan::{needs_rendering, recovery};
use crate::process::identity::{Identity, ProcessState};
use crate::settings::Settings;
use crate::tools::Toolbox;
use crate::tools::api::{Answer, Call, segment};
use crate::tools::unanswered::{Unanswered, UnansweredKind};

/// The state of the cluster, and the problems with reading it.
pub(super) struct Api {
    pub(super) live: Option<Live>,
    pub(super) problems: Vec<Finding>,
    /// When the cluster answered. Fetching charts may take a minute, after which leases would look old.
    pub(super) now: SystemTime,
}

/// Reads everything that does not depend on the desired state.
pub(super) async fn ask(
    tools: &Toolbox,
    settings: &Settings,
    files: &Files,
    listener: &mut impl Listener,
) -> Result<Api, Error> {
    if !is_asked(settings, files) {
        return Ok(Api { live: None, problems: Vec::new(), now: SystemTime::now() });
    }
    let distribution = decide(&files.repository.signs);
    let mut problems = Findings::default();
    // Before the API server is ready, it may not list all kinds.
    let (leases, ready) = tokio::join!(tools.observe_leases(), tools.await_ready());
    let leases = match leases {
        Ok(leases) => leases,
        // Other requests would fail as well, after another timeout.
        Err(error) => {
            answer(tools, distribution, Err(error), Ok(Cluster::default()), &mut problems)?;
            return Ok(Api { live: None, problems: problems.0, now: SystemTime::now() });
        }
    };
    _ = known(ready)?;
    let (version, cluster, kinds, releases) = tokio::join!(
        tools.server_version(),
        tools.observe_cluster(),
        tools.observe_kinds(),
        tools.observe_releases(),
    );
    let now = SystemTime::now();
    let cluster = cluster.map(|cluster| Cluster { leases, ..cluster });
    let Some((version, cluster)) = answer(tools, distribution, version, cluster, &mut problems)? else {
        return Ok(Api { live: None, problems: problems.0, now });
    };
    listener.cluster(&version, &cluster);
    let kinds = known(kinds)?;
    let releases = known(releases)?;
    // The releases that can be read from the helmfiles' text need not wait until helmfile has rendered them.
    let named = |id: &ReleaseId| {
        let mut named = files.helmfiles.iter().flat_map(|state| &state.releases);
        named.any(|(namespace, name)| (&id.namespace, &id.name) == (namespace, name))
    };
    let (claims, records) =
        tokio::join!(claims(tools, &kinds, &cluster), records_of(tools, &releases, named));
    let (notes, runs) = noted(&cluster, &releases);
    let live = Live {
        runs,
        notes,
        version,
        cluster,
        kinds,
        claims: claims?,
        releases,
        records: records?,
        ..Live::default()
    };
    Ok(Api { live: Some(live), problems: problems.0, now })
}

/// Whether the cluster is to be read at all.
pub(super) fn is_asked(settings: &Settings, files: &Files) -> bool {
    let kubectl = files.programs.iter().any(|program| program.name == "kubectl" && program.path.is_some());
    !settings.offline && files.target.is_some() && kubectl
}

/// The server's version and the state of the cluster; none, and a problem, when the cluster does not answer.
pub(super) fn answer(
    tools: &Toolbox,
    distribution: Distribution,
    version: Result<String, Error>,
    cluster: Result<Cluster, Error>,
    problems: &mut Findings,
) -> Result<Option<(String, Cluster)>, Error> {
    let (answered, error) = match (version, cluster) {
        (Ok(version), Ok(cluster)) => return Ok(Some((version, cluster))),
        (Err(error), _) => (false, error),
        (Ok(_), Err(error)) => (true, error),
    };
    if error.is_interruption() {
        return Err(error);
    }
    let unanswered = Unanswered::of(&error);
    problems.0.push(if answered && unanswered.kind == UnansweredKind::Other {
        Finding::error("api", "Cluster cannot be read").with("reason", unanswered.reason)
    } else {
        no_answer(tools, distribution, &unanswered)
    });
    Ok(None)
}

/// Whether the user is a cluster administrator.
async fn may_everything(tools: &Toolbox) -> Result<bool, Error> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}}});
    let call = Call::create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).soon();
    let answer: Review = tools.ask(call).await?.read()?;
    Ok(answer.status.allowed)
}

#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize)]
struct ReviewStatus {
    allowed: bool,
}

/// The releases that Flux or k3s manage, as far as the cluster knows their kinds.
pub(super) async fn claims(
    tools: &Toolbox,
    kinds: &Fact<Kinds>,
    cluster: &Cluster,
) -> Result<Fact<Claims>, Error> {
    match kinds {
        Ok(kinds) => known(tools.observe_claims(kinds, cluster).await),
        Err(reason) => Ok(Err(reason.clone())),
    }
}

/// Reads the records of the desired releases that could not be read from the helmfiles' text.
pub(super) async fn other_records(tools: &Toolbox, desired: &Desired, live: &mut Live) -> Result<(), Error> {
    let Ok(known) = &mut live.records else { return Ok(()) };
    let is_unread =
        |id: &ReleaseId| !known.contains_key(id) && desired.releases().any(|release| release.id() == *id);
    match records_of(tools, &live.releases, is_unread).await? {
        Ok(others) => known.extend(others),
        Err(reason) => live.records = Err(reason),
    }
    Ok(())
}

/// The state of the objects of releases that are otherwise up to date.
pub(super) async fn standing(
    tools: &Toolbox,
    desired: &Desired,
    live: &Live,
    plan_options: &PlanOptions,
) -> Result<BTreeMap<ReleaseId, Fact<ObjectState>>, Error> {
    let is_inspected = |release: &&Release| {
        let left = is_skipped(release, desired, live, plan_options);
        release.installed && !left && !needs_rendering(release, desired, live, plan_options)
    };
    let releases: Vec<_> = desired.releases().filter(is_inspected).collect();
    if releases.is_empty() {
        return Ok(BTreeMap::new());
    }
    match known(tools.observe_object_states(live, &releases, true).await)? {
        Ok(standing) => Ok(standing),
        Err(reason) => Ok(releases.into_iter().map(|release| (release.id(), Err(reason.clone()))).collect()),
    }
}

/// The notes of earlier runs, and the process state of the runs that left releases stuck in `pending-*`.
pub(super) fn noted(
    cluster: &Cluster,
    releases: &Fact<Vec<Stored>>,
) -> (RunState, BTreeMap<String, ProcessState>) {
    let notes =
        cluster.lock().map(|lease| RunState::from_annotations(&lease.annotations)).unwrap_or_default();
    let own = Identity::own();
    let runs = recovery::runs(releases.as_deref().unwrap_or_default(), &notes.operations);
    let state =
        |run: &str| Identity::parse(run).map_or(ProcessState::Elsewhere, |identity| identity.state(&own));
    let states = runs.into_iter().map(|run| (run.to_owned(), state(run))).collect();
    (notes, states)
}

/// The records of the releases that `is_desired` selects.
pub(super) async fn records_of(
    tools: &Toolbox,
    stored: &Fact<Vec<Stored>>,
    is_desired: impl Fn(&ReleaseId) -> bool,
) -> Result<Fact<BTreeMap<ReleaseId, Record>>, Error> {
    let stored = match stored {
        Ok(stored) => stored,
        Err(reason) => return Ok(Err(reason.clone())),
    };
    let selected: Vec<_> = stored.iter().filter(|one| is_desired(&one.id())).collect();
    known(tools.observe_records(&selected).await)
}

/// Whether the cluster can be changed; only read when there is something to change.
pub(super) struct Fitness {
    may_everything: Fact<bool>,
    kubelet: Fact<Kubelet>,
    ready: Ready,
}

impl Fitness {
    pub(super) fn store_in(self, live: &mut Live) {
        live.may_everything = self.may_everything;
        live.kubelet = self.kubelet;
        (live.not_ready, live.api_host_refused) = (self.ready.not_ready, self.ready.api_host_refused);
    }
}

/// Reads whether the cluster can be changed, if that is `asked`.
pub(super) async fn fitness(
    tools: &Toolbox,
    desired: &Desired,
    cluster: &Cluster,
    asked: bool,
) -> Result<Option<Fitness>, Error> {
    if !asked {
        return Ok(None);
    }
    let (may, kubelet, ready) =
        tokio::join!(may_everything(tools), kubelet(tools, cluster), ready(tools, desired.releases()));
    Ok(Some(Fitness { may_everything: known(may)?, kubelet: kubelet?, ready: ready? }))
}

struct Ready {
    not_ready: Fact<Option<String>>,
    api_host_refused: Fact<Option<String>>,
}

/// A name that an API server's own certificate always contains, because pods use it.
const API_SERVER_NAME: &str = "kubernetes.default.svc";

/// Whether the API server is ready, and whether its certificate is valid for the address that Cilium's agents will use.
async fn ready(tools: &Toolbox, releases: impl Iterator<Item = &Release>) -> Result<Ready, Error> {
    let mut releases = releases;
    let cilium = releases.find(|release| release.is_wanted() && release.chart_name() == "cilium");
    let host = cilium.and_then(|cilium| {
        let host = cilium.value(&["k8sServiceHost"])?.as_str()?;
        // Another rule reports values that are not a bare host name.
        let bare =
            !host.is_empty() && !host.contains(STAND_IN) && host != "auto" && !host.contains(['/', ' ', '@']);
        bare.then(|| host.to_owned())
    });
    let (answer, api_host_refused) =
        tokio::join!(tools.ask(Call::get("/readyz").soon()), api_host_refused(tools, host.as_deref()));
    let failed = answer.as_ref().ok().and_then(Answer::failed_checks);
    let not_ready = match (failed, answer.and_then(Answer::good).map(drop)) {
        (Some(failed), _) => Ok(Some(format!("checks of /readyz failed: {failed}"))),
        // A timeout does not show whether it is ready.
        (None, Err(error)) if error.is_late() => Err(error.to_string()),
        (None, answer) => match known(answer)? {
            Ok(()) => Ok(None),
            Err(words)
                if words.contains("readyz")
                    || words.contains("ServiceUnavailable")
                    || words.contains("an error on the server") =>
            {
                Ok(Some(words))
            }
            Err(words) => Err(words),
        },
    };
    Ok(Ready { not_ready, api_host_refused: api_host_refused? })
}

/// Why the API server's certificate is not valid for a host, if it is not. The certificate of another endpoint, such as a
/// TLS proxy, does not answer that.
async fn api_host_refused(tools: &Toolbox, host: Option<&str>) -> Result<Fact<Option<String>>, Error> {
    let Some(host) = host else {
        return Ok(Err("no `k8sServiceHost` in the values of cilium".to_owned()));
    };
    if !tools.target.is_verified {
        return Ok(Err("the kubeconfig does not verify the API server's certificate".to_owned()));
    }
    let (own, host) = tokio::join!(tools.kubectl_verify_as(API_SERVER_NAME), tools.kubectl_verify_as(host));
    Ok(refusal(known(own)?, known(host)?))
}

/// Combines two TLS checks: one for the API server's own name, and one for the host.
fn refusal(own: Fact<()>, host: Fact<()>) -> Fact<Option<String>> {
    match (own, host) {
        (Err(words), _) if is_other_name(&words) => {
            Err(format!("the kubeconfig's server does not present the API server's own certificate: {words}"))
        }
        (Ok(()), Ok(())) => Ok(None),
        (Ok(()), Err(words)) if is_other_name(&words) => Ok(Some(words)),
        (Err(words), _) | (_, Err(words)) => Err(words),
    }
}

/// Whether a certificate was rejected for its names (Go, `HostnameError` in `crypto/x509/verify.go`).
fn is_other_name(words: &str) -> bool {
    let signs = [
        "certificate is valid for",
        "certificate is not valid for",
        "doesn't contain any IP SANs",
        "relies on legacy Common Name",
    ];
    signs.iter().any(|sign| words.contains(sign))
}

/// The DNS configuration of the kubelet on the first server.
async fn kubelet(tools: &Toolbox, cluster: &Cluster) -> Result<Fact<Kubelet>, Error> {
    let Some(node) = cluster.servers().chain(&cluster.nodes).next() else {
        return Ok(Err("no node is registered".to_owned()));
    };
    let path = format!("/api/v1/nodes/{}/proxy/configz", segment(&node.name));
    let answer = known(tools.ask(Call::get(&path).soon()).await.and_then(Answer::good))?;
    Ok(answer.and_then(|bytes| parse_kubelet(&node.name, &bytes)))
}

fn parse_kubelet(node: &str, answer: &[u8]) -> Fact<Kubelet> {
    let answer: serde_json::Value = serde_json::from_slice(answer)
        .map_err(|_| format!("the kubelet on `{node}` did not answer with JSON"))?;
    let config = answer
        .get("kubeletconfig")
        .ok_or_else(|| format!("the kubelet on `{node}` does not report its configuration"))?;
    let text = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
    Ok(Kubelet {
        node: node.to_owned(),
        cluster_dns: config
            .get("clusterDNS")
            .and_then(|list| list.as_array())
            .into_iter()
            .flatten()
            .filter_map(text)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_servers_own_certificate_counts() {
        let other = "x509: certificate is valid for proxy.lan, not kubernetes.default.svc";
        let refused = "x509: certificate is valid for 10.43.0.1, 127.0.0.1, not 10.0.0.99";
        let without_addresses =
            "x509: cannot validate certificate for 10.0.0.99 because it doesn't contain any IP SANs";
        let no = |words: &str| Err(words.to_owned());
        let unknown = |words: &str| Err(words.to_owned());
        assert_eq!(refusal(Ok(()), Ok(())), Ok(None));
        assert_eq!(refusal(Ok(()), no(refused)), Ok(Some(refused.to_owned())));
        assert_eq!(refusal(Ok(()), no("EOF")), unknown("EOF"));
        // The certificate of a proxy, whether it is valid for the host or not.
        let reason =
            format!("the kubeconfig's server does not present the API server's own certificate: {other}");
        for host in [Ok(()), no(refused), no(without_addresses), no("EOF")] {
            assert_eq!(refusal(no(other), host), unknown(&reason));
        }
        assert_eq!(refusal(no("EOF"), no(refused)), unknown("EOF"));
    }

    #[test]
    fn parses_cluster_dns_of_a_kubelet() {
        let text =
            r#"{"kubeletconfig":{"clusterDNS":["10.43.0.10"],"clusterDomain":"cluster.local","other":1}}"#;
        let kubelet = parse_kubelet("a", text.as_bytes()).unwrap();
        assert_eq!(kubelet.cluster_dns, ["10.43.0.10"]);
        for text in ["", "{}", "[1]", r#"{"kind":"Status"}"#] {
            assert!(parse_kubelet("a", text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String, odd in crate::base::mutate::json(
            r#"{"kubeletconfig":{"clusterDNS":["10.43.0.10"],"clusterDomain":"cluster.local"}}"#)) {
            _ = parse_kubelet("a", text.as_bytes());
            _ = parse_kubelet("a", odd.to_string().as_bytes());
        }
    }
}
