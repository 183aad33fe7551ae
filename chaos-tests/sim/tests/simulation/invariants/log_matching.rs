//! If two logs hold an entry of one index and term, they are the same up to it (Raft paper, section 5.3). By induction: an
//! entry of an index and term is one and the same wherever it is, and so is the term of the entry before it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::disk::term_of;

#[derive(Default)]
pub struct LogMatching {
    /// By index and term: the entry, and the term of the one before it if that was known.
    entries: BTreeMap<(u64, u64), (Bytes, Option<u64>)>,
}

impl LogMatching {
    /// `node` put this entry into its log, after one of the term `before`.
    pub fn appended(
        &mut self,
        node: u64,
        index: u64,
        entry: &Bytes,
        before: Option<u64>,
    ) -> Result<(), String> {
        let term = term_of(entry);
        let place = format!("log matching: node {node}, index {index}, term {term}");
        if before.is_some_and(|before| before > term) {
            return Err(format!("{place}: the entry before it is of a later term"));
        }
        let known = self.entries.entry((index, term));
        let (same, known_before) = known.or_insert_with(|| (entry.clone(), before));
        if same != entry {
            return Err(format!("{place}: another node has another entry there"));
        }
        match (*known_before, before) {
            (Some(one), Some(other)) if one != other => Err(format!(
                "{place}: it follows term {other} here and term {one} elsewhere"
            )),
            (None, Some(_)) => {
                *known_before = before;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
