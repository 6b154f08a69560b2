mod chains;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::diagnose::flux::fixture::{
    DEPENDENT, OK, RUNNING, UNAPPLIED, UNBUILT, UNDECRYPTED, UNHEALTHY, URL, applied, checking, child,
    direct, flux, in_namespace, instance, odd_resource, resource, root, source, suspended, waits_for, with,
};
use crate::observed::flux::Artifact;

fn judged(flux: &Flux) -> Judgement {
    judge(flux, &SyncSource::default())
}

/// The judgement on all that is ready and these.
fn with_children(children: impl IntoIterator<Item = Resource>) -> Judgement {
    judged(&flux(children))
}

fn of(resources: Vec<Resource>) -> Judgement {
    judged(&Flux { instance: Some(instance()), resources })
}

#[track_caller]
fn syncs(judgement: &Judgement) {
    let syncing = Outcome::Syncing { repository: URL.to_owned(), revision: "main@sha1:1".to_owned() };
    assert_eq!(judgement.verdict, Verdict::Done(syncing));
}

#[track_caller]
fn is_waiting(judgement: &Judgement, words: &str) {
    match &judgement.verdict {
        Verdict::Waiting { waiting_for } => assert!(waiting_for.contains(words), "{waiting_for}"),
        other => panic!("{other:?}"),
    }
}

/// It waits because of this problem, which is what the timeout names.
#[track_caller]
fn is_blocked(judgement: &Judgement, object: &str, words: &str) {
    is_waiting(judgement, &format!("{object}: {words}"));
    let first = judgement.blocked.first().unwrap();
    assert_eq!((first.object.to_string().as_str(), first.is_permanent), (object, false));
}

#[track_caller]
fn has_failed(judgement: &Judgement, object: &str, words: &str) {
    match &judgement.verdict {
        Verdict::Failed(problem) => {
            assert_eq!(problem.object, object);
            assert!(problem.reason.contains(words), "{}", problem.reason);
        }
        other => panic!("{other:?}"),
    }
}

fn below(judgement: &Judgement) -> Vec<String> {
    judgement.below.iter().map(|problem| problem.object.to_string()).collect()
}

#[test]
fn flux_syncs_when_source_and_root_kustomization_are_ready() {
    syncs(&with_children([]));
    is_waiting(&of(vec![root()]), "GitRepository flux-system/flux-system: not found yet");
    is_waiting(&of(vec![source()]), "Kustomization flux-system/flux-system: not found yet");
    assert_eq!(judged(&Flux::default()).verdict, Verdict::Done(Outcome::NoFlux));
    let made = SyncSource::default().installed(true);
    is_waiting(&judge(&Flux::default(), &made), "FluxInstance: not found yet");
}

#[test]
fn an_old_condition_does_not_count_for_a_new_spec() {
    let mut old = source();
    old.metadata.generation = 2;
    is_waiting(&of(vec![old, root()]), "not reconciled yet");
    let mut old = direct("apps", UNBUILT);
    old.metadata.generation = 2;
    is_waiting(&with_children([old]), "Kustomization flux-system/apps: not reconciled yet");
}

#[test]
fn an_instance_without_sync_has_no_source_and_a_stalled_one_fails() {
    let mut without = instance();
    without.spec.sync = None;
    let missing = "`spec.sync` in FluxInstance flux-system/flux".to_owned();
    let verdict = judged(&Flux { instance: Some(without), resources: Vec::new() }).verdict;
    assert_eq!(verdict, Verdict::Done(Outcome::NoSource { missing }));
    let stalled = with(instance(), ["Stalled", "True", "BuildFailed", "doc is missing path"]);
    let judgement = judged(&Flux { instance: Some(stalled), resources: Vec::new() });
    has_failed(&judgement, "FluxInstance flux-system/flux", "BuildFailed: doc is missing path");
}

#[test]
fn a_reference_that_does_not_exist_is_permanent_unless_the_operator_may_change_it() {
    let sync = json!({"sync": {"kind": "GitRepository", "url": URL}});
    let message = "failed to checkout and determine revision: unable to resolve ref 'refs/heads/main' to a specific commit";
    let source = || {
        resource(
            "GitRepository",
            "flux-system",
            json!({"url": URL}),
            ("False", "GitOperationFailed", message),
        )
    };
    let judgement = judged(&Flux {
        instance: Some(resource("FluxInstance", "flux", sync.clone(), RUNNING)),
        resources: vec![source()],
    });
    has_failed(&judgement, "GitRepository flux-system/flux-system", "unable to resolve ref");
    let mut patched = sync;
    patched["kustomize"] =
        json!({"patches": [{"target": {"kind": "GitRepository"}, "patch": "- {op: remove}"}]});
    let instance = |ready| Some(resource("FluxInstance", "flux", patched.clone(), ready));
    let judgement = judged(&Flux { instance: instance(RUNNING), resources: vec![source()] });
    is_blocked(&judgement, "GitRepository flux-system/flux-system", "GitOperationFailed: failed to checkout");
    let judgement = judged(&Flux { instance: instance(OK), resources: vec![source()] });
    has_failed(&judgement, "GitRepository flux-system/flux-system", "unable to resolve ref");
}

