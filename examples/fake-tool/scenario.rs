//! What is to be played: rules for calls, and objects that stand.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The whole of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What must stand in no argument.
    pub(crate) canaries: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    /// What stands in the cluster.
    #[serde(default)]
    pub(crate) objects: Vec<Stands>,
    /// Where the scenario came from.
    #[serde(skip)]
    path: PathBuf,
}

/// An object that stands in the cluster.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stands {
    pub(crate) object: Value,
    /// Only once such a call was made.
    pub(crate) after: Option<Vec<String>>,
    /// Somebody writes it again and again.
    #[serde(default)]
    pub(crate) lives: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Rule {
    /// The program; `api` for a request that kubectl passes on, whose arguments are its method and its path.
    pub(crate) tool: String,
    /// Must be among the arguments, in this order; `*x` stands for an argument that ends in `x`, `x*` for one that
    /// begins so.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// The rule does not fit when this variable has a value.
    unless_env: Option<String>,
    /// The rule fits as many calls and no more.
    times: Option<u32>,
    /// A request without one is answered with the objects of the scenario.
    pub(crate) stdout: Option<String>,
    #[serde(default)]
    pub(crate) stderr: String,
    /// Printed on stdout before that: any bytes, in base64.
    #[serde(default)]
    pub(crate) bytes: String,
    /// How many times more it prints all that; the largest number is for ever.
    #[serde(default)]
    pub(crate) again: u64,
    #[serde(default)]
    pub(crate) exit: u8,
    /// The status of a request's answer: 200, or 500 with an exit code.
    pub(crate) status: Option<u16>,
    /// The request is executed all the same, before it is answered so: its own answer is lost.
    #[serde(default)]
    pub(crate) executes: bool,
    /// In how many seconds a request is to be made again (`Retry-After`).
    pub(crate) retry_after: Option<u64>,
    /// Prints what it reads on stderr, as a tool does that complains about it.
    #[serde(default)]
    pub(crate) echo_stdin: bool,
    /// Leaves a file with this text in `TMPDIR`.
    pub(crate) leave_file: Option<String>,
    /// Files that `helmfile template` renders, as `namespace-NAMESPACE/NAME/FILE`.
    #[serde(default)]
    pub(crate) rendered: BTreeMap<String, String>,
    /// Connects there, says its name and process id, and lasts until a line comes or the connection is closed.
    pub(crate) connect: Option<SocketAddr>,
    #[serde(default)]
    pub(crate) on_int: OnInt,
    /// Starts a process that holds the pipes and connects too. It ends with its connection, and not by INT.
    #[serde(default)]
    pub(crate) grandchild: bool,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnInt {
    /// Does nothing about it.
    #[default]
    Die,
    /// Says `INT` to its connection and ends with exit code 1, as helmfile does.
    End,
    /// Says `INT` to its connection and goes on.
    Ignore,
}

impl Rule {
    /// Whether it says how a request is answered.
    pub(crate) fn is_answer(&self) -> bool {
        self.stdout.is_some() || !self.bytes.is_empty() || self.exit > 0 || self.status.is_some()
    }
}

impl Scenario {
    pub(crate) fn read() -> Result<Self, Box<dyn std::error::Error>> {
        let path = PathBuf::from(std::env::var("FAKE_SCENARIO")?);
        let scenario: Self = serde_json::from_slice(&std::fs::read(&path)?)?;
        Ok(Self { path, ..scenario })
    }

    /// The first rule that fits a call.
    pub(crate) fn find(&self, tool: &str, args: &[String]) -> std::io::Result<Option<&Rule>> {
        for (index, rule) in self.rules.iter().enumerate() {
            let unset = |name: &String| std::env::var_os(name).is_none_or(|value| value.is_empty());
            let fits =
                rule.tool == tool && holds(args, &rule.args) && rule.unless_env.as_ref().is_none_or(unset);
            if fits && claim(rule, index, &self.path)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }
}

/// Whether arguments hold what is wanted, in its order.
pub(crate) fn holds(args: &[String], wanted: &[String]) -> bool {
    let mut args = args.iter();
    wanted.iter().all(|wanted| match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        (Some(end), _) if !end.is_empty() => args.any(|arg| arg.ends_with(end)),
        (None, Some(start)) if !start.is_empty() => args.any(|arg| arg.starts_with(start)),
        _ => args.any(|arg| arg == wanted),
    })
}

/// Takes one of a rule's `times`: a file for each beside the scenario, of which only one process can be the maker.
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
