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

/// Starts the server with TLS, lets accounts in by certificates, and ends one.
pub async fn let_in(server: &mut Postgres, api: &Api) {
    let authority = Authority::new();
    server
        .query_as(ROOT, PASSWORD, "CREATE ROLE certified")
        .expect("PostgreSQL answers");
    server.certify("certified", &authority).await;
    for (role, key_type) in [("by-ec", "ec"), ("by-ed", "ed25519")] {
        let wish = json!({
            "db_name": "pg", "creation_statements": [CREATE], "default_ttl": "1h", "credential_type": "client_certificate",
            "credential_config": {"ca_cert": authority.pem(), "ca_private_key": authority.key(), "key_type": key_type},
        });
        api.must("POST", &format!("database/roles/{role}"), wish).await;
    }
    let told = api.get("database/roles/by-ec").await;
    assert!(!told.text().contains("PRIVATE"), "{}", told.text());
    let mut issued = Vec::new();
    for role in ["by-ec", "by-ed"] {
        let told = api.get(&format!("database/creds/{role}")).await;
        assert_eq!(told.status, 200, "{}", told.text());
        assert_eq!(told.body["renewable"], json!(false));
        issued.push(told.body);
    }
    let of = |told: &Value| {
        let data = &told["data"];
        let pair = [&data["client_certificate"], &data["private_key"]].map(|part| text(part).to_owned());
        (text(&data["username"]).to_owned(), pair)
    };
    let (first, [certificate, key]) = of(&issued[0]);
    let (second, [other_certificate, other_key]) = of(&issued[1]);
    for (name, pair) in [
        (&first, (certificate.as_str(), key.as_str())),
        (&second, (other_certificate.as_str(), other_key.as_str())),
    ] {
        assert_eq!(
            server.query_with(name, pair, "SELECT current_user").as_ref(),
            Ok(name)
        );
    }
    let refused = server.query_with(&second, (&certificate, &key), "SELECT 1");
    assert!(refused.is_err_and(|text| text.contains("certificate authentication failed")));
    let strangers = Authority::new().server(&first);
    let refused = server.query_with(&first, (&strangers.0, &strangers.1), "SELECT 1");
    assert!(refused.is_err(), "of another authority");
    let lease = json!({"lease_id": issued[0]["lease_id"]});
    api.must("PUT", "sys/leases/revoke", lease).await;
    eventually("the account is gone", QUIET, async || {
        match server.query_with(&first, (&certificate, &key), "SELECT 1") {
            Err(text) if text.contains("does not exist") => Ok(()),
            other => Err(other),
        }
    })
    .await;
    api.must("PUT", "sys/leases/revoke-prefix/database", json!({}))
        .await;
}
