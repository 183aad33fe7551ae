//! Kubernetes by its API server. A statement that makes something is `post PATH JSON`, or `match PATH SELECTOR`: go on only if
//! the labels of what is there are as the selector says. One that removes something is its path, and after a space the mark
//! that it must bear, or is left alone. Knows no roles and no leases.

mod call;
mod selector;

use std::collections::BTreeSet;

use conclave_engine_api::{Action, Bounds, Done, Failure, Hidden, Plan};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::http::{self, Answer};
use crate::pool::Pool;
use crate::there;
use call::{Calls, Metadata, done, read};
use selector::Selector;

/// The label whose value says who made an object, and the one that says whose an object without a namespace is.
const MOUNT: &str = "conclave-mount";
const NAMESPACE: &str = "conclave-namespace";
/// Where objects of accounts lie, in all namespaces.
const LISTS: [&str; 5] = [
    "api/v1/serviceaccounts",
    "apis/rbac.authorization.k8s.io/v1/rolebindings",
    "apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "apis/rbac.authorization.k8s.io/v1/roles",
    "apis/rbac.authorization.k8s.io/v1/clusterroles",
];
/// Objects of one answer to a list, and most answers to one list: a million objects.
const PAGE: usize = 500;
const MAX_PAGES: usize = 2_000;

/// Whoever calls.
#[derive(Default)]
pub struct Kubernetes {
    pool: Pool<reqwest::Client>,
}

impl Kubernetes {
    /// Carries out a plan.
    pub async fn run(&self, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
        // A token of an account that stays ends by itself.
        if matches!(&plan.action, Action::Drop { account, .. } if account.is_empty()) {
            return Ok(Vec::new());
        }
        let server = self.pool.server(&plan.target);
        let _turn = server.turn(bounds).await?;
        let http = match server.idle() {
            Some(http) => http,
            None => http::client(&plan.target.tls)
                .map_err(|text| Failure::new(Done::Nothing, text.replace("tls_ca", "kubernetes_ca_cert")))?,
        };
        // One client keeps as many connections as are of use.
        server.keep(http.clone());
        let calls = Calls::new(http, &plan.target.url, bounds)?;
        match &plan.action {
            Action::Check => check(&calls).await,
            Action::Run { statements } => make_all(&calls, None, statements).await,
            Action::Make { account, statements } => make_all(&calls, Some(account), statements).await,
            Action::Drop { statements, .. } => remove_all(&calls, statements).await,
            Action::List { prefix, mark } => list(&calls, prefix, mark).await,
        }
    }
}

/// Whether the API server is there and knows us. What is told is what it does not let us do in every namespace.
async fn check(calls: &Calls<'_>) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Review {
        kind: String,
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        allowed: bool,
    }
    let path = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let may = json!({"verb": "create", "resource": "serviceaccounts", "subresource": "token"});
    let asked = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": may},
    });
    let answer = calls.send(Method::POST, path, Some(&asked.to_string())).await?;
    let review: Review = read(&done(answer, path)?)?;
    match (review.kind.as_str(), review.status.allowed) {
        ("SelfSubjectAccessReview", true) => Ok(Vec::new()),
        ("SelfSubjectAccessReview", false) => Ok(vec![
            "service_account_jwt may not make tokens in every namespace".to_owned(),
        ]),
        _ => Err(call::no_server()),
    }
}

/// Makes one thing after the other; tells the token, if the last is one. `account`: of whom the first that is made must be new.
/// There is no going back: what fails after the first leaves something behind, and is said to.
async fn make_all(
    calls: &Calls<'_>,
    account: Option<&str>,
    statements: &[Hidden],
) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Made {
        #[serde(default)]
        status: Option<Status>,
    }
    #[derive(Deserialize)]
    struct Status {
        token: String,
    }
    let mut last = None;
    for statement in statements {
        let mut parts = statement.splitn(3, ' ');
        let (verb, path, body) = match (parts.next(), parts.next(), parts.next()) {
            (Some(verb), Some(path), Some(body)) => (verb, path, body),
            _ => return Err(nonsense()),
        };
        let made = match verb {
            "match" => {
                expect_labels(calls, path, body).await?;
                continue;
            }
            "post" => post(calls, path, body, account.filter(|_| last.is_none())).await,
            _ => return Err(nonsense()),
        };
        last = Some(made.map_err(|failure| match last {
            None => failure,
            Some(_) => http::after_others(failure),
        })?);
    }
    let made: Option<Made> = last.and_then(|answer: Answer| answer.read());
    let status = made.and_then(|made| made.status);
    Ok(status.map(|status| status.token).into_iter().collect())
}