#[test]
fn an_instance_that_waits_for_its_source_is_not_what_the_timeout_names() {
    let waits =
        resource("FluxInstance", "flux", json!({"sync": {"kind": "GitRepository", "url": URL}}), RUNNING);
    let denied = ("False", "GitOperationFailed", "unable to clone");
    let broken = resource("GitRepository", "flux-system", json!({"url": URL}), denied);
    let judgement = judged(&Flux { instance: Some(waits.clone()), resources: vec![broken] });
    is_blocked(&judgement, "GitRepository flux-system/flux-system", "GitOperationFailed: unable to clone");
    let judgement = judged(&Flux { instance: Some(waits), resources: Vec::new() });
    is_waiting(&judgement, "FluxInstance flux-system/flux: Progressing");
    let failed = ("False", "ReconciliationFailed", "webhook");
    let failed =
        resource("FluxInstance", "flux", json!({"sync": {"kind": "GitRepository", "url": URL}}), failed);
    let judgement = judged(&Flux { instance: Some(failed), resources: Vec::new() });
    is_blocked(&judgement, "FluxInstance flux-system/flux", "ReconciliationFailed: webhook");
}

#[test]
fn flux_may_run_without_an_instance() {
    let flux = |resources| Flux { instance: None, resources };
    let mut branch = source();
    branch.spec.r#ref = None;
    let url = Some("https://example.org/home".to_owned());
    let asked = SyncSource { url, reference: Some("x".to_owned()), is_installed: false };
    syncs(&judge(&flux(vec![branch.clone(), root()]), &asked));
    is_waiting(&judge(&flux(vec![root()]), &asked), "GitRepository flux-system/flux-system: not found yet");
    let mut other = root();
    "apps".clone_into(&mut other.metadata.name);
    assert_eq!(judge(&flux(vec![branch, other]), &asked).verdict, Verdict::Done(Outcome::NoFlux));
}

#[test]
fn patches_of_the_instance_are_expected() {
    let patched = |patch: &str| {
        let mut instance = instance();
        let target = json!({"kind": "GitRepository"});
        instance.spec.kustomize = Some(json!({"patches": [{"target": target, "patch": patch}]}));
        let resources = vec![with_branch(), root()];
        judge(&Flux { instance: Some(instance), resources }, &SyncSource::default())
    };
    syncs(&patched("[{op: replace, path: /spec/ref, value: {branch: main}}]"));
    is_waiting(&patched("[{op: replace, path: /spec/ref/name, value: x}]"), "has ref `main`, expected `x`");
    // What is not simulated is not compared.
    syncs(&patched("[{op: move, path: /spec/ref, from: /spec/none}]"));
}

/// The source with a branch instead of a full name.
fn with_branch() -> Resource {
    resource("GitRepository", "flux-system", json!({"url": URL, "ref": {"branch": "main"}}), OK)
}

#[test]
fn a_bucket_has_an_endpoint() {
    let sync = json!({"sync": {"kind": "Bucket", "url": "minio.lan", "ref": "home"}});
    let bucket = |endpoint: &str| {
        let spec = json!({"endpoint": endpoint, "bucketName": "home"});
        let resources = vec![resource("Bucket", "flux-system", spec, OK), root()];
        let instance = Some(resource("FluxInstance", "flux", &sync, OK));
        judge(&Flux { instance, resources }, &SyncSource::default())
    };
    let Verdict::Done(Outcome::Syncing { repository, .. }) = bucket("minio.lan").verdict else { panic!() };
    assert_eq!(repository, "minio.lan");
    is_waiting(&bucket("old.lan"), "has endpoint `old.lan`, expected `minio.lan`");
}

#[test]
fn the_source_must_be_the_one_that_was_asked_for() {
    let asked = SyncSource { url: Some("https://other".to_owned()), ..SyncSource::default() };
    is_waiting(&judge(&flux([]), &asked), "expected `https://other`");
    let mut branch = source();
    branch.spec.r#ref = None;
    is_waiting(&of(vec![branch, root()]), "has ref `none`");
    is_waiting(&of(vec![source(), suspended(root())]), "suspended");
    is_waiting(&of(vec![suspended(source()), root()]), "suspended");
}

