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
mod uses;

pub use authenticate::{Caller, Callers, Shown, compile};
pub use batch::open as open_batch;
pub use life::{Bounds, Life, Wish, life};
pub use lookup::{Found, by_accessor, by_id, by_name, describe};
pub use mint::{Minted, NewToken, RANDOM_TOKEN_BYTES, mint, random_token};
pub use record::{LoginOrigin, TokenKind, TokenRecord};
pub use revoke::{close, close_children, hang_on, revoke, revoke_orphan};
pub use routes::auth_object;
pub use uses::{Payment, add_uses, end_spent, pay, spent_token, uses};

use conclave_barrier::Barrier;

use conclave_engine_api::Page;

use crate::error::Error;
use crate::namespaces::{id, located};
use crate::store::{Opened, Table};

/// What a token is called in keys: its namespace, if it is of another than the root, and the HMAC of its id in hexadecimal.
pub fn name_of(barrier: &Barrier, shown: &str) -> String {
    name_of_hmac(shown, barrier.token_hmac(shown.as_bytes()))
}

/// The same for a token whose HMAC is known.
fn name_of_hmac(shown: &str, hmac: [u8; 32]) -> String {
    located::locate(id::of_shown(shown), &hex::encode(hmac))
}

/// What an accessor is called in keys.
pub fn accessor_name(barrier: &Barrier, accessor: &str) -> String {
    located::locate(
        id::of_shown(accessor),
        &hex::encode(barrier.lease_hmac(accessor.as_bytes())),
    )
}

/// Names of the stored tokens of a namespace.
pub fn names(opened: &Opened, namespace: u32) -> Result<Vec<String>, Error> {
    let tokens = opened.space(crate::store::Space::within(Table::Token, namespace));
    let names = tokens.names("", &Page::default())?.into_iter();
    Ok(names.map(|name| located::locate(namespace, &name)).collect())
}

/// Whether a path is what a token asks of itself.
pub fn is_about_self(path: &str) -> bool {
    let what = path.strip_prefix("auth/token/").unwrap_or_default();
    matches!(what, "lookup-self" | "renew-self" | "revoke-self")
}
