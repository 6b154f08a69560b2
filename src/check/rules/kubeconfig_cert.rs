//! The client certificate in the kubeconfig is valid.

use std::time::{Duration, SystemTime};

use crate::base::finding::{Finding, Severity};
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};

/// A certificate that expires within this time is a warning.
const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);

pub(super) const RULE: Rule = Rule {
    id: "kubeconfig-cert",
    group: Group::Kubeconfig,
    title: "the client certificate in the kubeconfig is valid",
    why: "k3s client certificates expire after a year. When k3s starts, it renews those that expire within 120 days \
          and rewrites /etc/rancher/k3s/k3s.yaml, but a copy of that file keeps the old certificate \
          (k3s-io/k3s#8914).",
    essential: false,
    needs: Needs::Network,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let Some(target) = &facts.observed.target else {
        return Answer::unknown(facts.unanswered());
    };
    let validity = match &target.certificate {
        None => return Answer::not_applicable("the kubeconfig's user has no client certificate"),
        Some(Err(reason)) => return Answer::Unknown(reason.clone()),
        Some(Ok(validity)) => validity,
    };
    let now = facts.observed.now;
    let renewal = facts.distribution().renewal();
    let found = if now > validity.until {
        Some((Severity::Error, "Kubeconfig certificate has expired", renewal))
    } else if now < validity.from {
        let fix = "correct the clock of this machine, and of the server that issued the certificate";
        Some((Severity::Error, "Kubeconfig certificate is not valid yet", fix))
    } else if now + EXPIRES_SOON > validity.until {
        Some((Severity::Warning, "Kubeconfig certificate expires soon", renewal))
    } else {
        None
    };
    Answer::judged(found.map(|(severity, message, fix)| {
        // An API server that responds has accepted it: then the clock of this machine is wrong.
        let accepted = facts.observed.live.is_some();
        let severity = if accepted { severity.min(Severity::Warning) } else { severity };
        Finding { severity, ..Finding::error(RULE.id, message) }
            .with("from", date(validity.from))
            .with("until", date(validity.until))
            .with("now", date(now))
            .fix(fix)
    }))
}

fn date(time: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::distribution::Distribution;
    use crate::base::fact::Fact;
    use crate::check::fixture::{World, signs};
    use crate::observed::Live;
    use crate::tools::kubeconfig::{Target, Validity};

    fn time(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    fn world(now: &str, certificate: Option<Fact<Validity>>) -> World {
        let mut world = World::shipped();
        world.observed.now = time(now);
        world.observed.target = Some(Target { certificate, ..Target::default() });
        world
    }

    fn year() -> Validity {
        Validity { from: time("2026-01-01T00:00:00Z"), until: time("2027-01-01T00:00:00Z") }
    }

    #[test]
    fn the_certificate_must_be_valid_today() {
        World::shipped().assert_found(&RULE, &["unknown no kubeconfig was read"]);
        let none = "- the kubeconfig's user has no client certificate";
        world("2026-06-01T00:00:00Z", None).assert_found(&RULE, &[none]);
        world("2026-06-01T00:00:00Z", Some(Ok(year()))).assert_found(&RULE, &[]);
        world("2026-12-17T00:00:00Z", Some(Ok(year()))).assert_found(&RULE, &[]);
        world("2026-12-19T00:00:00Z", Some(Ok(year())))
            .assert_found(&RULE, &["warning Kubeconfig certificate expires soon"]);
        let expired = "Kubeconfig certificate has expired";
        let mut late = world("2027-01-01T00:00:01Z", Some(Ok(year())));
        late.assert_found(&RULE, &[&format!("error {expired}")]);
        assert_eq!(late.detail(&RULE, "until"), "2027-01-01T00:00:00Z");
        assert!(late.fix(&RULE).starts_with("sudo systemctl restart k3s  # "));
        late.desired.signs = signs(Distribution::Talos);
        assert_eq!(late.fix(&RULE), "write one with `talosctl kubeconfig`");
        late.desired.signs.clear();
        assert_eq!(late.fix(&RULE), "get the administrator's kubeconfig of the cluster");
        late.observed.live = Some(Live::default());
        late.assert_found(&RULE, &[&format!("warning {expired}")]);
        world("2025-12-31T23:59:59Z", Some(Ok(year())))
            .assert_found(&RULE, &["error Kubeconfig certificate is not valid yet"]);
        world("2026-06-01T00:00:00Z", Some(Err("no PEM".to_owned())))
            .assert_found(&RULE, &["unknown no PEM"]);
    }
}
