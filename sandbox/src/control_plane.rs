//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok as plain processes.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::kube::Client;
use crate::pki::{Authority, Identity, signing_key};
use crate::process::{Service, Watchdog, wait_for};
use crate::random::Random;
use crate::tools::Tools;

/// The Service network of every sandbox, the default of k3s.
pub const SERVICE_CIDR: &str = "10.43.0.0/16";
/// The user in the kubeconfig of the programs under test, named as in k3s.
pub const ADMIN: &str = "system:admin";
/// The group with all permissions.
const MASTERS: &str = "system:masters";
/// Timeout for the start of the API server, which takes about two seconds on an idle machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// The sockets of etcd: files with these names in the working folder, which need no port and have a short path.
const ETCD: &str = "unix://etcd:1";
const ETCD_PEER: &str = "unix://etcd:2";

/// Logs every request once, when it is answered, except heartbeats of components.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
  - level: None
    resources:
      - group: coordination.k8s.io
        resources: [leases]
  - level: Metadata
";

/// A running control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    // Dropped in this order: clients of the API server first.
    kwok: Option<Service>,
    scheduler: Option<Service>,
    controller_manager: Option<Service>,
    api_server: Option<Service>,
    etcd: Option<Service>,
    authority: Authority,
    tools: Tools,
    watchdog: Arc<Watchdog>,
    folder: PathBuf,
    port: u16,
    /// The port of the simulated kubelet, which serves the logs of containers.
    kubelet_port: u16,
    /// Reserves that port until kwok listens on it.
    kubelet: Option<TcpListener>,
}

