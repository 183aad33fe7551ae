//! What a node is told at start. This file must not know how any of it is used.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::command::NodeRecord;
use crate::error::Error;

/// Settings of one node.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster's Raft identity. Peers of another cluster are refused.
    pub cluster_id: [u8; 16],
    /// This node's id, allotted by the register; 1 for the node that starts a cluster.
    pub node_id: u64,
    /// Where identity and snapshots are kept.
    pub data_dir: PathBuf,
    /// Random id of this start, to tell two processes with one copied disk apart.
    pub instance: [u8; 16],
    /// Members this node may talk to before it has heard of any membership (from its join).
    pub contacts: Vec<(u64, NodeRecord)>,
    /// Intervals.
    pub timings: Timings,
    /// When snapshots are made.
    pub snapshots: SnapshotPolicy,
}

/// Intervals of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// A leader speaks at least this often.
    pub heartbeat: Duration,
    /// A follower that hears nothing stands for election after a random time from here ...
    pub election_min: Duration,
    /// ... to here. A leader that no quorum acknowledged for this long takes no writes.
    pub election_max: Duration,
    /// How long a proposal or read that was certainly not taken is tried again before its caller hears of it.
    pub retry: Duration,
    /// How long a caller waits for an outcome at most.
    pub outcome: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1200),
            // Longer than an election takes (up to twice `election_max`) with one vote split, shorter than the 5 s for
            // which a decision stays fresh.
            retry: Duration::from_secs(4),
            outcome: Duration::from_secs(30),
        }
    }
}

/// When the log is replaced by a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// Entries applied since the last snapshot.
    pub entries: u64,
    /// Bytes of the log since the last snapshot.
    pub bytes: u64,
    /// Age of the last snapshot, if since then the log has grown by more than `keep_bytes` or as many entries as it keeps.
    pub age: Duration,
    /// Entries kept in the log although a snapshot covers them, so that a short absence needs no snapshot ...
    pub keep: u64,
    /// ... unless they are more bytes than this.
    pub keep_bytes: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self {
            entries: 200_000,
            bytes: 64 << 20,
            age: Duration::from_secs(120),
            keep: 50_000,
            keep_bytes: 16 << 20,
        }
    }
}

impl Config {
    /// openraft's settings for these.
    ///
    /// # Errors
    /// `Error::Limit` when the intervals contradict each other.
    pub(crate) fn raft(&self) -> Result<Arc<openraft::Config>, Error> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: "conclave".to_owned(),
            heartbeat_interval: ms(self.timings.heartbeat),
            heartbeat_min_interval: Some(ms(self.timings.heartbeat) / 2),
            election_timeout_min: ms(self.timings.election_min),
            election_timeout_max: ms(self.timings.election_max),
            // A restarted leader stands for election again: its state may be behind what it acknowledged.
            enable_leader_restore: Some(false),
            enable_pre_vote: Some(true),
            // Whoever makes a core says when it may stand.
            enable_elect: false,
            // Ours picks the successor.
            removed_leader_step_down: openraft::StepDownPolicy::Never,
            // Ours counts bytes too, and so does our purge, which comes on top of openraft's.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.snapshots.keep,
            replication_lag_threshold: self.snapshots.entries.max(self.snapshots.keep) + 1,
            // Few large range deletions: each slows every scan of the log a little.
            purge_batch_size: self.snapshots.keep.clamp(1, 10_000),
            install_snapshot_timeout: 600_000,
            max_payload_entries: 512,
            backoff: "20ms 50ms 100ms 200ms ...500ms".to_owned(),
            ..openraft::Config::default()
        };
        match config.validate() {
            Ok(config) => Ok(Arc::new(config)),
            Err(error) => {
                tracing::error!(%error, "the intervals of replication contradict each other");
                Err(Error::Limit("intervals of replication contradict each other"))
            }
        }
    }
}
