//! `operator`: the life of a cluster, from its first key to its last peer.

mod admission;
mod diagnose;
mod digest;
mod effects;
mod generate_root;
mod init;
mod key;
mod key_shares;
mod raft;
mod rotate_keys;
mod seal;
mod snapshot_inspect;
mod tls;
mod validate_config;

use super::Command;
pub use init::pgp_keys;

pub const GROUP: Command = Command::group(
    "operator",
    "Perform operator-specific tasks",
    "The life of a cluster: initialise, unseal, rotate keys, members.\n\n$ conclave operator init\n$ conclave operator unseal",
);

pub const COMMANDS: &[Command] = &[
    GROUP,
    init::COMMAND,
    seal::UNSEAL,
    seal::SEAL,
    seal::STEP_DOWN,
    key::STATUS,
    key::ROTATE,
    key::MEMBERS,
    rotate_keys::ROTATE_KEYS,
    rotate_keys::REKEY,
    generate_root::COMMAND,
    digest::COMMAND,
    effects::COMMAND,
    validate_config::COMMAND,
    diagnose::COMMAND,
    tls::GROUP,
    tls::CREATE_CA,
    tls::CREATE_CERT,
    raft::GROUP,
    raft::LIST_PEERS,
    raft::JOIN,
    admission::NEW_JOIN_TOKEN,
    raft::REMOVE_PEER,
    raft::PROMOTE,
    raft::DEMOTE,
    admission::APPROVE,
    admission::PENDING,
    raft::SNAPSHOT,
    raft::SNAPSHOT_SAVE,
    raft::SNAPSHOT_RESTORE,
    snapshot_inspect::COMMAND,
    raft::AUTOPILOT,
    raft::AUTOPILOT_STATE,
    raft::AUTOPILOT_GET,
    raft::AUTOPILOT_SET,
];
