//! Selects the target cluster from the kubeconfig files, merged as kubectl merges them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use x509_parser::pem::parse_x509_pem;

use crate::base::error::Error;
use crate::base::fact::{Fact, MAX_TIMESTAMP};
use crate::base::finding::Finding;
use crate::base::{files, yaml};

/// The target cluster; empty if none is selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The kubeconfig files that exist.
    pub files: Vec<PathBuf>,
    /// The name of the context.
    pub context: String,
    /// The name of the cluster in the kubeconfig.
    pub cluster: String,
    /// The URL of the API server.
    pub server: String,
    /// The proxy to it, if the kubeconfig sets one.
    pub proxy: Option<String>,
    /// The name of the user in the kubeconfig.
    pub user: String,
    /// The credential plugin of the user.
    pub plugin: Option<CredentialPlugin>,
    /// The namespace of the context, `default` if it has none.
    pub namespace: String,
    /// Whether the server's certificate is verified: false with `insecure-skip-tls-verify` or without TLS.
    pub is_verified: bool,
    /// The validity of the client certificate; `None` if there is none.
    pub certificate: Option<Fact<Validity>>,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            context: String::new(),
            cluster: String::new(),
            server: String::new(),
            proxy: None,
            user: String::new(),
            plugin: None,
            namespace: DEFAULT_NAMESPACE.to_owned(),
            is_verified: false,
            certificate: None,
        }
    }
}

/// The namespace of a context without one (client-go 0.36, `clientcmd.ClientConfig.Namespace`).
const DEFAULT_NAMESPACE: &str = "default";

impl Target {
    /// Writes a kubeconfig that contains only the name of the current context, and no credentials. In front of the user's
    /// files, it makes the target the current context of every program that reads them.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn write_current_context(&self, folder: &Path) -> Result<PathBuf, Error> {
        let path = folder.join("current-context.yaml");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": self.context});
        match std::fs::write(&path, config.to_string()) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::File { action: "write", path, source }),
        }
    }
}

/// A program that gets the user's credentials (`users[].user.exec`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct CredentialPlugin {
    /// The program.
    pub command: String,
    /// Whether it may read from the terminal; absent in `v1beta1`, which means `IfAvailable`.
    interactive_mode: Option<String>,
    /// How to install it.
    pub install_hint: Option<String>,
}

impl CredentialPlugin {
    /// Whether it may ask on the terminal if there is one. With `Always` it would have to ask for each program anew, and helm has
    /// no terminal in helmfile.
    pub(crate) fn may_ask(&self) -> bool {
        !matches!(self.interactive_mode.as_deref(), Some("Never" | "Always"))
    }
}

/// The validity of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// The first second.
    pub from: SystemTime,
    /// The last second.
    pub until: SystemTime,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: Option<String>,
    #[serde(default)]
    contexts: Option<Vec<NamedContext>>,
    #[serde(default)]
    clusters: Option<Vec<NamedCluster>>,
    #[serde(default)]
    users: Option<Vec<NamedUser>>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    #[serde(default)]
    context: Context,
}

#[derive(Default, Deserialize)]
struct Context {
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    #[serde(default)]
    server: String,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    #[serde(default)]
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Option<User>,
}

/// Only the certificate and the plugin of a user are read, never a key or token.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    exec: Option<CredentialPlugin>,
}

