//! The storage of the registry, filled once for each set of charts.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Process, listen};
use crate::charts::{self, Chart, ChartArchive};
use crate::folder::copy_folder;
use crate::process::{Watchdog, run};
use crate::tools::{Tools, cache_dir, rename, staging};

/// The storage folder with all charts, created if it is not in the cache.
pub(super) fn charts(tools: &Tools) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let storage = cache.join(format!("registry-{}", charts::fingerprint()));
    if !storage.is_dir() {
        let folder = tempfile::tempdir()?;
        let archives = charts::build(folder.path()).context("cannot build the charts")?;
        let filled = staging(&cache)?;
        fill(tools, filled.path(), &archives)?;
        rename(filled, &storage)?;
    }
    Ok(storage)
}

/// Creates a storage folder with all charts and with more charts.
pub(super) fn with(tools: &Tools, storage: &Path, more: &[Chart]) -> Result<()> {
    copy_folder(&charts(tools)?, storage)?;
    let folder = tempfile::tempdir()?;
    let archives: Result<Vec<_>> = more.iter().map(|chart| charts::build_one(folder.path(), chart)).collect();
    fill(tools, storage, &archives?)
}

fn fill(tools: &Tools, storage: &Path, archives: &[ChartArchive]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let watchdog = Watchdog::start(folder.path())?;
    let process = Process::start(tools, &watchdog, folder.path(), storage, false)?;
    let (listener, address) = listen()?;
    let socket = process.socket.clone();
    std::thread::spawn(move || forward(&listener, &socket));
    for archive in archives {
        let (_, path) =
            archive.repository.split_once('/').context("the repository of a chart has no host")?;
        run(Command::new(tools.helm())
            .arg("push")
            .arg(&archive.file)
            .arg(format!("oci://{address}/{path}"))
            .arg("--plain-http")
            .env("HOME", folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("HELM_REGISTRY_CONFIG"))
        .with_context(|| format!("cannot push {} {}", archive.name, archive.version))?;
    }
    Ok(())
}

/// Forwards every connection to the socket of the registry, until the socket is closed.
fn forward(listener: &TcpListener, socket: &Path) {
    for client in listener.incoming() {
        let Ok(registry) = UnixStream::connect(socket) else {
            break;
        };
        let Ok(client) = client else { continue };
        // If a connection breaks, helm fails and reports it.
        std::thread::spawn(move || drop(join(client, registry)));
    }
}

fn join(mut client: TcpStream, mut registry: UnixStream) -> io::Result<()> {
    let (mut from_client, mut to_registry) = (client.try_clone()?, registry.try_clone()?);
    let up = std::thread::spawn(move || {
        drop(io::copy(&mut from_client, &mut to_registry));
        drop(to_registry.shutdown(Shutdown::Write));
    });
    io::copy(&mut registry, &mut client)?;
    client.flush()?;
    client.shutdown(Shutdown::Both)?;
    drop(up.join());
    Ok(())
}
