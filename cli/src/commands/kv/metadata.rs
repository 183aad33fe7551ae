//! `kv metadata`: what is known of a key beside its data.

use conclave_client::http::{Fields, Json};

use super::place::Place;
use super::{MOUNT, heading, path_heading, print_changed};
use crate::commands::logical::settle;
use crate::commands::{Command, Output, exactly};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::Span;
use crate::output;
use crate::session::{Api, Cx};

const MAX_VERSIONS: Flag =
    Flag::int("max-versions", "Versions to keep; the mount's number if not set.").default("-1");
const CAS_REQUIRED: Flag = Flag::bool(
    "cas-required",
    "Whether every write must name the version it replaces.",
);
const DELETE_VERSION_AFTER: Flag = Flag::span(
    "delete-version-after",
    "Time after which a version is deleted; the mount's if not set.",
)
.default("-1");
const CUSTOM_METADATA: Flag = Flag::map(
    "custom-metadata",
    "A key=value that describes the secret. May be given several times.",
);
const ACCESS: Flag = Flag::bool(
    "access",
    "Also who read and who wrote the secret last; ours alone.",
);
const REMOVE_CUSTOM_METADATA: Flag = Flag::list(
    "remove-custom-metadata",
    "Custom metadata to remove. May be given several times.",
);

pub const GROUP: Command = Command::group(
    "kv metadata",
    "Interact with what is known of keys",
    "What is known of a key beside its data: versions, settings, custom metadata.\n\n\
     $ conclave kv metadata get -mount=secret foo\n$ conclave kv metadata put -mount=secret -max-versions=5 foo",
);

pub const GET: Command = Command::new(
    "kv metadata get",
    "[options] KEY",
    "Retrieves key metadata from the KV store",
    get,
)
.help("Reads what is known of a key, and of each version.\n\n$ conclave kv metadata get -mount=secret foo\n$ conclave kv metadata get -access -mount=secret foo")
.output(Output::Format)
.flags(&[ACCESS, MOUNT]);

pub const PUT: Command = Command::new(
    "kv metadata put",
    "[options] KEY",
    "Sets or updates key settings in the KV store",
    put,
)
.help(
    "Sets what is known of a key; custom metadata is replaced whole.\n\n\
               $ conclave kv metadata put -mount=secret -custom-metadata=owner=ops foo",
)
.output(Output::Format)
.flags(&[
    CAS_REQUIRED,
    CUSTOM_METADATA,
    DELETE_VERSION_AFTER,
    MAX_VERSIONS,
    MOUNT,
]);

pub const PATCH: Command = Command::new(
    "kv metadata patch",
    "[options] KEY",
    "Patches key settings in the KV store",
    patch,
)
.help(
    "Changes some of what is known of a key.\n\n\
               $ conclave kv metadata patch -mount=secret -remove-custom-metadata=owner foo",
)
.output(Output::Format)
.flags(&[
    CAS_REQUIRED,
    CUSTOM_METADATA,
    DELETE_VERSION_AFTER,
    MAX_VERSIONS,
    MOUNT,
    REMOVE_CUSTOM_METADATA,
]);

pub const DELETE: Command = Command::new(
    "kv metadata delete",
    "[options] PATH",
    "Deletes all versions and metadata for a key in the KV store",
    delete,
)
.help("Removes a key with all its versions for good.\n\n$ conclave kv metadata delete -mount=secret foo")
.flags(&[MOUNT]);

fn find(cx: &mut Cx, args: &Args) -> Result<(Api, String), Fail> {
    exactly(args, 1)?;
    let mut api = cx.api(args)?;
    let place = Place::find(&mut api, args)?;
    if !place.v2 {
        return Err(Fail::usage("Metadata not supported on KV Version 1"));
    }
    Ok((api, place.with("metadata")))
}

fn get(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let (api, path) = find(cx, args)?;
    let query: &[(String, String)] = match args.is(&ACCESS) {
        true => &[("access".to_owned(), "true".to_owned())],
        false => &[],
    };
    let secret = api
        .read_with(&path, query)
        .context(&format!("Error reading {path}"))?;
    let mut secret = secret.ok_or_else(|| Fail::remote(format!("No value found at {path}")))?;
    if secret.wrap_info.is_some() || !cx.ui.is_table() {
        return Ok(output::secret(&mut cx.ui, &secret));
    }
    let versions = secret.data.as_mut().and_then(|data| data.remove("versions"));
    let Some(Json::Object(versions)) = versions else {
        cx.ui.error(&format!("No value found at {path}"));
        output::secret(&mut cx.ui, &secret);
        return Ok(Exit::REMOTE);
    };
    path_heading(&mut cx.ui, &path, "Metadata Path");
    cx.ui.line(&heading(
        "Metadata",
        secret.data.as_ref().unwrap_or(&Fields::new()),
    ));
    output::secret(&mut cx.ui, &secret);
    let mut numbered = Vec::new();
    for (number, version) in versions.iter() {
        let parsed: u64 = number
            .parse()
            .map_err(|_| Fail::remote(format!("Error parsing version {number}")))?;
        numbered.push((parsed, version));
    }
    numbered.sort_by_key(|(number, _)| *number);
    for (number, version) in numbered {
        let Some(fields) = version.as_object() else {
            continue;
        };
        cx.ui
            .line(&format!("\n{}", heading(&format!("Version {number}"), fields)));
        output::fields(&mut cx.ui, fields);
    }
    Ok(Exit::OK)
}

/// The settings that flags name.
fn settings(args: &Args) -> Fields {
    let mut body = Fields::new();
    if args.int(&MAX_VERSIONS) >= 0 {
        body.insert("max_versions", args.int(&MAX_VERSIONS));
    }
    if args.given(&CAS_REQUIRED) {
        body.insert("cas_required", args.is(&CAS_REQUIRED));
    }
    if args.span(&DELETE_VERSION_AFTER) >= Span(0) {
        body.insert(
            "delete_version_after",
            args.span(&DELETE_VERSION_AFTER).to_string(),
        );
    }
    body
}

fn put(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let (api, path) = find(cx, args)?;
    let mut body = settings(args);
    let custom = args.map(&CUSTOM_METADATA);
    if !custom.is_empty() {
        body.insert("custom_metadata", custom.into_iter().collect::<Fields>());
    }
    let answer = api.write(&path, body);
    let secret = settle(cx, answer, &format!("Error writing data to {path}"))?;
    Ok(print_changed(cx, &path, secret))
}

fn patch(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let (api, path) = find(cx, args)?;
    let mut body = settings(args);
    let mut custom: Fields = args.map(&CUSTOM_METADATA).into_iter().collect();
    for name in args.list(&REMOVE_CUSTOM_METADATA) {
        // A null in a merge patch removes the field.
        custom.insert(name, Json::Null);
    }
    body.insert("custom_metadata", custom);
    let answer = api.patch(&path, body);
    let secret = settle(cx, answer, &format!("Error writing data to {path}"))?;
    Ok(print_changed(cx, &path, secret))
}

fn delete(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let (api, path) = find(cx, args)?;
    let answer = api.delete(&path, &[]);
    settle(cx, answer, &format!("Error deleting {path}"))?;
    cx.ui
        .line(&format!("Success! Data deleted (if it existed) at: {path}"));
    Ok(Exit::OK)
}
