//! Log lines as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::Level;

/// A line of the log with `--log-format json`: an object and a line feed.
///
/// The fields of a message are nested in `fields`, so that they never collide with the keys of the line.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct LogLine<'a> {
    /// When it was written: RFC 3339, in UTC, with milliseconds.
    pub time: String,
    /// The log level.
    pub level: Level,
    pub message: &'a str,
    /// The fields, in the order of the text format; all values are strings. The values of a repeated key are joined by line
    /// feeds.
    #[schemars(with = "BTreeMap<String, String>")]
    #[serde(serialize_with = "in_order")]
    pub fields: Vec<(&'a str, String)>,
}

fn in_order<S: Serializer>(fields: &[(&str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(key, value)| (key, value)))
}

/// One log line as JSON, with its line feed. It contains no other character that a reader may take for the end of a line.
pub(crate) fn format_line(time: SystemTime, level: Level, message: &str, pairs: &[(&str, &str)]) -> String {
    let mut fields: Vec<(&str, String)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        match fields.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => _ = write!(known, "\n{value}"),
            None => fields.push((key, (*value).to_owned())),
        }
    }
    let time = humantime::format_rfc3339_millis(time).to_string();
    let line = serde_json::to_string(&LogLine { time, level, message, fields });
    let mut line = plain(&line.unwrap_or_default());
    line.push('\n');
    line
}

/// Escapes what JSON allows but a terminal or a reader of lines may act on: DEL, the C1 controls, and the
/// separators U+2028 and U+2029. Outside of strings JSON has none of them.
fn plain(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            _ = write!(text, "\\u{:04x}", u32::from(character));
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn line(message: &str, pairs: &[(&str, &str)]) -> String {
        format_line(SystemTime::UNIX_EPOCH, Level::Warn, message, pairs)
    }

    #[test]
    fn an_object_a_line() {
        assert_eq!(
            line("Release synced", &[("took", "3.1s"), ("release", "a/b")]),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warn\",\"message\":\"Release synced\",\
             \"fields\":{\"took\":\"3.1s\",\"release\":\"a/b\"}}\n"
        );
        assert!(line("x", &[]).ends_with(",\"message\":\"x\",\"fields\":{}}\n"));
    }

    #[test]
    fn fields_do_not_collide_with_keys_of_the_line() {
        let read: Value =
            serde_json::from_str(&line("m", &[("time", "t"), ("message", "n"), ("time", "u")])).unwrap();
        assert_eq!(read["fields"], json!({"time": "t\nu", "message": "n"}));
        assert_eq!((&read["time"], &read["message"]), (&json!("1970-01-01T00:00:00.000Z"), &json!("m")));
    }

    #[test]
    fn other_line_ends_are_escaped() {
        let line = line("a\u{2028}b\u{2029}c\u{85}d\u{7f}\u{9b}31m\u{1b}[0m\r\n", &[]);
        assert!(line.contains(r"a\u2028b\u2029c\u0085d\u007f\u009b31m\u001b[0m\r\n"), "{line}");
    }

    proptest! {
        #[test]
        fn every_line_can_be_read_back(
            level in prop::sample::select(vec![Level::Debug, Level::Info, Level::Warn, Level::Error]),
            message: String,
            pairs in prop::collection::btree_map(any::<String>(), any::<String>(), 0..5),
            hostile in "[\"\\\\\n\r\t{}:,#\u{1b}\u{7f}\u{85}\u{2028}u0]{0,16}",
        ) {
            let mut pairs = pairs;
            pairs.insert("hostile".to_owned(), hostile);
            let given: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let line = format_line(SystemTime::now(), level, &message, &given);
            let bare = line.strip_suffix('\n').unwrap();
            let ends = |c: char| c.is_control() || ['\u{2028}', '\u{2029}'].contains(&c);
            prop_assert!(!bare.contains(ends));
            let read: Value = serde_json::from_str(bare).unwrap();
            prop_assert_eq!(&read["message"], &json!(message));
            prop_assert_eq!(&read["level"], level.word());
            prop_assert_eq!(&read["fields"], &json!(pairs));
            prop_assert_eq!(read.as_object().unwrap().len(), 4);
            prop_assert!(humantime::parse_rfc3339(read["time"].as_str().unwrap()).is_ok());
        }
    }
}
