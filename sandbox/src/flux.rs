//! Flux: the operator and the source controller played, the kustomize-controller real.

mod operator;
mod patch;
mod source;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Result;

use self::operator::Operator;
use self::source::Source;
use crate::control_plane::ControlPlane;
use crate::process::{Service, Watchdog};
use crate::tools::Tools;

/// How the flux-operator treats `FluxInstances`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FluxPlay {
    /// As it should.
    #[default]
    Works,
    /// The build of the manifests fails for good, with this message.
    Stalls(String),
    /// It says that it is at work, and never ends.
    NeverReady,
}

/// The players of one cluster. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Flux {
    stop: Arc<AtomicBool>,
    operator: Arc<Operator>,
    source: Arc<Source>,
    controller: Arc<Mutex<Option<Service>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What it takes to start the kustomize-controller.
struct Controller {
    program: PathBuf,
    kubeconfig: PathBuf,
    folder: PathBuf,
    watchdog: Arc<Watchdog>,
}

impl Flux {
    pub(crate) fn start(
        tools: &Tools,
        plane: &ControlPlane,
        watchdog: &Arc<Watchdog>,
        folder: &Path,
        git: &Path,
    ) -> Result<Self> {
        let account = |name: &str| format!("system:serviceaccount:flux-system:{name}");
        let stop = Arc::new(AtomicBool::new(false));
        let operator = Arc::new(Operator::new(plane.client(&account("flux-operator"))?, tools.flux_crds()?));
        let source = Arc::new(Source::start(plane.client(&account("source-controller"))?, git)?);
        let kubeconfig = folder.join("kustomize-controller.kubeconfig");
        plane.write_kubeconfig(&kubeconfig, &account("kustomize-controller"))?;
        let controller = Controller {
            program: tools.kustomize_controller(),
            kubeconfig,
            folder: folder.to_owned(),
            watchdog: Arc::clone(watchdog),
        };
        let mut flux = Self { stop, operator, source, controller: Arc::default(), threads: Vec::new() };
        flux.play(|operator, _, stop| operator.watch_deployment(stop));
        flux.play(|operator, _, stop| operator.watch_instances(stop));
        let slot = Arc::clone(&flux.controller);
        flux.play(move |operator, source, stop| {
            if operator.wait_installed(stop) {
                // Its log, or the lack of one, tells why it did not start.
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = controller.start().ok();
                source.watch(stop);
            }
        });
        Ok(flux)
    }

    /// Changes how the operator behaves, also for `FluxInstances` that it has seen.
    pub(crate) fn set_play(&self, play: FluxPlay) {
        self.operator.set_play(play);
    }

    /// The digest of what is in the Git folder now, after the source was read anew.
    pub(crate) fn refresh_source(&self) -> Result<String> {
        self.source.refresh()
    }

    /// What the Git server says to whoever wants to read the repository; `None` lets everybody in.
    pub(crate) fn lock_source(&self, message: Option<&str>) -> Result<()> {
        self.source.lock(message)
    }

    /// The processes that run now, by name and id.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        controller.iter().map(|service| (service.name().to_owned(), service.pid())).collect()
    }

    /// Tells the players to end. They do once the API server is gone or says something.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.operator.stop();
        self.source.stop();
        drop(self.controller.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn play(&mut self, part: impl FnOnce(&Operator, &Source, &AtomicBool) + Send + 'static) {
        let (operator, source) = (Arc::clone(&self.operator), Arc::clone(&self.source));
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || part(&operator, &source, &stop)));
    }
}

impl Drop for Flux {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        // The thread above may have started it in the meantime.
        drop(self.controller.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Controller {
    fn start(&self) -> Result<Service> {
        Service::start(
            &self.watchdog,
            "kustomize-controller",
            Command::new(&self.program)
                .args(["--metrics-addr=0", "--health-addr=0", "--events-addr=", "--log-level=info"])
                .env("KUBECONFIG", &self.kubeconfig)
                .env("RUNTIME_NAMESPACE", "flux-system")
                .env("TMPDIR", &self.folder)
                .env("HOME", &self.folder)
                .env_remove("HTTPS_PROXY")
                .env_remove("HTTP_PROXY")
                .current_dir(&self.folder),
            &self.folder.join("kustomize-controller.log"),
        )
    }
}
