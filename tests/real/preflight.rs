//! Errors are reported before anything is changed: the audit log has no mutating request.

use std::path::{Path, PathBuf};

use super::fixture::{Fixture, Invocation, RunResult};
use super::support::fake_tool;

struct Case<'a> {
    name: &'a str,
    /// Texts that the only error line must contain.
    error: &'a [&'a str],
    run: RunResult,
}

#[test]
fn errors_stop_the_run_before_a_change() {
    let fixture = Fixture::start("refusals");
    let mark = fixture.sandbox.audit_mark().unwrap();
    let mut cases = environments(&fixture);
    cases.extend(repositories(&fixture));
    for Case { name, error, run } in &cases {
        assert_eq!(run.code, Some(1), "{name}");
        run.assert_format();
        assert_eq!(run.stderr.lines().count(), 1, "{name}: one clear error\n{}", run.stderr);
        for words in *error {
            assert!(run.stderr.contains(words), "{name}: no `{words}` in {}", run.stderr);
        }
    }
    assert_eq!(fixture.changes(mark), [""; 0]);
}

/// Errors of the environment, the programs and the cluster.
fn environments(fixture: &Fixture) -> Vec<Case<'static>> {
    let text = std::fs::read_to_string(fixture.sandbox.kubeconfig()).unwrap();
    let kubeconfig = |name: &str, text: &str| {
        let path = fixture.root.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap();
    let down = kubeconfig("down.kubeconfig", &text.replace(server.trim_matches('"'), "https://127.0.0.1:1"));
    let wrong_ca = kubeconfig("wrong-ca.kubeconfig", &with_ca(&text, fixture.sandbox.registry().ca_file()));
    let stranger = kubeconfig("stranger.kubeconfig", &with_token(&text, "wrong"));
    let apps = || fixture.apps(&[]);
    vec![
        Case {
            name: "KUBECONFIG unset",
            error: &["Missing required env variables envs=\"KUBECONFIG\""],
            run: apps().env_remove("KUBECONFIG").run(),
        },
        Case {
            name: "kubeconfig missing",
            error: &["Kubeconfig file not found", "/none"],
            run: apps().env("KUBECONFIG", "/none").run(),
        },
        Case {
            name: "API down",
            error: &["Cluster unreachable", "https://127.0.0.1:1", "refused"],
            run: apps().env("KUBECONFIG", down).run(),
        },
        Case {
            name: "wrong CA",
            error: &["Cluster's certificate is not trusted", "x509"],
            run: apps().env("KUBECONFIG", wrong_ca).run(),
        },
        Case {
            name: "unauthorized",
            error: &["Cluster does not accept the credentials"],
            run: apps().env("KUBECONFIG", stranger).run(),
        },
        Case {
            name: "two programs missing",
            error: &["Missing required deps deps=\"kubectl helm\""],
            run: with_programs(fixture, apps(), &["helmfile", "sops"], None).run(),
        },
        Case {
            name: "helmfile too old",
            error: &["Program version is not supported program=\"helmfile\" version=\"1.7.0\""],
            run: with_programs(
                fixture,
                apps(),
                &["kubectl", "sops", "helm"],
                Some(("helmfile", old_helmfile(fixture))),
            )
            .env("FAKE_SCENARIO", fixture.root.join("old-helmfile.json"))
            .env("FAKE_TRANSCRIPT", fixture.root.join("old-helmfile.jsonl"))
            .run(),
        },
        Case {
            name: "variable of the last release",
            error: &["Missing required env variables envs=\"FLUX_GIT_URL\""],
            run: apps().env_remove("FLUX_GIT_URL").run(),
        },
        Case {
            name: "all variables",
            error: &["Missing required env variables envs=\"FLUX_GIT_URL K3S_API_HOST\""],
            run: apps().env_remove("FLUX_GIT_URL").env_remove("K3S_API_HOST").run(),
        },
    ]
}

