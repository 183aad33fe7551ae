//! Static roles: accounts that stay and whose password changes, by period or by schedule. The new password is kept before the
//! database is told and takes the place of the old one when the database has taken it. Telling it twice does no harm, so what
//! is not known to have happened is done again, with the same password, once the session that told it before has ended.

use conclave_engine_api::{
    Action, Done, Effect, Env, Error, Failure, Hidden, Millis, Outcome, Page, Plan, Reply, Request, Txn,
    format_time,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::connection::{Connection, digest, memo};
use super::cron::Schedule;
use super::dialect::{self, Purpose};
use super::role::{password_policy, tell_policy};
use super::{kind, password, statements};
use crate::record;

const FORMAT: u8 = 1;
/// Shortest period, as Vault's.
const MIN_PERIOD: Millis = 5_000;
/// Shortest window, as Vault's.
const MIN_WINDOW: Millis = 3_600_000;
/// When a rotation that was not settled, or failed, is tried again.
const AGAIN: Millis = 10_000;
/// When a schedule is looked at again that names no time. None is taken any more; those that were keep their last password.
const NEVER: Millis = 366 * 24 * 3_600_000;

/// A static role as stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StaticRole {
    username: String,
    db_name: String,
    period: Millis,
    schedule: String,
    window: Millis,
    rotation_statements: Vec<String>,
    /// As of a role.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    password_policy: String,
    #[serde(with = "crate::wiped")]
    password: Hidden,
    /// Set before the database is told, empty when it is known whether it took it.
    #[serde(with = "crate::wiped")]
    pending: Hidden,
    /// What is pending was told more than once: if it is refused now, or the database is not reached, it may have been taken
    /// before.
    #[serde(default)]
    repeated: bool,
    rotated: Millis,
    next: Millis,
}

fn row(name: &str) -> String {
    format!("static-role/{name}")
}

impl StaticRole {
    fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, &row(name))
    }

    fn save(&self, txn: &mut Txn<'_>, name: &str, deadline: Millis) -> Result<(), Error> {
        txn.put_due(&row(name), record::encode(FORMAT, self)?, Some(deadline))
    }

    /// When it is rotated next if it was just now. Asked when a database has taken a password: there is always an answer.
    fn after(&self, now: Millis) -> Millis {
        if self.schedule.is_empty() {
            return now.saturating_add(self.period);
        }
        let schedule = Schedule::parse(&self.schedule).ok();
        let next = schedule.and_then(|schedule| schedule.next(now));
        next.unwrap_or_else(|| now.saturating_add(NEVER))
    }

    /// Whether its time has passed by more than the window: then it waits for the next.
    fn missed(&self, now: Millis) -> bool {
        self.window > 0 && now > self.next.saturating_add(self.window)
    }

    /// Begins a rotation, or goes on with the one that is under way.
    fn rotate(&mut self, txn: &mut Txn<'_>, name: &str, env: &mut Env<'_>) -> Result<Effect, Error> {
        let connection = Connection::required(txn, &self.db_name)?;
        self.repeated = !self.pending.is_empty();
        if !self.repeated {
            self.pending = password::make(&connection, &self.password_policy, env)?;
        }
        let told = password::told(&connection, &self.pending, env)?;
        let driver = kind::driver(&connection.plugin_name)?;
        let filling = statements::Filling {
            username: &self.username,
            password: &told,
            expires: None,
        };
        let plan = Plan {
            target: connection.target(&self.db_name)?,
            action: Action::Run {
                statements: dialect::told(driver, Purpose::Rotate, &self.rotation_statements, &filling)?,
            },
        };
        self.save(txn, name, env.now().saturating_add(3 * AGAIN))?;
        Ok(Effect {
            plan,
            lease: None,
            reply: Reply::empty(),
            memo: memo("rotate-role", name, [("told", json!(digest(&self.pending)))]),
            session: Some(connection.session(&self.username)),
        })
    }
}

/// The accounts of all static roles.
pub(super) fn usernames(txn: &mut Txn<'_>) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for name in txn.list("static-role/", &Page::default())? {
        found.extend(StaticRole::load(txn, &name)?.map(|role| role.username));
    }
    Ok(found)
}

