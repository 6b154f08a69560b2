//! The log lines are byte for byte those of the `log` function in the original `bootstrap-apps.sh`.

use std::time::SystemTime;

use insta::assert_snapshot;
use k3s_boot::internals::{Level, format_line};
use proptest::prelude::*;
use serde_json::json;

use super::fixture::{Fixture, RunResult};
use super::support::{Line, assert_no_canary, parse_line};

/// The output of the original function, with `TS` instead of the time. `original-log.sh` produces it.
const ORIGINAL: &str = include_str!("../fixtures/original-log.bytes");
const ORIGINAL_LEVELS: &str = include_str!("../fixtures/original-log-levels.txt");

const LEVELS: [(Level, &str); 4] =
    [(Level::Debug, "DEBUG"), (Level::Info, "INFO"), (Level::Warn, "WARN"), (Level::Error, "ERROR")];

#[test]
fn lines_match_the_original_log_function() {
    // The table of original-log.sh.
    let table: [(&str, &[(&str, &str)]); 5] = [
        ("Applying namespaces", &[]),
        ("Namespace created", &[("namespace", "flux-system")]),
        (
            "Missing required deps",
            &[("deps", "helmfile kubectl"), ("file", "bootstrap/helmfile.d/01-apps.yaml")],
        ),
        ("Release synced", &[("version", ""), ("took", "3.1s")]),
        ("Flags", &[("args", "--set a=b")]),
    ];
    let ours = |colour: bool| -> String {
        let lines = LEVELS.iter().flat_map(|(level, _)| {
            table.iter().map(move |(message, pairs)| {
                format_line(SystemTime::UNIX_EPOCH, *level, message, pairs, colour)
                    .replace("1970-01-01T00:00:00Z", "TS")
            })
        });
        lines.collect()
    };
    assert_eq!(ours(true), ORIGINAL);
    let codes = ["[1m", "[0m", "[38;5;63m", "[38;5;87m", "[38;5;192m", "[38;5;198m", "[38;5;236m"];
    let bare =
        codes.iter().fold(ORIGINAL.to_owned(), |text, code| text.replace(&format!("\u{1b}{code}"), ""));
    assert_eq!(ours(false), bare, "without colors, the same bytes without escape sequences");
}

/// A run that logs at every level.
fn at_all_levels() -> Fixture {
    Fixture::new()
        .env("HELM_NAMESPACE", "elsewhere")
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1}))
}

#[track_caller]
fn levels_of(ran: &RunResult) -> String {
    let on = |text: &str, level: &str| text.lines().any(|line| line.starts_with(&format!("[TS] {level} ")));
    let streams = LEVELS.iter().map(|(_, level)| {
        let stream = match (on(&ran.stdout, level), on(&ran.stderr, level)) {
            (true, true) => "both",
            (true, false) => "stdout",
            (false, true) => "stderr",
            (false, false) => "none",
        };
        format!("{} {stream}", level.to_lowercase())
    });
    streams.collect::<Vec<_>>().join("\n")
}

#[test]
fn levels_are_filtered_like_the_original() {
    for configured in ["debug", "info", "warn", "error", "verbose"] {
        let ran = at_all_levels().env("LOG_LEVEL", configured).run();
        ran.assert().code(5);
        let expected = ORIGINAL_LEVELS
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{configured} ")))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(levels_of(&ran), expected, "LOG_LEVEL={configured}");
        if configured != "verbose" {
            let flag = at_all_levels().env("LOG_LEVEL", "info").args(&["--log-level", configured]).run();
            assert_eq!(levels_of(&flag), expected, "--log-level {configured}");
        }
        if configured == "debug" {
            for verbose in ["-v", "-vv", "--verbose"] {
                let ran = at_all_levels().env("LOG_LEVEL", "info").args(&[verbose]).run();
                assert_eq!(levels_of(&ran), expected, "{verbose}");
            }
        }
    }
}

