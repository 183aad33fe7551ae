//! Entities, aliases and groups through the pipeline: what a login makes, what policies of an entity and its groups give and
//! take at the next request, merging, templates, and what goes with a mount.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use conclave_core::{Error, Verb};
use conclave_raft::Replica;
use conclave_raft::local::LocalReplica;
use support::Node;
use support::shared::node_on;

/// A node with users at `auth/userpass` and a policy for each of three folders.
async fn with_users(names: &[&str]) -> Node {
    let node = Node::unsealed().await;
    write(&node, "sys/auth/userpass", json!({"type": "userpass"})).await;
    for name in names {
        let path = format!("auth/userpass/users/{name}");
        write(&node, &path, json!({"password": "pw"})).await;
    }
    for folder in ["one", "two", "three"] {
        let policy = format!("path \"secret/data/{folder}\" {{ capabilities = [\"read\"] }}");
        let path = format!("sys/policies/acl/{folder}");
        write(&node, &path, json!({ "policy": policy })).await;
        let path = format!("secret/data/{folder}");
        write(&node, &path, json!({"data": {"of": folder}})).await;
    }
    node
}

async fn write(node: &Node, path: &str, body: Value) -> Value {
    let answer = node.call(Verb::Write, path, body).await;
    answer.unwrap_or_else(|error| panic!("{path}: {error}"))["data"].clone()
}

async fn read(node: &Node, path: &str) -> Value {
    let answer = node.call(Verb::Read, path, Value::Null).await;
    answer.unwrap_or_else(|error| panic!("{path}: {error}"))["data"].clone()
}

async fn login(node: &Node, name: &str) -> Result<Value, Error> {
    let path = format!("auth/userpass/login/{name}");
    let answer = node.plain(Verb::Write, &path, json!({"password": "pw"})).await?;
    Ok(answer["auth"].clone())
}

/// The token and the entity of a login.
async fn let_in(node: &Node, name: &str) -> (String, String) {
    let auth = login(node, name).await.unwrap();
    let text = |field: &str| auth[field].as_str().unwrap().to_owned();
    (text("client_token"), text("entity_id"))
}

async fn accessor(node: &Node, mount: &str) -> String {
    let mount = read(node, &format!("sys/auth/{mount}")).await;
    mount["accessor"].as_str().unwrap().to_owned()
}

/// Which of the folders a token reads.
async fn reads(node: &Node, token: &str) -> Vec<&'static str> {
    let mut readable = Vec::new();
    for folder in ["one", "two", "three"] {
        let path = format!("secret/data/{folder}");
        match node.call_as(token, Verb::Read, &path, Value::Null).await {
            Ok(_) => readable.push(folder),
            Err(Error::Denied { .. }) => {}
            Err(error) => panic!("{path}: {error}"),
        }
    }
    readable
}

fn refused(outcome: Result<Value, Error>) -> String {
    outcome.unwrap_err().to_string()
}

