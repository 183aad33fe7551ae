//! Conclave's own secrets engines, and the registry that names each of them once. They see nothing but the contract of
//! `conclave-engine-api`: no storage, Raft, transport or policy.

mod record;
mod secret;

use std::sync::Arc;

use conclave_engine_api::Engine;

/// Every secrets engine that can be mounted, one line each.
pub fn secret_engines() -> Vec<Arc<dyn Engine>> {
    vec![Arc::new(secret::kv::Kv), Arc::new(secret::cubbyhole::Cubbyhole)]
}
