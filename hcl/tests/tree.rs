//! Reading the tree: both syntaxes give the same sections, and typed access says what is wrong and where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use conclave_hcl::{Body, Kind, Section, parse};

fn labels<'a>(sections: &[Section<'a>]) -> Vec<Vec<&'a str>> {
    sections
        .iter()
        .map(|s| s.labels.iter().map(|label| label.name.as_str()).collect())
        .collect()
}

fn body(text: &str) -> Body {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_server_configuration() {
    let text = r#"
        ui = true
        api_addr = "https://10.0.0.1:8200"   # comment
        listener "tcp" {
          address     = "0.0.0.0:8200"
          tls_disable = "true"
          telemetry { unauthenticated_metrics_access = true }
        }
        listener "tcp" { address = "127.0.0.1:8202" }
        storage "raft" {
          path = "/data", node_id = "n1"
          retry_join { leader_api_addr = "https://a:8200" }
          retry_join { leader_api_addr = "https://b:8200" }
        }
        telemetry { prometheus_retention_time = "30s" }
    "#;
    let body = body(text);
    let listeners = body.sections("listener", 1).unwrap();
    assert_eq!(labels(&listeners), [["tcp"], ["tcp"]]);
    assert!(
        listeners[0]
            .body
            .value("tls_disable")
            .unwrap()
            .unwrap()
            .bool()
            .unwrap()
    );
    assert_eq!(
        listeners[0]
            .body
            .object("telemetry")
            .unwrap()
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!((listeners[1].pos.line, listeners[1].pos.column), (9, 9));
    let storage = body.sections("storage", 1).unwrap();
    assert_eq!(storage[0].body.sections("retry_join", 0).unwrap().len(), 2);
    assert!(body.object("telemetry").unwrap().is_some());
    assert!(body.object("seal").unwrap().is_none());
    assert!(body.value("cluster_addr").unwrap().is_none());
}

#[test]
fn json_and_hcl_give_the_same_sections() {
    for (text, expected) in [
        (r#"path "a" {} path "b" {}"#, vec![vec!["a"], vec!["b"]]),
        (r#"{"path": {"a": {}, "b": {}}}"#, vec![vec!["a"], vec!["b"]]),
        (r#"{"path": [{"a": {}}, {"b": {}}]}"#, vec![vec!["a"], vec!["b"]]),
        (
            r#"{"path": {"a": {}}, "path": {"a": {},},}"#,
            vec![vec!["a"], vec!["a"]],
        ),
        (r#"{"path": {"a": [{}, {}]}}"#, vec![vec!["a"], vec!["a"]]),
        (r#"path { a {} "b" = {} }"#, vec![vec!["a"], vec!["b"]]),
        (r#"{"path": {}}"#, vec![]),
        (r#"{"path": []}"#, vec![]),
        (r#"{}"#, vec![]),
    ] {
        assert_eq!(
            labels(&body(text).sections("path", 1).unwrap()),
            expected,
            "{text}"
        );
    }
    for text in [
        r#"path "a" "b" {}"#,
        r#"path = "x""#,
        r#"path { policy = "read" }"#,
        r#"path = [[]]"#,
        r#"{"path": null}"#,
        r#"{"path": [1]}"#,
    ] {
        assert!(body(text).sections("path", 1).is_err(), "{text}");
    }
}

#[test]
fn json_values() {
    let body = body(
        "\u{20}\n{\"a\": [null, true, false, -1, 1.5, 1e3, \"x\\u00e9\\ud83d\\udd12\\/\\n\", {\"b\": []}], \"c\": \"${d}\"}\n",
    );
    let values = body.value("a").unwrap().unwrap().list().unwrap();
    let kinds: Vec<&Kind> = values.iter().map(|value| &value.kind).collect();
    assert_eq!(kinds[0], &Kind::Null);
    assert_eq!(
        kinds[1..4],
        [&Kind::Bool(true), &Kind::Bool(false), &Kind::Int(-1)]
    );
    assert_eq!(kinds[4..6], [&Kind::Float(1.5), &Kind::Float(1e3)]);
    assert_eq!(kinds[6], &Kind::String("xé\u{1f512}/\n".to_owned()));
    assert!(
        values[7]
            .object()
            .unwrap()
            .value("b")
            .unwrap()
            .unwrap()
            .list()
            .unwrap()
            .is_empty()
    );
    assert_eq!((values[7].pos.line, body.items[1].key().pos.column), (2, 80));
    for text in [
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{\"a\": 01}",
        "{\"a\": 1.}",
        "{\"a\": .5}",
        "{\"a\": +1}",
        "{\"a\": --1}",
        "{\"a\": 1e}",
        "{\"a\": 1e999}",
        "{\"a\": NaN}",
        "{\"a\": nulll}",
        "{a: 1}",
        "{'a': 1}",
        "{\"a\": \"\\ud800\"}",
        "{\"a\": \"\\ud800\\u0041\"}",
        "{\"a\": \"\\x41\"}",
        "{\"a\": \"\t\"}",
        "{\"a\": \"x}",
        "{\"a\": [1 2]}",
        "{\"a\": [,1]}",
        "{,}",
        "{\"a\": 1} {}",
        "{\"a\": 1 // c\n}",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn typed_access_says_what_and_where() {
    let body =
        body("a = \"7\"\nb = 5\nc = [1, \"x\", true]\nd = true\ne = \"no\"\nb = 6\nf { }\ng \"l\" { }");
    let get = |name: &str| body.value(name).unwrap().unwrap();
    assert_eq!(get("a").int().unwrap(), 7);
    assert_eq!(get("a").text().unwrap(), "7");
    assert!(get("d").bool().unwrap());
    assert_eq!(get("c").list().unwrap()[0].text().unwrap(), "1");
    for (error, expected) in [
        (
            body.value("b").unwrap_err(),
            "At 6:1: The argument \"b\" at 6:1 was already set. Each argument can only be defined once",
        ),
        (
            get("c").texts().unwrap_err(),
            "At 3:14: expected a string, got a bool",
        ),
        (
            get("e").bool().unwrap_err(),
            "At 5:5: expected a bool, got a string",
        ),
        (
            get("e").int().unwrap_err(),
            "At 5:5: expected an integer, got a string",
        ),
        (
            get("d").str().unwrap_err(),
            "At 4:5: expected a string, got a bool",
        ),
        (
            get("d").list().unwrap_err(),
            "At 4:5: expected a list, got a bool",
        ),
        (
            get("d").object().unwrap_err(),
            "At 4:5: expected an object, got a bool",
        ),
        (
            body.value("f").unwrap_err(),
            "At 7:1: \"f\" is a block; it must be set with '='",
        ),
        (body.object("g").unwrap_err(), "At 8:1: \"g\" takes no label"),
        (
            body.only(&["a", "b", "c", "d"]).unwrap_err(),
            "At 5:1: invalid key \"e\" on line 5",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}
