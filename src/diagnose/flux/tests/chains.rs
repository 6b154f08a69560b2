//! Kustomizations that wait for others (`dependsOn`).

use super::*;

#[test]
fn chains_of_any_length_are_followed_to_their_end() {
    let chain = |length: usize, last: Resource| {
        let names: Vec<_> = (1..length).map(|number| format!("n{number}")).collect();
        let next = |at: usize| names.get(at + 1).map_or("end", String::as_str);
        let chain: Vec<_> = names.iter().enumerate().map(|(at, name)| waits_for(name, &[next(at)])).collect();
        with_children(chain.into_iter().chain([last]))
    };
    let object = "Kustomization flux-system/end";
    for length in [2, 3, 5, 200] {
        syncs(&chain(length, direct("end", UNHEALTHY)));
        syncs(&chain(length, checking(direct("end", RUNNING))));
        syncs(&chain(length, suspended(direct("end", UNBUILT))));
        is_waiting(&chain(length, direct("end", RUNNING)), "Kustomization flux-system/end: Progressing");
        is_blocked(&chain(length, direct("end", UNAPPLIED)), object, "ReconciliationFailed");
        has_failed(&chain(length, direct("end", UNBUILT)), object, "BuildFailed");
        // The one before it will be reconciled soon.
        let before = if length == 2 { "n1".to_owned() } else { format!("n{}", length - 1) };
        is_waiting(&chain(length, direct("end", OK)), &format!("flux-system/{before}: DependencyNotReady"));
        assert_eq!(chain(length, direct("end", UNBUILT)).blocked.len(), 1, "reported once");
    }
}

#[test]
fn a_chain_may_lead_below_the_children_and_across_namespaces() {
    let deep = |ready| in_namespace(child("deep", "apps", ready), "media");
    let judged = |ready| with_children([direct("apps", OK), waits_for("a", &["media/deep"]), deep(ready)]);
    syncs(&judged(UNHEALTHY));
    is_blocked(&judged(UNAPPLIED), "Kustomization media/deep", "ReconciliationFailed");
    has_failed(&judged(UNBUILT), "Kustomization media/deep", "BuildFailed");
    // It is another one that has the name in the namespace of the one that waits.
    let other = [waits_for("a", &["media/deep"]), direct("deep", UNHEALTHY)];
    is_blocked(&with_children(other), "Kustomization media/deep", "NotFound");
}

#[test]
fn a_missing_dependency_is_named() {
    let judgement = with_children([waits_for("a", &["b"]), waits_for("b", &["cert-manger"])]);
    let words = "NotFound: Kustomization flux-system/b depends on it";
    is_blocked(&judgement, "Kustomization flux-system/cert-manger", words);
    assert!(judgement.blocked[0].fix.is_some());
}

#[test]
fn a_cycle_is_named_once_and_does_not_recover() {
    let cycle = [waits_for("c", &["a"]), waits_for("a", &["b"]), waits_for("b", &["c"])];
    let outside = waits_for("outside", &["b"]);
    let judgement = with_children(cycle.into_iter().chain([outside]));
    let words = "cycle in `dependsOn`: flux-system/a → flux-system/b → flux-system/c → flux-system/a";
    has_failed(&judgement, "Kustomization flux-system/a", words);
    assert_eq!(judgement.blocked.len(), 1);
    let itself = with_children([waits_for("a", &["a"])]);
    has_failed(&itself, "Kustomization flux-system/a", "flux-system/a → flux-system/a");
    // While the root is being reconciled, half of a commit may be there.
    let mut again = root();
    again.status.conditions[0].status = "Unknown".to_owned();
    let half = of(vec![source(), again, waits_for("a", &["a"])]);
    is_blocked(&half, "Kustomization flux-system/a", "DependencyNotReady: cycle");
}

#[test]
fn a_suspended_one_ends_a_chain() {
    let middle = |name: &str| suspended(waits_for(name, &["end"]));
    let broken = || in_namespace(direct("end", UNBUILT), "flux-system");
    syncs(&with_children([waits_for("a", &["b"]), middle("b")]));
    // What it would wait for decides for itself.
    has_failed(
        &with_children([waits_for("a", &["b"]), middle("b"), broken()]),
        "Kustomization flux-system/end",
        "",
    );
    // It is ready: what waits for it is reconciled soon, unless its revision is an old one and stays so.
    let ready = || suspended(direct("b", OK));
    is_waiting(&with_children([waits_for("a", &["b"]), ready()]), "Kustomization flux-system/a");
    let mut outdated = waits_for("a", &["b"]);
    outdated.status.conditions[0].message =
        "dependency 'flux-system/b' revision is not up to date".to_owned();
    syncs(&with_children([outdated, ready()]));
}

#[test]
fn of_several_dependencies_the_broken_one_decides() {
    let others = [direct("b", UNHEALTHY), direct("pending", RUNNING), direct("ready", OK)];
    let waits = |others: &[&str]| applied(waits_for("a", others), "apps");
    let judged = |names: &[&str], more: Resource| {
        let apps = direct("apps", OK);
        let all = others.iter().filter(|one| names.contains(&one.metadata.name.as_str())).cloned();
        let mut all: Vec<_> = all.map(|one| applied(one, "apps")).collect();
        all.extend([apps, waits_for("a", names), more]);
        with_children(all)
    };
    let none = || direct("none", OK);
    syncs(&judged(&["pending", "b"], none()));
    is_waiting(&judged(&["ready", "pending"], none()), "Kustomization flux-system/pending");
    is_blocked(&judged(&["b", "gone"], none()), "Kustomization flux-system/gone", "NotFound");
    let broken = child("broken", "apps", UNBUILT);
    has_failed(&judged(&["b", "gone", "broken"], broken), "Kustomization flux-system/broken", "BuildFailed");
    // What waits below the children decides nothing.
    syncs(&with_children([direct("apps", OK), waits(&["gone"])]));
}

#[test]
fn an_expression_may_make_a_failed_dependency_ready() {
    let mut waits = waits_for("a", &["b", "c"]);
    waits.spec.depends_on[0].ready_expr = Some("dep.status.x".to_owned());
    let others =
        || [direct("c", UNHEALTHY), applied(resource("Kustomization", "b", json!({}), UNAPPLIED), "else")];
    syncs(&with_children(others().into_iter().chain([waits.clone()])));
    waits.status.conditions[0].message =
        "dependency 'flux-system/b' is not ready according to readyExpr eval".to_owned();
    let judgement = with_children(others().into_iter().chain([waits]));
    is_blocked(&judgement, "Kustomization flux-system/b", "ReconciliationFailed");
}
