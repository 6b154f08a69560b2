//! Kubernetes distributions, and how a node, its log and its kubeconfig are reached in each.

use schemars::JsonSchema;
use serde::Deserialize;

/// A Kubernetes distribution.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Distribution {
    /// k3s.
    K3s,
    /// k3s in containers, made by k3d.
    K3d,
    /// RKE2.
    Rke2,
    /// Talos Linux.
    Talos,
    /// kubeadm.
    Kubeadm,
    /// Another one.
    Other,
    #[default]
    #[serde(skip)]
    Unknown,
}

impl Distribution {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::K3s => "k3s",
            Self::K3d => "k3d",
            Self::Rke2 => "RKE2",
            Self::Talos => "Talos",
            Self::Kubeadm => "kubeadm",
            Self::Other => "another distribution",
            Self::Unknown => "an unknown distribution",
        }
    }

    /// The word for `cluster.distribution` in the configuration.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::K3s => "k3s",
            Self::K3d => "k3d",
            Self::Rke2 => "rke2",
            Self::Talos => "talos",
            Self::Kubeadm => "kubeadm",
            Self::Other | Self::Unknown => "other",
        }
    }

    /// Whether its nodes run k3s.
    pub(crate) fn is_k3s(self) -> bool {
        matches!(self, Self::K3s | Self::K3d)
    }

    /// What has the version of Kubernetes.
    pub(crate) fn versioned(self) -> &'static str {
        match self {
            Self::K3s | Self::K3d => "k3s",
            Self::Rke2 => "RKE2",
            Self::Talos | Self::Kubeadm | Self::Other | Self::Unknown => "Kubernetes",
        }
    }

    /// How to get the kubeconfig of an administrator.
    pub(crate) fn kubeconfig(self) -> &'static str {
        match self {
            Self::K3s => {
                "copy /etc/rancher/k3s/k3s.yaml from a server node, set that node's address in the copy"
            }
            Self::K3d => "write one with `k3d kubeconfig merge CLUSTER`",
            Self::Rke2 => {
                "copy /etc/rancher/rke2/rke2.yaml from a server node, set that node's address in the copy"
            }
            Self::Talos => "write one with `talosctl kubeconfig`",
            Self::Kubeadm => "copy /etc/kubernetes/admin.conf from a control plane node",
            Self::Other | Self::Unknown => "get the administrator's kubeconfig of the cluster",
        }
    }

    /// How to renew the certificate in the kubeconfig.
    pub(crate) fn renewal(self) -> &'static str {
        match self {
            Self::K3s => {
                "sudo systemctl restart k3s  # on a server: k3s renews certificates that expire within 120 days\n\
                 then copy /etc/rancher/k3s/k3s.yaml from there again"
            }
            Self::Rke2 => {
                "sudo systemctl restart rke2-server  # on a server: RKE2 renews certificates that expire within 120 days\n\
                 then copy /etc/rancher/rke2/rke2.yaml from there again"
            }
            Self::Kubeadm => {
                "sudo kubeadm certs renew admin.conf  # on a control plane node\n\
                 then copy /etc/kubernetes/admin.conf from there again"
            }
            other => other.kubeconfig(),
        }
    }

    /// The log of the control plane.
    pub(crate) fn server_log(self) -> &'static str {
        match self {
            Self::K3s => "`journalctl -u k3s` on the servers",
            Self::K3d => "`docker logs` of the servers",
            Self::Rke2 => "`journalctl -u rke2-server` on the servers",
            Self::Talos => "`talosctl dmesg` of the control plane nodes",
            Self::Kubeadm => "`journalctl -u kubelet` on the control plane nodes",
            Self::Other | Self::Unknown => "the logs of the control plane",
        }
    }

    /// The log of the kubelet on a node.
    pub(crate) fn node_log(self) -> &'static str {
        match self {
            Self::K3s => "`journalctl -u k3s` on that node",
            Self::K3d => "`docker logs` of that node",
            Self::Rke2 => "`journalctl -u rke2-server -u rke2-agent` on that node",
            Self::Talos => "`talosctl logs kubelet` of that node",
            Self::Kubeadm => "`journalctl -u kubelet` on that node",
            Self::Other | Self::Unknown => "the log of the kubelet on that node",
        }
    }

    /// Where to look at nodes that do not register.
    pub(crate) fn node_status(self) -> &'static str {
        match self {
            Self::K3s => "`systemctl status k3s` (on agents `k3s-agent`) on the missing nodes",
            Self::K3d => "`docker ps --all` for the missing nodes",
            Self::Rke2 => "`systemctl status rke2-server` (on agents `rke2-agent`) on the missing nodes",
            Self::Talos => "`talosctl service kubelet` of the missing nodes",
            Self::Kubeadm => "`systemctl status kubelet` on the missing nodes",
            Self::Other | Self::Unknown => "the kubelet on the missing nodes",
        }
    }

    /// How to add an address to the certificate of the API server. For k3s itself, the rule knows the lines.
    pub(crate) fn add_address(self) -> &'static str {
        match self {
            Self::K3s => "add it to `tls-san` in /etc/rancher/k3s/config.yaml on all servers and restart k3s",
            Self::K3d => {
                "recreate the cluster with `k3d cluster create --k3s-arg '--tls-san=ADDRESS@server:*'`"
            }
            Self::Rke2 => {
                "add it to `tls-san` in /etc/rancher/rke2/config.yaml on all servers and restart rke2-server"
            }
            Self::Talos => {
                "add it to `cluster.apiServer.certSANs` in the machine configuration of the control plane nodes"
            }
            Self::Kubeadm => {
                "add it to `apiServer.certSANs` in the kubeadm configuration, and create the certificate of the API server again"
            }
            Self::Other | Self::Unknown => "add it to the certificate of the API server",
        }
    }

    /// Where agents of a CNI reach the API server on every node, as host and port.
    pub(crate) const fn local_api(self) -> (&'static str, &'static str) {
        match self {
            Self::K3s | Self::K3d => ("127.0.0.1", "6444"),
            // KubePrism, which is enabled by default since Talos 1.6.
            Self::Talos => ("localhost", "7445"),
            Self::Rke2 | Self::Kubeadm | Self::Other | Self::Unknown => ("HOST", "6443"),
        }
    }
}
