//! Tokens and leases against a naive model: a list of who made what and until when, every rule written out the slow way.
//! `CONCLAVE_MODEL_CASES` sequences of steps at random; each one is run on a node of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use conclave_core::Verb;
use support::played::{Mood, PATH, SECOND, Scene};

const CASES: u32 = 96;
/// What an end may be off by, in milliseconds: lives are told in whole seconds.
const SLACK: u64 = SECOND;
/// Longer than any lease or token of a sequence, and than any pause before a target is asked again.
const LONG: u64 = 12 * 3600 * SECOND;
/// Rounds of the leader in which all that is over is gone.
const ROUNDS: usize = 12;

#[derive(Debug, Clone)]
enum Step {
    /// By root, or by a token that may be used any number of times.
    Make {
        parent: Option<prop::sample::Index>,
        ttl: u64,
        max: Option<u64>,
        uses: Option<u64>,
    },
    Use(prop::sample::Index),
    Renew(prop::sample::Index, u64),
    Revoke(prop::sample::Index),
    /// The token ends and what it made stays.
    Orphan(prop::sample::Index),
    Issue(Option<prop::sample::Index>),
    RenewLease(prop::sample::Index, u64),
    RevokeLease(prop::sample::Index),
    Target(Mood),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<prop::sample::Index>;
    let step = prop_oneof![
        5 => (prop::option::of(which()), 5u64..600, prop::option::weighted(0.3, 5u64..900), prop::option::weighted(0.2, 1u64..4))
            .prop_map(|(parent, ttl, max, uses)| Step::Make { parent, ttl, max, uses }),
        4 => which().prop_map(Step::Use),
        3 => (which(), 5u64..900).prop_map(|(which, more)| Step::Renew(which, more)),
        2 => which().prop_map(Step::Revoke),
        1 => which().prop_map(Step::Orphan),
        4 => prop::option::of(which()).prop_map(Step::Issue),
        2 => (which(), 60u64..20_000).prop_map(|(which, more)| Step::RenewLease(which, more)),
        1 => which().prop_map(Step::RevokeLease),
        2 => prop::sample::select(vec![Mood::Well, Mood::Well, Mood::Down, Mood::Stubborn, Mood::Mute]).prop_map(Step::Target),
        5 => (1u64..400).prop_map(Step::Pass),
        1 => (3_000u64..9_000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..50)
}

struct Token {
    id: String,
    parent: Option<usize>,
    ends: u64,
    /// Never later than this, however often it is renewed.
    bound: u64,
    uses: Option<u64>,
    over: bool,
}

struct Lease {
    id: Value,
    account: String,
    owner: Option<usize>,
    /// Not before this, and not after that: who was not answered does not know which.
    ends: u64,
    latest: u64,
    /// Never later than this.
    bound: u64,
    over: bool,
}

struct World {
    scene: Scene,
    now: u64,
    tokens: Vec<Token>,
    leases: Vec<Lease>,
    mood: Mood,
}

impl World {
    async fn new() -> Self {
        Self {
            scene: Scene::new().await,
            now: 0,
            tokens: Vec::new(),
            leases: Vec::new(),
            mood: Mood::Well,
        }
    }

    /// Whether it certainly is, or certainly is not; `None` within the slack of its end.
    fn lives(&self, at: usize) -> Option<bool> {
        let token = &self.tokens[at];
        if token.over {
            return Some(false);
        }
        let parent = token.parent.map_or(Some(true), |parent| self.lives(parent));
        both(certainly(self.now, token.ends), parent)
    }

    fn pick(&self, which: &prop::sample::Index) -> Option<usize> {
        (!self.tokens.is_empty()).then(|| which.index(self.tokens.len()))
    }

    /// It is over, and with it what it made.
    fn end(&mut self, at: usize) {
        self.tokens[at].over = true;
        for lease in self.leases.iter_mut().filter(|lease| lease.owner == Some(at)) {
            lease.over = true;
        }
        let children: Vec<usize> = (0..self.tokens.len())
            .filter(|child| self.tokens[*child].parent == Some(at) && !self.tokens[*child].over)
            .collect();
        for child in children {
            self.end(child);
        }
    }

    /// One that may be asked as often as one likes, if there is one to begin with.
    fn asker(&self, which: Option<&prop::sample::Index>) -> Option<usize> {
        let at = which.and_then(|which| self.pick(which))?;
        (self.lives(at) == Some(true) && self.tokens[at].uses.is_none()).then_some(at)
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Make {
                parent,
                ttl,
                max,
                uses,
            } => self.make(parent.as_ref(), *ttl, *max, *uses).await,
            Step::Use(which) => self.look(which).await,
            Step::Renew(which, more) => self.renew(which, *more).await,
            Step::Revoke(which) => self.revoke(which, "auth/token/revoke").await,
            Step::Orphan(which) => self.revoke(which, "auth/token/revoke-orphan").await,
            Step::Issue(owner) => self.issue(owner.as_ref()).await,
            Step::RenewLease(which, more) => self.renew_lease(which, *more).await,
            Step::RevokeLease(which) => self.revoke_lease(which).await,
            Step::Target(mood) => self.turns(*mood),
            Step::Pass(seconds) => self.pass(seconds * SECOND).await,
        }
        self.agrees().await;
    }

