//! kubectl: reading and changing the cluster.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use secrecy::SecretSlice;
use semver::Version;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Toolbox, last_words};
use crate::check::versions;
use crate::child_env::AGE_IDENTITIES;
use crate::desired::objects::ObjectId;
use crate::error::Error;
use crate::observed::Owned;
use crate::process::{Invocation, Output, ProcessError};

/// How long one request to the API server may take.
const REQUEST: Duration = Duration::from_secs(10);

/// How long a kubectl may take without whose answer we can go on.
const SOON: Duration = Duration::from_secs(5);

/// How long a kubectl may take that makes several requests.
const PROCESS: Duration = Duration::from_secs(30);

/// Who changed an object, in its managed fields.
pub const FIELD_MANAGER: &str = "k3s-boot";

/// Client and server version; the server's is missing when it did not answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Versions {
    /// kubectl's.
    pub client: Option<Version>,
    /// The server's, as it says it: `v1.36.3+k3s1`.
    pub server: Result<String, Unanswered>,
}

/// Why the API server did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// What kind of reason.
    pub kind: UnansweredKind,
    /// kubectl's words.
    pub reason: String,
}

/// Kinds of reasons for which an API server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnansweredKind {
    /// Nobody answers at its address.
    Unreachable,
    /// It does not know us.
    Unauthorized,
    /// It knows us, but we may not.
    Forbidden,
    /// Its certificate is not the one that the kubeconfig trusts.
    Untrusted,
    /// A program that the kubeconfig names for credentials failed.
    Credentials,
    /// It answers that it is not ready, or something else.
    Other,
}