#[tokio::test]
async fn a_login_finds_its_entity_or_makes_it() {
    let node = with_users(&["ada", "bob"]).await;
    let (token, ada) = let_in(&node, "ada").await;
    assert_eq!(let_in(&node, "ADA").await.1, ada, "one name in any case");
    let (_, bob) = let_in(&node, "bob").await;
    assert_ne!(ada, bob);
    let entity = read(&node, &format!("identity/entity/id/{ada}")).await;
    let alias = &entity["aliases"][0];
    assert_eq!(alias["name"], "ada");
    assert_eq!(alias["mount_accessor"], accessor(&node, "userpass").await);
    assert_eq!(
        (&alias["mount_path"], &alias["mount_type"]),
        (&json!("auth/userpass/"), &json!("userpass"))
    );
    let found = node
        .call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null)
        .await
        .unwrap();
    assert_eq!(found["data"]["entity_id"], ada.as_str());
    // The default policy shows everybody their own entity and nobody else's.
    let own = format!("identity/entity/id/{ada}");
    assert!(node.call_as(&token, Verb::Read, &own, Value::Null).await.is_ok());
    let other = format!("identity/entity/id/{bob}");
    assert!(
        node.call_as(&token, Verb::Read, &other, Value::Null)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn policies_of_entities_and_groups_count_at_the_next_request() {
    let node = with_users(&["ada"]).await;
    let (token, ada) = let_in(&node, "ada").await;
    assert!(reads(&node, &token).await.is_empty());
    let entity = format!("identity/entity/id/{ada}");
    write(&node, &entity, json!({"policies": ["one"]})).await;
    assert_eq!(reads(&node, &token).await, ["one"]);
    // Through two levels of groups.
    let inner = write(
        &node,
        "identity/group",
        json!({"name": "inner", "member_entity_ids": [ada]}),
    )
    .await;
    let outer = json!({"name": "outer", "policies": ["two"], "member_group_ids": [inner["id"]]});
    let outer = write(&node, "identity/group", outer).await;
    assert_eq!(reads(&node, &token).await, ["one", "two"]);
    let outer = format!("identity/group/id/{}", outer["id"].as_str().unwrap());
    write(&node, &outer, json!({"policies": ["three"]})).await;
    assert_eq!(reads(&node, &token).await, ["one", "three"]);
    let auth = login(&node, "ada").await.unwrap();
    assert_eq!(auth["identity_policies"], json!(["one", "three"]));
    assert_eq!(auth["policies"], json!(["default", "one", "three"]));
    assert_eq!(auth["token_policies"], json!(["default"]));
    let found = node
        .call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null)
        .await
        .unwrap();
    assert_eq!(found["data"]["identity_policies"], json!(["one", "three"]));
    assert_eq!(found["data"]["policies"], json!(["default"]));
    // What is taken is gone at once too.
    node.call(Verb::Delete, "identity/group/name/INNER", Value::Null)
        .await
        .unwrap();
    assert_eq!(reads(&node, &token).await, ["one"]);
    assert!(read(&node, &outer).await["member_group_ids"].is_null());
    write(&node, &entity, json!({"policies": []})).await;
    assert!(reads(&node, &token).await.is_empty());
}

#[tokio::test]
async fn a_change_on_one_node_counts_on_another_at_once() {
    let node = with_users(&["ada"]).await;
    let replica: Arc<dyn Replica> =
        Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap());
    let (node, other) = (node_on(&node, &replica), node_on(&node, &replica));
    for node in [&node, &other] {
        node.core.resume().await.unwrap();
        node.unseal().await;
    }
    let (token, ada) = let_in(&node, "ada").await;
    let ask = || other.call_as(&token, Verb::Read, "secret/data/one", Value::Null);
    let entity = format!("identity/entity/id/{ada}");
    for policies in [json!(["one"]), json!([]), json!(["one"])] {
        let allowed = policies == json!(["one"]);
        write(&node, &entity, json!({ "policies": policies })).await;
        assert_eq!(ask().await.is_ok(), allowed, "{policies}");
    }
    write(&node, &entity, json!({"disabled": true})).await;
    assert!(matches!(ask().await, Err(Error::Denied { .. })));
}

#[tokio::test]
async fn who_is_disabled_or_gone_is_refused_everything() {
    let node = with_users(&["ada"]).await;
    let (token, ada) = let_in(&node, "ada").await;
    let entity = format!("identity/entity/id/{ada}");
    let ask = || node.call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null);
    write(&node, &entity, json!({"disabled": true})).await;
    assert_eq!(refused(ask().await), "permission denied");
    assert_eq!(refused(login(&node, "ada").await), "permission denied");
    write(&node, &entity, json!({"disabled": false})).await;
    assert!(ask().await.is_ok());
    node.call(Verb::Delete, &entity, Value::Null).await.unwrap();
    assert_eq!(refused(ask().await), "permission denied");
    // A new login is a new beginning.
    let (_, again) = let_in(&node, "ada").await;
    assert_ne!(again, ada);
}

