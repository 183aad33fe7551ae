//! Second factors through the pipeline: methods, enforcements, logins that wait, codes that are taken once, and whoever is held
//! for one because a rule found something. With a clock that moves when told to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::sync::Arc;

use serde_json::{Value, json};

use conclave_core::{Error, Request, Settings, Verb};
use conclave_raft::Replica;
use conclave_raft::local::LocalReplica;
use support::device::Device;
use support::shared::node_on;
use support::{Node, ask};

const PERIOD: u64 = 30_000;
const WRONG: &str = "MFA credentials not supplied or incorrect";

async fn must(node: &Node, path: &str, data: Value) -> Value {
    node.call(Verb::Write, path, data).await.unwrap()
}

/// A node with users `ada` and `bob`, and a method called `phone`.
async fn node() -> (Node, String) {
    let node = Node::unsealed().await;
    let method = prepare(&node).await;
    (node, method)
}

async fn prepare(node: &Node) -> String {
    must(node, "sys/auth/userpass", json!({"type": "userpass"})).await;
    for user in ["ada", "bob"] {
        must(
            node,
            &format!("auth/userpass/users/{user}"),
            json!({"password": "pw"}),
        )
        .await;
    }
    let told = json!({"issuer": "conclave", "method_name": "phone"});
    let made = must(node, "identity/mfa/method/totp", told).await;
    made["data"]["method_id"].as_str().unwrap().to_owned()
}

async fn enforce(node: &Node, method: &str) {
    let data = json!({"mfa_method_ids": method, "auth_method_types": "userpass"});
    must(node, "identity/mfa/login-enforcement/people", data).await;
}

async fn log_in(node: &Node, user: &str, shown: &[&str]) -> Result<Value, Error> {
    let mut request = Request::new(Verb::Write, format!("auth/userpass/login/{user}"));
    request.data = json!({"password": "pw"}).as_object().unwrap().clone();
    request.mfa = shown.iter().map(|text| (*text).to_owned().into()).collect();
    let response = node.core.handle(request).await?;
    Ok(support::value_of(&response)["auth"].take())
}

/// The entity of a user, who logs in for that.
async fn entity_of(node: &Node, user: &str) -> String {
    let auth = log_in(node, user, &[]).await.unwrap();
    auth["entity_id"].as_str().unwrap().to_owned()
}

async fn enrol(node: &Node, method: &str, entity: &str) -> Device {
    let data = json!({"method_id": method, "entity_id": entity});
    let told = must(node, "identity/mfa/method/totp/admin-generate", data).await;
    Device {
        method: method.to_owned(),
        url: told["data"]["url"].as_str().unwrap().to_owned(),
    }
}

/// The name of a login that waits.
fn request_of(auth: &Value) -> String {
    assert_eq!(auth["client_token"], "", "{auth}");
    let requirement = &auth["mfa_requirement"];
    requirement["mfa_request_id"].as_str().unwrap().to_owned()
}

async fn begin(node: &Node, user: &str) -> String {
    request_of(&log_in(node, user, &[]).await.unwrap())
}

async fn validate(node: &Node, request: &str, method: &str, code: &str) -> Result<Value, Error> {
    let data = json!({"mfa_request_id": request, "mfa_payload": {method: [code]}});
    let answer = node.plain(Verb::Write, "sys/mfa/validate", data).await?;
    Ok(answer["auth"].clone())
}

async fn is_let_in(node: &Node, device: &Device, code: &str) -> bool {
    let request = begin(node, "ada").await;
    match validate(node, &request, &device.method, code).await {
        Ok(auth) => {
            let token = auth["client_token"].as_str().unwrap();
            works(node, token).await.unwrap();
            true
        }
        Err(error) => {
            assert!(error.to_string().contains(WRONG), "{error}");
            false
        }
    }
}

async fn works(node: &Node, token: &str) -> Result<Value, Error> {
    node.call_as(token, Verb::Read, "auth/token/lookup-self", Value::Null)
        .await
}

