//! What an operator does to a vault as a whole: makes it, seals it, opens it, and looks at all of it in the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::node::{Node, Order};
use crate::plan::Fault;
use crate::run::Driver;
use crate::vault::Deed;

/// Orders given in the middle of faults are not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(4);
/// What is waited for where nothing is wrong.
const ENOUGH: Duration = Duration::from_secs(30);
/// A rotation follows this soon on what it is to meet, at most, in milliseconds.
const WRAPPING: u64 = 40;
/// What passes at the end: more than a leader with a wrong clock may have put the cluster's time ahead, in milliseconds.
const PASSES: i64 = 3_600_000;
/// Of which this much is certainly seen, longer than any token of a client lives.
const SEEN: u64 = 600_000;
/// Tokens that stay: root's, and the one of the guarded secret unless months have passed.
const KEPT: u64 = 2;

impl Driver {
    /// Makes keys, opens every node, makes what clients use.
    pub fn found_vault(&mut self) -> bool {
        let Some(first) = self.node(1) else { return false };
        let nodes = self.present().iter().map(|node| node.id).collect();
        self.world.ledger.set_members(nodes);
        self.world.database.calm.store(true, Ordering::Relaxed);
        self.order_vault(&first, Deed::Init, ENOUGH)
            && self.open_all(ENOUGH)
            && self.order_vault(&first, Deed::Furnish, ENOUGH)
    }

    fn order_vault(&mut self, node: &Node, deed: Deed, limit: Duration) -> bool {
        let told = self.tell(node, Order::Vault(deed.clone()), limit);
        if let Err(error) = &told {
            self.world.note(format_args!("n{} {deed:?}: {error}", node.id));
        }
        told.is_ok()
    }

    fn sealed(&self) -> Vec<Arc<Node>> {
        let mut sealed = self.present();
        sealed.retain(|node| node.is_running() && node.sealed.load(Ordering::Relaxed));
        sealed
    }

    /// Gives shares through some node, if any needs them.
    pub fn open_some(&mut self) {
        let sealed = self.sealed();
        if let Some(node) = self.dice.pick(&sealed) {
            node.order(Order::Vault(Deed::Open));
        }
    }

    /// Gives shares until no node is sealed.
    pub fn open_all(&mut self, limit: Duration) -> bool {
        let end = self.world.now() + limit;
        // Each says anew whether it is.
        self.pass(Duration::from_millis(300));
        while self.world.now() < end && self.world.is_sound() {
            let Some(node) = self.sealed().into_iter().next() else {
                return true;
            };
            self.order_vault(&node, Deed::Open, PATIENCE);
            self.pass(Duration::from_millis(500));
        }
        false
    }

    pub fn seal<E>(&mut self, all: bool) -> Option<Vec<E>> {
        let mut open = self.present();
        open.retain(|node| node.is_running() && !node.sealed.load(Ordering::Relaxed));
        let node = self.dice.pick(&open)?;
        if self.order_vault(&node, Deed::Seal { all }, PATIENCE) {
            let fault = if all { Fault::SealAll } else { Fault::Seal };
            self.world.fired(fault.name());
        }
        None
    }

    /// A few new keys, each while clients write and every node is about to write what expects nothing of the keys' rows.
    pub fn rotate_key<E>(&mut self) -> Option<Vec<E>> {
        for _ in 0..self.dice.between(1, 4) {
            let mut open = self.present();
            open.retain(|node| node.is_running() && !node.sealed.load(Ordering::Relaxed));
            let node = self.dice.pick(&open)?;
            for one in &open {
                one.order(Order::Vault(Deed::Wrap));
            }
            let ahead = self.dice.millis(0, WRAPPING);
            self.pass(ahead);
            if self.order_vault(&node, Deed::Rotate, PATIENCE) {
                self.world.fired(Fault::RotateKey.name());
            }
            let pause = self.dice.millis(5, 200);
            self.pass(pause);
        }
        None
    }

    /// Whether some row is of a key that may be gone.
    fn holds_old_rows(&self) -> bool {
        let Some(view) = self.leader().map(|leader| leader.state.view()) else {
            return true;
        };
        let least = view.applied().min_term;
        let mut old = false;
        view.rows()
            .scan(&[], None, &mut |_, row| {
                old |= row.term != 0 && row.term < least;
                Ok(!old)
            })
            .unwrap();
        old
    }

    /// All leases are over: none is left, nor any account; and a rotation comes to its end.
    fn judge_leases(&mut self) -> bool {
        let end = self.world.now() + ENOUGH;
        let mut left = None;
        while self.world.now() < end && self.world.is_sound() {
            let accounts = self.world.database.accounts().len();
            let leases = self.tell_leader(&Order::Vault(Deed::Leases), ENOUGH);
            if accounts == 0 && leases == Some(0) {
                return true;
            }
            left = Some((accounts, leases));
            self.pass(Duration::from_millis(500));
        }
        if self.world.is_sound() {
            let (accounts, leases) = left.unwrap_or_default();
            self.world.found(format!(
                "leases: {accounts} accounts and {leases:?} leases or rotations are left, of which all are over"
            ));
        }
        false
    }

    /// All is calm: time passes until every token of a client is over; then none works or is kept, and every secret is there.
    pub fn judge_vault(&mut self) {
        for node in &self.nodes {
            node.clock.pass_dark(PASSES);
        }
        self.dark += PASSES;
        let Some(before) = self
            .leader()
            .map(|leader| leader.state.view().applied().cluster_time)
        else {
            return self.stuck("nobody leads");
        };
        let over = before + SEEN;
        let members = self.present();
        let reached = self.wait(ENOUGH, |_| {
            members
                .iter()
                .all(|node| node.state.view().applied().cluster_time >= over)
        });
        if !reached {
            return self.stuck("the cluster's clock does not go on");
        }
        if !self.wait(ENOUGH, |run| !run.holds_old_rows()) {
            return self.stuck("rows of an old key are left");
        }
        if !self.judge_leases() {
            return;
        }
        for node in members {
            if !self.order_vault(&node, Deed::Inspect, ENOUGH) {
                return self.stuck(&format!("node {} cannot be looked at", node.id));
            }
        }
        let end = self.world.now() + ENOUGH;
        let mut kept = 0;
        while self.world.now() < end && self.world.is_sound() {
            if let Some(found) = self.tell_leader(&Order::Vault(Deed::Count), ENOUGH) {
                kept = found;
            }
            if (1..=KEPT).contains(&kept) {
                return;
            }
            self.pass(Duration::from_millis(500));
        }
        if self.world.is_sound() {
            self.world.found(format!(
                "tokens: {kept} are kept, of which {KEPT} should be at most"
            ));
        }
    }
}