/// `write static-roles/NAME`. A new one is rotated at once: from then on nobody else knows the password.
pub(super) fn write(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let fields = request.fields().unprefixed();
    let policy = password_policy(request)?;
    let before = StaticRole::load(txn, name)?;
    let is_new = before.is_none();
    let mut role = before.unwrap_or_default();
    if let Some(username) = fields.string("username")? {
        if !is_new && username != role.username {
            return Err(Error::invalid("cannot update static account username"));
        }
        role.username = username;
    }
    if let Some(db_name) = fields.string("db_name")? {
        role.db_name = db_name;
    }
    if role.db_name.is_empty() {
        return Err(Error::invalid("database name is a required field"));
    }
    if role.username.is_empty() {
        return Err(Error::invalid(
            "username is a required field to create a static account",
        ));
    }
    if role.username.contains(['\0', '"', '\'', '\\', '`']) {
        return Err(Error::invalid(
            "username must not have quotes or backslashes in it",
        ));
    }
    if !Connection::required(txn, &role.db_name)?.allows(name) {
        return Err(Error::invalid(format!("{name:?} is not an allowed role")));
    }
    if let Some(statements) = statements::read(&fields, "rotation_statements")? {
        role.rotation_statements = statements;
    }
    if let Some(policy) = policy {
        role.password_policy = policy;
    }
    take_times(&mut role, request, env)?;
    if is_new {
        return Ok(Outcome::Effect(Box::new(role.rotate(txn, name, env)?)));
    }
    role.next = role.after(env.now().max(role.rotated));
    let deadline = match role.pending.is_empty() {
        true => role.next,
        false => env.now().saturating_add(AGAIN),
    };
    role.save(txn, name, deadline)?;
    Ok(Reply::empty().into())
}

fn take_times(role: &mut StaticRole, request: &Request<'_>, env: &Env<'_>) -> Result<(), Error> {
    let fields = request.fields().unprefixed();
    let (period, schedule) = (
        fields.duration("rotation_period")?,
        fields.string("rotation_schedule")?,
    );
    let window = fields.duration("rotation_window")?;
    match (period, schedule) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "mutually exclusive fields rotation_period and rotation_schedule were both specified",
            ));
        }
        (Some(period), None) if period < MIN_PERIOD => {
            return Err(Error::invalid("rotation_period must be 5 seconds or more"));
        }
        (Some(period), None) => (role.period, role.schedule, role.window) = (period, String::new(), 0),
        (None, Some(schedule)) => {
            if Schedule::parse(&schedule)?.next(env.now()).is_none() {
                return Err(Error::invalid("rotation_schedule names no time"));
            }
            (role.period, role.schedule) = (0, schedule);
        }
        (None, None) if role.period == 0 && role.schedule.is_empty() => {
            return Err(Error::invalid(
                "one of rotation_schedule or rotation_period must be provided to create a static account",
            ));
        }
        (None, None) => {}
    }
    match window {
        Some(_) if role.schedule.is_empty() => Err(Error::invalid(
            "rotation_window is invalid with use of rotation_period",
        )),
        Some(window) if window < MIN_WINDOW => Err(Error::invalid("rotation_window must be 3600s or more")),
        Some(window) => {
            role.window = window;
            Ok(())
        }
        None => Ok(()),
    }
}

/// `read static-roles/NAME`.
pub(super) fn read(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    let role = StaticRole::load(txn, name)?.ok_or_else(Error::not_found)?;
    let mut told = Map::new();
    told.insert("username".to_owned(), json!(role.username));
    told.insert("db_name".to_owned(), json!(role.db_name));
    told.insert("credential_type".to_owned(), json!("password"));
    tell_policy(&mut told, &role.password_policy);
    told.insert("rotation_statements".to_owned(), json!(role.rotation_statements));
    tell_times(&mut told, &role);
    Ok(Reply::data(told).into())
}

fn tell_times(told: &mut Map<String, Value>, role: &StaticRole) {
    if role.rotated > 0 {
        told.insert("last_vault_rotation".to_owned(), json!(format_time(role.rotated)));
    }
    if role.schedule.is_empty() {
        told.insert("rotation_period".to_owned(), json!(role.period / 1000));
    } else {
        told.insert("rotation_schedule".to_owned(), json!(role.schedule));
        if role.window > 0 {
            told.insert("rotation_window".to_owned(), json!(role.window / 1000));
        }
    }
}

