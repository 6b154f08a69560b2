//! Jobs with `ttlSecondsAfterFinished`.

use sandbox::wait_for;

use super::fixture::{Fixture, LIMIT};
use super::small_charts::{releases, write};

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
    let fixture = Fixture::start("jobs");
    write(&fixture, &releases(&INSTALLED));
    fixture.write("bootstrap/charts/small/templates/job.yaml", JOB);
    fixture.apps(&[]).run().assert().code(0);
    let passing = || Ok(fixture.sandbox.get(JOB_PATH)?.is_none().then_some(()));
    wait_for("the Job to be deleted", LIMIT, passing).unwrap();
    // The note of the first run, which later runs read.
    for _ in 0..2 {
        let mark = fixture.sandbox.audit_mark().unwrap();
        let ran = fixture.apps(&[]).run();
        ran.assert().code(0);
        assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
        assert_eq!(fixture.changes(mark), [""; 0]);
    }
    // Later objects in the manifest are still compared.
    let changed = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: passing, namespace: media}\ndata: {values: other}\n";
    fixture.apply(changed);
    let ran = fixture.apps(&[]).run();
    assert!(ran.stdout.contains("Release has manual changes in the cluster"), "{}", ran.stdout);

    fixture.kubectl(&["delete", "job/staying", "--namespace", "media"]);
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("missing: Job media/staying"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("Job media/passing"), "{}", ran.stdout);
}
