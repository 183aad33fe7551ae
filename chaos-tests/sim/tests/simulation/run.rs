//! One run of one seed: form a cluster, let clients work while things go wrong, heal, see that it serves, judge.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::{Duration, UNIX_EPOCH};

use conclave_chaos_chance::seed_this_thread;
use conclave_raft::Change;
use conclave_raft::state::{ChangeSet, Changes, View};
use turmoil::Sim;

use crate::dice::Dice;
use crate::history::{Answer, all_inserted, inserter};
use crate::invariants::{Whole, judge};
use crate::node::{Node, Order, Reply, record};
use crate::plan::Plan;
use crate::workload::see;
use crate::world::{EPOCH, World};

/// A healthy cluster forms within this simulated time.
const FORMING: Duration = Duration::from_secs(60);
/// A healed one serves on every node within this time.
const HEALING: Duration = Duration::from_secs(60);
/// What became of every operation is known within this time of its begin.
const SETTLING: Duration = Duration::from_secs(40);

/// What came of a run.
pub struct Report {
    pub seed: u64,
    /// What must not be; empty when all is well.
    pub findings: Vec<String>,
    /// What the simulation itself got wrong; says nothing about the product.
    pub broken: Vec<String>,
    pub faults: BTreeMap<&'static str, u64>,
    pub operations: u64,
    /// Operations that a client was told succeeded.
    pub acknowledged: u64,
    pub compared: u64,
    pub simulated: Duration,
    /// How long it took until every member served, once all was put right.
    pub healed_in: Duration,
    pub hash: u64,
    pub lines: u64,
    pub trace: String,
}

/// Runs a plan on a thread of its own, so that nothing a thread remembers can matter.
pub fn run(plan: Plan) -> Report {
    let run = std::thread::Builder::new().name(format!("seed-{}", plan.seed));
    let torment: Script = Box::new(|run: &mut Driver| run.torment(run.world.plan.work));
    run.spawn(move || run_here(plan, torment))
        .unwrap()
        .join()
        .unwrap()
}

/// Forms a cluster, does what the script says, and heals and judges it as any other.
pub fn run_script(plan: Plan, script: impl FnOnce(&mut Driver) + Send + 'static) -> Report {
    std::thread::spawn(move || run_here(plan, Box::new(script)))
        .join()
        .unwrap()
}

/// Where the simulation's own source lies.
pub const HARNESS: &str = "chaos-tests/sim";

thread_local!(static FIRST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) });

/// Where this thread panicked first, and why: what comes after follows from it.
fn first_panic() -> Option<String> {
    FIRST_PANIC.take()
}

/// From here on each thread knows where it panicked: in the product or in the simulation.
fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let at = panic.location().map_or(String::new(), ToString::to_string);
            let why = panic.payload_as_str().unwrap_or_default();
            FIRST_PANIC.with_borrow_mut(|first| {
                first.get_or_insert_with(|| format!("{at}: {why}"));
            });
            before(panic);
        }));
    });
}

type Script = Box<dyn FnOnce(&mut Driver) + Send>;

fn run_here(plan: Plan, script: Script) -> Report {
    remember_panics();
    let seed = plan.seed;
    seed_this_thread(seed);
    let world = World::new(plan);
    let mut driver = Driver::new(Arc::clone(&world));
    let driven = catch_unwind(AssertUnwindSafe(|| driver.drive(script)));
    if let Err(panic) = driven {
        // A runtime in which a task has panicked does not always come to an end.
        std::mem::forget(driver);
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_default();
        match first_panic() {
            Some(first) if first.contains(HARNESS) => world.broke(format!("panic at {first}")),
            Some(first) => world.found(format!("panic: at {first}")),
            None => world.found(format!("panic: {text}")),
        }
    }
    let history = world.history.lock();
    let acknowledged = |answer: &Answer| matches!(answer, Answer::Applied(_) | Answer::Read(_));
    let ended = history
        .operations
        .values()
        .filter_map(|operation| operation.ended.as_ref());
    let trace = world.trace.lock();
    Report {
        seed,
        findings: world.findings(),
        broken: world.broken(),
        faults: world.faults(),
        operations: history.operations.len() as u64 + world.ledger.operations(),
        acknowledged: ended.filter(|(_, answer)| acknowledged(answer)).count() as u64
            + world.ledger.acknowledged(),
        compared: world.invariants.lock().state.compared(),
        simulated: world.now(),
        healed_in: *world.healed_in.lock(),
        hash: trace.hash(),
        lines: trace.lines(),
        trace: trace.text().to_owned(),
    }
}

