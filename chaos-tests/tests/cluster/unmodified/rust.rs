//! vaultrs does an application's ordinary job: keys and values, policies, logins by role and by password, tokens, wrapping,
//! transit. It retries nothing, so every call must be answered the first time.

use std::collections::HashMap;

use vaultrs::api::kv2::requests::{ReadSecretRequest, SetSecretRequestOptions};
use vaultrs::api::{ResponseWrapper, auth, token};
use vaultrs::auth::{approle, userpass};
use vaultrs::client::{Client, VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;
use vaultrs::{kv2, sys, transit};

use crate::harness::Cluster;

/// base64 of `the text`.
const TEXT: &str = "dGhlIHRleHQ=";

fn client(cluster: &Cluster, at: usize, token: &str) -> VaultClient {
    // It may be installed already: all of this process use the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = VaultClientSettingsBuilder::default()
        .address(&cluster.nodes[at].url)
        .ca_certs(vec![cluster.ca().display().to_string()])
        .token(token)
        .build()
        .expect("settings");
    VaultClient::new(settings).expect("a client")
}

fn is_refused<T>(answered: Result<T, ClientError>, with: u16) -> bool {
    matches!(answered, Err(ClientError::APIError { code, .. }) if code == with)
}

/// All of it, through one node.
pub async fn job(cluster: &Cluster, at: usize) -> Result<(), ClientError> {
    let root = client(cluster, at, &cluster.root);
    keys_and_values(&root).await?;
    sys::policy::set(
        &root,
        "rust",
        r#"path "secret/data/rust/*" { capabilities = ["read"] }"#,
    )
    .await?;
    assert!(
        sys::policy::list(&root)
            .await?
            .policies
            .contains(&"rust".to_owned())
    );
    logins(cluster, at, &root).await?;
    wrapping(&root).await?;
    encryption(&root).await?;
    kv2::delete_metadata(&root, "secret", "rust/one").await
}

async fn keys_and_values(root: &VaultClient) -> Result<(), ClientError> {
    let value = |text: &str| HashMap::from([("a".to_owned(), text.to_owned())]);
    kv2::delete_metadata(root, "secret", "rust/one").await?;
    let (one, other) = (value("1"), value("x"));
    let first = kv2::set_with_options(
        root,
        "secret",
        "rust/one",
        &one,
        SetSecretRequestOptions { cas: 0 },
    );
    assert_eq!(first.await?.version, 1);
    let again = kv2::set_with_options(
        root,
        "secret",
        "rust/one",
        &other,
        SetSecretRequestOptions { cas: 0 },
    );
    assert!(is_refused(again.await, 400), "a wrong cas was taken");
    kv2::set(root, "secret", "rust/one", &value("2")).await?;
    let read: HashMap<String, String> = kv2::read(root, "secret", "rust/one").await?;
    assert_eq!(read, value("2"));
    let old: HashMap<String, String> = kv2::read_version(root, "secret", "rust/one", 1).await?;
    assert_eq!(old, value("1"));
    assert_eq!(kv2::list(root, "secret", "rust").await?, ["one"]);
    kv2::delete_latest(root, "secret", "rust/one").await?;
    let gone = kv2::read::<HashMap<String, String>>(root, "secret", "rust/one").await;
    // The answer tells of the version beside its 404; vaultrs takes that for no error of the API's.
    assert!(gone.is_err(), "a deleted version was read");
    kv2::undelete_versions(root, "secret", "rust/one", vec![2]).await?;
    let metadata = kv2::read_metadata(root, "secret", "rust/one").await?;
    assert_eq!((metadata.current_version, metadata.versions.len()), (2, 2));
    Ok(())
}

async fn logins(cluster: &Cluster, at: usize, root: &VaultClient) -> Result<(), ClientError> {
    let mounts = sys::auth::list(root).await?;
    for (path, kind) in [("rust-role", "approle"), ("rust-people", "userpass")] {
        if !mounts.contains_key(&format!("{path}/")) {
            sys::auth::enable(root, path, kind, None).await?;
        }
    }
    let mut role = auth::approle::requests::SetAppRoleRequest::builder();
    role.token_policies(vec!["rust".to_owned()]).token_ttl("10m");
    approle::role::set(root, "rust-role", "app", Some(&mut role)).await?;
    let id = approle::role::read_id(root, "rust-role", "app").await?.role_id;
    let secret = approle::role::secret::generate(root, "rust-role", "app", None).await?;
    let app = approle::login(root, "rust-role", &id, &secret.secret_id).await?;
    used(client(cluster, at, &app.client_token)).await?;
    let mut user = auth::userpass::requests::CreateUserRequest::builder();
    user.token_policies(vec!["rust".to_owned()]);
    userpass::user::set(root, "rust-people", "ada", "correct", Some(&mut user)).await?;
    assert!(is_refused(
        userpass::login(root, "rust-people", "ada", "wrong").await,
        400
    ));
    let ada = userpass::login(root, "rust-people", "ada", "correct").await?;
    used(client(cluster, at, &ada.client_token)).await?;
    let mut child = token::requests::CreateTokenRequest::builder();
    child.policies(vec!["rust".to_owned()]).ttl("10m");
    let child = vaultrs::token::new(root, Some(&mut child)).await?;
    used(client(cluster, at, &child.client_token)).await
}

/// A token may what its policy says, is renewed, and ends.
async fn used(app: VaultClient) -> Result<(), ClientError> {
    let read: HashMap<String, String> = kv2::read(&app, "secret", "rust/one").await?;
    assert_eq!(read["a"], "2");
    let written = kv2::set(&app, "secret", "rust/one", &read).await;
    assert!(is_refused(written, 403), "a write was allowed");
    assert!(app.lookup().await?.policies.contains(&"rust".to_owned()));
    app.renew(Some("15m")).await?;
    app.revoke().await?;
    assert!(is_refused(app.lookup().await, 403), "a revoked token was found");
    Ok(())
}

async fn wrapping(root: &VaultClient) -> Result<(), ClientError> {
    let read = ReadSecretRequest::builder()
        .mount("secret")
        .path("rust/one")
        .build()
        .expect("a request");
    let wrapped = read.wrap(root).await?;
    assert_eq!(wrapped.lookup(root).await?.creation_path, "secret/data/rust/one");
    assert_eq!(wrapped.unwrap(root).await?.data["a"], "2");
    let again = wrapped.unwrap(root).await;
    assert!(
        matches!(again, Err(ClientError::APIError { code: 400, .. })),
        "unwrapped twice"
    );
    Ok(())
}

async fn encryption(root: &VaultClient) -> Result<(), ClientError> {
    if !sys::mount::list(root).await?.contains_key("rust-keys/") {
        sys::mount::enable(root, "rust-keys", "transit", None).await?;
    }
    transit::key::create(root, "rust-keys", "app", None).await?;
    let sealed = transit::data::encrypt(root, "rust-keys", "app", TEXT, None).await?;
    let opened = transit::data::decrypt(root, "rust-keys", "app", &sealed.ciphertext, None).await?;
    assert_eq!(opened.plaintext, TEXT);
    Ok(())
}
