//! The SDK's typed calls and errors, over TLS.

use std::time::{Duration, Instant};

use conclave_client::{Conclave, Error, v1};
use serde_json::json;
use v1::token_ref::By;

use super::support::{PATIENCE, ROOT, tls};

fn builder(server: &conclave_server::dev::DevServer) -> conclave_client::Builder {
    let ca = std::fs::read(server.ca_cert.as_ref().unwrap()).unwrap();
    Conclave::connect([server.api_addr.clone()])
        .ca_cert(ca)
        .token(ROOT)
}

fn connect(server: &conclave_server::dev::DevServer) -> Conclave {
    builder(server).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_typed_and_failures_say_what_to_do() {
    let server = tls().await;
    let conclave = connect(&server);
    let kv = conclave.kv("secret");
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Login {
        user: String,
        port: u16,
    }
    let login = Login {
        user: "me".to_owned(),
        port: 5432,
    };
    assert_eq!(kv.put_cas("db", &login, 0).await.unwrap().number, 1);
    let got = kv.get("db").await.unwrap();
    assert_eq!((got.data.text("user"), got.version.number), (Some("me"), 1));
    assert_eq!(got.data.decode::<Login>().unwrap(), login);
    kv.patch("db", &json!({"port": 1}), Some(1)).await.unwrap();
    assert_eq!(
        kv.get_version("db", 1)
            .await
            .unwrap()
            .data
            .decode::<Login>()
            .unwrap(),
        login
    );
    assert_eq!(kv.list("").await.unwrap(), ["db"]);
    assert_eq!(kv.list("none").await.unwrap(), Vec::<String>::new());

    assert_eq!(kv.put_cas("db", &login, 1).await.err(), Some(Error::CasMismatch));
    assert!(matches!(kv.get("none").await.err(), Some(Error::NotFound(_))));
    assert!(matches!(kv.put("db", &[1]).await.err(), Some(Error::Config(_))));
    assert!(matches!(
        kv.put("db", &json!({"x": "y".repeat(2 << 20)})).await.err(),
        Some(Error::TooLarge(_))
    ));
    let stranger = conclave.with_token("s.wrong").unwrap();
    assert_eq!(
        stranger.kv("secret").get("db").await.err(),
        Some(Error::Unauthenticated)
    );
    kv.delete("db", &[]).await.unwrap();
    assert_eq!(
        kv.get("db").await.err(),
        Some(Error::NotFound("version 2 is deleted".to_owned()))
    );
    kv.undelete("db", &[2]).await.unwrap();
    kv.destroy("db", &[1]).await.unwrap();
    kv.delete_metadata("db").await.unwrap();
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_policies_and_mounts_are_managed() {
    let server = tls().await;
    let conclave = connect(&server);
    let rules = r#"path "kv1/*" { capabilities = ["create", "update", "read", "list"] }"#;
    conclave.policies().write("app", rules).await.unwrap();
    assert_eq!(conclave.policies().read("app").await.unwrap(), rules);
    let mount = v1::EnableMountRequest {
        path: "kv1".to_owned(),
        r#type: "kv".to_owned(),
        ..Default::default()
    };
    conclave.sys().enable_mount(mount).await.unwrap();
    assert_eq!(conclave.sys().mounts().await.unwrap()["kv1/"].r#type, "kv");
    let wishes = v1::TokenCreateRequest {
        policies: vec!["app".to_owned()],
        ttl_seconds: 60,
        ..Default::default()
    };
    let token = conclave.tokens().create(wishes).await.unwrap();
    assert_eq!((token.ttl, token.renewable), (Duration::from_secs(60), true));
    let app = conclave.with_token(token.token.expose()).unwrap();
    app.logical().write("kv1/a", &json!({"k": "v"})).await.unwrap();
    assert_eq!(
        app.logical().read("kv1/a").await.unwrap().data.text("k"),
        Some("v")
    );
    assert_eq!(app.logical().list("kv1").await.unwrap(), ["a"]);
    assert_eq!(app.sys().mounts().await.err(), Some(Error::Denied));
    let known = app.tokens().lookup(None).await.unwrap();
    assert_eq!(
        (known.accessor.as_str(), known.id.as_str()),
        (token.accessor.as_str(), "")
    );
    app.tokens().renew(None, Duration::from_secs(30)).await.unwrap();
    conclave
        .tokens()
        .revoke(Some(By::Accessor(token.accessor)))
        .await
        .unwrap();
    assert_eq!(
        app.tokens().lookup(None).await.err(),
        Some(Error::Unauthenticated)
    );
    conclave.policies().delete("app").await.unwrap();
    conclave.sys().disable_mount("kv1").await.unwrap();
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_cluster_is_said_to_be_so_at_once() {
    let server = tls().await;
    let conclave = builder(&server).deadline(PATIENCE).build().unwrap();
    conclave.kv("secret").put("a", &json!({})).await.unwrap();
    conclave.sys().seal().await.unwrap();
    let started = Instant::now();
    assert_eq!(conclave.kv("secret").get("a").await.err(), Some(Error::Sealed));
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    assert!(conclave.sys().health().await.unwrap().sealed);
    let status = conclave.sys().unseal(&server.unseal_key).await.unwrap();
    assert!(!status.sealed);
    conclave.kv("secret").get("a").await.unwrap();
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_authority_is_not_trusted() {
    let server = tls().await;
    let ca = std::fs::read(server.ca_cert.as_ref().unwrap()).unwrap();
    let brief = |builder: conclave_client::Builder| {
        let conclave = builder
            .token(ROOT)
            .deadline(Duration::from_secs(2))
            .build()
            .unwrap();
        async move { conclave.kv("secret").get("a").await.err() }
    };
    // Without the server's authority, and with it under another name.
    let strange = brief(Conclave::connect([server.api_addr.clone()]));
    let misnamed = brief(
        Conclave::connect([server.api_addr.clone()])
            .ca_cert(ca)
            .server_name("other.test"),
    );
    let (strange, misnamed) = tokio::join!(strange, misnamed);
    for refused in [strange, misnamed] {
        let Some(Error::Unavailable(text)) = refused else {
            panic!("{refused:?}")
        };
        assert!(text.contains("TLS"), "{text}");
    }
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_one_namespace_at_a_time() {
    let server = tls().await;
    let conclave = connect(&server);
    let logical = conclave.logical();
    logical.write("sys/namespaces/team", &json!({})).await.unwrap();
    let team = conclave.with_namespace("team").unwrap();
    let mount = json!({"type": "kv", "options": {"version": "2"}});
    team.logical().write("sys/mounts/secret", &mount).await.unwrap();
    team.kv("secret")
        .put("a", &json!({"whose": "team"}))
        .await
        .unwrap();
    let got = team.kv("secret").get("a").await.unwrap();
    assert_eq!(got.data.text("whose"), Some("team"));
    let missing = conclave.kv("secret").get("a").await.err();
    assert!(matches!(missing, Some(Error::NotFound(_))), "{missing:?}");
    let ca = std::fs::read(server.ca_cert.as_ref().unwrap()).unwrap();
    let built = Conclave::connect([server.api_addr.clone()])
        .ca_cert(ca)
        .token(ROOT)
        .namespace("team")
        .build()
        .unwrap();
    let got = built.kv("secret").get("a").await.unwrap();
    assert_eq!(got.data.text("whose"), Some("team"));
}