#[tokio::test]
async fn a_login_waits_for_its_second_factor_and_a_code_is_taken_once() {
    let (node, method) = node().await;
    let ada = entity_of(&node, "ada").await;
    enforce(&node, &method).await;
    let device = enrol(&node, &method, &ada).await;
    let again = json!({"method_id": method, "entity_id": ada});
    let told = must(&node, "identity/mfa/method/totp/admin-generate", again).await;
    assert_eq!(
        (&told["data"], told["warnings"].as_array().unwrap().len()),
        (&Value::Null, 1)
    );

    let auth = log_in(&node, "ada", &[]).await.unwrap();
    assert_eq!(
        auth["mfa_requirement"]["mfa_constraints"]["people"]["any"],
        json!([{"type": "totp", "id": method, "uses_passcode": true, "name": "phone"}])
    );
    let request = request_of(&auth);
    let code = device.code(&node, 0);
    let wrong = validate(&node, &request, &method, "000000").await.unwrap_err();
    assert!(
        matches!(&wrong, Error::SecondFactor(text) if text.contains(WRONG)),
        "{wrong}"
    );
    let auth = validate(&node, &request, &method, &code).await.unwrap();
    let token = auth["client_token"].as_str().unwrap();
    let found = works(&node, token).await.unwrap();
    assert_eq!(found["data"]["path"], "auth/userpass/login/ada");
    assert_eq!(found["data"]["entity_id"], ada);
    let over = validate(&node, &request, &method, &code).await.unwrap_err();
    assert_eq!(over.to_string(), "invalid request ID");

    // Taken is taken, however it is spelled; the next code is another.
    for spelled in [
        code.clone(),
        format!(" {code}"),
        format!("{} {}", &code[..3], &code[3..]),
    ] {
        assert!(!is_let_in(&node, &device, &spelled).await, "{spelled:?}");
    }
    assert!(is_let_in(&node, &device, &device.code(&node, 1)).await);
    assert!(is_let_in(&node, &device, &device.code(&node, -1)).await);
    assert!(!is_let_in(&node, &device, &device.code(&node, 2)).await);
    node.clock.advance(2 * PERIOD);
    assert!(!is_let_in(&node, &device, &device.code(&node, -2)).await);
    assert!(is_let_in(&node, &device, &device.code(&node, 0)).await);
    // What was tried is forgotten once it can be tried no more.
    node.clock.advance(10 * PERIOD);
    node.expire().await;
    assert!(is_let_in(&node, &device, &device.code(&node, 0)).await);
}

#[tokio::test]
async fn after_too_many_wrong_codes_none_is_looked_at_for_a_while() {
    let (node, method) = node().await;
    let ada = entity_of(&node, "ada").await;
    let bob = entity_of(&node, "bob").await;
    enforce(&node, &method).await;
    let (device, other) = (
        enrol(&node, &method, &ada).await,
        enrol(&node, &method, &bob).await,
    );
    let request = begin(&node, "ada").await;
    for _ in 0..5 {
        let wrong = validate(&node, &request, &method, "000000").await.unwrap_err();
        assert!(wrong.to_string().contains(WRONG), "{wrong}");
    }
    let right = device.code(&node, 0);
    let blocked = validate(&node, &request, &method, &right).await.unwrap_err();
    let text = blocked.to_string();
    assert!(
        text.contains("attempts 5 exceeded; try again in 30 seconds"),
        "{text}"
    );
    assert!(log_in(&node, "ada", &[&format!("phone:{right}")]).await.is_err());
    // Nobody else waits for it, and it ends.
    let shown = format!("phone:{}", other.code(&node, 0));
    assert!(log_in(&node, "bob", &[&shown]).await.is_ok());
    node.clock.advance(PERIOD);
    let right = device.code(&node, 0);
    assert!(validate(&node, &request, &method, &right).await.is_ok());
}

