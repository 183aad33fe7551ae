//! Quotas of roles: how often logins by a role may come, and how many tokens there may be that they made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use serde_json::{Value, json};

use conclave_core::Verb::{Delete, List, Read, Write};
use conclave_core::{Error, InlineLogin, Request, Settings};
use support::device::Device;
use support::{Node, ask, sealed};

const HOUR: u64 = 3_600_000;

/// A role, and what it logs in by.
struct Role {
    namespace: &'static str,
    shown: Value,
}

impl Role {
    /// Makes it at `auth/approle`, which is there already.
    async fn new(node: &Node, namespace: &'static str, name: &str, settings: Value) -> Self {
        let path = format!("auth/approle/role/{name}");
        sealed::done(node, namespace, Write, &path, settings).await;
        let id = sealed::done(node, namespace, Read, &format!("{path}/role-id"), Value::Null).await;
        let secret = sealed::done(node, namespace, Write, &format!("{path}/secret-id"), json!({})).await;
        let shown = json!({"role_id": id["data"]["role_id"], "secret_id": secret["data"]["secret_id"]});
        Self { namespace, shown }
    }

    async fn log_in(&self, node: &Node) -> Result<Value, Error> {
        let path = (Write, "auth/approle/login");
        let answer = ask(node, self.namespace, "", path, self.shown.clone()).await?;
        Ok(answer["auth"].clone())
    }

    /// The token of a login that succeeds.
    async fn token(&self, node: &Node) -> String {
        let auth = self.log_in(node).await.unwrap();
        auth["client_token"].as_str().unwrap().to_owned()
    }

    /// How many of so many logins pass.
    async fn passes(&self, node: &Node, count: usize) -> usize {
        let mut passed = 0;
        for _ in 0..count {
            match self.log_in(node).await {
                Ok(_) => passed += 1,
                Err(Error::RateLimited { path, .. }) => assert!(path.ends_with("auth/approle/login")),
                Err(error) => panic!("{error}"),
            }
        }
        passed
    }

    /// As many tokens as there may be are there.
    async fn is_full(&self, node: &Node) {
        let refused = self.log_in(node).await.unwrap_err();
        assert!(matches!(refused, Error::LeasesExceeded(_)), "{refused:?}");
    }
}

async fn must(node: &Node, path: &str, data: Value) -> Value {
    sealed::done(node, "", Write, path, data).await
}

async fn with_approle(namespace: &'static str) -> Node {
    let node = Node::unsealed().await;
    enable(&node, namespace).await;
    node
}

async fn enable(node: &Node, namespace: &str) {
    sealed::done(
        node,
        namespace,
        Write,
        "sys/auth/approle",
        json!({"type": "approle"}),
    )
    .await;
}

async fn counter(node: &Node, name: &str) -> Value {
    let path = format!("sys/quotas/lease-count/{name}");
    sealed::done(node, "", Read, &path, Value::Null).await["data"]["counter"].clone()
}

