//! The SDK's calls for what has no service of its own: logins and their renewal, wrapping, transit, identity, and any path.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conclave_client::{
    Admission, AliasWishes, Conclave, EntityWishes, Error, GroupWishes, KeyWishes, Login, SecretText,
    SignedIn, Use, Verb,
};
use serde_json::{Map, json};
use tokio::sync::watch;
use tokio::time::timeout;
use totp_rs::{Builder, Secret};

use super::support::{PATIENCE, plain, sdk};

const MINUTE: Duration = Duration::from_secs(60);

async fn started() -> (conclave_server::dev::DevServer, Conclave) {
    let server = plain().await;
    let conclave = sdk([server.api_addr.clone()]);
    (server, conclave)
}

async fn enable(conclave: &Conclave, path: &str, kind: &str) {
    let written = conclave.logical().write(path, &json!({"type": kind})).await;
    written.unwrap();
}

async fn until(standing: &mut watch::Receiver<SignedIn>, wanted: impl Fn(&SignedIn) -> bool) -> SignedIn {
    let reached = timeout(PATIENCE, standing.wait_for(|told| wanted(told)));
    let reached = reached.await.expect("the session gets there").expect("it lives");
    reached.clone()
}

/// Lets a token become so old that a session asks for another when it is refused.
async fn grows_old() {
    // why: the session looks at time alone here.
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

/// A role whose tokens live briefly; its ids.
async fn role(conclave: &Conclave, settings: serde_json::Value) -> (String, String) {
    enable(conclave, "sys/auth/approle", "approle").await;
    let logical = conclave.logical();
    let rules = r#"path "secret/*" { capabilities = ["create", "update", "read"] }"#;
    conclave.policies().write("app", rules).await.unwrap();
    logical.write("auth/approle/role/app", &settings).await.unwrap();
    let role = logical.read("auth/approle/role/app/role-id").await.unwrap();
    let secret = logical
        .write("auth/approle/role/app/secret-id", &json!({}))
        .await
        .unwrap();
    let text = |data: &conclave_client::SecretData, name: &str| data.text(name).unwrap().to_owned();
    (text(&role.data, "role_id"), text(&secret.data, "secret_id"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_renews_its_token_and_logs_in_again_at_its_end() {
    let (server, conclave) = started().await;
    let brief = json!({"token_policies": "app", "token_ttl": "4s", "token_max_ttl": "6s"});
    let (role_id, secret_id) = role(&conclave, brief).await;
    let session = conclave
        .sign_in(Login::approle(role_id, secret_id))
        .await
        .unwrap();
    let mut standing = session.standing();
    let first = standing.borrow().clone();
    assert_eq!((first.logins, first.renewals, first.trouble), (1, 0, None));
    let kv = session.conclave().kv("secret");
    kv.put("a", &json!({"k": "v"})).await.unwrap();
    let renewed = until(&mut standing, |told| told.renewals > 0 || told.logins > 1).await;
    assert!(renewed.ends > first.ends);
    // The bound of six seconds cannot be renewed away.
    let again = until(&mut standing, |told| told.logins > 1).await;
    assert_ne!(again.accessor, first.accessor);
    kv.get("a").await.unwrap();
    session.sign_out().await.unwrap();
    assert_eq!(kv.get("a").await.err(), Some(Error::Unauthenticated));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_token_was_revoked_logs_in_again_for_the_call_that_finds_out() {
    let (server, conclave) = started().await;
    enable(&conclave, "sys/auth/people", "userpass").await;
    let rules = r#"path "secret/*" { capabilities = ["create", "update", "read"] }"#;
    conclave.policies().write("app", rules).await.unwrap();
    let user = json!({"password": "correct", "token_policies": "app", "token_ttl": "1h"});
    let logical = conclave.logical();
    logical.write("auth/people/users/ada", &user).await.unwrap();
    let wrong = Login::userpass("ada", "wrong").at("people");
    let refused = conclave.sign_in(wrong).await.err();
    assert!(matches!(refused, Some(Error::Invalid(_))), "{refused:?}");
    let right = Login::userpass("ada", "correct").at("/people/");
    let session = conclave.sign_in(right).await.unwrap();
    let mut standing = session.standing();
    let accessor = standing.borrow().accessor.clone();
    let by = conclave_client::v1::token_ref::By::Accessor(accessor);
    grows_old().await;
    conclave.tokens().revoke(Some(by)).await.unwrap();
    let kv = session.conclave().kv("secret");
    let put = kv.put_cas("a", &json!({"k": "v"}), 0).await.unwrap();
    assert_eq!(put.number, 1, "done once, by the second token");
    assert_eq!(until(&mut standing, |told| told.logins == 2).await.trouble, None);
    // A password that changed meanwhile is told, and no call hangs for it.
    let other = json!({"password": "another"});
    logical.write("auth/people/users/ada", &other).await.unwrap();
    let by = conclave_client::v1::token_ref::By::Accessor(standing.borrow().accessor.clone());
    grows_old().await;
    conclave.tokens().revoke(Some(by)).await.unwrap();
    let hasty = session.conclave().kv("secret");
    let refused = hasty.get("a").await.err();
    assert_eq!(refused, Some(Error::Unauthenticated));
    let told = until(&mut standing, |told| told.trouble.is_some()).await;
    assert!(matches!(told.trouble, Some(Error::Invalid(_))), "{told:?}");
    server.server.stop().await;
}

/// The code of now of a device that was told `url`.
fn code(url: &str) -> SecretText {
    #[allow(clippy::disallowed_methods, reason = "a device has a clock of its own")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (_, secret) = url.split_once("secret=").unwrap();
    let (secret, _) = secret.split_once('&').unwrap_or((secret, ""));
    let totp = Builder::new().with_secret(Secret::try_from_base32(secret).unwrap());
    SecretText::new(totp.build().unwrap().generate(now.as_secs()).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_wants_a_second_factor_waits_until_one_is_shown() {
    let (server, conclave) = started().await;
    enable(&conclave, "sys/auth/people", "userpass").await;
    let logical = conclave.logical();
    let user = json!({"password": "correct"});
    logical.write("auth/people/users/ada", &user).await.unwrap();
    let login = Login::userpass("ada", "correct").at("people");
    let stranger = Conclave::connect([server.api_addr.clone()]).build().unwrap();
    let Ok(Admission::Token(token)) = stranger.begin_login(&login).await else {
        panic!("nothing is wanted yet");
    };
    assert!(!token.token.expose().is_empty());
    let entity = logical.list("identity/entity/id").await.unwrap().remove(0);
    let phone = json!({"issuer": "conclave", "method_name": "phone"});
    let made = logical.write("identity/mfa/method/totp", &phone).await.unwrap();
    let method = made.data.text("method_id").unwrap();
    let enrol = json!({"method_id": method, "entity_id": entity});
    let device = logical.write("identity/mfa/method/totp/admin-generate", &enrol);
    let device = device.await.unwrap();
    let people = json!({"mfa_method_ids": method, "auth_method_types": "userpass"});
    let enforced = logical.write("identity/mfa/login-enforcement/people", &people);
    enforced.await.unwrap();

    let refused = stranger.login(&login).await.err();
    assert!(
        matches!(&refused, Some(Error::Unsupported(text)) if text.contains("begin_login")),
        "{refused:?}"
    );
    let Ok(Admission::Waits(waits)) = stranger.begin_login(&login).await else {
        panic!("a second factor is wanted");
    };
    assert_eq!(waits.demands.len(), 1);
    let any = &waits.demands[0].any;
    assert_eq!(
        (any.len(), any[0].id.as_str(), any[0].name.as_str()),
        (1, method, "phone")
    );
    let wrong = SecretText::new("no code".to_owned());
    for (shown, expected) in [(vec![("phone", &wrong)], Error::Denied), (vec![], Error::Denied)] {
        assert_eq!(stranger.validate(&waits, shown).await.err(), Some(expected));
    }
    let right = code(device.data.text("url").unwrap());
    let token = stranger.validate(&waits, [(method, &right)]).await.unwrap();
    let made_there = "auth/people/login/ada";
    assert_eq!(conclave.leases().list("auth/people/").await.unwrap(), ["login/"]);
    assert_eq!(conclave.leases().list(made_there).await.unwrap().len(), 2);
    assert_eq!(conclave.leases().list("").await.unwrap(), ["auth/"]);
    let none = conclave.leases().list("database/creds").await.err();
    assert!(matches!(none, Some(Error::NotFound(_))), "{none:?}");
    let ada = conclave.with_token(token.token.expose()).unwrap();
    assert_eq!(
        ada.tokens().lookup(None).await.unwrap().display_name,
        "people-ada"
    );
    // It waits no more, and the code is no good for another.
    let again = stranger.validate(&waits, [(method, &right)]).await.err();
    assert!(matches!(again, Some(Error::Invalid(_))), "{again:?}");
    let Ok(Admission::Waits(waits)) = stranger.begin_login(&login).await else {
        panic!("a second factor is wanted");
    };
    let taken = stranger.validate(&waits, [(method, &right)]).await.err();
    assert_eq!(taken, Some(Error::Denied));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_travel_wrapped_and_come_out_once() {
    let (server, conclave) = started().await;
    let wrapping = conclave.wrapping();
    let wrapped = wrapping.wrap(&json!({"k": "v"}), MINUTE).await.unwrap();
    assert_eq!(
        (wrapped.ttl, wrapped.origin.creation_path.as_str()),
        (MINUTE, "sys/wrapping/wrap")
    );
    let token = wrapped.token.expose();
    let origin = wrapping.lookup(token).await.unwrap();
    assert_eq!(origin, wrapped.origin);
    let anew = wrapping.rewrap(token).await.unwrap();
    assert!(matches!(
        wrapping.unwrap(token).await.err(),
        Some(Error::Invalid(_))
    ));
    // Whoever shows the token needs no other.
    let stranger = Conclave::connect([server.api_addr.clone()])
        .build()
        .unwrap()
        .wrapping();
    let out = stranger.unwrap(anew.token.expose()).await.unwrap();
    assert_eq!(out.data.text("k"), Some("v"));
    assert!(stranger.unwrap(anew.token.expose()).await.is_err());
    // Any answer: what was read, and a token that was made.
    conclave.kv("secret").put("a", &json!({"p": "q"})).await.unwrap();
    let read = wrapping
        .answer(Verb::Read, "secret/data/a", &json!({"version": 1}), MINUTE)
        .await
        .unwrap();
    let out = stranger.unwrap(read.token.expose()).await.unwrap();
    assert_eq!(out.data.value("data"), Some(&json!({"p": "q"})));
    let made = wrapping
        .answer(Verb::Write, "auth/token/create", &json!({"ttl": "1m"}), MINUTE)
        .await
        .unwrap();
    assert!(!made.wrapped_accessor.is_empty());
    let inside = stranger.unwrap(made.token.expose()).await.unwrap();
    assert_eq!(inside.token.unwrap().accessor, made.wrapped_accessor);
    let none = wrapping
        .answer(Verb::Delete, "secret/metadata/a", &Map::new(), MINUTE)
        .await;
    assert!(matches!(none.err(), Some(Error::Unsupported(_))));
    let brief = wrapping.wrap(&json!({}), Duration::from_millis(1)).await.err();
    assert!(matches!(brief, Some(Error::Config(_))), "{brief:?}");
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transit_takes_and_gives_bytes() {
    let (server, conclave) = started().await;
    enable(&conclave, "sys/mounts/keys", "transit").await;
    let transit = conclave.transit("keys");
    assert_eq!(transit.keys().await.unwrap(), Vec::<String>::new());
    let none = Use::default();
    for (name, kind) in [("crypt", ""), ("sign", "ed25519")] {
        let wishes = KeyWishes {
            kind: kind.to_owned(),
            ..KeyWishes::default()
        };
        transit.create_key(name, &wishes).await.unwrap();
    }
    assert_eq!(transit.keys().await.unwrap(), ["crypt", "sign"]);
    let secret = [0, 255, b'"', 10];
    let bound = Use {
        associated_data: Some(b"row 7"),
        ..none
    };
    let sealed = transit.encrypt("crypt", &secret, bound).await.unwrap();
    assert!(sealed.starts_with("vault:v1:"));
    let opened = transit.decrypt("crypt", &sealed, bound).await.unwrap();
    assert_eq!(opened.expose(), secret);
    assert!(matches!(
        transit.decrypt("crypt", &sealed, none).await.err(),
        Some(Error::Invalid(_))
    ));
    transit.rotate_key("crypt").await.unwrap();
    let sealed = transit.encrypt("crypt", &secret, none).await.unwrap();
    let old = Use {
        key_version: 1,
        ..none
    };
    let older = transit.encrypt("crypt", &secret, old).await.unwrap();
    assert!(sealed.starts_with("vault:v2:") && older.starts_with("vault:v1:"));
    let anew = transit.rewrap("crypt", &older, none).await.unwrap();
    assert!(anew.starts_with("vault:v2:"));
    assert_eq!(
        transit.decrypt("crypt", &anew, none).await.unwrap().expose(),
        secret
    );
    let data_key = transit.data_key("crypt", 256, true, none).await.unwrap();
    let again = transit
        .decrypt("crypt", &data_key.ciphertext, none)
        .await
        .unwrap();
    assert_eq!(
        (again.expose(), again.expose().len()),
        (data_key.plaintext.expose(), 32)
    );
    let hidden = transit.data_key("crypt", 128, false, none).await.unwrap();
    assert!(hidden.plaintext.expose().is_empty());
    let signature = transit.sign("sign", b"text", none).await.unwrap();
    assert!(transit.verify("sign", b"text", &signature, none).await.unwrap());
    assert!(!transit.verify("sign", b"other", &signature, none).await.unwrap());
    let hmac = transit.hmac("crypt", b"text", none).await.unwrap();
    assert!(transit.verify_hmac("crypt", b"text", &hmac, none).await.unwrap());
    assert!(!transit.verify_hmac("crypt", b"other", &hmac, none).await.unwrap());
    let known = transit.key("crypt").await.unwrap();
    assert_eq!((known.latest_version, known.supports_encryption), (2, true));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transit_keys_are_deleted_if_that_is_allowed() {
    let (server, conclave) = started().await;
    enable(&conclave, "sys/mounts/keys", "transit").await;
    let transit = conclave.transit("keys");
    transit.create_key("crypt", &KeyWishes::default()).await.unwrap();
    assert!(matches!(
        transit.delete_key("crypt").await.err(),
        Some(Error::Invalid(_))
    ));
    let allowed = json!({"deletion_allowed": true});
    transit.configure_key("crypt", &allowed).await.unwrap();
    transit.delete_key("crypt").await.unwrap();
    assert!(matches!(
        transit.key("crypt").await.err(),
        Some(Error::NotFound(_))
    ));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_are_typed() {
    let (server, conclave) = started().await;
    enable(&conclave, "sys/auth/userpass", "userpass").await;
    let mounts = conclave.logical().read("sys/auth").await.unwrap();
    let accessor = mounts.data.value("userpass/").unwrap()["accessor"].clone();
    let accessor = accessor.as_str().unwrap().to_owned();
    let identity = conclave.identity();
    assert_eq!(identity.entities().await.unwrap(), Vec::<String>::new());
    let ada = EntityWishes {
        name: Some("ada".to_owned()),
        policies: Some(vec!["app".to_owned()]),
        metadata: Some(BTreeMap::from([("team".to_owned(), "red".to_owned())])),
        ..EntityWishes::default()
    };
    let ada = identity.put_entity(&ada).await.unwrap().unwrap();
    let bob = EntityWishes {
        name: Some("bob".to_owned()),
        ..EntityWishes::default()
    };
    let bob = identity.put_entity(&bob).await.unwrap().unwrap();
    let alias = AliasWishes {
        name: Some("ada.l".to_owned()),
        mount_accessor: Some(accessor.clone()),
        canonical_id: Some(ada.clone()),
        ..AliasWishes::default()
    };
    let alias = identity.put_alias(&alias).await.unwrap().unwrap();
    let behind = identity.entity_behind("ada.l", &accessor).await.unwrap().unwrap();
    assert_eq!((behind.id.as_str(), behind.aliases.len()), (ada.as_str(), 1));
    assert_eq!(identity.entity_behind("nobody", &accessor).await.unwrap(), None);
    let crew = GroupWishes {
        name: Some("crew".to_owned()),
        member_entity_ids: Some(vec![ada.clone()]),
        ..GroupWishes::default()
    };
    let crew = identity.put_group(&crew).await.unwrap().unwrap();
    let known = identity.entity_named("ada").await.unwrap();
    assert_eq!(known, identity.entity(&ada).await.unwrap());
    assert_eq!((known.metadata["team"].as_str(), known.disabled), ("red", false));
    assert_eq!(known.group_ids, std::slice::from_ref(&crew));
    assert_eq!(identity.alias(&alias).await.unwrap().canonical_id, ada);
    identity
        .merge_entities(&bob, std::slice::from_ref(&ada))
        .await
        .unwrap();
    assert!(matches!(
        identity.entity(&ada).await.err(),
        Some(Error::NotFound(_))
    ));
    let group = identity.group_named("crew").await.unwrap();
    assert_eq!(group, identity.group(&crew).await.unwrap());
    assert_eq!(
        (group.kind.as_str(), group.member_entity_ids),
        ("internal", vec![bob.clone()])
    );
    assert_eq!(identity.entities().await.unwrap(), ["bob"]);
    assert_eq!(identity.groups().await.unwrap(), ["crew"]);
    identity.delete_alias(&alias).await.unwrap();
    identity.delete_group(&crew).await.unwrap();
    identity.delete_entity(&bob).await.unwrap();
    assert!(matches!(
        identity.entity(&bob).await.err(),
        Some(Error::NotFound(_))
    ));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_and_parameter_reaches_any_path_within_a_namespace() {
    let (server, conclave) = started().await;
    conclave
        .logical()
        .write("sys/namespaces/team", &json!({}))
        .await
        .unwrap();
    let team = conclave.with_namespace("team").unwrap();
    let mount = json!({"type": "kv", "options": {"version": "2"}});
    team.logical().write("sys/mounts/kv", &mount).await.unwrap();
    enable(&team, "sys/mounts/keys", "transit").await;
    enable(&team, "sys/auth/approle", "approle").await;
    for path in ["a", "b/c", "b/d"] {
        team.kv("kv").put(path, &json!({"n": 1})).await.unwrap();
    }
    let logical = team.logical();
    logical
        .patch("kv/data/a", &json!({"data": {"n": 2}}))
        .await
        .unwrap();
    let old = logical
        .call(Verb::Read, "kv/data/a", &json!({"version": 1}))
        .await
        .unwrap();
    assert_eq!(old.data.value("data"), Some(&json!({"n": 1})));
    let scanned = logical
        .call(Verb::Scan, "kv/metadata", &Map::new())
        .await
        .unwrap();
    assert_eq!(scanned.data.value("keys"), Some(&json!(["a", "b/c", "b/d"])));
    let page = json!({"after": "a", "limit": 1});
    let listed = logical.call(Verb::List, "kv/metadata", &page).await.unwrap();
    assert_eq!(listed.data.value("keys"), Some(&json!(["b/"])));
    let document = conclave
        .logical()
        .read("sys/internal/specs/openapi")
        .await
        .unwrap();
    let document = document.raw.unwrap();
    assert!(document.content_type.starts_with("application/json"));
    assert!(document.bytes.expose().starts_with(b"{"));
    // The other services stay within the namespace too.
    team.transit("keys")
        .create_key("k", &KeyWishes::default())
        .await
        .unwrap();
    assert!(conclave.transit("keys").key("k").await.is_err());
    let name = Some("ada".to_owned());
    let ada = EntityWishes {
        name,
        ..EntityWishes::default()
    };
    team.identity().put_entity(&ada).await.unwrap();
    assert_eq!(
        conclave.identity().entities().await.unwrap(),
        Vec::<String>::new()
    );
    let wrapped = team.wrapping().wrap(&json!({"k": "v"}), MINUTE).await.unwrap();
    let out = team.wrapping().unwrap(wrapped.token.expose()).await.unwrap();
    assert_eq!(out.data.text("k"), Some("v"));
    let here = json!({"bind_secret_id": false, "token_bound_cidrs": "127.0.0.1/32", "secret_id_bound_cidrs": "127.0.0.1/32"});
    logical.write("auth/approle/role/app", &here).await.unwrap();
    let id = logical.read("auth/approle/role/app/role-id").await.unwrap();
    let login = Login::approle(id.data.text("role_id").unwrap(), "");
    let session = team.sign_in(login.clone()).await.unwrap();
    let own = session.conclave().tokens().lookup(None).await.unwrap();
    assert_eq!(own.path, "auth/approle/login");
    assert!(conclave.sign_in(login).await.is_err());
    server.server.stop().await;
}