#[tokio::test]
async fn children_are_of_their_parents_entity_and_orphans_of_none() {
    let node = with_users(&["ada"]).await;
    let policy = json!({"policy": "path \"auth/token/create*\" { capabilities = [\"create\", \"update\", \"sudo\"] }"});
    write(&node, "sys/policies/acl/make", policy).await;
    let (token, ada) = let_in(&node, "ada").await;
    let entity = format!("identity/entity/id/{ada}");
    write(&node, &entity, json!({"policies": ["make", "one"]})).await;
    let make = |path: &'static str, body: Value| node.call_as(&token, Verb::Write, path, body);
    let child = make("auth/token/create", json!({})).await.unwrap();
    assert_eq!(child["auth"]["entity_id"], ada.as_str());
    assert_eq!(child["auth"]["identity_policies"], json!(["make", "one"]));
    let orphan = make("auth/token/create-orphan", json!({})).await.unwrap();
    assert_eq!(orphan["auth"]["entity_id"], "");
    write(&node, &entity, json!({"disabled": true})).await;
    let id = |made: &Value| made["auth"]["client_token"].as_str().unwrap().to_owned();
    let ask = async |token: String| {
        let found = node.call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null);
        found.await.is_ok()
    };
    let (child, orphan) = (id(&child), id(&orphan));
    assert!(!ask(child).await);
    assert!(ask(orphan).await);
}

#[tokio::test]
async fn a_role_says_for_whom_tokens_may_stand() {
    let node = with_users(&[]).await;
    let role = json!({"allowed_entity_aliases": ["bot", "web-*"], "allowed_policies": ["default"]});
    write(&node, "auth/token/roles/bots", role).await;
    let make = |alias: &'static str, kind: &'static str| {
        let body = json!({"entity_alias": alias, "type": kind});
        node.call(Verb::Write, "auth/token/create/bots", body)
    };
    let bot = make("bot", "service").await.unwrap();
    let entity = bot["auth"]["entity_id"].as_str().unwrap().to_owned();
    let batch = make("BOT", "batch").await.unwrap();
    assert_eq!(batch["auth"]["entity_id"], entity.as_str());
    assert!(make("web-1", "service").await.is_ok());
    assert_eq!(
        refused(make("other", "service").await),
        "invalid 'entity_alias' value"
    );
    let found = read(&node, &format!("identity/entity/id/{entity}")).await;
    assert_eq!(
        found["aliases"][0]["mount_accessor"],
        accessor(&node, "token").await
    );
    // A token that is stored nowhere is of somebody all the same.
    write(
        &node,
        &format!("identity/entity/id/{entity}"),
        json!({"policies": ["one"]}),
    )
    .await;
    let batch = batch["auth"]["client_token"].as_str().unwrap();
    assert_eq!(reads(&node, batch).await, ["one"]);
    write(
        &node,
        &format!("identity/entity/id/{entity}"),
        json!({"disabled": true}),
    )
    .await;
    assert!(reads(&node, batch).await.is_empty());
    assert_eq!(refused(make("bot", "batch").await), "permission denied");
}

