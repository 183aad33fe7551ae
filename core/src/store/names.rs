//! Sealed keys of paths, remembering the sealed prefixes of directories: sealing a name costs two passes of AES over it
//! and its parents. Bounded; entries never go stale, because the name key never changes.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::RwLock;

use conclave_barrier::Barrier;

use crate::error::Error;
use crate::store::layout::{self, Space};

/// Most directories remembered; about 2 MiB.
const CAPACITY: usize = 8192;

/// Sealed prefixes of directories.
#[derive(Default)]
pub struct NameCache {
    directories: RwLock<HashMap<(Space, String), Bytes>>,
}

impl NameCache {
    /// The sealed key of `path` in `space`.
    pub fn key(&self, barrier: &Barrier, space: Space, path: &str) -> Result<Bytes, Error> {
        let trimmed = path.trim_end_matches('/');
        let Some((directory, name)) = trimmed.rsplit_once('/') else {
            let mut key = space.prefix();
            layout::push_path(barrier, &mut key, trimmed)?;
            return Ok(key.into());
        };
        let mut key = self.directory(barrier, space, directory)?.to_vec();
        layout::push_path(barrier, &mut key, name)?;
        Ok(key.into())
    }

    fn directory(&self, barrier: &Barrier, space: Space, directory: &str) -> Result<Bytes, Error> {
        let entry = (space, directory.to_owned());
        if let Some(known) = self.directories.read().get(&entry) {
            return Ok(known.clone());
        }
        let mut key = space.prefix();
        layout::push_path(barrier, &mut key, directory)?;
        let key = Bytes::from(key);
        let mut directories = self.directories.write();
        if directories.len() >= CAPACITY {
            // Starting over is rare and cheap next to keeping an order of use on every request.
            directories.clear();
        }
        directories.insert(entry, key.clone());
        Ok(key)
    }
}
