//! Two clusters: all programs that k3s-boot and hooks start use the selected one, no matter how it was selected.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::fixture::{Fixture, Invocation};
use super::small_charts::{releases, write};

/// A kubeconfig with these clusters, each under its own name. The last one is the current context.
fn kubeconfig(file: &str, fixtures: &[(&Fixture, &str)], current: &str) -> PathBuf {
    let folder = fixtures[0].0.root.parent().unwrap();
    let own = |(fixture, name): &(&Fixture, &str)| {
        let kubeconfig = fixture.sandbox.kubeconfig().display().to_string();
        let output = fixture.sandbox.kubectl(&[
            "config",
            "view",
            "--raw",
            "--flatten",
            "--output=json",
            "--kubeconfig",
            &kubeconfig,
        ]);
        let mut config: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        for entry in ["clusters", "users", "contexts"] {
            config[entry][0]["name"] = json!(name);
        }
        config["contexts"][0]["context"] = json!({"cluster": name, "user": name});
        config
    };
    let mut all = own(&fixtures[0]);
    for fixture in &fixtures[1..] {
        let other = own(fixture);
        for entry in ["clusters", "users", "contexts"] {
            all[entry].as_array_mut().unwrap().push(other[entry][0].clone());
        }
    }
    all["current-context"] = json!(current);
    let path = folder.join(file);
    std::fs::write(&path, all.to_string()).unwrap();
    path
}

/// Hooks for every event, which call programs directly and through a shell.
fn hooks(name: &str) -> String {
    let hook = |event: &str, command: &str, args: &str| {
        format!("      - {{events: [{event}], command: {command}, args: [{args}]}}\n")
    };
    let label = format!("label, --overwrite, namespace, media, '{name}=asked'");
    let all = [
        hook("prepare", "kubectl", "get, --raw, /version"),
        hook("presync", "helm", "list, --all-namespaces"),
        hook("presync", "bash", &format!("-c, 'kubectl create configmap hook-{name} --namespace media'")),
        hook("postsync", "kubectl", &label),
        hook("cleanup", "kubectl", &format!("delete, configmap, hook-{name}, --namespace, media")),
    ];
    format!("    name: {name}\n    namespace: media\n    hooks:\n{}", all.concat())
}

#[test]
fn only_the_selected_cluster_gets_requests() {
    let (here, other) = (Fixture::start("here"), Fixture::start("other"));
    let folder = here.root.parent().unwrap().to_owned();
    let ours = kubeconfig("ours", &[(&here, "here")], "here");
    let theirs = kubeconfig("theirs", &[(&other, "other")], "other");
    let both = kubeconfig("both", &[(&other, "other"), (&here, "here")], "other");
    let chosen = kubeconfig("chosen", &[(&other, "other"), (&here, "here")], "here");
    let list = |files: &[&PathBuf]| std::env::join_paths(files).unwrap();
    // The namespace of a release takes precedence over that of the context.
    let spaced: Value = serde_json::from_slice(&std::fs::read(&both).unwrap()).unwrap();
    let mut spaced = spaced;
    spaced["contexts"][1]["context"]["namespace"] = json!("elsewhere");
    let in_namespace = folder.join("spaced");
    std::fs::write(&in_namespace, spaced.to_string()).unwrap();

    let ways: [(&str, &[&str], std::ffi::OsString); 7] = [
        ("alone", &[], list(&[&ours])),
        ("first", &[], list(&[&ours, &theirs])),
        ("current", &[], list(&[&chosen])),
        ("named", &["--context", "here"], list(&[&both])),
        ("behind", &["--context", "here"], list(&[&theirs, &ours])),
        ("file", &["--kubeconfig", ours.to_str().unwrap()], list(&[&theirs])),
        ("spaced", &["--context", "here"], list(&[&in_namespace])),
    ];
    let begin = other.sandbox.audit_mark().unwrap();
    for (name, args, kubeconfig) in &ways {
        write(&here, &releases(&[&hooks(name)]));
        let run = |command: &str, more: &[&str]| {
            let k3s_boot: Invocation<'_> =
                here.k3s_boot(&[&[command, "--allow-hooks"], *args, more].concat());
            let ran = k3s_boot.env("KUBECONFIG", kubeconfig).run();
            assert_eq!(ran.code, Some(0), "{name} {command}: {}{}", ran.stdout, ran.stderr);
        };
        run("check", &[]);
        run("diff", &["--manifests"]);
        let mark = here.sandbox.audit_mark().unwrap();
        run("apps", &["--wait-lock", "1m"]);
        // The hooks have sent requests.
        let namespace = here.get("/api/v1/namespaces/media");
        assert_eq!(namespace["metadata"]["labels"][*name], "asked", "{name}");
        let changes = here.changes(mark);
        let configmap = format!("/api/v1/namespaces/media/configmaps/hook-{name}");
        assert!(
            changes.iter().any(|change| change.starts_with(&format!("delete {configmap}"))),
            "{changes:?}"
        );
        let list = here.helm(&["list", "--namespace", "media", "--filter", &format!("^{name}$"), "--short"]);
        assert_eq!(String::from_utf8_lossy(&list.stdout).trim(), *name);
        // The exit code is about Flux, which is not installed.
        here.k3s_boot(&[&["status"], *args].concat()).env("KUBECONFIG", kubeconfig).run();
    }
    let requests = other.sandbox.audit_since(begin).unwrap();
    let requests: Vec<_> =
        requests.iter().filter(|event| event.is_from_admin()).map(|event| &event.uri).collect();
    assert_eq!(requests, Vec::<&String>::new(), "requests to the other cluster");
}

