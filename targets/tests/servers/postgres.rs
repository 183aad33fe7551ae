//! PostgreSQL: what is in its own list of roles, and who may log in.

use std::time::Duration;

use conclave_engine_api::{Action, Done, Driver, Failure};
use tokio::task::JoinHandle;

use crate::harness::{SOON, eventually};
use crate::postgres_server::{PASSWORD, Postgres, ROOT};
use crate::{LONG, Scene, ends_in_time, hidden, run};

/// A session in which a role is made.
const OLD: &str = "conclave/1/1/old";
const CREATE: &str = "CREATE ROLE \"v-a\" LOGIN PASSWORD 'ours'; GRANT pg_monitor TO \"v-a\"";

fn scene(server: &Postgres) -> Scene {
    let url = server
        .url()
        .replace("{{username}}", ROOT)
        .replace("{{password}}", &PASSWORD.replace(' ', "%20"));
    Scene::new(Driver::Postgresql, &url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_accounts() {
    let mut server = Postgres::start().await;
    let scene = scene(&server);
    accounts_come_and_go(&server, &scene).await;
    names_that_are_taken(&server, &scene).await;
    odd_names(&server, &scene).await;
    refusals_say_what_was_done(&server, &scene).await;
    statements_end_in_time(&server, &scene).await;
    a_session_in_the_making_is_ended(&server, &scene).await;
    passwords_change(&server, &scene).await;
    is_reached_anew(&server).await;
    broken_off(&mut server, &scene).await;
}

fn asked(server: &Postgres, query: &str) -> String {
    server.query_as(ROOT, PASSWORD, query).unwrap()
}

async fn accounts_come_and_go(server: &Postgres, scene: &Scene) {
    scene.check().await.unwrap();
    scene.make("v-a", &[CREATE]).await.unwrap();
    assert_eq!(scene.list("v-").await, ["v-a"]);
    asked(
        server,
        "CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO \"v-a\"",
    );
    let mut open = server.client("v-a", "SELECT pg_sleep(60)");
    let mut open = open.env("PGPASSWORD", "ours").spawn().unwrap();
    eventually("it is logged in", SOON, async || {
        match asked(
            server,
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'v-a'",
        )
        .as_str()
        {
            "0" => Err("nobody"),
            _ => Ok(()),
        }
    })
    .await;
    scene.drop_account("v-a", &[], "").await.unwrap();
    assert!(!open.wait().unwrap().success(), "it was thrown out");
    let refused = server.query_as("v-a", "ours", "SELECT 1").unwrap_err();
    assert!(refused.contains("authentication failed"), "{refused}");
    assert!(server.accounts().is_empty());
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'theirs'";
    assert_eq!(asked(server, owner), ROOT, "what it owned is kept");
    asked(server, "DROP TABLE theirs");
    // Once more does no harm.
    scene.drop_account("v-a", &[], "conclave/9/9/none").await.unwrap();
    scene
        .drop_account("v-a", &["DROP ROLE \"v-a\""], "")
        .await
        .unwrap();
}

async fn names_that_are_taken(server: &Postgres, scene: &Scene) {
    let by_hand = "CREATE ROLE \"v-a\" LOGIN PASSWORD 'theirs'";
    server.query_as(ROOT, PASSWORD, by_hand).unwrap();
    let failure = scene.make("v-a", &[CREATE]).await.unwrap_err();
    assert_eq!(failure.done, Done::There, "{failure}");
    // Whatever came before is undone with it.
    let failure = scene.make("v-a", &["CREATE ROLE \"v-b\"", CREATE]).await;
    assert_eq!(failure.unwrap_err().done, Done::There);
    assert_eq!(server.accounts(), ["v-a"]);
    assert_eq!(server.query_as("v-a", "theirs", "SELECT 1").unwrap(), "1");
    // Not so where a statement ends the transaction.
    let statements = ["CREATE ROLE \"v-b\"; COMMIT; CREATE ROLE \"v-b\""];
    let failure = scene.make("v-b", &statements).await.unwrap_err();
    assert_eq!(failure.done, Done::Refused, "{failure}");
    scene.drop_account("v-a", &[], "").await.unwrap();
    scene.drop_account("v-b", &[], "").await.unwrap();
    scene.make("v-a", &[CREATE]).await.unwrap();
    assert_eq!(server.query_as("v-a", "ours", "SELECT 1").unwrap(), "1");
    scene.drop_account("v-a", &[], "").await.unwrap();
}

async fn odd_names(server: &Postgres, scene: &Scene) {
    for (name, quoted) in [
        ("v-\"$", "\"v-\"\"$\""),
        ("v-é 日本", "\"v-é 日本\""),
        ("v-\\x", "\"v-\\x\""),
        ("v-it's; --", "\"v-it's; --\""),
    ] {
        scene
            .make(name, &[&format!("CREATE ROLE {quoted}")])
            .await
            .unwrap();
        assert_eq!(scene.list(name).await, [name]);
        scene.drop_account(name, &[], "it's \" \\").await.unwrap();
        assert!(server.accounts().is_empty(), "{name}");
    }
    for account in ["v-\0", ""] {
        let failure = scene.drop_account(account, &[], "").await.unwrap_err();
        assert_eq!(failure.done, Done::Nothing, "{failure}");
    }
}

async fn refusals_say_what_was_done(server: &Postgres, scene: &Scene) {
    for wrong in [
        "CREATE ROLE \"v-b\" PASSWORT 'hunter2'",
        "CREATE ROLE \"v-b\" LOGIN \0",
    ] {
        let failure = scene.run(&[wrong]).await.unwrap_err();
        assert!(!failure.text.contains("hunter2"), "{failure}");
    }
    // All or none.
    for statements in [&[CREATE, "BROKEN"][..], &["CREATE ROLE \"v-b\"; BROKEN"]] {
        let failure = scene.run(statements).await.unwrap_err();
        assert_eq!(failure.done, Done::Refused, "{failure}");
        assert!(server.accounts().is_empty());
    }
    let wrong = Scene::new(
        Driver::Postgresql,
        &scene.target.url.replace("first%20root", "hunter2"),
    );
    let failure = wrong.check().await.unwrap_err();
    assert_eq!(failure.done, Done::Denied, "{failure}");
    assert!(!failure.text.contains("hunter2"), "{failure}");
}

async fn statements_end_in_time(server: &Postgres, scene: &Scene) {
    ends_in_time(scene, "SELECT pg_sleep(60); CREATE ROLE \"v-late\"").await;
    eventually("the server gave up too", SOON, async || {
        match asked(server, SLEEPERS).as_str() {
            "0" => Ok(()),
            some => Err(some.to_owned()),
        }
    })
    .await;
    assert!(server.accounts().is_empty());
    let over = scene
        .act(run(&[CREATE]), "conclave/1/1/over", Duration::ZERO)
        .await;
    assert_eq!(over.unwrap_err().done, Done::Nothing);
}

/// Who sleeps and does not ask this.
const SLEEPERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)%' \
                        AND pid <> pg_backend_pid()";

async fn a_session_in_the_making_is_ended(server: &Postgres, scene: &Scene) {
    let old = stands_in_the_making(server, scene).await;
    scene.drop_account("v-a", &[], OLD).await.unwrap();
    assert_eq!(old.await.unwrap().unwrap_err().done, Done::Unknown);
    // Who is to be alone ends it too, and does not take itself for another the next time.
    let old = stands_in_the_making(server, scene).await;
    for _ in 0..3 {
        scene.act_alone(Action::Check, OLD).await.unwrap();
    }
    assert_eq!(old.await.unwrap().unwrap_err().done, Done::Unknown);
    assert!(server.accounts().is_empty());
}

/// A session that bears its name and makes a role in a minute.
async fn stands_in_the_making(server: &Postgres, scene: &Scene) -> JoinHandle<Result<Vec<String>, Failure>> {
    let making = run(&["SELECT pg_sleep(60)", CREATE]);
    let old = Scene::new(Driver::Postgresql, &scene.target.url);
    let old = tokio::spawn(async move { old.act(making, OLD, LONG).await });
    let query = format!("{SLEEPERS} AND application_name = '{OLD}'");
    eventually("it sleeps", SOON, async || match asked(server, &query).as_str() {
        "0" => Err("nobody"),
        _ => Ok(()),
    })
    .await;
    old
}

/// Sessions that are there are used again, until the target is to be reached anew: then they end, and others begin.
async fn is_reached_anew(server: &Postgres) {
    let mut scene = scene(server);
    let name = "conclave/1/1/anew";
    let sessions = || {
        let query = format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{name}'");
        asked(server, &query)
    };
    scene.act(Action::Check, name, LONG).await.unwrap();
    let first = sessions();
    scene.act(Action::Check, name, LONG).await.unwrap();
    assert_eq!(sessions(), first, "the same is used again");
    scene.target.epoch = "1".to_owned();
    scene.act(Action::Check, name, LONG).await.unwrap();
    eventually("the first has ended", SOON, async || match sessions() {
        now if !now.contains(&first) && !now.is_empty() && !now.contains('\n') => Ok(()),
        now => Err(now),
    })
    .await;
}

async fn passwords_change(server: &Postgres, scene: &Scene) {
    let change = |password: &str| format!("ALTER ROLE {ROOT} PASSWORD '{password}'");
    scene.run(&[&change("p@ss/w:o?r(d")]).await.unwrap();
    let mut changed = Scene::new(Driver::Postgresql, &scene.target.url);
    assert_eq!(changed.check().await.unwrap_err().done, Done::Denied);
    let fresh = scene
        .target
        .url
        .replace("first%20root%20password", "p%40ss%2Fw%3Ao%3Fr%28d");
    changed.target.fallback = Some(hidden(&fresh));
    changed.run(&[&change(PASSWORD)]).await.unwrap();
    assert_eq!(asked(server, "SELECT 1"), "1");
}

/// The server dies in the middle of a statement and comes back.
async fn broken_off(server: &mut Postgres, scene: &Scene) {
    let old = stands_in_the_making(server, scene).await;
    server.stop();
    assert_eq!(old.await.unwrap().unwrap_err().done, Done::Unknown);
    // Idle connections broke too: nothing was sent, whatever is found out first.
    assert_eq!(scene.check().await.unwrap_err().done, Done::Nothing);
    server.run().await;
    scene.check().await.unwrap();
    assert!(server.accounts().is_empty(), "all or none");
}
