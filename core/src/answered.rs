//! Answers that are kept for writes with an idempotency key, so that a write sent again is answered again and not done
//! again; and by what name such a login is known again, of which no answer is kept. An answer commits together with the
//! change it tells of. Knows requests and answers, not what they mean.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use conclave_barrier::Barrier;
use conclave_engine_api::{Changes, Millis, Reply, Seen, Status, Txn, Write};

use crate::canon::CanonPath;
use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::request::{Request, Verb};
use crate::routes::Answer;
use crate::store::{Draft, Opened, Proposal, Space, Table};
use crate::work::Work;

/// How long an answer is kept.
const KEPT_FOR: Millis = 600_000;
/// Longest key in characters.
const MAX_KEY_CHARS: usize = 128;
/// Largest answer that is kept, in encoded bytes. Beyond it only the fact is kept that the write was done.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

const fn answered(namespace: u32) -> Space {
    Space::within(Table::Answered, namespace)
}

/// What is known of a request before it is handled.
pub enum Known {
    /// It was done already: this was the answer.
    Answered(Box<Answer>),
    /// It is to be done. `Some` if its answer is to be kept.
    New(Option<Unanswered>),
}

/// A write whose answer will be kept.
pub struct Unanswered {
    /// Where its row lies.
    namespace: u32,
    /// Path of its row.
    name: String,
    /// Tells another body under the same key from a repetition.
    body: String,
    /// What the view holds at `name`: what the commit expects.
    seen: Seen,
}

/// Looks a request up by its idempotency key. `caller` names who asks: keys of different tokens do not meet, nor do those of
/// different namespaces.
///
/// # Errors
/// [`Error::Invalid`] for a key that is too long or not visible ASCII, for a key that came with another body before, and
/// when the answer was too large to be kept.
pub fn look_up(
    opened: &Opened,
    request: &Request,
    caller: &str,
    (namespace, path): (u32, &CanonPath),
    now: Millis,
) -> Result<Known, Error> {
    let verb = match request.verb {
        Verb::Write => "write",
        Verb::Patch => "patch",
        Verb::Delete => "delete",
        Verb::Read | Verb::List | Verb::Scan | Verb::Help => return Ok(Known::New(None)),
    };
    let Some(key) = request.idempotency_key.as_deref() else {
        return Ok(Known::New(None));
    };
    check_key(key)?;
    let name = name_of(opened.barrier(), [caller, verb, path.as_str(), key]);
    let body = digest_of(&request.data)?;
    let row = opened.space(answered(namespace)).row(&name)?;
    let seen = row.as_ref().map_or(Seen::Absent, |row| Seen::Revision {
        revision: row.revision,
        deadline: row.deadline,
    });
    // What fell due and was not yet removed counts as gone; the new answer takes its place.
    let row = row.filter(|row| row.deadline.is_some_and(|deadline| deadline > now));
    let Some(row) = row else {
        return Ok(Known::New(Some(Unanswered {
            namespace,
            name,
            body,
            seen,
        })));
    };
    let kept: Kept = decode_record(&row.value)?;
    if kept.body != body {
        return Err(Error::invalid(
            "this idempotency key was used with another request body",
        ));
    }
    let answer = kept.answer.ok_or_else(|| {
        Error::invalid(
            "the request with this idempotency key was done, but its answer was too large to be kept",
        )
    })?;
    Ok(Known::Answered(Box::new(answer.into())))
}

/// Names a login that has an idempotency key: nothing of it is kept but that it failed, which counts once. All that it shows is
/// in the name, for under the same key may come another guess.
///
/// # Errors
/// [`Error::Invalid`] for a key that is too long or not visible ASCII.
pub fn name_of_login(opened: &Opened, request: &Request, path: &CanonPath) -> Result<Option<String>, Error> {
    let Some(key) = request.idempotency_key.as_deref() else {
        return Ok(None);
    };
    check_key(key)?;
    let mut shown = digest_of(&request.data)?;
    for factor in &request.mfa {
        shown.push(' ');
        shown.push_str(&hex::encode(Sha256::digest(factor.as_bytes())));
    }
    Ok(Some(name_of(
        opened.barrier(),
        [&shown, "login", path.as_str(), key],
    )))
}

