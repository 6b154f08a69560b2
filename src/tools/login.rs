//! Runs the credential plugin of the kubeconfig once with the terminal, so that it can ask for a login.
//!
//! It keeps the login for the kubectl and helm that follow, which have no terminal.

use std::time::Duration;

use super::unanswered::PLUGIN_ERROR;
use super::{Toolbox, last_words};
use crate::base::error::{Error, ProcessError};
use crate::base::escape::escaped;
use crate::base::{progress, prompt};
use crate::process::transcript::Transcript;

/// Long enough for a login in a browser.
const TIMEOUT: Duration = Duration::from_mins(5);

impl Toolbox {
    /// Lets the credential plugin ask, if the kubeconfig has one and there is a terminal; once for each run.
    ///
    /// # Errors
    ///
    /// The plugin failed, or k3s-boot was interrupted. If the API server does not answer, the next request says so.
    pub(crate) async fn log_in(&self) -> Result<(), Error> {
        let Some(plugin) = self.target.plugin.as_ref().filter(|plugin| self.can_ask && plugin.may_ask())
        else {
            return Ok(());
        };
        let failure = self.api.login.get_or_try_init(|| self.ask_for_login(&plugin.command)).await?;
        match failure {
            Some(reason) => {
                let request = "login".to_owned();
                Err(Error::Api { request, status: None, reason: reason.clone() })
            }
            None => Ok(()),
        }
    }

    /// Runs the plugin, and returns why it failed.
    async fn ask_for_login(&self, plugin: &str) -> Result<Option<String>, Error> {
        let _hidden = progress::hide();
        tracing::info!(
            plugin,
            "Running the credential plugin of the kubeconfig, which may ask on this terminal"
        );
        let timeout = self.clock.cap(TIMEOUT);
        let asked = self.kubectl(&["get", "--raw", "/version"]).deadline(timeout).can_ask(true);
        let mut said = Vec::new();
        let transcript = self.runner.transcript();
        let result = self.runner.run_watched(asked, |_, line| note(transcript, &mut said, line)).await;
        match result {
            Ok(output) if output.success() => Ok(None),
            Ok(output) => {
                let reason = last_words(&output);
                let error =
                    reason.split_once(PLUGIN_ERROR).map(|(_, error)| format!("{PLUGIN_ERROR}{error}"));
                Ok(error.map(|error| with_own_words(&error, &said)))
            }
            Err(error @ ProcessError::Interrupted { .. }) => Err(error.into()),
            Err(error) => Ok(Some(format!("{PLUGIN_ERROR}{error}"))),
        }
    }
}

/// Shows a line of the plugin on the terminal: it may be the address where to log in. What kubectl prints comes last.
fn note(transcript: &Transcript, said: &mut Vec<String>, line: &str) {
    if super::ERRORS.iter().any(|start| line.starts_with(start)) || said.last().is_some_and(String::is_empty)
    {
        said.push(String::new());
        return;
    }
    prompt::write(&format!("{}\n", escaped(&transcript.redacted(line))));
    said.push(line.to_owned());
}

/// The error of client-go, which only has the exit code, with the last line of the plugin.
pub(super) fn with_own_words(error: &str, said: &[String]) -> String {
    let last = said.iter().map(|line| line.trim()).rfind(|line| !line.is_empty());
    match last {
        Some(line) if error.contains(" failed with exit code ") => format!("{error}: {line}"),
        _ => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_itself_says_why() {
        let said = ["To sign in, open https://x", "error: access_denied", ""].map(ToOwned::to_owned);
        let failed = "getting credentials: exec: executable login failed with exit code 3";
        assert_eq!(with_own_words(failed, &said), format!("{failed}: error: access_denied"));
        assert_eq!(with_own_words(failed, &[]), failed);
        let missing = "getting credentials: exec: executable login not found";
        assert_eq!(with_own_words(missing, &said), missing);
    }
}
