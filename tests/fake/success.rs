//! Successful runs.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::scenario;
use super::support::fake_tool;

/// The only test that pins a whole log: the format and the order of its lines.
#[test]
fn log_of_a_first_run() {
    let ran = Fixture::new().run();
    assert_snapshot!(ran.stdout, @r#"
    [TS] INFO Target cluster context="default" server="https://10.0.0.10:6443" version="v1.36.3+k3s1" nodes="1" uid="uid-of-kube-system" 
    [TS] INFO Preflight passed checks="[CHECKS]" warnings="0" took="[TOOK]" 
    [TS] INFO Nodes registered nodes="1" ready="0" waiting_for="CNI" 
    [TS] INFO Namespace created namespace="flux-system" source="Flux" 
    [TS] INFO Namespace created namespace="monitoring" source="release monitoring/prometheus-operator-crds" 
    [TS] INFO Namespace exists namespace="kube-system" 
    [TS] INFO SOPS age secret applied secret="flux-system/sops-age" 
    [TS] INFO Secret applied secret="flux-system/github" 
    [TS] INFO Syncing Helm releases file="bootstrap/helmfile.d/00-crds.yaml" releases="1" 
    [TS] INFO Syncing release release="monitoring/prometheus-operator-crds" version="19.1.0" 
    [TS] INFO Release synced release="monitoring/prometheus-operator-crds" version="19.1.0" took="[TOOK]" 
    [TS] INFO Syncing Helm releases file="bootstrap/helmfile.d/01-apps.yaml" releases="2" 
    [TS] INFO Syncing release release="kube-system/cilium" version="1.18.6" 
    [TS] INFO Release synced release="kube-system/cilium" version="1.18.6" took="[TOOK]" 
    [TS] INFO Syncing release release="flux-system/flux-instance" version="0.54.0" 
    [TS] INFO Release synced release="flux-system/flux-instance" version="0.54.0" took="[TOOK]" 
    [TS] INFO Helm releases synced successfully releases="3" 
    [TS] INFO Summary preflight="[TOOK]" nodes="[TOOK]" namespaces="[TOOK]" secrets="[TOOK]" crds="[TOOK]" apps="[TOOK]" verify="[TOOK]" 
    [TS] INFO Bootstrap complete! Flux is now syncing the Git repository repository="https://example.org/home.git" revision="main@sha1:4b1c" took="[TOOK]"
    "#);
    ran.assert().code(0).stderr("");
}

#[test]
fn calls_of_a_first_run() {
    let fixture = Fixture::new();
    let ran = fixture.run();
    ran.assert().code(0).stderr("");
    assert_snapshot!(ran.transcript(), @"
      api GET /api/v1/namespaces < null
      api GET /api/v1/namespaces/flux-system/secrets/github < null
      api GET /api/v1/namespaces/flux-system/secrets/sops-age < null
      api GET /api/v1/nodes < null
      api GET /api/v1/nodes/node-1/proxy/configz < null
      api GET /api/v1/secrets?labelSelector=owner%3Dhelm < null
      api GET /api/v1/services < null
      api GET /apis < null
      api GET /apis/apps/v1/daemonsets < null
      api GET /apis/apps/v1/deployments < null
      api GET /apis/apps/v1/statefulsets < null
      api GET /apis/coordination.k8s.io/v1/leases < null
      api GET /readyz < null
      api GET /readyz < null
      api GET /version < null
      api POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews < pipe
      helm pull oci://registry.invalid/charts/cilium --version 1.18.6 --untar --destination [TMP]/cache/k3s-boot/staging/k3s-boot.[RUN]/apps-fetched/oci__registry_invalid/charts/cilium/1.18.6 < null
      helm pull oci://registry.invalid/charts/flux-instance --version 0.54.0 --untar --destination [TMP]/cache/k3s-boot/staging/k3s-boot.[RUN]/apps-fetched/oci__registry_invalid/charts/flux-instance/0.54.0 < null
      helm pull oci://registry.invalid/charts/prometheus-operator-crds --version 19.1.0 --untar --destination [TMP]/cache/k3s-boot/staging/k3s-boot.[RUN]/crds-fetched/oci__registry_invalid/charts/prometheus-operator-crds/19.1.0 < null
      helm version --short < null
      helmfile --file [TMP]/root/bootstrap/helmfile.d/00-crds.yaml --helm-binary [TMP]/bin/helm --kube-context default --kubeconfig [TMP]/kubeconfig build --embed-values < null
      helmfile --file [TMP]/root/bootstrap/helmfile.d/01-apps.yaml --helm-binary [TMP]/bin/helm --kube-context default --kubeconfig [TMP]/kubeconfig build --embed-values < null
      helmfile --version < null
      kubectl --context default --kubeconfig [TMP]/kubeconfig proxy --unix-socket=[TMP]/tmp/k3s-boot.[RUN]/api.sock < null
      kubectl version --client < null
      sops --version --disable-version-check < null
      sops decrypt [TMP]/root/bootstrap/github.sops.yaml < null
    ! api POST /apis/coordination.k8s.io/v1/namespaces/kube-system/leases < pipe
    ! kubectl --context default --kubeconfig [TMP]/kubeconfig --request-timeout=10s apply --server-side --force-conflicts --validate=ignore --field-manager=k3s-boot -f - < pipe
    ! kubectl --context default --kubeconfig [TMP]/kubeconfig --request-timeout=10s apply --server-side --force-conflicts --validate=ignore --field-manager=k3s-boot -f - < pipe
      api GET /api/v1/events?fieldSelector=type%3DWarning < null
      api GET /apis/apps/v1/daemonsets < null
      api GET /apis/apps/v1/deployments < null
      api GET /apis/apps/v1/statefulsets < null
      api GET /apis/batch/v1/jobs < null
    ! helmfile --file [TMP]/root/bootstrap/helmfile.d/00-crds.yaml --helm-binary [TMP]/bin/helm --kube-context default --kubeconfig [TMP]/kubeconfig sync --hide-notes --timeout 900 < null
      api GET /api/v1/events?fieldSelector=type%3DWarning < null
      api GET /apis/apps/v1/daemonsets < null
      api GET /apis/apps/v1/deployments < null
      api GET /apis/apps/v1/statefulsets < null
      api GET /apis/batch/v1/jobs < null
    ! helmfile --file [TMP]/root/bootstrap/helmfile.d/01-apps.yaml --helm-binary [TMP]/bin/helm --kube-context default --kubeconfig [TMP]/kubeconfig sync --hide-notes --timeout 900 < null
      api GET /api/v1/secrets?labelSelector=owner%3Dhelm < null
      api GET /apis < null
      api GET /apis < null
      api GET /apis/fluxcd.controlplane.io/v1/fluxinstances < null
      api GET /apis/kustomize.toolkit.fluxcd.io/v1/kustomizations < null
      api GET /apis/source.toolkit.fluxcd.io/v1/gitrepositories < null
    ! api PATCH /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/k3s-boot < pipe
    ");
    let applied = ran.calls_of("kubectl", "apply");
    assert!(applied.iter().all(|call| call["stdin_len"].as_u64() > Some(0)));
    for call in &ran.calls {
        let env = &call["env"];
        let path = |name: &str| fixture.path(name).display().to_string();
        assert_eq!(kubeconfigs(call), [path("kubeconfig")]);
        assert_eq!(env["KUBERC"], "off");
        assert_eq!(env["HELMFILE_TEMPDIR"], env["TMPDIR"]);
        assert_eq!(env["ROOT_DIR"], path("root"));
        assert_eq!(env["NO_COLOR"], "1");
        let temp = env["TMPDIR"].as_str().unwrap();
        assert!(temp.starts_with(&path("tmp/k3s-boot.")), "{temp}");
        if let Some(charts) = env["HELMFILE_CACHE_HOME"].as_str() {
            let sync = call["argv"].as_array().unwrap().iter().any(|arg| arg == "sync");
            let place = if sync { "cache/k3s-boot/charts" } else { "cache/k3s-boot/staging/k3s-boot." };
            assert!(charts.starts_with(&path(place)), "{charts}");
        }
    }
    assert!(sandbox::files(&fixture.path("state")).unwrap().is_empty(), "a successful run keeps no log");
}

#[test]
fn second_run_applies_nothing_and_reuses_versions() {
    // The version of a link to a program of another name is not remembered.
    let programs = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for tool in ["helmfile", "kubectl", "sops", "helm"] {
        std::fs::hard_link(fake_tool(), programs.path().join(tool)).unwrap();
    }
    let fixture = Fixture::new().env("PATH", &programs.path().display().to_string());
    let first = fixture.run();
    let secret = |name: &str, key: &str, value: &str| {
        use base64::Engine as _;
        let value = base64::engine::general_purpose::STANDARD.encode(value);
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name, "namespace": "flux-system"}, "data": {key: value}})
    };
    let age_key = std::fs::read_to_string(fixture.path("root/age.key")).unwrap();
    let live =
        [secret("sops-age", "age.agekey", &age_key), secret("github", "token", &fixture.canaries.decrypted)];
    let namespaces =
        ["kube-system", "cert-manager", "flux-system", "network", "monitoring"].map(|name| (name, "Active"));
    let fixture = fixture.objects(live).objects(scenario::cluster(&namespaces, 1));
    let ran = fixture.run();
    ran.assert().code(0).stderr("");
    assert_eq!(ran.lines("INFO Namespace exists ").len(), 3, "those of the releases and of Flux");
    assert_eq!(ran.lines("INFO Namespace created "), [""; 0]);
    assert_eq!(ran.lines("INFO Secret unchanged ").len(), 2);
    assert_eq!(ran.problems(), [""; 0]);
    assert_eq!(ran.lines("INFO Bootstrap complete! ").len(), 1);
    let omitted =
        ["  helm version", "  helmfile --version", "  kubectl version", "  sops --version", "! kubectl "];
    let is_omitted = |line: &str| omitted.iter().any(|start| line.starts_with(start));
    let transcript = first.transcript();
    let expected: Vec<_> = transcript.lines().filter(|line| !is_omitted(line)).collect();
    assert_eq!(transcript.lines().count() - expected.len(), 6, "four versions and two applied lists");
    assert_eq!(ran.transcript().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn json_report_is_on_stdout_and_log_on_stderr() {
    let ran = Fixture::new().args(&["-o", "json"]).run();
    ran.assert().code(0);
    let stage = |name: &str| json!({"name": name, "ok": true, "seconds": 0});
    let release = |namespace: &str, name: &str, version: &str| json!({"namespace": namespace, "name": name, "version": version, "status": "synced", "seconds": 0});
    let stages = ["preflight", "nodes", "namespaces", "secrets", "crds", "apps", "verify"].map(stage);
    let expected = json!({
        "schema_version": 1,
        "result": "complete",
        "exit_code": 0,
        "changed": true,
        "cluster": {"context": "default", "server": "https://10.0.0.10:6443", "uid": "uid-of-kube-system", "nodes": 1},
        "stages": stages,
        "releases": [
            release("monitoring", "prometheus-operator-crds", "19.1.0"),
            release("kube-system", "cilium", "1.18.6"),
            release("flux-system", "flux-instance", "0.54.0"),
        ],
        "flux": {"repository": scenario::URL, "revision": "main@sha1:4b1c"},
        "seconds": 0,
    });
    assert_eq!(ran.report(), expected);
    assert_eq!(ran.stderr, Fixture::new().run().stdout, "the same log as without a report");
}

#[test]
fn colors_do_not_change_the_text() {
    let plain = Fixture::new().run();
    let coloured = Fixture::new().without_env("NO_COLOR").args(&["--color", "always"]).run();
    let bare = |text: &str| {
        ["\u{1b}[1m", "\u{1b}[0m", "\u{1b}[38;5;87m", "\u{1b}[38;5;236m"]
            .iter()
            .fold(text.to_owned(), |text, code| text.replace(code, ""))
    };
    // Colored durations are not normalized.
    let without_took = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| {
                [" took=", " preflight=", " checks="]
                    .iter()
                    .fold(line, |line, key| line.split(key).next().unwrap())
            })
            .map(|line| line.trim_start_matches("[TS] ").to_owned());
        lines.collect()
    };
    assert_eq!(without_took(&bare(&coloured.stdout)), without_took(&plain.stdout));
    let info = "\u{1b}[1m\u{1b}[38;5;87mINFO\u{1b}[0m ";
    assert!(
        coloured.stdout.lines().all(|line| line.starts_with(&format!("[TS] {info}"))),
        "{}",
        coloured.stdout
    );
    coloured.assert().code(0);
}

