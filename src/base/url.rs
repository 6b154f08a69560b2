//! Addresses that may hold credentials: `https://user:password@host/path`, `https://token@host/path`.

/// An address, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// What stands before `://`.
    pub scheme: &'a str,
    /// What stands before the host.
    user: Option<&'a str>,
    /// The host and all that follows.
    pub rest: &'a str,
}

impl<'a> Url<'a> {
    /// Reads one; `None` for other texts.
    ///
    /// ```
    /// use k3s_boot::base::url::Url;
    ///
    /// let url = Url::parse("oci://ghcr.io/coredns/charts").unwrap();
    /// assert_eq!((url.scheme, url.rest), ("oci", "ghcr.io/coredns/charts"));
    /// assert_eq!(Url::parse("git@github.com:me/home.git"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(of_scheme) {
            return None;
        }
        let end = rest.find('/').unwrap_or(rest.len());
        let at = rest[..end].rfind('@');
        Some(Self { scheme, user: at.map(|at| &rest[..at]), rest: at.map_or(rest, |at| &rest[at + 1..]) })
    }

    /// Whether something stands before the host.
    #[must_use]
    pub fn has_user(self) -> bool {
        self.user.is_some()
    }

    /// The password, or a token alone. The user of other schemes than HTTP is none: `ssh://git@host`.
    #[must_use]
    pub fn secret(self) -> Option<&'a str> {
        let user = self.user?;
        match user.split_once(':') {
            Some((_, password)) => Some(password),
            None => Some(user).filter(|_| self.scheme.starts_with("http")),
        }
    }
}

/// An address without credentials; any other text as it is.
///
/// ```
/// use k3s_boot::base::url::without_credentials;
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
    fn an_address_is_shown_without_credentials() {
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
        assert_eq!(Url::parse("ssh://git@host").and_then(Url::secret), None);
    }
}
