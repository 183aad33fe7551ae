//! Small commands: `unwrap`, `print token`, `version`, `version-history`, `path-help`.

use conclave_client::http::{Fields, Json, Request, Secret};

use super::{Command, FIELD, Output, at_most, exactly, sanitize};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::goval::plain;
use crate::output;
use crate::session::{Cx, TOOL};

pub const COMMANDS: &[Command] = &[
    Command::new("unwrap", "[options] [TOKEN]", "Unwrap a wrapped secret", unwrap)
        .help("Opens a wrapping token, once; the token in use without argument.\n\n$ conclave unwrap TOKEN")
        .output(Output::Field),
    Command::group(
        "print",
        "Prints runtime configurations",
        "Prints what commands would use.",
    ),
    Command::new(
        "print token",
        "[options]",
        "Prints the token currently in use",
        print_token,
    ),
    Command::new("version", "", "Prints the version of this tool", version),
    Command::new(
        "version-history",
        "[options]",
        "Prints the version history of the target server",
        history,
    )
    .output(Output::Format),
    Command::new(
        "path-help",
        "[options] PATH",
        "Retrieve API help for paths",
        path_help,
    )
    .help("Prints what the server says of a path.\n\n$ conclave path-help database/")
    .output(Output::Format),
];

fn unwrap(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.rest().len() > 1 {
        return Err(Fail::usage(format!(
            "Too many arguments (expected 0-1, got {})",
            args.rest().len()
        )));
    }
    let mut api = cx.api(args)?;
    let token = args.arg(0).trim();
    let mut request = Request::new("PUT", "sys/wrapping/unwrap");
    if !token.is_empty() {
        if api.client.token().is_empty() {
            api.client.set_token(token);
        } else if token != api.client.token() {
            request = request.json(Fields::from_iter([("token", token)]));
        }
    }
    let (url, response) = api.send_raw(&request).context("Error unwrapping")?;
    let secret = Secret::parse(&response.body);
    if response.code >= 400 && !(response.code == 404 && matches!(&secret, Ok(Some(s)) if s.says_something()))
    {
        return Err(Fail::remote(format!(
            "Error unwrapping: {}",
            api.client.status_error(&request, &url, &response)
        )));
    }
    let secret = secret.map_err(|e| Fail::remote(format!("Error unwrapping: {e}")))?;
    let Some(secret) = secret else {
        if cx.ui.is_table() {
            cx.ui
                .line("Successfully unwrapped. There was no data in the wrapped secret.");
        }
        return Ok(Exit::OK);
    };
    Ok(match args.some(&FIELD) {
        Some(name) => output::secret_field(&mut cx.ui, &secret, name),
        None => output::secret(&mut cx.ui, &secret),
    })
}

fn print_token(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let api = cx.api(args)?;
    cx.ui.line(api.client.token());
    Ok(Exit::OK)
}

fn version(cx: &mut Cx, _: &Args) -> Result<Exit, Fail> {
    let mut line = format!("Conclave v{} ({TOOL})", env!("CARGO_PKG_VERSION"));
    if let Some(mutant) = conclave_server::mutants::active() {
        line.push_str(&format!(" BROKEN ON PURPOSE: {mutant}"));
    }
    cx.ui.line(&line);
    Ok(Exit::OK)
}

fn history(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let sentence = "Error listing version history";
    let secret = api.list("sys/version-history", None).context(sentence)?;
    let secret = secret
        .filter(|s| s.data.is_some())
        .ok_or_else(|| Fail::remote("No version history found"))?;
    cx.ui.warn(
        "\nNote:\nUse of this command requires a server running Vault 1.10.0 or greater.\nVersion tracking was added in \
         1.9.0. Earlier versions have not been tracked.\n\n",
    );
    if !cx.ui.is_table() {
        return Ok(output::secret(&mut cx.ui, &secret));
    }
    let keys = secret.field("keys").and_then(Json::as_array).unwrap_or_default();
    let mut rows = vec![[
        "Version".to_owned(),
        "Installation Time".to_owned(),
        "Commit Date".to_owned(),
    ]];
    for key in keys.iter().filter_map(Json::as_str) {
        let info = secret.field("key_info").and_then(|i| i.get(key));
        let text = |name: &str| info.and_then(|i| i.get(name)).map(plain).unwrap_or_default();
        rows.push([key.to_owned(), text("timestamp_installed"), text("commit_date")]);
    }
    let width = |column: usize| {
        rows.iter()
            .filter_map(|r| r.get(column))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths = [width(0), width(1)];
    for (i, [version, installed, committed]) in rows.iter().enumerate() {
        let pad = |text: &str, column: usize| {
            format!(
                "{text:width$}",
                width = widths.get(column).copied().unwrap_or_default()
            )
        };
        cx.ui.line(&format!(
            "{}  {}  {committed}",
            pad(version, 0),
            pad(installed, 1)
        ));
        if i == 0 {
            let dashes = |text: &str| "-".repeat(text.len());
            let line = format!(
                "{}  {}  {}",
                pad(&dashes(version), 0),
                pad(&dashes(installed), 1),
                dashes(committed)
            );
            cx.ui.line(&line);
        }
    }
    Ok(Exit::OK)
}

fn path_help(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let request = Request::new("GET", sanitize(args.arg(0))).query("help", "1");
    let response = api.send(&request).context("Error retrieving help")?;
    let json = response
        .json()
        .context("Error retrieving help")?
        .unwrap_or_default();
    // Some servers put the answer into an envelope.
    let inner = json
        .get("data")
        .filter(|d| d.get("help").is_some())
        .unwrap_or(&json);
    if cx.ui.is_table() {
        cx.ui.line(&inner.get("help").map(plain).unwrap_or_default());
        return Ok(Exit::OK);
    }
    match (inner.get("openapi"), cx.ui.format) {
        (Some(openapi), crate::ui::Format::Json) => cx.ui.line(&openapi.to_compact()),
        _ => return Ok(output::value(&mut cx.ui, inner)),
    }
    Ok(Exit::OK)
}
