//! Ordinary traffic: people with working hours, services with a rhythm, pipelines that deploy in bursts. Everything is drawn
//! from the seed; now and then somebody works late, travels, mistypes a password or gets new duties.

use conclave_anomaly::{Act, Fact, Key, Millis};

use crate::random::Random;

pub const MINUTE: Millis = 60_000;
pub const HOUR: Millis = 60 * MINUTE;
pub const DAY: Millis = 24 * HOUR;
/// 2026-01-05T00:00:00Z, a Monday.
pub const START: Millis = 1_767_571_200_000;
/// Days of a run: ten in which everybody is new, and a month.
pub const DAYS: u64 = 40;
/// The first day on which something happens.
pub const FIRST: u64 = 10;
/// The mount of secrets, and that of logins.
pub const SECRETS: u32 = 7;
pub const LOGINS: u32 = 8;
/// How often a service asks.
const BEAT: Millis = 10 * MINUTE;
/// Networks of the office, of which everybody comes, and of the data centres.
const OFFICE: Key = 1 << 40;
const CENTRES: u64 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Person,
    Service,
    Pipeline,
}

/// Somebody.
pub struct Identity {
    pub key: Key,
    pub role: Role,
    /// Paths it reads.
    pub paths: Vec<Key>,
    /// Networks it comes from.
    pub networks: Vec<Key>,
    /// The hours of its day.
    pub begins: u64,
    pub ends: u64,
    /// Requests in ten minutes at its busiest.
    pub busy: f64,
    /// Whether it stops after a few days, for whoever takes it over.
    pub leaves: bool,
}

/// A keyed hash is as good as random.
pub fn hashed(random: &mut Random) -> Key {
    random.next().max(1)
}

/// 120 people, 60 services, 20 pipelines.
pub fn identities(random: &mut Random) -> Vec<Identity> {
    let shared: Vec<Key> = (0..400).map(|_| hashed(random)).collect();
    (0..200u64)
        .map(|n| {
            let role = match n {
                0..120 => Role::Person,
                120..180 => Role::Service,
                _ => Role::Pipeline,
            };
            let own = match role {
                Role::Person => random.within(4, 30),
                Role::Service => random.within(2, 12),
                Role::Pipeline => random.within(8, 50),
            };
            let path = |random: &mut Random| match random.chance(0.4) {
                true => shared[random.within(0, 400) as usize],
                false => hashed(random),
            };
            let networks = match role {
                Role::Person => (0..random.within(1, 3))
                    .map(|_| hashed(random))
                    .chain([OFFICE])
                    .collect(),
                _ => vec![OFFICE + 1 + random.within(0, CENTRES)],
            };
            Identity {
                key: hashed(random),
                role,
                paths: (0..own).map(|_| path(random)).collect(),
                networks,
                begins: random.within(6, 11),
                ends: random.within(15, 20),
                busy: match role {
                    Role::Person => random.scaled(2.0, 15.0),
                    Role::Service => random.scaled(5.0, 600.0),
                    Role::Pipeline => random.scaled(10.0, 100.0),
                },
                leaves: n < 4,
            }
        })
        .collect()
}

/// A month of them, in the order of time.
pub fn traffic(random: &mut Random, everybody: &mut [Identity]) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut deploys: Vec<Millis> = Vec::new();
    for day in (0..DAYS).filter(|day| day % 7 < 5) {
        for _ in 0..random.within(0, 4) {
            deploys.push(START + day * DAY + random.within(9 * 60, 17 * 60) * MINUTE);
        }
    }
    for who in everybody.iter_mut() {
        for day in 0..DAYS {
            if who.leaves && day >= 4 {
                break;
            }
            match who.role {
                Role::Person => person(random, who, day, &mut facts),
                Role::Service => service(random, who, day, &mut facts),
                Role::Pipeline => pipeline(random, who, day, &deploys, &mut facts),
            }
        }
    }
    restarts(random, everybody, &deploys, &mut facts);
    facts.sort_unstable_by_key(|fact| fact.at);
    facts
}

