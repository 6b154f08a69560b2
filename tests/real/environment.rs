//! Variables of encrypted files reach the values of releases through templates, and nothing else.

use std::process::Command;

use serde_json::Value;

use super::fixture::Fixture;
use super::small_charts::{releases, write};

const DOMAIN: &str = "canary-of-the-domain.example.org";
const TOKEN: &str = "canary \"of\" the token: #1";
const LINES: [&str; 2] = ["canary-of-the-first-line", "canary-of-the-second-line"];

const SECRETS: &str = "kubernetes/components/sops/cluster-secrets.sops.yaml";
const DOTENV: &str = "bootstrap/cluster.sops.env";
const VALUES: &str = "bootstrap/values/app.yaml.gotmpl";
const HELM_RELEASE: &str = "kubernetes/apps/media/app/helmrelease.yaml";

const CONFIG: &str = "environment:
  files: [kubernetes/components/sops/cluster-secrets.sops.yaml, bootstrap/cluster.sops.env]
  variables: {CLUSTER: main}
";

/// The values of the HelmRelease, and what the template adds.
fn template(pipe: &str) -> String {
    format!(
        "{{{{ (fromYaml (readFile \"../../{HELM_RELEASE}\")).spec.values | toYaml{pipe} }}}}\n\
         token: {{{{ requiredEnv \"API_TOKEN\" | quote }}}}\nlines: {{{{ env \"LINES\" | quote }}}}\ncluster: {{{{ env \"CLUSTER\" }}}}\n"
    )
}

/// A repository with encrypted variables, and a release whose HelmRelease has placeholders.
fn fixture(name: &str) -> Fixture {
    let mut fixture = Fixture::start(name);
    for secret in [DOMAIN, TOKEN, LINES[0], LINES[1], &TOKEN.replace('"', "\\\"")] {
        fixture.add_secret(secret);
    }
    write(
        &fixture,
        &releases(&["    name: app\n    namespace: media\n    values: [../values/app.yaml.gotmpl]\n"]),
    );
    let data = serde_json::json!({"SECRET_DOMAIN": DOMAIN, "API_TOKEN": TOKEN});
    fixture.write(
        SECRETS,
        &format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: cluster-secrets}}\nstringData: {data}\n"),
    );
    fixture.write(DOTENV, &format!("# of this cluster\nLINES=\"{}\\n{}\"\n", LINES[0], LINES[1]));
    let recipient = fixture.recipient(&fixture.sandbox.age_key());
    for (file, more) in [(SECRETS, &["--encrypted-regex", "^(data|stringData)$"][..]), (DOTENV, &[])] {
        let sops = Command::new(fixture.sandbox.tools().sops())
            .current_dir(&fixture.root)
            .args(["encrypt", "--in-place", "--age", &recipient])
            .args(more)
            .arg(file)
            .status();
        assert!(sops.unwrap().success(), "{file}");
    }
    fixture.write(
        HELM_RELEASE,
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: app, namespace: media}\nspec:\n  values:\n    \
         host: app.${SECRET_DOMAIN}\n    zone: ${ZONE:=lab}\n    name: ${APP}.x\n    script: echo $${HOME}\n",
    );
    for app in ["app", "other"] {
        fixture.write(
            &format!("kubernetes/apps/media/{app}/ks.yaml"),
            &format!(
                "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {app}}}\nspec:\n  path: ./kubernetes/apps/media/{app}\n  \
                 postBuild: {{substitute: {{APP: {app}}}, substituteFrom: [{{kind: Secret, name: cluster-secrets}}]}}\n"
            ),
        );
    }
    fixture.write(VALUES, &template(""));
    fixture.git(&["add", "--all", "bootstrap", "kubernetes"]);
    fixture
}

#[test]
fn variables_of_encrypted_files_reach_the_release() {
    let fixture = fixture("environment");
    // Without the variables, the fix shows the lines to add.
    let ran = fixture.apps(&[]).run();
    ran.assert().code(1);
    let fix = format!(
        r#"Missing required env variables envs="API_TOKEN" needed_by="media/app" fix="export API_TOKEN=...  # or add to k3s-boot.yaml:\nenvironment:\n  files: [{SECRETS}]""#
    );
    assert!(ran.stderr.contains(&fix), "no `{fix}` in {}", ran.stderr);
    fixture.write("k3s-boot.yaml", CONFIG);

    // Each fix of the placeholders, as it is printed.
    let fixes = || {
        let ran = fixture.k3s_boot(&["check", "-o", "json"]).run();
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["id"] == "placeholders");
        let problems = check.unwrap()["problems"].as_array().cloned().unwrap_or_default();
        problems.iter().map(|one| one["fix"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let pipe = |fix: &str| fix.split("  # ").next().unwrap().strip_prefix("| toYaml").unwrap().to_owned();
    let found = fixes();
    let app = r#" | replace "${APP}" .Release.Name | expandenv"#;
    let zone = r#" | replace "${ZONE:=lab}" (env "ZONE" | default "lab") | expandenv"#;
    assert_eq!(found.iter().map(|fix| pipe(fix)).collect::<Vec<_>>(), [app, " | expandenv", zone]);
    // One word is not enough: `expandenv` knows neither the default nor the variable of each application.
    fixture.write(VALUES, &template(" | expandenv"));
    assert_eq!(fixes().iter().map(|fix| pipe(fix)).collect::<Vec<_>>(), [app, zone]);
    let all = format!("{}{zone}", app.trim_end_matches(" | expandenv"));
    fixture.write(VALUES, &template(&all));
    assert_eq!(fixes(), [""; 0]);

    let ran = fixture.apps(&["--log-level", "debug"]).run();
    ran.assert().code(0);
    let values = fixture.helm(&["get", "values", "app", "--namespace", "media", "--output", "json"]);
    let values: Value = serde_json::from_slice(&values.stdout).unwrap();
    let expected = [
        ("host", format!("app.{DOMAIN}")),
        ("zone", "lab".to_owned()),
        ("name", "app.x".to_owned()),
        ("token", TOKEN.to_owned()),
        ("lines", LINES.join("\n")),
        ("cluster", "main".to_owned()),
    ];
    for (key, expected) in expected {
        assert_eq!(values[key], expected, "{key}");
    }
    let mark = fixture.sandbox.audit_mark().unwrap();
    let again = fixture.apps(&[]).run();
    assert!(again.stdout.contains("Nothing to change"), "{}", again.stdout);
    assert_eq!(fixture.changes(mark), [""; 0]);

    // An exported variable takes precedence; what an encrypted file holds stays hidden.
    let ran =
        fixture.k3s_boot(&["diff", "-o", "json"]).env("API_TOKEN", "canary-of-the-token-in-the-shell").run();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let app = report["releases"].as_array().unwrap().iter().find(|one| one["name"] == "app").unwrap();
    assert_eq!(app["values"], serde_json::json!([{"path": "token", "hidden": true}]));
    for args in [&["diff", "--manifests"][..], &["diff"], &["check"]] {
        let ran = fixture.k3s_boot(args).env("API_TOKEN", "canary-of-the-token-in-the-shell").run();
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("in-the-shell"), "{}", ran.stdout);
    }
    // Without a key, the variables have placeholders.
    let ran = fixture.k3s_boot(&["check", "--offline", "-o", "json"]).run();
    ran.assert().code(0);
}
