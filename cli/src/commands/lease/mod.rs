//! `lease`: lists, shows, renews and revokes leases of dynamic credentials.

mod beneath;
mod reconcile;

use conclave_client::http::{Fields, Secret};

use self::beneath::Beneath;

use super::logical::{AFTER, LIMIT, keys, page};
use super::{Command, Output, at_most, exactly};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::Span;
use crate::output;
use crate::output::text::wrap;
use crate::session::Cx;

const INCREMENT: Flag = Flag::span("increment", "Time to ask for; the server may give less.");
const FORCE: Flag = Flag::bool(
    "force",
    "Forget the lease even if the credential cannot be revoked. Needs -prefix.",
)
.alias(&["f"]);
const PREFIX: Flag = Flag::bool("prefix", "The ID is a prefix of lease IDs.");
const YES: Flag = Flag::bool("yes", "Do not ask before many leases are revoked at a terminal.");
const SYNC: Flag = Flag::bool("sync", "Wait until the lease is revoked.");

pub const COMMANDS: &[Command] = &[
    Command::group("lease", "Interact with leases", "Lists, shows, renews and revokes leases.\n\n$ conclave lease revoke -prefix database/creds/app"),
    Command::new("lease list", "[options] [PREFIX]", "Lists the IDs of leases", list)
        .help("Lists leases and directories of leases beneath a prefix of IDs; without one, those at the top. Wants sudo.\n\n\
               $ conclave lease list database/creds/app")
        .output(Output::Format)
        .flags(&[AFTER, LIMIT]),
    Command::new("lease lookup", "[options] ID", "Lookup the lease of a secret", lookup).output(Output::Format),
    Command::new("lease renew", "[options] ID", "Renews the lease of a secret", renew)
        .help("Lengthens a lease.\n\n$ conclave lease renew -increment=1h database/creds/app/2f6a614c")
        .output(Output::Format)
        .flags(&[INCREMENT]),
    Command::new("lease revoke", "[options] ID", "Revokes leases and secrets", revoke)
        .help("Revokes one lease, or all whose IDs begin with a prefix. At a terminal it asks before it revokes many, and \
               shows how far it is.\n\n$ conclave lease revoke -prefix database/creds/app")
        .flags(&[FORCE, PREFIX, SYNC, YES]),
    reconcile::COMMAND,
];

fn id(args: &Args) -> Result<String, Fail> {
    match args.rest() {
        [] => Err(Fail::usage("Missing ID!")),
        [id] => Ok(id.trim().to_owned()),
        more => Err(Fail::usage(format!(
            "Too many arguments (expected 1, got {})",
            more.len()
        ))),
    }
}

fn print(cx: &mut Cx, body: &[u8]) -> Result<Exit, Fail> {
    let secret = Secret::parse(body).map_err(|e| Fail::remote(e.to_string()))?;
    Ok(secret.map_or(Exit::OK, |secret| output::secret(&mut cx.ui, &secret)))
}

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 1)?;
    let prefix = args.arg(0).trim_matches('/');
    let path = match prefix {
        "" => "sys/leases/lookup".to_owned(),
        prefix => format!("sys/leases/lookup/{prefix}"),
    };
    let api = cx.api(args)?;
    let found = api.list(&path, page(args)).context("Error listing leases")?;
    let is_table = cx.ui.is_table();
    match found {
        None if is_table => {
            cx.ui
                .error(&format!("There are no leases beneath {:?}", args.arg(0)));
            Ok(Exit::REMOTE)
        }
        found => keys(cx, &path, found),
    }
}

fn lookup(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let id = id(args)?;
    let api = cx.api(args)?;
    let body: Fields = [("lease_id", id.as_str())].into_iter().collect();
    let response = api
        .call("PUT", "sys/leases/lookup", Some(body))
        .context(&format!("error looking up lease id {id}"))?;
    print(cx, &response.body)
}

fn renew(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let id = id(args)?;
    let api = cx.api(args)?;
    let mut body: Fields = [("lease_id", id.as_str())].into_iter().collect();
    body.insert("increment", args.span(&INCREMENT).max(Span(0)).whole_seconds());
    let response = api
        .call("PUT", "sys/leases/renew", Some(body))
        .context(&format!("Error renewing {id}"))?;
    print(cx, &response.body)
}

fn revoke(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let id = args.arg(0).trim();
    let (force, prefix, sync) = (args.is(&FORCE), args.is(&PREFIX), args.is(&SYNC));
    if force && !prefix {
        return Err(Fail::usage("Specifying -force requires also specifying -prefix"));
    }
    let api = cx.api(args)?;
    let mut beneath = Beneath::watched(cx, args, &api, prefix.then_some(id));
    if !args.is(&YES) && !beneath.may_end(cx, args)? {
        cx.ui.error("Nothing was revoked.");
        return Ok(Exit(1));
    }
    if force {
        let text =
            "Warning! Force-removing leases can cause Vault to become out of sync with secret engines!";
        cx.ui.warn(&wrap(text, 0));
    }
    let what = match (force, prefix) {
        (true, _) => "force revoking leases with prefix",
        (_, true) => "revoking leases with prefix",
        _ => "revoking lease",
    };
    let sentence = format!("Error {what} {id}");
    let mut body: Fields = [("sync", sync)].into_iter().collect();
    match (force, prefix) {
        (true, _) => api.call("PUT", &format!("sys/leases/revoke-force/{id}"), None),
        (_, true) => api.call("PUT", &format!("sys/leases/revoke-prefix/{id}"), Some(body)),
        _ => {
            body.insert("lease_id", id);
            api.call("PUT", "sys/leases/revoke", Some(body))
        }
    }
    .context(&sentence)?;
    beneath.wait(cx, &api);
    cx.ui.line(&match (force, prefix, sync) {
        (true, ..) => format!("Success! Force revoked any leases with prefix: {id}"),
        (_, true, true) => format!("Success! Revoked any leases with prefix: {id}"),
        (_, _, true) => format!("Success! Revoked lease: {id}"),
        _ => "All revocation operations queued successfully!".to_owned(),
    });
    Ok(Exit::OK)
}