#[tokio::test]
async fn templates_stand_for_who_asks() {
    let node = with_users(&["ada", "bob"]).await;
    let (ada_token, ada) = let_in(&node, "ada").await;
    let (bob_token, bob) = let_in(&node, "bob").await;
    let accessor = accessor(&node, "userpass").await;
    let rule = |path: &str| format!("path \"{path}\" {{ capabilities = [\"read\"] }}\n");
    let policy = [
        rule("by/id/{{identity.entity.id}}"),
        rule("by/meta/{{identity.entity.metadata.team}}/*"),
        rule(&format!(
            "by/alias/{{{{identity.entity.aliases.{accessor}.name}}}}"
        )),
        rule(&format!(
            "by/custom/{{{{identity.entity.aliases.{accessor}.custom_metadata.site}}}}"
        )),
        rule("by/group/{{identity.groups.names.crew.id}}"),
    ];
    write(&node, "sys/policies/acl/own", json!({"policy": policy.concat()})).await;
    for (id, team) in [(&ada, "red"), (&bob, "blue")] {
        let body = json!({"policies": ["own"], "metadata": {"team": team}});
        write(&node, &format!("identity/entity/id/{id}"), body).await;
    }
    let alias = json!({"name": "ada", "mount_accessor": accessor, "custom_metadata": {"site": "x"}});
    write(&node, "identity/entity-alias", alias).await;
    let crew = write(
        &node,
        "identity/group",
        json!({"name": "crew", "member_entity_ids": [ada]}),
    )
    .await;
    let crew = crew["id"].as_str().unwrap();
    let may = async |token: &str, path: &str| {
        let asked = node.call_as(token, Verb::Write, "sys/capabilities-self", json!({"path": path}));
        asked.await.unwrap()["data"]["capabilities"] == json!(["read"])
    };
    for (path, by_ada, by_bob) in [
        (format!("by/id/{ada}"), true, false),
        (format!("by/id/{bob}"), false, true),
        ("by/meta/red/x".to_owned(), true, false),
        ("by/meta/blue/x".to_owned(), false, true),
        ("by/alias/ada".to_owned(), true, false),
        ("by/alias/bob".to_owned(), false, true),
        ("by/custom/x".to_owned(), true, false),
        (format!("by/group/{crew}"), true, false),
    ] {
        assert_eq!(may(&ada_token, &path).await, by_ada, "{path}");
        assert_eq!(may(&bob_token, &path).await, by_bob, "{path}");
    }
    // A value that would reach further closes the door, and the next change opens it again.
    let team = |team: &str| json!({"metadata": {"team": team}});
    write(&node, &format!("identity/entity/id/{ada}"), team("*")).await;
    let asked = node.call_as(&ada_token, Verb::Read, "auth/token/lookup-self", Value::Null);
    assert_eq!(refused(asked.await), "permission denied");
    write(&node, &format!("identity/entity/id/{ada}"), team("green")).await;
    assert!(may(&ada_token, "by/meta/green/x").await);
}

#[tokio::test]
async fn approle_tells_of_its_logins_in_their_alias() {
    let node = with_users(&[]).await;
    write(&node, "sys/auth/approle", json!({"type": "approle"})).await;
    write(&node, "auth/approle/role/app", json!({})).await;
    let role = read(&node, "auth/approle/role/app/role-id").await["role_id"].clone();
    let mut entity = None;
    for tag in ["a", "b"] {
        let body = json!({"metadata": json!({"tag": tag}).to_string()});
        let secret = write(&node, "auth/approle/role/app/secret-id", body).await["secret_id"].clone();
        let body = json!({"role_id": role, "secret_id": secret});
        let auth = node.plain(Verb::Write, "auth/approle/login", body).await.unwrap();
        let id = auth["auth"]["entity_id"].as_str().unwrap().to_owned();
        let alias = read(&node, &format!("identity/entity/id/{id}")).await["aliases"][0].clone();
        assert_eq!(alias["name"], role);
        assert_eq!(alias["metadata"], json!({"role_name": "app", "tag": tag}));
        assert_eq!(*entity.get_or_insert_with(|| id.clone()), id);
    }
}