fn nonsense() -> Failure {
    Failure::new(Done::Nothing, "a statement is no request of Kubernetes")
}

async fn post(calls: &Calls<'_>, path: &str, body: &str, new: Option<&str>) -> Result<Answer, Failure> {
    let answer = calls.send(Method::POST, path, Some(body)).await?;
    match new {
        Some(account) if answer.status == StatusCode::CONFLICT && call::is(&answer, "AlreadyExists") => {
            Err(there(account))
        }
        _ => done(answer, path),
    }
}

/// Nothing was made yet when this is asked.
async fn expect_labels(calls: &Calls<'_>, path: &str, selector: &str) -> Result<(), Failure> {
    let selector: Selector = serde_json::from_str(selector).map_err(|_| nonsense())?;
    let answer = calls.send(Method::GET, path, None).await?;
    let object = call::named(&done(answer, path)?, path)?;
    match selector.matches(&object.metadata.labels) {
        true => Ok(()),
        false => Err(Failure::new(
            Done::Denied,
            format!(
                "{path}: kubernetes_namespace is not present in role's allowed_kubernetes_namespaces or does not match role's label selector allowed_kubernetes_namespace_selector"
            ),
        )),
    }
}

/// Removes what may be there or not, in this order. What is refused holds up nothing of the rest.
async fn remove_all(calls: &Calls<'_>, statements: &[Hidden]) -> Result<Vec<String>, Failure> {
    let mut refused = None;
    for statement in statements {
        let (path, mark) = match statement.split_once(' ') {
            Some((path, mark)) => (path, Some(mark)),
            None => (statement.as_str(), None),
        };
        match remove(calls, path, mark).await {
            Err(failure) if matches!(failure.done, Done::Refused | Done::Denied) => {
                refused.get_or_insert(failure);
            }
            other => other?,
        }
    }
    match refused {
        Some(failure) => Err(failure),
        None => Ok(Vec::new()),
    }
}

async fn remove(calls: &Calls<'_>, path: &str, mark: Option<&str>) -> Result<(), Failure> {
    let mut wish = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    if let Some(mark) = mark {
        let answer = calls.send(Method::GET, path, None).await?;
        if call::is_missing(&answer, path) {
            return Ok(());
        }
        let object = call::named(&done(answer, path)?, path)?;
        if object
            .metadata
            .labels
            .get(MOUNT)
            .is_none_or(|label| label != mark)
        {
            return Ok(());
        }
        // What takes its place meanwhile is another's.
        let only = json!({"uid": object.metadata.uid});
        if let Some(wish) = wish.as_object_mut() {
            wish.insert("preconditions".to_owned(), only);
        }
    }
    let answer = calls.send(Method::DELETE, path, Some(&wish.to_string())).await?;
    if call::is_missing(&answer, path) {
        return Ok(());
    }
    let answer = done(answer, path)?;
    if call::is_success(&answer) {
        return Ok(());
    }
    // Of some kinds the object as it was; whoever answers otherwise is no API server, and has removed nothing.
    match call::named(&answer, path)?.metadata.finalizers.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(
            Done::Refused,
            format!("{path}: it goes when its finalizers are removed"),
        )),
    }
}

/// The accounts, as `NAMESPACE/NAME`, of which there is an object that bears this mark.
async fn list(calls: &Calls<'_>, prefix: &str, mark: &str) -> Result<Vec<String>, Failure> {
    let mut accounts = BTreeSet::new();
    for path in LISTS {
        let mut next = String::new();
        for page in 0.. {
            if page >= MAX_PAGES {
                return Err(Failure::new(Done::Refused, format!("{path}: a list without end")));
            }
            let listed = calls.page(path, &format!("{MOUNT}={mark}"), PAGE, &next).await?;
            for object in listed.items {
                accounts.extend(account(&object.metadata, mark).filter(|name| {
                    name.split_once('/')
                        .is_some_and(|(_, name)| name.starts_with(prefix))
                }));
            }
            next = listed.metadata.next;
            if next.is_empty() {
                break;
            }
        }
    }
    Ok(accounts.into_iter().collect())
}

/// Whose an object is. What does not bear the mark is nobody's of ours, whatever was listed.
fn account(metadata: &Metadata, mark: &str) -> Option<String> {
    if metadata.labels.get(MOUNT).is_none_or(|label| label != mark) {
        return None;
    }
    let namespace = match metadata.namespace.as_str() {
        "" => metadata.labels.get(NAMESPACE)?,
        namespace => namespace,
    };
    let plain = |text: &str| {
        let part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        !text.is_empty() && !text.starts_with('.') && text.bytes().all(part)
    };
    (plain(namespace) && plain(&metadata.name)).then(|| format!("{namespace}/{}", metadata.name))
}
