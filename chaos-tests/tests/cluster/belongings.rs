//! People and keys: an entity that a login finds, its group, a policy by its id, and keys with what they made. They must be
//! the same after whatever became of the cluster.

use serde_json::{Value, json};

use crate::harness::{Api, Cluster};

/// "the text", in base64.
const TEXT: &str = "dGhlIHRleHQ=";
/// Each entity has a place of its own; its group has another.
const OWN: &str =
    "path \"secret/data/of/{{identity.entity.id}}/*\" { capabilities = [\"create\", \"update\", \"read\"] }";
const SHARED: &str = "path \"secret/data/crew/*\" { capabilities = [\"create\", \"update\", \"read\"] }";

/// What was made, as it must be found again.
pub struct Belongings {
    secret: String,
    entity: String,
    group: String,
    decrypt: Value,
    verify: [Value; 2],
}

impl Belongings {
    /// Makes them all.
    pub async fn make(api: &Api) -> Self {
        for (path, body) in [
            ("sys/policies/acl/own", json!({"policy": OWN})),
            ("sys/policies/acl/shared", json!({"policy": SHARED})),
            ("sys/auth/people", json!({"type": "approle"})),
            ("auth/people/role/ada", json!({"token_policies": "own"})),
            ("auth/people/role/ada/role-id", json!({"role_id": "ada"})),
            ("sys/mounts/keys", json!({"type": "transit"})),
            ("keys/keys/box", json!({"type": "aes256-gcm96"})),
            ("keys/keys/pen", json!({"type": "ed25519"})),
        ] {
            api.must("POST", path, body).await;
        }
        let secret = api
            .must("POST", "auth/people/role/ada/secret-id", json!({}))
            .await;
        let secret = secret["secret_id"].as_str().expect("a secret id").to_owned();
        let login = json!({"role_id": "ada", "secret_id": secret});
        let login = api.must("POST", "auth/people/login", login).await;
        let entity = login["auth"]["entity_id"].as_str().expect("an entity").to_owned();
        let group = json!({"name": "crew", "policies": "shared", "member_entity_ids": [entity]});
        let group = api.must("POST", "identity/group", group).await;
        let sealed = api
            .must("POST", "keys/encrypt/box", json!({"plaintext": TEXT}))
            .await;
        let hashed = api.must("POST", "keys/hmac/box", json!({"input": TEXT})).await;
        let signed = api.must("POST", "keys/sign/pen", json!({"input": TEXT})).await;
        Self {
            secret,
            entity,
            group: group["id"].as_str().expect("a group").to_owned(),
            decrypt: json!({"ciphertext": sealed["ciphertext"]}),
            verify: [
                json!({"input": TEXT, "hmac": hashed["hmac"]}),
                json!({"input": TEXT, "signature": signed["signature"]}),
            ],
        }
    }

    /// Takes them away, but for what was made with the keys.
    pub async fn spoil(&self, api: &Api) {
        api.must("POST", "keys/keys/box/config", json!({"deletion_allowed": true}))
            .await;
        for path in [
            "keys/keys/box".to_owned(),
            format!("identity/group/id/{}", self.group),
            format!("identity/entity/id/{}", self.entity),
        ] {
            api.must("DELETE", &path, json!({})).await;
        }
        api.must("POST", "keys/keys/pen/rotate", json!({})).await;
    }

    /// Each node finds them as they were made.
    pub async fn are_there(&self, cluster: &Cluster) {
        for api in cluster.apis() {
            self.are_at(&api).await;
        }
    }

    async fn are_at(&self, api: &Api) {
        let login = json!({"role_id": "ada", "secret_id": self.secret});
        let login = api.must("POST", "auth/people/login", login).await;
        let auth = &login["auth"];
        assert_eq!(auth["entity_id"], self.entity, "{auth}");
        assert_eq!(auth["identity_policies"], json!(["shared"]), "{auth}");
        let ada = api.with_token(auth["client_token"].as_str().expect("a token"));
        let note = json!({"data": {"a": "b"}});
        for path in [
            format!("secret/data/of/{}/note", self.entity),
            "secret/data/crew/note".to_owned(),
        ] {
            ada.must("POST", &path, note.clone()).await;
        }
        let denied = ada.get("secret/data/of/somebody/note").await;
        assert_eq!(denied.status, 403, "{}", denied.text());
        let opened = api.must("POST", "keys/decrypt/box", self.decrypt.clone()).await;
        assert_eq!(opened["plaintext"], TEXT);
        for (key, asked) in ["box", "pen"].iter().zip(&self.verify) {
            let told = api
                .must("POST", &format!("keys/verify/{key}"), asked.clone())
                .await;
            assert_eq!(told["valid"], true, "{key}");
        }
        let pen = api.get("keys/keys/pen").await.into_data();
        assert_eq!(pen["latest_version"], 1, "{pen}");
    }
}
