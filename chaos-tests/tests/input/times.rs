//! Times at and beyond every edge: refused or bound, never wrapped around, never for ever.

use serde_json::{Value, json};

use crate::node::Node;

#[test]
fn no_token_outlives_its_bounds_whatever_time_is_asked_for() {
    let node = Node::unsealed();
    let refused = [
        json!(-1),
        json!("-1"),
        json!("-5s"),
        json!("abc"),
        json!("1x"),
        json!("99999999999999999999"),
        json!("99999999999h"),
        json!(1e300),
        json!([1]),
        json!({"s": 1}),
    ];
    for field in ["ttl", "explicit_max_ttl", "period"] {
        for time in &refused {
            let made = node.put(
                "auth/token/create",
                &json!({field: time, "policies": ["default"]}),
            );
            assert_eq!(made.status, 400, "{field} {time}: {}", made.body);
            assert!(made.errors().len() > 4, "{field} {time}");
        }
    }
    // As Vault: what is longer than the mount allows is cut, and said so.
    let most = 768 * 3600;
    for time in [
        json!("99999999h"),
        json!(1_000_000_000_000_000_000_i64),
        json!("9000h"),
    ] {
        let made = node.put(
            "auth/token/create",
            &json!({"ttl": time, "policies": ["default"]}),
        );
        if made.status == 200 {
            let ttl = made.body["auth"]["lease_duration"].as_i64().unwrap();
            assert!((1..=most).contains(&ttl), "{time}: {ttl}");
        } else {
            assert_eq!(made.status, 400, "{time}: {}", made.body);
        }
    }
    let short = node.token(&json!({"ttl": "1h", "explicit_max_ttl": "2h", "policies": ["default"]}));
    for increment in [
        json!("99999999h"),
        json!(-1),
        json!(i64::MAX),
        json!("0"),
        json!("2h"),
    ] {
        let renewed = node.put(
            "auth/token/renew",
            &json!({"token": short, "increment": increment}),
        );
        if renewed.status == 200 {
            let ttl = renewed.body["auth"]["lease_duration"].as_i64().unwrap();
            assert!((1..=7200).contains(&ttl), "{increment}: {ttl}");
        } else {
            assert_eq!(renewed.status, 400, "{increment}: {}", renewed.body);
        }
        let left = node.put("auth/token/lookup", &json!({"token": short})).body;
        let left = left["data"]["ttl"].as_i64().unwrap();
        assert!((1..=7200).contains(&left), "{increment}: {left}");
    }
}

#[test]
fn numbers_of_kv_are_checked() {
    let node = Node::unsealed();
    let data = json!({"k": "v"});
    assert_eq!(node.put("secret/data/x", &json!({"data": data})).status, 200);
    for cas in [
        json!(-1),
        json!(2),
        json!("x"),
        json!(1.5),
        json!(u64::MAX),
        json!([1]),
    ] {
        let body = json!({"data": data, "options": {"cas": cas}});
        let answer = node.put("secret/data/x", &body);
        assert_eq!(answer.status, 400, "cas {cas}: {}", answer.body);
    }
    for version in ["abc", "99999999999999999999", "1.5"] {
        let answer = node.get(&format!("secret/data/x?version={version}"));
        assert!(
            [400, 404].contains(&answer.status),
            "{version}: {} {}",
            answer.status,
            answer.body
        );
    }
    let wrong: [(&str, Value); 7] = [
        ("secret/data/x", json!({})),
        ("secret/data/x", json!({"data": "text"})),
        ("secret/data/x", json!({"data": [1]})),
        ("secret/destroy/x", json!({"versions": "all"})),
        ("secret/delete/x", json!({})),
        ("secret/metadata/x", json!({"max_versions": -1})),
        ("secret/metadata/x", json!({"custom_metadata": {"k": ["list"]}})),
    ];
    for (path, body) in wrong {
        let answer = node.put(path, &body);
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.body);
    }
    let read = node.get("secret/data/x").body;
    assert_eq!(
        (&read["data"]["data"]["k"], &read["data"]["metadata"]["version"]),
        (&json!("v"), &json!(1))
    );
}
