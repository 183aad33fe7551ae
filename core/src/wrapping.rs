//! Response wrapping: an answer goes into the cubbyhole of a fresh token that can be used once, and the caller gets the
//! token. Whoever shows it later finds the answer, or finds that somebody else was first. The token, what it holds and the
//! change the answer tells of are one command.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use conclave_engine_api::{Env, Millis, Operation, Outcome, Reply, Txn};
use conclave_raft::mutant;

use crate::canon::CanonPath;
use crate::catalog::{Catalog, Category};
use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::policy::WRAPPING_POLICY;
use crate::request::{Request, Verb};
use crate::routes::{Answer, LeaseInfo};
use crate::store::{Opened, Proposal};
use crate::tokens::{self, Found, NewToken};
use crate::work::{Readers, Work};

/// Where the answer lies in its token's cubbyhole, as in Vault: a client may read it there too.
const PLACE: &str = "response";

/// How an answer is wrapped.
pub enum Wrap {
    /// It is to be: a handler took it out of another wrapping.
    Again(Wish),
    /// It is: what the caller is told instead.
    Done(Map<String, Value>),
}

/// What is wanted of a wrapping.
pub struct Wish {
    /// How long it holds.
    pub ttl: Millis,
    /// The path that is named as its origin.
    pub path: String,
}

/// An answer as it lies in a cubbyhole: the body that the caller would have got.
#[derive(Serialize, Deserialize)]
struct Body {
    request_id: String,
    lease_id: String,
    renewable: bool,
    lease_duration: u64,
    data: Option<Map<String, Value>>,
    wrap_info: Option<Map<String, Value>>,
    warnings: Option<Vec<String>>,
    auth: Option<Map<String, Value>>,
}

/// Said of every token that does not hold an answer, or no longer.
pub fn not_valid() -> Error {
    Error::invalid("wrapping token is not valid or does not exist")
}

/// How the answer to `request` is to be wrapped, if it is, and if there is something in it.
///
/// # Errors
/// [`Error::Unsupported`] for answers that are no JSON.
pub fn wish(request: &Request, path: &CanonPath, answer: &mut Answer) -> Result<Option<Wish>, Error> {
    if answer.awaits_factor() {
        // What is to be wrapped is the token, which comes with the second factor.
        return Ok(None);
    }
    let wish = match answer.wrap.take() {
        Some(Wrap::Again(wish)) => wish,
        Some(done) => {
            answer.wrap = Some(done);
            return Ok(None);
        }
        None => match ttl_of(request) {
            Some(ttl) if request.verb != Verb::Help => Wish {
                ttl,
                path: path.as_str().to_owned(),
            },
            _ => return Ok(None),
        },
    };
    let streams = answer.lines.is_some() || answer.watch.is_some();
    if answer.file.is_some() || streams || answer.reply.raw.is_some() {
        return Err(Error::Unsupported(
            "response wrapping of an answer that is no JSON".to_owned(),
        ));
    }
    let says_something =
        answer.reply.data.is_some() || answer.auth.is_some() || !answer.reply.warnings.is_empty();
    Ok(says_something.then_some(wish))
}

/// How long the caller wants the answer wrapped.
pub fn ttl_of(request: &Request) -> Option<Millis> {
    request.wrap_ttl.filter(|ttl| *ttl > 0)
}

/// Puts `answer` into a fresh token's cubbyhole, in the same command as `proposal`.
pub fn wrap(
    core: &Core,
    (opened, catalog): (&Opened, &Catalog),
    mut proposal: Proposal,
    answer: Answer,
    wish: Wish,
    (request_id, now): (&str, Millis),
) -> Result<(Proposal, Answer), Error> {
    let readers = Readers::within(opened, catalog.namespace().number);
    let mut work = Work::new(&readers, catalog);
    let mut entropy = OsEntropy;
    let minted = tokens::mint(
        &mut work,
        &mut Env::new(now, &mut entropy),
        NewToken {
            policies: vec![WRAPPING_POLICY.to_owned()],
            path: wish.path.clone(),
            num_uses: 1,
            ttl: wish.ttl,
            explicit_max_ttl: wish.ttl,
            ..NewToken::default()
        },
    )?;
    let wrapped_accessor = answer
        .auth
        .as_ref()
        .and_then(|auth| auth.get("accessor"))
        .cloned();
    let owner = tokens::name_of(opened.barrier(), &minted.id);
    let body = serde_json::to_string(&body_of(request_id, answer));
    let body = body.map_err(|_| Error::internal("an answer does not encode"))?;
    let data = Map::from_iter([(PLACE.to_owned(), Value::String(body))]);
    in_cubbyhole(core, &mut work, &owner, Operation::Create, &data, now)?;
    tokens::hang_on(&mut work, &owner)?;
    let work = work.finish()?;
    proposal.expect.extend(work.expect);
    proposal.ops.extend(work.ops);
    let mut info = crate::sys::object(json!({
        "token": *minted.id,
        "accessor": minted.record.accessor,
        "ttl": wish.ttl.div_ceil(1000),
        "creation_time": rfc3339(now),
        "creation_path": wish.path,
    }));
    if let Some(accessor) = wrapped_accessor {
        info.insert("wrapped_accessor".to_owned(), accessor);
    }
    let answer = Answer {
        wrap: Some(Wrap::Done(info)),
        ..Answer::default()
    };
    Ok((proposal, answer))
}

