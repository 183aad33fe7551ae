//! `kv history`: the versions of a key, the newest first. Ours; the original shows them as a map.

use conclave_client::http::{Fields, Json};

use super::MOUNT;
use super::place::Place;
use crate::commands::{Command, Output, exactly};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::output::{self, table};
use crate::session::Cx;

pub const COMMAND: Command = Command::new("kv history", "[options] KEY", "Lists the versions of a key", run)
    .help("Lists what is known of each version, the newest first; values are not read.\n\n$ conclave kv history secret/app")
    .output(Output::Format)
    .flags(&[MOUNT]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let mut api = cx.api(args)?;
    let place = Place::find(&mut api, args)?;
    if !place.v2 {
        return Err(Fail::usage("This mount keeps no versions"));
    }
    let path = place.with("metadata");
    let found = api.read(&path).context(&format!("Error reading {path}"))?;
    let found = found.as_ref().and_then(|secret| secret.field("versions"));
    let found = found.and_then(Json::as_object);
    let found = found.ok_or_else(|| Fail::remote(format!("No value found at {path}")))?;
    let mut versions: Vec<(u64, &Json)> = found
        .iter()
        .filter_map(|(name, life)| Some((name.parse().ok()?, life)))
        .collect();
    versions.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let text = |life: &Json, name: &str| {
        life.get(name)
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let state = |life: &Json| match life.get("destroyed").and_then(Json::as_bool) {
        Some(true) => "destroyed",
        _ if text(life, "deletion_time").is_empty() => "there",
        // A time to come is one too: the version ends by itself then.
        _ => "deleted",
    };
    if !cx.ui.is_table() {
        let rows = versions.iter().map(|(number, life)| {
            let mut row = Fields::new();
            row.push("version", *number);
            row.push("state", state(life));
            row.push("created_time", text(life, "created_time"));
            row.push("deletion_time", text(life, "deletion_time"));
            row
        });
        return Ok(output::value(&mut cx.ui, &rows.collect::<Vec<_>>().into()));
    }
    let mut lines = vec!["Version | State | Created | Deleted".to_owned()];
    for (number, life) in &versions {
        let times = (text(life, "created_time"), text(life, "deletion_time"));
        lines.push(format!("{number} | {} | {} | {}", state(life), times.0, times.1));
    }
    cx.ui.line(&table::with_header(&lines, "|"));
    Ok(Exit::OK)
}
