//! Flux has the credentials for its source.

use serde_json::Value;

use crate::base::finding::{Finding, Severity};
use crate::base::url::Url;
use crate::check::{Answer, Check, Facts, Group, Needs, OPEN, Rule};
use crate::desired::STAND_IN;
use crate::desired::secret_keys::SecretKeys;

pub(super) const RULE: Rule = Rule {
    id: "flux-pull-secret",
    group: Group::Secrets,
    title: "Flux has the credentials for its source",
    why: "Flux reports a Secret that is missing, or has other keys than the URL needs, only after everything is \
          installed. source-controller needs `identity` and `known_hosts` for ssh, `username` and `password` or \
          `bearerToken` for https, and `provider: github` for a GitHub App.",
    essential: false,
    needs: Needs::Files,
    check: Check::Facts(check),
};

/// The keys of a GitHub App (fluxcd/pkg, `runtime/secrets`).
const APP_ID: &str = "githubAppID";

fn check(facts: &Facts<'_>) -> Answer {
    let release = match facts.release_of_chart("flux-instance") {
        Ok(release) => release,
        Err(answer) => return answer,
    };
    let Some(source) = facts.desired.sync_objects(release).source else {
        return Answer::unknown("a patch may change the source");
    };
    let source = Source::new(&source);
    if source.url.is_empty() {
        return Answer::not_applicable("Flux has no source to sync");
    }
    if [source.url, source.secret, source.provider].iter().any(|text| text.contains(STAND_IN)) {
        return Answer::unknown(OPEN);
    }
    let found = |finding: Finding| {
        let severity = finding.severity.min(facts.severity_for(release));
        Answer::Found(vec![Finding { severity, ..finding }.with("release", release.id())])
    };
    if source.secret.is_empty() {
        return match source.without_secret() {
            Some(finding) => found(finding),
            None => Answer::not_applicable("Flux reads its source without credentials"),
        };
    }
    let is_meant =
        |secret: &&SecretKeys| secret.namespace == release.namespace && secret.name == source.secret;
    let known = facts.desired.secrets.iter().find(is_meant);
    let live = facts.observed.live.as_ref().map(|live| &live.pull_secret);
    let secret = match (known, live) {
        (Some(secret), _) | (None, Some(Ok(Some(secret)))) => secret,
        (None, Some(Ok(None))) => return found(missing(&release.namespace, source.secret, source.example())),
        (None, Some(Err(reason))) => return Answer::unknown(reason),
        (None, None) if facts.options.offline => {
            return Answer::unknown(
                "it is in no file of the bootstrap, and --offline does not ask the cluster",
            );
        }
        (None, None) => return Answer::unknown(facts.unanswered()),
    };
    source.judge(secret).map_or(Answer::Ok, |finding| {
        found(finding.with("secret", format!("{}/{}", secret.namespace, secret.name)))
    })
}

/// Something else, such as a hook, may create it.
fn missing(namespace: &str, name: &str, keys: &str) -> Finding {
    Finding::warning(RULE.id, "Pull secret of Flux is in no file of the bootstrap and not in the cluster")
        .with("secret", format!("{namespace}/{name}"))
        .with("key", "instance.sync.pullSecret")
        .fix(format!(
            "save it encrypted as bootstrap/{name}.sops.yaml:\n\
             apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\n{keys}"
        ))
}

/// What the source is, and how Flux authenticates.
struct Source<'a> {
    kind: &'a str,
    url: &'a str,
    scheme: &'a str,
    secret: &'a str,
    provider: &'a str,
}

impl<'a> Source<'a> {
    fn new(source: &'a Value) -> Self {
        let text = |pointer: &str| source.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let url = Some(text("/spec/url")).filter(|url| !url.is_empty()).unwrap_or(text("/spec/endpoint"));
        Self {
            kind: text("/kind"),
            url,
            // Without a scheme, it is the scp syntax of ssh.
            scheme: Url::parse(url).map_or(if url.contains('@') { "ssh" } else { "" }, |url| url.scheme),
            secret: text("/spec/secretRef/name"),
            provider: text("/spec/provider"),
        }
    }

