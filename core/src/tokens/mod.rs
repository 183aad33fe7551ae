//! Tokens: who a caller is. Rows are found by the HMAC of what the client shows, so that nothing stored or replicated
//! could be used as a token. Knows no paths and no policies' contents.

mod authenticate;
mod batch;
mod create;
mod life;
mod lookup;
mod mint;
mod record;
mod renew;
mod revoke;
mod roles;
pub mod routes;

pub use authenticate::{Caller, Callers, Shown, compile};
pub use life::{Bounds, Life, Wish, life};
pub use lookup::{Found, by_accessor, by_id, by_name, describe};
pub use mint::{Minted, NewToken, RANDOM_TOKEN_BYTES, mint, random_token};
pub use record::{LoginOrigin, TokenKind, TokenRecord};
pub use revoke::{close, close_children, revoke, revoke_orphan};
pub use routes::auth_object;

use conclave_barrier::Barrier;

use crate::store::{Space, Table};

/// Tokens by the HMAC of their id.
pub const TOKENS: Space = Space::root(Table::Token);
/// Counters of limited tokens.
pub const USES: Space = Space::root(Table::TokenUses);
/// Token names by the HMAC of their accessor.
pub const ACCESSORS: Space = Space::root(Table::Accessor);
/// `parent/child`.
pub const CHILDREN: Space = Space::root(Table::TokenChild);
/// Revoked tokens with work left.
pub const CLOSING: Space = Space::root(Table::Closing);

/// What a token is called in keys: the HMAC of its id, in hexadecimal.
pub fn name_of(barrier: &Barrier, id: &str) -> String {
    hex::encode(barrier.token_hmac(id.as_bytes()))
}

/// What an accessor is called in keys.
pub fn accessor_name(barrier: &Barrier, accessor: &str) -> String {
    hex::encode(barrier.lease_hmac(accessor.as_bytes()))
}
