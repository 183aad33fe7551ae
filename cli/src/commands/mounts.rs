//! What `secrets` and `auth` share: both list, enable, tune, move and disable mounts. Knows both families of paths.

use std::time::Duration;

use conclave_client::http::{Fields, Json};

use super::{at_most, exactly, sanitize, with_slash};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::{Span, plain};
use crate::output::{self, table};
use crate::session::Cx;

/// Pause between two questions whether a move is done.
const MOVE_POLL: Duration = Duration::from_secs(1);
/// Questions asked at most about one move: an hour's worth.
const MOVE_POLLS: u32 = 3600;

const DESCRIPTION: Flag = Flag::text("description", "What the mount is for.");
const PATH: Flag = Flag::text("path", "Where to mount; the type by default.");
const DEFAULT_LEASE_TTL: Flag = Flag::span("default-lease-ttl", "Life of leases that ask for none.");
const MAX_LEASE_TTL: Flag = Flag::span("max-lease-ttl", "Longest life of leases.");
const AUDIT_REQUEST_KEYS: Flag = Flag::list(
    "audit-non-hmac-request-keys",
    "Request field that audit logs show in clear. May be given several times.",
);
const AUDIT_RESPONSE_KEYS: Flag = Flag::list(
    "audit-non-hmac-response-keys",
    "Response field that audit logs show in clear. May be given several times.",
);
const LISTING_VISIBILITY: Flag = Flag::text(
    "listing-visibility",
    "Who sees the mount in the user interface's list.",
);
const PASSTHROUGH_HEADERS: Flag = Flag::list(
    "passthrough-request-headers",
    "Request header handed to the engine. May be given several times.",
);
const RESPONSE_HEADERS: Flag = Flag::list(
    "allowed-response-headers",
    "Response header the engine may set. May be given several times.",
);
const FORCE_NO_CACHE: Flag = Flag::bool("force-no-cache", "Do not cache reads of the mount.");
const PLUGIN_NAME: Flag = Flag::text("plugin-name", "Name of the plugin, for the type 'plugin'.");
const PLUGIN_VERSION: Flag = Flag::text("plugin-version", "Version of the plugin.");
const OPTIONS: Flag = Flag::map(
    "options",
    "An option key=value of the mount. May be given several times.",
);
const LOCAL: Flag = Flag::bool("local", "Do not replicate the mount to other clusters.");
const SEAL_WRAP: Flag = Flag::bool("seal-wrap", "Wrap critical values by the seal.");
const ENTROPY: Flag = Flag::bool(
    "external-entropy-access",
    "Let the engine use an external source of entropy.",
);
const VERSION: Flag = Flag::int("version", "Version of the engine, where it has several.");
const TOKEN_TYPE: Flag = Flag::text("token-type", "Kind of tokens that logins make.");
const LOCKOUT_THRESHOLD: Flag = Flag::int(
    "user-lockout-threshold",
    "Failed logins after which a user is locked out.",
);
const LOCKOUT_DURATION: Flag = Flag::span("user-lockout-duration", "How long a user is locked out.");
const LOCKOUT_RESET: Flag = Flag::span(
    "user-lockout-counter-reset-duration",
    "Time after which failed logins are forgotten.",
);
const LOCKOUT_DISABLE: Flag = Flag::bool("user-lockout-disable", "Never lock users out.");
pub const DETAILED: Flag = Flag::bool("detailed", "Print settings and versions too.");

