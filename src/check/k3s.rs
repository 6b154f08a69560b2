//! Shared by the rules about k3s: how its servers were started, and which lines are missing in their configuration.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use humantime::parse_rfc3339;

use super::{Answer, Facts, Inspection};
use crate::base::distribution::Distribution;
use crate::base::finding::{Finding, ServerLines};
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::observed::k3s::NodeArgs;
use crate::observed::node::Node;

/// The label on every object of the bundled CoreDNS; the same in all versions of k3s.
pub(super) const BUNDLED_COREDNS: (&str, &str) =
    ("objectset.rio.cattle.io/hash", "bce283298811743a0386ab510f2f67ef74240c57");

/// The label with the host name, on a Node and on the Lease of an API server.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The reason of a node that is not Ready because its kubelet stopped reporting.
const UNREACHABLE: &str = "NodeStatusUnknown";

/// The number of workloads that are listed by name.
const MOST_NAMES: usize = 3;

/// An API server has stopped if its Lease is older than the newest one by this: each renews its own every ten seconds
/// (Kubernetes, `IdentityLeaseRenewIntervalPeriod` in `pkg/controlplane/apiserver/server.go`).
const GONE: Duration = Duration::from_mins(1);

/// Why a rule about k3s does not apply to a cluster.
pub(super) const NOT_RUN: &str = "the cluster does not run k3s";

/// Why a rule about k3s does not apply while the cluster does not answer.
pub(super) const NOT_SAID: &str = "the repository does not say that the cluster runs k3s";

/// How servers of k3d get other settings; the settings follow.
pub(super) const RECREATE: &str =
    "# create the cluster again with `k3d cluster create --k3s-arg`, with these settings of the servers";

/// Whether the nodes of the cluster run k3s.
///
/// # Errors
///
/// The answer of a rule about k3s, if the cluster is another distribution or does not report its version.
pub(super) fn is_k3s(live: &Live) -> Result<(), Answer> {
    match live.distribution() {
        known if known.is_k3s() => Ok(()),
        Distribution::Unknown => Err(Answer::unknown("the server does not report its version")),
        _ => Err(Answer::not_applicable(NOT_RUN)),
    }
}

/// The hosts of running API servers without a Node: a k3s server with `--disable-agent` registers none.
///
/// A host name is compared with all names and addresses of a Node. A server with a custom `node-name` matches no host, so
/// hosts without a Node only count if there are more of them than such Nodes.
pub(super) fn without_node(live: &Live) -> Vec<&str> {
    let servers = || {
        let leases = live.cluster.leases.iter().filter(|lease| lease.is_of_api_server());
        leases.filter_map(|lease| Some((lease, parse_rfc3339(lease.renewed.as_deref()?).ok()?)))
    };
    let Some(newest) = servers().map(|(_, renewed)| renewed).max() else { return Vec::new() };
    let hosts = servers()
        .filter(|(_, renewed)| newest.duration_since(*renewed).is_ok_and(|age| age < GONE))
        .map(|(lease, _)| lease.labels.get(HOSTNAME).unwrap_or(&lease.name).as_str());
    let hosts: Vec<_> = hosts.collect();
    let is_called = |node: &Node, host: &str| {
        let addresses = node.addresses.iter().map(|address| &address.address);
        let mut names = std::iter::once(&node.name).chain(node.labels.get(HOSTNAME)).chain(addresses);
        names.any(|name| name.eq_ignore_ascii_case(host))
    };
    let unmatched: Vec<_> = hosts
        .iter()
        .copied()
        .filter(|host| !live.cluster.servers().any(|node| is_called(node, host)))
        .collect();
    let named_otherwise = live
        .cluster
        .servers()
        .filter(|node| node.reason != UNREACHABLE && !hosts.iter().any(|host| is_called(node, host)));
    if unmatched.len() > named_otherwise.count() { unmatched } else { Vec::new() }
}

/// The servers and their k3s settings.
pub(super) struct Servers<'a> {
    /// Servers that report their settings.
    pub(super) known: Vec<(&'a str, NodeArgs)>,
    /// Servers that do not.
    unknown: Vec<&'a str>,
    /// The hosts of servers without a Node, which would report them.
    without_node: Vec<&'a str>,
    agents: bool,
    /// Whether the servers are containers of k3d, which sets their arguments when it creates them.
    pub(super) are_containers: bool,
}

/// Servers whose configuration needs the same lines.
pub(super) struct MissingLines<'a> {
    servers: Vec<&'a str>,
    lines: String,
}

