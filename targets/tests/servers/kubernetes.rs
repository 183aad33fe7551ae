//! Kubernetes: what its own lists say, what tokens may do, and that they are refused once their account is gone.

use std::time::Duration;

use conclave_engine_api::{Action, Done, Driver};
use serde_json::{Value, json};

use crate::harness::{SOON, eventually};
use crate::kubernetes_server::{Kubernetes, NAMESPACE};
use crate::pki::Authority;
use crate::{LONG, Scene, hidden, run};

const MARK: &str = "0123456789abcdef";
const RBAC: &str = "apis/rbac.authorization.k8s.io/v1";
const ACCOUNTS: &str = "api/v1/namespaces/demo/serviceaccounts";

fn reach(host: &str, token: &str) -> String {
    json!({"host": host, "token": token}).to_string()
}

fn scene(server: &Kubernetes, token: &str) -> Scene {
    let mut scene = Scene::new(Driver::Kubernetes, &reach(&server.host(), token));
    server.authority.pem().clone_into(&mut scene.target.tls.ca);
    scene
}

fn metadata(name: &str) -> Value {
    let labels = json!({
        "app.kubernetes.io/managed-by": "conclave", "conclave-mount": MARK, "conclave-namespace": NAMESPACE,
    });
    json!({"name": name, "labels": labels})
}

fn account(name: &str) -> String {
    format!("post {ACCOUNTS} {}", json!({"metadata": metadata(name)}))
}

/// The kind of a binding, where it is made, and what it binds to.
fn binding(name: &str, path: &str, role: (&str, &str)) -> String {
    let body = json!({
        "metadata": metadata(name),
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role.0, "name": role.1},
    });
    format!("post {path} {body}")
}

fn bound(name: &str) -> String {
    binding(
        name,
        &format!("{RBAC}/namespaces/demo/rolebindings"),
        ("Role", "watcher"),
    )
}

fn token(name: &str, seconds: u64) -> String {
    let body = json!({"spec": {"audiences": [], "expirationSeconds": seconds}});
    format!("post {ACCOUNTS}/{name}/token {body}")
}

/// Where the objects of an account are.
fn places(name: &str) -> [String; 5] {
    [
        format!("{ACCOUNTS}/{name}"),
        format!("{RBAC}/namespaces/demo/rolebindings/{name}"),
        format!("{RBAC}/clusterrolebindings/{name}"),
        format!("{RBAC}/namespaces/demo/roles/{name}"),
        format!("{RBAC}/clusterroles/{name}"),
    ]
}

async fn remove(scene: &Scene, name: &str, mark: &str) {
    let places = places(name).map(|place| format!("{place}{mark}"));
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    scene
        .drop_account(&format!("{NAMESPACE}/{name}"), &places, "")
        .await
        .unwrap();
}

async fn made(scene: &Scene, name: &str, statements: &[String]) -> String {
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let told = scene.make(name, &statements).await.unwrap();
    let [token] = &told[..] else {
        panic!("one token: {}", told.len())
    };
    token.clone()
}

