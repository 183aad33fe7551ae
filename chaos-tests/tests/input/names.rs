//! Reserved names have no other spelling, and what opens nothing says nothing.

use serde_json::json;

use crate::node::Node;

#[test]
fn root_has_one_spelling_and_is_given_by_root_alone() {
    let node = Node::unsealed();
    for name in ["root", "ROOT", "Root", "%20root", "root%20"] {
        let written = node.put(
            &format!("sys/policies/acl/{name}"),
            &json!({"policy": r#"path "*" { capabilities = ["read"] }"#}),
        );
        assert_eq!(written.status, 400, "{name}: {}", written.body);
    }
    let giver = r#"path "auth/token/create*" { capabilities = ["create", "update", "sudo"] }"#;
    node.policy("giver", giver);
    let token = node.token(&json!({"policies": ["giver"]}));
    for name in ["root", "ROOT", "Root", " root", "root ", "\troot", "root\n"] {
        let wish = json!({"policies": [name]});
        let made = node.put_as(&token, "auth/token/create", &wish);
        assert!(
            [400, 403].contains(&made.status),
            "{name:?}: {} {}",
            made.status,
            made.body
        );
        let orphan = node.put_as(&token, "auth/token/create-orphan", &wish);
        assert!([400, 403].contains(&orphan.status), "{name:?}: {}", orphan.status);
    }
    // Looks like it, and is a name like any other: it opens nothing.
    for name in ["ｒoot", "r\u{3bf}ot", "root\u{200b}"] {
        let made = node.put("auth/token/create", &json!({"policies": [name]}));
        if made.status == 200 {
            let token = made.body["auth"]["client_token"].as_str().unwrap();
            let mounts = node.send("GET", b"/v1/sys/mounts", token, b"");
            assert_eq!(mounts.status, 403, "{name:?}");
        }
    }
}

#[test]
fn tokens_that_open_nothing_are_all_alike() {
    let node = Node::unsealed();
    let revoked = node.token(&json!({"policies": ["default"]}));
    assert_eq!(
        node.put("auth/token/revoke", &json!({"token": revoked})).status,
        204
    );
    let known = node.token(&json!({"policies": ["default"]}));
    let mut near = known.clone();
    let last = near.pop().unwrap();
    near.push(if last == 'A' { 'B' } else { 'A' });
    let longer = format!("{known}A");
    let guesses = [
        revoked.as_str(),
        &near,
        &longer,
        &known[..known.len() - 1],
        &known[..4],
        "hvs.",
        "s.",
        "root",
        "x",
        "hvs.AAAAAAAAAAAAAAAAAAAAAAAA",
    ];
    let none = node.send("GET", b"/v1/auth/token/lookup-self", guesses[0], b"");
    assert_eq!(none.status, 403);
    for guess in guesses {
        for target in [
            &b"/v1/auth/token/lookup-self"[..],
            b"/v1/secret/data/x",
            b"/v1/sys/mounts",
            b"/v1/nowhere",
        ] {
            let answer = node.send("GET", target, guess, b"");
            assert_eq!(answer.status, 403, "{guess}");
            assert_eq!(answer.errors(), none.errors(), "{guess}");
        }
    }
    assert_eq!(
        node.send("GET", b"/v1/auth/token/lookup-self", &known, b"")
            .status,
        200
    );
}

/// Every route that anyone may call is in this list; all else needs a token.
#[test]
fn without_a_token_only_the_door_answers() {
    let node = Node::unsealed();
    for path in ["sys/seal-status", "sys/health", "sys/leader", "sys/init"] {
        assert_eq!(
            node.send("GET", format!("/v1/{path}").as_bytes(), "", b"").status,
            200,
            "{path}"
        );
    }
    let closed = [
        ("GET", "sys/mounts"),
        ("GET", "sys/auth"),
        ("GET", "sys/audit"),
        ("GET", "sys/policies/acl"),
        ("GET", "sys/policy"),
        ("GET", "sys/host-info"),
        ("GET", "sys/ha-status"),
        ("GET", "sys/key-status"),
        ("GET", "sys/version-history"),
        ("GET", "sys/storage/raft/configuration"),
        ("GET", "sys/storage/raft/snapshot"),
        ("POST", "sys/storage/raft/snapshot"),
        ("POST", "sys/storage/raft/snapshot-force"),
        ("POST", "sys/storage/raft/remove-peer"),
        ("POST", "sys/storage/raft/promote"),
        ("POST", "sys/storage/raft/demote"),
        ("POST", "sys/storage/raft/join-token"),
        ("PUT", "sys/seal"),
        ("PUT", "sys/step-down"),
        ("PUT", "sys/rotate"),
        ("PUT", "sys/rotate/keyring"),
        ("PUT", "sys/rekey/init"),
        ("DELETE", "sys/rekey/init"),
        ("PUT", "sys/rekey/update"),
        ("PUT", "sys/generate-root/attempt"),
        ("DELETE", "sys/generate-root/attempt"),
        ("PUT", "sys/leases/lookup"),
        ("PUT", "sys/leases/revoke"),
        ("PUT", "sys/leases/renew"),
        ("PUT", "sys/capabilities"),
        ("PUT", "sys/capabilities-self"),
        ("PUT", "sys/capabilities-accessor"),
        ("PUT", "sys/audit/file"),
        ("PUT", "sys/mounts/x"),
        ("POST", "sys/remount"),
        ("GET", "auth/token/lookup-self"),
        ("POST", "auth/token/create"),
        ("POST", "auth/token/create-orphan"),
        ("POST", "auth/token/revoke"),
        ("POST", "auth/token/revoke-accessor"),
        ("LIST", "auth/token/accessors"),
        ("GET", "cubbyhole/x"),
        ("GET", "secret/data/x"),
        ("GET", "secret/config"),
        ("GET", "identity/entity/id"),
        ("GET", "nowhere"),
    ];
    for (method, path) in closed {
        let answer = node.send(method, format!("/v1/{path}").as_bytes(), "", b"{}");
        assert!(
            [400, 403].contains(&answer.status),
            "{method} {path}: {} {}",
            answer.status,
            answer.body
        );
    }
    assert_eq!(node.get("sys/health").status, 200, "it still serves");
    assert_eq!(node.get("sys/rekey/init").body["started"], json!(false));
}