    fn turns(&mut self, mood: Mood) {
        self.mood = mood;
        self.scene.target.is(mood);
    }

    async fn make(
        &mut self,
        parent: Option<&prop::sample::Index>,
        ttl: u64,
        max: Option<u64>,
        uses: Option<u64>,
    ) {
        let parent = self.asker(parent);
        let maker = parent.map_or(self.scene.node.root.clone(), |at| self.tokens[at].id.clone());
        let mut body = json!({"policies": ["root"], "ttl": format!("{ttl}s"), "num_uses": uses.unwrap_or(0)});
        if let Some(max) = max {
            body["explicit_max_ttl"] = json!(format!("{max}s"));
        }
        let made = self
            .scene
            .node
            .call_as(&maker, Verb::Write, "auth/token/create", body)
            .await;
        let made = made.unwrap();
        let told = made["auth"]["lease_duration"].as_u64().unwrap();
        assert_eq!(told, ttl.min(max.unwrap_or(u64::MAX)), "{made}");
        self.tokens.push(Token {
            id: made["auth"]["client_token"].as_str().unwrap().to_owned(),
            parent,
            ends: self.now + told * SECOND,
            bound: max.map_or(u64::MAX, |max| self.now + max * SECOND),
            uses,
            over: false,
        });
    }

    /// It is asked for something; whether it was taken is as it must be.
    async fn ask(&mut self, at: usize, verb: Verb, path: &str, body: Value) -> Option<Value> {
        let opens = match self.tokens[at].uses {
            // It is told no life that ends with the telling.
            Some(1) if path.ends_with("renew-self") => Some(false),
            _ => self.lives(at),
        };
        let told = self
            .scene
            .node
            .call_as(&self.tokens[at].id.clone(), verb, path, body)
            .await;
        match (opens, &told) {
            (Some(true), Err(error)) => panic!("token {at} lives and is refused {path}: {error}"),
            (Some(false), Ok(_)) => panic!("token {at} is over and is served {path}"),
            _ => {}
        }
        if self.lives(at) == Some(true) || told.is_ok() {
            self.spend(at);
        }
        told.ok()
    }

    /// What is refused costs a use as well.
    fn spend(&mut self, at: usize) {
        if let Some(left) = &mut self.tokens[at].uses {
            *left -= 1;
            if *left == 0 {
                self.end(at);
            }
        }
    }

    async fn look(&mut self, which: &prop::sample::Index) {
        if let Some(at) = self.pick(which) {
            self.ask(at, Verb::Read, "auth/token/lookup-self", Value::Null)
                .await;
        }
    }

    async fn renew(&mut self, which: &prop::sample::Index, more: u64) {
        let Some(at) = self.pick(which) else { return };
        let body = json!({"increment": format!("{more}s")});
        let Some(renewed) = self.ask(at, Verb::Write, "auth/token/renew-self", body).await else {
            return;
        };
        let told = renewed["auth"]["lease_duration"].as_u64().unwrap();
        let token = &mut self.tokens[at];
        let end = (self.now + more * SECOND).min(token.bound);
        assert!(
            (self.now + told * SECOND).abs_diff(end) <= SLACK,
            "{told} s until {end}: {renewed}"
        );
        token.ends = self.now + told * SECOND;
    }

    async fn revoke(&mut self, which: &prop::sample::Index, path: &str) {
        let Some(at) = self.pick(which) else { return };
        let body = json!({"token": self.tokens[at].id});
        let told = self.scene.node.call(Verb::Write, path, body).await;
        if self.lives(at) == Some(true) {
            told.unwrap();
        }
        if path.ends_with("orphan") {
            for child in self.tokens.iter_mut().filter(|child| child.parent == Some(at)) {
                child.parent = None;
            }
        }
        self.end(at);
    }

    async fn issue(&mut self, owner: Option<&prop::sample::Index>) {
        let owner = self.asker(owner);
        let asker = owner.map_or(self.scene.node.root.clone(), |at| self.tokens[at].id.clone());
        // A target in trouble makes none, or nobody knows: then no lease is told of.
        let Ok(issued) = self
            .scene
            .node
            .call_as(&asker, Verb::Read, PATH, Value::Null)
            .await
        else {
            return;
        };
        let told = issued["lease_duration"].as_u64().unwrap();
        self.leases.push(Lease {
            id: issued["lease_id"].clone(),
            account: issued["data"]["username"].as_str().unwrap().to_owned(),
            owner,
            ends: self.now + told * SECOND,
            latest: self.now + told * SECOND,
            bound: self.now + 3 * 3600 * SECOND,
            over: false,
        });
    }

