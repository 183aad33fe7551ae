//! `kv patch`: changes some fields of a key.

use conclave_client::http::{Fields, Json, Secret};

use super::place::Place;
use super::{Existing, MOUNT, print_written, put, versioned};
use crate::commands::{Command, Output};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::{Api, Cx};

const CAS: Flag = Flag::int(
    "cas",
    "Patch only if the key's current version is this one; 0 for any.",
);
const METHOD: Flag = Flag::text(
    "method",
    "How to patch: 'patch' by HTTP PATCH, 'rw' by reading and writing. By default PATCH, and 'rw' where it is not allowed.",
);
const REMOVE_DATA: Flag = Flag::list("remove-data", "Field to remove. May be given several times.");

pub const COMMAND: Command =
    Command::new("kv patch", "[options] KEY [DATA]", "Sets or updates data in the KV store without overwriting", run)
        .help(
            "Changes the given fields of a key and keeps the others. For mounts with versions.\n\n\
             $ conclave kv patch -mount=secret foo bar=baz\n$ conclave kv patch -mount=secret -remove-data=bar foo",
        )
        .output(Output::Field)
        .flags(&[CAS, METHOD, MOUNT, REMOVE_DATA]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let remove = args.list(&REMOVE_DATA);
    put::need_data(args, !remove.is_empty())?;
    let mut api = cx.api(args)?;
    let mut data = put::data(cx, args)?;
    let place = Place::find(&mut api, args)?;
    if !place.v2 {
        return Err(Fail::remote(
            "K/V engine mount must be version 2 for patch support",
        ));
    }
    let path = place.with("data");
    for name in remove {
        // A null in a merge patch removes the field.
        data.insert(name, Json::Null);
    }
    let secret = match args.text(&METHOD) {
        "rw" => read_then_write(&mut api, &path, &data)?,
        "patch" => merge(cx, &mut api, args, &path, &data, false)?,
        "" => merge(cx, &mut api, args, &path, &data, true)?,
        other => {
            return Err(Fail::remote(format!(
                "Unsupported method provided to -method flag: {other}"
            )));
        }
    };
    Ok(print_written(cx, args, &path, secret))
}

fn merge(
    cx: &mut Cx,
    api: &mut Api,
    args: &Args,
    path: &str,
    data: &Fields,
    may_fall_back: bool,
) -> Result<Option<Secret>, Fail> {
    let cas = Some(args.int(&CAS)).filter(|cas| *cas > 0).map(Json::from);
    let outcome = api
        .patch(path, versioned(data.clone(), cas))
        .and_then(conclave_client::http::Answer::ok);
    match outcome.as_ref().map_err(conclave_client::http::Error::code) {
        // 405: a server older than PATCH. 403: a policy without it.
        Err(Some(405)) if may_fall_back => read_then_write(api, path, data),
        Err(Some(403)) if may_fall_back => {
            cx.ui.warn(&format!(
                "Data was written to {path} but we recommend that you add the \"patch\" capability to your ACL policy \
                 in order to use HTTP PATCH in the future."
            ));
            read_then_write(api, path, data)
        }
        _ => outcome.context(&format!("Error writing data to {path}")),
    }
}

fn read_then_write(api: &mut Api, path: &str, data: &Fields) -> Result<Option<Secret>, Fail> {
    let shown = api.client.preview();
    api.client.set_preview(None);
    let existing = Existing::read(api, path, None, "patch");
    api.client.set_preview(shown);
    let existing = existing?;
    let version = existing.metadata.get("version").cloned().unwrap_or_default();
    let mut merged = existing.data(path, "patch")?;
    for (name, value) in data.iter() {
        merged.insert(name, value.clone());
    }
    let answer = api.write(path, versioned(merged, Some(version)));
    answer
        .and_then(conclave_client::http::Answer::ok)
        .context(&format!("Error writing data to {path}"))
}
