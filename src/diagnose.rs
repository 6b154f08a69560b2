//! Diagnosis of failures: the object, its state, the cause and the fix.

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
