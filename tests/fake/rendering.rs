//! Charts that helm cannot render: an error of their release, before anything is changed.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::checks::status_of;
use super::fixture::Fixture;
use super::scenario;

/// Errors of helm for a broken chart: of Helm 4, of Helm 3, and two that both print.
pub(crate) const HELM_4: &str = "  Error: broken/templates/x.yaml:4:20\n    executing \"broken/templates/x.yaml\" at <.Values.a.b>:\n      \
                      nil pointer evaluating interface {}.b\n  Use --debug flag to render out invalid YAML";
const HELM_3: &str = "  Error: template: broken/templates/x.yaml:4:20: executing \"broken/templates/x.yaml\" at <.Values.a.b>: nil pointer \
                      evaluating interface {}.b\n  Use --debug flag to render out invalid YAML";
const REQUIRED: &str = "  Error: execution error at (broken/templates/x.yaml:4:13): set .Values.must\n  Use --debug flag to render out invalid YAML";
const SCHEMA: &str = "  Error: values don't meet the specifications of the schema(s) in the following chart(s):\n  broken:\n  - at '/a': got string, want \
                      integer\n  - at '/b': 'CANARY-of-a-schema' does not match pattern '^x'\n";

/// The output of helmfile around an error of helm.
fn frame(name: &str, stderr: &str) -> String {
    format!(
        "Templating release={name}, chart=../charts/{name}\nin ./01-apps.yaml: command \"/helm\" exited with non-zero status:\n\nPATH:\n  /helm\n\n\
         ARGS:\n  0: /helm (5 bytes)\n  1: template (8 bytes)\n  2: {name} (6 bytes)\n  3: ../charts/{name} (16 bytes)\n  4: --namespace (11 bytes)\n  \
         5: media (5 bytes)\n\nERROR:\n  exit status 1\n\nEXIT STATUS\n  1\n\nSTDERR:\n{stderr}\n\nCOMBINED OUTPUT:\n{stderr}\n"
    )
}

/// Three releases, of which some cannot be rendered.
pub(crate) fn fixture_for(command: &str, failures: &[(&str, &str)]) -> Fixture {
    let names = ["first", "broken", "last"];
    let release = |name: &str| format!("- {{name: {name}, namespace: media, chart: ../charts/{name}}}\n");
    let releases: String = names.map(release).concat();
    let fixture = Fixture::for_command(command)
        .objects([scenario::ready_node()])
        .canary("CANARY-of-a-schema")
        .file("bootstrap/helmfile.d/00-crds.yaml", "releases: []\n")
        .file("bootstrap/helmfile.d/01-apps.yaml", &format!("releases:\n{releases}"))
        .rule(json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "build"], "stdout": "---\nreleases: []\n"}))
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": format!("---\nreleases:\n{releases}")}));
    let service = |name: &str| {
        let text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{}}\n");
        (format!("namespace-media/{name}/service.yaml"), Value::from(text))
    };
    let rendered: serde_json::Map<_, _> = ["first", "last"].map(service).into_iter().collect();
    let fixture = names.iter().fold(fixture, |fixture, name| {
        let text = format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n");
        fixture.file(&format!("bootstrap/charts/{name}/Chart.yaml"), &text)
    });
    let fixture = fixture
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "template"], "rendered": rendered}));
    let fails = |name: &str, stderr: &str| {
        let selector = format!("namespace=media,name={name}");
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", selector, "template"], "exit": 1, "stderr": frame(name, stderr)})
    };
    fixture.rules(failures.iter().map(|(name, stderr)| fails(name, stderr)).collect::<Vec<_>>())
}

