//! What operators ask of `sys/`: why something is allowed or not, and which headers are on record.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use conclave_core::audit::Declared;
use conclave_core::{Headers, Request, Settings, Verb};
use support::Node;

const EXPLAIN: &str = "sys/policies/explain";

async fn ask(node: &Node, token: &str, question: Value) -> Value {
    node.call_as(token, Verb::Write, EXPLAIN, question).await.unwrap()["data"].take()
}

async fn policy(node: &Node, name: &str, text: &str) {
    let path = format!("sys/policies/acl/{name}");
    node.call(Verb::Write, &path, json!({"policy": text}))
        .await
        .unwrap();
}

#[tokio::test]
async fn why_something_is_allowed_or_not() {
    let node = Node::unsealed().await;
    policy(
        &node,
        "app",
        "path \"secret/data/app/*\" { capabilities = [\"read\"] }\npath \"secret/data/app/no\" { capabilities = [\"deny\"] }",
    )
    .await;
    policy(
        &node,
        "more",
        "path \"secret/data/app/*\" { capabilities = [\"list\"] }\npath \"sys/rotate\" { capabilities = [\"update\"] }",
    )
    .await;
    let token = node.token(json!({"policies": ["app", "more", "gone"]})).await;
    let asked =
        |capability: &str, path: &str| json!({"token": token, "capability": capability, "path": path});
    for (capability, path, missing, rule) in [
        ("read", "secret/data/app/x", None, Some("secret/data/app/*")),
        ("list", "secret/data/app/x", None, Some("secret/data/app/*")),
        (
            "update",
            "secret/data/app/x",
            Some("capability"),
            Some("secret/data/app/*"),
        ),
        (
            "read",
            "secret/data/app/no",
            Some("deny"),
            Some("secret/data/app/no"),
        ),
        ("read", "secret/app/x", Some("rule"), None),
        ("update", "sys/rotate", Some("sudo"), Some("sys/rotate")),
        (
            "read",
            "auth/token/lookup-self",
            None,
            Some("auth/token/lookup-self"),
        ),
        ("read", "sys/internal/ui/mounts", None, None),
        ("read", "nowhere/x", Some("rule"), None),
    ] {
        let told = ask(&node, &node.root, asked(capability, path)).await;
        assert_eq!(told["missing"], json!(missing), "{path}: {told}");
        assert_eq!(told["rule"].as_str(), rule, "{path}: {told}");
        assert_eq!(told["allowed"], json!(missing.is_none()), "{path}: {told}");
        assert_eq!(told["unknown_policies"], json!(["gone"]));
        // What is told is what happens.
        let verb = match capability {
            "read" => Verb::Read,
            "list" => Verb::List,
            _ => Verb::Write,
        };
        let done = node.call_as(&token, verb, path, json!({})).await;
        let denied = matches!(done, Err(conclave_core::Error::Denied { .. }));
        assert_eq!(denied, missing.is_some(), "{capability} {path}: {done:?}");
    }
    let told = ask(&node, &node.root, asked("update", "secret/data/app/x")).await;
    assert_eq!(told["rule_of"], json!({"app": ["read"], "more": ["list"]}));
    let twice =
        "path \"twice\" { capabilities = [\"read\"] }\npath \"twice\" { capabilities = [\"update\"] }";
    let question = json!({"draft": twice, "capability": "read", "path": "twice"});
    let of_draft = &ask(&node, &node.root, question).await["rule_of"];
    assert_eq!(
        *of_draft,
        json!({"(draft)": ["read", "update"]}),
        "blocks of one path count together"
    );
    let would_do = told["to_allow"].as_str().unwrap();
    policy(&node, "would", would_do).await;
    let with = json!({"policies": ["app", "would"], "capability": "update", "path": "secret/data/app/x"});
    assert_eq!(ask(&node, &node.root, with).await["allowed"], true, "{would_do}");
    let told = ask(&node, &node.root, asked("read", "secret/app/x")).await;
    assert!(told["hint"].as_str().unwrap().contains("beneath data/"), "{told}");
    let told = ask(&node, &node.root, asked("update", "secret/data/app/no")).await;
    assert_eq!(told["to_allow"], Value::Null, "nothing adds to a deny");
}

