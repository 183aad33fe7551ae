//! `sys/leases/*`: leases of what engines hand out, and of tokens that end. A token's lease is called after the path that made
//! it and the HMAC that names its row, so a lease id is no token and leads to none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use conclave_engine_api::{Fields, Millis, Page, Reader, Reply};

use crate::catalog::{Category, decode_record};
use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::error::Error;
use crate::leases::{self, Reconcile};
use crate::namespaces::id;
use crate::namespaces::located::{self, Located};
use crate::routes::{Act, Answer, Call};
use crate::session::Derived;
use crate::store::layout::ROOT_NAMESPACE;
use crate::store::{CommitError, Opened, Proposal, Space, Table, commit, commit_once};
use crate::sys::object;
use crate::tokens::{self, Found, TokenRecord};
use crate::work::{Readers, Work};

/// Tokens revoked by one command; each takes up to seven operations of the 4096 a command may have.
const BATCH: usize = 256;
/// Tries before a batch that keeps losing to other changes of its tokens is given up.
const TRIES: u32 = 8;
/// How long a revocation is waited for whose answer is to say that it is done ...
const SYNC: Duration = Duration::from_secs(30);
/// ... and between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What paths that make tokens begin with.
const AUTH: &str = "auth/";
/// What is counted of tokens ...
const TOKENS: &str = "auth_token";
/// ... and of mounts that are gone or were moved, and of leases that cannot be read.
const DISABLED: &str = "disabled";
/// Most leases shown of those that could not be revoked.
const MAX_STUCK: usize = 10_000;

/// `lease lookup`.
pub fn lookup(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = lease_id(call.params.get("lease_id"), call.fields())?;
    let now = call.env.now();
    if let Some(record) = ours(call.work, &id)? {
        return Ok(Answer::data(leases::describe(&id, &record, now)));
    }
    let found = leased(call.work, &id, now)?.ok_or_else(|| Error::invalid("invalid lease"))?;
    let record = &found.record;
    let last_renewal = match record.renewed {
        0 => Value::Null,
        renewed => json!(rfc3339(renewed)),
    };
    Ok(Answer::data(object(json!({
        "id": id,
        "path": record.path,
        "issue_time": rfc3339(record.created),
        "expire_time": rfc3339(record.expires),
        "last_renewal": last_renewal,
        "renewable": record.renewable,
        "ttl": record.ttl(now).div_ceil(1000),
    }))))
}

/// `lease renew`. Tokens are renewed by those who hold them or their accessor, as in Vault.
pub fn renew(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let id = lease_id(act.params.get("lease_id"), act.fields())?;
        let increment = act.fields().duration("increment")?.unwrap_or(0);
        let core = &act.core;
        let (session, replica) = (core.seal.session()?, core.seal.replica()?);
        let (opened, derived) = session.view(replica.read().await?)?;
        let is_token = {
            let catalog = derived.catalog.of(act.namespace)?;
            let readers = Readers::within(&opened, act.namespace);
            let mut work = Work::new(&readers, &catalog);
            leased(&mut work, &id, replica.now())?.is_some()
        };
        drop(opened);
        if is_token {
            return Err(Error::invalid("tokens cannot be renewed through this endpoint"));
        }
        if id::of_shown(&id) != act.namespace {
            return Err(Error::invalid("lease not found"));
        }
        leases::renew(core, &id, increment).await
    }
    .boxed()
}

/// `lease revoke`. One that is gone already is what was asked for. With `sync` it is answered when the account is gone.
pub fn revoke(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let id = lease_id(act.params.get("lease_id"), act.fields())?;
        let sync = act.fields().bool("sync")?.unwrap_or(false);
        let (core, namespace) = (&act.core, act.namespace);
        let began = core.seal.replica()?.now();
        change(core, |opened, derived, now| {
            let catalog = derived.catalog.of(namespace)?;
            let readers = Readers::within(opened, namespace);
            let mut work = Work::new(&readers, &catalog);
            if let Some(found) = leased(&mut work, &id, now)? {
                tokens::revoke(&mut work, &found)?;
            } else if id::of_shown(&id) == namespace {
                leases::mark(&mut work, &id, now, false)?;
            }
            work.finish()
        })
        .await?;
        // Nothing was begun elsewhere.
        if sync && id::of_shown(&id) == namespace {
            wait_gone(core, &id, began).await?;
        }
        Ok(Answer::empty())
    }
    .boxed()
}

