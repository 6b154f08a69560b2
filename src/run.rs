//! Carries out a plan, stage by stage.

pub mod dns;
pub mod lock;
pub mod namespaces;
pub mod nodes;
pub mod note;
pub mod releases;
pub mod secrets;
pub mod sync;
pub mod unlock;

use std::time::{Duration, Instant};

use crate::logger::{self, Level};

/// How often a wait says what it waits for.
pub const SAY_EVERY: Duration = Duration::from_secs(10);

/// A wait that says from time to time what it waits for.
pub struct Waiting {
    message: &'static str,
    start: Instant,
    next: Instant,
    said: bool,
}

impl Waiting {
    /// A wait that begins now.
    #[must_use]
    pub fn new(message: &'static str) -> Self {
        let start = Instant::now();
        Self { message, start, next: start + SAY_EVERY, said: false }
    }

    /// Says it the first time, and then if it is time.
    pub fn say_at_once(&mut self, pairs: &[(&'static str, String)]) {
        if !std::mem::replace(&mut self.said, true) {
            self.next = Instant::now();
        }
        self.say(pairs);
    }

    /// Says it, if it is time.
    pub fn say(&mut self, pairs: &[(&'static str, String)]) {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + SAY_EVERY;
            let mut all = vec![("elapsed", seconds(self.start.elapsed()))];
            all.extend_from_slice(pairs);
            logger::log(Level::Info, self.message, &all);
        }
    }
}

/// A time for people: `0.8s`, `42.0s`, `2m19s`.
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
    fn times_are_short() {
        let cases = [(0, "0.0s"), (840, "0.8s"), (59_000, "59.0s"), (139_000, "2m19s"), (3_600_000, "1h")];
        for (millis, expected) in cases {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }
}
