//! A node's data directory: private, used by one process at a time, and what is remembered there in the clear: the node's
//! key and the cluster it belongs to. Nothing secret but the node's own key lies here unsealed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use conclave_core::Membership;
use conclave_raft::NodeRecord;
use conclave_raft::net::NodeKey;

use crate::error::Error;

const LOCK: &str = "lock";
const SCRATCH: &str = "scratch";
const KEY: &str = "node.key";
const CLUSTER: &str = "cluster.json";
/// There while an operator's `seal` of this node stands.
const SEALED: &str = "sealed";
/// What helps against damaged data.
const ADVICE: &str = "wipe this node's data and rejoin it under a new id";
/// Format of `cluster.json`.
const FORMAT: u64 = 1;

/// An open data directory. The lock is held while this lives.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens or makes the directory.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(Error::file("make", path))?;
        let mode = path.metadata().map_err(Error::file("look at", path))?.mode();
        if mode & 0o077 != 0 {
            return Err(Error::Data(format!(
                "{}: the data directory may be used by others (mode {:o}); run: chmod 0700 {}",
                path.display(),
                mode & 0o777,
                path.display()
            )));
        }
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path);
        let lock = lock.map_err(Error::file("open", &lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::Locked(path.to_owned()))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory for files on their way in or out, empty: what a crash left there is of no use to anybody.
    pub fn empty_scratch(&self) -> Result<PathBuf, Error> {
        let path = self.path.join(SCRATCH);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("empty", &path)(error));
            }
            _ => {}
        }
        let mut builder = fs::DirBuilder::new();
        builder
            .mode(0o700)
            .create(&path)
            .map_err(Error::file("make", &path))?;
        Ok(path)
    }

    /// The node's key, made at its first start.
    pub fn node_key(&self) -> Result<NodeKey, Error> {
        let path = self.path.join(KEY);
        if path.exists() {
            let mode = path
                .metadata()
                .map_err(Error::file("look at", &path))?
                .permissions()
                .mode();
            if mode & 0o077 != 0 {
                return Err(Error::Data(format!(
                    "{}: readable by others; run: chmod 0600",
                    path.display()
                )));
            }
            let pem = Zeroizing::new(fs::read_to_string(&path).map_err(Error::file("read", &path))?);
            return NodeKey::from_pem(&pem).map_err(|error| Error::Data(advised(&error)));
        }
        let key = NodeKey::generate()?;
        self.write_durably(KEY, key.to_pem()?.as_bytes())?;
        Ok(key)
    }

    /// The cluster that the node of a directory belongs to, whoever uses it now. Changes nothing.
    pub fn peek(path: &Path) -> Result<Option<Membership>, Error> {
        Self::remembered(path)
    }

    /// The cluster this node belongs to.
    pub fn membership(&self) -> Result<Option<Membership>, Error> {
        Self::remembered(&self.path)
    }

    fn remembered(dir: &Path) -> Result<Option<Membership>, Error> {
        let path = dir.join(CLUSTER);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        let damaged = || {
            let path = path.display();
            Error::Data(format!("{path}: of an unknown format, or damaged: then {ADVICE}"))
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if value.get("format").and_then(Value::as_u64) != Some(FORMAT) {
            return Err(damaged());
        }
        parse(&value).ok_or_else(damaged).map(Some)
    }

    /// Remembers the cluster this node belongs to, durably, before it takes part.
    pub fn remember(&self, membership: &Membership) -> Result<(), Error> {
        let members = membership
            .members
            .iter()
            .map(|(id, record)| json!({"id": id, "record": record}));
        let value = json!({
            "format": FORMAT,
            "node_id": membership.node_id,
            "cluster_id": hex::encode(membership.cluster_id),
            "members": members.collect::<Vec<_>>(),
        });
        self.write_durably(CLUSTER, value.to_string().as_bytes())
    }

    /// Whether an operator sealed this node.
    pub fn seal_mark(&self) -> Result<bool, Error> {
        let path = self.path.join(SEALED);
        path.try_exists().map_err(Error::file("look at", &path))
    }

    /// Sets or lifts the mark of an operator's seal, durably.
    pub fn set_seal_mark(&self, sealed: bool) -> Result<(), Error> {
        if sealed {
            return self.write_durably(SEALED, b"sealed by an operator: only shares open this node\n");
        }
        let path = self.path.join(SEALED);
        match fs::remove_file(&path) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::file("remove", &path)(error)),
        }
    }

    /// Writes a file so that a crash leaves the old one, none, or the new one.
    fn write_durably(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let written = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new);
        let mut file = written.map_err(Error::file("write", &new))?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(Error::file("write", &new))?;
        fs::rename(&new, &path).map_err(Error::file("rename", &new))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), Error> {
        let dir = File::open(&self.path).and_then(|dir| dir.sync_all());
        dir.map_err(Error::file("sync", &self.path))
    }
}

/// An error met at start, with what to do about it if data is damaged. What is left of it must not be guessed at: a node
/// that forgot what it voted or acknowledged takes it from the whole cluster.
pub fn advised(error: &conclave_raft::Error) -> String {
    match error {
        conclave_raft::Error::Corrupt { .. } => format!("{error}; {ADVICE}"),
        other => other.to_string(),
    }
}

fn parse(value: &Value) -> Option<Membership> {
    let cluster_id = hex::decode(value.get("cluster_id")?.as_str()?).ok()?;
    let members = value.get("members")?.as_array()?.iter().map(|member| {
        let record: NodeRecord = serde_json::from_value(member.get("record")?.clone()).ok()?;
        Some((member.get("id")?.as_u64()?, record))
    });
    Some(Membership {
        node_id: value.get("node_id")?.as_u64()?,
        cluster_id: cluster_id.try_into().ok()?,
        members: members.collect::<Option<Vec<_>>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_across_starts_and_is_private() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let membership = Membership {
            node_id: 3,
            cluster_id: [9; 16],
            members: vec![(
                1,
                NodeRecord {
                    name: "one".into(),
                    ..NodeRecord::default()
                },
            )],
        };
        let hash = {
            let dir = DataDir::open(&path).unwrap();
            assert!(
                matches!(DataDir::open(&path), Err(Error::Locked(_))),
                "one process at a time"
            );
            assert!(dir.membership().unwrap().is_none());
            dir.remember(&membership).unwrap();
            dir.node_key().unwrap().key_hash()
        };
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(dir.membership().unwrap().unwrap(), membership);
        assert_eq!(dir.node_key().unwrap().key_hash(), hash);
        assert_eq!(path.join(KEY).metadata().unwrap().mode() & 0o777, 0o600);
        fs::write(path.join(CLUSTER), b"{\"format\": 2}").unwrap();
        assert!(dir.membership().is_err(), "an unknown format is not guessed at");
    }

    #[test]
    fn a_seal_stands_until_it_is_lifted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        {
            let dir = DataDir::open(&path).unwrap();
            assert!(!dir.seal_mark().unwrap());
            dir.set_seal_mark(true).unwrap();
            dir.set_seal_mark(true).unwrap();
        }
        let dir = DataDir::open(&path).unwrap();
        assert!(dir.seal_mark().unwrap(), "across a restart");
        dir.set_seal_mark(false).unwrap();
        dir.set_seal_mark(false).unwrap();
        assert!(!dir.seal_mark().unwrap());
    }

    #[test]
    fn refuses_a_directory_others_can_read() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(DataDir::open(root.path()), Err(Error::Data(_))));
    }
}
