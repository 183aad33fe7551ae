//! How healthy members are, who may vote, and who may go: decided from what the leader sees. It must not know how a change is
//! made.

use std::collections::{BTreeMap, BTreeSet};

use conclave_engine_api::Millis;
use conclave_raft::{Member, Status};

use super::settings::Settings;

/// A learner this close to the end of the log counts as caught up.
const CAUGHT_UP: u64 = 64;

/// What the leader has seen of its members since it leads. Kept in memory: another leader begins anew.
#[derive(Debug, Default)]
pub struct Watched {
    term: u64,
    /// When it began to lead.
    since: Millis,
    /// Since when each member is healthy; `None`: it is not.
    healthy_since: BTreeMap<u64, Option<Millis>>,
}

impl Watched {
    /// Takes note of what the leader sees at `now`.
    pub fn look(&mut self, status: &Status, settings: &Settings, now: Millis) {
        if self.term != status.term || self.since == 0 {
            *self = Self {
                term: status.term,
                since: now,
                healthy_since: BTreeMap::new(),
            };
        }
        self.healthy_since
            .retain(|id, _| status.members.iter().any(|member| member.id == *id));
        for member in &status.members {
            let healthy = self.is_healthy(member, status, settings, now);
            let since = self.healthy_since.entry(member.id).or_default();
            *since = healthy.then(|| since.unwrap_or(now));
        }
    }

    /// Since when a member is healthy.
    pub fn healthy_since(&self, node: u64) -> Option<Millis> {
        self.healthy_since.get(&node).copied().flatten()
    }

    /// How long a member has been silent. One that was never heard is silent since this node leads.
    pub fn silence(&self, member: &Member, status: &Status, now: Millis) -> Millis {
        match status.leader == Some(member.id) {
            true => 0,
            false => member
                .last_contact_ms
                .unwrap_or_else(|| now.saturating_sub(self.since)),
        }
    }

    fn is_healthy(&self, member: &Member, status: &Status, settings: &Settings, now: Millis) -> bool {
        let leads = status.leader == Some(member.id);
        let behind = match leads {
            true => 0,
            false => status
                .last_log_index
                .saturating_sub(member.matched_index.unwrap_or(0)),
        };
        let heard = leads || member.last_contact_ms.is_some();
        heard
            && self.silence(member, status, now) <= settings.last_contact_threshold
            && behind <= settings.max_trailing_logs
    }

    /// A learner that may vote now: it has caught up, and has been healthy for as long as is asked for. Those of `demoted`
    /// wait for an operator.
    pub fn ready(
        &self,
        status: &Status,
        settings: &Settings,
        demoted: &BTreeSet<u64>,
        now: Millis,
    ) -> Option<u64> {
        let stable = |member: &&Member| {
            settings.server_stabilization_time == 0
                || self
                    .healthy_since(member.id)
                    .is_some_and(|since| now.saturating_sub(since) >= settings.server_stabilization_time)
        };
        let caught_up = |member: &&Member| {
            let matched = member.matched_index.unwrap_or(0);
            matched > 0 && matched.saturating_add(CAUGHT_UP) >= status.last_log_index
        };
        let mut learners = status
            .members
            .iter()
            .filter(|member| !member.voter && !demoted.contains(&member.id));
        learners
            .find(|member| caught_up(member) && stable(member))
            .map(|member| member.id)
    }

    /// A dead member that may be removed now. Voters go one by one, only while more than half of them are healthy, and never
    /// so that fewer than `min_quorum` are left: who is silent because the network is cut must not lose its vote to a few.
    pub fn dead(&self, status: &Status, settings: &Settings, now: Millis) -> Option<u64> {
        if !settings.cleanup_dead_servers {
            return None;
        }
        let voters: Vec<&Member> = status.members.iter().filter(|member| member.voter).collect();
        let healthy = voters
            .iter()
            .filter(|member| self.healthy_since(member.id).is_some())
            .count();
        let left = u64::try_from(voters.len().saturating_sub(1)).unwrap_or(0);
        let may_lose_a_voter = healthy * 2 > voters.len() && left >= settings.min_quorum;
        let mut dead = status.members.iter().filter(|member| {
            self.silence(member, status, now) > settings.dead_server_last_contact_threshold
                && (!member.voter || may_lose_a_voter)
        });
        dead.next().map(|member| member.id)
    }

