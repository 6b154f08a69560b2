//! Why the API server did not answer.

use crate::base::error::Error;

/// Why the API server did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// The kind of reason.
    pub kind: UnansweredKind,
    /// The error of the API server or kubectl.
    pub reason: String,
}

/// Why an API server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnansweredKind {
    /// Nothing answers at its address.
    Unreachable,
    /// A proxy or web server answers instead.
    Proxy,
    /// It rejects the credentials.
    Unauthorized,
    /// It accepts the credentials, but denies the permission.
    Forbidden,
    /// Its host name does not resolve.
    UnknownHost,
    /// It serves HTTPS, and the kubeconfig names `http://`.
    PlainHttp,
    /// What answers is no API server.
    NoKubernetes,
    /// The kubeconfig does not trust its certificate.
    Untrusted,
    /// The user of the kubeconfig has no credentials.
    NoCredentials,
    /// The credential plugin of the kubeconfig is not installed.
    NoPlugin,
    /// The credential plugin of the kubeconfig needs a terminal for each program.
    NoTerminal,
    /// The credential plugin of the kubeconfig did not end, so it waits for a person.
    PluginWaits,
    /// The credential plugin of the kubeconfig failed.
    PluginFailed,
    /// Any other answer, such as that it is not ready.
    Other,
}

/// How client-go begins the error of a credential plugin (client-go 0.36, `plugin/pkg/client/auth/exec`).
pub(super) const PLUGIN_ERROR: &str = "getting credentials: ";

/// How the error about a plugin that is still running begins.
pub(super) const PLUGIN_WAITS: &str = "the credential plugin is still running after ";

/// What kubectl prints if the user of the kubeconfig has no credentials.
pub(super) const ASKS_FOR_USER: &str = "Please enter Username:";

/// The answer of a program that sends web pages; an API server sends none.
pub(super) const WEB_PAGE: &str = "the answer is a web page";

/// The request that shows whether an API server answers.
const VERSION_REQUEST: &str = "GET /version";

/// The prefix of kubectl.
const PREFIX: &str = "Unable to connect to the server: ";

/// What a proxy answers to CONNECT, which Go returns without any other word (`net/http/transport.go`).
const REFUSALS: [&str; 8] = [
    "Bad Gateway",
    "Bad Request",
    "Forbidden",
    "Gateway Timeout",
    "Method Not Allowed",
    "Proxy Authentication Required",
    "Service Unavailable",
    "Unauthorized",
];

/// The error of Go's HTTP client in a message of kubectl.
pub(crate) fn without_prefix(message: &str) -> &str {
    message.strip_prefix(PREFIX).unwrap_or(message)
}

/// Whether the error of Go's HTTP client, without the request, comes from a proxy that refuses the connection or is unreachable.
pub(crate) fn is_refused_by_proxy(error: &str) -> bool {
    REFUSALS.contains(&error) || error.starts_with("proxyconnect ")
}

impl Unanswered {
    /// Classifies the error of a request.
    pub(crate) fn of(error: &Error) -> Self {
        // Only the reason: the transcript contains the request.
        let found = match error {
            Error::Api { reason, .. } | Error::Tool { reason, .. } => Self::from_words(reason),
            Error::Answer { reason, .. } if reason == WEB_PAGE => Self::from_words(reason),
            error => Self::from_words(&error.to_string()),
        };
        let kind = match error {
            _ if found.reason.starts_with(WEB_PAGE) => UnansweredKind::Proxy,
            Error::Api { status: Some(404), request, .. } if request == VERSION_REQUEST => {
                UnansweredKind::NoKubernetes
            }
            Error::Api { status: Some(401), .. } => UnansweredKind::Unauthorized,
            Error::Api { status: Some(403), .. } => UnansweredKind::Forbidden,
            error if error.is_late() => UnansweredKind::Unreachable,
            _ => found.kind,
        };
        Self { kind, ..found }
    }

