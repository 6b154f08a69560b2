//! A real Kubernetes control plane, registry and Flux on one machine, without containers and without the internet.
//!
//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and Flux' kustomize-controller are the real programs; the
//! kubelet is played by kwok, and the sandbox itself plays the CNI, flux-operator and Flux' source-controller. The registry answers for
//! ghcr.io and quay.io.

mod audit;
mod bench;
pub mod charts;
pub mod cli;
mod cluster;
mod control_plane;
mod flux;
mod git_folder;
mod kube;
mod nodes;
mod output;
mod pki;
mod process;
mod registry;
mod stages;
mod state;
mod time;
mod tools;

pub use crate::audit::{AuditEvent, AuditStatus, AuditUser, Mark, ObjectRef};
pub use crate::cluster::{Options, Sandbox};
pub use crate::control_plane::{ADMIN, SERVICE_CIDR};
pub use crate::flux::FluxPlay;
pub use crate::git_folder::{GIT_PATH, GIT_REF, GIT_URL, GitSecret};
pub use crate::nodes::CILIUM_NODE_ARGS;
pub use crate::process::{is_running, wait_for};
pub use crate::registry::{Faults, HOSTS, Registry};
pub use crate::tools::{KUBERNETES_VERSION, Tools, cache_dir};
