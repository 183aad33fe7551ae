//! Rate limits as callers meet them, policies that end, passwords by policy: through the one pipeline.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use serde_json::{Value, json};

use conclave_core::{Error, Settings, Verb};
use support::Node;
use support::played::{Mood, PATH, SECOND, Scene};

async fn limit(node: &Node, name: &str, data: Value) {
    let path = format!("sys/quotas/rate-limit/{name}");
    node.call(Verb::Write, &path, data).await.unwrap();
}

/// How many of so many reads pass.
async fn reads(node: &Node, path: &str, count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        match node.call(Verb::Read, path, Value::Null).await {
            Ok(_) => passed += 1,
            Err(Error::RateLimited { path: named, .. }) => assert_eq!(named, path),
            Err(error) => panic!("{error}"),
        }
    }
    passed
}

#[tokio::test]
async fn a_limit_holds_back_what_it_concerns_and_nothing_else() {
    let node = Node::unsealed().await;
    let data = json!({"data": {"x": 1}});
    for path in ["secret/data/a", "secret/data/b/c"] {
        node.call(Verb::Write, path, data.clone()).await.unwrap();
    }
    // An hour for three: none is gained while the test runs.
    limit(
        &node,
        "few",
        json!({"rate": 3, "interval": "1h", "path": "secret/data/b/*"}),
    )
    .await;
    assert_eq!(reads(&node, "secret/data/b/c", 10).await, 3);
    assert_eq!(reads(&node, "secret/data/a", 10).await, 10);
    // A denial is refused as well: whoever has no token uses the limit up like others.
    let denied = node.plain(Verb::Read, "secret/data/b/c", Value::Null).await;
    assert!(matches!(denied, Err(Error::RateLimited { .. })));
    // A new rule begins anew.
    limit(
        &node,
        "few",
        json!({"rate": 5, "interval": "1h", "path": "secret/data/b/*"}),
    )
    .await;
    let again = reads(&node, "secret/data/b/c", 10).await;
    assert!(again <= 5, "{again}");
    node.call(Verb::Delete, "sys/quotas/rate-limit/few", Value::Null)
        .await
        .unwrap();
    assert_eq!(reads(&node, "secret/data/b/c", 10).await, 10);
}

#[tokio::test]
async fn what_is_exempt_and_health_are_not_held_back() {
    let node = Node::unsealed().await;
    let exempt = json!({"rate_limit_exempt_paths": ["sys/*", "auth/token/lookup-self"]});
    node.call(Verb::Write, "sys/quotas/config", exempt).await.unwrap();
    limit(&node, "all", json!({"rate": 1, "interval": "1h"})).await;
    assert_eq!(reads(&node, "auth/token/lookup-self", 5).await, 5);
    assert_eq!(reads(&node, "sys/mounts", 5).await, 5);
    for _ in 0..5 {
        node.plain(Verb::Read, "sys/health", Value::Null).await.unwrap();
    }
    let _ = node.call(Verb::Read, "secret/config", Value::Null).await;
    let over = node.call(Verb::Read, "secret/config", Value::Null).await;
    let over = over.unwrap_err();
    assert!(
        matches!(over, Error::RateLimited { recorded: false, .. }),
        "{over}"
    );
    assert_eq!(
        over.to_string(),
        "request path \"secret/config\": rate limit quota exceeded"
    );
}

#[tokio::test]
async fn what_needs_no_token_is_held_back_as_well() {
    let node = Node::unsealed_with(Settings {
        unauthenticated_rekey: true,
        unauthenticated_generate_root: true,
        ..Settings::default()
    });
    let node = node.await;
    limit(&node, "all", json!({"rate": 2, "interval": "1h"})).await;
    let asked = async |path: &str| {
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(match node.plain(Verb::Read, path, Value::Null).await {
                Ok(_) => "passed",
                Err(Error::RateLimited { .. }) => "held back",
                Err(error) => panic!("{path}: {error}"),
            });
        }
        told
    };
    // The way to a root token is exempt, as in Vault, until somebody says otherwise.
    assert_eq!(asked("sys/generate-root/attempt").await, ["passed"; 4]);
    let config = json!({"rate_limit_exempt_paths": "sys/quotas/*"});
    node.call(Verb::Write, "sys/quotas/config", config).await.unwrap();
    for path in [
        "sys/rekey/init",
        "sys/internal/ui/mounts",
        "sys/generate-root/attempt",
    ] {
        limit(&node, "all", json!({"rate": 2, "interval": "1h"})).await;
        let told = asked(path).await;
        assert!(told[3] == "held back", "{path}: {told:?}");
    }
}

