//! Hearing of changes: a request whose answer does not end.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::BodyExt as _;

use super::{Call, METADATA_OF_ONE, Toolbox};

/// Before a watch that has ended is begun anew: the API server ends each after some minutes.
const PAUSE: Duration = Duration::from_secs(1);

impl Toolbox {
    /// Calls `on_change` whenever something changes in the list `path`, and at first. Of what has changed nothing is read: the
    /// look that follows tells. It goes on for as long as it is asked to; an API server that is away is waited for.
    pub async fn watch(&self, path: &str, on_change: impl Fn()) -> Infallible {
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
            tokio::time::sleep(PAUSE).await;
        }
    }
}
