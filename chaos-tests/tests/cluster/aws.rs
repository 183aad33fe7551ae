//! Users of IAM and credentials of STS at moto, which checks signatures and rights: made and dropped as the documentation's
//! commands say, looked at with boto3, and no user without a lease when a leader dies in between.

mod moto;

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Api, Cluster, SOON, Tool, conclave, eventually};
use crate::leases::stands;
use moto::{Key, Moto};

/// For an intent that nobody finished: the time it has, the sweep, and a loaded machine.
const QUIET: Duration = Duration::from_secs(60);

/// The commands of the article, as they stand there; before them the two that it leaves out.
const ARTICLE: &str = r#"set -eu
cd "$HOME"
cat > aws-deploy-policy.json <<EOF
{
  "Version": "2012-10-17",
  "Statement": [{"Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*"}]
}
EOF
vault secrets enable aws >/dev/null
vault write aws/config/root access_key="$MAKER" secret_key="$MAKER_SECRET" region=us-east-1 \
  iam_endpoint="$ENDPOINT" sts_endpoint="$ENDPOINT" >/dev/null
# Create a policy that generates temporary AWS credentials
vault write aws/roles/deploy-role \
credential_type=iam_user \
policy_document=@aws-deploy-policy.json \
ttl=1h \
max_ttl=4h
# Developers get temporary credentials valid for their session
vault read aws/creds/deploy-role
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_aws() {
    let moto = Moto::start().await;
    let mut cluster = Cluster::formed().await;
    let api = cluster.api(0);
    article(&cluster, &moto).await;
    users(&api, &moto).await;
    temporary(&api, &moto).await;
    refusals(&api, &moto).await;
    faults(&mut cluster, &moto).await;
    rotation(&cluster.api(0), &moto).await;
    cluster.assert_alive();
}

/// The article's commands by `vault` on PATH, and what comes of them.
async fn article(cluster: &Cluster, moto: &Moto) {
    let bin = cluster.files().join("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    symlink(conclave(), bin.join("vault")).expect("a link");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let script = cluster.files().join("article.sh");
    std::fs::write(&script, ARTICLE).expect("a script");
    let told = Tool::program(cluster, 1, "bash", &script.display().to_string())
        .variable("PATH", &path)
        .variable("MAKER", &moto.maker.id)
        .variable("MAKER_SECRET", &moto.maker.secret)
        .variable("ENDPOINT", &moto.endpoint)
        .must(&[])
        .await;
    let field = |name: &str| {
        let line = told.lines().find(|line| line.starts_with(&format!("{name} ")));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        value.unwrap_or_else(|| panic!("no {name}: {told}")).to_owned()
    };
    assert!(
        told.starts_with("Success! Data written to: aws/roles/deploy-role"),
        "{told}"
    );
    // Ends are spread a little.
    let lives = field("lease_duration");
    assert!(lives == "1h" || lives.starts_with("59m"), "{told}");
    assert_eq!(field("lease_renewable"), "true", "{told}");
    let key = Key {
        id: field("access_key"),
        secret: field("secret_key"),
        token: String::new(),
    };
    // What the policy allows and nothing else.
    assert_eq!(moto.ask(&key, &["list_users"]), true);
    assert_eq!(moto.ask(&key, &["list_groups"])["error"], "AccessDenied");

    let (api, id) = (cluster.api(0), field("lease_id"));
    let wish = json!({"lease_id": id, "increment": "9h"});
    let renewed = api.call("PUT", "sys/leases/renew", Some(wish)).await;
    let renewed = renewed.expect("an answer").body;
    let lives = renewed["lease_duration"].as_u64().expect("a life");
    assert!((4 * 3600 - 300..=4 * 3600).contains(&lives), "{renewed}");
    api.must("PUT", "sys/leases/revoke", json!({"lease_id": id, "sync": true}))
        .await;
    eventually("the user is gone", SOON, async || match moto.users(&moto.maker) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    })
    .await;
    assert_eq!(moto.ask(&key, &["list_users"])["error"], "InvalidClientTokenId");
}