pub struct Driver {
    pub world: Arc<World>,
    pub sim: Sim<'static>,
    pub dice: Dice,
    /// All machines there ever were, by number from 1.
    pub nodes: Vec<Arc<Node>>,
    /// Machines that left the cluster for good.
    pub gone: Vec<u64>,
    /// Time that passed in the dark so far, in milliseconds.
    pub dark: i64,
    /// Whether everything is put right.
    pub healed: bool,
    dir: tempfile::TempDir,
    shown: BTreeMap<u64, (u64, Option<u64>, bool)>,
}

impl Driver {
    fn new(world: Arc<World>) -> Self {
        let plan = &world.plan;
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(plan.seed)
            .epoch(UNIX_EPOCH + Duration::from_millis(EPOCH))
            .tick_duration(plan.tick)
            .min_message_latency(plan.latency.0)
            .max_message_latency(plan.latency.1)
            .simulation_duration(Duration::from_secs(3600))
            .tcp_capacity(1024);
        if plan.random_order {
            builder.enable_random_order();
        }
        Self {
            sim: builder.build(),
            dice: plan.dice().fork(1),
            nodes: Vec::new(),
            gone: Vec::new(),
            dark: 0,
            healed: false,
            dir: scratch(),
            shown: BTreeMap::new(),
            world,
        }
    }

    fn drive(&mut self, script: Script) {
        let plan = self.world.plan.clone();
        self.world.note(format_args!("{plan:?}"));
        if !self.form(plan.size) {
            // What the product did wrong on the way is a finding, and why it went no further.
            if self.world.is_sound() {
                self.world.broke("the cluster does not form".to_owned());
            }
            return;
        }
        script(self);
        self.heal();
        self.world.working.store(true, Ordering::Relaxed);
        self.world.note(format_args!("healed"));
        if !self.serves() || !self.settles() {
            return;
        }
        self.judge();
    }

    /// One tick of everything.
    pub fn step(&mut self) {
        self.tick();
        self.world.database.work(self.world.now());
        for node in self.nodes.clone() {
            self.look(&node);
            self.compare_clocks(&node);
            self.bury(&node);
        }
    }

    fn tick(&mut self) {
        if let Err(error) = self.sim.step() {
            self.world.broke(format!("a step: {error}"));
        }
        self.world.set_now(self.sim.elapsed());
    }

    fn look(&mut self, node: &Node) {
        let Some(status) = node.status() else { return };
        let new = (status.term, status.leader, status.is_leader);
        if self.shown.insert(node.id, new) != Some(new) {
            let (term, leader, leads) = new;
            self.world.note(format_args!(
                "n{} term {term} leader {leader:?} leads {leads}",
                node.id
            ));
            if leads {
                self.world.fired("leader elected");
                self.world.check(|all| all.election.granted(term, node.id));
            }
        }
    }

    /// What a follower shows and what its leader shows.
    fn compare_clocks(&self, node: &Node) {
        let (Some(status), Some(now)) = (node.status(), node.shows()) else {
            return;
        };
        let heard = status
            .leader
            .filter(|leader| *leader != node.id)
            .and_then(|leader| {
                let leader = self.node(leader)?;
                let leads = leader.status()?;
                (leads.is_leader && leads.term == status.term).then_some((
                    leads.term,
                    leader.id,
                    leader.shows()?,
                ))
            });
        let at = self.world.now();
        self.world.check(|all| all.clock.follows(at, node.id, now, heard));
    }

    /// A process that must end ends at once.
    fn bury(&mut self, node: &Arc<Node>) {
        let Some(reason) = node.fatal.lock().take() else {
            return;
        };
        self.world.note(format_args!("n{} must stop: {reason}", node.id));
        if node.set_back.load(Ordering::Relaxed) && reason.contains("rejoin under a new id") {
            self.gone.push(node.id);
        }
        let expected = reason.contains("EIO");
        if !expected && !self.gone.contains(&node.id) {
            self.world
                .found(format!("node {} stopped itself: {reason}", node.id));
        }
        self.kill(node);
        if self.healed && expected {
            self.start(node);
        }
    }