/// Errors of the repository.
fn repositories(fixture: &Fixture) -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    let mut broken = |name, error, change: &dyn Fn()| {
        change();
        cases.push(Case { name, error, run: fixture.apps(&[]).run() });
        fixture.restore();
    };
    let helmfile = "bootstrap/helmfile.d/01-apps.yaml";
    broken("malformed helmfile", &["Helmfile is not valid YAML", "01-apps.yaml", "line=\""], &|| {
        fixture.replace(helmfile, "needs: ['kube-system/cilium']", "needs: ['kube-system/cilium'");
    });
    broken(
        "path of the original",
        &[
            "Values file not found",
            "./templates/values.yaml.gotmpl",
            "searched=",
            "`../templates/values.yaml.gotmpl`",
        ],
        &|| {
            // All five releases use the path and each is reported, so keep one.
            fixture.write(helmfile, "releases:\n- name: cilium\n  namespace: kube-system\n  chart: oci://quay.io/cilium/charts/cilium\n  version: 1.18.6\n  values: ['./templates/values.yaml.gotmpl']\n");
        },
    );
    broken(
        "chart version does not exist",
        &[
            "Chart cannot be fetched chart=\"oci://ghcr.io/coredns/charts/coredns\" version=\"9.9.9\" release=\"coredns\"",
            "not found",
        ],
        &|| {
            fixture.replace(helmfile, "version: 1.45.0", "version: 9.9.9");
        },
    );
    broken(
        "age key with a wrong line",
        &["Age key cannot be used", "reason=\"line 2 is no age identity"],
        &|| {
            fixture.write("age.key", "# mine\nage-secret-key-canary\n");
        },
    );
    broken(
        "encrypted file for another key",
        &["Encrypted file cannot be decrypted", "other.sops.yaml"],
        &|| {
            fixture.encrypt("bootstrap/other.sops.yaml", &fixture.sandbox.other_age_key());
        },
    );
    broken("encrypted file in plain text", &["Encrypted file is plain text", "plain.sops.yaml"], &|| {
        fixture.write("bootstrap/plain.sops.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n");
    });
    cases
}

pub(crate) fn with_ca(text: &str, ca: &Path) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(std::fs::read(ca).unwrap());
    let line = text.lines().find(|line| line.contains("certificate-authority-data:")).unwrap();
    let key = line.split_once(':').unwrap().0;
    text.replace(line, &format!("{key}: {ca}"))
}

pub(crate) fn with_token(text: &str, token: &str) -> String {
    let kept = text
        .lines()
        .filter(|line| !line.contains("client-certificate-data") && !line.contains("client-key-data"));
    kept.map(|line| {
        let indent = line.len() - line.trim_start().len();
        if line.trim() == "user:" {
            format!("{line}\n{}token: {token}\n", " ".repeat(indent + 2))
        } else {
            format!("{line}\n")
        }
    })
    .collect()
}

/// Sets PATH to these real programs and an optional fake one.
pub(crate) fn with_programs<'a>(
    fixture: &Fixture,
    k3s_boot: Invocation<'a>,
    names: &[&str],
    other: Option<(&str, PathBuf)>,
) -> Invocation<'a> {
    let bin = fixture.root.join(format!("bin-{}", names.join("-")));
    std::fs::create_dir_all(&bin).unwrap();
    let real = names.iter().map(|name| (*name, fixture.sandbox.tools().path_dir().join(name)));
    for (name, path) in real.chain(other) {
        std::os::unix::fs::symlink(path, bin.join(name)).unwrap();
    }
    k3s_boot.env("PATH", bin)
}

/// A fake helmfile with version 1.7.0, which fails for all other commands.
pub(crate) fn old_helmfile(fixture: &Fixture) -> PathBuf {
    let rule = r#"{"tool": "helmfile", "args": ["--version"], "stdout": "helmfile version v1.7.0\n"}"#;
    fixture.write("old-helmfile.json", &format!(r#"{{"canaries": [], "rules": [{rule}]}}"#));
    fake_tool()
}
