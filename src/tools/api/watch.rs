//! Watches lists for changes.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::BodyExt as _;

use super::{Call, METADATA_OF_ONE, Toolbox};

/// The pause before a watch is restarted, which the API server ends after some minutes.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

impl Toolbox {
    /// Calls `on_change` at first and whenever something changes in the list `path`. The changes themselves are not read:
    /// the caller reads the new state. The watch runs until it is dropped, and survives an outage of the API server.
    pub(crate) async fn watch(&self, path: &str, on_change: impl Fn()) -> Infallible {
        let query = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{query}watch=true");
        loop {
            let call = Call::get(&path).accept(METADATA_OF_ONE);
            if let Ok(answer) = self.open(&call).await
                && answer.status().is_success()
            {
                let mut incoming = answer.into_body();
                while let Some(Ok(frame)) = incoming.frame().await {
                    if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                        on_change();
                    }
                }
            }
            tokio::time::sleep(RESTART_INTERVAL).await;
        }
    }
}