/// `read static-creds/NAME`.
pub(super) fn credentials(txn: &mut Txn<'_>, name: &str, env: &Env<'_>) -> Result<Outcome, Error> {
    let role = StaticRole::load(txn, name)?;
    let role = role.ok_or_else(|| Error::invalid(format!("unknown role: {name}")))?;
    if role.password.is_empty() {
        return Err(Error::Target(
            "the first rotation of this role is not done yet".to_owned(),
        ));
    }
    let mut told = Map::new();
    told.insert("username".to_owned(), json!(role.username));
    told.insert("password".to_owned(), json!(role.password.as_str()));
    told.insert(
        "ttl".to_owned(),
        json!(role.next.saturating_sub(env.now()) / 1000),
    );
    tell_times(&mut told, &role);
    let reply = Reply::data(told);
    Ok(match role.pending.is_empty() {
        true => reply,
        false => reply.warn("a rotation of this password is under way"),
    }
    .into())
}

/// `rotate-role/NAME`, now.
pub(super) fn rotate(txn: &mut Txn<'_>, name: &str, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let role = StaticRole::load(txn, name)?;
    let mut role = role.ok_or_else(|| Error::invalid("no static role found for role name"))?;
    Ok(Outcome::Effect(Box::new(role.rotate(txn, name, env)?)))
}

/// `delete static-roles/NAME`. The account stays, with the password it has.
pub(super) fn delete(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    txn.get(&row(name))?;
    txn.delete(&row(name))?;
    Ok(Reply::empty().into())
}

/// Its time has come, or a rotation is not settled.
pub(super) fn due(txn: &mut Txn<'_>, name: &str, env: &mut Env<'_>) -> Result<Option<Box<Effect>>, Error> {
    let Some(mut role) = StaticRole::load(txn, name)? else {
        return Ok(None);
    };
    let now = env.now();
    if role.pending.is_empty() && (role.missed(now) || role.next > now) {
        role.next = role.next.max(role.after(now));
        role.save(txn, name, role.next)?;
        return Ok(None);
    }
    let begun = role.rotate(txn, name, env).ok();
    if begun.is_none() {
        // The connection is gone or cannot be used: all stays as it is, and is looked at again.
        role.save(txn, name, now.saturating_add(6 * AGAIN))?;
    }
    Ok(begun.map(Box::new))
}

/// What came of a rotation by the password of this digest.
pub(super) fn settle(
    txn: &mut Txn<'_>,
    name: &str,
    told: &str,
    result: Result<&[String], &Failure>,
    env: &Env<'_>,
) -> Result<Result<Reply, Error>, Error> {
    let now = env.now();
    let Some(mut role) = StaticRole::load(txn, name)? else {
        return Ok(Err(Error::invalid("the static role was deleted meanwhile")));
    };
    match result {
        // Another attempt has settled it, and perhaps one more was begun.
        _ if digest(&role.pending) != told => Ok(result
            .map(|_| Reply::empty())
            .map_err(|failure| Error::Target(format!("unable to rotate the password: {failure}")))),
        Ok(_) => {
            role.password = std::mem::take(&mut role.pending);
            role.repeated = false;
            role.rotated = now;
            role.next = role.after(now);
            role.save(txn, name, role.next)?;
            Ok(Ok(Reply::empty()))
        }
        Err(failure) => {
            let error = Err(Error::Target(format!("unable to rotate the password: {failure}")));
            match failure.done {
                // It may have been taken, now or before: the same is told again.
                Done::Unknown => role.save(txn, name, now.saturating_add(AGAIN))?,
                _ if role.repeated => role.save(txn, name, now.saturating_add(AGAIN))?,
                _ if role.rotated == 0 => {
                    txn.delete(&row(name))?;
                }
                _ => {
                    role.pending = Hidden::default();
                    role.save(txn, name, now.saturating_add(AGAIN))?;
                }
            }
            Ok(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_names_no_time_keeps_no_password_from_being_settled() {
        let role = StaticRole {
            schedule: "0 0 30 2 *".to_owned(),
            ..StaticRole::default()
        };
        assert_eq!(role.after(1), 1 + NEVER);
    }
}
