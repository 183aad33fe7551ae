//! Roles: `roles/NAME`. Whose tokens are handed out, or what accounts are made for them, and in which namespaces.

use std::collections::BTreeMap;

use conclave_engine_api::{Env, Error, Fields, Millis, Outcome, Reply, Request, Txn, format_duration};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::kind::{Kind, is_dns_name};
use super::{rules, template};
use crate::record;

const FORMAT: u8 = 1;
/// Where roles lie.
const DIRECTORY: &str = "role/";
/// Longest text of a field in bytes, and most entries of a list.
const MAX_TEXT: usize = 64 * 1024;
const MAX_ENTRIES: usize = 256;
/// Vault's template of names.
const TEMPLATE: &str = r#"{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (unix_time) (random 24) | truncate 62 | lowercase }}"#;
/// The word that allows every namespace.
const EVERY: &str = "*";

/// Which kind of role a binding names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RoleType {
    #[default]
    Role,
    ClusterRole,
}

impl RoleType {
    /// As the cluster has it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Role => Kind::Roles,
            Self::ClusterRole => Kind::ClusterRoles,
        }
    }
}

/// A role as stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    pub allowed_kubernetes_namespaces: Option<Vec<String>>,
    pub allowed_kubernetes_namespace_selector: String,
    pub token_max_ttl: Millis,
    pub token_default_ttl: Millis,
    pub token_default_audiences: Option<Vec<String>>,
    pub service_account_name: String,
    pub kubernetes_role_name: String,
    pub kubernetes_role_type: RoleType,
    pub generated_role_rules: String,
    pub name_template: String,
    pub extra_labels: Option<BTreeMap<String, String>>,
    pub extra_annotations: Option<BTreeMap<String, String>>,
}

/// Names of roles are the same in any case of letters, as in Vault.
fn row(name: &str) -> String {
    format!("{DIRECTORY}{}", name.to_ascii_lowercase())
}

/// Whether there is a role of this name.
pub(super) fn is_there(txn: &mut Txn<'_>, name: &str) -> Result<bool, Error> {
    Ok(txn.get(&row(name))?.is_some())
}

impl Role {
    pub fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, &row(name))
    }

    /// Whether accounts may be in this namespace by its name alone.
    pub fn allows(&self, namespace: &str) -> bool {
        let mut allowed = self.allowed_kubernetes_namespaces.iter().flatten();
        allowed.any(|known| known == EVERY || known == namespace)
    }

    /// The one namespace there is, if there is one.
    pub fn only_namespace(&self) -> Option<&str> {
        match self.allowed_kubernetes_namespaces.as_deref() {
            Some([only]) if only != EVERY && self.allowed_kubernetes_namespace_selector.is_empty() => {
                Some(only)
            }
            _ => None,
        }
    }

    /// What all objects of an account are called.
    pub fn name(&self, display_name: &str, role_name: &str, env: &mut Env<'_>) -> Result<String, Error> {
        let (display_name, role_name) = (fitting(display_name), fitting(role_name));
        let names = template::Names {
            display_name: &display_name,
            role_name: &role_name,
            more: &[],
        };
        let own = match self.name_template.as_str() {
            "" => TEMPLATE,
            own => own,
        };
        let name = template::fresh(own, &names, env).map_err(of_names)?;
        match is_dns_name(&name) {
            true => Ok(name),
            false => Err(Error::invalid(
                "name_template makes a name that Kubernetes does not take",
            )),
        }
    }
}

/// As a part of a name in Kubernetes.
fn fitting(text: &str) -> String {
    let letter = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '-',
    };
    text.chars().map(letter).collect()
}

/// Other engines call the field otherwise.
fn of_names(error: Error) -> Error {
    let renamed = |text: String| text.replace("username_template", "name_template");
    match error {
        Error::Invalid(text) => Error::Invalid(renamed(text)),
        Error::TooLarge(text) => Error::TooLarge(renamed(text)),
        other => other,
    }
}

/// `write roles/NAME`: what is not given stays, as in Vault.
pub(super) fn write(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let mut role = Role::load(txn, name)?.unwrap_or_default();
    take(&mut role, &request.fields().unprefixed())?;
    check(&role)?;
    role.name("token", name, env)?;
    txn.put(&row(name), record::encode(FORMAT, &role)?)?;
    Ok(Reply::empty().into())
}

