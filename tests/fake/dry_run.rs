//! `diff` and `apps --dry-run` have the same findings and exit code as `apps`.

use std::collections::BTreeSet;

use serde_json::json;

use super::fixture::{APPS, Fixture, RunResult};
use super::rendering;

/// A name, and the fixture for a command.
type Case = (&'static str, fn(&str) -> Fixture);

/// Cases in which `apps` fails in its preflight.
const FAILING: [Case; 13] = [
    ("no kubeconfig", |command| Fixture::for_command(command).without("kubeconfig")),
    ("a program is missing", |command| Fixture::for_command(command).without("bin/sops")),
    ("a helmfile with a syntax error", |command| {
        Fixture::for_command(command).file("bootstrap/helmfile.d/01-apps.yaml", "releases: [\n")
    }),
    ("a helmfile that helmfile refuses", |command| {
        let refusal =
            json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "exit": 1, "stderr": "boom"});
        Fixture::for_command(command).rule(refusal)
    }),
    ("a missing variable", |command| {
        let words = "in ./01-apps.yaml: x: required env var `K3S_API_HOST` is not set\n";
        let refusal = json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "unless_env": "K3S_API_HOST", "exit": 1, "stderr": words});
        Fixture::for_command(command).rule(refusal)
    }),
    ("a missing chart", |command| {
        let words = "Error: registry.invalid/charts/cilium:1.18.6: not found\n";
        Fixture::for_command(command)
            .rule(json!({"tool": "helm", "args": ["pull", "*/cilium"], "exit": 1, "stderr": words}))
    }),
    ("a chart that cannot be rendered", |command| {
        rendering::fixture_for(command, &[("broken", rendering::HELM_4)])
    }),
    ("a hook without its program", |command| {
        let hook = "    hooks: [{events: [presync], command: nowhere-to-be-found}]\n";
        let build = format!("---\n{APPS}{hook}")
            .replace("    values:\n      - ../templates/values.yaml.gotmpl\n", "");
        Fixture::for_command(command)
            .file("bootstrap/helmfile.d/01-apps.yaml", &format!("{APPS}{hook}"))
            .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}))
    }),
    ("an unknown cluster", |command| {
        let player = json!({"kind": "Deployment", "apiVersion": "apps/v1", "spec": {"replicas": 1},
            "metadata": {"name": "player", "namespace": "media"}});
        Fixture::for_command(command).objects([player])
    }),
    ("another cluster", |command| {
        Fixture::for_command(command).file("k3s-boot.yaml", "cluster: 11111111-2222-4333-8444-555555555555\n")
    }),
    ("no rights", |command| {
        let reviews = "*/selfsubjectaccessreviews";
        Fixture::for_command(command).rule(
            json!({"tool": "api", "args": ["POST", reviews], "stdout": r#"{"status":{"allowed":false}}"#}),
        )
    }),
    ("a namespace that is being deleted", |command| {
        let namespace = json!({"kind": "Namespace", "metadata": {"name": "flux-system"}, "status": {"phase": "Terminating"}});
        Fixture::for_command(command).objects([namespace])
    }),
    ("an encrypted file that does not decrypt", |command| {
        let words = "Failed to get the data key required to decrypt the SOPS file.\n";
        Fixture::for_command(command)
            .rule(json!({"tool": "sops", "args": ["decrypt"], "exit": 128, "stderr": words}))
    }),
];

/// Cases in which `apps` changes something.
const HEALTHY: [Case; 3] = [
    ("a fresh cluster", Fixture::for_command),
    ("without an age key", |command| Fixture::for_command(command).without("root/age.key")),
    ("charts in the repository", |command| rendering::fixture_for(command, &[])),
];

/// The findings in the log, up to the end of the preflight.
fn findings(ran: &RunResult) -> BTreeSet<String> {
    let preflight = ran.stdout.split(" INFO Preflight passed ").next().unwrap();
    let lines = preflight.lines().chain(ran.stderr.lines());
    let is_finding = |line: &&str| line.contains(" ERROR ") || line.contains(" WARN ");
    lines.filter(is_finding).map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn errors_of_apps_stop_the_plan_too() {
    for (name, fixture_for) in FAILING {
        let apps = fixture_for("apps").run();
        assert_eq!((apps.code(), apps.mutating()), (1, Vec::new()), "{name}: {}{}", apps.stdout, apps.stderr);
        assert!(!findings(&apps).is_empty(), "{name}");
        let others: [(&str, &[&str]); 4] =
            [("diff", &[]), ("diff", &["--exit-code"]), ("diff", &["--manifests"]), ("apps", &["--dry-run"])];
        for (command, args) in others {
            let ran = fixture_for(command).args(args).run();
            assert_eq!(ran.code(), 1, "{name}: {command} {args:?}: {}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.stdout, "", "{name}: {command} {args:?}");
            assert_eq!(findings(&ran), findings(&apps), "{name}: {command} {args:?}");
        }
    }
}

#[test]
fn apps_does_what_diff_plans() {
    for (name, fixture_for) in HEALTHY {
        let apps = fixture_for("apps").run();
        assert!(!apps.mutating().is_empty(), "{name}: {}{}", apps.stdout, apps.stderr);
        let others: [(&str, &[&str], i32); 4] = [
            ("diff", &[], 0),
            ("diff", &["--exit-code"], 7),
            ("diff", &["--manifests"], 0),
            ("apps", &["--dry-run"], 0),
        ];
        let found = findings(&apps);
        for (command, args, code) in others {
            let ran = fixture_for(command).args(args).run();
            assert_eq!(ran.code(), code, "{name}: {command} {args:?}: {}{}", ran.stdout, ran.stderr);
            assert!(
                ran.stdout.ends_with("Run `k3s-boot apps` to apply these changes\n"),
                "{name}: {}",
                ran.stdout
            );
            assert!(findings(&ran).is_subset(&found), "{name}: {command} {args:?}: {}", ran.stderr);
        }
    }
}