#[test]
fn unknown_level_is_a_warning() {
    let ran = Fixture::new().env("LOG_LEVEL", "verbose").run();
    ran.assert().code(0).stderr("");
    assert_snapshot!(ran.stdout.lines().next().unwrap(), @r#"[TS] WARN Unknown LOG_LEVEL, using info level="verbose" accepted="debug info warn error""#);
}

#[test]
fn control_characters_are_escaped() {
    let line = |value: &str| {
        let line = format_line(SystemTime::UNIX_EPOCH, Level::Info, value, &[("k", value)], false);
        line.strip_prefix("1970-01-01T00:00:00Z INFO ").unwrap().to_owned()
    };
    let cases = [
        ("plain words", "plain words k=\"plain words\" \n"),
        ("a\"b\\c", "a\"b\\c k=\"a\\\"b\\\\c\" \n"),
        ("a\nb\rc\td", "a\\nb\\rc\\td k=\"a\\nb\\rc\\td\" \n"),
        (
            "\u{1b}[31m\u{7f}\u{85}\0",
            "\\u{1b}[31m\\u{7f}\\u{85}\\u{0} k=\"\\u{1b}[31m\\u{7f}\\u{85}\\u{0}\" \n",
        ),
        ("ü→'=${x}%b", "ü→'=${x}%b k=\"ü→'=${x}%b\" \n"),
    ];
    for (value, expected) in cases {
        assert_eq!(line(value), expected);
    }
}

#[test]
fn tools_cannot_forge_log_lines() {
    let forged = "2026-11-23T08:00:00Z INFO Bootstrap complete! x=\"y\" \n\\\" a=\"b";
    let ran = Fixture::new()
        .rule(json!({"tool": "helmfile", "args": ["*/01-apps.yaml", "sync"], "exit": 1,
            "stderr": format!("x\r{forged}\u{1b}[0m\u{1}\n")}))
        .args(&["--log-level", "debug"])
        .run();
    ran.assert().code(5);
    assert!(
        !ran.stdout.lines().any(|line| line.starts_with("[TS] INFO Bootstrap complete!")),
        "{}",
        ran.stdout
    );
    assert_snapshot!(ran.stderr, @r#"[TS] ERROR Failed to sync Helm releases reason="\\\" a=\"b\u{1}" resume="k3s-boot apps --log-level debug --from apps" log="[LOG]""#);
}

/// All other tests rely on these helpers.
#[test]
fn test_helpers_reject_bad_lines() {
    use base64::Engine as _;
    let canary = "CANARY-0123456789".to_owned();
    for before in ["", "a", "ab", "abc"] {
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{before}{canary}\n"));
        for text in [format!("{before}{canary}"), format!("k: {encoded}")] {
            let check = || assert_no_canary(std::slice::from_ref(&canary), "text", text.as_bytes());
            assert!(std::panic::catch_unwind(check).is_err(), "{text}");
        }
    }
    let good = "2026-11-23T08:00:00Z INFO Namespace exists namespace=\"a\" ";
    assert!(parse_line(good).is_ok());
    let bad = [
        "Namespace exists",
        "2026-11-23T08:00:00Z INFO Namespace exists",
        "2026-11-23T08:00:00Z NOTE Namespace exists ",
        "2026-11-23T08:00:00Z INFO Namespace exists namespace=\"a\"",
        "2026-11-23T08:00:00Z INFO Namespace exists namespace=\"a\"b\" ",
        "2026-11-23T08:00:00Z INFO Namespace exists namespace=\"a\tb\" ",
        "\u{1b}[1m2026-11-23T08:00:00Z INFO Namespace exists ",
    ];
    for line in bad {
        assert!(parse_line(line).is_err(), "{line}");
    }
}

proptest! {
    #[test]
    fn lines_can_be_parsed(
        level in prop::sample::select(LEVELS.to_vec()),
        message in "[A-Za-z][A-Za-z ,.!']{0,30}[a-z]",
        pairs in prop::collection::vec(("[a-z_]{1,8}", any::<String>()), 0..4),
        hostile in prop::collection::vec("[\"\\\\\n\r\t =a-c\u{1b}\u{7}\u{85}{}u]{0,12}", 0..3),
        colour: bool,
    ) {
        let mut pairs = pairs;
        pairs.extend(hostile.into_iter().map(|value| ("hostile".to_owned(), value)));
        let given: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let (level, name) = level;
        let line = format_line(SystemTime::now(), level, &message, &given, false);
        let bare = line.strip_suffix('\n').unwrap();
        let read = parse_line(bare).map_err(TestCaseError::fail)?;
        prop_assert_eq!(read, Line { level: name.to_owned(), message: message.clone(), pairs: pairs.clone() });
        let coloured = format_line(SystemTime::now(), level, &message, &given, colour);
        // All escape sequences are ours: two before the level and before each key, one after each.
        let escapes = coloured.matches('\u{1b}').count();
        prop_assert_eq!(escapes, if colour { 3 * (1 + pairs.len()) } else { 0 });
    }
}
