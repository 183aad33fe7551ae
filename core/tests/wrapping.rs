//! Wrapped answers: one token, one use, one origin; and what policies, audit and time say of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use conclave_core::{Body, Error, Request, Settings, Verb};
use serde_json::{Map, Value, json};
use support::Node;

const MINUTE: u64 = 60_000;

/// What a request whose answer is to be wrapped leads to.
async fn wrapped(node: &Node, token: &str, verb: Verb, path: &str, data: Value) -> Result<Wrapped, Error> {
    let mut request = Request::new(verb, path);
    request.token = Some(token.to_owned().into());
    request.data = data.as_object().cloned().unwrap_or_default();
    request.wrap_ttl = Some(MINUTE);
    Ok(match node.core.handle(request).await?.body {
        Body::Envelope(envelope) => {
            assert!(envelope.data.is_none() && envelope.auth.is_none() && envelope.warnings.is_empty());
            Wrapped::In(envelope.wrap_info.unwrap())
        }
        Body::Empty => Wrapped::Nothing,
        _ => panic!("another body"),
    })
}

enum Wrapped {
    In(Map<String, Value>),
    Nothing,
}

impl Wrapped {
    fn info(self) -> Map<String, Value> {
        match self {
            Self::In(info) => info,
            Self::Nothing => panic!("nothing was wrapped"),
        }
    }

    fn token(self) -> String {
        self.info()["token"].as_str().unwrap().to_owned()
    }
}

async fn a_secret(node: &Node) -> String {
    let data = json!({"data": {"k": "v"}});
    node.call(Verb::Write, "secret/data/a", data).await.unwrap();
    let taken = wrapped(node, &node.root, Verb::Read, "secret/data/a", json!({})).await;
    taken.unwrap().token()
}

fn is_not_valid(result: Result<Value, Error>) -> bool {
    matches!(result, Err(Error::Invalid(text)) if text == "wrapping token is not valid or does not exist")
}

#[tokio::test]
async fn an_answer_is_found_once_by_either_way_of_showing_the_token() {
    let node = Node::unsealed().await;
    for in_body in [true, false] {
        let token = a_secret(&node).await;
        let unwrap = || async {
            if in_body {
                let data = json!({"token": token});
                node.call(Verb::Write, "sys/wrapping/unwrap", data).await
            } else {
                node.call_as(&token, Verb::Write, "sys/wrapping/unwrap", json!({}))
                    .await
            }
        };
        let answer = unwrap().await.unwrap();
        assert_eq!(answer["data"]["data"], json!({"k": "v"}));
        assert!(is_not_valid(unwrap().await));
        let read = node
            .call_as(&token, Verb::Read, "cubbyhole/response", json!({}))
            .await;
        assert!(matches!(read, Err(Error::Denied { .. })));
    }
}

#[tokio::test]
async fn two_at_once_do_not_both_find_it() {
    let node = Node::unsealed().await;
    for _ in 0..8 {
        let token = a_secret(&node).await;
        let by_body = node.call(Verb::Write, "sys/wrapping/unwrap", json!({"token": token}));
        let by_header = node.call_as(&token, Verb::Write, "sys/wrapping/unwrap", json!({}));
        let by_rewrap = wrapped(
            &node,
            &node.root,
            Verb::Write,
            "sys/wrapping/rewrap",
            json!({"token": token}),
        );
        let (body, header, rewrap) = tokio::join!(by_body, by_header, by_rewrap);
        let found = [body.is_ok(), header.is_ok(), rewrap.is_ok()];
        assert_eq!(found.into_iter().filter(|found| *found).count(), 1, "{found:?}");
    }
}

#[tokio::test]
async fn the_origin_is_told_to_anybody_and_nothing_else() {
    let node = Node::unsealed().await;
    let token = a_secret(&node).await;
    for lookup in [
        node.plain(Verb::Write, "sys/wrapping/lookup", json!({"token": token}))
            .await,
        node.call_as(&token, Verb::Read, "sys/wrapping/lookup", json!({}))
            .await,
        node.call_as(
            "nosuch",
            Verb::Write,
            "sys/wrapping/lookup",
            json!({"token": token}),
        )
        .await,
    ] {
        let about = lookup.unwrap()["data"].clone();
        assert_eq!(about["creation_path"], "secret/data/a");
        assert_eq!(about["creation_ttl"], 60);
        assert_eq!(about.as_object().unwrap().len(), 3);
    }
    for token in ["nosuch", &node.root] {
        let asked = json!({"token": token});
        assert!(is_not_valid(
            node.plain(Verb::Write, "sys/wrapping/lookup", asked.clone())
                .await
        ));
        assert!(is_not_valid(
            node.plain(Verb::Write, "sys/wrapping/unwrap", asked.clone())
                .await
        ));
        assert!(is_not_valid(
            node.call(Verb::Write, "sys/wrapping/rewrap", asked).await
        ));
    }
    assert!(
        node.plain(Verb::Write, "sys/wrapping/lookup", json!({}))
            .await
            .is_err()
    );
    // Who shows a good wrapping token in the body must be somebody.
    let anonymous = node
        .plain(Verb::Write, "sys/wrapping/unwrap", json!({"token": token}))
        .await;
    assert!(matches!(anonymous, Err(Error::Denied { .. })));
    // All that looking left it as it was.
    node.call(Verb::Write, "sys/wrapping/unwrap", json!({"token": token}))
        .await
        .unwrap();
}

