//! One attempt at a request: transactions over the tables of core and one mount, joined into one draft. Nothing here
//! lasts: a conflict throws it away and the next attempt starts from a newer view.

use conclave_engine_api::{Changes, Txn, Write};

use crate::catalog::{CONFIG, Catalog, EPOCH};
use crate::error::Error;
use crate::leases;
use crate::namespaces::located::{self, Located};
use crate::store::layout::ROOT_NAMESPACE;
use crate::store::{Draft, Opened, Proposal, Space, SpaceReader, Table};

/// Join tokens and waiting nodes.
pub const ADMISSIONS: Space = Space::root(Table::Admission);

/// Readers of every table that transactions of one attempt stand on.
pub struct Readers<'v> {
    opened: &'v Opened,
    config: SpaceReader<'v>,
    cluster: SpaceReader<'v>,
    tokens: Located<'v>,
    accessors: Located<'v>,
    children: Located<'v>,
    closing: Located<'v>,
    admissions: SpaceReader<'v>,
}

impl<'v> Readers<'v> {
    /// Readers over a view, for work in the root namespace.
    pub fn new(opened: &'v Opened) -> Self {
        Self::within(opened, ROOT_NAMESPACE)
    }

    /// Readers over a view, for work in a namespace.
    pub fn within(opened: &'v Opened, namespace: u32) -> Self {
        Self {
            opened,
            config: opened.space(Space::within(Table::Config, namespace)),
            cluster: opened.space(CONFIG),
            tokens: Located::new(opened, Table::Token),
            accessors: Located::new(opened, Table::Accessor),
            children: Located::new(opened, Table::TokenChild),
            closing: Located::new(opened, Table::Closing),
            admissions: opened.space(ADMISSIONS),
        }
    }
}

/// What is left to do of something that ends, from nothing to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// What is in namespaces whose keys are not here.
    Sealed,
    /// More, at once.
    More,
}

/// One attempt.
pub struct Work<'r> {
    opened: &'r Opened,
    /// Mounts and policies of the namespace worked in, as of the view.
    pub catalog: &'r Catalog,
    /// Configuration rows of that namespace; a write moves its epoch, and the cluster's.
    pub config: Txn<'r>,
    /// Configuration rows of the cluster, which lie in the root namespace.
    pub cluster: Txn<'r>,
    /// Token rows of all namespaces, each called as [`located`] says; so are those that follow.
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
    /// An attempt on a view, in the namespace of `catalog`, which must be that of `readers`.
    pub fn new(readers: &'r Readers<'_>, catalog: &'r Catalog) -> Self {
        Self {
            opened: readers.opened,
            catalog,
            config: Txn::new(&readers.config),
            cluster: Txn::new(&readers.cluster),
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

    /// Takes in changes of the configuration of a namespace that is being made.
    pub fn include_config(&mut self, namespace: u32, changes: Changes) -> Result<(), Error> {
        self.include_config_of(self.opened, namespace, changes)
    }

    /// The same for one whose keys are being made: `opened` has them.
    pub fn include_config_of(
        &mut self,
        opened: &Opened,
        namespace: u32,
        changes: Changes,
    ) -> Result<(), Error> {
        let space = Space::within(Table::Config, namespace);
        self.draft.include_of(opened, space, changes)?;
        self.draft.touch_of(opened, space, EPOCH)
    }

    /// The number of the namespace worked in.
    pub fn namespace(&self) -> u32 {
        self.catalog.namespace().number
    }

    /// About how many changes it holds so far.
    pub fn size(&self) -> usize {
        let txns = [
            &self.config,
            &self.cluster,
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
        let number = self.namespace();
        let mut draft = self.draft;
        let (config, cluster) = (self.config.into_changes(), self.cluster.into_changes());
        let own_moves = !config.writes.is_empty();
        let epoch_moves = own_moves || !cluster.writes.is_empty();
        draft.include(Space::within(Table::Config, number), config)?;
        draft.include(CONFIG, cluster)?;
        if epoch_moves {
            draft.touch(CONFIG, EPOCH)?;
        }
        if own_moves && number != ROOT_NAMESPACE {
            draft.touch(Space::within(Table::Config, number), EPOCH)?;
        }
        located::include(&mut draft, Table::Token, self.tokens.into_changes())?;
        located::include(&mut draft, Table::Accessor, self.accessors.into_changes())?;
        let children = self.children.into_changes();
        leases::end_logins(&mut draft, self.opened, &self.catalog.quotas, &children)?;
        located::include(&mut draft, Table::TokenChild, children)?;
        let closing = self.closing.into_changes();
        let closed = closing
            .writes
            .iter()
            .filter(|(_, write)| matches!(write, Write::Put { .. }));
        let closed = closed.map(|(name, _)| name.clone()).collect();
        located::include(&mut draft, Table::Closing, closing)?;
        draft.include(ADMISSIONS, self.admissions.into_changes())?;
        Ok(draft.finish().closing(closed))
    }
}
