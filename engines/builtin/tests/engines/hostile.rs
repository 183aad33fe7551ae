//! Bad input and bad rows: every one is a precise error that changes nothing.

use conclave_engine_api::testkit::{Harness, MemoryReader};
use conclave_engine_api::txn::{MAX_PATH_BYTES, MAX_VALUE_BYTES};
use conclave_engine_api::{Engine, Error, Mount, Operation};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::script::{engine, render};

const METHODS: [Operation; 7] = [
    Operation::Read,
    Operation::Update,
    Operation::Patch,
    Operation::Delete,
    Operation::List,
    Operation::Scan,
    Operation::Help,
];

fn kv2(engine: &dyn Engine) -> Harness<'_> {
    let mut harness = Harness::new(engine);
    harness.mount.options.insert("version".to_owned(), "2".to_owned());
    harness
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({"k": inner}))
}

#[test]
fn sizes_are_bounded() {
    let engine = engine("kv");
    let mut harness = kv2(&*engine);
    let update = Operation::Update;
    let long = format!("data/{}", "k".repeat(MAX_PATH_BYTES));
    let large = json!({"data": {"k": "x".repeat(MAX_VALUE_BYTES)}});
    let deep = json!({"data": nested(1000)});
    for (path, body) in [
        (long.as_str(), json!({"data": {}})),
        ("data/k", large.clone()),
        ("data/k", deep.clone()),
        ("data/a//b", json!({"data": {}})),
        ("data//a", json!({"data": {}})),
    ] {
        let error = harness.call(update, path, body).unwrap_err();
        assert!(matches!(error, Error::Invalid(_) | Error::TooLarge(_)), "{error}");
        assert!(!error.to_string().contains("xxx"));
    }
    assert!(harness.rows.paths().is_empty());
    let mut one = Harness::new(&*engine);
    assert!(one.call(update, "k", large["data"].clone()).is_err());
    assert!(one.call(update, "k", deep["data"].clone()).is_err());
    assert!(one.rows.paths().is_empty());
}

#[test]
fn the_deepest_document_can_be_patched_read_and_described() {
    let engine = engine("kv");
    let mut harness = kv2(&*engine);
    let body = json!({"data": nested(100)});
    harness.call(Operation::Update, "data/k", body.clone()).unwrap();
    harness.call(Operation::Patch, "data/k", body.clone()).unwrap();
    let read = harness.call(Operation::Read, "data/k", json!({})).unwrap();
    assert_eq!(read.data.unwrap()["data"], body["data"]);
    harness.call(Operation::Read, "subkeys/k", json!({})).unwrap();
}

#[test]
fn sixty_five_custom_entries_are_too_many_also_by_patches() {
    let engine = engine("kv");
    let mut harness = kv2(&*engine);
    let entries = |range: std::ops::Range<u32>| -> Value {
        let entries = range.map(|number| (format!("k{number}"), json!("v")));
        json!({"custom_metadata": serde_json::Map::from_iter(entries)})
    };
    harness
        .call(Operation::Update, "metadata/k", entries(0..64))
        .unwrap();
    let error = harness
        .call(Operation::Patch, "metadata/k", entries(64..65))
        .unwrap_err();
    assert!(
        error.to_string().contains("at most 64 keys, provided 65"),
        "{error}"
    );
    for (name, text) in [
        ("n".repeat(129), "v".to_owned()),
        ("n".to_owned(), "v".repeat(513)),
    ] {
        let body = json!({"custom_metadata": {name: text}});
        assert!(harness.call(Operation::Update, "metadata/other", body).is_err());
    }
}

