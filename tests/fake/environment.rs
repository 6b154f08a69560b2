//! `environment` in `k3s-boot.yaml`: variables that only templates see.

use serde_json::{Value, json};

use super::checks::status_of;
use super::fixture::Fixture;

const CONFIG: &str = "environment:
  files: [kubernetes/components/sops/cluster-secrets.sops.yaml, bootstrap/cluster.sops.env, settings.yaml]
  variables: {CLUSTER: main}
";

const SECRETS: &str = "kubernetes/components/sops/cluster-secrets.sops.yaml";

/// The helmfile needs a variable.
fn requires(name: &str) -> Value {
    json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "unless_env": name, "exit": 1,
        "stderr": format!("error calling requiredEnv: required env var `{name}` is not set\n")})
}

fn decrypted(file: &str, text: &str) -> Value {
    json!({"tool": "sops", "args": ["decrypt", format!("*/{file}")], "stdout": text})
}

/// A helmfile that requires a variable of each file, and shows the secret ones in the values of a release.
fn fixture(command: &str) -> Fixture {
    let fixture = Fixture::for_command(command);
    let [token, domain] = ["CANARY-in-a-dotenv-file", "CANARY.example.org"];
    let build = format!(
        "---\nreleases:\n- name: cilium\n  namespace: kube-system\n  chart: oci://registry.invalid/charts/cilium\n  version: 1.18.6\n  \
         values: [{{ipam: {{mode: kubernetes}}, token: x-{token}, host: {domain}}}]\n\
         - name: flux-instance\n  namespace: flux-system\n  chart: oci://registry.invalid/charts/flux-instance\n  version: 0.54.0\n  needs: [kube-system/cilium]\n"
    );
    fixture
        .canary(token)
        .canary(domain)
        .template_variable("API_TOKEN")
        .template_variable("SECRET_DOMAIN")
        .file("k3s-boot.yaml", CONFIG)
        .file(
            SECRETS,
            "apiVersion: v1\nkind: Secret\nmetadata: {name: cluster-secrets}\nstringData: {SECRET_DOMAIN: 'ENC[x]'}\nsops: {mac: 'ENC[x]'}\n",
        )
        .file("bootstrap/cluster.sops.env", "API_TOKEN=ENC[AES256_GCM,data:x]\nsops_mac=ENC[x]\n")
        .file("settings.yaml", "kind: ConfigMap\ndata: {TIMEZONE: Europe/Berlin}\n")
        .rules([
            decrypted(
                SECRETS,
                &format!(
                    "apiVersion: v1\nkind: Secret\nmetadata: {{name: cluster-secrets}}\nstringData: {{SECRET_DOMAIN: {domain}}}\n"
                ),
            ),
            decrypted("bootstrap/cluster.sops.env", &format!("API_TOKEN={token}\n")),
            requires("SECRET_DOMAIN"),
            requires("API_TOKEN"),
            requires("TIMEZONE"),
            requires("CLUSTER"),
            json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}),
        ])
}

const NAMES: [&str; 4] = ["API_TOKEN", "CLUSTER", "SECRET_DOMAIN", "TIMEZONE"];

fn has_variables(call: &Value) -> bool {
    let names = call["env_names"].as_array().unwrap();
    let found = NAMES.iter().filter(|name| names.iter().any(|one| one == **name)).count();
    assert!(found == 0 || found == NAMES.len(), "{call}");
    found > 0
}

#[test]
fn only_helmfile_gets_the_variables() {
    let ran = fixture("apps").run();
    ran.assert().code(0);
    let mut commands = Vec::new();
    for call in &ran.calls {
        let argv: Vec<_> = call["argv"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let renders = call["tool"] == "helmfile" && argv != ["--version"];
        assert_eq!(has_variables(call), renders, "{call}");
        commands
            .extend(["build", "template", "sync"].into_iter().filter(|one| renders && argv.contains(one)));
    }
    for command in ["build", "sync"] {
        assert!(commands.contains(&command), "{commands:?}");
    }
}

#[test]
fn values_of_encrypted_files_are_never_shown() {
    for args in [&[][..], &["-o", "json"], &["--log-level", "debug"]] {
        let ran = fixture("diff").args(args).run();
        ran.assert().code(0);
        assert!(ran.stdout.contains("cilium"), "{}", ran.stdout);
    }
    // helmfile's error quotes a value.
    let failing = fixture("apps")
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "exit": 1,
        "stderr": "in ./01-apps.yaml: chart CANARY.example.org/x-CANARY-in-a-dotenv-file is odd\n"}));
    let refusal = failing.refusal();
    assert!(refusal.contains("chart [redacted]/x-[redacted] is odd"), "{refusal}");
}

#[test]
fn exported_variable_takes_precedence() {
    let fixture =
        fixture("apps").env("CLUSTER", "other").env("API_TOKEN", "exported").env("TIMEZONE", "Europe/Berlin");
    let ran = fixture.run();
    ran.assert().code(0);
    let lines = ran.lines("INFO Exported environment variables override");
    assert_eq!(
        lines,
        [
            r#"[TS] INFO Exported environment variables override those of k3s-boot.yaml envs="API_TOKEN CLUSTER""#
        ]
    );
}