fn body_of(request_id: &str, answer: Answer) -> Body {
    let warnings = answer.reply.warnings;
    let lease = answer.lease;
    let seconds = lease.as_ref().map(|lease| lease.seconds);
    Body {
        request_id: request_id.to_owned(),
        renewable: lease.as_ref().is_some_and(|lease| lease.renewable),
        lease_id: lease.map(|lease| lease.id).unwrap_or_default(),
        lease_duration: seconds.or(answer.reply.lease_duration_hint).unwrap_or(0),
        data: answer.reply.data,
        wrap_info: None,
        warnings: Some(warnings).filter(|warnings| !warnings.is_empty()),
        auth: answer.auth,
    }
}

/// Takes an answer out of `found`'s cubbyhole and ends the token, in one command: nobody finds it twice.
pub fn take(core: &Core, work: &mut Work<'_>, found: &Found, now: Millis) -> Result<Answer, Error> {
    let taken = in_cubbyhole(core, work, &found.name, Operation::Read, &Map::new(), now);
    let reply = taken.map_err(|error| match error {
        Error::NotFound { .. } => not_valid(),
        other => other,
    })?;
    let text = reply
        .data
        .as_ref()
        .and_then(|data| data.get(PLACE))
        .and_then(Value::as_str);
    let body: Body = text
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(not_valid)?;
    // The mutant leaves the answer where it is.
    if !mutant::is("taken-twice") {
        tokens::revoke(work, found)?;
    }
    let lease = (!body.lease_id.is_empty()).then_some(LeaseInfo {
        id: body.lease_id,
        renewable: body.renewable,
        seconds: body.lease_duration,
    });
    Ok(Answer {
        lease,
        reply: Reply {
            data: body.data,
            warnings: body.warnings.unwrap_or_default(),
            lease_duration_hint: Some(body.lease_duration).filter(|seconds| *seconds > 0),
            ..Reply::default()
        },
        auth: body.auth,
        ..Answer::default()
    })
}

/// The wrapping token that a request is about: the one in its body, else the one it is made with.
pub fn subject<'r>(request: &'r Request, path: &CanonPath) -> Option<&'r str> {
    let about = matches!(
        (path.as_str(), request.verb),
        (
            "sys/wrapping/unwrap" | "sys/wrapping/rewrap" | "sys/wrapping/lookup",
            Verb::Write
        ) | ("sys/wrapping/lookup", Verb::Read)
    );
    let shown = request.token.as_deref().map_or("", String::as_str);
    let told = request
        .data
        .get("token")
        .and_then(Value::as_str)
        .unwrap_or_default();
    about.then_some(if told.is_empty() { shown } else { told })
}

/// The wrapping token `id`, if it still holds an answer. `paid`: the request itself has used it up just now.
pub fn find(work: &mut Work<'_>, id: &str, now: Millis, paid: bool) -> Result<Found, Error> {
    let found = tokens::by_id(work, id, now)?.ok_or_else(not_valid)?;
    let is_wrapping = found.record.num_uses == 1 && found.record.policies == [WRAPPING_POLICY];
    let uses = tokens::uses(work.opened(), &found.name)?.unwrap_or(0);
    if is_wrapping && (uses > 0 || paid) {
        Ok(found)
    } else {
        Err(not_valid())
    }
}

/// What is told of a wrapping token to whoever shows it: never what it holds.
pub fn describe(opened: &Opened, catalog: &Catalog, id: &str, now: Millis) -> Result<Answer, Error> {
    let readers = Readers::within(opened, catalog.namespace().number);
    let mut work = Work::new(&readers, catalog);
    let record = find(&mut work, id, now, false)?.record;
    Ok(Answer::data(crate::sys::object(json!({
        "creation_path": record.path,
        "creation_time": rfc3339(record.created),
        "creation_ttl": record.creation_ttl.div_ceil(1000),
    }))))
}

/// Asks the cubbyhole engine as the token `owner`.
fn in_cubbyhole(
    core: &Core,
    work: &mut Work<'_>,
    owner: &str,
    operation: Operation,
    data: &Map<String, Value>,
    now: Millis,
) -> Result<Reply, Error> {
    let mounts = work.catalog.mounts(Category::Secret);
    let record = mounts.get("cubbyhole/");
    let record = record.ok_or_else(|| Error::internal("there is no cubbyhole"))?;
    let engine = core.engine_of(record);
    let engine = engine.ok_or_else(|| Error::internal("there is no cubbyhole"))?;
    let space = record.space();
    let reader = work.opened().space(space);
    let mut txn = Txn::new(&reader);
    let settings = &core.settings;
    let mount = record.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
    let request = conclave_engine_api::Request {
        operation,
        path: PLACE,
        data,
        mount: &mount,
        caller: owner,
        display_name: "",
        remote: None,
    };
    let mut entropy = OsEntropy;
    let outcome = engine.handle(&mut txn, &request, &mut Env::new(now, &mut entropy))?;
    let Outcome::Reply(reply) = outcome else {
        return Err(Error::internal("a cubbyhole answers otherwise"));
    };
    work.draft.include(space, txn.into_changes())?;
    Ok(reply)
}
