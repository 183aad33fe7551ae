//! What is agreed on: commands, their expectations and operations. Values and names in them are opaque
//! (sealed by whoever proposed them); this file must not know what any of them mean.

use bytes::Bytes;

/// A row's key: `format u8 | table u8 | ring u16 | namespace u32 | mount u32 | segments`, integers big-endian.
/// Only the first two bytes matter here; the rest is opaque order.
pub type Key = Bytes;

/// Milliseconds since the Unix epoch on the cluster's clock.
pub type Millis = u64;

/// Who proposed a command. Unique for ever: incarnations grow with each start of a node, sequences within one, from a place of its
/// own: a start from a disk that was set back or copied has the incarnation of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The proposing node's id.
    pub node: u64,
    /// That node's incarnation.
    pub incarnation: u64,
    /// Counts the node's proposals within the incarnation.
    pub sequence: u64,
}

/// One atomic change: all expectations are checked, then all operations are written, or nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Who waits for the outcome.
    pub origin: Origin,
    /// The oldest data-key term any value in `ops` is sealed with; 0 when none is sealed.
    pub oldest_term: u32,
    /// The time on which the proposer's decision rests. Apply refuses one that is too far from its own.
    pub now_used: Millis,
    /// What must hold.
    pub expect: Vec<Expect>,
    /// What is done, in order.
    pub ops: Vec<Op>,
}

/// One thing that must hold about a row for the command to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The row.
    pub key: Key,
    /// What must hold about it.
    pub condition: Condition,
}

/// A condition on one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The row exists and was last written at this revision.
    Revision(u64),
    /// The row does not exist.
    Absent,
    /// The row exists.
    Present,
    /// The row exists and its generation (which only `Put { new_generation: true }` moves) is this.
    Generation(u64),
}

/// One operation on the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Write a row. Its generation is kept, unless the row is new or `new_generation` is set: then it becomes
    /// this command's revision.
    Put {
        /// The row.
        key: Key,
        /// What kind of record the value is, for the owner of the table.
        kind: u8,
        /// The data-key term the value is sealed with; 0 when it is not sealed.
        term: u32,
        /// When the row falls due; 0 for never. Informative here: the due index is written by `DuePut`.
        deadline: Millis,
        /// Whether holders of the old generation must fail.
        new_generation: bool,
        /// The sealed value.
        value: Bytes,
    },
    /// Remove a row; nothing happens if there is none.
    Delete {
        /// The row.
        key: Key,
    },
    /// Move a marker row's revision (creating it empty), so that `Condition::Revision` on it fails for others.
    Touch {
        /// The marker row.
        key: Key,
    },
    /// Replace the ciphertext of a row that is still at `revision`, keeping revision and generation and making no
    /// change event. Skipped without error when the row has moved on.
    Rewrap {
        /// The row.
        key: Key,
        /// The revision the new ciphertext was made from.
        revision: u64,
        /// The new term.
        term: u32,
        /// The value, sealed again.
        value: Bytes,
    },
    /// Add to a counter row (its value is a clear i64, absent = 0). Outside `floor..=ceiling` the whole command is
    /// `Refused`. Never conflicts.
    Add {
        /// The counter row.
        key: Key,
        /// What is added.
        delta: i64,
        /// Least allowed result.
        floor: i64,
        /// Greatest allowed result.
        ceiling: i64,
    },
    /// Put `key` into the due index of `queue`.
    DuePut {
        /// The queue, an opaque id per target.
        queue: u64,
        /// When it falls due.
        deadline: Millis,
        /// The row that falls due.
        key: Key,
    },
    /// Take `key` out of the due index.
    DueDelete {
        /// The queue.
        queue: u64,
        /// The deadline under which it was put.
        deadline: Millis,
        /// The row.
        key: Key,
    },
    /// From now on commands whose `oldest_term` is below `term` answer `StaleKey`.
    SetMinTerm {
        /// The least term accepted.
        term: u32,
    },
    /// Enter a node into the cluster's register and allot its id, or find the id its key already has.
    RegisterNode {
        /// Who it is.
        node: NodeRecord,
    },
    /// A node started: its incarnation must be above the recorded one and its log must reach what is recorded.
    BeginIncarnation {
        /// The node.
        node: u64,
        /// Its new incarnation.
        incarnation: u64,
        /// Random id of this start.
        instance: [u8; 16],
        /// Index of the last entry in its log.
        last_log_index: u64,
    },
    /// Remove a node from the register and refuse its key for ever.
    ForgetNode {
        /// The node.
        node: u64,
    },
    /// Move the cluster's clock although nothing else happens.
    AdvanceClock,
    /// Raise the format version every member supports.
    RaiseVersion {
        /// The new cluster version.
        version: u16,
    },
    /// Nothing that is seen: an operation that only members of the next version know, to try upgrades with.
    #[cfg(feature = "next-format")]
    NextFormat,
    /// Put an archive that waits in staged chunks in the place of everything outside the register: rows, due index,
    /// least term. The first operation of its command. Its revision is one above both the state's and the archive's;
    /// adopted rows take it as revision and generation, and the change log begins anew. Refused as a whole when the
    /// chunks are not there, do not hash to `digest` or do not decode.
    AdoptStaged {
        /// Names the staging.
        id: [u8; 16],
        /// How many chunks it has.
        chunks: u32,
        /// SHA-256 of all chunks in order.
        digest: [u8; 32],
    },
}

/// What the register keeps of a node. Clear by design: sealed nodes must be able to talk to each other.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct NodeRecord {
    /// SHA-256 of the node's public key (SubjectPublicKeyInfo): its identity.
    pub key_hash: [u8; 32],
    /// The name shown to operators.
    pub name: String,
    /// Failure zone.
    pub zone: String,
    /// `host:port` for node-to-node traffic.
    pub cluster_addr: String,
    /// URL clients use.
    pub api_addr: String,
}

/// What became of a command. The same on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Applied as this revision.
    Applied {
        /// The command's revision.
        revision: u64,
        /// The node id that `RegisterNode` allotted or found; 0 without such an operation.
        node: u64,
    },
    /// The expectation with this index in `expect` did not hold.
    Conflict {
        /// Index into `expect`.
        expectation: u32,
    },
    /// The `Add` with this index in `ops` would have left its bounds.
    Refused {
        /// Index into `ops`.
        op: u32,
    },
    /// A value is sealed with a term below the accepted minimum: seal again.
    StaleKey {
        /// The least term accepted.
        min_term: u32,
    },
    /// `now_used` is too far from the cluster's clock: decide again.
    StaleClock {
        /// The cluster's clock.
        cluster_time: Millis,
    },
    /// The command is well-formed but not allowed (a lower incarnation, a removed node, a lowered version).
    Denied {
        /// Why, for the log and the operator.
        reason: String,
    },
}
