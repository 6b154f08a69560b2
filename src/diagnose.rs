//! Diagnosis of failures: the object, its state, the cause and the fix.

pub mod flux;
pub mod gone;
pub mod pods;
pub mod release;
pub mod taints;
