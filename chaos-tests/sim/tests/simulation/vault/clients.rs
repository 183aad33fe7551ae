//! Clients of a vault: each uses one node for secrets and tokens, and now and then one changes a secret together with the
//! policy that guards it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_core::Verb;
use serde_json::{Map, Value, json};

use crate::dice::Dice;
use crate::invariants::policies::{self, CLOSED, OPEN};
use crate::invariants::rotations;
use crate::plan::Fault;
use crate::vault::user::{ROLES, STATIC, Told, User, text};
use crate::world::World;

/// Lives of tokens, in seconds.
const LIVES: (u64, u64) = (2, 40);
/// Before what failed is tried again.
const AGAIN: Duration = Duration::from_millis(100);

pub struct Client {
    user: User,
    dice: Dice,
}

impl Client {
    pub fn new(user: User, dice: Dice) -> Self {
        Self { user, dice }
    }

    /// Works whenever clients work.
    pub async fn run(mut self) {
        loop {
            let pause = self.dice.millis(5, self.user.world.plan.pause);
            // why: simulated time, in which clients pause between operations.
            tokio::time::sleep(pause).await;
            if self.user.world.working.load(Ordering::Relaxed) {
                self.operate().await;
            }
        }
    }

    async fn operate(&mut self) {
        let secret = self.dice.below(self.user.world.plan.keys);
        match self.dice.below(100) {
            0..24 => self.write(secret).await,
            24..44 => self.read(secret).await,
            44..48 => self.user.wrap().await,
            48..60 => self.make_token().await,
            60..74 => self.use_some_token().await,
            74..80 => self.revoke().await,
            80..87 => self.read_guarded().await,
            87..91 => self.change_password().await,
            91..94 => self.make_account().await,
            94..96 => self.renew_lease().await,
            96 => self.revoke_lease().await,
            _ => self.guard().await,
        }
    }

    async fn write(&self, secret: u64) {
        let world = &self.user.world;
        let id = world.event();
        let before = world.invariants.lock().secrets.newest(secret);
        let body = json!({"data": {"by": id}});
        if let Told::Done(made) = self.as_root(Verb::Write, &path_of(secret), body).await {
            let version = made.get("version").and_then(Value::as_u64).unwrap_or(0);
            world.check(|all| all.secrets.wrote(secret, before, version, id));
        }
    }

    async fn read(&self, secret: u64) {
        let world = &self.user.world;
        let before = world.invariants.lock().secrets.newest(secret);
        let seen = match self.as_root(Verb::Read, &path_of(secret), Value::Null).await {
            Told::Done(found) => Some(version_of(&found)),
            Told::Missing => None,
            _ => return,
        };
        world.check(|all| all.secrets.read(secret, before, seen));
    }

    async fn as_root(&self, verb: Verb, path: &str, data: Value) -> Told {
        self.user
            .call(&self.user.world.ledger.root(), verb, path, data)
            .await
    }

    /// By root, or by another token as its child.
    async fn make_token(&mut self) {
        let world = std::sync::Arc::clone(&self.user.world);
        let known = world.invariants.lock().tokens.all();
        let parent = match self.dice.percent(50) {
            true => self.dice.pick(&known),
            false => None,
        };
        let maker = parent.and_then(|parent| world.ledger.token(parent));
        let maker = maker.unwrap_or_else(|| world.ledger.root());
        let ttl = self.dice.between(LIVES.0, LIVES.1);
        let body = json!({"policies": ["maker"], "ttl": format!("{ttl}s")});
        let from = self.user.now();
        if let Told::Done(made) = self
            .user
            .call(&maker, Verb::Write, "auth/token/create", body)
            .await
        {
            let (id, to) = (world.event(), self.user.now());
            let from = from.min(to);
            world.note(format_args!(
                "token {id} of {parent:?} lives {ttl} s from {from} to {to}"
            ));
            world.ledger.keep_token(id, text(&made, "client_token"));
            let granted = made.get("lease_duration").and_then(Value::as_u64).unwrap_or(ttl);
            let mut tokens = world.invariants.lock();
            tokens.tokens.made(id, parent, (from, to), granted * 1000);
        }
    }

    async fn use_some_token(&mut self) {
        let known = self.user.world.invariants.lock().tokens.all();
        // The newest are the most interesting.
        let recent = known.len().saturating_sub(12);
        if let Some(id) = self.dice.pick(&known[recent..]) {
            self.use_token(id).await;
        }
    }

