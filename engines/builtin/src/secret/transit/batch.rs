//! One request for many texts: `batch_input`, and requests for one as a batch of one. Knows the shapes of items and of
//! answers, not what is done with them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use conclave_engine_api::{Error, Fields, Reply, Request, Status};
use serde_json::{Map, Value, json};

use super::kind::Kind;

/// Statuses that a client may wish for a batch that failed in part: what a server can send at the end of an answer.
const STATUSES: std::ops::RangeInclusive<i64> = 200..=599;
/// The status of a batch that failed in part.
const FAILED: u16 = 400;

/// What came of one item.
pub(super) type Done = Result<Map<String, Value>, Error>;

/// The items of a request.
pub(super) struct Batch<'a> {
    pub(super) items: Vec<Item<'a>>,
    is_many: bool,
}

/// One item.
pub(super) struct Item<'a> {
    texts: BTreeMap<&'static str, Cow<'a, str>>,
    /// `key_version`; 0 if it is not given.
    pub(super) version: i64,
}

impl Item<'_> {
    /// A text field, if it is given.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(AsRef::as_ref)
    }

    /// A text field; empty if it is not given.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }
}

impl<'a> Batch<'a> {
    /// Reads `names` from every item. A batch of none, of other things than objects, or with other things than texts in
    /// them is refused as a whole.
    pub(super) fn read(request: &Request<'a>, names: &[&'static str]) -> Result<Self, Error> {
        let unreadable = |text: String| Error::invalid(format!("failed to parse batch input: {text}"));
        let items = match request.data.get("batch_input") {
            None | Some(Value::Null) => {
                return Ok(Self {
                    items: vec![single(request, names)?],
                    is_many: false,
                });
            }
            Some(Value::Array(items)) if items.is_empty() => {
                return Err(Error::invalid("missing batch input to process"));
            }
            Some(Value::Array(items)) => items,
            Some(other) => {
                let got = type_name(other);
                return Err(unreadable(format!(
                    "source data must be an array or slice, got {got}"
                )));
            }
        };
        let item = |(index, item): (usize, &'a Value)| match item {
            Value::Object(map) => one_of_many(map, names)
                .map_err(|(field, wanted, got)| {
                    format!("'[{index}].{field}' expected type '{wanted}', got unconvertible type '{got}'")
                })
                .map_err(unreadable),
            other => Err(unreadable(format!(
                "[{index}] expected a map, got '{}'",
                type_name(other)
            ))),
        };
        Ok(Self {
            items: items.iter().enumerate().map(item).collect::<Result<_, _>>()?,
            is_many: true,
        })
    }

    /// Whether the request has `batch_input`.
    pub(super) fn is_many(&self) -> bool {
        self.is_many
    }

    /// Refuses more items than one request may cost.
    pub(super) fn check_size(&self, kind: Kind) -> Result<(), Error> {
        let limit = kind.batch_limit();
        if self.items.len() > limit {
            return Err(Error::invalid(format!(
                "batch_input has more than {limit} items, the limit for keys of type {}",
                kind.name()
            )));
        }
        Ok(())
    }

    /// Refuses a batch of which only a part has a context: such a batch is a mistake of the client.
    pub(super) fn check_contexts(&self) -> Result<bool, Error> {
        let with = self.items.iter().filter(|item| !item.text("context").is_empty());
        match with.count() {
            0 => Ok(false),
            count if count == self.items.len() => Ok(true),
            _ => Err(Error::invalid(
                "context should be set either in all the request blocks or in none",
            )),
        }
    }

    /// The answer. Items that failed have `blank` beside their error.
    pub(super) fn answer(&self, done: Vec<Done>, blank: Option<(&str, Value)>) -> Result<Reply, Error> {
        if !self.is_many {
            let only = done.into_iter().next();
            return Ok(Reply::data(
                only.ok_or_else(|| Error::internal("nothing was done"))??,
            ));
        }
        let mut results = Vec::with_capacity(done.len());
        for (item, done) in self.items.iter().zip(done) {
            let mut result = match done {
                Ok(result) => result,
                Err(error @ Error::Internal(_)) => return Err(error),
                Err(error) => {
                    let mut result = Map::from_iter([("error".to_owned(), json!(error.to_string()))]);
                    result.extend(blank.clone().map(|(name, value)| (name.to_owned(), value)));
                    result
                }
            };
            result.insert("reference".to_owned(), json!(item.text("reference")));
            results.push(Value::Object(result));
        }
        Ok(Reply::json(json!({"batch_results": results})))
    }

    /// As `answer`, with a status that tells of failures: 400, or what the client wishes if not all failed.
    pub(super) fn answer_with_status(
        &self,
        fields: Fields<'_>,
        done: Vec<Done>,
        blank: Option<(&str, Value)>,
    ) -> Result<Reply, Error> {
        let failed = done.iter().filter(|done| done.is_err()).count();
        let all_failed = failed == done.len();
        let mut reply = self.answer(done, blank)?;
        if failed == 0 {
            return Ok(reply);
        }
        let wish = fields.int("partial_failure_response_code")?;
        let wish = wish.filter(|wish| *wish != 0 && !all_failed);
        let granted = wish.filter(|wish| STATUSES.contains(wish));
        if wish.is_some() && granted.is_none() {
            reply = reply.warn(format!(
                "invalid HTTP response code override from partial_failure_response_code, reverting to {FAILED}"
            ));
        }
        let granted = granted.and_then(|status| u16::try_from(status).ok());
        reply.status = Status::InPart(granted.unwrap_or(FAILED));
        Ok(reply)
    }
}

/// The request itself as an item, read with the leniency of single fields.
fn single<'a>(request: &Request<'a>, names: &[&'static str]) -> Result<Item<'a>, Error> {
    let fields = request.fields();
    let mut texts = BTreeMap::new();
    for name in names {
        if let Some(text) = fields.string(name)? {
            texts.insert(*name, Cow::Owned(text));
        }
    }
    Ok(Item {
        texts,
        version: fields.int("key_version")?.unwrap_or(0),
    })
}

type Mistyped = (&'static str, &'static str, &'static str);

fn one_of_many<'a>(map: &'a Map<String, Value>, names: &[&'static str]) -> Result<Item<'a>, Mistyped> {
    let mut texts = BTreeMap::new();
    for name in names.iter().copied().chain(["reference"]) {
        match map.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => {
                texts.insert(name, Cow::Borrowed(text.as_str()));
            }
            Some(other) => return Err((name, "string", type_name(other))),
        }
    }
    let version = match map.get("key_version") {
        None | Some(Value::Null) => Some(0),
        Some(Value::Number(number)) => number.as_i64(),
        Some(_) => None,
    };
    let version = version.ok_or_else(|| {
        let got = map.get("key_version").map_or("nil", type_name);
        ("key_version", "int", got)
    })?;
    Ok(Item { texts, version })
}

/// What Go calls the type of a JSON value.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "json.Number",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
