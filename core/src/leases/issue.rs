//! The first half of an effect: the intent, committed before anything is done outside. It names the account, who makes it, in
//! which session, and until when; a leader that finds it left over knows what to drop.

use conclave_engine_api::{Effect, Entropy, Env, LeaseSpec, Millis};

use crate::acts::Act;
use crate::catalog::{MountRecord, encode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::leases::counted;
use crate::leases::{
    Begun, IntentRecord, LeaseRecord, OWNED, RANDOM, RUN, SWEEP_AFTER, edit, intended, queue_of, session_name,
};
use crate::namespaces::id;
use crate::tokens::{self, Bounds, Caller, TokenKind, Wish, life};
use crate::work::Work;

/// Lives below this are given as they are.
const SHORT: Millis = 60_000;
/// This part of a life, at most, is taken off it ...
const JITTER_PART: Millis = 100;
/// ... and never more than this.
const MAX_JITTER: Millis = 15_000;

/// Who asks an engine for an effect, and where.
pub struct Asked<'a> {
    /// The node.
    pub core: &'a Core,
    /// Who asks.
    pub caller: &'a std::sync::Arc<Caller>,
    /// The mount that was asked.
    pub mount: &'a MountRecord,
    /// The whole path of the request.
    pub path: &'a str,
    /// The cluster's time.
    pub now: Millis,
}

/// An effect that no request asked for: an engine's row fell due, and `act` is to be on record of it.
pub fn begin_due(
    core: &Core,
    mount: &MountRecord,
    effect: Effect,
    now: Millis,
    act: Act,
) -> Result<Begun, Error> {
    let (mut begun, _) = begun(core, None, mount, effect, now)?;
    begun.act = Some(act);
    Ok(begun)
}

/// Adds the intent of an effect to `work`, which is to be committed before the effect is performed.
pub fn begin(work: &mut Work<'_>, asked: &Asked<'_>, effect: Effect) -> Result<Begun, Error> {
    let now = asked.now;
    let caller = Some(asked.caller.clone());
    let (mut begun, lease) = begun(asked.core, caller, asked.mount, effect, now)?;
    let mut entropy = OsEntropy;
    let mut env = Env::new(now, &mut entropy);
    let session = begun.session.clone();
    let Some(spec) = lease else {
        return Ok(begun);
    };
    let id = format!("{}/{}", asked.path.trim_end_matches('/'), env.base62(RANDOM));
    let id = id::mark(&id, asked.mount.namespace);
    let mut lease = lease_of(asked, &begun.plan.target.name, spec)?;
    counted::begin(work, asked.mount, &mut lease)?;
    // By the cluster's clock as of now, and a little more than what was read before it on the boot clock.
    let run_until = core_now(asked.core, now).saturating_add(millis(RUN));
    let intent = IntentRecord {
        lease,
        run_until,
        session,
        sweeps: 0,
    };
    let queue = queue_of(work.opened().barrier(), intent.lease.mount, &intent.lease.target);
    let value = encode_record(&intent)?;
    edit(work, intended(&id), queue, |txn| {
        txn.get(&id)?;
        Ok(txn.put_due(&id, value, Some(run_until.saturating_add(SWEEP_AFTER)))?)
    })?;
    if let Some(owner) = &intent.lease.owner {
        tokens::hang_on(work, owner)?;
        let value = super::owned::seal(work.opened(), &id)?;
        let row = format!("{owner}/{}", super::random_of(&id));
        edit(work, OWNED, queue, |txn| Ok(txn.put(&row, value)?))?;
    }
    begun.issued = Some((id, intent));
    Ok(begun)
}

fn begun(
    core: &Core,
    caller: Option<std::sync::Arc<Caller>>,
    mount: &MountRecord,
    effect: Effect,
    now: Millis,
) -> Result<(Begun, Option<LeaseSpec>), Error> {
    let replica = core.seal.replica()?;
    let mut entropy = OsEntropy;
    let mut env = Env::new(now, &mut entropy);
    let term = replica.status().borrow().term;
    let Effect {
        plan,
        lease,
        reply,
        memo,
        session,
    } = effect;
    let begun = Begun {
        caller,
        mount: mount.id,
        plan,
        reply,
        memo,
        alone: session.is_some(),
        session: session.unwrap_or_else(|| session_name(replica.node_id(), term, &mut env)),
        until: core.outside.targets.boot_time() + RUN,
        act: None,
        issued: None,
    };
    Ok((begun, lease))
}

fn lease_of(asked: &Asked<'_>, target: &str, spec: LeaseSpec) -> Result<LeaseRecord, Error> {
    let now = asked.now;
    let bounds = Bounds::of(&asked.core.settings, asked.mount);
    let wish = Wish {
        ttl: spec.ttl,
        max_ttl: spec.max_ttl,
        ..Wish::default()
    };
    let life = life(bounds, &wish, now, now).ttl;
    let mut expires = now.saturating_add(life.saturating_sub(jitter(life)));
    let token = &asked.caller.record;
    // What a batch token is given ends with it at the latest: there is no row that could be closed.
    let latest = match token.kind {
        TokenKind::Service => 0,
        TokenKind::Batch => token.expires,
        TokenKind::Inline => {
            return Err(Error::invalid(
                "requests with inline authentication cannot generate leases",
            ));
        }
    };
    if latest > 0 {
        expires = expires.min(latest);
    }
    if expires <= now {
        return Err(Error::invalid("the secret would end before it is handed out"));
    }
    let owner = match token.kind {
        TokenKind::Service => Some(asked.caller.name.clone()),
        TokenKind::Batch | TokenKind::Inline => token.parent.clone(),
    };
    Ok(LeaseRecord {
        namespace: asked.mount.namespace,
        mount: asked.mount.id,
        mount_path: asked.mount.path.clone(),
        kind: asked.mount.kind.clone(),
        path: asked.path.to_owned(),
        owner,
        target: target.to_owned(),
        issued: now,
        expires,
        renewed: 0,
        latest,
        renewable: spec.renewable,
        internal: spec.internal,
        counted: None,
        ending: None,
    })
}

/// How much earlier than asked a lease ends: leases that were handed out together do not all end together. Never later: the
/// target may have been told the end.
fn jitter(life: Millis) -> Millis {
    if life < SHORT {
        return 0;
    }
    let most = (life / JITTER_PART).min(MAX_JITTER);
    let mut entropy = OsEntropy;
    let mut bytes = [0; 8];
    Entropy::fill(&mut entropy, &mut bytes);
    u64::from_be_bytes(bytes) % (most + 1)
}

/// The cluster's time after the boot clock was read: the bound in the row must not come before the one that is kept here.
fn core_now(core: &Core, now: Millis) -> Millis {
    core.seal.now().max(now)
}

/// Whole milliseconds.
fn millis(time: std::time::Duration) -> Millis {
    u64::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}
