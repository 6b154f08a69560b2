//! What Flux can never sync is found before anything is changed.

use insta::assert_snapshot;
use serde_json::json;

use super::fixture::Fixture;
use super::scenario;

#[test]
fn a_source_that_flux_cannot_sync() {
    let refusal = |sync: &str| {
        let fixture = Fixture::new();
        let url = format!("url: {}\n", scenario::URL);
        let build = scenario::apps_build(&fixture.canaries).replace(&url, sync);
        let build = json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build});
        fixture.rule(build).refusal()
    };
    assert_snapshot!(refusal("url: git@example.org:me/home.git\n"), @r#"
    [TS] ERROR Flux cannot sync from this source release="flux-system/flux-instance" key="instance.sync.url" value="git@example.org:me/home.git" reason="Flux supports `ssh://`, `https://` and `http://` only" fix="instance:\n  sync:\n    url: ssh://git@example.org/me/home.git" 
    [TS] ERROR Flux has no credentials for its source needed_for="ssh" key="instance.sync.pullSecret" release="flux-system/flux-instance" fix="instance:\n  sync:\n    pullSecret: NAME  # a Secret of the bootstrap with\nstringData:\n  identity: …  # the private key\n  known_hosts: …  # the output of `ssh-keyscan HOST`"
    "#);
    assert_snapshot!(refusal("url: ssh://git@example.org/me/home.git\n"), @r#"[TS] ERROR Flux has no credentials for its source needed_for="ssh" key="instance.sync.pullSecret" release="flux-system/flux-instance" fix="instance:\n  sync:\n    pullSecret: NAME  # a Secret of the bootstrap with\nstringData:\n  identity: …  # the private key\n  known_hosts: …  # the output of `ssh-keyscan HOST`""#);
}

/// The keys of a Secret are readable without decrypting it, and its values are never printed.
#[test]
fn a_pull_secret_that_flux_cannot_use() {
    let fixture = Fixture::new();
    let url = format!("url: {}\n", scenario::URL);
    let ssh = "url: ssh://git@example.org/me/home.git\n            pullSecret: deploy-key\n";
    let build = scenario::apps_build(&fixture.canaries).replace(&url, ssh);
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: deploy-key}}\nstringData:\n  identity: |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    \
         {}\n  known_hosts: other.example.org ssh-ed25519 AAAA\n",
        fixture.canaries.decrypted
    );
    let fixture = fixture
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "build"], "stdout": build}))
        .rule(json!({"tool": "sops", "args": ["decrypt"], "stdout": secret}));
    let refused = fixture.refusal();
    assert!(!refused.contains("other.example.org"), "{refused}");
    assert_snapshot!(refused, @r#"[TS] ERROR Flux cannot use the pull secret reason="`known_hosts` has no line for example.org" fix="add the output of `ssh-keyscan example.org` to `known_hosts`" secret="flux-system/deploy-key" release="flux-system/flux-instance""#);
}
