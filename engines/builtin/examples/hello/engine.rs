//! An example of a secrets engine, as small as one can be and still keep state: it greets people, and counts how often.
//! Copy the folder, rename it, register it by one line. It must not know anything but the engine contract.

use std::sync::Arc;

use conclave_engine_api::{Engine, Env, Error, Operation, Outcome, Reply, Request, Route, Txn, format_time};
use serde_json::json;

/// What is said when no greeting is set.
const DEFAULT_GREETING: &str = "Hello";

/// Longest greeting in bytes.
const MAX_GREETING_BYTES: usize = 256;

/// The engine, for the registry.
pub(crate) fn engine() -> Arc<dyn Engine> {
    Arc::new(Hello)
}

/// Rows: `greeting` (text) and `count/<name>` (a number as text). A real engine begins each row with a format number.
struct Hello;

impl Engine for Hello {
    fn kind(&self) -> &'static str {
        "hello"
    }

    fn routes(&self) -> &'static [Route] {
        &[
            Route {
                pattern: "config",
                operations: &[Operation::Read, Operation::Update],
                summary: "Reads or sets the greeting.",
            },
            Route {
                pattern: "greet/:name",
                operations: &[Operation::Update],
                summary: "Greets somebody and tells how often that happened.",
            },
            Route {
                pattern: "greet",
                operations: &[Operation::List],
                summary: "Lists who was greeted.",
            },
        ]
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        let path = request.path.trim_end_matches('/');
        match (path.split_once('/'), request.operation) {
            (None, Operation::Read) if path == "config" => {
                Ok(Reply::json(json!({"greeting": greeting(txn)?})).into())
            }
            (None, Operation::Create | Operation::Update) if path == "config" => configure(txn, request),
            (None, Operation::List) if path == "greet" => {
                Outcome::listing(txn.list("count/", &request.fields().page()?)?)
            }
            (Some(("greet", name)), Operation::Create | Operation::Update) if !name.contains('/') => {
                greet(txn, name, env)
            }
            (None, _) if path == "config" || path == "greet" => Err(Error::UnsupportedOperation),
            (Some(("greet", _)), _) => Err(Error::UnsupportedOperation),
            _ => Err(Error::UnsupportedPath),
        }
    }
}

fn configure(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    let greeting = request.fields().required("greeting")?;
    if greeting.len() > MAX_GREETING_BYTES {
        return Err(Error::invalid(format!(
            "greeting is longer than {MAX_GREETING_BYTES} bytes"
        )));
    }
    txn.put("greeting", greeting.into_bytes())?;
    Ok(Reply::empty().into())
}

fn greet(txn: &mut Txn<'_>, name: &str, env: &Env<'_>) -> Result<Outcome, Error> {
    let row = format!("count/{name}");
    let before: u64 = match txn.get(&row)? {
        None => 0,
        Some(stored) => text(&stored.value)?
            .parse()
            .map_err(|_| Error::internal("a stored count is no number"))?,
    };
    let count = before.saturating_add(1);
    txn.put(&row, count.to_string().into_bytes())?;
    let said = format!("{}, {name}!", greeting(txn)?);
    Ok(Reply::json(json!({"said": said, "count": count, "time": format_time(env.now())})).into())
}

fn greeting(txn: &mut Txn<'_>) -> Result<String, Error> {
    match txn.get("greeting")? {
        Some(stored) => text(&stored.value).map(str::to_owned),
        None => Ok(DEFAULT_GREETING.to_owned()),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::internal("a stored row is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_engine_api::testkit::Harness;

    #[test]
    fn greets_counts_and_lists() {
        let engine = engine();
        let mut harness = Harness::new(&*engine);
        let update = Operation::Update;
        let list = harness.call(Operation::List, "greet", json!({}));
        assert_eq!(list.unwrap_err(), Error::not_found());
        let said = harness
            .call(update, "greet/ann", json!({}))
            .unwrap()
            .data
            .unwrap();
        assert_eq!(said["said"], "Hello, ann!");
        assert_eq!(said["time"], "2026-01-01T00:00:00Z");
        let config = json!({"greeting": "Salve"});
        harness.call(update, "config", config.clone()).unwrap();
        let read = harness.call(Operation::Read, "config", json!({})).unwrap();
        assert_eq!(json!(read.data), config);
        let said = harness
            .call(update, "greet/ann", json!({}))
            .unwrap()
            .data
            .unwrap();
        assert_eq!(
            (&said["said"], &said["count"]),
            (&json!("Salve, ann!"), &json!(2))
        );
        let list = harness.call(Operation::List, "greet/", json!({})).unwrap();
        assert_eq!(json!(list.data), json!({"keys": ["ann"]}));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let engine = engine();
        let mut harness = Harness::new(&*engine);
        for (operation, path, data, error) in [
            (Operation::Read, "other", json!({}), Error::UnsupportedPath),
            (
                Operation::Delete,
                "config",
                json!({}),
                Error::UnsupportedOperation,
            ),
            (
                Operation::Read,
                "greet/ann",
                json!({}),
                Error::UnsupportedOperation,
            ),
            (
                Operation::Update,
                "config",
                json!({}),
                Error::invalid("missing greeting"),
            ),
        ] {
            assert_eq!(harness.call(operation, path, data).unwrap_err(), error);
        }
        let long = json!({"greeting": "x".repeat(MAX_GREETING_BYTES + 1)});
        assert!(harness.call(Operation::Update, "config", long).is_err());
        assert!(harness.rows.paths().is_empty());
    }
}
