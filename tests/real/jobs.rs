//! Jobs with `ttlSecondsAfterFinished`.

use sandbox::wait_for;

use super::small::{releases, write};
use super::world::{LIMIT, World};

const JOB: &str = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {{ .Release.Name }}\n  namespace: {{ .Release.Namespace }}\nspec:\n  \
                   {{- with .Values.ttl }}\n  ttlSecondsAfterFinished: {{ . }}\n  {{- end }}\n  template:\n    \
                   spec: {restartPolicy: Never, tolerations: [{operator: Exists}], containers: [{name: main, image: main}]}\n";

const INSTALLED: [&str; 2] = [
    "    name: passing\n    namespace: media\n    values: [{ttl: 1}]\n",
    "    name: staying\n    namespace: media\n    values: [{letters: a}]\n",
];

const JOB_PATH: &str = "/apis/batch/v1/namespaces/media/jobs/passing";

#[test]
fn finished_job_with_ttl_is_not_missing() {
    let world = World::start("jobs");
    write(&world, &releases(&INSTALLED));
    world.write("bootstrap/charts/small/templates/job.yaml", JOB);
    world.apps(&[]).run().assert().code(0);
    let passing = || Ok(world.sandbox.get(JOB_PATH)?.is_none().then_some(()));
    wait_for("the Job to be deleted", LIMIT, passing).unwrap();
    // The note of the first run, which later runs read.
    for _ in 0..2 {
        let mark = world.sandbox.audit_mark().unwrap();
        let ran = world.apps(&[]).run();
        ran.assert().code(0);
        assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
        assert_eq!(world.changes(mark), [""; 0]);
    }
    // Later objects in the manifest are still compared.
    let changed = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: passing, namespace: media}\ndata: {values: other}\n";
    world.apply(changed);
    let ran = world.apps(&[]).run();
    assert!(ran.stdout.contains("Release has manual changes in the cluster"), "{}", ran.stdout);

    world.kubectl(&["delete", "job/staying", "--namespace", "media"]);
    let ran = world.apps(&[]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("missing: Job media/staying"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("Job media/passing"), "{}", ran.stdout);
}