#[tokio::test]
async fn merging_keeps_tokens_aliases_and_memberships() {
    let node = with_users(&["ada", "bob"]).await;
    write(&node, "sys/auth/other", json!({"type": "userpass"})).await;
    let other = accessor(&node, "other").await;
    let (ada_token, ada) = let_in(&node, "ada").await;
    let (bob_token, bob) = let_in(&node, "bob").await;
    let elsewhere = json!({"name": "robert", "mount_accessor": other, "canonical_id": bob});
    write(&node, "identity/entity-alias", elsewhere).await;
    let group = json!({"name": "crew", "policies": ["two"], "member_entity_ids": [bob]});
    write(&node, "identity/group", group).await;
    write(
        &node,
        &format!("identity/entity/id/{ada}"),
        json!({"policies": ["one"]}),
    )
    .await;
    write(
        &node,
        &format!("identity/entity/id/{bob}"),
        json!({"policies": ["three"]}),
    )
    .await;
    let bob_alias = read(&node, &format!("identity/entity/id/{bob}")).await["aliases"][0]["id"].clone();
    let merge = |keep: Value| {
        let body =
            json!({"to_entity_id": ada, "from_entity_ids": [bob], "conflicting_alias_ids_to_keep": keep});
        node.call(Verb::Write, "identity/entity/merge", body)
    };
    assert!(refused(merge(Value::Null).await).contains("aliases with the same mount accessor"));
    assert!(refused(merge(json!(["nosuch"])).await).contains("neither were present"));
    assert_eq!(
        reads(&node, &bob_token).await,
        ["two", "three"],
        "nothing was half done"
    );
    merge(json!([bob_alias])).await.unwrap();
    // Both tokens are the one entity's now: its policies and the other's groups.
    assert_eq!(reads(&node, &ada_token).await, ["one", "two"]);
    assert_eq!(reads(&node, &bob_token).await, ["one", "two"]);
    let merged = read(&node, &format!("identity/entity/id/{ada}")).await;
    assert_eq!(merged["merged_entity_ids"], json!([bob]));
    let aliases = merged["aliases"].as_array().unwrap();
    let names: BTreeSet<_> = aliases
        .iter()
        .map(|alias| alias["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["bob", "robert"]));
    assert_eq!(aliases[0]["merged_from_canonical_ids"], json!([bob]));
    let gone = format!("identity/entity/id/{bob}");
    let gone = node.call(Verb::Read, &gone, Value::Null).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })));
    // Who logs in by a kept name is the one; the name that was not kept is nobody's.
    assert_eq!(let_in(&node, "bob").await.1, ada);
    assert_ne!(let_in(&node, "ada").await.1, ada);
    // And once more: what was merged before goes along.
    let (_, next) = let_in(&node, "ada").await;
    let ada_alias = read(&node, &format!("identity/entity/id/{ada}")).await["aliases"][0]["id"].clone();
    let body =
        json!({"to_entity_id": next, "from_entity_ids": [ada], "conflicting_alias_ids_to_keep": [ada_alias]});
    node.call(Verb::Write, "identity/entity/merge", body)
        .await
        .unwrap();
    assert_eq!(reads(&node, &bob_token).await, ["two"]);
}

