//! OpenSSH: the host keys of a Git server. Optional: `init --deploy-key` alone needs them.

use std::path::Path;
use std::time::Duration;

use super::{Toolbox, last_words};
use crate::base::error::Error;
use crate::process::Invocation;
use crate::tools::child_env::AGE_IDENTITIES;

const TIMEOUT: Duration = Duration::from_secs(20);

impl Toolbox {
    /// The host keys that the user's `known_hosts` file has for a host, as lines for that host; empty if there are none.
    ///
    /// # Errors
    ///
    /// k3s-boot was interrupted, or ssh-keygen cannot be run.
    pub(crate) async fn known_host_keys(&self, ssh_keygen: &Path, host: &str) -> Result<String, Error> {
        // The exit code is 1 if the host is unknown.
        let output = self.runner.run(self.ssh("ssh-keygen", ssh_keygen, &["-F", host])).await?;
        Ok(lines(&output.stdout, host))
    }

    /// The host keys that a server presents, as lines for that host.
    ///
    /// # Errors
    ///
    /// The server does not answer, or presents none.
    pub(crate) async fn scanned_host_keys(&self, ssh_keyscan: &Path, host: &str) -> Result<String, Error> {
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            Some((name, port)) => (name, port),
            None => (host, "22"),
        };
        let invocation = self.ssh("ssh-keyscan", ssh_keyscan, &["-p", port, "--", name]);
        let command = invocation.to_string();
        let output = self.runner.run(invocation).await?;
        let keys = lines(&output.stdout, host);
        if keys.is_empty() {
            return Err(Error::Tool { command, reason: last_words(&output) });
        }
        Ok(keys)
    }

    fn ssh(&self, name: &'static str, program: &Path, words: &[&str]) -> Invocation {
        Invocation::new(name, program, words).deadline(self.clock.cap(TIMEOUT)).without(&AGE_IDENTITIES)
    }
}

/// The keys without comments, each for `host`: a `known_hosts` file may have the hash of its name (sshd(8)).
fn lines(output: &[u8], host: &str) -> String {
    let text = String::from_utf8_lossy(output);
    let keys = text.lines().filter(|line| !line.starts_with(['#', '@']) && !line.trim().is_empty());
    let keys = keys.filter_map(|line| Some(format!("{host} {}\n", line.split_once(' ')?.1.trim())));
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn lines_are_for_the_host() {
        let output = b"# Host git.example.org found: line 3\n|1|aGFzaA==|aGFzaA== ssh-ed25519 AAAA\n@revoked * ssh-rsa BBBB\n\n";
        assert_eq!(lines(output, "git.example.org"), "git.example.org ssh-ed25519 AAAA\n");
    }
}
