//! A real Kubernetes control plane, registry and Flux on one machine, without containers and without the internet.
//!
//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and Flux' source-controller and kustomize-controller are the
//! real programs. kwok simulates the kubelet, and the sandbox itself simulates the CNI and flux-operator. The registry serves
//! ghcr.io and quay.io.

mod audit;
mod bench;
mod build;
pub mod charts;
mod checkout;
pub mod cli;
mod cluster;
mod control_plane;
mod faults;
mod fixture;
mod fleet;
mod flux;
mod folder;
mod git_folder;
mod git_server;
mod http;
mod kills;
mod kube;
mod nodes;
mod output;
mod picture;
mod pki;
mod process;
mod random;
mod registry;
mod restart;
mod secrets;
mod stages;
mod state;
mod test_command;
mod time;
mod tools;
mod webhook;

pub use crate::audit::{AuditEvent, AuditStatus, AuditUser, Mark, ObjectRef};
pub use crate::build::python_programs;
pub use crate::checkout::Checkout;
pub use crate::cluster::{Options, Sandbox};
pub use crate::control_plane::{ADMIN, SERVICE_CIDR};
pub use crate::faults::{FaultCampaign, run as run_faults};
pub use crate::fleet::{Fleet, run as run_fleet};
pub use crate::flux::FluxBehavior;
pub use crate::folder::{copy_folder, files};
pub use crate::git_folder::{GIT_PATH, GIT_REF, GIT_URL, GitSecret};
pub use crate::kills::{Campaign, Runs, run as run_campaign};
pub use crate::nodes::CILIUM_NODE_ARGS;
pub use crate::process::{GARBAGE, is_running, wait_for};
pub use crate::random::Random;
pub use crate::registry::{Faults, HOSTS, Registry};
pub use crate::restart::Restart;
pub use crate::secrets::SecretSearch;
pub use crate::tools::{KUBERNETES_VERSION, Tools, cache_dir};
