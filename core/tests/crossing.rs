//! Nothing of one namespace is reached from another by an id. The matrix names every route that takes an id of something,
//! in its path or its body; a route that is added with one and is not named here fails the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use serde_json::{Value, json};

use conclave_core::Verb::{self, Delete, List, Read, Write};
use conclave_core::routes::matches;
use conclave_core::{Body, Request, own_routes};
use conclave_engine_api::Operation;
use support::{Node, ask};

/// Parameters of paths that are ids, not names that each namespace has of its own.
const IDS: [&str; 5] = [":id", ":accessor", ":token", "*lease_id", "*prefix"];
/// Routes with such parameters that the root alone answers.
const OF_THE_ROOT: [&str; 2] = ["anomaly/events/:id", "anomaly/ack/:id"];
/// Wrong secret ids that lock a role.
const TRIES: usize = 5;

/// A member of the data of an answer.
async fn made(node: &Node, namespace: &str, path: &str, data: Value, member: &str) -> String {
    let answer = ask(node, namespace, &node.root, (Write, path), data).await;
    let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
    let found = answer["data"].get(member).or(answer["auth"].get(member));
    found
        .unwrap_or_else(|| panic!("{path}: {answer}"))
        .as_str()
        .unwrap()
        .to_owned()
}

/// A namespace, with a role that logs in and a token that may do everything there.
async fn namespace(node: &Node, parent: &str, name: &str) -> String {
    let none = || Value::Null;
    ask(
        node,
        parent,
        &node.root,
        (Write, &format!("sys/namespaces/{name}")),
        none(),
    )
    .await
    .unwrap();
    let path = if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}/{name}")
    };
    let all = json!({"policy": "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\", \"sudo\"] }"});
    for (asked, data) in [
        ("sys/policies/acl/all", all),
        ("sys/auth/app", json!({"type": "approle"})),
        ("auth/app/role/r", json!({"token_policies": "all"})),
    ] {
        ask(node, &path, &node.root, (Write, asked), data).await.unwrap();
    }
    made(
        node,
        &path,
        "auth/token/create",
        json!({"policies": ["all"], "ttl": "1h"}),
        "client_token",
    )
    .await
}

/// Everything in a namespace that has an id.
struct Ids {
    token: String,
    accessor: String,
    lease: String,
    wrapped: String,
    entity: String,
    alias: String,
    group: String,
    outside: String,
    group_alias: String,
    mount: String,
    role: String,
    secret: String,
    secret_accessor: String,
    moved: String,
}

impl Ids {
    async fn make(node: &Node, at: &str) -> Self {
        let wanted = json!({"policies": ["all"], "ttl": "1h"});
        let answer = ask(node, at, &node.root, (Write, "auth/token/create"), wanted)
            .await
            .unwrap();
        let text = |name: &str| answer["auth"][name].as_str().unwrap().to_owned();
        let (token, accessor) = (text("client_token"), text("accessor"));
        let leases = (List, "sys/leases/lookup/auth/token/create");
        let leases = ask(node, at, &node.root, leases, Value::Null).await.unwrap();
        let lease = format!(
            "auth/token/create/{}",
            leases["data"]["keys"][0].as_str().unwrap()
        );
        let methods = ask(node, at, &node.root, (Read, "sys/auth"), Value::Null)
            .await
            .unwrap();
        let mount = methods["data"]["app/"]["accessor"].as_str().unwrap().to_owned();
        let people = People::make(node, at, &mount).await;
        let answer = ask(
            node,
            at,
            &node.root,
            (Write, "auth/app/role/r/secret-id"),
            Value::Null,
        )
        .await
        .unwrap();
        let of_secret = |name: &str| answer["data"][name].as_str().unwrap().to_owned();
        let (secret, secret_accessor) = (of_secret("secret_id"), of_secret("secret_id_accessor"));
        let role = ask(
            node,
            at,
            &node.root,
            (Read, "auth/app/role/r/role-id"),
            Value::Null,
        )
        .await
        .unwrap();
        ask(
            node,
            at,
            &node.root,
            (Write, "sys/mounts/here"),
            json!({"type": "kv"}),
        )
        .await
        .unwrap();
        let moved = json!({"from": "here", "to": "there"});
        let moved = made(node, at, "sys/remount", moved, "migration_id").await;
        Self {
            wrapped: wrapped(node, at, &token).await,
            role: role["data"]["role_id"].as_str().unwrap().to_owned(),
            token,
            accessor,
            lease,
            entity: people.entity,
            alias: people.alias,
            group: people.group,
            outside: people.outside,
            group_alias: people.group_alias,
            mount,
            secret,
            secret_accessor,
            moved,
        }
    }