/// A second factor under an idempotency key, of a login that waits or of one that shows it at once. Why it is refused, if it is.
async fn sent(node: &Node, (method, waiting): (&str, &str), key: &str, code: &str) -> String {
    let mut request = Request::new(Verb::Write, "auth/userpass/login/ada");
    let mut data = json!({"password": "pw"});
    if waiting.is_empty() {
        request.mfa = vec![format!("{method}:{code}").into()];
    } else {
        request.path = "sys/mfa/validate".to_owned();
        data = json!({"mfa_request_id": waiting, "mfa_payload": {method: [code]}});
    }
    request.data = data.as_object().unwrap().clone();
    request.idempotency_key = Some(key.to_owned());
    let answer = node.core.handle(request).await;
    answer.err().map_or_else(String::new, |error| error.to_string())
}

#[tokio::test]
async fn a_code_that_is_sent_again_counts_once() {
    let (node, method) = node().await;
    let ada = entity_of(&node, "ada").await;
    let few = json!({"issuer": "conclave", "method_name": "phone", "max_validation_attempts": 3});
    must(&node, &format!("identity/mfa/method/totp/{method}"), few).await;
    enforce(&node, &method).await;
    let device = enrol(&node, &method, &ada).await;
    for waiting in [begin(&node, "ada").await, String::new()] {
        let login = (method.as_str(), waiting.as_str());
        // Another code under the same key is another guess: these are three.
        for key in ["a", "a", "a", "a", "b", "a", "b"] {
            assert!(sent(&node, login, key, "000000").await.contains(WRONG), "{key}");
        }
        assert!(sent(&node, login, "a", "000001").await.contains(WRONG));
        assert!(sent(&node, login, "e", "000000").await.contains("exceeded"));
        assert!(
            sent(&node, login, "a", "000000").await.contains(WRONG),
            "as before"
        );
        node.clock.advance(PERIOD);
        let code = device.code(&node, 0);
        assert_eq!(sent(&node, login, "f", &code).await, "");
        for _ in 0..4 {
            assert_ne!(sent(&node, login, "f", &code).await, "", "taken is taken");
        }
        node.clock.advance(PERIOD);
        assert_eq!(sent(&node, ("phone", ""), "g", &device.code(&node, 0)).await, "");
        node.clock.advance(PERIOD);
    }
}

#[tokio::test]
async fn a_login_may_show_its_second_factor_at_once() {
    let (node, method) = node().await;
    let ada = entity_of(&node, "ada").await;
    enforce(&node, &method).await;
    let device = enrol(&node, &method, &ada).await;
    let code = device.code(&node, 0);
    for wrong in [
        "phone",
        "phone:000000",
        "other:000000",
        "phone:a=b",
        &format!("Phone:{code}"),
    ] {
        let refused = log_in(&node, "ada", &[wrong]).await.unwrap_err();
        assert!(matches!(refused, Error::SecondFactor(_)), "{wrong}: {refused}");
    }
    let malformed = log_in(&node, "ada", &[":000000"]).await.unwrap_err();
    assert!(matches!(malformed, Error::Invalid(_)), "{malformed}");
    // Whoever is not enrolled, or shows another's code, stays out.
    assert!(log_in(&node, "bob", &[&format!("phone:{code}")]).await.is_err());
    let auth = log_in(&node, "ada", &[&format!("{method}:{code}")])
        .await
        .unwrap();
    works(&node, auth["client_token"].as_str().unwrap())
        .await
        .unwrap();
    assert!(
        log_in(&node, "ada", &[&format!("phone:passcode={code}")])
            .await
            .is_err()
    );
    let next = device.code(&node, 1);
    assert!(
        log_in(&node, "ada", &[&format!("phone:passcode={next}")])
            .await
            .is_ok()
    );
    // Without its secret nobody gets in.
    let data = json!({"method_id": method, "entity_id": ada});
    must(&node, "identity/mfa/method/totp/admin-destroy", data).await;
    node.clock.advance(3 * PERIOD);
    let code = device.code(&node, 0);
    assert!(log_in(&node, "ada", &[&format!("phone:{code}")]).await.is_err());
}

