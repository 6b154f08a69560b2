//! Values that helmfile decrypts never appear: in no successful or failed run, at no log level.

use serde_json::Value;

use super::fixture::{Fixture, RunResult};
use super::small_charts::{APPS, releases, write};

/// One secret for each source.
const INLINE: &str = "canary-of-an-inline-reference-0123";
const FILE: &str = "canary-of-a-values-file-4567";
const FUNCTION: &str = "canary \"of\" a template's function 89";
const LINES: [&str; 2] = ["canary-of-the-first-line", "canary-of-the-second-line"];
const OTHER: &str = "canary-of-a-secret-of-before";
const HELM_RELEASE: &str = "canary-of-a-helmrelease-that-does-not-parse";
const VIOLATION: &str = "canary-of-a-SCHEMA-violation";
const ENVIRONMENT: &str = "canary-of-an-environment-file";
const SHORT: &str = "c4n4ry!";

/// Outside of `bootstrap/`, where encrypted files are manifests.
const SECRETS: &str = "secrets/values.sops.yaml";

const INSTALLED: [&str; 2] = [
    "    name: fed\n    namespace: media\n    values:\n      - inline: ref+sops://../../secrets/values.sops.yaml#/top/inline\n        public: hello\n      \
     - ../values/file.yaml\n      - ../values/template.yaml.gotmpl\n",
    "    name: plain\n    namespace: media\n    values: [{public: world}]\n",
];

fn fixture(name: &str) -> Fixture {
    let mut fixture = Fixture::start(name);
    let canaries =
        [INLINE, FILE, FUNCTION, LINES[0], LINES[1], OTHER, HELM_RELEASE, VIOLATION, ENVIRONMENT, SHORT];
    for canary in canaries {
        fixture.add_secret(canary);
    }
    // As escaped by Go and JSON.
    fixture.add_secret(&FUNCTION.replace('"', "\\\""));
    fixture.encrypt_text(
        SECRETS,
        &serde_json::json!({"top": {"inline": INLINE, "file": FILE, "function": FUNCTION, "lines": LINES.join("\n"), "other": OTHER, "short": SHORT}})
            .to_string(),
    );
    fixture.write(
        "bootstrap/values/file.yaml",
        "file: ref+sops://../../secrets/values.sops.yaml#/top/file\nshort: ref+sops://../../secrets/values.sops.yaml#/top/short\n",
    );
    fixture.write(
        "bootstrap/values/template.yaml.gotmpl",
        "function: {{ fetchSecretValue \"ref+sops://../../secrets/values.sops.yaml#/top/function\" | quote }}\n\
         encoded: {{ fetchSecretValue \"ref+sops://../../secrets/values.sops.yaml#/top/function\" | b64enc }}\n\
         lines: {{ fetchSecretValue \"ref+sops://../../secrets/values.sops.yaml#/top/lines\" | quote }}\n\
         host: {{ requiredEnv \"K3S_API_HOST\" }}\n",
    );
    fixture
}

/// All commands that print parts of a repository: as text, as JSON and in GitHub Actions.
#[track_caller]
fn all_commands(fixture: &Fixture) -> Vec<RunResult> {
    let commands: [&[&str]; 7] = [
        &["check"],
        &["check", "-o", "json"],
        &["diff", "--log-level", "debug"],
        &["diff", "-o", "json"],
        &["diff", "--manifests"],
        &["diff", "--manifests", "-o", "json"],
        &["apps", "--log-level", "debug"],
    ];
    let summary = fixture.root.parent().unwrap().join("summary.md");
    let ran = commands.iter().map(|args| {
        let k3s_boot = fixture.k3s_boot(args).env("GITHUB_STEP_SUMMARY", &summary);
        let ran =
            if args[0] == "apps" { k3s_boot.env("GITHUB_ACTIONS", "true").run() } else { k3s_boot.run() };
        fixture.assert_no_canary_in(&summary);
        ran
    });
    ran.collect()
}

#[test]
fn decrypted_value_is_never_shown() {
    let fixture = fixture("secret-values");
    write(&fixture, &releases(&INSTALLED));
    let ran = all_commands(&fixture);
    ran.last().unwrap().assert().code(0);
    // helm got these values.
    let values = fixture.helm(&["get", "values", "fed", "--namespace", "media", "--output", "json"]);
    let values: Value = serde_json::from_slice(&values.stdout).unwrap();
    assert_eq!((values["inline"].as_str(), values["file"].as_str()), (Some(INLINE), Some(FILE)));
    let again = fixture.apps(&[]).run();
    assert!(again.stdout.contains("Nothing to change"), "{}", again.stdout);

    // For the release with secrets, only the path of a change is shown; for the other, also the values.
    fixture.write(
        "bootstrap/values/file.yaml",
        "file: ref+sops://../../secrets/values.sops.yaml#/top/other\nshort: x\n",
    );
    fixture.replace(APPS, "public: world", "public: moon");
    let ran = fixture.k3s_boot(&["diff"]).run();
    let lines: Vec<_> = ran.stdout.lines().map(str::trim).collect();
    for line in ["file", "short", "public: \"world\" → \"moon\""] {
        assert!(lines.contains(&line), "no `{line}` in\n{}", ran.stdout);
    }
    let ran = fixture.k3s_boot(&["diff", "-o", "json"]).run();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let fed = report["releases"].as_array().unwrap().iter().find(|one| one["name"] == "fed").unwrap();
    assert_eq!(
        fed["values"],
        serde_json::json!([{"path": "file", "hidden": true}, {"path": "short", "hidden": true}])
    );
    all_commands(&fixture);

    // The values are plain text now; the previous ones are still secret.
    write(
        &fixture,
        &releases(&["    name: fed\n    namespace: media\n    values: [{file: new}]\n", INSTALLED[1]]),
    );
    all_commands(&fixture);
}

