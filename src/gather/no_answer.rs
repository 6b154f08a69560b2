//! The finding for an API server that does not answer.

use std::net::IpAddr;

use crate::base::distribution::Distribution;
use crate::base::finding::Finding;
use crate::base::known_failures::{KnownFailure, Origin, find};
use crate::base::url::Url;
use crate::tools::Toolbox;
use crate::tools::kubeconfig::Target;
use crate::tools::unanswered::{Unanswered, UnansweredKind};

/// The finding for an API server that does not answer.
pub(super) fn no_answer(tools: &Toolbox, distribution: Distribution, unanswered: &Unanswered) -> Finding {
    use UnansweredKind as Kind;
    let kubeconfig = distribution.kubeconfig();
    let target = &tools.target;
    let plugin = target.plugin.clone().unwrap_or_default();
    let mut known = None;
    let (message, fix) = match unanswered.kind {
        Kind::Unreachable => {
            let fix = loopback_fix(target).unwrap_or_else(|| CHECK_SERVER.to_owned());
            ("Cluster unreachable", or_proxy(tools, fix))
        }
        Kind::UnknownHost => {
            ("Host name of the cluster does not resolve", unknown_host(tools, &unanswered.reason))
        }
        Kind::PlainHttp => (
            "Kubeconfig uses HTTP, and the API server HTTPS",
            "write `https://` instead of `http://` in `server` of the kubeconfig".to_owned(),
        ),
        Kind::NoKubernetes => (
            "What answers is not a Kubernetes API server",
            "correct host and port of `server` in the kubeconfig: the API server listens on 6443 by default"
                .to_owned(),
        ),
        Kind::Proxy => (
            "A proxy or web server answers instead of the cluster",
            match tools.proxy() {
                Some(_) => format!("add {} to NO_PROXY, or correct the proxy", host(&target.server)),
                None => "correct `server` in the kubeconfig, or the load balancer in front of the API server".to_owned(),
            },
        ),
        Kind::Unauthorized => (
            "Cluster does not accept the credentials",
            "copy the kubeconfig from the server again: this one may belong to an earlier installation"
                .to_owned(),
        ),
        Kind::Forbidden => {
            ("Access to the cluster is forbidden", format!("use the administrator's kubeconfig: {kubeconfig}"))
        }
        Kind::Untrusted => (
            "Cluster's certificate is not trusted",
            format!(
                "copy the kubeconfig from the server again; if its address is missing in the certificate, {}",
                distribution.add_address()
            ),
        ),
        Kind::NoCredentials => {
            ("Kubeconfig user has no credentials", format!("use another kubeconfig: {kubeconfig}"))
        }
        Kind::NoPlugin => {
            let hint = plugin.install_hint.as_deref().map(str::trim).filter(|hint| !hint.is_empty());
            let hint = hint.map(|hint| format!(":\n{hint}")).unwrap_or_default();
            (
                "Credential plugin of the kubeconfig is not installed",
                format!("install {}, or add it to PATH{hint}", plugin.command),
            )
        }
        Kind::NoTerminal => (
            "Credential plugin of the kubeconfig needs a terminal for each program",
            "set `interactiveMode: IfAvailable` in `users[].user.exec` of the kubeconfig: k3s-boot then lets it ask once; kubectl and helm have no terminal later"
                .to_owned(),
        ),
        Kind::PluginWaits => (
            "Credential plugin of the kubeconfig waits",
            if tools.can_ask {
                format!("kubectl version  # shows what {} waits for", plugin.command)
            } else {
                format!(
                    "nobody can answer without a terminal: log in with {} before, or use a kubeconfig without a plugin: {kubeconfig}",
                    plugin.command
                )
            },
        ),
        Kind::PluginFailed => (
            "Credential plugin of the kubeconfig failed",
            "check `users[].user.exec` in the kubeconfig, and run that command by hand".to_owned(),
        ),
        Kind::Other => {
            known = find(Origin::Api, &unanswered.reason);
            let fix = known.and_then(KnownFailure::general_fix).map(ToOwned::to_owned);
            (
                "Unexpected answer from the cluster",
                fix.unwrap_or_else(|| format!("check {}", distribution.server_log())),
            )
        }
    };
    let mut finding =
        Finding::error("api", message).with("server", &target.server).with("context", &target.context);
    if unanswered.kind == Kind::NoCredentials {
        finding = finding.with("user", &target.user);
    }
    if unanswered.kind == Kind::Proxy
        && let Some(proxy) = tools.proxy()
    {
        finding = finding.with("proxy", proxy);
    }
    finding = finding.with("reason", &unanswered.reason);
    if let Some(known) = known {
        finding = finding.with("cause", known.cause);
    }
    finding.fix(fix)
}

