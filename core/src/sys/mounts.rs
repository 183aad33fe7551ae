//! `sys/mounts` and `sys/auth`: which engine answers which paths. `tune.rs` changes a mount, `remount.rs` moves one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use conclave_engine_api::{Env, Fields, Millis};

use crate::auth::owner_of;
use crate::catalog::{Category, Logins, MountRecord, Told, decode_record, encode_record};
use crate::error::Error;
use crate::leases;
use crate::routes::{Answer, Call};
use crate::store::layout::ROOT_NAMESPACE;
use crate::sys::{plugins, tune};
use crate::tokens;
use crate::work::Work;

/// Row of the next mount's id.
pub const NEXT_ID: &str = "next-mount";
/// Mounts no cluster can be without, and the place of auth methods.
pub(super) const PROTECTED: [&str; 4] = ["sys/", "cubbyhole/", "identity/", "auth/"];
/// Types of which there is one mount each.
const SINGLE: [&str; 4] = ["cubbyhole", "identity", "system", "token"];
/// Most mounts.
const MAX_MOUNTS: usize = 10_000;
/// Secrets engines of Vault and OpenBao that are not built here.
const UNBUILT_ENGINES: [&str; 22] = [
    "ad",
    "alicloud",
    "aws",
    "azure",
    "consul",
    "gcp",
    "gcpkms",
    "keymgmt",
    "kmip",
    "ldap",
    "mongodbatlas",
    "nomad",
    "openldap",
    "pki",
    "plugin",
    "rabbitmq",
    "ssh",
    "terraform",
    "totp",
    "transform",
    "transit",
    "tokenization",
];
/// Auth methods of Vault and OpenBao that are not built here.
const UNBUILT_METHODS: [&str; 15] = [
    "alicloud",
    "aws",
    "azure",
    "cert",
    "cf",
    "gcp",
    "github",
    "jwt",
    "kerberos",
    "kubernetes",
    "ldap",
    "oci",
    "oidc",
    "okta",
    "radius",
];

/// `secrets list`.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Ok(Answer::at_top_level(describe_all(call, Category::Secret)))
}

/// `auth list`.
pub fn list_auth(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Ok(Answer::at_top_level(describe_all(call, Category::Auth)))
}

fn describe_all(call: &Call<'_, '_>, category: Category) -> Map<String, Value> {
    let mounts = call.work.catalog.mounts(category);
    mounts
        .iter()
        .map(|(path, mount)| (path.clone(), Value::Object(describe(call, mount))))
        .collect()
}

/// A mount as clients see it.
pub fn describe(call: &Call<'_, '_>, mount: &MountRecord) -> Map<String, Value> {
    let options = options(mount);
    let mut config = super::object(json!({
        "default_lease_ttl": mount.default_lease_ttl / 1000,
        "max_lease_ttl": mount.max_lease_ttl / 1000,
        "force_no_cache": mount.told.force_no_cache,
    }));
    config.extend(told(mount));
    if let Some(lockout) = &mount.logins.lockout {
        config.insert(
            "user_lockout_config".to_owned(),
            tune::describe_lockout(lockout).into(),
        );
    }
    let mut described = super::object(json!({
        "accessor": mount.accessor,
        "config": config,
        "description": mount.description,
        "external_entropy_access": mount.told.external_entropy_access,
        "local": mount.local,
        "options": options,
        "plugin_version": "",
        "running_plugin_version": format!("v{}+builtin.conclave", call.core.settings.vault_version),
        "running_sha256": "",
        "seal_wrap": mount.seal_wrap,
        "type": shown_kind(mount),
        "uuid": mount.uuid,
    }));
    if !SINGLE.contains(&mount.kind.as_str()) && call.core.engine_of(mount).is_some() {
        described.insert("deprecation_status".to_owned(), json!("supported"));
    }
    described
}

/// A mount's type as clients see it: the original tells those that every namespace has of its own from the root's.
pub(crate) fn shown_kind(mount: &MountRecord) -> Cow<'_, str> {
    let own = SINGLE.contains(&mount.kind.as_str());
    match own && mount.namespace != ROOT_NAMESPACE {
        true => Cow::Owned(format!("ns_{}", mount.kind)),
        false => Cow::Borrowed(mount.kind.as_str()),
    }
}

