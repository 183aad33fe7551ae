//! Conclave's own secrets engines and auth methods, and the registry that names each of them once. They see nothing but the contract of
//! `conclave-engine-api`: no storage, Raft, transport or policy.

mod auth;
#[cfg(feature = "example-engine")]
#[path = "../examples/hello/engine.rs"]
mod example;
mod record;
mod secret;
mod wiped;

pub use secret::transit::wrap_key;

use std::sync::Arc;

use conclave_engine_api::Engine;

/// Every secrets engine that can be mounted, one line each.
pub fn secret_engines() -> Vec<Arc<dyn Engine>> {
    let engines: &[Arc<dyn Engine>] = &[
        Arc::new(secret::kv::Kv),
        Arc::new(secret::cubbyhole::Cubbyhole),
        Arc::new(secret::database::Database),
        Arc::new(secret::aws::Aws),
        Arc::new(secret::kubernetes::Kubernetes),
        Arc::new(secret::rabbitmq::RabbitMq),
        Arc::new(secret::ssh::Ssh),
        Arc::new(secret::transit::Transit),
        #[cfg(feature = "example-engine")]
        example::engine(),
    ];
    engines.to_vec()
}

/// Every auth method that can be mounted, one line each.
pub fn auth_methods() -> Vec<Arc<dyn Engine>> {
    let methods: [Arc<dyn Engine>; 2] = [
        Arc::new(auth::approle::Approle),
        Arc::new(auth::userpass::Userpass),
    ];
    methods.to_vec()
}

/// Both: what a node is made with.
pub fn engines() -> Vec<Arc<dyn Engine>> {
    let mut engines = secret_engines();
    engines.extend(auth_methods());
    engines
}
