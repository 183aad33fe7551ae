//! RabbitMQ: its own list of users, who may log in and do what, and who is thrown out.

use std::time::Duration;

use conclave_engine_api::{Action, Done, Driver};

use crate::pki::Authority;
use crate::rabbitmq_server::amqp::Session;
use crate::rabbitmq_server::{PASSWORD, ROOT, RabbitMq};
use crate::{LONG, Scene, hidden, run};

const MARK: &str = "conclave-0123456789abcdef";
const USER: &str = r#"users/u1 {"password":"pw","tags":"management,conclave-0123456789abcdef"}"#;
const RIGHTS: &str = r#"permissions/%2F/u1 {"configure":"^app-","write":"^app-","read":"^app-"}"#;
const TOPIC: &str = r#"topic-permissions/%2F/u1 {"exchange":"amq.topic","write":"^a","read":"^a"}"#;

fn reach(uri: &str, user: &str, password: &str) -> String {
    serde_json::json!({"uri": uri, "username": user, "password": password}).to_string()
}

fn scene(server: &RabbitMq) -> Scene {
    Scene::new(Driver::RabbitMq, &reach(&server.uri(), ROOT, PASSWORD))
}

async fn marked(scene: &Scene) -> Vec<String> {
    let action = Action::List {
        prefix: String::new(),
        mark: MARK.to_owned(),
    };
    scene.act(action, "conclave/1/1/list", LONG).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_accounts() {
    let authority = Authority::new();
    let (certificate, key) = authority.server("localhost");
    let server = RabbitMq::start_with(Some((&certificate, &key))).await;
    let scene = scene(&server);
    accounts_come_and_go(&server, &scene).await;
    names_that_are_taken(&server, &scene).await;
    refusals_say_what_was_done(&server, &scene).await;
    tls_is_verified(&server, &authority).await;
    broken_off(server, &scene).await;
}

async fn accounts_come_and_go(server: &RabbitMq, scene: &Scene) {
    scene.check().await.unwrap();
    for (name, path) in [
        ("v/É %25", "v%2F%C3%89%20%2525"),
        ("a\"b'\\?#", "a%22b%27%5C%3F%23"),
    ] {
        let user = format!(r#"users/{path} {{"password":"pw","tags":"{MARK}"}}"#);
        let rights = format!(r#"permissions/%2F/{path} {{"configure":"","write":"","read":""}}"#);
        scene.make(name, &[&user, &rights]).await.unwrap();
        assert_eq!(marked(scene).await, [name]);
        assert_eq!(server.accounts(PASSWORD), [name]);
        Session::log_in(server.amqp, name, "pw").expect("it logs in");
        scene.drop_account(name, &[], "").await.unwrap();
        assert!(server.accounts(PASSWORD).is_empty());
    }
    scene.make("u1", &[USER, RIGHTS, TOPIC]).await.unwrap();
    assert_eq!(scene.list("u").await, ["u1"]);
    let mut session = Session::log_in(server.amqp, "u1", "pw").expect("it logs in");
    session.declare("app-1").expect("it may");
    let refused = Session::log_in(server.amqp, "u1", "pw").unwrap().declare("other");
    assert!(refused.unwrap_err().contains("ACCESS_REFUSED"));
    assert!(server.ask("u1", "pw", "GET", "whoami", "").is_ok(), "by its tag");
    let topics = server.must("GET", "users/u1/topic-permissions", "");
    assert!(topics.contains("amq.topic"), "{topics}");
    scene.drop_account("u1", &[], "").await.unwrap();
    let ended = session.ended();
    assert!(
        ended.contains("CONNECTION_FORCED") || ended.contains("fill whole buffer"),
        "{ended}"
    );
    let refused = Session::log_in(server.amqp, "u1", "pw").err().unwrap();
    assert!(refused.contains("ACCESS_REFUSED"), "{refused}");
    assert!(
        server
            .ask("u1", "pw", "GET", "whoami", "")
            .unwrap_err()
            .starts_with("401 ")
    );
    assert!(server.accounts(PASSWORD).is_empty());
    // Once more: what is gone is gone.
    scene.drop_account("u1", &[], "").await.unwrap();
    scene
        .drop_account("u1", &[MARK], "conclave/9/9/none")
        .await
        .unwrap();
}

/// Somebody else's user is neither taken over nor dropped.
async fn names_that_are_taken(server: &RabbitMq, scene: &Scene) {
    server.must("PUT", "users/u1", r#"{"password":"theirs","tags":"management"}"#);
    let failure = scene.make("u1", &[USER, RIGHTS]).await.unwrap_err();
    assert_eq!(failure.done, Done::There, "{failure}");
    assert!(
        server.ask("u1", "theirs", "GET", "whoami", "").is_ok(),
        "as before"
    );
    // Of one in the making nobody knows whose it is but by its tag.
    scene
        .drop_account("u1", &[MARK], "conclave/1/1/old")
        .await
        .unwrap();
    assert!(marked(scene).await.is_empty());
    assert_eq!(server.accounts(PASSWORD), ["u1"]);
    scene.drop_account("u1", &[], "").await.unwrap();
    scene.make("u1", &[USER]).await.unwrap();
    scene
        .drop_account("u1", &[MARK], "conclave/1/1/old")
        .await
        .unwrap();
    assert!(server.accounts(PASSWORD).is_empty());
}

async fn refusals_say_what_was_done(server: &RabbitMq, scene: &Scene) {
    let nowhere = r#"permissions/nosuch/u1 {"configure":"","write":"","read":""}"#;
    let wrong = r#"permissions/%2F/u1 {"configure":"[","write":"","read":""}"#;
    for (statement, reason) in [(nowhere, "not_found"), (wrong, "invalid_regexp")] {
        let failure = scene.make("u1", &[USER, statement]).await.unwrap_err();
        assert_eq!(failure.done, Done::Refused, "the user is there: {failure}");
        assert!(failure.text.contains(reason), "{failure}");
        assert_eq!(marked(scene).await, ["u1"]);
        scene
            .drop_account("u1", &[MARK], "conclave/1/1/old")
            .await
            .unwrap();
    }
    assert_eq!(scene.run(&["nonsense"]).await.unwrap_err().done, Done::Nothing);
    let over = scene.act(run(&[USER]), "conclave/1/1/over", Duration::ZERO).await;
    assert_eq!(over.unwrap_err().done, Done::Nothing);

    // Whoever is not let in, and whoever may make no users.
    server.must(
        "PUT",
        "users/plain",
        r#"{"password":"hunter2","tags":"management"}"#,
    );
    for (user, password) in [(ROOT, "hunter2"), ("plain", "hunter2")] {
        let them = Scene::new(Driver::RabbitMq, &reach(&server.uri(), user, password));
        for failure in [
            them.check().await.unwrap_err(),
            them.make("u1", &[USER]).await.unwrap_err(),
            them.drop_account("none", &[], "").await.unwrap_err(),
        ] {
            assert_eq!(failure.done, Done::Denied, "{failure}");
            assert!(!failure.text.contains("hunter2"), "{failure}");
        }
    }
    server.must("DELETE", "users/plain", "");

    // An address at which nothing is: a user must not be taken for gone because of that.
    let lost = Scene::new(
        Driver::RabbitMq,
        &reach(&format!("{}/lost", server.uri()), ROOT, PASSWORD),
    );
    assert_eq!(lost.check().await.unwrap_err().done, Done::Refused);
    for statements in [&[][..], &[MARK]] {
        let failure = lost.drop_account("u1", statements, "").await.unwrap_err();
        assert_eq!(failure.done, Done::Refused, "{failure}");
    }
    assert!(server.accounts(PASSWORD).is_empty());
}

async fn tls_is_verified(server: &RabbitMq, authority: &Authority) {
    let at = |host: &str| reach(&format!("https://{host}:{}/", server.tls_port), ROOT, PASSWORD);
    let mut scene = Scene::new(Driver::RabbitMq, &at("localhost"));
    assert_eq!(
        scene.check().await.unwrap_err().done,
        Done::Nothing,
        "by nobody known"
    );
    scene.target.tls.ca = Authority::new().pem().to_owned();
    assert_eq!(
        scene.check().await.unwrap_err().done,
        Done::Nothing,
        "of another authority"
    );
    scene.target.tls.ca = authority.pem().to_owned();
    scene.check().await.unwrap();
    scene.target.url = hidden(&at("127.0.0.1"));
    assert_eq!(
        scene.check().await.unwrap_err().done,
        Done::Nothing,
        "for another name"
    );
}

async fn broken_off(mut server: RabbitMq, scene: &Scene) {
    server.stop();
    assert_eq!(scene.check().await.unwrap_err().done, Done::Nothing);
    let failure = scene.drop_account("u1", &[], "").await.unwrap_err();
    assert_eq!(failure.done, Done::Nothing);
}
