//! Keys of a helmfile that need a plugin or another version: an error of their release, before anything is changed.

use serde_json::{Value, json};

use super::checks::status_of;
use super::fixture::Fixture;
use super::scenario;

/// Releases by name, with the lines of their keys.
const RELEASES: [(&str, &str); 6] = [
    ("plain", ""),
    ("rendered", "  postRenderer: bash\n"),
    ("patched", "  jsonPatches: [{target: {kind: Service, name: x}, patch: []}]\n"),
    ("hooked", "  hooks: [{events: [postsync], command: nowhere-to-be-found, args: [x]}]\n"),
    ("encrypted", "  secrets: [../secret.yaml]\n"),
    ("forced", "  forceConflicts: true\n"),
];

/// A repository with these releases, a version of helm and its plugins.
fn fixture_for(command: &str, names: &[&str], helm: &str, plugins: &str) -> Fixture {
    let release = |(name, keys): &(&str, &str)| {
        format!("- name: {name}\n  namespace: media\n  chart: ../charts/{name}\n{keys}")
    };
    let selected = RELEASES.iter().filter(|(name, _)| names.contains(name));
    let releases: String = selected.map(release).collect();
    let fixture = Fixture::for_command(command)
        .objects([scenario::ready_node()])
        .helmfile_decrypts()
        .file("bootstrap/helmfile.d/00-crds.yaml", "releases: []\n")
        .file("bootstrap/helmfile.d/01-apps.yaml", &format!("releases:\n{releases}"));
    let fixture = names.iter().fold(fixture, |fixture, name| {
        let text = format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n");
        fixture.file(&format!("bootstrap/charts/{name}/Chart.yaml"), &text)
    });
    let helmfile = |args: &[&str]| json!({"tool": "helmfile", "args": args, "stdout": format!("---\nreleases:\n{releases}")});
    let list = format!("NAME   \tVERSION\tTYPE           \tAPIVERSION\tPROVENANCE\tSOURCE \n{plugins}");
    let undecrypted = "in ./01-apps.yaml: plugin secrets not installed\n";
    let rendered = json!({"namespace-media/plain/all.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: plain}\nspec: {}\n"});
    fixture.rules([
        json!({"tool": "helm", "args": ["version", "--short"], "stdout": helm}),
        json!({"tool": "helm", "args": ["plugin", "list"], "stdout": list}),
        json!({"tool": "helmfile", "args": ["*/00-crds.yaml", "build"], "stdout": "---\nreleases: []\n"}),
        helmfile(&["*/01-apps.yaml", "build"]),
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "write-values"], "exit": 1, "stderr": undecrypted}),
        json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "template"], "rendered": rendered}),
    ])
}

#[test]
fn missing_plugin_stops_the_run_before_a_change() {
    let all = RELEASES.map(|(name, _)| name);
    let helm_4 =
        fixture_for("apps", &all, "v4.2.4\n", "other  \t0.1.0  \tpostrenderer/v1\tv1\tunknown\tunknown\n")
            .refusal();
    let helm_3 = fixture_for("apps", &all, "v3.21.4\n", "").refusal();
    let encrypted = (
        "Helm plugin for encrypted values is missing",
        "media/encrypted",
        "plugin=\"secrets\"",
        "install the plugin helm-secrets (https://github.com/jkroepke/helm-secrets), or refer to the files as `ref+sops://FILE` in `values`",
    );
    let patched = (
        "Kustomize is not installed",
        "media/patched",
        "keys=\"jsonPatches\"",
        "install it, or set `kustomizeBinary: kubectl kustomize` at the top of the helmfile",
    );
    let on_path =
        "install it, add it to PATH, or correct its path, which is relative to the helmfile's folder";
    let hooked = ("Hook command not found", "media/hooked", "command=\"nowhere-to-be-found\"", on_path);
    let not_a_plugin = (
        "Post-renderer is not a Helm 4 plugin",
        "media/rendered",
        "value=\"bash\"",
        "install it as a plugin of type `postrenderer/v1` and use the name of that plugin, or use Helm 3",
    );
    let not_found = ("Post-renderer not found", "media/rendered", "value=\"bash\"", on_path);
    let forced = (
        "Release needs Helm 4",
        "media/forced",
        "keys=\"forceConflicts\"",
        "install Helm 4, or remove the keys",
    );
    assert_errors(&helm_4, &[encrypted, not_a_plugin, patched, hooked]);
    assert_errors(&helm_3, &[encrypted, not_found, patched, forced, hooked]);
}

/// Checks that a log has these errors in this order, each with a release, another pair and a fix at the end.
#[track_caller]
fn assert_errors(log: &str, expected: &[(&str, &str, &str, &str)]) {
    assert_eq!(log.lines().count(), expected.len(), "{log}");
    for (line, (message, release, pair, fix)) in log.lines().zip(expected) {
        assert!(line.starts_with(&format!("[TS] ERROR {message} release=\"{release}\" ")), "{line}");
        assert!(line.contains(pair) && line.trim_end().ends_with(&format!(" fix=\"{fix}\"")), "{line}");
    }
}

#[test]
fn other_releases_are_rendered() {
    let ran =
        fixture_for("check", &["plain", "patched", "encrypted"], "v4.2.4\n", "").args(&["-o", "json"]).run();
    ran.assert().code(1);
    let calls = ran.calls_of("helmfile", "template");
    let selectors = |call: &Value| {
        let args = call["argv"].as_array().unwrap().iter().filter_map(Value::as_str);
        args.filter(|arg| arg.starts_with("namespace=")).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        calls.iter().map(|call| selectors(call)).collect::<Vec<_>>(),
        [["namespace=media,name=plain"]]
    );
    assert_eq!(status_of(&ran.report(), "helm-features"), "error");
}

#[test]
fn installed_plugin_is_accepted() {
    let plugins = "bash   \t0.1.0  \tpostrenderer/v1\tv1        \tunknown   \tunknown\n";
    let cases = [(&["plain"][..], "v4.2.4\n", "not_applicable"), (&["rendered", "forced"], "v4.2.4\n", "ok")];
    for (names, helm, expected) in cases {
        let report = fixture_for("check", names, helm, plugins).args(&["-o", "json"]).run().report();
        assert_eq!(status_of(&report, "helm-features"), expected, "{names:?}");
    }
    // helm hangs.
    let silent =
        json!({"tool": "helm", "args": ["plugin", "list"], "exit": 1, "stderr": "Error: no such folder\n"});
    let ran = fixture_for("check", &["rendered"], "v4.2.4\n", "").rule(silent).args(&["-o", "json"]).run();
    assert_eq!(status_of(&ran.report(), "helm-features"), "unknown");
}
