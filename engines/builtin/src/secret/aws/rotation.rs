//! Rotation of the access key of `config/root`, in steps that are each committed before and after: a second key is made, tried,
//! put in place of the first, and after a while the first is taken away. The key that is used is at every moment one that works;
//! what a crash leaves over is a key whose secret nobody heard, and it is taken away too.

use conclave_engine_api::{
    Action, Done, Effect, Env, Error, Failure, Hidden, Millis, Outcome, Plan, Reply, Txn, parse_time,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::Root;
use super::form::Form;

/// How long a step may take before it is looked at again.
const OPEN_FOR: Millis = 30_000;
/// Pause before a new key is tried again: it is not known everywhere at once.
const AGAIN: Millis = 2_000;
/// How long it is tried before it is given up.
const TRIED_FOR: Millis = 300_000;
/// How long the old key stays beside the new one.
const OVERLAP: Millis = 10_000;
/// By how much clocks of ours and of AWS may differ when a key's age is judged.
const SKEW: Millis = 30_000;

/// How a rotation stands.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Rotation {
    /// None is under way.
    #[default]
    None,
    /// AWS was asked for a second key, and nobody knows what it answered.
    Making { since: Millis },
    /// There is a second key; whether it works is being tried.
    Trying {
        access_key: String,
        #[serde(with = "crate::wiped")]
        secret_key: Hidden,
        since: Millis,
    },
    /// This key is to be taken away.
    Retiring {
        access_key: String,
        #[serde(with = "crate::wiped")]
        secret_key: Hidden,
    },
}

impl Rotation {
    pub fn is_open(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// What is said of it.
    pub fn told(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Making { .. } => Some("a new key is being made"),
            Self::Trying { .. } => Some("the new key is being tried"),
            Self::Retiring { .. } => Some("the old key is being taken away"),
        }
    }
}

/// `write config/rotate-root`. Without a user's name AWS acts on whoever asks.
pub(super) fn begin(txn: &mut Txn<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let mut root = Root::load(txn)?
        .filter(|root| !root.access_key.is_empty())
        .ok_or_else(|| {
            Error::invalid("Cannot call config/rotate-root when either access_key or secret_key is empty")
        })?;
    if root.rotation.is_open() {
        return Err(Error::invalid(
            "a rotation of the access key is under way; try again when it is done",
        ));
    }
    let plan = run(&root, Form::iam("CreateAccessKey"))?;
    root.rotation = Rotation::Making { since: env.now() };
    root.save(txn, Some(env.now().saturating_add(OPEN_FOR)))?;
    Ok(Outcome::Effect(effect(plan, "make")))
}

/// The next step of a rotation whose row fell due.
pub(super) fn go_on(txn: &mut Txn<'_>, env: &mut Env<'_>) -> Result<Option<Box<Effect>>, Error> {
    let Some(root) = Root::load(txn)? else {
        return Ok(None);
    };
    let next = match &root.rotation {
        Rotation::None => {
            root.save(txn, None)?;
            return Ok(None);
        }
        Rotation::Making { .. } => effect(run(&root, Form::iam("ListAccessKeys"))?, "look"),
        Rotation::Trying {
            access_key,
            secret_key,
            ..
        } => {
            let plan = Plan {
                target: root.target_as(access_key, secret_key)?,
                action: Action::Check,
            };
            effect(plan, "try")
        }
        Rotation::Retiring { access_key, .. } => {
            let form = Form::iam("DeleteAccessKey").with("AccessKeyId", access_key);
            effect(run(&root, form)?, "retire")
        }
    };
    root.save(txn, Some(env.now().saturating_add(OPEN_FOR)))?;
    Ok(Some(next))
}

fn run(root: &Root, form: Form) -> Result<Plan, Error> {
    Ok(Plan {
        target: root.target()?,
        action: Action::Run {
            statements: vec![form.done()],
        },
    })
}

fn effect(plan: Plan, step: &str) -> Box<Effect> {
    Box::new(Effect {
        plan,
        lease: None,
        reply: Reply::empty(),
        memo: Map::from_iter([("step".to_owned(), json!(step))]),
        session: None,
    })
}

