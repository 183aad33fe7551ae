//! Namespaces: where a request goes, what a token reaches, what answers where, and how a namespace ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use serde_json::{Value, json};

use conclave_core::Verb::{Delete, List, Patch, Read, Scan, Write};
use conclave_core::{Error, Settings};
use conclave_raft::Walk;
use support::{Node, ask, sealed};

async fn make(node: &Node, parent: &str, name: &str) -> Value {
    let path = format!("sys/namespaces/{name}");
    let made = ask(node, parent, &node.root, (Write, &path), Value::Null).await;
    made.unwrap()["data"].clone()
}

/// A token of a namespace, made by root, with a policy that allows everything there.
async fn token_of(node: &Node, namespace: &str) -> (String, String) {
    let policy = json!({"policy": "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\", \"sudo\"] }"});
    let written = ask(
        node,
        namespace,
        &node.root,
        (Write, "sys/policies/acl/all"),
        policy,
    );
    written.await.unwrap();
    let wanted = json!({"policies": ["all"], "ttl": "1h"});
    let made = ask(node, namespace, &node.root, (Write, "auth/token/create"), wanted);
    let auth = made.await.unwrap()["auth"].clone();
    let text = |name: &str| auth[name].as_str().unwrap().to_owned();
    (text("client_token"), text("accessor"))
}

fn is_denied(outcome: &Result<Value, Error>) -> bool {
    matches!(outcome, Err(Error::Denied { .. }))
}

