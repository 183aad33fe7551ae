//! Whether a history of calls could have happened one after the other, each at some moment between its call and its
//! answer: linearizability, by the search of Wing and Gong (1993) with Lowe's memory of what was tried (2017). It must not
//! know what the calls mean; a model says that.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// Tries after which a history counts as undecided.
const MAX_STEPS: u64 = 4_000_000;

/// What one object does when calls come one at a time.
pub trait Model {
    /// What it remembers.
    type State: Clone + Eq + Hash + Debug;
    /// A call.
    type Input: Debug;
    /// An answer.
    type Output: Debug;

    /// Before the first call.
    fn initial() -> Self::State;
    /// The state after `input` in `state`, if `output` is the right answer; without an output any answer is.
    fn step(state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;
    /// Whether a call with this answer changes nothing, whatever the state.
    fn only_looks(input: &Self::Input, output: &Self::Output) -> bool;
}

/// One call.
#[derive(Debug)]
pub struct Op<I, O> {
    /// When it was made, on the history's one clock.
    pub call: u64,
    /// When it was answered, and what. `None`: nobody knows, so it may take effect at any later time, or never.
    pub end: Option<(u64, O)>,
    pub input: I,
}

/// What a search found.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable { steps: u64 },
    /// There is none. The longest beginning of an order, by numbers of calls, and the first call that does not fit in.
    Impossible { order: Vec<usize>, stuck: usize },
    /// The search was given up.
    Undecided,
}

/// Looks for an order.
pub fn check<M: Model>(ops: &[Op<M::Input, M::Output>]) -> Verdict {
    Search::<M>::new(ops).run()
}

struct Search<'h, M: Model> {
    ops: &'h [Op<M::Input, M::Output>],
    /// Calls and answers by time that are not yet in the order: `2 * op` is its call, `2 * op + 1` its answer.
    events: List,
    state: M::State,
    /// Calls in the order, each with the state before it.
    order: Vec<(usize, M::State)>,
    /// The same as a set of bits.
    done: Vec<u64>,
    tried: HashSet<(Vec<u64>, M::State)>,
    /// Answered calls that are not in the order.
    open: usize,
    longest: Vec<usize>,
    stuck: usize,
}

impl<'h, M: Model> Search<'h, M> {
    fn new(ops: &'h [Op<M::Input, M::Output>]) -> Self {
        let calls = ops.iter().enumerate().map(|(op, it)| (it.call, false, 2 * op));
        let ends = ops.iter().enumerate();
        let ends = ends.filter_map(|(op, it)| it.end.as_ref().map(|(end, _)| (*end, true, 2 * op + 1)));
        let mut events: Vec<_> = calls.chain(ends).collect();
        // At one instant calls come before answers: what cannot be told apart is concurrent.
        events.sort_unstable();
        Self {
            ops,
            events: List::new(events.into_iter().map(|(_, _, event)| event), 2 * ops.len()),
            state: M::initial(),
            order: Vec::new(),
            done: vec![0; ops.len().div_ceil(64)],
            tried: HashSet::new(),
            open: ops.iter().filter(|op| op.end.is_some()).count(),
            longest: Vec::new(),
            stuck: 0,
        }
    }

    fn run(mut self) -> Verdict {
        let mut at = self.events.first();
        // Calls without an answer fit almost anywhere: they are tried where nothing else fits.
        let mut answered = true;
        for steps in 0..MAX_STEPS {
            if self.open == 0 {
                return Verdict::Linearizable { steps };
            }
            match at {
                Some(event) if event % 2 == 0 => {
                    let op = event / 2;
                    if self.ops[op].end.is_some() == answered && self.take(op) {
                        answered = true;
                        at = self.events.first();
                    } else {
                        at = self.events.after(event);
                    }
                }
                // An answer before its call took effect, or the end.
                _ if answered => {
                    answered = false;
                    at = self.events.first();
                }
                // The last choice was wrong.
                dead_end => {
                    if let Some(event) = dead_end
                        && self.order.len() >= self.longest.len()
                    {
                        self.longest = self.order.iter().map(|(op, _)| *op).collect();
                        self.stuck = event / 2;
                    }
                    let Some(op) = self.undo_choice() else {
                        return Verdict::Impossible {
                            order: self.longest,
                            stuck: self.stuck,
                        };
                    };
                    answered = self.ops[op].end.is_some();
                    at = self.events.after(2 * op);
                }
            }
        }
        Verdict::Undecided
    }

