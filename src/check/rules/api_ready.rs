//! The API server is ready.

use crate::base::finding::Finding;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};
use crate::observed::Live;

pub(super) const RULE: Rule = Rule {
    id: "api-ready",
    group: Group::Cluster,
    title: "the API server is ready",
    why: "An API server that responds may still be waiting for etcd or for its own start hooks (`/readyz`); an \
          installation would fail half-way.",
    essential: false,
    needs: Needs::Rendered,
    check: Check::Cluster(check),
};

fn check(facts: &Facts<'_>, live: &Live) -> Answer {
    match &live.not_ready {
        Ok(None) => Answer::Ok,
        Ok(Some(words)) => Answer::judged(Some(
            Finding::error(RULE.id, "API server is not ready")
                .with("reason", words)
                .fix(format!("wait a minute, then check {}", facts.distribution().server_log())),
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
    fn the_message_of_the_server_is_reported() {
        let mut world = World::healthy();
        assert_eq!(world.ask(&RULE), Answer::Ok);
        world.live_mut().not_ready = Ok(Some("checks of /readyz failed: etcd".to_owned()));
        assert_eq!(world.found(&RULE), [(Error, "API server is not ready".to_owned())]);
        assert_eq!(world.detail(&RULE, "reason"), "checks of /readyz failed: etcd");
        assert_eq!(world.fix(&RULE), "wait a minute, then check `journalctl -u k3s` on the servers");
        "v1.33.6+rke2r1".clone_into(&mut world.live_mut().version);
        assert_eq!(world.fix(&RULE), "wait a minute, then check `journalctl -u rke2-server` on the servers");
        world.live_mut().not_ready = Err("forbidden".to_owned());
        assert_eq!(world.ask(&RULE), Answer::Unknown("forbidden".to_owned()));
    }
}
