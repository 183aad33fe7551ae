//! One setting of a role at a path of its own: read, set, or put back to what a new role has.

use conclave_engine_api::{Error, Fields, Operation, Outcome, Reply, Request, TokenSettings, Txn};
use serde_json::{Map, Value, json};

use crate::auth::approle::role::Role;

/// A path, the parameter behind it, what it was called before, and what is said when none is given.
struct Setting {
    path: &'static str,
    name: &'static str,
    old: Option<&'static str>,
    missing: Option<&'static str>,
}

const fn setting(path: &'static str, name: &'static str, missing: Option<&'static str>) -> Setting {
    Setting {
        path,
        name,
        old: None,
        missing,
    }
}

const fn renamed(
    path: &'static str,
    name: &'static str,
    old: &'static str,
    missing: &'static str,
) -> Setting {
    Setting {
        path,
        name,
        old: Some(old),
        missing: Some(missing),
    }
}

const SETTINGS: &[Setting] = &[
    renamed("policies", "token_policies", "policies", "missing token_policies"),
    renamed("period", "token_period", "period", "missing period"),
    setting("bind-secret-id", "bind_secret_id", Some("missing bind_secret_id")),
    setting("secret-id-bound-cidrs", "secret_id_bound_cidrs", None),
    setting("token-bound-cidrs", "token_bound_cidrs", None),
    setting(
        "secret-id-num-uses",
        "secret_id_num_uses",
        Some("missing secret_id_num_uses"),
    ),
    setting("secret-id-ttl", "secret_id_ttl", Some("missing secret_id_ttl")),
    setting("token-num-uses", "token_num_uses", Some("missing token_num_uses")),
    setting("token-ttl", "token_ttl", Some("missing token_ttl")),
    setting("token-max-ttl", "token_max_ttl", Some("missing token_max_ttl")),
];

/// Everything beneath `role/:role/` that is not about secret ids.
pub(super) fn handle(
    txn: &mut Txn<'_>,
    request: &Request<'_>,
    name: &str,
    path: &str,
) -> Result<Outcome, Error> {
    use Operation::{Create, Delete, Read, Update};
    let found = SETTINGS.iter().find(|setting| setting.path == path);
    let operation = request.operation;
    if found.is_none() && !matches!(path, "role-id" | "bound-cidr-list" | "local-secret-ids") {
        return Err(Error::UnsupportedPath);
    }
    match (found, operation) {
        (_, Read) => {
            let role = Role::load(txn, name)?.ok_or_else(Error::not_found)?;
            Ok(show(&role, found, path).into())
        }
        (Some(setting), Create | Update) => {
            let mut role = Role::load(txn, name)?.ok_or(Error::UnsupportedPath)?;
            set(&mut role, setting, request.data)?;
            role.store(txn, name)?;
            Ok(Reply::empty().into())
        }
        (None, Create | Update) if path != "local-secret-ids" => {
            let mut role = Role::load(txn, name)?.ok_or(Error::UnsupportedPath)?;
            if path == "role-id" {
                let role_id = request.fields().required("role_id")?;
                role.identify(txn, name, role_id)?;
            } else {
                role.read(&only(request.data, &["bound_cidr_list"]))?;
            }
            role.store(txn, name)?;
            Ok(Reply::empty().into())
        }
        (_, Delete) if !matches!(path, "role-id" | "local-secret-ids") => {
            if let Some(mut role) = Role::load(txn, name)? {
                reset(&mut role, path);
                role.store(txn, name)?;
            }
            Ok(Reply::empty().into())
        }
        _ => Err(Error::UnsupportedOperation),
    }
}

fn show(role: &Role, setting: Option<&Setting>, path: &str) -> Reply {
    let all = role.describe();
    let mut data = Map::new();
    match (setting, path) {
        (Some(setting), _) => {
            for name in [Some(setting.name), setting.old].into_iter().flatten() {
                if let Some(value) = all.get(name) {
                    data.insert(name.to_owned(), value.clone());
                }
            }
            // A list that was never set is shown as none here and as an empty one with the role.
            if setting.name == "token_bound_cidrs" && role.token.bound_cidrs.is_empty() {
                data.insert(setting.name.to_owned(), Value::Null);
            }
        }
        (None, "role-id") => {
            data.insert("role_id".to_owned(), json!(role.role_id));
        }
        (None, "local-secret-ids") => {
            data.insert("local_secret_ids".to_owned(), json!(role.local_secret_ids));
        }
        (None, _) => {
            data.insert("bound_cidr_list".to_owned(), json!(role.secret_id_bound_cidrs));
            return Reply::data(data).warn(
                "The \"bound_cidr_list\" field is deprecated and will be removed. Please use \"secret_id_bound_cidrs\" \
                 instead.",
            );
        }
    }
    Reply::data(data)
}

fn set(role: &mut Role, setting: &Setting, body: &Map<String, Value>) -> Result<(), Error> {
    let names: Vec<&str> = [Some(setting.name), setting.old].into_iter().flatten().collect();
    let given = only(body, &names);
    if let (true, Some(missing)) = (given.is_empty(), setting.missing) {
        return Err(Error::invalid(missing));
    }
    let longer = |role: &Role| role.token.max_ttl > 0 && role.token.ttl > role.token.max_ttl;
    match setting.name {
        // Said otherwise here than where a role is written.
        "token_ttl" | "token_max_ttl" => {
            let fields = Fields::new(&given).unprefixed();
            role.token.ttl = fields.duration("token_ttl")?.unwrap_or(role.token.ttl);
            role.token.max_ttl = fields.duration("token_max_ttl")?.unwrap_or(role.token.max_ttl);
            if longer(role) {
                return Err(Error::invalid(match setting.name {
                    "token_ttl" => "token_ttl should not be greater than token_max_ttl",
                    _ => "token_max_ttl should be greater than or equal to token_ttl",
                }));
            }
            Ok(())
        }
        _ => role.read(&given),
    }
}

fn reset(role: &mut Role, path: &str) {
    let fresh = TokenSettings::default();
    match path {
        "policies" => {
            role.token.policies = fresh.policies;
            role.old_names.forget("policies");
        }
        "period" => {
            role.token.period = fresh.period;
            role.old_names.forget("period");
        }
        "bind-secret-id" => role.bind_secret_id = true,
        "bound-cidr-list" | "secret-id-bound-cidrs" => role.secret_id_bound_cidrs = None,
        "token-bound-cidrs" => role.token.bound_cidrs = fresh.bound_cidrs,
        "secret-id-num-uses" => role.secret_id_num_uses = 0,
        "secret-id-ttl" => role.secret_id_ttl = 0,
        "token-num-uses" => role.token.num_uses = fresh.num_uses,
        "token-ttl" => role.token.ttl = fresh.ttl,
        "token-max-ttl" => role.token.max_ttl = fresh.max_ttl,
        _ => {}
    }
}

fn only(body: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let given = body
        .iter()
        .filter(|(name, value)| names.contains(&name.as_str()) && !value.is_null());
    given.map(|(name, value)| (name.clone(), value.clone())).collect()
}