#[tokio::test]
async fn a_limit_of_a_role_holds_back_its_logins_and_nothing_else() {
    let node = with_approle("").await;
    let web = Role::new(&node, "", "web", json!({})).await;
    let job = Role::new(&node, "", "job", json!({})).await;
    // An hour for so many: none is gained while the test runs.
    let limit = json!({"rate": 2, "interval": "1h", "path": "auth/approle", "role": "Web"});
    must(&node, "sys/quotas/rate-limit/web", limit).await;
    let told = sealed::done(&node, "", Read, "sys/quotas/rate-limit/web", Value::Null).await;
    assert_eq!(
        (&told["data"]["role"], &told["data"]["path"]),
        (&json!("web"), &json!("auth/approle/")),
        "names of roles have one spelling"
    );
    assert_eq!(web.passes(&node, 5).await, 2);
    assert_eq!(job.passes(&node, 5).await, 5);
    // A login that a request brings along is one as well.
    let mut inline = Request::new(Read, "auth/token/lookup-self");
    inline.inline = Some(Box::new(InlineLogin {
        verb: Write,
        path: "auth/approle/login".to_owned(),
        namespace: None,
        data: web.shown.as_object().cloned().unwrap(),
    }));
    let refused = node.core.handle(inline).await.map(drop).unwrap_err();
    let is_limited = |error: &Error| matches!(error, Error::RateLimited { .. });
    assert!(
        matches!(&refused, Error::InlineLogin(why) if is_limited(why)),
        "{refused:?}"
    );
    // What names the role and is no login of it is not held back.
    let id = json!({"role_id": web.shown["role_id"]});
    must(&node, "auth/approle/role/web", id.clone()).await;
    let read = ask(&node, "", "", (Read, "auth/approle/login"), id).await;
    assert_eq!(read.unwrap_err().to_string(), "unsupported operation");

    // The closest rule holds: whoever names no role, or one that there is not, is left to that of the mount and of the path.
    for (name, path, rate) in [("mount", "auth/approle", 1), ("path", "auth/approle/login", 4)] {
        let limit = json!({"rate": rate, "interval": "1h", "path": path});
        must(&node, &format!("sys/quotas/rate-limit/{name}"), limit).await;
    }
    for odd in [
        json!({}),
        json!({"role_id": "nosuch"}),
        json!({"role_id": ["a"]}),
        json!({"role_id": {"a": 1}, "secret_id": "x".repeat(100_000)}),
    ] {
        let refused = node
            .plain(Write, "auth/approle/login", odd.clone())
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
    }
    let over = node
        .plain(Write, "auth/approle/login", json!({}))
        .await
        .unwrap_err();
    assert!(matches!(over, Error::RateLimited { .. }), "{over:?}");
    assert_eq!(job.passes(&node, 1).await, 0);
    let all = json!({"rate": 7, "interval": "1h", "path": "auth/approle", "role": "web"});
    let first = "sys/quotas/rate-limit/web";
    node.call(Delete, first, Value::Null).await.unwrap();
    must(&node, "sys/quotas/rate-limit/anew", all).await;
    assert_eq!(web.passes(&node, 9).await, 7, "its own is closer");
}

#[tokio::test]
async fn quotas_of_roles_where_there_are_none_are_refused() {
    let node = with_approle("").await;
    must(&node, "sys/auth/userpass", json!({"type": "userpass"})).await;
    must(&node, "sys/namespaces/team", json!({})).await;
    let no_method = |path: &str| {
        format!(
            "Mount path {path:?} is not a valid auth method and therefore unsuitable for use with role-based quotas"
        )
    };
    let no_roles = |path: &str| format!("Mount path {path:?} does not support use with role-based quotas");
    let suffix = "Quotas cannot contain both a path suffix and a role. If a role is provided, path must be a valid auth mount \
                  with a concept of roles";
    for kind in ["rate-limit", "lease-count"] {
        for (path, role, why) in [
            ("", "web", no_method("")),
            ("team", "web", no_method("")),
            ("secret/", "web", no_method("secret/")),
            ("sys", "web", no_method("sys/")),
            ("secret/data/*", "web", suffix.to_owned()),
            ("auth/approle/login", "web", suffix.to_owned()),
            ("auth/approle/*", "web", suffix.to_owned()),
            ("auth/token", "web", no_roles("auth/token/")),
            ("auth/userpass", "ada", no_roles("auth/userpass/")),
            (
                "auth/nosuch",
                "web",
                "invalid mount path \"auth/nosuch/\"".to_owned(),
            ),
            ("auth/approle", "a b", "role is not the name of a role".to_owned()),
        ] {
            let data = json!({"rate": 1, "max_leases": 1, "path": path, "role": role});
            let refused = node.call(Write, &format!("sys/quotas/{kind}/x"), data).await;
            let refused = refused.unwrap_err();
            assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
            assert_eq!(refused.to_string(), why, "{kind} {path}");
        }
        // Rules for several roles of a mount, and for the mount, are different ones; two for one role are not.
        for (name, role, passes) in [
            ("a", "web", true),
            ("b", "job", true),
            ("c", "", true),
            ("d", "WEB", false),
        ] {
            let data = json!({"rate": 9, "max_leases": 9, "path": "auth/approle", "role": role});
            let written = node.call(Write, &format!("sys/quotas/{kind}/{name}"), data).await;
            match passes {
                true => drop(written.unwrap()),
                false => assert_eq!(
                    written.unwrap_err().to_string(),
                    "quota rule with similar properties exists under the name \"a\""
                ),
            }
        }
        let listed = node.call(List, &format!("sys/quotas/{kind}"), Value::Null).await;
        assert_eq!(listed.unwrap()["data"]["keys"], json!(["a", "b", "c"]));
    }
    let refused = json!({"max_leases": 1, "path": "auth/token"});
    let refused = node
        .call(Write, "sys/quotas/lease-count/x", refused)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Unsupported(_)), "{refused:?}");
}

