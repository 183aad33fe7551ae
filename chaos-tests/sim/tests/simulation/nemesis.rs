//! What goes wrong, and when it ends.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_raft::Change;
use conclave_raft::state::registered_node;

use crate::node::{Node, Order};
use crate::plan::Fault;
use crate::run::Driver;

/// How a fault ends.
#[derive(Debug, Clone)]
enum End {
    Link(u64, u64),
    Latency(u64, u64),
    Start(u64),
    Disk(u64),
    Willing(u64),
    Promote(u64),
}

/// Orders given in the middle of faults are not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(4);
/// What is waited for where nothing else is wrong.
const ENOUGH: Duration = Duration::from_secs(30);
/// Most milliseconds that work takes on a disk that is far behind.
const BEHIND: u64 = 1_000;
/// Most machines in a run.
const MAX_NODES: usize = 8;

impl Driver {
    /// Lets things go wrong for a while.
    pub fn torment(&mut self, time: Duration) {
        self.world.working.store(true, Ordering::Relaxed);
        if self.world.plan.sealed {
            self.world.fired("all sealed");
            self.seal_all();
        }
        if self.world.plan.vault {
            self.world.database.calm.store(false, Ordering::Relaxed);
            // In each of them, for few draw it as a fault.
            self.rotate_key::<End>();
        }
        let end = self.world.now() + time;
        let mut ends: Vec<(Duration, End)> = Vec::new();
        while self.world.now() < end && self.world.is_sound() {
            let calm = self.dice.millis(20, self.world.plan.calm);
            self.pass(calm);
            let now = self.world.now();
            let (over, still): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(at, _)| *at <= now);
            ends = still;
            for (_, over) in over {
                self.end(&over);
            }
            if self.world.plan.vault && self.dice.percent(40) {
                self.open_some();
            }
            if let Some(fault) = self.dice.pick(&self.world.plan.faults.clone()) {
                let lasting = self.dice.millis(100, 5_000);
                self.world.note(format_args!("fault {fault:?} for {lasting:?}"));
                let begun = self.begin(fault);
                ends.extend(begun.into_iter().map(|end| (now + lasting, end)));
            }
        }
    }

    /// Makes something go wrong; how it ends.
    fn begin(&mut self, fault: Fault) -> Vec<End> {
        let ends = match fault {
            Fault::Split => self.split(),
            Fault::OneWay => self.one_way(),
            Fault::IsolateLeader => self.isolate_leader(),
            Fault::Hold => self.hold(),
            Fault::Kill => self.kill_one(),
            Fault::PowerLoss => self.power_loss(),
            Fault::Blackout => self.blackout(),
            Fault::Restart => self.restart(),
            Fault::SlowLink => self.slow_link(),
            Fault::SlowDisk => self.slow_disk(),
            Fault::BrokenDisk => self.break_disk(),
            Fault::ClockJump => self.jump(),
            Fault::Transfer => self.transfer(),
            Fault::Demote => self.demote(),
            Fault::Replace => self.replace(),
            Fault::Unwilling => self.unwilling(),
            Fault::LongAbsence => self.long_absence(),
            Fault::DarkPeriod => self.dark_period(),
            Fault::SetBack => self.set_back(),
            Fault::Seal => self.seal(false),
            Fault::SealAll => self.seal(true),
            Fault::RotateKey => self.rotate_key(),
        };
        ends.unwrap_or_default()
    }

    fn fired(&self, fault: Fault) {
        self.world.fired(fault.name());
    }

    fn any(&mut self) -> Option<Arc<Node>> {
        let present = self.present();
        self.dice.pick(&present)
    }

    fn any_running(&mut self) -> Option<Arc<Node>> {
        let mut running = self.present();
        running.retain(|node| node.is_running());
        self.dice.pick(&running)
    }

    fn two(&mut self) -> Option<(Arc<Node>, Arc<Node>)> {
        let mut present = self.present();
        self.dice.shuffle(&mut present);
        let one = present.pop()?;
        Some((one, present.pop()?))
    }

    fn cut(&mut self, some: &[Arc<Node>], rest: &[Arc<Node>]) -> Vec<End> {
        let mut ends = Vec::new();
        for one in some {
            for other in rest {
                self.sim.partition(one.host.as_str(), other.host.as_str());
                ends.push(End::Link(one.id, other.id));
            }
        }
        ends
    }

    fn split(&mut self) -> Option<Vec<End>> {
        let mut some = self.nodes.clone();
        self.dice.shuffle(&mut some);
        let size = 1 + self.dice.index(some.len().saturating_sub(1));
        let rest = some.split_off(size);
        if rest.is_empty() {
            return None;
        }
        self.fired(Fault::Split);
        Some(self.cut(&some, &rest))
    }

    fn isolate_leader(&mut self) -> Option<Vec<End>> {
        let leader = self.leader()?;
        let mut rest = self.nodes.clone();
        rest.retain(|node| node.id != leader.id);
        self.fired(Fault::IsolateLeader);
        Some(self.cut(&[leader], &rest))
    }

    fn one_way(&mut self) -> Option<Vec<End>> {
        let (from, to) = self.two()?;
        self.sim.partition_oneway(from.host.as_str(), to.host.as_str());
        self.fired(Fault::OneWay);
        Some(vec![End::Link(from.id, to.id)])
    }

    fn hold(&mut self) -> Option<Vec<End>> {
        let (one, other) = self.two()?;
        self.sim.hold(one.host.as_str(), other.host.as_str());
        self.fired(Fault::Hold);
        Some(vec![End::Link(one.id, other.id)])
    }

    fn kill_one(&mut self) -> Option<Vec<End>> {
        let node = self.any_running()?;
        self.kill(&node);
        self.fired(Fault::Kill);
        Some(vec![End::Start(node.id)])
    }

    fn power_loss(&mut self) -> Option<Vec<End>> {
        let node = self.any()?;
        self.cut_power(&node);
        self.fired(Fault::PowerLoss);
        Some(vec![End::Start(node.id)])
    }

    fn blackout(&mut self) -> Option<Vec<End>> {
        let all = self.present();
        // Half of them come while all disks are far behind: then little of what was written lately is on any.
        let behind = self.dice.percent(50);
        if behind {
            all.iter().for_each(|node| node.disk.slow_down(BEHIND));
            let until = self.dice.millis(50, BEHIND);
            self.pass(until);
        }
        for node in &all {
            self.cut_power(node);
        }
        if behind {
            all.iter().for_each(|node| node.disk.heal());
        }
        self.fired(Fault::Blackout);
        Some(all.iter().map(|node| End::Start(node.id)).collect())
    }

    /// The machine is dark: nobody is told, and some of what was not synced is gone.
    fn cut_power(&mut self, node: &Arc<Node>) {
        self.darken(node);
        let (log, state) = (node.log.unsynced(), node.state.unsynced());
        // All of it half of the time: what two machines lose, the third may have kept.
        let kept = match self.dice.percent(50) {
            true => (0, 0),
            false => (self.dice.index(log + 1), self.dice.index(state + 1)),
        };
        node.log.lose_power(kept.0);
        node.state.lose_power(kept.1);
        self.world.note(format_args!(
            "n{} loses power and {} and {} writes",
            node.id,
            log - kept.0,
            state - kept.1
        ));
        if kept.0 < log {
            self.world.fired("unsynced log lost");
        }
        if kept.1 < state {
            self.world.fired("unsynced state lost");
        }
    }

    /// Ends a process without a word to anybody.
    pub fn darken(&mut self, node: &Arc<Node>) {
        let others: Vec<_> = self
            .nodes
            .iter()
            .filter(|other| other.id != node.id)
            .cloned()
            .collect();
        for other in &others {
            self.sim.partition(node.host.as_str(), other.host.as_str());
        }
        self.crash(node);
        for other in &others {
            self.sim.repair(node.host.as_str(), other.host.as_str());
        }
    }

    fn restart(&mut self) -> Option<Vec<End>> {
        let node = self.any_running()?;
        if self.tell(&node, Order::Stop, PATIENCE).is_ok() {
            self.fired(Fault::Restart);
        }
        self.kill(&node);
        self.start(&node);
        None
    }

    fn slow_link(&mut self) -> Option<Vec<End>> {
        let (one, other) = self.two()?;
        let latency = self.dice.millis(100, 900);
        self.sim
            .set_link_max_message_latency(one.host.as_str(), other.host.as_str(), latency);
        self.fired(Fault::SlowLink);
        Some(vec![End::Latency(one.id, other.id)])
    }

    fn slow_disk(&mut self) -> Option<Vec<End>> {
        let node = self.any()?;
        let slowest = self.dice.between(50, 800);
        node.disk.slow_down(slowest);
        self.fired(Fault::SlowDisk);
        Some(vec![End::Disk(node.id)])
    }

    fn break_disk(&mut self) -> Option<Vec<End>> {
        let node = self.any_running()?;
        node.disk.fails.store(true, Ordering::Relaxed);
        self.fired(Fault::BrokenDisk);
        Some(vec![End::Disk(node.id), End::Start(node.id)])
    }

    fn jump(&mut self) -> Option<Vec<End>> {
        let node = self.any()?;
        let most = [2_000, 60_000, 3_600_000, 100_000_000];
        let most = self.dice.pick(&most)?;
        let offset = i64::try_from(self.dice.below(2 * most)).ok()? - i64::try_from(most).ok()?;
        node.clock.set_offset(offset);
        self.world
            .note(format_args!("n{} clock set wrong by {offset} ms", node.id));
        self.fired(Fault::ClockJump);
        None
    }

    fn transfer(&mut self) -> Option<Vec<End>> {
        let leader = self.leader()?;
        let to = match self.dice.percent(50) {
            true => None,
            false => Some(self.any()?.id),
        };
        let change = Order::Change(Change::Transfer { to });
        if self.tell(&leader, change, PATIENCE).is_ok() && to != Some(leader.id) {
            self.fired(Fault::Transfer);
        }
        None
    }

    fn demote(&mut self) -> Option<Vec<End>> {
        let (node, leader) = (self.any()?, self.leader()?);
        let change = Order::Change(Change::Demote { node: node.id });
        self.tell(&leader, change, PATIENCE).ok()?;
        self.fired(Fault::Demote);
        self.world.fired("membership changed");
        Some(vec![End::Promote(node.id)])
    }

    /// A new member comes, an old one goes for good.
    fn replace(&mut self) -> Option<Vec<End>> {
        if self.nodes.len() >= MAX_NODES || self.join(PATIENCE).is_none() {
            return None;
        }
        let old = self.any()?;
        let removed = Order::Change(Change::Remove { node: old.id });
        let leader = self.leader()?;
        if let Err(error) = self.tell(&leader, removed, PATIENCE) {
            self.world.note(format_args!("n{} stays: {error}", old.id));
            return None;
        }
        self.gone.push(old.id);
        if self.tell(&leader, Order::Forget(old.id), PATIENCE).is_ok() {
            self.world.fired("member forgotten");
        }
        // A node that is not told, and still serves its clients, must do so in vain.
        match self.dice.percent(50) {
            true => self.kill(&old),
            false => self.world.fired("removed and still running"),
        }
        self.fired(Fault::Replace);
        self.world.fired("membership changed");
        None
    }

    fn unwilling(&mut self) -> Option<Vec<End>> {
        let node = self.any()?;
        node.handler.unwilling.store(true, Ordering::Relaxed);
        node.order(Order::Eligible(false));
        self.fired(Fault::Unwilling);
        Some(vec![End::Willing(node.id)])
    }

    /// A node sleeps while the others make snapshots and let the log before them go.
    fn long_absence(&mut self) -> Option<Vec<End>> {
        let (away, leader) = (self.any_running()?, self.leader()?);
        if away.id == leader.id {
            return None;
        }
        self.kill(&away);
        let from = leader.status()?.applied_index;
        let enough = self.world.plan.snapshots.keep + 20;
        let grown = self.wait(PATIENCE, |_| {
            leader
                .status()
                .is_some_and(|status| status.applied_index > from + enough)
        });
        if grown && self.tell(&leader, Order::Snapshot, PATIENCE).is_ok() {
            self.pass(Duration::from_millis(500));
            self.fired(Fault::LongAbsence);
        }
        self.start(&away);
        None
    }

    /// Everything is off for long; then all come back.
    fn dark_period(&mut self) -> Option<Vec<End>> {
        let all = self.present();
        for node in &all {
            self.cut_power(node);
        }
        let most = self.dice.pick(&[600_000, 86_400_000, 35_000_000_000])?;
        let dark = i64::try_from(self.dice.below(most)).ok()?;
        self.world.note(format_args!("dark for {dark} ms"));
        for node in &self.nodes {
            node.clock.pass_dark(dark);
        }
        self.dark += dark;
        for node in &all {
            self.start(node);
        }
        self.fired(Fault::DarkPeriod);
        None
    }

    /// A machine comes back with the disk it had some starts before, and must not count for anything.
    fn set_back(&mut self) -> Option<Vec<End>> {
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        let node = self.any_running()?;
        self.kill(&node);
        let (log, copy) = (node.log.saved(), node.dir.with_extension("copy"));
        std::fs::remove_dir_all(&copy).ok();
        copy_folder(&node.dir, &copy);
        node.state.save(&copy.join("state"));
        let next = node.starts() + 1;
        self.start(&node);
        let registered = self.wait(ENOUGH, |run| {
            let leader = run.leader().map(|leader| leader.state.view());
            let found = leader.and_then(|view| registered_node(&view, node.id).unwrap());
            found.is_some_and(|found| found.incarnation == next)
        });
        // Some come back before the others have looked at the register.
        let most = if self.dice.percent(50) { 60 } else { 2_000 };
        let work = self.dice.millis(0, most);
        self.pass(work);
        if !registered {
            return None;
        }
        self.kill(&node);
        std::fs::remove_dir_all(&node.dir).unwrap();
        copy_folder(&copy, &node.dir);
        node.log.set_back(log);
        node.state.set_back(&copy.join("state"));
        node.set_back.store(true, Ordering::Relaxed);
        self.start(&node);
        if !self.wait(ENOUGH, |run| run.gone.contains(&node.id)) && self.world.is_sound() {
            self.world.found(format!(
                "node {} does not notice that its disk was set back",
                node.id
            ));
        }
        self.fired(Fault::SetBack);
        self.tell_leader(&Order::Change(Change::Remove { node: node.id }), ENOUGH);
        self.join(ENOUGH);
        None
    }

    fn end(&mut self, end: &End) {
        self.world.note(format_args!("ends {end:?}"));
        match end {
            End::Link(one, other) => self.mend(*one, *other),
            End::Latency(one, other) => self.hurry(*one, *other),
            End::Start(id) => self.end_node(*id, |run, node| run.start(node)),
            End::Disk(id) => self.end_node(*id, |_, node| node.disk.heal()),
            End::Willing(id) => self.end_node(*id, |_, node| make_willing(node)),
            End::Promote(id) => self.end_node(*id, |run, node| {
                let change = Change::Promote { node: node.id };
                if let Some(leader) = run.leader() {
                    leader.order(Order::Change(change));
                }
            }),
        }
    }

    fn end_node(&mut self, id: u64, end: impl FnOnce(&mut Self, &Arc<Node>)) {
        if self.gone.contains(&id) {
            return;
        }
        if let Some(node) = self.node(id) {
            end(self, &node);
        }
    }

    fn mend(&mut self, one: u64, other: u64) {
        if let (Some(one), Some(other)) = (self.node(one), self.node(other)) {
            self.sim.release(one.host.as_str(), other.host.as_str());
        }
    }

    fn hurry(&mut self, one: u64, other: u64) {
        let latency = self.world.plan.latency.1;
        if let (Some(one), Some(other)) = (self.node(one), self.node(other)) {
            self.sim
                .set_link_max_message_latency(one.host.as_str(), other.host.as_str(), latency);
        }
    }

    /// Everything is put right.
    pub fn heal(&mut self) {
        self.healed = true;
        self.world.database.calm.store(true, Ordering::Relaxed);
        let all: Vec<u64> = self.nodes.iter().map(|node| node.id).collect();
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                self.mend(*one, *other);
                self.hurry(*one, *other);
            }
        }
        for node in self.present() {
            node.disk.heal();
            node.clock.set_offset(0);
            if !self.world.plan.vault {
                make_willing(&node);
            }
            self.start(&node);
        }
        if self.world.plan.sealed {
            self.seal_all();
        }
    }

    fn seal_all(&mut self) {
        for node in self.present() {
            node.handler.unwilling.store(true, Ordering::Relaxed);
            node.order(Order::Eligible(false));
        }
    }
}

fn make_willing(node: &Node) {
    node.handler.unwilling.store(false, Ordering::Relaxed);
    node.order(Order::Eligible(true));
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for found in std::fs::read_dir(from).unwrap() {
        let path = found.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => drop(std::fs::copy(&path, &target).unwrap()),
        }
    }
}
