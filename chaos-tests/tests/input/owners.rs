//! What belongs to one role or token is out of reach by the name of another, whatever id or accessor is shown for it
//! (CVE-2023-24999 and its kind).

use serde_json::{Value, json};

use crate::node::{Answer, Node};

const ROLE: &str = "auth/approle/role";

#[test]
fn a_role_reaches_no_secret_id_of_another() {
    let node = with_roles();
    let (id, accessor) = secret_id(&node, "victim");
    let theirs = [
        ("secret-id/lookup", json!({"secret_id": id})),
        (
            "secret-id-accessor/lookup",
            json!({"secret_id_accessor": accessor}),
        ),
        ("secret-id/destroy", json!({"secret_id": id})),
        (
            "secret-id-accessor/destroy",
            json!({"secret_id_accessor": accessor}),
        ),
        ("secret-id/destroy", json!({"secret_id": accessor})),
        (
            "secret-id-accessor/destroy",
            json!({"secret_id_accessor": format!("../victim/{accessor}")}),
        ),
    ];
    for (path, body) in theirs {
        let told = node.put(&format!("{ROLE}/stranger/{path}"), &body);
        assert!(
            told.body["data"]["secret_id_accessor"].is_null(),
            "{path} {body}: {}",
            told.body
        );
    }
    // By the wrong role's id nobody logs in; the right one still does.
    let stranger = role_id(&node, "stranger");
    assert_eq!(login(&node, &stranger, &id).status, 400);
    let victim = role_id(&node, "victim");
    let mine = login(&node, &victim, &id);
    assert_eq!(mine.status, 200, "{}", mine.body);
}

#[test]
fn a_token_reaches_nothing_of_another() {
    let node = Node::unsealed();
    // As much as a policy can give beneath a token's own paths, and nothing on protected ones.
    let wide = r#"path "cubbyhole/*" { capabilities = ["create", "read", "update", "delete", "list"] }
        path "auth/token/lookup-self" { capabilities = ["read"] }
        path "auth/token/renew-self" { capabilities = ["update"] }"#;
    node.policy("own", wide);
    let made = |_| node.token(&json!({"policies": ["own"], "ttl": "1h", "no_default_policy": true}));
    let [one, other] = [(); 2].map(made);
    let kept = node.put_as(&one, "cubbyhole/mine", &json!({"k": "v"}));
    assert_eq!(kept.status, 204, "{}", kept.body);
    let get = |token: &str, path: &str| node.send("GET", format!("/v1/{path}").as_bytes(), token, b"");
    assert_eq!(get(&other, "cubbyhole/mine").status, 404);
    assert_eq!(node.get("cubbyhole/mine").status, 404, "not even for root");
    let accessor = get(&one, "auth/token/lookup-self").body["data"]["accessor"].clone();
    let id = "auth/token/create/x";
    for (path, body) in [
        ("auth/token/lookup", json!({"token": one})),
        ("auth/token/lookup-accessor", json!({"accessor": accessor})),
        ("auth/token/renew", json!({"token": one})),
        ("auth/token/renew-accessor", json!({"accessor": accessor})),
        ("auth/token/revoke", json!({"token": one})),
        ("auth/token/revoke-accessor", json!({"accessor": accessor})),
        ("auth/token/revoke-orphan", json!({"token": one})),
        ("sys/capabilities", json!({"token": one, "path": "x"})),
        (
            "sys/capabilities-accessor",
            json!({"accessor": accessor, "path": "x"}),
        ),
        ("sys/leases/lookup", json!({"lease_id": id})),
        ("sys/leases/revoke", json!({"lease_id": id})),
        ("sys/leases/renew", json!({"lease_id": id})),
        ("sys/leases/revoke-prefix/auth/token/create", Value::Null),
    ] {
        let told = node.put_as(&other, path, &body);
        assert_eq!(told.status, 403, "{path}: {}", told.body);
    }
    assert_eq!(get(&one, "cubbyhole/mine").body["data"]["k"], "v");
}

fn with_roles() -> Node {
    let node = Node::unsealed();
    let method = node.put("sys/auth/approle", &json!({"type": "approle"}));
    assert_eq!(method.status, 204, "{}", method.body);
    for role in ["victim", "stranger"] {
        let made = node.put(&format!("{ROLE}/{role}"), &json!({"token_policies": "default"}));
        assert_eq!(made.status, 204, "{}", made.body);
    }
    node
}

fn role_id(node: &Node, role: &str) -> String {
    let read = node.get(&format!("{ROLE}/{role}/role-id"));
    text(&read.body["data"]["role_id"])
}

/// A new one and its accessor.
fn secret_id(node: &Node, role: &str) -> (String, String) {
    let made = node.put(&format!("{ROLE}/{role}/secret-id"), &json!({}));
    let data = &made.body["data"];
    (text(&data["secret_id"]), text(&data["secret_id_accessor"]))
}

fn login(node: &Node, role: &str, secret: &str) -> Answer {
    let shown = json!({"role_id": role, "secret_id": secret});
    node.put_as("", "auth/approle/login", &shown)
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}