#[test]
fn debug_log_has_no_secrets() {
    let ran = Fixture::new().args(&["--log-level", "debug"]).run();
    ran.assert().code(0).stderr("");
    assert!(
        ran.stdout.contains(" DEBUG Running tool=\"kubectl\" command=\"kubectl --context default "),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains(
            " DEBUG Child output tool=\"helmfile\" stream=\"stderr\" line=\"Upgrading release=cilium"
        ),
        "{}",
        ran.stdout
    );
}

/// The user's kubeconfig files in the environment of a tool. The first file of the list is ours and only selects the
/// current context.
#[track_caller]
fn kubeconfigs(call: &Value) -> Vec<String> {
    let list = call["env"]["KUBECONFIG"].as_str().unwrap();
    let first: Value = serde_json::from_str(call["first_kubeconfig"].as_str().unwrap()).unwrap();
    assert_eq!(first, json!({"apiVersion": "v1", "kind": "Config", "current-context": "default"}), "{call}");
    list.split(':').skip(1).map(ToOwned::to_owned).collect()
}

#[test]
fn relative_paths_become_absolute() {
    let fixture = Fixture::new()
        .env("KUBECONFIG", "../../kubeconfig")
        .env("SOPS_AGE_KEY_FILE", "../age.key")
        .cwd("root/bootstrap");
    let ran = fixture.run();
    ran.assert().code(0).stderr("");
    for call in &ran.calls {
        // The path as given, joined to the working directory: it works for a tool in any folder.
        let kubeconfig = fixture.path("root/bootstrap/../../kubeconfig").display().to_string();
        assert_eq!(kubeconfigs(call), [kubeconfig]);
        let key = fixture.path("root/bootstrap/../age.key").display().to_string();
        assert_eq!(call["env"]["SOPS_AGE_KEY_FILE"], key);
        assert_eq!(call["env"]["ROOT_DIR"], fixture.path("root").display().to_string());
    }
}