impl<'a> MissingLines<'a> {
    /// Adds a server to those that need the same lines.
    fn add(all: &mut Vec<Self>, server: &'a str, lines: String) {
        match all.iter_mut().find(|one| one.lines == lines) {
            Some(one) => one.servers.push(server),
            None => all.push(Self { servers: vec![server], lines }),
        }
    }
}

impl<'a> Servers<'a> {
    /// The servers of k3s.
    ///
    /// # Errors
    ///
    /// As [`is_k3s`].
    pub(super) fn of_k3s(live: &'a Live) -> Result<Self, Answer> {
        is_k3s(live).map(|()| Self::of(live))
    }

    pub(super) fn of(live: &'a Live) -> Self {
        let mut servers = Self {
            known: Vec::new(),
            unknown: Vec::new(),
            without_node: without_node(live),
            agents: live.cluster.nodes.iter().any(|node| !node.is_server()),
            are_containers: live.distribution() == Distribution::K3d,
        };
        for node in live.cluster.servers() {
            match node.k3s() {
                Some(args) => servers.known.push((&node.name, args)),
                None => servers.unknown.push(&node.name),
            }
        }
        servers
    }

    /// The names of all servers that are known.
    pub(super) fn names(&self) -> String {
        let known = self.known.iter().map(|(name, _)| *name);
        let all: Vec<_> =
            known.chain(self.unknown.iter().copied()).chain(self.without_node.iter().copied()).collect();
        all.join(", ")
    }

    /// The servers for which `lines` returns lines that their configuration needs, grouped by these lines.
    pub(super) fn missing_lines(&self, lines: impl Fn(&NodeArgs) -> Option<String>) -> Vec<MissingLines<'a>> {
        let mut missing = Vec::new();
        for (name, args) in &self.known {
            if let Some(lines) = lines(args) {
                MissingLines::add(&mut missing, name, lines);
            }
        }
        missing
    }

    /// Sets these lines as the fix, with a comment.
    pub(super) fn fixed(
        &self,
        finding: Finding,
        missing: &[MissingLines<'_>],
        note: Option<String>,
    ) -> Finding {
        let lines = missing
            .iter()
            .flat_map(|one| one.servers.iter().map(|server| ((*server).to_owned(), one.lines.clone())));
        let server_lines = ServerLines { lines: lines.collect(), note };
        let fix =
            with_notes(self.fix(missing), &server_lines.note.as_deref().into_iter().collect::<Vec<_>>());
        Finding { server_lines: Some(Box::new(server_lines)), ..finding }.fix(fix)
    }

    /// Whether the settings of all servers are known.
    pub(super) fn are_all_known(&self) -> bool {
        !self.known.is_empty() && self.unknown.is_empty() && self.without_node.is_empty()
    }

    /// The findings, or else whether the settings of all servers are known.
    pub(super) fn answer(&self, findings: impl IntoIterator<Item = Finding>) -> Answer {
        let none = "no server has registered";
        let mut inspection = Inspection::default();
        inspection.look(findings);
        if !self.unknown.is_empty() {
            inspection.miss(format!("{} does not report how k3s was started", self.unknown.join(", ")));
        }
        if !self.without_node.is_empty() {
            let hosts = self.without_node.join(", ");
            inspection
                .miss(format!("API server on {hosts} has no Node that would report how k3s was started"));
        }
        if self.known.is_empty() && self.unknown.is_empty() && self.without_node.is_empty() {
            inspection.miss(none);
        }
        inspection.answer(none)
    }

    /// What to add on which server, and what to restart.
    pub(super) fn fix(&self, missing: &[MissingLines<'_>]) -> String {
        let mut text = String::new();
        if self.are_containers {
            let lines: Vec<_> = blocks(missing).map(|(_, lines)| lines).collect();
            return format!("{RECREATE}\n{}", lines.join("\n"));
        }
        for (servers, lines) in blocks(missing) {
            _ = writeln!(text, "# /etc/rancher/k3s/config.yaml on {servers}");
            _ = writeln!(text, "{lines}");
        }
        text.push_str("# then there: systemctl restart k3s");
        // Agents get most of their configuration from a server when they start.
        if self.agents {
            text.push_str("\n# then on each agent: systemctl restart k3s-agent");
        }
        text
    }
}

/// Merges the fixes of findings that change the configuration of the same servers, so that each server gets one block and one
/// restart. The most severe finding, of several the first, gets all lines; the others refer to it.
pub(crate) fn merge_fixes<'f>(findings: impl IntoIterator<Item = &'f mut Finding>, live: &Live) {
    let findings = findings.into_iter().filter(|finding| finding.server_lines.is_some());
    let mut findings: Vec<_> = findings.collect();
    let worst = findings.iter().map(|finding| finding.severity).max();
    let main = findings.iter().position(|finding| Some(finding.severity) == worst);
    let Some(main) = main.filter(|_| findings.len() > 1) else { return };
    let servers = Servers::of(live);
    let added = || findings.iter().filter_map(|finding| finding.server_lines.as_deref());
    let all = || added().flat_map(|added| &added.lines);
    let mut missing = Vec::new();
    for (name, _) in &servers.known {
        let lines: Vec<_> =
            all().filter(|(server, _)| server == name).map(|(_, lines)| lines.as_str()).collect();
        if !lines.is_empty() {
            MissingLines::add(&mut missing, name, merged(&lines));
        }
    }
    let notes: Vec<_> = added().filter_map(|added| added.note.as_deref()).collect();
    let (fix, summary) = (with_notes(servers.fix(&missing), &notes), findings[main].summary.clone());
    for (index, finding) in findings.iter_mut().enumerate() {
        let other = || format!("included in the fix of `{summary}`");
        finding.fix = Some(if index == main { fix.clone() } else { other() });
    }
}