#[test]
fn unknown_and_broken_rows_are_errors_and_not_guesses() {
    let engine = engine("kv");
    let good = "\u{1}{\"c\":1,\"o\":0,\"t\":1,\"u\":1,\"v\":{\"1\":[1,null,0]}}";
    for (row, bytes, path) in [
        ("m/k", "", "data/k"),
        ("m/k", "\u{2}{}", "data/k"),
        ("m/k", "\u{1}{", "metadata/k"),
        (
            "m/k",
            "\u{1}{\"c\":1,\"o\":0,\"t\":1,\"u\":1,\"v\":{},\"later\":1}",
            "metadata/k",
        ),
        ("m/k", good, "data/k"),
        ("config", "\u{2}{}", "config"),
    ] {
        let mut harness = kv2(&*engine);
        harness.rows = MemoryReader::with([(row, bytes)]);
        let error = harness.call(Operation::Read, path, json!({})).unwrap_err();
        assert!(matches!(error, Error::Internal(_)), "{row} {error}");
    }
    for bytes in ["\u{2}{}", "\u{1}[\"hunter2\"]", "\u{1}{\"k\":\"hunter2\""] {
        let mut harness = Harness::new(&*engine);
        harness.rows = MemoryReader::with([("v1/k", bytes)]);
        let error = harness.call(Operation::Read, "k", json!({})).unwrap_err();
        assert!(matches!(error, Error::Internal(_)), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[test]
fn answers_show_no_values_in_debug() {
    let engine = engine("kv");
    let mut harness = Harness::new(&*engine);
    harness
        .call(Operation::Update, "k", json!({"password": "hunter2"}))
        .unwrap();
    let reply = harness.call(Operation::Read, "k", json!({})).unwrap();
    let text = format!("{reply:?}");
    assert!(!text.contains("hunter2") && !text.contains("password"), "{text}");
}

#[test]
fn mounts_are_checked() {
    let engine = engine("kv");
    let mount = |version: &str| Mount {
        options: [("version".to_owned(), version.to_owned())].into(),
        ..Mount::default()
    };
    engine.check_mount(&Mount::default()).unwrap();
    for version in ["", "1", "2"] {
        engine.check_mount(&mount(version)).unwrap();
    }
    let error = engine.check_mount(&mount("7")).unwrap_err();
    assert_eq!(error.to_string(), "invalid version provided: 7");
}

#[test]
fn a_token_that_ends_takes_its_cubbyhole_along_and_no_other() {
    use conclave_engine_api::Txn;
    let engine = engine("cubbyhole");
    let mut harness = Harness::new(&*engine);
    for number in 0..700 {
        let path = format!("d{}/k{number}", number % 7);
        harness
            .call_as("gone", Operation::Update, &path, json!({"k": 1}))
            .unwrap();
    }
    harness
        .call_as("gone2", Operation::Update, "k", json!({"k": 1}))
        .unwrap();
    let mut rounds = 0;
    loop {
        rounds += 1;
        let mut txn = Txn::new(&harness.rows);
        let done = engine.forget_caller(&mut txn, &harness.mount, "gone").unwrap();
        let changes = txn.into_changes();
        assert!(changes.writes.len() <= 512);
        harness.rows.apply(changes);
        if done {
            break;
        }
    }
    assert_eq!(rounds, 2);
    assert_eq!(harness.rows.paths(), ["gone2/k"]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9]{1,40}"
            .prop_map(|digits| serde_json::from_str(digits.trim_start_matches('0')).unwrap_or_default()),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_path() -> impl Strategy<Value = String> {
    let area = prop_oneof![
        Just("data"),
        Just("metadata"),
        Just("config"),
        Just("delete"),
        Just("undelete"),
        Just("destroy"),
        Just("subkeys"),
        Just("detailed-metadata"),
        Just(""),
        Just("v1"),
        Just("m"),
    ];
    (
        area,
        prop_oneof![Just(String::new()), Just("/".to_owned()), "/(a|b|a/b|.{1,6})/?"],
    )
        .prop_map(|(area, rest)| format!("{area}{rest}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is sent, the engine answers: no panic, no internal error, and nothing changes on an error.
    #[test]
    fn any_request_gets_an_answer(
        requests in prop::collection::vec(
            (0..METHODS.len(), any_path(), prop::collection::hash_map(
                prop_oneof![
                    Just("data"), Just("options"), Just("versions"), Just("version"), Just("max_versions"),
                    Just("cas_required"), Just("delete_version_after"), Just("custom_metadata"),
                    Just("metadata_cas"), Just("depth"), Just("after"), Just("limit"), Just("ttl"),
                ],
                any_json(),
                0..4,
            )),
            1..12,
        ),
        version in prop_oneof![Just("1"), Just("2")],
    ) {
        let engine = engine("kv");
        let mut harness = Harness::new(&*engine);
        harness.mount.options.insert("version".to_owned(), version.to_owned());
        for (method, path, data) in requests {
            let data = Value::Object(data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
            let answer = render(harness.call(METHODS[method], &path, data));
            prop_assert!(!answer.starts_with("500"), "{} {}: {}", METHODS[method].name(), path, answer);
        }
    }
}
