//! What all parts of one run share: its time, its trace, what was observed and what was found wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::SimClock;
use crate::history::History;
use crate::invariants::Invariants;
use crate::plan::{Mutant, Plan};
use crate::trace::Trace;
use crate::vault::{Database, Ledger};

/// Unix milliseconds at which every run begins.
pub const EPOCH: u64 = 1_800_000_000_000;

pub struct World {
    pub plan: Plan,
    /// Simulated time since the start, in microseconds; moved by the driver between steps.
    now: AtomicU64,
    /// Numbers everything that is observed, so that "before" has a meaning within a step.
    events: AtomicU64,
    /// Whether clients work.
    pub working: AtomicBool,
    pub trace: Mutex<Trace>,
    pub history: Mutex<History>,
    pub invariants: Mutex<Invariants>,
    findings: Mutex<Vec<String>>,
    /// What the simulation itself got wrong: it says nothing about the product.
    broken: Mutex<Vec<String>>,
    /// What the clients of a vault share.
    pub ledger: Ledger,
    /// Where accounts of their leases are.
    pub database: Database,
    pub healed_in: Mutex<Duration>,
    /// The clocks of all machines.
    pub clocks: Mutex<Vec<Arc<SimClock>>>,
    /// How often each fault was effective.
    faults: Mutex<BTreeMap<&'static str, u64>>,
}

impl World {
    pub fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            plan,
            now: AtomicU64::new(0),
            events: AtomicU64::new(0),
            working: AtomicBool::new(false),
            trace: Mutex::default(),
            history: Mutex::default(),
            invariants: Mutex::default(),
            findings: Mutex::default(),
            broken: Mutex::default(),
            ledger: Ledger::default(),
            database: Database::default(),
            healed_in: Mutex::default(),
            clocks: Mutex::default(),
            faults: Mutex::default(),
        })
    }

    pub fn now(&self) -> Duration {
        Duration::from_micros(self.now.load(Ordering::Relaxed))
    }

    pub fn set_now(&self, now: Duration) {
        self.now
            .store(u64::try_from(now.as_micros()).unwrap(), Ordering::Relaxed);
    }

    /// The next event's number.
    pub fn event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.plan.mutant == Some(mutant)
    }

    /// Adds a line to the trace.
    pub fn note(&self, line: std::fmt::Arguments<'_>) {
        let now = self.now();
        self.trace.lock().line(now, line);
    }

    /// Bytes left a node. Each is counted, and written down on demand.
    pub fn wire(&self, node: u64, opened: bool, port: u16, size: usize) {
        let now = self.now();
        let mut trace = self.trace.lock();
        trace.mark(node << 32 | u64::from(port) << 8 | u64::from(opened));
        trace.mark(size as u64);
        if self.plan.wire {
            let way = if opened { "->" } else { "<-" };
            trace.line(now, format_args!("n{node} {way} {port} {size}"));
        }
    }

    /// Something that must never happen has happened.
    pub fn found(&self, what: String) {
        self.note(format_args!("FOUND {what}"));
        self.findings.lock().push(what);
    }

    /// The simulation itself has failed.
    pub fn broke(&self, what: String) {
        self.note(format_args!("BROKEN {what}"));
        self.broken.lock().push(what);
    }

    pub fn broken(&self) -> Vec<String> {
        self.broken.lock().clone()
    }

    pub fn findings(&self) -> Vec<String> {
        self.findings.lock().clone()
    }

    pub fn is_sound(&self) -> bool {
        self.findings.lock().is_empty() && self.broken.lock().is_empty()
    }

    /// How many wall clocks lately showed about `time`.
    pub fn clocks_that_showed(&self, time: u64) -> usize {
        let clocks = self.clocks.lock();
        let showed = |clock: &&Arc<SimClock>| clock.showed(time, Duration::from_secs(20), 60_000);
        clocks.iter().filter(showed).count()
    }

    /// A fault had an effect.
    pub fn fired(&self, fault: &'static str) {
        *self.faults.lock().entry(fault).or_default() += 1;
    }

    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.faults.lock().clone()
    }

    /// Looks at something with all invariants; what they object to is a finding.
    pub fn check(&self, look: impl FnOnce(&mut Invariants) -> Result<(), String>) {
        let looked = look(&mut self.invariants.lock());
        if let Err(what) = looked {
            self.found(what);
        }
    }
}
