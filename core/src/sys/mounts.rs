//! `sys/mounts`, `sys/auth`, `sys/remount`: which engine answers which paths.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use conclave_engine_api::{Fields, Txn};

use crate::catalog::{Category, MountRecord, decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::store::Space;

/// Row of the next mount's id.
pub const NEXT_ID: &str = "next-mount";
/// Rows of finished moves.
const MOVES: &str = "move";
/// Mounts no cluster can be without.
const FIXED: [&str; 3] = ["sys/", "cubbyhole/", "identity/"];
/// Most mounts.
const MAX_MOUNTS: usize = 10_000;

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
        .map(|(path, mount)| (path.clone(), Value::Object(describe(mount))))
        .collect()
}

/// A mount as clients see it.
pub fn describe(mount: &MountRecord) -> Map<String, Value> {
    let options = if mount.options.is_empty() {
        Value::Null
    } else {
        json!(mount.options)
    };
    let mut config = Map::new();
    config.insert(
        "default_lease_ttl".to_owned(),
        json!(mount.default_lease_ttl / 1000),
    );
    config.insert("max_lease_ttl".to_owned(), json!(mount.max_lease_ttl / 1000));
    config.insert("force_no_cache".to_owned(), json!(false));
    if mount.category == Category::Auth {
        config.insert("token_type".to_owned(), json!("default-service"));
    }
    if !mount.listing_visibility.is_empty() {
        config.insert("listing_visibility".to_owned(), json!(mount.listing_visibility));
    }
    let described = json!({
        "accessor": mount.accessor,
        "config": config,
        "deprecation_status": "supported",
        "description": mount.description,
        "external_entropy_access": false,
        "local": mount.local,
        "options": options,
        "plugin_version": "",
        "running_plugin_version": "",
        "running_sha256": "",
        "seal_wrap": mount.seal_wrap,
        "type": mount.kind,
        "uuid": mount.uuid,
    });
    super::open::object(described)
}

/// `secrets enable`.
pub fn enable(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = format!("{}/", call.params.get("path"));
    if let Some(sub) = path.strip_suffix("/tune/") {
        return tune(call, &format!("{sub}/"));
    }
    let fields = call.fields();
    let asked = fields
        .required("type")
        .map_err(|_| Error::invalid("backend type must be specified as a string"))?;
    let mut options = fields.string_map("options")?.unwrap_or_default();
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
    let description = fields.string("description")?.unwrap_or_default();
    let (local, seal_wrap) = (
        fields.bool("local")?.unwrap_or(false),
        fields.bool("seal_wrap")?.unwrap_or(false),
    );
    let config = fields.object("config")?.cloned().unwrap_or_default();
    check_path_free(call, &path)?;
    let Some(engine) = call
        .core
        .engines
        .get(kind.as_str())
        .cloned()
        .filter(|_| kind != "cubbyhole")
    else {
        return Err(Error::invalid(format!("plugin not found in the catalog: {kind}")));
    };
    let mut mount = MountRecord {
        id: next_id(call)?,
        uuid: call.env.uuid(),
        accessor: format!("{kind}_{}", call.env.hex(4)),
        path,
        kind,
        description,
        options,
        default_lease_ttl: 0,
        max_lease_ttl: 0,
        category: Category::Secret,
        listing_visibility: String::new(),
        local,
        seal_wrap,
    };
    apply_config(&mut mount, &Fields::new(&config), call)?;
    engine.check_mount(&mount.to_mount(
        call.core.settings.default_lease_ttl,
        call.core.settings.max_lease_ttl,
    ))?;
    call.work.config.put(&mount.row(), encode_record(&mount)?)?;
    Ok(Answer::empty())
}

fn check_path_free(call: &Call<'_, '_>, path: &str) -> Result<(), Error> {
    let mounts = call.work.catalog.mounts(Category::Secret);
    if mounts.len() >= MAX_MOUNTS {
        return Err(Error::Overloaded(format!("more than {MAX_MOUNTS} mounts")));
    }
    if path.starts_with("auth/") {
        return Err(Error::invalid(format!(
            "cannot mount under existing mount {:?}",
            "auth/"
        )));
    }
    let taken = mounts
        .keys()
        .find(|known| path.starts_with(known.as_str()) || known.starts_with(path));
    match taken {
        Some(known) if known == path => Err(Error::invalid(format!("path is already in use at {path}"))),
        Some(known) => Err(Error::invalid(format!("existing mount at {known}"))),
        None => Ok(()),
    }
}

fn next_id(call: &mut Call<'_, '_>) -> Result<u32, Error> {
    let row = call
        .work
        .config
        .get(NEXT_ID)?
        .ok_or_else(|| Error::internal("the next mount's id is missing"))?;
    let id: u32 = decode_record(&row.value)?;
    let next = id
        .checked_add(1)
        .ok_or_else(|| Error::internal("mount ids are used up"))?;
    call.work.config.put(NEXT_ID, encode_record(&next)?)?;
    Ok(id)
}

