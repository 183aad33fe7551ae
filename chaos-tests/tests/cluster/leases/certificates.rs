//! Accounts of a real PostgreSQL that log in with certificates: each with its own, as itself alone, until its lease ends.

use serde_json::{Value, json};

use super::QUIET;
use super::pki::Authority;
use super::postgres::{PASSWORD, Postgres, ROOT};
use crate::harness::{Api, eventually};

const CREATE: &str = "CREATE ROLE \"{{name}}\" LOGIN IN ROLE certified";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

const KEYS: [&str; 3] = ["ec", "ed25519", "rsa"];

struct Account {
    name: String,
    certificate: String,
    key: String,
    lease: Value,
}

impl Account {
    fn of(told: &Value) -> Self {
        let data = &told["data"];
        let [name, certificate, key] =
            ["username", "client_certificate", "private_key"].map(|part| text(&data[part]).to_owned());
        Self {
            name,
            certificate,
            key,
            lease: told["lease_id"].clone(),
        }
    }

    fn pair(&self) -> (&str, &str) {
        (&self.certificate, &self.key)
    }
}

/// Starts the server with TLS, lets accounts in by certificates, and ends one.
pub async fn let_in(server: &mut Postgres, api: &Api) {
    let authority = Authority::new();
    server
        .query_as(ROOT, PASSWORD, "CREATE ROLE certified")
        .expect("PostgreSQL answers");
    server.certify("certified", &authority).await;
    api.must("PUT", "database/config/pg", json!({"allowed_roles": "*"}))
        .await;
    for key_type in KEYS {
        let wish = json!({
            "db_name": "pg", "creation_statements": [CREATE], "default_ttl": "1h", "credential_type": "client_certificate",
            // As a command line gives it.
            "credential_config": [
                format!("ca_cert={}", authority.pem()), format!("ca_private_key={}", authority.key()),
                format!("key_type={key_type}"), "key_bits=0",
            ],
        });
        api.must("POST", &format!("database/roles/by-{key_type}"), wish)
            .await;
    }
    let told = api.get("database/roles/by-ec").await;
    assert!(!told.text().contains("PRIVATE"), "{}", told.text());
    let mut issued = Vec::new();
    for key_type in KEYS {
        let told = api.get(&format!("database/creds/by-{key_type}")).await;
        assert_eq!(told.status, 200, "{}", told.text());
        assert_eq!(told.body["renewable"], json!(false));
        issued.push(Account::of(&told.body));
    }
    for account in &issued {
        let said = server.query_with(&account.name, account.pair(), "SELECT current_user");
        assert_eq!(said.as_ref(), Ok(&account.name));
    }
    let first = &issued[0];
    let refused = server.query_with(&issued[1].name, first.pair(), "SELECT 1");
    assert!(refused.is_err_and(|text| text.contains("certificate authentication failed")));
    let strangers = Authority::new().server(&first.name);
    let refused = server.query_with(&first.name, (&strangers.0, &strangers.1), "SELECT 1");
    assert!(refused.is_err(), "of another authority");
    let lease = json!({"lease_id": first.lease});
    api.must("PUT", "sys/leases/revoke", lease).await;
    eventually("the account is gone", QUIET, async || match server.accounts() {
        left if left.contains(&first.name) => Err(left),
        _ => Ok(()),
    })
    .await;
    let refused = server.query_with(&first.name, first.pair(), "SELECT 1");
    assert!(refused.is_err(), "its certificate outlived it");
    api.must("PUT", "sys/leases/revoke-prefix/database", json!({}))
        .await;
}