impl ControlPlane {
    /// Starts the control plane in `folder` and waits until the API server is ready.
    pub(crate) fn start(tools: &Tools, watchdog: &Arc<Watchdog>, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("logs"))?;
        let kubelet = free_port()?;
        let mut plane = Self {
            kwok: None,
            scheduler: None,
            controller_manager: None,
            api_server: None,
            etcd: None,
            authority: Authority::new("k3s-server-ca")?,
            tools: tools.clone(),
            watchdog: Arc::clone(watchdog),
            folder: folder.to_owned(),
            port: free_port()?.local_addr()?.port(),
            kubelet_port: kubelet.local_addr()?.port(),
            kubelet: Some(kubelet),
        };
        plane.write_files()?;
        plane.etcd = Some(plane.start_etcd()?);
        plane.start_api_server(false)?;
        let client = plane.client("sandbox")?;
        for kind in ["stages", "clusterlogs"] {
            let crd = tools.kwok_stage(&format!("kwok.x-k8s.io_{kind}.yaml"))?;
            client.apply_yaml(&crd_path(&format!("{kind}.kwok.x-k8s.io")), &crd)?;
        }
        // kwok backs off when it starts before its kinds exist.
        wait_for("the API server to serve stages", START_TIMEOUT, || {
            // A new kind is not found at first, then answered with 429.
            let (status, _) = client.get_raw("/apis/kwok.x-k8s.io/v1alpha1/stages")?;
            Ok((status == 200).then_some(()))
        })?;
        plane.start_clients()?;
        Ok(plane)
    }

    /// `https://127.0.0.1:PORT`.
    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A client with all permissions, which appears as `user` in the audit log.
    pub(crate) fn client(&self, user: &str) -> Result<Client> {
        Client::new(&self.server(), self.authority.cert(), &self.authority.client(user, MASTERS)?, user)
    }

    /// Writes a kubeconfig for `user`, with all permissions.
    pub(crate) fn write_kubeconfig(&self, path: &Path, user: &str) -> Result<()> {
        let identity = self.authority.client(user, MASTERS)?;
        write_kubeconfig(path, &self.server(), self.authority.cert(), &identity)
    }

    /// As [`Self::write_kubeconfig`], with a certificate that has expired.
    pub(crate) fn write_expired_kubeconfig(&self, path: &Path, user: &str) -> Result<()> {
        let identity = self.authority.expired_client(user, MASTERS)?;
        write_kubeconfig(path, &self.server(), self.authority.cert(), &identity)
    }

    /// The port of the kubelet of all nodes at 127.0.0.1.
    pub(crate) fn kubelet_port(&self) -> u16 {
        self.kubelet_port
    }

    /// The port of the API server at 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The audit log's path.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.join("logs/audit.log")
    }

    /// The names and IDs of the running processes.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        [&self.etcd, &self.api_server, &self.controller_manager, &self.scheduler, &self.kwok]
            .into_iter()
            .flatten()
            .map(|service| (service.name().to_owned(), service.pid()))
            .collect()
    }

    /// Fails if kwok has exited.
    pub(crate) fn check_kubelet(&mut self) -> Result<()> {
        self.kwok.as_mut().map_or(Ok(()), Service::check)
    }

    /// The last lines of the log of kwok.
    pub(crate) fn kubelet_log(&self) -> String {
        self.kwok.as_ref().map(Service::log_tail).unwrap_or_default()
    }

    /// Stops the API server, and nothing else.
    pub(crate) fn stop_api_server(&mut self) {
        self.api_server = None;
    }

    /// Starts the API server on the same port, and restarts the components that are one process with it in k3s: otherwise, the
    /// controllers would reconnect only after up to another minute. With `shares_port`, another process may listen on the port
    /// until then.
    pub(crate) fn start_api_server(&mut self, shares_port: bool) -> Result<()> {
        let first = self.api_server.is_none() && self.kwok.is_none();
        let mut tries = 0;
        let client = loop {
            let mut service = self.spawn_api_server(shares_port)?;
            let client = self.client("sandbox")?;
            let ready = wait_for("the API server", START_TIMEOUT, || {
                service.check()?;
                let answer = client.get_raw("/readyz");
                Ok(answer.ok().filter(|(status, _)| *status == 200))
            });
            tries += 1;
            match ready {
                Ok(_) => {
                    self.api_server = Some(service);
                    break client;
                }
                // Another process took the port in the meantime.
                Err(error) if first && tries < 3 && error.to_string().contains("address already in use") => {
                    drop(service);
                    self.port = free_port()?.local_addr()?.port();
                }
                Err(error) => return Err(error),
            }
        };
        // The default namespaces are created after the API server becomes ready.
        wait_for("the namespace `default`", START_TIMEOUT, || client.get("/api/v1/namespaces/default"))?;
        if !first {
            self.start_clients()?;
        }
        Ok(())
    }

    fn start_clients(&mut self) -> Result<()> {
        // Stop each before its successor starts.
        self.controller_manager = None;
        self.controller_manager = Some(self.start_controller_manager()?);
        self.scheduler = None;
        self.scheduler = Some(self.start_scheduler()?);
        // A kubelet keeps running while the API server restarts.
        if self.kwok.as_mut().is_none_or(|kwok| kwok.ended().is_some()) {
            self.kwok = None;
            self.kubelet = None;
            self.kwok = Some(self.start_kwok()?);
        }
        Ok(())
    }

    fn write_files(&self) -> Result<()> {
        let write = |name: &str, text: &str| {
            let path = self.folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
        };
        write("ca.crt", self.authority.cert())?;
        write("audit-policy.yaml", AUDIT_POLICY)?;
        let (private, public) = signing_key()?;
        write("service-accounts.key", &private)?;
        write("service-accounts.pub", &public)?;
        let names = [
            "127.0.0.1",
            // k3s adds the addresses of its servers.
            "10.0.0.10",
            "10.43.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        self.authority.server(&names)?.write(&self.folder, "api-server")?;
        Ok(())
    }

    fn start_etcd(&self) -> Result<Service> {
        self.service(
            "etcd",
            self.program("etcd")
                .arg(self.flag("--data-dir=", "etcd-data"))
                .arg(format!("--listen-client-urls={ETCD}"))
                .arg(format!("--advertise-client-urls={ETCD}"))
                .arg(format!("--listen-peer-urls={ETCD_PEER}"))
                .arg(format!("--initial-advertise-peer-urls={ETCD_PEER}"))
                .arg(format!("--initial-cluster=default={ETCD_PEER}"))
                // The data need not survive a power cut.
                .arg("--unsafe-no-fsync"),
        )
    }

    fn spawn_api_server(&self, shares_port: bool) -> Result<Service> {
        self.service(
            "kube-apiserver",
            self.program("kube-apiserver")
                .arg(format!("--etcd-servers={ETCD}"))
                .arg("--bind-address=127.0.0.1")
                .arg(format!("--secure-port={}", self.port))
                .arg(format!("--permit-port-sharing={shares_port}"))
                // After SIGTERM, it answers for so long without being ready; the sandbox stops it with SIGKILL.
                .arg("--shutdown-delay-duration=2m")
                // The endpoint of the Service `kubernetes` cannot be a loopback address; this one is reserved for documentation.
                .arg("--advertise-address=192.0.2.10")
                .arg(format!("--service-cluster-ip-range={SERVICE_CIDR}"))
                .arg("--authorization-mode=Node,RBAC")
                // Nothing listens at the internal addresses of the nodes.
                .arg("--kubelet-preferred-address-types=ExternalDNS")
                .arg(self.flag("--client-ca-file=", "ca.crt"))
                .arg(self.flag("--tls-cert-file=", "api-server.crt"))
                .arg(self.flag("--tls-private-key-file=", "api-server.key"))
                .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
                .arg(self.flag("--service-account-key-file=", "service-accounts.pub"))
                .arg(self.flag("--service-account-signing-key-file=", "service-accounts.key"))
                .arg(self.flag("--audit-policy-file=", "audit-policy.yaml"))
                .arg(self.flag("--audit-log-path=", "logs/audit.log"))
                // Answered requests must be in the log.
                .arg("--audit-log-mode=blocking")
                .arg("--audit-log-maxsize=0"),
        )
    }

    fn start_controller_manager(&self) -> Result<Service> {
        let kubeconfig = self.component_kubeconfig("system:kube-controller-manager")?;
        self.service(
            "kube-controller-manager",
            self.program("kube-controller-manager")
                .arg(format!("--kubeconfig={}", kubeconfig.display()))
                // There is only one.
                .arg("--leader-elect=false")
                .arg("--secure-port=0")
                .arg("--allocate-node-cidrs=false")
                .arg(format!("--service-cluster-ip-range={SERVICE_CIDR}"))
                .arg(self.flag("--root-ca-file=", "ca.crt"))
                .arg(self.flag("--service-account-private-key-file=", "service-accounts.key")),
        )
    }

    fn start_scheduler(&self) -> Result<Service> {
        let kubeconfig = self.component_kubeconfig("system:kube-scheduler")?;
        self.service(
            "kube-scheduler",
            self.program("kube-scheduler")
                .arg(format!("--kubeconfig={}", kubeconfig.display()))
                .arg("--leader-elect=false")
                .arg("--secure-port=0"),
        )
    }

    fn start_kwok(&self) -> Result<Service> {
        let kubeconfig = self.component_kubeconfig("kwok")?;
        self.service(
            "kwok",
            Command::new(self.tools.kwok())
                .arg(format!("--kubeconfig={}", kubeconfig.display()))
                .arg("--manage-all-nodes=true")
                .arg("--enable-crds=Stage,ClusterLogs")
                .arg(format!("--server-address=127.0.0.1:{}", self.kubelet_port))
                .arg(self.flag("--tls-cert-file=", "api-server.crt"))
                .arg(self.flag("--tls-private-key-file=", "api-server.key"))
                .arg("--cidr=10.42.0.0/16")
                .arg("--node-lease-duration-seconds=40")
                .env("HOME", &self.folder),
        )
    }

    fn component_kubeconfig(&self, user: &str) -> Result<PathBuf> {
        let path = self.folder.join(format!("{}.kubeconfig", user.replace(':', "-")));
        self.write_kubeconfig(&path, user)?;
        Ok(path)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.kubernetes(name));
        command.current_dir(&self.folder);
        command
    }

    fn flag(&self, flag: &str, file: &str) -> String {
        format!("{flag}{}", self.folder.join(file).display())
    }

    fn service(&self, name: &str, command: &mut Command) -> Result<Service> {
        Service::start(&self.watchdog, name, command, &self.folder.join(format!("logs/{name}.log")))
    }
}