#[test]
fn release_is_installed_in_the_namespace_of_helmfile() {
    let fixture = Fixture::start("namespaces");
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(kubeconfig("context", &[(&fixture, "here")], "here")).unwrap())
            .unwrap();
    config["contexts"][0]["context"]["namespace"] = json!("media");
    let file = fixture.root.parent().unwrap().join("in-media");
    std::fs::write(&file, config.to_string()).unwrap();
    let apps = |args: &[&str]| {
        let ran = fixture.apps(args).env("KUBECONFIG", &file).run();
        ran.assert().code(0);
        ran.stdout
    };
    let installed = || {
        let list = fixture.helm(&["list", "--all-namespaces", "--output", "json"]);
        let list: Vec<Value> = serde_json::from_slice(&list.stdout).unwrap();
        let id =
            |one: &Value| format!("{}/{}", one["namespace"].as_str().unwrap(), one["name"].as_str().unwrap());
        let mut ids: Vec<_> = list.iter().map(id).filter(|id| !id.ends_with("/crds")).collect();
        ids.sort();
        ids
    };

    // Without a namespace, the release is in that of the context.
    let named = "    name: named\n    namespace: network\n";
    write(&fixture, &releases(&["    name: plain\n", named]));
    let text = apps(&["--list"]);
    let in_default = text.lines().any(|line| line.trim_start().starts_with("default"));
    assert!(text.contains("media") && text.contains("network") && !in_default, "{text}");
    apps(&[]);
    assert_eq!(installed(), ["media/plain", "network/named"]);
    assert!(apps(&[]).contains("Nothing to change"));
    // A single release is synced too.
    write(&fixture, &releases(&["    name: plain\n    values: [{a: 1}]\n", named]));
    let text = apps(&[]);
    assert!(text.contains("Release is out of date release=\"media/plain\""), "{text}");
    assert!(apps(&[]).contains("Nothing to change"));

    // The namespace of the helmfile takes precedence over both.
    write(
        &fixture,
        &format!("namespace: monitoring\n{}", releases(&["    name: all\n", "    name: more\n"])),
    );
    let text = apps(&["--list"]);
    assert!(text.contains("monitoring") && !text.contains("media"), "{text}");
    apps(&[]);
    assert_eq!(installed(), ["media/plain", "monitoring/all", "monitoring/more", "network/named"]);
    assert!(apps(&[]).contains("Nothing to change"));
}
