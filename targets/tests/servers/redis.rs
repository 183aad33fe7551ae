//! Redis: its own list of users, in memory and on disk, and who may log in.

use std::time::Duration;

use conclave_engine_api::{Action, Done, Driver, Failure};
use tokio::task::JoinHandle;

use crate::harness::{SOON, eventually};
use crate::pki::Authority;
use crate::redis_server::{PASSWORD, ROOT, Redis};
use crate::{LONG, Scene, ends_in_time, hidden, run};

/// A connection by which an account is made.
const OLD: &str = "conclave/1/1/old";
const CREATE: &str = r#"["ACL","SETUSER","V_A","ON",">pw","~*","+@read","+ping"]"#;

fn scene(server: &Redis) -> Scene {
    let url = format!("redis://{ROOT}:{PASSWORD}@127.0.0.1:{}", server.port);
    Scene::new(Driver::Redis, &url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_accounts() {
    let mut server = Redis::start().await;
    let scene = scene(&server);
    accounts_come_and_go(&mut server, &scene).await;
    names_that_are_taken(&server, &scene).await;
    refusals_say_what_was_done(&server, &scene).await;
    commands_end_in_time(&server, &scene).await;
    a_connection_in_the_making_is_ended(&server, &scene).await;
    passwords_change(&server, &scene).await;
    broken_off(&mut server, &scene).await;
}

async fn accounts_come_and_go(server: &mut Redis, scene: &Scene) {
    scene.check().await.unwrap();
    for (name, words) in [("V_É日", "\"V_É日\""), ("V_\"'\\", "\"V_\\\"'\\\\\"")] {
        scene
            .run(&[&format!("[\"ACL\",\"SETUSER\",{words},\"ON\",\">pw\",\"+@all\"]")])
            .await
            .unwrap();
        assert_eq!(scene.list("V_").await, [name]);
        scene.drop_account(name, &[], "").await.unwrap();
    }
    scene.run(&[CREATE]).await.unwrap();
    assert_eq!(server.query_as("V_A", "pw", &["PING"]).unwrap(), "PONG");
    assert!(
        server
            .query_as("V_A", "pw", &["FLUSHALL"])
            .unwrap_err()
            .contains("NOPERM")
    );
    assert!(server.on_disk().contains("V_A"));
    server.stop();
    server.run().await;
    assert_eq!(
        server.query_as("V_A", "pw", &["PING"]).unwrap(),
        "PONG",
        "it is still known"
    );
    scene.drop_account("V_A", &[], "").await.unwrap();
    assert!(
        server
            .query_as("V_A", "pw", &["PING"])
            .unwrap_err()
            .contains("WRONGPASS")
    );
    assert!(server.accounts().is_empty() && !server.on_disk().contains("V_A"));
    scene.drop_account("V_A", &[], "").await.unwrap();
    scene
        .drop_account("V_A", &[r#"["ACL","DELUSER","V_A"]"#], "conclave/9/9/none")
        .await
        .unwrap();
}

async fn names_that_are_taken(server: &Redis, scene: &Scene) {
    let by_hand = ["ACL", "SETUSER", "V_A", "ON", ">theirs", "+ping"];
    server.query_as(ROOT, PASSWORD, &by_hand).unwrap();
    let failure = scene.make("V_A", &[CREATE]).await.unwrap_err();
    assert_eq!(failure.done, Done::There, "{failure}");
    assert_eq!(server.query_as("V_A", "theirs", &["PING"]).unwrap(), "PONG");
    assert!(
        server.query_as("V_A", "pw", &["PING"]).is_err(),
        "it got no password of ours"
    );
    scene.drop_account("V_A", &[], "").await.unwrap();
    scene.make("V_A", &[CREATE]).await.unwrap();
    assert_eq!(server.query_as("V_A", "pw", &["PING"]).unwrap(), "PONG");
    scene.drop_account("V_A", &[], "").await.unwrap();
}

async fn refusals_say_what_was_done(server: &Redis, scene: &Scene) {
    for wrong in [
        r#"["ACL","SETUSER","V_B","hunter2"]"#,
        r#"["ACL","SETUSER","V B","ON"]"#,
        "hunter2",
        "[1]",
        "[]",
    ] {
        let failure = scene.run(&[wrong]).await.unwrap_err();
        assert_eq!(failure.done, Done::Refused, "{wrong}: {failure}");
        assert!(!failure.text.contains("hunter2"), "{failure}");
    }
    let failure = scene.run(&[CREATE, r#"["NONSENSE"]"#]).await.unwrap_err();
    assert_eq!(failure.done, Done::Unknown, "the first was done: {failure}");
    scene.drop_account("V_A", &[], "").await.unwrap();
    let rotate = [
        r#"["ACL","GETUSER","V_A"]"#,
        r#"["ACL","SETUSER","V_A","RESETPASS",">new"]"#,
    ];
    let failure = scene.run(&rotate).await.unwrap_err();
    assert_eq!(failure.done, Done::Refused, "there is none: {failure}");
    assert!(server.accounts().is_empty());
    let wrong = Scene::new(Driver::Redis, &scene.target.url.replace(PASSWORD, "hunter2"));
    let failure = wrong.check().await.unwrap_err();
    assert_eq!(failure.done, Done::Denied, "{failure}");
    assert!(!failure.text.contains("hunter2"));
}

async fn commands_end_in_time(server: &Redis, scene: &Scene) {
    ends_in_time(scene, r#"["BLPOP","none","60"]"#).await;
    assert!(server.accounts().is_empty());
    let failure = scene
        .act(run(&[CREATE]), "conclave/1/1/over", Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(failure.done, Done::Nothing);
}

async fn a_connection_in_the_making_is_ended(server: &Redis, scene: &Scene) {
    let old = stands_in_the_making(server, scene).await;
    scene.drop_account("V_A", &[], OLD).await.unwrap();
    assert_eq!(old.await.unwrap().unwrap_err().done, Done::Unknown);
    // Who is to be alone ends it too, and does not take itself for another the next time.
    let old = stands_in_the_making(server, scene).await;
    for _ in 0..3 {
        scene.act_alone(Action::Check, OLD).await.unwrap();
    }
    assert_eq!(old.await.unwrap().unwrap_err().done, Done::Unknown);
    assert!(server.accounts().is_empty());
    // Who may end nobody goes on.
    let weak = ["ACL", "SETUSER", "weak", "ON", ">w", "+ping", "+client|setname"];
    server.query_as(ROOT, PASSWORD, &weak).unwrap();
    let url = format!("redis://weak:w@127.0.0.1:{}", server.port);
    let weak = Scene::new(Driver::Redis, &url);
    weak.act_alone(Action::Check, OLD).await.unwrap();
    scene.drop_account("weak", &[], "").await.unwrap();
}

/// A connection that bears its name and makes an account in a minute.
async fn stands_in_the_making(server: &Redis, scene: &Scene) -> JoinHandle<Result<Vec<String>, Failure>> {
    let making = run(&[r#"["BLPOP","none","60"]"#, CREATE]);
    let old = Scene::new(Driver::Redis, &scene.target.url);
    let old = tokio::spawn(async move { old.act(making, OLD, LONG).await });
    eventually("it has its name", SOON, async || {
        let list = server.query_as(ROOT, PASSWORD, &["CLIENT", "LIST"])?;
        let waits = |line: &str| line.contains(&format!("name={OLD} ")) && line.contains("cmd=blpop");
        match list.lines().any(waits) {
            true => Ok(()),
            false => Err(list),
        }
    })
    .await;
    old
}

async fn passwords_change(server: &Redis, scene: &Scene) {
    let change = |password: &str| format!(r#"["ACL","SETUSER","{ROOT}","RESETPASS",">{password}"]"#);
    scene.run(&[&change("p@ss w/:")]).await.unwrap();
    let mut changed = Scene::new(Driver::Redis, &scene.target.url);
    assert_eq!(changed.check().await.unwrap_err().done, Done::Denied);
    changed.target.fallback = Some(hidden(&scene.target.url.replace(PASSWORD, "p%40ss%20w%2F%3A")));
    changed.run(&[&change(PASSWORD)]).await.unwrap();
    assert_eq!(server.query_as(ROOT, PASSWORD, &["PING"]).unwrap(), "PONG");
}

async fn broken_off(server: &mut Redis, scene: &Scene) {
    let waiting = Scene::new(Driver::Redis, &scene.target.url);
    let asked = tokio::spawn(async move { waiting.run(&[r#"["BLPOP","none","60"]"#]).await });
    eventually("it waits", SOON, async || {
        let list = server.query_as(ROOT, PASSWORD, &["CLIENT", "LIST"])?;
        match list.contains("cmd=blpop") {
            true => Ok(()),
            false => Err(list),
        }
    })
    .await;
    server.stop();
    assert_eq!(asked.await.unwrap().unwrap_err().done, Done::Unknown);
    assert_eq!(scene.check().await.unwrap_err().done, Done::Nothing);
    server.run().await;
    scene.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_tls_is_verified() {
    let authority = Authority::new();
    let (certificate, key) = authority.server("cache.test");
    let options = [
        ("--tls-ca-cert-file", authority.pem()),
        ("--tls-cert-file", certificate.as_str()),
        ("--tls-key-file", key.as_str()),
    ];
    let server = Redis::start_with(&options).await;
    let mut scene = scene(&server);
    assert!(scene.check().await.is_err(), "without TLS");
    scene.target.url = hidden(&scene.target.url.replace("redis://", "rediss://"));
    scene.target.tls.ca = authority.pem().to_owned();
    let failure = scene.check().await.unwrap_err();
    assert_eq!(failure.done, Done::Nothing, "for another name: {failure}");
    scene.target.tls.server_name = "cache.test".to_owned();
    let failure = scene.check().await;
    // The server wants a certificate of ours too.
    assert!(failure.is_err());
    let (certificate, key) = authority.server("conclave");
    (scene.target.tls.certificate, scene.target.tls.key) = (certificate, hidden(&key));
    scene.run(&[CREATE]).await.unwrap();
    assert_eq!(scene.list("V_").await, ["V_A"]);
    scene.target.tls.ca = Authority::new().pem().to_owned();
    let failure = scene.check().await.unwrap_err();
    assert_eq!(failure.done, Done::Nothing, "of another authority: {failure}");
}
