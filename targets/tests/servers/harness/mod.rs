//! What tests with real servers share with those of whole clusters.
#![allow(dead_code, unused_imports, reason = "only a part is used here")]

#[path = "../../../../chaos-tests/tests/cluster/harness/ports.rs"]
pub mod ports;
#[path = "../../../../chaos-tests/tests/cluster/harness/seed.rs"]
mod seed;
#[path = "../../../../chaos-tests/tests/cluster/harness/wait.rs"]
mod wait;

pub use seed::Seed;
pub use wait::{SOON, eventually};