/// A user with everything that a role may give it, and then some; it goes all the same. moto forgets the boundary.
async fn users(api: &Api, moto: &Moto) {
    let role = json!({
        "credential_type": "iam_user", "policy_arns": moto.policy, "iam_groups": "readers",
        "permissions_boundary_arn": moto.policy, "user_path": "/made/here/",
        "iam_tags": ["team=a & b", "who=caf\u{e9}"],
        "policy_document": r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}"#,
    });
    api.must("POST", "aws/roles/full", role).await;
    api.must(
        "POST",
        "aws/config/lease",
        json!({"lease": "30m", "lease_max": "1h"}),
    )
    .await;
    let issued = api.get("aws/creds/full").await.body;
    lives(&issued, 1800);
    assert_eq!(issued["data"]["security_token"], Value::Null, "{issued}");
    let users = moto.users(&moto.maker);
    let [user] = &users[..] else {
        panic!("one user: {users:?}")
    };
    assert!(user.starts_with("vault-root-full-"), "{user}");
    let mut found = moto.ask(&moto.maker, &["describe", user]);
    let tags = found["tags"].as_object_mut().expect("tags");
    assert!(tags.remove("conclave-mount").is_some(), "its maker's mark");
    assert_eq!(
        found,
        json!({
            "path": "/made/here/", "groups": ["readers"],
            "tags": {"team": "a & b", "who": "caf\u{e9}"}, "attached": [moto.policy],
            "inline": {"full": {
                "Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}],
            }},
            "keys": [issued["data"]["access_key"]],
        })
    );
    moto.ask(&moto.maker, &["adorn", user]);
    moto.ask(&moto.maker, &["intrude", user]);
    // The role is gone, its users are not forgotten.
    api.call("DELETE", "aws/roles/full", None)
        .await
        .expect("an answer");
    api.must("PUT", "sys/leases/revoke-prefix/aws/creds/full", json!({}))
        .await;
    nobody(api, moto).await;
}

/// What STS hands out: it works, cannot be renewed, and its lease says how long it lives.
async fn temporary(api: &Api, moto: &Moto) {
    for (name, role, who) in [
        (
            "assume",
            json!({"credential_type": "assumed_role", "role_arns": moto.role, "default_sts_ttl": "20m",
                   "session_tags": {"team": "a"}, "external_id": "xx"}),
            "assumed-role/deployer/",
        ),
        (
            "federate",
            json!({"credential_type": "federation_token", "policy_arns": moto.policy, "max_sts_ttl": "15m"}),
            "",
        ),
        ("session", json!({"credential_type": "session_token"}), ""),
        // As it was written before there were types.
        ("old", json!({"arn": moto.role}), "assumed-role/deployer/"),
    ] {
        api.must("POST", &format!("aws/roles/{name}"), role).await;
        let issued = api.get(&format!("aws/sts/{name}")).await.body;
        let seconds = match name {
            "assume" => 1200,
            "federate" => 900,
            _ => 3600,
        };
        lives(&issued, seconds);
        assert_eq!(issued["renewable"], false, "{name}: {issued}");
        let key = Key::of(&issued["data"]);
        assert!(!key.token.is_empty(), "{issued}");
        if !who.is_empty() {
            let told = moto.ask(&key, &["whoami"]);
            assert!(
                told.as_str().is_some_and(|arn| arn.contains(who)),
                "{name}: {told}"
            );
            let arn = issued["data"]["arn"].as_str().unwrap_or_default();
            assert!(arn.contains(who), "{issued}");
        }
        api.must(
            "PUT",
            "sys/leases/revoke",
            json!({"lease_id": issued["lease_id"]}),
        )
        .await;
    }
    nobody(api, moto).await;
}

/// What cannot be is refused in words, and leaves nothing.
async fn refusals(api: &Api, moto: &Moto) {
    let write = async |path: &str, body: Value| {
        let reply = api.call("POST", path, Some(body)).await.expect("an answer");
        (reply.status, reply.text())
    };
    for (body, says) in [
        (json!({}), "did not supply credential_type"),
        (
            json!({"credential_type": "nosuch"}),
            "unrecognized credential type",
        ),
        (
            json!({"credential_type": "iam_user", "policy_document": "{"}),
            "cannot parse policy document",
        ),
        (
            json!({"credential_type": "iam_user", "role_arns": "arn:aws:iam::1:role/x"}),
            "role_arns",
        ),
        (
            json!({"credential_type": "iam_user", "user_path": "made"}),
            "user_path",
        ),
        (
            json!({"credential_type": "iam_user", "ttl": "2h", "max_ttl": "1h"}),
            "ttl exceeds max_ttl",
        ),
        (
            json!({"policy": "{}", "arn": "arn:x"}),
            "only one of policy or arn",
        ),
    ] {
        let (status, text) = write("aws/roles/wrong", body.clone()).await;
        assert!(status == 400 && text.contains(says), "{body}: {status} {text}");
    }
    assert_eq!(api.get("aws/creds/nosuch").await.status, 400);
    // IAM refuses after the user was made: it does not stay.
    let role = json!({"credential_type": "iam_user", "iam_groups": "nosuch"});
    api.must("POST", "aws/roles/refused", role).await;
    let refused = api.get("aws/creds/refused").await;
    assert!(
        refused.status == 500 && refused.text().contains("AddUserToGroup: NoSuchEntity"),
        "{}",
        refused.text()
    );
    nobody(api, moto).await;
}

