//! Attacks: one of each kind a month, their rate, spread, stealth and start drawn from ranges. No number here is one of the
//! rules'. Strength scales how much is done.

use conclave_anomaly::{Act, Fact, Key, Millis};

use crate::random::Random;
use crate::world::{DAY, DAYS, FIRST, HOUR, Identity, MINUTE, Role, START, fact, failure, hashed};

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sort {
    /// Passwords are guessed for many names, from few or many networks.
    Spray,
    /// Passwords are guessed for one name.
    Guess,
    /// A stolen token reads whatever it reaches.
    Exfiltrate,
    /// Directories are walked through.
    Enumerate,
    /// Paths are tried that policies do not allow.
    Probe,
    /// Somebody else's token is used from elsewhere, for a little.
    Elsewhere,
    /// A person's token is used at night.
    Night,
    /// A token is used in a loop.
    Hammer,
    /// The account of somebody who left is used.
    Revenant,
    /// A canary is read.
    Canary,
}

pub const ALL: [Sort; 10] = [
    Sort::Spray,
    Sort::Guess,
    Sort::Exfiltrate,
    Sort::Enumerate,
    Sort::Probe,
    Sort::Elsewhere,
    Sort::Night,
    Sort::Hammer,
    Sort::Revenant,
    Sort::Canary,
];

/// One attack.
pub struct Attack {
    pub sort: Sort,
    pub facts: Vec<Fact>,
    /// Who is found by it: an identity, or nobody in particular.
    pub who: Key,
}

impl Attack {
    pub fn begins(&self) -> Millis {
        self.facts.first().map_or(0, |fact| fact.at)
    }

    pub fn ends(&self) -> Millis {
        self.facts.last().map_or(0, |fact| fact.at)
    }
}

/// One of each kind.
pub fn attacks(random: &mut Random, everybody: &[Identity], strength: f64) -> Vec<Attack> {
    ALL.into_iter()
        .map(|sort| attack(random, everybody, sort, strength))
        .collect()
}

/// A working hour of a working day of the month.
fn by_day(random: &mut Random) -> Millis {
    loop {
        let day = random.within(FIRST, DAYS - 1);
        if day % 7 < 5 {
            return START + day * DAY + random.within(9 * 60, 16 * 60) * MINUTE;
        }
    }
}

fn victim<'w>(random: &mut Random, everybody: &'w [Identity], roles: &[Role]) -> &'w Identity {
    loop {
        let who = &everybody[random.within(4, everybody.len() as u64) as usize];
        if roles.contains(&who.role) {
            return who;
        }
    }
}

/// From home, as often as the attacker sits beside the victim, or from elsewhere.
fn network(random: &mut Random, who: &Identity) -> Key {
    match random.chance(0.5) {
        true => who.networks[0],
        false => hashed(random),
    }
}

fn attack(random: &mut Random, everybody: &[Identity], sort: Sort, strength: f64) -> Attack {
    let mut facts = Vec::new();
    let who = match sort {
        Sort::Spray => spray(random, strength, &mut facts),
        Sort::Guess => guess(random, strength, &mut facts),
        Sort::Exfiltrate | Sort::Hammer | Sort::Probe | Sort::Enumerate => {
            much_of(random, everybody, sort, strength, &mut facts)
        }
        Sort::Elsewhere | Sort::Night | Sort::Revenant => {
            little_of(random, everybody, sort, strength, &mut facts)
        }
        Sort::Canary => {
            let anyone = [Role::Person, Role::Service, Role::Pipeline];
            let who = victim(random, everybody, &anyone);
            let source = network(random, who);
            let what = hashed(random);
            let at = by_day(random);
            facts.push(fact(Act::Canary, who, what, source, at, 1));
            who.key
        }
    };
    facts.retain(|fact| fact.at < START + DAYS * DAY);
    Attack { sort, facts, who }
}

fn much(random: &mut Random, strength: f64, from: f64, to: f64) -> u64 {
    (random.scaled(from, to) * strength).round().max(1.0) as u64
}

