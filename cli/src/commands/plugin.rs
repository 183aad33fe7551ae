//! `plugin`: what engines, auth methods and drivers of databases a server has. Ours are built in; another server's may be more.

use conclave_client::http::{Fields, Json, Request, Secret};

use super::{Command, FIELD, Output};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::{plain, quote};
use crate::output::{self, table};
use crate::session::Cx;

const DETAILED: Flag = Flag::bool("detailed", "Print what is known of each plugin.");
const VERSION: Flag = Flag::text("version", "The version to tell of.");

pub const COMMANDS: &[Command] = &[
    Command::group(
        "plugin",
        "Interact with plugins and the catalog",
        "What engines, auth methods and drivers of databases a server has.\n\n$ conclave plugin list secret\n$ conclave plugin info auth approle",
    ),
    Command::new("plugin list", "[options] [TYPE]", "Lists available plugins", list)
        .help("Lists the catalog, or what is of one type in it: auth, database or secret.\n\n$ conclave plugin list database")
        .output(Output::Format)
        .flags(&[DETAILED]),
    Command::new("plugin info", "[options] TYPE NAME", "Read information about a plugin in the catalog", info)
        .help("Tells what is known of one plugin.\n\n$ conclave plugin info auth approle")
        .output(Output::Field)
        .flags(&[VERSION]),
];

/// Types of plugins.
const TYPES: [&str; 3] = ["auth", "database", "secret"];

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.rest().len() > 1 {
        let got = args.rest().len();
        return Err(Fail::usage(format!(
            "Too many arguments (expected 0 or 1, got {got})"
        )));
    }
    let wanted = args.arg(0).trim().to_lowercase();
    if !wanted.is_empty() && !TYPES.contains(&wanted.as_str()) {
        let named = quote(&wanted);
        return Err(Fail::remote(format!(
            "Error parsing type: {named} is not a supported plugin type"
        )));
    }
    let api = cx.api(args)?;
    let catalog = api
        .read("sys/plugins/catalog")
        .context("Error listing available plugins")?;
    let catalog = catalog.and_then(|secret| secret.data).unwrap_or_default();
    let text = |plugin: &Json, member: &str| plugin.get(member).map(plain).unwrap_or_default();
    let all = catalog
        .get("detailed")
        .and_then(Json::as_array)
        .unwrap_or_default();
    let shown: Vec<&Json> = all
        .iter()
        .filter(|plugin| wanted.is_empty() || text(plugin, "type") == wanted)
        .collect();
    if !cx.ui.is_table() {
        return Ok(output::value(
            &mut cx.ui,
            &Json::Object(as_listed(&catalog, &shown, &wanted)),
        ));
    }
    let detailed = args.is(&DETAILED);
    let mut columns = vec![("Name", "name")];
    if wanted.is_empty() || detailed {
        columns.push(("Type", "type"));
    }
    columns.push(("Version", "version"));
    if detailed {
        columns.push(("Deprecation Status", "deprecation_status"));
    }
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let mut lines = vec![titles.join(" | ")];
    lines.extend(shown.iter().map(|plugin| {
        let cells: Vec<String> = columns.iter().map(|(_, member)| text(plugin, member)).collect();
        cells.join(" | ")
    }));
    cx.ui.line(&table::with_header(&lines, "|"));
    Ok(Exit::OK)
}

/// The members of the original's list: the plugins with what is known of them, then their names by type.
fn as_listed(catalog: &Fields, shown: &[&Json], wanted: &str) -> Fields {
    let details = shown.iter().map(|plugin| {
        let mut known = Fields::new();
        for member in ["type", "name", "version", "builtin", "deprecation_status"] {
            known.push(member, plugin.get(member).cloned().unwrap_or_default());
        }
        Json::Object(known)
    });
    let mut told = Fields::from_iter([("details", Json::Array(details.collect()))]);
    for kind in TYPES.iter().filter(|kind| wanted.is_empty() || *kind == &wanted) {
        if let Some(names) = catalog.get(kind) {
            told.push(*kind, names.clone());
        }
    }
    told
}

fn info(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let got = args.rest().len();
    if got > 2 {
        return Err(Fail::usage(format!(
            "Too many arguments (expected 1 or 2, got {got})"
        )));
    }
    // One argument is a name from before there were types.
    let (kind, name) = match got {
        0 => return Err(Fail::usage("Not enough arguments (expected 1 or 2, got 0)")),
        1 => ("", args.arg(0).trim()),
        _ => (args.arg(0).trim(), args.arg(1).trim()),
    };
    let path = match kind.is_empty() {
        true => format!("sys/plugins/catalog/{name}"),
        false => format!("sys/plugins/catalog/{kind}/{name}"),
    };
    let mut request = Request::new("GET", path);
    if let Some(version) = args.some(&VERSION) {
        request = request.query("version", version);
    }
    let api = cx.api(args)?;
    let sentence = format!("Error reading plugin named {name}");
    let response = api.send(&request).context(&sentence)?;
    let secret = Secret::parse(&response.body).map_err(|e| Fail::remote(format!("{sentence}: {e}")))?;
    let data = secret.and_then(|secret| secret.data).unwrap_or_default();
    let members = [
        "args",
        "builtin",
        "command",
        "deprecation_status",
        "name",
        "sha256",
        "version",
    ];
    let known = members
        .iter()
        .filter_map(|member| Some((*member, data.get(member)?.clone())));
    // Columns show an empty list where there is none, as the original's do.
    let blank = || cx.ui.is_table().then(|| Json::Array(Vec::new()));
    let known: Fields = known
        .map(|(member, value)| (member, blank().filter(|_| value.is_null()).unwrap_or(value)))
        .collect();
    Ok(match args.some(&FIELD) {
        Some(field) => output::field(&mut cx.ui, &known, field, "map"),
        None => output::fields(&mut cx.ui, &known),
    })
}
