//! Accounts in a real MariaDB and a real Redis under the same faults: leaders struck while they make and drop them, targets that
//! are down, root passwords changed by somebody else, statements on their way while the next leader sweeps.

use serde_json::{Value, json};

use super::door::Door;
use super::mariadb::{self, MariaDb};
use super::redis::{self, Redis};
use super::{Kind, QUIET, Target, another_leads, issued_by, leases_of, many, match_up, strike, strikes};
use crate::harness::{Api, Cluster, SOON, eventually};

/// A target of a kind.
enum Peer {
    MariaDb(MariaDb),
    Redis(Redis),
}

impl Peer {
    async fn both() -> [Self; 2] {
        let (mariadb, redis) = tokio::join!(MariaDb::start(), Redis::start());
        [Self::MariaDb(mariadb), Self::Redis(redis)]
    }

    fn kind(&self) -> Kind {
        match self {
            Self::MariaDb(_) => Kind::MariaDb,
            Self::Redis(_) => Kind::Redis,
        }
    }

    fn mount(&self) -> &'static str {
        match self {
            Self::MariaDb(_) => "mariadb",
            Self::Redis(_) => "redis",
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.mount())
    }

    fn port(&self) -> u16 {
        match self {
            Self::MariaDb(server) => server.port,
            Self::Redis(server) => server.port,
        }
    }

    /// Reached by way of a port.
    async fn configure(&self, api: &Api, port: u16) {
        let wish = json!({"type": "database"});
        api.must("POST", &format!("sys/mounts/{}", self.mount()), wish)
            .await;
        let (connection, creation) = match self {
            Self::MariaDb(server) => (
                json!({
                    "plugin_name": "mysql-database-plugin", "username": mariadb::ROOT, "password": mariadb::PASSWORD,
                    "connection_url": server.url().replace(&server.port.to_string(), &port.to_string()),
                    "allowed_roles": "*",
                }),
                "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRANT SELECT ON *.* TO '{{name}}'@'%';",
            ),
            Self::Redis(_) => (
                json!({
                    "plugin_name": "redis-database-plugin", "username": redis::ROOT, "password": redis::PASSWORD,
                    "host": "127.0.0.1", "port": port, "allowed_roles": "*",
                }),
                r#"["~*", "+@read", "+ping"]"#,
            ),
        };
        api.must("POST", &self.at("config/db"), connection).await;
        for (role, ttl) in [("app", "1h"), ("brief", "3s")] {
            let role_ = json!({"db_name": "db", "default_ttl": ttl, "max_ttl": "2h", "creation_statements": creation});
            api.must("POST", &self.at(&format!("roles/{role}")), role_).await;
        }
    }

    /// Its accounts, by its own list.
    fn accounts(&self) -> Vec<String> {
        match self {
            Self::MariaDb(server) => server.accounts(),
            Self::Redis(server) => server.accounts(),
        }
    }

    fn log_in(&self, (user, password): &(String, String)) -> Result<String, String> {
        match self {
            Self::MariaDb(server) => server.query_as(user, password, "SELECT 1"),
            Self::Redis(server) => server.query_as(user, password, &["PING"]),
        }
    }

    fn refuses(&self, account: &(String, String)) -> bool {
        let denied = |text: String| text.contains("Access denied") || text.contains("WRONGPASS");
        self.log_in(account).is_err_and(denied)
    }

    /// Gives an account a password by hand; makes it if there is none.
    fn set(&self, user: &str, password: &str) {
        match self {
            Self::MariaDb(server) => {
                let set = format!(
                    "CREATE USER IF NOT EXISTS '{user}'@'%'; ALTER USER '{user}'@'%' IDENTIFIED BY '{password}'"
                );
                server.asked(&set);
            }
            Self::Redis(server) => {
                let password = format!(">{password}");
                let set = ["ACL", "SETUSER", user, "ON", "RESETPASS", &password, "+ping"];
                server
                    .query_as(redis::ROOT, redis::PASSWORD, &set)
                    .expect("Redis answers");
            }
        }
    }

    /// What tells its sessions of whoever makes accounts apart.
    fn sessions(&self) -> Vec<String> {
        match self {
            Self::MariaDb(server) => server.asked(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'vaultroot' AND ID <> CONNECTION_ID()",
            ),
            Self::Redis(server) => {
                let list = server.query_as(redis::ROOT, redis::PASSWORD, &["CLIENT", "LIST"]);
                let list = list.expect("Redis answers");
                let named = list.lines().filter(|line| line.contains("name=conclave/"));
                let id = |line: &str| line.split(' ').next().map(str::to_owned);
                named.filter_map(id).collect()
            }
        }
    }

    fn root(&self, password: &str) -> (String, String) {
        ("vaultroot".to_owned(), password.to_owned())
    }

    /// Waits until its accounts are those with a lease and, if that is known, this many.
    async fn has(&self, api: &Api, count: Option<usize>) {
        match_up(api, &self.at("creds/app"), count, || self.accounts()).await;
    }
}

