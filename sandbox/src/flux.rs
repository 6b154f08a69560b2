//! Flux: a simulated flux-operator and helm-controller, and the real source-controller and kustomize-controller.

mod helm;
mod operator;
mod patch;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::json;

use self::helm::HelmController;
use self::operator::Operator;
use crate::control_plane::{ControlPlane, free_port};
use crate::git_server::GitServer;
use crate::kube::Client;
use crate::process::{Service, Watchdog, wait_for};
use crate::registry::{Front, Registry};
use crate::tools::Tools;

/// How long source-controller may take to look at the Git server again.
const SOURCE_TIMEOUT: Duration = Duration::from_mins(1);

const REPOSITORIES: &str = "/apis/source.toolkit.fluxcd.io/v1/gitrepositories";

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
    git: Arc<GitServer>,
    client: Client,
    controllers: Arc<Mutex<Vec<Service>>>,
    threads: Vec<JoinHandle<()>>,
    // Leads source-controller to the registry and the Git server.
    _front: Front,
}

impl Flux {
    pub(crate) fn start(
        tools: &Tools,
        plane: &ControlPlane,
        watchdog: &Arc<Watchdog>,
        folder: &Path,
        git: &Path,
        registry: &Registry,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let operator = Arc::new(Operator::new(
            plane.client(&account("flux-operator"))?,
            tools.flux_crds()?.into_iter().chain([helm::crd()]).collect(),
        ));
        let git = Arc::new(GitServer::new(&folder.join("git-server"), git)?);
        let front = registry.with_git(Arc::clone(&git))?;
        let controller = |name, program| Controller::new(name, program, plane, watchdog, folder);
        let source = controller("source-controller", tools.source_controller())?;
        let kustomize = controller("kustomize-controller", tools.kustomize_controller())?;
        let (proxy, ca_file) = (front.url(), registry.ca_file().to_owned());
        let kubeconfig = folder.join("helm-controller.kubeconfig");
        plane.write_kubeconfig(&kubeconfig, &account("helm-controller"))?;
        let client = plane.client(&account("helm-controller"))?;
        let helm = HelmController::new(client, tools.helm(), folder, kubeconfig, &proxy, &ca_file);
        let mut flux = Self {
            stop,
            operator,
            git,
            client: plane.client("sandbox")?,
            controllers: Arc::default(),
            threads: Vec::new(),
            _front: front,
        };
        flux.spawn(Operator::watch_deployment);
        flux.spawn(Operator::watch_instances);
        flux.spawn(move |_, stop| helm.watch(stop));
        let controllers = Arc::clone(&flux.controllers);
        flux.spawn(move |operator, stop| {
            if operator.wait_installed(stop) {
                let started =
                    [source.start_source(&proxy, &ca_file), kustomize.start(&mut kustomize.command())];
                // If one does not start, its log shows why.
                lock(&controllers).extend(started.into_iter().flatten());
            }
        });
        Ok(flux)
    }

    /// Changes the behaviour of the operator, also for existing `FluxInstances`.
    pub(crate) fn set_behavior(&self, behavior: FluxBehavior) {
        self.operator.set_behavior(behavior);
    }

    /// Makes the Git server refuse all requests with this HTTP status; `None` allows them again.
    pub(crate) fn lock_source(&self, status: Option<u16>) -> Result<()> {
        self.git.refuse(status);
        self.refresh_sources()
    }

    /// Makes source-controller look at the Git server, and waits until it has.
    pub(crate) fn refresh_sources(&self) -> Result<()> {
        let requested = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos().to_string();
        let change = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": requested}}});
        let list = self.client.get(REPOSITORIES)?.unwrap_or_default();
        for repository in list["items"].as_array().into_iter().flatten() {
            if repository["spec"]["suspend"] == true {
                continue;
            }
            let text = |key: &str| repository["metadata"][key].as_str().context("an object has no name");
            let (namespace, name) = (text("namespace")?, text("name")?);
            let path = REPOSITORIES
                .replace("gitrepositories", &format!("namespaces/{namespace}/gitrepositories/{name}"));
            self.client.merge(&path, &change)?;
            wait_for("source-controller", SOURCE_TIMEOUT, || {
                let repository = self.client.get(&path)?.unwrap_or_default();
                Ok((repository["status"]["lastHandledReconcileAt"] == *requested).then_some(()))
            })?;
        }
        Ok(())
    }

    /// The processes that run now, by name and id.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        lock(&self.controllers).iter().map(|service| (service.name().to_owned(), service.pid())).collect()
    }

    /// Asks the controllers to stop. They notice it at the next event, or when the API server is gone.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.operator.stop();
        lock(&self.controllers).clear();
    }

    fn spawn(&mut self, part: impl FnOnce(&Operator, &AtomicBool) + Send + 'static) {
        let (operator, stop) = (Arc::clone(&self.operator), Arc::clone(&self.stop));
        self.threads.push(std::thread::spawn(move || part(&operator, &stop)));
    }
}

impl Drop for Flux {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        // A thread may have started some in the meantime.
        lock(&self.controllers).clear();
    }
}

fn lock(controllers: &Mutex<Vec<Service>>) -> MutexGuard<'_, Vec<Service>> {
    controllers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The user of a controller in the audit log.
fn account(name: &str) -> String {
    format!("system:serviceaccount:flux-system:{name}")
}

/// Starts a controller.
struct Controller {
    name: &'static str,
    program: PathBuf,
    kubeconfig: PathBuf,
    folder: PathBuf,
    watchdog: Arc<Watchdog>,
}

impl Controller {
    fn new(
        name: &'static str,
        program: PathBuf,
        plane: &ControlPlane,
        watchdog: &Arc<Watchdog>,
        folder: &Path,
    ) -> Result<Self> {
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        plane.write_kubeconfig(&kubeconfig, &account(name))?;
        Ok(Self { name, program, kubeconfig, folder: folder.to_owned(), watchdog: Arc::clone(watchdog) })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--metrics-addr=0", "--health-addr=0", "--events-addr=", "--log-level=info"])
            // Instead of 30 s, for which tests would wait.
            .arg("--requeue-dependency=2s")
            .env("KUBECONFIG", &self.kubeconfig)
            .env("RUNTIME_NAMESPACE", "flux-system")
            .env("TMPDIR", &self.folder)
            .env("HOME", &self.folder)
            .env_remove("HTTPS_PROXY")
            .env_remove("HTTP_PROXY")
            .current_dir(&self.folder);
        command
    }

    fn start(&self, command: &mut Command) -> Result<Service> {
        let log = self.folder.join(format!("{}.log", self.name));
        Service::start(&self.watchdog, self.name, command, &log)
    }

    fn start_source(&self, proxy: &str, ca_file: &Path) -> Result<Service> {
        let storage = self.folder.join("artifacts");
        std::fs::create_dir_all(&storage)?;
        let address = free_port()?.local_addr()?;
        self.start(
            self.command()
                .arg(format!("--storage-path={}", storage.display()))
                .args([format!("--storage-addr={address}"), format!("--storage-adv-addr={address}")])
                .env("HTTPS_PROXY", proxy)
                .env("NO_PROXY", "127.0.0.1")
                .env("SSL_CERT_FILE", ca_file),
        )
    }
}
