//! The Git repository that Flux syncs, as a folder: a Secret applied by the root Kustomization, and one applied by a child
//! Kustomization. Both are encrypted with SOPS for the age key of the sandbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{run, run_with_input};
use crate::tools::Tools;

/// The URL of the repository. Only Flux can reach it, through a proxy.
pub const GIT_URL: &str = "https://git.sandbox.test/home.git";
/// The Git reference that Flux follows.
pub const GIT_REF: &str = "refs/heads/main";
/// The folder that the root Kustomization applies.
pub const GIT_PATH: &str = "kubernetes/flux/cluster";

const CHILD: &str = "\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: cluster-apps
  namespace: flux-system
spec:
  interval: 1h
  retryInterval: 10s
  path: ./kubernetes/apps
  prune: true
  sourceRef:
    kind: GitRepository
    name: flux-system
  decryption:
    provider: sops
    secretRef:
      name: sops-age
";

const NAMESPACE: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: sandbox-apps
";

/// A Secret in the Git repository, decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSecret {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its only key.
    pub key: &'static str,
    /// The value of the key.
    pub value: String,
}

/// The folder with its secrets.
#[derive(Debug)]
pub(crate) struct GitFolder {
    path: PathBuf,
    root: GitSecret,
    child: GitSecret,
}

impl GitFolder {
    /// Writes the folder, encrypted for the public age key `recipient`.
    pub(crate) fn write(tools: &Tools, path: &Path, recipient: &str) -> Result<Self> {
        let secret = |namespace, name, value: &str| GitSecret {
            namespace,
            name,
            key: "canary",
            value: value.to_owned(),
        };
        let folder = Self {
            path: path.to_owned(),
            root: secret("flux-system", "cluster-secrets", "canary-of-the-root"),
            child: secret("sandbox-apps", "canary", "canary-of-the-child"),
        };
        let (root, apps) = (path.join(GIT_PATH), path.join("kubernetes/apps"));
        fs::create_dir_all(&root)?;
        fs::create_dir_all(&apps)?;
        fs::write(root.join("apps.yaml"), CHILD)?;
        fs::write(apps.join("namespace.yaml"), NAMESPACE)?;
        fs::write(root.join("cluster-secrets.sops.yaml"), folder.root.encrypted(tools, recipient)?)?;
        fs::write(apps.join("canary.sops.yaml"), folder.child.encrypted(tools, recipient)?)?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn root(&self) -> &GitSecret {
        &self.root
    }

    pub(crate) fn child(&self) -> &GitSecret {
        &self.child
    }
}

impl GitSecret {
    fn encrypted(&self, tools: &Tools, recipient: &str) -> Result<Vec<u8>> {
        let Self { namespace, name, key, value } = self;
        let plain = format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\nstringData:\n  {key}: {value}\n"
        );
        let output = run_with_input(
            Command::new(tools.sops())
                .args(["--disable-version-check", "encrypt", "--age", recipient])
                .args(["--encrypted-regex", "^(data|stringData)$", "--filename-override", "secret.sops.yaml"])
                .current_dir("/"),
            plain.as_bytes(),
        )?;
        Ok(output.stdout)
    }
}

/// Creates an age key in the file `path` and returns its public key.
pub(crate) fn age_key(tools: &Tools, path: &Path) -> Result<String> {
    run(Command::new(tools.age_keygen()).arg("-o").arg(path))?;
    let output = run(Command::new(tools.age_keygen()).arg("-y").arg(path))?;
    Ok(String::from_utf8(output.stdout).context("`age-keygen` printed no text")?.trim().to_owned())
}
