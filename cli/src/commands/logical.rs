//! `read`, `write`, `delete`, `list`, `scan` and `patch`: any path of the API.

use conclave_client::http::{Answer, Error, Request, Secret};

use super::{Command, FIELD, Output, at_least, exactly, sanitize};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output;
use crate::session::{Api, Cx};
use crate::ui::Format;
use crate::{kvdata, mfa};

const FORCE: Flag = Flag::bool(
    "force",
    "Go on without key=value pairs, for paths that need none.",
)
.alias(&["f"]);
/// Where a list begins.
pub const AFTER: Flag = Flag::text("after", "Begin after this key, where the path supports pages.");
/// How long it is.
pub const LIMIT: Flag = Flag::int(
    "limit",
    "Give at most this many keys, where the path supports pages.",
)
.default("-1");

pub const COMMANDS: &[Command] = &[
    READ,
    Command::new("write", "[options] PATH [DATA K=V...]", "Write data, configuration, and secrets", write)
        .help(
            "Writes data to a path. Values beginning with @ are read from a file; the value - is read from standard \
             input.\n\n$ conclave write auth/userpass/users/ada password=-\n$ conclave write -f transit/keys/my-key",
        )
        .output(Output::Field)
        .flags(&[FORCE]),
    Command::new("delete", "[options] PATH [DATA K=V...]", "Delete secrets and configuration", delete)
        .help("Deletes what is at a path; what that means is up to the engine.\n\n$ conclave delete secret/data/my-secret")
        .output(Output::Field),
    Command::new("list", "[options] PATH", "List data or secrets", list)
        .help("Lists the keys beneath a path.\n\n$ conclave list secret/metadata/my-app/")
        .output(Output::Detailed)
        .flags(&[AFTER, LIMIT]),
    Command::new("scan", "[options] PATH", "Scan (recursively list) data or secrets", scan)
        .help("Lists all keys beneath a path, however deep.\n\n$ conclave scan secret/metadata/my-app/")
        .output(Output::Detailed)
        .flags(&[AFTER, LIMIT]),
    Command::new("patch", "[options] PATH [DATA K=V...]", "Patch data, configuration, and secrets", patch)
        .help("Changes only the given fields of what is at a path.\n\n$ conclave patch pki/roles/example allow_localhost=false")
        .output(Output::Field)
        .flags(&[FORCE]),
];

const READ: Command = {
    let mut read = Command::new("read", "[options] PATH", "Read data and retrieves secrets", read)
        .help("Reads from a path: secrets, credentials, configuration.\n\n$ conclave read database/creds/reporting")
        .output(Output::Field);
    read.may_be_raw = true;
    read
};

fn parse_failed(why: String) -> Fail {
    Fail::usage(format!("Failed to parse K=V data: {why}"))
}

fn read(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_least(args, 1)?;
    let api = cx.api(args)?;
    let path = sanitize(args.arg(0));
    let pairs = args.rest().get(1..).unwrap_or_default();
    let query = kvdata::parse_query(&mut cx.stdin(args), pairs).map_err(parse_failed)?;
    if cx.ui.format == Format::Raw {
        let mut request = Request::new("GET", path);
        request.query = query;
        let response = api.send(&request).context(&format!("Error reading: {path}"))?;
        cx.ui.bytes(&response.body);
        cx.ui.bytes(b"\n");
        return Ok(Exit::OK);
    }
    let secret = api
        .read_with(path, &query)
        .context(&format!("Error reading {path}"))?;
    let secret = secret.ok_or_else(|| Fail::remote(format!("No value found at {path}")))?;
    Ok(print(cx, args, &secret))
}

fn print(cx: &mut Cx, args: &Args, secret: &Secret) -> Exit {
    match args.some(&FIELD) {
        Some(name) => output::secret_field(&mut cx.ui, secret, name),
        None => output::secret(&mut cx.ui, secret),
    }
}

fn write(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    send_data(cx, args, |api, path, data| api.write(path, data))
}

fn patch(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    send_data(cx, args, |api, path, data| api.patch(path, data))
}

type Send = fn(&Api, &str, conclave_client::http::Fields) -> Result<Answer, Error>;

