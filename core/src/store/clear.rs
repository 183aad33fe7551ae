//! Rows stored as they are given, for sealed members read them too: what must not be read is sealed before. It must not know
//! what a row means.

use std::collections::BTreeSet;

use conclave_raft::{Condition, Expect, Op, View};

use super::layout::clear_key;
use crate::error::Error;

/// The operation that puts a clear row.
pub fn put_clear(name: &str, value: Vec<u8>) -> Op {
    Op::Put {
        key: clear_key(name),
        kind: 0,
        term: 0,
        deadline: 0,
        new_generation: false,
        value: value.into(),
    }
}

/// A set of node ids; empty where there is no such row.
pub fn node_ids(view: &View, name: &str) -> Result<BTreeSet<u64>, Error> {
    let row = view.rows().get(&clear_key(name))?;
    let bytes = row.map(|row| row.value).unwrap_or_default();
    let (ids, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Error::internal(format!("the list of {name} nodes is damaged")));
    }
    Ok(ids.iter().map(|id| u64::from_be_bytes(*id)).collect())
}

/// The expectation and the operation that replace a set of node ids.
pub fn put_node_ids(view: &View, name: &str, ids: &BTreeSet<u64>) -> Result<(Expect, Op), Error> {
    let key = clear_key(name);
    let condition = match view.rows().get(&key)? {
        Some(row) => Condition::Revision(row.revision),
        None => Condition::Absent,
    };
    let value = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
    Ok((Expect { key, condition }, put_clear(name, value)))
}
