//! Formats durations.

use std::time::Duration;

/// Formats a duration: `0.8s`, `42.0s`, `2m19s`.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_mins(1) {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        whole_seconds(duration)
    }
}

/// Formats a duration without a fraction of a second: `42s`, `2m19s`.
pub(crate) fn whole_seconds(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_durations() {
        let cases = [(0, "0.0s"), (840, "0.8s"), (59_000, "59.0s"), (139_000, "2m19s"), (3_600_000, "1h")];
        for (millis, expected) in cases {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
        assert_eq!(whole_seconds(Duration::from_millis(59_900)), "59s");
    }
}