    /// What must not be told elsewhere.
    fn all(&self) -> [&str; 8] {
        [
            &self.token,
            &self.accessor,
            &self.lease,
            &self.entity,
            &self.alias,
            &self.group,
            &self.group_alias,
            "held",
        ]
    }
}

/// What identity has ids of.
struct People {
    entity: String,
    alias: String,
    group: String,
    outside: String,
    group_alias: String,
}

impl People {
    async fn make(node: &Node, at: &str, mount: &str) -> Self {
        let entity = json!({"name": "one", "metadata": {"canary": "held"}});
        let entity = made(node, at, "identity/entity", entity, "id").await;
        let alias = json!({"name": "alias", "canonical_id": entity, "mount_accessor": mount});
        let alias = made(node, at, "identity/entity-alias", alias, "id").await;
        let group = json!({"name": "crew", "member_entity_ids": [entity]});
        let group = made(node, at, "identity/group", group, "id").await;
        let outside = made(
            node,
            at,
            "identity/group",
            json!({"name": "out", "type": "external"}),
            "id",
        )
        .await;
        let group_alias = json!({"name": "out", "canonical_id": outside, "mount_accessor": mount});
        let group_alias = made(node, at, "identity/group-alias", group_alias, "id").await;
        Self {
            entity,
            alias,
            group,
            outside,
            group_alias,
        }
    }
}

/// A token that holds an answer.
async fn wrapped(node: &Node, namespace: &str, token: &str) -> String {
    let mut request = Request::new(Write, "sys/wrapping/wrap");
    request.namespace = Some(namespace.to_owned());
    request.token = Some(token.to_owned().into());
    request.wrap_ttl = Some(60_000);
    request.data = json!({"x": "y"}).as_object().unwrap().clone();
    let Body::Envelope(envelope) = node.core.handle(request).await.unwrap().body else {
        panic!("nothing was wrapped");
    };
    envelope.wrap_info.unwrap()["token"].as_str().unwrap().to_owned()
}

type Row = (Verb, String, Value);

fn row(verb: Verb, path: impl Into<String>, data: Value) -> Row {
    (verb, path.into(), data)
}

/// What asks for something by its id.
fn matrix(ids: &Ids) -> Vec<Row> {
    [tokens(ids), leases(ids), identities(ids), others(ids)].concat()
}

fn tokens(ids: &Ids) -> Vec<Row> {
    let (token, accessor, wrapped) = (&ids.token, &ids.accessor, &ids.wrapped);
    let by_token = ["lookup", "renew", "revoke", "revoke-orphan"]
        .map(|verb| row(Write, format!("auth/token/{verb}"), json!({"token": token})));
    let by_accessor = ["lookup", "renew", "revoke"].map(|verb| {
        row(
            Write,
            format!("auth/token/{verb}-accessor"),
            json!({"accessor": accessor}),
        )
    });
    let by_wrapped = ["lookup", "unwrap", "rewrap"]
        .map(|verb| row(Write, format!("sys/wrapping/{verb}"), json!({"token": wrapped})));
    let more = [
        row(Write, format!("auth/token/renew/{token}"), Value::Null),
        row(Write, "sys/capabilities", json!({"token": token, "paths": ["a"]})),
        row(
            Write,
            "sys/capabilities-accessor",
            json!({"accessor": accessor, "paths": ["a"]}),
        ),
    ];
    by_token
        .into_iter()
        .chain(by_accessor)
        .chain(by_wrapped)
        .chain(more)
        .collect()
}

