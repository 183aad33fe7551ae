//! Conclave's own secrets engines, and the registry that names each of them once. They see nothing but the contract of
//! `conclave-engine-api`: no storage, Raft, transport or policy.

#[cfg(feature = "example-engine")]
#[path = "../examples/hello/engine.rs"]
mod example;
mod record;
mod secret;

use std::sync::Arc;

use conclave_engine_api::Engine;

/// Every secrets engine that can be mounted, one line each.
pub fn secret_engines() -> Vec<Arc<dyn Engine>> {
    let engines: &[Arc<dyn Engine>] = &[
        Arc::new(secret::kv::Kv),
        Arc::new(secret::cubbyhole::Cubbyhole),
        #[cfg(feature = "example-engine")]
        example::engine(),
    ];
    engines.to_vec()
}
