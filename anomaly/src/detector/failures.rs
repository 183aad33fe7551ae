//! Failures to say who one is. Whoever fails chooses names and addresses, so they are counted in sketches of a fixed size;
//! mounts are few and counted exactly.

use std::collections::{BTreeSet, HashMap};

use crate::fact::Fact;
use crate::sketch::{CountMin, HyperLogLog};

/// Cells of a row; with 4 rows of 2 bytes and four sketches: 256 KB.
const WIDTH: usize = 8192;
/// Most mounts that are told apart.
const MAX_MOUNTS: usize = 1024;
/// Most nodes that are named.
const MAX_NODES: usize = 16;
/// By how much a peak grows at most while the rule says that it is not usual.
const RELUCTANCE: f32 = 1.05;

/// Number of a namespace, and of a mount in it.
pub type Place = (u32, u32);

struct Half {
    sources: CountMin,
    names: CountMin,
    mounts: HashMap<Place, AtMount>,
}

/// What failed at one mount.
#[derive(Default, Clone)]
pub struct AtMount {
    pub count: u32,
    names: HyperLogLog,
    sources: HyperLogLog,
    pub nodes: BTreeSet<u64>,
    found: bool,
}

/// Failures of a window.
#[derive(Default)]
pub struct Failures {
    index: u64,
    now: Half,
    before: Half,
    /// The most that failed at a mount in a window.
    pub peaks: HashMap<Place, f32>,
}

/// How often it failed within the window.
pub struct Counts {
    pub of_source: u32,
    pub of_name: u32,
    pub of_mount: u32,
    /// Different names, networks and nodes of the mount. The first two are estimates, and never more than what failed.
    pub names: u32,
    pub sources: u32,
    pub nodes: u32,
}

impl Default for Half {
    fn default() -> Self {
        Self {
            sources: CountMin::new(WIDTH, u16::MAX),
            names: CountMin::new(WIDTH, u16::MAX),
            mounts: HashMap::new(),
        }
    }
}

impl Failures {
    /// Moves on to the half with this index, and learns how much failed at most.
    pub fn move_to(&mut self, index: u64) {
        if index <= self.index {
            return;
        }
        self.learn();
        std::mem::swap(&mut self.now, &mut self.before);
        let follows = self.index + 1 == index;
        self.index = index;
        self.now.clear();
        if !follows {
            self.before.clear();
        }
    }

    fn learn(&mut self) {
        for (place, now) in &self.now.mounts {
            let before = self.before.mounts.get(place);
            let count = now.count.saturating_add(before.map_or(0, |before| before.count)) as f32;
            let found = now.found || before.is_some_and(|before| before.found);
            let peak = self.peaks.entry(*place).or_insert(0.0);
            let most = if found { *peak * RELUCTANCE } else { count };
            *peak = peak.max(count.min(most));
        }
    }

    /// A day passed: peaks fade.
    pub fn fade(&mut self) {
        const LEFT: f32 = 0.977;
        self.peaks.values_mut().for_each(|peak| *peak *= LEFT);
    }

    /// Takes in failures that a node saw. How many there are within the window by now.
    pub fn add(&mut self, node: u64, fact: &Fact) -> Counts {
        let place = (fact.namespace, fact.mount);
        let now = &mut self.now;
        let of_source = match fact.source {
            0 => 0,
            key => u32::from(now.sources.add(key, fact.count)) + u32::from(self.before.sources.count(key)),
        };
        let of_name = match fact.who {
            0 => 0,
            key => u32::from(now.names.add(key, fact.count)) + u32::from(self.before.names.count(key)),
        };
        let strange = now.mounts.len() >= MAX_MOUNTS && !now.mounts.contains_key(&place);
        let mount = now
            .mounts
            .entry(if strange { (0, 0) } else { place })
            .or_default();
        mount.count = mount.count.saturating_add(fact.count);
        mount.names.add(fact.who);
        mount.sources.add(fact.source);
        if mount.nodes.len() < MAX_NODES {
            mount.nodes.insert(node);
        }
        let none = AtMount::default();
        let before = self.before.mounts.get(&place).unwrap_or(&none);
        let of_mount = mount.count.saturating_add(before.count);
        let nodes = mount.nodes.union(&before.nodes).count();
        Counts {
            of_source,
            of_name,
            of_mount,
            names: mount.names.count_with(&before.names).min(of_mount),
            sources: mount.sources.count_with(&before.sources).min(of_mount),
            nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
        }
    }

    /// What failed at a mount is unusual: no example of what is usual.
    pub fn found(&mut self, place: Place) {
        if let Some(mount) = self.now.mounts.get_mut(&place) {
            mount.found = true;
        }
    }
}

impl Half {
    fn clear(&mut self) {
        if self.sources.load() > 0.0 || self.names.load() > 0.0 {
            self.sources.clear();
            self.names.clear();
        }
        self.mounts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::Act;
    use crate::key::Keyer;

    #[test]
    fn failures_are_counted_by_source_name_and_mount_over_all_nodes() {
        let mut failures = Failures::default();
        failures.move_to(10);
        let mut last = None;
        for n in 0..60u64 {
            let spread = |n: u64| Keyer::new(&[1; 16]).key(0, &[&n.to_be_bytes()]);
            let fact = Fact {
                who: spread(n),
                source: spread(n % 2),
                mount: 4,
                ..Fact::new(Act::LoginFailed, 0)
            };
            last = Some(failures.add(n % 3 + 1, &fact));
        }
        let counts = last.unwrap();
        assert_eq!(
            (counts.of_mount, counts.of_source, counts.of_name, counts.nodes),
            (60, 30, 1, 3)
        );
        assert!((55..=65).contains(&counts.names));
        failures.move_to(11);
        failures.move_to(12);
        assert!((failures.peaks[&(0, 4)] - 60.0).abs() < 0.1);
        failures.move_to(20);
        let fact = Fact {
            mount: 4,
            ..Fact::new(Act::BadToken, 0)
        };
        assert_eq!(failures.add(1, &fact).of_mount, 1);
    }
}
