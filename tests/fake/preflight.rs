//! Errors of the preflight: exit code 1, and nothing is changed.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::{APPS, Fixture, identity};
use super::listener::Listener;
use super::scenario::{self, record};

/// A helmfile that starts with this text.
fn apps_with(start: &str) -> String {
    format!("{start}\n{APPS}")
}

#[test]
fn kubeconfig_is_not_set() {
    assert_snapshot!(Fixture::new().without_env("KUBECONFIG").refusal(), @r#"[TS] ERROR Missing required env variables envs="KUBECONFIG" fix="export KUBECONFIG=...""#);
    assert_snapshot!(Fixture::new().env("KUBECONFIG", "").refusal(), @r#"[TS] ERROR Missing required env variables envs="KUBECONFIG" fix="export KUBECONFIG=...""#);
}

#[test]
fn kubeconfig_does_not_exist() {
    let ran = Fixture::new().without("kubeconfig").run();
    assert!(ran.calls.is_empty());
    assert_snapshot!(Fixture::new().without("kubeconfig").refusal(), @r#"[TS] ERROR Kubeconfig file not found file="[TMP]/kubeconfig" fix="copy /etc/rancher/k3s/k3s.yaml from a server node, set that node's address in the copy, and set KUBECONFIG to its path""#);
}

#[test]
fn context_is_not_in_the_kubeconfig() {
    assert_snapshot!(Fixture::new().args(&["--context", "other"]).refusal(), @r#"[TS] ERROR Context not found in kubeconfig file="[TMP]/kubeconfig" context="other" available="default" fix="select one of them with --context""#);
    let no_current = Fixture::new().file("../kubeconfig", "apiVersion: v1\nkind: Config\ncontexts: []\n");
    assert_snapshot!(no_current.refusal(), @r#"[TS] ERROR Kubeconfig has no contexts file="[TMP]/kubeconfig" fix="copy /etc/rancher/k3s/k3s.yaml from a server node, set that node's address in the copy, and set KUBECONFIG to its path""#);
}

#[test]
fn programs_are_missing() {
    let fixture = Fixture::new().without("bin/kubectl").without("bin/sops");
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Missing required deps deps="kubectl sops" fix="install kubectl (https://kubernetes.io/docs/tasks/tools/), sops (https://getsops.io), or add it to PATH""#);
    let all = ["bin/helm", "bin/helmfile"].iter().fold(fixture, |fixture, name| fixture.without(name));
    assert_snapshot!(all.refusal(), @r#"[TS] ERROR Missing required deps deps="helmfile kubectl sops helm" fix="install helmfile (https://helmfile.readthedocs.io), kubectl (https://kubernetes.io/docs/tasks/tools/), sops (https://getsops.io), helm (https://helm.sh), or add it to PATH""#);
}

#[test]
fn program_versions_are_not_supported() {
    let version = |tool: &str, stdout: &str| json!({"tool": tool, "args": [if tool == "helm" { "version" } else { "--version" }], "stdout": stdout});
    let fixture = Fixture::new().rules([
        version("helmfile", "helmfile version v0.171.0\n"),
        version("helm", "v5.0.0\n"),
        version("sops", ""),
    ]);
    assert_snapshot!(fixture.refusal(), @r#"
    [TS] ERROR Program version is not supported program="helmfile" version="0.171.0" accepted="1.7.1 or later, below 2" fix="install a supported version of helmfile" 
    [TS] ERROR Program version cannot be determined program="sops" accepted="3.9 or later, below 4" fix="run `sops version` and check its output" 
    [TS] ERROR Program version is not supported program="helm" version="5.0.0" accepted="3.18 or later, below 5" fix="install a supported version of helm"
    "#);
}

#[test]
fn helmfiles_are_missing() {
    let fixture = Fixture::new()
        .without("root/bootstrap/helmfile.d/00-crds.yaml")
        .without("root/bootstrap/helmfile.d/01-apps.yaml");
    let refusal = fixture.refusal();
    let [line] = refusal.lines().collect::<Vec<_>>()[..] else { panic!("{refusal}") };
    let start = "[TS] ERROR Helmfile not found file=\"[TMP]/root/bootstrap/helmfile.d/01-apps.yaml\" searched=\"bootstrap/helmfile/apps.yaml, ";
    assert!(line.starts_with(start), "{line}");
    let fix = " fix=\"run k3s-boot in your repository, or pass its root with --root, or set the file in k3s-boot.yaml with `helmfiles.apps`\"";
    assert!(line.trim_end().ends_with(fix), "{line}");
    // A CRD helmfile is not required.
    let apps_only = Fixture::new().without("root/bootstrap/helmfile.d/00-crds.yaml").run();
    apps_only.assert().code(0).stderr("");
}

#[test]
fn two_layouts_stop_the_run() {
    let old = "bootstrap/helmfile.yaml";
    let refusal = Fixture::new().file(old, "releases: []\n").refusal();
    let start = "[TS] ERROR Several layouts of helmfiles found files=\"bootstrap/helmfile.d/00-crds.yaml, bootstrap/helmfile.d/01-apps.yaml, bootstrap/helmfile.yaml\" ";
    assert!(refusal.starts_with(start), "{refusal}");
    let lines = "helmfiles:\\n  crds: bootstrap/helmfile.d/00-crds.yaml\\n  apps: bootstrap/helmfile.d/01-apps.yaml # or bootstrap/helmfile.yaml\"";
    assert!(refusal.contains(lines), "{refusal}");
    let named = "helmfiles: {apps: bootstrap/helmfile.d/01-apps.yaml}\n";
    let ran = Fixture::new().file(old, "releases: []\n").file("k3s-boot.yaml", named).run();
    ran.assert().code(0).stderr("");
}

#[test]
fn helmfile_is_malformed() {
    let fixture =
        Fixture::new().file("bootstrap/helmfile.d/01-apps.yaml", &APPS.replace("values:", "values: ["));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Helmfile is not valid YAML file="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" line="9" reason="did not find expected node content at line 9 column 7, while parsing a flow node""#);
}

#[test]
fn values_path_of_the_original_does_not_exist() {
    let fixture = Fixture::new()
        .file("bootstrap/helmfile.d/01-apps.yaml", &APPS.replace("../templates", "./templates"));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Values file not found helmfile="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" release="cilium" values="./templates/values.yaml.gotmpl" searched="[TMP]/root/bootstrap/helmfile.d" fix="write `../templates/values.yaml.gotmpl`: paths are relative to the helmfile's folder""#);
}

#[test]
fn values_file_is_missing() {
    let fixture = Fixture::new().rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "exit": 1,
        "stderr": "in ./01-apps.yaml: values file matching \"./values/{{ .Release.Name }}.yaml\" does not exist in \".\"\n"}));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Values file not found helmfile="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" values="./values/{{ .Release.Name }}.yaml" searched="[TMP]/root/bootstrap/helmfile.d""#);
}

#[test]
fn variables_of_both_helmfiles_are_missing() {
    let missing = |file: &str, name: &str| {
        json!({"tool": "helmfile", "args": [file, "build"], "unless_env": name, "exit": 1, "stderr": format!(
            "in ./01-apps.yaml: failed to render values files \"../templates/values.yaml.gotmpl\": failed to render [../templates/values.yaml.gotmpl], because of template: stringTemplate:2:6: executing \"stringTemplate\" at <requiredEnv \"{name}\">: error calling requiredEnv: required env var `{name}` is not set\n")})
    };
    let fixture = Fixture::new().rules([
        missing("*/00-crds.yaml", "CRDS_HOST"),
        missing("*/01-apps.yaml", "K3S_API_HOST"),
        missing("*/01-apps.yaml", "FLUX_GIT_URL"),
        missing("*/01-apps.yaml", "CRDS_HOST"),
    ]);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Missing required env variables envs="CRDS_HOST FLUX_GIT_URL K3S_API_HOST" fix="export CRDS_HOST=... FLUX_GIT_URL=... K3S_API_HOST=...""#);
    let one_less = fixture.env("K3S_API_HOST", "10.0.0.10").env("CRDS_HOST", "x");
    assert_snapshot!(one_less.refusal(), @r#"[TS] ERROR Missing required env variables envs="FLUX_GIT_URL" fix="export FLUX_GIT_URL=...""#);
}

/// One finding, which names the releases whose values need the variables: the helmfile does not show it.
#[test]
fn releases_that_need_missing_variables() {
    let fixture = Fixture::new();
    let build = scenario::apps_build(&fixture.canaries)
        .replace("ipam:", "k8sServiceHost: for-K3S_API_HOST.stand-in.invalid\n        ipam:");
    let missing = |name: &str| {
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "unless_env": name, "exit": 1,
            "stderr": format!("error calling requiredEnv: required env var `{name}` is not set\n")})
    };
    let with_values = json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build});
    let fixture = fixture.rules([missing("K3S_API_HOST"), with_values.clone()]);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Missing required env variables envs="K3S_API_HOST" needed_by="kube-system/cilium" fix="export K3S_API_HOST=...""#);
    let fixture = fixture.rules([missing("API_HOST"), missing("K3S_API_HOST"), with_values]);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Missing required env variables envs="API_HOST K3S_API_HOST" needed_by="kube-system/cilium (K3S_API_HOST)" fix="export API_HOST=... K3S_API_HOST=...""#);
}

#[test]
fn chart_tag_and_variable_are_missing() {
    let pull = "Pulling registry.invalid/charts/cilium:9.9.9
in ./01-apps.yaml: [release \"cilium\": command \"/bin/helm\" exited with non-zero status:

PATH:
  /bin/helm

ARGS:
  0: helm (4 bytes)
  1: pull (4 bytes)
  2: oci://registry.invalid/charts/cilium (36 bytes)
  3: --destination (13 bytes)
  4: /tmp/x (6 bytes)
  5: --untar (7 bytes)
  6: --version (9 bytes)
  7: 9.9.9 (5 bytes)

ERROR:
  exit status 1

EXIT STATUS
  1

STDERR:
  Error: registry.invalid/charts/cilium:9.9.9: not found

COMBINED OUTPUT:
  Error: registry.invalid/charts/cilium:9.9.9: not found]
";
    // The next rendering uses a placeholder.
    let fixture = Fixture::new().rule(
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "times": 1, "exit": 1, "stderr": pull}),
    );
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Chart cannot be fetched chart="oci://registry.invalid/charts/cilium" version="9.9.9" release="cilium" file="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" cause="the chart or version does not exist in the registry" fix="correct `chart` or `version` of cilium in the helmfile" reason="registry.invalid/charts/cilium:9.9.9: not found""#);
    let fixture = Fixture::new().rules([
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "times": 1, "exit": 1, "stderr": pull}),
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "unless_env": "FLUX_GIT_URL",
        "exit": 1, "stderr": "error calling requiredEnv: required env var `FLUX_GIT_URL` is not set\n"}),
    ]);
    assert_snapshot!(fixture.refusal(), @r#"
    [TS] ERROR Missing required env variables envs="FLUX_GIT_URL" fix="export FLUX_GIT_URL=..." 
    [TS] ERROR Chart cannot be fetched chart="oci://registry.invalid/charts/cilium" version="9.9.9" release="cilium" file="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" cause="the chart or version does not exist in the registry" fix="correct `chart` or `version` of cilium in the helmfile" reason="registry.invalid/charts/cilium:9.9.9: not found"
    "#);
}

