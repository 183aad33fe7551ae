//! Each rule, with habits learned over simulated weeks and one thing out of the ordinary.

use std::sync::Arc;

use super::*;
use crate::finding::{Evidence, Subject};
use crate::key::Keyer;
use crate::rule::Severity;
use crate::zone::{Hours, Zone};

const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;
/// 2026-01-05T00:00:00Z, a Monday.
const START: Millis = 1_767_571_200_000;

struct World {
    detector: Detector,
    keyer: Keyer,
    found: Vec<Finding>,
}

impl World {
    fn new(rules: RuleSet) -> Self {
        Self {
            detector: Detector::new(Arc::new(rules)),
            keyer: Keyer::new(&[1; 16]),
            found: Vec::new(),
        }
    }

    fn key(&mut self, name: &str) -> Key {
        let key = self.keyer.key(0, &[name.as_bytes()]);
        self.detector.learn_name(key, name);
        key
    }

    fn fact(&mut self, act: Act, who: &str, what: &str, source: &str, at: Millis) -> Fact {
        Fact {
            who: self.key(who),
            what: self.key(what),
            source: self.key(source),
            mount: 7,
            ..Fact::new(act, at)
        }
    }

    fn observe(&mut self, fact: Fact) {
        self.detector.observe(1, &fact, &mut self.found);
    }

    /// Weeks of working days: at 9 to 16 o'clock ten secrets of the identity's own, and a list.
    fn work(&mut self, who: &str, weeks: u64) {
        for day in 0..weeks * 7 {
            if day % 7 >= 5 {
                continue;
            }
            for hour in 9..17 {
                let at = START + day * DAY + hour * HOUR;
                for n in 0..10 {
                    let fact = self.fact(
                        Act::Read,
                        who,
                        &format!("{who}/{n}"),
                        "10.0.0.0/24",
                        at + n * 20_000,
                    );
                    self.observe(fact);
                }
                let list = self.fact(Act::List, who, who, "10.0.0.0/24", at);
                self.observe(Fact { listed: 10, ..list });
            }
        }
    }

    /// What was found since the last look: rules, in order, without repetitions.
    fn rules(&mut self) -> Vec<Kind> {
        self.found.iter().for_each(evidence_is_documented);
        let mut kinds: Vec<Kind> = self
            .found
            .drain(..)
            .filter(|found| !found.again)
            .map(|found| found.kind)
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// People look up what an event's numbers mean.
fn evidence_is_documented(finding: &Finding) {
    let (_, document) = include_str!("../../../docs/anomalies.md")
        .split_once("### Evidence\n")
        .unwrap();
    let rule = format!("`{}`", finding.kind.name());
    let row = document.lines().find(|row| row.contains(&rule)).unwrap();
    for name in finding.evidence.keys() {
        assert!(row.contains(&format!("`{name}`")), "{name} of {rule}");
    }
}

/// Wednesday of the fifth week, at this hour.
fn later(hour: u64) -> Millis {
    START + 30 * DAY + hour * HOUR
}

fn learned() -> World {
    let mut world = World::new(RuleSet::default());
    world.work("ada", 4);
    assert_eq!(world.rules(), [], "habits are nothing unusual");
    world
}

#[test]
fn failures_spread_over_nodes_names_and_networks_are_one_burst() {
    let mut world = World::new(RuleSet::default());
    for n in 0..60u64 {
        let (name, network) = (format!("user-{n}"), format!("10.0.{}.0/24", n % 30));
        let fact = world.fact(Act::LoginFailed, &name, "", &network, START + n * 1000);
        world.detector.observe(n % 3 + 1, &fact, &mut world.found);
    }
    let found = &world.found;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].kind, found[0].subject),
        (Kind::AuthFailureBurst, Subject::Mount)
    );
    assert_eq!(found[0].evidence["nodes"], 3u64.into());
    assert_eq!(found[0].severity, Severity::High);
    assert!(
        found[0].explanation.contains("over 3 nodes"),
        "{}",
        found[0].explanation
    );
}

