//! Every fix that is a command: running it as printed fixes the problem.
//!
//! The tables here are compared with the rules and the known failures of the program, so that
//! `every_fix_that_is_a_command_is_covered` fails for a new command until a scenario runs it.

mod cluster;
mod failures;
mod helm_chart;
mod k3s;
mod repository;

use std::collections::BTreeSet;
use std::path::Path;

use k3s_boot::internals::{known_failures, rule_ids};
use serde_json::Value;

use self::Case::{NoCommand, Person, Runs, Shows, Unavailable};
use super::fixture::{Fixture, RunResult};
use super::support::bin_dir;

/// How a test covers the commands in the fix of a rule or of a known failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// The fix has no commands.
    NoCommand,
    /// A scenario runs them, which fixes the problem.
    Runs,
    /// They only show something; a scenario runs them, and they succeed.
    Shows,
    /// As `Runs`, except for this part, which the user must choose.
    Person(&'static str),
    /// They need something that the sandbox does not have.
    Unavailable(&'static str),
}

const K3S: &str = "`systemctl restart k3s` needs a k3s node: the scenario starts the simulated one with the lines of the fix";

/// The rules whose fixes have commands. All others are `NoCommand`.
const RULES: &[(&str, Case)] = &[
    ("env", Person("the value of a variable")),
    ("config", Runs),
    ("helmfile", Runs),
    ("charts", Unavailable("`helm show chart` only repeats the error of the registry")),
    ("chart-login", Person("which program keeps the login: `docker` is none of the sandbox")),
    ("old-script", Runs),
    ("age-key", Person("a new key: what the old one decrypts is lost")),
    ("age-key-mode", Runs),
    ("age-key-git", Runs),
    (
        "age-key-flux",
        Unavailable("a key of another kind, for every encrypted file: `sops-recipients` runs the rest"),
    ),
    ("sops", Runs),
    ("sops-plain", Runs),
    ("sops-recipients", Runs),
    ("kubeconfig", Person("the name of a context")),
    ("kubeconfig-cert", Unavailable("only k3s renews the certificate")),
    ("api", Person("the address of a server")),
    ("cluster-identity", Person("that it is the right cluster: `yes`")),
    ("api-ready", Unavailable("`journalctl -u k3s` shows the log of a k3s node")),
    ("rights", Unavailable("`kubectl auth can-i` only repeats the check")),
    ("clock", Unavailable("the clock of this machine stays as it is; `date -u` shows it")),
    ("k3s-flannel", Person(K3S)),
    ("k3s-network-policy", Person(K3S)),
    ("k3s-kube-proxy", Person(K3S)),
    ("k3s-coredns", Person(K3S)),
    ("k3s-bundled", Person(K3S)),
    ("coredns-bundled", Person(K3S)),
    ("bundled-adopted", Person(K3S)),
    ("nodes", Unavailable("`systemctl status k3s` shows the service of a k3s node")),
    ("nodes-ready", Runs),
    ("taints", Person("the node that gets the label")),
    ("dns-address", Shows),
    ("api-host-cert", Unavailable("only k3s makes a certificate with `tls-san`")),
    ("pending", Person("that no other helm is running: `yes`, and `--force` for a recent operation")),
    ("flux-owned", Person("that the file is gone from all servers")),
    ("drift", Runs),
    ("plan", Shows),
    (
        "helm-features",
        Unavailable(
            "`kustomizeBinary: kubectl kustomize` is a line of a helmfile; what is missing is for a person to install",
        ),
    ),
];

/// The known failures whose fixes have commands. All others are `NoCommand`.
const FAILURES: &[(&str, Case)] = &[
    (
        "coredns-bundled",
        Person("which CoreDNS stays: as of the rule, or as in `bundled_coredns_can_be_kept`"),
    ),
    ("ownership", Shows),
    ("service-address", Shows),
    ("locked", Person("the same command as of the rule `pending`")),
    ("startupapicheck", Shows),
    ("values-schema", Unavailable("`helm show values CHART` shows the values of a chart")),
    ("limit-range", Shows),
    ("quota", Shows),
    ("pod-security", Runs),
    ("terminating", Shows),
    ("service-range", Shows),
    ("service-port", Shows),
    ("service-network", Shows),
    ("aggregated-api", Shows),
    ("webhook-certificate", Unavailable("no container runs in the sandbox, so none has a log")),
    ("conflict-flux", Person("which of the two manages the object")),
    ("api-clock", Shows),
    ("node-disk", Unavailable("`df` on a k3s node")),
    ("disk-full", Shows),
    ("conflict", Runs),
    ("api-busy", Shows),
    ("killed", Unavailable("`dmesg` is for root")),
    ("node-not-ready", Shows),
    ("node-pressure", Shows),
    ("node-cordoned", Person("the node")),
    ("pod-affinity", Shows),
    ("storage-class", Shows),
    ("volume", Shows),
    ("taint", Person("the key of the taint")),
    ("start-error", Shows),
    ("init-container", Unavailable("no container runs in the sandbox, so none has a log")),
    ("cni", Shows),
    ("node-down", Shows),
    ("sandbox", Shows),
    ("image", Shows),
    ("crash-loop", Unavailable("no container runs in the sandbox, so none has a log")),
    ("ended", Unavailable("no container runs in the sandbox, so none has a log")),
    ("readiness", Unavailable("no container runs in the sandbox, so none has a log")),
    ("clock", Shows),
    ("login-broken", Person("the registry: the same command as of the rule `chart-login`")),
    ("login-missing", Person("the registry, and the login")),
    ("proxy-login", Person("the login of the proxy")),
    ("registry-denied", Person("the registry: the same command as of the rule `chart-login`")),
    ("api-gone", Shows),
    ("service-account", Shows),
    ("api-starting", Shows),
];

/// Files with commands in fixes, besides those of rules and of known failures, with their rules. The fix of an unknown
/// failure is `k3s-boot status` or `check`, which only show something.
const SOURCES: &[&str] = &[
    "base/distribution.rs", // api, api-ready, nodes, nodes-ready: logs of a distribution, which show
    "check/adopted.rs",     // bundled-adopted, k3s-coredns
    "check/k3s.rs",         // k3s-*, coredns-bundled
    "commands/apps/takeover.rs", // the last words of a run that was stopped after a stage
    "commands/init.rs", // what to run next, and flags of init: tests/real/init.rs and tests/fake/init.rs run both
    "commands/recover.rs", // what to run next
    "settings/config.rs", // config
    "settings/config/words.rs", // config
    "desired/encrypted.rs", // sops: how to resolve a conflict, which a person does
    "desired/repository.rs", // helmfile: a file that helmfile does not render
    "desired/sops_config.rs", // sops, sops-plain
    "base/error.rs",    // k3s-boot status, which shows
    "gather/builds.rs", // chart-login
    "gather/no_answer.rs", // api
    "gather/unfetched.rs", // charts, chart-login
    "gather/crds.rs",   // the name of a command of helm, in a reason
    "gather/files.rs",  // age-key, old-script
    "gather/secrets.rs", // sops: `kubectl api-resources`, which shows
    "check/cluster_identity.rs", // cluster-identity
    "tools/kubeconfig.rs", // kubeconfig
    "gather/manifests.rs", // k3s-boot check, which fills the cache
    "plan/namespaces.rs", // plan: kubectl get, which shows
    "plan/recovery.rs", // pending; `flux` is no program of the sandbox
    "report/diff.rs",   // the heading of a diff
    "report/failure.rs", // k3s-boot check and status, which show
    "settings.rs",      // env
    "tools/sops.rs",    // sops
    "report/version.rs", // the name of the program
    "diagnose/flux/kustomizations.rs", // kubectl describe, which shows
    "run/failures.rs",  // the reason of a release, in words
    "run/releases.rs",  // k3s-boot status, which shows
    "run/verify/warnings.rs", // k3s-boot status, which shows
];

/// The programs in fixes.
const PROGRAMS: [&str; 21] = [
    "age-keygen",
    "chmod",
    "cp",
    "date",
    "df",
    "dmesg",
    "docker",
    "export",
    "flux",
    "for",
    "git",
    "helm",
    "journalctl",
    "k3s-boot",
    "kubectl",
    "kustomize",
    "mv",
    "rm",
    "sops",
    "sudo",
    "systemctl",
];

/// The commands of a fix: text that starts with a program, at the start of a line, in backticks or after `: `.
fn commands(fix: &str) -> Vec<String> {
    let starts = |text: &str| {
        let mut words = text.split(' ');
        let program = words.next().unwrap_or_default();
        PROGRAMS.contains(&program) && words.next().is_some_and(|next| !PROSE.contains(&next))
    };
    let mut found = Vec::new();
    for line in fix.lines() {
        let plain = line.trim_start_matches(['#', ' ']);
        if starts(line) {
            found.push(line.to_owned());
            continue;
        }
        let quoted = plain.split('`').skip(1).step_by(2).filter(|text| starts(text));
        found.extend(quoted.map(ToOwned::to_owned));
        if let Some((_, last)) = plain.rsplit_once(": ").filter(|(_, last)| starts(last)) {
            found.push(last.to_owned());
        }
    }
    found
}

fn case(table: &[(&str, Case)], id: &str) -> Case {
    table.iter().find(|(known, _)| *known == id).map_or(NoCommand, |(_, case)| *case)
}

#[test]
fn every_fix_that_is_a_command_is_covered() {
    let ids: BTreeSet<_> = rule_ids().collect();
    let scenarios = ["cluster.rs", "helm_chart.rs", "k3s.rs", "repository.rs"].map(|file| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/fixes").join(file);
        std::fs::read_to_string(path).unwrap()
    });
    for (id, case) in RULES {
        assert!(ids.contains(id), "no rule is called {id}");
        let has_scenario = scenarios.iter().any(|text| text.contains(&format!("\"{id}\"")));
        assert_eq!(has_scenario, !matches!(case, Unavailable(_)), "a scenario for {id}");
    }
    let failures: BTreeSet<_> = known_failures().map(|known| known.id).collect();
    for (id, _) in FAILURES {
        assert!(failures.contains(id), "no failure is called {id}");
    }
    let wrong = known_failures().filter_map(|failure| {
        let commands = commands(&failure.fix(&"kube-system/coredns".into(), Some("pod")));
        let is_listed = case(FAILURES, failure.id) != NoCommand;
        (is_listed == commands.is_empty()).then(|| format!("failure {}: {commands:?}", failure.id))
    });
    let mut wrong: Vec<_> = wrong.collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in std::fs::read_dir(source.join("check/rules")).unwrap().map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut sections = text.split(": Rule = Rule {");
        let mut code = sections.next().unwrap().to_owned();
        let mut ids = Vec::new();
        for section in sections {
            let (rule, rest) = section.split_once("\n};").unwrap();
            ids.push(rule.split("    id: \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap());
            code.push_str(rest);
        }
        if has_commands(&code) && ids.iter().all(|id| case(RULES, id) == NoCommand) {
            wrong.push(format!("rules {ids:?}"));
        }
    }
    assert_eq!(wrong, [""; 0], "listed without a command, or with a command and not listed");
    let with_commands = files(&source, &source);
    let known: BTreeSet<_> = SOURCES.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(with_commands, known);
}

/// Whether source text has a command in a string, outside of its tests.
fn has_commands(text: &str) -> bool {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.into_iter().any(|line| {
        ["\"", "\\n", "`", ": "].iter().any(|before| {
            line.split(before).skip(1).any(|rest| {
                let (program, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let word = rest.split([' ', '"', '`']).next().unwrap_or_default();
                PROGRAMS.contains(&program) && !word.is_empty() && !PROSE.contains(&word)
            })
        })
    })
}

/// Words that follow the name of a program in a sentence.
const PROSE: [&str; 16] = [
    "is",
    "cannot",
    "build",
    "encrypted",
    "keeps",
    "ended",
    "gave",
    "failed",
    "run",
    "metadata",
    "makes",
    "with",
    "each",
    "a",
    "ended:",
    "crashed:",
];

/// The source files in a folder that have commands, without those of rules and of known failures.
fn files(folder: &Path, source: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.strip_prefix(source).unwrap().display().to_string();
        let is_covered = name == "check/rules" || name.starts_with("base/known_failures");
        let is_test = ["check/testing.rs", "check/empty.rs", "check/fixture.rs"].contains(&name.as_str());
        if is_covered || is_test || name.ends_with("tests.rs") || name == "commands/docs.rs" {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, source));
        } else if has_commands(&std::fs::read_to_string(&path).unwrap()) {
            found.insert(name);
        }
    }
    found
}

