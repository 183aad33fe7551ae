//! Changing a KV mount's version.

use conclave_engine_api::testkit::{Harness, SeededEntropy};
use conclave_engine_api::{Engine, Env, Error, Mount, Operation, Txn};
use serde_json::json;

use crate::script::engine;

fn mount(version: &str) -> Mount {
    Mount {
        options: [("version".to_owned(), version.to_owned())].into(),
        ..Mount::default()
    }
}

fn tune(engine: &dyn Engine, harness: &mut Harness<'_>, old: &Mount, new: &Mount) -> Result<(), Error> {
    let mut txn = Txn::new(&harness.rows);
    let mut entropy = SeededEntropy::new(1);
    engine.tune(&mut txn, old, new, &mut Env::new(harness.now, &mut entropy))?;
    let changes = txn.into_changes();
    harness.rows.apply(changes);
    Ok(())
}

#[test]
fn an_upgrade_makes_each_secret_the_first_version_of_its_key() {
    let engine = engine("kv");
    let mut harness = Harness::new(&*engine);
    for path in ["a", "a/b", "d/x"] {
        harness
            .call(Operation::Update, path, json!({"was": path, "n": 1}))
            .unwrap();
    }
    tune(&*engine, &mut harness, &Mount::default(), &mount("2")).unwrap();
    harness.mount.options = mount("2").options;
    for path in ["a", "a/b", "d/x"] {
        let read = harness
            .call(Operation::Read, &format!("data/{path}"), json!({}))
            .unwrap();
        let data = read.data.unwrap();
        assert_eq!(data["data"], json!({"was": path, "n": 1}));
        assert_eq!(data["metadata"]["version"], 1);
    }
    assert!(harness.rows.paths().iter().all(|row| !row.starts_with("v1/")));
    let list = harness.call(Operation::List, "metadata", json!({})).unwrap();
    assert_eq!(json!(list.data), json!({"keys": ["a", "a/", "d/"]}));
}

#[test]
fn a_mount_that_is_too_large_stays_as_it_is() {
    let engine = engine("kv");
    let mut harness = Harness::new(&*engine);
    for number in 0..=1000 {
        harness
            .call(Operation::Update, &format!("k{number}"), json!({"k": 1}))
            .unwrap();
    }
    let error = tune(&*engine, &mut harness, &mount("1"), &mount("2")).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(harness.call(Operation::Read, "k0", json!({})).is_ok());
    let mut harness = Harness::new(&*engine);
    for number in 0..5 {
        let large = json!({"k": "x".repeat(1_000_000)});
        harness
            .call(Operation::Update, &format!("k{number}"), large)
            .unwrap();
    }
    assert!(tune(&*engine, &mut harness, &mount("1"), &mount("2")).is_err());
}

#[test]
fn what_cannot_be_is_refused() {
    let engine = engine("kv");
    let mut harness = Harness::new(&*engine);
    let error = tune(&*engine, &mut harness, &mount("2"), &mount("1")).unwrap_err();
    assert_eq!(error.to_string(), "cannot downgrade mount from version 2");
    let error = tune(&*engine, &mut harness, &mount("1"), &mount("7")).unwrap_err();
    assert_eq!(error.to_string(), "invalid version provided: 7");
    tune(&*engine, &mut harness, &mount("2"), &mount("2")).unwrap();
    tune(&*engine, &mut harness, &Mount::default(), &mount("1")).unwrap();
}