#[tokio::test]
async fn names_and_aliases_are_one_entitys_alone() {
    let node = with_users(&["ada"]).await;
    let one = write(&node, "identity/entity", json!({"name": "Eve/of x"})).await["id"].clone();
    let two = write(&node, "identity/entity/name/two", json!({})).await["id"].clone();
    let rename = json!({"id": two, "name": "eve/OF X"});
    let outcome = node.call(Verb::Write, "identity/entity", rename).await;
    assert_eq!(refused(outcome), "entity name is already in use");
    // A name that was given up is free.
    let renamed = json!({"id": one, "name": "eva"});
    write(&node, "identity/entity", renamed).await;
    write(&node, "identity/entity", json!({"id": two, "name": "Eve/of x"})).await;
    assert_eq!(read(&node, "identity/entity/name/eve/of%20X").await["id"], two);
    let mount = accessor(&node, "userpass").await;
    let alias = |name: &str, entity: &Value| {
        let body = json!({"name": name, "mount_accessor": mount, "canonical_id": entity});
        node.call(Verb::Write, "identity/entity-alias", body)
    };
    let made = alias("ada", &one).await.unwrap()["data"]["id"].clone();
    assert!(refused(alias("bob", &one).await).contains("already exists"));
    // Writing the same alias for another entity moves it there.
    alias("ADA", &two).await.unwrap();
    let moved = read(
        &node,
        &format!("identity/entity-alias/id/{}", made.as_str().unwrap()),
    )
    .await;
    assert_eq!((&moved["canonical_id"], &moved["name"]), (&two, &json!("ADA")));
    assert_eq!(json!(let_in(&node, "ada").await.1), two);
    assert!(
        read(&node, "identity/entity/name/eva").await["aliases"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn with_a_mount_its_aliases_go() {
    let node = with_users(&["ada"]).await;
    let (token, ada) = let_in(&node, "ada").await;
    let many = 150;
    let mount = accessor(&node, "userpass").await;
    for at in 0..many {
        let body = json!({"name": format!("user{at}"), "mount_accessor": mount});
        write(&node, "identity/entity-alias", body).await;
    }
    let group = json!({"name": "crew", "type": "external"});
    let group = write(&node, "identity/group", group).await["id"].clone();
    let alias = json!({"name": "crew", "mount_accessor": mount, "canonical_id": group});
    write(&node, "identity/group-alias", alias).await;
    node.call(Verb::Delete, "sys/auth/userpass", Value::Null)
        .await
        .unwrap();
    node.expire().await;
    for list in ["entity-alias", "group-alias"] {
        let list = format!("identity/{list}/id");
        let list = node.call(Verb::List, &list, Value::Null).await;
        assert!(matches!(list, Err(Error::NotFound { .. })));
    }
    // The entities stay, for they may have other names; the tokens of the mount's logins do not.
    assert!(
        read(&node, &format!("identity/entity/id/{ada}")).await["aliases"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert!(
        node.call_as(&token, Verb::Read, "auth/token/lookup-self", Value::Null)
            .await
            .is_err()
    );
    // The same mount again is another one.
    write(&node, "sys/auth/userpass", json!({"type": "userpass"})).await;
    write(&node, "auth/userpass/users/ada", json!({"password": "pw"})).await;
    assert_ne!(let_in(&node, "ada").await.1, ada);
}

#[tokio::test]
async fn a_moved_mount_keeps_its_aliases() {
    let node = with_users(&["ada"]).await;
    let (_, ada) = let_in(&node, "ada").await;
    let move_it = json!({"from": "auth/userpass", "to": "auth/people"});
    write(&node, "sys/remount", move_it).await;
    node.expire().await;
    let auth = node.plain(Verb::Write, "auth/people/login/ada", json!({"password": "pw"}));
    assert_eq!(auth.await.unwrap()["auth"]["entity_id"], ada.as_str());
}

#[tokio::test]
async fn groups_hold_no_circle_and_no_strangers() {
    let node = with_users(&[]).await;
    let group = |body: Value| node.call(Verb::Write, "identity/group", body);
    let a = group(json!({"name": "a"})).await.unwrap()["data"]["id"].clone();
    let b = group(json!({"name": "b", "member_group_ids": [a]}))
        .await
        .unwrap()["data"]["id"]
        .clone();
    let c = group(json!({"name": "c", "member_group_ids": [b]}))
        .await
        .unwrap()["data"]["id"]
        .clone();
    for (body, text) in [
        (json!({"id": a, "member_group_ids": [c]}), "cyclic relationship"),
        (json!({"id": a, "member_group_ids": [a]}), "same as the ID"),
        (
            json!({"id": a, "member_group_ids": ["nosuch"]}),
            "invalid member group ID",
        ),
        (
            json!({"id": a, "member_entity_ids": ["a/b"]}),
            "invalid entity ID",
        ),
        (json!({"id": a, "policies": ["ROOT"]}), "cannot contain root"),
        (json!({"id": a, "metadata": {"a b": "c"}}), "invalid characters"),
        (json!({"id": a, "type": "external"}), "cannot be changed"),
    ] {
        let outcome = group(body.clone()).await;
        assert!(refused(outcome).contains(text), "{body}");
    }
    let left = read(&node, "identity/group/name/a").await;
    assert_eq!(
        (&left["parent_group_ids"], &left["modify_index"]),
        (&json!([b]), &json!(1))
    );
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let node = with_users(&[]).await;
    for path in ["identity/oidc/key/x", "identity/oidc/config"] {
        let outcome = node.call(Verb::Write, path, json!({})).await;
        assert!(matches!(outcome, Err(Error::Unsupported(_))), "{path}");
    }
    let outcome = node.call(Verb::Read, "identity/nosuch", Value::Null).await;
    assert!(matches!(outcome, Err(Error::UnsupportedPath)));
}

#[tokio::test]
async fn identities_survive_a_restart() {
    let node = with_users(&["ada"]).await;
    let (token, ada) = let_in(&node, "ada").await;
    write(
        &node,
        &format!("identity/entity/id/{ada}"),
        json!({"policies": ["one"]}),
    )
    .await;
    let node = node.restarted().await;
    node.unseal().await;
    assert_eq!(reads(&node, &token).await, ["one"]);
    assert_eq!(let_in(&node, "ada").await.1, ada);
}

/// What may happen to people and groups; numbers name them, modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Join(usize, usize),
    Leave(usize, usize),
    Nest(usize, usize),
    Merge(usize, usize),
    Forget(usize),
    Dissolve(usize),
}

const PEOPLE: usize = 5;
const GROUPS: usize = 5;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (person, group) = (0..PEOPLE, 0..GROUPS);
    let pair = (person.clone(), group.clone());
    let step = prop_oneof![
        4 => pair.clone().prop_map(|(p, g)| Step::Join(p, g)),
        2 => pair.prop_map(|(p, g)| Step::Leave(p, g)),
        4 => (group.clone(), group.clone()).prop_map(|(a, b)| Step::Nest(a, b)),
        1 => (person.clone(), person.clone()).prop_map(|(a, b)| Step::Merge(a, b)),
        1 => person.prop_map(Step::Forget),
        1 => group.prop_map(Step::Dissolve),
    ];
    prop::collection::vec(step, 1..25)
}

/// People and groups as sets, without indexes.
#[derive(Default)]
struct Model {
    people: BTreeSet<String>,
    merged: BTreeMap<String, String>,
    members: BTreeMap<String, BTreeSet<String>>,
}

impl Model {
    fn groups_of(&self, member: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut pending = vec![member.to_owned()];
        while let Some(member) = pending.pop() {
            for (group, members) in &self.members {
                if members.contains(&member) && found.insert(group.clone()) {
                    pending.push(group.clone());
                }
            }
        }
        found
    }

    fn now(&self, person: &str) -> Option<String> {
        let mut person = person.to_owned();
        while let Some(into) = self.merged.get(&person) {
            person.clone_from(into);
        }
        Some(person).filter(|person| self.people.contains(person))
    }
}

#[test]
fn memberships_are_what_sets_say() {
    let cases = std::env::var("IDENTITY_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(12),
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(follow(&steps));
            Ok(())
        })
        .unwrap();
}

async fn follow(steps: &[Step]) {
    let node = Node::unsealed().await;
    let (mut people, mut groups) = (Vec::new(), Vec::new());
    let mut model = Model::default();
    let role = json!({"allowed_entity_aliases": ["*"]});
    write(&node, "auth/token/roles/any", role).await;
    let mut tokens = BTreeMap::new();
    for at in 0..PEOPLE {
        let body = json!({"entity_alias": format!("person{at}"), "policies": ["default"]});
        let made = node
            .call(Verb::Write, "auth/token/create/any", body)
            .await
            .unwrap();
        let text = |field: &str| made["auth"][field].as_str().unwrap().to_owned();
        tokens.insert(text("entity_id"), text("client_token"));
        model.people.insert(text("entity_id"));
        people.push(text("entity_id"));
    }
    for at in 0..GROUPS {
        let policy = format!("group{at}");
        let body = json!({"name": policy, "policies": [policy]});
        let id = write(&node, "identity/group", body).await["id"]
            .as_str()
            .unwrap()
            .to_owned();
        model.members.insert(id.clone(), BTreeSet::new());
        groups.push(id);
    }
    for step in steps {
        take(&node, &mut model, &people, &groups, step).await;
        for person in &people {
            check(&node, &model, &groups, person, &tokens[person]).await;
        }
    }
}

/// Does a step on both sides.
async fn take(node: &Node, model: &mut Model, people: &[String], groups: &[String], step: &Step) {
    let members = |model: &Model, group: &str| {
        let members = &model.members[group];
        let (entities, inner): (Vec<_>, Vec<_>) = members
            .iter()
            .cloned()
            .partition(|member| people.contains(member));
        json!({"member_entity_ids": entities, "member_group_ids": inner})
    };
    match step {
        Step::Join(person, group) | Step::Leave(person, group) => {
            let (person, group) = (&people[*person], &groups[*group]);
            if !model.people.contains(person) || !model.members.contains_key(group) {
                return;
            }
            let set = model.members.get_mut(group).unwrap();
            match step {
                Step::Join(..) => set.insert(person.clone()),
                _ => set.remove(person),
            };
            write(node, &format!("identity/group/id/{group}"), members(model, group)).await;
        }
        Step::Nest(inner, outer) => {
            let (inner, outer) = (&groups[*inner], &groups[*outer]);
            if !model.members.contains_key(inner) || !model.members.contains_key(outer) {
                return;
            }
            let circle = inner == outer || model.groups_of(outer).contains(inner);
            let before = model.members.clone();
            model.members.get_mut(outer).unwrap().insert(inner.clone());
            let body = members(model, outer);
            let outcome = node
                .call(Verb::Write, &format!("identity/group/id/{outer}"), body)
                .await;
            assert_eq!(outcome.is_err(), circle, "{step:?}");
            if circle {
                model.members = before;
            }
        }
        Step::Merge(into, from) => {
            let (into, from) = (&people[*into], &people[*from]);
            merge(node, model, into, from).await;
        }
        Step::Forget(person) => {
            let person = &people[*person];
            let path = format!("identity/entity/id/{person}");
            node.call(Verb::Delete, &path, Value::Null).await.unwrap();
            if model.people.remove(person) {
                for members in model.members.values_mut() {
                    members.remove(person);
                }
            }
        }
        Step::Dissolve(group) => {
            let group = &groups[*group];
            let path = format!("identity/group/id/{group}");
            node.call(Verb::Delete, &path, Value::Null).await.unwrap();
            model.members.remove(group);
            for members in model.members.values_mut() {
                members.remove(group);
            }
        }
    }
}

/// Makes one person of two, on both sides.
async fn merge(node: &Node, model: &mut Model, into: &String, from: &String) {
    let possible = into != from && model.people.contains(into) && model.people.contains(from);
    let keep = alias_of(node, from).await;
    let body = json!({
        "to_entity_id": into, "from_entity_ids": [from], "conflicting_alias_ids_to_keep": [keep],
    });
    let outcome = node.call(Verb::Write, "identity/entity/merge", body).await;
    assert_eq!(outcome.is_ok(), possible, "{from} into {into}");
    if possible {
        model.people.remove(from);
        model.merged.insert(from.clone(), into.clone());
        for members in model.members.values_mut() {
            if members.remove(from) {
                members.insert(into.clone());
            }
        }
    }
}

async fn alias_of(node: &Node, person: &str) -> Value {
    let found = node
        .call(Verb::Read, &format!("identity/entity/id/{person}"), Value::Null)
        .await;
    found.map_or(Value::Null, |found| found["data"]["aliases"][0]["id"].clone())
}

/// Whether a person's token is good for what the sets say.
async fn check(node: &Node, model: &Model, groups: &[String], person: &str, token: &str) {
    let found = node
        .call_as(token, Verb::Read, "auth/token/lookup-self", Value::Null)
        .await;
    let Some(now) = model.now(person) else {
        assert!(matches!(found, Err(Error::Denied { .. })), "{person} is gone");
        return;
    };
    let named: BTreeSet<String> = model
        .groups_of(&now)
        .iter()
        .map(|group| format!("group{}", groups.iter().position(|known| known == group).unwrap()))
        .collect();
    let told = found.unwrap()["data"]["identity_policies"].clone();
    let told: BTreeSet<String> = serde_json::from_value(told).unwrap_or_default();
    assert_eq!(told, named, "{person}, now {now}");
}
