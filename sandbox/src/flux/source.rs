//! Simulates source-controller: serves the Git folder as the artifact of every GitRepository with the URL of the sandbox.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::operator::condition;
use crate::git_folder::{GIT_REF, GIT_URL};
use crate::kube::Client;
use crate::registry::listen;
use crate::time::now;
use crate::tools::hex;

#[derive(Debug)]
pub(super) struct Source {
    client: Client,
    folder: PathBuf,
    address: SocketAddr,
    artifact: Arc<Mutex<Artifact>>,
    known: Mutex<Vec<Value>>,
    /// The message with which the Git server refuses access.
    locked: Mutex<Option<String>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Artifact {
    archive: Vec<u8>,
    digest: String,
    made: String,
}

impl Source {
    pub(super) fn start(client: Client, folder: &Path) -> Result<Self> {
        let (listener, address) = listen()?;
        let artifact = Arc::new(Mutex::new(Artifact::of(folder)?));
        let stop = Arc::new(AtomicBool::new(false));
        let (served, stopped) = (Arc::clone(&artifact), Arc::clone(&stop));
        let thread = std::thread::spawn(move || serve(&listener, &served, &stopped));
        Ok(Self {
            client,
            folder: folder.to_owned(),
            address,
            artifact,
            known: Mutex::default(),
            locked: Mutex::default(),
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) fn watch(&self, stop: &AtomicBool) {
        self.client.watch("/apis/source.toolkit.fluxcd.io/v1/gitrepositories", stop, |event| {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let uid = &event.object["metadata"]["uid"];
            known.retain(|repository| repository["metadata"]["uid"] != *uid);
            if event.kind != "DELETED" {
                // After an outage, the API server sends the object again.
                drop(self.reconcile(&event.object));
                known.push(event.object);
            }
            ControlFlow::Continue(())
        });
    }

    /// Reads the folder again, as after a push, and returns the digest of the new artifact.
    pub(super) fn refresh(&self) -> Result<String> {
        let artifact = Artifact::of(&self.folder)?;
        let digest = artifact.digest.clone();
        *self.artifact() = artifact;
        self.look()?;
        Ok(digest)
    }

    /// Makes the Git server refuse all access with this message; `None` allows it again.
    pub(super) fn lock(&self, message: Option<&str>) -> Result<()> {
        *self.locked.lock().unwrap_or_else(PoisonError::into_inner) = message.map(str::to_owned);
        self.look()
    }

    fn look(&self) -> Result<()> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().try_for_each(|repository| self.reconcile(repository))
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(thread.join());
        }
    }

