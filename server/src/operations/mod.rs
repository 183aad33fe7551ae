//! What operators see of a node: numbers, logs, liveness. It must not know what requests mean.

pub mod logs;
mod metrics;
mod probes;
mod trace_context;
#[cfg(any(test, feature = "otlp"))]
pub mod traces;
mod vault_names;

pub use metrics::{HttpMetrics, method_name};
pub use probes::Probes;
pub use trace_context::{TRACERESPONSE, Traced};
