//! A simulated machine's disk: a log and a state that survive a crash whole and a power loss as far as they were synced,
//! and the time that work on them takes.

mod log;
mod speed;
mod state;

pub use log::{SimLog, term_of};
pub use speed::Disk;
pub use state::SimStore;
