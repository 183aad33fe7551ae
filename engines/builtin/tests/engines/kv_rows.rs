//! How many rows KV version 2 touches: what its layout is for.

use std::cell::RefCell;

use conclave_engine_api::testkit::{Harness, MemoryReader, SeededEntropy};
use conclave_engine_api::{Changes, Env, Error, Operation, Page, Reader, Request, Stored, Txn, Write};
use serde_json::{Value, json};

use crate::script::engine;

/// Rows that remember what was read.
struct Counting<'r> {
    rows: &'r dyn Reader,
    gets: RefCell<Vec<String>>,
}

impl Reader for Counting<'_> {
    fn get(&self, path: &str) -> Result<Option<Stored>, Error> {
        self.gets.borrow_mut().push(path.to_owned());
        self.rows.get(path)
    }

    fn list(&self, dir: &str, page: &Page) -> Result<Vec<String>, Error> {
        self.rows.list(dir, page)
    }
}

/// What one request read and changed.
fn touched(
    harness: &mut Harness<'_>,
    operation: Operation,
    path: &str,
    data: Value,
) -> (Vec<String>, Changes) {
    let engine = engine("kv");
    let counting = Counting {
        rows: &harness.rows,
        gets: RefCell::default(),
    };
    let mut txn = Txn::new(&counting);
    let mut entropy = SeededEntropy::new(1);
    let request = Request {
        operation,
        path,
        data: data.as_object().unwrap(),
        mount: &harness.mount,
        display_name: "",
        caller: "caller",
        remote: None,
    };
    engine
        .handle(&mut txn, &request, &mut Env::new(harness.now, &mut entropy))
        .unwrap();
    let changes = txn.into_changes();
    let gets = counting.gets.into_inner();
    harness.rows.apply(changes.clone());
    (gets, changes)
}

#[test]
fn a_read_takes_two_rows_and_a_write_two_and_two() {
    let engine = engine("kv");
    let mut harness = Harness::new(&*engine);
    harness.mount.options.insert("version".to_owned(), "2".to_owned());
    let put = json!({"data": {"k": "v"}});
    let (gets, changes) = touched(&mut harness, Operation::Create, "data/a/b", put.clone());
    assert_eq!(gets, ["config", "m/a/b"]);
    assert_eq!(changes.writes.keys().collect::<Vec<_>>(), ["d/a/b/1", "m/a/b"]);
    let (gets, changes) = touched(&mut harness, Operation::Read, "data/a/b", json!({}));
    assert_eq!(gets, ["m/a/b", "d/a/b/1"]);
    assert!(changes.writes.is_empty() && changes.guards.is_empty());
    let (gets, changes) = touched(&mut harness, Operation::Delete, "data/a/b", json!({}));
    assert_eq!((gets.len(), changes.writes.len()), (1, 1));
    let (gets, _) = touched(&mut harness, Operation::Read, "data/a/b", json!({}));
    assert_eq!(gets, ["m/a/b"], "a deleted version's data is not even read");
    for _ in 0..9 {
        touched(&mut harness, Operation::Update, "data/a/b", put.clone());
    }
    let (gets, changes) = touched(&mut harness, Operation::Update, "data/a/b", put);
    assert_eq!(gets.len(), 2);
    assert!(matches!(changes.writes.get("d/a/b/1"), Some(Write::Delete)));
    assert_eq!(changes.writes.len(), 3, "one version is trimmed");
}

#[test]
fn the_fullest_key_goes_in_one_command() {
    let engine = engine("kv");
    let mut harness = Harness::new(&*engine);
    harness.mount.options.insert("version".to_owned(), "2".to_owned());
    let versions: Vec<String> = (1..=4000)
        .map(|number| format!("\"{number}\":[1,null,0]"))
        .collect();
    let record = format!(
        "\u{1}{{\"c\":4000,\"o\":1,\"t\":1,\"u\":1,\"v\":{{{}}}}}",
        versions.join(",")
    );
    let mut rows = vec![("m/k".to_owned(), record)];
    rows.extend((1..=4000).map(|number| (format!("d/k/{number}"), "\u{1}{}".to_owned())));
    harness.rows = MemoryReader::with(rows.iter().map(|(path, bytes)| (path.as_str(), bytes.as_str())));
    let settings = json!({"max_versions": 1});
    let (_, changes) = touched(&mut harness, Operation::Update, "metadata/k", settings);
    assert_eq!(changes.writes.len(), 1);
    let (_, changes) = touched(&mut harness, Operation::Update, "data/k", json!({"data": {}}));
    assert_eq!(changes.writes.len(), 4002);
    assert_eq!(harness.rows.paths().len(), 2);
}