/// Flags of `secrets enable`.
pub const SECRETS_ENABLE: &[Flag] = &[
    DESCRIPTION,
    PATH,
    DEFAULT_LEASE_TTL,
    MAX_LEASE_TTL,
    AUDIT_REQUEST_KEYS,
    AUDIT_RESPONSE_KEYS,
    LISTING_VISIBILITY,
    PASSTHROUGH_HEADERS,
    RESPONSE_HEADERS,
    FORCE_NO_CACHE,
    PLUGIN_NAME,
    PLUGIN_VERSION,
    OPTIONS,
    LOCAL,
    SEAL_WRAP,
    ENTROPY,
    VERSION,
];
/// Flags of `auth enable`.
pub const AUTH_ENABLE: &[Flag] = &[
    DESCRIPTION,
    PATH,
    DEFAULT_LEASE_TTL,
    MAX_LEASE_TTL,
    AUDIT_REQUEST_KEYS,
    AUDIT_RESPONSE_KEYS,
    LISTING_VISIBILITY,
    PASSTHROUGH_HEADERS,
    RESPONSE_HEADERS,
    PLUGIN_NAME,
    PLUGIN_VERSION,
    OPTIONS,
    LOCAL,
    SEAL_WRAP,
    ENTROPY,
    VERSION,
    TOKEN_TYPE,
];
/// Flags of `secrets tune`.
pub const SECRETS_TUNE: &[Flag] = &[
    DESCRIPTION,
    DEFAULT_LEASE_TTL,
    MAX_LEASE_TTL,
    AUDIT_REQUEST_KEYS,
    AUDIT_RESPONSE_KEYS,
    LISTING_VISIBILITY,
    PASSTHROUGH_HEADERS,
    RESPONSE_HEADERS,
    PLUGIN_VERSION,
    OPTIONS,
    VERSION,
];
/// Flags of `auth tune`.
pub const AUTH_TUNE: &[Flag] = &[
    DESCRIPTION,
    DEFAULT_LEASE_TTL,
    MAX_LEASE_TTL,
    AUDIT_REQUEST_KEYS,
    AUDIT_RESPONSE_KEYS,
    LISTING_VISIBILITY,
    PASSTHROUGH_HEADERS,
    RESPONSE_HEADERS,
    PLUGIN_VERSION,
    OPTIONS,
    VERSION,
    TOKEN_TYPE,
    LOCKOUT_THRESHOLD,
    LOCKOUT_DURATION,
    LOCKOUT_RESET,
    LOCKOUT_DISABLE,
];

/// The two families of mounts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Secrets engines.
    Secrets,
    /// Auth methods.
    Auth,
}

impl Family {
    const fn base(self) -> &'static str {
        match self {
            Self::Secrets => "sys/mounts",
            Self::Auth => "sys/auth",
        }
    }

    const fn thing(self) -> &'static str {
        match self {
            Self::Secrets => "secrets engine",
            Self::Auth => "auth method",
        }
    }
}

/// Settings that stand in a mount's `config`, if the user gave them.
fn config(args: &Args, body: &mut Fields) {
    let lists = [
        ("audit_non_hmac_request_keys", &AUDIT_REQUEST_KEYS),
        ("audit_non_hmac_response_keys", &AUDIT_RESPONSE_KEYS),
        ("passthrough_request_headers", &PASSTHROUGH_HEADERS),
        ("allowed_response_headers", &RESPONSE_HEADERS),
    ];
    for (name, flag) in lists.into_iter().filter(|(_, f)| args.given(f)) {
        body.insert(name, args.list(flag));
    }
    let texts = [
        ("listing_visibility", &LISTING_VISIBILITY),
        ("token_type", &TOKEN_TYPE),
        ("plugin_version", &PLUGIN_VERSION),
    ];
    for (name, flag) in texts.into_iter().filter(|(_, f)| args.given(f)) {
        body.insert(name, args.text(flag));
    }
}

fn options(args: &Args) -> Option<Fields> {
    let mut options = args.map(&OPTIONS);
    if args.int(&VERSION) > 0 {
        options.insert("version".into(), args.int(&VERSION).to_string());
    }
    (!options.is_empty()).then(|| options.into_iter().collect())
}

