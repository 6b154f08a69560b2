//! Diagnosis of failures: the object, its state, the cause and the fix.

pub mod deleted;
pub mod flux;
pub mod pods;
pub mod release;
pub mod taints;
