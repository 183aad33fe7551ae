//! MariaDB: what is in its own table of accounts, and who may log in.

use std::time::Duration;

use conclave_engine_api::{Action, Done, Driver, Failure};
use tokio::task::JoinHandle;

use crate::harness::{SOON, eventually};
use crate::mariadb::{MariaDb, PASSWORD, ROOT};
use crate::pki::Authority;
use crate::{LONG, Scene, ends_in_time, hidden, run};

/// A session in which an account is made.
const OLD: &str = "conclave/1/1/old";
const CREATE: &str = "CREATE USER 'v-a'@'%' IDENTIFIED BY 'pw'";

fn scene(server: &MariaDb) -> Scene {
    let url = format!("{ROOT}:{PASSWORD}@tcp(127.0.0.1:{})/", server.port);
    Scene::new(Driver::Mysql, &url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_accounts() {
    let mut server = MariaDb::start().await;
    let scene = scene(&server);
    accounts_come_and_go(&server, &scene).await;
    names_that_are_taken(&server, &scene).await;
    odd_names(&server, &scene).await;
    refusals_say_what_was_done(&server, &scene).await;
    who_may_little_drops_all_the_same(&server, &scene).await;
    statements_end_in_time(&server, &scene).await;
    a_session_in_the_making_is_ended(&server, &scene).await;
    passwords_change(&server, &scene).await;
    broken_off(&mut server, &scene).await;
}

async fn accounts_come_and_go(server: &MariaDb, scene: &Scene) {
    scene.check().await.unwrap();
    scene
        .run(&[CREATE, "GRANT SELECT ON *.* TO 'v-a'@'%'"])
        .await
        .unwrap();
    // The same account from elsewhere is the same account.
    scene
        .run(&["CREATE USER 'v-a'@'10.0.0.1'; CREATE USER 'w'@'%';"])
        .await
        .unwrap();
    assert_eq!(server.query_as("v-a", "pw", "SELECT 1").unwrap(), "1");
    assert_eq!(scene.list("v-").await, ["v-a"]);
    let mut open = server.client("v-a", "pw", "SELECT SLEEP(60)").spawn().unwrap();
    eventually("it is logged in", SOON, async || {
        match sessions_of(server, "v-a") {
            0 => Err("nobody"),
            _ => Ok(()),
        }
    })
    .await;
    scene.drop_account("v-a", &[], "").await.unwrap();
    assert!(
        server
            .query_as("v-a", "pw", "SELECT 1")
            .unwrap_err()
            .contains("Access denied")
    );
    assert!(server.accounts().is_empty());
    assert_eq!(sessions_of(server, "v-a"), 0, "it was thrown out");
    assert!(!open.wait().unwrap().success());
    // Once more does no harm.
    scene.drop_account("v-a", &[], "").await.unwrap();
    scene
        .drop_account("v-a", &["DROP USER 'v-a'@'%'"], "")
        .await
        .unwrap();
    scene
        .drop_account("w", &["DROP USER w"], "conclave/9/9/none")
        .await
        .unwrap();
    assert!(scene.list("w").await.is_empty());
}

async fn names_that_are_taken(server: &MariaDb, scene: &Scene) {
    // From wherever it may log in: dropping it would drop that too.
    server.asked("CREATE USER 'v-a'@'localhost' IDENTIFIED BY 'theirs'");
    let failure = scene.make("v-a", &[CREATE]).await.unwrap_err();
    assert_eq!(failure.done, Done::There, "{failure}");
    assert_eq!(
        server.asked("SELECT Host FROM mysql.user WHERE User = 'v-a'"),
        ["localhost"]
    );
    // Who may not look is told by the server.
    server.asked("CREATE USER 'v-w'@'%'; CREATE USER 'weak'@'%' IDENTIFIED BY 'w'; GRANT CREATE USER ON *.* TO 'weak'@'%'");
    let weak = Scene::new(Driver::Mysql, &format!("weak:w@tcp(127.0.0.1:{})/", server.port));
    let failure = weak.make("v-w", &["create user 'v-w'@'%'"]).await.unwrap_err();
    assert_eq!(failure.done, Done::There, "{failure}");
    // One of the two is made by this.
    let both = ["CREATE USER 'v-w'@'%', 'v-w'@'localhost'"];
    let failure = weak.make("v-w", &both).await.unwrap_err();
    assert_eq!(failure.done, Done::Refused, "{failure}");
    for account in ["v-a", "v-w", "weak"] {
        scene.drop_account(account, &[], "").await.unwrap();
    }
    scene.make("v-a", &[CREATE]).await.unwrap();
    scene.drop_account("v-a", &[], "").await.unwrap();
}

fn sessions_of(server: &MariaDb, user: &str) -> usize {
    let query = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{user}'");
    server.asked(&query).len()
}

async fn odd_names(server: &MariaDb, scene: &Scene) {
    for mode in ["", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"] {
        server.asked(&format!("SET GLOBAL sql_mode = '{mode}'"));
        // New connections read the mode.
        let scene = Scene::new(Driver::Mysql, &scene.target.url);
        for (name, quoted) in [
            ("v-`\"$", "`v-``\"$`"),
            ("v-é 日本", "`v-é 日本`"),
            ("v-\\x", "`v-\\x`"),
            ("v-it's", "`v-it's`"),
        ] {
            scene.run(&[&format!("CREATE USER {quoted}@'%'")]).await.unwrap();
            assert_eq!(scene.list("v-").await, [name]);
            assert_eq!(scene.list(name).await, [name]);
            scene.drop_account(name, &[], "it's `\\").await.unwrap();
            assert!(server.accounts().is_empty(), "{name}");
        }
        scene.drop_account("v-\0", &[], "").await.unwrap();
    }
    server.asked("SET GLOBAL sql_mode = DEFAULT");
}

async fn refusals_say_what_was_done(server: &MariaDb, scene: &Scene) {
    let failure = scene
        .run(&["CREATE USER 'v-b' IDENTIFIED hunter2"])
        .await
        .unwrap_err();
    assert_eq!(failure.done, Done::Refused, "{failure}");
    assert!(
        failure.text.contains("1064") && !failure.text.contains("hunter2"),
        "{failure}"
    );
    let failure = scene
        .run(&["GRANT SELECT ON *.* TO 'nobody'@'nowhere'"])
        .await
        .unwrap_err();
    assert_eq!(failure.done, Done::Refused, "{failure}");
    for statements in [&[CREATE, "BROKEN"][..], &["CREATE USER 'v-b'@'%'; BROKEN"]] {
        let failure = scene.run(statements).await.unwrap_err();
        assert_eq!(failure.done, Done::Unknown, "the first was done: {failure}");
        assert_eq!(server.accounts().len(), 1);
        for account in ["v-a", "v-b"] {
            scene.drop_account(account, &[], "").await.unwrap();
        }
    }
    scene.run(&[CREATE]).await.unwrap();
    let failure = scene
        .drop_account("v-a", &["SELECT 1; BROKEN"], "")
        .await
        .unwrap_err();
    assert_eq!(failure.done, Done::Refused, "{failure}");
    scene.drop_account("v-a", &[], "").await.unwrap();
    let wrong = Scene::new(Driver::Mysql, &scene.target.url.replace(PASSWORD, "hunter2"));
    let failure = wrong.check().await.unwrap_err();
    assert_eq!(failure.done, Done::Denied);
    assert!(
        failure.text.contains("Access denied") && !failure.text.contains("hunter2"),
        "{failure}"
    );
}

async fn who_may_little_drops_all_the_same(server: &MariaDb, scene: &Scene) {
    server.asked("CREATE USER 'weak'@'%' IDENTIFIED BY 'w'; GRANT CREATE USER ON *.* TO 'weak'@'%'");
    let url = format!("weak:w@tcp(127.0.0.1:{})/", server.port);
    let weak = Scene::new(Driver::Mysql, &url);
    weak.run(&[CREATE]).await.unwrap();
    assert_eq!(server.accounts(), ["v-a"]);
    weak.drop_account("v-a", &[], "").await.unwrap();
    weak.drop_account("v-a", &[], "").await.unwrap();
    assert!(server.accounts().is_empty());
    scene.drop_account("weak", &[], "").await.unwrap();
}

async fn statements_end_in_time(server: &MariaDb, scene: &Scene) {
    ends_in_time(scene, "SELECT SLEEP(60); CREATE USER 'v-late'@'%'").await;
    eventually("the server gave up too", SOON, async || {
        let query = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SLEEP(60)%' AND ID <> CONNECTION_ID()";
        match server.asked(query) {
            none if none.is_empty() => Ok(()),
            some => Err(some),
        }
    })
    .await;
    assert!(server.accounts().is_empty());
    let failure = scene
        .act(run(&[CREATE]), "conclave/1/1/over", Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(failure.done, Done::Nothing);
}

async fn a_session_in_the_making_is_ended(server: &MariaDb, scene: &Scene) {
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

/// A session that bears its name and makes an account in a minute.
async fn stands_in_the_making(server: &MariaDb, scene: &Scene) -> JoinHandle<Result<Vec<String>, Failure>> {
    let making = run(&["SELECT SLEEP(60)", CREATE]);
    let old = Scene::new(Driver::Mysql, &scene.target.url);
    let old = tokio::spawn(async move { old.act(making, OLD, LONG).await });
    eventually("it has its name", SOON, async || {
        match server
            .asked("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(60)%'")
            .len()
        {
            0 => Err("it does not sleep"),
            _ => Ok(()),
        }
    })
    .await;
    assert_eq!(server.asked(&format!("SELECT IS_USED_LOCK('{OLD}') > 0")), ["1"]);
    old
}

async fn passwords_change(server: &MariaDb, scene: &Scene) {
    let mut changed = Scene::new(Driver::Mysql, &scene.target.url);
    let change = format!("ALTER USER '{ROOT}'@'%' IDENTIFIED BY 'p@ss/w:o?r(d'");
    changed.run(&[&change]).await.unwrap();
    changed = Scene::new(Driver::Mysql, &scene.target.url);
    assert_eq!(changed.check().await.unwrap_err().done, Done::Denied);
    changed.target.fallback = Some(hidden(&scene.target.url.replace(PASSWORD, "p@ss/w:o?r(d")));
    changed
        .run(&[&format!("ALTER USER '{ROOT}'@'%' IDENTIFIED BY '{PASSWORD}'")])
        .await
        .unwrap();
    assert!(server.query_as(ROOT, PASSWORD, "SELECT 1").is_ok());
}

async fn broken_off(server: &mut MariaDb, scene: &Scene) {
    let sleeping = Scene::new(Driver::Mysql, &scene.target.url);
    let asked = tokio::spawn(async move { sleeping.run(&["SELECT SLEEP(60)"]).await });
    eventually("it sleeps", SOON, async || {
        match server
            .asked("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'")
            .concat()
        {
            none if none == "0" => Err(none),
            _ => Ok(()),
        }
    })
    .await;
    server.stop();
    assert_eq!(asked.await.unwrap().unwrap_err().done, Done::Unknown);
    // Idle connections broke too: nothing was sent, whatever is found out first.
    assert_eq!(scene.check().await.unwrap_err().done, Done::Nothing);
    server.run().await;
    scene.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_tls_is_verified() {
    let authority = Authority::new();
    let (certificate, key) = authority.server("db.test");
    let options = [
        ("--ssl-ca", authority.pem()),
        ("--ssl-cert", certificate.as_str()),
        ("--ssl-key", key.as_str()),
        ("--require-secure-transport", ""),
    ];
    let server = MariaDb::start_with(&options).await;
    let mut scene = scene(&server);
    assert!(scene.check().await.is_err(), "without TLS");
    scene.target.tls.ca = authority.pem().to_owned();
    let failure = scene.check().await.unwrap_err();
    assert_eq!(failure.done, Done::Nothing, "for another name: {failure}");
    scene.target.tls.server_name = "db.test".to_owned();
    scene.run(&[CREATE]).await.unwrap();
    assert_eq!(server.accounts(), ["v-a"]);
    scene.target.tls.ca = Authority::new().pem().to_owned();
    let failure = scene.check().await.unwrap_err();
    assert_eq!(failure.done, Done::Nothing, "of another authority: {failure}");
    scene.target.tls.ca = String::new();
    scene.target.url = hidden(&scene.target.url.replace(")/", ")/?tls=skip-verify"));
    let failure = scene.check().await.unwrap_err();
    assert_eq!(
        failure.done,
        Done::Nothing,
        "of nobody the system knows: {failure}"
    );
}