fn leases(ids: &Ids) -> Vec<Row> {
    let lease = &ids.lease;
    let body = json!({"lease_id": lease});
    vec![
        row(Write, "sys/leases/lookup", body.clone()),
        row(Write, "sys/leases/renew", body.clone()),
        row(Write, format!("sys/leases/renew/{lease}"), Value::Null),
        row(Write, "sys/leases/revoke", body),
        row(Write, format!("sys/leases/revoke/{lease}"), Value::Null),
        row(List, "sys/leases/lookup/auth/token/create", Value::Null),
        row(Write, "sys/leases/revoke-prefix/auth/token/create", Value::Null),
        row(Write, "sys/leases/revoke-force/auth/token/create", Value::Null),
    ]
}

fn identities(ids: &Ids) -> Vec<Row> {
    let mut rows = Vec::new();
    let kinds = [
        ("entity", &ids.entity),
        ("entity-alias", &ids.alias),
        ("alias", &ids.alias),
        ("persona", &ids.alias),
        ("group", &ids.group),
        ("group-alias", &ids.group_alias),
    ];
    for (kind, id) in kinds {
        let path = format!("identity/{kind}/id/{id}");
        let change = json!({"name": "taken", "mount_accessor": ids.mount, "canonical_id": ids.entity, "metadata": {"x": "y"}});
        rows.push(row(Read, path.clone(), Value::Null));
        rows.push(row(Write, path.clone(), change.clone()));
        rows.push(row(Delete, path, Value::Null));
        let mut by_body = change;
        by_body["id"] = json!(id);
        rows.push(row(Write, format!("identity/{kind}"), by_body));
    }
    let (entity, mount) = (&ids.entity, &ids.mount);
    for looked in [
        json!({"id": entity}),
        json!({"alias_id": ids.alias}),
        json!({"alias_name": "alias", "alias_mount_accessor": mount}),
    ] {
        rows.push(row(Write, "identity/lookup/entity", looked));
    }
    for looked in [
        json!({"id": ids.group}),
        json!({"alias_id": ids.group_alias}),
        json!({"alias_name": "out", "alias_mount_accessor": mount}),
    ] {
        rows.push(row(Write, "identity/lookup/group", looked));
    }
    let own = json!({"name": "own", "canonical_id": entity, "mount_accessor": mount});
    rows.push(row(Write, "identity/entity-alias", own));
    rows.push(row(
        Write,
        "identity/group",
        json!({"name": "own", "member_entity_ids": [entity]}),
    ));
    rows.push(row(
        Write,
        "identity/group",
        json!({"name": "own", "member_group_ids": [ids.group]}),
    ));
    let own = json!({"name": "own", "canonical_id": ids.outside, "mount_accessor": mount});
    rows.push(row(Write, "identity/group-alias", own));
    rows.push(row(
        Write,
        "identity/entity/batch-delete",
        json!({"entity_ids": [entity]}),
    ));
    let merge = json!({"to_entity_id": entity, "from_entity_ids": [entity]});
    rows.push(row(Write, "identity/entity/merge", merge));
    rows
}

fn others(ids: &Ids) -> Vec<Row> {
    let secret = json!({"secret_id": ids.secret});
    let accessor = json!({"secret_id_accessor": ids.secret_accessor});
    let login = json!({"role_id": ids.role, "secret_id": ids.secret});
    vec![
        row(Write, "auth/app/role/r/secret-id/lookup", secret.clone()),
        row(Write, "auth/app/role/r/secret-id/destroy", secret),
        row(
            Write,
            "auth/app/role/r/secret-id-accessor/lookup",
            accessor.clone(),
        ),
        row(Write, "auth/app/role/r/secret-id-accessor/destroy", accessor),
        row(Write, "auth/app/login", login),
        row(Read, format!("sys/remount/status/{}", ids.moved), Value::Null),
        row(
            Write,
            format!("sys/locked-users/{}/unlock/{}", ids.mount, ids.role),
            Value::Null,
        ),
    ]
}

/// Every route of core's own with an id in its path is in the matrix, with each of its operations.
fn every_route_is_in(rows: &[Row]) {
    for (prefix, route) in own_routes() {
        let has_id = route.pattern.split('/').any(|part| IDS.contains(&part));
        if !has_id || OF_THE_ROOT.contains(&route.pattern) {
            continue;
        }
        for operation in route.operations {
            let verb = match operation {
                Operation::Read => Read,
                Operation::Delete => Delete,
                Operation::List | Operation::Scan => List,
                _ => Write,
            };
            let is_it = |row: &&Row| {
                let path = row.1.strip_prefix(prefix);
                row.0 == verb && path.is_some_and(|path| matches(route.pattern, path).is_some())
            };
            assert!(
                rows.iter().any(|row| is_it(&row)),
                "{verb:?} {prefix}{} is in no row",
                route.pattern
            );
        }
    }
}

