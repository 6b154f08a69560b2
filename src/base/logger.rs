//! The log: a pure function for each format makes the bytes of a line; tracing only passes the events.

pub(crate) mod json;
mod order;
mod terminal;

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use owo_colors::{Style, XtermColors};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use self::terminal::columns;
use crate::base::escape::escape;
use crate::base::github::CommandEscape;
use crate::base::progress;
use crate::base::redact::Redactor;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines
    #[default]
    Text,
    /// One JSON object per line (docs/log.schema.json)
    Json,
}

/// The log levels, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything, including the output of all tools
    Debug,
    /// Progress
    Info,
    /// Warnings
    Warn,
    /// Errors that end the run
    Error,
}

impl Level {
    /// Reads a `LOG_LEVEL`; `None` when it is not one of the four.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warn" => Some(Self::Warn),
            "error" => Some(Self::Error),
            _ => None,
        }
    }

    /// The name on the command line and in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }

    /// The 256-colour index.
    fn colour(self) -> u8 {
        match self {
            Self::Debug => 63,
            Self::Info => 87,
            Self::Warn => 192,
            Self::Error => 198,
        }
    }
}

const KEY_COLOUR: u8 = 236;

/// One log line, with its line feed.
///
/// The bytes are those of the original `bootstrap-apps.sh`, except that control characters are escaped (`\n`, `\r`, `\t`, else
/// `\u{hex}`), and so are `"` and `\` in values, so that no output of a tool can forge a line.
#[must_use]
pub fn format_line(
    time: SystemTime,
    level: Level,
    message: &str,
    pairs: &[(&str, &str)],
    colour: bool,
) -> String {
    let mut line = String::with_capacity(64 + message.len());
    _ = write!(line, "{} ", humantime::format_rfc3339_seconds(time));
    paint(&mut line, level.colour(), colour, |line| {
        line.push_str(level.name());
    });
    line.push(' ');
    escape(&mut line, message, false);
    line.push(' ');
    for (key, value) in pairs {
        paint(&mut line, KEY_COLOUR, colour, |line| {
            escape(line, key, false);
            line.push('=');
        });
        line.push('"');
        escape(&mut line, value, true);
        line.push_str("\" ");
    }
    line.push('\n');
    line
}

/// Bold first, then the colour, as two escape sequences.
fn paint(line: &mut String, index: u8, colour: bool, text: impl FnOnce(&mut String)) {
    if colour {
        let style = Style::new().color(XtermColors::from(index));
        _ = write!(line, "{}{}", Style::new().bold().prefix_formatter(), style.prefix_formatter());
        text(line);
        _ = write!(line, "{}", style.suffix_formatter());
    } else {
        text(line);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    /// The minimum level.
    pub level: Level,
    pub format: LogFormat,
    /// Whether lines on standard output are coloured.
    pub colour_stdout: bool,
    /// Whether lines on standard error are coloured.
    pub colour_stderr: bool,
    /// Whether stdout carries data, so that all lines go to stderr.
    pub stdout_is_data: bool,
    /// Whether a GitHub Actions runner reads the lines.
    pub guard: CommandEscape,
}

struct LogLayer {
    settings: LogSettings,
    redactor: Redactor,
}

/// Sets up the log; a second call changes nothing.
pub(crate) fn init(settings: LogSettings, redactor: Redactor) {
    _ = tracing_subscriber::registry().with(LogLayer { settings, redactor }).try_init();
}

/// Logs a line whose keys are known only at run time.
pub(crate) fn log(level: Level, message: &str, pairs: &[(&str, String)]) {
    // tracing needs field names at compile time, so the pairs are packed into one field.
    let packed = Packed(pairs);
    match level {
        Level::Debug => tracing::debug!(pairs = ?packed, "{message}"),
        Level::Info => tracing::info!(pairs = ?packed, "{message}"),
        Level::Warn => tracing::warn!(pairs = ?packed, "{message}"),
        Level::Error => tracing::error!(pairs = ?packed, "{message}"),
    }
}

const UNIT: char = '\u{1f}';
const RECORD: char = '\u{1e}';

struct Packed<'a>(&'a [(&'a str, String)]);

impl Debug for Packed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (key, value) in self.0 {
            // A separator inside a value would forge a pair.
            let value = value.replace([UNIT, RECORD], " ");
            write!(f, "{key}{UNIT}{value}{RECORD}")?;
        }
        Ok(())
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        // Events of other crates (tokio, mio) are not logged.
        if level < self.settings.level || !event.metadata().target().starts_with("k3s_boot") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = self.redactor.apply(&fields.message);
        let values: Vec<_> =
            fields.pairs.iter().map(|(key, value)| (key, self.redactor.apply(value))).collect();
        let mut pairs: Vec<_> = values.iter().map(|(key, value)| (key.as_str(), value.as_ref())).collect();
        if level >= Level::Warn {
            order::sort(&mut pairs);
        }
        let to_stderr = level == Level::Error || self.settings.stdout_is_data;
        let colour = if to_stderr { self.settings.colour_stderr } else { self.settings.colour_stdout };
        let now = SystemTime::now();
        let width = if to_stderr { columns(&std::io::stderr()) } else { columns(&std::io::stdout()) };
        let line = match (self.settings.format, width) {
            (LogFormat::Text, Some(width)) => {
                let text = terminal::format(now, level, &message, &pairs, colour, width);
                self.settings.guard.text(text)
            }
            (LogFormat::Text, None) => {
                self.settings.guard.text(format_line(now, level, &message, &pairs, colour))
            }
            (LogFormat::Json, _) => self.settings.guard.json(json::format_line(now, level, &message, &pairs)),
        };
        // One write per line, so that lines stay whole; a closed stream does not end a bootstrap.
        _ = progress::beside(|| {
            if to_stderr {
                return std::io::stderr().lock().write_all(line.as_bytes());
            }
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
        });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    pairs: Vec<(String, String)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            "pairs" => {
                let records = value.split(RECORD).filter_map(|record| record.split_once(UNIT));
                self.pairs.extend(records.map(|(key, value)| (key.to_owned(), value.to_owned())));
            }
            name => self.pairs.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, format!("{value:?}"));
    }
}