fn take(role: &mut Role, fields: &Fields<'_>) -> Result<(), Error> {
    if let Some(namespaces) = fields.strings("allowed_kubernetes_namespaces")? {
        let namespaces = namespaces.iter().map(|name| name.trim().to_ascii_lowercase());
        role.allowed_kubernetes_namespaces = Some(each_once(namespaces.collect()));
    }
    if let Some(audiences) = fields.strings("token_default_audiences")? {
        role.token_default_audiences = Some(each_once(audiences));
    }
    for (name, place) in [
        ("token_max_ttl", &mut role.token_max_ttl),
        ("token_default_ttl", &mut role.token_default_ttl),
    ] {
        if let Some(ttl) = fields.duration(name)? {
            *place = ttl;
        }
    }
    for (name, place) in [
        (
            "allowed_kubernetes_namespace_selector",
            &mut role.allowed_kubernetes_namespace_selector,
        ),
        ("service_account_name", &mut role.service_account_name),
        ("kubernetes_role_name", &mut role.kubernetes_role_name),
        ("generated_role_rules", &mut role.generated_role_rules),
        ("name_template", &mut role.name_template),
    ] {
        match fields.string(name)? {
            Some(text) if text.len() > MAX_TEXT => {
                return Err(Error::TooLarge(format!("{name} is longer than {MAX_TEXT} bytes")));
            }
            Some(text) => *place = text,
            None => {}
        }
    }
    for (name, place) in [
        ("extra_labels", &mut role.extra_labels),
        ("extra_annotations", &mut role.extra_annotations),
    ] {
        if let Some(given) = fields.pairs(name)? {
            let size: usize = given.iter().map(|(key, value)| key.len() + value.len()).sum();
            if given.len() > MAX_ENTRIES || size > MAX_TEXT {
                return Err(Error::TooLarge(format!("{name} holds too much")));
            }
            *place = Some(given);
        }
    }
    if let Some(given) = fields.string("kubernetes_role_type")? {
        role.kubernetes_role_type = match given.to_ascii_lowercase().as_str() {
            "" | "role" => RoleType::Role,
            "clusterrole" => RoleType::ClusterRole,
            _ => {
                return Err(Error::invalid(
                    "kubernetes_role_type must be either 'Role' or 'ClusterRole'",
                ));
            }
        };
    }
    Ok(())
}

fn each_once(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts.dedup();
    texts
}

fn check(role: &Role) -> Result<(), Error> {
    let listed = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
    let namespaces = listed(&role.allowed_kubernetes_namespaces);
    if namespaces == 0 && role.allowed_kubernetes_namespace_selector.is_empty() {
        return Err(Error::invalid(
            "one (at least) of allowed_kubernetes_namespaces or allowed_kubernetes_namespace_selector must be set",
        ));
    }
    if namespaces > MAX_ENTRIES || listed(&role.token_default_audiences) > MAX_ENTRIES {
        return Err(Error::TooLarge(format!(
            "a list of a role may hold {MAX_ENTRIES} entries"
        )));
    }
    let ways = [
        &role.service_account_name,
        &role.kubernetes_role_name,
        &role.generated_role_rules,
    ];
    if ways.iter().filter(|way| !way.is_empty()).count() != 1 {
        return Err(Error::invalid(
            "one (and only one) of service_account_name, kubernetes_role_name or generated_role_rules must be set",
        ));
    }
    if role.token_max_ttl > 0 && role.token_default_ttl > role.token_max_ttl {
        return Err(Error::invalid(format!(
            "token_default_ttl {} cannot be greater than token_max_ttl {}",
            format_duration(role.token_default_ttl),
            format_duration(role.token_max_ttl)
        )));
    }
    if !role.allowed_kubernetes_namespace_selector.is_empty() {
        rules::selector(&role.allowed_kubernetes_namespace_selector)?;
    }
    if !role.generated_role_rules.is_empty() {
        rules::rules(&role.generated_role_rules)?;
    }
    // It stands in a path, where other things would stand for something else.
    match role.service_account_name.is_empty() || is_dns_name(&role.service_account_name) {
        true => Ok(()),
        false => Err(Error::invalid(
            "service_account_name is no name of a service account",
        )),
    }
}

/// `read roles/NAME`, lives in seconds.
pub(super) fn read(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    let role = Role::load(txn, name)?.ok_or_else(Error::not_found)?;
    Ok(Reply::json(json!({
        "name": name.to_ascii_lowercase(),
        "allowed_kubernetes_namespaces": role.allowed_kubernetes_namespaces,
        "allowed_kubernetes_namespace_selector": role.allowed_kubernetes_namespace_selector,
        "token_max_ttl": role.token_max_ttl / 1000,
        "token_default_ttl": role.token_default_ttl / 1000,
        "token_default_audiences": role.token_default_audiences,
        "service_account_name": role.service_account_name,
        "kubernetes_role_name": role.kubernetes_role_name,
        "kubernetes_role_type": role.kubernetes_role_type,
        "generated_role_rules": role.generated_role_rules,
        "name_template": role.name_template,
        "extra_labels": role.extra_labels,
        "extra_annotations": role.extra_annotations,
    }))
    .into())
}

/// `list roles`.
pub(super) fn list(txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Outcome, Error> {
    Outcome::listing(txn.list(DIRECTORY, &request.fields().page()?)?)
}

/// `delete roles/NAME`. Accounts of it go with their leases.
pub(super) fn delete(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    txn.delete(&row(name))?;
    Ok(Reply::empty().into())
}
