//! A CRD helmfile that only works with `helmfile template`: its CRDs are applied, and nothing else.

use serde_json::{Value, json};

use super::fixture::Fixture;
use super::problem_table::{Table, none, problem};
use super::small_charts::{CRDS, releases, write};

const FINE: &str = "    name: fine\n    namespace: media\n";

/// Where the CRDs of charts lie, with the kind of each.
const PLACES: [(&str, &str); 3] = [
    ("folder/crds/apples.yaml", "apples"),
    ("subchart/charts/inner/crds/pears.yaml", "pears"),
    ("template/templates/plums.yaml", "plums"),
];

fn crd(plural: &str, versions: &[&str]) -> Value {
    let (kind, singular) = (plural.to_uppercase(), plural.trim_end_matches('s'));
    let versions = versions.iter().enumerate().map(|(number, name)| {
        json!({"name": name, "served": true, "storage": number == 0,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    });
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.org")},
        "spec": {"group": "example.org", "scope": "Namespaced", "versions": versions.collect::<Vec<_>>(),
            "names": {"kind": kind, "plural": plural, "singular": singular, "listKind": format!("{kind}List")}}})
}

fn object(fixture: &Fixture, plural: &str) -> Option<Value> {
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.example.org");
    fixture.sandbox.get(&path).unwrap()
}

fn is_established(crd: &Value) -> bool {
    let conditions = crd["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Established" && one["status"] == "True")
}

/// A fixture whose CRD helmfile has a release for each place, and one whose chart needs a value.
fn fixture() -> Fixture {
    let fixture = Fixture::start("rendered-crds");
    write(&fixture, &releases(&[FINE]));
    let chart = |name: &str| format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n");
    for (file, plural) in PLACES {
        let name = file.split('/').next().unwrap();
        fixture.write(&format!("bootstrap/charts/{name}/Chart.yaml"), &chart(name));
        fixture.write(&format!("bootstrap/charts/{file}"), &crd(plural, &["v1"]).to_string());
    }
    fixture.write("bootstrap/charts/subchart/charts/inner/Chart.yaml", &chart("inner"));
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n";
    fixture.write("bootstrap/charts/template/templates/other.yaml", other);
    fixture.write("bootstrap/charts/closed/Chart.yaml", &chart("closed"));
    fixture.write(
        "bootstrap/charts/closed/templates/a.yaml",
        "{{ required \"set provider\" .Values.provider }}\n",
    );
    let names = ["folder", "subchart", "template", "closed"];
    let of = |name: &&str| {
        format!("- {{name: {name}, namespace: crds-only, chart: ../charts/{name}, postRenderer: bash}}\n")
    };
    let all: String = names.iter().map(of).collect();
    fixture.write(CRDS, &format!("helmDefaults:\n  args: [--include-crds, --no-hooks]\nreleases:\n{all}"));
    fixture.git(&["add", "--all", "bootstrap"]);
    fixture
}

#[test]
fn crds_of_charts_are_applied_and_nothing_else() {
    let fixture = fixture();
    let closed = ["release: crds-only/closed", "set provider"];
    let mut table = Table::new(&fixture);
    table.check(&problem("chart of a CRD helmfile that needs a value", "crds", "!", &closed), none, none);
    let ran = fixture.k3s_boot(&["diff"]).run();
    ran.assert().code(0);
    for (_, plural) in PLACES {
        assert!(
            ran.stdout.contains(&format!("  + create {plural}.example.org (crds-only/")),
            "{}",
            ran.stdout
        );
    }
    let ran = fixture.apps(&["--output", "json"]).run();
    ran.assert().code(0);
    let warning = "WARN Chart of the CRD helmfile cannot be rendered release=\"crds-only/closed\" reason=\"";
    assert!(ran.stderr.contains(warning) && ran.stderr.contains("set provider"), "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let applied: Vec<_> = report["crds"].as_array().unwrap().iter().map(|crd| &crd["status"]).collect();
    assert_eq!(applied, ["applied"; 3]);
    for (_, plural) in PLACES {
        assert!(is_established(&object(&fixture, plural).unwrap()), "{plural}");
    }
    // Neither a release nor a namespace.
    let list = fixture.sandbox.helm_list().unwrap();
    assert_eq!(list.iter().map(|release| &release["name"]).collect::<Vec<_>>(), ["fine"]);
    assert!(fixture.sandbox.get("/api/v1/namespaces/crds-only").unwrap().is_none());

    let mark = fixture.sandbox.audit_mark().unwrap();
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("Nothing to change"), "{}", ran.stdout);
    assert_eq!(fixture.changes(mark), [""; 0]);
    let status = fixture.k3s_boot(&["status"]).run();
    assert!(!status.stdout.contains("crds-only"), "{}", status.stdout);
    others_are_left_alone(&fixture);
}

/// What is newer, or managed by Flux, stays; manual changes are reverted.
fn others_are_left_alone(fixture: &Fixture) {
    fixture.apply(&crd("apples", &["v1", "v2"]).to_string());
    let mut of_flux = crd("pears", &["v1"]);
    of_flux["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "crds", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    of_flux["spec"]["names"]["shortNames"] = json!(["pr"]);
    fixture.apply(&of_flux.to_string());
    let mut changed = crd("plums", &["v1"]);
    changed["spec"]["names"]["kind"] = "PLUMS".into();
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "changed".into();
    fixture.apply(&changed.to_string());
    let ran = fixture.apps(&[]).run();
    ran.assert().code(0);
    let newer = "CRD is newer in the cluster and stays crd=\"apples.example.org\"";
    assert!(ran.stdout.contains(newer), "{}", ran.stdout);
    let versions =
        |plural: &str| object(fixture, plural).unwrap()["spec"]["versions"].as_array().unwrap().len();
    assert_eq!(versions("apples"), 2);
    assert_eq!(object(fixture, "pears").unwrap()["spec"]["names"]["shortNames"], json!(["pr"]));
    let plums = object(fixture, "plums").unwrap();
    let schema = &plums["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    assert!(schema.get("description").is_none(), "{schema}");
    let mark = fixture.sandbox.audit_mark().unwrap();
    fixture.apps(&[]).run().assert().code(0);
    assert_eq!(fixture.changes(mark), [""; 0]);
}
