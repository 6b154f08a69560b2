//! Releases that helm or helmfile cannot sync are reported before anything is changed, with Helm 4 and Helm 3.

use std::path::PathBuf;

use super::fixture::{Fixture, Invocation};
use super::problem_table::{Problem, Table, problem};
use super::small_charts::{APPS, releases, write};

/// A secret value that errors could quote.
const CANARY: &str = "canary-of-a-value-of-a-broken-chart";

/// A folder with the programs and the other helm.
fn with_helm_3(fixture: &Fixture) -> PathBuf {
    let bin = fixture.root.parent().unwrap().join("helm-3");
    std::fs::create_dir_all(&bin).unwrap();
    for program in ["helmfile", "kubectl", "sops"] {
        std::os::unix::fs::symlink(fixture.sandbox.tools().path_dir().join(program), bin.join(program))
            .unwrap();
    }
    std::os::unix::fs::symlink(fixture.sandbox.tools().helm_3(), bin.join("helm")).unwrap();
    bin
}

/// Runs `check`, which must report the problem, and these commands, which must fail, with this helm.
#[track_caller]
fn refused(fixture: &Fixture, helm_3: Option<&PathBuf>, commands: &[&[&str]], problem: &Problem<'_>) {
    let with_helm = |k3s_boot: Invocation<'_>| match helm_3 {
        Some(bin) => k3s_boot.env("PATH", bin).run(),
        None => k3s_boot.run(),
    };
    let mark = fixture.sandbox.audit_mark().unwrap();
    let check = with_helm(fixture.k3s_boot(&["check"]));
    Table::new(fixture).check_all(std::slice::from_ref(problem), &check);
    for command in commands {
        let ran = with_helm(fixture.k3s_boot(command));
        ran.assert().code(1);
        for word in [problem.name].iter().chain(problem.texts) {
            assert!(ran.stderr.contains(word), "no `{word}` in {}", ran.stderr);
        }
    }
    let changes = fixture.changes(mark);
    let is_change = |change: &&String| !change.contains("dryRun=All") && !change.contains("accessreviews");
    assert_eq!(changes.iter().filter(is_change).collect::<Vec<_>>(), [""; 0]);
}

/// The commands that make a plan. They share their checks, so one of them is enough for most problems.
const COMMANDS: [&[&str]; 3] = [&["apps"], &["diff"], &["apps", "--dry-run"]];

const FINE: &str = "    name: fine\n    namespace: media\n";

#[test]
fn failed_rendering_is_an_error() {
    let mut fixture = Fixture::start("renders");
    fixture.add_secret(CANARY);
    let helm_3 = with_helm_3(&fixture);
    missing_requirement_is_an_error(&fixture, &helm_3);
    write(&fixture, &releases(&[FINE]));
    let release = format!(
        "  - name: broken\n    namespace: media\n    chart: ../charts/broken\n    values: [{{a: {CANARY}}}]\n"
    );
    fixture.write(APPS, &format!("{}{release}", releases(&[FINE])));
    fixture.write("bootstrap/charts/broken/Chart.yaml", "apiVersion: v2\nname: broken\nversion: 1.0.0\n");
    let cases = [
        ("a: {{ .Values.deep.er }}\n", "nil pointer evaluating interface {}.er"),
        ("a: {{ required \"set must\" .Values.must }}\n", "set must"),
        ("a: {{ atoi .Values.a | mustToDate .Values.a .Values.a }}\n", "broken/templates/x.yaml:1"),
        ("{{ range $x := .Values.a }}\n{{ end }}\n", "range can't iterate over"),
        ("a: {{ .Values.a }}: b: c\n", "YAML parse error on broken/templates/x.yaml"),
    ];
    let broken = "Chart cannot be rendered with its values release=\"media/broken\"";
    for (number, (template, words)) in cases.into_iter().enumerate() {
        fixture.write("bootstrap/charts/broken/templates/x.yaml", template);
        let commands = if number == 0 { &COMMANDS } else { &COMMANDS[..1] };
        for helm in [None, Some(&helm_3)] {
            refused(&fixture, helm, commands, &problem(broken, "renders", "✗", &[words]));
        }
    }
    // Without it, the same run succeeds.
    write(&fixture, &releases(&[FINE]));
    fixture.apps(&[]).run().assert().code(0);
}

fn missing_requirement_is_an_error(fixture: &Fixture, helm_3: &PathBuf) {
    fixture.write("secret.yaml", "a: b\n");
    let cases = [
        ("    postRenderer: bash\n", &[None][..], "Post-renderer is not a Helm 4 plugin"),
        ("    postRenderer: nowhere\n", &[Some(helm_3)], "Post-renderer not found"),
        (
            "    secrets: [../../secret.yaml]\n",
            &[None, Some(helm_3)],
            "Helm plugin for encrypted values is missing",
        ),
        ("    hooks: [{events: [postsync], command: nowhere}]\n", &[None], "Hook command not found"),
        (
            "    strategicMergePatches: [{apiVersion: v1, kind: ConfigMap, metadata: {name: fine}, data: {a: b}}]\n",
            &[None, Some(helm_3)],
            "Kustomize is not installed",
        ),
        ("    forceConflicts: true\n", &[Some(helm_3)], "Release needs Helm 4"),
    ];
    // The fix for patches.
    let with_kubectl =
        format!("kustomizeBinary: kubectl kustomize\n{}", releases(&[&format!("{FINE}{}", cases[4].0)]));
    write(fixture, &with_kubectl);
    fixture.k3s_boot(&["diff"]).run().assert().code(0);
    for (keys, helms, words) in cases {
        write(fixture, &releases(&[&format!("{FINE}{keys}")]));
        for helm in helms {
            let name = format!("{words} release=\"media/fine\"");
            refused(fixture, *helm, &COMMANDS[..1], &problem(&name, "helm-features", "✗", &[words]));
        }
    }
}
