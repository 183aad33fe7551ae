//! RabbitMQ by its management API. A statement is `PATH JSON`: what is put where beneath `api/`. A user that is dropped with a
//! statement must bear it as a tag, or is left alone. Knows no roles and no leases.

mod call;

use conclave_engine_api::{Action, Bounds, Done, Failure, Hidden, Plan};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use crate::http::{self, Answer};
use crate::pool::Pool;
use crate::{there, url};
use call::{Calls, REASON, read};

/// The tag of whoever may make users.
const MAKER: &str = "administrator";

/// Whoever calls.
#[derive(Default)]
pub struct RabbitMq {
    pool: Pool<reqwest::Client>,
}

impl RabbitMq {
    /// Carries out a plan.
    pub async fn run(&self, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
        let server = self.pool.server(&plan.target);
        let _turn = server.turn(bounds).await?;
        let http = match server.idle() {
            Some(http) => http,
            None => http::client(&plan.target.tls).map_err(|text| Failure::new(Done::Nothing, text))?,
        };
        // One client keeps as many connections as are of use.
        server.keep(http.clone());
        let calls = Calls::new(http, &plan.target.url, bounds)?;
        match &plan.action {
            Action::Check => check(&calls).await,
            Action::Run { statements } => put_all(&calls, None, statements).await,
            Action::Make { account, statements } => put_all(&calls, Some(account), statements).await,
            Action::Drop {
                account, statements, ..
            } => drop_user(&calls, account, statements.first()).await,
            Action::List { prefix, mark } => list(&calls, prefix, mark).await,
        }
    }
}

/// A user, as the broker tells of it.
#[derive(Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    tags: Tags,
}

/// A list; text between commas before RabbitMQ 3.9.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tags {
    List(Vec<String>),
    Text(String),
}

impl Default for Tags {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Tags {
    fn has(&self, tag: &str) -> bool {
        match self {
            Self::List(list) => list.iter().any(|known| known == tag),
            Self::Text(text) => text.split(',').any(|known| known.trim() == tag),
        }
    }
}

/// Whether the management API is there, knows us, and lets us make users.
async fn check(calls: &Calls<'_>) -> Result<Vec<String>, Failure> {
    let answer = calls.send(Method::GET, "whoami", None, false).await?;
    let we: User = read(&answer.done("whoami", REASON)?)?;
    match we.tags.has(MAKER) {
        true => Ok(Vec::new()),
        false => Err(Failure::new(
            Done::Denied,
            format!(
                "the user {:?} lacks the tag {MAKER}: it may make no users",
                we.name
            ),
        )),
    }
}

/// Puts one thing after the other. `account`: of whom the first makes a new user. There is no going back: what fails after the
/// first leaves something behind, and is said to.
async fn put_all(
    calls: &Calls<'_>,
    account: Option<&str>,
    statements: &[Hidden],
) -> Result<Vec<String>, Failure> {
    for (index, statement) in statements.iter().enumerate() {
        let new = account.filter(|_| index == 0);
        let put = put(calls, statement, new).await;
        put.map_err(|failure| match index {
            0 => failure,
            _ => http::after_others(failure),
        })?;
    }
    Ok(Vec::new())
}

async fn put(calls: &Calls<'_>, statement: &Hidden, new: Option<&str>) -> Result<(), Failure> {
    let (path, body) = statement
        .split_once(' ')
        .ok_or_else(|| Failure::new(Done::Nothing, "a statement is no request of RabbitMQ"))?;
    let answer = calls.send(Method::PUT, path, Some(body), new.is_some()).await?;
    match new {
        Some(account) if answer.status == StatusCode::PRECONDITION_FAILED => Err(there(account)),
        _ => answer.done(path, REASON).map(|_| ()),
    }
}

/// Drops a user that may be there or not; whoever is logged in as it is thrown out by the broker.
async fn drop_user(calls: &Calls<'_>, account: &str, mark: Option<&Hidden>) -> Result<Vec<String>, Failure> {
    let path = format!("users/{}", url::encoded(account));
    if let Some(mark) = mark {
        let answer = calls.send(Method::GET, &path, None, false).await?;
        if is_missing(calls, &answer).await? {
            return Ok(Vec::new());
        }
        let user: User = read(&answer.done(&path, REASON)?)?;
        if !user.tags.has(mark) {
            return Ok(Vec::new());
        }
    }
    let answer = calls.send(Method::DELETE, &path, None, false).await?;
    if !is_missing(calls, &answer).await? {
        answer.done(&path, REASON)?;
    }
    Ok(Vec::new())
}

/// Whether the broker says that there is no such thing, and it is the broker that says so: anything else at its address would
/// answer alike, and a user must not be forgotten for that.
async fn is_missing(calls: &Calls<'_>, answer: &Answer) -> Result<bool, Failure> {
    if answer.status != StatusCode::NOT_FOUND {
        return Ok(false);
    }
    check(calls).await?;
    Ok(true)
}

/// The names of users that begin so and bear this tag.
async fn list(calls: &Calls<'_>, prefix: &str, mark: &str) -> Result<Vec<String>, Failure> {
    let path = "users?columns=name,tags";
    let answer = calls.send(Method::GET, path, None, false).await?;
    let users: Vec<User> = read(&answer.done("users", REASON)?)?;
    let ours = |user: &User| user.name.starts_with(prefix) && (mark.is_empty() || user.tags.has(mark));
    Ok(users.into_iter().filter(ours).map(|user| user.name).collect())
}
