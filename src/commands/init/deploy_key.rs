//! A deploy key for Flux, as an encrypted Secret.

use std::path::Path;

use secrecy::SecretString;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

use super::COMMAND;
use super::git::{self, PULL_SECRET};
use crate::base::error::Error;
use crate::base::finding::Finding;
use crate::base::redact::Redactor;
use crate::process::find_program;
use crate::report::init::DeployKeyReport;
use crate::settings::Settings;
use crate::tools::Toolbox;

/// The encrypted Secret, which k3s-boot applies and Flux then reads.
pub(super) const FILE: &str = "bootstrap/git-deploy-key.sops.yaml";

/// A new deploy key, not yet encrypted.
pub(super) struct DeployKey {
    /// The manifest of the Secret.
    pub secret: SecretString,
    pub report: DeployKeyReport,
}

/// Makes a key pair, and finds the host keys of the Git server.
///
/// # Errors
///
/// The host keys cannot be found.
pub(super) async fn create(
    tools: &Toolbox,
    settings: &Settings,
    redactor: &Redactor,
    url: &str,
) -> Result<DeployKey, Error> {
    let Some((host, published)) = git::known_host(url) else {
        return Err(failed("has no host", url));
    };
    let (known_hosts, is_scanned) = match published {
        Some(keys) => (keys.to_owned(), false),
        None => host_keys(tools, settings, &host).await?,
    };
    let private = PrivateKey::random(&mut OsRng, Algorithm::Ed25519);
    let mut private = private.map_err(|error| failed(&error.to_string(), url))?;
    private.set_comment("flux");
    let openssh = private.to_openssh(LineEnding::LF).map_err(|error| failed(&error.to_string(), url))?;
    redactor.add(openssh.lines().filter(|line| !line.starts_with("-----")));
    let public_key = private.public_key().to_openssh().map_err(|error| failed(&error.to_string(), url))?;
    let secret = SecretString::from(manifest(&openssh, &public_key, &known_hosts));
    let host_keys = if is_scanned { fingerprints(&known_hosts) } else { Vec::new() };
    let report = DeployKeyReport { public_key, page: git::settings_page(url), host_keys };
    Ok(DeployKey { secret, report })
}

fn failed(reason: &str, url: &str) -> Error {
    let finding = Finding::error(COMMAND, "Deploy key cannot be created");
    Error::Preflight(vec![finding.with("url", url).with("reason", reason)])
}

/// The host keys of a server: those that the user trusts already, or those that it presents.
async fn host_keys(tools: &Toolbox, settings: &Settings, host: &str) -> Result<(String, bool), Error> {
    let find = |name: &str| find_program(name, settings.path.as_deref(), &settings.cwd);
    if let Some(program) = find("ssh-keygen") {
        let keys = tools.known_host_keys(&program, host).await?;
        if !keys.is_empty() {
            return Ok((keys, false));
        }
    }
    let Some(program) = find("ssh-keyscan") else {
        let finding = Finding::error(COMMAND, "Host key of the Git server is unknown");
        let fix = format!("ssh -T git@{host}    # stores it in ~/.ssh/known_hosts");
        return Err(Error::Preflight(vec![finding.with("host", host).fix(fix)]));
    };
    Ok((tools.scanned_host_keys(&program, host).await?, true))
}

fn fingerprints(known_hosts: &str) -> Vec<String> {
    let key = |line: &str| PublicKey::from_openssh(line.split_once(' ')?.1).ok();
    let keys = known_hosts.lines().filter_map(key);
    keys.map(|key| format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))).collect()
}

/// The Secret as Flux reads it (fluxcd.io, "Secret reference" of GitRepository).
fn manifest(private: &str, public: &str, known_hosts: &str) -> String {
    let indented = |text: &str| text.lines().map(|line| ["    ", line, "\n"].concat()).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {PULL_SECRET}\n  namespace: flux-system\nstringData:\n  \
         identity: |\n{}  identity.pub: |\n{}  known_hosts: |\n{}",
        indented(private),
        indented(public),
        indented(known_hosts)
    )
}

impl DeployKey {
    /// Encrypts the Secret for the creation rule of the repository.
    ///
    /// # Errors
    ///
    /// sops fails.
    pub(super) async fn encrypted(&self, tools: &Toolbox, root: &Path) -> Result<Vec<u8>, Error> {
        tools.sops_encrypt(root, Path::new(FILE), &self.secret).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_has_what_flux_reads() {
        let private = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        let text = manifest(
            &private.to_openssh(LineEnding::LF).unwrap(),
            "ssh-ed25519 AAAA flux",
            "host ssh-ed25519 BBBB\n",
        );
        let secret: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        let identity = secret["stringData"]["identity"].as_str().unwrap();
        assert_eq!(PrivateKey::from_openssh(identity).unwrap().key_data(), private.key_data());
        assert_eq!(secret["stringData"]["known_hosts"], "host ssh-ed25519 BBBB\n");
    }
}
