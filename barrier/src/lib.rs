//! The barrier: everything that turns secrets into ciphertext and back. It knows bytes and keys only: no disk,
//! no network, no clock, no other Conclave crate; randomness is handed in as [`Entropy`].
//!
//! ```text
//! shares --Shamir--> unseal key --AEAD--> root key --AEAD--> keyring { ring, term -> data key; name and HMAC keys }
//! ```
//!
//! [`SealConfig`] covers the first two steps, [`Keyring`] the third, and [`Barrier`] is an opened keyring at work. A ring
//! beside the cluster's has all of this for itself: shares, a root key, and a keyring ([`RingKeys`] when it is opened).

#[cfg(all(not(debug_assertions), feature = "mutants"))]
compile_error!("a mutant reintroduces a bug on purpose: debug builds only");

mod aead;
mod barrier;
mod codec;
mod derive;
mod entropy;
mod envelope;
mod error;
mod gf256;
mod hpke;
mod id;
mod keyring;
mod mac;
mod mutant;
mod names;
mod offer;
mod progress;
mod root;
mod seal;
mod secret;
pub mod shamir;

pub use barrier::{Barrier, CLUSTER_RING, RingKeys};
pub use entropy::Entropy;
pub use envelope::Envelope;
pub use error::Error;
pub use id::BarrierId;
pub use keyring::{Keyring, TermInfo};
pub use names::{MAX_SEGMENT_BYTES, NAME_OVERHEAD, NameKey, NameSuite};
pub use offer::{Recipient, seal_to};
pub use progress::{Given, ShareProgress};
pub use root::RootKey;
pub use seal::{SealConfig, SealKind};
pub use secret::{Key32, SecretBytes};

/// The largest value, keyring or other plaintext that is sealed at once, in bytes. Far above what the layers
/// over the barrier allow; it bounds what a damaged length can make us allocate.
pub const MAX_PLAINTEXT_BYTES: usize = 64 * 1024 * 1024;