impl Target for Peer {
    fn stop(&mut self) {
        match self {
            Self::MariaDb(server) => server.stop(),
            Self::Redis(server) => server.stop(),
        }
    }

    async fn run(&mut self) {
        match self {
            Self::MariaDb(server) => server.run().await,
            Self::Redis(server) => server.run().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_kinds() {
    let mut peers = Peer::both().await;
    let mut cluster = Cluster::formed().await;
    let mut kept = Vec::new();
    for peer in &peers {
        peer.configure(&cluster.api(0), peer.port()).await;
        kept.push(issued_by(&cluster.api(1), &peer.at("creds/app")).await);
    }
    for peer in &mut peers {
        for case in strikes(peer.kind()) {
            let creds = peer.at("creds/app");
            strike(&mut cluster, peer, &creds, case).await;
        }
    }
    let api = cluster.api(0);
    for (peer, kept) in peers.iter().zip(&kept) {
        peer.has(&api, None).await;
        peer.log_in(kept).expect("a live lease's account works");
        ends_with_its_lease(peer, &api).await;
        let beneath = format!("sys/leases/revoke-prefix/{}", peer.mount());
        api.must("PUT", &beneath, json!({})).await;
        peer.has(&api, Some(0)).await;
        assert!(peer.refuses(kept));
        static_roles(peer, &api).await;
    }
    many::are_ended_by_one_command(&cluster, &peers[1].at("creds/app")).await;
    down_and_back(&mut peers, &api).await;
    for peer in &peers {
        root_changes(peer, &api).await;
    }
    cluster.assert_alive();
}

/// Nothing in these servers ends an account by itself.
async fn ends_with_its_lease(peer: &Peer, api: &Api) {
    let brief = issued_by(api, &peer.at("creds/brief")).await;
    let worked = peer.log_in(&brief);
    eventually("the lease ends", QUIET, async || match peer.refuses(&brief) {
        true => Ok(()),
        false => Err(peer.accounts()),
    })
    .await;
    // On a machine so slow that it was over before, it was refused as it should be.
    assert!(worked.is_ok() || !peer.accounts().contains(&brief.0));
}

async fn static_roles(peer: &Peer, api: &Api) {
    peer.set("svc", "by-hand");
    let role = json!({"db_name": "db", "username": "svc", "rotation_period": "1h"});
    api.must("POST", &peer.at("static-roles/svc"), role).await;
    let told = async || {
        let told = api.get(&peer.at("static-creds/svc")).await.body;
        let password = told["data"]["password"].as_str().map(str::to_owned);
        (
            "svc".to_owned(),
            password.unwrap_or_else(|| panic!("no password: {told}")),
        )
    };
    let first = told().await;
    peer.log_in(&first)
        .expect("the account takes the password that is told");
    assert!(peer.refuses(&("svc".to_owned(), "by-hand".to_owned())));
    api.must("POST", &peer.at("rotate-role/svc"), json!({})).await;
    assert!(peer.refuses(&first));
    peer.log_in(&told().await).expect("and the next");
    // One that is not there is not made.
    let role = json!({"db_name": "db", "username": "nobody", "rotation_period": "1h"});
    let refused = api
        .call("POST", &peer.at("static-roles/nobody"), Some(role))
        .await;
    assert_eq!(refused.expect("an answer").status, 500);
    assert_eq!(api.get(&peer.at("static-roles/nobody")).await.status, 404);
}

async fn down_and_back(peers: &mut [Peer; 2], api: &Api) {
    for peer in peers.iter_mut() {
        issued_by(api, &peer.at("creds/app")).await;
        peer.stop();
    }
    for peer in peers.iter() {
        let beneath = format!("sys/leases/revoke-prefix/{}", peer.mount());
        api.must("PUT", &beneath, json!({})).await;
        let refused = api.get(&peer.at("creds/app")).await;
        assert_eq!(refused.status, 500, "{}", refused.text());
    }
    for peer in peers.iter_mut() {
        peer.run().await;
        peer.has(api, Some(0)).await;
    }
}

/// Somebody else changes the password of whoever makes accounts: no lease is made, and the error says why.
async fn root_changes(peer: &Peer, api: &Api) {
    peer.set("vaultroot", "another");
    // Who is logged in stays so: the connection is reached anew by what is written.
    let written = api
        .call(
            "PUT",
            &peer.at("config/db"),
            Some(json!({"max_open_connections": 2})),
        )
        .await
        .expect("an answer");
    assert_eq!(written.status, 400, "{}", written.text());
    assert!(
        written.text().contains("Access denied") || written.text().contains("WRONGPASS"),
        "{}",
        written.text()
    );
    let blind = json!({"max_open_connections": 2, "verify_connection": false});
    api.must("PUT", &peer.at("config/db"), blind).await;
    let refused = api.get(&peer.at("creds/app")).await;
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(leases_of(api, &peer.at("creds/app")).await.is_empty());
    let told = json!({"password": "another", "verify_connection": true});
    api.must("PUT", &peer.at("config/db"), told).await;
    issued_by(api, &peer.at("creds/app")).await;
    api.must("PUT", &peer.at("rotate-root/db"), json!({})).await;
    assert!(peer.refuses(&peer.root("another")), "nobody knows it now");
    issued_by(api, &peer.at("creds/app")).await;
}

/// The leader is stopped while what makes an account is on its way to each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_lease_kinds_on_their_way() {
    let peers = Peer::both().await;
    let doors = [
        Door::before(peers[0].port(), b"CREATE USER").await,
        Door::before(peers[1].port(), b"SETUSER").await,
    ];
    let cluster = Cluster::formed().await;
    let leader = cluster.leader().await;
    let mut asked = Vec::new();
    for (peer, door) in peers.iter().zip(&doors) {
        let api = cluster.api(leader);
        peer.configure(&api, door.port).await;
        issued_by(&api, &peer.at("creds/app")).await;
        door.arm();
        let creds = peer.at("creds/app");
        asked.push(tokio::spawn(async move {
            api.call("GET", &creds, None).await.map(|reply| reply.status)
        }));
        eventually("it is on its way", SOON, async || match door.holds() {
            true => Ok(()),
            false => Err(()),
        })
        .await;
    }
    let before: Vec<Vec<String>> = peers.iter().map(Peer::sessions).collect();
    cluster.nodes[leader].freeze();
    another_leads(&cluster, leader).await;
    for (peer, before) in peers.iter().zip(&before) {
        eventually("the next leader ends the session", QUIET, async || {
            let now = peer.sessions();
            match before.iter().any(|session| !now.contains(session)) {
                true => Ok(()),
                false => Err(now),
            }
        })
        .await;
    }
    for door in &doors {
        door.open();
    }
    cluster.nodes[leader].thaw();
    for asked in asked {
        assert_ne!(
            asked.await.expect("a task").ok(),
            Some(200),
            "nobody was told of it"
        );
    }
    cluster.all_unsealed(&cluster.running()).await;
    let api = cluster.api(cluster.leader().await);
    for peer in &peers {
        peer.has(&api, Some(1)).await;
        let told: Value = api
            .must(
                "PUT",
                "sys/leases/reconcile",
                json!({"mount": peer.mount(), "dry_run": true}),
            )
            .await;
        assert_eq!(told["targets"][0]["listed"], json!(1), "{told}");
    }
}
