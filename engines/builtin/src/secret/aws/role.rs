//! Roles: `roles/NAME`. What credentials of a role may do and how long they live, in Vault's fields of today and of old.

use std::collections::BTreeMap;

use conclave_engine_api::{Error, Fields, Millis, Outcome, Reply, Request, Txn};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::policy;
use crate::record;

const FORMAT: u8 = 1;
/// Where roles lie.
pub(super) const DIRECTORY: &str = "role/";
/// Most entries of one list of a role.
const MAX_ENTRIES: usize = 50;
/// Longest path of a user in bytes, as IAM has it.
const MAX_USER_PATH: usize = 512;

/// What is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A user of IAM with an access key.
    IamUser,
    /// A role that is assumed.
    AssumedRole,
    /// A federated user.
    FederationToken,
    /// The configured user itself, for a while.
    SessionToken,
}

const KINDS: [(&str, Kind); 4] = [
    ("iam_user", Kind::IamUser),
    ("assumed_role", Kind::AssumedRole),
    ("federation_token", Kind::FederationToken),
    ("session_token", Kind::SessionToken),
];

impl Kind {
    pub fn name(self) -> &'static str {
        let known = KINDS.iter().find(|(_, kind)| *kind == self);
        known.map_or("", |(name, _)| name)
    }
}

/// A role as stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    /// One; two for a role of old times whose policy may be meant for either.
    pub kinds: Vec<Kind>,
    pub policy_arns: Vec<String>,
    pub role_arns: Vec<String>,
    pub policy_document: String,
    pub iam_groups: Vec<String>,
    pub iam_tags: BTreeMap<String, String>,
    pub session_tags: BTreeMap<String, String>,
    pub external_id: String,
    pub default_sts_ttl: Millis,
    pub max_sts_ttl: Millis,
    /// Of users of IAM; 0: those of `config/lease`.
    pub ttl: Millis,
    pub max_ttl: Millis,
    pub user_path: String,
    pub permissions_boundary_arn: String,
    pub mfa_serial_number: String,
    /// A role of old times hands out users under `creds` and the rest under `sts` alone.
    pub strict_paths: bool,
}

fn row(name: &str) -> String {
    format!("{DIRECTORY}{name}")
}

impl Role {
    pub fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, &row(name))
    }

    pub fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// `write roles/NAME`: what is given replaces, what is not stays.
pub(super) fn write(txn: &mut Txn<'_>, name: &str, request: &Request<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let (role, warning) = match of_old(&fields)? {
        Some(role) => (
            role,
            Some(
                "Detected use of legacy role or policy parameter. Please upgrade to use the new parameters.",
            ),
        ),
        None => {
            let mut role = Role::load(txn, name)?.unwrap_or_default();
            take(&mut role, &fields)?;
            (role, None)
        }
    };
    check(&role)?;
    txn.put(&row(name), record::encode(FORMAT, &role)?)?;
    let reply = match warning {
        Some(warning) => Reply::empty().warn(warning),
        None => Reply::empty(),
    };
    Ok(reply.into())
}