#[test]
fn registry_errors_are_retried_and_missing_charts_are_not() {
    let pull = ["pull", "oci://registry.invalid/charts/cilium"];
    let words = "Error: GET \"https://registry.invalid/v2/charts/cilium/manifests/1.18.6\": response status code 503: Service Unavailable\n";
    let fixture =
        Fixture::new().rule(json!({"tool": "helm", "args": pull, "times": 3, "exit": 1, "stderr": words}));
    let ran = fixture.run();
    ran.assert().code(0);
    let tries = ran.stdout.lines().filter(|line| line.contains("Chart cannot be fetched, retrying"));
    let tries: Vec<_> = tries.collect();
    assert_eq!(tries.len(), 3, "{}", ran.stdout);
    assert!(tries.iter().all(|line| line.contains("cause=\"the registry returned 5xx\"")), "{tries:?}");

    let words = "Error: registry.invalid/charts/cilium:1.18.6: not found\n";
    let fixture = Fixture::new().rule(json!({"tool": "helm", "args": pull, "exit": 1, "stderr": words}));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Chart cannot be fetched chart="oci://registry.invalid/charts/cilium" version="1.18.6" release="cilium" file="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" cause="the chart or version does not exist in the registry" fix="correct `chart` or `version` of cilium in the helmfile" reason="registry.invalid/charts/cilium:1.18.6: not found""#);
}