impl Fixture {
    /// The `fix` of each problem that a rule reports now.
    #[track_caller]
    fn fixes(&self, rule: &str, args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
        let mut k3s_boot = self.k3s_boot(&[&["check", "-o", "json"], args].concat());
        for (name, value) in env {
            k3s_boot = k3s_boot.env(name, value);
        }
        let ran = k3s_boot.run();
        let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["id"] == rule).unwrap();
        let problems = check["problems"].as_array().into_iter().flatten();
        problems.map(|problem| problem["fix"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Runs a command in the repository, with k3s-boot and its tools on PATH.
    fn shell(&self, command: &str) -> RunResult {
        self.shell_with(command, &[])
    }

    fn shell_with(&self, command: &str, env: &[(&str, &str)]) -> RunResult {
        let program = bin_dir().display();
        let tools = self.sandbox.tools().path_dir().display().to_string();
        let path = format!("{program}:{tools}:{}", std::env::var("PATH").unwrap());
        let mut k3s_boot = self.program("sh", &["-c", command]).env("PATH", path);
        for (name, value) in env {
            k3s_boot = k3s_boot.env(name, value);
        }
        k3s_boot.run()
    }
}

/// A problem and its fix.
struct Scenario<'a> {
    fixture: &'a Fixture,
    rule: &'a str,
    args: &'a [&'a str],
    env: &'a [(&'a str, &'a str)],
}