#[tokio::test]
async fn a_login_waits_five_minutes_and_ends_with_what_it_rests_on() {
    let (node, method) = node().await;
    let ada = entity_of(&node, "ada").await;
    enforce(&node, &method).await;
    let device = enrol(&node, &method, &ada).await;
    let unknown = |outcome: Result<Value, Error>| outcome.unwrap_err().to_string();
    // In time, then not.
    let request = begin(&node, "ada").await;
    node.clock.advance(300_000 - 1);
    assert!(
        validate(&node, &request, &method, &device.code(&node, 0))
            .await
            .is_ok()
    );
    let request = begin(&node, "ada").await;
    node.clock.advance(300_000);
    let late = validate(&node, &request, &method, &device.code(&node, 0)).await;
    assert_eq!(unknown(late), "invalid request ID");
    // Whoever is disabled meanwhile stays out.
    let request = begin(&node, "ada").await;
    must(
        &node,
        &format!("identity/entity/id/{ada}"),
        json!({"disabled": true}),
    )
    .await;
    let code = device.code(&node, 0);
    assert_eq!(
        unknown(validate(&node, &request, &method, &code).await),
        "permission denied"
    );
    must(
        &node,
        &format!("identity/entity/id/{ada}"),
        json!({"disabled": false}),
    )
    .await;
    // The mount is gone, and another stands in its place.
    node.call(Verb::Delete, "sys/auth/userpass", Value::Null)
        .await
        .unwrap();
    must(&node, "sys/auth/userpass", json!({"type": "userpass"})).await;
    let gone = validate(&node, &request, &method, &code).await;
    assert_eq!(unknown(gone), "invalid request ID");
    for (data, text) in [
        (json!({}), "missing request ID"),
        (
            json!({"mfa_request_id": "x", "mfa_payload": {"a": "1"}}),
            "invalid mfa payload",
        ),
        (json!({"mfa_request_id": "x"}), "invalid request ID"),
        (json!({"mfa_request_id": "x".repeat(5000)}), "invalid request ID"),
    ] {
        let refused = node.plain(Verb::Write, "sys/mfa/validate", data).await;
        assert_eq!(refused.unwrap_err().to_string(), text);
    }
    let read = node.plain(Verb::Read, "sys/mfa/validate", Value::Null).await;
    assert!(matches!(read, Err(Error::UnsupportedOperation)));
}

#[tokio::test]
async fn of_one_entity_the_logins_wait_that_began_last() {
    let (node, method) = node().await;
    let ada = entity_of(&node, "ada").await;
    enforce(&node, &method).await;
    let device = enrol(&node, &method, &ada).await;
    let mut requests = Vec::new();
    for _ in 0..17 {
        requests.push(begin(&node, "ada").await);
    }
    for _ in 0..3 {
        begin(&node, "bob").await;
    }
    let code = device.code(&node, 0);
    let over = validate(&node, &requests[0], &method, &code).await.unwrap_err();
    assert_eq!(over.to_string(), "invalid request ID");
    assert!(validate(&node, &requests[1], &method, &code).await.is_ok());
    let last = validate(&node, &requests[16], &method, &device.code(&node, 1)).await;
    assert!(last.is_ok(), "{last:?}");
}

#[tokio::test]
async fn sealing_the_cluster_ends_what_waits_and_takes_no_code_back() {
    let (node, method) = node().await;
    let ada = entity_of(&node, "ada").await;
    enforce(&node, &method).await;
    let device = enrol(&node, &method, &ada).await;
    let code = device.code(&node, 0);
    assert!(is_let_in(&node, &device, &code).await);
    let request = begin(&node, "ada").await;
    must(&node, "sys/seal", json!({"cluster": true})).await;
    node.unseal().await;
    let next = device.code(&node, 1);
    let over = validate(&node, &request, &method, &next).await.unwrap_err();
    assert_eq!(over.to_string(), "invalid request ID");
    assert!(!is_let_in(&node, &device, &code).await);
    assert!(is_let_in(&node, &device, &next).await);
}

