//! Builds the environment of the tools: the user's variables, without those that could redirect the tools.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::base::env::Env;
use crate::base::url::Url;
use crate::process::identity::{self, Identity};
use crate::tools::kubeconfig::Target;

/// Variables that select a cluster, namespace, file or binary, and would override explicit flags. They are dropped, and
/// the user is warned. (`HELM_KUBEAPISERVER` overrides `--kubeconfig` in helm 4.2.)
const REDIRECTING: [&str; 7] = [
    "HELM_NAMESPACE",
    "HELMFILE_FILE_PATH",
    "HELMFILE_HELM_BINARY",
    "HELMFILE_KUBE_CONTEXT",
    "HELMFILE_KUSTOMIZE_BINARY",
    "HELMFILE_NAMESPACE",
    "KUBERNETES_MASTER",
];

/// Variables that are dropped without a log line. Some change what the tools print or make them prompt. Those that
/// Kubernetes sets in a pod make client-go use the pod's namespace if the context has none (client-go 0.36,
/// `tools/clientcmd/client_config.go`).
const DROPPED: [&str; 14] = [
    // At its higher levels, the AWS SDK in helmfile logs complete requests.
    "AWS_SDK_GO_LOG_LEVEL",
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
    "HELM_DEBUG",
    "HELMFILE_AWS_SDK_LOG_LEVEL",
    "HELMFILE_CACHE_HOME",
    "HELMFILE_DEBUG",
    "HELMFILE_INTERACTIVE",
    "HELMFILE_LOG_LEVEL",
    "HELMFILE_QUIET",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "LOG_LEVEL",
    "POD_NAMESPACE",
];

/// Age identities: secrets that only sops needs, and helmfile if values refer to encrypted files.
pub(crate) const AGE_IDENTITIES: [&str; 2] = ["SOPS_AGE_KEY", "SOPS_AGE_KEY_CMD"];

/// Go's garbage collector takes an eighth of helm's time. All tools run for seconds only, so it can run four times less
/// often unless memory runs short (<https://go.dev/doc/gc-guide>).
const GC_SETTINGS: [(&str, &str); 2] = [("GOGC", "400"), ("GOMEMLIMIT", "512MiB")];

/// The settings that decide the environment of the tools.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChildOptions {
    /// The root of the repository.
    pub root: PathBuf,
    /// The age key that goes into the cluster.
    pub age_key: PathBuf,
    /// The file with the age identities for decryption, if the user set one.
    pub sops_age_key_file: Option<PathBuf>,
    /// The variable that holds the age key, which the tools read from a file.
    pub age_key_variable: Option<String>,
}

/// The environment of the tools.
#[derive(Debug)]
pub(crate) struct ChildEnv {
    /// All variables.
    pub vars: Vec<(OsString, OsString)>,
    /// The names of the user's variables that were dropped because they would redirect the tools.
    pub removed: Vec<String>,
}

/// Further variables that change which files, credentials or code a program uses: the configuration must not set them.
const STEERING: [&str; 38] = [
    "ALL_PROXY",
    "BASH_ENV",
    "CLICOLOR",
    "CONTAINERS_AUTH_JSON",
    "DOCKER_CONFIG",
    "GIT_ASKPASS",
    "GIT_DIR",
    "GIT_EXEC_PATH",
    "GIT_PROXY_COMMAND",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_WORK_TREE",
    "GODEBUG",
    "GOGC",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "GOTRACEBACK",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "IFS",
    "KUBECONFIG",
    "KUBERC",
    "KUBERNETES_SERVICE_PORT_HTTPS",
    "NODE_OPTIONS",
    "NO_COLOR",
    "NO_PROXY",
    "PATH",
    "PERL5LIB",
    "PYTHONHOME",
    "PYTHONPATH",
    "REGISTRY_AUTH_FILE",
    "ROOT_DIR",
    "SHELL",
    "SHELLOPTS",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
];

/// How the names of such variables begin. The dynamic linkers of Linux and macOS have many.
const STEERING_PREFIXES: [&str; 11] = [
    "DYLD_",
    "GIT_CONFIG",
    "HELMFILE_",
    "HELM_",
    "K3S_BOOT_",
    "KUBECTL_",
    "KUBE_FEATURE_",
    "LD_",
    "SOPS_",
    "VALS_",
    "XDG_",
];

