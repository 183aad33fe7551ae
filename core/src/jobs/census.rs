//! Counts what lives for a time, for the gauges: by keys alone, so a sealed node counts too.

use std::sync::Arc;

use conclave_raft::{View, Walk};

use crate::core::Core;
use crate::error::Error;
use crate::store::layout::after_prefix;
use crate::store::{Space, Table};

/// What the keys of all tokens begin with: format, table, ring. The namespace follows.
const COMMON_BYTES: usize = 4;

impl Core {
    /// Brings `conclave_leases` up to date. Looks at the key of every token, on a thread that may block.
    ///
    /// # Errors
    /// The store's own.
    pub async fn count_leases(self: &Arc<Self>) -> Result<(), Error> {
        let view = self.seal.replica()?.view()?;
        let counting = tokio::task::spawn_blocking(move || count_tokens(&view));
        let counted = counting.await;
        self.metrics
            .tokens(counted.unwrap_or_else(|_| Err(Error::internal("the count broke off")))?);
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
