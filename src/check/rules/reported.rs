//! Rules whose findings are reported while files and responses are read, because only there the line or message is known.
//! Without findings, a row decides whether there was anything to read.

use super::charts;
use crate::check::{Answer, Check, Facts, Group, Needs, Rule};

pub(super) const CONFIG: Rule = Rule {
    id: "config",
    group: Group::Environment,
    title: "k3s-boot.yaml is valid",
    why: "It pins the cluster of this repository and overrides defaults. A misspelt key that is silently ignored \
          could drop the pin, and with it the protection of other clusters.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(|facts| {
        if facts.options.config_found {
            Answer::Ok
        } else {
            Answer::not_applicable("there is no k3s-boot.yaml")
        }
    }),
};

pub(super) const ENV: Rule = Rule {
    id: "env",
    group: Group::Environment,
    title: "required environment variables are set",
    why: "Templates read variables with `requiredEnv`. helmfile stops at the first one that is missing, for the last \
          release only after all others are installed. KUBECONFIG must be set: without it, kubectl and helm silently \
          use `~/.kube/config`, which may be for another cluster, or `localhost:8080`.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(env),
};

pub(super) const ENVIRONMENT: Rule = Rule {
    id: "environment",
    group: Group::Environment,
    title: "files with variables for templates can be read",
    why: "`environment` in k3s-boot.yaml lists files whose variables the templates read. A variable that is missing or \
          has two values would end up in the values of a release as an empty or a wrong text.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(|facts| match facts.options.environment_files {
        0 => Answer::not_applicable("k3s-boot.yaml lists no files with variables"),
        _ if !facts.desired.coverage.undecrypted_variables => Answer::Ok,
        _ if facts.options.offline => Answer::unknown("nothing is decrypted with --offline"),
        _ => Answer::unknown("sops is not installed"),
    }),
};

pub(super) const PROGRAMS: Rule = Rule {
    id: "programs",
    group: Group::Environment,
    title: "required programs are installed",
    why: "k3s-boot runs helmfile, kubectl and sops, and helmfile runs helm. Without this check, a missing program \
          would stop a bootstrap half-way.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(|facts| {
        if facts.observed.programs.is_empty() {
            Answer::unknown("no program was looked up")
        } else {
            Answer::Ok
        }
    }),
};

pub(super) const HELMFILE: Rule = Rule {
    id: "helmfile",
    group: Group::Repository,
    title: "helmfiles and their values are valid",
    why: "Paths in a helmfile are relative to its own folder, and helmfile renders values group by group: a missing \
          file or a template error stops it after the first releases are installed.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(|facts| facts.desired.unread().map_or(Answer::Ok, Answer::Unknown)),
};

pub(super) const HOOKS: Rule = Rule {
    id: "hooks",
    group: Group::Repository,
    title: "helmfiles run no commands while rendering",
    why: "helmfile runs `prepare` hooks and `exec` for `list`, `build` and `template` too, so even a read-only \
          command could change the cluster.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(|facts| {
        if facts.options.allow_hooks {
            return Answer::not_applicable("allowed by --allow-hooks");
        }
        facts.desired.unread().map_or(Answer::Ok, Answer::Unknown)
    }),
};

pub(super) const CHART_LOGIN: Rule = Rule {
    id: "chart-login",
    group: Group::Repository,
    title: "no expired registry login blocks a public chart",
    why: "A registry answers 401 or 403 to an expired login, even for a public chart. `helm registry login` and \
          `docker login` both store logins.",
    essential: true,
    needs: Needs::Network,
    check: Check::Reported(charts::downloaded),
};

pub(super) const NAMESPACES: Rule = Rule {
    id: "namespaces",
    group: Group::Repository,
    title: "namespaces in kubernetes/apps can be created",
    why: "A folder in `kubernetes/apps` is a namespace if its kustomization contains or sets one. Its name consists of \
          lower-case letters, digits and `-`. Labels of its Namespace, such as those of Pod Security, must be set before \
          pods are created.",
    essential: false,
    needs: Needs::Files,
    check: Check::Reported(|facts| {
        if facts.options.namespaces.is_some() {
            Answer::not_applicable("k3s-boot.yaml lists the namespaces")
        } else if facts.desired.coverage.app_folders == 0 {
            Answer::not_applicable("there are no folders in kubernetes/apps")
        } else {
            Answer::Ok
        }
    }),
};

