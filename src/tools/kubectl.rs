//! kubectl: applies manifests. Everything else goes through [`super::api`].

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use super::{Toolbox, last_words};
use crate::base::error::{Error, ProcessError};
use crate::process::{Invocation, Output};
use crate::tools::child_env::AGE_IDENTITIES;
use crate::tools::retry::Retry;

/// The timeout for a kubectl whose answer is optional.
const OPTIONAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Long, because a kustomization may refer to folders in other repositories.
const KUSTOMIZE_TIMEOUT: Duration = Duration::from_mins(2);

/// The timeout for a kubectl that sends several requests, as a multiple of the timeout for one request.
const REQUESTS: u32 = 3;

/// How often applying objects is retried: a restart of the API server takes about 20 seconds.
const MAX_APPLY_RETRIES: usize = 7;

/// The field manager of k3s-boot.
pub(crate) const FIELD_MANAGER: &str = "k3s-boot";

/// Why the API server did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// The kind of reason.
    pub kind: UnansweredKind,
    /// The error of the API server or kubectl.
    pub reason: String,
}

/// Why an API server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnansweredKind {
    /// Nothing answers at its address.
    Unreachable,
    /// It rejects the credentials.
    Unauthorized,
    /// It accepts the credentials, but denies the permission.
    Forbidden,
    /// The kubeconfig does not trust its certificate.
    Untrusted,
    /// A credential plugin of the kubeconfig failed.
    Credentials,
    /// Any other answer, such as that it is not ready.
    Other,
}

impl Unanswered {
    /// Classifies the error of a request.
    pub(crate) fn of(error: &Error) -> Self {
        let kind = match error {
            Error::Api { status: Some(401), .. } => Some(UnansweredKind::Unauthorized),
            Error::Api { status: Some(403), .. } => Some(UnansweredKind::Forbidden),
            error if error.is_late() => Some(UnansweredKind::Unreachable),
            _ => None,
        };
        // Only the reason: the transcript contains the request.
        let found = match error {
            Error::Api { reason, .. } | Error::Tool { reason, .. } => Self::from_words(reason),
            error => Self::from_words(&error.to_string()),
        };
        Self { kind: kind.unwrap_or(found.kind), ..found }
    }

    /// Classifies an error message of kubectl or the API server.
    pub(crate) fn from_words(reason: &str) -> Self {
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
    /// kubectl with the flags that select the cluster.
    pub(super) fn kubectl_alone(&self, args: impl IntoIterator<Item = OsString>) -> Invocation {
        let mut all: Vec<OsString> = vec!["--context".into(), self.target.context.clone().into()];
        if let [file] = self.target.files.as_slice() {
            // The flag takes only one file; for several, KUBECONFIG is used.
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

    /// Checks that the certificate of the kubeconfig's server is valid for `name`, with a short timeout because the result
    /// is optional.
    ///
    /// # Errors
    ///
    /// When kubectl fails.
    pub(crate) async fn kubectl_verify_as(&self, name: &str) -> Result<(), Error> {
        let name = format!("--tls-server-name={name}");
        let asked =
            self.kubectl(&["get", "--raw", "/version", &name]).deadline(self.clock.cap(OPTIONAL_TIMEOUT));
        self.succeed(asked).await.map(drop)
    }

    /// Applies a manifest with server-side apply, and takes over fields of other managers.
    ///
    /// # Errors
    ///
    /// When kubectl fails for any of its objects.
    pub(crate) async fn kubectl_apply(&self, manifest: SecretSlice<u8>) -> Result<(), Error> {
        let manager = format!("--field-manager={FIELD_MANAGER}");
        // Without client-side validation: it would fetch the whole OpenAPI document, for which a fresh API server needs half
        // a second. The manifests are built by k3s-boot or were checked in the preflight.
        let args = ["apply", "--server-side", "--force-conflicts", "--validate=ignore", &manager, "-f", "-"];
        let mut again = Retry::times(MAX_APPLY_RETRIES);
        loop {
            let stdin = SecretSlice::from(manifest.expose_secret().to_vec());
            let result = self.succeed(self.kubectl(&args).stdin(stdin)).await;
            let Err(Error::Tool { reason, .. }) = &result else { return result.map(drop) };
            if !again.after(self.runner.stop(), "Objects cannot be applied, retrying", &[], reason).await? {
                return result.map(drop);
            }
            // If the API server does not answer, the original failure says more.
            match self.await_ready().await {
                Err(error) if error.is_interruption() => return Err(error),
                Err(_) => return result.map(drop),
                Ok(()) => {}
            }
        }
    }

    /// Renders a folder with a kustomization.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with the reason when kubectl cannot render it; `Err(_)` when k3s-boot is interrupted.
    pub(crate) async fn kubectl_kustomize(
        &self,
        folder: &Path,
    ) -> Result<Result<SecretString, String>, Error> {
        let args = ["kustomize".into(), folder.as_os_str().to_owned()];
        let invocation = Invocation::new("kubectl", &self.programs.kubectl, args).without(&AGE_IDENTITIES);
        let output = match self.succeed(invocation.deadline(self.clock.cap(KUSTOMIZE_TIMEOUT))).await {
            Ok(output) => output,
            Err(error @ Error::Process(ProcessError::Interrupted { .. })) => return Err(error),
            Err(Error::Tool { reason, .. }) => return Ok(Err(reason)),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let text = String::from_utf8(output.stdout).map(SecretString::from);
        Ok(text.map_err(|_| "the result is not text".to_owned()))
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
    fn classifies_errors() {
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
        fn classifying_never_panics(words: String, near in crate::base::mutate::text(&[
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "Error from server (Forbidden): nodes is forbidden: User \"x\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        ])) {
            _ = Unanswered::from_words(&words);
            _ = Unanswered::from_words(&near);
        }
    }
}
