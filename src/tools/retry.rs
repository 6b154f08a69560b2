//! Retries transient failures with exponential backoff, and logs each retry.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use crate::base::duration::seconds;
use crate::base::error::Stopped;
use crate::base::known_failures::find;
use crate::base::logger::{self, Level};
use crate::process::signals::Stop;

const MIN_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(8);

/// The remaining retries of one operation.
pub struct Again {
    pauses: ExponentialBackoff,
}

impl Again {
    /// Allows this many retries.
    #[must_use]
    pub fn times(retries: usize) -> Self {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(MIN_DELAY)
            .with_max_delay(MAX_DELAY)
            .with_factor(2.0)
            .with_max_times(retries);
        Self { pauses: pauses.build() }
    }

    /// Returns whether to retry after a failure with this reason. If so, logs `message` and `pairs`, and waits first. A
    /// permanent failure is never retried.
    ///
    /// # Errors
    ///
    /// k3s-boot was interrupted.
    pub async fn after(
        &mut self,
        stop: &Stop,
        message: &str,
        pairs: &[(&'static str, String)],
        reason: &str,
    ) -> Result<bool, Stopped> {
        let Some(known) = find(reason).filter(|known| known.passes()) else { return Ok(false) };
        let Some(pause) = self.pauses.next() else { return Ok(false) };
        let mut all = pairs.to_vec();
        all.extend([
            ("reason", reason.to_owned()),
            ("cause", known.cause.to_owned()),
            ("retry_in", seconds(pause)),
        ]);
        logger::log(Level::Warn, message, &all);
        stop.sleep(pause).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn retries_only_transient_failures_up_to_a_limit() {
        let stop = Stop::never();
        let mut again = Again::times(1);
        assert_eq!(again.after(&stop, "Failed", &[], "manifest unknown: not found").await, Ok(false));
        assert_eq!(again.after(&stop, "Failed", &[], "status code 503: Service Unavailable").await, Ok(true));
        assert_eq!(
            again.after(&stop, "Failed", &[], "status code 503: Service Unavailable").await,
            Ok(false)
        );
    }
}