#[test]
fn failed_rendering_stops_the_run_before_a_change() {
    let cases = [HELM_4, HELM_3, REQUIRED, SCHEMA];
    let refused = cases.map(|stderr| fixture_for("apps", &[("broken", stderr)]).refusal());
    assert_snapshot!(refused.concat(), @r#"
    [TS] ERROR Chart cannot be rendered with its values release="media/broken" cause="a template of the chart fails with these values" fix="set or correct the value that the message names" reason="broken/templates/x.yaml:4:20; executing \"broken/templates/x.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b" 
    [TS] ERROR Chart cannot be rendered with its values release="media/broken" cause="a template of the chart fails with these values" fix="set or correct the value that the message names" reason="template: broken/templates/x.yaml:4:20: executing \"broken/templates/x.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b" 
    [TS] ERROR Chart cannot be rendered with its values release="media/broken" cause="a template of the chart fails with these values" fix="set or correct the value that the message names" reason="execution error at (broken/templates/x.yaml:4:13): set .Values.must" 
    [TS] ERROR Chart cannot be rendered with its values release="media/broken" cause="a value violates the schema of the chart" fix="correct the value that the message names; `helm show values CHART` shows the defaults" reason="values don't meet the specifications of the schema(s) in the following chart(s): broken: - at '/a': got string, want integer; - at '/b': does not match pattern '^x'"
    "#);
    for stderr in cases {
        let ran = fixture_for("check", &[("broken", stderr)]).args(&["-o", "json"]).run();
        ran.assert().code(1);
        let report = ran.report();
        assert_eq!(status_of(&report, "renders"), "error", "{report:#}");
    }
}

#[test]
fn other_releases_are_rendered_and_checked() {
    let someone_elses = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "last", "namespace": "media"}, "spec": {}});
    let failures = [("broken", HELM_4), ("first", REQUIRED)];
    let fixture = fixture_for("check", &failures).objects([someone_elses]).args(&["-o", "json"]);
    let ran = fixture.run();
    ran.assert().code(1);
    let report = ran.report();
    let releases = |rule: &str| {
        let all = report["checks"].as_array().unwrap();
        let check = all.iter().find(|check| check["id"] == rule).unwrap();
        let problems = check["problems"].as_array().unwrap_or_else(|| panic!("{check:#}"));
        let release = |problem: &Value| problem["details"]["release"].as_str().unwrap().to_owned();
        problems.iter().map(release).collect::<Vec<_>>()
    };
    assert_eq!(releases("renders"), ["media/broken", "media/first"]);
    assert_eq!(releases("ownership"), ["media/last"]);
    assert_eq!(ran.calls_of("helmfile", "template").len(), 3, "retried after each failure");
}

/// helmfile 1.7.4 prints the whole file, and k3s-boot took its last line for the error.
#[test]
fn broken_environment_values_are_named_and_not_printed() {
    let error = "in ./01-apps.yaml: failed to read 01-apps.yaml: failed to load environment values file \"env.yaml\": yaml: line 3: did not find \
                 expected ',' or ']'\n\nOffending YAML:\na: 1\nin CANARY-of-values: [\n\nerr 1: CANARY-of-values\nCANARY-of-values\n";
    for command in ["apps", "check", "diff"] {
        let failing =
            json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "exit": 1, "stderr": error});
        let fixture =
            Fixture::for_command(command).canary("CANARY-of-values").args(&["--log-level", "debug"]);
        let ran = fixture.rule(failing).run();
        ran.assert().code(1);
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        let reason = "failed to load environment values file";
        assert!(printed.contains(reason) && printed.contains("yaml: line 3: did not find"), "{printed}");
    }
}

#[test]
fn template_that_helmfile_does_not_render_is_renamed() {
    let error = "in ./01-apps.yaml: failed to read 01-apps.yaml: reading document at index 1. Started seeing this since Helmfile v1? Add the .gotmpl \
                 file extension: yaml: invalid map key: map[string]interface {}{\"requiredEnv \\\"HOME\\\"\":interface {}(nil)}\n";
    let failing =
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "exit": 1, "stderr": error});
    let template = "releases:\n- name: a\n  chart: b\n  values:\n  - x: {{ requiredEnv \"HOME\" }}\n";
    let fixture = Fixture::new().file("bootstrap/helmfile.d/01-apps.yaml", template).rule(failing);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Helmfile cannot be rendered file="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" reason="yaml: invalid map key" fix="git mv [TMP]/root/bootstrap/helmfile.d/01-apps.yaml [TMP]/root/bootstrap/helmfile.d/01-apps.yaml.gotmpl  # helmfile renders templates only in files that end in `.gotmpl`""#);
    let template = "releases:\n{{ if true }}\n- name: a\n{{ end }}\n";
    let refusal = Fixture::new().file("bootstrap/helmfile.d/01-apps.yaml", template).refusal();
    assert!(refusal.contains("Helmfile is not valid YAML") && refusal.contains("fix=\"git mv "), "{refusal}");
}

/// Messages of helmfile 1.7.4: the first in a helmfile that is a template itself, the second in a values template.
#[test]
fn a_missing_key_is_not_an_unescaped_release() {
    let frame = |at: &str, reason: &str| {
        format!(
            "in ./01-apps.yaml: template: stringTemplate:1:115: executing \"stringTemplate\" at <{at}>: {reason}\n"
        )
    };
    for (stderr, is_unescaped) in [
        (frame(".Release.Name", "can't evaluate field Release in type *state.EnvironmentTemplateData"), true),
        (frame(".Release.Name", "map has no entry for key \"values\""), false),
    ] {
        let build =
            json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "exit": 1, "stderr": stderr});
        let ran = Fixture::for_command("check").rule(build).run();
        ran.assert().code(1);
        assert_eq!(
            ran.stdout.contains("so that helmfile renders it for each release"),
            is_unescaped,
            "{}",
            ran.stdout
        );
    }
}
