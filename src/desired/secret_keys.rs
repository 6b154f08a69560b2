//! The keys of Secrets, which SOPS leaves readable, and what of their values decides whether Flux can use them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::objects::ObjectId;
use super::repository::FLUX_NAMESPACE;
use crate::base::yaml::{self, PRINTED};

/// A Secret without its values.
#[derive(Clone, Default)]
pub(crate) struct SecretKeys {
    pub namespace: String,
    pub name: String,
    /// The type, such as `kubernetes.io/dockerconfigjson`.
    pub kind: String,
    keys: Vec<String>,
    /// Whether `identity` is certainly no private key.
    pub has_bad_identity: bool,
    /// The hosts in `known_hosts`, if that was decrypted and names every host in plain text.
    hosts: Option<Vec<String>>,
}

impl fmt::Debug for SecretKeys {
    /// The hosts come from its values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKeys").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SecretKeys {
    /// Reads a Secret, which may be encrypted; `None` for another object.
    pub(crate) fn of(secret: &Value) -> Option<Self> {
        let id = ObjectId::of(secret).filter(|id| id.api_version == "v1" && id.kind == "Secret")?;
        let maps = ["data", "stringData"].map(|map| secret.get(map).and_then(Value::as_object));
        let keys = maps.into_iter().flatten().flat_map(|map| map.keys().cloned()).collect();
        let text = |key: &str| {
            let plain =
                secret.get("stringData").and_then(|map| map.get(key)?.as_str()).map(ToOwned::to_owned);
            let encoded = || secret.get("data").and_then(|map| map.get(key)?.as_str());
            let decoded =
                || String::from_utf8(STANDARD.decode(encoded()?.replace(['\n', '\r'], "")).ok()?).ok();
            plain.or_else(decoded).filter(|text| !text.starts_with("ENC["))
        };
        Some(Self {
            namespace: id.namespace.unwrap_or_else(|| FLUX_NAMESPACE.to_owned()),
            name: id.name,
            kind: secret.get("type").and_then(Value::as_str).unwrap_or_default().to_owned(),
            keys,
            has_bad_identity: text("identity").is_some_and(|key| !key.contains("PRIVATE KEY-----")),
            hosts: text("known_hosts").and_then(|text| known_hosts(&text)),
        })
    }

    /// The Secrets of a file, which may be encrypted.
    pub(crate) fn in_text(text: &str) -> impl Iterator<Item = Self> {
        let documents = yaml::documents::<Value>(text, PRINTED).map_while(Result::ok);
        documents.filter_map(|document| Self::of(&document))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|has| has == key)
    }

    /// Whether `known_hosts` certainly has no line for a host. `port` is that of the URL.
    pub(crate) fn is_missing_host(&self, host: &str, port: Option<&str>) -> bool {
        let name = match port {
            Some(port) if port != "22" => format!("[{host}]:{port}"),
            _ => host.to_owned(),
        };
        self.hosts.as_ref().is_some_and(|hosts| !hosts.contains(&name))
    }
}

/// The hosts of a `known_hosts` file; `None` if some are hashed or patterns.
fn known_hosts(text: &str) -> Option<Vec<String>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let hosts = lines.filter_map(|line| line.split_whitespace().find(|word| !word.starts_with('@')));
    let hosts: Vec<_> = hosts.flat_map(|hosts| hosts.split(',')).map(ToOwned::to_owned).collect();
    // `[host]:22` is another way to write `host`.
    let is_plain = |host: &String| !host.contains(['|', '*', '?', '!']) && !host.ends_with("]:22");
    hosts.iter().all(is_plain).then_some(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_readable_while_values_are_encrypted() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: deploy-key}\ntype: Opaque\n\
            stringData: {identity: 'ENC[x]', known_hosts: 'ENC[x]'}\nsops: {}\n---\nkind: ConfigMap\n";
        let secrets: Vec<_> = SecretKeys::in_text(text).collect();
        let [secret] = &secrets[..] else { panic!("{}", secrets.len()) };
        assert_eq!((secret.namespace.as_str(), secret.name.as_str()), ("flux-system", "deploy-key"));
        assert!(secret.has("identity") && !secret.has("password"));
        assert!(!secret.has_bad_identity && !secret.is_missing_host("github.com", None));
    }

    #[test]
    fn decrypted_values_show_what_cannot_work() {
        let of = |identity: &str, hosts: &str| {
            let data = [("identity", identity), ("known_hosts", hosts)]
                .map(|(key, text)| (key.to_owned(), STANDARD.encode(text).into()));
            let data = Value::Object(data.into_iter().collect());
            SecretKeys::of(&serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": data})).unwrap()
        };
        let good = of(
            "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n",
            "# GitHub\ngithub.com,gh ssh-ed25519 AA\n[git.lan]:2222 ssh-rsa AA\n",
        );
        assert!(!good.has_bad_identity && of("ssh-ed25519 AAAA me@host", "").has_bad_identity);
        for (host, port, is_missing) in [
            ("github.com", None, false),
            ("gh", Some("22"), false),
            ("gitlab.com", None, true),
            ("git.lan", Some("2222"), false),
            ("git.lan", None, true),
        ] {
            assert_eq!(good.is_missing_host(host, port), is_missing, "{host} {port:?}");
        }
        for hosts in ["|1|aa=|bb= ssh-rsa AA", "*.example.org ssh-rsa AA", "[github.com]:22 ssh-rsa AA"] {
            assert!(!of("", hosts).is_missing_host("gitlab.com", None), "{hosts}");
        }
        assert!(of("", "").is_missing_host("github.com", None));
    }

    proptest::proptest! {
        #[test]
        fn no_secret_makes_it_panic(near in crate::base::mutate::text(&[
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {known_hosts: Z2l0aHViLmNvbSBzc2gtcnNhIEFB}\nstringData: {identity: a}\n",
        ])) {
            for secret in SecretKeys::in_text(&near) {
                _ = secret.is_missing_host("github.com", Some("1"));
            }
        }
    }
}
