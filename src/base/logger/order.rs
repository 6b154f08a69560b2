//! The order of the fields of warnings and errors: what is blocked, why, and the fix come first.

/// The place of a field.
fn place(key: &str, has_cause: bool) -> u8 {
    match key {
        "object" => 0,
        "state" => 1,
        "cause" => 2,
        "reason" | "waiting_for" if !has_cause => 2,
        "fix" => 3,
        "resume" => 4,
        _ => DETAIL,
    }
}

/// The place of details.
const DETAIL: u8 = 5;

/// How many fields stay in front: they name what the message is about, such as a chart and its version.
pub(super) fn subjects(pairs: &[(&str, &str)]) -> usize {
    pairs.iter().take_while(|(key, _)| place(key, false) == DETAIL).count()
}

/// Puts the fields in order.
pub(super) fn sort(pairs: &mut [(&str, &str)]) {
    let has_cause = pairs.iter().any(|(key, _)| *key == "cause");
    let (_, rest) = pairs.split_at_mut(subjects(pairs));
    rest.sort_by_key(|(key, _)| place(key, has_cause));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of a line, in order.
    #[track_caller]
    fn check(given: &str, expected: &str) {
        let mut pairs: Vec<_> = given.split(' ').map(|key| (key, "")).collect();
        sort(&mut pairs);
        assert_eq!(pairs.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn what_is_blocked_why_and_the_fix_come_first() {
        check(
            "release object reason state log cause fix resume",
            "release object state cause fix resume reason log",
        );
        check("reason cause fix", "cause fix reason");
        check("stage after waiting_for log fix", "stage after waiting_for fix log");
        check("chart version reason tried fix", "chart version reason fix tried");
        check("release version", "release version");
    }
}
