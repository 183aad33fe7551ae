//! Counts what lives for a time, for the gauges: tokens by keys alone, so a sealed node counts them too; leases of engines
//! and rotations that wait while it holds the keys.

use std::sync::Arc;

use conclave_raft::View;

use crate::core::Core;
use crate::error::Error;
use crate::leases;
use crate::offload::off_thread;
use crate::store::Table;
use crate::store::layout::{after_prefix, table_prefix};

impl Core {
    /// Brings the gauges of leases up to date. Looks at the key of every token and lease, on a thread that may block.
    ///
    /// # Errors
    /// The store's own.
    pub async fn count_leases(self: &Arc<Self>) -> Result<(), Error> {
        // Who led before forgets by this which targets were silent.
        self.outside.tell_left_alone();
        let replica = self.seal.replica()?;
        let (view, now) = (replica.view()?, replica.now());
        let session = self.seal.session().ok();
        let core = self.clone();
        let counting = off_thread(self.offload.as_ref(), "counting leases", move || {
            let tokens = count_tokens(&view)?;
            let Some(session) = session else {
                return Ok((tokens, Ok(None), Ok(0)));
            };
            let (opened, derived) = session.view(view)?;
            let tally = leases::tally(&opened, &derived.catalog, now);
            let rotations = core.due_outside(&opened, &derived.catalog, now);
            Ok((tokens, tally.map(Some), rotations))
        });
        let (tokens, tally, rotations) = counting.await?;
        // What could not be counted stays as it was told last.
        if let Ok(tally) = &tally {
            let held = tally.as_ref().map(|tally| &tally.leases);
            self.metrics.leases(tokens, held);
            self.outside.numbers.counted(tally.as_ref());
        }
        if let Ok(rotations) = &rotations {
            self.outside.numbers.rotations_due(*rotations);
        }
        tally.map(drop).and(rotations.map(drop))
    }
}

fn count_tokens(view: &View) -> Result<u64, Error> {
    let from = table_prefix(Table::Token);
    let to = after_prefix(&from);
    Ok(view.rows().count(&from, &to)?)
}