/// Mounts an engine or method.
///
/// # Errors
/// Wrong usage, or the server refuses.
pub fn enable(cx: &mut Cx, args: &Args, family: Family) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let kind = match args.arg(0).trim() {
        "plugin" => args.text(&PLUGIN_NAME),
        kind => kind,
    };
    let path = with_slash(args.some(&PATH).unwrap_or(kind));
    let mut settings = Fields::new();
    settings.insert("default_lease_ttl", args.span(&DEFAULT_LEASE_TTL).to_string());
    settings.insert("max_lease_ttl", args.span(&MAX_LEASE_TTL).to_string());
    settings.insert("force_no_cache", args.is(&FORCE_NO_CACHE));
    config(args, &mut settings);
    let mut body = Fields::new();
    body.insert("type", kind);
    body.insert("description", args.text(&DESCRIPTION));
    body.insert("config", settings);
    for (name, flag) in [
        ("local", &LOCAL),
        ("seal_wrap", &SEAL_WRAP),
        ("external_entropy_access", &ENTROPY),
    ] {
        body.insert(name, args.is(flag));
    }
    if let Some(options) = options(args) {
        body.insert("options", options);
    }
    let sentence = match family {
        Family::Secrets => "Error enabling".to_owned(),
        Family::Auth => format!("Error enabling {kind} auth"),
    };
    api.call("POST", &format!("{}/{path}", family.base()), Some(body))
        .context(&sentence)?;
    let version = args
        .some(&PLUGIN_VERSION)
        .map(|v| format!(" version {v}"))
        .unwrap_or_default();
    let the = if family == Family::Secrets { "the " } else { "" };
    cx.ui.line(&format!(
        "Success! Enabled {the}{kind} {}{version} at: {path}",
        family.thing()
    ));
    Ok(Exit::OK)
}

/// Unmounts.
///
/// # Errors
/// Wrong usage, or the server refuses.
pub fn disable(cx: &mut Cx, args: &Args, family: Family) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let path = with_slash(sanitize(args.arg(0)));
    let sentence = format!("Error disabling {} at {path}", family.thing());
    api.call("DELETE", &format!("{}/{path}", family.base()), None)
        .context(&sentence)?;
    cx.ui.line(&format!(
        "Success! Disabled the {} (if it existed) at: {path}",
        family.thing()
    ));
    Ok(Exit::OK)
}

/// A duration as the API takes it: nothing for 0, `system` for a negative one.
fn ttl(span: Span) -> String {
    match span {
        Span(0) => String::new(),
        Span(..0) => "system".into(),
        span => span.to_string(),
    }
}

/// Changes settings of a mount.
///
/// # Errors
/// Wrong usage, or the server refuses.
pub fn tune(cx: &mut Cx, args: &Args, family: Family) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let path = with_slash(sanitize(args.arg(0)));
    let mut body = Fields::new();
    body.insert("default_lease_ttl", ttl(args.span(&DEFAULT_LEASE_TTL)));
    body.insert("max_lease_ttl", ttl(args.span(&MAX_LEASE_TTL)));
    config(args, &mut body);
    if args.given(&DESCRIPTION) {
        body.insert("description", args.text(&DESCRIPTION));
    }
    if let Some(options) = options(args) {
        body.insert("options", options);
    }
    let mut lockout = Fields::new();
    if args.given(&LOCKOUT_THRESHOLD) {
        lockout.insert("lockout_threshold", args.int(&LOCKOUT_THRESHOLD).to_string());
    }
    for (name, flag) in [
        ("lockout_duration", &LOCKOUT_DURATION),
        ("lockout_counter_reset_duration", &LOCKOUT_RESET),
    ] {
        if args.given(flag) {
            lockout.insert(name, ttl(args.span(flag)));
        }
    }
    if args.given(&LOCKOUT_DISABLE) {
        lockout.insert("lockout_disable", args.is(&LOCKOUT_DISABLE));
    }
    if !lockout.is_empty() {
        body.insert("user_lockout_config", lockout);
    }
    let under = if family == Family::Auth { "auth/" } else { "" };
    api.call("POST", &format!("sys/mounts/{under}{path}/tune"), Some(body))
        .context(&format!("Error tuning {} {path}", family.thing()))?;
    cx.ui
        .line(&format!("Success! Tuned the {} at: {path}", family.thing()));
    Ok(Exit::OK)
}

