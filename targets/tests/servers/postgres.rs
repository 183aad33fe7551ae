//! PostgreSQL: what is in its own list of roles when one is to be made whose name is taken.

use conclave_engine_api::{Done, Driver};

use crate::Scene;
use crate::postgres_server::{PASSWORD, Postgres, ROOT};

const CREATE: &str = "CREATE ROLE \"v-a\" LOGIN PASSWORD 'ours'; GRANT pg_monitor TO \"v-a\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_makes_no_role_that_is_there() {
    let server = Postgres::start().await;
    let url = server
        .url()
        .replace("{{username}}", ROOT)
        .replace("{{password}}", &PASSWORD.replace(' ', "%20"));
    let scene = Scene::new(Driver::Postgresql, &url);
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
}
