//! A registry that serves ghcr.io and quay.io, and injects faults.

mod front;
mod store;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tempfile::TempDir;

pub use self::front::Faults;
pub(crate) use self::front::Front;
use crate::charts::Chart;
use crate::git_server::{self, GitServer};
use crate::pki::Authority;
use crate::process::{Service, Watchdog, wait_for};
use crate::tools::Tools;

/// The hosts that the proxy leads to the registry; all others are refused.
pub const HOSTS: [&str; 3] = ["ghcr.io", "quay.io", "files.sandbox.test"];

/// A running registry with the charts of this project, behind a proxy. Clusters can share it.
#[derive(Debug)]
pub struct Registry {
    front: Front,
    process: Process,
    authority: Authority,
    ca_file: PathBuf,
    // Dropped last.
    _folder: TempDir,
}

impl Registry {
    /// Starts a registry with all charts. The first start builds and pushes them, which takes seconds.
    pub fn start(tools: &Tools) -> Result<Arc<Self>> {
        let storage = store::charts(tools)?;
        Self::with_storage(tools, &storage, own_folder()?)
    }

    /// Starts a registry with all charts and with more charts, which only this registry has.
    pub fn start_with(tools: &Tools, more: &[Chart]) -> Result<Arc<Self>> {
        let folder = own_folder()?;
        let storage = folder.path().join("storage");
        store::with(tools, &storage, more)?;
        Self::with_storage(tools, &storage, folder)
    }

    /// Starts a registry on a storage folder, read-only.
    fn with_storage(tools: &Tools, storage: &Path, folder: TempDir) -> Result<Arc<Self>> {
        let watchdog = Watchdog::start(folder.path())?;
        let process = Process::start(tools, &watchdog, folder.path(), storage, true)?;
        let authority = Authority::new("sandbox registry")?;
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, authority.cert())?;
        let front = Front::start(&authority.server(&HOSTS)?, &process.socket, None)?;
        Ok(Arc::new(Self { front, process, authority, ca_file, _folder: folder }))
    }

    /// The CONNECT proxy, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn proxy(&self) -> String {
        self.front.url()
    }

    /// Starts the proxy of the controllers of one cluster: to the registry, but without its faults, and to a Git server.
    pub(crate) fn with_git(&self, git: Arc<GitServer>) -> Result<Front> {
        let hosts = [&HOSTS[..], &[git_server::host_and_path().0]].concat();
        Front::start(&self.authority.server(&hosts)?, &self.process.socket, Some(git))
    }

    /// The file with the CA certificate that clients must trust (`SSL_CERT_FILE`).
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The injected faults and the received requests.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        self.front.faults()
    }

    /// Shows an untrusted certificate to new connections, until [`Faults::clear`].
    pub fn show_strange_certificate(&self) -> Result<()> {
        self.faults().show(&Authority::new("untrusted")?.server(&HOSTS)?)
    }

    /// Shows a certificate that is not valid yet to new connections, as with a wrong clock, until [`Faults::clear`].
    pub fn show_future_certificate(&self) -> Result<()> {
        self.faults().show(&self.authority.future_server(&HOSTS)?)
    }

    /// The names and IDs of the processes.
    #[must_use]
    pub fn processes(&self) -> Vec<(String, u32)> {
        let Process { service, watchdog, .. } = &self.process;
        vec![
            (service.name().to_owned(), service.pid()),
            ("watchdog of the registry".to_owned(), watchdog.pid()),
        ]
    }
}

/// The `registry` program, on a Unix socket to avoid conflicts of ports.
#[derive(Debug)]
struct Process {
    service: Service,
    socket: PathBuf,
    watchdog: Arc<Watchdog>,
}

impl Process {
    fn start(
        tools: &Tools,
        watchdog: &Arc<Watchdog>,
        folder: &Path,
        storage: &Path,
        read_only: bool,
    ) -> Result<Self> {
        let socket = folder.join("registry.sock");
        let config = folder.join("registry.yaml");
        let text = json!({
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": true}},
            "storage": {
                "filesystem": {"rootdirectory": storage},
                "maintenance": {"readonly": {"enabled": read_only}, "uploadpurging": {"enabled": false}},
            },
            "http": {"net": "unix", "addr": socket},
        });
        fs::write(&config, text.to_string())?;
        let mut service = Service::start(
            watchdog,
            "registry",
            Command::new(tools.registry())
                .arg("serve")
                .arg(&config)
                .env("OTEL_TRACES_EXPORTER", "none")
                .current_dir(folder),
            &folder.join("registry.log"),
        )?;
        wait_for("the registry", Duration::from_secs(30), || {
            service.check()?;
            Ok(UnixStream::connect(&socket).ok())
        })?;
        Ok(Self { service, socket, watchdog: Arc::clone(watchdog) })
    }
}

fn own_folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("sandbox-registry-").tempdir()?)
}

/// A listener on a free port of 127.0.0.1.
pub(crate) fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen on 127.0.0.1")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