/// A minimal plugin for `secrets:`, which calls sops.
const PLUGIN: &str = "name: secrets\nversion: 4.6.0\nusage: decrypt\ndescription: decrypt\ncommand: sops\n";

#[test]
fn value_decrypted_by_a_plugin_is_never_shown() {
    let fixture = fixture("secret-plugin");
    fixture.write("plugins/secrets/plugin.yaml", PLUGIN);
    let secret = serde_json::json!({"top": {"environment": ENVIRONMENT}}).to_string();
    fixture.encrypt_text("secrets/environment.sops.yaml", &secret);
    fixture.encrypt_text("secrets/release.sops.yaml", &serde_json::json!({"of_release": OTHER}).to_string());
    fixture.write(
        "bootstrap/values/template.yaml.gotmpl",
        "from_environment: {{ .Values.top.environment }}-suffix\n",
    );
    let release = "    name: fed\n    namespace: media\n    values: [../values/template.yaml.gotmpl]\n    \
                   secrets: [../../secrets/release.sops.yaml]\n";
    let environments = "environments:\n  default:\n    secrets: [../../secrets/environment.sops.yaml]\n---\n";
    write(&fixture, &format!("{environments}{}", releases(&[release])));
    let plugins = fixture.root.join("plugins");
    let apps = || fixture.apps(&["--log-level", "debug"]).env("HELM_PLUGINS", &plugins).run();
    apps().assert().code(0);
    let values = fixture.helm(&["get", "values", "fed", "--namespace", "media", "--output", "json"]);
    let values: Value = serde_json::from_slice(&values.stdout).unwrap();
    assert_eq!(values["from_environment"], format!("{ENVIRONMENT}-suffix"));
    assert_eq!(values["of_release"], OTHER);
    let again = apps();
    assert!(again.stdout.contains("Nothing to change"), "{}", again.stdout);
    fixture
        .write("bootstrap/values/template.yaml.gotmpl", "from_environment: x{{ .Values.top.environment }}\n");
    for args in [&["diff"][..], &["diff", "-o", "json"], &["diff", "--manifests"], &["check"]] {
        let ran = fixture.k3s_boot(args).env("HELM_PLUGINS", &plugins).run();
        ran.assert().code(0);
    }
    // The error message has the value.
    let broken = "number: {{ .Values.top.environment }}\nletters: {{ .Values.top.environment }}\n";
    fixture.write("bootstrap/values/template.yaml.gotmpl", broken);
    apps().assert().code(1);
}

#[test]
fn message_that_quotes_a_file_is_not_shown() {
    let fixture = fixture("secret-messages");
    write(&fixture, &releases(&INSTALLED));
    fixture.apps(&[]).run().assert().code(0);
    let failed = |words: &[&str]| {
        let ran = all_commands(&fixture);
        let (check, apps) = (&ran[0], ran.last().unwrap());
        assert_eq!((check.code, apps.code), (Some(1), Some(1)), "{}{}", check.stdout, apps.stdout);
        for word in words {
            assert!(check.stdout.contains(word), "no `{word}` in\n{}", check.stdout);
        }
    };
    // A HelmRelease that a template parses is invalid.
    let broken = format!("spec:\n  values:\n    a: b\n   bad: {HELM_RELEASE}: x: y\n");
    fixture.write("kubernetes/apps/media/app/helmrelease.yaml", &broken);
    let reads = "{{ (fromYaml (readFile \"../../kubernetes/apps/media/app/helmrelease.yaml\")).spec.values | toYaml }}\n";
    fixture.write("bootstrap/values/template.yaml.gotmpl", reads);
    failed(&["error calling fromYaml: yaml: line"]);
    // A values file is not a map.
    fixture.write("bootstrap/values/template.yaml.gotmpl", &format!("{HELM_RELEASE}\n"));
    failed(&["cannot unmarshal !!str"]);
    // Values violate the schema of the chart.
    fixture
        .write("bootstrap/values/template.yaml.gotmpl", &format!("letters: {VIOLATION}\nnumber: {SHORT}\n"));
    failed(&["at '/letters': does not match pattern", "at '/number': got string, want integer"]);
    // References to a map and to a missing key.
    for (key, words) in [("top", "the key is a map"), ("top/nothing", "the key does not exist")] {
        let template =
            format!("a: {{{{ fetchSecretValue \"ref+sops://../../secrets/values.sops.yaml#/{key}\" }}}}\n");
        fixture.write("bootstrap/values/template.yaml.gotmpl", &template);
        failed(&[words]);
    }
    // A function that quotes its argument in an error.
    let template = "a: {{ fetchSecretValue \"ref+sops://../../secrets/values.sops.yaml#/top/inline\" | mustToDate \"2006\" }}\n";
    fixture.write("bootstrap/values/template.yaml.gotmpl", template);
    failed(&["error calling mustToDate"]);
    // An encrypted file with a plain-text value.
    fixture.write("bootstrap/values/template.yaml.gotmpl", "{}\n");
    fixture.encrypt("bootstrap/other.sops.yaml", &fixture.sandbox.age_key());
    let text = std::fs::read_to_string(fixture.root.join("bootstrap/other.sops.yaml")).unwrap();
    let line = text.lines().find(|line| line.contains("ENC[") && !line.contains("mac:")).unwrap();
    let (before, _) = line.split_once("ENC[").unwrap();
    fixture.write("bootstrap/other.sops.yaml", &text.replace(line, &format!("{before}{VIOLATION}")));
    failed(&["does not match sops' data format"]);
}