#[tokio::test]
async fn wrong_limits_are_refused_and_change_nothing() {
    let node = Node::unsealed().await;
    for (data, why) in [
        (json!({}), "'rate' is invalid"),
        (json!({"rate": 0}), "'rate' is invalid"),
        (json!({"rate": -1}), "'rate' is invalid"),
        (json!({"rate": "NaN"}), "'rate' is invalid"),
        (json!({"rate": 1e300}), "'rate' is invalid"),
        (json!({"rate": "zz"}), "float64"),
        (json!({"rate": 1, "interval": "-1"}), "interval"),
        (json!({"rate": 1, "interval": "9000h"}), "too long"),
        (json!({"rate": 1, "path": "nosuch/"}), "invalid mount path"),
        (json!({"rate": 1, "path": "../x"}), "invalid mount path"),
        (json!({"rate": 1, "group_by": "zz"}), "group_by"),
        (json!({"rate": 1, "role": "x"}), "not a valid auth method"),
    ] {
        let refused = node
            .call(Verb::Write, "sys/quotas/rate-limit/a", data.clone())
            .await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(why), "{data}: {text}");
    }
    let listed = node.call(Verb::List, "sys/quotas/rate-limit", Value::Null).await;
    assert!(matches!(listed, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_policy_ends_by_itself() {
    let node = Node::unsealed().await;
    node.call(Verb::Write, "secret/data/a", json!({"data": {"x": 1}}))
        .await
        .unwrap();
    let policy = json!({"policy": "path \"secret/data/a\" { capabilities = [\"read\"] }", "ttl": "1h"});
    node.call(Verb::Write, "sys/policies/acl/brief", policy)
        .await
        .unwrap();
    let token = node.token(json!({"policies": ["brief"], "ttl": "9h"})).await;
    let read = |node: &Node| {
        let (core, token) = (node.core.clone(), token.clone());
        async move {
            let mut request = conclave_core::Request::new(Verb::Read, "secret/data/a");
            request.token = Some(token.into());
            core.handle(request).await.map(drop)
        }
    };
    read(&node).await.unwrap();
    node.clock.advance(3_599_000);
    read(&node).await.unwrap();
    node.clock.advance(2_000);
    assert!(matches!(read(&node).await, Err(Error::Denied { .. })));
    let told = node.call(Verb::Read, "sys/policies/acl/brief", Value::Null).await;
    assert!(matches!(told, Err(Error::NotFound { .. })));
    let names = node
        .call(Verb::List, "sys/policies/acl", Value::Null)
        .await
        .unwrap();
    assert_eq!(names["data"]["keys"], json!(["default", "root"]));
    // Its name is free again.
    let anew = json!({"policy": "path \"secret/data/a\" { capabilities = [\"read\"] }", "cas": -1});
    node.call(Verb::Write, "sys/policies/acl/brief", anew)
        .await
        .unwrap();
    read(&node).await.unwrap();
}

#[tokio::test]
async fn a_patched_policy_keeps_what_is_not_named() {
    let node = Node::unsealed().await;
    let text = "path \"a\" { capabilities = [\"read\"] }";
    let path = "sys/policies/acl/kept";
    node.call(
        Verb::Write,
        path,
        json!({"policy": text, "ttl": "1h", "cas_required": true, "cas": -1}),
    )
    .await
    .unwrap();
    let refused = node.call(Verb::Patch, path, json!({"ttl": "2h"})).await;
    assert!(refused.unwrap_err().to_string().contains("check-and-set"));
    node.call(Verb::Patch, path, json!({"ttl": "2h", "cas": 1}))
        .await
        .unwrap();
    let told = node.call(Verb::Read, path, Value::Null).await.unwrap();
    assert_eq!(told["data"]["policy"], text);
    assert_eq!(told["data"]["version"], 2);
    assert_eq!(told["data"]["cas_required"], true);
    assert_eq!(told["data"]["expiration"], "2026-01-01T02:00:00Z");
    let nobody = node
        .call(Verb::Patch, "sys/policies/acl/nosuch", json!({"ttl": "2h"}))
        .await;
    assert_eq!(nobody.unwrap_err().to_string(), "policy not found");
}

#[tokio::test]
async fn passwords_come_from_policies() {
    let node = Node::unsealed().await;
    let policy = "length = 12\nrule \"charset\" { charset = \"abc\" min-chars = 1 }\nrule \"charset\" { charset = \"0123\" min-chars = 2 }";
    let path = "sys/policies/password/app";
    node.call(Verb::Write, path, json!({"policy": policy}))
        .await
        .unwrap();
    let generate = format!("{path}/generate");
    let made = node.call(Verb::Read, &generate, Value::Null).await.unwrap();
    let password = made["data"]["password"].as_str().unwrap();
    assert_eq!(password.len(), 12);
    assert!(password.chars().all(|c| "abc0123".contains(c)), "{password}");
    let other = node.call(Verb::Read, &generate, Value::Null).await.unwrap();
    assert_ne!(made, other);
    node.call(Verb::Delete, path, Value::Null).await.unwrap();
    let gone = node.call(Verb::Read, &generate, Value::Null).await;
    assert!(matches!(gone, Err(Error::Missing(_))));
}

#[tokio::test]
async fn leases_are_bounded_and_counted_with_the_commands_that_make_and_end_them() {
    let scene = Scene::new().await;
    let before = scene.issue().await;
    let rule = "sys/quotas/lease-count/few";
    let read = async || scene.node.call(Verb::Read, rule, json!({})).await.unwrap()["data"].clone();
    let write = async |data: Value| scene.node.call(Verb::Write, rule, data).await;
    for (wrong, told) in [
        (json!({}), "max_leases"),
        (json!({"max_leases": 0}), "max_leases"),
        (json!({"max_leases": 2, "path": "nowhere/"}), "invalid mount path"),
        (json!({"max_leases": 2, "role": "x"}), "not a valid auth method"),
        (
            json!({"max_leases": 2, "path": "auth/token/"}),
            "tokens are not counted",
        ),
    ] {
        let refused = write(wrong).await.unwrap_err().to_string();
        assert!(refused.contains(told), "{told}: {refused}");
    }
    write(json!({"max_leases": 2, "path": "database/"}))
        .await
        .unwrap();
    assert_eq!(read().await["counter"], 0, "what was there before is not counted");
    let (one, _) = (scene.issue().await, scene.issue().await);
    assert_eq!(read().await["counter"], 2);
    let refused = scene.node.call(Verb::Read, PATH, json!({})).await.unwrap_err();
    assert!(matches!(refused, Error::LeasesExceeded(_)), "{refused:?}");
    assert_eq!(scene.target.accounts(), 3, "nothing was made");
    assert_eq!(read().await["counter"], 2);
    // One that is not counted makes no room, one that is does.
    for (ends, counter) in [(&before, 2), (&one, 1)] {
        scene
            .must("sys/leases/revoke", json!({"lease_id": ends["lease_id"]}))
            .await;
        scene.pass(SECOND).await;
        assert_eq!(read().await["counter"], counter);
    }
    scene.issue().await;
    // A target that nobody finds leaves nothing counted behind.
    write(json!({"max_leases": 3, "path": "database/"}))
        .await
        .unwrap();
    scene.target.is(Mood::Down);
    assert!(scene.node.call(Verb::Read, PATH, json!({})).await.is_err());
    assert_eq!(read().await["counter"], 2);
    // A role's own bound is closer than its mount's.
    scene.target.is(Mood::Well);
    let own = json!({"max_leases": 1, "path": PATH});
    scene.must("sys/quotas/lease-count/app", own).await;
    scene.issue().await;
    let refused = scene.node.call(Verb::Read, PATH, json!({})).await.unwrap_err();
    assert!(matches!(refused, Error::LeasesExceeded(_)), "{refused:?}");
    assert_eq!(read().await["counter"], 2);
    scene.node.call(Verb::Delete, rule, json!({})).await.unwrap();
    assert!(scene.node.call(Verb::Read, rule, json!({})).await.is_err());
}

/// Makes namespaces, each with a mount and a row in it.
async fn namespaces(node: &Node, paths: &[&str]) {
    for path in paths {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let above = if above.is_empty() {
            String::new()
        } else {
            format!("{above}/")
        };
        for (path, data) in [
            (format!("{above}sys/namespaces/{name}"), json!({})),
            (format!("{path}/sys/mounts/kv"), json!({"type": "kv"})),
            (format!("{path}/kv/x"), json!({"k": "v"})),
        ] {
            node.call(Verb::Write, &path, data).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_namespace_has_limits_of_its_own_and_hands_them_down_if_told_to() {
    let node = Node::unsealed().await;
    namespaces(&node, &["a", "a/c", "b", "b/d", "b/d/e"]).await;
    limit(&node, "own", json!({"rate": 3, "interval": "1h", "path": "a"})).await;
    let told = node
        .call(Verb::Read, "sys/quotas/rate-limit/own", Value::Null)
        .await;
    let told = told.unwrap();
    assert_eq!(
        (&told["data"]["path"], &told["data"]["inheritable"]),
        (&json!("a/"), &json!(false))
    );
    assert_eq!(reads(&node, "a/kv/x", 10).await, 3);
    assert_eq!(
        reads(&node, "a/c/kv/x", 10).await,
        10,
        "it is handed down to nobody"
    );
    assert_eq!(reads(&node, "b/kv/x", 10).await, 10);
    // One bucket for a namespace and all beneath it, until one of them has its own.
    let down = json!({"rate": 4, "interval": "1h", "path": "b/", "inheritable": true});
    limit(&node, "down", down).await;
    assert_eq!(reads(&node, "b/kv/x", 1).await, 1);
    assert_eq!(reads(&node, "b/d/kv/x", 1).await, 1);
    assert_eq!(reads(&node, "b/d/e/kv/x", 10).await, 2);
    assert_eq!(reads(&node, "b/d/kv/x", 10).await, 0);
    limit(
        &node,
        "nearer",
        json!({"rate": 5, "interval": "1h", "path": "b/d"}),
    )
    .await;
    assert_eq!(reads(&node, "b/d/kv/x", 10).await, 5);
    assert_eq!(reads(&node, "b/d/e/kv/x", 10).await, 0, "that of b/d is its own");
    limit(
        &node,
        "mount",
        json!({"rate": 6, "interval": "1h", "path": "b/d/e/kv"}),
    )
    .await;
    assert_eq!(reads(&node, "b/d/e/kv/x", 10).await, 6);
    limit(
        &node,
        "rows",
        json!({"rate": 7, "interval": "1h", "path": "b/d/e/kv/*"}),
    )
    .await;
    assert_eq!(reads(&node, "b/d/e/kv/x", 10).await, 7);
    for (path, why) in [
        ("a/nosuch", "invalid mount path \"nosuch/\""),
        ("a/c/nosuch/*", "invalid mount path \"nosuch/\""),
        ("c/", "invalid mount path \"c/\""),
        ("a/*", "invalid mount path \"a/*\""),
        ("a", "similar properties exists under the name \"own\""),
    ] {
        let asked = json!({"rate": 1, "path": path});
        let refused = node.call(Verb::Write, "sys/quotas/rate-limit/wrong", asked).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(why), "{path}: {text}");
    }
    // What holds for everything may be kept from namespaces.
    let root = json!({"rate": 2, "interval": "1h", "inheritable": false});
    limit(&node, "root", root).await;
    assert_eq!(reads(&node, "a/c/kv/x", 10).await, 10);
    assert_eq!(reads(&node, "sys/mounts", 10).await, 2);
}

#[tokio::test]
async fn leases_of_a_namespace_are_bounded() {
    let scene = Scene::new().await;
    let paths = ["team", "team/sub"];
    namespaces(&scene.node, &paths).await;
    for path in paths {
        scene.has_a_database(path).await;
    }
    let issue = async |path: &str| scene.node.call(Verb::Read, path, Value::Null).await;
    let rule = "sys/quotas/lease-count/team";
    let tokens = scene.node.call(
        Verb::Write,
        rule,
        json!({"max_leases": 1, "path": "team/auth/token"}),
    );
    let refused = tokens.await.unwrap_err().to_string();
    assert!(refused.contains("tokens are not counted"), "{refused}");
    scene.must(rule, json!({"max_leases": 1, "path": "team"})).await;
    let lease = issue("team/database/creds/app").await.unwrap()["lease_id"].clone();
    let refused = issue("team/database/creds/app").await.unwrap_err();
    assert!(matches!(refused, Error::LeasesExceeded(_)), "{refused:?}");
    for elsewhere in ["team/sub/database/creds/app", PATH, PATH] {
        issue(elsewhere).await.unwrap();
    }
    // What was made in the namespaces beneath before it counted them is not counted.
    let down = json!({"max_leases": 2, "path": "team", "inheritable": true});
    scene.must(rule, down).await;
    issue("team/sub/database/creds/app").await.unwrap();
    for counted in ["team/sub/database/creds/app", "team/database/creds/app"] {
        let refused = issue(counted).await.unwrap_err();
        assert!(matches!(refused, Error::LeasesExceeded(_)), "{refused:?}");
    }
    scene
        .must("team/sys/leases/revoke", json!({"lease_id": lease}))
        .await;
    scene.pass(SECOND).await;
    issue("team/sub/database/creds/app").await.unwrap();
}
