//! What an entity has shown of a method lately: codes that were taken and are never taken again, and wrong ones, after too many
//! of which nothing is looked at for a while. A row that every check reads, and changes with the command that rests on it: two
//! nodes cannot take one code. It must not know what a code looks like.

use serde::{Deserialize, Serialize};

use conclave_engine_api::{Millis, Txn};

use crate::catalog::{decode_record, encode_record};
use crate::error::Error;

#[derive(Default, Serialize, Deserialize)]
struct Row {
    /// Wrong codes since the last right one, or since it was quiet for a period.
    failures: u64,
    /// When the last of them was shown.
    last: Millis,
    /// Periods whose codes were taken, and when those end to hold.
    taken: Vec<(u64, Millis)>,
    /// The last logins whose codes were looked at and that may be sent again, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    named: Vec<String>,
}

/// Most logins that are known again when they are sent again: a client sends one after the other.
const MAX_NAMED: usize = 8;

/// Of one entity and method.
pub struct Tried<'a> {
    path: String,
    row: Row,
    login: Option<&'a str>,
}

impl<'a> Tried<'a> {
    /// As it is at `now`; `period` is how long wrong codes count, in milliseconds. `login` names one that may be sent again.
    ///
    /// # Errors
    /// The store's own.
    pub fn load(
        txn: &mut Txn<'_>,
        (method, entity): (&str, &str),
        login: Option<&'a str>,
        (period, now): (Millis, Millis),
    ) -> Result<Self, Error> {
        let path = format!("tried/{method}/{entity}");
        let row = txn.get(&path)?;
        let mut row: Row = row
            .map(|row| decode_record(&row.value))
            .transpose()?
            .unwrap_or_default();
        row.taken.retain(|(_, until)| *until > now);
        if row.last.saturating_add(period) <= now {
            row.failures = 0;
        }
        Ok(Self { path, row, login })
    }

    /// Whether the code of this very login was looked at before: it was sent again, and tells nothing new.
    pub fn is_known(&self) -> bool {
        self.login
            .is_some_and(|login| self.row.named.iter().any(|known| known == login))
    }

    /// How many wrong codes count.
    pub fn failures(&self) -> u64 {
        self.row.failures
    }

    /// From when on codes are looked at again, if there were too many wrong ones.
    pub fn again(&self, period: Millis) -> Millis {
        self.row.last.saturating_add(period)
    }

    /// Whether a code of this period was taken.
    pub fn is_taken(&self, step: u64) -> bool {
        self.row.taken.iter().any(|(taken, _)| *taken == step)
    }

    /// Takes a code of this period, which would hold until `until`.
    ///
    /// # Errors
    /// The record does not encode.
    pub fn take(mut self, txn: &mut Txn<'_>, step: u64, until: Millis) -> Result<(), Error> {
        self.row.taken.push((step, until));
        self.row.failures = 0;
        self.keep(txn, until)
    }

    /// Counts a wrong code.
    ///
    /// # Errors
    /// The record does not encode.
    pub fn fail(mut self, txn: &mut Txn<'_>, period: Millis, now: Millis) -> Result<(), Error> {
        self.row.failures = self.row.failures.saturating_add(1);
        self.row.last = now;
        self.keep(txn, now.saturating_add(period))
    }

    fn keep(mut self, txn: &mut Txn<'_>, until: Millis) -> Result<(), Error> {
        let named = &mut self.row.named;
        named.extend(self.login.map(str::to_owned));
        named.drain(..named.len().saturating_sub(MAX_NAMED));
        let holds = self.row.taken.iter().map(|(_, until)| *until).max();
        let deadline = until.max(holds.unwrap_or(0));
        Ok(txn.put_due(&self.path, encode_record(&self.row)?, Some(deadline))?)
    }
}