/// A role by the fields of old times: `arn` or `policy`, and nothing else of what came after.
fn of_old(fields: &Fields<'_>) -> Result<Option<Role>, Error> {
    let given = |name| Ok::<_, Error>(fields.string(name)?.filter(|text| !text.is_empty()));
    let text = match (given("policy")?, given("arn")?) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Error::invalid("only one of policy or arn should be provided"));
        }
        (Some(text), None) | (None, Some(text)) => text,
    };
    for name in [
        "credential_type",
        "role_arns",
        "policy_arns",
        "policy_document",
        "default_sts_ttl",
        "max_sts_ttl",
        "user_path",
        "permissions_boundary_arn",
    ] {
        if fields.given(name) {
            let other = match name {
                "credential_type" => "an explicit credential_type",
                name => name,
            };
            return Err(Error::invalid(format!(
                "cannot supply deprecated role or policy parameters with {other}"
            )));
        }
    }
    let mut role = Role {
        strict_paths: true,
        ..Role::default()
    };
    if !text.starts_with("arn:") {
        role.policy_document = policy::compact(&text)?;
        role.kinds = vec![Kind::IamUser, Kind::FederationToken];
        return Ok(Some(role));
    }
    match policy::resource(&text).and_then(|resource| resource.split_once('/')) {
        Some(("role", _)) => {
            role.kinds = vec![Kind::AssumedRole];
            role.role_arns = vec![text];
        }
        Some(("policy", _)) => {
            role.kinds = vec![Kind::IamUser];
            role.policy_arns = vec![text];
        }
        _ => {
            return Err(Error::invalid(
                "unable to parse supplied data: arn names no role or policy",
            ));
        }
    }
    Ok(Some(role))
}

fn take(role: &mut Role, fields: &Fields<'_>) -> Result<(), Error> {
    role.strict_paths = false;
    if let Some(given) = fields.string("credential_type")? {
        let known = KINDS.iter().find(|(name, _)| *name == given);
        let (_, kind) = known.ok_or_else(|| invalid("unrecognized credential type"))?;
        role.kinds = vec![*kind];
    }
    for (name, place) in [
        ("role_arns", &mut role.role_arns),
        ("policy_arns", &mut role.policy_arns),
        ("iam_groups", &mut role.iam_groups),
    ] {
        if let Some(list) = fields.strings(name)? {
            *place = list;
        }
    }
    for (name, place) in [
        ("iam_tags", &mut role.iam_tags),
        ("session_tags", &mut role.session_tags),
    ] {
        if let Some(given) = fields.pairs(name)? {
            *place = given;
        }
    }
    for (name, place) in [
        ("default_sts_ttl", &mut role.default_sts_ttl),
        ("max_sts_ttl", &mut role.max_sts_ttl),
        ("ttl", &mut role.ttl),
        ("max_ttl", &mut role.max_ttl),
    ] {
        if let Some(ttl) = fields.duration(name)? {
            *place = ttl;
        }
    }
    for (name, place) in [
        ("external_id", &mut role.external_id),
        ("user_path", &mut role.user_path),
        ("permissions_boundary_arn", &mut role.permissions_boundary_arn),
        ("mfa_serial_number", &mut role.mfa_serial_number),
    ] {
        if let Some(text) = fields.string(name)? {
            *place = text;
        }
    }
    if let Some(document) = fields.string("policy_document")? {
        role.policy_document = match document.as_str() {
            "" => String::new(),
            document => policy::compact(document)?,
        };
    }
    Ok(())
}

