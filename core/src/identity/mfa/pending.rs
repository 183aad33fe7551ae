//! Logins that wait for their second factor: who was let in by the first, and the token that comes of it. A sealed row for five
//! minutes, so that it may be ended at any node; sealing the cluster ends all of them.

use serde::{Deserialize, Serialize};

use conclave_barrier::Barrier;
use conclave_engine_api::{Env, Millis, Txn};

use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::tokens::NewToken;

/// How long a login waits.
const WAITS: Millis = 300_000;
/// How many logins of one entity wait at most: with the next one the oldest waits no more.
const AT_MOST: usize = 16;
/// Longest name of a request that is looked for, in bytes: those given out are UUIDs.
const MAX_ID: usize = 64;

/// A login that waits.
#[derive(Serialize, Deserialize)]
pub struct Waiting {
    /// The mount that let it in.
    pub mount: u32,
    /// The role that it named there, if a quota counts what logins make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The token it gets; its `login` says more of the mount.
    pub token: NewToken,
    /// What is said beside the token.
    pub warnings: Vec<String>,
    /// How often the cluster was sealed by then.
    pub seals: u64,
}

/// The row of one that waits.
pub struct Pending {
    path: String,
    /// What waits.
    pub waiting: Waiting,
}

impl Pending {
    /// Has a login wait; the name under which it is gone on with. Whoever knows it has shown the first factor.
    ///
    /// # Errors
    /// The record does not encode.
    pub fn begin(
        txn: &mut Txn<'_>,
        barrier: &Barrier,
        env: &mut Env<'_>,
        waiting: &Waiting,
    ) -> Result<String, Error> {
        let id = env.uuid();
        let path = path_of(barrier, &id);
        txn.get(&path)?;
        let deadline = env.now().saturating_add(WAITS);
        txn.put_due(&path, encode_record(waiting)?, Some(deadline))?;
        make_room(txn, &waiting.token.entity, (path, deadline), env.now())?;
        Ok(id)
    }

    /// The login that waits under this name.
    ///
    /// # Errors
    /// There is none, or no longer.
    pub fn find(
        txn: &mut Txn<'_>,
        barrier: &Barrier,
        id: &str,
        (seals, now): (u64, Millis),
    ) -> Result<Self, Error> {
        let unknown = || Error::invalid("invalid request ID");
        if id.len() > MAX_ID {
            return Err(unknown());
        }
        let path = path_of(barrier, id);
        let row = txn.get(&path)?;
        let row = row.filter(|row| row.deadline.is_some_and(|deadline| deadline > now));
        let waiting: Waiting = decode_record(&row.ok_or_else(unknown)?.value)?;
        match waiting.seals == seals {
            true => Ok(Self { path, waiting }),
            false => Err(unknown()),
        }
    }

    /// It waits no more.
    ///
    /// # Errors
    /// The store's own.
    pub fn end(self, txn: &mut Txn<'_>) -> Result<Waiting, Error> {
        txn.delete(&self.path)?;
        Ok(self.waiting)
    }
}

/// Remembers that a login of an entity waits, and ends the oldest if there are too many. Those that ended otherwise are among them
/// until they would have anyhow.
fn make_room(
    txn: &mut Txn<'_>,
    entity: &str,
    (path, deadline): (String, Millis),
    now: Millis,
) -> Result<(), Error> {
    let row = format!("waiting-of/{entity}");
    let begun = txn.get(&row)?;
    let begun = begun.map(|row| decode_record(&row.value)).transpose()?;
    let mut begun: Vec<(String, Millis)> = begun.unwrap_or_default();
    begun.retain(|(_, until)| *until > now);
    begun.push((path, deadline));
    for (oldest, _) in begun.drain(..begun.len().saturating_sub(AT_MOST)) {
        if txn.get(&oldest)?.is_some() {
            txn.delete(&oldest)?;
        }
    }
    Ok(txn.put_due(&row, encode_record(&begun)?, Some(deadline))?)
}

/// The name itself is kept nowhere.
fn path_of(barrier: &Barrier, id: &str) -> String {
    let mut text = b"login that waits\0".to_vec();
    text.extend_from_slice(id.as_bytes());
    format!("waiting/{}", hex::encode(barrier.lease_hmac(&text)))
}