#[tokio::test]
async fn it_ends_with_its_time() {
    let node = Node::unsealed().await;
    let token = a_secret(&node).await;
    node.clock.advance(MINUTE);
    assert!(is_not_valid(
        node.call(Verb::Write, "sys/wrapping/unwrap", json!({"token": token}))
            .await
    ));
    assert!(is_not_valid(
        node.plain(Verb::Write, "sys/wrapping/lookup", json!({"token": token}))
            .await
    ));
    node.expire().await;
    assert!(is_not_valid(
        node.call_as(&token, Verb::Write, "sys/wrapping/unwrap", json!({}))
            .await
    ));
}

#[tokio::test]
async fn a_token_and_what_a_caller_sends_can_be_wrapped_and_wrapped_again() {
    let node = Node::unsealed().await;
    let made = wrapped(&node, &node.root, Verb::Write, "auth/token/create", json!({})).await;
    let info = made.unwrap().info();
    assert_eq!(info["creation_path"], "auth/token/create");
    assert_eq!(info["ttl"], 60);
    let unwrapped = node
        .call(
            Verb::Write,
            "sys/wrapping/unwrap",
            json!({"token": info["token"]}),
        )
        .await
        .unwrap();
    assert_eq!(unwrapped["auth"]["accessor"], info["wrapped_accessor"]);

    let unwrapped_wrap = node.call(Verb::Write, "sys/wrapping/wrap", json!({"a": 1})).await;
    assert!(
        matches!(unwrapped_wrap, Err(Error::Invalid(text)) if text.contains("requires response wrapping"))
    );
    let sent = json!({"a": {"b": [1, "2"]}});
    let first = wrapped(&node, &node.root, Verb::Write, "sys/wrapping/wrap", sent.clone()).await;
    let first = first.unwrap().token();
    node.clock.advance(MINUTE / 2);
    let again = json!({"token": first});
    let mut request = Request::new(Verb::Write, "sys/wrapping/rewrap");
    request.token = Some(node.root.clone().into());
    request.data = again.as_object().cloned().unwrap();
    let Body::Envelope(envelope) = node.core.handle(request).await.unwrap().body else {
        panic!("no envelope");
    };
    let info = envelope.wrap_info.unwrap();
    assert_eq!(
        (&info["ttl"], &info["creation_path"]),
        (&json!(60), &json!("sys/wrapping/wrap"))
    );
    assert!(is_not_valid(
        node.call(Verb::Write, "sys/wrapping/unwrap", again).await
    ));
    // The new one has the whole time again.
    node.clock.advance(MINUTE * 3 / 4);
    let answer = node
        .call(
            Verb::Write,
            "sys/wrapping/unwrap",
            json!({"token": info["token"]}),
        )
        .await;
    assert_eq!(answer.unwrap()["data"], sent);
}