/// Adds the answer to the change it tells of. A request that changes nothing keeps nothing: it may run again.
pub fn keep(
    opened: &Opened,
    unanswered: Option<Unanswered>,
    mut proposal: Proposal,
    answer: &Answer,
    now: Millis,
) -> Result<Proposal, Error> {
    let Some(Unanswered {
        namespace,
        name,
        body,
        seen,
    }) = unanswered.filter(|_| !proposal.is_empty())
    else {
        return Ok(proposal);
    };
    let mut value = encode_record(&Kept {
        body: body.clone(),
        answer: KeptAnswer::of(answer),
    })?;
    if value.len() > MAX_ANSWER_BYTES {
        value = encode_record(&Kept { body, answer: None })?;
    }
    let mut changes = Changes::default();
    changes.reads.insert(name.clone(), seen);
    changes.writes.insert(
        name,
        Write::Put {
            value,
            deadline: Some(now.saturating_add(KEPT_FOR)),
            new_generation: false,
        },
    );
    let mut draft = Draft::new(opened);
    draft.include(answered(namespace), changes)?;
    let kept = draft.finish();
    proposal.expect.extend(kept.expect);
    proposal.ops.extend(kept.ops);
    Ok(proposal)
}

/// Removes an answer that fell due, unless another took its place.
pub fn forget(work: &mut Work<'_>, namespace: u32, name: &str) -> Result<(), Error> {
    let reader = work.opened().space(answered(namespace));
    let mut txn = Txn::new(&reader);
    txn.get(name)?;
    txn.delete(name)?;
    work.draft.include(answered(namespace), txn.into_changes())
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > MAX_KEY_CHARS || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid(format!(
            "an idempotency key must be 1 to {MAX_KEY_CHARS} visible ASCII characters"
        )));
    }
    Ok(())
}

/// Parts are told apart by their lengths; the label keeps this use of the key apart from names of accessors.
fn name_of(barrier: &Barrier, parts: [&str; 4]) -> String {
    let mut text = b"idempotency key\0".to_vec();
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    hex::encode(barrier.lease_hmac(&text))
}

fn digest_of(data: &Map<String, Value>) -> Result<String, Error> {
    let mut text = Zeroizing::new(Vec::new());
    serde_json::to_writer(&mut *text, data).map_err(|_| Error::internal("a request body does not encode"))?;
    Ok(hex::encode(Sha256::digest(&*text)))
}

/// The sealed record.
#[derive(Serialize, Deserialize)]
struct Kept {
    body: String,
    answer: Option<KeptAnswer>,
}

/// An answer as kept: everything that a repetition must say again.
#[derive(Serialize, Deserialize)]
struct KeptAnswer {
    status: KeptStatus,
    data: Option<Map<String, Value>>,
    warnings: Vec<String>,
    lease_duration_hint: Option<u64>,
    auth: Option<Map<String, Value>>,
    at_top_level: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptStatus {
    Done,
    Accepted,
    NotFoundWithBody,
}

impl KeptAnswer {
    /// `None` for what is no envelope.
    fn of(answer: &Answer) -> Option<Self> {
        let reply = &answer.reply;
        if reply.raw.is_some() || answer.file.is_some() {
            return None;
        }
        let status = match reply.status {
            Status::Done => KeptStatus::Done,
            Status::Accepted => KeptStatus::Accepted,
            Status::NotFoundWithBody => KeptStatus::NotFoundWithBody,
            Status::InPart(_) => return None,
        };
        Some(Self {
            status,
            data: reply.data.clone(),
            warnings: reply.warnings.clone(),
            lease_duration_hint: reply.lease_duration_hint,
            auth: answer.auth.clone(),
            at_top_level: answer.at_top_level,
        })
    }
}

impl From<KeptAnswer> for Answer {
    fn from(kept: KeptAnswer) -> Self {
        Self {
            reply: Reply {
                status: match kept.status {
                    KeptStatus::Done => Status::Done,
                    KeptStatus::Accepted => Status::Accepted,
                    KeptStatus::NotFoundWithBody => Status::NotFoundWithBody,
                },
                data: kept.data,
                warnings: kept.warnings,
                lease_duration_hint: kept.lease_duration_hint,
                ..Reply::default()
            },
            auth: kept.auth,
            at_top_level: kept.at_top_level,
            ..Self::default()
        }
    }
}