/// Commits what ends tokens and leases, made anew on a newer view when it loses to another change, and closes the tokens.
async fn change(
    core: &Arc<Core>,
    make: impl Fn(&Opened, &Derived, Millis) -> Result<Proposal, Error> + Send,
) -> Result<(), Error> {
    for _ in 0..TRIES {
        let (session, replica) = (core.seal.session()?, core.seal.replica()?);
        let (opened, derived) = session.view(replica.read().await?)?;
        let proposal = make(&opened, &derived, replica.now())?;
        drop(opened);
        let closed = proposal.closed().to_vec();
        match commit(replica.as_ref(), proposal).await {
            Ok(_) => {
                core.close_tokens(&session, replica.as_ref(), closed).await;
                return Ok(());
            }
            Err(CommitError::Retry) => {}
            Err(CommitError::Refused) => return Err(Error::internal("a revocation was refused")),
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    Err(Error::Contention)
}

/// Waits until a lease that is being revoked is gone, or an attempt that began since has failed.
async fn wait_gone(core: &Core, id: &str, began: Millis) -> Result<(), Error> {
    let until = tokio::time::Instant::now() + SYNC;
    while tokio::time::Instant::now() < until {
        let (session, replica) = (core.seal.session()?, core.seal.replica()?);
        let (opened, _) = session.view(replica.read().await?)?;
        let Some(record) = leases::by_id(&opened, id)? else {
            return Ok(());
        };
        let ending = record.ending.as_ref();
        if let Some(error) = ending.and_then(|ending| ending.error_since(began)) {
            return Err(failed(error));
        }
        drop(opened);
        tokio::time::sleep(LOOK).await;
    }
    Err(Error::Target("the lease is still being revoked".to_owned()))
}

fn failed(error: &str) -> Error {
    Error::Target(format!("failed to revoke: {error}; it is tried again"))
}

/// `GET sys/leases`: leases whose revocation does not get on, with what was said. They are all tried again, so none is irrevocable
/// in Vault's sense; clients ask for them by that name, and by no other.
pub fn stuck(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    if fields.string("type")?.as_deref() != Some("irrevocable") {
        return Err(Error::NotFound { warnings: Vec::new() });
    }
    let limit = match fields.string("limit")?.as_deref() {
        None | Some("none") => MAX_STUCK,
        Some(limit) => {
            let limit: Option<usize> = limit.parse().ok().filter(|limit| *limit > 0);
            let limit = limit.ok_or_else(|| Error::invalid("limit must be 'none' or a positive integer"))?;
            limit.min(MAX_STUCK)
        }
    };
    let now = call.env.now();
    let (found, unread) = leases::stuck(call.work.opened(), call.work.namespace(), now, limit)?;
    let shown: Vec<Value> = found
        .into_iter()
        .map(|stuck| {
            json!({
                "lease_id": stuck.id,
                "mount_path": stuck.record.mount_path,
                "error": stuck.why,
                "attempts": stuck.record.ending.map_or(0, |ending| ending.attempts),
                "since": rfc3339(stuck.since),
                "next_attempt": rfc3339(stuck.next),
            })
        })
        .collect();
    let reply = Reply::data(object(json!({"lease_count": shown.len(), "leases": shown})));
    Ok(match unread {
        0 => reply,
        _ => reply.warn(format!(
            "{unread} that is due cannot be read: the leader's log says why"
        )),
    }
    .into())
}

/// `GET sys/leases/count`: with `type=irrevocable`, of leases whose revocation does not get on; of no other type. Ours: with
/// `prefix`, of all beneath it, which is told back.
pub fn count(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let kind = call.fields().string("type")?.unwrap_or_default();
    let prefix = call
        .fields()
        .string("prefix")?
        .map(|prefix| as_directory(&prefix));
    let (opened, namespace, now) = (call.work.opened(), call.work.namespace(), call.env.now());
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut tell = |name: &str, count: u64| {
        if count > 0 {
            *counts.entry(name.to_owned()).or_default() += count;
        }
    };
    let mounts = call.work.catalog.mounts(Category::Secret).values();
    match (kind.as_str(), &prefix) {
        ("", Some(prefix)) if !prefix.is_empty() => {
            tell("leases", leases::beneath(opened, namespace, prefix)?);
        }
        ("", Some(_)) => {
            let mut left = leases::beneath(opened, namespace, "")?;
            for mount in mounts {
                let found = leases::beneath(opened, namespace, &mount.path)?;
                left = left.saturating_sub(found);
                tell(&mount.accessor, found);
            }
            tell(DISABLED, left);
        }
        ("irrevocable", None) => {
            let (found, unread) = leases::stuck(opened, namespace, now, usize::MAX)?;
            tell(DISABLED, u64::try_from(unread).unwrap_or(u64::MAX));
            for stuck in &found {
                let mount = mounts.clone().find(|mount| stuck.id.starts_with(&mount.path));
                tell(mount.map_or(DISABLED, |mount| &mount.accessor), 1);
            }
        }
        ("irrevocable", Some(_)) => return Err(Error::invalid("type and prefix cannot both be given")),
        _ => return Err(Error::NotFound { warnings: Vec::new() }),
    }
    if let Some(prefix) = &prefix {
        let tokens = beneath(opened, namespace, prefix, now)?.len();
        counts.insert(TOKENS.to_owned(), u64::try_from(tokens).unwrap_or(u64::MAX));
    }
    let total: u64 = counts.values().sum();
    let mut told = object(json!({"lease_count": total, "counts": counts}));
    if let Some(prefix) = prefix {
        told.insert("prefix".to_owned(), json!(prefix));
    }
    Ok(Answer::data(told))
}

/// `conclave lease reconcile`: compares the accounts in the targets of a mount with its leases, and drops those without one.
pub fn reconcile(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let fields = act.fields();
        let path = as_directory(fields.required("mount")?.trim_start_matches('/'));
        let how = Reconcile {
            dry_run: fields.bool("dry_run")?.unwrap_or(false),
            unmarked: fields.bool("unmarked")?.unwrap_or(false),
            patient: false,
        };
        let (session, replica) = (act.core.seal.session()?, act.core.seal.replica()?);
        let (opened, derived) = session.view(replica.read().await?)?;
        let catalog = derived.catalog.of(act.namespace)?;
        let mount = catalog.mounts(Category::Secret).get(&path).map(|mount| mount.id);
        let mount =
            mount.ok_or_else(|| Error::invalid(format!("no secrets engine is mounted at {path:?}")))?;
        drop(opened);
        let found = leases::reconcile(&act.core, mount, how).await?;
        let targets: Vec<Value> = found.iter().map(target).collect();
        let reply = Reply::data(object(json!({"targets": targets})));
        Ok(match found.is_empty() {
            true => reply.warn("This mount has no target whose accounts could be told from others'."),
            false => reply,
        }
        .into())
    }
    .boxed()
}

fn target(found: &leases::Found) -> Value {
    json!({
        "target": found.target,
        "listed": found.listed,
        "certain": found.certain,
        "orphans": found.orphans,
        "dropped": found.dropped,
        "error": found.error,
    })
}

/// `leases/tidy`: there is nothing that could be left behind, for a lease and what it hangs on are one command.
pub fn tidy(_: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let reply = Reply {
        status: conclave_engine_api::Status::Accepted,
        ..Reply::empty()
    };
    Ok(reply
        .warn("Nothing to tidy: leases and what they hang on are written together.")
        .into())
}

/// `list sys/leases/lookup/<prefix>`: the next segment of each lease beneath the prefix.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let directory = as_directory(call.params.get("prefix"));
    let page = call.fields().page()?;
    let mut names = BTreeSet::new();
    let space = Space::within(Table::Lease, call.work.namespace());
    let stored = call
        .work
        .opened()
        .space(space)
        .names(&directory, &Page::default())?;
    names.extend(
        stored
            .into_iter()
            .filter(|name| name.as_str() > page.after.as_str()),
    );
    for (name, record) in beneath(
        call.work.opened(),
        call.work.namespace(),
        &directory,
        call.env.now(),
    )? {
        let id = id_of(&name, &record);
        let rest = id.strip_prefix(&directory).unwrap_or_default();
        let next = rest.split_inclusive('/').next().unwrap_or_default();
        if next > page.after.as_str() {
            names.insert(next.to_owned());
        }
    }
    if names.is_empty() {
        return Err(Error::NotFound { warnings: Vec::new() });
    }
    let limit = page.limit.unwrap_or(usize::MAX);
    Ok(Reply::keys(names.into_iter().take(limit).collect()).into())
}

