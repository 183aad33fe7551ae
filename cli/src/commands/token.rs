//! `token`: makes, shows, renews and revokes tokens. `whoami` is the short form of looking oneself up.

use conclave_client::http::{Fields, Json, Secret};

use super::{Command, FIELD, Output, at_most};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::Span;
use crate::output;
use crate::session::{Api, Cx};

const ID: Flag = Flag::text("id", "The token's value; random by default. Needs sudo.");
const DISPLAY_NAME: Flag = Flag::text("display-name", "A name that is not secret.");
const TTL: Flag = Flag::span("ttl", "Time until the token ends, unless it is renewed.");
const EXPLICIT_MAX_TTL: Flag = Flag::span(
    "explicit-max-ttl",
    "Time after which the token ends whatever happens.",
);
const PERIOD: Flag = Flag::span("period", "Time that every renewal adds, without end. Needs sudo.");
const RENEWABLE: Flag = Flag::bool("renewable", "Whether the token may be renewed.").default("true");
const ORPHAN: Flag = Flag::bool(
    "orphan",
    "Make a token without parent, which outlives this one. Needs sudo.",
);
const NO_DEFAULT_POLICY: Flag = Flag::bool("no-default-policy", "Leave the policy 'default' out.");
const USE_LIMIT: Flag = Flag::int("use-limit", "How often the token can be used; 0 for no limit.");
const ROLE: Flag = Flag::text("role", "Role to make the token by.");
const TYPE: Flag = Flag::text("type", "Kind of token: service or batch.").default("service");
const METADATA: Flag = Flag::map(
    "metadata",
    "A key=value kept with the token. May be given several times.",
);
const POLICY: Flag = Flag::list("policy", "A policy of the token. May be given several times.");
const ENTITY_ALIAS: Flag = Flag::text("entity-alias", "Entity alias of the token, with -role.");
const ACCESSOR: Flag = Flag::bool("accessor", "The argument is an accessor instead of a token.");
const INCREMENT: Flag = Flag::span("increment", "Time to ask for; the server may give less.").alias(&["i"]);
const SELF: Flag = Flag::bool("self", "Revoke the token in use.");
const MODE: Flag = Flag::text(
    "mode",
    "'orphan' leaves the token's children alive; 'path' revokes all tokens made by the auth path given. By default the \
     token and its children are revoked.",
);

pub const COMMANDS: &[Command] = &[
    Command::group("token", "Interact with tokens", "Makes, shows, renews and revokes tokens.\n\n$ conclave token create -ttl=1h -policy=app"),
    Command::new("token create", "[options]", "Create a new token", create)
        .help("Makes a token, by default a child of the one in use.\n\n$ conclave token create -ttl=1h -policy=app")
        .output(Output::Field)
        .flags(&[
            DISPLAY_NAME, ENTITY_ALIAS, EXPLICIT_MAX_TTL, ID, METADATA, NO_DEFAULT_POLICY, ORPHAN, PERIOD, POLICY,
            RENEWABLE, ROLE, TTL, TYPE, USE_LIMIT,
        ]),
    Command::new("token lookup", "[options] [TOKEN | ACCESSOR]", "Display information about a token", lookup)
        .help("Shows what is known of a token; of the one in use without argument.\n\n$ conclave token lookup -accessor ACCESSOR")
        .output(Output::Field)
        .flags(&[ACCESSOR]),
    Command::new("token renew", "[options] [TOKEN]", "Renew a token lease", renew)
        .help("Lengthens a token's life; that of the one in use without argument.\n\n$ conclave token renew -increment=30m")
        .output(Output::Format)
        .flags(&[ACCESSOR, INCREMENT]),
    Command::new("token revoke", "[options] [TOKEN | ACCESSOR]", "Revoke a token and its children", revoke)
        .help("Ends a token and all tokens made by it.\n\n$ conclave token revoke -self")
        .flags(&[ACCESSOR, MODE, SELF]),
    Command::new("token capabilities", "[options] [TOKEN] PATH", "Print capabilities of a token on a path", capabilities)
        .help("Shows what a token may do with a path.\n\n$ conclave token capabilities secret/data/foo")
        .output(Output::Format),
    Command::new("whoami", "[options]", "Show in short who the token in use is", whoami)
        .help("Shows name, policies and remaining life of the token in use.")
        .output(Output::Field),
];

