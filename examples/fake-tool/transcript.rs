//! Records every call as a line of JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Variables whose values the tests check.
const RECORDED_ENV: [&str; 8] = [
    "HELMFILE_CACHE_HOME",
    "HELMFILE_TEMPDIR",
    "KUBECONFIG",
    "KUBERC",
    "NO_COLOR",
    "ROOT_DIR",
    "SOPS_AGE_KEY_FILE",
    "TMPDIR",
];

/// Stdin of a tool, or the body of a request.
pub(crate) struct Input<'a> {
    /// `null`, `pipe` or `other`; a request without a body has `null`.
    pub(crate) kind: &'static str,
    pub(crate) bytes: &'a [u8],
}

/// Records a call. Only bodies of requests are recorded: stdin of kubectl has secrets.
pub(crate) fn record(
    tool: &str,
    args: &[String],
    input: &Input<'_>,
    canaries: &[String],
    known: bool,
) -> Result<(), Box<dyn Error>> {
    let has_canary = |text: &str| canaries.iter().any(|canary| text.contains(canary));
    let env: BTreeMap<_, _> = std::env::vars().collect();
    let canary_in_env: Vec<_> =
        env.iter().filter(|(_, value)| has_canary(value)).map(|(name, _)| name).collect();
    let recorded: BTreeMap<_, _> = RECORDED_ENV.iter().map(|name| (name, env.get(*name))).collect();
    // The first kubeconfig of a list that has a current context takes precedence.
    let first_kubeconfig = env.get("KUBECONFIG").and_then(|list| list.split(':').next());
    let first_kubeconfig = first_kubeconfig.and_then(|path| std::fs::read_to_string(path).ok());
    let pid = nix::unistd::getpid();
    let mut entry = json!({
        "tool": tool,
        "argv": args,
        "cwd": std::env::current_dir()?,
        "env": recorded,
        "first_kubeconfig": first_kubeconfig,
        "env_names": env.keys().collect::<Vec<_>>(),
        "canary_in_argv": args.iter().any(|arg| has_canary(arg)),
        "canary_in_env": canary_in_env,
        "stdin": input.kind,
        "stdin_len": input.bytes.len(),
        "stdin_sha256": format!("{:x}", Sha256::digest(input.bytes)),
        "own_group": nix::unistd::getpgrp() == pid,
        "known": known,
    });
    if tool == "api" && !input.bytes.is_empty() {
        entry["body"] = serde_json::from_slice(input.bytes)?;
    }
    // One write, so that the lines of concurrent calls do not mix. It starts with a line feed, because a killed process may
    // have left an incomplete line.
    let mut file = OpenOptions::new().create(true).append(true).open(std::env::var("FAKE_TRANSCRIPT")?)?;
    Ok(file.write_all(format!("\n{entry}\n").as_bytes())?)
}

/// All calls so far.
pub(crate) fn read_calls() -> Result<Vec<Value>, Box<dyn Error>> {
    let text = std::fs::read_to_string(std::env::var("FAKE_TRANSCRIPT")?)?;
    // Incomplete lines are skipped.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
