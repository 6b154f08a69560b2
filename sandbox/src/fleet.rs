//! `cargo sandbox fleet`: the Ansible role of `deploy/ansible` against many clusters at once.

mod usage;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::usage::{Usage, measure};
use crate::audit::Mark;
use crate::charts::Chart;
use crate::checkout::Checkout;
use crate::cluster::{Options, Sandbox};
use crate::git_folder::{GIT_PATH, GIT_REF, GIT_URL};
use crate::registry::Registry;
use crate::secrets::leaks;
use crate::state::workspace;
use crate::tools::Tools;

/// What to run.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// For each row, the number of fresh clusters to bootstrap at once. All rows share a chart cache, which is empty at first.
    pub clusters: Vec<usize>,
    /// Whether the CRDs are as large as those of the real charts.
    pub large_crds: bool,
}

/// The fields of Ansible's recap of a host.
type Recap = BTreeMap<String, usize>;

/// The head of the table that [`run`] prints.
const HEAD: &str = "| clusters | run | wall time | Ansible | k3s-boot | helmfile | helm | other tools | control planes | cores busy | memory | of the control planes | registry | API requests (changing) |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// Bootstraps fleets with the role, and runs it again. One cluster of several has a key that decrypts nothing: it must be
/// reported as failed with its cause, while the others complete.
pub fn run(tools: &Tools, program: &Path, python: &Path, fleet: &Fleet, print: &dyn Fn(&str)) -> Result<()> {
    let registry = if fleet.large_crds {
        Registry::start(tools)?
    } else {
        Registry::start_with(tools, &Chart::large_without_schemas()?)?
    };
    let home = tempfile::Builder::new().prefix("sandbox-fleet-home-").tempdir()?;
    let mut table = vec![HEAD.to_owned()];
    for &size in &fleet.clusters {
        let controller = Controller::start(tools, program, python, &registry, home.path(), size)?;
        controller.bootstrap_all(&mut table, print)?;
    }
    print(&table.join("\n"));
    Ok(())
}

/// The machine that runs Ansible, and its clusters.
struct Controller {
    sandboxes: Vec<Sandbox>,
    checkout: Checkout,
    folder: TempDir,
    home: PathBuf,
    python: PathBuf,
    program: PathBuf,
    secrets: Vec<String>,
}

/// Starts clusters, two at a time: each waits half of the time.
fn start(tools: &Tools, registry: &Arc<Registry>, size: usize) -> Result<Vec<Sandbox>> {
    let start = |number| {
        let (name, registry) = (name(number), Some(Arc::clone(registry)));
        Sandbox::start_with(tools, Options { name, registry, ..Options::default() })
    };
    let mut sandboxes = Vec::new();
    for first in (0..size).step_by(2) {
        std::thread::scope(|scope| {
            let second = (first + 1 < size).then(|| scope.spawn(move || start(first + 1)));
            sandboxes.push(start(first)?);
            if let Some(second) = second {
                sandboxes
                    .push(second.join().map_err(|_| anyhow!("the thread that starts a cluster panicked"))??);
            }
            anyhow::Ok(())
        })?;
    }
    Ok(sandboxes)
}

/// The result of `ansible-playbook`.
struct PlaybookRun {
    code: Option<i32>,
    output: String,
    hosts: BTreeMap<String, Recap>,
    usage: Usage,
    requests: usize,
    changing: usize,
    pulls: usize,
    pulled: usize,
}