#[tokio::test]
async fn enforcements_are_about_mounts_types_groups_and_entities_here_and_beneath() {
    let (node, method) = node().await;
    let ada = entity_of(&node, "ada").await;
    let crew = must(
        &node,
        "identity/group",
        json!({"name": "crew", "member_entity_ids": ada}),
    )
    .await;
    let outer = json!({"name": "outer", "member_group_ids": crew["data"]["id"]});
    let outer = must(&node, "identity/group", outer).await;
    let mounts = node.call(Verb::Read, "sys/auth", Value::Null).await.unwrap();
    let accessor = &mounts["data"]["userpass/"]["accessor"];
    let waits = async |user| log_in(&node, user, &[]).await.unwrap()["client_token"] == "";
    let path = "identity/mfa/login-enforcement/some";
    for (about, both) in [
        (json!({"auth_method_accessors": accessor}), true),
        (json!({"auth_method_types": ["userpass"]}), true),
        (json!({"identity_group_ids": outer["data"]["id"]}), false),
        (json!({"identity_entity_ids": [ada]}), false),
    ] {
        let mut data = about.clone();
        data["mfa_method_ids"] = json!([method]);
        must(&node, path, data).await;
        assert!(waits("ada").await, "{about}");
        assert_eq!(waits("bob").await, both, "{about}");
        node.call(Verb::Delete, path, Value::Null).await.unwrap();
        assert!(!waits("ada").await);
    }
}

#[tokio::test]
async fn what_is_above_counts_beneath_and_not_the_other_way_round() {
    let (node, method) = node().await;
    let bob = entity_of(&node, "bob").await;
    must(&node, "sys/namespaces/team", json!({})).await;
    let root = node.root.clone();
    let write = |path, data| ask(&node, "team", &root, (Verb::Write, path), data);
    write("sys/auth/userpass", json!({"type": "userpass"}))
        .await
        .unwrap();
    let told = json!({"password": "pw"});
    write("auth/userpass/users/eve", told.clone()).await.unwrap();
    let login = ask(
        &node,
        "team",
        "",
        (Verb::Write, "auth/userpass/login/eve"),
        told.clone(),
    )
    .await;
    let eve = login.unwrap()["auth"]["entity_id"].clone();
    enforce(&node, &method).await;
    let told_beneath = write(
        "identity/mfa/method/totp/admin-generate",
        json!({"method_id": method, "entity_id": eve}),
    );
    let url = told_beneath.await.unwrap()["data"]["url"].clone();
    let device = Device {
        method: method.clone(),
        url: url.as_str().unwrap().to_owned(),
    };
    let login = ask(&node, "team", "", (Verb::Write, "auth/userpass/login/eve"), told).await;
    let request = request_of(&login.unwrap()["auth"]);
    let code = device.code(&node, 0);
    let above = validate(&node, &request, &method, &code).await.unwrap_err();
    assert_eq!(above.to_string(), "invalid request ID");
    let data = json!({"mfa_request_id": request, "mfa_payload": {&method: [code]}});
    let auth = ask(&node, "team", "", (Verb::Write, "sys/mfa/validate"), data).await;
    assert_ne!(auth.unwrap()["auth"]["client_token"], "");
    let own = json!({"issuer": "team"});
    let own = write("identity/mfa/method/totp", own).await.unwrap();
    let own = own["data"]["method_id"].as_str().unwrap();
    let read = node
        .call(
            Verb::Read,
            &format!("identity/mfa/method/totp/{own}"),
            Value::Null,
        )
        .await;
    assert!(matches!(read, Err(Error::NotFound { .. })));
    let refused = node
        .call(
            Verb::Write,
            "identity/mfa/method/totp/admin-generate",
            json!({"method_id": own, "entity_id": bob}),
        )
        .await;
    assert!(refused.is_err());
    let in_use = format!("identity/mfa/method/totp/{method}");
    assert!(node.call(Verb::Delete, &in_use, Value::Null).await.is_err());
}