/// What there is to be seen of the ids in their own namespace.
async fn seen(node: &Node, ids: &Ids) -> Vec<Value> {
    let reads = [
        format!("identity/entity/id/{}", ids.entity),
        format!("identity/entity-alias/id/{}", ids.alias),
        format!("identity/group/id/{}", ids.group),
        format!("identity/group-alias/id/{}", ids.group_alias),
        format!("sys/remount/status/{}", ids.moved),
        "sys/locked-users".to_owned(),
    ];
    let mut seen = Vec::new();
    for path in reads {
        let answer = ask(node, "one", &ids.token, (Read, &path), Value::Null).await;
        seen.push(answer.unwrap_or_else(|error| panic!("{path}: {error}"))["data"].clone());
    }
    let looked = [
        ("auth/token/lookup-accessor", json!({"accessor": ids.accessor})),
        ("sys/leases/lookup", json!({"lease_id": ids.lease})),
        (
            "auth/app/role/r/secret-id-accessor/lookup",
            json!({"secret_id_accessor": ids.secret_accessor}),
        ),
    ];
    for (path, data) in looked {
        let answer = ask(node, "one", &node.root, (Write, path), data).await;
        let mut answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"))["data"].clone();
        // It runs on.
        answer.as_object_mut().unwrap().remove("ttl");
        seen.push(answer);
    }
    seen
}

#[tokio::test]
async fn nothing_of_one_namespace_is_reached_by_id_from_another() {
    let node = Node::unsealed().await;
    namespace(&node, "", "one").await;
    namespace(&node, "one", "inner").await;
    let other = namespace(&node, "", "two").await;
    let ids = Ids::make(&node, "one").await;
    for _ in 0..TRIES {
        let wrong = json!({"role_id": ids.role, "secret_id": "wrong"});
        let refused = ask(&node, "one", "", (Write, "auth/app/login"), wrong).await;
        assert!(refused.is_err());
    }
    let before = seen(&node, &ids).await;
    assert!(
        before[5].to_string().contains(&ids.role),
        "the role is locked: {}",
        before[5]
    );
    let rows = matrix(&ids);
    every_route_is_in(&rows);
    let root = node.root.clone();
    for (namespace, asking) in [("two", &other), ("", &root), ("two", &root), ("one/inner", &root)] {
        for (verb, path, data) in &rows {
            let answered = ask(&node, namespace, asking, (*verb, path), data.clone()).await;
            // Ending what is not there is as good as done; a list may show what the namespace has of its own.
            let gone = match &answered {
                Ok(Value::Null) => true,
                // A 404 with a body.
                Ok(answer) => answer["data"]
                    .as_object()
                    .is_some_and(|data| data.keys().eq(["error"])),
                Err(_) => false,
            };
            assert!(
                answered.is_err() || gone || *verb == List,
                "{namespace:?} {path}: {answered:?}"
            );
            let text = format!("{answered:?}");
            let asked = format!("{path} {data}");
            for id in ids.all() {
                assert!(
                    !text.contains(id) || asked.contains(id),
                    "{namespace:?} {path}: {text}"
                );
            }
        }
        for path in [
            "auth/token/accessors",
            "identity/entity/id",
            "identity/group/id",
            "identity/entity-alias/id",
        ] {
            let listed = format!(
                "{:?}",
                ask(&node, namespace, asking, (List, path), Value::Null).await
            );
            assert!(
                !ids.all().iter().any(|id| listed.contains(id)),
                "{namespace:?} {path}: {listed}"
            );
        }
    }
    assert_eq!(
        seen(&node, &ids).await,
        before,
        "nothing was changed from elsewhere"
    );
    let unwrap = json!({"token": ids.wrapped});
    let taken = ask(&node, "one", &ids.token, (Write, "sys/wrapping/unwrap"), unwrap).await;
    assert_eq!(taken.unwrap()["data"]["x"], "y");
}