/// Reads the files and selects the context. Also returns the files that do not exist if others do: like kubectl, k3s-boot
/// skips them.
///
/// # Errors
///
/// No file exists (kubectl would then silently use `localhost:8080`), a file cannot be read, or no file defines the
/// context.
pub(crate) fn load(files: &[PathBuf], context: Option<&str>) -> Result<(Target, Vec<PathBuf>), Finding> {
    let (present, missing): (Vec<_>, Vec<_>) = files.iter().cloned().partition(|file| file.exists());
    if present.is_empty() {
        let names: Vec<_> = missing.iter().map(|file| file.display().to_string()).collect();
        return Err(Finding::error("kubeconfig", "Kubeconfig file not found").with("file", names.join(":")));
    }
    let parsed = present.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let Choice { context, cluster, server, proxy, is_verified, user, namespace } =
        choose(&parsed, context).map_err(|mut problem| {
            let names: Vec<_> = present.iter().map(|file| file.display().to_string()).collect();
            // Insert first, because the fix must come last.
            problem.details.insert(0, ("file", names.join(":")));
            problem
        })?;
    let found = parsed.iter().zip(&present).find_map(|(file, path)| {
        let named = file.users.iter().flatten().find(|named| named.name == user)?;
        let user = named.user.as_ref();
        Some((user.and_then(|user| certificate(user, path)), user.and_then(|user| user.exec.clone())))
    });
    let (certificate, plugin) = found.unwrap_or_default();
    let target = Target {
        files: present,
        context,
        cluster,
        server,
        proxy,
        user,
        plugin,
        namespace,
        is_verified,
        certificate,
    };
    Ok((target, missing))
}

fn read(path: &Path) -> Result<File, Finding> {
    let problem = |reason: String| {
        Finding::error("kubeconfig", "Kubeconfig file cannot be read")
            .with("file", path.display())
            .with("reason", reason)
    };
    let text = files::text(path, files::LARGEST).map_err(|error| problem(error.to_string()))?;
    // The parser's message may quote a value, and this file contains keys.
    yaml::parse(&text, yaml::WRITTEN).map_err(|error| {
        problem(match error.place() {
            Some(place) => format!("not a kubeconfig: see {place}"),
            None => "not a kubeconfig".to_owned(),
        })
    })
}

/// The validity of a user's certificate; `None` if there is none. `kubeconfig` is the file that defines the user.
fn certificate(user: &User, kubeconfig: &Path) -> Option<Fact<Validity>> {
    let pem = match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) if !data.is_empty() => {
            STANDARD.decode(data).map_err(|_| "client-certificate-data is not base64".to_owned())
        }
        (_, Some(path)) if !path.as_os_str().is_empty() => {
            let path = kubeconfig.parent().unwrap_or(kubeconfig).join(path);
            files::bytes(&path, files::LARGEST).map_err(|error| format!("{}: {error}", path.display()))
        }
        _ => return None,
    };
    Some(pem.and_then(|pem| validity(&pem)))
}

/// The validity of the first certificate in a PEM file; those of its issuers follow it.
fn validity(pem: &[u8]) -> Fact<Validity> {
    let broken = "the client certificate is not an X.509 certificate";
    let (_, pem) = parse_x509_pem(pem).map_err(|_| broken.to_owned())?;
    let certificate = pem.parse_x509().map_err(|_| broken.to_owned())?;
    let time = |seconds: i64| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(MAX_TIMESTAMP))
    };
    let validity = certificate.validity();
    Ok(Validity { from: time(validity.not_before.timestamp()), until: time(validity.not_after.timestamp()) })
}

/// The selected context, resolved.
struct Choice {
    context: String,
    cluster: String,
    server: String,
    proxy: Option<String>,
    is_verified: bool,
    user: String,
    namespace: String,
}

/// What is wrong with a kubeconfig from which no context can be selected.
pub(crate) const NO_CONTEXTS: &str = "Kubeconfig has no contexts";