/// Leaders die between the user and its lease, and between the end of a lease and that of its user.
async fn faults(cluster: &mut Cluster, moto: &Moto) {
    for point in ["after-create", "after-revoking"] {
        let (leader, asked) = loop {
            let leader = cluster.leader().await;
            let api = cluster.api(leader);
            let wish = match point {
                "after-create" => None,
                _ => Some(json!({"lease_id": api.get("aws/creds/deploy-role").await.body["lease_id"]})),
            };
            cluster.nodes[leader].arm(point);
            let asked = tokio::spawn(async move {
                match wish {
                    None => api.call("GET", "aws/creds/deploy-role", None).await,
                    revoke => api.call("PUT", "sys/leases/revoke", revoke).await,
                }
            });
            if stands(cluster, leader, point).await {
                break (leader, asked);
            }
            let _ = asked.await;
        };
        assert!(!moto.users(&moto.maker).is_empty(), "{point}");
        cluster.nodes[leader].kill();
        cluster.nodes[leader].pass(point);
        let _ = asked.await;
        cluster.leader().await;
        cluster.nodes[leader].start().await;
        cluster.give_shares(&[leader; 3]).await;
        cluster.all_unsealed(&cluster.running()).await;
        nobody(&cluster.api(leader), moto).await;
    }
    // AWS does not answer: the request fails in its time, and what it left is found when AWS is back.
    let api = cluster.api(0);
    moto.pause(true);
    let refused = api.call("GET", "aws/creds/deploy-role", None).await;
    moto.pause(false);
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 500, "{}", refused.text());
    nobody(&api, moto).await;
}

/// The key is replaced by one that nobody knows, and works at every moment.
async fn rotation(api: &Api, moto: &Moto) {
    // IAM has no place for a third key: nothing changes.
    let second = moto.ask(&moto.maker, &["intrude", "maker"]);
    let second = second.as_str().expect("a key");
    let refused = api.call("POST", "aws/config/rotate-root", Some(json!({}))).await;
    let refused = refused.expect("an answer");
    assert!(
        refused.status == 500 && refused.text().contains("LimitExceeded"),
        "{}",
        refused.text()
    );
    moto.ask(&moto.maker, &["expel", "maker", second]);

    let wrong = json!({
        "access_key": moto.maker.id, "secret_key": "wrong", "region": "us-east-1",
        "iam_endpoint": moto.endpoint, "sts_endpoint": moto.endpoint,
    });
    let root = api.get("aws/config/root").await.body["data"].clone();
    assert_eq!(root["access_key"], moto.maker.id, "{root}");
    assert!(root.get("secret_key").is_none(), "{root}");
    let rotated = api.must("POST", "aws/config/rotate-root", json!({})).await;
    let fresh = rotated["access_key"].as_str().expect("the new key").to_owned();
    assert_ne!(fresh, moto.maker.id);
    let again = api.call("POST", "aws/config/root", Some(wrong.clone())).await;
    let again = again.expect("an answer");
    assert!(
        again.status == 400 && again.text().contains("rotation"),
        "{}",
        again.text()
    );
    let mut issued = 0;
    eventually("the old key is gone", QUIET, async || {
        let made = api.get("aws/creds/deploy-role").await;
        assert!(made.is_good(), "every moment: {}", made.text());
        issued += 1;
        let told = api.get("aws/config/root").await.body["data"].clone();
        match told["access_key"] == fresh && told.get("rotation").is_none() {
            true => Ok(()),
            false => Err(told),
        }
    })
    .await;
    assert_eq!(
        moto.ask(&moto.maker, &["whoami"])["error"],
        "InvalidClientTokenId",
        "the old key"
    );
    assert!(issued > 0);
    api.must("PUT", "sys/leases/revoke-prefix/aws", json!({})).await;
    eventually("no lease is left", QUIET, async || match leases(api).await {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    })
    .await;

    // A wrong secret key is said to be one, and makes no lease.
    api.must("POST", "aws/config/root", wrong).await;
    let refused = api.get("aws/creds/deploy-role").await;
    assert!(
        refused.status == 500 && !refused.text().contains("Signature="),
        "{}",
        refused.text()
    );
    assert!(leases(api).await.is_empty());
}

/// About as long as this: ends are spread by up to 15 seconds, and some pass before it is told.
fn lives(issued: &Value, seconds: u64) {
    let told = issued["lease_duration"].as_u64().unwrap_or_default();
    assert!((seconds - 30..=seconds).contains(&told), "{issued}");
}

/// Waits until no user is left.
async fn nobody(api: &Api, moto: &Moto) {
    eventually("no user is left", QUIET, async || {
        match (moto.users(&moto.maker), leases(api).await) {
            (users, leases) if users.is_empty() && leases.is_empty() => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

async fn leases(api: &Api) -> Vec<Value> {
    let mut found = Vec::new();
    for role in ["deploy-role", "full", "refused"] {
        let path = format!("sys/leases/lookup/aws/creds/{role}");
        let listed = api.call("LIST", &path, None).await.expect("an answer");
        let keys = listed.body["data"]["keys"].as_array().cloned();
        found.extend(keys.unwrap_or_default());
    }
    found
}