#[test]
fn chart_is_not_in_its_repository() {
    let fixture = Fixture::new();
    let build = scenario::apps_build(&fixture.canaries)
        .replace("releases:\n", "repositories:\n  - name: cilium\n    url: https://helm.invalid\nreleases:\n")
        .replace("oci://registry.invalid/charts/cilium", "cilium/cilium");
    let pull = ["pull", "cilium", "--repo", "https://helm.invalid", "--version", "1.18.6"];
    let words = "Error: chart \"cilium\" version \"1.18.6\" not found in https://helm.invalid repository\n";
    let fixture = fixture.rules([
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}),
        json!({"tool": "helm", "args": pull, "exit": 1, "stderr": words}),
    ]);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Chart cannot be fetched chart="cilium/cilium" version="1.18.6" release="cilium" file="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" cause="the chart or version does not exist in the registry" fix="correct `chart` or `version` of cilium in the helmfile" reason="chart \"cilium\" version \"1.18.6\" not found in https://helm.invalid repository""#);
}

/// `kubectl proxy` answers every request with this error.
fn kubectl_that_says(words: &str) -> Fixture {
    Fixture::new().rule(json!({"tool": "api", "status": 500, "stdout": format!("{words}\n")}))
}

/// The API server answers every request with this status.
fn api_server_that_says(status: u16, words: &str) -> Fixture {
    let answer = json!({"kind": "Status", "status": "Failure", "message": words, "code": status});
    Fixture::new().rule(json!({"tool": "api", "status": status, "stdout": answer.to_string()}))
}

