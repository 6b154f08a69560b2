//! Executes a plan, stage by stage.

pub mod dns;
pub mod inspect;
pub mod lock;
pub mod namespaces;
pub mod nodes;
pub mod note;
pub mod outcome;
pub mod releases;
pub mod secrets;
pub mod sync;
pub mod unlock;
pub mod verify;
mod watch;
pub mod webhooks;
