//! One attempt at a request: transactions over the tables of core and one mount, joined into one draft. Nothing here
//! lasts: a conflict throws it away and the next attempt starts from a newer view.

use conclave_engine_api::{Txn, Write};

use crate::catalog::{CONFIG, Catalog, EPOCH};
use crate::error::Error;
use crate::store::{Draft, Opened, Proposal, Space, SpaceReader, Table};
use crate::tokens;

/// Join tokens and waiting nodes.
pub const ADMISSIONS: Space = Space::root(Table::Admission);

/// Readers of every table that transactions of one attempt stand on.
pub struct Readers<'v> {
    opened: &'v Opened,
    config: SpaceReader<'v>,
    tokens: SpaceReader<'v>,
    accessors: SpaceReader<'v>,
    children: SpaceReader<'v>,
    closing: SpaceReader<'v>,
    admissions: SpaceReader<'v>,
}

impl<'v> Readers<'v> {
    /// Readers over a view.
    pub fn new(opened: &'v Opened) -> Self {
        Self {
            opened,
            config: opened.space(CONFIG),
            tokens: opened.space(tokens::TOKENS),
            accessors: opened.space(tokens::ACCESSORS),
            children: opened.space(tokens::CHILDREN),
            closing: opened.space(tokens::CLOSING),
            admissions: opened.space(ADMISSIONS),
        }
    }
}

/// One attempt.
pub struct Work<'r> {
    opened: &'r Opened,
    /// Mounts, policies, audit devices as of the view.
    pub catalog: &'r Catalog,
    /// Configuration rows; a write moves the epoch.
    pub config: Txn<'r>,
    /// Token rows.
    pub tokens: Txn<'r>,
    /// Accessor rows.
    pub accessors: Txn<'r>,
    /// Parent-child rows.
    pub children: Txn<'r>,
    /// Closing rows.
    pub closing: Txn<'r>,
    /// Join tokens and waiting nodes.
    pub admissions: Txn<'r>,
    /// What is not a transaction: counters, expectations, deletes in bulk.
    pub draft: Draft<'r>,
}

impl<'r> Work<'r> {
    /// An attempt on a view.
    pub fn new(readers: &'r Readers<'_>, catalog: &'r Catalog) -> Self {
        Self {
            opened: readers.opened,
            catalog,
            config: Txn::new(&readers.config),
            tokens: Txn::new(&readers.tokens),
            accessors: Txn::new(&readers.accessors),
            children: Txn::new(&readers.children),
            closing: Txn::new(&readers.closing),
            admissions: Txn::new(&readers.admissions),
            draft: Draft::new(readers.opened),
        }
    }

    /// The view and its keys.
    pub fn opened(&self) -> &'r Opened {
        self.opened
    }

    /// About how many changes it holds so far.
    pub fn size(&self) -> usize {
        let txns = [
            &self.config,
            &self.tokens,
            &self.accessors,
            &self.children,
            &self.closing,
            &self.admissions,
        ];
        self.draft.size() + txns.iter().map(|txn| txn.writes()).sum::<usize>()
    }

    /// Joins all transactions into one proposal.
    pub fn finish(self) -> Result<Proposal, Error> {
        let mut draft = self.draft;
        let config = self.config.into_changes();
        let epoch_moves = !config.writes.is_empty();
        draft.include(CONFIG, config)?;
        if epoch_moves {
            draft.touch(CONFIG, EPOCH)?;
        }
        draft.include(tokens::TOKENS, self.tokens.into_changes())?;
        draft.include(tokens::ACCESSORS, self.accessors.into_changes())?;
        draft.include(tokens::CHILDREN, self.children.into_changes())?;
        let closing = self.closing.into_changes();
        let closed = closing
            .writes
            .iter()
            .filter(|(_, write)| matches!(write, Write::Put { .. }));
        let closed = closed.map(|(name, _)| name.clone()).collect();
        draft.include(tokens::CLOSING, closing)?;
        draft.include(ADMISSIONS, self.admissions.into_changes())?;
        Ok(draft.finish().closing(closed))
    }
}
