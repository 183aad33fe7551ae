//! From what a client shows to who it is. Remembers compiled callers by the revisions they were compiled from: an entry
//! is used only if the view holds exactly those, so a cache can never be ahead of or behind the rows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use conclave_engine_api::Millis;
use conclave_engine_api::cidr::admits;
use conclave_raft::Condition;

use crate::catalog::{Catalog, decode_record};
use crate::error::Error;
use crate::identity::{Standing, Subject};
use crate::namespaces::{NamespaceRecord, id, located};
use crate::policy::{Acl, Values};
use crate::store::{Draft, Opened, Table};
use crate::tokens::{LoginOrigin, TokenKind, TokenRecord, batch, name_of_hmac};

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
    /// The row whose generation a commit expects, so that it fails once the token is revoked: the token's own, that of the
    /// parent of one that is stored nowhere, or none.
    stands_on: Option<(String, u64)>,
    /// What it may do, by paths as seen from its namespace.
    pub acl: Acl,
    /// The namespace it is of.
    pub namespace: Arc<NamespaceRecord>,
    /// What its rights rest on beside the token, if it is somebody's.
    standing: Option<Standing>,
    key: Bytes,
    revision: u64,
    epoch: u64,
    /// A revision of the whole state at which the row was seen to be this one.
    held_at: AtomicU64,
}

/// What a request shows.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Its token.
    pub token: &'a str,
    /// Where it came from, after trusted proxies.
    pub remote: Option<IpAddr>,
}

/// Callers by the HMAC of their token.
#[derive(Default)]
pub struct Callers {
    known: RwLock<HashMap<[u8; 32], Arc<Caller>>>,
}

impl Callers {
    /// Forgets all callers: some were of a namespace that is sealed.
    pub fn forget(&self) {
        self.known.write().clear();
    }

