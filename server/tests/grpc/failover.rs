//! The SDK over links that fail: no call is lost, none is done twice, and a caller is never told what is not so.

use std::time::{Duration, Instant};

use conclave_client::{Conclave, Error, Login};
use serde_json::json;

use super::relay::{Mode, Relay};
use super::support::{PATIENCE, ROOT, plain, sdk, until};

fn data(n: u64) -> serde_json::Value {
    json!({"n": n})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_passed_over() {
    let server = plain().await;
    let (first, second) = (
        Relay::to(&server.api_addr).await,
        Relay::to(&server.api_addr).await,
    );
    // One attempt that waited for the dead one would take longer than all of them may.
    let patient = Conclave::connect([first.url(), second.url()]).token(ROOT);
    let patient = patient.attempt_timeout(PATIENCE).deadline(PATIENCE * 2);
    let kv = patient.build().unwrap().kv("secret");
    assert_eq!(kv.put("a", &data(1)).await.unwrap().number, 1);
    first.set(Mode::Dead);
    let started = Instant::now();
    for n in 2..20 {
        assert_eq!(kv.put("a", &data(n)).await.unwrap().number, n);
        assert_eq!(kv.get("a").await.unwrap().version.number, n);
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_power_is_noticed_in_about_a_second() {
    let server = plain().await;
    let (first, second) = (
        Relay::to(&server.api_addr).await,
        Relay::to(&server.api_addr).await,
    );
    // An attempt may take long: only the pings find out.
    let patient = Conclave::connect([first.url(), second.url()]).token(ROOT);
    let patient = patient
        .attempt_timeout(PATIENCE)
        .deadline(PATIENCE)
        .build()
        .unwrap();
    let kv = patient.kv("secret");
    kv.put("a", &data(1)).await.unwrap();
    first.set(Mode::Hole);
    let started = Instant::now();
    assert_eq!(kv.put("a", &data(2)).await.unwrap().number, 2);
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    drop(first);
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_was_lost_is_not_done_again() {
    let server = plain().await;
    let (first, second) = (
        Relay::to(&server.api_addr).await,
        Relay::to(&server.api_addr).await,
    );
    let client = Conclave::connect([first.url(), second.url()]).token(ROOT);
    let kv = client.deadline(PATIENCE).build().unwrap().kv("secret");
    kv.put("a", &data(1)).await.unwrap();
    first.set(Mode::LoseAnswers);
    second.set(Mode::Hole);
    let written = tokio::spawn({
        let kv = kv.clone();
        async move { kv.put_cas("a", &data(2), 1).await }
    });
    let direct = sdk([server.api_addr.clone()]).kv("secret");
    until("the write arrives", || async {
        let current = direct.get("a").await.unwrap().version.number;
        (current == 2).then_some(())
    })
    .await;
    assert!(!written.is_finished(), "its answer was lost");
    second.set(Mode::Pass);
    // Without the key the second attempt would be told that somebody else wrote version 2.
    let version = tokio::time::timeout(PATIENCE, written).await.unwrap().unwrap();
    assert_eq!(version.unwrap().number, 2);
    assert_eq!(direct.metadata("a").await.unwrap().current_version, 2);
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_nobody_answered_for_is_unknown_and_one_that_never_left_is_not() {
    let server = plain().await;
    let relay = Relay::to(&server.api_addr).await;
    let client = Conclave::connect([relay.url()])
        .token(ROOT)
        .deadline(Duration::from_secs(2))
        .build()
        .unwrap();
    let kv = client.kv("secret");
    kv.put("a", &data(1)).await.unwrap();
    relay.set(Mode::LoseAnswers);
    assert_eq!(kv.put("a", &data(2)).await.err(), Some(Error::OutcomeUnknown));
    relay.set(Mode::Dead);
    let read = kv.get("a").await.err().unwrap();
    assert!(matches!(read, Error::Unavailable(_)), "{read}");
    let started = Instant::now();
    let never_left = kv.put("a", &data(3)).await.err().unwrap();
    assert!(matches!(never_left, Error::Unavailable(_)), "{never_left}");
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nothing_tells_apart_is_not_sent_again() {
    let server = plain().await;
    let (first, second) = (
        Relay::to(&server.api_addr).await,
        Relay::to(&server.api_addr).await,
    );
    let client = sdk([first.url(), second.url()]);
    client.kv("secret").put("a", &data(1)).await.unwrap();
    first.set(Mode::LoseAnswers);
    let rotated = client.logical().write("sys/rotate", &json!({})).await;
    assert_eq!(rotated.err(), Some(Error::OutcomeUnknown));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_sent_again_is_not_refused_for_its_own_failure() {
    let server = plain().await;
    let root = sdk([server.api_addr.clone()]).logical();
    for (path, body) in [
        ("sys/auth/people", json!({"type": "userpass"})),
        ("auth/people/users/ada", json!({"password": "correct"})),
        // The first failure locks the name: so it is seen that it arrived.
        (
            "sys/auth/people/tune",
            json!({"user_lockout_config": {"lockout_threshold": 1}}),
        ),
    ] {
        root.write(path, &body).await.unwrap();
    }
    let (first, second) = (
        Relay::to(&server.api_addr).await,
        Relay::to(&server.api_addr).await,
    );
    let stranger = Conclave::connect([first.url(), second.url()]).deadline(PATIENCE);
    let stranger = stranger.build().unwrap();
    stranger.sys().health().await.unwrap();
    first.set(Mode::LoseAnswers);
    second.set(Mode::Hole);
    let login = tokio::spawn({
        let stranger = stranger.clone();
        async move {
            stranger
                .login(&Login::userpass("ada", "wrong").at("people"))
                .await
        }
    });
    until("the login fails", || async {
        let locked = root.read("sys/locked-users").await.unwrap();
        (locked.data.value("total") == Some(&json!(1))).then_some(())
    })
    .await;
    assert!(!login.is_finished(), "its answer was lost");
    second.set(Mode::Pass);
    let refused = tokio::time::timeout(PATIENCE, login)
        .await
        .unwrap()
        .unwrap()
        .err();
    let said = Error::Invalid("invalid username or password".to_owned());
    assert_eq!(refused, Some(said));
    // Another one is another one.
    let again = stranger
        .login(&Login::userpass("ada", "wrong").at("people"))
        .await;
    assert_eq!(again.err(), Some(Error::Unauthenticated));
    server.server.stop().await;
}