pub(super) const OLD_SCRIPT: Rule = Rule {
    id: "old-script",
    group: Group::Repository,
    title: "the original bootstrap-apps.sh is removed",
    why: "bootstrap-apps.sh never syncs 00-crds.yaml, never runs sops, and reports success without checking that \
          Flux syncs. Running it out of habit leaves half a cluster.",
    essential: false,
    needs: Needs::Files,
    check: Check::Reported(|facts| {
        if facts.desired.coverage.scripts == 0 {
            Answer::not_applicable("there is no bootstrap-apps.sh")
        } else {
            // A script of that name may be another program.
            Answer::not_applicable("bootstrap-apps.sh is not the original one")
        }
    }),
};

pub(super) const AGE_KEY: Rule = Rule {
    id: "age-key",
    group: Group::Secrets,
    title: "the age key is valid",
    why: "kustomize-controller rejects the whole key file if a single line is not an identity, and reports it only \
          when Flux first decrypts a file.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(|facts| facts.age_key().map_or_else(|answer| answer, |_| Answer::Ok)),
};

pub(super) const SOPS: Rule = Rule {
    id: "sops",
    group: Group::Secrets,
    title: "encrypted files in bootstrap/ can be decrypted",
    why: "They are applied before Flux is installed: without its deploy key, Flux cannot fetch the repository.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(sops),
};

pub(super) const SECRETS_COMMANDS: Rule = Rule {
    id: "secrets-commands",
    group: Group::Secrets,
    title: "the commands of `secrets.commands` print manifests",
    why: "Their secrets are applied before Flux is installed. A template for such a command, without the command, means that \
          secrets are missing which other releases need.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(|facts| match (facts.desired.coverage.commands, facts.options.offline) {
        (0, _) => Answer::not_applicable("no command is configured or needed"),
        (_, true) => Answer::unknown("no command runs with --offline"),
        (_, false) => Answer::Ok,
    }),
};

pub(super) const MANIFESTS: Rule = Rule {
    id: "manifests",
    group: Group::Repository,
    title: "the manifests of k3s-boot.yaml can be applied",
    why: "They are applied before the helmfiles, so a missing file, another file behind a URL, or an object whose CRD is \
          missing would end the bootstrap half-way.",
    essential: true,
    needs: Needs::Files,
    check: Check::Reported(|facts| match facts.desired.coverage.manifests {
        0 => Answer::not_applicable("k3s-boot.yaml names no manifests"),
        _ => Answer::Ok,
    }),
};

pub(super) const KUBECONFIG: Rule = Rule {
    id: "kubeconfig",
    group: Group::Kubeconfig,
    title: "the kubeconfig selects a cluster",
    why: "If the kubeconfig file does not exist, kubectl and helm silently use `localhost:8080`. Every k3s context \
          is called `default`.",
    essential: true,
    needs: Needs::Network,
    check: Check::Reported(|facts| match facts.observed.target {
        Some(_) => Answer::Ok,
        None => Answer::unknown(facts.unanswered()),
    }),
};

pub(super) const API: Rule = Rule {
    id: "api",
    group: Group::Kubeconfig,
    title: "the API server responds",
    why: "Unreachable, unauthorized and untrusted API servers need different fixes; after k3s was reinstalled, the \
          API server rejects the old kubeconfig.",
    essential: true,
    needs: Needs::Network,
    check: Check::Reported(|facts| match facts.observed.live {
        Some(_) => Answer::Ok,
        None => Answer::unknown(facts.unanswered()),
    }),
};

fn env(facts: &Facts<'_>) -> Answer {
    // Offline, KUBECONFIG is not needed.
    let kubeconfig = !facts.options.offline && !facts.options.kubeconfig.is_empty();
    match facts.desired.unread() {
        Some(reason) => Answer::Unknown(reason),
        None if kubeconfig || facts.desired.coverage.requires_variables => Answer::Ok,
        None => Answer::not_applicable("no template requires a variable"),
    }
}