#[test]
fn the_numbers_of_a_burst_fit_together() {
    for count in 2..=60u64 {
        let mut rules = RuleSet::default();
        let mut rule = rules.rule(Kind::AuthFailureBurst).clone();
        rule.set("per_source", 1000.0).unwrap();
        rule.set("per_mount", count as f64).unwrap();
        rules.replace(rule);
        let mut world = World::new(rules);
        for n in 0..count {
            let fact = world.fact(
                Act::LoginFailed,
                &format!("user-{n}"),
                "",
                "10.0.0.0/24",
                START + n * 1000,
            );
            world.observe(fact);
        }
        let [found] = &world.found[..] else {
            panic!("{count}: {:?}", world.found);
        };
        let names = match found.evidence["different_names"] {
            Evidence::Count(names) => names,
            _ => panic!("{found:?}"),
        };
        assert!(names <= count, "{names} names of {count} failures");
        let told = format!(
            "{count} logins failed within 10 minutes, under {names} name{} from 1 network over 1 node",
            if names == 1 { "" } else { "s" }
        );
        assert_eq!(found.explanation, told);
    }
}

#[test]
fn one_network_or_one_name_is_a_burst_of_its_own() {
    let mut world = World::new(RuleSet::default());
    for n in 0..20u64 {
        let fact = world.fact(Act::BadToken, "", "", "203.0.113.0/24", START + n * 1000);
        world.observe(Fact { who: 0, ..fact });
    }
    assert_eq!(world.found.len(), 1);
    assert_eq!(
        (world.found[0].subject, world.found[0].name.as_str()),
        (Subject::Network, "203.0.113.0/24")
    );
    world.found.clear();
    for n in 0..10u64 {
        let fact = world.fact(
            Act::LoginFailed,
            "ada",
            "",
            &format!("net-{n}"),
            START + 2 * HOUR + n * 1000,
        );
        world.observe(fact);
    }
    assert_eq!((world.found.len(), world.found[0].name.as_str()), (1, "ada"));
}

#[test]
fn more_secrets_than_usual() {
    let mut world = learned();
    for n in 0..40 {
        let fact = world.fact(
            Act::Read,
            "ada",
            &format!("other/{n}"),
            "10.0.0.0/24",
            later(10) + n * 1000,
        );
        world.observe(fact);
    }
    assert_eq!(world.rules(), [Kind::BulkRead, Kind::FirstUseOfPath]);
    for n in 0..40 {
        let fact = world.fact(
            Act::Read,
            "new",
            &format!("other/{n}"),
            "10.0.0.0/24",
            later(10) + n * 1000,
        );
        world.observe(fact);
    }
    assert_eq!(world.rules(), [], "nothing is usual yet for whoever is new");
    for n in 0..200 {
        let fact = world.fact(
            Act::Read,
            "new",
            &format!("all/{n}"),
            "10.0.0.0/24",
            later(10) + n * 1000,
        );
        world.observe(fact);
    }
    assert_eq!(
        world.rules(),
        [Kind::BulkRead],
        "but not everything is allowed either"
    );
}

#[test]
fn more_requests_refusals_and_lists_than_usual() {
    let mut world = learned();
    let read = world.fact(Act::Read, "ada", "ada/1", "10.0.0.0/24", later(10));
    world.observe(Fact { count: 500, ..read });
    assert_eq!(world.rules(), [Kind::TrafficSpike]);
    let denied = world.fact(Act::Denied, "ada", "x", "10.0.0.0/24", later(11));
    world.observe(Fact { count: 20, ..denied });
    assert_eq!(world.rules(), [Kind::DeniedSpike]);
    for n in 0..25 {
        let list = world.fact(
            Act::List,
            "ada",
            &format!("dir-{n}"),
            "10.0.0.0/24",
            later(12) + n,
        );
        world.observe(list);
    }
    assert_eq!(world.rules(), [Kind::WideList]);
}

#[test]
fn another_network_another_hour_and_a_long_silence() {
    let mut world = learned();
    let fact = world.fact(Act::Read, "ada", "ada/1", "198.51.100.0/24", later(10));
    world.observe(fact);
    assert_eq!(world.rules(), [Kind::NewSourceNetwork]);
    for n in 0..4 {
        let fact = world.fact(Act::Read, "ada", "ada/1", "10.0.0.0/24", later(3) + DAY + n);
        world.observe(fact);
    }
    assert_eq!(world.rules(), [Kind::OffHoursAccess]);
    let fact = world.fact(Act::Read, "ada", "ada/1", "10.0.0.0/24", later(10) + 40 * DAY);
    world.observe(fact);
    assert_eq!(world.rules(), [Kind::DormantIdentity]);
}