/// Moves a mount and waits until it is done.
///
/// # Errors
/// Wrong usage, or the server refuses.
pub fn relocate(cx: &mut Cx, args: &Args, family: Family) -> Result<Exit, Fail> {
    exactly(args, 2)?;
    let (from, to) = (with_slash(args.arg(0)), with_slash(args.arg(1)));
    let api = cx.api(args)?;
    let thing = family.thing();
    let under = if family == Family::Auth { "auth/" } else { "" };
    let full = |path: &str| format!("{under}{}", path.strip_prefix(under).unwrap_or(path));
    let body: Fields = [("from", full(&from)), ("to", full(&to))].into_iter().collect();
    let sentence = format!("Error moving {thing} {from} to {to}");
    let response = api.call("POST", "sys/remount", Some(body)).context(&sentence)?;
    let answer =
        conclave_client::http::Secret::parse(&response.body).map_err(|e| Fail::remote(e.to_string()))?;
    let id = answer
        .as_ref()
        .and_then(|s| s.field("migration_id"))
        .map(plain)
        .unwrap_or_default();
    cx.ui.line(&format!(
        "Started moving {thing} {from} to {to}, with migration ID {id}"
    ));
    for poll in 0..MOVE_POLLS {
        let status = api.get(&format!("sys/remount/status/{id}")).context(&format!(
            "Error checking migration status of {thing} {from} to {to}"
        ))?;
        let status = status
            .get("migration_info")
            .and_then(|i| i.get("status"))
            .map(plain);
        match status.as_deref() {
            Some("success") => {
                cx.ui.line(&format!(
                    "Success! Finished moving {thing} {from} to {to}, with migration ID {id}"
                ));
                return Ok(Exit::OK);
            }
            Some("failure") => {
                let text = format!(
                    "Failure! Error encountered moving {thing} {from} to {to}, with migration ID {id}"
                );
                return Err(Fail::remote(text));
            }
            _ => {
                if poll == 0 {
                    let text = format!(
                        "Waiting for terminal status in migration of {thing} {from} to {to}, with migration ID {id}"
                    );
                    cx.ui.line(&text);
                }
                api.pause(MOVE_POLL);
            }
        }
    }
    Err(Fail::remote(format!(
        "The move of {thing} {from} to {to} is not done yet; its migration ID is {id}"
    )))
}

/// Lists mounts.
///
/// # Errors
/// Wrong usage, or the server refuses.
pub fn list(cx: &mut Cx, args: &Args, family: Family) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let sentence = match family {
        Family::Secrets => "Error listing secrets engines",
        Family::Auth => "Error listing enabled authentications",
    };
    let mounts = api.get(family.base()).context(sentence)?;
    if !cx.ui.is_table() {
        let documents: Fields = mounts
            .iter()
            .map(|(path, mount)| (path, document(mount)))
            .collect();
        return Ok(output::value(&mut cx.ui, &documents.into()));
    }
    let lines = if args.is(&DETAILED) {
        detailed(&mounts, family)
    } else {
        simple(&mounts, family)
    };
    cx.ui.line(&table::with_header(&lines, "|"));
    Ok(Exit::OK)
}

fn text(of: &Json, name: &str) -> String {
    match of.get(name) {
        None | Some(Json::Null) => String::new(),
        Some(value) => plain(value),
    }
}

fn simple(mounts: &Fields, family: Family) -> Vec<String> {
    let columns: &[&str] = match family {
        Family::Secrets => &["type", "accessor", "description"],
        Family::Auth => &["type", "accessor", "description", "plugin_version"],
    };
    let mut lines = vec![match family {
        Family::Secrets => "Path | Type | Accessor | Description".to_owned(),
        Family::Auth => "Path | Type | Accessor | Description | Version".to_owned(),
    }];
    for (path, mount) in mounts.sorted() {
        let cells = columns.iter().map(|c| text(mount, c));
        lines.push(
            std::iter::once(path.to_owned())
                .chain(cells)
                .collect::<Vec<_>>()
                .join(" | "),
        );
    }
    lines
}