/// What Vault says of roles that cannot be.
fn check(role: &Role) -> Result<(), Error> {
    let user = role.has(Kind::IamUser);
    let temporary = [Kind::AssumedRole, Kind::FederationToken, Kind::SessionToken];
    let temporary = temporary.iter().any(|kind| role.has(*kind));
    let only = |wrong: bool, text: &str| if wrong { Err(invalid(text)) } else { Ok(()) };
    only(role.kinds.is_empty(), "did not supply credential_type")?;
    for (name, ttl) in [
        ("default_sts_ttl", role.default_sts_ttl),
        ("max_sts_ttl", role.max_sts_ttl),
    ] {
        let text = format!(
            "{name} parameter only valid for assumed_role, federation_token, and session_token credential types"
        );
        only(ttl != 0 && !temporary, &text)?;
    }
    only(
        role.max_sts_ttl > 0 && role.default_sts_ttl > role.max_sts_ttl,
        "\"default_sts_ttl\" value must be less than or equal to \"max_sts_ttl\" value",
    )?;
    only(role.max_ttl > 0 && role.ttl > role.max_ttl, "ttl exceeds max_ttl")?;
    only(
        (role.ttl > 0 || role.max_ttl > 0) && !user,
        "ttl and max_ttl are only valid for iam_user: use default_sts_ttl and max_sts_ttl",
    )?;
    let text = "user_path parameter only valid for iam_user credential type";
    only(!role.user_path.is_empty() && !user, text)?;
    only(
        !is_user_path(&role.user_path),
        "the specified value for user_path is invalid: it must begin and end with a slash",
    )?;
    let boundary = role.permissions_boundary_arn.as_str();
    let text = "cannot supply permissions_boundary_arn when credential_type isn't iam_user";
    only(!boundary.is_empty() && !user, text)?;
    let is_policy = policy::resource(boundary).is_some_and(|resource| resource.starts_with("policy/"));
    only(
        !boundary.is_empty() && !is_policy,
        "invalid permissions_boundary_arn parameter: expected the ARN of a policy of IAM",
    )?;
    let has_policy = !role.policy_document.is_empty() || !role.policy_arns.is_empty();
    only(
        has_policy && role.has(Kind::SessionToken),
        "cannot supply a policy or role when using credential_type session_token",
    )?;
    let assumed = role.has(Kind::AssumedRole);
    for (name, given) in [
        ("role_arns", !role.role_arns.is_empty()),
        ("session_tags", !role.session_tags.is_empty()),
        ("external_id", !role.external_id.is_empty()),
    ] {
        let text = format!("cannot supply {name} when credential_type isn't assumed_role");
        only(given && !assumed, &text)?;
    }
    if !role.iam_groups.is_empty() && temporary && !user {
        return Err(Error::Unsupported(
            "iam_groups with temporary credentials: name their policies instead".to_owned(),
        ));
    }
    let lists = [
        role.policy_arns.len(),
        role.role_arns.len(),
        role.iam_groups.len(),
    ];
    let tags = [role.iam_tags.len(), role.session_tags.len()];
    if lists.iter().chain(&tags).any(|entries| *entries > MAX_ENTRIES) {
        return Err(Error::TooLarge(format!(
            "a list of a role may hold {MAX_ENTRIES} entries"
        )));
    }
    Ok(())
}

fn invalid(text: &str) -> Error {
    Error::invalid(format!("error(s) validating supplied role data: {text}"))
}

/// Empty, or between slashes in printable letters.
fn is_user_path(path: &str) -> bool {
    path.is_empty()
        || (path.len() <= MAX_USER_PATH
            && path.starts_with('/')
            && path.ends_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// `read roles/NAME`.
pub(super) fn read(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    let role = Role::load(txn, name)?.ok_or_else(Error::not_found)?;
    let kinds: Vec<_> = role.kinds.iter().map(|kind| kind.name()).collect();
    let mut data = json!({
        "credential_type": kinds.join(","),
        "policy_arns": role.policy_arns,
        "role_arns": role.role_arns,
        "policy_document": role.policy_document,
        "iam_groups": role.iam_groups,
        "iam_tags": role.iam_tags,
        "session_tags": role.session_tags,
        "external_id": role.external_id,
        "default_sts_ttl": role.default_sts_ttl / 1000,
        "max_sts_ttl": role.max_sts_ttl / 1000,
        "user_path": role.user_path,
        "permissions_boundary_arn": role.permissions_boundary_arn,
        "mfa_serial_number": role.mfa_serial_number,
    });
    if let (true, Some(data)) = (role.has(Kind::IamUser), data.as_object_mut()) {
        data.insert("ttl".to_owned(), json!(role.ttl / 1000));
        data.insert("max_ttl".to_owned(), json!(role.max_ttl / 1000));
    }
    Ok(Reply::json(data).into())
}

/// `delete roles/NAME`. Users of it are dropped with their leases.
pub(super) fn delete(txn: &mut Txn<'_>, name: &str) -> Result<Outcome, Error> {
    txn.delete(&row(name))?;
    Ok(Reply::empty().into())
}