fn print(cx: &mut Cx, args: &Args, secret: Option<Secret>) -> Exit {
    match (secret, args.some(&FIELD)) {
        (None, _) => Exit::OK,
        (Some(secret), Some(name)) => output::secret_field(&mut cx.ui, &secret, name),
        (Some(secret), None) => output::secret(&mut cx.ui, &secret),
    }
}

/// Calls an endpoint whose answer is an envelope.
fn call(api: &Api, method: &str, path: &str, body: Fields, sentence: &str) -> Result<Option<Secret>, Fail> {
    let body = if method == "GET" { None } else { Some(body) };
    let response = api.call(method, path, body).context(sentence)?;
    Secret::parse(&response.body).map_err(|e| Fail::remote(format!("{sentence}: {e}")))
}

fn create(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let mut body = Fields::new();
    let mut text = |name: &str, flag: &Flag| {
        if let Some(value) = args.some(flag) {
            body.insert(name, value);
        }
    };
    text("id", &ID);
    text("display_name", &DISPLAY_NAME);
    text("type", &TYPE);
    text("entity_alias", &ENTITY_ALIAS);
    for (name, flag) in [
        ("ttl", &TTL),
        ("explicit_max_ttl", &EXPLICIT_MAX_TTL),
        ("period", &PERIOD),
    ] {
        body.insert(name, args.span(flag).to_string());
    }
    body.insert("renewable", args.is(&RENEWABLE) && args.text(&TYPE) != "batch");
    for (name, flag) in [("no_parent", &ORPHAN), ("no_default_policy", &NO_DEFAULT_POLICY)] {
        if args.is(flag) {
            body.insert(name, true);
        }
    }
    body.insert("num_uses", args.int(&USE_LIMIT));
    if !args.list(&POLICY).is_empty() {
        body.insert("policies", args.list(&POLICY));
    }
    if args.given(&METADATA) {
        body.insert("meta", args.map(&METADATA).into_iter().collect::<Fields>());
    }
    let path = match args.some(&ROLE) {
        Some(role) => format!("auth/token/create/{role}"),
        None => "auth/token/create".to_owned(),
    };
    let secret = call(&api, "POST", &path, body, "Error creating token")?;
    Ok(print(cx, args, secret))
}

fn lookup(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let got = args.rest().len();
    let by_accessor = args.is(&ACCESSOR);
    if by_accessor && got != 1 {
        let which = if got < 1 { "Not enough" } else { "Too many" };
        return Err(Fail::usage(format!(
            "{which} arguments with -accessor (expected 1, got {got})"
        )));
    }
    if got > 1 {
        return Err(Fail::usage(format!(
            "Too many arguments (expected 0-1, got {got})"
        )));
    }
    let api = cx.api(args)?;
    let given = args.arg(0).trim();
    let (method, path, body): (_, _, Fields) = match (given, by_accessor) {
        ("", _) => ("GET", "auth/token/lookup-self", Fields::new()),
        (accessor, true) => (
            "POST",
            "auth/token/lookup-accessor",
            [("accessor", accessor)].into_iter().collect(),
        ),
        (token, false) => (
            "POST",
            "auth/token/lookup",
            [("token", token)].into_iter().collect(),
        ),
    };
    let secret = call(&api, method, path, body, "Error looking up token")?;
    Ok(print(cx, args, secret))
}

fn renew(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 1)?;
    let api = cx.api(args)?;
    let given = args.arg(0).trim();
    let increment = Json::from(args.span(&INCREMENT).max(Span(0)).whole_seconds());
    let mut body: Fields = [("increment", increment)].into_iter().collect();
    let path = match (given, args.is(&ACCESSOR)) {
        ("", _) => "auth/token/renew-self",
        (accessor, true) => {
            body.insert("accessor", accessor);
            "auth/token/renew-accessor"
        }
        (token, false) => {
            body.insert("token", token);
            "auth/token/renew"
        }
    };
    let method = if path.ends_with("accessor") { "POST" } else { "PUT" };
    let secret = call(&api, method, path, body, "Error renewing token")?;
    Ok(print(cx, args, secret))
}