/// A mount's options as clients see them: the original has none where there is none, and an empty object for methods.
pub(super) fn options(mount: &MountRecord) -> Value {
    let own = SINGLE.contains(&mount.kind.as_str());
    match (mount.options.is_empty(), mount.category) {
        (true, Category::Auth) if !own => json!({}),
        (true, _) => Value::Null,
        (false, _) => json!(mount.options),
    }
}

/// Settings of a mount that are shown only where they are set.
pub(super) fn told(mount: &MountRecord) -> Map<String, Value> {
    let told = &mount.told;
    // What OpenBao says of its own two mounts with headers.
    let own_headers = match mount.kind.as_str() {
        "system" => vec!["Accept".to_owned()],
        "identity" => vec!["Authorization".to_owned()],
        _ => Vec::new(),
    };
    let headers = if told.passthrough_request_headers.is_empty() {
        &own_headers
    } else {
        &told.passthrough_request_headers
    };
    let lists = [
        ("audit_non_hmac_request_keys", &told.audit_non_hmac_request_keys),
        ("audit_non_hmac_response_keys", &told.audit_non_hmac_response_keys),
        ("passthrough_request_headers", headers),
        ("allowed_response_headers", &told.allowed_response_headers),
    ];
    let set = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let mut shown: Map<String, Value> = set.map(|(name, list)| (name.to_owned(), json!(list))).collect();
    if !mount.listing_visibility.is_empty() {
        shown.insert("listing_visibility".to_owned(), json!(mount.listing_visibility));
    }
    if mount.category == Category::Auth {
        let kind = Some(&told.token_type).filter(|kind| !kind.is_empty());
        let born = mount.kind == "token" && mount.namespace != ROOT_NAMESPACE;
        let kind = kind.map_or(if born { "default" } else { "default-service" }, String::as_str);
        shown.insert("token_type".to_owned(), json!(kind));
    }
    shown
}

/// The mount that the path of a request beneath `sys/mounts` or `sys/auth` names, and whether its settings are meant.
pub(super) struct Named {
    /// Secrets or logins.
    pub category: Category,
    /// With trailing slash, without `auth/`.
    pub path: String,
    /// Whether the path goes on with `/tune`.
    pub tune: bool,
}

impl Named {
    pub fn of(call: &Call<'_, '_>) -> Self {
        let path = call.params.get("path").trim_end_matches('/');
        let (path, tune) = match path.strip_suffix("/tune") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let is_auth = call.path.starts_with("auth/");
        let (category, path) = match path.strip_prefix("auth/") {
            // `sys/mounts/auth/x/tune` is the other name of `sys/auth/x/tune`.
            Some(path) if tune && !is_auth => (Category::Auth, path),
            _ if is_auth => (Category::Auth, path),
            _ => (Category::Secret, path),
        };
        Self {
            category,
            path: format!("{path}/"),
            tune,
        }
    }

    /// With `auth/`.
    pub fn full(&self) -> String {
        match self.category {
            Category::Secret => self.path.clone(),
            Category::Auth => format!("auth/{}", self.path),
        }
    }
}

/// `GET sys/mounts/:path` and `sys/auth/:path`, and their settings.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let named = Named::of(call);
    if named.tune {
        return tune::read(call, &named);
    }
    let mount = call.work.catalog.mounts(named.category).get(&named.path);
    let mount = mount.ok_or_else(|| {
        Error::invalid(match named.category {
            Category::Secret => format!("No secret engine mount at {}", named.path),
            Category::Auth => format!("No auth engine at {}", named.path),
        })
    })?;
    Ok(Answer::at_top_level(describe(call, mount)))
}

/// `auth enable`.
pub fn enable_auth(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let named = Named::of(call);
    if named.tune {
        return tune::write(call, &named);
    }
    let kind = backend_type(call)?;
    if kind == "token" {
        return Err(Error::invalid("token credential backend cannot be instantiated"));
    }
    if !call.core.methods.contains_key(kind.as_str()) {
        return Err(match UNBUILT_METHODS.contains(&kind.as_str()) {
            true => Error::Unsupported(format!("auth method {kind:?}")),
            false => Error::invalid(format!("plugin not found in the catalog: {kind}")),
        });
    }
    let options = call.fields().pairs("options")?.unwrap_or_default();
    if options.contains_key("version") {
        return Err(Error::invalid(format!(
            "auth method {kind:?} does not allow setting a version"
        )));
    }
    make(call, named, kind, options)
}

