//! Executes a plan, stage by stage.

pub(crate) mod crds;
pub(crate) mod dns;
mod failures;
pub(crate) mod helm_charts;
mod hooks;
pub(crate) mod inspect;
pub(crate) mod lock;
pub(crate) mod namespaces;
pub(crate) mod nodes;
pub(crate) mod note;
pub(crate) mod objects;
pub(crate) mod outcome;
pub(crate) mod releases;
pub(crate) mod sync;
pub(crate) mod unlock;
pub(crate) mod verify;
mod watch;
pub(crate) mod webhooks;