/// Whether a variable could select another cluster or change how the tools run, so that the configuration must not set it.
pub(crate) fn is_reserved(name: &str) -> bool {
    // curl and Go read proxies in both cases.
    let upper = name.to_ascii_uppercase();
    let is_proxy = upper.ends_with("_PROXY") && STEERING.contains(&upper.as_str());
    is_proxy
        || is_redirecting(name)
        || DROPPED.contains(&name)
        || STEERING.contains(&name)
        || STEERING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_redirecting(name: &str) -> bool {
    REDIRECTING.contains(&name) || name.starts_with("HELM_KUBE")
}

/// Builds the environment. Temporary files go to `temp`; `current_context` is the kubeconfig file that selects the target's
/// context.
pub(crate) fn build(
    env: &Env,
    options: &ChildOptions,
    target: &Target,
    temp: &Path,
    current_context: &Path,
) -> ChildEnv {
    let mut removed = Vec::new();
    let ours = ours(options, target, temp, current_context);
    let mut vars = Vec::new();
    for (name, value) in env.iter() {
        let text = name.to_string_lossy();
        if options.age_key_variable.as_deref() == Some(&text) {
            continue;
        }
        if is_redirecting(&text) {
            removed.push(text.into_owned());
        } else if !DROPPED.contains(&text.as_ref()) && !ours.iter().any(|(known, _)| *known == text) {
            vars.push((name.to_owned(), value.to_owned()));
        }
    }
    // Settings of the user take precedence.
    let gc = GC_SETTINGS.iter().filter(|(name, _)| env.get(name).is_none());
    vars.extend(gc.map(|(name, value)| (OsString::from(name), OsString::from(value))));
    if env.get("HOME").is_none() {
        // As for a service of systemd. helm and kubectl would write their caches into the working folder: the repository.
        vars.retain(|(name, _)| name != "HOME");
        vars.push(("HOME".into(), temp.as_os_str().to_owned()));
    }
    vars.extend(ours.into_iter().map(|(name, value)| (OsString::from(name), value)));
    ChildEnv { vars, removed }
}

fn ours(
    options: &ChildOptions,
    target: &Target,
    temp: &Path,
    current_context: &Path,
) -> Vec<(&'static str, OsString)> {
    // The first file with a current context wins, also for hooks that call plain `kubectl` or `helm`.
    let mut kubeconfig = current_context.as_os_str().to_owned();
    for file in &target.files {
        kubeconfig.push(":");
        kubeconfig.push(file);
    }
    let mut ours = vec![
        ("KUBECONFIG", kubeconfig),
        // Ignore kubectl preferences in the user's home (kubectl 1.34 and later; the second variable is for older ones).
        ("KUBERC", OsString::from("off")),
        ("KUBECTL_KUBERC", OsString::from("false")),
        ("ROOT_DIR", options.root.clone().into_os_string()),
        ("TMPDIR", temp.as_os_str().to_owned()),
        // helmfile writes rendered values to this folder, and they may be secret.
        ("HELMFILE_TEMPDIR", temp.as_os_str().to_owned()),
        ("NO_COLOR", OsString::from("1")),
        (identity::RUN, OsString::from(Identity::own().to_string())),
        // Both programs would look up their newest version online.
        ("HELMFILE_UPGRADE_NOTICE_DISABLED", OsString::from("1")),
        ("SOPS_DISABLE_VERSION_CHECK", OsString::from("true")),
    ];
    // The repository's age key decrypts the repository, unless the user sets other identities.
    let repository_key = Some(&options.age_key).filter(|file| file.is_file());
    let identities = options.sops_age_key_file.as_ref().or(repository_key);
    ours.extend(identities.map(|file| ("SOPS_AGE_KEY_FILE", file.clone().into_os_string())));
    ours
}

/// The secrets in the environment, for the redactor: values of variables with the name of a credential, and credentials in
/// URLs.
pub(crate) fn secrets(env: &Env) -> impl Iterator<Item = &str> {
    env.iter().filter_map(|(name, value)| secret(name, value.to_str()?))
}

/// The names and values of all other variables.
pub(super) fn public_values(env: &Env) -> impl Iterator<Item = (&str, &str)> {
    let values = env.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    values.filter(|(name, value)| secret(name.as_ref(), value).is_none())
}

/// The secret part of a variable's value, if it has one.
pub(super) fn secret<'a>(name: &OsStr, value: &'a str) -> Option<&'a str> {
    if names_a_secret(name) {
        Some(value).filter(|value| !is_address(value))
    } else {
        Url::parse(value)?.secret()
    }
}

/// Whether a variable holds a credential, judged by how its name ends: `SECRET_DOMAIN` is a domain, and `SOPS_AGE_KEY_FILE`
/// a path that errors must be able to name.
fn names_a_secret(name: &OsStr) -> bool {
    const ENDINGS: [&str; 11] = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "AGE_KEY",
        "API_KEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "SECRET_KEY",
        "CREDENTIALS",
    ];
    let name = name.to_string_lossy().to_ascii_uppercase();
    !name.ends_with("PULL_SECRET") && ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether a text is a path, a domain or an IP address: redacting it would hide it in every URL and path.
