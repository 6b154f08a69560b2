//! The kubeconfig's user is a cluster administrator.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "rights",
    group: Group::Cluster,
    title: "the kubeconfig's user is a cluster administrator",
    why: "Charts install cluster roles, webhooks and custom resource definitions, and Flux gets all permissions. A \
          user cannot grant permissions that it does not have.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    match &live.may_everything {
        Ok(true) => Answer::Ok,
        Ok(false) => Answer::judged(Some(
            Finding::error(RULE.id, "Kubeconfig user is not a cluster administrator")
                .with("command", "kubectl auth can-i '*' '*' --all-namespaces")
                .fix(format!("use the administrator's kubeconfig: {}", facts.distribution().kubeconfig())),
        )),
        Err(reason) => Answer::Unknown(reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Severity::Error;
    use crate::check::testing::World;

    #[test]
    fn fewer_permissions_are_an_error() {
        let mut world = World::healthy();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.live_mut().may_everything = Ok(false);
        assert_eq!(
            world.found(&RULE),
            [(Error, "Kubeconfig user is not a cluster administrator".to_owned())]
        );
        let fix = "use the administrator's kubeconfig: copy /etc/rancher/k3s/k3s.yaml from a server node, set that node's \
                   address in the copy";
        assert_eq!(world.fix(&RULE), fix);
        world.talos();
        assert_eq!(
            world.fix(&RULE),
            "use the administrator's kubeconfig: write one with `talosctl kubeconfig`"
        );
        world.live_mut().may_everything = Err("no answer".to_owned());
        assert_eq!(world.ask(&RULE), Answer::Unknown("no answer".to_owned()));
    }
}
