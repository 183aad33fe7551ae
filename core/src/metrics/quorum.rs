//! Numbers of agreement, read from the replica's status: who leads, how far the log is, how many voters and zones answer.
//! Zones are counted and never named.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::{IntGauge, Registry};

use conclave_raft::{Member, Status};

/// A voter that did not acknowledge for so long, in milliseconds, does not answer: several election time-outs.
const SILENCE_MS: u64 = 5_000;

/// Gauges of one node.
pub struct Quorum {
    is_leader: IntGauge,
    has_leader: IntGauge,
    term: IntGauge,
    last_log_index: IntGauge,
    committed_index: IntGauge,
    applied_index: IntGauge,
    lag: IntGauge,
    voters: IntGauge,
    reachable: IntGauge,
    tolerance: IntGauge,
    zones: IntGauge,
    zones_reachable: IntGauge,
    largest_zone: IntGauge,
}

/// Voters as the leader sees them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    voters: usize,
    reachable: usize,
    tolerance: usize,
    zones: usize,
    zones_reachable: usize,
    largest_zone: usize,
}

impl Quorum {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            is_leader: gauge("conclave_raft_is_leader", "1 while this node leads.")?,
            has_leader: gauge("conclave_raft_has_leader", "1 while this node knows of a leader.")?,
            term: gauge("conclave_raft_term", "Current term.")?,
            last_log_index: gauge("conclave_raft_last_log_index", "Last entry in the log.")?,
            committed_index: gauge("conclave_raft_committed_index", "Last entry known committed.")?,
            applied_index: gauge("conclave_raft_applied_index", "Last entry applied.")?,
            lag: gauge(
                "conclave_raft_replication_lag_entries",
                "On the leader: entries the slowest voter lacks. Elsewhere 0.",
            )?,
            voters: gauge("conclave_raft_voters", "Voting members.")?,
            reachable: gauge(
                "conclave_raft_voters_reachable",
                "On the leader: voters that acknowledged within 5 s, itself included. Elsewhere 0.",
            )?,
            tolerance: gauge(
                "conclave_raft_failure_tolerance",
                "On the leader: how many more voters may be lost before the quorum is. Elsewhere 0.",
            )?,
            zones: gauge("conclave_raft_zones", "Zones that have a voter.")?,
            zones_reachable: gauge(
                "conclave_raft_zones_reachable",
                "On the leader: zones of which a voter acknowledged within 5 s. Elsewhere 0.",
            )?,
            largest_zone: gauge(
                "conclave_raft_zone_largest_voters",
                "Voters in the zone that has most of them.",
            )?,
        })
    }

    /// Sets them.
    pub fn observe(&self, status: &Status) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let voters = status.members.iter().filter(|member| member.voter);
        let slowest = voters.filter_map(|member| member.matched_index).min();
        self.is_leader.set(i64::from(status.is_leader));
        self.has_leader.set(i64::from(status.leader.is_some()));
        self.term.set(number(status.term));
        self.last_log_index.set(number(status.last_log_index));
        self.committed_index.set(number(status.committed_index));
        self.applied_index.set(number(status.applied_index));
        self.lag.set(number(
            slowest.map_or(0, |matched| status.last_log_index.saturating_sub(matched)),
        ));
        let seen = seen(status);
        self.voters.set(count(seen.voters));
        self.reachable.set(count(seen.reachable));
        self.tolerance.set(count(seen.tolerance));
        self.zones.set(count(seen.zones));
        self.zones_reachable.set(count(seen.zones_reachable));
        self.largest_zone.set(count(seen.largest_zone));
    }
}

fn seen(status: &Status) -> Seen {
    let answers = |member: &&Member| {
        status.is_leader
            && (status.leader == Some(member.id)
                || member.last_contact_ms.is_some_and(|silent| silent < SILENCE_MS))
    };
    let voters: Vec<&Member> = status.members.iter().filter(|member| member.voter).collect();
    let answering: Vec<&Member> = voters.iter().copied().filter(|voter| answers(voter)).collect();
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for voter in &voters {
        *zones.entry(voter.record.zone.as_str()).or_default() += 1;
    }
    let answering_zones: BTreeSet<&str> = answering.iter().map(|voter| voter.record.zone.as_str()).collect();
    Seen {
        voters: voters.len(),
        reachable: answering.len(),
        tolerance: answering.len().saturating_sub(voters.len() / 2 + 1),
        zones: zones.len(),
        zones_reachable: answering_zones.len(),
        largest_zone: zones.values().copied().max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use conclave_raft::NodeRecord;

    use super::*;

    fn member(id: u64, zone: &str, silent_ms: Option<u64>) -> Member {
        Member {
            id,
            record: NodeRecord {
                key_hash: [0; 32],
                name: format!("node{id}"),
                zone: zone.to_owned(),
                cluster_addr: String::new(),
                api_addr: String::new(),
            },
            voter: true,
            matched_index: None,
            last_contact_ms: silent_ms,
        }
    }

    #[test]
    fn a_leader_counts_voters_and_zones_that_answer() {
        let mut status = Status {
            leader: Some(1),
            is_leader: true,
            members: vec![
                member(1, "a", None),
                member(2, "b", Some(100)),
                member(3, "c", Some(6_000)),
            ],
            ..Status::default()
        };
        let expected = Seen {
            voters: 3,
            reachable: 2,
            tolerance: 0,
            zones: 3,
            zones_reachable: 2,
            largest_zone: 1,
        };
        assert_eq!(seen(&status), expected);
        status.members.push(member(4, "b", Some(10)));
        status.members.push(member(5, "b", Some(10)));
        let seen_of_five = seen(&status);
        assert_eq!(
            (
                seen_of_five.reachable,
                seen_of_five.tolerance,
                seen_of_five.largest_zone
            ),
            (4, 1, 3)
        );
        status.is_leader = false;
        assert_eq!(
            (seen(&status).voters, seen(&status).reachable),
            (5, 0),
            "others cannot tell"
        );
    }
}
