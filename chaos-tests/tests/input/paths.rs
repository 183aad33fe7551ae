//! One path is one place: whatever could be read as two is refused before anyone decides by it.

use serde_json::json;

use crate::node::Node;

const BOUND: &str = r#"
path "secret/data/app/*" { capabilities = ["create", "update", "read"] }
path "secret/data/app/hidden" { capabilities = ["deny"] }
"#;

#[test]
fn paths_that_mean_two_things_are_refused() {
    let node = Node::unsealed();
    let secret = json!({"data": {"k": "found-me"}});
    for path in [
        "secret/data/app/x",
        "secret/data/app/hidden",
        "secret/data/other",
        "secret/data/caf\u{e9}",
    ] {
        assert_eq!(node.put(path, &secret).status, 200);
    }
    let rows: [(&[u8], u16); 30] = [
        (b"/v1/secret/data/app/../other", 400),
        (b"/v1/secret/data/./other", 400),
        (b"/v1/secret//data/other", 400),
        (b"/v1//secret/data/other", 400),
        (b"/v1/secret/data/app/%2e%2e/other", 400),
        (b"/v1/secret/data/app/%2E%2E/other", 400),
        (b"/v1/secret/data/app/.%2e/other", 400),
        (b"/v1/secret/data%2fother", 400),
        (b"/v1/secret/data%2Fother", 400),
        (b"/v1/secret/data/app\\..\\other", 400),
        (b"/v1/secret/data/app%5c..%5cother", 400),
        (b"/v1/secret/data/other%00", 400),
        (b"/v1/secret/data/other%0a", 400),
        (b"/v1/secret/data/other%1b[31m", 400),
        (b"/v1/secret/data/other%7f", 400),
        (b"/v1/secret/data/other%", 400),
        (b"/v1/secret/data/other%4", 400),
        (b"/v1/secret/data/other%zz", 400),
        (b"/v1/secret/data/%c0%ae%c0%ae/other", 400),
        (b"/v1/secret/data/%ff%fe", 400),
        // A directory is no secret.
        (b"/v1/secret/data/other//", 400),
        // Other places, all empty: decoded once, never folded, never cut at a semicolon.
        (b"/v1/secret/data/%252e%252e/other", 404),
        (b"/v1/secret/data/OTHER", 404),
        (b"/v1/secret/data/other;a=b", 404),
        (b"/v1/secret/data/other.", 404),
        ("/v1/secret/data/ｏther".as_bytes(), 404),
        // An accent of its own makes another name than a letter that has one.
        ("/v1/secret/data/cafe\u{301}".as_bytes(), 404),
        (b"/v1/secret/data/caf%C3%A9", 200),
        ("/v1/secret/data/caf\u{e9}".as_bytes(), 200),
        (b"/v1/secret/data/other", 200),
    ];
    for (target, want) in rows {
        let shown = String::from_utf8_lossy(target);
        let answer = node.send("GET", target, &node.root, b"");
        assert_eq!(answer.status, want, "{shown}: {}", answer.body);
        let found = answer.body.to_string().contains("found-me");
        assert_eq!(found, want == 200, "{shown}");
        if want == 400 {
            assert!(answer.errors().len() > 4, "{shown}: {}", answer.body);
        }
    }
    let long = format!("/v1/secret/data/{}", "a".repeat(64 * 1024));
    let answer = node.send("GET", long.as_bytes(), &node.root, b"");
    assert!([400, 414, 431].contains(&answer.status), "{}", answer.status);
    let log = node.log();
    assert!(!log.contains(&0x1b), "an escape sequence reached the log");
}

#[test]
fn no_spelling_gets_around_a_policy() {
    let node = Node::unsealed();
    let secret = json!({"data": {"k": "found-me"}});
    for path in ["secret/data/app/x", "secret/data/app/hidden", "secret/data/other"] {
        assert_eq!(node.put(path, &secret).status, 200);
    }
    node.policy("bound", BOUND);
    let token = node.token(&json!({"policies": ["bound"], "no_default_policy": true}));
    assert_eq!(
        node.send("GET", b"/v1/secret/data/app/x", &token, b"").status,
        200
    );
    for target in [
        &b"/v1/secret/data/other"[..],
        b"/v1/secret/data/app/hidden",
        b"/v1/secret/data/app/%68idden",
        b"/v1/secret/data/app/hidden%20",
        b"/v1/secret/data/app/x/../hidden",
        b"/v1/secret/data/app/x/%2e%2e/hidden",
        b"/v1/secret/data/app//hidden",
        b"/v1/secret/data/app/./hidden",
        b"/v1/secret/data/app/../other",
        b"/v1/secret/data/app%2f..%2fother",
        b"/v1/secret/data/APP/x",
        b"/v1/SECRET/data/app/x",
        b"/v1/secret/data/app",
        b"/v1/secret/app/hidden",
        b"/v1/secret/metadata/app/x",
        b"/v1/sys/mounts",
        b"/v1/secret/data/app/x/../../../../sys/mounts",
    ] {
        let shown = String::from_utf8_lossy(target);
        for method in ["GET", "LIST", "PUT", "DELETE", "SCAN"] {
            let answer = node.send(method, target, &token, br#"{"data":{"k":"mine"}}"#);
            // A name with a space behind it lies under app/*: a place of its own, and empty.
            let own = shown.ends_with("hidden%20") && matches!(method, "GET" | "PUT");
            let refused = [400, 403, 404, 405].contains(&answer.status);
            assert!(
                refused || own,
                "{method} {shown}: {} {}",
                answer.status,
                answer.body
            );
            assert!(!answer.body.to_string().contains("found-me"), "{method} {shown}");
        }
    }
    for path in ["secret/data/app/hidden", "secret/data/other"] {
        assert_eq!(node.get(path).body["data"]["data"]["k"], "found-me", "{path}");
    }
}
