//! What is behind a failure: the object, its state, the cause, and what mends it.

pub mod flux;
pub mod gone;
pub mod pods;
pub mod release;
pub mod taints;