/// What came of a step.
pub(super) fn settle(
    txn: &mut Txn<'_>,
    memo: &Map<String, Value>,
    result: Result<&[String], &Failure>,
    env: &mut Env<'_>,
) -> Result<Result<Reply, Error>, Error> {
    let Some(mut root) = Root::load(txn)? else {
        return Ok(Err(Error::invalid("the configuration was deleted meanwhile")));
    };
    let now = env.now();
    let step = memo.get("step").and_then(Value::as_str).unwrap_or_default();
    let rotation = std::mem::take(&mut root.rotation);
    let (rotation, deadline, answer) = match (step, rotation) {
        ("make", Rotation::Making { since }) => made(since, result, now),
        ("look", Rotation::Making { since }) => looked(&root, since, result, now),
        (
            "try",
            Rotation::Trying {
                access_key,
                secret_key,
                since,
            },
        ) => tried(&mut root, (access_key, secret_key, since), result, now),
        ("retire", retiring @ Rotation::Retiring { .. }) => retired(retiring, result, now),
        // Another step was settled meanwhile.
        _ => return Ok(Ok(Reply::empty())),
    };
    root.rotation = rotation;
    root.save(txn, deadline)?;
    Ok(answer)
}

type Settled = (Rotation, Option<Millis>, Result<Reply, Error>);

fn leaf<'a>(told: &'a [String], name: &str) -> Option<&'a str> {
    told.iter()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// A second key was asked for.
fn made(since: Millis, result: Result<&[String], &Failure>, now: Millis) -> Settled {
    let told = match result {
        Ok(told) => told,
        Err(failure) => {
            let error = Error::Target(format!("error calling CreateAccessKey: {failure}"));
            return match failure.done {
                // The old key is as it was.
                Done::Nothing | Done::Denied | Done::There | Done::Refused => {
                    (Rotation::None, None, Err(error))
                }
                Done::Unknown => (Rotation::Making { since }, Some(now), Err(error)),
            };
        }
    };
    match (leaf(told, "AccessKeyId"), leaf(told, "SecretAccessKey")) {
        (Some(access_key), Some(secret_key)) => {
            let reply = Reply::json(json!({"access_key": access_key}));
            let trying = Rotation::Trying {
                access_key: access_key.to_owned(),
                secret_key: Hidden::new(secret_key.to_owned()),
                since: now,
            };
            (trying, Some(now), Ok(reply))
        }
        _ => {
            let error = Error::Target("AWS answered without a key".to_owned());
            (Rotation::Making { since }, Some(now), Err(error))
        }
    }
}

/// The keys were listed after a step whose end nobody saw. One that was made since then has a secret that nobody heard.
fn looked(root: &Root, since: Millis, result: Result<&[String], &Failure>, now: Millis) -> Settled {
    let told = match result {
        Ok(told) => told,
        Err(failure) => {
            let error = Err(Error::Target(failure.text.clone()));
            return (
                Rotation::Making { since },
                Some(now.saturating_add(OPEN_FOR)),
                error,
            );
        }
    };
    let orphan = told.split(|line| line.is_empty()).find_map(|key| {
        let id = leaf(key, "AccessKeyId").filter(|id| *id != root.access_key)?;
        let made = parse_time(leaf(key, "CreateDate")?)?;
        (made.saturating_add(SKEW) >= since).then(|| id.to_owned())
    });
    match orphan {
        None => (Rotation::None, None, Ok(Reply::empty())),
        Some(access_key) => {
            let retiring = Rotation::Retiring {
                access_key,
                secret_key: Hidden::default(),
            };
            (retiring, Some(now), Ok(Reply::empty()))
        }
    }
}

/// The new key was tried: it takes the old one's place, is tried again, or is given up.
fn tried(
    root: &mut Root,
    (access_key, secret_key, since): (String, Hidden, Millis),
    result: Result<&[String], &Failure>,
    now: Millis,
) -> Settled {
    let Err(failure) = result else {
        let retiring = Rotation::Retiring {
            access_key: std::mem::replace(&mut root.access_key, access_key),
            secret_key: std::mem::replace(&mut root.secret_key, secret_key),
        };
        return (retiring, Some(now.saturating_add(OVERLAP)), Ok(Reply::empty()));
    };
    let error = Err(Error::Target(failure.text.clone()));
    let denied = failure.done == Done::Denied;
    if denied && now.saturating_sub(since) > TRIED_FOR {
        let retiring = Rotation::Retiring {
            access_key,
            secret_key,
        };
        return (retiring, Some(now), error);
    }
    let pause = if denied { AGAIN } else { OPEN_FOR };
    let trying = Rotation::Trying {
        access_key,
        secret_key,
        since,
    };
    (trying, Some(now.saturating_add(pause)), error)
}

/// A key was taken away, or was not there any more.
fn retired(retiring: Rotation, result: Result<&[String], &Failure>, now: Millis) -> Settled {
    match result {
        Err(failure) if !failure.text.contains("NoSuchEntity") => {
            let error = Err(Error::Target(failure.text.clone()));
            (retiring, Some(now.saturating_add(OPEN_FOR)), error)
        }
        _ => (Rotation::None, None, Ok(Reply::empty())),
    }
}
