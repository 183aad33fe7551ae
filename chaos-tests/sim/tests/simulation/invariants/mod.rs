//! What must always hold, one file each. Some watch while a run goes on, some look at all of it afterwards.

pub mod acknowledged;
pub mod ciphertexts;
pub mod cluster_time;
pub mod election_safety;
pub mod identities;
pub mod leader_completeness;
pub mod leases;
pub mod linearizable;
pub mod log_matching;
pub mod outcomes;
pub mod policies;
pub mod rotations;
pub mod sealed_serves_nothing;
pub mod secrets;
pub mod state_digest;
pub mod tokens;
pub mod wrapping;

use conclave_raft::state::ChangeSet;

use crate::history::{History, Seen};

/// Those that watch.
#[derive(Default)]
pub struct Invariants {
    pub election: election_safety::ElectionSafety,
    pub log_matching: log_matching::LogMatching,
    pub completeness: leader_completeness::LeaderCompleteness,
    pub state: state_digest::StateDigest,
    pub clock: cluster_time::ClusterTime,
    pub identities: identities::Identities,
    pub ciphertexts: ciphertexts::Ciphertexts,
    pub sealed: sealed_serves_nothing::SealedServesNothing,
    pub secrets: secrets::Secrets,
    pub tokens: tokens::Tokens,
    pub leases: leases::Leases,
}

/// All of a run, after it healed.
pub struct Whole<'a> {
    pub history: &'a History,
    /// Every revision there ever was and the rows it changed.
    pub changes: &'a [ChangeSet],
    /// The last state.
    pub seen: &'a Seen,
    /// The operations whose `Insert`s are in it.
    pub inserted: &'a [u64],
}

/// Those that look at all of it.
pub fn judge(whole: &Whole<'_>) -> Vec<String> {
    let judges = [acknowledged::check, outcomes::check, linearizable::check];
    judges
        .into_iter()
        .filter_map(|check| check(whole).err())
        .collect()
}