fn sops(facts: &Facts<'_>) -> Answer {
    if !facts.desired.encrypted.iter().any(|file| file.in_bootstrap) {
        return Answer::not_applicable("bootstrap/ has no encrypted files");
    }
    let sops = facts.observed.programs.iter().find(|program| program.name == "sops");
    if facts.options.offline {
        Answer::unknown("nothing is decrypted with --offline")
    } else if sops.is_none_or(|sops| sops.path.is_none()) {
        Answer::unknown("sops is not installed")
    } else {
        Answer::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;
    use crate::check::fixture::World;
    use crate::desired::encrypted::EncryptedFile;
    use crate::observed::{Live, Program};
    use crate::tools::kubeconfig::Target;

    #[test]
    fn reported_findings_are_returned() {
        let mut world = World::shipped();
        world.assert_found(&OLD_SCRIPT, &["- there is no bootstrap-apps.sh"]);
        world.desired.coverage.scripts = 1;
        world.assert_found(&OLD_SCRIPT, &["- bootstrap-apps.sh is not the original one"]);
        world.desired.problems.push(Finding::warning("old-script", "Old bootstrap script is still there"));
        world.assert_found(&OLD_SCRIPT, &["warning Old bootstrap script is still there"]);
    }

    #[test]
    fn findings_of_the_download_are_reported() {
        let mut world = World::shipped();
        world.assert_found(&CHART_LOGIN, &["unknown not downloaded: prometheus-operator-crds 19.1.0"]);
        World::of("- {name: a, chart: ./a}\n")
            .assert_found(&CHART_LOGIN, &["- no chart comes from a registry"]);
        let message = "Expired registry login blocks a public chart";
        world.desired.problems.push(Finding::error("chart-login", message));
        world.assert_found(&CHART_LOGIN, &[&format!("error {message}")]);
    }

    #[test]
    fn files_that_were_not_decrypted_are_unknown() {
        let mut world = World::shipped();
        world.options.offline = true;
        world.assert_found(&SOPS, &["- bootstrap/ has no encrypted files"]);
        world.desired.encrypted.push(EncryptedFile { in_bootstrap: true, ..EncryptedFile::default() });
        world.assert_found(&SOPS, &["unknown nothing is decrypted with --offline"]);
        world.options.offline = false;
        let sops = |path| Program { name: "sops", path, version: Err("not asked".to_owned()) };
        world.observed.programs = vec![sops(Some("/bin/sops".into()))];
        world.assert_found(&SOPS, &[]);
        world.observed.programs = vec![sops(None)];
        world.assert_found(&SOPS, &["unknown sops is not installed"]);
        world.desired.problems.push(Finding::error("sops", "Encrypted file is plain text"));
        world.assert_found(&SOPS, &["error Encrypted file is plain text"]);
    }

    #[test]
    fn variables_that_were_not_decrypted_are_unknown() {
        let mut world = World::shipped();
        world.assert_found(&ENVIRONMENT, &["- k3s-boot.yaml lists no files with variables"]);
        world.options.environment_files = 1;
        world.assert_found(&ENVIRONMENT, &[]);
        world.desired.coverage.undecrypted_variables = true;
        world.assert_found(&ENVIRONMENT, &["unknown sops is not installed"]);
        world.options.offline = true;
        world.assert_found(&ENVIRONMENT, &["unknown nothing is decrypted with --offline"]);
        world.desired.problems.push(Finding::error("environment", "Variable has two different values"));
        world.assert_found(&ENVIRONMENT, &["error Variable has two different values"]);
    }

    #[test]
    fn without_a_kubeconfig_it_is_unknown() {
        let mut world = World::shipped();
        world.assert_found(&KUBECONFIG, &["unknown no kubeconfig was read"]);
        world.observed.target = Some(Target::default());
        world.assert_found(&KUBECONFIG, &[]);
        world.observed.target = None;
        world.desired.problems.push(Finding::error("kubeconfig", "Kubeconfig file not found"));
        world.assert_found(&KUBECONFIG, &["error Kubeconfig file not found"]);
    }

    #[test]
    fn a_server_that_was_not_queried_is_unknown() {
        let mut world = World::shipped();
        world.observed.live = None;
        world.assert_found(&API, &["unknown no kubeconfig was read"]);
        world.desired.problems.push(Finding::error("api", "Cluster unreachable"));
        world.assert_found(&API, &["error Cluster unreachable"]);
        world.desired.problems.clear();
        world.observed.live = Some(Live::default());
        world.assert_found(&API, &[]);
    }
}
