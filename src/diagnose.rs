//! Diagnosis of failures: the object, its state, the cause and the fix.

pub(crate) mod deleted;
pub(crate) mod flux;
pub(crate) mod pods;
pub(crate) mod release;
pub(crate) mod taints;
