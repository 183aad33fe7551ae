//! An ordered map whose clone is cheap and never changes: two levels of shared B-trees, copied where written.
//! This file must not know what it holds.

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use bytes::Bytes;

/// Entries in a chunk before it is split in two.
const MAX_CHUNK: usize = 128;

type Chunk<V> = BTreeMap<Bytes, V>;

/// A copy-on-write ordered map from byte strings. A write after a clone copies the index of chunks and one chunk.
#[derive(Clone)]
pub(crate) struct CowMap<V> {
    /// By a lower bound of its keys; a chunk ends where the next begins. The first bound is the empty string.
    chunks: Arc<BTreeMap<Bytes, Arc<Chunk<V>>>>,
}

impl<V: Clone> CowMap<V> {
    pub fn new() -> Self {
        Self {
            chunks: Arc::new(BTreeMap::new()),
        }
    }

    pub fn get(&self, key: &[u8]) -> Option<&V> {
        let (_, chunk) = self.chunks.range::<[u8], _>(up_to(key)).next_back()?;
        chunk.get(key)
    }

    /// Entries at or after `from`, in order.
    pub fn from<'m>(&'m self, from: &[u8]) -> impl Iterator<Item = (&'m Bytes, &'m V)> + use<'m, V> {
        // The chunk that `from` falls into begins at or before it and may hold earlier keys too.
        let first = self.chunks.range::<[u8], _>(up_to(from)).next_back();
        let within = first.map(|(_, chunk)| chunk.range::<[u8], _>((Included(from), Unbounded)));
        let later = self.chunks.range::<[u8], _>((Excluded(from), Unbounded));
        within
            .into_iter()
            .flatten()
            .chain(later.flat_map(|(_, chunk)| chunk.iter()))
    }

    pub fn insert(&mut self, key: Bytes, value: V) {
        let chunks = Arc::make_mut(&mut self.chunks);
        let bound = chunks
            .range::<[u8], _>(up_to(&key))
            .next_back()
            .map(|(bound, _)| bound.clone());
        let chunk = Arc::make_mut(chunks.entry(bound.unwrap_or_default()).or_default());
        chunk.insert(key, value);
        if chunk.len() > MAX_CHUNK {
            let middle = chunk.keys().nth(MAX_CHUNK / 2).cloned().unwrap_or_default();
            let upper = chunk.split_off(&middle);
            chunks.insert(middle, Arc::new(upper));
        }
    }

    pub fn remove(&mut self, key: &[u8]) {
        if self.get(key).is_none() {
            return;
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some((bound, chunk)) = chunks.range_mut::<[u8], _>(up_to(key)).next_back() else {
            return;
        };
        let chunk = Arc::make_mut(chunk);
        chunk.remove(key);
        if chunk.is_empty() && !bound.is_empty() {
            let bound = bound.clone();
            chunks.remove(&bound);
        }
    }
}

fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Unbounded, Included(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: u16) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }

    proptest! {
        #[test]
        fn is_a_btree_map_and_clones_do_not_change(
            steps in prop::collection::vec((any::<bool>(), 0u16..600, any::<u8>()), 0..1500),
            from in 0u16..600,
        ) {
            let mut map = CowMap::new();
            let mut model = BTreeMap::new();
            let mut kept = None;
            for (number, (put, at, value)) in steps.iter().enumerate() {
                if number == steps.len() / 2 {
                    kept = Some((map.clone(), model.clone()));
                }
                if *put {
                    map.insert(key(*at), *value);
                    model.insert(key(*at), *value);
                } else {
                    map.remove(&key(*at));
                    model.remove(&key(*at));
                }
            }
            for (map, model) in [Some((map, model)), kept].into_iter().flatten() {
                let got: Vec<_> = map.from(&key(from)).collect();
                let expected: Vec<_> = model.range(key(from)..).collect();
                prop_assert_eq!(got, expected);
                prop_assert_eq!(map.get(&key(from)), model.get(&key(from)));
                prop_assert_eq!(map.from(&[]).count(), model.len());
            }
        }
    }
}
