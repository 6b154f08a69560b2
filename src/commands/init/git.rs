//! The repository that Flux syncs: its URL as Flux needs it, and its deploy key.

use crate::base::url::{Url, without_credentials};

/// The Secret with the deploy key.
pub(super) const PULL_SECRET: &str = "git-deploy-key";

/// Git servers that serve public repositories over HTTPS at the path of their SSH URLs, with their host keys as they publish
/// them (docs.github.com, docs.gitlab.com, docs.codeberg.org).
const HOSTS: [(&str, &str); 3] = [
    (
        "github.com",
        "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n",
    ),
    (
        "gitlab.com",
        "gitlab.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf\n",
    ),
    (
        "codeberg.org",
        "codeberg.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVIC02vnjFyL+I4RHfvIGNtOgJMe769VTF1VR4EB3ZB\n",
    ),
];

/// What Flux syncs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GitSource {
    pub url: String,
    /// The full name of the branch.
    pub reference: String,
    pub has_deploy_key: bool,
    /// Where the URL comes from.
    pub reason: &'static str,
}

/// `ssh://` and `https://` URLs, and `git@host:path` as the first of them.
///
/// # Errors
///
/// Any other text, with what is accepted.
pub(super) fn normalized(url: &str) -> Result<String, String> {
    let url = without_credentials(url.trim());
    if let Some(parsed) = Url::parse(&url) {
        let is_complete = parsed.rest.trim_end_matches('/').contains('/');
        return match parsed.scheme {
            "ssh" | "https" | "http" if is_complete => Ok(url),
            _ => Err(format!("`{url}` is no URL of a Git repository: {ACCEPTED}")),
        };
    }
    // As `git clone` reads it (git-clone(1), "GIT URLS").
    match url.split_once(':') {
        Some((host, path)) if !host.contains('/') && !host.is_empty() && !path.is_empty() => {
            Ok(format!("ssh://{host}/{}", path.trim_start_matches('/')))
        }
        _ => Err(format!("`{url}` is no URL of a Git repository: {ACCEPTED}")),
    }
}

const ACCEPTED: &str = "ssh://git@HOST/PATH, https://HOST/PATH or git@HOST:PATH";

pub(super) fn is_ssh(url: &str) -> bool {
    url.starts_with("ssh://")
}

/// The URL for a deploy key: over SSH.
pub(super) fn over_ssh(url: &str) -> String {
    match Url::parse(url) {
        Some(parsed) if parsed.scheme != "ssh" => {
            let (host, _) = parsed.host_and_port();
            format!("ssh://git@{host}{}", &parsed.rest[parsed.authority().len()..])
        }
        _ => url.to_owned(),
    }
}

/// The URL without a deploy key: over HTTPS, if the server is known to serve public repositories there.
pub(super) fn over_https(url: &str) -> Option<String> {
    let parsed = Url::parse(url)?;
    if parsed.scheme != "ssh" {
        return Some(url.to_owned());
    }
    let (host, _) = parsed.host_and_port();
    let is_known = HOSTS.iter().any(|(name, _)| *name == host);
    is_known.then(|| format!("https://{host}{}", &parsed.rest[parsed.authority().len()..]))
}

/// The host of an SSH URL as in a `known_hosts` file: `[host]:port` if the port is not 22 (sshd(8)).
pub(super) fn known_host(url: &str) -> Option<(String, Option<&'static str>)> {
    let (host, port) = Url::parse(url)?.host_and_port();
    let published = HOSTS.iter().find(|(name, _)| *name == host).map(|(_, keys)| *keys);
    Some(match port {
        None | Some("22") => (host.to_owned(), published),
        Some(port) => (format!("[{host}]:{port}"), None),
    })
}

/// Where a deploy key is added.
pub(super) fn settings_page(url: &str) -> String {
    let Some(parsed) = Url::parse(url) else { return String::new() };
    let (host, _) = parsed.host_and_port();
    let path = parsed.rest[parsed.authority().len()..].trim_end_matches(".git");
    match host {
        "github.com" => format!("https://github.com{path}/settings/keys/new"),
        "gitlab.com" => format!("https://gitlab.com{path}/-/settings/repository#js-deploy-keys-settings"),
        _ => format!("https://{host}{path}/settings/keys (Forgejo and Gitea)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_what_flux_accepts() {
        for (text, url) in [
            ("git@github.com:me/home.git", "ssh://git@github.com/me/home.git"),
            ("ssh://git@host:2222/me/home.git", "ssh://git@host:2222/me/home.git"),
            ("https://me:token@github.com/me/home", "https://github.com/me/home"),
            (" host:/srv/home.git\n", "ssh://host/srv/home.git"),
        ] {
            assert_eq!(normalized(text).as_deref(), Ok(url));
        }
        for text in
            ["", "/srv/home.git", "../home", "file:///srv/home.git", "https://github.com", "ssh://host/"]
        {
            assert!(normalized(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_deploy_key_needs_ssh_and_a_public_repository_does_not() {
        assert_eq!(over_ssh("https://github.com/me/home.git"), "ssh://git@github.com/me/home.git");
        assert_eq!(over_ssh("https://git.example.org:3000/me/home"), "ssh://git@git.example.org/me/home");
        assert_eq!(over_ssh("ssh://git@host:22/a"), "ssh://git@host:22/a");
        assert_eq!(
            over_https("ssh://git@github.com/me/home.git").as_deref(),
            Some("https://github.com/me/home.git")
        );
        assert_eq!(over_https("ssh://git@git.example.org/me/home.git"), None);
        assert_eq!(over_https("https://git.example.org/a").as_deref(), Some("https://git.example.org/a"));
    }

    #[test]
    fn host_keys_are_those_of_the_port() {
        assert!(
            known_host("ssh://git@github.com/me/home")
                .is_some_and(|(host, keys)| host == "github.com" && keys.is_some())
        );
        assert_eq!(known_host("ssh://git@host:2222/a"), Some(("[host]:2222".to_owned(), None)));
        assert!(
            settings_page("ssh://git@github.com/me/home.git")
                .ends_with("github.com/me/home/settings/keys/new")
        );
    }
}