#[test]
fn a_root_that_is_reconciled_again_counts_as_syncing() {
    let mut again = root();
    again.status.conditions[0].status = "Unknown".to_owned();
    syncs(&of(vec![source(), again.clone()]));
    syncs(&of(vec![source(), checking(again.clone())]));
    again.status.last_applied_revision = None;
    is_waiting(&of(vec![source(), again.clone()]), "Kustomization");
    // Its first health check, with the step that runs.
    is_waiting(&of(vec![source(), checking(again)]), "Running health checks");
    let waits = resource("Kustomization", "flux-system", json!({"dependsOn": [{"name": "x"}]}), DEPENDENT);
    let x = direct("x", UNHEALTHY);
    is_waiting(&of(vec![source(), waits, x]), "Kustomization flux-system/flux-system: DependencyNotReady");
}

#[test]
fn a_root_that_fails_is_named_and_a_missing_path_does_not_recover() {
    let failing = |ready| of(vec![source(), resource("Kustomization", "flux-system", json!({}), ready)]);
    let object = "Kustomization flux-system/flux-system";
    is_blocked(&failing(UNAPPLIED), object, "ReconciliationFailed");
    is_blocked(&failing(UNHEALTHY), object, "HealthCheckFailed");
    let path =
        ("False", "ArtifactFailed", "kustomization path not found: stat /tmp/x: no such file or directory");
    has_failed(&failing(path), object, "path not found");
    let absent = ("False", "ArtifactFailed", "Source artifact not found, retrying in 30s");
    is_blocked(&failing(absent), object, "ArtifactFailed");
}

#[test]
fn a_root_that_waits_for_the_health_of_its_children_is_not_what_is_named() {
    let root = || resource("Kustomization", "flux-system", json!({}), UNHEALTHY);
    let judgement = of(vec![source(), root(), direct("apps", UNAPPLIED)]);
    is_blocked(&judgement, "Kustomization flux-system/apps", "ReconciliationFailed");
    let judgement = of(vec![source(), root(), direct("apps", UNBUILT)]);
    has_failed(&judgement, "Kustomization flux-system/apps", "BuildFailed");
}

#[test]
fn children_are_at_work_when_they_have_applied_their_objects() {
    let canceled = ("False", "HealthCheckCanceled", "New reconciliation triggered by Kustomization/a/b");
    for at_work in [
        direct("apps", OK),
        direct("apps", UNHEALTHY),
        direct("apps", canceled),
        checking(direct("apps", RUNNING)),
        suspended(direct("apps", UNBUILT)),
    ] {
        syncs(&with_children([at_work]));
    }
    // One that has applied a revision before, and is being reconciled again, may fail in a moment.
    let mut again = direct("apps", RUNNING);
    again.status.last_applied_revision = Some("main@sha1:0".to_owned());
    is_waiting(&with_children([again]), "Kustomization flux-system/apps: Progressing");
    let judgement = with_children([direct("apps", UNHEALTHY)]);
    assert_eq!(below(&judgement), ["Kustomization flux-system/apps"], "it is reported, and does not decide");
}

#[test]
fn one_of_many_is_broken() {
    let many = |broken| {
        let rest = ["a", "b", "c"].map(|name| direct(name, OK));
        let pending = direct("pending", RUNNING);
        with_children(rest.into_iter().chain([pending, broken, waits_for("z", &["pending"])]))
    };
    has_failed(&many(direct("apps", UNBUILT)), "Kustomization flux-system/apps", "kustomize build failed");
    is_blocked(&many(direct("apps", UNAPPLIED)), "Kustomization flux-system/apps", "ReconciliationFailed");
}