fn detailed(mounts: &Fields, family: Family) -> Vec<String> {
    let special = if family == Family::Secrets {
        "Force No Cache"
    } else {
        "Token Type"
    };
    let mut lines = vec![format!(
        "Path | Plugin | Accessor | Default TTL | Max TTL | {special} | Replication | Seal Wrap | External Entropy \
         Access | Options | Description | UUID | Version | Running Version | Running SHA256 | Deprecation Status"
    )];
    for (path, mount) in mounts.sorted() {
        let config = mount.get("config").cloned().unwrap_or_default();
        let kind = text(mount, "type");
        let ttl = |name: &str| match (kind.as_str(), config.get(name).and_then(Json::as_i64)) {
            ("system" | "cubbyhole", _) => String::new(),
            (_, None | Some(0)) => "system".to_owned(),
            (_, Some(seconds)) => seconds.to_string(),
        };
        let truth = |of: &Json, name: &str| of.get(name).and_then(Json::as_bool).unwrap_or(false).to_string();
        let local = mount.get("local").and_then(Json::as_bool).unwrap_or(false);
        let cells = [
            path.to_owned(),
            kind.clone(),
            text(mount, "accessor"),
            ttl("default_lease_ttl"),
            ttl("max_lease_ttl"),
            if family == Family::Secrets {
                truth(&config, "force_no_cache")
            } else {
                text(&config, "token_type")
            },
            if local { "local" } else { "replicated" }.to_owned(),
            truth(mount, "seal_wrap"),
            truth(mount, "external_entropy_access"),
            mount
                .get("options")
                .filter(|o| !o.is_null())
                .map_or_else(|| "map[]".to_owned(), plain),
            text(mount, "description"),
            text(mount, "uuid"),
            text(mount, "plugin_version"),
            text(mount, "running_plugin_version"),
            text(mount, "running_sha256"),
            text(mount, "deprecation_status"),
        ];
        lines.push(cells.join(" | "));
    }
    lines
}

/// A mount as the original prints it: every field of its structs, in their order.
fn document(mount: &Json) -> Fields {
    let mut out = Fields::new();
    let texts = |out: &mut Fields, names: &[&str]| {
        for name in names {
            out.push(*name, text(mount, name));
        }
    };
    texts(&mut out, &["uuid", "type", "description", "accessor"]);
    let given = mount
        .get("config")
        .and_then(Json::as_object)
        .cloned()
        .unwrap_or_default();
    let mut config = Fields::new();
    for (name, zero) in [
        ("default_lease_ttl", Json::from(0_i64)),
        ("max_lease_ttl", Json::from(0_i64)),
        ("force_no_cache", Json::Bool(false)),
    ] {
        config.push(name, given.get(name).cloned().unwrap_or(zero));
    }
    for name in [
        "audit_non_hmac_request_keys",
        "audit_non_hmac_response_keys",
        "listing_visibility",
        "passthrough_request_headers",
        "allowed_response_headers",
        "token_type",
        "user_lockout_config",
        "plugin_name",
    ] {
        let is_empty =
            |v: &Json| v.is_null() || v.as_str() == Some("") || v.as_array().is_some_and(<[Json]>::is_empty);
        if let Some(value) = given.get(name).filter(|v| !is_empty(v)) {
            config.push(name, value.clone());
        }
    }
    out.push("config", config);
    out.push("options", mount.get("options").cloned().unwrap_or_default());
    for name in ["local", "seal_wrap", "external_entropy_access"] {
        out.push(name, mount.get(name).and_then(Json::as_bool).unwrap_or(false));
    }
    texts(
        &mut out,
        &[
            "plugin_version",
            "running_plugin_version",
            "running_sha256",
            "deprecation_status",
        ],
    );
    out
}
