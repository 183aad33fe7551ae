//! From what a client shows to who it is. Remembers compiled callers by the revisions they were compiled from: an entry
//! is used only if the view holds exactly those, so a cache can never be ahead of or behind the rows.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use conclave_engine_api::Millis;

use crate::catalog::{Catalog, decode_record};
use crate::error::Error;
use crate::policy::Acl;
use crate::store::Opened;
use crate::tokens::{TOKENS, TokenRecord};

/// Most callers remembered.
const CAPACITY: usize = 16_384;
/// Longest accepted token in bytes.
const MAX_TOKEN_BYTES: usize = 8192;

/// An authenticated token with its compiled rights.
pub struct Caller {
    /// Name of its row.
    pub name: String,
    /// The stored token.
    pub record: TokenRecord,
    /// Generation of its row: a commit that expects it fails once the token is revoked.
    pub generation: u64,
    /// What it may do.
    pub acl: Acl,
    key: Bytes,
    revision: u64,
    epoch: u64,
    /// A revision of the whole state at which the row was seen to be this one.
    held_at: AtomicU64,
}

/// Callers by the HMAC of their token.
#[derive(Default)]
pub struct Callers {
    known: RwLock<HashMap<[u8; 32], Arc<Caller>>>,
}

impl Callers {
    /// The caller that shows `token`, if it is valid at `now`.
    pub fn authenticate(
        &self,
        opened: &Opened,
        catalog: &Catalog,
        epoch: u64,
        token: &str,
        now: Millis,
    ) -> Result<Arc<Caller>, Error> {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(Error::unauthenticated());
        }
        let hmac = opened.barrier().token_hmac(token.as_bytes());
        let known = self.known.read().get(&hmac).cloned();
        let caller = match known {
            Some(caller) if caller.is_current(opened, epoch, now)? => caller,
            _ => self.load(opened, catalog, epoch, hmac, now)?,
        };
        if caller.record.is_expired(now) {
            return Err(Error::unauthenticated());
        }
        Ok(caller)
    }

    fn load(
        &self,
        opened: &Opened,
        catalog: &Catalog,
        epoch: u64,
        hmac: [u8; 32],
        now: Millis,
    ) -> Result<Arc<Caller>, Error> {
        let name = hex::encode(hmac);
        let row = opened
            .space(TOKENS)
            .row(&name)?
            .ok_or_else(Error::unauthenticated)?;
        let record: TokenRecord = decode_record(&row.value)?;
        let caller = Arc::new(Caller {
            acl: compile(&record, catalog, now)?,
            key: opened.key(TOKENS, &name)?,
            name,
            record,
            generation: row.generation,
            revision: row.revision,
            epoch,
            held_at: AtomicU64::new(opened.view().applied().revision),
        });
        let mut known = self.known.write();
        if known.len() >= CAPACITY {
            known.clear();
        }
        known.insert(hmac, caller.clone());
        Ok(caller)
    }
}

impl Caller {
    fn is_current(&self, opened: &Opened, epoch: u64, now: Millis) -> Result<bool, Error> {
        if self.epoch != epoch || self.acl.valid_until().is_some_and(|until| until <= now) {
            return Ok(false);
        }
        // Rows change with the revision only, so one look serves all views of it.
        let revision = opened.view().applied().revision;
        if self.held_at.load(Ordering::Relaxed) == revision {
            return Ok(true);
        }
        let row = opened.view().rows().get(&self.key)?;
        let current = row.is_some_and(|row| row.revision == self.revision);
        if current {
            self.held_at.store(revision, Ordering::Relaxed);
        }
        Ok(current)
    }
}

/// The rights of a stored token under a catalog. Policies that do not exist grant nothing.
pub fn compile(record: &TokenRecord, catalog: &Catalog, now: Millis) -> Result<Acl, Error> {
    if record.is_root() {
        return Ok(Acl::root());
    }
    let policies: Vec<_> = record
        .policies
        .iter()
        .filter_map(|name| catalog.policy(name).cloned())
        .collect();
    Acl::new(&policies, now)
}