#[tokio::test]
async fn namespaces_are_made_listed_changed_and_nested() {
    let node = Node::unsealed().await;
    let root = node.root.as_str();
    let none = || Value::Null;
    assert!(matches!(
        ask(&node, "", root, (List, "sys/namespaces"), none()).await,
        Err(Error::NotFound { .. })
    ));
    let metadata = json!({"custom_metadata": {"a": "b"}});
    let made = ask(&node, "", root, (Write, "sys/namespaces/one"), metadata)
        .await
        .unwrap();
    let data = &made["data"];
    assert_eq!(data["path"], "one/");
    assert_eq!(data["custom_metadata"], json!({"a": "b"}));
    assert_eq!(
        (&data["locked"], &data["tainted"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(data["id"].as_str().unwrap().len(), 6);
    let inner = make(&node, "one", "inner").await;
    assert_eq!(inner["path"], "one/inner/");

    let listed = ask(&node, "", root, (List, "sys/namespaces"), none())
        .await
        .unwrap();
    assert_eq!(listed["data"]["keys"], json!(["one/"]));
    assert_eq!(listed["data"]["key_info"]["one/"]["id"], data["id"]);
    let scanned = ask(&node, "", root, (Scan, "sys/namespaces"), none())
        .await
        .unwrap();
    assert_eq!(scanned["data"]["keys"], json!(["one/", "one/inner/"]));
    let beneath = ask(&node, "one", root, (List, "sys/namespaces"), none())
        .await
        .unwrap();
    assert_eq!(beneath["data"]["keys"], json!(["inner/"]));

    let change = json!({"custom_metadata": {"a": null, "c": "d"}});
    let patched = ask(&node, "", root, (Patch, "sys/namespaces/one"), change)
        .await
        .unwrap();
    assert_eq!(patched["data"]["custom_metadata"], json!({"c": "d"}));
    assert_eq!(patched["data"]["id"], data["id"]);
    let again = make(&node, "", "one").await;
    assert_eq!(
        (&again["id"], &again["custom_metadata"]),
        (&data["id"], &json!({}))
    );
}

#[tokio::test]
async fn names_are_checked_and_mounts_are_of_their_own() {
    let node = Node::unsealed().await;
    let root = node.root.as_str();
    let none = || Value::Null;
    make(&node, "", "one").await;
    for (name, text) in [
        (
            "root",
            "\"root/\" is a reserved path and cannot be used as a namespace name",
        ),
        (
            "a%20b",
            "\"a b\" contains space characters that cannot be used in a namespace name",
        ),
        (
            "a%2A",
            "\"a*\" contains wildcard characters that cannot be used in a namespace name: '*'",
        ),
        ("one/x", "namespace name cannot contain /"),
        ("secret", "new namespace conflicts with existing mount: secret/"),
    ] {
        let path = format!("sys/namespaces/{name}");
        let refused = ask(&node, "", root, (Write, &path), none()).await.unwrap_err();
        assert_eq!(refused.to_string(), text, "{name}");
    }
    let mount = json!({"type": "kv"});
    let refused = ask(&node, "", root, (Write, "sys/mounts/one/kv"), mount)
        .await
        .unwrap_err();
    assert_eq!(refused.to_string(), "existing mount at one/");
    let missing = ask(&node, "nope", root, (Read, "sys/mounts"), none())
        .await
        .unwrap_err();
    assert!(matches!(missing, Error::NoNamespace));

    let mounts = ask(&node, "one", root, (Read, "sys/mounts"), none())
        .await
        .unwrap();
    let mounts = mounts["data"].as_object().unwrap().clone();
    assert_eq!(
        mounts.keys().collect::<Vec<_>>(),
        ["cubbyhole/", "identity/", "sys/"]
    );
    assert_eq!(mounts["cubbyhole/"]["type"], "ns_cubbyhole");
    let policies = ask(&node, "one", root, (List, "sys/policies/acl"), none())
        .await
        .unwrap();
    assert_eq!(policies["data"]["keys"], json!(["default"]));
}

#[tokio::test]
async fn a_policy_of_the_root_names_paths_beneath_it() {
    let node = Node::unsealed().await;
    make(&node, "", "development").await;
    let mount = json!({"type": "kv", "options": {"version": "1"}});
    let path = "development/sys/mounts/api-keys";
    node.call(Write, path, mount).await.unwrap();
    let secret = json!({"api_key": "sk_test"});
    node.call(Write, "development/api-keys/stripe", secret)
        .await
        .unwrap();
    let policy = json!({"policy": "path \"development/api-keys/*\" { capabilities = [\"read\", \"list\"] }"});
    node.call(Write, "sys/policies/acl/dev", policy).await.unwrap();
    let token = node.token(json!({"policies": ["dev"]})).await;
    let none = || Value::Null;
    let by_path = ask(&node, "", &token, (Read, "development/api-keys/stripe"), none()).await;
    let by_header = ask(&node, "development", &token, (Read, "api-keys/stripe"), none()).await;
    assert_eq!(by_path.unwrap()["data"]["api_key"], "sk_test");
    assert_eq!(by_header.unwrap()["data"]["api_key"], "sk_test");
    let listed = ask(&node, "development", &token, (List, "api-keys"), none())
        .await
        .unwrap();
    assert_eq!(listed["data"]["keys"], json!(["stripe"]));
    for path in [
        "sys/internal/ui/mounts/api-keys/stripe",
        "sys/internal/ui/mounts/development/api-keys/stripe",
    ] {
        let (header, mount) = match path.contains("development") {
            true => ("", "development/api-keys/"),
            false => ("development", "api-keys/"),
        };
        let told = ask(&node, header, &token, (Read, path), none()).await.unwrap();
        assert_eq!(told["data"]["path"], mount);
    }
    let paths = json!({"paths": ["development/api-keys/stripe", "api-keys/stripe"]});
    let may = ask(&node, "", &token, (Write, "sys/capabilities-self"), paths)
        .await
        .unwrap();
    assert_eq!(
        may["data"]["development/api-keys/stripe"],
        json!(["list", "read"])
    );
    assert_eq!(may["data"]["api-keys/stripe"], json!(["deny"]));
    let put = json!({"v": 1});
    assert!(is_denied(
        &ask(&node, "development", &token, (Write, "api-keys/x"), put).await
    ));
    let foreign = ask(&node, "development", &token, (Read, "sys/mounts"), none()).await;
    assert!(is_denied(&foreign));
}

#[tokio::test]
async fn a_token_works_in_its_namespace_and_beneath_and_nowhere_else() {
    let node = Node::unsealed().await;
    for (parent, name) in [("", "one"), ("one", "inner"), ("", "two")] {
        make(&node, parent, name).await;
    }
    let (token, accessor) = token_of(&node, "one").await;
    let id = token.rsplit_once('.').unwrap().1;
    assert!(accessor.ends_with(&format!(".{id}")), "{accessor}");
    let none = || Value::Null;
    for (namespace, allowed) in [("one", true), ("one/inner", true), ("", false), ("two", false)] {
        let read = ask(&node, namespace, &token, (Read, "sys/mounts"), none()).await;
        assert_eq!(read.is_ok(), allowed, "{namespace}");
        assert!(allowed || is_denied(&read));
        // Where everybody with a valid token is told something, too.
        let read = ask(&node, namespace, &token, (Read, "sys/internal/ui/mounts"), none()).await;
        assert_eq!(read.is_ok(), allowed, "{namespace}");
        // What it asks of itself it may ask anywhere, and is told of itself.
        let own = ask(&node, namespace, &token, (Read, "auth/token/lookup-self"), none()).await;
        assert_eq!(own.unwrap()["data"]["namespace_path"], "one/", "{namespace}");
    }
    // Policies and mounts of one are not those of another.
    let policy = json!({"policy": "path \"kv/*\" { capabilities = [\"read\"] }"});
    ask(&node, "one", &token, (Write, "sys/policies/acl/here"), policy)
        .await
        .unwrap();
    for namespace in ["", "two", "one/inner"] {
        let read = ask(
            &node,
            namespace,
            &node.root,
            (Read, "sys/policies/acl/here"),
            none(),
        )
        .await;
        assert!(matches!(read, Err(Error::NotFound { .. })), "{namespace}");
    }
    let refused = ask(
        &node,
        "one",
        &node.root,
        (Write, "auth/token/create"),
        json!({"policies": ["root"]}),
    );
    assert_eq!(
        refused.await.unwrap_err().to_string(),
        "root tokens may not be created from a parent namespace"
    );
    let batch = json!({"type": "batch", "policies": ["all"], "ttl": "1h"});
    let batch = ask(&node, "one", &token, (Write, "auth/token/create"), batch)
        .await
        .unwrap();
    let batch = batch["auth"]["client_token"].as_str().unwrap().to_owned();
    assert!(batch.ends_with(id));
    assert!(
        ask(&node, "one", &batch, (Read, "sys/mounts"), none())
            .await
            .is_ok()
    );
    assert!(is_denied(
        &ask(&node, "two", &batch, (Read, "sys/mounts"), none()).await
    ));
    // A batch token that says it is of another namespace is of none.
    let other = make(&node, "", "two").await["id"].as_str().unwrap().to_owned();
    let forged = format!("{}.{other}", batch.rsplit_once('.').unwrap().0);
    assert!(is_denied(
        &ask(&node, "two", &forged, (Read, "sys/mounts"), none()).await
    ));
}

#[tokio::test]
async fn a_cubbyhole_is_the_tokens_in_each_namespace_another() {
    let node = Node::unsealed().await;
    make(&node, "", "one").await;
    let (token, _) = token_of(&node, "one").await;
    let (root, none) = (node.root.clone(), || Value::Null);
    ask(&node, "one", &root, (Write, "cubbyhole/x"), json!({"a": "b"}))
        .await
        .unwrap();
    let elsewhere = ask(&node, "", &root, (Read, "cubbyhole/x"), none()).await;
    assert!(matches!(elsewhere, Err(Error::NotFound { .. })));
    let by_other = ask(&node, "one", &token, (Read, "cubbyhole/x"), none()).await;
    assert!(matches!(by_other, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn what_is_the_clusters_answers_in_the_root_alone() {
    let node = Node::unsealed().await;
    make(&node, "", "one").await;
    for (verb, path, text) in [
        (Read, "sys/audit", "operation only available in root namespace"),
        (Write, "sys/audit/x", "operation only available in root namespace"),
        (
            Read,
            "sys/host-info",
            "operation only available in root namespace",
        ),
        (
            Read,
            "sys/config/cors",
            "operation only available in root namespace",
        ),
        (
            Read,
            "sys/quotas/config",
            "operation only available in root namespace",
        ),
        (Read, "sys/key-status", "namespace is not sealable"),
        (Write, "sys/rotate", "namespace is not sealable"),
        (Read, "sys/rotate/root/init", "namespace is not sealable"),
        (Write, "sys/seal", "operation unavailable in namespaces"),
        (Write, "sys/step-down", "operation unavailable in namespaces"),
        (
            Read,
            "sys/storage/raft/configuration",
            "operation unavailable in namespaces",
        ),
        (
            Read,
            "sys/storage/raft/snapshot",
            "operation unavailable in namespaces",
        ),
        (Read, "sys/metrics", "operation unavailable in namespaces"),
        (Read, "sys/health", "operation unavailable in namespaces"),
        (Write, "sys/unseal", "operation unavailable in namespaces"),
        (Read, "sys/rekey/init", "operation unavailable in namespaces"),
    ] {
        let refused = ask(&node, "one", &node.root, (verb, path), Value::Null).await;
        assert_eq!(refused.unwrap_err().to_string(), text, "{path}");
        let by_path = format!("one/{path}");
        let refused = ask(&node, "", &node.root, (verb, &by_path), Value::Null).await;
        assert_eq!(refused.unwrap_err().to_string(), text, "{by_path}");
    }
    assert!(
        ask(&node, "one", "", (Read, "sys/seal-status"), Value::Null)
            .await
            .is_ok()
    );
    let mounts = ask(&node, "one", &node.root, (Read, "sys/mounts"), Value::Null).await;
    assert!(mounts.is_ok(), "nothing of it was done");
}

#[tokio::test]
async fn a_locked_namespace_answers_nothing_but_its_unlocking() {
    let node = Node::unsealed().await;
    make(&node, "", "one").await;
    make(&node, "one", "inner").await;
    let root = node.root.as_str();
    let none = || Value::Null;
    let (token, _) = token_of(&node, "one").await;
    let locked = ask(
        &node,
        "",
        root,
        (Write, "sys/namespaces/api-lock/lock/one"),
        none(),
    )
    .await
    .unwrap();
    let key = locked["data"]["unlock_key"].as_str().unwrap().to_owned();
    let text = "API access to this namespace has been locked by an administrator - \"one/\" must be unlocked to gain access.";
    for namespace in ["one", "one/inner"] {
        for token in [root, &token, ""] {
            let refused = ask(&node, namespace, token, (Read, "sys/mounts"), none()).await;
            assert_eq!(refused.unwrap_err().to_string(), text, "{namespace}");
        }
    }
    let again = ask(
        &node,
        "",
        root,
        (Write, "sys/namespaces/api-lock/lock/one"),
        none(),
    )
    .await;
    assert_eq!(
        again.unwrap_err().to_string(),
        "cannot lock namespace \"one/\": is already locked"
    );
    let bad = json!({"unlock_key": "bad"});
    let refused = ask(&node, "one", root, (Write, "sys/namespaces/api-lock/unlock"), bad).await;
    assert_eq!(refused.unwrap_err().to_string(), "incorrect unlock key");
    let good = json!({"unlock_key": key});
    ask(
        &node,
        "one",
        &token,
        (Write, "sys/namespaces/api-lock/unlock"),
        good,
    )
    .await
    .unwrap();
    assert!(
        ask(&node, "one/inner", root, (Read, "sys/mounts"), none())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_namespace_is_locked_from_within_and_opened_without_a_key() {
    let node = Node::unsealed().await;
    make(&node, "", "one").await;
    let root = node.root.as_str();
    let none = || Value::Null;
    let again = ask(
        &node,
        "one",
        root,
        (Write, "sys/namespaces/api-lock/unlock"),
        none(),
    )
    .await;
    assert_eq!(again.unwrap_err().to_string(), "namespace \"one/\" is not locked");
    ask(
        &node,
        "one",
        root,
        (Write, "sys/namespaces/api-lock/lock"),
        none(),
    )
    .await
    .unwrap();
    let opened = ask(
        &node,
        "one",
        root,
        (Write, "sys/namespaces/api-lock/unlock"),
        none(),
    )
    .await
    .unwrap();
    assert_eq!(
        opened["warnings"],
        json!(["Namespace unlocked using sudo capabilities"])
    );
    let refused = ask(&node, "", root, (Write, "sys/namespaces/api-lock/lock"), none()).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "root namespace cannot be locked/unlocked"
    );
}

/// Rows whose keys are of the namespace with this number.
fn rows_of(node: &Node, number: u32) -> usize {
    let snapshot = node.store.snapshot().unwrap();
    let mut rows = 0;
    snapshot
        .walk(&[1, 0x10], &[2], &mut |key| {
            rows += usize::from(key.get(4..8) == Some(&number.to_be_bytes()));
            Ok(Walk::Next)
        })
        .unwrap();
    rows
}

#[tokio::test]
async fn a_namespace_ends_with_all_that_is_in_it() {
    const SECRETS: usize = 700;
    let mut node = Node::unsealed().await;
    make(&node, "", "one").await;
    make(&node, "one", "inner").await;
    let root = node.root.clone();
    let none = || Value::Null;
    let (token, _) = token_of(&node, "one").await;
    let refused = ask(&node, "", &root, (Delete, "sys/namespaces/one"), none()).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "unable to delete namespace containing child namespaces"
    );
    ask(
        &node,
        "one/inner",
        &root,
        (Write, "sys/mounts/kv"),
        json!({"type": "kv"}),
    )
    .await
    .unwrap();
    for at in 0..SECRETS {
        let path = format!("kv/{at}");
        ask(&node, "one/inner", &root, (Write, &path), json!({"v": at}))
            .await
            .unwrap();
    }
    let (inner, _) = token_of(&node, "one/inner").await;
    let number = 2;
    assert!(rows_of(&node, number) > SECRETS);
    let marked = ask(&node, "one", &root, (Delete, "sys/namespaces/inner"), none())
        .await
        .unwrap();
    assert_eq!(marked["data"]["status"], "in-progress");
    // Dead at once, also for a node that starts again before everything is gone.
    node = node.restarted().await;
    node.unseal().await;
    let gone = ask(&node, "one/inner", &root, (Read, "kv/1"), none()).await;
    assert!(matches!(gone, Err(Error::NoNamespace)));
    let own = ask(&node, "one", &inner, (Read, "auth/token/lookup-self"), none()).await;
    assert!(is_denied(&own));
    node.expire().await;
    assert_eq!(rows_of(&node, number), 0, "nothing is left");
    let read = ask(&node, "one", &root, (Read, "sys/namespaces/inner"), none()).await;
    assert!(matches!(read, Err(Error::NotFound { .. })));
    let again = ask(&node, "one", &root, (Delete, "sys/namespaces/inner"), none())
        .await
        .unwrap();
    assert_eq!(again["warnings"], json!(["requested namespace does not exist"]));
    assert!(
        ask(&node, "one", &token, (Read, "sys/mounts"), none())
            .await
            .is_ok()
    );
    // A namespace of the same name is another one, and empty.
    let before = make(&node, "one", "inner").await;
    let read = ask(&node, "one/inner", &inner, (Read, "sys/mounts"), none()).await;
    assert!(is_denied(&read), "{before}");
    let read = ask(&node, "one/inner", &root, (Read, "kv/1"), none()).await;
    assert!(matches!(read, Err(Error::NoRoute(_))));
}

/// Names of namespaces and what is said of them are sealed like all other names: in keys and in values.
#[tokio::test]
async fn no_name_of_a_namespace_lies_on_the_disk() {
    const WORDS: [&str; 3] = ["quokkatown", "wombatstreet", "numbatmeta"];
    let node = Node::unsealed().await;
    let metadata = json!({"custom_metadata": {WORDS[2]: WORDS[2]}});
    let path = format!("sys/namespaces/{}", WORDS[0]);
    ask(&node, "", &node.root, (Write, &path), metadata)
        .await
        .unwrap();
    make(&node, WORDS[0], WORDS[1]).await;
    let inner = format!("{}/{}", WORDS[0], WORDS[1]);
    let (token, _) = token_of(&node, &inner).await;
    ask(
        &node,
        &inner,
        &token,
        (Write, "sys/mounts/kv"),
        json!({"type": "kv"}),
    )
    .await
    .unwrap();
    let mut rows = 0;
    let snapshot = node.store.snapshot().unwrap();
    let holds = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
    snapshot
        .scan(&[], None, &mut |key, row| {
            rows += 1;
            for word in WORDS {
                assert!(!holds(key, word) && !holds(&row.value, word), "{word}");
            }
            Ok(true)
        })
        .unwrap();
    assert!(rows > 20, "{rows} rows were looked at");
}

#[tokio::test]
async fn records_name_the_namespace_of_a_request_and_of_the_policies_that_allow_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed_with(Settings {
        audit_directories: vec![dir.path().to_owned()],
        ..Settings::default()
    })
    .await;
    let team = make(&node, "", "team").await;
    make(&node, "team", "inner").await;
    let (token, _) = token_of(&node, "team").await;
    let file = dir.path().join("audit.log");
    let device = json!({"type": "file", "options": {"file_path": file}});
    node.call(Write, "sys/audit/file", device).await.unwrap();
    ask(
        &node,
        "team/inner",
        &token,
        (Read, "sys/policies/acl/default"),
        Value::Null,
    )
    .await
    .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let asked: Vec<Value> = records
        .filter(|record| record["request"]["path"] == "sys/policies/acl/default")
        .collect();
    assert_eq!(asked.len(), 2, "a request and a response");
    for record in asked {
        let request = &record["request"];
        assert_eq!(request["namespace"]["path"], "team/inner/");
        assert_eq!(request["mount_point"], "team/inner/sys/");
        assert_eq!(request["mount_type"], "ns_system");
        let granting = &record["auth"]["policy_results"]["granting_policies"][0];
        assert_eq!(granting["name"], "all");
        assert_eq!(granting["namespace_id"], team["id"]);
        assert_eq!(granting["namespace_path"], "team/");
    }
}

/// As many namespaces with a seal as may be made beneath one of the root's in its life.
const SEALS_BENEATH: usize = 256;

#[tokio::test]
async fn nobody_beneath_one_namespace_uses_up_the_numbers_of_seals_for_the_others() {
    let node = Node::unsealed().await;
    for name in ["greedy", "other"] {
        make(&node, "", name).await;
    }
    make(&node, "greedy", "inner").await;
    let (token, _) = token_of(&node, "greedy").await;
    let wanted = || json!({"seal": sealed::SEAL});
    let path = "sys/namespaces/again";
    let mut made = 0;
    let refused = loop {
        // Wherever beneath it they are made.
        let place = ["greedy", "greedy/inner"][made % 2];
        match ask(&node, place, &token, (Write, path), wanted()).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made <= SEALS_BENEATH, "it never ends");
        let gone = "sys/namespaces/again/delete-sealed";
        ask(&node, place, &token, (Delete, gone), Value::Null)
            .await
            .unwrap();
        node.expire().await;
    };
    assert_eq!(made, SEALS_BENEATH);
    let text = refused.to_string();
    assert!(matches!(refused, Error::Invalid(_)), "{text}");
    assert!(text.contains("256") && text.contains("greedy/"), "{text}");
    // Without a seal there are as many as before, and others have theirs.
    ask(&node, "greedy", &token, (Write, path), Value::Null)
        .await
        .unwrap();
    for place in ["", "other"] {
        sealed::make(&node, place, "again").await;
    }
    // Another of the same name is another one.
    for (place, name) in [("greedy", "again"), ("greedy", "inner"), ("", "greedy")] {
        let path = format!("sys/namespaces/{name}");
        sealed::done(&node, place, Delete, &path, Value::Null).await;
        node.expire().await;
    }
    make(&node, "", "greedy").await;
    sealed::make(&node, "greedy", "again").await;
}