#[test]
fn only_what_needs_another_commit_does_not_recover() {
    let reasons = [
        (UNBUILT, true),
        (UNDECRYPTED, true),
        (("False", "BuildFailed", "failed to decode Kubernetes YAML from /tmp/x/a.yaml: yaml: line 3"), true),
        (
            ("False", "BuildFailed", "cannot get sops-age decryption Secret: secrets \"sops-age\" not found"),
            true,
        ),
        (
            (
                "False",
                "ArtifactFailed",
                "kustomization path not found: stat /tmp/x: no such file or directory",
            ),
            true,
        ),
        (
            (
                "False",
                "ReconciliationFailed",
                "Secret/a/b is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
            ),
            true,
        ),
        (UNAPPLIED, false),
        (
            (
                "False",
                "ReconciliationFailed",
                "Deployment/a/b namespace not specified: namespaces \"a\" not found",
            ),
            false,
        ),
        (
            (
                "False",
                "BuildFailed",
                "post build failed for 'a/b': substitute from 'ConfigMap/settings' error: configmaps \"settings\" not found",
            ),
            false,
        ),
        (
            (
                "False",
                "BuildFailed",
                "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'https://example.org/x.yaml': dial tcp: lookup example.org: no such host",
            ),
            false,
        ),
        (("False", "ArtifactFailed", "GitRepository.source.toolkit.fluxcd.io \"x\" not found"), false),
        (("False", "PruneFailed", "delete failed"), false),
    ];
    for (ready, is_permanent) in reasons {
        let judgement = with_children([direct("apps", ready)]);
        assert_eq!(judgement.blocked.len(), 1, "{ready:?}");
        assert_eq!(judgement.blocked[0].is_permanent, is_permanent, "{ready:?}");
        assert_eq!(matches!(judgement.verdict, Verdict::Failed(_)), is_permanent, "{ready:?}");
    }
    let stalled = ["Stalled", "True", "InvalidCELExpression", "Reconciliation failed terminally"];
    let stalled = with(direct("apps", ("False", "InvalidCELExpression", "x")), stalled);
    has_failed(&with_children([stalled]), "Kustomization flux-system/apps", "InvalidCELExpression");
}

#[test]
fn a_failure_may_be_over_with_the_revision_that_the_root_is_about_to_apply() {
    let at = |built: &str, fetched: &str, root_ready| {
        let mut source = source();
        source.status.artifact = Some(Artifact { revision: fetched.to_owned() });
        let mut root = resource("Kustomization", "flux-system", json!({}), root_ready);
        root.status.last_attempted_revision = Some(built.to_owned());
        of(vec![source, checking(root), direct("apps", UNBUILT)])
    };
    has_failed(&at("main@sha1:2", "main@sha1:2", OK), "Kustomization flux-system/apps", "BuildFailed");
    is_blocked(&at("main@sha1:1", "main@sha1:2", OK), "Kustomization flux-system/apps", "BuildFailed");
    // With `wait: true` the root waits for the child that cannot become ready.
    has_failed(&at("main@sha1:2", "main@sha1:2", RUNNING), "Kustomization flux-system/apps", "BuildFailed");
    let root = resource("Kustomization", "flux-system", json!({}), RUNNING);
    let judgement = of(vec![source(), root, direct("apps", UNBUILT)]);
    is_blocked(&judgement, "Kustomization flux-system/apps", "BuildFailed");
}

#[test]
fn what_fails_below_the_children_is_reported_and_never_decides() {
    let oci = |name: &str, parent: &str| {
        applied(
            resource("OCIRepository", name, json!({}), ("False", "OCIArtifactPullFailed", "denied")),
            parent,
        )
    };
    let judgement = with_children([
        direct("apps", OK),
        child("unbuilt", "apps", UNBUILT),
        child("undecrypted", "apps", UNDECRYPTED),
        child("unhealthy", "unbuilt", UNHEALTHY),
        child("running", "apps", RUNNING),
        suspended(child("off", "apps", UNBUILT)),
        applied(waits_for("waits", &["gone"]), "apps"),
        applied(waits_for("follows", &["unbuilt"]), "apps"),
        oci("chart", "unbuilt"),
        // Of another owner.
        child("tenant", "other", UNBUILT),
        oci("tenant", "other"),
    ]);
    syncs(&judgement);
    assert_eq!(judgement.blocked, []);
    let mut reported = below(&judgement);
    reported.sort_unstable();
    let kustomizations = ["gone", "unbuilt", "undecrypted", "unhealthy"];
    let mut expected = kustomizations.map(|name| format!("Kustomization flux-system/{name}")).to_vec();
    expected.push("OCIRepository flux-system/chart".to_owned());
    assert_eq!(reported, expected);
}

#[test]
fn a_wrong_key_shows_in_a_child() {
    let object = "Kustomization flux-system/apps";
    has_failed(&with_children([direct("apps", UNDECRYPTED)]), object, "decryption failed");
    let import = ("False", "BuildFailed", "failed to import 'age.agekey' data from sops decryption Secret");
    has_failed(&with_children([direct("apps", import)]), object, "failed to import");
    syncs(&with_children([child("tenant", "other", UNDECRYPTED)]));
}

proptest! {
    #[test]
    fn no_objects_make_it_panic(resources in proptest::collection::vec(odd_resource(), 0..8), with_instance: bool, url: Option<String>) {
        let flux = Flux { instance: with_instance.then(instance), resources };
        _ = judge(&flux, &SyncSource { url, ..SyncSource::default() });
    }
}
