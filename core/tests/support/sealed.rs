//! Namespaces with a seal of their own, and what is asked in them.

use serde_json::{Value, json};

use conclave_core::Verb::{self, Read, Write};

use super::{Node, ask};

/// Three shares, of which two are needed.
pub const SEAL: &str = "seal \"shamir\" {\n shares = 3\n threshold = 2\n}";

/// What is answered to the root token, which must be good.
pub async fn done(node: &Node, namespace: &str, verb: Verb, path: &str, body: Value) -> Value {
    let answer = ask(node, namespace, &node.root, (verb, path), body).await;
    answer.unwrap_or_else(|error| panic!("{namespace} {path}: {error}"))
}

/// Makes a namespace with a seal of three shares; the shares.
pub async fn make(node: &Node, parent: &str, name: &str) -> Vec<String> {
    let wanted = json!({"custom_metadata": {"owner": "canary-team"}, "seal": SEAL});
    let made = done(node, parent, Write, &format!("sys/namespaces/{name}"), wanted).await;
    assert_eq!(made["data"]["key_threshold"], 2);
    let shares = made["data"]["key_shares"].as_array().unwrap();
    shares
        .iter()
        .map(|share| share.as_str().unwrap().to_owned())
        .collect()
}

/// Gives the first two shares; what is answered to the second.
pub async fn unseal(node: &Node, parent: &str, name: &str, shares: &[String]) -> Value {
    let mut last = Value::Null;
    for share in shares.iter().take(2) {
        let path = format!("sys/namespaces/{name}/unseal");
        last = done(node, parent, Write, &path, json!({"key": share})).await["data"].clone();
    }
    last
}

pub async fn seal(node: &Node, parent: &str, name: &str) {
    let path = format!("sys/namespaces/{name}/seal");
    done(node, parent, Write, &path, Value::Null).await;
}

pub async fn is_sealed(node: &Node, parent: &str, name: &str) -> bool {
    let path = format!("sys/namespaces/{name}/seal-status");
    let status = done(node, parent, Read, &path, Value::Null).await;
    status["data"]["sealed"] == true
}