#[tokio::test]
async fn a_code_that_one_node_took_no_other_takes() {
    let blank = Node::blank(Settings::default());
    let replica: Arc<dyn Replica> =
        Arc::new(LocalReplica::open(blank.store.clone(), blank.clock.clone()).unwrap());
    let mut first = node_on(&blank, &replica);
    let split = json!({"secret_shares": 3, "secret_threshold": 2});
    let born = first.plain(Verb::Write, "sys/init", split).await.unwrap();
    first.root = born["root_token"].as_str().unwrap().to_owned();
    first.shares = serde_json::from_value(born["keys"].clone()).unwrap();
    first.unseal().await;
    let method = prepare(&first).await;
    let ada = entity_of(&first, "ada").await;
    enforce(&first, &method).await;
    let device = enrol(&first, &method, &ada).await;
    let mut nodes = vec![first];
    for _ in 0..2 {
        let node = node_on(&nodes[0], &replica);
        node.core.resume().await.unwrap();
        node.unseal().await;
        nodes.push(node);
    }
    // A login that begins at one node ends at another.
    let request = begin(&nodes[0], "ada").await;
    let code = device.code(&nodes[0], -1);
    validate(&nodes[1], &request, &method, &code).await.unwrap();
    for node in &nodes {
        assert!(!is_let_in(node, &device, &code).await);
    }
    // All at once: one of them takes it, whichever.
    let mut requests = Vec::new();
    for node in &nodes {
        requests.push(begin(node, "ada").await);
    }
    let code = device.code(&nodes[0], 0);
    let tries = nodes
        .iter()
        .zip(&requests)
        .map(|(node, request)| validate(node, request, &method, &code));
    let tries = futures::future::join_all(tries).await;
    assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 1);
    // The same for one login that waits.
    let request = begin(&nodes[0], "ada").await;
    let code = device.code(&nodes[0], 1);
    let tries = nodes.iter().map(|node| validate(node, &request, &method, &code));
    let tries = futures::future::join_all(tries).await;
    assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 1);
}

#[tokio::test]
async fn methods_are_changed_listed_and_deleted_with_what_was_enrolled() {
    let (node, method) = node().await;
    let ada = entity_of(&node, "ada").await;
    let data = json!({
        "issuer": "b", "method_name": "phone", "algorithm": "SHA512", "digits": 8, "period": "60s", "skew": 0,
        "qr_size": 0,
    });
    let named = must(&node, "identity/mfa/method/totp", data).await;
    assert_eq!(
        named["data"]["method_id"],
        method.as_str(),
        "a name is one method's"
    );
    let device = enrol(&node, &method, &ada).await;
    assert_eq!((device.part("algorithm"), device.part("digits")), ("SHA512", "8"));
    enforce(&node, &method).await;
    // What changes later leaves the device as it is.
    let path = format!("identity/mfa/method/totp/{method}");
    must(&node, &path, json!({"issuer": "c"})).await;
    let shown = format!("phone:{}", device.code(&node, 0));
    assert!(log_in(&node, "ada", &[&shown]).await.is_ok());
    for (wrong, text) in [
        (json!({}), "issuer must be set"),
        (json!({"issuer": "x", "digits": 7}), "digits can only be 6 or 8"),
        (
            json!({"issuer": "x", "period": 0}),
            "period must be greater than zero",
        ),
        (
            json!({"issuer": "x", "period": "2h"}),
            "period must be at most 3600 seconds",
        ),
        (
            json!({"issuer": "x", "key_size": 8}),
            "key_size must be between 16 and 64 bytes",
        ),
        (
            json!({"issuer": "x", "qr_size": -1}),
            "qr_size must be between 0 and 1000 pixels",
        ),
        (
            json!({"issuer": "x", "max_validation_attempts": 101}),
            "max_validation_attempts must be at most 100",
        ),
    ] {
        let refused = node.call(Verb::Write, &path, wrong).await.unwrap_err();
        assert_eq!(refused.to_string(), text);
    }
    let nothing = "identity/mfa/method/totp/00000000-0000-0000-0000-000000000000";
    let missing = node.call(Verb::Write, nothing, json!({"issuer": "x"})).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    for kind in ["duo", "okta", "pingid"] {
        let refused = node
            .call(Verb::Write, &format!("identity/mfa/method/{kind}"), json!({}))
            .await;
        let text = refused.unwrap_err().to_string();
        assert_eq!(text, format!("unsupported: second factors of type {kind}"));
    }
    assert!(
        node.call(Verb::Delete, &path, Value::Null).await.is_err(),
        "it is in use"
    );
    node.call(Verb::Delete, "identity/mfa/login-enforcement/people", Value::Null)
        .await
        .unwrap();
    node.call(Verb::Delete, &path, Value::Null).await.unwrap();
    let listed = node.call(Verb::List, "identity/mfa/method", Value::Null).await;
    assert!(matches!(listed, Err(Error::NotFound { .. })));
    // An entity that is deleted leaves no secret behind, and takes no harm from a method that is gone.
    let path = format!("identity/entity/id/{ada}");
    node.call(Verb::Delete, &path, Value::Null).await.unwrap();
}