async fn marked(scene: &Scene) -> Vec<String> {
    let action = Action::List {
        prefix: String::new(),
        mark: MARK.to_owned(),
    };
    scene.act(action, "conclave/1/1/list", LONG).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubernetes_accounts() {
    let mut server = Kubernetes::start().await;
    let maker = server.maker("maker", &["bind", "escalate"]);
    let scene = scene(&server, &maker);
    assert!(scene.check().await.unwrap().is_empty());
    accounts_come_and_go(&server, &scene).await;
    rights_of_the_whole_cluster(&server, &scene).await;
    accounts_that_stay(&server, &scene).await;
    names_that_are_taken(&server, &scene).await;
    refusals_say_what_was_done(&server, &scene).await;
    namespaces_are_selected(&server, &scene).await;
    many_are_listed(&server, &scene).await;
    tls_is_verified(&server, &maker).await;
    whoever_is_not_known(&server, &scene).await;
    server.stop();
    assert_eq!(scene.check().await.unwrap_err().done, Done::Nothing);
    let failure = scene.drop_account("demo/a", &[&places("a")[0]], "").await;
    assert_eq!(failure.unwrap_err().done, Done::Nothing);
}

async fn accounts_come_and_go(server: &Kubernetes, scene: &Scene) {
    let longest = format!("a.b-{}", "c".repeat(249));
    for name in ["v-token-app-1", longest.as_str()] {
        let token = made(scene, name, &[account(name), bound(name), token(name, 600)]).await;
        assert_eq!(marked(scene).await, [format!("demo/{name}")]);
        assert_eq!(
            server.objects(),
            [format!("rolebindings {name}"), format!("serviceaccounts {name}")]
        );
        eventually("it may what its role may", SOON, async || {
            server.lists_pods(&token, NAMESPACE)
        })
        .await;
        let refused = server.lists_pods(&token, "other").unwrap_err();
        assert!(refused.starts_with("403 "), "{refused}");
        let secrets = server.ask(&token, "GET", "api/v1/namespaces/demo/secrets", None);
        assert!(secrets.unwrap_err().starts_with("403 "));
        remove(scene, name, "").await;
        // Its rights are gone as soon as the server's memory of them; who it was, the server remembers for ten seconds.
        eventually("it may nothing", Duration::from_secs(2), async || {
            match server.lists_pods(&token, NAMESPACE) {
                Err(text) if text.starts_with("40") => Ok(()),
                other => Err(other),
            }
        })
        .await;
        eventually("it is refused", SOON, async || {
            match server.lists_pods(&token, NAMESPACE) {
                Err(text) if text.starts_with("401 ") => Ok(()),
                other => Err(other),
            }
        })
        .await;
        assert!(server.objects().is_empty());
    }
    // Once more: what is gone is gone, by its mark or without.
    remove(scene, "v-token-app-1", "").await;
    remove(scene, "v-token-app-1", &format!(" {MARK}")).await;
}

/// Roles that are made with their account, of a namespace and of the cluster, and what nobody listed yet.
async fn rights_of_the_whole_cluster(server: &Kubernetes, scene: &Scene) {
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let role = json!({"metadata": metadata("wide"), "rules": rules});
    let statements = [
        account("wide"),
        format!("post {RBAC}/clusterroles {role}"),
        binding(
            "wide",
            &format!("{RBAC}/clusterrolebindings"),
            ("ClusterRole", "wide"),
        ),
        token("wide", 3600),
    ];
    let token = made(scene, "wide", &statements).await;
    eventually("it may so everywhere", SOON, async || {
        server.lists_pods(&token, "other")
    })
    .await;
    assert_eq!(
        server.objects(),
        [
            "clusterrolebindings wide",
            "clusterroles wide",
            "serviceaccounts wide"
        ]
    );
    // Without its account it is still found by what is left of it.
    server.must("DELETE", &format!("{ACCOUNTS}/wide"), None);
    assert_eq!(marked(scene).await, ["demo/wide"]);
    remove(scene, "wide", &format!(" {MARK}")).await;
    assert!(server.objects().is_empty());
}

/// A token alone, of an account of somebody else's.
async fn accounts_that_stay(server: &Kubernetes, scene: &Scene) {
    server.must("POST", ACCOUNTS, Some(json!({"metadata": {"name": "stays"}})));
    let told = scene.run(&[&token("stays", 600)]).await.unwrap();
    let may = server.ask(&told[0], "GET", "api", None);
    assert!(may.is_ok(), "{may:?}");
    scene.drop_account("", &[], "").await.unwrap();
    assert!(server.ask(&told[0], "GET", "api", None).is_ok());
    let failure = scene.run(&[&token("stays", 60)]).await.unwrap_err();
    assert!(failure.text.contains("10 minutes"), "{failure}");
    server.must("DELETE", &format!("{ACCOUNTS}/stays"), None);
}

/// Somebody else's objects are neither taken over nor removed.
async fn names_that_are_taken(server: &Kubernetes, scene: &Scene) {
    let bindings = format!("{RBAC}/namespaces/demo/rolebindings");
    server.must("POST", ACCOUNTS, Some(json!({"metadata": {"name": "taken"}})));
    let failure = scene.make("taken", &[&account("taken"), &bound("taken")]).await;
    assert_eq!(failure.unwrap_err().done, Done::There);
    remove(scene, "taken", &format!(" {MARK}")).await;
    server.must("GET", &format!("{ACCOUNTS}/taken"), None);
    server.must("DELETE", &format!("{ACCOUNTS}/taken"), None);
    // The name of the binding alone is taken: the account that was made for it goes, the binding stays.
    let theirs = json!({
        "metadata": {"name": "taken"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "watcher"},
    });
    server.must("POST", &bindings, Some(theirs));
    let failure = scene.make("taken", &[&account("taken"), &bound("taken")]).await;
    assert_eq!(failure.unwrap_err().done, Done::Refused);
    assert_eq!(server.objects(), ["serviceaccounts taken"]);
    remove(scene, "taken", &format!(" {MARK}")).await;
    assert!(server.objects().is_empty());
    server.must("GET", &format!("{bindings}/taken"), None);
    server.must("DELETE", &format!("{bindings}/taken"), None);
    // What is held is not gone.
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.org/held"]}});
    server.must("POST", ACCOUNTS, Some(held));
    for _ in 0..2 {
        let failure = scene.drop_account("demo/held", &[&places("held")[0]], "").await;
        assert_eq!(failure.unwrap_err().done, Done::Refused);
    }
}

async fn refusals_say_what_was_done(server: &Kubernetes, scene: &Scene) {
    let nowhere = account("a").replace("/demo/", "/nosuch/");
    let failure = scene.make("a", &[&nowhere]).await.unwrap_err();
    assert!(failure.text.contains("nosuch"), "{failure}");
    for name in ["A", "a_b", "a b", "\u{e9}", "", "-a"] {
        let failure = scene.make(name, &[&account(name)]).await.unwrap_err();
        assert_eq!(failure.done, Done::Refused, "{name}: {failure}");
    }
    assert_eq!(scene.run(&["nonsense"]).await.unwrap_err().done, Done::Nothing);
    let over = scene
        .act(run(&[&account("a")]), "conclave/1/1/over", Duration::ZERO)
        .await;
    assert_eq!(over.unwrap_err().done, Done::Nothing);

    // Whoever may make accounts, and may not give them what it has not.
    let weak = self::scene(server, &server.maker("weak", &[]));
    let failure = weak
        .make("a", &[&account("a"), &bound("a"), &token("a", 600)])
        .await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.done, Done::Refused, "the account is there: {failure}");
    assert!(failure.text.contains("not currently held"), "{failure}");
    assert_eq!(server.objects(), ["serviceaccounts a"]);
    remove(&weak, "a", &format!(" {MARK}")).await;
    assert!(server.objects().is_empty());

    // An address at which nothing is: an account must not be taken for gone because of that.
    let maker = server.token("makers", "maker");
    let mut lost = self::scene(server, &maker);
    lost.target.url = hidden(&reach(&format!("{}/lost", server.host()), &maker));
    assert!(lost.check().await.is_err());
    for mark in [String::new(), format!(" {MARK}")] {
        let place = format!("{ACCOUNTS}/a{mark}");
        let failure = lost.drop_account("demo/a", &[&place], "").await.unwrap_err();
        assert!(matches!(failure.done, Done::Refused | Done::Denied), "{failure}");
        // A kind of object that the server never heard of, in a group that it knows.
        let place = format!("api/v1/namespaces/demo/nosuchkind/a{mark}");
        let failure = scene.drop_account("demo/a", &[&place], "").await.unwrap_err();
        assert!(matches!(failure.done, Done::Refused | Done::Denied), "{failure}");
    }
}

