//! kubectl: applies manifests. Everything else goes through [`super::api`].

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use super::{Toolbox, last_words};
use crate::base::error::{Error, ProcessError};
use crate::base::known_failures::Origin;
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

    pub(super) fn kubectl(&self, args: &[&str]) -> Invocation {
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
            if !again
                .after(self.runner.stop(), "Objects cannot be applied, retrying", &[], (Origin::Api, reason))
                .await?
            {
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
