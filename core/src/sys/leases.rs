//! `sys/leases/*` for what has leases here so far: tokens that end. A token's lease is called after the path that made it
//! and the HMAC that names its row, so a lease id is no token and leads to none.

use std::collections::BTreeSet;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use conclave_engine_api::{Millis, Page, Reply};

use crate::catalog::decode_record;
use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::error::Error;
use crate::routes::{Act, Answer, Call};
use crate::store::{CommitError, Opened, commit};
use crate::sys::object;
use crate::tokens::{self, Found, TokenRecord};
use crate::work::{Readers, Work};

/// Tokens revoked by one command; each takes up to seven operations of the 4096 a command may have.
const BATCH: usize = 256;
/// Tries before a batch that keeps losing to other changes of its tokens is given up.
const TRIES: u32 = 8;

/// `lease lookup`.
pub fn lookup(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = lease_id(call)?;
    let found = leased(call, &id)?.ok_or_else(|| Error::invalid("invalid lease"))?;
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
        "ttl": record.ttl(call.env.now()).div_ceil(1000),
    }))))
}

/// `lease renew`. Tokens are renewed by those who hold them or their accessor, as in Vault.
pub fn renew(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = lease_id(call)?;
    Err(Error::invalid(match leased(call, &id)? {
        Some(_) => "tokens cannot be renewed through this endpoint",
        None => "lease not found",
    }))
}

/// `lease revoke`. One that is gone already is what was asked for.
pub fn revoke(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = lease_id(call)?;
    if let Some(found) = leased(call, &id)? {
        tokens::revoke(call.work, &found)?;
    }
    Ok(Answer::empty())
}

/// `list sys/leases/lookup/<prefix>`: the next segment of each lease beneath the prefix.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let directory = as_directory(call.params.get("prefix"));
    let page = call.fields().page()?;
    let mut names = BTreeSet::new();
    for (name, record) in beneath(call.work.opened(), &directory, call.env.now())? {
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

/// `lease revoke -prefix` and `-force`: everything that had a lease beneath the prefix when this began. Nothing that a
/// token owns lives outside the cluster, so there is nothing for force to give up.
pub fn revoke_prefix(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let core = &act.core;
        let directory = as_directory(act.params.get("prefix"));
        let (session, replica) = (core.seal.session()?, core.seal.replica()?);
        let (opened, _) = session.view(replica.read().await?)?;
        let names: Vec<String> = beneath(&opened, &directory, replica.now())?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        drop(opened);
        for batch in names.chunks(BATCH) {
            revoke_batch(core, batch).await?;
        }
        Ok(Answer::empty())
    }
    .boxed()
}

async fn revoke_batch(core: &Core, names: &[String]) -> Result<(), Error> {
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    for _ in 0..TRIES {
        let (opened, derived) = session.view(replica.read().await?)?;
        let proposal = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            for name in names {
                // An expired token that still stands is closed like a live one.
                if let Some(found) = tokens::by_name(&mut work, name, 0)? {
                    tokens::revoke(&mut work, &found)?;
                }
            }
            work.finish()?
        };
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

fn lease_id(call: &Call<'_, '_>) -> Result<String, Error> {
    let in_path = call.params.get("lease_id");
    let id = if in_path.is_empty() {
        call.fields().string("lease_id")?.unwrap_or_default()
    } else {
        in_path.to_owned()
    };
    if id.is_empty() {
        return Err(Error::invalid("lease_id must be specified"));
    }
    Ok(id)
}

/// The token that a lease id names, if it has a lease.
fn leased(call: &mut Call<'_, '_>, id: &str) -> Result<Option<Found>, Error> {
    let Some((path, name)) = id.rsplit_once("/h") else {
        return Ok(None);
    };
    // Names of rows are what hexadecimal encoding makes: any other text names none.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let found = tokens::by_name(call.work, name, call.env.now())?;
    Ok(found.filter(|found| found.record.expires != 0 && found.record.path == path))
}

/// Tokens that end, by the name of their row, whose lease id lies beneath a directory. Reads every token.
fn beneath(opened: &Opened, directory: &str, now: Millis) -> Result<Vec<(String, TokenRecord)>, Error> {
    let stored = opened.space(tokens::TOKENS);
    let mut found = Vec::new();
    for name in stored.names("", &Page::default())? {
        let Some(row) = stored.row(&name)? else { continue };
        let record: TokenRecord = decode_record(&row.value)?;
        let ends = record.expires != 0 && !record.is_expired(now);
        if ends && as_directory(&record.path).starts_with(directory) {
            found.push((name, record));
        }
    }
    Ok(found)
}

fn id_of(name: &str, record: &TokenRecord) -> String {
    format!("{}h{name}", as_directory(&record.path))
}

/// With one slash at its end; empty stays empty.
fn as_directory(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    }
}