#[test]
fn a_network_of_everybody_is_nothing_new() {
    let mut world = World::new(RuleSet::default());
    for who in ["ada", "bob", "cyd", "dan"] {
        world.work(who, 4);
    }
    for who in ["bob", "cyd", "dan"] {
        let fact = world.fact(Act::Read, who, "x", "office", later(9));
        world.observe(fact);
    }
    world.found.clear();
    let fact = world.fact(Act::Read, "ada", "ada/1", "office", later(10));
    world.observe(fact);
    assert_eq!(world.rules(), []);
}

#[test]
fn working_hours_that_somebody_named() {
    let mut rules = RuleSet::default();
    let mut rule = rules.rule(Kind::OffHoursAccess).clone();
    rule.hours = Some(Hours::parse("mon-fri 7-19").unwrap());
    rule.set("min", 1.0).unwrap();
    rules.replace(rule);
    rules.settings.zone = Zone::parse("+01:00").unwrap();
    let mut world = World::new(rules);
    let fact = world.fact(Act::Read, "ada", "x", "n", START + 6 * HOUR);
    world.observe(fact);
    assert_eq!(world.rules(), [], "seven o'clock there");
    let fact = world.fact(Act::Read, "ada", "x", "n", START + 18 * HOUR);
    world.observe(fact);
    assert_eq!(world.rules(), [Kind::OffHoursAccess]);
}

#[test]
fn canaries_and_what_rules_do_not_cover() {
    let mut world = World::new(RuleSet::default());
    for what in ["honey", "honey", "other"] {
        let fact = world.fact(Act::Canary, "ada", what, "n", START);
        world.observe(fact);
    }
    let found = std::mem::take(&mut world.found);
    assert_eq!(found.len(), 2, "each canary is one thing: {found:?}");
    assert_eq!(
        (found[0].severity, found[0].name.as_str()),
        (Severity::Critical, "ada")
    );
    assert!(found[0].explanation.contains("honey"));
    let mut rules = RuleSet::default();
    let mut rule = rules.rule(Kind::CanaryRead).clone();
    rule.scope.mounts.insert(9);
    rules.replace(rule);
    world.detector.set_rules(Arc::new(rules));
    let fact = world.fact(Act::Canary, "bob", "honey", "n", START);
    world.observe(fact);
    assert_eq!(world.rules(), []);
}

#[test]
fn a_new_leader_knows_what_the_old_one_learned() {
    let mut world = learned();
    let summary = Summary {
        boot: 3,
        number: 5,
        ..Summary::default()
    };
    assert!(world.detector.take(2, &summary, &mut world.found));
    let mut next = Detector::new(Arc::default());
    for part in world.detector.take_saved(usize::MAX) {
        next.restore(&part.name, &part.bytes).unwrap();
    }
    assert!(
        !next.take(2, &summary, &mut world.found),
        "it was taken in before"
    );
    world.detector = next;
    let status = world.detector.status(later(10));
    assert_eq!((status.identities, status.learned), (1, 1));
    for n in 0..40 {
        let fact = world.fact(
            Act::Read,
            "ada",
            &format!("other/{n}"),
            "10.0.0.0/24",
            later(10) + n * 1000,
        );
        world.observe(fact);
    }
    assert_eq!(world.rules(), [Kind::BulkRead, Kind::FirstUseOfPath]);
    let who = world.key("ada");
    let view = world.detector.profile(who, later(10)).unwrap();
    assert_eq!((view.days_seen, view.networks.len()), (21, 1));
    assert_eq!(view.hours, (9..17).collect::<Vec<u8>>());
    assert!(world.detector.restore("p-1", &[9]).is_err());
    assert!(world.detector.restore("rest", &[1, 2]).is_err());
}

#[test]
fn parts_that_were_not_kept_are_taken_again() {
    let mut world = learned();
    let parts = world.detector.take_saved(usize::MAX);
    assert!(parts.len() > 1);
    assert_eq!(world.detector.take_saved(usize::MAX), []);
    world.detector.not_saved(&parts);
    let names = |parts: Vec<Saved>| parts.into_iter().map(|part| part.name).collect::<Vec<_>>();
    assert_eq!(names(world.detector.take_saved(usize::MAX)), names(parts));
}