    async fn renew_lease(&mut self, which: &prop::sample::Index, more: u64) {
        if self.leases.is_empty() {
            return;
        }
        let at = which.index(self.leases.len());
        let body = json!({"lease_id": self.leases[at].id, "increment": more});
        let told = self.scene.node.call(Verb::Write, "sys/leases/renew", body).await;
        let (lives, now) = (self.lease_lives(at), self.now);
        let lease = &mut self.leases[at];
        match (lives, told) {
            (Some(false), Ok(told)) => panic!("lease {at} is over and is renewed: {told}"),
            (_, Ok(told)) => {
                let told = told["lease_duration"].as_u64().unwrap();
                let end = now + told * SECOND;
                assert!(told <= more && end <= lease.bound + SLACK, "{told} of {more}");
                (lease.ends, lease.latest) = (end, end);
            }
            (Some(true), Err(error)) => {
                assert!(self.mood != Mood::Well, "lease {at} is not renewed: {error}");
                // The target may have taken it.
                lease.ends = lease.ends.min(now + more * SECOND);
                lease.latest = lease.latest.max(now + more * SECOND);
            }
            (_, Err(_)) => {}
        }
    }

    async fn revoke_lease(&mut self, which: &prop::sample::Index) {
        if self.leases.is_empty() {
            return;
        }
        let at = which.index(self.leases.len());
        let body = json!({"lease_id": self.leases[at].id});
        let told = self.scene.node.call(Verb::Write, "sys/leases/revoke", body).await;
        if self.lease_lives(at) == Some(true) {
            told.unwrap();
        }
        self.leases[at].over = true;
    }

    fn lease_lives(&self, at: usize) -> Option<bool> {
        let lease = &self.leases[at];
        if lease.over {
            return Some(false);
        }
        let own = match certainly(self.now, lease.ends) {
            Some(true) => Some(true),
            _ => certainly(self.now, lease.latest).filter(|lives| !lives),
        };
        both(own, lease.owner.map_or(Some(true), |owner| self.lives(owner)))
    }

    async fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.scene.pass(millis).await;
        for at in 0..self.tokens.len() {
            if self.lives(at) == Some(false) {
                self.end(at);
            }
        }
    }

    /// What is, is as it should be: nothing ends early, and nothing that ended is shown.
    async fn agrees(&self) {
        for (at, token) in self.tokens.iter().enumerate() {
            let asked = json!({"token": token.id});
            let shown = self
                .scene
                .node
                .call(Verb::Write, "auth/token/lookup", asked)
                .await;
            match self.lives(at) {
                Some(true) => {
                    let left = shown.unwrap()["data"]["ttl"].as_u64().unwrap();
                    assert!(
                        (self.now + left * SECOND).abs_diff(token.ends) <= SLACK,
                        "token {at}"
                    );
                }
                Some(false) => assert!(shown.is_err(), "token {at} is over and is shown"),
                None => {}
            }
        }
        for (at, lease) in self.leases.iter().enumerate() {
            if self.lease_lives(at) == Some(true) {
                let there = self.scene.target.accounts.lock().contains(&lease.account);
                assert!(there, "the account of lease {at} was dropped before its end");
                self.scene.look_up(&lease.id).await.unwrap();
            }
        }
    }

    /// All is well, and so much time passes that everything is over: nothing is left, here or at the target.
    async fn ends_clean(&mut self) {
        self.turns(Mood::Well);
        for _ in 0..ROUNDS {
            self.pass(LONG).await;
            self.agrees().await;
        }
        assert_eq!(
            self.scene.leases().await,
            [""; 0],
            "leases that are over are kept"
        );
        assert_eq!(self.scene.target.accounts(), 0, "accounts that nobody holds");
        let kept = self
            .scene
            .node
            .call(Verb::List, "auth/token/accessors", Value::Null)
            .await
            .unwrap();
        let kept = kept["data"]["keys"].as_array().unwrap().len();
        assert_eq!(kept, 1, "root's token alone stays");
    }
}

/// Whether something lives that needs two others to.
fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(true), Some(true)) => Some(true),
        (Some(false), _) | (_, Some(false)) => Some(false),
        _ => None,
    }
}

/// Whether an end is certainly ahead, or certainly past.
fn certainly(now: u64, end: u64) -> Option<bool> {
    if now + SLACK < end {
        Some(true)
    } else if now > end + SLACK {
        Some(false)
    } else {
        None
    }
}

#[test]
fn tokens_and_leases_do_what_a_naive_model_does() {
    let cases = std::env::var("CONCLAVE_MODEL_CASES");
    let cases = cases.map_or(CASES, |cases| cases.parse().expect("a number of cases"));
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ran = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.step(step).await;
            }
            world.ends_clean().await;
        });
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}
