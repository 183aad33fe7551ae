//! `kv get`: reads a key, its current version or another.

use conclave_client::http::{Fields, Json, Secret};

use super::place::Place;
use super::{MOUNT, VERSION, heading, path_heading, read};
use crate::commands::{Command, FIELD, Output, exactly};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::output;
use crate::session::Cx;

pub const COMMAND: Command = Command::new("kv get", "[options] KEY", "Retrieves data from the KV store", run)
    .help(
        "Reads a key's current version, or the one that -version names.\n\n$ conclave kv get -mount=secret foo\n\
         $ conclave kv get -field=password secret/foo",
    )
    .output(Output::Field)
    .flags(&[MOUNT, VERSION]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let mut api = cx.api(args)?;
    let key = args.arg(0);
    let place = Place::find_at(&mut api, args, key.strip_prefix('/').unwrap_or(key))?;
    let path = place.or_plain("data");
    let version = Some(args.int(&VERSION)).filter(|v| place.v2 && *v > 0);
    let secret = read(&api, &path, version).context(&format!("Error reading {path}"))?;
    let secret = secret.ok_or_else(|| Fail::remote(format!("No value found at {path}")))?;
    if let Some(name) = args.some(&FIELD) {
        return field(cx, &secret, &path, name, place.v2);
    }
    if secret.wrap_info.is_some() || !cx.ui.is_table() {
        return Ok(output::secret(&mut cx.ui, &secret));
    }
    output::warnings(&mut cx.ui, &secret);
    if place.v2 {
        path_heading(&mut cx.ui, &path, "Secret Path");
    }
    if let Some(metadata) = secret.field("metadata").and_then(Json::as_object) {
        cx.ui.line(&heading("Metadata", metadata));
        output::fields(&mut cx.ui, metadata);
        cx.ui.line("");
    }
    let data = if place.v2 {
        secret.field("data").and_then(Json::as_object)
    } else {
        secret.data.as_ref()
    };
    if let Some(data) = data {
        cx.ui.line(&heading("Data", data));
        output::fields(&mut cx.ui, data);
    }
    Ok(Exit::OK)
}

fn field(cx: &mut Cx, secret: &Secret, path: &str, name: &str, v2: bool) -> Result<Exit, Fail> {
    if !v2 {
        return Ok(output::secret_field(&mut cx.ui, secret, name));
    }
    let data: &Fields = match secret.field("data") {
        Some(Json::Object(data)) => data,
        _ => return Err(Fail::remote(format!("No data found at {path}"))),
    };
    // "data" is a field of that name if there is one, else all of them.
    if name == "data" && data.get("data").is_none() {
        return Ok(output::secret_field(&mut cx.ui, secret, name));
    }
    Ok(output::field(&mut cx.ui, data, name, "map"))
}