/// The API path of a CRD.
pub(crate) fn crd_path(name: &str) -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
}

/// Writes a kubeconfig like that of k3s: cluster, user and context are named `default`.
fn write_kubeconfig(path: &Path, server: &str, authority: &str, identity: &Identity) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default", "cluster": {
            "server": server,
            "certificate-authority-data": base64(authority.as_bytes()),
        }}],
        "users": [{"name": "default", "user": {
            "client-certificate-data": base64(identity.cert.as_bytes()),
            "client-key-data": base64(identity.key.as_bytes()),
        }}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "current-context": "default",
    });
    let text = serde_yaml::to_string(&config)?;
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Linux gives none of these to an outgoing connection (`net.ipv4.ip_local_port_range` starts at 32768): one that is free now is
/// still free when a program starts to listen on it a moment later.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A free port. Several clusters can run at the same time.
pub(crate) fn free_port() -> Result<TcpListener> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let mut random = Random::new(u64::try_from(time % u128::from(u64::MAX))? ^ u64::from(std::process::id()));
    let ports = std::iter::repeat_with(|| {
        PORTS.start.saturating_add(u16::try_from(random.below(PORTS.len())).unwrap_or(0))
    });
    let mut listeners =
        ports.take(PORTS.len()).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    listeners.next().context("cannot find a free port")
}

/// Base64 with padding, RFC 4648 §4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let block =
            chunk.iter().fold(0_u32, |block, &byte| block << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            if index > chunk.len() {
                text.push('=');
            } else {
                text.push(char::from(DIGITS[(block >> (18 - 6 * index) & 63) as usize]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_as_in_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
