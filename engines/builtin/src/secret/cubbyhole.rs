//! The cubbyhole: private rows of one token, which end with it. Knows the token only as the request's opaque caller.

use conclave_engine_api::{Engine, Env, Error, Mount, Operation, Outcome, Page, Reply, Request, Route, Txn};

use crate::secret::document;

/// Most rows that one transaction removes when a token ends.
const FORGET_BATCH: usize = 512;

/// Longest caller in bytes: it is one segment of a row's path.
const MAX_CALLER_BYTES: usize = 256;

/// The cubbyhole engine. Rows lie at `<caller>/<path>`.
pub(crate) struct Cubbyhole;

impl Engine for Cubbyhole {
    fn kind(&self) -> &'static str {
        "cubbyhole"
    }

    fn routes(&self) -> &'static [Route] {
        &[Route {
            pattern: "*path",
            operations: &[
                Operation::Read,
                Operation::Create,
                Operation::Update,
                Operation::Delete,
                Operation::List,
            ],
            summary: "Read, write, delete and list secrets that only this token sees and that end with it.",
        }]
    }

    fn exists(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<bool>, Error> {
        Ok(Some(txn.get(&row(request)?)?.is_some()))
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, _env: &mut Env<'_>) -> Result<Outcome, Error> {
        match request.operation {
            Operation::Read => {
                let stored = txn.get(&row(request)?)?.ok_or_else(Error::not_found)?;
                let data = document::decode(&stored.value)?.unwrap_or_default();
                Ok(Reply::data(data).into())
            }
            Operation::Create | Operation::Update => {
                let row = row(request)?;
                if request.data.is_empty() {
                    return Err(Error::invalid("missing data fields"));
                }
                txn.put(&row, document::encode(Some(request.data))?)?;
                Ok(Reply::empty().into())
            }
            Operation::Delete => {
                if !request.path.is_empty() {
                    txn.delete(&row(request)?)?;
                }
                Ok(Reply::empty().into())
            }
            Operation::List => {
                let path = request.path.trim_end_matches('/');
                let dir = match path {
                    "" => dir(request.caller)?,
                    _ => format!("{}{path}/", dir(request.caller)?),
                };
                Outcome::listing(txn.list(&dir, &request.fields().page()?)?)
            }
            _ => Err(Error::UnsupportedOperation),
        }
    }

    fn keeps_for_callers(&self) -> bool {
        true
    }

    fn forget_caller(&self, txn: &mut Txn<'_>, _mount: &Mount, caller: &str) -> Result<bool, Error> {
        let mut pending = vec![dir(caller)?];
        let mut room = FORGET_BATCH;
        while let Some(dir) = pending.pop() {
            let page = Page {
                limit: Some(room.saturating_add(1)),
                ..Page::default()
            };
            for name in txn.list(&dir, &page)? {
                let path = format!("{dir}{name}");
                if path.ends_with('/') {
                    pending.push(path);
                } else if let Some(left) = room.checked_sub(1) {
                    txn.delete(&path)?;
                    room = left;
                } else {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// The row that a request addresses.
fn row(request: &Request<'_>) -> Result<String, Error> {
    let path = request.path.trim_end_matches('/');
    if path.is_empty() {
        return Err(Error::invalid("missing path"));
    }
    Ok(format!("{}{path}", dir(request.caller)?))
}

/// The directory of a caller's rows. A caller that is not one path segment would reach into another's.
fn dir(caller: &str) -> Result<String, Error> {
    match caller {
        "" => Err(Error::Denied),
        _ if caller.len() > MAX_CALLER_BYTES || caller.contains('/') => {
            Err(Error::internal("a caller must be one path segment"))
        }
        _ => Ok(format!("{caller}/")),
    }
}
