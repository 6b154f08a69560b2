//! One sandbox: a control plane, a registry and Flux.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::audit::{AuditEvent, AuditLog, Mark};
use crate::control_plane::{ADMIN, ControlPlane};
use crate::flux::{Flux, FluxBehavior};
use crate::git_folder::{GIT_PATH, GIT_REF, GIT_URL, GitFolder, GitSecret, age_key};
use crate::kube::Client;
use crate::nodes::{CILIUM_NODE_ARGS, Nodes};
use crate::process::{Service, Watchdog, run, wait_for};
use crate::registry::Registry;
use crate::restart::Restart;
use crate::stages::{Hold, Stages};
use crate::tools::Tools;

/// Variables that would make the programs under test use another cluster or other settings.
const FOREIGN: [&str; 14] = [
    "HELM_KUBEAPISERVER",
    "HELM_KUBECAFILE",
    "HELM_KUBECONTEXT",
    "HELM_KUBETOKEN",
    "HELM_NAMESPACE",
    "HELM_DRIVER",
    "HELMFILE_ENVIRONMENT",
    "HELMFILE_CACHE_HOME",
    "FLUX_GIT_PULL_SECRET",
    "SOPS_AGE_KEY",
    "SOPS_AGE_KEY_CMD",
    "SOPS_AGE_RECIPIENTS",
    "LOG_LEVEL",
    "ROOT_DIR",
];

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Part of the name of the folder.
    pub name: String,
    /// The folder to use, which is removed in the end [default: a temporary one].
    pub folder: Option<PathBuf>,
    /// The number of nodes, named `node-1` and so on.
    pub nodes: usize,
    /// The flags of k3s on each node.
    pub node_args: Vec<String>,
    /// Whether Flux runs.
    pub flux: bool,
    /// A shared registry [default: one for this sandbox].
    pub registry: Option<Arc<Registry>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "sandbox".to_owned(),
            folder: None,
            nodes: 1,
            node_args: CILIUM_NODE_ARGS.map(str::to_owned).to_vec(),
            flux: true,
            registry: None,
        }
    }
}

/// A running sandbox. All its processes are killed and its folder is removed when it is dropped or its process dies.
#[derive(Debug)]
pub struct Sandbox {
    tools: Tools,
    registry: Arc<Registry>,
    folder: PathBuf,
    git: GitFolder,
    audit: AuditLog,
    client: Client,
    stages: Mutex<Stages>,
    nodes: Arc<Nodes>,
    node_args: Vec<String>,
    node_count: Mutex<usize>,
    flux: Option<Flux>,
    helm_controller: Mutex<Option<Service>>,
    stop: Arc<AtomicBool>,
    cni: Option<JoinHandle<()>>,
    plane: Mutex<Option<ControlPlane>>,
    // Last: it removes the folder.
    watchdog: Arc<Watchdog>,
}

impl Sandbox {
    /// Starts a cluster and waits until it is ready, which takes seconds once the tools are built.
    pub fn start(options: Options) -> Result<Self> {
        let tools = Tools::install_for_clusters(&|_: &str| {})?;
        Self::start_with(&tools, options)
    }