/// The lines of several findings for one server; one list has all components to disable.
fn merged(all: &[&str]) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut disabled = BTreeSet::new();
    for one in all {
        match one.strip_prefix("disable: [").and_then(|rest| rest.strip_suffix(']')) {
            Some(components) => disabled.extend(components.split(", ")),
            None if lines.contains(one) => {}
            None => lines.push(one),
        }
    }
    let disable = (!disabled.is_empty()).then(|| disable_line(disabled));
    lines.into_iter().map(ToOwned::to_owned).chain(disable).collect::<Vec<_>>().join("\n")
}

fn disable_line<'c>(components: impl IntoIterator<Item = &'c str>) -> String {
    format!("disable: [{}]", components.into_iter().collect::<Vec<_>>().join(", "))
}

fn with_notes(fix: String, notes: &[&str]) -> String {
    notes.iter().fold(fix, |fix, note| format!("{fix}\n{note}"))
}

/// The names of the servers, with the lines that their configuration needs.
pub(super) fn blocks<'a>(missing: &'a [MissingLines<'_>]) -> impl Iterator<Item = (String, &'a str)> {
    missing.iter().map(|one| (one.servers.join(", "), one.lines.as_str()))
}

/// The names of all servers whose configuration needs lines.
pub(super) fn names(missing: &[MissingLines<'_>]) -> String {
    missing.iter().flat_map(|one| &one.servers).copied().collect::<Vec<_>>().join(", ")
}

/// The line that disables bundled components, with those that are disabled already.
pub(super) fn disable(args: &NodeArgs, components: &[&str]) -> Option<String> {
    let mut disabled = args.disabled();
    let before = disabled.len();
    disabled.extend(components.iter().map(|component| (*component).to_owned()));
    (disabled.len() > before).then(|| disable_line(disabled.iter().map(String::as_str)))
}

/// Adds the fix, unless it would interrupt workloads of the user: then adds how to keep the component instead.
pub(super) fn fix_or_keep(
    finding: Finding,
    facts: &Facts<'_>,
    live: &Live,
    interrupted: &str,
    keep: &str,
    fix: impl FnOnce(Finding) -> Finding,
) -> Finding {
    match user_workloads(facts, live) {
        None => fix(finding),
        Some(workloads) => finding.with("workloads", workloads).fix(format!(
            "changing k3s now would interrupt {interrupted} for the running workloads, so no commands are given. {keep}"
        )),
    }
}

/// Some names of workloads of the user.
pub(super) fn user_workloads(facts: &Facts<'_>, live: &Live) -> Option<String> {
    let releases: Vec<_> = facts.desired.releases().map(Release::id).collect();
    let names: BTreeSet<_> = live
        .cluster
        .user_workloads(&releases)
        .map(|workload| format!("{}/{}", workload.namespace, workload.name))
        .collect();
    let shown: Vec<_> = names.iter().take(MOST_NAMES).map(String::as_str).collect();
    let more = names.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::check::testing::World;
    use crate::observed::cluster::Lease;

    #[test]
    fn servers_with_the_same_missing_lines_share_a_block() {
        let mut world = World::healthy();
        world.server("b", &["server", "--disable", "traefik"]);
        world.server("c", &["server", "--disable", "traefik"]);
        world.server("d", &["server"]);
        let servers = Servers::of(world.live());
        let missing = servers.missing_lines(|args| disable(args, &["coredns"]));
        assert_eq!(names(&missing), "b, c, d");
        let fix = "# /etc/rancher/k3s/config.yaml on b, c\ndisable: [coredns, traefik]\n\
            # /etc/rancher/k3s/config.yaml on d\ndisable: [coredns]\n# then there: systemctl restart k3s";
        assert_eq!(servers.fix(&missing), fix);
        world.agent("e");
        let servers = Servers::of(world.live());
        let fix = servers.fix(&servers.missing_lines(|args| disable(args, &["coredns"])));
        assert!(fix.ends_with("\n# then on each agent: systemctl restart k3s-agent"));
    }

    /// k3s with its defaults, as after `curl -sfL https://get.k3s.io | sh -`.
    #[test]
    fn each_server_gets_one_block_and_one_restart() {
        let mut world = World::healthy();
        world.server("a", &["server"]);
        world.server("b", &["server", "--disable", "metrics-server", "--flannel-backend", "none"]);
        world.bundled_coredns();
        let mut outcomes = crate::check::run_all(&world.facts());
        let findings: Vec<_> = outcomes.iter_mut().flat_map(crate::check::Outcome::findings_mut).collect();
        let fix = |rule: &str| {
            let finding = findings.iter().find(|finding| finding.rule == rule);
            finding.and_then(|finding| finding.fix.clone()).unwrap_or_else(|| panic!("no {rule}"))
        };
        let expected = "# /etc/rancher/k3s/config.yaml on a\nflannel-backend: \"none\"\ndisable-network-policy: true\n\
            disable-kube-proxy: true\ndisable: [coredns, servicelb, traefik]\n\
            # /etc/rancher/k3s/config.yaml on b\ndisable-network-policy: true\ndisable-kube-proxy: true\n\
            disable: [coredns, metrics-server, servicelb, traefik]\n# then there: systemctl restart k3s\n\
            # servicelb, traefik: only if another component replaces it\n\
            # or keep it: k3s-boot apps --skip-release kube-system/coredns";
        assert_eq!(fix("k3s-flannel"), expected);
        for rule in ["k3s-network-policy", "k3s-kube-proxy", "k3s-coredns", "k3s-bundled", "coredns-bundled"]
        {
            assert_eq!(fix(rule), "included in the fix of `Flannel is enabled beside another CNI`", "{rule}");
        }
    }

    /// The Lease of an API server.
    pub(crate) fn lease(host: &str, renewed: &str) -> Lease {
        let labels = [("apiserver.kubernetes.io/identity", "kube-apiserver"), (HOSTNAME, host)];
        Lease {
            namespace: "kube-system".to_owned(),
            name: format!("apiserver-of-{host}"),
            renewed: Some(renewed.to_owned()),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Lease::default()
        }
    }

    #[test]
    fn a_server_without_an_agent_is_found_by_its_lease() {
        let (now, before) = ("2026-11-23T08:10:00.123456Z", "2026-11-23T08:08:59Z");
        let with = |leases: Vec<Lease>| {
            let mut world = World::healthy();
            world.live_mut().cluster.leases = leases;
            world
        };
        let found = |world: &World| without_node(world.live()).join(" ");
        assert_eq!(found(&with(vec![lease("A", now)])), "");
        assert_eq!(found(&with(vec![lease("a", now), lease("b", now)])), "b");
        assert_eq!(
            found(&with(vec![lease("b", now), lease("a", before)])),
            "",
            "b may be a, by another name"
        );
        assert_eq!(found(&with(vec![lease("a", now), lease("b", before)])), "", "b is gone");
        assert_eq!(found(&with(vec![lease("b", now), lease("c", now)])), "b c", "one of them is a");
        let others = Lease { labels: [].into(), ..lease("b", now) };
        assert_eq!(found(&with(vec![lease("a", now), others])), "", "the Lease of another program");
        let mut world = with(vec![lease("b", now)]);
        UNREACHABLE.clone_into(&mut world.live_mut().cluster.nodes[0].reason);
        assert_eq!(found(&world), "b", "a is gone");
        world.live_mut().cluster.nodes.clear();
        assert_eq!(found(&world), "b");
    }

    #[test]
    fn only_some_user_workloads_are_listed() {
        let mut world = World::healthy();
        assert_eq!(user_workloads(&world.facts(), world.live()), None);
        for name in ["d", "a", "c", "b", "a"] {
            world.user("media", name);
        }
        let found = user_workloads(&world.facts(), world.live());
        assert_eq!(found.as_deref(), Some("media/a, media/b, media/c and 1 more"));
    }
}