    /// How many more voters may fail before there is no quorum.
    pub fn failure_tolerance(&self, status: &Status) -> usize {
        let voters: Vec<&Member> = status.members.iter().filter(|member| member.voter).collect();
        let healthy = voters
            .iter()
            .filter(|member| self.healthy_since(member.id).is_some())
            .count();
        healthy.saturating_sub(voters.len() / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_raft::NodeRecord;

    const NOW: Millis = 10_000_000;

    fn member(id: u64, voter: bool, ago: Option<u64>, matched: u64) -> Member {
        Member {
            id,
            record: NodeRecord::default(),
            voter,
            matched_index: Some(matched),
            last_contact_ms: ago,
        }
    }

    fn status(members: Vec<Member>) -> Status {
        Status {
            term: 1,
            leader: Some(1),
            is_leader: true,
            last_log_index: 5000,
            committed_index: 5000,
            applied_index: 5000,
            revision: 1,
            members,
        }
    }

    fn five(silent: &[u64], ago: u64) -> Status {
        let members = (1..=5).map(|id| {
            let ago = if silent.contains(&id) { ago } else { 100 };
            member(id, true, Some(ago).filter(|_| id != 1), 5000)
        });
        status(members.collect())
    }

    fn cleaning(min_quorum: u64) -> Settings {
        Settings {
            cleanup_dead_servers: true,
            min_quorum,
            dead_server_last_contact_threshold: 60_000,
            ..Settings::default()
        }
    }

    fn seen(status: &Status, settings: &Settings) -> Watched {
        let mut watched = Watched::default();
        watched.look(status, settings, NOW);
        watched
    }

    #[test]
    fn dead_members_go_while_a_majority_is_healthy_and_enough_are_left() {
        for (silent, min_quorum, goes) in [
            (&[][..], 3, None),
            (&[4], 3, Some(4)),
            (&[4, 5], 3, Some(4)),
            (&[4], 5, None),
            (&[3, 4, 5], 3, None),
        ] {
            let (status, settings) = (five(silent, 70_000), cleaning(min_quorum));
            assert_eq!(
                seen(&status, &settings).dead(&status, &settings, NOW),
                goes,
                "{silent:?}"
            );
        }
        let status = five(&[4], 70_000);
        let off = Settings::default();
        assert_eq!(seen(&status, &off).dead(&status, &off, NOW), None);
        let recent = five(&[4], 50_000);
        assert_eq!(seen(&recent, &cleaning(3)).dead(&recent, &cleaning(3), NOW), None);
    }

    #[test]
    fn who_was_never_heard_is_dead_once_this_node_has_led_for_long() {
        let mut members: Vec<_> = five(&[], 0).members;
        members[3].last_contact_ms = None;
        let (status, settings) = (status(members), cleaning(3));
        let mut watched = seen(&status, &settings);
        assert_eq!(watched.healthy_since(4), None);
        assert_eq!(watched.dead(&status, &settings, NOW), None, "it may still come");
        watched.look(&status, &settings, NOW + 70_000);
        assert_eq!(watched.dead(&status, &settings, NOW + 70_000), Some(4));
        let next_term = Status { term: 2, ..status };
        watched.look(&next_term, &settings, NOW + 71_000);
        assert_eq!(
            watched.dead(&next_term, &settings, NOW + 71_000),
            None,
            "another term begins anew"
        );
    }

    #[test]
    fn learners_vote_once_they_caught_up_and_were_stable() {
        let steady = Settings {
            server_stabilization_time: 10_000,
            ..Settings::default()
        };
        let with = |matched| {
            status(vec![
                member(1, true, None, 5000),
                member(2, false, Some(5), matched),
            ])
        };
        let near = with(4990);
        let mut watched = seen(&near, &steady);
        let nobody = BTreeSet::new();
        assert_eq!(watched.ready(&near, &steady, &nobody, NOW + 9_000), None);
        watched.look(&with(100), &steady, NOW + 9_500);
        watched.look(&near, &steady, NOW + 9_600);
        assert_eq!(
            watched.ready(&near, &steady, &nobody, NOW + 19_000),
            None,
            "it fell behind meanwhile"
        );
        assert_eq!(watched.ready(&near, &steady, &nobody, NOW + 19_600), Some(2));
        assert_eq!(
            watched.ready(&near, &steady, &BTreeSet::from([2]), NOW + 19_600),
            None
        );
        let at_once = Settings::default();
        assert_eq!(watched.ready(&near, &at_once, &nobody, NOW), Some(2));
        assert_eq!(watched.ready(&with(100), &at_once, &nobody, NOW), None);
    }

    #[test]
    fn tolerance_counts_what_is_healthy() {
        let settings = Settings::default();
        for (silent, left) in [(&[][..], 2), (&[5], 1), (&[4, 5], 0), (&[3, 4, 5], 0)] {
            let status = five(silent, 20_000);
            assert_eq!(
                seen(&status, &settings).failure_tolerance(&status),
                left,
                "{silent:?}"
            );
        }
    }
}