/// `lease revoke -prefix`: everything that had a lease beneath the prefix when this began. Accounts go when their targets do
/// their part, which is tried for ever.
pub fn revoke_prefix(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move { end_beneath(&act, false).await }.boxed()
}

/// `lease revoke -force`: the same, but what a target refuses or does not answer is tried once and given up. Nothing that a
/// token owns lives outside the cluster, so for tokens there is nothing to give up.
pub fn revoke_force(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move { end_beneath(&act, true).await }.boxed()
}

async fn end_beneath(act: &Act, force: bool) -> Result<Answer, Error> {
    let core = &act.core;
    let directory = as_directory(act.params.get("prefix"));
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    let began = replica.now();
    let (opened, derived) = session.view(replica.read().await?)?;
    let names: Vec<String> = beneath(&opened, act.namespace, &directory, replica.now())?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let closing = {
        let readers = Readers::new(&opened);
        let mut work = Work::new(&readers, &derived.catalog);
        leases::close_prefix(&mut work, act.namespace, &directory, force)?;
        work.finish()?
    };
    drop(opened);
    let closed = closing.closed().to_vec();
    commit_once(replica.as_ref(), closing).await?;
    core.close_tokens(&session, replica.as_ref(), closed).await;
    for batch in names.chunks(BATCH) {
        revoke_batch(core, batch).await?;
    }
    if act.fields().bool("sync")?.unwrap_or(false) {
        wait_gone_beneath(core, act.namespace, &directory, began).await?;
    }
    Ok(Answer::empty())
}