fn send_data(cx: &mut Cx, args: &Args, send: Send) -> Result<Exit, Fail> {
    at_least(args, 1)?;
    if args.rest().len() == 1 && !args.is(&FORCE) {
        return Err(Fail::usage("Must supply data or use -force"));
    }
    let path = sanitize(args.arg(0));
    let pairs = args.rest().get(1..).unwrap_or_default();
    let data = kvdata::parse(&mut cx.stdin(args), pairs).map_err(parse_failed)?;
    let api = cx.api(args)?;
    let answer = send(&api, path, data);
    let Some(secret) = settle(cx, answer, &format!("Error writing data to {path}"))? else {
        if cx.ui.is_table() {
            cx.ui.line(&format!("Success! Data written to: {path}"));
        }
        return Ok(Exit::OK);
    };
    let secret = mfa::complete(cx, args, &api, secret)?;
    Ok(print(cx, args, &secret))
}

/// The secret of an answer; an error is said together with what the server sent beside it.
///
/// # Errors
/// The answer's error, its message already printed if a secret came with it.
pub fn settle(cx: &mut Cx, answer: Result<Answer, Error>, sentence: &str) -> Result<Option<Secret>, Fail> {
    match answer.context(sentence)? {
        Answer { secret, error: None } => Ok(secret),
        Answer {
            secret,
            error: Some(error),
        } => {
            cx.ui.error(&format!("{sentence}: {error}"));
            if let Some(secret) = secret {
                output::secret(&mut cx.ui, &secret);
            }
            Err(Fail::remote(""))
        }
    }
}

fn delete(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.rest().is_empty() {
        return Err(Fail::usage("Not enough arguments (expected at least 1, got 0)"));
    }
    let api = cx.api(args)?;
    let path = sanitize(args.arg(0));
    let pairs = args.rest().get(1..).unwrap_or_default();
    let query = kvdata::parse_query(&mut cx.stdin(args), pairs).map_err(parse_failed)?;
    let answer = api.delete(path, &query);
    match settle(cx, answer, &format!("Error deleting {path}"))? {
        Some(secret) => Ok(print(cx, args, &secret)),
        None => {
            if cx.ui.is_table() {
                cx.ui
                    .line(&format!("Success! Data deleted (if it existed) at: {path}"));
            }
            Ok(Exit::OK)
        }
    }
}

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let path = sanitize(args.arg(0));
    let found = api
        .list(path, page(args))
        .context(&format!("Error listing {path}"))?;
    print_keys(cx, path, found)
}

fn scan(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let path = sanitize(args.arg(0));
    let found = api
        .scan(path, page(args))
        .context(&format!("Error scanning {path}"))?;
    print_keys(cx, path, found)
}

/// Servers warn of parameters they do not know, so pages are asked for only if wanted.
pub fn page(args: &Args) -> Option<(&str, i64)> {
    let (after, limit) = (args.text(&AFTER), args.int(&LIMIT));
    (!after.is_empty() || limit > 0).then_some((after, limit))
}

fn print_keys(cx: &mut Cx, path: &str, found: Option<Secret>) -> Result<Exit, Fail> {
    if let Some(secret) = found
        .as_ref()
        .filter(|s| s.data.is_none() && s.wrap_info.is_none() && cx.ui.is_table())
    {
        return Ok(output::secret(&mut cx.ui, secret));
    }
    keys(cx, path, found)
}

/// Prints the keys of a list's answer, or says that there are none.
///
/// # Errors
/// There are none.
pub fn keys(cx: &mut Cx, path: &str, found: Option<Secret>) -> Result<Exit, Fail> {
    if let Some(secret) = found
        .as_ref()
        .filter(|s| s.wrap_info.as_ref().is_some_and(|w| w.ttl != 0))
    {
        return Ok(output::secret(&mut cx.ui, secret));
    }
    let data = found.as_ref().and_then(|s| s.data.as_ref());
    let listed = data.is_some_and(|d| d.get("keys").is_some_and(|k| k.as_array().is_some()));
    match found.as_ref().filter(|_| listed) {
        Some(secret) => Ok(output::list(&mut cx.ui, secret)),
        None if !cx.ui.is_table() => {
            output::value(&mut cx.ui, &conclave_client::http::Fields::new().into());
            Ok(Exit::REMOTE)
        }
        None if data.is_none() => Err(Fail::remote(format!("No value found at {path}"))),
        None => Err(Fail::remote(format!("No entries found at {path}"))),
    }
}