fn apply_config(mount: &mut MountRecord, config: &Fields<'_>, call: &Call<'_, '_>) -> Result<(), Error> {
    if let Some(ttl) = config.duration("default_lease_ttl")? {
        mount.default_lease_ttl = ttl;
    }
    if let Some(ttl) = config.duration("max_lease_ttl")? {
        mount.max_lease_ttl = ttl;
    }
    if let Some(visibility) = config.string("listing_visibility")? {
        if !matches!(visibility.as_str(), "" | "hidden" | "unauth") {
            return Err(Error::invalid("invalid listing_visibility"));
        }
        mount.listing_visibility = visibility;
    }
    let max = if mount.max_lease_ttl == 0 {
        call.core.settings.max_lease_ttl
    } else {
        mount.max_lease_ttl
    };
    if mount.default_lease_ttl > max {
        return Err(Error::invalid(
            "default lease TTL can not be greater than max lease TTL",
        ));
    }
    Ok(())
}

/// `GET sys/mounts/:path/tune`.
pub fn read_tune(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = call.params.get("path");
    let mounts = call.work.catalog.mounts(Category::Secret);
    let Some(directory) = path.strip_suffix("/tune") else {
        let mount = mounts.get(&format!("{path}/"));
        let mount = mount.ok_or_else(|| Error::invalid(format!("No secret engine mount at {path}/")))?;
        return Ok(Answer::at_top_level(describe(mount)));
    };
    let mount = mounts.get(&format!("{directory}/"));
    let mount =
        mount.ok_or_else(|| Error::invalid(format!("cannot fetch sysview for path {directory:?}")))?;
    let settings = &call.core.settings;
    let shown = mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
    let mut data = super::open::object(json!({
        "default_lease_ttl": shown.default_lease_ttl / 1000,
        "description": mount.description,
        "force_no_cache": false,
        "max_lease_ttl": shown.max_lease_ttl / 1000,
    }));
    if !mount.options.is_empty() {
        data.insert("options".to_owned(), json!(mount.options));
    }
    if !mount.listing_visibility.is_empty() {
        data.insert("listing_visibility".to_owned(), json!(mount.listing_visibility));
    }
    Ok(Answer::at_top_level(data))
}

/// `secrets tune`.
fn tune(call: &mut Call<'_, '_>, path: &str) -> Result<Answer, Error> {
    let known = call.work.catalog.mounts(Category::Secret).get(path);
    let known = known.ok_or_else(|| Error::invalid("no matching mount"))?.clone();
    let mut mount = known.as_ref().clone();
    let fields = call.fields();
    apply_config(&mut mount, &fields, call)?;
    if let Some(description) = fields.string("description")? {
        mount.description = description;
    }
    if let Some(options) = fields.string_map("options")? {
        mount.options.extend(options);
    }
    if let Some(engine) = call.core.engines.get(mount.kind.as_str()).cloned() {
        let settings = &call.core.settings;
        let (default, max) = (settings.default_lease_ttl, settings.max_lease_ttl);
        let space = Space::of_mount(mount.id);
        let reader = call.work.opened().space(space);
        let mut txn = Txn::new(&reader);
        engine.tune(
            &mut txn,
            &known.to_mount(default, max),
            &mount.to_mount(default, max),
            &mut call.env,
        )?;
        call.work.draft.include(space, txn.into_changes())?;
    }
    call.work.config.get(&mount.row())?;
    call.work.config.put(&mount.row(), encode_record(&mount)?)?;
    Ok(Answer::empty())
}

/// `secrets disable`. The mount's rows stay unreachable: its id is never used again.
pub fn disable(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = format!("{}/", call.params.get("path"));
    if FIXED.contains(&path.as_str()) {
        return Err(Error::invalid(format!("cannot unmount {path:?}")));
    }
    if let Some(mount) = call.work.catalog.mounts(Category::Secret).get(&path) {
        let row = mount.row();
        call.work.config.get(&row)?;
        call.work.config.delete(&row)?;
    }
    Ok(Answer::empty())
}

/// `secrets move`: only the path in the record changes.
pub fn remount(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let directory = |text: String| format!("{}/", text.trim_matches('/'));
    let (from, to) = (
        directory(fields.required("from")?),
        directory(fields.required("to")?),
    );
    if FIXED.contains(&from.as_str()) {
        return Err(Error::invalid(format!("cannot remount {from:?}")));
    }
    crate::canon::CanonPath::parse(&to.replace('%', "%25"))?;
    let known = call.work.catalog.mounts(Category::Secret).get(&from);
    let mut mount = known
        .ok_or_else(|| Error::invalid(format!("no matching mount at {from:?}")))?
        .as_ref()
        .clone();
    check_path_free(call, &to)?;
    mount.path = to;
    call.work.config.get(&mount.row())?;
    call.work.config.put(&mount.row(), encode_record(&mount)?)?;
    let migration = call.env.uuid();
    let moved = Move {
        from,
        to: mount.path.clone(),
    };
    call.work
        .config
        .put(&format!("{MOVES}/{migration}"), encode_record(&moved)?)?;
    Ok(Answer::at_top_level(super::open::object(
        json!({"migration_id": migration}),
    )))
}

/// A finished move, kept so that its status can be asked for.
#[derive(Serialize, Deserialize)]
struct Move {
    from: String,
    to: String,
}

/// `GET sys/remount/status/:id`: a move is done when its request is answered.
pub fn remount_status(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = call.params.get("id").to_owned();
    let row = call.work.config.get(&format!("{MOVES}/{id}"))?;
    let row = row.ok_or(Error::NotFound { warnings: Vec::new() })?;
    let moved: Move = decode_record(&row.value)?;
    Ok(Answer::at_top_level(super::open::object(json!({
        "migration_id": id,
        "migration_info": {"source_mount": moved.from, "target_mount": moved.to, "status": "success"},
    }))))
}