/// Waits until no lease is left beneath a directory, or an attempt at one that began since has failed.
async fn wait_gone_beneath(core: &Core, namespace: u32, directory: &str, began: Millis) -> Result<(), Error> {
    let until = tokio::time::Instant::now() + SYNC;
    while tokio::time::Instant::now() < until {
        let (session, replica) = (core.seal.session()?, core.seal.replica()?);
        let (opened, _) = session.view(replica.read().await?)?;
        if leases::beneath(&opened, namespace, directory)? == 0 {
            return Ok(());
        }
        let (stuck, _) = leases::stuck(&opened, namespace, replica.now(), usize::MAX)?;
        let beneath = stuck.iter().filter(|stuck| stuck.id.starts_with(directory));
        let mut endings = beneath.filter_map(|stuck| stuck.record.ending.as_ref());
        if let Some(error) = endings.find_map(|ending| ending.error_since(began)) {
            return Err(failed(error));
        }
        drop(opened);
        tokio::time::sleep(LOOK).await;
    }
    Err(Error::Target("the leases are still being revoked".to_owned()))
}

async fn revoke_batch(core: &Arc<Core>, names: &[String]) -> Result<(), Error> {
    change(core, |opened, derived, _| {
        let readers = Readers::new(opened);
        let mut work = Work::new(&readers, &derived.catalog);
        for name in names {
            // An expired token that still stands is closed like a live one.
            if let Some(found) = tokens::by_name(&mut work, name, 0)? {
                tokens::revoke(&mut work, &found)?;
            }
        }
        work.finish()
    })
    .await
}

/// The lease of an engine with this id, if it is of the namespace worked in.
fn ours(work: &Work<'_>, id: &str) -> Result<Option<leases::LeaseRecord>, Error> {
    if id::of_shown(id) != work.namespace() {
        return Ok(None);
    }
    leases::by_id(work.opened(), id)
}

fn lease_id(in_path: &str, fields: Fields<'_>) -> Result<String, Error> {
    let id = if in_path.is_empty() {
        fields.string("lease_id")?.unwrap_or_default()
    } else {
        in_path.to_owned()
    };
    if id.is_empty() {
        return Err(Error::invalid("lease_id must be specified"));
    }
    Ok(id)
}

/// The token that a lease id names, if it has a lease.
fn leased(work: &mut Work<'_>, id: &str, now: Millis) -> Result<Option<Found>, Error> {
    let number = id::of_shown(id);
    if number != work.namespace() {
        return Ok(None);
    }
    let unmarked = match number {
        ROOT_NAMESPACE => id,
        _ => id.rsplit_once('.').map_or(id, |(unmarked, _)| unmarked),
    };
    let Some((path, name)) = unmarked.rsplit_once("/h") else {
        return Ok(None);
    };
    // Names of rows are what hexadecimal encoding makes: any other text names none.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let found = tokens::by_name(work, &located::locate(number, name), now)?;
    Ok(found.filter(|found| found.record.expires != 0 && found.record.path == path))
}

/// Tokens of a namespace that end, by the name of their row, whose lease id lies beneath a directory. Reads every token, if it can be one's.
fn beneath(
    opened: &Opened,
    namespace: u32,
    directory: &str,
    now: Millis,
) -> Result<Vec<(String, TokenRecord)>, Error> {
    let mut found = Vec::new();
    // Tokens are made by auth methods alone: the paths of all of them begin so.
    if !directory.starts_with(AUTH) && !AUTH.starts_with(directory) {
        return Ok(found);
    }
    let stored = Located::new(opened, Table::Token);
    for name in tokens::names(opened, namespace)? {
        let Some(row) = stored.get(&name)? else { continue };
        let record: TokenRecord = decode_record(&row.value)?;
        let ends = record.expires != 0 && !record.is_expired(now);
        if ends && as_directory(&record.path).starts_with(directory) {
            found.push((name, record));
        }
    }
    Ok(found)
}

fn id_of(name: &str, record: &TokenRecord) -> String {
    let (number, name) = located::split(name);
    id::mark(&format!("{}h{name}", as_directory(&record.path)), number)
}

/// With one slash at its end; empty stays empty.
fn as_directory(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    }
}