fn revoke(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let (got, is_self, mode) = (args.rest().len(), args.is(&SELF), args.text(&MODE));
    let by_accessor = args.is(&ACCESSOR);
    let complaint = match (is_self, got) {
        _ if !matches!(mode, "" | "orphan" | "path") => Some(format!("Invalid mode: {mode}")),
        (true, 1..) => Some(format!("Too many arguments with -self (expected 0, got {got})")),
        (false, 2..) => Some(format!("Too many arguments (expected 1 or -self, got {got})")),
        (false, 0) => Some(format!("Not enough arguments (expected 1 or -self, got {got})")),
        _ if is_self && by_accessor => Some("Cannot use -self with -accessor!".into()),
        _ if is_self && !mode.is_empty() => Some("Cannot use -self with -mode!".into()),
        _ if by_accessor && !mode.is_empty() => Some(format!("Cannot use -accessor with -mode={mode}!")),
        _ => None,
    };
    if let Some(complaint) = complaint {
        return Err(Fail::usage(complaint));
    }
    let api = cx.api(args)?;
    let given = args.arg(0).trim();
    let one = |name: &str| -> Option<Fields> { Some([(name, given)].into_iter().collect()) };
    let (method, path, body) = match (is_self, by_accessor, mode) {
        (true, ..) => ("PUT", "auth/token/revoke-self".to_owned(), None),
        (_, true, _) => ("POST", "auth/token/revoke-accessor".to_owned(), one("accessor")),
        (_, _, "orphan") => ("PUT", "auth/token/revoke-orphan".to_owned(), one("token")),
        (_, _, "path") => ("PUT", format!("sys/leases/revoke-prefix/{given}"), None),
        _ => ("PUT", "auth/token/revoke".to_owned(), one("token")),
    };
    api.call(method, &path, body).context("Error revoking token")?;
    cx.ui.line("Success! Revoked token (if it existed)");
    Ok(Exit::OK)
}

fn capabilities(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let (token, path) = match args.rest() {
        [path] => (None, path.as_str()),
        [token, path] => (Some(token.as_str()), path.as_str()),
        [] => return Err(Fail::usage("Not enough arguments (expected 1-2, got 0)")),
        more => {
            return Err(Fail::usage(format!(
                "Too many arguments (expected 1-2, got {})",
                more.len()
            )));
        }
    };
    let api = cx.api(args)?;
    let mut body: Fields = [("path", path)].into_iter().collect();
    let endpoint = match token {
        Some(token) => {
            body.insert("token", token);
            "sys/capabilities"
        }
        None => "sys/capabilities-self",
    };
    let secret = call(&api, "POST", endpoint, body, "Error listing capabilities")?;
    let found = secret
        .as_ref()
        .and_then(|s| s.field(path).or_else(|| s.field("capabilities")));
    let Some(found) = found.and_then(Json::as_array) else {
        return Err(Fail::usage("No capabilities found"));
    };
    if !cx.ui.is_table() {
        return Ok(output::value(&mut cx.ui, &Json::Array(found.to_vec())));
    }
    let mut names: Vec<&str> = found.iter().filter_map(Json::as_str).collect();
    names.sort_unstable();
    cx.ui.line(&names.join(", "));
    Ok(Exit::OK)
}

fn whoami(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let secret = call(
        &api,
        "GET",
        "auth/token/lookup-self",
        Fields::new(),
        "Error looking up token",
    )?;
    let secret = secret.ok_or_else(|| Fail::remote("the server knows nothing of this token"))?;
    let mut short: Fields = [
        "display_name",
        "entity_id",
        "identity_policies",
        "orphan",
        "path",
        "policies",
        "renewable",
        "ttl",
        "type",
    ]
    .into_iter()
    .filter_map(|name| Some((name, secret.field(name)?.clone())))
    .collect();
    short.insert("address", api.client.address());
    short.insert("namespace", api.client.namespace());
    Ok(match args.some(&FIELD) {
        Some(name) => output::field(&mut cx.ui, &short, name, "token"),
        None => output::fields(&mut cx.ui, &short),
    })
}