    /// Ends a process at once; its machine stays.
    pub fn kill(&mut self, node: &Node) {
        *node.running.lock() = None;
        if let Some(wires) = node.wires.lock().take() {
            wires.end();
            self.tick();
        }
        self.crash(node);
    }

    /// Ends a process without a word to anybody.
    pub fn crash(&mut self, node: &Node) {
        *node.running.lock() = None;
        *node.wires.lock() = None;
        self.sim.crash(node.host.as_str());
    }

    /// Starts a process where none runs.
    pub fn start(&mut self, node: &Arc<Node>) {
        if !self.sim.is_host_running(node.host.as_str()) {
            self.sim.bounce(node.host.as_str());
        }
    }

    /// Steps until something is so; false if it is not within `limit`.
    pub fn wait(&mut self, limit: Duration, mut met: impl FnMut(&Self) -> bool) -> bool {
        let end = self.world.now() + limit;
        while !met(self) {
            if self.world.now() >= end || !self.world.is_sound() {
                return false;
            }
            self.step();
        }
        true
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.world.now() + time;
        self.wait(time, |run| run.world.now() >= end);
    }

    /// Gives an order and waits for what becomes of it.
    pub fn tell(&mut self, node: &Node, order: Order, limit: Duration) -> Result<u64, String> {
        let reply: Reply = node.order(order);
        self.wait(limit, |_| reply.lock().is_some());
        let told = reply.lock().take();
        told.unwrap_or_else(|| Err("no answer in time".to_owned()))
    }

    /// Tells whoever leads, again while it fails, as long as `limit`.
    pub fn tell_leader(&mut self, order: &Order, limit: Duration) -> Option<u64> {
        let end = self.world.now() + limit;
        while self.world.now() < end && self.world.is_sound() {
            let left = end.saturating_sub(self.world.now());
            if let Some(leader) = self.leader()
                && let Ok(told) = self.tell(&leader, order.clone(), left)
            {
                return Some(told);
            }
            self.pass(Duration::from_millis(50));
        }
        None
    }

    pub fn leader(&self) -> Option<Arc<Node>> {
        let leads = |node: &&Arc<Node>| node.status().is_some_and(|status| status.is_leader);
        let newest = self
            .nodes
            .iter()
            .filter(leads)
            .max_by_key(|node| node.status().map(|s| s.term));
        newest.cloned()
    }

    /// Machines that belong to the cluster, or are on their way into it.
    pub fn present(&self) -> Vec<Arc<Node>> {
        let present = self.nodes.iter().filter(|node| !self.gone.contains(&node.id));
        present.cloned().collect()
    }

    pub fn node(&self, id: u64) -> Option<Arc<Node>> {
        self.nodes.iter().find(|node| node.id == id).cloned()
    }

    fn form(&mut self, size: usize) -> bool {
        self.add(1);
        self.world.check(|all| all.identities.allotted(1, 1));
        let Some(first) = self.node(1) else { return false };
        self.wait(FORMING, |_| first.is_running());
        if let Err(error) = self.tell(&first, Order::Found, FORMING) {
            self.world.note(format_args!("not founded: {error}"));
            return false;
        }
        let joined = (1..size).all(|_| self.join(FORMING).is_some());
        joined && (!self.world.plan.vault || self.found_vault())
    }

    /// Registers, starts, adds and promotes a new machine; its id. What was begun is finished by `serves`.
    pub fn join(&mut self, limit: Duration) -> Option<u64> {
        let number = self.nodes.len() as u64 + 1;
        let id = self.tell_leader(&Order::Register(record(number)), limit)?;
        self.world.check(|all| all.identities.allotted(id, number));
        if !self.world.is_sound() {
            return None;
        }
        self.add(id);
        let voter = self.admit(id, limit);
        voter.then_some(id)
    }

    /// Makes a registered machine a voter.
    pub fn admit(&mut self, id: u64, limit: Duration) -> bool {
        [Change::AddLearner { node: id }, Change::Promote { node: id }]
            .into_iter()
            .all(|change| {
                self.tell_leader(&Order::Change(change), limit).is_some() && {
                    self.world.fired("membership changed");
                    true
                }
            })
    }