fn unknown_host(tools: &Toolbox, reason: &str) -> String {
    let lookup = reason.split_once("lookup ").map(|(_, rest)| rest);
    let name = lookup.and_then(|rest| rest.split([' ', ':']).next()).unwrap_or(host(&tools.target.server));
    let fix = format!(
        "this machine does not resolve {name}: correct the name in `server` of the kubeconfig, use the address of a server, or add the name to DNS or /etc/hosts"
    );
    or_proxy(tools, fix)
}

const CHECK_SERVER: &str =
    "check that the server is running, and that the kubeconfig names its address instead of 127.0.0.1";

/// The fix, and what to do if a proxy is between this machine and the cluster.
fn or_proxy(tools: &Toolbox, fix: String) -> String {
    match tools.proxy() {
        Some(proxy) => format!(
            "{fix}\nthe proxy {proxy} is set: if the cluster is not behind it, add {} to NO_PROXY",
            host(&tools.target.server)
        ),
        None => fix,
    }
}

/// The host of a URL, without its port.
fn host(url: &str) -> &str {
    Url::parse(url).map_or(url, |url| url.host_and_port().0)
}

/// The fix for a copied kubeconfig that still names 127.0.0.1.
fn loopback_fix(target: &Target) -> Option<String> {
    let url = Url::parse(&target.server)?;
    let (scheme, (host, port)) = (url.scheme, url.host_and_port());
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.map_or(Some("6443"), |port| Some(port).filter(|port| is_port(port)))?;
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if host != "localhost" && !address.is_ok_and(|address| address.is_loopback()) {
        return None;
    }
    // With several files, kubectl finds the one that defines the cluster.
    let file = match target.files.as_slice() {
        [file] => format!(" --kubeconfig={}", file.display()),
        _ => String::new(),
    };
    Some(format!(
        "the kubeconfig names {host}, which only works on the node itself; set the address of a server:\n\
         kubectl config set-cluster {}{file} --server={scheme}://SERVER:{port}",
        target.cluster
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_have_a_fix() {
        let target = |server: &str| Target {
            files: vec!["/k/config".into()],
            context: "home".to_owned(),
            cluster: "default".to_owned(),
            server: server.to_owned(),
            ..Target::default()
        };
        for (server, port) in [
            ("https://127.0.0.1:6443", "6443"),
            ("https://localhost", "6443"),
            ("https://[::1]:7443/x", "7443"),
            ("https://127.0.0.1:1", "1"),
        ] {
            let fix = loopback_fix(&target(server)).unwrap();
            let command = format!(
                "kubectl config set-cluster default --kubeconfig=/k/config --server=https://SERVER:{port}"
            );
            assert_eq!(fix.lines().last(), Some(command.as_str()), "{server}");
        }
        for server in ["https://10.0.0.10:6443", "https://127.example.org", "", "https://[fd00::1]:6443"] {
            assert_eq!(loopback_fix(&target(server)), None, "{server}");
        }
    }

    #[test]
    fn the_host_has_no_port() {
        for (url, expected) in [
            ("https://10.0.0.10:6443", "10.0.0.10"),
            ("https://k3s.lan", "k3s.lan"),
            ("https://[fd00::1]:6443/x", "[fd00::1]"),
            ("https://[fd00::1]", "[fd00::1]"),
        ] {
            assert_eq!(host(url), expected);
        }
    }
}
