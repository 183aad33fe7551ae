//! Courses of events that once went wrong, step by step: seeds mean something else whenever a plan is drawn in another way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_raft::Change;

use crate::history::{Action, Answer};
use crate::node::{Node, Order};
use crate::plan::Plan;
use crate::run::{Driver, Report, run_script};
use crate::world::EPOCH;

const LIMIT: Duration = Duration::from_secs(30);

/// A calm cluster of three that is led by its first node, which the others do not want to replace.
fn calm() -> Plan {
    Plan {
        size: 3,
        sealed: false,
        clients: 1,
        keys: 1,
        faults: Vec::new(),
        drift: 0,
        ..Plan::new(1, None)
    }
}

fn sound(report: &Report) {
    assert_eq!(report.findings, [""; 0], "{}", report.trace);
    // What a course of events asserts by itself counts as a failure of the simulation.
    assert_eq!(report.broken, [""; 0], "{}", report.trace);
}

/// The others, none of which stands for election.
fn others(run: &mut Driver) -> (Arc<Node>, Arc<Node>, Arc<Node>) {
    let nodes = run.present();
    for node in &nodes[1..] {
        run.tell(node, Order::Eligible(false), LIMIT).unwrap();
    }
    (
        Arc::clone(&nodes[0]),
        Arc::clone(&nodes[1]),
        Arc::clone(&nodes[2]),
    )
}

#[test]
fn a_leader_that_restarts_in_its_term_does_not_deny_what_it_took() {
    let mut plan = calm();
    // Over before anybody else leads.
    plan.timings.retry = Duration::from_millis(300);
    let report = run_script(plan, |run| {
        let (leader, origin, third) = others(run);
        let before = leader.state.view().applied().revision;
        let written = origin.order(Order::Write(Action::Insert));
        // The entry is in the leader's log and on its way to the third node; its origin hears no more of it.
        let last = leader.log.last();
        assert!(run.wait(LIMIT, |_| leader.log.last() > last));
        for node in [&leader, &third] {
            run.sim.partition(origin.host.as_str(), node.host.as_str());
        }
        let committed = |run: &Driver| {
            run.node(1)
                .is_some_and(|n| n.state.view().applied().revision > before)
        };
        assert!(run.wait(LIMIT, committed));
        // Nobody hurries to lead, so that the term stays what it was.
        leader.handler.unwilling.store(true, Ordering::Relaxed);
        run.darken(&leader);
        run.start(&leader);
        for node in [&leader, &third] {
            run.sim.release(origin.host.as_str(), node.host.as_str());
        }
        assert!(run.wait(LIMIT, |_| written.lock().is_some()));
        let history = run.world.history.lock();
        let told = history.operations[&1].ended.clone();
        assert!(
            matches!(told, Some((_, Answer::Applied(_) | Answer::Unknown))),
            "it is written, and its client was told {told:?}"
        );
    });
    sound(&report);
}

#[test]
fn a_log_that_ends_before_the_state_goes_on_behind_it() {
    let report = run_script(calm(), |run| {
        let (leader, follower, _) = others(run);
        run.tell(&follower, Order::Snapshot, LIMIT).unwrap();
        run.pass(Duration::from_secs(1));
        // The others commit what this one has not synced, and it applies it.
        follower.disk.slow_down(20_000);
        let before = follower.state.view().applied().revision;
        for _ in 0..20 {
            run.tell(&leader, Order::Write(Action::Insert), LIMIT).unwrap();
        }
        let applied = |run: &Driver| {
            let follower = run.node(2).unwrap();
            follower.state.view().applied().revision >= before + 20
        };
        assert!(run.wait(LIMIT, applied));
        run.darken(&follower);
        assert!(follower.log.unsynced() > 0);
        follower.log.lose_power(0);
        follower.state.lose_power(follower.state.unsynced());
        follower.disk.heal();
    });
    sound(&report);
}

#[test]
fn the_cluster_does_not_leap_to_a_time_that_only_its_leader_once_had() {
    let report = run_script(calm(), |run| {
        let nodes = run.present();
        let hand = |run: &mut Driver, to: u64| {
            let change = Order::Change(Change::Transfer { to: Some(to) });
            run.tell_leader(&change, LIMIT).unwrap();
            assert!(run.wait(LIMIT, |run| run.leader().is_some_and(|leader| leader.id == to)));
        };
        hand(run, 2);
        // It takes over with a wrong clock, which is put right at once.
        nodes[0].clock.set_offset(3_600_000);
        hand(run, 1);
        nodes[0].clock.set_offset(0);
        run.pass(Duration::from_secs(30));
    });
    sound(&report);
}

