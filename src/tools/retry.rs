//! Retries after transient failures: with growing pauses, a limit, and a log line each.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use crate::base::duration::seconds;
use crate::base::error::Stopped;
use crate::base::known_failures::{Origin, find};
use crate::base::logger::{self, Level};
use crate::process::signals::Stop;

/// The first pause; each further one is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(500);

const MAX_PAUSE: Duration = Duration::from_secs(8);

/// The retries of one operation.
pub(crate) struct Retry {
    pauses: ExponentialBackoff,
}

impl Retry {
    /// At most `more` retries after the first attempt.
    pub(crate) fn times(more: usize) -> Self {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(MIN_PAUSE)
            .with_max_delay(MAX_PAUSE)
            .with_factor(2.0)
            .with_max_times(more);
        Self { pauses: pauses.build() }
    }

    /// Whether to retry after a failure with this message; if so, logs `message` (if any) and `pairs`, and waits for the pause. Permanent
    /// failures are not retried.
    ///
    /// # Errors
    ///
    /// k3s-boot was interrupted.
    pub(crate) async fn after(
        &mut self,
        stop: &Stop,
        message: impl Into<Option<&str>>,
        pairs: &[(&'static str, String)],
        (origin, words): (Origin, &str),
    ) -> Result<bool, Stopped> {
        let Some(known) = find(origin, words).filter(|known| known.is_transient()) else { return Ok(false) };
        let Some(pause) = self.pauses.next() else { return Ok(false) };
        let mut all = pairs.to_vec();
        all.extend([
            ("reason", words.to_owned()),
            ("cause", known.cause.to_owned()),
            ("retry_in", seconds(pause)),
        ]);
        if let Some(message) = message.into() {
            logger::log(Level::Warn, message, &all);
        }
        stop.sleep(pause).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_transient_failures_are_retried_up_to_the_limit() {
        let stop = Stop::never();
        let mut again = Retry::times(1);
        assert_eq!(
            again.after(&stop, "Failed", &[], (Origin::Chart, "manifest unknown: not found")).await,
            Ok(false)
        );
        let down =
            (Origin::Chart, "GET \"https://ghcr.io/v2/x\": response status code 503: Service Unavailable");
        assert_eq!(again.after(&stop, "Failed", &[], down).await, Ok(true));
        assert_eq!(again.after(&stop, "Failed", &[], down).await, Ok(false));
    }
}
