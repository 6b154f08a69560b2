//! Flux: a simulated flux-operator and source-controller, and the real kustomize-controller.

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

/// How the simulated flux-operator handles `FluxInstances`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FluxBehavior {
    /// Installs Flux and reports Ready.
    #[default]
    Works,
    /// Reports Stalled with this message.
    Stalls(String),
    /// Reports progress forever.
    NeverReady,
}

/// The Flux controllers of one cluster. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Flux {
    stop: Arc<AtomicBool>,
    operator: Arc<Operator>,
    source: Arc<Source>,
    controller: Arc<Mutex<Option<Service>>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts the kustomize-controller.
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
        flux.spawn(|operator, _, stop| operator.watch_deployment(stop));
        flux.spawn(|operator, _, stop| operator.watch_instances(stop));
        let slot = Arc::clone(&flux.controller);
        flux.spawn(move |operator, source, stop| {
            if operator.wait_installed(stop) {
                // If it does not start, its log shows why.
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = controller.start().ok();
                source.watch(stop);
            }
        });
        Ok(flux)
    }

    /// Changes the behaviour of the operator, also for existing `FluxInstances`.
    pub(crate) fn set_behavior(&self, behavior: FluxBehavior) {
        self.operator.set_behavior(behavior);
    }

    /// Reads the Git folder again and returns the digest of its artifact.
    pub(crate) fn refresh_source(&self) -> Result<String> {
        self.source.refresh()
    }

    /// Makes the Git server refuse all access with this message; `None` allows it again.
    pub(crate) fn lock_source(&self, message: Option<&str>) -> Result<()> {
        self.source.lock(message)
    }

    /// The processes that run now, by name and id.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        controller.iter().map(|service| (service.name().to_owned(), service.pid())).collect()
    }

    /// Asks the controllers to stop. They notice it at the next event, or when the API server is gone.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.operator.stop();
        self.source.stop();
        drop(self.controller.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn spawn(&mut self, part: impl FnOnce(&Operator, &Source, &AtomicBool) + Send + 'static) {
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
        // A thread may have started it in the meantime.
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
