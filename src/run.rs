//! Executes a plan, stage by stage.

pub mod dns;
pub mod lock;
pub mod namespaces;
pub mod nodes;
pub mod note;
pub mod releases;
pub mod secrets;
pub mod sync;
pub mod unlock;
mod watch;

use std::time::{Duration, Instant};

use crate::live;
use crate::logger::{self, Level};

/// How often a wait logs what it waits for.
pub const SAY_EVERY: Duration = Duration::from_secs(10);

/// A wait that periodically logs what it waits for.
pub struct Waiting {
    message: &'static str,
    start: Instant,
    /// The timeout, if there is one.
    deadline: Option<Duration>,
    next: Instant,
    said: bool,
}

impl Waiting {
    #[must_use]
    pub fn new(message: &'static str) -> Self {
        let start = Instant::now();
        Self { message, start, deadline: None, next: start + SAY_EVERY, said: false }
    }

    /// Sets the timeout; shortly before it expires, the remaining time is logged.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Logs at once the first time, later like [`Self::say`].
    pub fn say_at_once(&mut self, pairs: &[(&'static str, String)]) {
        if !std::mem::replace(&mut self.said, true) {
            self.next = Instant::now();
        }
        self.say(pairs);
    }

    /// Updates the progress display, or logs if it is time.
    pub fn say(&mut self, pairs: &[(&'static str, String)]) {
        let now = Instant::now();
        let elapsed = self.start.elapsed();
        let left = self.deadline.and_then(|deadline| left(deadline, elapsed));
        let words = || {
            let values: Vec<_> = pairs.iter().map(|(_, value)| value.as_str()).collect();
            format!("{}: {}", self.message, values.join(", "))
        };
        if live::show(self.message, self.deadline.map(|deadline| (self.start, deadline)), words) {
            return;
        }
        if now >= self.next {
            self.next = now + SAY_EVERY;
            let mut all = vec![("elapsed", seconds(elapsed))];
            all.extend_from_slice(pairs);
            all.extend(left.map(|left| ("remaining", left)));
            logger::log(Level::Info, self.message, &all);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        live::done(self.message);
    }
}

/// The remaining time, shortly before a timeout expires.
#[must_use]
pub fn left(deadline: Duration, elapsed: Duration) -> Option<String> {
    live::near(deadline, elapsed).map(seconds)
}

/// A human-readable duration: `0.8s`, `42.0s`, `2m19s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    if duration < Duration::from_mins(1) {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string().replace(' ', "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remaining_time_is_reported_near_the_end() {
        let minutes = |count| Duration::from_mins(count);
        assert_eq!(left(minutes(20), minutes(10)), None);
        assert_eq!(left(minutes(20), minutes(15)).as_deref(), Some("5m"));
        assert_eq!(left(minutes(2), minutes(1)).as_deref(), Some("1m"));
        assert_eq!(left(minutes(1), minutes(2)).as_deref(), Some("0.0s"));
    }

    #[test]
    fn times_are_short() {
        let cases = [(0, "0.0s"), (840, "0.8s"), (59_000, "59.0s"), (139_000, "2m19s"), (3_600_000, "1h")];
        for (millis, expected) in cases {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }
}