fn minutes(random: &mut Random, from: f64, to: f64) -> Millis {
    (random.scaled(from, to) * MINUTE as f64) as Millis
}

/// Passwords for many names.
fn spray(random: &mut Random, strength: f64, facts: &mut Vec<Fact>) -> Key {
    let count = much(random, strength, 120.0, 3000.0);
    let lasts = minutes(random, 3.0, 45.0);
    let networks = random.scaled(1.0, 60.0) as u64 + 1;
    let networks: Vec<Key> = (0..networks).map(|_| hashed(random)).collect();
    let at = START + random.within(FIRST * 24, (DAYS - 1) * 24) * HOUR;
    for n in 0..count {
        let source = networks[random.within(0, networks.len() as u64) as usize];
        facts.push(failure(hashed(random), source, at + n * lasts / count));
    }
    0
}

/// Passwords for one name.
fn guess(random: &mut Random, strength: f64, facts: &mut Vec<Fact>) -> Key {
    let count = much(random, strength, 30.0, 500.0);
    let lasts = minutes(random, 2.0, 15.0);
    let (at, name, source) = (by_day(random), hashed(random), hashed(random));
    (0..count).for_each(|n| facts.push(failure(name, source, at + n * lasts / count)));
    0
}

/// A stolen token does much of one thing.
fn much_of(
    random: &mut Random,
    everybody: &[Identity],
    sort: Sort,
    strength: f64,
    facts: &mut Vec<Fact>,
) -> Key {
    let anyone = [Role::Person, Role::Service, Role::Pipeline];
    let who = victim(random, everybody, &anyone);
    let at = by_day(random);
    let source = network(random, who);
    let (act, count, lasts) = match sort {
        Sort::Exfiltrate => (
            Act::Read,
            much(random, strength, 80.0, 800.0),
            minutes(random, 4.0, 120.0),
        ),
        Sort::Enumerate => (
            Act::List,
            much(random, strength, 60.0, 600.0),
            minutes(random, 2.0, 20.0),
        ),
        Sort::Probe => (
            Act::Denied,
            much(random, strength, 40.0, 400.0),
            minutes(random, 2.0, 15.0),
        ),
        _ => (Act::Read, 60, minutes(random, 8.0, 40.0)),
    };
    let each = match sort {
        Sort::Hammer => (random.scaled(8.0, 40.0) * strength * who.busy.max(20.0) / 5.0) as u32 + 1,
        _ => 1,
    };
    for n in 0..count {
        let what = match sort {
            Sort::Hammer => who.paths[n as usize % who.paths.len()],
            _ => hashed(random),
        };
        let listed = match sort {
            Sort::Enumerate => random.within(2, 40) as u32,
            _ => 0,
        };
        facts.push(Fact {
            listed,
            ..fact(act, who, what, source, at + n * lasts / count, each)
        });
    }
    who.key
}

/// A person's token does a little, where or when it never did.
fn little_of(
    random: &mut Random,
    everybody: &[Identity],
    sort: Sort,
    strength: f64,
    facts: &mut Vec<Fact>,
) -> Key {
    let who = match sort {
        Sort::Revenant => &everybody[random.within(0, 4) as usize],
        _ => victim(random, everybody, &[Role::Person]),
    };
    let (at, source) = match sort {
        Sort::Elsewhere => (by_day(random), hashed(random)),
        Sort::Night => {
            let day = random.within(FIRST + 7, DAYS - 1);
            (START + day * DAY + random.within(1, 5) * HOUR, who.networks[0])
        }
        _ => (
            START + random.within(36 * 24, (DAYS - 1) * 24) * HOUR,
            who.networks[0],
        ),
    };
    let count = much(random, strength, 8.0, 40.0);
    for n in 0..count {
        let what = who.paths[random.within(0, who.paths.len() as u64) as usize];
        facts.push(fact(Act::Read, who, what, source, at + n * 20_000, 1));
    }
    who.key
}