    /// The data of a Secret for this source.
    fn example(&self) -> &'static str {
        match (self.kind, self.scheme, self.provider) {
            ("OCIRepository", ..) => {
                "type: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: …"
            }
            ("Bucket", ..) => "stringData:\n  accesskey: …\n  secretkey: …",
            (_, _, "github") => {
                "stringData:\n  githubAppID: …\n  githubAppInstallationID: …\n  githubAppPrivateKey: …"
            }
            (_, "ssh", _) => {
                "stringData:\n  identity: …  # the private key\n  known_hosts: …  # the output of `ssh-keyscan HOST`"
            }
            _ => "stringData:\n  username: …\n  password: …  # a token",
        }
    }

    /// What is wrong without a Secret.
    fn without_secret(&self) -> Option<Finding> {
        let what = match (self.kind, self.scheme, self.provider) {
            ("GitRepository", _, "github") => "a GitHub App",
            ("GitRepository", "ssh", _) => "ssh",
            _ => return None,
        };
        let finding = Finding::error(RULE.id, "Flux has no credentials for its source");
        let finding = finding.with("needed_for", what).with("key", "instance.sync.pullSecret");
        Some(finding.fix(format!(
            "instance:\n  sync:\n    pullSecret: NAME  # a Secret of the bootstrap with\n{}",
            self.example()
        )))
    }

    /// What is wrong with the Secret.
    fn judge(&self, secret: &SecretKeys) -> Option<Finding> {
        let found = |severity, reason: String, fix: &str| {
            let finding = Finding::error(RULE.id, "Flux cannot use the pull secret").with("reason", reason);
            Some(Finding { severity, ..finding }.fix(fix))
        };
        let needs = |severity, keys: &[&str]| {
            let missing: Vec<_> = keys.iter().copied().filter(|key| !secret.has(key)).collect();
            let reason = || format!("it has no `{}`", missing.join("` and no `"));
            if missing.is_empty() { None } else { found(severity, reason(), self.example()) }
        };
        let is_cloud = matches!(self.provider, "azure" | "gcp");
        match (self.kind, self.scheme) {
            ("Bucket", _) if !is_cloud => needs(Severity::Error, &["accesskey", "secretkey"]),
            // The registry may be public.
            ("OCIRepository", _) if !secret.kind.starts_with("kubernetes.io/dockerc") => {
                let reason = "its type is not `kubernetes.io/dockerconfigjson`".to_owned();
                found(Severity::Warning, reason, self.example())
            }
            ("GitRepository", "ssh") => needs(Severity::Error, &["identity", "known_hosts"]).or_else(|| {
                let (host, port) = Url::parse(self.url).map(Url::host_and_port).unwrap_or_default();
                // `known_hosts` writes an IPv6 address in several ways, and `flux-sync` reports a URL that is none.
                let is_known =
                    host.is_empty() || host.starts_with('[') || !secret.is_missing_host(host, port);
                if secret.has_bad_identity {
                    found(Severity::Error, "`identity` is not a private key".to_owned(), self.example())
                } else if !is_known {
                    let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
                    let fix = format!("add the output of `ssh-keyscan {port}{host}` to `known_hosts`");
                    found(Severity::Error, format!("`known_hosts` has no line for {host}"), &fix)
                } else {
                    None
                }
            }),
            ("GitRepository", _) if self.provider == "github" => {
                let installation = ["githubAppInstallationID", "githubAppInstallationOwner"];
                let one = installation.into_iter().find(|key| secret.has(key)).unwrap_or(installation[0]);
                needs(Severity::Error, &[APP_ID, one, "githubAppPrivateKey"])
            }
            ("GitRepository", _) if is_cloud || self.provider == "aws" => None,
            ("GitRepository", _) if secret.has(APP_ID) => found(
                Severity::Error,
                "it is of a GitHub App, and the source has no `provider: github`".to_owned(),
                "instance:\n  sync:\n    provider: github",
            ),
            // Certificates may be all that is needed.
            ("GitRepository", _)
                if ["bearerToken", "ca.crt", "caFile", "tls.crt"].iter().any(|key| secret.has(key)) =>
            {
                None
            }
            // The repository may be public.
            ("GitRepository", _) => needs(Severity::Warning, &["username", "password"]),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::World;
    use crate::observed::Live;
    use crate::observed::claims::{Claim, Claims};
    use crate::observed::manager::Manager;

    const NONE: &str = "error Flux has no credentials for its source";
    const UNUSABLE: &str = "error Flux cannot use the pull secret";
    const DOUBTFUL: &str = "warning Flux cannot use the pull secret";

    fn world(sync: &str) -> World {
        World::with_values("flux-instance", "0.59.0", &format!("{{instance: {{sync: {{path: k, {sync}}}}}}}"))
    }

    /// A Secret of these keys, in the namespace of the release.
    fn secret(keys: &str) -> SecretKeys {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: a}}\n{keys}\n");
        SecretKeys::in_text(&text).next().unwrap()
    }

    #[test]
    fn ssh_and_a_github_app_need_a_secret() {
        World::of("- {name: a, chart: 'oci://r/a'}\n")
            .assert_found(&RULE, &["- no release uses the chart `flux-instance`"]);
        world("url: ''").assert_found(&RULE, &["- Flux has no source to sync"]);
        world("url: 'ssh://git@h/r'").assert_found(&RULE, &[NONE]);
        world("url: 'git@h:r'").assert_found(&RULE, &[NONE]);
        world("url: 'https://h/r', provider: github").assert_found(&RULE, &[NONE]);
        let without = "- Flux reads its source without credentials";
        for sync in ["url: 'https://h/r'", "kind: OCIRepository, url: 'oci://h/r'", "kind: Bucket, url: h"] {
            world(sync).assert_found(&RULE, &[without]);
        }
        world("url: 'ssh://git@stand-in.invalid/r'").assert_found(&RULE, &[&format!("unknown {OPEN}")]);
        // A patch names the Secret, or replaces the URL.
        let patched = |patch: &str| {
            let values = format!(
                "{{instance: {{sync: {{url: 'ssh://git@h/r'}}, kustomize: {{patches: [{{target: {{kind: GitRepository}}, patch: '{patch}'}}]}}}}}}"
            );
            World::with_values("flux-instance", "0.59.0", &values)
        };
        patched("[{op: replace, path: /spec/url, value: https://h/r}]").assert_found(&RULE, &[without]);
        patched("[{op: move, path: /a, from: /b}]")
            .assert_found(&RULE, &["unknown a patch may change the source"]);
    }

    #[test]
    fn a_secret_must_exist_somewhere() {
        let mut world = world("url: 'ssh://git@h/r', pullSecret: s");
        world.assert_found(&RULE, &["unknown no kubeconfig was read"]);
        world.options.offline = true;
        let offline = "it is in no file of the bootstrap, and --offline does not ask the cluster";
        world.assert_found(&RULE, &[&format!("unknown {offline}")]);
        let live = |pull_secret| Some(Live { pull_secret, ..Live::default() });
        world.observed.live = live(Err("forbidden".to_owned()));
        world.assert_found(&RULE, &["unknown forbidden"]);
        world.observed.live = live(Ok(None));
        let missing = "warning Pull secret of Flux is in no file of the bootstrap and not in the cluster";
        world.assert_found(&RULE, &[missing]);
        assert!(world.fix(&RULE).contains("  known_hosts: …"));
        world.observed.live = live(Ok(Some(secret("data: {identity: '', known_hosts: ''}"))));
        world.assert_found(&RULE, &[UNUSABLE]);
        world.desired.secrets = vec![secret("data: {identity: 'ENC[x]', known_hosts: 'ENC[x]'}")];
        world.assert_found(&RULE, &[]);
        world.desired.secrets = vec![secret("data: {a: b}")];
        world.assert_found(&RULE, &[UNUSABLE]);
        // The values have no effect on a release that Flux manages.
        let manager = Manager::HelmRelease { namespace: "a".to_owned(), name: "flux-instance".to_owned() };
        let claim = Claim { manager, release: "a/flux-instance".into(), suspended: false };
        let claims = Claims { helm_releases: vec![claim], ..Claims::default() };
        world.observed.live = Some(Live { claims: Ok(claims), ..Live::default() });
        world.assert_found(&RULE, &[DOUBTFUL]);
        world.desired.secrets[0].namespace = "b".to_owned();
        world.observed.live = live(Ok(None));
        world.assert_found(&RULE, &[missing]);
    }

    #[test]
    fn the_keys_must_fit_the_source() {
        let cases: [(&str, &str, &[&str]); 20] = [
            ("url: 'ssh://git@h/r'", "stringData: {identity: 'ENC[x]'}", &[UNUSABLE]),
            ("url: 'ssh://git@h/r'", "stringData: {username: a, password: b}", &[UNUSABLE]),
            (
                "url: 'ssh://git@h/r'",
                "stringData: {identity: ssh-rsa AA, known_hosts: h ssh-rsa AA}",
                &[UNUSABLE],
            ),
            (
                "url: 'ssh://git@h/r'",
                "stringData: {identity: '-PRIVATE KEY-----', known_hosts: i ssh-rsa AA}",
                &[UNUSABLE],
            ),
            (
                "url: 'ssh://git@h:22/r'",
                "stringData: {identity: '-PRIVATE KEY-----', known_hosts: h ssh-rsa AA}",
                &[],
            ),
            (
                "url: 'ssh://git@[fd00::1]/r'",
                "stringData: {identity: '-PRIVATE KEY-----', known_hosts: h ssh-rsa AA}",
                &[],
            ),
            ("url: 'https://h/r'", "stringData: {identity: 'ENC[x]', known_hosts: 'ENC[x]'}", &[DOUBTFUL]),
            ("url: 'https://h/r'", "stringData: {password: 'ENC[x]'}", &[DOUBTFUL]),
            ("url: 'https://h/r'", "stringData: {username: 'ENC[x]', password: 'ENC[x]'}", &[]),
            ("url: 'https://h/r'", "stringData: {bearerToken: 'ENC[x]'}", &[]),
            ("url: 'https://h/r'", "stringData: {ca.crt: 'ENC[x]'}", &[]),
            ("url: 'https://h/r'", "stringData: {githubAppID: 'ENC[x]'}", &[UNUSABLE]),
            ("url: 'https://h/r', provider: azure", "stringData: {a: b}", &[]),
            (
                "url: 'https://h/r', provider: github",
                "stringData: {githubAppID: a, githubAppInstallationOwner: b, githubAppPrivateKey: c}",
                &[],
            ),
            (
                "url: 'https://h/r', provider: github",
                "stringData: {githubAppID: a, githubAppPrivateKey: c}",
                &[UNUSABLE],
            ),
            ("kind: OCIRepository, url: 'oci://h/r'", "stringData: {username: a, password: b}", &[DOUBTFUL]),
            ("kind: OCIRepository, url: 'oci://h/r'", "type: kubernetes.io/dockerconfigjson", &[]),
            ("kind: Bucket, url: h", "stringData: {accesskey: a}", &[UNUSABLE]),
            ("kind: Bucket, url: h", "stringData: {accesskey: a, secretkey: b}", &[]),
            ("kind: Bucket, url: h, provider: gcp", "stringData: {serviceaccount: a}", &[]),
        ];
        for (sync, keys, expected) in cases {
            let mut world = world(&format!("{sync}, pullSecret: s"));
            world.desired.secrets = vec![secret(keys)];
            world.assert_found(&RULE, expected);
        }
        let mut world = world("url: 'ssh://git@h:2222/r', pullSecret: s");
        world.desired.secrets =
            vec![secret("stringData: {identity: '-PRIVATE KEY-----', known_hosts: h ssh-rsa AA}")];
        assert_eq!(world.fix(&RULE), "add the output of `ssh-keyscan -p 2222 h` to `known_hosts`");
        assert_eq!(world.detail(&RULE, "secret"), "a/s");
    }
}
