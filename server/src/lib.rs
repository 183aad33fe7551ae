//! The server: transports, configuration, wiring and telemetry around core. It turns bytes into requests and settings
//! into a running node; what a request means is core's business.

mod address;
pub mod config;
mod error;
mod handler;
pub mod node;
pub mod http;
pub mod operations;
pub mod tls;

pub use address::{Network, Networks};
pub use error::Error;
pub use handler::Handler;
