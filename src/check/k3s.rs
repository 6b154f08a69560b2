//! What rules about k3s share: how its servers were started, and the lines that their configuration lacks.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Answer, Facts, Finding};
use crate::desired::releases::Release;
use crate::observed::Live;
use crate::observed::k3s::NodeArgs;

/// The label on every object of the CoreDNS that k3s brings; the same in all k3s.
pub(super) const BUNDLED_COREDNS: (&str, &str) =
    ("objectset.rio.cattle.io/hash", "bce283298811743a0386ab510f2f67ef74240c57");

/// So many names are told of what runs in a cluster.
const MOST_NAMES: usize = 3;

/// Whether the cluster is k3s: about others, rules on how k3s was started have nothing to say.
pub(super) fn is_k3s(live: &Live) -> bool {
    live.version.contains("+k3s")
}

/// The servers, and how k3s was started on them.
pub(super) struct Servers<'a> {
    /// Those that tell.
    pub(super) known: Vec<(&'a str, NodeArgs)>,
    /// Those that do not.
    unknown: Vec<&'a str>,
    agents: bool,
}

/// Servers that lack the same lines.
pub(super) struct Lack<'a> {
    servers: Vec<&'a str>,
    lines: String,
}

impl<'a> Servers<'a> {
    pub(super) fn of(live: &'a Live) -> Self {
        let mut servers = Self {
            known: Vec::new(),
            unknown: Vec::new(),
            agents: live.cluster.nodes.iter().any(|node| !node.is_server()),
        };
        for node in live.cluster.servers() {
            match node.k3s() {
                Some(args) => servers.known.push((&node.name, args)),
                None => servers.unknown.push(&node.name),
            }
        }
        servers
    }

    /// The servers that lack something, by the lines that mend it.
    pub(super) fn lacking(&self, lines: impl Fn(&NodeArgs) -> Option<String>) -> Vec<Lack<'a>> {
        let mut lacks: Vec<Lack<'a>> = Vec::new();
        for (name, args) in &self.known {
            let Some(lines) = lines(args) else { continue };
            match lacks.iter_mut().find(|lack| lack.lines == lines) {
                Some(lack) => lack.servers.push(name),
                None => lacks.push(Lack { servers: vec![name], lines }),
            }
        }
        lacks
    }

    /// What was found, or else whether all servers could be asked.
    pub(super) fn answer(&self, findings: Vec<Finding>) -> Answer {
        if !findings.is_empty() {
            Answer::Found(findings)
        } else if !self.unknown.is_empty() {
            Answer::Unknown(format!("{} does not tell how k3s was started", self.unknown.join(", ")))
        } else if self.known.is_empty() {
            Answer::Unknown("no server is registered".to_owned())
        } else {
            Answer::Ok
        }
    }

    /// What to add on which server, and what to restart.
    pub(super) fn fix(&self, lacks: &[Lack<'_>]) -> String {
        let mut text = String::new();
        for Lack { servers, lines } in lacks {
            _ = writeln!(text, "# /etc/rancher/k3s/config.yaml on {}", servers.join(", "));
            _ = writeln!(text, "{lines}");
        }
        text.push_str("# then there: systemctl restart k3s");
        // Agents ask a server for most of their configuration when they start.
        if self.agents {
            text.push_str("\n# then on each agent: systemctl restart k3s-agent");
        }
        text
    }
}

/// The names of all servers that lack something.
pub(super) fn names(lacks: &[Lack<'_>]) -> String {
    lacks.iter().flat_map(|lack| &lack.servers).copied().collect::<Vec<_>>().join(", ")
}

/// The line that switches off bundled components, with those that are off already.
pub(super) fn disable(args: &NodeArgs, components: &[&str]) -> Option<String> {
    let mut disabled = args.disabled();
    let before = disabled.len();
    disabled.extend(components.iter().map(|component| (*component).to_owned()));
    let all = || disabled.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    (disabled.len() > before).then(|| format!("disable: [{}]", all()))
}

/// Adds the fix, unless it would cut off what somebody runs here: then what is kept instead.
pub(super) fn fix_or_keep(
    finding: Finding,
    facts: &Facts<'_>,
    live: &Live,
    cuts: &str,
    keep: &str,
    fix: impl FnOnce() -> String,
) -> Finding {
    match users(facts, live) {
        None => finding.fix(fix()),
        Some(users) => finding.with("runs_here", users).fix(format!(
            "Changing k3s now would cut {cuts} of what runs here at once, so no line to paste is given. {keep}"
        )),
    }
}

/// Some names of what somebody runs here.
pub(super) fn users(facts: &Facts<'_>, live: &Live) -> Option<String> {
    let releases: Vec<_> = facts.desired.releases().map(Release::id).collect();
    let names: BTreeSet<_> = live
        .cluster
        .user_workloads(&releases)
        .map(|workload| format!("{}/{}", workload.namespace, workload.name))
        .collect();
    let told: Vec<_> = names.iter().take(MOST_NAMES).map(String::as_str).collect();
    let more = names.len() - told.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!told.is_empty()).then(|| format!("{}{more}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::World;

    #[test]
    fn servers_that_lack_the_same_share_a_block() {
        let mut world = World::healthy();
        world.server("b", &["server", "--disable", "traefik"]);
        world.server("c", &["server", "--disable", "traefik"]);
        world.server("d", &["server"]);
        let servers = Servers::of(world.live());
        let lacks = servers.lacking(|args| disable(args, &["coredns"]));
        assert_eq!(names(&lacks), "b, c, d");
        let fix = "# /etc/rancher/k3s/config.yaml on b, c\ndisable: [coredns, traefik]\n\
            # /etc/rancher/k3s/config.yaml on d\ndisable: [coredns]\n# then there: systemctl restart k3s";
        assert_eq!(servers.fix(&lacks), fix);
        world.agent("e");
        let servers = Servers::of(world.live());
        let fix = servers.fix(&servers.lacking(|args| disable(args, &["coredns"])));
        assert!(fix.ends_with("\n# then on each agent: systemctl restart k3s-agent"));
    }

    #[test]
    fn names_of_what_runs_here_are_few() {
        let mut world = World::healthy();
        assert_eq!(users(&world.facts(), world.live()), None);
        for name in ["d", "a", "c", "b", "a"] {
            world.user("media", name);
        }
        let found = users(&world.facts(), world.live());
        assert_eq!(found.as_deref(), Some("media/a, media/b, media/c and 1 more"));
    }
}