    /// As [`Sandbox::start`], with installed tools.
    pub fn start_with(tools: &Tools, options: Options) -> Result<Self> {
        let folder = match options.folder {
            Some(folder) => folder,
            None => tempfile::Builder::new().prefix(&format!("sandbox-{}-", options.name)).tempdir()?.keep(),
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let watchdog = Watchdog::start(&folder)?;
        // The registry and the encrypted files do not depend on the control plane.
        let (plane, rest) = std::thread::scope(|scope| {
            let rest = scope.spawn(|| -> Result<_> {
                let recipient = age_key(tools, &folder.join("age.key"))?;
                age_key(tools, &folder.join("other-age.key"))?;
                let git = GitFolder::write(tools, &folder.join("git"), &recipient)?;
                let registry = match options.registry {
                    Some(registry) => registry,
                    None => Registry::start(tools)?,
                };
                Ok((git, registry))
            });
            let plane = ControlPlane::start(tools, &watchdog, &folder.join("cluster"));
            (plane, rest.join())
        });
        let plane = plane?;
        let (git, registry) =
            rest.map_err(|_| anyhow::anyhow!("the thread that starts the registry panicked"))??;
        fs::create_dir_all(folder.join("home"))?;
        plane.write_kubeconfig(&folder.join("kubeconfig"), ADMIN)?;
        plane.write_kubeconfig(&folder.join("sandbox.kubeconfig"), "sandbox")?;
        let client = plane.client("sandbox")?;
        let nodes = Nodes::new(plane.client("kubelet")?, plane.kubelet_port());
        let stop = Arc::new(AtomicBool::new(false));
        let flux = if options.flux {
            Some(Flux::start(tools, &plane, &watchdog, &folder, git.path(), &registry)?)
        } else {
            None
        };
        let (simulated, stopped) = (Arc::clone(&nodes), Arc::clone(&stop));
        let sandbox = Self {
            tools: tools.clone(),
            registry,
            git,
            audit: AuditLog::new(plane.audit_log(), client.clone()),
            stages: Mutex::new(Stages::apply(tools, client.clone(), &folder)?),
            client,
            nodes,
            node_args: options.node_args,
            node_count: Mutex::new(0),
            flux,
            helm_controller: Mutex::default(),
            cni: Some(std::thread::spawn(move || simulated.run(&stopped))),
            stop,
            plane: Mutex::new(Some(plane)),
            watchdog,
            folder,
        };
        for _ in 0..options.nodes {
            sandbox.add_node()?;
        }
        Ok(sandbox)
    }

    /// Adds a node, which becomes ready when Cilium runs on it, and returns its name.
    pub fn add_node(&self) -> Result<String> {
        self.add_node_with(&self.node_args)
    }

    /// As [`Sandbox::add_node`], with other flags of k3s.
    pub fn add_node_with(&self, node_args: &[String]) -> Result<String> {
        let mut count = self.node_count.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("node-{}", *count + 1);
        self.nodes.add(&name, *count, node_args)?;
        *count += 1;
        self.settle(&name)?;
        Ok(name)
    }

    fn settle(&self, node: &str) -> Result<()> {
        let alive = || self.plane().as_mut().context("the sandbox has stopped")?.check_kubelet();
        self.stages().settle(node, alive).with_context(|| match self.plane().as_ref() {
            Some(plane) => format!("end of the log of kwok: {}", plane.kubelet_log()),
            None => "the sandbox has stopped".to_owned(),
        })
    }

    /// As [`Sandbox::settle`], after a change of the stages. Without nodes, kwok does nothing.
    fn settle_all(&self) -> Result<()> {
        let any = *self.node_count.lock().unwrap_or_else(PoisonError::into_inner) > 0;
        if any { self.settle("node-1") } else { Ok(()) }
    }

    /// Sets the readiness of a node; from then on, Cilium no longer changes it.
    pub fn set_node_ready(&self, name: &str, ready: bool) -> Result<()> {
        self.nodes.set_ready(name, ready)
    }

    /// Keeps pods of `namespace` whose names begin with `prefix` and that start after this call from becoming ready. Returns when
    /// the kubelet knows of it.
    pub fn hold(&self, namespace: &str, prefix: &str) -> Result<()> {
        self.hold_with(Hold { namespace: namespace.to_owned(), prefix: prefix.to_owned(), behavior: None })
    }

    /// As [`Sandbox::hold`], optionally with a failing state of the pods.
    pub(crate) fn hold_with(&self, hold: Hold) -> Result<()> {
        self.stages().hold(hold)?;
        self.settle_all()
    }

    /// Removes all holds, so that the pods become ready.
    pub fn release(&self) -> Result<()> {
        let held = self.stages().release()?;
        self.settle_all()?;
        held.iter().try_for_each(|hold| self.stages().take(hold))
    }

    /// Starts the Helm controller of k3s, which creates its CRDs. Nothing runs the containers of its Jobs, so that a test has
    /// to do with helm what they would do.
    pub fn start_helm_controller(&self) -> Result<()> {
        let kubeconfig = self.folder.join("k3s-helm-controller.kubeconfig");
        self.plane()
            .as_ref()
            .context("the sandbox has stopped")?
            .write_kubeconfig(&kubeconfig, "k3s-helm-controller")?;
        let mut command = Command::new(self.tools.helm_controller());
        command.env("KUBECONFIG", &kubeconfig).env("HOME", &self.folder).current_dir(&self.folder);
        let log = self.folder.join("k3s-helm-controller.log");
        let service = Service::start(&self.watchdog, "k3s-helm-controller", &mut command, &log)?;
        *self.helm_controller.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
        Ok(())
    }

    /// Changes how the flux-operator handles `FluxInstances`.
    pub fn set_flux_behavior(&self, behavior: FluxBehavior) {
        if let Some(flux) = &self.flux {
            flux.set_behavior(behavior);
        }
    }

    /// Makes every FluxInstance Stalled, with this message.
    pub fn flux_stall(&self, message: &str) {
        self.set_flux_behavior(FluxBehavior::Stalls(message.to_owned()));
    }

    /// Makes the Git server refuse all requests with this HTTP status; `None` allows them again.
    pub(crate) fn lock_git(&self, status: Option<u16>) -> Result<()> {
        self.flux.as_ref().map_or(Ok(()), |flux| flux.lock_source(status))
    }

    /// Makes Flux fetch the current content of [`Sandbox::git_folder`], as after a push with a webhook, and waits until it has
    /// tried.
    pub fn push(&self) -> Result<()> {
        self.flux.as_ref().context("the sandbox was started without Flux")?.refresh_sources()
    }

    /// Stops the API server; clients get `connection refused`.
    pub fn api_stop(&self) {
        if let Some(plane) = self.plane().as_mut() {
            plane.stop_api_server();
        }
    }

    /// Starts the API server again, at the same address, and waits until it is ready.
    pub fn api_start(&self) -> Result<()> {
        self.plane().as_mut().context("the sandbox has stopped")?.start_api_server(false)
    }

    /// Makes the API server end itself: until it has, `/readyz` fails, and everything else still works.
    pub fn api_end(&self) -> Result<()> {
        let all = self.processes();
        let (_, pid) =
            all.iter().find(|(name, _)| name == "kube-apiserver").context("the API server is not running")?;
        kill(Pid::from_raw(i32::try_from(*pid)?), Signal::SIGTERM)?;
        wait_for("the API server to be no longer ready", Duration::from_secs(30), || {
            Ok((self.client.get_raw("/readyz")?.0 != 200).then_some(()))
        })
    }

    /// Restarts the API server like k3s does, and waits until it is ready.
    pub fn api_restart(&self, restart: Restart) -> Result<()> {
        self.api_stop();
        let (port, folder) = {
            let plane = self.plane();
            let plane = plane.as_ref().context("the sandbox has stopped")?;
            (plane.port(), plane.folder().to_owned())
        };
        // Answers until the API server listens.
        let _front = restart.simulate(port, &folder)?;
        self.plane().as_mut().context("the sandbox has stopped")?.start_api_server(true)
    }

    /// The current end of the audit log: all requests answered before this call are before it.
    pub fn audit_mark(&self) -> Result<Mark> {
        self.audit.mark()
    }

    /// All requests since `mark`.
    pub fn audit_since(&self, mark: Mark) -> Result<Vec<AuditEvent>> {
        self.audit.since(mark)
    }

    /// The changes by the program under test since `mark` (see [`AuditEvent::is_mutating`]).
    pub fn mutating_since(&self, mark: Mark) -> Result<Vec<AuditEvent>> {
        Ok(self.audit_since(mark)?.into_iter().filter(AuditEvent::is_mutating).collect())
    }

    /// The environment with which helmfile, helm, kubectl, sops and k3s-boot use this sandbox.
    pub fn env(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let home = self.home();
        let path = std::env::var("PATH").unwrap_or_default();
        [
            ("PATH", format!("{}:{path}", self.tools.path_dir().display())),
            ("HOME", text(&home)),
            ("XDG_CACHE_HOME", text(&home.join(".cache"))),
            ("XDG_CONFIG_HOME", text(&home.join(".config"))),
            ("XDG_DATA_HOME", text(&home.join(".local/share"))),
            ("XDG_STATE_HOME", text(&home.join(".local/state"))),
            ("KUBECONFIG", text(&self.kubeconfig())),
            ("HTTPS_PROXY", self.registry.proxy()),
            ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
            ("SSL_CERT_FILE", text(self.registry.ca_file())),
            ("SOPS_AGE_KEY_FILE", text(&self.age_key())),
            ("K3S_API_HOST", "10.0.0.10".to_owned()),
            ("FLUX_GIT_URL", GIT_URL.to_owned()),
            ("FLUX_GIT_REF", GIT_REF.to_owned()),
            ("FLUX_GIT_PATH", GIT_PATH.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// A command with [`Sandbox::env`], without variables that point elsewhere.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for name in foreign_variables() {
            command.env_remove(name);
        }
        command.envs(self.env());
        command
    }

    /// Runs kubectl as the user `sandbox`, whose requests do not count as requests of the program under test.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        run(self
            .command(self.tools.kubectl())
            .env("KUBECONFIG", self.folder.join("sandbox.kubeconfig"))
            .args(arguments))
    }

