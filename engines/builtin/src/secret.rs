//! The secrets engines. None knows another.

pub(crate) mod aws;
pub(crate) mod cubbyhole;
pub(crate) mod database;
mod document;
pub(crate) mod kubernetes;
pub(crate) mod kv;
mod name;
pub(crate) mod rabbitmq;
pub(crate) mod ssh;
mod template;
pub(crate) mod transit;