#[tokio::test]
async fn drafts_and_parameters_are_asked_about_and_wrong_questions_refused() {
    let node = Node::unsealed().await;
    let draft = "path \"a/*\" { capabilities = [\"update\"]\n allowed_parameters = { \"ttl\" = [] }\n max_wrapping_ttl = \"60s\" }";
    let question = |data: Value, ttl: Value| json!({"draft": draft, "capability": "update", "path": "a/b", "data": data, "wrap_ttl": ttl});
    for (data, ttl, missing) in [
        (json!({"ttl": 1}), json!("30s"), Value::Null),
        (json!({"other": 1}), json!("30s"), json!("parameter")),
        (json!({"ttl": 1}), json!("2m"), json!("wrap_ttl")),
    ] {
        let told = ask(&node, &node.root, question(data, ttl)).await;
        assert_eq!(told["missing"], missing, "{told}");
    }
    for wrong in [
        json!({}),
        json!({"capability": "read"}),
        json!({"capability": "sudo", "path": "a"}),
        json!({"capability": "read", "path": "a", "token": "x"}),
        json!({"capability": "read", "path": "a", "accessor": "x"}),
        json!({"capability": "read", "path": "a", "accessor": "x", "draft": draft}),
        json!({"capability": "read", "path": "a", "draft": "path \"a\" {"}),
        json!({"capability": "read", "path": "a", "data": 5}),
    ] {
        let answer = node.call(Verb::Write, EXPLAIN, wrong.clone()).await;
        assert!(answer.is_err(), "{wrong}");
    }
    // Without more, it is about the caller, who needs a policy to ask.
    let weak = node.token(json!({"policies": ["default"]})).await;
    let about = json!({"capability": "read", "path": "secret/data/x"});
    assert!(
        node.call_as(&weak, Verb::Write, EXPLAIN, about.clone())
            .await
            .is_err()
    );
    policy(
        &node,
        "asks",
        &format!("path \"{EXPLAIN}\" {{ capabilities = [\"update\"] }}"),
    )
    .await;
    let asks = node.token(json!({"policies": ["asks"]})).await;
    assert_eq!(ask(&node, &asks, about).await["missing"], "rule");
}

/// Headers as a transport would hand them over.
struct Sent(Vec<(&'static str, &'static str)>);

impl Headers for Sent {
    fn values(&self, name: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned()).collect()
    }
}

#[tokio::test]
async fn chosen_headers_are_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.log");
    let settings = Settings {
        audit_directories: vec![dir.path().to_owned()],
        audit_devices: vec![Declared {
            path: "main/".to_owned(),
            kind: "file".to_owned(),
            description: String::new(),
            options: [("file_path".to_owned(), file.to_string_lossy().into_owned())].into(),
        }],
        ..Settings::default()
    };
    let node = Node::unsealed_with(settings).await;
    let at = "sys/config/auditing/request-headers";
    let put = async |name: &str, data: Value| node.call(Verb::Write, &format!("{at}/{name}"), data).await;
    put("X-Team", json!({})).await.unwrap();
    put("x-vault-token", json!({"hmac": true})).await.unwrap();
    assert!(
        put("X-Vault-Token", json!({"hmac": false})).await.is_err(),
        "a token is never in the clear"
    );
    let sent = async |headers: Vec<(&'static str, &'static str)>| {
        let mut request = Request::new(Verb::Read, "secret/data/a");
        request.token = Some(Zeroizing::new(node.root.clone()));
        request.headers = Some(Box::new(Sent(headers)));
        let _ = node.core.handle(request).await;
        let text = std::fs::read_to_string(&file).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        last["request"]["headers"].clone()
    };
    let recorded = sent(vec![
        ("x-team", "a"),
        ("x-team", "b"),
        ("x-vault-token", "s.x"),
        ("x-other", "c"),
    ])
    .await;
    assert_eq!(recorded["x-team"], json!(["a", "b"]));
    assert!(
        recorded["x-vault-token"][0]
            .as_str()
            .unwrap()
            .starts_with("hmac-sha256:")
    );
    assert_eq!(recorded.as_object().unwrap().len(), 2);
    assert_eq!(sent(vec![("x-other", "c")]).await, Value::Null);
    node.call(Verb::Delete, &format!("{at}/X-TEAM"), json!({}))
        .await
        .unwrap();
    assert_eq!(sent(vec![("x-team", "a")]).await, Value::Null);
}

/// A version is on record from when it first led, whoever is asked later, restarts and the next one included.
#[tokio::test]
async fn versions_are_known_from_when_they_led() {
    let history = async |node: &Node| {
        let told = node.call(Verb::List, "sys/version-history", Value::Null).await;
        told.unwrap()["data"].clone()
    };
    let mut node = Node::unsealed().await;
    let first = history(&node).await;
    assert_eq!(first["keys"], json!(["2.7.2"]));
    assert_eq!(first["key_info"]["2.7.2"]["previous_version"], Value::Null);
    node.clock.advance(86_400_000);
    node.core.install_version().await.unwrap();
    assert_eq!(history(&node).await, first);

    node.settings.conclave_version = "9.9.9".to_owned();
    let node = node.restarted().await;
    node.unseal().await;
    assert_eq!(
        history(&node).await,
        first,
        "it does not lead yet, as far as is known"
    );
    node.core.install_version().await.unwrap();
    let both = history(&node).await;
    assert_eq!(both["keys"], json!(["2.7.2", "2.7.2+conclave.9.9.9"]));
    assert_eq!(both["key_info"]["2.7.2"], first["key_info"]["2.7.2"]);
    let next = &both["key_info"]["2.7.2+conclave.9.9.9"];
    assert_eq!(next["previous_version"], "2.7.2");
    assert_eq!(next["conclave_version"], "9.9.9");
    assert_ne!(
        next["timestamp_installed"],
        first["key_info"]["2.7.2"]["timestamp_installed"]
    );

    // While members are upgraded one by one, those that lead may run now the one, now the other.
    let mut node = node;
    for version in [Settings::default().conclave_version, "9.9.9".to_owned()] {
        node.settings.conclave_version = version;
        node = node.restarted().await;
        node.unseal().await;
        node.clock.advance(60_000);
        node.core.install_version().await.unwrap();
        assert_eq!(history(&node).await, both);
    }
}
