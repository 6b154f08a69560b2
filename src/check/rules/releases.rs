//! Releases can be synced in order.

use std::collections::BTreeSet;

use crate::base::finding::Finding;
use crate::base::release_id::ReleaseId;
use crate::check::{Answer, Check, Facts, Group, NO_RELEASES, Needs, Rule};
use crate::desired::Helmfile;
use crate::desired::releases::Release;
use crate::desired::repository::is_subdomain;

/// Helm's limit for the name of a release.
const MAX_NAME_LENGTH: usize = 53;

pub(super) const RULE: Rule = Rule {
    id: "releases",
    group: Group::Repository,
    title: "releases can be synced in order",
    why: "helmfile resolves `needs` within one file only. It notices an invalid release name, a dependency cycle or \
          a missing chart folder only when it reaches that release, after the ones before it are installed.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

fn check(facts: &Facts<'_>) -> Answer {
    let mut inspection = facts.inspect_releases();
    for helmfile in facts.desired.helmfiles.iter().filter(|helmfile| any_installed(helmfile)) {
        inspection.look(of_helmfile(helmfile));
    }
    inspection.answer(NO_RELEASES)
}

fn any_installed(helmfile: &Helmfile) -> bool {
    helmfile.releases.iter().any(|release| release.installed)
}

/// All problems with the releases of a helmfile.
fn of_helmfile(helmfile: &Helmfile) -> Vec<Finding> {
    let wanted: Vec<_> = helmfile.releases.iter().filter(|release| release.installed).collect();
    let mut findings: Vec<_> = wanted.iter().filter_map(|release| single(helmfile, release)).collect();
    for release in &wanted {
        let unknown =
            release.needs.iter().find(|need| !helmfile.releases.iter().any(|other| other.id() == **need));
        findings.extend(unknown.map(|need| {
            found(helmfile, release, "Release needs a release that is not in the helmfile")
                .with("needs", need)
                .fix("add that release to the helmfile, or remove it from `needs`; the form is `namespace/name`")
        }));
    }
    if findings.is_empty() {
        findings.extend(cycle(&wanted).map(|release| {
            found(helmfile, release, "Releases have a dependency cycle").fix("remove one of their `needs`")
        }));
    }
    findings
}

fn found(helmfile: &Helmfile, release: &Release, message: &str) -> Finding {
    Finding::error(RULE.id, message).with("file", helmfile.path.display()).with("release", release.id())
}

fn single(helmfile: &Helmfile, release: &Release) -> Option<Finding> {
    let name = &release.name;
    if !is_subdomain(name) || name.len() > MAX_NAME_LENGTH {
        let fix = format!("use lower-case letters, digits and `-`, at most {MAX_NAME_LENGTH} characters");
        return Some(found(helmfile, release, "Release has an invalid name").fix(fix));
    }
    let local = [".", "/"].iter().any(|start| release.chart.starts_with(start));
    let path = helmfile.path.parent().map(|folder| folder.join(&release.chart));
    path.filter(|path| local && !path.exists()).map(|path| {
        found(helmfile, release, "Chart folder not found")
            .with("chart", &release.chart)
            .with("path", path.display())
            .fix("correct `chart`: paths are relative to the helmfile's folder")
    })
}

/// A release of a dependency cycle.
fn cycle<'a>(releases: &[&'a Release]) -> Option<&'a Release> {
    let mut done: BTreeSet<ReleaseId> = BTreeSet::new();
    loop {
        let ready = |release: &&&Release| {
            let met = |need: &ReleaseId| {
                releases.iter().filter(|other| other.id() == *need).all(|other| done.contains(&other.id()))
            };
            !done.contains(&release.id()) && release.needs.iter().all(met)
        };
        let next: Vec<_> = releases.iter().filter(ready).map(|release| release.id()).collect();
        if next.is_empty() {
            return releases.iter().find(|release| !done.contains(&release.id())).copied();
        }
        done.extend(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Kind;
    use crate::desired::releases::parse;

    fn messages(releases: &str) -> Vec<String> {
        let releases = parse(format!("releases:\n{releases}").as_bytes(), "default").unwrap().releases;
        let path = std::path::PathBuf::from("/repository/bootstrap/helmfile.d/01-apps.yaml");
        let helmfile = Helmfile { kind: Kind::Apps, path, releases, needs_identities: false };
        of_helmfile(&helmfile).into_iter().map(|finding| finding.summary).collect()
    }

    #[test]
    fn errors_in_the_middle_of_a_sync_are_found_first() {
        let good = "- {name: a, namespace: x, chart: 'oci://r/a'}\n- {name: b, namespace: x, chart: r/b, needs: [x/a]}\n\
            - {name: c, namespace: x, chart: r/c, needs: [context/x/b, a]}\n";
        assert_eq!(messages(good), [""; 0]);
        let cases = [
            (
                "- {name: b, namespace: x, chart: r/b, needs: [y/a]}\n- {name: a, namespace: x, chart: r/a}\n",
                "Release needs a release that is not in the helmfile",
            ),
            (
                "- {name: b, namespace: y, chart: r/b, needs: [a]}\n- {name: a, namespace: x, chart: r/a}\n",
                "Release needs a release that is not in the helmfile",
            ),
            (
                "- {name: a, namespace: x, chart: r/a, needs: [x/b]}\n- {name: b, namespace: x, chart: r/b, needs: [x/a]}\n",
                "Releases have a dependency cycle",
            ),
            ("- {name: 'A b', namespace: x, chart: r/a}\n", "Release has an invalid name"),
            ("- {name: a, namespace: x, chart: ./charts/nope}\n", "Chart folder not found"),
        ];
        for (releases, message) in cases {
            assert_eq!(messages(releases), [message], "{releases}");
        }
    }
}
