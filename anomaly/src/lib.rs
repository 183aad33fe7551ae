//! Who reads what, when and from where, and what of it is unusual: sketches, profiles and rules over a stream of facts.
//! It knows numbers and keyed hashes only: no disk, no network, no clock, no other Conclave crate. Time is in the facts.

mod act;
mod detector;
mod error;
mod fact;
mod finding;
mod gather;
mod key;
mod names;
mod params;
mod rule;
mod sketch;
mod wire;
mod zone;

pub use act::Act;
pub use detector::{Detector, MAX_PROFILES, ProfileView, Saved, Status};
pub use error::Error;
pub use fact::Fact;
pub use finding::{Evidence, Finding, Subject};
pub use gather::{Gather, Summary};
pub use key::{Key, Keyer, Network};
pub use params::Param;
pub use rule::{Kind, Rule, RuleSet, Scope, Settings, Severity};
pub use sketch::{CountMin, HyperLogLog, Rhythm};
pub use zone::{Hours, Zone};

/// Milliseconds since 1970, or of a span of time.
pub type Millis = u64;
