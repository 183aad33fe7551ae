//! A database outside the cluster, as every node reaches it: it makes and drops accounts and changes passwords some time after
//! it was asked, also when who asked has died meanwhile, and now and then it is not reached or its answer is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conclave_core::leases::{Bounds, Failure, Plan, Targets};
use conclave_engine_api::{Action, Done};
use conclave_raft::node::Clock;
use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;

use crate::dice::Dice;
use crate::node::Node;
use crate::world::World;

/// How long the database takes for what it is asked, at most, in milliseconds.
const SLOWEST: u64 = 60;
/// The same when it is in trouble, once in a while.
const STUCK: u64 = 4_000;
/// Who asked looks for the answer this often.
const LOOK: Duration = Duration::from_millis(5);

/// The database.
#[derive(Default)]
pub struct Database {
    accounts: Mutex<BTreeSet<String>>,
    /// Every password that an account that stays ever had, and from when on.
    passwords: Mutex<BTreeMap<String, Vec<(Duration, String)>>>,
    asked: Mutex<Vec<Asked>>,
    /// It is reached and answers, at once.
    pub calm: AtomicBool,
}

/// What a statement brought.
type Answered = Result<Vec<String>, Failure>;

/// A statement on its way.
struct Asked {
    /// When it is carried out, in the run's time.
    at: Duration,
    /// The database ends it here.
    until: Duration,
    session: String,
    action: Action,
    answer: Arc<Mutex<Option<Answered>>>,
}

impl Database {
    /// Carries out what is due.
    pub fn work(&self, now: Duration) {
        let due: Vec<Asked> = {
            let mut asked = self.asked.lock();
            asked.extract_if(.., |asked| asked.at <= now).collect()
        };
        for one in due {
            let late = one.at > one.until;
            let done = match late {
                true => Err(Failure::new(Done::Nothing, "ended by its time limit")),
                false => self.carry_out(&one.action, now),
            };
            *one.answer.lock() = Some(done);
        }
    }

    /// Takes a statement on its way. Whoever wants to be alone ends first what a session of the same name has begun and not
    /// done.
    fn take(&self, new: Asked, alone: bool) {
        let mut asked = self.asked.lock();
        asked.retain(|earlier| !alone || earlier.session != new.session);
        asked.push(new);
    }

    fn carry_out(&self, action: &Action, now: Duration) -> Answered {
        let mut accounts = self.accounts.lock();
        match action {
            Action::Make { account, .. } => match accounts.insert(account.clone()) {
                true => Ok(Vec::new()),
                false => Err(Failure::new(Done::There, "the name is taken")),
            },
            Action::Drop { account, session, .. } => {
                accounts.remove(account);
                // What that session has begun ends with it.
                self.asked
                    .lock()
                    .retain(|asked| session.is_empty() || asked.session != *session);
                Ok(Vec::new())
            }
            Action::List { prefix, .. } => {
                let listed = accounts.iter().filter(|account| account.starts_with(prefix));
                Ok(listed.cloned().collect())
            }
            Action::Run { statements } => {
                for statement in statements {
                    if let [_, account, password] = statement.split(' ').collect::<Vec<_>>()[..] {
                        let mut passwords = self.passwords.lock();
                        let had = passwords.entry(account.to_owned()).or_default();
                        had.push((now, password.to_owned()));
                    }
                }
                Ok(Vec::new())
            }
            Action::Check => Ok(Vec::new()),
        }
    }

    /// Whether an account had this password at some moment since `from`.
    pub fn had(&self, account: &str, password: &str, from: Duration) -> bool {
        let passwords = self.passwords.lock();
        let had = passwords.get(account).map_or(&[][..], Vec::as_slice);
        let first = had.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
        had[first..].iter().any(|(_, it)| it == password)
    }

    /// The accounts there are, none of which is being made.
    pub fn accounts(&self) -> Vec<String> {
        self.accounts.lock().iter().cloned().collect()
    }
}

/// The way of one node to the database.
pub struct Way {
    pub world: Arc<World>,
    pub node: Arc<Node>,
    pub dice: Mutex<Dice>,
}

impl Way {
    /// How long it takes; and whether it is reached at all, and whether its answer comes back.
    fn draw(&self) -> (Duration, bool, bool) {
        let mut dice = self.dice.lock();
        if self.world.database.calm.load(Ordering::Relaxed) {
            return (dice.millis(0, SLOWEST), true, true);
        }
        let slowest = if dice.percent(10) { STUCK } else { SLOWEST };
        (dice.millis(0, slowest), !dice.percent(15), !dice.percent(15))
    }

    async fn ask(&self, action: &Action, bounds: &Bounds) -> Answered {
        let (takes, reached, answered) = self.draw();
        let left = bounds.until.checked_sub(self.boot_time());
        let Some(left) = left.filter(|_| reached) else {
            self.world.fired("target not reached");
            return Err(Failure::new(Done::Nothing, "connection refused"));
        };
        let now = self.world.now();
        let answer = Arc::default();
        let asked = Asked {
            at: now + takes,
            until: now + left,
            session: bounds.session.clone(),
            action: action.clone(),
            answer: Arc::clone(&answer),
        };
        self.world.database.take(asked, bounds.alone);
        // A connection that breaks does so at any time: what was asked goes on.
        let waited = match answered {
            true => takes + LOOK * 10,
            false => self.dice.lock().millis(0, 2 * SLOWEST),
        };
        let end = now + left.min(waited);
        while self.world.now() < end {
            if let Some(told) = answer.lock().take().filter(|_| answered) {
                return told;
            }
            // why: simulated time, in which the database works.
            tokio::time::sleep(LOOK).await;
        }
        self.world.fired("answer of a target lost");
        Err(Failure::new(Done::Unknown, "no answer in time"))
    }

    /// What the invariants see of what is asked.
    fn look(&self, action: &Action) {
        let (node, now) = (self.node.id, self.node.shows().unwrap_or(0));
        match action {
            Action::Make { account, .. } => {
                self.world.fired("account asked for");
                self.world.note(format_args!("n{node} makes an account"));
                self.world.check(|all| all.leases.made(account));
            }
            Action::Drop { account, session, .. } => {
                self.world.fired("account dropped");
                self.world.note(format_args!("n{node} drops an account at {now}"));
                // What is left of an intent is dropped together with the session that may be making it.
                let of_intent = !session.is_empty();
                self.world
                    .check(|all| all.leases.dropped(account, of_intent, now));
            }
            _ => {}
        }
    }
}

impl Targets for Way {
    fn run<'t>(&'t self, plan: &'t Plan, bounds: &'t Bounds) -> BoxFuture<'t, Answered> {
        async move {
            self.look(&plan.action);
            self.ask(&plan.action, bounds).await
        }
        .boxed()
    }

    fn boot_time(&self) -> Duration {
        self.node.clock.monotonic()
    }
}
