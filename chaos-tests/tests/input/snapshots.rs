//! Uploads that are no snapshots: refused whole, and the state is what it was.

use serde_json::json;

use crate::node::Node;

#[test]
fn what_is_no_snapshot_of_this_cluster_installs_nothing() {
    let node = Node::unsealed();
    assert_eq!(
        node.put("secret/data/kept", &json!({"data": {"k": "v"}})).status,
        200
    );
    let gzip_head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
    let rows: [(&str, &[u8]); 6] = [
        ("nothing", b""),
        ("text", b"a snapshot, honestly"),
        ("a head alone", gzip_head),
        (
            "a head and noise",
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff\xff\xff\xff",
        ),
        ("zeros", &[0; 4096]),
        ("JSON", br#"{"snapshot":true}"#),
    ];
    for (name, bytes) in rows {
        for path in ["snapshot", "snapshot-force"] {
            let target = format!("/v1/sys/storage/raft/{path}");
            let answer = node.send("POST", target.as_bytes(), &node.root, bytes);
            assert_eq!(answer.status, 400, "{name} to {path}: {}", answer.body);
            assert!(answer.errors().len() > 4, "{name}: {}", answer.body);
        }
        assert_eq!(
            node.get("secret/data/kept").body["data"]["data"]["k"],
            "v",
            "{name}"
        );
    }
}
