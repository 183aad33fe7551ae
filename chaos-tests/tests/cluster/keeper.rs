//! An application whose account in a real PostgreSQL is kept alive by the SDK: renewed, read anew at its end, after a
//! revocation behind its back and while a leader is chosen. Each account it is told of works.

use std::sync::Arc;

use conclave_client::{Error, Leased};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::harness::{Cluster, SOON, eventually};
use crate::leases::postgres::{PASSWORD, Postgres, ROOT};
use crate::sdk::connect;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_keeper() {
    let server = Postgres::start().await;
    let mut cluster = Cluster::formed().await;
    configure(&cluster, &server).await;
    let conclave = connect(&mut cluster);
    let keeper = conclave.keep("database/creds/app").await.expect("an account");
    let (mut leased, mut standing) = (keeper.leased(), keeper.standing());
    let first = Arc::clone(&leased.borrow_and_update());
    works(&server, &first);
    let known = conclave.leases().lookup(&first.lease_id).await.expect("a lease");
    assert!(known.renewable && known.id == first.lease_id);
    // A machine that slept may have missed the first one's: each is renewed once before its time.
    let renewed = standing.wait_for(|told| told.renewals > 0);
    let renewed = timeout(SOON, renewed)
        .await
        .expect("a renewal")
        .expect("a keeper")
        .ends;
    assert!(renewed.is_some());

    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    // Twenty-five seconds after it was made no renewal gives it more.
    let second = after(&mut leased, &first).await;
    works(&server, &second);
    assert_ne!(second.lease_id, first.lease_id);

    conclave
        .leases()
        .revoke(&second.lease_id, true)
        .await
        .expect("a revocation");
    let third = after(&mut leased, &second).await;
    works(&server, &third);
    let gone = conclave.leases().lookup(&second.lease_id).await.err();
    assert!(matches!(gone, Some(Error::Invalid(_))), "{gone:?}");

    keeper.end().await.expect("a revocation");
    eventually("no account is left", SOON, async || match server.accounts() {
        accounts if accounts.is_empty() => Ok(()),
        accounts => Err(accounts),
    })
    .await;
    cluster.assert_alive();
}

async fn configure(cluster: &Cluster, server: &Postgres) {
    let api = cluster.api(0);
    api.must("POST", "sys/mounts/database", json!({"type": "database"}))
        .await;
    let connection = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "app", "connection_url": server.url(),
        "username": ROOT, "password": PASSWORD,
    });
    api.must("POST", "database/config/pg", connection).await;
    let role = json!({
        "db_name": "pg", "default_ttl": "15s", "max_ttl": "25s",
        "creation_statements": "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}'",
    });
    api.must("POST", "database/roles/app", role).await;
}

/// The account that takes the place of this one.
async fn after(leased: &mut watch::Receiver<Arc<Leased>>, old: &Leased) -> Arc<Leased> {
    let another = leased.wait_for(|leased| leased.number > old.number);
    let another = timeout(SOON, another).await.expect("another account in time");
    Arc::clone(&another.expect("a keeper"))
}

fn works(server: &Postgres, leased: &Leased) {
    let text = |name: &str| leased.data.text(name).expect("a credential");
    let said = server.query_as(text("username"), text("password"), "SELECT 1");
    assert_eq!(said.as_deref(), Ok("1"), "account {}", leased.number);
}
