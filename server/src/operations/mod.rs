//! What operators see of a node: numbers, logs, liveness. It must not know what requests mean.

pub mod logs;
mod metrics;
mod probes;
mod vault_names;

pub use metrics::HttpMetrics;
pub use probes::Probes;
