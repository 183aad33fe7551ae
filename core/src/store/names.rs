//! Sealed keys of paths, remembered: sealing a name costs two passes of AES over it and its parents. Bounded; entries
//! never go stale, because a ring's name key never changes; when a ring is opened or closed, a new cache takes the place of
//! this one.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::RwLock;

use conclave_barrier::Barrier;

use crate::error::Error;
use crate::store::layout::{self, Space};

/// Most paths remembered, directories and rows alike; about 3 MiB of usual ones.
const CAPACITY: usize = 8192;
/// Longest path remembered, in bytes: long ones would make the bound above mean little.
const MAX_PATH_BYTES: usize = 512;

/// Sealed keys of paths.
#[derive(Default)]
pub struct NameCache {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    spaces: HashMap<Space, HashMap<Box<str>, Bytes>>,
    paths: usize,
}

impl NameCache {
    /// The sealed key of `path` in `space`.
    pub fn key(&self, barrier: &Barrier, space: Space, path: &str) -> Result<Bytes, Error> {
        let path = path.trim_end_matches('/');
        if let Some(known) = self.known.read().get(space, path) {
            return Ok(known);
        }
        let (mut key, name) = match path.rsplit_once('/') {
            // As deep as the path, which is bounded.
            Some((directory, name)) => (self.key(barrier, space, directory)?.to_vec(), name),
            None => (space.prefix(), path),
        };
        layout::push_path(barrier, space.ring(), &mut key, name)?;
        let key = Bytes::from(key);
        if path.len() <= MAX_PATH_BYTES {
            self.known.write().insert(space, path, key.clone());
        }
        Ok(key)
    }
}

impl Known {
    fn get(&self, space: Space, path: &str) -> Option<Bytes> {
        self.spaces.get(&space)?.get(path).cloned()
    }

    fn insert(&mut self, space: Space, path: &str, key: Bytes) {
        if self.paths >= CAPACITY {
            // Starting over is rare and cheap next to keeping an order of use on every request.
            *self = Self::default();
        }
        let before = self.spaces.entry(space).or_default().insert(path.into(), key);
        self.paths += usize::from(before.is_none());
    }
}
