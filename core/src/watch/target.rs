//! What is watched: a path, the mount that it leads to, and what a caller may hear of it.

use std::sync::Arc;

use bytes::Bytes;

use conclave_engine_api::{ChangedRow, Engine, Happening, Mount, Operation};
use conclave_raft::state::{ChangeOp, ChangeSet};

use crate::canon::CanonPath;
use crate::catalog::{Catalog, MountRecord};
use crate::core::Core;
use crate::error::Error;
use crate::namespaces::NamespaceRecord;
use crate::policy::CheckRequest;
use crate::store::Opened;
use crate::store::layout;
use crate::tokens::Caller;

/// A watched path, as one view has it.
pub struct Target {
    /// The path in its namespace.
    pub path: CanonPath,
    /// The namespace.
    pub namespace: Arc<NamespaceRecord>,
    /// The mount.
    pub record: Arc<MountRecord>,
    mount: Mount,
    engine: Arc<dyn Engine>,
    /// The key, or the directory of the keys, without a trailing slash.
    key: String,
    /// Whether all keys beneath it are meant, or it alone.
    beneath: bool,
    /// Where rows lie that tell of it.
    rows: Vec<String>,
}

impl Target {
    /// What `path` means in the namespace of `catalog`: with a slash at its end the keys beneath it, without one that key; a
    /// mount alone is all of its keys.
    ///
    /// # Errors
    /// [`Error::NoRoute`] if it leads to no mount; [`Error::Unsupported`] if what is mounted there cannot be watched.
    pub fn find(core: &Core, catalog: &Catalog, path: &str) -> Result<Self, Error> {
        // It was decoded with the path of the request: a percent sign is just that.
        let path = CanonPath::parse(&path.replace('%', "%25"))?;
        let routed = catalog.route(&path);
        let routed = routed.ok_or_else(|| Error::NoRoute(path.to_string()))?;
        let record = routed.mount.clone();
        let beneath = routed.rest.is_empty() || routed.rest.ends_with('/');
        let key = routed.rest.trim_end_matches('/').to_owned();
        let unsupported = || Error::Unsupported(format!("watching a mount of type {:?}", record.kind));
        let engine = core.engine_of(&record).cloned().ok_or_else(unsupported)?;
        let settings = &core.settings;
        let mount = record.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
        let rows = engine.watched_rows(&mount, &key).ok_or_else(unsupported)?;
        Ok(Self {
            namespace: catalog.namespace().clone(),
            record,
            mount,
            engine,
            key,
            beneath,
            rows,
            path,
        })
    }

    /// Refuses a caller whose policies reach nothing of it.
    pub fn check_reach(&self, caller: &Caller) -> Result<(), Error> {
        for route in self.engine.readable_at(&self.mount, &self.key) {
            let seen = self.seen(caller, &route)?;
            if caller.acl.reaches_beneath(seen.trim_end_matches('/')) {
                return Ok(());
            }
        }
        Err(Error::denied())
    }

    /// Where the rows lie that tell of it, sealed.
    pub fn places(&self, opened: &Opened) -> Result<Vec<Bytes>, Error> {
        let space = self.record.space();
        self.rows.iter().map(|path| opened.key(space, path)).collect()
    }

    /// What a command did to the keys that are watched and that the caller may read.
    pub fn happenings(
        &self,
        opened: &Opened,
        places: &[Bytes],
        set: &ChangeSet,
        caller: &Caller,
    ) -> Result<Vec<Happening>, Error> {
        let mut rows = Vec::new();
        for change in &set.changes {
            let removed = match change.op {
                ChangeOp::Put => false,
                ChangeOp::Delete => true,
                ChangeOp::Touch | ChangeOp::Add => continue,
            };
            if places.iter().any(|place| change.key.starts_with(place)) {
                let (_, path) = layout::open_key(opened.barrier(), &change.key)?;
                rows.push(ChangedRow { path, removed });
            }
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut happened = self.engine.happenings(&self.mount, &rows);
        happened.retain(|happening| self.holds(&happening.key));
        let mut told = Vec::with_capacity(happened.len());
        for happening in happened {
            if self.may_know(caller, &happening.key)? {
                told.push(happening);
            }
        }
        Ok(told)
    }

    fn holds(&self, key: &str) -> bool {
        match (self.beneath, self.key.as_str()) {
            (false, watched) => key == watched,
            (true, "") => true,
            (true, watched) => key
                .strip_prefix(watched)
                .is_some_and(|rest| rest.starts_with('/')),
        }
    }

    /// Whether the caller may read the key by any of its paths.
    fn may_know(&self, caller: &Caller, key: &str) -> Result<bool, Error> {
        for route in self.engine.readable_at(&self.mount, key) {
            let path = self.seen(caller, &route)?;
            let request = CheckRequest {
                operation: Operation::Read,
                path: &path,
                data: None,
                wrap_ttl: None,
                is_sudo_path: self.engine.is_sudo_path(&route),
            };
            if caller.acl.check(&request).allowed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A path of the mount as the caller's policies see it.
    fn seen(&self, caller: &Caller, route: &str) -> Result<String, Error> {
        let path = format!("{}{route}", self.record.full_path());
        let seen = caller.sees(&self.namespace, &path).ok_or_else(Error::denied)?;
        Ok(seen.into_owned())
    }
}