#[test]
fn nothing_is_decrypted_offline() {
    let ran = fixture("check").args(&["--offline", "-o", "json"]).without("root/age.key").run();
    ran.assert().code(0);
    assert!(ran.calls_of("sops", "decrypt").is_empty());
    let builds = ran.calls_of("helmfile", "build");
    assert!(builds.len() == 2 && builds.iter().all(|call| has_variables(call)), "{builds:?}");
    assert_eq!(status_of(&ran.report(), "environment"), "unknown");
}

/// Files, the configuration, and how the error begins.
type Case = (&'static [(&'static str, &'static str)], String, &'static str);

#[test]
fn bad_input_stops_the_run_before_a_change() {
    let with = |files: &[(&str, &str)], config: &str| {
        let fixture = Fixture::new().file("k3s-boot.yaml", config);
        files.iter().fold(fixture, |fixture, (name, text)| fixture.file(name, text))
    };
    let files = |names: &str| format!("environment:\n  files: [{names}]\n");
    let cases: [Case; 9] = [
        (
            &[],
            files("gone.env"),
            r#"File has no usable variables file="[TMP]/root/gone.env" reason="No such file or directory (os error 2)" fix="correct the path in `environment.files` of k3s-boot.yaml; it is relative to the root of the repository""#,
        ),
        (
            &[("a.txt", "A=1\n")],
            files("a.txt"),
            r#"File has no usable variables file="[TMP]/root/a.txt" reason="the name does not show its format" accepted="Secret and ConfigMap manifests (`.yaml`, `.yml`, `.json`) and dotenv files (`.env`)""#,
        ),
        (
            &[("a.env", "A=1\nnonsense\n")],
            files("a.env"),
            r#"File has no usable variables file="[TMP]/root/a.env" line="2" reason="there is no `=`" accepted="`NAME=value`, `NAME=\"value\"` or `NAME='value'` in one line, comments after `#`""#,
        ),
        (
            &[("a.env", "PATH=/tmp\n")],
            files("a.env"),
            r#"File has no usable variables file="[TMP]/root/a.env" line="1" reason="`PATH` could select another cluster or change how programs run" accepted="other variables; export this one in your shell if the tools need it""#,
        ),
        (
            &[("a.yaml", "kind: Secret\nstringData: {a-b: x}\n")],
            files("a.yaml"),
            r#"File has no usable variables file="[TMP]/root/a.yaml" field="stringData.a-b" reason="this is not the name of a variable" accepted="letters, digits and `_`, not beginning with a digit""#,
        ),
        (
            &[("a.yaml", "kind: Deployment\n")],
            files("a.yaml"),
            r#"File has no usable variables file="[TMP]/root/a.yaml" field="kind" reason="this is neither a Secret nor a ConfigMap" accepted="Secret and ConfigMap manifests (`.yaml`, `.yml`, `.json`) and dotenv files (`.env`)""#,
        ),
        (
            &[("a.env", "A=1\nB=2\n"), ("b.yaml", "kind: ConfigMap\ndata: {B: '3'}\n")],
            files("a.env, b.yaml"),
            r#"Variable has two different values variable="B" first="a.env, line 2" second="b.yaml, field data.B" fix="remove one of them, or one of the files from `environment.files` of k3s-boot.yaml""#,
        ),
        (
            &[("a.sops.env", "A=1\n")],
            files("a.sops.env"),
            r#"Encrypted file is plain text file="[TMP]/root/a.sops.env" fix=""#,
        ),
        (
            &[],
            "environment: {variables: {HELM_DRIVER: x}}\n".to_owned(),
            r#"Configuration is invalid file="[TMP]/root/k3s-boot.yaml" line="1" field="environment.variables.HELM_DRIVER""#,
        ),
    ];
    for (written, config, expected) in cases {
        let refusal = with(written, &config).refusal();
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
        assert!(refusal.starts_with(&format!("[TS] ERROR {expected}")), "{refusal}\ninstead of\n{expected}");
    }
}

#[test]
fn file_that_cannot_be_decrypted_is_the_only_error() {
    let fixture = fixture("apps")
        .rule(json!({"tool": "sops", "args": ["decrypt", "*/cluster.sops.env"], "exit": 128,
        "stderr": "Error decrypting tree: message authentication failed\n"}));
    let ran = fixture.run();
    ran.assert().code(1);
    assert_eq!(ran.mutating(), [""; 0]);
    let errors = ran.lines("ERROR ");
    assert_eq!(errors.len(), 1, "{errors:?}");
    let start =
        r#"[TS] ERROR Encrypted file cannot be decrypted file="[TMP]/root/bootstrap/cluster.sops.env""#;
    assert!(errors[0].starts_with(start), "{errors:?}");
}
