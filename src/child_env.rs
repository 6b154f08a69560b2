//! The environment that the tools get: the user's, less what could lead them elsewhere.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::env::Env;
use crate::kubeconfig::Target;
use crate::process::identity::{self, Identity};
use crate::settings::Settings;
use crate::url::Url;

/// These choose cluster, namespace, file or binary, and would beat what we pass explicitly; they are removed and
/// named. (`HELM_KUBEAPISERVER` beats `--kubeconfig`: tried with helm 4.2.)
const LEAD_ELSEWHERE: [&str; 7] = [
    "HELM_NAMESPACE",
    "HELMFILE_FILE_PATH",
    "HELMFILE_HELM_BINARY",
    "HELMFILE_KUBE_CONTEXT",
    "HELMFILE_KUSTOMIZE_BINARY",
    "HELMFILE_NAMESPACE",
    "KUBERNETES_MASTER",
];

/// These change what the tools print or make them ask; nothing is lost with them, so they go without a word.
const CHANGE_OUTPUT: [&str; 9] = [
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
    "HELM_DEBUG",
    "HELMFILE_CACHE_HOME",
    "HELMFILE_DEBUG",
    "HELMFILE_INTERACTIVE",
    "HELMFILE_LOG_LEVEL",
    "HELMFILE_QUIET",
    "LOG_LEVEL",
];

/// Identities for decrypting: secrets that only sops needs, and helmfile where values refer to encrypted files.
pub const AGE_IDENTITIES: [&str; 2] = ["SOPS_AGE_KEY", "SOPS_AGE_KEY_CMD"];

/// All tools are Go programs that live for seconds. Collecting garbage takes an eighth of helm's time, and comes four times less
/// often so, unless memory runs short (<https://go.dev/doc/gc-guide>).
const QUICK: [(&str, &str); 2] = [("GOGC", "400"), ("GOMEMLIMIT", "512MiB")];

/// An environment for tools.
#[derive(Debug)]
pub struct ChildEnv {
    /// All variables.
    pub vars: Vec<(OsString, OsString)>,
    /// The names of those that were set and would have led the tools elsewhere.
    pub removed: Vec<String>,
}

fn leads_elsewhere(name: &str) -> bool {
    LEAD_ELSEWHERE.contains(&name) || name.starts_with("HELM_KUBE")
}

/// Builds it. Temporary files go to `temp`.
#[must_use]
pub fn build(env: &Env, settings: &Settings, target: &Target, temp: &Path) -> ChildEnv {
    let mut removed = Vec::new();
    let ours = ours(settings, target, temp);
    let mut vars = Vec::new();
    for (name, value) in env.iter() {
        let text = name.to_string_lossy();
        if leads_elsewhere(&text) {
            removed.push(text.into_owned());
        } else if !CHANGE_OUTPUT.contains(&text.as_ref()) && !ours.iter().any(|(known, _)| *known == text) {
            vars.push((name.to_owned(), value.to_owned()));
        }
    }
    // The user's own hold.
    let quick = QUICK.iter().filter(|(name, _)| env.get(name).is_none());
    vars.extend(quick.map(|(name, value)| (OsString::from(name), OsString::from(value))));
    vars.extend(ours.into_iter().map(|(name, value)| (OsString::from(name), value)));
    ChildEnv { vars, removed }
}

fn ours(settings: &Settings, target: &Target, temp: &Path) -> Vec<(&'static str, OsString)> {
    let mut kubeconfig = OsString::new();
    for file in &target.files {
        if !kubeconfig.is_empty() {
            kubeconfig.push(":");
        }
        kubeconfig.push(file);
    }
    let mut ours = vec![
        ("KUBECONFIG", kubeconfig),
        ("ROOT_DIR", settings.root.clone().into_os_string()),
        ("TMPDIR", temp.as_os_str().to_owned()),
        ("NO_COLOR", OsString::from("1")),
        (identity::RUN, OsString::from(Identity::own().to_string())),
        // Both programs would ask a server for their newest version.
        ("HELMFILE_UPGRADE_NOTICE_DISABLED", OsString::from("1")),
        ("SOPS_DISABLE_VERSION_CHECK", OsString::from("true")),
    ];
    // The repository's own key decrypts it, unless the user names other identities.
    let own = Some(&settings.age_key).filter(|file| file.is_file());
    let identities = settings.sops_age_key_file.as_ref().or(own);
    ours.extend(identities.map(|file| ("SOPS_AGE_KEY_FILE", file.clone().into_os_string())));
    ours
}

/// The values of variables whose names say that they are secret, and the credentials of addresses, for the redactor.
pub fn secrets(env: &Env) -> impl Iterator<Item = &str> {
    env.iter().filter_map(|(name, value)| {
        let value = value.to_str()?;
        if names_a_secret(name) { Some(value) } else { Url::parse(value)?.secret() }
    })
}

fn names_a_secret(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    // A file's path is none: it is what an error has to name.
    let secret = ["TOKEN", "SECRET", "PASSWORD", "PASSPHRASE", "AGE_KEY", "API_KEY", "PRIVATE_KEY"];
    secret.iter().any(|word| name.contains(word))
        && !["_FILE", "_CMD", "_PATH", "_NAME", "PULL_SECRET"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Checks, Cli};

    #[test]
    fn names_of_secrets() {
        for name in ["SOPS_AGE_KEY", "GITHUB_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY"] {
            assert!(names_a_secret(OsStr::new(name)), "{name}");
        }
        for name in ["SOPS_AGE_KEY_FILE", "PATH", "KUBECONFIG", "FLUX_GIT_PULL_SECRET"] {
            assert!(!names_a_secret(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn credentials_of_addresses() {
        let cases = [
            ("https://me:CANARY@host/a", Some("CANARY")),
            ("https://CANARY@host", Some("CANARY")),
            ("http://me:CAN@ARY@proxy:3128/", Some("CAN@ARY")),
            ("ssh://git@host/a.git", None),
            ("https://host/a@b", None),
            ("git@host:a", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(Url::parse(value).and_then(Url::secret), expected, "{value}");
        }
    }

    #[test]
    fn tools_are_quick_unless_the_user_says_otherwise() {
        let folder = Path::new("/nowhere");
        let of = |vars: &[(&str, &str)]| {
            let env = Env::from_vars(vars.iter().copied(), folder.into());
            let cli = Cli::try_parse_from(["k3s-boot", "check"]).unwrap();
            let settings = Settings::resolve(&cli.global, &Checks::default(), &env);
            let vars = build(&env, &settings, &Target::default(), folder).vars;
            vars.into_iter().filter(|(name, _)| name == "GOGC").map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), ["400"]);
        assert_eq!(of(&[("GOGC", "50")]), ["50"]);
    }

    #[test]
    fn what_leads_elsewhere() {
        for name in ["HELM_KUBEAPISERVER", "HELM_KUBECONTEXT", "HELM_NAMESPACE", "HELMFILE_KUBE_CONTEXT"] {
            assert!(leads_elsewhere(name), "{name}");
        }
        for name in ["HELM_DRIVER", "HELM_CACHE_HOME", "HELMFILE_ENVIRONMENT", "KUBECONFIG"] {
            assert!(!leads_elsewhere(name), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_value_makes_it_panic(near in crate::observed::odd::near(&["https://me:CAN@ARY@host:3128/a@b", "ssh://git@host/a.git"])) {
            _ = Url::parse(&near).and_then(Url::secret);
        }
    }
}