fn is_address(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let top = text.rsplit('.').next().unwrap_or_default();
    let is_domain = text.contains('.')
        && text.split('.').all(is_label)
        && (2..=24).contains(&top.len())
        && top.bytes().all(|byte| byte.is_ascii_lowercase());
    is_domain || text.starts_with('/') || text.starts_with("./") || text.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secret_variables() {
        for name in ["SOPS_AGE_KEY", "GITHUB_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY"] {
            assert!(names_a_secret(OsStr::new(name)), "{name}");
        }
        for name in [
            "SOPS_AGE_KEY_FILE",
            "SOPS_AGE_KEY_CMD",
            "PATH",
            "KUBECONFIG",
            "FLUX_GIT_PULL_SECRET",
            "SECRET_DOMAIN",
        ] {
            assert!(!names_a_secret(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn addresses_are_never_secret() {
        let vars = [
            ("SECRET_DOMAIN", "example.org"),
            ("CLUSTER_SECRET", "example.org"),
            ("TOKEN_SECRET", "10.0.0.1"),
            ("GITHUB_TOKEN", "/run/secrets/token"),
            ("WEBHOOK_TOKEN", "https://hooks.example.org/CANARY-hook"),
            ("TOKEN_URL", "https://login.example.org/token"),
            ("DB_PASSWORD", "CANARY-password"),
            ("JWT_TOKEN", "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"),
            ("HTTPS_PROXY", "http://me:CANARY-proxy@proxy:3128"),
        ];
        let env = Env::from_vars(vars, "/nowhere".into());
        let mut secret: Vec<_> = secrets(&env).collect();
        secret.sort_unstable();
        let hook = "https://hooks.example.org/CANARY-hook";
        assert_eq!(secret, ["CANARY-password", "CANARY-proxy", "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl", hook]);
        let public: Vec<_> = public_values(&env).map(|(_, value)| value).collect();
        assert!(public.contains(&"example.org") && public.len() == 5, "{public:?}");
    }

    #[test]
    fn credentials_in_urls() {
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
    fn user_can_override_gc_settings() {
        let folder = Path::new("/nowhere");
        let gogc = |vars: &[(&str, &str)]| {
            let env = Env::from_vars(vars.iter().copied(), folder.into());
            let vars = build(&env, &ChildOptions::default(), &Target::default(), folder, folder).vars;
            vars.into_iter().filter(|(name, _)| name == "GOGC").map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!(gogc(&[]), ["400"]);
        assert_eq!(gogc(&[("GOGC", "50")]), ["50"]);
    }

    #[test]
    fn tools_have_a_home() {
        let temp = Path::new("/nowhere");
        let home = |vars: &[(&str, &str)]| {
            let env = Env::from_vars(vars.iter().copied(), temp.into());
            let vars = build(&env, &ChildOptions::default(), &Target::default(), temp, temp).vars;
            vars.into_iter().filter(|(name, _)| name == "HOME").map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!(home(&[("HOME", "/home/me")]), ["/home/me"]);
        for vars in [&[][..], &[("HOME", "")]] {
            assert_eq!(home(vars), ["/nowhere"], "the folder of the run");
        }
    }

    #[test]
    fn configuration_cannot_set_variables_of_the_tools() {
        let folder = Path::new("/nowhere");
        let target = Target::default();
        for (name, _) in ours(&ChildOptions::default(), &target, folder, folder) {
            assert!(is_reserved(name), "{name}");
        }
        for name in [
            "KUBECONFIG",
            "PATH",
            "HELM_DRIVER",
            "HELMFILE_ENVIRONMENT",
            "LD_PRELOAD",
            "SOPS_AGE_KEY",
            "https_proxy",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in [
            "SECRET_DOMAIN",
            "CLUSTER",
            "TZ",
            "KUBE_VIP_ADDR",
            "GIT_URL",
            "PATH_PREFIX",
            "AWS_ACCESS_KEY_ID",
            "cluster_path",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    #[test]
    fn redirecting_variables_are_recognized() {
        for name in ["HELM_KUBEAPISERVER", "HELM_KUBECONTEXT", "HELM_NAMESPACE", "HELMFILE_KUBE_CONTEXT"] {
            assert!(is_redirecting(name), "{name}");
        }
        for name in ["HELM_DRIVER", "HELM_CACHE_HOME", "HELMFILE_ENVIRONMENT", "KUBECONFIG"] {
            assert!(!is_redirecting(name), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(near in crate::base::mutate::text(&["https://me:CAN@ARY@host:3128/a@b", "ssh://git@host/a.git"])) {
            _ = Url::parse(&near).and_then(Url::secret);
        }
    }
}