    async fn use_token(&self, id: u64) {
        let world = &self.user.world;
        let Some(token) = world.ledger.token(id) else {
            return;
        };
        let was_over = world.invariants.lock().tokens.is_over(id);
        let from = self.user.now();
        let told = self
            .user
            .call(&token, Verb::Read, "auth/token/lookup-self", Value::Null)
            .await;
        world.note(format_args!("token {id} was over {was_over}: {}", told.name()));
        match told {
            Told::Done(_) => {
                let now = if self.clocks_are_right() { from } else { 0 };
                world.check(|all| all.tokens.worked(id, was_over, now));
            }
            Told::Denied => {
                let now = self.user.now();
                world.check(|all| all.tokens.refused(id, now));
                world.fired("token expired");
            }
            _ => {}
        }
    }

    /// Whether nobody set a clock wrong in this run.
    fn clocks_are_right(&self) -> bool {
        !self.user.world.plan.faults.contains(&Fault::ClockJump)
    }

    async fn revoke(&mut self) {
        let world = std::sync::Arc::clone(&self.user.world);
        let known = world.invariants.lock().tokens.all();
        let Some(id) = self.dice.pick(&known) else { return };
        let Some(token) = world.ledger.token(id) else {
            return;
        };
        world.note(format_args!("token {id} is revoked"));
        world.invariants.lock().tokens.ending(id);
        let body = json!({"token": token});
        if let Told::Done(_) = self.as_root(Verb::Write, "auth/token/revoke", body).await {
            world.note(format_args!("token {id} was revoked"));
            world.invariants.lock().tokens.ended(id);
            world.fired("token revoked");
        }
    }

    async fn make_account(&mut self) {
        let world = std::sync::Arc::clone(&self.user.world);
        let Some((role, _)) = self.dice.pick(&ROLES) else {
            return;
        };
        let from = self.user.now();
        let path = format!("database/creds/{role}");
        if let Told::Done(made) = self.as_root(Verb::Read, &path, Value::Null).await {
            let (number, ttl) = (world.event(), seconds(&made) * 1000);
            let from = from.min(self.user.now());
            world.note(format_args!("lease {number} of {role} for {ttl} ms from {from}"));
            let (id, account) = (text(&made, "lease_id"), text(&made, "username"));
            world.check(|all| all.leases.issued(number, id, account, from, ttl));
        }
    }

    /// Has the password of the account that stays changed, every other time, and looks at it at once, whatever came of that.
    async fn change_password(&mut self) {
        if self.dice.percent(50) {
            let path = format!("database/rotate-role/{}", STATIC.0);
            if let Told::Done(_) = self.as_root(Verb::Write, &path, json!({})).await {
                self.user.world.fired("password changed");
            }
        }
        self.read_password().await;
    }

    /// What is shown of an account whose password rotates opens it, unless a rotation is under way.
    async fn read_password(&self) {
        let world = &self.user.world;
        let from = world.now();
        let (role, account) = STATIC;
        let path = format!("database/static-creds/{role}");
        let Told::Done(told) = self.as_root(Verb::Read, &path, Value::Null).await else {
            return;
        };
        if told.contains_key("warnings") {
            return;
        }
        world.fired("password read");
        let opens = world.database.had(account, &text(&told, "password"), from);
        world.check(|_| rotations::shown(opens));
    }

    /// One of the newest, and its id.
    fn some_lease(&mut self) -> Option<(u64, String)> {
        let leases = self.user.world.invariants.lock();
        let known = leases.leases.all();
        let recent = known.len().saturating_sub(8);
        let number = self.dice.pick(&known[recent..])?;
        Some((number, leases.leases.lease(number)?.id))
    }

    async fn renew_lease(&mut self) {
        let world = std::sync::Arc::clone(&self.user.world);
        let Some((number, id)) = self.some_lease() else {
            return;
        };
        let (from, asked) = (self.user.now(), self.dice.between(5, 40));
        let renewal = Renewal {
            begun: world.event(),
            number,
            world: &world,
        };
        let begun = renewal.begun;
        let least = self.user.applied() + asked * 1000;
        world.invariants.lock().leases.renewing(number, begun, least);
        let body = json!({"lease_id": id, "increment": asked});
        match self.as_root(Verb::Write, "sys/leases/renew", body).await {
            Told::Done(renewed) => {
                let ttl = seconds(&renewed) * 1000;
                let from = from.min(self.user.now());
                world.note(format_args!("lease {number} for {ttl} ms from {from}"));
                world.invariants.lock().leases.renewed(number, begun, from, ttl);
                world.fired("lease renewed");
            }
            Told::Unknown => {}
            _ => world.invariants.lock().leases.not_renewed(number, begun),
        }
    }