#[test]
fn cluster_does_not_answer() {
    let fixture = kubectl_that_says("dial tcp 10.0.0.10:6443: connect: connection refused");
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Cluster unreachable server="https://10.0.0.10:6443" context="default" reason="dial tcp 10.0.0.10:6443: connect: connection refused" fix="check that the server is running, and that the kubeconfig names its address instead of 127.0.0.1""#);
}

#[test]
fn cluster_rejects_the_credentials() {
    let fixture = api_server_that_says(401, "Unauthorized");
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Cluster does not accept the credentials server="https://10.0.0.10:6443" context="default" reason="Unauthorized" fix="copy the kubeconfig from the server again: this one may belong to an earlier installation""#);
}

#[test]
fn cluster_certificate_is_not_trusted() {
    let fixture =
        kubectl_that_says("tls: failed to verify certificate: x509: certificate signed by unknown authority");
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Cluster's certificate is not trusted server="https://10.0.0.10:6443" context="default" reason="tls: failed to verify certificate: x509: certificate signed by unknown authority" fix="copy the kubeconfig from the server again; if its address is missing in the certificate, add it to `tls-san` in /etc/rancher/k3s/config.yaml on all servers and restart k3s""#);
}

#[test]
fn cluster_denies_the_request() {
    let fixture = api_server_that_says(
        403,
        "nodes is forbidden: User \"x\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
    );
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Access to the cluster is forbidden server="https://10.0.0.10:6443" context="default" reason="nodes is forbidden: User \"x\" cannot list resource \"nodes\" in API group \"\" at the cluster scope" fix="use the administrator's kubeconfig: copy /etc/rancher/k3s/k3s.yaml from a server node, set that node's address in the copy""#);
}

