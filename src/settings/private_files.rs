//! Files of this run for what no file of the user holds: an age key from stdin or a variable, and the credentials of the pod.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::Settings;
use crate::base::env::Env;
use crate::base::error::Error;
use crate::base::files;
use crate::base::finding::Finding;
use crate::base::redact::Redactor;
use crate::base::scratch::Scratch;
use crate::desired::age;
use crate::tools::in_cluster;

/// Where the age key comes from, if not from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AgeKeyFrom {
    /// `--age-key -`
    Stdin,
    /// `--age-key env:NAME`
    Variable(String),
}

impl AgeKeyFrom {
    /// The source that a value of `--age-key` names, unless that is a file.
    pub(super) fn parse(value: &Path) -> Option<Self> {
        match value.to_str()? {
            "-" => Some(Self::Stdin),
            text => text.strip_prefix("env:").map(|name| Self::Variable(name.to_owned())),
        }
    }

    /// What messages call it.
    pub(super) fn name(&self) -> PathBuf {
        match self {
            Self::Stdin => "stdin".into(),
            Self::Variable(name) => format!("${name}").into(),
        }
    }

    fn read(&self, env: &Env) -> Result<SecretString, String> {
        match self {
            Self::Variable(name) => {
                env.text(name).map(SecretString::from).ok_or_else(|| "not set".to_owned())
            }
            Self::Stdin if std::io::stdin().is_terminal() => {
                Err("a terminal; expected a pipe or a file, such as `< age.key`".to_owned())
            }
            Self::Stdin => {
                let mut text = String::new();
                let read = std::io::stdin().take(age::LARGEST + 1).read_to_string(&mut text);
                let text = SecretString::from(text);
                match read {
                    Ok(_) if text.expose_secret().len() as u64 > age::LARGEST => Err("too large".to_owned()),
                    Ok(_) => Ok(text),
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }
}

impl Settings {
    /// Writes the files, and returns their folder, which is removed with the value. What is missing becomes a problem of the
    /// configuration.
    ///
    /// # Errors
    ///
    /// The files cannot be written.
    pub(crate) fn write_private_files(
        &mut self,
        env: &Env,
        redactor: &Redactor,
    ) -> Result<Option<Scratch>, Error> {
        if self.age_key_from.is_none() && !self.in_cluster {
            return Ok(None);
        }
        let folder = Scratch::new(&self.temp)?;
        if let Some(from) = &self.age_key_from {
            match from.read(env) {
                Ok(text) => {
                    redactor.add([text.expose_secret()]);
                    self.age_key = folder.path().join("age.key");
                    write(&self.age_key, text.expose_secret())?;
                }
                Err(reason) => self.config_problems.push(
                    Finding::error("age-key", "Age key cannot be read")
                        .with("file", from.name().display())
                        .with("reason", reason),
                ),
            }
        }
        if self.in_cluster {
            match in_cluster::kubeconfig(Path::new(in_cluster::SERVICE_ACCOUNT), env) {
                Ok(text) => {
                    let path = folder.path().join("in-cluster.yaml");
                    write(&path, &text)?;
                    self.kubeconfig = vec![path];
                }
                Err(finding) => self.config_problems.push(finding),
            }
        }
        Ok(Some(folder))
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    files::write_whole(path, text.as_bytes()).map_err(|source| Error::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}
