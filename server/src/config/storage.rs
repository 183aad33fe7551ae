//! `storage "raft"`: where a node keeps its data, and whom it asks for admission.

use std::path::PathBuf;

use conclave_hcl::{Body, Pos};
use serde_json::{Map, Value};

use super::keys;
use super::source::Source;
use crate::error::Error;

/// Bytes that must be free unless told otherwise.
const MIN_FREE: u64 = 256 << 20;

/// Where data is kept.
#[derive(Debug, Clone)]
pub enum Storage {
    /// On disk, replicated.
    Raft {
        /// Data directory.
        path: PathBuf,
        /// The node's name.
        node_id: Option<String>,
        /// Bytes that must be free in the data directory for the node to take writes; 0 is no bound.
        min_free: u64,
        /// Whom to ask for admission while the node belongs to no cluster.
        retry_join: Vec<RetryJoin>,
    },
    /// Nowhere.
    InMemory,
}

/// A member to ask for admission, again and again until one grants it.
#[derive(Clone, PartialEq, Eq)]
pub struct RetryJoin {
    /// `leader_api_addr` and the authority of its certificate, as `sys/storage/raft/join` takes them.
    pub target: Map<String, Value>,
    /// A file that holds the join token; it may come later. Without one the node waits for approval.
    pub token_file: Option<PathBuf>,
}

impl std::fmt::Debug for RetryJoin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryJoin")
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}

impl RetryJoin {
    /// The node asks to join without a vote.
    pub(super) fn without_a_vote(&mut self) {
        self.target.insert("non_voter".to_owned(), Value::Bool(true));
    }
}

impl Storage {
    pub(super) fn read(kind: &str, body: &Body, pos: Pos, source: &mut Source<'_>) -> Result<Self, Error> {
        match kind {
            "raft" => {}
            "inmem" => return Ok(Self::InMemory),
            other => {
                return Err(source.at(pos, format!("storage {other:?} is not supported: use \"raft\"")));
            }
        }
        source.check_keys(body, keys::RAFT)?;
        let path = source.text(body, "path")?.filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| source.at(pos, "storage \"raft\" needs a path"))?;
        let mut retry_join = Vec::new();
        for section in body
            .sections("retry_join", 0)
            .map_err(|error| source.wrong(error))?
        {
            retry_join.push(read_join(section.body, section.pos, source)?);
        }
        if source.flag(body, "retry_join_as_non_voter")?.unwrap_or(false) {
            retry_join.iter_mut().for_each(RetryJoin::without_a_vote);
        }
        Ok(Self::Raft {
            path: PathBuf::from(path),
            node_id: source.text(body, "node_id")?,
            min_free: source.bytes(body, "min_free")?.unwrap_or(MIN_FREE),
            retry_join,
        })
    }
}

fn read_join(body: &Body, pos: Pos, source: &mut Source<'_>) -> Result<RetryJoin, Error> {
    source.check_keys(body, keys::RETRY_JOIN)?;
    let mut target = Map::new();
    for key in [
        "leader_api_addr",
        "leader_ca_cert",
        "leader_ca_cert_file",
        "leader_tls_servername",
    ] {
        if let Some(text) = source.text(body, key)? {
            target.insert(key.to_owned(), Value::String(text));
        }
    }
    if !target.contains_key("leader_api_addr") {
        return Err(source.at(pos, "retry_join needs a leader_api_addr"));
    }
    if target.contains_key("leader_ca_cert") && target.contains_key("leader_ca_cert_file") {
        return Err(source.at(pos, "leader_ca_cert and leader_ca_cert_file exclude each other"));
    }
    let token_file = source.text(body, "join_token_file")?.map(PathBuf::from);
    Ok(RetryJoin { target, token_file })
}
