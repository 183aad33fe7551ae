//! Leases of what engines hand out: rows that say who owns an account outside the cluster and when it ends. A row is
//! committed before the account is made and is not removed before the account is gone; nothing is held in memory, so a
//! restart or a new leader costs nothing. Knows no engine and no protocol of a target.

mod breaker;
mod counted;
mod effect;
mod end;
mod forced;
mod issue;
mod lead;
mod numbers;
mod outside;
mod owned;
mod reconcile;
mod record;
mod renew;
mod show;
mod sweep;
mod tally;
mod targets;

pub use breaker::{SHARE, Tending};
pub use conclave_engine_api::{Bounds, Failure, Plan};
pub use counted::{begin_login, count, count_logins, end_logins};
pub use effect::{Begun, perform};
pub use end::{Closes, close_prefix, closes, end_of_owner, end_of_prefix, mark};
pub use issue::{Asked, begin, begin_due};
pub use outside::{Outside, Tried};
pub use reconcile::{Found, Reconcile, reconcile};
pub use record::{Ending, IntentRecord, LeaseRecord};
pub use renew::renew;
pub use show::{Shown, describe, stuck};
pub use sweep::{Swept, sweep};
pub use tally::{Tally, beneath, tally};
pub use targets::{NoTargets, Targets};

use std::time::Duration;

use conclave_barrier::Barrier;
use conclave_engine_api::{Env, Millis, Mount, Txn};

use crate::catalog::{Catalog, decode_record};
use crate::core::Settings;
use crate::error::Error;
use crate::namespaces::id;
use crate::store::{Opened, Space, Table};
use crate::work::Work;

/// `owner/random` for each lease whose owner is a token; the value is its id.
pub const OWNED: Space = Space::root(Table::OwnedLease);

/// Where the row of a lease lies: `<mount>/<path>/<random>` in the namespace that its id names.
pub fn leased(id: &str) -> Space {
    Space::within(Table::Lease, id::of_shown(id))
}

/// Where the row of a lease in the making lies, and of what is left of one that did not come to be.
pub fn intended(id: &str) -> Space {
    Space::within(Table::Intent, id::of_shown(id))
}

/// Letters of the random end of a lease id, as many as Vault's.
const RANDOM: usize = 24;
/// How long the plan of an effect may take, from before its intent is committed.
const RUN: Duration = Duration::from_secs(15);
/// How long after that its intent is swept: what the node had begun by then has ended at the target too.
const SWEEP_AFTER: Millis = 3_000;
/// Queues of leases have ids from here on; those below are core's own.
pub const FIRST_QUEUE: u64 = 1 << 63;

/// The queue of the due index in which leases of one target wait: an opaque id, the same on every node.
pub fn queue_of(barrier: &Barrier, mount: u32, target: &str) -> u64 {
    let mut text = b"queue of a target\0".to_vec();
    text.extend_from_slice(&mount.to_be_bytes());
    text.extend_from_slice(target.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = barrier.lease_hmac(&text);
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) | FIRST_QUEUE
}

/// The name an owner's row of a lease ends in.
fn random_of(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(_, random)| random)
}

/// The lease of this id, as the view has it.
pub fn by_id(opened: &Opened, id: &str) -> Result<Option<LeaseRecord>, Error> {
    if !is_id(id) {
        return Ok(None);
    }
    let row = opened.space(leased(id)).row(id)?;
    row.map(|row| decode_record(&row.value)).transpose()
}

/// Whether a text can be a path of a row: anything else names no lease.
fn is_id(id: &str) -> bool {
    const MAX: usize = 4096;
    !id.is_empty() && id.len() <= MAX && id.split('/').all(|segment| !segment.is_empty())
}

/// One change to rows that wait in a target's queue.
fn edit(
    work: &mut Work<'_>,
    space: Space,
    queue: u64,
    change: impl FnOnce(&mut Txn<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let reader = work.opened().space(space);
    let mut txn = Txn::new(&reader);
    change(&mut txn)?;
    work.draft.include_in(queue, space, txn.into_changes())
}

/// The mount of a lease as its engine sees it. A mount that is disabled is still that of its leases: its rows stay.
fn mount_of(catalog: &Catalog, settings: &Settings, record: &LeaseRecord) -> Mount {
    match catalog.mount_by_id(record.mount) {
        Some(mount) => mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl),
        None => Mount {
            path: record.mount_path.clone(),
            kind: record.kind.clone(),
            default_lease_ttl: settings.default_lease_ttl,
            max_lease_ttl: settings.max_lease_ttl,
            ..Mount::default()
        },
    }
}

/// A fresh name for a session at a target: whose it is, and what for.
fn session_name(node: u64, term: u64, env: &mut Env<'_>) -> String {
    format!("conclave/{node}/{term}/{}", env.base62(8))
}
