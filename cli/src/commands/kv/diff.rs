//! `kv diff`: what changed between two versions of a key. Ours; the original has no such command.

use conclave_client::http::{Fields, Json};

use super::place::Place;
use super::{MOUNT, read};
use crate::commands::{Command, Output, exactly};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output;
use crate::session::{Api, Cx};

const FROM: Flag = Flag::int(
    "from",
    "The older version; the one before -to if it is not given.",
);
const TO: Flag = Flag::int("to", "The newer version; the current one if it is not given.");
const SHOW: Flag = Flag::bool(
    "show-values",
    "Print the values too, not only the names of the fields.",
);

pub const COMMAND: Command = Command::new("kv diff", "[options] KEY", "Shows what changed between versions", run)
    .help("Names the fields that were added (+), removed (-) and changed (~) from one version to another.\n\n$ conclave kv diff secret/app\n$ conclave kv diff -from=2 -to=5 -show-values secret/app")
    .output(Output::Format)
    .flags(&[MOUNT, FROM, TO, SHOW]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let mut api = cx.api(args)?;
    let place = Place::find(&mut api, args)?;
    if !place.v2 {
        return Err(Fail::usage("This mount keeps no versions"));
    }
    let path = place.with("data");
    let (to, newer) = version(&api, &path, Some(args.int(&TO)).filter(|number| *number > 0))?;
    let from = Some(args.int(&FROM))
        .filter(|number| *number > 0)
        .unwrap_or(to - 1);
    let older = if from > 0 {
        version(&api, &path, Some(from))?.1
    } else {
        Fields::new()
    };
    let shows = args.is(&SHOW);
    if !cx.ui.is_table() {
        return Ok(output::value(
            &mut cx.ui,
            &document(from, to, &older, &newer, shows),
        ));
    }
    cx.ui.line(&format!("{path}: version {from} to {to}"));
    for (sign, name, before, after) in changes(&older, &newer) {
        let values = match (shows, before, after) {
            (false, ..) => String::new(),
            (true, Some(before), Some(after)) => {
                format!(": {} -> {}", before.to_compact(), after.to_compact())
            }
            (true, before, after) => before
                .or(after)
                .map(|one| format!(": {}", one.to_compact()))
                .unwrap_or_default(),
        };
        cx.ui.line(&format!("{sign} {name}{values}"));
    }
    Ok(Exit::OK)
}

/// Number and data of a version; one that is deleted or never was is an error.
fn version(api: &Api, path: &str, number: Option<i64>) -> Result<(i64, Fields), Fail> {
    let named = number.map_or_else(
        || "the current version".to_owned(),
        |number| format!("version {number}"),
    );
    let found = read(api, path, number).context(&format!("Error reading {path}"))?;
    let missing = || Fail::remote(format!("No value found at {path} in {named}"));
    let found = found.ok_or_else(missing)?;
    let data = found
        .field("data")
        .and_then(Json::as_object)
        .ok_or_else(missing)?;
    let found = found
        .field("metadata")
        .and_then(|metadata| metadata.get("version"));
    Ok((found.and_then(Json::as_i64).unwrap_or_default(), data.clone()))
}

type Change<'a> = (char, &'a str, Option<&'a Json>, Option<&'a Json>);

/// Every field that is not the same, by name.
fn changes<'a>(older: &'a Fields, newer: &'a Fields) -> Vec<Change<'a>> {
    let mut names: Vec<&str> = older.iter().chain(newer.iter()).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name| match (older.get(name), newer.get(name)) {
        (before, None) => Some(('-', name, before, None)),
        (None, after) => Some(('+', name, None, after)),
        (before, after) if before != after => Some(('~', name, before, after)),
        _ => None,
    };
    names.into_iter().filter_map(change).collect()
}

fn document(from: i64, to: i64, older: &Fields, newer: &Fields, shows: bool) -> Json {
    let changes = changes(older, newer)
        .into_iter()
        .map(|(sign, name, before, after)| {
            let mut row = Fields::new();
            row.push("field", name);
            row.push(
                "change",
                match sign {
                    '+' => "added",
                    '-' => "removed",
                    _ => "changed",
                },
            );
            if shows {
                row.push("before", before.cloned().unwrap_or_default());
                row.push("after", after.cloned().unwrap_or_default());
            }
            row
        });
    let mut out = Fields::new();
    out.push("from", from);
    out.push("to", to);
    out.push("changes", changes.collect::<Vec<_>>());
    Json::Object(out)
}
