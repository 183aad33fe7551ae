//! The secrets engines. None knows another.

pub(crate) mod cubbyhole;
pub(crate) mod database;
mod document;
pub(crate) mod kv;
pub(crate) mod transit;
