//! Waits that regularly report what they wait for.

use std::time::{Duration, Instant};

use crate::base::duration::seconds;
use crate::base::logger::{self, Level};
use crate::base::progress;

/// How often a wait logs what it waits for.
pub(crate) const SAY_EVERY: Duration = Duration::from_secs(10);

/// A wait that regularly reports what it waits for.
pub(crate) struct Waiting {
    message: &'static str,
    start: Instant,
    /// The timeout of the wait.
    deadline: Option<Duration>,
    /// When to log next.
    next: Instant,
    logged: bool,
}

impl Waiting {
    /// Starts a wait.
    pub(crate) fn new(message: &'static str) -> Self {
        let start = Instant::now();
        Self { message, start, deadline: None, next: start + SAY_EVERY, logged: false }
    }

    /// Sets the timeout; when it is about to expire, the remaining time is reported too.
    pub(crate) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Like [`Self::say`], but logs the first call at once.
    pub(crate) fn report_at_once(&mut self, pairs: &[(&'static str, String)]) {
        if !std::mem::replace(&mut self.logged, true) {
            self.next = Instant::now();
        }
        self.say(pairs);
    }

    /// Shows what the wait is for in the progress display, or logs it at the interval.
    pub(crate) fn say(&mut self, pairs: &[(&'static str, String)]) {
        let now = Instant::now();
        let elapsed = self.start.elapsed();
        let left = self.deadline.and_then(|deadline| left(deadline, elapsed));
        let words = || {
            let values: Vec<_> = pairs.iter().map(|(_, value)| value.as_str()).collect();
            format!("{}: {}", self.message, values.join(", "))
        };
        if progress::show(self.message, self.deadline.map(|deadline| (self.start, deadline)), words) {
            return;
        }
        if now >= self.next {
            self.next = now + SAY_EVERY;
            let mut all = vec![("elapsed", seconds(elapsed))];
            all.extend_from_slice(pairs);
            all.extend(left.map(|left| ("left", left)));
            logger::log(Level::Info, self.message, &all);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        progress::done(self.message);
    }
}

/// The remaining time of a timeout that is about to expire.
pub(crate) fn left(deadline: Duration, elapsed: Duration) -> Option<String> {
    progress::near(deadline, elapsed).map(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_is_reported_near_the_end() {
        let minutes = |count| Duration::from_mins(count);
        assert_eq!(left(minutes(20), minutes(10)), None);
        assert_eq!(left(minutes(20), minutes(15)).as_deref(), Some("5m"));
        assert_eq!(left(minutes(2), minutes(1)).as_deref(), Some("1m"));
        assert_eq!(left(minutes(1), minutes(2)).as_deref(), Some("0.0s"));
    }
}
