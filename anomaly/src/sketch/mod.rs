//! Summaries of unbounded streams in bounded memory. Each is one file and knows no rule.

mod count_min;
mod hyperloglog;
mod rhythm;

pub use count_min::CountMin;
pub use hyperloglog::HyperLogLog;
pub use rhythm::{Rhythm, SLOTS};