/// `auth disable`. What is not there is as disabled as was asked for. Tokens of its logins are good for nothing at once, and
/// removed in batches.
pub fn disable_auth(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let named = Named::of(call);
    if named.path == "token/" {
        return Err(Error::invalid("token credential backend cannot be disabled"));
    }
    if let Some(mount) = call.work.catalog.mounts(Category::Auth).get(&named.path) {
        let row = mount.row();
        call.work.config.get(&row)?;
        call.work.config.delete(&row)?;
        tokens::close(call.work, &owner_of(mount.namespace, mount.id, mount.logins.era))?;
    }
    Ok(Answer::empty())
}

fn backend_type(call: &Call<'_, '_>) -> Result<String, Error> {
    let kind = call.fields().required("type");
    kind.map_err(|_| Error::invalid("backend type must be specified as a string"))
}

/// `secrets enable`.
pub fn enable(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let named = Named::of(call);
    if named.tune {
        return tune::write(call, &named);
    }
    let fields = call.fields();
    let asked = backend_type(call)?;
    let mut options = fields.pairs("options")?.unwrap_or_default();
    let kind = match asked.as_str() {
        "kv-v1" | "kv-v2" => {
            options.insert(
                "version".to_owned(),
                if asked == "kv-v1" { "1" } else { "2" }.to_owned(),
            );
            "kv".to_owned()
        }
        "generic" => "kv".to_owned(),
        other => other.to_owned(),
    };
    check_kind(call, &named.path, &kind)?;
    if kind != "kv" && options.contains_key("version") {
        return Err(Error::invalid(format!(
            "secrets engine {kind:?} does not allow setting a version"
        )));
    }
    make(call, named, kind, options)
}

/// Makes a mount as the body says.
fn make(
    call: &mut Call<'_, '_>,
    named: Named,
    kind: String,
    options: BTreeMap<String, String>,
) -> Result<Answer, Error> {
    let fields = call.fields();
    let Named { category, path, .. } = named;
    let description = fields.string("description")?.unwrap_or_default();
    let (local, seal_wrap) = (
        fields.bool("local")?.unwrap_or(false),
        fields.bool("seal_wrap")?.unwrap_or(false),
    );
    let entropy = fields.bool("external_entropy_access")?.unwrap_or(false);
    let config = fields.object("config")?.cloned().unwrap_or_default();
    if let Some(version) = Fields::new(&config)
        .string("plugin_version")?
        .filter(|asked| !asked.is_empty())
    {
        plugins::check_version(call.core, &kind, &version, true)?;
    }
    let (default_lease_ttl, max_lease_ttl) = first_ttls(call, &Fields::new(&config))?;
    check_path_free(call, category, &path)?;
    let prefix = match category {
        Category::Secret => "",
        Category::Auth => "auth_",
    };
    let mut mount = MountRecord {
        id: next_ids(call.work, 1)?,
        namespace: call.work.namespace(),
        uuid: call.env.uuid(),
        accessor: format!("{prefix}{kind}_{}", call.env.hex(4)),
        path,
        kind,
        description,
        options,
        default_lease_ttl,
        max_lease_ttl,
        category,
        listing_visibility: String::new(),
        local,
        seal_wrap,
        told: Told {
            external_entropy_access: entropy,
            ..Told::default()
        },
        logins: Logins::default(),
    };
    tune::apply(&mut mount, &Fields::new(&config))?;
    if let Some(engine) = call.core.engine_of(&mount) {
        let settings = &call.core.settings;
        engine.check_mount(&mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl))?;
    }
    call.work.config.put(&mount.row(), encode_record(&mount)?)?;
    Ok(Answer::empty())
}

fn check_kind(call: &Call<'_, '_>, path: &str, kind: &str) -> Result<(), Error> {
    if PROTECTED.iter().any(|protected| path.starts_with(protected)) {
        return Err(Error::invalid(format!("cannot mount {path:?}")));
    }
    if SINGLE.contains(&kind) {
        return Err(Error::invalid(format!("mount type of {kind:?} is not mountable")));
    }
    if call.core.engines.contains_key(kind) {
        return Ok(());
    }
    if UNBUILT_ENGINES.contains(&kind) {
        return Err(Error::Unsupported(format!("secrets engine {kind:?}")));
    }
    Err(Error::invalid(format!("plugin not found in the catalog: {kind}")))
}

/// The mount that a new one at `path` would lie beneath or above.
pub(super) fn in_the_way<'c>(call: &Call<'c, '_>, category: Category, path: &str) -> Option<&'c String> {
    let mut mounts = call.work.catalog.mounts(category).keys();
    mounts.find(|known| path.starts_with(known.as_str()) || known.starts_with(path))
}