    fn artifact(&self) -> MutexGuard<'_, Artifact> {
        self.artifact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reconcile(&self, repository: &Value) -> Result<()> {
        if repository["spec"]["suspend"] == true {
            return Ok(());
        }
        let name = repository["metadata"]["name"].as_str().context("a GitRepository has no name")?;
        let namespace =
            repository["metadata"]["namespace"].as_str().context("a GitRepository has no namespace")?;
        let generation = &repository["metadata"]["generation"];
        let requested = &repository["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
        let is_answered = repository["status"]["lastHandledReconcileAt"] == *requested;
        if !is_answered {
            *self.artifact() = Artifact::of(&self.folder)?;
        }
        let (artifact, state, reason, message) =
            if let Some((reason, message)) = self.problem(repository, namespace)? {
                (Value::Null, "False", reason, message)
            } else {
                let artifact = self.artifact();
                let revision = artifact.revision();
                let path = format!("gitrepository/{namespace}/{name}/{}.tar.gz", artifact.commit());
                let value = json!({
                    "url": format!("http://{}/{path}", self.address),
                    "path": path,
                    "digest": format!("sha256:{}", artifact.digest),
                    "revision": revision,
                    "lastUpdateTime": artifact.made,
                    "size": artifact.archive.len(),
                });
                (value, "True", "Succeeded", format!("stored artifact for revision '{revision}'"))
            };
        let same = is_answered
            && repository["status"]["artifact"] == artifact
            && repository["status"]["observedGeneration"] == *generation
            && condition(repository, "Ready")
                .is_some_and(|ready| ready["status"] == state && ready["message"] == message);
        if same {
            return Ok(());
        }
        let mut status = json!({
            "observedGeneration": generation,
            "conditions": [{
                "type": "Ready", "status": state, "reason": reason, "message": message,
                "observedGeneration": generation, "lastTransitionTime": now(),
            }],
        });
        if !artifact.is_null() {
            status["artifact"] = artifact;
        }
        if !requested.is_null() {
            status["lastHandledReconcileAt"] = requested.clone();
        }
        let path =
            format!("/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}/gitrepositories/{name}/status");
        self.client.merge(&path, &json!({"status": status})).map(drop)
    }

    /// Why the repository cannot be read: reason and message of source-controller.
    fn problem(&self, repository: &Value, namespace: &str) -> Result<Option<(&'static str, String)>> {
        if let Some(message) = &*self.locked.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Some(("GitOperationFailed", message.clone())));
        }
        let spec = &repository["spec"];
        if let Some(secret) = spec["secretRef"]["name"].as_str() {
            let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
            if self.client.get(&path)?.is_none() {
                let message =
                    format!("failed to get secret '{namespace}/{secret}': secrets \"{secret}\" not found");
                return Ok(Some(("AuthenticationFailed", message)));
            }
        }
        let url = spec["url"].as_str().unwrap_or_default();
        let failed = |why: &str| {
            let message =
                format!("failed to checkout and determine revision: unable to clone '{url}': {why}");
            Ok(Some(("GitOperationFailed", message)))
        };
        if !is_home(url) {
            return failed("authentication required: Repository not found.");
        }
        let reference = spec["ref"]["name"].as_str().unwrap_or_default();
        if reference != GIT_REF {
            return failed(&format!("couldn't find remote ref \"{reference}\""));
        }
        Ok(None)
    }
}

/// Whether a URL is that of the served repository, by https or ssh, with any credentials.
fn is_home(url: &str) -> bool {
    let place = |url: &str| {
        let (_, rest) = url.split_once("://")?;
        Some(rest.rsplit_once('@').map_or(rest, |(_, rest)| rest).to_owned())
    };
    place(url) == place(GIT_URL)
}

impl Artifact {
    fn of(folder: &Path) -> Result<Self> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        archive.mode(tar::HeaderMode::Deterministic);
        add(&mut archive, folder, Path::new(""))?;
        let archive = archive.into_inner()?.finish()?;
        let digest = hex(&Sha256::digest(&archive));
        Ok(Self { archive, digest, made: now() })
    }

    /// A substitute for the commit ID, which changes with the content.
    fn commit(&self) -> &str {
        &self.digest[..40]
    }

    fn revision(&self) -> String {
        format!("{}@sha1:{}", GIT_REF.trim_start_matches("refs/heads/"), self.commit())
    }
}

fn add(archive: &mut tar::Builder<GzEncoder<Vec<u8>>>, folder: &Path, inside: &Path) -> Result<()> {
    let mut names = fs::read_dir(folder)
        .with_context(|| format!("cannot read `{}`", folder.display()))?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let (path, inside) = (folder.join(&name), inside.join(&name));
        if path.is_dir() {
            add(archive, &path, &inside)?;
        } else {
            archive.append_path_with_name(&path, &inside)?;
        }
    }
    Ok(())
}

fn serve(listener: &TcpListener, artifact: &Mutex<Artifact>, stop: &AtomicBool) {
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let Ok(stream) = stream {
            let archive = artifact.lock().unwrap_or_else(PoisonError::into_inner).archive.clone();
            // The controller tries again when a connection breaks.
            drop(answer(stream, &archive));
        }
    }
}

/// Answers every path with the artifact.
fn answer(mut stream: TcpStream, archive: &[u8]) -> Result<()> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&part[..read]);
    }
    let length = archive.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/gzip\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if !head.starts_with(b"HEAD ") {
        stream.write_all(archive)?;
    }
    Ok(())
}
