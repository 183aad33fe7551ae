//! Shares that are none: named, refused, and without effect on the progress of those that are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::node::{Node, until};

#[test]
fn what_is_no_share_changes_nothing() {
    let node = Node::sealed();
    let given = node.put("sys/unseal", &json!({"key": node.shares[0]}));
    assert_eq!(given.body["progress"], 1);
    let good = hex::decode(&node.shares[1]).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut share = good.clone();
        change(&mut share);
        hex::encode(share)
    };
    let other = Node::sealed();
    let last = good.len() - 1;
    let rows: [(&str, Value); 22] = [
        ("none", json!({})),
        ("null", json!({"key": null})),
        ("a number", json!({"key": 7})),
        ("a list", json!({"key": [node.shares[1]]})),
        ("empty", json!({"key": ""})),
        ("one byte", json!({"key": "00"})),
        (
            "odd hex",
            json!({"key": &node.shares[1][..node.shares[1].len() - 1]}),
        ),
        ("no hex", json!({"key": "zz".repeat(33)})),
        (
            "hex within base64",
            json!({"key": STANDARD.encode(&node.shares[1])}),
        ),
        ("x = 0", json!({"key": with(&|share| share[last] = 0)})),
        (
            "another x",
            json!({"key": with(&|share| share[last] = share[last].wrapping_add(7) | 1)}),
        ),
        ("a flipped bit", json!({"key": with(&|share| share[3] ^= 1)})),
        ("shorter", json!({"key": with(&|share| share.truncate(32))})),
        ("longer", json!({"key": with(&|share| share.insert(0, 1))})),
        ("shuffled", json!({"key": with(&|share| share.reverse())})),
        ("300 bytes", json!({"key": "5a".repeat(300)})),
        ("a megabyte", json!({"key": "5a".repeat(500_000)})),
        ("another cluster's", json!({"key": other.shares[0]})),
        ("NUL", json!({"key": "\u{0}"})),
        ("spaces", json!({"key": "   "})),
        ("a reset that is none", json!({"reset": "perhaps"})),
        ("text in another alphabet", json!({"key": "ключ"})),
    ];
    for (name, body) in rows {
        let answer = node.send("PUT", b"/v1/sys/unseal", "", body.to_string().as_bytes());
        assert_eq!(answer.status, 400, "{name}: {}", answer.body);
        assert!(answer.errors().len() > 4, "{name}: {}", answer.body);
        let status = node.get("sys/seal-status").body;
        assert_eq!(
            (&status["sealed"], &status["progress"]),
            (&json!(true), &json!(1)),
            "{name}"
        );
        if let Some(key) = body["key"].as_str().filter(|key| key.len() > 8) {
            assert!(
                !answer.body.to_string().contains(key),
                "{name}: the answer repeats it"
            );
        }
    }
    the_good_ones_still_open(&node);
}

fn the_good_ones_still_open(node: &Node) {
    // The same in base64 is the same share; upper case is the same hex.
    let again = STANDARD.encode(hex::decode(&node.shares[0]).unwrap());
    for same in [again, node.shares[0].to_uppercase()] {
        let answer = node.put("sys/unseal", &json!({"key": same}));
        assert_eq!((answer.status, &answer.body["progress"]), (200, &json!(1)));
    }
    let reset = node.put("sys/unseal", &json!({"reset": true}));
    assert_eq!((reset.status, &reset.body["progress"]), (200, &json!(0)));
    for share in &node.shares[2..] {
        node.put("sys/unseal", &json!({"key": share}));
    }
    until("it opens", || node.get("sys/seal-status").body["sealed"] == false);
}

#[test]
fn init_with_nonsense_makes_nothing_and_a_second_is_refused() {
    let node = Node::fresh();
    let rows: [(&str, Value); 12] = [
        ("nothing", json!({})),
        ("no threshold", json!({"secret_shares": 5})),
        (
            "threshold above shares",
            json!({"secret_shares": 3, "secret_threshold": 4}),
        ),
        ("no shares", json!({"secret_shares": 0, "secret_threshold": 0})),
        ("negative", json!({"secret_shares": -1, "secret_threshold": -1})),
        ("too many", json!({"secret_shares": 256, "secret_threshold": 3})),
        ("text", json!({"secret_shares": "many", "secret_threshold": 3})),
        ("fraction", json!({"secret_shares": 5.5, "secret_threshold": 3})),
        ("one of many", json!({"secret_shares": 5, "secret_threshold": 1})),
        (
            "a number beyond all",
            json!({"secret_shares": 1e18, "secret_threshold": 3}),
        ),
        (
            "keys that are none",
            json!({"secret_shares": 1, "secret_threshold": 1, "pgp_keys": ["none"]}),
        ),
        (
            "recovery shares without auto-unseal",
            json!({"secret_shares": 1, "secret_threshold": 1, "recovery_shares": 5, "recovery_threshold": 3}),
        ),
    ];
    for (name, body) in rows {
        let answer = node.put("sys/init", &body);
        let unsupported = answer.errors().contains("unsupported");
        let want = if unsupported { 501 } else { 400 };
        assert_eq!(answer.status, want, "{name}: {}", answer.body);
        assert_eq!(node.get("sys/init").body["initialized"], json!(false), "{name}");
        assert_eq!(node.get("sys/health").status, 501, "{name}");
    }
    let split = json!({"secret_shares": 1, "secret_threshold": 1});
    assert_eq!(node.put("sys/init", &split).status, 200);
    let again = node.put("sys/init", &split);
    assert_eq!(again.status, 400, "{}", again.body);
    assert!(again.errors().contains("already initialized"), "{}", again.body);
}