#[test]
fn age_key_is_broken() {
    let fixture = Fixture::new();
    let good = identity();
    let broken = format!("{}{}", &good[..good.len() - 1], if good.ends_with('Q') { "P" } else { "Q" });
    let fixture =
        fixture.file("age.key", &format!("# created: today\n{broken}\n")).canary(&broken[..50]).canary(&good);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Age key cannot be used file="[TMP]/root/age.key" reason="line 2 is a broken identity: its checksum or length is wrong" fix="create one with `age-keygen -o age.key`; each line is an identity, or a comment that starts with `#`""#);
    let fixture = Fixture::new();
    let text = format!(" {}\n", fixture.canaries.age);
    assert_snapshot!(fixture.file("age.key", &text).refusal(), @r#"[TS] ERROR Age key cannot be used file="[TMP]/root/age.key" reason="line 1 begins or ends with white space" fix="create one with `age-keygen -o age.key`; each line is an identity, or a comment that starts with `#`""#);
    assert_snapshot!(Fixture::new().file("age.key", "# nothing\n").refusal(), @r#"[TS] ERROR Age key cannot be used file="[TMP]/root/age.key" reason="no line holds an identity; one starts with `AGE-SECRET-KEY-1`" fix="create one with `age-keygen -o age.key`; each line is an identity, or a comment that starts with `#`""#);
    assert_snapshot!(Fixture::new().args(&["--age-key", "none.key"]).refusal(), @r#"[TS] ERROR File cannot be read file="[TMP]/root/none.key" reason="No such file or directory (os error 2)""#);
}

#[test]
fn encrypted_file_is_plain_text() {
    let fixture = Fixture::new();
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\nstringData:\n  token: {}\n",
        fixture.canaries.decrypted
    );
    let refused = fixture.file("bootstrap/open.sops.yaml", &text).refusal();
    let start = r#"[TS] ERROR Encrypted file is plain text file="[TMP]/root/bootstrap/open.sops.yaml" fix="sops --config /dev/null encrypt --age age1"#;
    let end = r#" --encrypted-regex '^(data|stringData)$' --in-place bootstrap/open.sops.yaml  # and change its secrets if it was ever pushed""#;
    assert!(refused.trim_end().starts_with(start) && refused.trim_end().ends_with(end), "{refused}");
}

#[test]
fn encrypted_file_cannot_be_decrypted() {
    let fixture = Fixture::new().rule(json!({"tool": "sops", "args": ["decrypt"], "exit": 128, "stderr":
        "Failed to get the data key required to decrypt the SOPS file.

Group 0: FAILED
  age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj: FAILED
    - | failed to create reader for decrypting sops data key with
      | age: no identity matched any of the recipients. Did not find
      | keys in locations 'SOPS_AGE_SSH_PRIVATE_KEY_FILE',
      | 'SOPS_AGE_KEY_FILE', and 'SOPS_AGE_KEY_CMD'.

Recovery failed because no master key was able to decrypt the file. In
order for SOPS to recover the file, at least one key has to be successful,
but none were.
"}));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Encrypted file cannot be decrypted file="[TMP]/root/bootstrap/github.sops.yaml" reason="failed to create reader for decrypting sops data key with age: no identity matched any of the recipients" fix="set SOPS_AGE_KEY_FILE to a file with a matching identity, or add your public key to .sops.yaml and run `sops updatekeys` where the file can be decrypted""#);
}

#[test]
fn decrypted_file_is_not_an_object() {
    let fixture = Fixture::new();
    let text = format!("token: {}\n", fixture.canaries.decrypted);
    let fixture = fixture.rule(json!({"tool": "sops", "args": ["decrypt"], "stdout": text}));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Encrypted file contains no Kubernetes object file="[TMP]/root/bootstrap/github.sops.yaml" reason="document 1 has no `apiVersion`, `kind` or `metadata.name`""#);
}

#[test]
fn age_identity_would_be_removed() {
    let other = identity();
    let live = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sops-age", "namespace": "flux-system"},
        "stringData": {"age.agekey": format!("# old\n{other}\n")}});
    let fixture = Fixture::new().canary(&other).objects([live]);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR This would remove an age identity from the cluster secret="flux-system/sops-age" file="[TMP]/root/age.key" identities="1" fix="add the old identity to the file, or replace it with --rotate-age-key""#);
    // With --rotate-age-key the old one is removed, and only the status of Flux with the new one counts.
    let mut root = scenario::root();
    root["status"]["lastHandledReconcileAt"] = "{requested}".into();
    let fixture = fixture.flux(&[scenario::source(), root]);
    let ran = fixture.args(&["--rotate-age-key"]).run();
    ran.assert().code(0).stderr("");
    assert_eq!(ran.reconcile_requests().len(), 1);
}

#[test]
fn installed_release_has_installed_false() {
    let fixture = Fixture::new();
    let build = scenario::apps_build(&fixture.canaries)
        .replace("version: 0.54.0\n", "version: 0.54.0\n    installed: false\n");
    let record = scenario::record("flux-instance", "flux-system", "deployed", "0.54.0", &json!({}));
    let fixture = fixture
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}))
        .objects([record]);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Release would be uninstalled release="flux-system/flux-instance" reason="the helmfile sets `installed: false`, but the release is installed" fix="remove the release from the helmfile, or uninstall it with --uninstall flux-system/flux-instance""#);
}

#[test]
fn release_selects_another_context() {
    let fixture = Fixture::new();
    let build = scenario::apps_build(&fixture.canaries)
        .replace("version: 0.54.0\n", "version: 0.54.0\n    kubeContext: production\n");
    let fixture =
        fixture.rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Release sets a different context release="flux-system/flux-instance" kubeContext="production" context="default""#);
}