impl Controller {
    fn start(
        tools: &Tools,
        program: &Path,
        python: &Path,
        registry: &Arc<Registry>,
        home: &Path,
        size: usize,
    ) -> Result<Self> {
        let sandboxes = start(tools, registry, size)?;
        let checkout = Checkout::new(sandboxes.first().context("a fleet has at least one cluster")?)?;
        // Every cluster has its own.
        fs::remove_file(checkout.root().join("age.key"))?;
        let variables = format!("FLUX_GIT_URL={GIT_URL}\nFLUX_GIT_REF={GIT_REF}\nFLUX_GIT_PATH={GIT_PATH}\n");
        checkout.write("cluster.env", &variables)?;
        let mut secrets = Vec::new();
        for sandbox in &sandboxes {
            secrets.extend(sandbox.secrets()?);
        }
        let controller = Self {
            sandboxes,
            checkout,
            folder: tempfile::Builder::new().prefix("sandbox-fleet-").tempdir()?,
            home: home.to_owned(),
            python: python.to_owned(),
            program: program.to_owned(),
            secrets,
        };
        fs::write(controller.folder.path().join("clusters.json"), controller.inventory()?.to_string())?;
        Ok(controller)
    }

    /// The last of several clusters has a key that decrypts nothing.
    fn broken(&self) -> Option<String> {
        (self.sandboxes.len() > 1).then(|| name(self.sandboxes.len() - 1))
    }

    fn inventory(&self) -> Result<Value> {
        let mut hosts = BTreeMap::new();
        for (number, sandbox) in self.sandboxes.iter().enumerate() {
            let mut variables = json!({"k3s_boot_kubeconfig": sandbox.kubeconfig()});
            // The first key is in the inventory, as from a vault.
            if number == 0 {
                variables["k3s_boot_age_key"] = fs::read_to_string(sandbox.age_key())?.into();
            } else {
                let is_broken = self.broken() == Some(name(number));
                let key = if is_broken { sandbox.other_age_key() } else { sandbox.age_key() };
                variables["k3s_boot_age_key_file"] = json!(key);
            }
            hosts.insert(name(number), variables);
        }
        let root = self.checkout.root();
        let variables = json!({
            "k3s_boot_program": self.program,
            "k3s_boot_root": root,
            "k3s_boot_env_files": [root.join("cluster.env")],
            "k3s_boot_environment": {"K3S_API_HOST": "10.0.0.10"},
            "k3s_boot_reports": self.reports(),
        });
        Ok(json!({"clusters": {"hosts": hosts, "vars": variables}}))
    }

    fn reports(&self) -> PathBuf {
        self.folder.path().join("reports")
    }

