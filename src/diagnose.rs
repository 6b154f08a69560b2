//! What is behind a failure: the object, its state, the cause, and what mends it.

pub mod gone;
pub mod known;
mod kustomize;
pub mod look;
pub mod pods;
pub mod release;
mod starting;
mod table;
mod table_pods;
pub mod taints;
pub mod webhooks;