async fn namespaces_are_selected(server: &Kubernetes, scene: &Scene) {
    for (selector, holds) in [
        (r#"{"matchLabels":{"env":"demo"}}"#, true),
        (r#"{"matchLabels":{"env":"x"}}"#, false),
    ] {
        let guard = format!("match api/v1/namespaces/demo {selector}");
        let done = scene.make("chosen", &[&guard, &account("chosen")]).await;
        assert_eq!(done.is_ok(), holds, "{done:?}");
        if let Err(failure) = done {
            assert!(failure.done.is_nothing());
        }
        assert_eq!(server.objects().len(), usize::from(holds));
        remove(scene, "chosen", "").await;
    }
    let none = scene
        .make(
            "chosen",
            &["match api/v1/namespaces/nosuch {}", &account("chosen")],
        )
        .await;
    assert!(none.unwrap_err().text.contains("not found"));
    assert!(server.objects().is_empty());
}

/// More than one answer holds.
async fn many_are_listed(server: &Kubernetes, scene: &Scene) {
    const MANY: usize = 520;
    let statements: Vec<String> = (0..MANY).map(|at| account(&format!("many-{at}"))).collect();
    for some in statements.chunks(100) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        scene.run(&some).await.unwrap();
    }
    assert_eq!(marked(scene).await.len(), MANY);
    assert_eq!(scene.list("many-51").await.len(), 0, "of no mark at all");
    server.must(
        "DELETE",
        &format!("{ACCOUNTS}?labelSelector=conclave-mount"),
        None,
    );
    assert!(server.objects().is_empty());
}

async fn tls_is_verified(server: &Kubernetes, maker: &str) {
    let mut scene = scene(server, maker);
    scene.target.tls.ca.clear();
    assert_eq!(
        scene.check().await.unwrap_err().done,
        Done::Nothing,
        "by nobody known"
    );
    scene.target.tls.ca = Authority::new().pem().to_owned();
    assert_eq!(
        scene.check().await.unwrap_err().done,
        Done::Nothing,
        "of another authority"
    );
    server.authority.pem().clone_into(&mut scene.target.tls.ca);
    scene.target.url = hidden(&reach(&format!("https://127.0.0.1:{}", server.port), maker));
    assert_eq!(
        scene.check().await.unwrap_err().done,
        Done::Nothing,
        "for another name"
    );
    scene.target.tls.ca = "nonsense".to_owned();
    let failure = scene.check().await.unwrap_err();
    assert!(failure.text.contains("kubernetes_ca_cert"), "{failure}");
}

/// The account that makes others is gone, or its token never was one.
async fn whoever_is_not_known(server: &Kubernetes, scene: &Scene) {
    let stranger = self::scene(server, "hunter2");
    server.must("DELETE", "api/v1/namespaces/makers/serviceaccounts/maker", None);
    eventually("its token is forgotten", SOON, async || {
        match scene.check().await {
            Err(failure) if failure.done == Done::Denied => Ok(()),
            other => Err(other),
        }
    })
    .await;
    for them in [scene, &stranger] {
        for failure in [
            them.check().await.unwrap_err(),
            them.make("a", &[&account("a")]).await.unwrap_err(),
            them.drop_account("demo/a", &[&places("a")[0]], "")
                .await
                .unwrap_err(),
        ] {
            assert_eq!(failure.done, Done::Denied, "{failure}");
            assert!(failure.text.contains("401"), "{failure}");
            assert!(!failure.text.contains("hunter2"), "{failure}");
        }
    }
    assert!(server.objects().is_empty());
}
