//! `sys/anomaly`: rules, canaries, what is muted, events, and what was learned. What watches is in `anomaly/`. It is ours alone:
//! neither Vault nor OpenBao has it.

mod access;
mod canaries;
mod events;
mod holds;
mod hooks;
mod learned;
mod limits;
mod mutes;
mod named;
mod orphaned;
mod rules;

pub use access::{access, add_to_metadata, identity, unused};
pub use canaries::{canaries, canary, plant, remove};
pub use events::{acknowledge, event, events};
pub use holds::{hold, holds, release};
pub use hooks::{change_webhook, remove_webhook, webhook, webhooks};
pub use learned::{baseline, dormant, status};
pub use limits::{lift, limit, limits};
pub use mutes::{mute, muted, mutes, unmute};
pub use orphaned::orphaned;
pub use rules::{change_config, change_rule, config, reset_rule, rule, rules};

use crate::error::Error;

/// Longest text that is kept, in bytes.
const MAX_TEXT: usize = 1024;

fn not_found() -> Error {
    Error::NotFound { warnings: Vec::new() }
}

/// A text that is not too long.
fn bounded(name: &str, text: Option<String>) -> Result<Option<String>, Error> {
    match text {
        Some(text) if text.len() > MAX_TEXT => {
            Err(Error::invalid(format!("{name} is longer than {MAX_TEXT} bytes")))
        }
        text => Ok(text),
    }
}