#[test]
fn helmfiles_that_run_commands() {
    let hooks = "hooks:\n  - events: [prepare]\n    command: touch\n";
    let fixture = Fixture::new().file("bootstrap/helmfile.d/00-crds.yaml", &format!("{hooks}releases: []\n"));
    let ran = fixture.run();
    assert!(ran.calls.is_empty(), "helmfile would have run the hook");
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Helmfile runs commands while rendering file="[TMP]/root/bootstrap/helmfile.d/00-crds.yaml" found="a `prepare` hook" fix="remove it, or allow it with --allow-hooks""#);
    let fixture =
        Fixture::new().file("bootstrap/helmfile.d/01-apps.yaml", &apps_with("# {{ exec \"id\" (list) }}"));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Helmfile runs commands while rendering file="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" found="exec" fix="remove it, or allow it with --allow-hooks""#);
    let allowed = fixture.args(&["--allow-hooks"]).run();
    allowed.assert().code(0).stderr("");
}

#[test]
fn helmfile_of_apps_works_only_with_template() {
    let build = "helmDefaults:\n  args: [--include-crds, --no-hooks]\nreleases: []\n";
    let rule = json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build});
    let ran = Fixture::new().rules([rule]).run();
    ran.assert().code(1);
    assert_eq!(ran.mutating(), [""; 0]);
    let start = "[TS] ERROR Helmfile works with `helmfile template` only file=\"[TMP]/root/bootstrap/helmfile.d/01-apps.yaml\" ";
    assert!(ran.stderr.starts_with(start), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("move the releases whose CRDs are needed to a CRD helmfile"),
        "{}",
        ran.stderr
    );
}

#[test]
fn namespace_is_being_deleted() {
    let namespaces = [("kube-system", "Active"), ("monitoring", "Terminating")];
    let fixture = Fixture::new().objects(scenario::cluster(&namespaces, 1));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Namespace is being deleted namespace="monitoring" fix="wait until it is gone; `kubectl get namespace monitoring -o yaml` shows what blocks the deletion""#);
}

