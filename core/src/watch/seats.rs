//! How many watches there are: each costs a look at every change, so a node has room for so many, and one client for less.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{IntGauge, Registry};

use crate::error::Error;

/// Most watches of a node at a time ...
const MAX_OF_NODE: usize = 512;
/// ... and of one token there.
const MAX_OF_TOKEN: usize = 32;

/// The watches of a node.
pub(crate) struct Seats {
    taken: Arc<Mutex<Taken>>,
}

struct Taken {
    all: usize,
    by: HashMap<String, usize>,
    open: IntGauge,
}

/// One watch, until it is dropped.
pub(crate) struct Seat {
    taken: Arc<Mutex<Taken>>,
    holder: String,
}

impl Seats {
    /// All are free.
    ///
    /// # Errors
    /// A number that is registered already.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let internal = |error: prometheus::Error| Error::internal(error.to_string());
        let open =
            IntGauge::new("conclave_watches_open", "Watches that this node serves.").map_err(internal)?;
        registry.register(Box::new(open.clone())).map_err(internal)?;
        Ok(Self {
            taken: Arc::new(Mutex::new(Taken {
                all: 0,
                by: HashMap::new(),
                open,
            })),
        })
    }

    /// A seat for whoever shows the token of this name.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there is none.
    pub fn take(&self, holder: &str) -> Result<Seat, Error> {
        let mut taken = self.taken.lock();
        if taken.all >= MAX_OF_NODE {
            return Err(Error::Overloaded(format!(
                "this node has {MAX_OF_NODE} watches, which is all it takes"
            )));
        }
        let of_holder = taken.by.get(holder).copied().unwrap_or(0);
        if of_holder >= MAX_OF_TOKEN {
            return Err(Error::Overloaded(format!(
                "this token has {MAX_OF_TOKEN} watches on this node, which is all it may have"
            )));
        }
        taken.all += 1;
        taken.open.inc();
        taken.by.insert(holder.to_owned(), of_holder + 1);
        Ok(Seat {
            taken: self.taken.clone(),
            holder: holder.to_owned(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        taken.open.dec();
        match taken.by.get_mut(&self.holder) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.by.remove(&self.holder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_by_node_and_by_token_and_come_back() {
        let seats = Seats::new(&Registry::new()).unwrap();
        let take = |holder: &str| seats.take(holder).map_err(|error| error.to_string());
        let mut of_one: Vec<_> = (0..MAX_OF_TOKEN).map(|_| take("one").unwrap()).collect();
        assert!(take("one").err().unwrap().contains("this token has 32"));
        of_one.pop();
        of_one.push(take("one").unwrap());
        let room = MAX_OF_NODE - MAX_OF_TOKEN;
        let others: Vec<_> = (0..room)
            .map(|number| take(&number.to_string()).unwrap())
            .collect();
        assert!(take("another").err().unwrap().contains("this node has 512"));
        drop((of_one, others));
        assert!(seats.taken.lock().by.is_empty());
        assert_eq!(seats.taken.lock().all, 0);
    }
}
