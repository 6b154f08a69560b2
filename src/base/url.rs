//! URLs that may contain credentials: `https://user:password@host/path`, `https://token@host/path`.

/// A URL, split into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// The scheme, without `://`.
    pub scheme: &'a str,
    /// The user information before the host.
    user: Option<&'a str>,
    /// The host and everything after it.
    pub rest: &'a str,
}

impl<'a> Url<'a> {
    /// Parses a URL; `None` for any other text.
    ///
    /// ```
    /// use k3s_boot::internals::Url;
    ///
    /// let url = Url::parse("oci://ghcr.io/coredns/charts").unwrap();
    /// assert_eq!((url.scheme, url.rest), ("oci", "ghcr.io/coredns/charts"));
    /// assert_eq!(Url::parse("git@github.com:me/home.git"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme_byte) {
            return None;
        }
        let end = rest.find('/').unwrap_or(rest.len());
        let at = rest[..end].rfind('@');
        Some(Self { scheme, user: at.map(|at| &rest[..at]), rest: at.map_or(rest, |at| &rest[at + 1..]) })
    }

    /// The host, with its port if the URL has one.
    #[must_use]
    pub fn authority(self) -> &'a str {
        self.rest.split('/').next().unwrap_or(self.rest)
    }

    /// The host and the text after its last `:`, unless that belongs to an IPv6 address, which stays in its brackets.
    #[must_use]
    pub fn host_and_port(self) -> (&'a str, Option<&'a str>) {
        let authority = self.authority();
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        }
    }

    /// Whether the URL has user information.
    #[must_use]
    pub fn has_user(self) -> bool {
        self.user.is_some()
    }

    /// The password, or a token without a user. Only HTTP URLs can have such a token: in `ssh://git@host`, `git` is a user.
    #[must_use]
    pub fn secret(self) -> Option<&'a str> {
        let user = self.user?;
        match user.split_once(':') {
            Some((_, password)) => Some(password),
            None => Some(user).filter(|_| self.scheme.starts_with("http")),
        }
    }
}

/// Removes the credentials from a URL; any other text is unchanged.
///
/// ```
/// use k3s_boot::internals::without_credentials;
///
/// assert_eq!(without_credentials("https://me:token@github.com/me/home.git"), "https://github.com/me/home.git");
/// assert_eq!(without_credentials("ssh://git@github.com/me/home.git"), "ssh://git@github.com/me/home.git");
/// ```
#[must_use]
pub fn without_credentials(text: &str) -> String {
    match Url::parse(text) {
        Some(url) if url.secret().is_some() => format!("{}://{}", url.scheme, url.rest),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_credentials() {
        let cases = [
            ("https://user:CANARY@host/a/b.git", "https://host/a/b.git"),
            ("https://user:p@ss@host", "https://host"),
            ("https://host/a@b.git", "https://host/a@b.git"),
            ("https://t@host", "https://host"),
            ("ssh://git@example.org/home.git", "ssh://git@example.org/home.git"),
            ("ssh://git:CANARY@example.org/home.git", "ssh://example.org/home.git"),
            ("oci://ghcr.io/x", "oci://ghcr.io/x"),
            ("git@example.org:home.git", "git@example.org:home.git"),
            ("see https://a:b@c", "see https://a:b@c"),
        ];
        for (url, shown) in cases {
            assert_eq!(without_credentials(url), shown);
        }
        assert_eq!(Url::parse("https://user:p@ss@host").and_then(Url::secret), Some("p@ss"));
        let cases = [
            ("ssh://git@host:22/me/home.git", ("host", Some("22"))),
            ("https://host/a:b", ("host", None)),
            ("https://[::1]", ("[::1]", None)),
            ("https://[::1]:6443/x", ("[::1]", Some("6443"))),
        ];
        for (url, parts) in cases {
            assert_eq!(Url::parse(url).map(Url::host_and_port), Some(parts), "{url}");
        }
        assert_eq!(Url::parse("ssh://git@host").and_then(Url::secret), None);
    }
}
