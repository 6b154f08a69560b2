//! Notes every call, a line of JSON each.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// These lead the tools somewhere, so the tests look at their values.
const SHOWN: [&str; 8] = [
    "HELMFILE_CACHE_HOME",
    "HELMFILE_TEMPDIR",
    "KUBECONFIG",
    "KUBERC",
    "NO_COLOR",
    "ROOT_DIR",
    "SOPS_AGE_KEY_FILE",
    "TMPDIR",
];

/// What a call brings besides its arguments.
pub(crate) struct Brought<'a> {
    /// `null` or `pipe`; of a request, whether it has a body.
    pub(crate) kind: &'static str,
    pub(crate) bytes: &'a [u8],
}

/// Notes a call. What is sent to kubectl is secret; what is sent to the API server is not, and is noted too.
pub(crate) fn note(
    tool: &str,
    args: &[String],
    brought: &Brought<'_>,
    canaries: &[String],
    known: bool,
) -> Result<(), Box<dyn Error>> {
    let holds_canary = |text: &str| canaries.iter().any(|canary| text.contains(canary));
    let env: BTreeMap<_, _> = std::env::vars().collect();
    let canary_in_env: Vec<_> =
        env.iter().filter(|(_, value)| holds_canary(value)).map(|(name, _)| name).collect();
    let shown: BTreeMap<_, _> = SHOWN.iter().map(|name| (name, env.get(*name))).collect();
    // Of a list of kubeconfigs, the first one that names a current context wins.
    let first_kubeconfig = env.get("KUBECONFIG").and_then(|list| list.split(':').next());
    let first_kubeconfig = first_kubeconfig.and_then(|path| std::fs::read_to_string(path).ok());
    let pid = nix::unistd::getpid();
    let mut entry = json!({
        "tool": tool,
        "argv": args,
        "cwd": std::env::current_dir()?,
        "env": shown,
        "first_kubeconfig": first_kubeconfig,
        "env_names": env.keys().collect::<Vec<_>>(),
        "canary_in_argv": args.iter().any(|arg| holds_canary(arg)),
        "canary_in_env": canary_in_env,
        "stdin": brought.kind,
        "stdin_len": brought.bytes.len(),
        "stdin_sha256": format!("{:x}", Sha256::digest(brought.bytes)),
        "own_group": nix::unistd::getpgrp() == pid,
        "known": known,
    });
    if tool == "api" && !brought.bytes.is_empty() {
        entry["body"] = serde_json::from_slice(brought.bytes)?;
    }
    // One write, so that calls side by side do not tear each other's lines; with an end before it, for one that was killed
    // while it wrote has torn its own.
    let mut file = OpenOptions::new().create(true).append(true).open(std::env::var("FAKE_TRANSCRIPT")?)?;
    Ok(file.write_all(format!("\n{entry}\n").as_bytes())?)
}

/// All calls that were noted so far.
pub(crate) fn noted() -> Result<Vec<Value>, Box<dyn Error>> {
    let text = std::fs::read_to_string(std::env::var("FAKE_TRANSCRIPT")?)?;
    // The last line may be half written.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