#[test]
fn all_problems_are_reported_at_once() {
    let fixture = kubectl_that_says("dial tcp: lookup nowhere: no such host").rules([
        json!({"tool": "helm", "args": ["version"], "stdout": "v3.17.0\n"}),
        json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "build"], "unless_env": "CRDS_HOST", "exit": 1,
            "stderr": "required env var `CRDS_HOST` is not set\n"}),
        json!({"tool": "sops", "args": ["decrypt"], "exit": 128, "stderr": "Failed to get the data key required to decrypt the SOPS file.\n"}),
    ]);
    assert_snapshot!(fixture.refusal(), @r#"
    [TS] ERROR Missing required env variables envs="CRDS_HOST" fix="export CRDS_HOST=..." 
    [TS] ERROR Program version is not supported program="helm" version="3.17.0" accepted="3.18 or later, below 5" fix="install a supported version of helm" 
    [TS] ERROR Encrypted file cannot be decrypted file="[TMP]/root/bootstrap/github.sops.yaml" reason="Failed to get the data key required to decrypt the SOPS file." fix="set SOPS_AGE_KEY_FILE to a file with a matching identity, or add your public key to .sops.yaml and run `sops updatekeys` where the file can be decrypted" 
    [TS] ERROR Host name of the cluster does not resolve server="https://10.0.0.10:6443" context="default" reason="dial tcp: lookup nowhere: no such host" fix="this machine does not resolve nowhere: correct the name in `server` of the kubeconfig, use the address of a server, or add the name to DNS or /etc/hosts"
    "#);
    let files = Fixture::new()
        .file("age.key", "hello\n")
        .file("bootstrap/helmfile.d/01-apps.yaml", &APPS.replace("../templates", "./templates"))
        .file("bootstrap/open.sops.yaml", "k: v\n")
        .without("kubeconfig");
    assert_snapshot!(files.refusal(), @r#"
    [TS] ERROR Kubeconfig file not found file="[TMP]/kubeconfig" fix="copy /etc/rancher/k3s/k3s.yaml from a server node, set that node's address in the copy, and set KUBECONFIG to its path" 
    [TS] ERROR Values file not found helmfile="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" release="cilium" values="./templates/values.yaml.gotmpl" searched="[TMP]/root/bootstrap/helmfile.d" fix="write `../templates/values.yaml.gotmpl`: paths are relative to the helmfile's folder" 
    [TS] ERROR Age key cannot be used file="[TMP]/root/age.key" reason="line 1 is no age identity; one starts with `AGE-SECRET-KEY-1`, in upper case" fix="create one with `age-keygen -o age.key`; each line is an identity, or a comment that starts with `#`" 
    [TS] ERROR Encrypted file is plain text file="[TMP]/root/bootstrap/open.sops.yaml" fix="add a creation rule for bootstrap/open.sops.yaml to .sops.yaml (https://getsops.io/docs), then: sops encrypt --in-place bootstrap/open.sops.yaml  # and change its secrets if it was ever pushed"
    "#);
}

#[test]
fn tools_print_unexpected_output() {
    let fixture =
        Fixture::new().rule(json!({"tool": "api", "args": ["/api/v1/nodes"], "stdout": "{\"items\": 3}"}));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Cluster cannot be read reason="unexpected response from `GET /api/v1/nodes`: line 1, column 11""#);
    let fixture = Fixture::new();
    let text = format!("releases: {}\n", fixture.canaries.value);
    let fixture =
        fixture.rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": text}));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Output of helmfile cannot be parsed file="[TMP]/root/bootstrap/helmfile.d/01-apps.yaml" place="line 1, column 11""#);
}

#[test]
fn refusal_as_json() {
    let fixture = kubectl_that_says("error: You must be logged in to the server (Unauthorized)");
    let ran = fixture.args(&["--output", "json"]).run();
    ran.assert().code(1);
    let cause = "Cluster does not accept the credentials (server: https://10.0.0.10:6443, context: default, reason: error: You must be logged in to the server (Unauthorized))";
    let fix = "copy the kubeconfig from the server again: this one may belong to an earlier installation";
    let expected = json!({
        "schema_version": 1,
        "result": "failed",
        "exit_code": 1,
        "changed": false,
        "error": "preflight failed: Cluster does not accept the credentials",
        "failure": {"class": "preflight", "message": "Preflight failed", "culprit": "api", "cause": cause, "fix": fix,
            "reason": cause},
        "problems": [{
            "rule": "api",
            "severity": "error",
            "message": "Cluster does not accept the credentials",
            "details": {"context": "default", "server": "https://10.0.0.10:6443",
                "reason": "error: You must be logged in to the server (Unauthorized)"},
            "fix": fix,
        }],
        "stages": [{"name": "preflight", "ok": false, "seconds": 0}],
        "releases": [],
        "seconds": 0,
    });
    assert_eq!(ran.report(), expected);
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Cluster does not accept the credentials server="https://10.0.0.10:6443" context="default" reason="error: You must be logged in to the server (Unauthorized)" fix="copy the kubeconfig from the server again: this one may belong to an earlier installation""#);
}

#[test]
fn final_errors_stop_the_preflight_early() {
    let listener = Listener::new();
    let fixture = Fixture::new()
        .objects([record("cilium", "kube-system", "pending-install", "1.18.6", &Value::Null)])
        .args(&["--strict", "-o", "json"])
        .rule(json!({"tool": "api", "args": ["POST", "*/selfsubjectaccessreviews"], "connect": listener.address(),
            "stdout": r#"{"status":{"allowed":false}}"#}));
    let running = fixture.start();
    let last_question = listener.accept();
    running.wait_for("Release is stuck in `pending-install`; its owner is unknown");
    last_question.finish();
    let ran = running.wait();
    ran.assert().code(1);
    // Each once, in the order of the helmfiles.
    assert_snapshot!(ran.stderr, @r#"
    [TS] INFO Target cluster context="default" server="https://10.0.0.10:6443" version="v1.36.3+k3s1" nodes="1" uid="uid-of-kube-system" 
    [TS] ERROR Release is stuck in `pending-install`; its owner is unknown release="kube-system/cilium" status="pending-install" fix="k3s-boot recover  # if no other operation is running" 
    [TS] ERROR Kubeconfig user is not a cluster administrator command="kubectl auth can-i '*' '*' --all-namespaces" fix="use the administrator's kubeconfig: copy /etc/rancher/k3s/k3s.yaml from a server node, set that node's address in the copy"
    "#);
    let report = ran.report();
    assert_eq!(report["failure"]["culprit"], "pending, rights");
}
