//! The secrets engines. None knows another.

pub(crate) mod cubbyhole;
mod document;
pub(crate) mod kv;
pub(crate) mod transit;
