//! The pages of "Getting started", run word for word.
//!
//! A page is one shell session: all its `sh` blocks, in order. Comments on the page mark what a test cannot do: a block below
//! [`NOT_RUN`] is skipped, and the lines `export NAME=…` of the block below [`VALUES`] get other values. A `text` block is the
//! output of the block before it, with … in place of what varies, and other times.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{GIT_URL, copy_folder};
use serde_json::Value;

use super::fixture::{Fixture, RunResult, tools};
use super::support::bin_dir;

const NOT_RUN: &str = "<!-- not run by the test: ";
const VALUES: &str = "<!-- values set by the test -->";
/// Comes before the output of each block.
const MARK: &str = "@@ block ";

/// A `sh` block with its output.
#[derive(Default)]
struct Block {
    commands: String,
    output: String,
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// The blocks of a page to run, with these values in place of those on the page.
fn page(name: &str, values: &[(&str, &Path)]) -> Vec<Block> {
    let text = std::fs::read_to_string(docs().join(name)).unwrap();
    let (mut blocks, mut lines, mut comment) = (Vec::<Block>::new(), text.lines(), "");
    let (mut values, mut replaced) = (values.iter(), Vec::new());
    while let Some(line) = lines.next() {
        let body: Vec<_> = if line.starts_with("```") {
            lines.by_ref().take_while(|line| *line != "```").collect()
        } else {
            Vec::new()
        };
        match line {
            "```sh" if comment.starts_with(NOT_RUN) => {}
            "```sh" if comment == VALUES => {
                let mut set = |line: &&str| {
                    let (name, value) = values.next().unwrap_or_else(|| panic!("no value for `{line}`"));
                    let shown = line.strip_prefix(&format!("export {name}="));
                    let shown = shown.unwrap_or_else(|| panic!("`{line}` does not set {name}"));
                    let shown = shown.split(' ').next().unwrap_or_default().to_owned();
                    replaced.push((shown, value.display().to_string()));
                    format!("export {name}='{}'", value.display())
                };
                let commands = body.iter().map(&mut set).collect::<Vec<_>>().join("\n");
                blocks.push(Block { commands, ..Block::default() });
            }
            "```sh" => blocks.push(Block { commands: body.join("\n"), ..Block::default() }),
            "```text" => {
                let text = body.join("\n");
                let text = replaced.iter().fold(text, |text, (shown, value)| text.replace(shown, value));
                blocks.last_mut().unwrap().output = text;
            }
            "```yaml" => {}
            _ => assert!(!line.starts_with("```"), "{name}: what is `{line}`?"),
        }
        comment = line;
    }
    assert!(values.next().is_none(), "{name} does not use all values");
    blocks
}

/// The shell session of these blocks. It stops at the first command that fails.
fn script(blocks: &[Block]) -> String {
    let blocks = blocks.iter().enumerate();
    let blocks = blocks.map(|(number, block)| format!("echo '{MARK}{number}'\n{}\n", block.commands));
    format!("set -euo pipefail\nexec 2>&1\n{}", blocks.collect::<String>())
}

/// Checks the output of a session against the page.
fn assert_outputs(blocks: &[Block], output: &str) {
    let printed: Vec<_> = output.split(MARK).skip(1).collect();
    assert_eq!(printed.len(), blocks.len(), "the last of these failed:\n{output}");
    for (block, printed) in blocks.iter().zip(printed) {
        let (_, printed) = printed.split_once('\n').unwrap();
        assert_shown(&block.commands, &block.output, printed);
    }
}

/// Checks that the lines of a page are printed in this order, with nothing between them but what a line `…` matches.
fn assert_shown(commands: &str, page: &str, printed: &str) {
    let mut rest = printed.lines();
    let mut skip = false;
    for line in page.lines() {
        if line == "…" {
            skip = true;
            continue;
        }
        let found = if skip {
            rest.any(|printed| fits(line, printed))
        } else {
            rest.next().is_some_and(|printed| fits(line, printed))
        };
        assert!(found, "`{commands}` does not print `{line}` here, but:\n{printed}");
        skip = false;
    }
    assert!(page.is_empty() || skip || rest.next().is_none(), "`{commands}` prints more:\n{printed}");
}

/// Whether a printed line is the line of a page, in which … matches anything.
fn fits(line: &str, printed: &str) -> bool {
    let (line, printed) = (without_time(line), without_time(printed));
    let mut parts = line.split('…');
    let Some(mut rest) = parts.next().and_then(|start| printed.strip_prefix(start)) else { return false };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    open || rest.is_empty()
}

/// A line without the time of the log and without spaces at its end.
fn without_time(line: &str) -> &str {
    const TIME: &str = "2026-11-28T19:38:00Z ";
    let is_time = |text: &&str| {
        text.get(..TIME.len()).is_some_and(|time| time.starts_with("20") && time.ends_with("Z "))
    };
    Some(line).filter(is_time).map_or(line, |line| &line[TIME.len()..]).trim_end()
}

/// A folder of the reader with the Git server behind [`GIT_URL`]. Only Flux reaches its address, so Git writes to its folder.
fn reader(fixture: &Fixture) -> PathBuf {
    let served = fixture.sandbox.folder().join("git-server/home.git");
    let config = format!(
        "[user]\n\tname = Reader\n\temail = reader@example.org\n[url \"file://{}\"]\n\tinsteadOf = {GIT_URL}\n",
        served.display()
    );
    std::fs::write(fixture.sandbox.home().join(".gitconfig"), config).unwrap();
    let folder = fixture.sandbox.git_folder();
    executable(
        &served.join("hooks/post-receive"),
        &format!("exec git --work-tree='{}' checkout --quiet --force main\n", folder.display()),
    );
    let reader = fixture.root.parent().unwrap().join("reader");
    std::fs::create_dir(&reader).unwrap();
    reader
}

fn executable(file: &Path, script: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the blocks in the folder of the reader, whose environment names neither a cluster nor a key.
fn session(fixture: &Fixture, reader: &Path, blocks: &[Block]) -> RunResult {
    let script = format!("cd '{}'\n{}", reader.display(), script(blocks));
    let path = [reader.join("bin"), bin_dir().to_owned(), tools().path_dir().to_owned()];
    let system = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(path.into_iter().chain(std::env::split_paths(&system))).unwrap();
    let mut session = fixture.program("/bin/bash", &["-c", &script]).env("PATH", path);
    for name in
        ["KUBECONFIG", "K3S_API_HOST", "FLUX_GIT_URL", "FLUX_GIT_REF", "FLUX_GIT_PATH", "SOPS_AGE_KEY_FILE"]
    {
        session = session.env_remove(name);
    }
    let ran = session.run();
    ran.assert().code(0);
    ran
}

#[test]
fn every_page_is_run() {
    let summary = std::fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    let (_, section) = summary.split_once("# Getting started\n").unwrap();
    let (section, _) = section.split_once("\n# ").unwrap();
    let pages: Vec<_> =
        section.lines().filter_map(|line| line.split_once("](")).map(|(_, page)| page).collect();
    assert_eq!(
        pages,
        ["install.md)", "new-repository.md)", "existing-repository.md)"],
        "a page needs a test"
    );
}

#[test]
fn install() {
    let blocks = page("install.md", &[]);
    let path = [bin_dir(), tools().path_dir(), Path::new("/usr/bin"), Path::new("/bin")];
    let output = Command::new("/bin/bash")
        .args(["-c", &script(&blocks)])
        .env("PATH", std::env::join_paths(path).unwrap())
        .output()
        .unwrap();
    assert_outputs(&blocks, &String::from_utf8(output.stdout).unwrap());
}

#[test]
fn a_new_repository() {
    let fixture = Fixture::start("new-repository");
    let reader = reader(&fixture);
    let git = fixture.sandbox.git_folder();
    std::fs::remove_dir_all(git).unwrap();
    std::fs::create_dir(git).unwrap();
    let kubeconfig = fixture.sandbox.kubeconfig();
    let ssh = format!(
        "test \"$*\" = 'root@127.0.0.1 cat /etc/rancher/k3s/k3s.yaml' && exec cat '{}'\n",
        kubeconfig.display()
    );
    executable(&reader.join("bin/ssh"), &ssh);
    let values = [("SERVER", Path::new("127.0.0.1")), ("GIT_URL", Path::new(GIT_URL))];
    let blocks = page("new-repository.md", &values);
    let ran = session(&fixture, &reader, &blocks);
    let key = std::fs::read_to_string(reader.join("home/age.key")).unwrap();
    let identity = key.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    assert!(!ran.stdout.contains(identity) && !ran.stderr.contains(identity));
    assert_outputs(&blocks, &ran.stdout);

    let written = std::fs::read_to_string(reader.join("home/k3s/config.yaml")).unwrap();
    let written: Value = serde_yaml::from_str(&written).unwrap();
    for page in ["new-repository.md", "k3s.md"] {
        let text = std::fs::read_to_string(docs().join(page)).unwrap();
        let shown = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(serde_yaml::from_str::<Value>(shown).unwrap(), written, "{page}");
    }
}

#[test]
fn an_existing_repository() {
    let fixture = Fixture::start("existing-repository");
    let reader = reader(&fixture);
    let old = reader.join("old");
    copy_folder(fixture.sandbox.git_folder(), &old).unwrap();
    let push = "git init --quiet --initial-branch main && git add . && git commit --quiet --message All && git push --quiet \"$URL\" main";
    let mut command = fixture.sandbox.command("/bin/sh");
    let status = command.args(["-c", push]).env("URL", GIT_URL).current_dir(&old).status().unwrap();
    assert!(status.success());
    let (key, kubeconfig) = (fixture.sandbox.age_key(), fixture.sandbox.kubeconfig());
    let values =
        [("GIT_URL", Path::new(GIT_URL)), ("AGE_KEY", key.as_path()), ("KUBECONFIG", kubeconfig.as_path())];
    let blocks = page("existing-repository.md", &values);
    let ran = session(&fixture, &reader, &blocks);
    assert_outputs(&blocks, &ran.stdout);
}