    /// A machine with the next number, with what a join would have told it.
    fn add(&mut self, id: u64) {
        let record = record(self.nodes.len() as u64 + 1);
        let contacts = self.present();
        let contacts = contacts
            .iter()
            .map(|node| (node.id, node.record.clone()))
            .collect();
        let dir = self.dir.path().join(id.to_string());
        let node = Arc::new(Node::new(&self.world, id, record, dir, contacts));
        node.clock.pass_dark(self.dark);
        self.nodes.push(Arc::clone(&node));
        let world = Arc::clone(&self.world);
        self.sim.host(node.host.clone(), move || {
            let (node, world) = (Arc::clone(&node), Arc::clone(&world));
            node.run(world)
        });
    }

    /// Liveness: with all faults gone, every member serves.
    fn serves(&mut self) -> bool {
        let from = self.world.event();
        let end = self.world.now() + HEALING;
        // Whoever was on the way in or out when the faults ended arrives first.
        for node in self.present() {
            let left = end.saturating_sub(self.world.now());
            if !self.is_voter(node.id) && !self.admit(node.id, left) {
                self.stuck(&format!("node {} does not become a voter", node.id));
                return false;
            }
        }
        let members = self.present();
        if self.world.plan.vault && !self.open_all(end.saturating_sub(self.world.now())) {
            self.stuck("shares do not open every member");
            return false;
        }
        let left = end.saturating_sub(self.world.now());
        let served = self.wait(left, |run| {
            if run.world.plan.vault {
                return members
                    .iter()
                    .all(|node| run.world.ledger.has_served(node.id, from));
            }
            let history = run.world.history.lock();
            members.iter().all(|node| {
                let mut kinds = [false; 2];
                for operation in history
                    .operations
                    .values()
                    .filter(|o| o.node == node.id && o.began > from)
                {
                    match operation.ended {
                        Some((_, Answer::Applied(_))) => kinds[0] = true,
                        Some((_, Answer::Read(_))) => kinds[1] = true,
                        _ => {}
                    }
                }
                kinds == [true, true]
            })
        });
        *self.world.healed_in.lock() = self.world.now() + HEALING - end;
        if !served {
            self.stuck("not every member serves");
        }
        served
    }

    fn is_voter(&self, id: u64) -> bool {
        let Some(status) = self.leader().and_then(|leader| leader.status()) else {
            return false;
        };
        status
            .members
            .iter()
            .any(|member| member.id == id && member.voter)
    }

    /// Clients stop; what became of all they did is known; all members have applied everything.
    fn settles(&mut self) -> bool {
        self.world.working.store(false, Ordering::Relaxed);
        self.pass(SETTLING.min(self.world.plan.timings.outcome + Duration::from_millis(200)) / 8);
        let members = self.present();
        let settled = self.wait(SETTLING, |run| {
            let Some(leader) = run.leader().and_then(|leader| leader.status()) else {
                return false;
            };
            members.iter().all(|node| {
                let status = node.status();
                status.is_some_and(|status| status.applied_index == leader.last_log_index)
            })
        });
        if !settled {
            self.stuck("the members do not agree on an end");
        }
        settled
    }

    pub fn stuck(&self, what: &str) {
        for node in self.present() {
            let status = node.status();
            self.world.note(format_args!("n{} {status:?}", node.id));
        }
        if self.world.is_sound() {
            self.world.found(format!("liveness: {what}"));
        }
    }

    fn judge(&mut self) {
        if self.world.plan.vault {
            return self.judge_vault();
        }
        let Some(node) = self.leader() else { return };
        let view = node.state.view();
        let changes = all_changes(&view);
        let seen = see(&view, self.world.plan.keys);
        let mut inserted = Vec::new();
        let (from, to) = all_inserted();
        view.rows()
            .scan(&from, Some(&to), &mut |key, _| {
                inserted.push(inserter(key));
                Ok(true)
            })
            .unwrap();
        let history = self.world.history.lock();
        let whole = Whole {
            history: &history,
            changes: &changes,
            seen: &seen,
            inserted: &inserted,
        };
        let found = judge(&whole);
        drop(history);
        for what in found {
            self.world.found(what);
        }
    }
}

fn all_changes(view: &View) -> Vec<ChangeSet> {
    let mut all: Vec<ChangeSet> = Vec::new();
    loop {
        let after = all.last().map_or(0, |set| set.revision);
        match view.changes(after, usize::MAX).unwrap() {
            Changes::Sets(sets) if sets.is_empty() => return all,
            Changes::Sets(sets) => all.extend(sets),
            Changes::Compacted => panic!("the change log is shorter than the run"),
        }
    }
}

/// In memory where there is such a place: runs sync many small files.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}