impl Unanswered {
    /// Reads kubectl's words.
    #[must_use]
    pub fn from_words(reason: &str) -> Self {
        use UnansweredKind::{Credentials, Forbidden, Other, Unauthorized, Unreachable, Untrusted};
        let signs: [(UnansweredKind, &[&str]); 5] = [
            (Credentials, &["getting credentials: exec"]),
            (Untrusted, &["x509:", "certificate signed by unknown", "tls: failed to verify"]),
            (Unauthorized, &["Unauthorized", "must be logged in", "provide credentials"]),
            (Forbidden, &["Forbidden", "forbidden:"]),
            (
                Unreachable,
                &[
                    "connection refused",
                    "was refused",
                    "no such host",
                    "no route to host",
                    "network is unreachable",
                    "i/o timeout",
                    "deadline exceeded",
                    "Client.Timeout",
                    "connection reset",
                    "TLS handshake timeout",
                    "Unable to connect",
                    "did not end within",
                    "EOF",
                ],
            ),
        ];
        let kind = signs.iter().find(|(_, words)| words.iter().any(|word| reason.contains(word)));
        Self { kind: kind.map_or(Other, |(kind, _)| *kind), reason: reason.to_owned() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionAnswer {
    client_version: Option<Info>,
    server_version: Option<Info>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    git_version: String,
}

/// Reads what `kubectl version -o json` printed; it prints the client's version also when the server is away.
#[must_use]
pub fn parse_versions(stdout: &[u8], reason: &str) -> Versions {
    let answer: Option<VersionAnswer> = serde_json::from_slice(stdout).ok();
    let (client, server) =
        answer.map_or((None, None), |answer| (answer.client_version, answer.server_version));
    Versions {
        client: client.and_then(|info| versions::parse(&info.git_version)),
        server: server.map(|info| info.git_version).ok_or_else(|| Unanswered::from_words(reason)),
    }
}

/// kubectl gives a single object itself, several as a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Owners {
    List { items: Vec<OwnerItem> },
    One(OwnerItem),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerItem {
    api_version: String,
    kind: String,
    metadata: OwnerMetadata,
}

#[derive(Deserialize)]
struct OwnerMetadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Owners {
    fn into_owned(self) -> Vec<Owned> {
        let items = match self {
            Self::List { items } => items,
            Self::One(item) => vec![item],
        };
        let owned = items.into_iter().map(|OwnerItem { api_version, kind, metadata }| Owned {
            release: String::new(),
            id: Some(ObjectId { api_version, kind, namespace: metadata.namespace, name: metadata.name }),
            labels: metadata.labels,
            annotations: metadata.annotations,
        });
        owned.collect()
    }
}

impl Toolbox {
    fn kubectl(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Invocation {
        let mut all: Vec<OsString> = vec!["--context".into(), self.target.context.clone().into()];
        if let [file] = self.target.files.as_slice() {
            // The flag takes no list; KUBECONFIG holds it then.
            all.extend(["--kubeconfig".into(), file.clone().into_os_string()]);
        }
        all.push(format!("--request-timeout={}s", REQUEST.as_secs()).into());
        all.extend(args.into_iter().map(Into::into));
        let invocation =
            Invocation::new("kubectl", &self.programs.kubectl, all).deadline(self.clock.cap(PROCESS));
        invocation.without(&AGE_IDENTITIES)
    }

    /// kubectl's version and the server's.
    ///
    /// # Errors
    ///
    /// When k3s-boot is told to stop.
    pub async fn kubectl_version(&self) -> Result<Versions, Error> {
        match self.runner.run(self.kubectl(["version", "-o", "json"])).await {
            Ok(output) => Ok(parse_versions(&output.stdout, &last_words(&output))),
            Err(error @ ProcessError::Interrupted { .. }) => Err(error.into()),
            Err(error) => Ok(parse_versions(b"", &error.to_string())),
        }
    }

    /// Reads objects: `kubectl get ARGS -o json`. Nothing found gives `None`.
    ///
    /// # Errors
    ///
    /// When kubectl fails, or its answer is not what was asked for. The message never holds what was read.
    pub async fn kubectl_get<T: DeserializeOwned>(&self, args: &[&str]) -> Result<Option<T>, Error> {
        let args = [&["get"], args, &["-o", "json", "--ignore-not-found"]].concat();
        self.read(self.kubectl(args)).await
    }

    /// Reads the objects that a manifest names; it must hold no more than their names.
    ///
    /// # Errors
    ///
    /// As [`Self::kubectl_get`].
    pub async fn kubectl_get_named<T: DeserializeOwned>(&self, names: String) -> Result<Option<T>, Error> {
        let invocation = self.kubectl(["get", "-f", "-", "-o", "json", "--ignore-not-found"]);
        self.read(invocation.stdin(SecretSlice::from(names.into_bytes()))).await
    }

    /// Reads a table: `kubectl get ARGS` as for people. Of large objects it brings the names alone.
    ///
    /// # Errors
    ///
    /// When kubectl fails.
    pub async fn kubectl_get_table(&self, args: &[&str]) -> Result<String, Error> {
        let args = [&["get"], args, &["--ignore-not-found"]].concat();
        let output = self.succeed(self.kubectl(args)).await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Reads a path of the API server. The answer must come soon: nothing depends on it alone. `name` is the name that
    /// the server's certificate must hold for, if not that of its address.
    ///
    /// # Errors
    ///
    /// When kubectl fails.
    pub async fn kubectl_get_raw(&self, path: &str, name: Option<&str>) -> Result<String, Error> {
        let mut args = vec!["get".to_owned(), "--raw".to_owned(), path.to_owned()];
        args.extend(name.map(|name| format!("--tls-server-name={name}")));
        let output = self.succeed(self.kubectl(args).deadline(self.clock.cap(SOON))).await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether we may do everything.
    ///
    /// # Errors
    ///
    /// When kubectl fails, or says neither yes nor no.
    pub async fn kubectl_can_everything(&self) -> Result<bool, Error> {
        let invocation =
            self.kubectl(["auth", "can-i", "*", "*", "--all-namespaces"]).deadline(self.clock.cap(SOON));
        let command = invocation.to_string();
        let output = self.runner.run(invocation).await?;
        match String::from_utf8_lossy(&output.stdout).trim() {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(Error::Tool { command, reason: last_words(&output) }),
        }
    }

    /// Those of the named objects that exist, with their labels and annotations and nothing else.
    ///
    /// # Errors
    ///
    /// As [`Self::kubectl_get`].
    pub async fn kubectl_get_owners(&self, names: String) -> Result<Vec<Owned>, Error> {
        let list: Option<Owners> = self.kubectl_get_named(names).await?;
        Ok(list.map(Owners::into_owned).unwrap_or_default())
    }

    /// Those of the named objects that exist, whole, and with who set which field. They may hold secrets.
    ///
    /// # Errors
    ///
    /// As [`Self::kubectl_get`].
    pub async fn kubectl_get_objects(&self, names: &Value) -> Result<Vec<Value>, Error> {
        let args = ["get", "-f", "-", "-o", "json", "--ignore-not-found", "--show-managed-fields"];
        let names = SecretSlice::from(names.to_string().into_bytes());
        let answer: Option<Value> = self.read(self.kubectl(args).stdin(names)).await?;
        // kubectl gives a single object itself, several as a list.
        Ok(match answer {
            None => Vec::new(),
            Some(answer) => match answer.get("items").and_then(Value::as_array) {
                Some(items) => items.clone(),
                None => vec![answer],
            },
        })
    }

    /// What the API server would make of a list of objects if helm applied it now, and what kubectl said of those that
    /// it would refuse; nothing is changed.
    ///
    /// # Errors
    ///
    /// When kubectl could not be run to its end.
    pub async fn kubectl_dry_run(&self, list: SecretSlice<u8>) -> Result<(Vec<Value>, String), Error> {
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=ignore",
            "--field-manager=helm",
            "-o",
            "json",
            "-f",
            "-",
        ];
        let output = self.runner.run(self.kubectl(args).stdin(list)).await?;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let items = match answer.get("items").and_then(Value::as_array) {
            Some(items) => items.clone(),
            None if answer.is_null() => Vec::new(),
            None => vec![answer],
        };
        Ok((items, output.talk))
    }

    async fn read<T: DeserializeOwned>(&self, invocation: Invocation) -> Result<Option<T>, Error> {
        let command = invocation.to_string();
        let output = self.succeed(invocation).await?;
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        serde_json::from_slice(&output.stdout).map(Some).map_err(|error| Error::Answer {
            command,
            reason: format!("line {}, column {}", error.line(), error.column()),
        })
    }

    /// Applies a manifest on the server's side, taking over fields that others own.
    ///
    /// # Errors
    ///
    /// When kubectl fails for any of its objects.
    pub async fn kubectl_apply(&self, manifest: SecretSlice<u8>) -> Result<(), Error> {
        let manager = format!("--field-manager={FIELD_MANAGER}");
        // Without validation: it would ask for the whole OpenAPI document, for which a fresh API server needs half a
        // second. What is applied here is made here, or was looked at in the preflight.
        let args = ["apply", "--server-side", "--force-conflicts", "--validate=ignore", &manager, "-f", "-"];
        self.succeed(self.kubectl(args).stdin(manifest)).await.map(drop)
    }

    /// Asks Flux to reconcile a Kustomization now, as `flux reconcile` does; `request` tells the answer apart.
    ///
    /// # Errors
    ///
    /// When kubectl fails.
    pub async fn request_reconcile(&self, namespace: &str, name: &str, request: &str) -> Result<(), Error> {
        let object = format!("kustomizations.kustomize.toolkit.fluxcd.io/{name}");
        let annotation = format!("reconcile.fluxcd.io/requestedAt={request}");
        let manager = format!("--field-manager={FIELD_MANAGER}");
        let args = ["annotate", "--overwrite", "--namespace", namespace, &manager, &object, &annotation];
        self.succeed(self.kubectl(args)).await.map(drop)
    }

    async fn succeed(&self, invocation: Invocation) -> Result<Output, Error> {
        let command = invocation.to_string();
        let output = self.runner.run(invocation).await?;
        if output.success() { Ok(output) } else { Err(Error::Tool { command, reason: last_words(&output) }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_even_when_the_server_is_away() {
        let both = br#"{"clientVersion":{"gitVersion":"v1.36.3+k3s1"},"kustomizeVersion":"v5.7.1","serverVersion":{"gitVersion":"v1.36.3+k3s1"}}"#;
        let versions = parse_versions(both, "");
        assert_eq!(versions.client.unwrap().to_string(), "1.36.3+k3s1");
        assert_eq!(versions.server.unwrap(), "v1.36.3+k3s1");
        let client = br#"{"clientVersion":{"gitVersion":"v1.36.3"}}"#;
        let versions = parse_versions(client, "The connection to the server 127.0.0.1:6443 was refused");
        assert!(versions.client.is_some());
        assert_eq!(versions.server.unwrap_err().kind, UnansweredKind::Unreachable);
        assert!(parse_versions(b"garbage", "").client.is_none());
    }

    #[test]
    fn reasons_of_silence_are_told_apart() {
        use UnansweredKind::{Forbidden, Other, Unauthorized, Unreachable, Untrusted};
        let cases = [
            (
                "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
                Unreachable,
            ),
            ("Unable to connect to the server: dial tcp: lookup nowhere: no such host", Unreachable),
            ("Unable to connect to the server: net/http: TLS handshake timeout", Unreachable),
            (
                "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Untrusted,
            ),
            ("error: You must be logged in to the server (Unauthorized)", Unauthorized),
            (
                "error: You must be logged in to the server (the server has asked for the client to provide credentials)",
                Unauthorized,
            ),
            ("Error from server (Forbidden): nodes is forbidden: User \"x\" cannot list", Forbidden),
            ("Error from server (ServiceUnavailable): apiserver not ready", Other),
        ];
        for (words, kind) in cases {
            assert_eq!(Unanswered::from_words(words).kind, kind, "{words}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer: Vec<u8>, words: String, version: String, odd in crate::observed::odd::odd(
            r#"{"items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b","labels":{"c":"d"},"annotations":{}}}]}"#)) {
            _ = serde_json::from_value::<Owners>(odd).map(Owners::into_owned);
            _ = parse_versions(&answer, &words);
            let said = serde_json::json!({"serverVersion": {"gitVersion": version}, "clientVersion": {"gitVersion": words}});
            _ = parse_versions(said.to_string().as_bytes(), &words);
            _ = serde_json::from_slice::<Owners>(&answer).map(Owners::into_owned);
        }
    }
}