    /// The caller that shows `token`, if it is valid at `now`. `root` is the catalog of the root namespace; a token is
    /// looked for in the one that it names.
    pub fn authenticate(
        &self,
        opened: &Opened,
        root: &Catalog,
        epoch: u64,
        shown: Shown<'_>,
        now: Millis,
    ) -> Result<Arc<Caller>, Error> {
        let Shown { token, remote } = shown;
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(Error::unauthenticated());
        }
        let number = id::of_shown(token);
        let catalog = match number == root.namespace().number {
            true => Cow::Borrowed(root),
            false => Cow::Owned(root.of(number).map_err(|_| Error::unauthenticated())?),
        };
        if catalog.namespace().closing {
            return Err(Error::unauthenticated());
        }
        let hmac = opened.barrier().token_hmac(token.as_bytes());
        let caller = if batch::is_batch(token) {
            unsealed(opened, &catalog, token, hmac, now)?
        } else {
            let known = self.known.read().get(&hmac).cloned();
            match known {
                Some(caller) if caller.is_current(opened, epoch, now)? => caller,
                _ => self.load(opened, &catalog, epoch, (token, hmac), now)?,
            }
        };
        if caller.record.is_expired(now) || !admits(&caller.record.bound_cidrs, remote) {
            return Err(Error::unauthenticated());
        }
        Ok(caller)
    }

    fn load(
        &self,
        opened: &Opened,
        catalog: &Catalog,
        epoch: u64,
        (shown, hmac): (&str, [u8; 32]),
        now: Millis,
    ) -> Result<Arc<Caller>, Error> {
        let name = name_of_hmac(shown, hmac);
        let (space, path) = located::place(Table::Token, &name);
        let row = opened
            .space(space)
            .row(path)?
            .ok_or_else(Error::unauthenticated)?;
        let record: TokenRecord = decode_record(&row.value)?;
        if !record.stands(catalog) {
            return Err(Error::unauthenticated());
        }
        let (acl, standing) = compile(opened, &record, catalog, now)?;
        let caller = Arc::new(Caller {
            acl,
            standing,
            key: opened.key(space, path)?,
            namespace: catalog.namespace().clone(),
            stands_on: Some((name.clone(), row.generation)),
            name,
            record,
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

/// The caller that shows a token which carries itself what it is.
fn unsealed(
    opened: &Opened,
    catalog: &Catalog,
    token: &str,
    hmac: [u8; 32],
    now: Millis,
) -> Result<Arc<Caller>, Error> {
    let record = batch::open(opened.barrier(), token)?
        .filter(|record| record.namespace == catalog.namespace().number && record.stands(catalog));
    let record = record.ok_or_else(Error::unauthenticated)?;
    let mut stands_on = None;
    if let Some(parent) = &record.parent {
        let (space, path) = located::place(Table::Token, parent);
        let row = opened
            .space(space)
            .row(path)?
            .ok_or_else(Error::unauthenticated)?;
        let above: TokenRecord = decode_record(&row.value)?;
        if above.is_expired(now) || !above.stands(catalog) {
            return Err(Error::unauthenticated());
        }
        stands_on = Some((parent.clone(), row.generation));
    }
    let (acl, standing) = compile(opened, &record, catalog, now)?;
    Ok(Arc::new(Caller {
        acl,
        standing,
        name: name_of_hmac(token, hmac),
        namespace: catalog.namespace().clone(),
        record,
        stands_on,
        key: Bytes::new(),
        revision: 0,
        epoch: 0,
        held_at: AtomicU64::new(0),
    }))
}

impl Caller {
    /// Has a commit fail if the token has been revoked by then, or whoever it is of has changed.
    pub fn expect_in(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        if let Some((name, generation)) = &self.stands_on {
            let (space, path) = located::place(Table::Token, name);
            draft.expect(space, path, Condition::Generation(*generation))?;
        }
        match &self.standing {
            Some(standing) => standing.expect_in(draft),
            None => Ok(()),
        }
    }

    /// The id of the entity it is of, which may have been merged into another since the token was made; empty for nobody's.
    pub fn entity(&self) -> &str {
        let standing = self.standing.as_ref();
        standing.map_or(self.record.entity.as_str(), Standing::entity)
    }

    /// What engines know the caller by; empty for tokens that are stored nowhere, on which nothing can hang.
    pub fn scope(&self) -> &str {
        match self.record.kind {
            TokenKind::Service => &self.name,
            TokenKind::Batch | TokenKind::Inline => "",
        }
    }

    /// Whose an idempotency key is: the token's. Who logs in anew with each request is the same under the same name.
    pub fn keyholder(&self) -> Cow<'_, str> {
        match (&self.record.kind, &self.record.login) {
            (TokenKind::Inline, Some(login)) => {
                let LoginOrigin {
                    mount, era, alias, ..
                } = login;
                Cow::Owned(format!("login/{}/{mount}/{era}/{alias}", self.record.namespace))
            }
            _ => Cow::Borrowed(&self.name),
        }
    }

    /// The path of a request in `namespace` as this caller's policies see it; `None` where they reach nothing: in
    /// namespaces that are neither its own nor beneath it.
    pub fn sees<'p>(&self, namespace: &NamespaceRecord, path: &'p str) -> Option<Cow<'p, str>> {
        Some(match self.namespace.way_to(namespace)? {
            "" => Cow::Borrowed(path),
            way => Cow::Owned(format!("{way}{path}")),
        })
    }

    fn is_current(&self, opened: &Opened, epoch: u64, now: Millis) -> Result<bool, Error> {
        if self.epoch != epoch || self.acl.valid_until().is_some_and(|until| until <= now) {
            return Ok(false);
        }
        // Rows change with the revision only, so one look serves all views of it.
        let revision = opened.view().applied().revision;
        if self.held_at.load(Ordering::Relaxed) == revision {
            return Ok(true);
        }
        let row = opened.view().row(&self.key)?;
        let mut current = row.is_some_and(|row| row.revision == self.revision);
        if let Some(standing) = self.standing.as_ref().filter(|_| current) {
            current = standing.holds(opened)?;
        }
        if current {
            self.held_at.store(revision, Ordering::Relaxed);
        }
        Ok(current)
    }
}

/// The rights of a stored token under a catalog, and what they rest on beside it. Policies that do not exist grant nothing;
/// a token of somebody who is gone or disabled has no rights at all.
pub fn compile(
    opened: &Opened,
    record: &TokenRecord,
    catalog: &Catalog,
    now: Millis,
) -> Result<(Acl, Option<Standing>), Error> {
    let known = match record.entity.as_str() {
        "" => None,
        entity => Some(Subject::load(opened, catalog, entity)?),
    };
    let (subject, standing) = known.unzip();
    if record.is_root() {
        return Ok((Acl::root(), standing));
    }
    let mut names = record.policies.clone();
    names.extend(subject.iter().flat_map(Subject::policies));
    names.sort_unstable();
    names.dedup();
    let policies: Vec<_> = names
        .iter()
        .filter_map(|name| catalog.policy(name).cloned())
        .collect();
    let values = subject.as_ref().map(|subject| subject as &dyn Values);
    Ok((Acl::of(&policies, now, values)?, standing))
}
