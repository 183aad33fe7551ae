//! The server: transports, configuration, wiring and telemetry around core. It turns bytes into requests and settings
//! into a running node; what a request means is core's business.

mod address;
pub mod config;
mod couriers;
pub mod dev;
pub mod diagnose;
mod error;
pub mod grpc;
mod handler;
pub mod hardening;
pub mod http;
pub mod mutants;
pub mod node;
pub mod operations;
pub mod orphan;
pub mod serve;
pub mod temporary;
pub mod tls;
pub mod wiping;

pub use conclave_core::audit;
pub use conclave_core::backup;
pub use conclave_engines::wrap_key;

pub use address::{Network, Networks};
pub use error::Error;
pub use handler::Handler;
