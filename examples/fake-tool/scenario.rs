//! The scenario: rules for calls, and the objects in the cluster.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Secrets that must not appear in arguments.
    pub(crate) canaries: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    #[serde(default)]
    pub(crate) objects: Vec<ScenarioObject>,
    /// The file of the scenario.
    #[serde(skip)]
    path: PathBuf,
}

/// An object in the cluster.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScenarioObject {
    pub(crate) object: Value,
    /// The object exists once a tool was called with these arguments.
    pub(crate) after: Option<Vec<String>>,
    /// Whether its `resourceVersion` changes with every call.
    #[serde(default)]
    pub(crate) updates: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Rule {
    /// The program, or `api` for a request to the API server, whose arguments are method and path.
    pub(crate) tool: String,
    /// Arguments that the call must have, in this order. `*x` matches the end of an argument, `x*` its start.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// The rule does not match if this variable has a value.
    unless_env: Option<String>,
    /// The maximum number of calls that the rule matches.
    times: Option<u32>,
    /// If a request has none, the answer comes from the objects of the scenario.
    pub(crate) stdout: Option<String>,
    #[serde(default)]
    pub(crate) stderr: String,
    /// Bytes that are printed before `stdout`, in base64.
    #[serde(default)]
    pub(crate) bytes: String,
    /// How many times the output is repeated; the maximum means forever.
    #[serde(default)]
    pub(crate) repeat: u64,
    #[serde(default)]
    pub(crate) exit: u8,
    /// The HTTP status of the answer; by default 200, or 500 with an exit code.
    pub(crate) status: Option<u16>,
    /// Whether a request takes effect although it gets this answer, as if its own answer was lost.
    #[serde(default)]
    pub(crate) execute: bool,
    /// The `Retry-After` header of the answer, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// Copies stdin to stderr, like a tool that quotes its input in an error.
    #[serde(default)]
    pub(crate) echo_stdin: bool,
    /// Creates a file with this text in `TMPDIR`.
    pub(crate) leave_file: Option<String>,
    /// Files that `helmfile template` renders, as `namespace-NAMESPACE/NAME/FILE`.
    #[serde(default)]
    pub(crate) rendered: BTreeMap<String, String>,
    /// Connects to this address, sends its name and process ID, and waits for a line or the end of the connection.
    pub(crate) connect: Option<SocketAddr>,
    #[serde(default)]
    pub(crate) on_int: OnInt,
    /// Starts this command with its arguments as a child, as helmfile runs a hook; its stdin is open until this tool exits.
    #[serde(default)]
    pub(crate) hook: Vec<String>,
    /// Starts a child process that keeps the pipes open and connects too. It ignores INT and ends with its connection.
    #[serde(default)]
    pub(crate) grandchild: bool,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnInt {
    /// The default action.
    #[default]
    Die,
    /// Sends `INT` to its connection and exits with 1, like helmfile.
    End,
    /// Sends `INT` to its connection and continues.
    Ignore,
}

impl Rule {
    /// Whether the rule has an answer for a request.
    pub(crate) fn has_answer(&self) -> bool {
        self.stdout.is_some() || !self.bytes.is_empty() || self.exit > 0 || self.status.is_some()
    }
}

impl Scenario {
    pub(crate) fn read() -> Result<Self, Box<dyn std::error::Error>> {
        let path = PathBuf::from(std::env::var("FAKE_SCENARIO")?);
        let scenario: Self = serde_json::from_slice(&std::fs::read(&path)?)?;
        Ok(Self { path, ..scenario })
    }

    /// The first rule that matches a call.
    pub(crate) fn find(&self, tool: &str, args: &[String]) -> std::io::Result<Option<&Rule>> {
        for (index, rule) in self.rules.iter().enumerate() {
            let unset = |name: &String| std::env::var_os(name).is_none_or(|value| value.is_empty());
            let matches = rule.tool == tool
                && matches_args(args, &rule.args)
                && rule.unless_env.as_ref().is_none_or(unset);
            if matches && claim(rule, index, &self.path)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }
}

/// Whether arguments match these patterns, in this order.
pub(crate) fn matches_args(args: &[String], patterns: &[String]) -> bool {
    let mut args = args.iter();
    patterns.iter().all(|pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) if !end.is_empty() => args.any(|arg| arg.ends_with(end)),
        (None, Some(start)) if !start.is_empty() => args.any(|arg| arg.starts_with(start)),
        _ => args.any(|arg| arg == pattern),
    })
}

/// Uses up one of the `times` of a rule: creates a file next to the scenario, which only one process can do.
fn claim(rule: &Rule, index: usize, scenario: &Path) -> std::io::Result<bool> {
    let Some(times) = rule.times else {
        return Ok(true);
    };
    for time in 0..times {
        let path = scenario.with_extension(format!("{index}.{time}"));
        match File::create_new(path) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