fn check_path_free(call: &Call<'_, '_>, category: Category, path: &str) -> Result<(), Error> {
    if call.work.catalog.mounts(category).len() >= MAX_MOUNTS {
        return Err(Error::Overloaded(format!("more than {MAX_MOUNTS} mounts")));
    }
    let tree = call.work.catalog.tree();
    let first = path.split('/').next().unwrap_or_default();
    if category == Category::Secret
        && let Some(node) = tree.child(call.work.namespace(), first)
    {
        return Err(Error::invalid(format!("existing mount at {}", node.record.path)));
    }
    match in_the_way(call, category, path) {
        Some(known) => Err(Error::invalid(format!("path is already in use at {known}"))),
        None => Ok(()),
    }
}

/// The first of `count` numbers for mounts, which nobody else gets.
pub(super) fn next_ids(work: &mut Work<'_>, count: u32) -> Result<u32, Error> {
    let row = work
        .cluster
        .get(NEXT_ID)?
        .ok_or_else(|| Error::internal("the next mount's id is missing"))?;
    let id: u32 = decode_record(&row.value)?;
    let next = id
        .checked_add(count)
        .ok_or_else(|| Error::internal("mount ids are used up"))?;
    work.cluster.put(NEXT_ID, encode_record(&next)?)?;
    Ok(id)
}

/// The mounts that every namespace is born with.
const BORN_WITH: [(&str, &str, Category, &str); 4] = [
    (
        "cubbyhole/",
        "cubbyhole",
        Category::Secret,
        "per-token private secret storage",
    ),
    (
        "sys/",
        "system",
        Category::Secret,
        "system endpoints used for control, policy and debugging",
    ),
    ("identity/", "identity", Category::Secret, "identity store"),
    ("token/", "token", Category::Auth, "token based credentials"),
];

/// How many mounts every namespace is born with.
pub const BORN: u32 = 4;

/// The mounts that a namespace is born with, numbered from `first` on.
pub fn born_with(env: &mut Env<'_>, first: u32, namespace: u32) -> Vec<MountRecord> {
    let mut records = Vec::with_capacity(BORN_WITH.len());
    for ((path, kind, category, description), id) in BORN_WITH.into_iter().zip(first..) {
        let prefix = match category {
            Category::Secret => "",
            Category::Auth => "auth_",
        };
        records.push(MountRecord {
            id,
            namespace,
            uuid: env.uuid(),
            accessor: format!("{prefix}{kind}_{}", env.hex(4)),
            path: path.to_owned(),
            kind: kind.to_owned(),
            description: description.to_owned(),
            options: BTreeMap::new(),
            default_lease_ttl: 0,
            max_lease_ttl: 0,
            category,
            listing_visibility: String::new(),
            local: kind == "cubbyhole",
            seal_wrap: kind == "system",
            told: Told::default(),
            logins: Logins::default(),
        });
    }
    records
}

/// The lives a new mount gives, 0 for the system's.
fn first_ttls(call: &Call<'_, '_>, config: &Fields<'_>) -> Result<(Millis, Millis), Error> {
    let ttl = |name| Ok::<_, Error>(tune::ttl(config, name)?.unwrap_or(0));
    let (default, max) = (ttl("default_lease_ttl")?, ttl("max_lease_ttl")?);
    let system = call.core.settings.max_lease_ttl;
    if max != 0 && default > max {
        return Err(Error::invalid(
            "given default lease TTL greater than given max lease TTL",
        ));
    }
    if max == 0 && default > system {
        return Err(Error::invalid(format!(
            "given default lease TTL greater than system max lease TTL of {}",
            system / 1000
        )));
    }
    Ok((default, max))
}

/// `secrets disable`. The mount's rows stay unreachable: its id is never used again.
pub fn disable(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = format!("{}/", call.params.get("path"));
    if PROTECTED.contains(&path.as_str()) {
        return Err(Error::invalid(format!("cannot unmount {path:?}")));
    }
    if let Some(mount) = call.work.catalog.mounts(Category::Secret).get(&path) {
        let row = mount.row();
        call.work.config.get(&row)?;
        call.work.config.delete(&row)?;
        // What it handed out ends with it, now or when its targets answer: its rows stay until then and after.
        leases::close_prefix(call.work, call.work.namespace(), &path, false)?;
    }
    Ok(Answer::empty())
}