    async fn revoke_lease(&mut self) {
        let world = std::sync::Arc::clone(&self.user.world);
        let Some((number, id)) = self.some_lease() else {
            return;
        };
        world.note(format_args!("lease {number} is revoked"));
        world.invariants.lock().leases.ending(number);
        let body = json!({"lease_id": id});
        if let Told::Done(_) = self.as_root(Verb::Write, "sys/leases/revoke", body).await {
            world.fired("lease revoked");
        }
    }

    /// Whoever reads by the policy must not see what was written while the policy denied it.
    async fn read_guarded(&self) {
        let reader = self.user.world.ledger.reader.lock().clone();
        match self
            .user
            .call(&reader, Verb::Read, "secret/data/guarded", Value::Null)
            .await
        {
            Told::Done(found) => {
                let value = found.get("data").and_then(Value::as_object);
                let value = value.map_or_else(String::new, |data| text(data, "is"));
                self.user.world.fired("guarded read");
                self.user.world.check(|_| policies::seen(&value));
            }
            Told::Denied => self.user.world.fired("guard held"),
            _ => {}
        }
    }

    /// Opens the guarded secret and closes it: first the policy, then the secret, and back the other way.
    async fn guard(&mut self) {
        let world = std::sync::Arc::clone(&self.user.world);
        if world.ledger.guarded.swap(true, Ordering::Relaxed) {
            return;
        }
        let _free = Free(&world.ledger.guarded);
        self.write_guarded(OPEN).await;
        self.write_policy(true).await;
        self.rest().await;
        self.write_policy(false).await;
        self.write_guarded(CLOSED).await;
        self.rest().await;
        self.write_guarded(OPEN).await;
        self.write_policy(true).await;
    }

    async fn rest(&mut self) {
        let pause = self.dice.millis(50, 800);
        // why: simulated time, in which others read.
        tokio::time::sleep(pause).await;
    }

    /// By its version, so that what an earlier try left under way comes too late.
    async fn write_guarded(&self, value: &str) {
        loop {
            let version = match self.as_root(Verb::Read, "secret/data/guarded", Value::Null).await {
                Told::Done(found) => Some(version_of(&found).0),
                Told::Missing => Some(0),
                _ => None,
            };
            if let Some(version) = version {
                let body = json!({"data": {"is": value}, "options": {"cas": version}});
                if let Told::Done(_) = self.as_root(Verb::Write, "secret/data/guarded", body).await {
                    return;
                }
            }
            // why: simulated time before another try.
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn write_policy(&self, allows: bool) {
        let capability = if allows { "read" } else { "deny" };
        let text = format!(r#"path "secret/data/guarded" {{ capabilities = ["{capability}"] }}"#);
        loop {
            let path = "sys/policies/acl/guard";
            let version = match self.as_root(Verb::Read, path, Value::Null).await {
                Told::Done(found) => found.get("version").and_then(Value::as_i64),
                Told::Missing => Some(-1),
                _ => None,
            };
            if let Some(version) = version {
                let body = json!({"policy": text, "cas": version});
                if let Told::Done(_) = self.as_root(Verb::Write, path, body).await {
                    return;
                }
            }
            // why: simulated time before another try.
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Looks at everything once: how many tokens still work.
    pub async fn inspect(&self) -> Result<u64, String> {
        let world = &self.user.world;
        self.read_password().await;
        let secrets = world.invariants.lock().secrets.all();
        for secret in secrets {
            self.read(secret).await;
        }
        let tokens = world.invariants.lock().tokens.all();
        for id in tokens {
            self.use_token(id).await;
        }
        Ok(0)
    }
}

/// Gives the guarded secret free again, however its keeper ends.
struct Free<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A renewal under way; it is over when this goes, also with its node.
struct Renewal<'a> {
    begun: u64,
    number: u64,
    world: &'a World,
}

impl Drop for Renewal<'_> {
    fn drop(&mut self) {
        let event = self.world.event();
        let mut all = self.world.invariants.lock();
        all.leases.renewal_over(self.number, self.begun, event);
    }
}

/// How long a lease was given.
fn seconds(told: &Map<String, Value>) -> u64 {
    told.get("lease_duration").and_then(Value::as_u64).unwrap_or(0)
}

fn path_of(secret: u64) -> String {
    format!("secret/data/s{secret}")
}

/// Version and writer of what a read found.
fn version_of(found: &Map<String, Value>) -> (u64, u64) {
    let number = |of: &str, field: &str| found.get(of)?.get(field)?.as_u64();
    (
        number("metadata", "version").unwrap_or(0),
        number("data", "by").unwrap_or(0),
    )
}
