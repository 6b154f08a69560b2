//! Asking the cluster: who it is, what stands in it, who owns what.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::json;

use super::{Files, Listener};
use crate::base::error::Error;
use crate::base::fact::{Known, known};
use crate::base::finding::{Finding, Findings};
use crate::desired::releases::Release;
use crate::desired::{Desired, STAND_IN};
use crate::observed::claims::Claims;
use crate::observed::cluster::Cluster;
use crate::observed::helm::{Record, Stored};
use crate::observed::kinds::Kinds;
use crate::observed::run_state::Notes;
use crate::observed::standing::Standing;
use crate::observed::{Kubelet, Live};
use crate::plan::releases::is_left;
use crate::plan::wishes::Wishes;
use crate::plan::{needs_rendering, recovery};
use crate::process::identity::{Identity, ProcessState};
use crate::settings::Settings;
use crate::tools::Toolbox;
use crate::tools::api::{Answer, Call, segment};
use crate::tools::kubeconfig::Target;
use crate::tools::kubectl::{Unanswered, UnansweredKind};

/// What the cluster said, and what is wrong with its answer.
pub(super) struct Api {
    pub(super) live: Option<Live>,
    pub(super) problems: Vec<Finding>,
    /// When it had said what stands: charts may take a minute to come, and leases would look old then.
    pub(super) now: SystemTime,
}