    /// The report of a cluster.
    fn report(&self, name: &str) -> Result<Value> {
        let path = self.reports().join(format!("{name}.json"));
        let text = fs::read(&path).with_context(|| format!("no report `{}`", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    fn bootstrap_all(&self, table: &mut Vec<String>, print: &dyn Fn(&str)) -> Result<()> {
        let size = self.sandboxes.len();
        let broken = self.broken();

        let first = self.run_playbook(&[])?;
        table.push(first.row("first"));
        print(&first.output);
        for number in 0..size {
            let (name, report) = (name(number), self.report(&name(number))?);
            print(&stages(&name, &report));
            if Some(&name) == broken.as_ref() {
                ensure!(
                    (&report["result"], &report["exit_code"]) == (&json!("failed"), &json!(5)),
                    "{report}"
                );
                ensure!(first.hosts[&name]["failed"] == 1, "{name} did not fail: {}", first.output);
                for key in ["message", "culprit", "cause", "fix"] {
                    let text = report["failure"][key].as_str().context("no text")?;
                    ensure!(first.output.contains(text), "no `{text}` in {}", first.output);
                }
                ensure!(report["failure"]["reason"].to_string().contains("decrypt"), "{report}");
            } else {
                ensure!(
                    (&report["result"], &report["changed"]) == (&json!("complete"), &json!(true)),
                    "{name}: {report}\n{}",
                    first.output
                );
                first.expect(&name, 1)?;
            }
        }
        ensure!(first.code == Some(if broken.is_some() { 2 } else { 0 }), "exit code {:?}", first.code);

        let healthy =
            format!("clusters{}", broken.as_ref().map(|name| format!(":!{name}")).unwrap_or_default());
        let second = self.run_playbook(&["--limit", &healthy])?;
        table.push(second.row("second"));
        ensure!(second.changing == 0, "the second run sent {} changing requests", second.changing);
        ensure!(
            second.code == Some(0) && second.hosts.len() == size - usize::from(broken.is_some()),
            "{}",
            second.output
        );
        second.hosts.keys().try_for_each(|name| second.expect(name, 0))?;

        if let Some(name) = &broken {
            // With the right key, which replaces the one in the cluster.
            let last = self.sandboxes.last().context("no cluster")?;
            let variables =
                json!({"k3s_boot_age_key_file": last.age_key(), "k3s_boot_arguments": ["--rotate-age-key"]});
            let variables = variables.to_string();
            let arguments = ["--limit", name, "--extra-vars", &variables];
            let check = self.run_playbook(&[&arguments[..], &["--check", "--diff"]].concat())?;
            ensure!(check.changing == 0, "`--check` sent {} changing requests", check.changing);
            ensure!(check.output.contains("flux-system/sops-age"), "no difference in {}", check.output);
            check.expect(name, 1)?;
            let fixed = self.run_playbook(&arguments)?;
            fixed.expect(name, 1)?;
            ensure!(self.report(name)?["result"] == "complete", "{}", fixed.output);
        }

        let check = self.run_playbook(&["--check", "--limit", &healthy])?;
        table.push(check.row("`--check`"));
        ensure!(check.code == Some(0) && check.changing == 0, "{}", check.output);
        check.hosts.keys().try_for_each(|name| check.expect(name, 0))
    }

    /// Runs the playbook, and checks that no secret is in its output and its files.
    fn run_playbook(&self, arguments: &[&str]) -> Result<PlaybookRun> {
        let first = self.sandboxes.first().context("no cluster")?;
        let registry = first.registry().faults();
        let marks = self.sandboxes.iter().map(Sandbox::audit_mark).collect::<Result<Vec<_>>>()?;
        let (pulls, pulled) = (registry.count(), registry.bytes());
        let path = self.folder.path().join("output");
        let file = File::create(&path)?;
        let mut child = self
            .command()
            .args(["--forks", &self.sandboxes.len().to_string(), "--inventory"])
            .arg(self.folder.path().join("clusters.json"))
            .args(arguments)
            .arg("bootstrap.yml")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot run `ansible-playbook`")?;
        let (status, usage) = measure(&mut child, &self.sandboxes)?;
        let output = fs::read_to_string(&path)?;
        for folder in [&self.home, &self.checkout.temp(), &self.reports()] {
            let leaks = leaks(&self.secrets, folder)?;
            ensure!(leaks.is_empty(), "secrets found in {leaks:?}");
        }
        let leaked = crate::secrets::SecretSearch::new(&self.secrets)?.find(output.as_bytes());
        ensure!(leaked.is_none(), "a secret is in the output of Ansible");
        let (requests, changing) = self.count(&marks)?;
        Ok(PlaybookRun {
            code: status.code(),
            hosts: recaps(&output),
            output,
            usage,
            requests,
            changing,
            pulls: registry.count() - pulls,
            pulled: registry.bytes() - pulled,
        })
    }

    /// `ansible-playbook`, with the tools of a sandbox, and with variables that lead to no cluster.
    fn command(&self) -> Command {
        let mut command = self.checkout.command(&self.sandboxes[0], &self.python.join("ansible-playbook"));
        let variables = [
            "KUBECONFIG",
            "SOPS_AGE_KEY_FILE",
            "K3S_API_HOST",
            "FLUX_GIT_URL",
            "FLUX_GIT_REF",
            "FLUX_GIT_PATH",
        ];
        for name in variables {
            command.env_remove(name);
        }
        for (name, folder) in [
            ("HOME", ""),
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_STATE_HOME", ".local/state"),
        ] {
            command.env(name, self.home.join(folder));
        }
        command.env("NO_COLOR", "1").current_dir(workspace().join("deploy/ansible"));
        command
    }

    /// All requests of the programs under test since these marks, and those that change something.
    fn count(&self, marks: &[Mark]) -> Result<(usize, usize)> {
        let (mut requests, mut changing) = (0, 0);
        for (sandbox, mark) in self.sandboxes.iter().zip(marks) {
            let events = sandbox.audit_since(*mark)?;
            requests += events.iter().filter(|event| event.is_from_admin()).count();
            changing += events.iter().filter(|event| event.is_mutating()).count();
        }
        Ok((requests, changing))
    }
}

impl PlaybookRun {
    /// Checks that a host succeeded, with this number of changed tasks.
    fn expect(&self, name: &str, changed: usize) -> Result<()> {
        let recap = self.hosts.get(name).with_context(|| format!("no {name} in {}", self.output))?;
        ensure!(
            (recap["failed"], recap["unreachable"], recap["changed"]) == (0, 0, changed),
            "{name}: {recap:?}, expected {changed} changed\n{}",
            self.output
        );
        Ok(())
    }

    /// Seconds of processor time of the programs whose names start like this.
    fn cpu(&self, names: &[&str]) -> f64 {
        let programs = self.usage.programs.iter();
        programs
            .filter(|(program, _)| {
                names.iter().any(|name| program == name || program.starts_with(&format!("{name}-")))
            })
            .map(|(_, seconds)| seconds)
            .sum()
    }

    /// A row of the table.
    fn row(&self, what: &str) -> String {
        let Usage { wall, total, planes, api_servers, memory, planes_memory, .. } = &self.usage;
        let ansible = self.cpu(&["ansible", "python", "python3"]);
        let (boot, helmfile, helm) = (self.cpu(&["k3s-boot"]), self.cpu(&["helmfile"]), self.cpu(&["helm"]));
        format!(
            "| {} | {what} | {wall:.1} s | {ansible:.1} s | {boot:.1} s | {helmfile:.1} s | {helm:.1} s | {:.1} s | {planes:.1} s, API servers {api_servers:.1} s | {:.2} | {} MB | {} MB | {} requests, {} kB | {} ({}) |",
            self.hosts.len(),
            (total - ansible - boot - helmfile - helm).max(0.0),
            (total + planes) / wall,
            memory / 1_000_000,
            planes_memory / 1_000_000,
            self.pulls,
            self.pulled / 1000,
            self.requests,
            self.changing,
        )
    }
}

/// How long the stages of a run took.
fn stages(name: &str, report: &Value) -> String {
    let stages = report["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let stages: Vec<_> = stages
        .iter()
        .map(|stage| format!("{} {} s", stage["name"].as_str().unwrap_or_default(), stage["seconds"]))
        .collect();
    format!("{name}: {} in {} s: {}", report["result"], report["seconds"], stages.join(", "))
}

fn name(number: usize) -> String {
    format!("cluster-{}", number + 1)
}

/// The lines below `PLAY RECAP`, such as `cluster-1 : ok=2 changed=1 failed=0`.
fn recaps(output: &str) -> BTreeMap<String, Recap> {
    let (_, recap) = output.rsplit_once("PLAY RECAP").unwrap_or_default();
    let line = |line: &str| {
        let (host, fields) = line.split_once(':')?;
        let fields = fields.split_whitespace().filter_map(|field| {
            let (name, value) = field.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Some((host.trim().to_owned(), fields.collect()))
    };
    recap.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::recaps;

    #[test]
    fn recap_is_parsed() {
        let output =
            "TASK [x]\n\nPLAY RECAP ****\ncluster-1    : ok=2    changed=1    unreachable=0    failed=0 \n\n";
        let recaps = recaps(output);
        assert_eq!((recaps.len(), recaps["cluster-1"]["changed"], recaps["cluster-1"]["failed"]), (1, 1, 0));
    }
}