    /// Classifies an error message of kubectl or the API server.
    pub(crate) fn from_words(reason: &str) -> Self {
        use UnansweredKind::{
            Forbidden, NoCredentials, NoKubernetes, NoPlugin, NoTerminal, Other, PlainHttp, PluginFailed,
            PluginWaits, Proxy, Unauthorized, UnknownHost, Unreachable, Untrusted,
        };
        let error = without_prefix(reason);
        let kind = if let Some(plugin) = error.strip_prefix(PLUGIN_ERROR) {
            match plugin {
                // `interactiveMode: Always`
                plugin if plugin.contains("cannot support interactive mode") => NoTerminal,
                plugin if plugin.starts_with("exec: executable ") && plugin.contains(" not found") => {
                    NoPlugin
                }
                _ => PluginFailed,
            }
        } else if error.starts_with(PLUGIN_WAITS) {
            PluginWaits
        } else if error.contains(ASKS_FOR_USER) {
            NoCredentials
        } else if is_refused_by_proxy(error) {
            Proxy
        } else {
            let signs: [(UnansweredKind, &[&str]); 7] = [
                (PlainHttp, &["Client sent an HTTP request to an HTTPS server"]),
                (NoKubernetes, &["server gave HTTP response to HTTPS client"]),
                (UnknownHost, &["no such host", "server misbehaving"]),
                (Untrusted, &["x509:", "certificate signed by unknown", "tls: failed to verify"]),
                (Unauthorized, &["Unauthorized", "must be logged in", "provide credentials"]),
                (Forbidden, &["Forbidden", "forbidden:"]),
                (
                    Unreachable,
                    &[
                        "connection refused",
                        "was refused",
                        "no route to host",
                        "network is unreachable",
                        "i/o timeout",
                        "deadline exceeded",
                        "Client.Timeout",
                        "connection reset",
                        "TLS handshake timeout",
                        "Unable to connect",
                        "did not finish within",
                        "EOF",
                    ],
                ),
            ];
            let found = signs.iter().find(|(_, words)| words.iter().any(|word| reason.contains(word)));
            found.map_or(Other, |(kind, _)| *kind)
        };
        // The question of kubectl is no reason.
        let reason = if kind == NoCredentials {
            "it has no client certificate, token or credential plugin"
        } else {
            reason
        };
        Self { kind, reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_errors() {
        use UnansweredKind::{
            Forbidden, NoCredentials, NoKubernetes, NoPlugin, NoTerminal, Other, PlainHttp, PluginFailed,
            Proxy, Unauthorized, UnknownHost, Unreachable, Untrusted,
        };
        let cases = [
            (
                "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
                Unreachable,
            ),
            ("Unable to connect to the server: dial tcp: lookup nowhere: no such host", UnknownHost),
            ("dial tcp: lookup k3s.lan on 127.0.0.53:53: server misbehaving", UnknownHost),
            ("Client sent an HTTP request to an HTTPS server.", PlainHttp),
            ("http: server gave HTTP response to HTTPS client", NoKubernetes),
            ("Unable to connect to the server: net/http: TLS handshake timeout", Unreachable),
            (
                "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Untrusted,
            ),
            ("error: You must be logged in to the server (Unauthorized)", Unauthorized),
            (
                "error: You must be logged in to the server (the server has asked for the client to provide credentials)",
                Unauthorized,
            ),
            ("Error from server (Forbidden): nodes is forbidden: User \"x\" cannot list", Forbidden),
            ("Error from server (ServiceUnavailable): apiserver not ready", Other),
            ("getting credentials: exec: executable kubelogin not found", NoPlugin),
            ("getting credentials: exec: executable sh failed with exit code 3", PluginFailed),
            (
                "getting credentials: decoding stdout: couldn't get version/kind; json parse error",
                PluginFailed,
            ),
            (
                "getting credentials: exec plugin cannot support interactive mode: standard input is not a terminal",
                NoTerminal,
            ),
            (
                "Unable to connect to the server: getting credentials: exec: executable x failed with exit code 1",
                PluginFailed,
            ),
            ("Please enter Username: error: EOF", NoCredentials),
            ("error: EOF Please enter Username:", NoCredentials),
            ("Unable to connect to the server: Forbidden", Proxy),
            ("Proxy Authentication Required", Proxy),
            ("proxyconnect tcp: dial tcp 127.0.0.1:9999: connect: connection refused", Proxy),
        ];
        for (words, kind) in cases {
            assert_eq!(Unanswered::from_words(words).kind, kind, "{words}");
        }
    }

    #[test]
    fn status_of_the_first_request_counts() {
        let of = |request: &str, status, reason: &str| {
            let (request, reason) = (request.to_owned(), reason.to_owned());
            Unanswered::of(&Error::Api { request, status: Some(status), reason }).kind
        };
        assert_eq!(of("GET /version", 404, "404 page not found"), UnansweredKind::NoKubernetes);
        assert_eq!(of("GET /api/v1/nodes", 404, "404 page not found"), UnansweredKind::Other);
        assert_eq!(of("GET /version", 503, "apiserver not ready"), UnansweredKind::Other);
        let parsed = |reason: &str| {
            let (command, reason) = ("GET /version".to_owned(), reason.to_owned());
            Unanswered::of(&Error::Answer { command, reason }).kind
        };
        assert_eq!(parsed(WEB_PAGE), UnansweredKind::Proxy);
        assert_eq!(parsed("line 1, column 1"), UnansweredKind::Other);
    }

    proptest::proptest! {
        #[test]
        fn classifying_never_panics(words: String, near in crate::base::mutate::text(&[
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "Error from server (Forbidden): nodes is forbidden: User \"x\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        ])) {
            _ = Unanswered::from_words(&words);
            _ = Unanswered::from_words(&near);
        }
    }
}