    /// Takes back the last call that was a choice. One that only looked was none: if any order begins as this one does, so does
    /// one with that call next.
    fn undo_choice(&mut self) -> Option<usize> {
        loop {
            let op = self.undo()?;
            let call = &self.ops[op];
            let looked = |(_, output): &(u64, M::Output)| M::only_looks(&call.input, output);
            if !call.end.as_ref().is_some_and(looked) {
                return Some(op);
            }
        }
    }

    /// Puts a call next in the order, if it fits and that was not tried before.
    fn take(&mut self, op: usize) -> bool {
        let call = &self.ops[op];
        let output = call.end.as_ref().map(|(_, output)| output);
        let Some(next) = M::step(&self.state, &call.input, output) else {
            return false;
        };
        if output.is_none() && next == self.state {
            // Without an effect it need not have happened.
            return false;
        }
        self.flip(op);
        if !self.tried.insert((self.done.clone(), next.clone())) {
            self.flip(op);
            return false;
        }
        self.order.push((op, std::mem::replace(&mut self.state, next)));
        self.events.remove(2 * op);
        if output.is_some() {
            self.events.remove(2 * op + 1);
            self.open -= 1;
        }
        true
    }

    fn undo(&mut self) -> Option<usize> {
        let (op, before) = self.order.pop()?;
        self.state = before;
        self.flip(op);
        if self.ops[op].end.is_some() {
            self.events.restore(2 * op + 1);
            self.open += 1;
        }
        self.events.restore(2 * op);
        Some(op)
    }

    fn flip(&mut self, op: usize) {
        self.done[op / 64] ^= 1 << (op % 64);
    }
}

/// A list of numbers from which any is taken out, and put back in reverse order, at once (Knuth's dancing links).
struct List {
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Stands before the first and after the last.
    edge: usize,
}

impl List {
    /// These numbers, all below `bound`, in this order.
    fn new(items: impl Iterator<Item = usize>, bound: usize) -> Self {
        let mut list = Self {
            next: vec![bound; bound + 1],
            previous: vec![bound; bound + 1],
            edge: bound,
        };
        let mut last = bound;
        for item in items {
            list.next[last] = item;
            list.previous[item] = last;
            last = item;
        }
        list.next[last] = bound;
        list.previous[bound] = last;
        list
    }

    fn first(&self) -> Option<usize> {
        self.after(self.edge)
    }

    fn after(&self, item: usize) -> Option<usize> {
        Some(self.next[item]).filter(|next| *next != self.edge)
    }

    fn remove(&mut self, item: usize) {
        self.next[self.previous[item]] = self.next[item];
        self.previous[self.next[item]] = self.previous[item];
    }

    fn restore(&mut self, item: usize) {
        self.next[self.previous[item]] = item;
        self.previous[self.next[item]] = item;
    }
}

/// The same question by trying every order: slow, and too simple to be wrong.
#[cfg(test)]
pub fn check_by_force<M: Model>(ops: &[Op<M::Input, M::Output>]) -> bool {
    fn try_all<M: Model>(ops: &[Op<M::Input, M::Output>], left: &mut Vec<usize>, state: &M::State) -> bool {
        if left.iter().all(|op| ops[*op].end.is_none()) {
            return true;
        }
        for at in 0..left.len() {
            let op = left[at];
            let earlier = |other: &usize| {
                ops[*other]
                    .end
                    .as_ref()
                    .is_some_and(|(end, _)| *end < ops[op].call)
            };
            if left.iter().any(earlier) {
                continue;
            }
            let output = ops[op].end.as_ref().map(|(_, output)| output);
            let Some(next) = M::step(state, &ops[op].input, output) else {
                continue;
            };
            left.remove(at);
            let found = try_all::<M>(ops, left, &next);
            left.insert(at, op);
            if found {
                return true;
            }
        }
        false
    }
    try_all::<M>(ops, &mut (0..ops.len()).collect(), &M::initial())
}
