//! Counts what lives for a time, for the gauges: tokens by keys alone, so a sealed node counts them too; leases of engines
//! while it holds the keys.

use std::sync::Arc;

use conclave_raft::{View, Walk};

use crate::core::Core;
use crate::error::Error;
use crate::leases;
use crate::store::layout::after_prefix;
use crate::store::{Space, Table};

/// What the keys of all tokens begin with: format, table, ring. The namespace follows.
const COMMON_BYTES: usize = 4;

impl Core {
    /// Brings the gauges of leases up to date. Looks at the key of every token and lease, on a thread that may block.
    ///
    /// # Errors
    /// The store's own.
    pub async fn count_leases(self: &Arc<Self>) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let (view, now) = (replica.view()?, replica.now());
        let session = self.seal.session().ok();
        let counting = tokio::task::spawn_blocking(move || {
            let tokens = count_tokens(&view)?;
            let tally = session.map(|session| {
                let (opened, derived) = session.view(view)?;
                leases::tally(&opened, &derived.catalog, now)
            });
            Ok((tokens, tally.transpose()?))
        });
        let counted = counting.await;
        let (tokens, tally) = counted.unwrap_or_else(|_| Err(Error::internal("the count broke off")))?;
        let held = tally.as_ref().map(|tally| &tally.leases);
        self.metrics.leases(tokens, held);
        self.outside.numbers.counted(tally.as_ref());
        Ok(())
    }
}

fn count_tokens(view: &View) -> Result<u64, Error> {
    let mut from = Space::root(Table::Token).prefix();
    from.truncate(COMMON_BYTES);
    let to = after_prefix(&from);
    let mut count = 0;
    view.rows().walk(&from, &to, &mut |_| {
        count += 1;
        Ok(Walk::Next)
    })?;
    Ok(count)
}