/// Resolves a context, by default the current one. The first file that defines an entry wins.
fn choose(files: &[File], context: Option<&str>) -> Result<Choice, Finding> {
    let current =
        || files.iter().find_map(|file| file.current_context.as_deref().filter(|name| !name.is_empty()));
    let contexts = || files.iter().flat_map(|file| file.contexts.iter().flatten());
    if contexts().next().is_none() {
        return Err(Finding::error("kubeconfig", NO_CONTEXTS));
    }
    let name = context.or_else(current).ok_or_else(|| {
        Finding::error("kubeconfig", "Kubeconfig has no current context")
            .fix("select one with --context, or run `kubectl config use-context NAME`")
    })?;
    let context = contexts().find(|context| context.name == name).ok_or_else(|| {
        let available: Vec<_> = contexts().map(|context| context.name.as_str()).collect();
        Finding::error("kubeconfig", "Context not found in kubeconfig")
            .with("context", name)
            .with("available", available.join(" "))
            .fix("select one of them with --context")
    })?;
    let Cluster { server, insecure_skip_tls_verify, proxy_url } = files
        .iter()
        .flat_map(|file| file.clusters.iter().flatten())
        .find(|cluster| cluster.name == context.context.cluster)
        .map(|cluster| &cluster.cluster)
        .filter(|cluster| !cluster.server.is_empty())
        .ok_or_else(|| {
            Finding::error("kubeconfig", "Kubeconfig context has no server")
                .with("context", name)
                .with("cluster", &context.context.cluster)
        })?;
    Ok(Choice {
        context: name.to_owned(),
        cluster: context.context.cluster.clone(),
        is_verified: !insecure_skip_tls_verify && !server.starts_with("http://"),
        server: server.clone(),
        proxy: proxy_url.clone().filter(|proxy| !proxy.is_empty()),
        user: context.context.user.clone(),
        namespace: context
            .context
            .namespace
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::sample::Index;

    use super::*;
    use crate::base::mutate;

    fn config(current: &str, name: &str, server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {current}\n\
             contexts:\n- name: {name}\n  context: {{cluster: {name}, user: {name}}}\n\
             clusters:\n- name: {name}\n  cluster: {{server: \"{server}\"}}\n"
        )
    }

    #[test]
    fn first_file_wins_and_missing_files_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), config("default", "default", "https://a:6443")).unwrap();
        std::fs::write(path("b"), config("other", "default", "https://b:6443")).unwrap();
        let files = [path("gone"), path("a"), path("b")];
        let (target, missing) = load(&files, None).unwrap();
        assert_eq!((target.context.as_str(), target.cluster.as_str()), ("default", "default"));
        assert_eq!(target.server, "https://a:6443");
        assert_eq!(target.files, [path("a"), path("b")]);
        assert_eq!(missing, [path("gone")]);
    }

    #[test]
    fn detects_disabled_verification() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let is_verified = |cluster: &str| {
            let text = config("c", "c", "https://c").replace("{server: \"https://c\"}", cluster);
            std::fs::write(&path, text).unwrap();
            load(std::slice::from_ref(&path), None).unwrap().0.is_verified
        };
        assert!(is_verified("{server: https://c}"));
        assert!(is_verified("{server: https://c, insecure-skip-tls-verify: false, proxy-url: http://p}"));
        assert!(!is_verified("{server: https://c, insecure-skip-tls-verify: true}"));
        assert!(!is_verified("{server: http://c}"));
    }

    #[test]
    fn each_problem_has_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let cases = [
            ("contexts: []\n", None, "Kubeconfig has no contexts"),
            ("{clusters: null, contexts: null, users: null}\n", Some("x"), "Kubeconfig has no contexts"),
            ("current-context: x\n", None, "Kubeconfig has no contexts"),
            ("contexts: [{name: x}]\n", None, "Kubeconfig has no current context"),
            (&config("c", "c", "https://c"), Some("d"), "Context not found in kubeconfig"),
            (&config("c", "c", ""), None, "Kubeconfig context has no server"),
            ("a: [\n", None, "Kubeconfig file cannot be read"),
            ("contexts: 3\n", None, "Kubeconfig file cannot be read"),
        ];
        for (text, context, expected) in cases {
            std::fs::write(&path, text).unwrap();
            assert_eq!(load(std::slice::from_ref(&path), context).unwrap_err().summary, expected, "{text}");
        }
        assert_eq!(
            load(&[folder.path().join("gone")], None).unwrap_err().summary,
            "Kubeconfig file not found"
        );
    }

    #[test]
    fn reads_validity_of_client_certificate() {
        // Valid from 2026-01-01 to 2027-01-01; its key was not kept.
        let pem = include_str!("../../tests/fixtures/client.pem");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(folder.path().join("client.crt"), pem).unwrap();
        let read = |user: &str| {
            let users = format!("users:\n- name: c\n  user: {user}\n");
            std::fs::write(&path, config("c", "c", "https://c") + &users).unwrap();
            load(std::slice::from_ref(&path), None).unwrap().0.certificate
        };
        let validity = Validity {
            from: humantime::parse_rfc3339("2026-01-01T00:00:00Z").unwrap(),
            until: humantime::parse_rfc3339("2027-01-01T00:00:00Z").unwrap(),
        };
        // k3s appends the certificate of its CA to that of the client.
        let data = STANDARD.encode(pem.to_owned() + pem);
        assert_eq!(read(&format!("{{client-certificate-data: {data}}}")), Some(Ok(validity)));
        assert_eq!(read("{client-certificate: client.crt}"), Some(Ok(validity)));
        for none in ["{token: x}", "null", "{client-certificate-data: ''}"] {
            assert_eq!(read(none), None, "{none}");
        }
        for broken in [
            "{client-certificate-data: '%'}",
            "{client-certificate-data: QQ==}",
            "{client-certificate: gone.crt}",
        ] {
            assert!(read(broken).unwrap().is_err(), "{broken}");
        }
    }

    #[test]
    fn reads_credential_plugin() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let plugin = |user: &str| {
            let users = format!("users:\n- name: c\n  user: {user}\n");
            std::fs::write(&path, config("c", "c", "https://c") + &users).unwrap();
            load(std::slice::from_ref(&path), None).unwrap().0.plugin
        };
        assert_eq!(plugin("{token: x}"), None);
        for (mode, may_ask) in [
            ("", true),
            (", interactiveMode: IfAvailable", true),
            (", interactiveMode: Never", false),
            (", interactiveMode: Always", false),
        ] {
            let found = plugin(&format!("{{exec: {{command: login, args: [x], env: null{mode}}}}}")).unwrap();
            assert_eq!((found.command.as_str(), found.may_ask()), ("login", may_ask), "{mode}");
        }
    }

    #[test]
    fn errors_contain_no_file_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, "contexts: CANARY-SECRET\n").unwrap();
        let finding = load(std::slice::from_ref(&path), None).unwrap_err();
        assert!(!format!("{finding:?}").contains("CANARY-SECRET"));
    }

    const KUBECONFIG: &[&str] = &[
        "apiVersion: v1\nkind: Config\ncurrent-context: default\npreferences: {}\nclusters:\n- cluster:\n    certificate-authority-data: QQ==\n    \
         server: https://127.0.0.1:6443\n  name: default\ncontexts:\n- context:\n    cluster: default\n    user: default\n  name: default\n\
         users:\n- name: default\n  user:\n    client-certificate-data: LS0tLS1CRUdJTg==\n    client-key-data: QQ==\n",
        r#"{"contexts": [{"name": "a", "context": {"cluster": "b", "user": "c", "namespace": null}}], "current-context": "a",
            "clusters": [{"name": "b", "cluster": {"server": "https://b"}}], "users": [{"name": "c", "user": {"client-certificate": "c.crt"}}]}"#,
    ];

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
    }

    proptest::proptest! {
        #![proptest_config(crate::base::mutate::slow_config())]

        #[test]
        fn loading_never_panics(bytes: Vec<u8>, text in mutate::text(KUBECONFIG), context: Option<String>) {
            let folder = tempfile::tempdir().unwrap();
            let files = ["bytes", "text"].map(|name| folder.path().join(name));
            std::fs::write(&files[0], &bytes).unwrap();
            std::fs::write(&files[1], &text).unwrap();
            _ = load(&files, context.as_deref());
            _ = load(&files[1..], None);
        }

        #[test]
        fn parsing_certificates_never_panics(inside: Vec<u8>, changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4),
            text in mutate::text(&[include_str!("../../tests/fixtures/client.pem")])) {
            _ = validity(text.as_bytes());
            _ = validity(pem(&inside).as_bytes());
            let (_, good) = parse_x509_pem(include_bytes!("../../tests/fixtures/client.pem")).unwrap();
            let mut der = good.contents;
            for (at, byte) in changes {
                *at.get_mut(&mut der) = byte;
            }
            if let Ok(Validity { from, until }) = validity(pem(&der).as_bytes()) {
                for time in [from, until] {
                    _ = humantime::format_rfc3339_seconds(time).to_string();
                }
            }
        }
    }
}