#[tokio::test]
async fn tokens_of_a_role_are_bounded_and_counted_with_the_commands_that_make_and_end_them() {
    let node = with_approle("").await;
    let web = Role::new(&node, "", "web", json!({"token_ttl": "2h"})).await;
    let job = Role::new(&node, "", "job", json!({"token_ttl": "2h"})).await;
    let batch = Role::new(&node, "", "batch", json!({"token_type": "batch"})).await;
    let before = web.token(&node).await;
    let rule = |most: i64| json!({"max_leases": most, "path": "auth/approle", "role": "WEB"});
    must(&node, "sys/quotas/lease-count/web", rule(2)).await;
    assert_eq!(
        counter(&node, "web").await,
        0,
        "what was there before is not counted"
    );
    let first = web.token(&node).await;
    let second = web.token(&node).await;
    web.is_full(&node).await;
    assert_eq!(counter(&node, "web").await, 2);
    // Others are not counted, nor what is stored nowhere, nor what its tokens make.
    let mount = json!({"max_leases": 1, "path": "auth/approle"});
    must(&node, "sys/quotas/lease-count/mount", mount).await;
    job.token(&node).await;
    job.is_full(&node).await;
    batch.token(&node).await;
    assert_eq!(
        (counter(&node, "mount").await, counter(&node, "web").await),
        (json!(1), json!(2))
    );
    node.token(json!({"ttl": "1h"})).await;
    // One that is not counted makes no room, one that is does.
    for (ends, left) in [(&before, 2), (&first, 1)] {
        must(&node, "auth/token/revoke", json!({"token": ends})).await;
        assert_eq!(counter(&node, "web").await, left);
    }
    must(&node, "auth/token/revoke-orphan", json!({"token": second})).await;
    assert_eq!(counter(&node, "web").await, 0);
    // Of logins at the same time no more pass than there is room for.
    let at_once = futures::future::join_all((0..6).map(|_| web.log_in(&node))).await;
    let passed = at_once.iter().filter(|outcome| outcome.is_ok()).count();
    for refused in at_once.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, Error::LeasesExceeded(_)), "{refused:?}");
    }
    assert_eq!((passed, counter(&node, "web").await), (2, json!(2)));
    // More room is room at once, and one that comes to its end makes room too.
    must(&node, "sys/quotas/lease-count/web", rule(3)).await;
    web.token(&node).await;
    web.is_full(&node).await;
    node.clock.advance(2 * HOUR);
    node.expire().await;
    assert_eq!(
        (counter(&node, "mount").await, counter(&node, "web").await),
        (json!(0), json!(0))
    );
    // A mount takes its tokens along.
    web.token(&node).await;
    job.token(&node).await;
    node.call(Delete, "sys/auth/approle", Value::Null).await.unwrap();
    node.expire().await;
    assert_eq!(
        (counter(&node, "mount").await, counter(&node, "web").await),
        (json!(0), json!(0))
    );
}

#[tokio::test]
async fn a_rule_for_something_else_counts_anew() {
    let node = with_approle("").await;
    let web = Role::new(&node, "", "web", json!({})).await;
    let job = Role::new(&node, "", "job", json!({})).await;
    let rule = |role: &str| json!({"max_leases": 1, "path": "auth/approle", "role": role});
    must(&node, "sys/quotas/lease-count/one", rule("web")).await;
    let token = web.token(&node).await;
    must(&node, "sys/quotas/lease-count/one", rule("job")).await;
    assert_eq!(counter(&node, "one").await, 0);
    web.token(&node).await;
    job.token(&node).await;
    job.is_full(&node).await;
    // What another rule counted is not taken off this one.
    must(&node, "auth/token/revoke", json!({"token": token})).await;
    assert_eq!(counter(&node, "one").await, 1);
    // Without a rule nothing is counted.
    node.call(Delete, "sys/quotas/lease-count/one", Value::Null)
        .await
        .unwrap();
    let uncounted = job.token(&node).await;
    must(&node, "sys/quotas/lease-count/one", rule("job")).await;
    must(&node, "auth/token/revoke", json!({"token": uncounted})).await;
    assert_eq!(counter(&node, "one").await, 0);
}

