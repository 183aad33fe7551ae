//! `tune` of mounts: what may change while a mount stays what it is.

use serde_json::{Map, Value, json};

use conclave_engine_api::{Fields, Millis, Txn};

use crate::auth::{Lockout, lockout};
use crate::catalog::{Category, MountRecord, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::mounts::{Named, told};
use crate::sys::plugins;

/// `GET sys/mounts/:path/tune`.
pub fn read(call: &Call<'_, '_>, named: &Named) -> Result<Answer, Error> {
    let mount = call.work.catalog.mounts(named.category).get(&named.path);
    let mount =
        mount.ok_or_else(|| Error::invalid(format!("cannot fetch sysview for path {:?}", named.full())))?;
    let settings = &call.core.settings;
    let shown = mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
    let mut data = super::object(json!({
        "default_lease_ttl": shown.default_lease_ttl / 1000,
        "description": mount.description,
        "force_no_cache": mount.told.force_no_cache,
        "max_lease_ttl": shown.max_lease_ttl / 1000,
    }));
    if mount.told.external_entropy_access {
        data.insert("external_entropy_access".to_owned(), json!(true));
    }
    data.extend(told(mount));
    if let Some(known) = &mount.logins.lockout {
        data.extend(describe_lockout(known));
    }
    if !mount.options.is_empty() {
        data.insert("options".to_owned(), json!(mount.options));
    }
    Ok(Answer::at_top_level(data))
}

/// `secrets tune` and `auth tune`.
pub fn write(call: &mut Call<'_, '_>, named: &Named) -> Result<Answer, Error> {
    let known = call.work.catalog.mounts(named.category).get(&named.path);
    let known = known
        .ok_or_else(|| {
            Error::invalid(format!(
                "tune of path {:?} failed: no mount entry found",
                named.full()
            ))
        })?
        .clone();
    let mut mount = known.as_ref().clone();
    let fields = call.fields();
    let (default, max) = (ttl(&fields, "default_lease_ttl")?, ttl(&fields, "max_lease_ttl")?);
    if default.is_some() || max.is_some() {
        mount.default_lease_ttl = default.unwrap_or(mount.default_lease_ttl);
        mount.max_lease_ttl = max.unwrap_or(mount.max_lease_ttl);
        check_ttls(&mount)?;
    }
    if let Some(version) = fields.string("plugin_version")? {
        plugins::check_version(call.core, &mount.kind, &version, false)?;
    }
    apply(&mut mount, &fields)?;
    if let Some(description) = fields.string("description")? {
        mount.description = description;
    }
    if let Some(options) = fields.pairs("options")? {
        mount.options.extend(options);
    }
    tune_engine(call, &known, &mount)?;
    call.work.config.get(&mount.row())?;
    call.work.config.put(&mount.row(), encode_record(&mount)?)?;
    Ok(Answer::empty())
}

/// An engine may move its rows when its options change.
fn tune_engine(call: &mut Call<'_, '_>, known: &MountRecord, mount: &MountRecord) -> Result<(), Error> {
    let Some(engine) = call.core.engine_of(mount).cloned() else {
        return Ok(());
    };
    let settings = &call.core.settings;
    let (default, max) = (settings.default_lease_ttl, settings.max_lease_ttl);
    let space = mount.space();
    let reader = call.work.opened().space(space);
    let mut txn = Txn::new(&reader);
    engine.tune(
        &mut txn,
        &known.to_mount(default, max),
        &mount.to_mount(default, max),
        &mut call.env,
    )?;
    call.work.draft.include(space, txn.into_changes())
}

/// A life: `None` leaves it as it is, 0 is the system's.
pub fn ttl(fields: &Fields<'_>, name: &str) -> Result<Option<Millis>, Error> {
    match fields.value(name).and_then(|value| value.as_str()) {
        Some("") => Ok(None),
        Some("system") => Ok(Some(0)),
        _ => Ok(fields.duration(name)?),
    }
}

/// Both lives of a mount must fit each other; each alone is bounded by the system's when it is used.
fn check_ttls(mount: &MountRecord) -> Result<(), Error> {
    let (default, max) = (mount.default_lease_ttl / 1000, mount.max_lease_ttl / 1000);
    if max != 0 && max < default {
        return Err(Error::invalid(format!(
            "backend max lease TTL of {max} would be less than backend default lease TTL of {default}"
        )));
    }
    Ok(())
}

/// Settings other than lives, as `secrets enable` takes them in `config` and `secrets tune` beside it.
pub fn apply(mount: &mut MountRecord, config: &Fields<'_>) -> Result<(), Error> {
    if let Some(visibility) = config.string("listing_visibility")? {
        if !matches!(visibility.as_str(), "" | "hidden" | "unauth") {
            return Err(Error::invalid(format!("invalid listing_visibility {visibility}")));
        }
        mount.listing_visibility = visibility;
    }
    let told = &mut mount.told;
    if let Some(forced) = config.bool("force_no_cache")? {
        told.force_no_cache = forced;
    }
    let lists = [
        (
            "audit_non_hmac_request_keys",
            &mut told.audit_non_hmac_request_keys,
        ),
        (
            "audit_non_hmac_response_keys",
            &mut told.audit_non_hmac_response_keys,
        ),
        (
            "passthrough_request_headers",
            &mut told.passthrough_request_headers,
        ),
        ("allowed_response_headers", &mut told.allowed_response_headers),
    ];
    for (name, list) in lists {
        if let Some(given) = config.strings(name)? {
            *list = given;
        }
    }
    if let Some(kind) = config.string("token_type")?.filter(|kind| !kind.is_empty()) {
        match kind.as_str() {
            "default-service" | "service" | "default" => told.token_type = kind,
            "batch" | "default-batch" if mount.category == Category::Auth => told.token_type = kind,
            _ => return Err(Error::invalid("invalid value for 'token_type'")),
        }
    }
    if let Some(given) = config.object("user_lockout_config")? {
        if !lockout::is_tunable(&mount.kind) {
            return Err(Error::invalid(format!(
                "tuning of user lockout configuration for auth type {:?} not allowed",
                mount.kind
            )));
        }
        let mut known = mount.logins.lockout.unwrap_or_default();
        read_lockout(&mut known, &Fields::new(given))?;
        mount.logins.lockout = Some(known);
    }
    Ok(())
}

fn read_lockout(known: &mut Lockout, given: &Fields<'_>) -> Result<(), Error> {
    if let Some(threshold) = given.string("lockout_threshold")? {
        let wrong = |_| {
            Error::invalid(format!(
                "unable to parse user lockout threshold: strconv.ParseUint: parsing {threshold:?}: invalid syntax"
            ))
        };
        known.threshold = threshold.parse().map_err(wrong)?;
    }
    if let Some(duration) = ttl(given, "lockout_duration")? {
        known.duration = duration;
    }
    if let Some(reset) = ttl(given, "lockout_counter_reset_duration")? {
        known.counter_reset = reset;
    }
    if let Some(disabled) = given.bool("lockout_disable")? {
        known.disabled = disabled;
    }
    Ok(())
}

/// What is shown of a mount's lockout.
pub(super) fn describe_lockout(known: &Lockout) -> Map<String, Value> {
    super::object(json!({
        "user_lockout_counter_reset_duration": known.counter_reset / 1000,
        "user_lockout_disable": known.disabled,
        "user_lockout_duration": known.duration / 1000,
        "user_lockout_threshold": known.threshold,
    }))
}