#[tokio::test]
async fn answers_without_anything_in_them_are_not_wrapped() {
    let node = Node::unsealed().await;
    let write = wrapped(&node, &node.root, Verb::Write, "cubbyhole/a", json!({"x": "y"})).await;
    assert!(matches!(write, Ok(Wrapped::Nothing)));
    let read = wrapped(&node, &node.root, Verb::Read, "cubbyhole/nosuch", json!({})).await;
    assert!(matches!(read, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_failed_change_leaves_no_token_and_a_wrapped_one_is_done() {
    let node = Node::unsealed().await;
    let data = json!({"data": {"k": "1"}, "options": {"cas": 0}});
    let made = wrapped(&node, &node.root, Verb::Write, "secret/data/c", data.clone()).await;
    let token = made.unwrap().token();
    assert!(
        wrapped(&node, &node.root, Verb::Write, "secret/data/c", data)
            .await
            .is_err()
    );
    let answer = node
        .call(Verb::Write, "sys/wrapping/unwrap", json!({"token": token}))
        .await
        .unwrap();
    assert_eq!(answer["data"]["version"], 1);
    // An act that is no change of rows is wrapped by a command of its own.
    let rotated = wrapped(&node, &node.root, Verb::Read, "sys/rekey/init", json!({})).await;
    let token = rotated.unwrap().token();
    let answer = node
        .call(Verb::Write, "sys/wrapping/unwrap", json!({"token": token}))
        .await
        .unwrap();
    assert_eq!(answer["data"]["started"], false);
}

#[tokio::test]
async fn policies_bound_how_long_answers_are_wrapped() {
    let node = Node::unsealed().await;
    a_secret(&node).await;
    for (bounds, plain, for_a_minute) in [
        (
            "min_wrapping_ttl = \"30s\"\nmax_wrapping_ttl = \"90s\"",
            false,
            true,
        ),
        ("min_wrapping_ttl = \"2m\"", false, false),
        ("max_wrapping_ttl = \"30s\"", false, false),
        ("", true, true),
    ] {
        let policy = format!("path \"secret/data/a\" {{\ncapabilities = [\"read\"]\n{bounds}\n}}");
        let data = json!({"policy": policy});
        node.call(Verb::Write, "sys/policies/acl/w", data).await.unwrap();
        let token = node.token(json!({"policies": ["w"]})).await;
        let read = node.call_as(&token, Verb::Read, "secret/data/a", json!({})).await;
        assert_eq!(read.is_ok(), plain, "{bounds}");
        let taken = wrapped(&node, &token, Verb::Read, "secret/data/a", json!({})).await;
        assert_eq!(taken.is_ok(), for_a_minute, "{bounds}");
    }
}

#[tokio::test]
async fn audit_records_have_the_token_and_the_answer_hashed() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::unsealed_with(Settings {
        audit_directories: vec![home.path().to_owned()],
        ..Settings::default()
    })
    .await;
    let log = home.path().join("audit.log");
    let device = json!({"type": "file", "options": {"file_path": log}});
    node.call(Verb::Write, "sys/audit/file", device).await.unwrap();
    let data = json!({"n": 9_012_573_046_i64, "text": "hunter2"});
    let made = wrapped(&node, &node.root, Verb::Write, "sys/wrapping/wrap", data).await;
    let token = made.unwrap().token();
    let shown = json!({"token": token});
    node.plain(Verb::Write, "sys/wrapping/lookup", shown.clone())
        .await
        .unwrap();
    node.call(Verb::Write, "sys/wrapping/unwrap", shown.clone())
        .await
        .unwrap();
    assert!(is_not_valid(
        node.call(Verb::Write, "sys/wrapping/unwrap", shown).await
    ));
    let log = std::fs::read_to_string(log).unwrap();
    for secret in [token.as_str(), "9012573046", "hunter2"] {
        assert!(!log.contains(secret), "{secret}");
    }
    assert!(log.contains(r#""wrap_info":{"#) && log.contains(r#""creation_path":"sys/wrapping/wrap""#));
    // One request and one response for each, the refused one too.
    assert_eq!(log.matches(r#""path":"sys/wrapping/"#).count(), 8);
}

#[tokio::test]
async fn its_policy_is_nobody_elses_to_change() {
    let node = Node::unsealed().await;
    let policy = json!({"policy": "path \"*\" { capabilities = [\"read\", \"sudo\"] }"});
    let changed = node
        .call(Verb::Write, "sys/policies/acl/response-wrapping", policy)
        .await;
    assert!(matches!(changed, Err(Error::Invalid(text)) if text.contains("cannot update")));
    let token = a_secret(&node).await;
    for path in ["secret/data/a", "sys/mounts", "auth/token/lookup-self"] {
        let refused = node.call_as(&token, Verb::Read, path, json!({})).await;
        assert!(matches!(refused, Err(Error::Denied { .. })), "{path}");
    }
    // A use is a use: what it was spent on does not matter.
    assert!(is_not_valid(
        node.call(Verb::Write, "sys/wrapping/unwrap", json!({"token": token}))
            .await
    ));
    // A token that only looks like one holds nothing.
    let look = json!({"policies": ["response-wrapping"], "num_uses": 1, "no_default_policy": true});
    let alike = node.token(look).await;
    assert!(is_not_valid(
        node.call(Verb::Write, "sys/wrapping/unwrap", json!({"token": alike}))
            .await
    ));
}

#[tokio::test]
async fn tools_draw_and_hash() {
    let node = Node::unsealed().await;
    let call = |path: &'static str, data: Value| node.call(Verb::Write, path, data);
    let hashed = call("sys/tools/hash/sha3-224", json!({"input": "aGk="}))
        .await
        .unwrap();
    assert_eq!(
        hashed["data"]["sum"],
        "4538aacc6ccae167eb462bd2d6ced3537edf6f8d88af709be7b130c0"
    );
    let hashed = call("sys/tools/hash", json!({"input": "aGk=", "format": "base64"}))
        .await
        .unwrap();
    assert_eq!(
        hashed["data"]["sum"],
        "j0NDRmSPa5bfid2pAcUXaxCm2Dlh3TwayItZstwyeqQ="
    );
    let drawn = call("sys/tools/random/5", json!({"format": "hex"}))
        .await
        .unwrap();
    assert_eq!(drawn["data"]["random_bytes"].as_str().unwrap().len(), 10);
    for (path, data) in [
        ("sys/tools/random/0", json!({})),
        ("sys/tools/random", json!({"bytes": 131_073})),
        ("sys/tools/random/zz", json!({})),
        ("sys/tools/random/zz/5", json!({})),
        ("sys/tools/random", json!({"format": "zz"})),
        ("sys/tools/hash/md5", json!({"input": ""})),
        ("sys/tools/hash", json!({"input": "!"})),
        ("sys/tools/hash", json!({"format": "zz"})),
    ] {
        let refused = call(path, data).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{path}");
    }
}