/// Asks all that needs no knowledge of what is wanted.
pub(super) async fn ask(
    tools: &Toolbox,
    settings: &Settings,
    files: &Files,
    listener: &mut impl Listener,
) -> Result<Api, Error> {
    if !is_asked(settings, files) {
        return Ok(Api { live: None, problems: Vec::new(), now: SystemTime::now() });
    }
    let mut problems = Findings::default();
    // Before it is ready, it may not list all kinds.
    let (leases, ready) = tokio::join!(tools.observe_leases(), tools.await_ready());
    let leases = match leases {
        Ok(leases) => leases,
        // The others would not be answered either, and take time for that.
        Err(error) => {
            answer(tools, Err(error), Ok(Cluster::default()), &mut problems)?;
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
    let Some((version, cluster)) = answer(tools, version, cluster, &mut problems)? else {
        return Ok(Api { live: None, problems: problems.0, now });
    };
    listener.cluster(&version, &cluster);
    let kinds = known(kinds)?;
    let releases = known(releases)?;
    // What the helmfiles name in plain words need not wait until helmfile has read them.
    let named = |id: &str| {
        let mut named = files.helmfiles.iter().flat_map(|state| &state.releases);
        named.any(|(namespace, name)| id.split_once('/') == Some((namespace, name)))
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

/// Whether there is a cluster to be asked.
pub(super) fn is_asked(settings: &Settings, files: &Files) -> bool {
    let kubectl = files.programs.iter().any(|program| program.name == "kubectl" && program.path.is_some());
    !settings.offline && files.target.is_some() && kubectl
}

/// The server's version and what stands in every cluster; none, and a problem, when the cluster does not answer.
pub(super) fn answer(
    tools: &Toolbox,
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
        no_answer(tools, &unanswered)
    });
    Ok(None)
}

/// Whether we may do everything.
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

/// What is claimed, of the kinds that the cluster knows.
pub(super) async fn claims(
    tools: &Toolbox,
    kinds: &Known<Kinds>,
    cluster: &Cluster,
) -> Result<Known<Claims>, Error> {
    match kinds {
        Ok(kinds) => known(tools.observe_claims(kinds, cluster).await),
        Err(reason) => Ok(Err(reason.clone())),
    }
}

/// Reads the records of those of the wanted releases that the helmfiles do not name in plain words.
pub(super) async fn other_records(tools: &Toolbox, desired: &Desired, live: &mut Live) -> Result<(), Error> {
    let Ok(known) = &mut live.records else { return Ok(()) };
    let wanted = |id: &str| !known.contains_key(id) && desired.releases().any(|release| release.id() == id);
    match records_of(tools, &live.releases, wanted).await? {
        Ok(others) => known.extend(others),
        Err(reason) => live.records = Err(reason),
    }
    Ok(())
}

/// How the objects of releases that are otherwise as wanted stand.
pub(super) async fn standing(
    tools: &Toolbox,
    desired: &Desired,
    live: &Live,
    wishes: &Wishes,
) -> Result<BTreeMap<String, Known<Standing>>, Error> {
    let looks = |release: &&Release| {
        let left = is_left(release, desired, live, wishes);
        release.installed && !left && !needs_rendering(release, desired, live, wishes)
    };
    let releases: Vec<_> = desired.releases().filter(looks).collect();
    if releases.is_empty() {
        return Ok(BTreeMap::new());
    }
    match known(tools.observe_standing(live, &releases, true).await)? {
        Ok(standing) => Ok(standing),
        Err(reason) => Ok(releases.into_iter().map(|release| (release.id(), Err(reason.clone()))).collect()),
    }
}

/// What earlier runs noted, and the state of those that have left releases locked.
pub(super) fn noted(
    cluster: &Cluster,
    releases: &Known<Vec<Stored>>,
) -> (Notes, BTreeMap<String, ProcessState>) {
    let notes = cluster.lock().map(|lease| Notes::of(&lease.annotations)).unwrap_or_default();
    let own = Identity::own();
    let runs = recovery::runs(releases.as_deref().unwrap_or_default(), &notes.operations);
    let state =
        |run: &str| Identity::parse(run).map_or(ProcessState::Elsewhere, |identity| identity.state(&own));
    let states = runs.into_iter().map(|run| (run.to_owned(), state(run))).collect();
    (notes, states)
}

/// The records of those of the releases that are wanted, by `namespace/name`.
pub(super) async fn records_of(
    tools: &Toolbox,
    stored: &Known<Vec<Stored>>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Known<BTreeMap<String, Record>>, Error> {
    let stored = match stored {
        Ok(stored) => stored,
        Err(reason) => return Ok(Err(reason.clone())),
    };
    let wanted: Vec<_> = stored.iter().filter(|one| wanted(&one.id())).collect();
    known(tools.observe_records(&wanted).await)
}

/// Whether the cluster is fit to be changed: what nobody needs to know when there is nothing to change.
pub(super) struct Fitness {
    may_everything: Known<bool>,
    kubelet: Known<Kubelet>,
    ready: Ready,
}

impl Fitness {
    pub(super) fn tell(self, live: &mut Live) {
        live.may_everything = self.may_everything;
        live.kubelet = self.kubelet;
        (live.not_ready, live.api_host_refused) = (self.ready.not_ready, self.ready.api_host_refused);
    }
}

/// Whether the cluster is fit to be changed, if that is `asked`.
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

/// What the API server says of itself.
struct Ready {
    not_ready: Known<Option<String>>,
    api_host_refused: Known<Option<String>>,
}

/// A name that an API server's own certificate always holds: pods reach it by that one.
const OWN_NAME: &str = "kubernetes.default.svc";

/// Whether the API server is ready, and whether its certificate holds for the address that Cilium's agents are to use.
async fn ready(tools: &Toolbox, releases: impl Iterator<Item = &Release>) -> Result<Ready, Error> {
    let mut releases = releases;
    let cilium = releases.find(|release| release.is_wanted() && release.chart_name() == "cilium");
    let host = cilium.and_then(|cilium| {
        let host = cilium.value(&["k8sServiceHost"])?.as_str()?;
        // What is no bare host is told by another rule.
        let bare = !host.is_empty() && host != STAND_IN && host != "auto" && !host.contains(['/', ' ', '@']);
        bare.then(|| host.to_owned())
    });
    let (answer, api_host_refused) =
        tokio::join!(tools.ask(Call::get("/readyz").soon()), api_host_refused(tools, host.as_deref()));
    let not_ready = match answer.and_then(Answer::good).map(drop) {
        // That says nothing of it.
        Err(error) if error.is_late() => Err(error.to_string()),
        answer => match known(answer)? {
            Ok(()) => Ok(None),
            // `[-]etcd failed: …` are the answer's own lines.
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

/// Why the API server's certificate does not hold for a host, if it does not. Another endpoint than the API server, such
/// as a TLS proxy, has a certificate that says nothing of that.
async fn api_host_refused(tools: &Toolbox, host: Option<&str>) -> Result<Known<Option<String>>, Error> {
    let Some(host) = host else {
        return Ok(Err("no `k8sServiceHost` in the values of cilium".to_owned()));
    };
    if !tools.target.is_verified {
        return Ok(Err("with this kubeconfig, the API server's certificate is not verified".to_owned()));
    }
    let (own, host) = tokio::join!(tools.kubectl_verify_as(OWN_NAME), tools.kubectl_verify_as(host));
    Ok(refusal(known(own)?, known(host)?))
}

/// What two looks at a certificate mean: one for the API server's own name, and one for the host.
fn refusal(own: Known<()>, host: Known<()>) -> Known<Option<String>> {
    match (own, host) {
        (Err(words), _) if is_other_name(&words) => {
            Err(format!("the kubeconfig leads to a certificate that is not the API server's own: {words}"))
        }
        (Ok(()), Ok(())) => Ok(None),
        (Ok(()), Err(words)) if is_other_name(&words) => Ok(Some(words)),
        (Err(words), _) | (_, Err(words)) => Err(words),
    }
}

/// Whether a certificate was refused for its names (Go, `HostnameError` in `crypto/x509/verify.go`).
fn is_other_name(words: &str) -> bool {
    let signs = [
        "certificate is valid for",
        "certificate is not valid for",
        "doesn't contain any IP SANs",
        "relies on legacy Common Name",
    ];
    signs.iter().any(|sign| words.contains(sign))
}

/// What the kubelet of the first server says of DNS.
async fn kubelet(tools: &Toolbox, cluster: &Cluster) -> Result<Known<Kubelet>, Error> {
    let Some(node) = cluster.servers().chain(&cluster.nodes).next() else {
        return Ok(Err("no node is registered".to_owned()));
    };
    let path = format!("/api/v1/nodes/{}/proxy/configz", segment(&node.name));
    let answer = known(tools.ask(Call::get(&path).soon()).await.and_then(Answer::good))?;
    Ok(answer.and_then(|bytes| parse_kubelet(&node.name, &bytes)))
}

fn parse_kubelet(node: &str, answer: &[u8]) -> Known<Kubelet> {
    let answer: serde_json::Value =
        serde_json::from_slice(answer).map_err(|_| format!("the kubelet of `{node}` answers no JSON"))?;
    let config = answer
        .get("kubeletconfig")
        .ok_or_else(|| format!("the kubelet of `{node}` does not tell its configuration"))?;
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

fn no_answer(tools: &Toolbox, unanswered: &Unanswered) -> Finding {
    let (message, fix) = match unanswered.kind {
        UnansweredKind::Unreachable => (
            "Cluster unreachable",
            "see that the server runs, and that the kubeconfig has its address and not 127.0.0.1",
        ),
        UnansweredKind::Unauthorized => (
            "Cluster does not accept the credentials",
            "copy the kubeconfig from the server again: it may be that of an earlier installation",
        ),
        UnansweredKind::Forbidden => (
            "Cluster does not allow this",
            "use the kubeconfig of /etc/rancher/k3s/k3s.yaml, which is an administrator's",
        ),
        UnansweredKind::Untrusted => (
            "Cluster's certificate is not trusted",
            "copy the kubeconfig from the server again; if it was reached by another name, add that with --tls-san",
        ),
        UnansweredKind::Credentials => (
            "Program that gives the credentials failed",
            "see `users[].user.exec` in the kubeconfig, and run that program by hand",
        ),
        UnansweredKind::Other => ("Cluster does not answer as it should", "see the server's log"),
    };
    let fix = Some(&tools.target)
        .filter(|_| unanswered.kind == UnansweredKind::Unreachable)
        .and_then(off_the_node)
        .unwrap_or_else(|| fix.to_owned());
    Finding::error("api", message)
        .with("server", &tools.target.server)
        .with("context", &tools.target.context)
        .with("reason", &unanswered.reason)
        .fix(fix)
}

/// The kubeconfig that k3s writes names 127.0.0.1, and is copied to other machines.
fn off_the_node(target: &Target) -> Option<String> {
    let (scheme, rest) = target.server.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port)
        }
        _ => (authority, "6443"),
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if host != "localhost" && !address.is_ok_and(|address| address.is_loopback()) {
        return None;
    }
    // Of several files, kubectl finds the one that has the cluster.
    let file = match target.files.as_slice() {
        [file] => format!(" --kubeconfig={}", file.display()),
        _ => String::new(),
    };
    Some(format!(
        "the kubeconfig of k3s names {host}, which works on the node itself only; name a server's address:\n\
         kubectl config set-cluster {}{file} --server={scheme}://SERVER:{port}",
        target.cluster
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_node_itself_is_changed() {
        let target = |server: &str| Target {
            files: vec!["/k/config".into()],
            context: "home".to_owned(),
            cluster: "default".to_owned(),
            server: server.to_owned(),
            ..Target::default()
        };
        for (server, port) in [
            ("https://127.0.0.1:6443", "6443"),
            ("https://localhost", "6443"),
            ("https://[::1]:7443/x", "7443"),
            ("https://127.0.0.1:1", "1"),
        ] {
            let fix = off_the_node(&target(server)).unwrap();
            let command = format!(
                "kubectl config set-cluster default --kubeconfig=/k/config --server=https://SERVER:{port}"
            );
            assert_eq!(fix.lines().last(), Some(command.as_str()), "{server}");
        }
        for server in ["https://10.0.0.10:6443", "https://127.example.org", "", "https://[fd00::1]:6443"] {
            assert_eq!(off_the_node(&target(server)), None, "{server}");
        }
    }

    #[test]
    fn only_the_api_servers_own_certificate_is_judged() {
        let other = "x509: certificate is valid for proxy.lan, not kubernetes.default.svc";
        let refused = "x509: certificate is valid for 10.43.0.1, 127.0.0.1, not 10.0.0.99";
        let without_addresses =
            "x509: cannot validate certificate for 10.0.0.99 because it doesn't contain any IP SANs";
        let no = |words: &str| Err(words.to_owned());
        let unknown = |words: &str| Err(words.to_owned());
        assert_eq!(refusal(Ok(()), Ok(())), Ok(None));
        assert_eq!(refusal(Ok(()), no(refused)), Ok(Some(refused.to_owned())));
        assert_eq!(refusal(Ok(()), no("EOF")), unknown("EOF"));
        // A proxy's, whether it holds for the host or not.
        let reason =
            format!("the kubeconfig leads to a certificate that is not the API server's own: {other}");
        for host in [Ok(()), no(refused), no(without_addresses), no("EOF")] {
            assert_eq!(refusal(no(other), host), unknown(&reason));
        }
        assert_eq!(refusal(no("EOF"), no(refused)), unknown("EOF"));
    }

    #[test]
    fn what_a_kubelet_says_of_dns() {
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
        fn no_answer_makes_it_panic(text: String, odd in crate::base::odd::odd(
            r#"{"kubeletconfig":{"clusterDNS":["10.43.0.10"],"clusterDomain":"cluster.local"}}"#)) {
            _ = parse_kubelet("a", text.as_bytes());
            _ = parse_kubelet("a", odd.to_string().as_bytes());
        }
    }
}