async fn look(node: &Node) {
    node.core.watch_once(true).await.unwrap();
}

async fn last_event(node: &Node) -> Value {
    let listed = node
        .call(Verb::List, "sys/anomaly/events", Value::Null)
        .await
        .unwrap();
    let path = format!(
        "sys/anomaly/events/{}",
        listed["data"]["keys"][0].as_str().unwrap()
    );
    node.call(Verb::Read, &path, Value::Null).await.unwrap()["data"].take()
}

/// Reads the canary, which a rule answers.
async fn stumble(node: &Node, token: &str) {
    node.call_as(token, Verb::Read, "secret/data/honey", Value::Null)
        .await
        .unwrap();
    look(node).await;
}

/// Has a rule ask for second factors of whoever reads a canary.
async fn answer_canaries(node: &Node) {
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\"] }\npath \"auth/token/create\" { capabilities = [\"update\"] }"});
    must(node, "sys/policies/acl/reader", policy).await;
    for user in ["ada", "bob"] {
        let path = format!("auth/userpass/users/{user}");
        must(node, &path, json!({"token_policies": "reader"})).await;
    }
    must(node, "secret/data/honey", json!({"data": {"x": 1}})).await;
    must(node, "sys/anomaly/canaries/secret/honey", json!({})).await;
    must(
        node,
        "sys/anomaly/rules/canary_read",
        json!({"response": "require_mfa"}),
    )
    .await;
}