fn person(random: &mut Random, who: &mut Identity, day: u64, facts: &mut Vec<Fact>) {
    let weekend = day % 7 >= 5;
    if random.chance(if weekend { 0.995 } else { 0.08 }) {
        return;
    }
    // Now and then somebody takes over something, or travels.
    if random.chance(0.03) {
        for _ in 0..random.within(1, 5) {
            who.paths.push(hashed(random));
        }
    }
    let network = match random.chance(0.002) {
        true => hashed(random),
        false => who.networks[random.within(0, who.networks.len() as u64) as usize],
    };
    let late = if random.chance(0.01) {
        random.within(1, 4)
    } else {
        0
    };
    let mut at = START + day * DAY + who.begins * HOUR + random.within(0, 60) * MINUTE;
    let end = START + day * DAY + (who.ends + late) * HOUR;
    for _ in 0..if random.chance(0.05) {
        random.within(1, 4)
    } else {
        0
    } {
        facts.push(failure(who.key, network, at));
    }
    facts.push(fact(Act::Login, who, who.key, network, at, 1));
    while at < end {
        // A task: a few secrets, a list before them sometimes, a refusal once in a while.
        if random.chance(0.3) {
            facts.push(Fact {
                listed: random.within(3, 60) as u32,
                ..fact(Act::List, who, who.paths[0] ^ 1, network, at, 1)
            });
        }
        for _ in 0..random.within(1, 6) {
            let path = who.paths[random.within(0, who.paths.len() as u64) as usize];
            let count = 1 + (random.unit() * who.busy / 3.0) as u32;
            facts.push(fact(Act::Read, who, path, network, at, count));
            at += random.within(5, 60) * 1000;
        }
        if random.chance(0.02) {
            let count = random.within(1, 4) as u32;
            facts.push(fact(Act::Denied, who, hashed(random), network, at, count));
        }
        at += random.within(10, 90) * MINUTE;
    }
}

fn service(random: &mut Random, who: &Identity, day: u64, facts: &mut Vec<Fact>) {
    let network = who.networks[0];
    let mut at = START + day * DAY + random.within(0, 10) * MINUTE;
    while at < START + (day + 1) * DAY {
        let hour = at % DAY / HOUR;
        let rhythm = if (who.begins..who.ends).contains(&hour) && day % 7 < 5 {
            1.0
        } else {
            0.3
        };
        let count = who.busy * rhythm * (0.6 + 0.8 * random.unit());
        for _ in 0..2 {
            let path = who.paths[random.within(0, who.paths.len() as u64) as usize];
            facts.push(fact(Act::Read, who, path, network, at, 1 + (count / 2.0) as u32));
        }
        at += BEAT;
    }
}

/// A pipeline runs with each deployment: it reads most of what it knows.
fn pipeline(random: &mut Random, who: &Identity, day: u64, deploys: &[Millis], facts: &mut Vec<Fact>) {
    for at in deploys.iter().filter(|at| (**at - START) / DAY == day) {
        if random.chance(0.6) {
            let mut at = at + random.within(0, 10) * MINUTE;
            for path in &who.paths {
                if random.chance(0.8) {
                    let count = 1 + (random.unit() * who.busy / 10.0) as u32;
                    facts.push(fact(Act::Read, who, *path, who.networks[0], at, count));
                    at += random.within(1, 10) * 1000;
                }
            }
        }
    }
}

/// With a deployment services restart: they read all they know at once, several times.
fn restarts(random: &mut Random, everybody: &[Identity], deploys: &[Millis], facts: &mut Vec<Fact>) {
    for at in deploys {
        for who in everybody.iter().filter(|who| who.role == Role::Service) {
            if random.chance(0.3) {
                let mut at = at + random.within(5, 20) * MINUTE;
                for path in &who.paths {
                    let count = random.within(1, 6) as u32;
                    facts.push(fact(Act::Read, who, *path, who.networks[0], at, count));
                    at += random.within(1, 5) * 1000;
                }
            }
        }
    }
}

/// Requests of an identity.
pub fn fact(act: Act, who: &Identity, what: Key, source: Key, at: Millis, count: u32) -> Fact {
    Fact {
        who: who.key,
        what,
        source,
        mount: SECRETS,
        count,
        ..Fact::new(act, at)
    }
}

/// A login that failed.
pub fn failure(name: Key, source: Key, at: Millis) -> Fact {
    Fact {
        who: name ^ 0xff,
        source,
        mount: LOGINS,
        ..Fact::new(Act::LoginFailed, at)
    }
}