    /// Gets an object or list of the API as JSON; `None` if it does not exist.
    pub fn get(&self, path: &str) -> Result<Option<Value>> {
        self.client.get(path)
    }

    /// All Helm releases in any state, as printed by `helm list -o json`.
    pub fn helm_list(&self) -> Result<Vec<Value>> {
        let output = run(self
            .command(self.tools.helm())
            .env("KUBECONFIG", self.folder.join("sandbox.kubeconfig"))
            .args(["list", "--all-namespaces", "--output", "json"]))?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The tools.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The folder of the sandbox.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The home folder of the programs under test, initially empty.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The kubeconfig of the programs under test.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Writes a kubeconfig for the programs under test whose certificate has expired.
    pub fn write_expired_kubeconfig(&self, path: &Path) -> Result<()> {
        self.plane().as_ref().context("the sandbox has stopped")?.write_expired_kubeconfig(path, ADMIN)
    }

    /// The folder that simulates the Git repository.
    pub fn git_folder(&self) -> &Path {
        self.git.path()
    }

    /// The Secret that the child Kustomization `cluster-apps` applies.
    pub fn git_secret(&self) -> &GitSecret {
        self.git.child()
    }

    /// The Secret that the root Kustomization applies: it proves that the root Kustomization decrypts.
    pub fn root_secret(&self) -> &GitSecret {
        self.git.root()
    }

    /// The age key for which the secrets in the Git folder are encrypted.
    pub fn age_key(&self) -> PathBuf {
        self.folder.join("age.key")
    }

    /// An age key that decrypts nothing.
    pub fn other_age_key(&self) -> PathBuf {
        self.folder.join("other-age.key")
    }

    /// The values that must not appear in any output or file of a program under test: the identities of both age keys and the
    /// content of the encrypted files in the Git folder.
    pub fn secrets(&self) -> Result<Vec<String>> {
        let mut secrets = vec![self.git_secret().value.clone(), self.root_secret().value.clone()];
        for key in [self.age_key(), self.other_age_key()] {
            let text = fs::read_to_string(&key)?;
            let identity = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1"));
            secrets.push(identity.with_context(|| format!("no identity in `{}`", key.display()))?.to_owned());
        }
        Ok(secrets)
    }

    /// The names and IDs of all processes, including those of a shared registry.
    pub fn processes(&self) -> Vec<(String, u32)> {
        let mut all = self.plane().as_ref().map(ControlPlane::processes).unwrap_or_default();
        all.extend(self.flux.as_ref().map(Flux::processes).unwrap_or_default());
        let helm_controller = self.helm_controller.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(helm_controller.iter().map(|service| (service.name().to_owned(), service.pid())));
        all.extend(self.registry.processes());
        all.push(("watchdog".to_owned(), self.watchdog.pid()));
        all
    }

    fn stages(&self) -> MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plane(&self) -> MutexGuard<'_, Option<ControlPlane>> {
        self.plane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(flux) = &self.flux {
            flux.stop();
        }
        // All watches end with the API server.
        drop(self.plane().take());
        drop(self.flux.take());
        if let Some(cni) = self.cni.take() {
            drop(cni.join());
        }
    }
}

/// Variables of this process that would make a program under test use another cluster or other settings.
pub(crate) fn foreign_variables() -> impl Iterator<Item = &'static str> {
    FOREIGN.into_iter()
}