#[tokio::test]
async fn a_login_that_waits_for_its_second_factor_is_counted_when_it_gets_its_token() {
    let node = with_approle("").await;
    let web = Role::new(&node, "", "web", json!({})).await;
    let entity = web.log_in(&node).await.unwrap()["entity_id"].clone();
    let told = json!({"issuer": "conclave", "method_name": "phone"});
    let made = must(&node, "identity/mfa/method/totp", told).await;
    let method = made["data"]["method_id"].as_str().unwrap().to_owned();
    let data = json!({"mfa_method_ids": method, "auth_method_types": "approle"});
    must(&node, "identity/mfa/login-enforcement/machines", data).await;
    let data = json!({"method_id": method, "entity_id": entity});
    let told = must(&node, "identity/mfa/method/totp/admin-generate", data).await;
    let url = told["data"]["url"].as_str().unwrap().to_owned();
    let device = Device { method, url };
    let rule = json!({"max_leases": 1, "path": "auth/approle", "role": "web"});
    must(&node, "sys/quotas/lease-count/web", rule).await;
    let waiting = [web.log_in(&node).await.unwrap(), web.log_in(&node).await.unwrap()];
    assert_eq!(counter(&node, "web").await, 0, "none has a token");
    let validate = async |auth: &Value| {
        let id = &auth["mfa_requirement"]["mfa_request_id"];
        let shown = json!({"mfa_request_id": id, "mfa_payload": {&device.method: [device.code(&node, 0)]}});
        node.plain(Write, "sys/mfa/validate", shown).await
    };
    validate(&waiting[0]).await.unwrap();
    assert_eq!(counter(&node, "web").await, 1);
    node.clock.advance(30_000);
    let refused = validate(&waiting[1]).await.unwrap_err();
    assert!(matches!(refused, Error::LeasesExceeded(_)), "{refused:?}");
    assert_eq!(counter(&node, "web").await, 1);
}

/// In one whose rows the cluster's keys seal, and in one with a seal of its own.
#[tokio::test]
async fn a_namespace_has_roles_of_its_own_and_takes_its_count_along() {
    for own_seal in [false, true] {
        let node = Node::unsealed_with(Settings::default()).await;
        let make = async || match own_seal {
            true => {
                let shares = sealed::make(&node, "", "team").await;
                sealed::unseal(&node, "", "team", &shares).await;
            }
            false => drop(must(&node, "sys/namespaces/team", json!({})).await),
        };
        make().await;
        enable(&node, "team").await;
        enable(&node, "").await;
        let web = Role::new(&node, "team", "web", json!({"token_ttl": "1h"})).await;
        let other = Role::new(&node, "", "web", json!({})).await;
        let lease_count = json!({"max_leases": 1, "path": "team/auth/approle", "role": "web"});
        must(&node, "sys/quotas/lease-count/web", lease_count).await;
        let first = web.token(&node).await;
        web.is_full(&node).await;
        for _ in 0..2 {
            other.token(&node).await;
        }
        assert_eq!(counter(&node, "web").await, 1);
        let revoke = (Write, "auth/token/revoke-self");
        ask(&node, "team", &first, revoke, json!({})).await.unwrap();
        assert_eq!(counter(&node, "web").await, 0);
        web.token(&node).await;
        let limit = json!({"rate": 1, "interval": "1h", "path": "team/auth/approle", "role": "web"});
        must(&node, "sys/quotas/rate-limit/web", limit).await;
        let full = web.log_in(&node).await.unwrap_err();
        assert!(matches!(full, Error::LeasesExceeded(_)), "{full:?}");
        assert_eq!(web.passes(&node, 2).await, 0);
        assert_eq!(other.passes(&node, 2).await, 2);
        // The tokens go with the namespace, and so does what was counted of them.
        node.call(Delete, "sys/namespaces/team", Value::Null)
            .await
            .unwrap();
        for _ in 0..5 {
            node.clock.advance(2_000);
            node.expire().await;
        }
        node.call(Delete, "sys/quotas/rate-limit/web", Value::Null)
            .await
            .unwrap();
        assert_eq!(counter(&node, "web").await, 0);
        make().await;
        enable(&node, "team").await;
        let web = Role::new(&node, "team", "web", json!({})).await;
        assert_eq!(counter(&node, "web").await, 0);
        web.token(&node).await;
        web.is_full(&node).await;
    }
}