#[test]
fn helmfile_gets_age_identities_only_for_encrypted_values() {
    let fixture = Fixture::new()
        .file("bootstrap/templates/values.yaml.gotmpl", "k: ref+sops://x.sops.yaml#/k\n")
        .helmfile_decrypts();
    let ran = fixture.run();
    ran.assert().code(0).stderr("");
    let has = |tool: &str, arg: &str| -> Vec<bool> {
        let calls = ran.calls_of(tool, arg).into_iter();
        let names = calls.map(|call| call["env_names"].as_array().unwrap());
        names.map(|names| names.iter().any(|name| name == "SOPS_AGE_KEY")).collect()
    };
    // The helmfile of the CRDs refers to no encrypted file, and is synced first.
    assert_eq!(has("helmfile", "sync"), [false, true]);
    let mut builds = has("helmfile", "build");
    builds.sort_unstable();
    assert_eq!(builds, [false, true]);
}

#[test]
fn variables_that_select_a_cluster_are_ignored() {
    let elsewhere = [
        "HELM_KUBEAPISERVER",
        "HELM_KUBECONTEXT",
        "HELM_KUBETOKEN",
        "HELM_NAMESPACE",
        "HELMFILE_FILE_PATH",
        "HELMFILE_HELM_BINARY",
        "HELMFILE_KUBE_CONTEXT",
        "HELMFILE_NAMESPACE",
    ];
    // These are dropped without a warning: the kubelet sets them in pods, or they make tools print secrets.
    let dropped =
        ["KUBERNETES_SERVICE_HOST", "POD_NAMESPACE", "HELMFILE_AWS_SDK_LOG_LEVEL", "AWS_SDK_GO_LOG_LEVEL"];
    let fixture =
        elsewhere.iter().chain(&dropped).fold(Fixture::new(), |fixture, name| fixture.env(name, "elsewhere"));
    let ran = fixture
        .env("HELM_DRIVER", "secret")
        .env("HELMFILE_ENVIRONMENT", "default")
        .env("LOG_LEVEL", "warn")
        .run();
    ran.assert().code(0).stderr("");
    assert_snapshot!(ran.stdout, @r#"[TS] WARN Ignoring environment variables envs="HELMFILE_FILE_PATH HELMFILE_HELM_BINARY HELMFILE_KUBE_CONTEXT HELMFILE_NAMESPACE HELM_KUBEAPISERVER HELM_KUBECONTEXT HELM_KUBETOKEN HELM_NAMESPACE" reason="they could select another cluster""#);
    for call in &ran.calls {
        let names: Vec<_> = call["env_names"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(elsewhere.iter().chain(&dropped).all(|name| !names.contains(name)), "{names:?}");
        // `LOG_LEVEL` is ours and must not change the output of the tools.
        assert!(!names.contains(&"LOG_LEVEL"), "{names:?}");
        assert!(names.contains(&"HELM_DRIVER") && names.contains(&"HELMFILE_ENVIRONMENT"), "{names:?}");
    }
}

#[test]
fn kubeconfig_list_is_passed_to_tools() {
    let fixture = Fixture::new();
    let list = format!("{0}/gone:{0}/kubeconfig:{0}/second", fixture.path("").display()).replace("//", "/");
    let fixture = fixture.file("../second", "apiVersion: v1\nkind: Config\n").env("KUBECONFIG", &list);
    let ran = fixture.run();
    ran.assert().code(0).stderr("");
    let warnings: Vec<_> = ran.stdout.lines().filter(|line| line.contains(" WARN ")).collect();
    assert_snapshot!(warnings.join("\n"), @r#"[TS] WARN Kubeconfig file not found, skipping it file="[TMP]/gone" fix="remove it from KUBECONFIG""#);
    let there = ["kubeconfig", "second"].map(|name| fixture.path(name).display().to_string());
    for call in &ran.calls {
        assert_eq!(kubeconfigs(call), there);
        let args = call["argv"].as_array().unwrap();
        assert!(!args.iter().any(|arg| arg == "--kubeconfig"), "the flag accepts no list: {call}");
    }
}

#[test]
fn missing_sync_source_is_a_warning() {
    let spec = json!({});
    let instance = scenario::resource("FluxInstance", "flux", &spec, &scenario::ready());
    let ran = Fixture::new().flux_with(&instance, &[]).run();
    ran.assert().code(0).stderr("");
    assert!(!ran.stdout.contains("Bootstrap complete!"));
    assert_snapshot!(ran.stdout.lines().last().unwrap(), @r#"[TS] WARN Releases are installed, but Flux has no repository to sync missing="`spec.sync` in FluxInstance flux-system/flux" took="[TOOK]" fix="set `instance.sync` in the values of flux-instance""#);
}

#[test]
fn orphaned_process_does_not_block_the_run() {
    let listener = super::listener::Listener::new();
    let fixture = Fixture::new().rule(json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "sync"], "connect": listener.address(), "grandchild": true,
        "stderr": scenario::synced("monitoring", "prometheus-operator-crds")}));
    let running = fixture.start();
    let (first, second) = (listener.accept(), listener.accept());
    let (tool, mut left) = if first.name == "grandchild" { (second, first) } else { (first, second) };
    tool.finish();
    let ran = running.wait();
    ran.assert().code(0).stderr("");
    assert_eq!(left.remaining_lines(), [""; 0], "it was killed");
}
