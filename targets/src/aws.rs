//! IAM and STS of Amazon Web Services, and whatever speaks their query protocol. A statement is `SERVICE FORM`: `iam` or `sts`,
//! a space, and the form that is sent; after `iam?` a call that is not allowed is let be. A user that is dropped with the statement
//! `young` must be there. Knows no roles and no leases.

mod answer;
mod call;
mod sign;
mod users;

use conclave_engine_api::{Action, Bounds, Done, Failure, Hidden, Plan, Target};

use answer::Answer;
use call::{Client, Refusal};

use crate::{http, url};

/// The version of each service's protocol.
const IAM_VERSION: &str = "2010-05-08";
const STS_VERSION: &str = "2011-06-15";
/// The statement by which a drop says that the user was made lately.
const YOUNG: &str = "young";
/// The tag of a user that says who made it.
const MARK: &str = "conclave-mount";

/// Whoever calls.
#[derive(Default)]
pub struct Aws {
    client: Client,
}

impl Aws {
    /// Carries out a plan.
    pub async fn run(&self, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
        // Credentials that end by themselves have no user.
        if matches!(&plan.action, Action::Drop { account, .. } if account.is_empty()) {
            return Ok(Vec::new());
        }
        let calls = Calls::new(&self.client, &plan.target, bounds)?;
        match &plan.action {
            Action::Check => {
                calls.sts("GetCallerIdentity", &[]).await?;
                Ok(Vec::new())
            }
            Action::Run { statements } | Action::Make { statements, .. } => run_all(&calls, statements).await,
            Action::Drop {
                account, statements, ..
            } => {
                let young = statements.iter().any(|statement| statement.as_str() == YOUNG);
                users::drop_user(&calls, account, young).await
            }
            Action::List { prefix, mark } => users::list(&calls, prefix, mark).await,
        }
    }
}

/// Runs statements in their order; answers what the last of them told. There is no going back: what fails after the first
/// leaves something behind, and is said to.
async fn run_all(calls: &Calls<'_>, statements: &[Hidden]) -> Result<Vec<String>, Failure> {
    let mut told = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        let wrong = || Failure::new(Done::Nothing, "a statement is no request of IAM or STS");
        let (service, form) = statement.split_once(' ').ok_or_else(wrong)?;
        let answer = match service {
            "iam" => calls.send(Service::Iam, form).await,
            "sts" => calls.send(Service::Sts, form).await,
            "iam?" => match calls.send(Service::Iam, form).await {
                Err(refusal) if refusal.is("AccessDenied") => continue,
                other => other,
            },
            _ => return Err(wrong()),
        };
        match answer {
            Ok(answer) => told = answer.told(),
            Err(refusal) => {
                // Whose name it is, it is not for us to drop.
                let taken = refusal.is("EntityAlreadyExists");
                let mut failure = Failure::from(refusal);
                if index == 0 && taken {
                    failure.done = Done::There;
                }
                return Err(match index {
                    0 => failure,
                    _ => http::after_others(failure),
                });
            }
        }
    }
    Ok(told)
}

/// Which of the two is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Iam,
    Sts,
}

/// One target within the bounds of one plan.
struct Calls<'a> {
    client: &'a Client,
    bounds: &'a Bounds,
    reach: call::Reach,
    fallback: Option<call::Reach>,
}

impl<'a> Calls<'a> {
    fn new(client: &'a Client, target: &Target, bounds: &'a Bounds) -> Result<Self, Failure> {
        let fallback = target.fallback.as_ref();
        Ok(Self {
            client,
            bounds,
            reach: call::Reach::read(&target.url)?,
            fallback: fallback.map(call::Reach::read).transpose()?,
        })
    }

    /// An action of IAM.
    async fn iam(&self, action: &str, fields: &[(&str, &str)]) -> Result<Answer, Refusal> {
        self.send(Service::Iam, &form(action, IAM_VERSION, fields)).await
    }

    /// An action of STS.
    async fn sts(&self, action: &str, fields: &[(&str, &str)]) -> Result<Answer, Refusal> {
        self.send(Service::Sts, &form(action, STS_VERSION, fields)).await
    }

    /// One request; with the credentials that may have come since, if those that are known are not known there.
    async fn send(&self, service: Service, form: &str) -> Result<Answer, Refusal> {
        let answer = self.client.send(&self.reach, service, form, self.bounds).await;
        match (&answer, &self.fallback) {
            (Err(refusal), Some(fallback)) if refusal.is_of_credentials() => {
                self.client.send(fallback, service, form, self.bounds).await
            }
            _ => answer,
        }
    }
}

/// A form as it is sent.
fn form(action: &str, version: &str, fields: &[(&str, &str)]) -> String {
    let mut form = format!("Action={action}&Version={version}");
    for (name, value) in fields {
        form.push('&');
        form.push_str(name);
        form.push('=');
        form.push_str(&escape(value));
    }
    form
}

/// As a value of a form, where a space is a plus.
fn escape(text: &str) -> String {
    url::encoded(text).replace("%20", "+")
}
