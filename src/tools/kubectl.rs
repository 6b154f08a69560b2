//! kubectl: changing the cluster. Reading it goes through [`super::api`].

use std::ffi::OsString;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretSlice};

use super::{Toolbox, last_words};
use crate::again::Again;
use crate::child_env::AGE_IDENTITIES;
use crate::error::Error;
use crate::process::{Invocation, Output};

/// How long a kubectl may take without whose answer we can go on.
const SOON: Duration = Duration::from_secs(5);

/// So many times as long as one request a kubectl may take that makes several.
const REQUESTS: u32 = 3;

/// How often objects are applied again: an API server that restarts is away for some 20 seconds.
const APPLIED_AGAIN: usize = 7;

/// Who changed an object, in its managed fields.
pub const FIELD_MANAGER: &str = "k3s-boot";

/// Why the API server did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// What kind of reason.
    pub kind: UnansweredKind,
    /// The words of the API server, or kubectl's.
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
    /// Why a request was not answered.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let kind = match error {
            Error::Api { status: Some(401), .. } => Some(UnansweredKind::Unauthorized),
            Error::Api { status: Some(403), .. } => Some(UnansweredKind::Forbidden),
            error if error.is_late() => Some(UnansweredKind::Unreachable),
            _ => None,
        };
        // The words alone; what was asked for stands in the transcript.
        let found = match error {
            Error::Api { reason, .. } | Error::Tool { reason, .. } => Self::from_words(reason),
            error => Self::from_words(&error.to_string()),
        };
        Self { kind: kind.unwrap_or(found.kind), ..found }
    }

    /// Reads the words of kubectl, or of the API server.
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
                    "did not finish within",
                    "EOF",
                ],
            ),
        ];
        let kind = signs.iter().find(|(_, words)| words.iter().any(|word| reason.contains(word)));
        Self { kind: kind.map_or(Other, |(kind, _)| *kind), reason: reason.to_owned() }
    }
}

impl Toolbox {
    /// kubectl with what leads it to the cluster.
    pub(super) fn kubectl_alone(&self, args: impl IntoIterator<Item = OsString>) -> Invocation {
        let mut all: Vec<OsString> = vec!["--context".into(), self.target.context.clone().into()];
        if let [file] = self.target.files.as_slice() {
            // The flag takes no list; KUBECONFIG holds it then.
            all.extend(["--kubeconfig".into(), file.clone().into_os_string()]);
        }
        all.extend(args);
        Invocation::new("kubectl", &self.programs.kubectl, all).without(&AGE_IDENTITIES)
    }

    fn kubectl(&self, args: &[&str]) -> Invocation {
        let timeout = format!("--request-timeout={}s", self.request_timeout.as_secs()).into();
        let args = std::iter::once(timeout).chain(args.iter().map(OsString::from));
        self.kubectl_alone(args).deadline(self.clock.cap(self.request_timeout * REQUESTS))
    }

    /// Whether the certificate that the kubeconfig's server presents holds for `name`. The answer must come soon: nothing
    /// depends on it alone.
    ///
    /// # Errors
    ///
    /// When kubectl fails.
    pub async fn kubectl_verify_as(&self, name: &str) -> Result<(), Error> {
        let name = format!("--tls-server-name={name}");
        let asked = self.kubectl(&["get", "--raw", "/version", &name]).deadline(self.clock.cap(SOON));
        self.succeed(asked).await.map(drop)
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
        let mut again = Again::times(APPLIED_AGAIN);
        loop {
            let stdin = SecretSlice::from(manifest.expose_secret().to_vec());
            let result = self.succeed(self.kubectl(&args).stdin(stdin)).await;
            let Err(Error::Tool { reason, .. }) = &result else { return result.map(drop) };
            if !again
                .after(self.runner.stop(), "Objects cannot be applied, trying again", &[], reason)
                .await?
            {
                return result.map(drop);
            }
            // The failure itself is worth more than why the API server does not answer.
            match self.await_ready().await {
                Err(error) if error.is_interruption() => return Err(error),
                Err(_) => return result.map(drop),
                Ok(()) => {}
            }
        }
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
        fn no_words_make_it_panic(words: String, near in crate::observed::odd::near(&[
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "Error from server (Forbidden): nodes is forbidden: User \"x\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        ])) {
            _ = Unanswered::from_words(&words);
            _ = Unanswered::from_words(&near);
        }
    }
}