impl<'a> Scenario<'a> {
    fn new(fixture: &'a Fixture, rule: &'a str) -> Self {
        assert!(matches!(case(RULES, rule), Runs | Person(_)), "{rule} is not listed");
        Self { fixture, rule, args: &[], env: &[] }
    }

    fn args(self, args: &'a [&'a str]) -> Self {
        Self { args, ..self }
    }

    fn env(self, env: &'a [(&'a str, &'a str)]) -> Self {
        Self { env, ..self }
    }

    /// The fix that is reported now. Several problems have the same one.
    #[track_caller]
    fn fix(&self) -> String {
        let mut fixes = self.fixture.fixes(self.rule, self.args, self.env);
        // A login blocks several charts.
        fixes.dedup();
        let [fix] = &fixes[..] else { panic!("{}: {fixes:?}", self.rule) };
        fix.clone()
    }

    /// Runs the fix as printed and checks that the problem is fixed.
    #[track_caller]
    fn runs(&self) {
        self.runs_with(|fix| fix);
    }

    /// Runs the fix with the part that the user must choose.
    #[track_caller]
    fn runs_with(&self, choose: impl FnOnce(String) -> String) {
        let fix = self.fix();
        let command = choose(fix);
        let ran = self.fixture.shell_with(&command, self.env);
        ran.assert().append_context("rule", self.rule.to_owned()).code(0);
        self.assert_fixed();
    }

    #[track_caller]
    fn assert_fixed(&self) {
        let left = self.fixture.fixes(self.rule, self.args, self.env);
        assert_eq!(left, [""; 0], "{}", self.rule);
    }
}