#[test]
fn a_leader_that_takes_over_with_a_wrong_clock_shows_the_clusters_time() {
    for offset in [3_600_000, -3_600_000] {
        let report = run_script(calm(), move |run| {
            let nodes = run.present();
            let (wrong, leader) = (&nodes[0], &nodes[1]);
            let hand = Order::Change(Change::Transfer { to: Some(leader.id) });
            run.tell_leader(&hand, LIMIT).unwrap();
            assert!(run.wait(LIMIT, |run| run.leader().is_some_and(|it| it.id == leader.id)));
            // It has heard what time it is.
            run.pass(Duration::from_secs(5));
            wrong.clock.set_offset(offset);
            leader.order(Order::Change(Change::Transfer { to: Some(wrong.id) }));
            let mut led = false;
            run.wait(LIMIT, |run| {
                led |= run.leader().is_some_and(|it| it.id == wrong.id);
                let time = EPOCH + u64::try_from(run.world.now().as_millis()).unwrap();
                for shown in nodes.iter().filter_map(|node| node.shows()) {
                    assert!(shown.abs_diff(time) < 30_000, "{shown} at {time}");
                }
                false
            });
            assert!(led, "the one with the wrong clock never led");
        });
        sound(&report);
    }
}

/// What it sends is lost, and what it hears keeps coming: the leader asks it whether it still follows.
#[test]
fn a_follower_that_hears_its_leader_and_is_not_heard_takes_another_stream() {
    let report = run_script(calm(), |run| {
        let (leader, follower, third) = others(run);
        for node in [&follower, &third] {
            run.tell(node, Order::Write(Action::Insert), LIMIT).unwrap();
        }
        run.sim
            .partition_oneway(follower.host.as_str(), leader.host.as_str());
        let until = run.world.now() + Duration::from_secs(3);
        while run.world.now() < until {
            run.tell(&third, Order::Write(Action::Read), LIMIT).unwrap();
        }
        run.sim
            .repair_oneway(follower.host.as_str(), leader.host.as_str());
        // That every member serves while all of them read is asked in the end, of every course of events.
    });
    sound(&report);
}

/// It is heard by all and hears nobody, however it came to lead: what it says must not keep the others from electing another.
#[test]
fn a_leader_that_hears_nobody_is_replaced() {
    let report = run_script(calm(), |run| {
        for round in 0..4 {
            let nodes = run.present();
            let leader = run.leader().unwrap();
            let others: Vec<_> = nodes.iter().filter(|node| node.id != leader.id).collect();
            for other in &others {
                run.sim
                    .partition_oneway(other.host.as_str(), leader.host.as_str());
            }
            let replaced = run.wait(LIMIT, |run| {
                others[round % 2].order(Order::Write(Action::Read));
                run.leader().is_some_and(|found| found.id != leader.id)
            });
            assert!(replaced, "round {round}: nobody else leads");
            for other in &others {
                run.sim.repair_oneway(other.host.as_str(), leader.host.as_str());
            }
            run.pass(Duration::from_secs(5));
        }
    });
    sound(&report);
}

/// It does not know that another leads: what it would show is older than what the other has acknowledged.
#[test]
fn a_leader_that_is_cut_off_shows_nothing() {
    let report = run_script(calm(), |run| {
        let nodes = run.present();
        let old = run.leader().unwrap();
        let others: Vec<_> = nodes.iter().filter(|node| node.id != old.id).collect();
        for other in &others {
            run.sim.partition(old.host.as_str(), other.host.as_str());
        }
        assert!(run.wait(LIMIT, |run| run.leader().is_some_and(|found| found.id != old.id)));
        let new = run.leader().unwrap();
        run.tell(&new, Order::Write(Action::Put(0)), LIMIT).unwrap();
        run.tell(&old, Order::Read, LIMIT).unwrap();
        for other in &others {
            run.sim.repair(old.host.as_str(), other.host.as_str());
        }
    });
    sound(&report);
}