#[tokio::test]
async fn whoever_a_rule_found_shows_a_second_factor_or_is_locked() {
    let (node, method) = node().await;
    answer_canaries(&node).await;
    let ada = entity_of(&node, "ada").await;
    let device = enrol(&node, &method, &ada).await;
    let token = async |user: &str, shown: &[&str]| {
        let auth = log_in(&node, user, shown).await.unwrap();
        auth["client_token"].as_str().unwrap().to_owned()
    };
    let (stolen, own) = (token("ada", &[]).await, token("ada", &[]).await);
    let child = node
        .call_as(&own, Verb::Write, "auth/token/create", json!({}))
        .await
        .unwrap();
    let child = child["auth"]["client_token"].as_str().unwrap().to_owned();
    node.clock.advance(1000);
    stumble(&node, &stolen).await;
    let event = last_event(&node).await;
    assert_eq!(
        event["responses"],
        json!(["holds the entity until it shows a second factor"])
    );

    // All its tokens, and logins by the password alone.
    for held in [&stolen, &own, &child] {
        let refused = works(&node, held).await.unwrap_err();
        assert!(
            matches!(&refused, Error::SecondFactor(text) if text.contains("multi-factor check required")),
            "{refused}"
        );
    }
    let request = begin(&node, "ada").await;
    assert!(validate(&node, &request, &method, "000000").await.is_err());
    let auth = validate(&node, &request, &method, &device.code(&node, 0))
        .await
        .unwrap();
    let proven = auth["client_token"].as_str().unwrap().to_owned();
    works(&node, &proven).await.unwrap();
    let child = node
        .call_as(&proven, Verb::Write, "auth/token/create", json!({}))
        .await
        .unwrap();
    works(&node, child["auth"]["client_token"].as_str().unwrap())
        .await
        .unwrap();
    assert!(
        works(&node, &stolen).await.is_err(),
        "what was there before stays held"
    );

    // It outlives the process, and ends when somebody lifts it.
    let node = node.restarted().await;
    node.unseal().await;
    assert!(matches!(works(&node, &own).await, Err(Error::SecondFactor(_))));
    let held = node
        .call(Verb::List, "sys/anomaly/holds", Value::Null)
        .await
        .unwrap();
    assert_eq!(held["data"]["keys"], json!([ada]));
    let path = format!("sys/anomaly/holds/{ada}");
    let held = node.call(Verb::Read, &path, Value::Null).await.unwrap();
    assert_eq!(held["data"]["rule"], "canary_read");
    node.call(Verb::Delete, &path, Value::Null).await.unwrap();
    works(&node, &own).await.unwrap();
    assert_ne!(log_in(&node, "ada", &[]).await.unwrap()["client_token"], "");
}

#[tokio::test]
async fn who_has_no_second_factor_to_show_is_locked() {
    let (node, _) = node().await;
    answer_canaries(&node).await;
    let auth = log_in(&node, "bob", &[]).await.unwrap();
    let token = auth["client_token"].as_str().unwrap();
    node.clock.advance(1000);
    stumble(&node, token).await;
    let event = last_event(&node).await;
    assert_eq!(
        event["responses"],
        json!(["disabled the entity: it has no second factor to show"])
    );
    assert!(works(&node, token).await.is_err());
    assert!(log_in(&node, "bob", &[]).await.is_err());
    // Without an entity there is the token alone.
    let token = node.token(json!({"policies": "reader"})).await;
    node.clock.advance(1000);
    stumble(&node, &token).await;
    let event = last_event(&node).await;
    assert_eq!(
        event["responses"],
        json!(["revoked the token: no entity stands behind it"])
    );
    assert!(works(&node, &token).await.is_err());
}

#[tokio::test]
async fn whoever_is_found_beneath_its_namespace_is_found() {
    let (node, _) = node().await;
    answer_canaries(&node).await;
    must(&node, "sys/namespaces/team", json!({})).await;
    let root = node.root.clone();
    let kv = json!({"type": "kv"});
    ask(&node, "team", &root, (Verb::Write, "sys/mounts/kv"), kv)
        .await
        .unwrap();
    ask(&node, "team", &root, (Verb::Write, "kv/honey"), json!({"x": 1}))
        .await
        .unwrap();
    must(&node, "sys/anomaly/canaries/team/kv/honey", json!({})).await;
    let above = json!({"policy": "path \"team/kv/*\" { capabilities = [\"read\"] }"});
    must(&node, "sys/policies/acl/above", above).await;
    must(
        &node,
        "auth/userpass/users/eve",
        json!({"password": "pw", "token_policies": "above"}),
    )
    .await;
    let auth = log_in(&node, "eve", &[]).await.unwrap();
    let token = auth["client_token"].as_str().unwrap();
    node.clock.advance(1000);
    ask(&node, "team", token, (Verb::Read, "kv/honey"), Value::Null)
        .await
        .unwrap();
    look(&node).await;
    assert!(works(&node, token).await.is_err(), "{}", last_event(&node).await);
}
