//! `operator rotate-keys` and the older `operator rekey`: new unseal or recovery keys, given by a quorum of the old.

use conclave_client::http::{Fields, Json};

use super::init::{PGP_KEYS, pgp_keys};
use super::key_shares::{new_keys, status as print_status};
use crate::commands::{Command, Output};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::plain;
use crate::output;
use crate::output::text::wrap;
use crate::session::{Api, Cx, TOOL};

const INIT: Flag = Flag::bool("init", "Begin an attempt.");
const CANCEL: Flag = Flag::bool("cancel", "Give up the attempt and forget the keys given so far.");
const STATUS: Flag = Flag::bool("status", "Print how far the attempt is.");
const KEY_SHARES: Flag = Flag::int("key-shares", "Number of new keys.")
    .default("5")
    .alias(&["n"]);
const KEY_THRESHOLD: Flag = Flag::int("key-threshold", "Number of new keys needed.")
    .default("3")
    .alias(&["t"]);
pub const NONCE: Flag = Flag::text("nonce", "Nonce of the attempt; every key must name it.");
const TARGET: Flag = Flag::text("target", "Which keys: barrier or recovery.").default("barrier");
const VERIFY: Flag = Flag::bool(
    "verify",
    "With -init: new keys count only after they were verified. Else: verify.",
);
const BACKUP: Flag = Flag::bool("backup", "Let the server keep the PGP-encrypted new keys.");
const BACKUP_DELETE: Flag = Flag::bool("backup-delete", "Delete keys the server keeps.");
const BACKUP_RETRIEVE: Flag = Flag::bool("backup-retrieve", "Print keys the server keeps.");

const FLAGS: &[Flag] = &[
    BACKUP,
    BACKUP_DELETE,
    BACKUP_RETRIEVE,
    CANCEL,
    INIT,
    KEY_SHARES,
    KEY_THRESHOLD,
    NONCE,
    PGP_KEYS,
    STATUS,
    TARGET,
    VERIFY,
];

pub const ROTATE_KEYS: Command = Command::new(
    "operator rotate-keys",
    "[options] [KEY]",
    "Rotates unseal or recovery keys",
    |cx, args| run(cx, args, Api2::Rotate),
)
.help("Makes new unseal keys, which a quorum of the old ones must allow.\n\n$ conclave operator rotate-keys -init -key-shares=5 -key-threshold=3\n$ conclave operator rotate-keys")
.output(Output::Format)
.flags(FLAGS);

pub const REKEY: Command =
    Command::new("operator rekey", "[options] [KEY]", "Generates new unseal keys", |cx, args| run(cx, args, Api2::Rekey))
        .help("The older form of 'operator rotate-keys', for servers that do not know that one.\n\n$ conclave operator rekey -init")
        .output(Output::Format)
        .flags(FLAGS);

/// The two interfaces for one thing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api2 {
    Rotate,
    Rekey,
}

/// Words and paths of an attempt.
struct Attempt {
    base: &'static str,
    kind: &'static str,
    noun: &'static str,
    command: &'static str,
    is_rekey: bool,
}

impl Attempt {
    fn new(args: &Args, api: Api2) -> Result<Self, Fail> {
        let target = args.text(&TARGET).trim().to_lowercase();
        let (recovery, kind) = match target.as_str() {
            "barrier" => (false, "unseal"),
            "recovery" | "hsm" => (true, "recovery"),
            _ => return Err(Fail::usage(format!("Unknown target: {}", args.text(&TARGET)))),
        };
        let base = match (api, recovery) {
            (Api2::Rotate, false) => "sys/rotate/root",
            (Api2::Rotate, true) => "sys/rotate/recovery",
            (Api2::Rekey, false) => "sys/rekey",
            (Api2::Rekey, true) => "sys/rekey-recovery-key",
        };
        let is_rekey = api == Api2::Rekey;
        let (noun, command) = if is_rekey {
            ("rekey", "rekey")
        } else {
            ("rotation", "rotate-keys")
        };
        Ok(Self {
            base,
            kind,
            noun,
            command,
            is_rekey,
        })
    }

    fn path(&self, args: &Args, action: &str) -> String {
        let action = match (args.is(&VERIFY), action) {
            (true, "init" | "update") => "verify",
            (_, action) => action,
        };
        format!("{}/{action}", self.base)
    }

    fn status(&self, api: &Api, args: &Args, sentence: &str) -> Result<Fields, Fail> {
        api.get(&self.path(args, "init")).context(sentence)
    }
}

fn run(cx: &mut Cx, args: &Args, which: Api2) -> Result<Exit, Fail> {
    if args.rest().len() > 1 {
        return Err(Fail::usage(format!(
            "Too many arguments (expected 0-1, got {})",
            args.rest().len()
        )));
    }
    let api = cx.api(args)?;
    let attempt = Attempt::new(args, which)?;
    let noun = attempt.noun;
    if args.is(&BACKUP_DELETE) {
        let path = format!("{}/backup", attempt.base);
        api.call("DELETE", &path, None)
            .context(&format!("Error deleting {noun} backed up keys"))?;
        cx.ui.line("Success! Deleted backed up keys (if they existed)");
        return Ok(Exit::OK);
    }
    if args.is(&BACKUP_RETRIEVE) {
        let path = format!("{}/backup", attempt.base);
        let kept = api
            .get(&path)
            .context(&format!("Error retrieving {noun} backed up keys"))?;
        return Ok(output::fields(&mut cx.ui, &kept));
    }
    if args.is(&CANCEL) {
        api.call("DELETE", &attempt.path(args, "init"), None)
            .context(&format!("Error canceling {noun}"))?;
        let what = if attempt.is_rekey { "rekeying" } else { "rotation" };
        cx.ui
            .line(&format!("Success! Canceled {what} (if it was started)"));
        return Ok(Exit::OK);
    }
    if args.is(&INIT) {
        return init(cx, args, &api, &attempt);
    }
    if args.is(&STATUS) {
        return show(cx, args, &api, &attempt);
    }
    provide(cx, args, &api, &attempt)
}

fn show(cx: &mut Cx, args: &Args, api: &Api, attempt: &Attempt) -> Result<Exit, Fail> {
    let word = if attempt.is_rekey { "rekey" } else { "rotate" };
    let status = attempt.status(api, args, &format!("Error reading {word} status"))?;
    print_status(cx, &status, args.is(&VERIFY))
}

fn init(cx: &mut Cx, args: &Args, api: &Api, attempt: &Attempt) -> Result<Exit, Fail> {
    let keys = pgp_keys(args, &PGP_KEYS)?;
    let has_pgp = !keys.is_null();
    let mut body = Fields::new();
    body.insert("secret_shares", args.int(&KEY_SHARES));
    body.insert("secret_threshold", args.int(&KEY_THRESHOLD));
    body.insert("pgp_keys", keys);
    body.insert("backup", args.is(&BACKUP));
    body.insert("require_verification", args.is(&VERIFY));
    let sentence = format!("Error initializing {}", attempt.noun);
    let response = api
        .call("PUT", &format!("{}/init", attempt.base), Some(body))
        .context(&sentence)?;
    let status = fields(&response).context(&sentence)?;
    let is_complete = status.get("complete").and_then(Json::as_bool).unwrap_or(false);
    if cx.ui.is_table() && (!has_pgp || !args.is(&BACKUP)) {
        warn_of_loss(cx, attempt.kind, has_pgp);
    }
    if is_complete {
        return finish(cx, api, attempt, &status, &status);
    }
    print_status(cx, &status, false)
}

fn warn_of_loss(cx: &mut Cx, kind: &str, has_pgp: bool) {
    let text = if has_pgp {
        format!(
            "WARNING! You are using PGP keys for encryption of resulting {kind} keys, but you did not enable the option to \
             backup the keys to Vault's core. If you lose the encrypted keys after they are returned, you will not be able \
             to recover them. Consider canceling this operation and re-running with -backup to allow recovery of the \
             encrypted unseal keys in case of emergency. You can delete the stored keys later using the -delete flag."
        )
    } else {
        format!(
            "WARNING! If you lose the keys after they are returned, there is no recovery. Consider canceling this \
             operation and re-initializing with the -pgp-keys flag to protect the returned {kind} keys along with -backup \
             to allow recovery of the encrypted keys in case of emergency. You can delete the stored keys later using the \
             -delete flag."
        )
    };
    cx.ui.warn(&wrap(&text, 0));
    cx.ui.line("");
}

/// The object of an answer, in an envelope or bare.
fn fields(response: &conclave_client::http::Response) -> Result<Fields, conclave_client::http::Error> {
    let secret = conclave_client::http::Secret::parse(&response.body)?;
    Ok(secret.and_then(|s| s.data).unwrap_or_default())
}

fn provide(cx: &mut Cx, args: &Args, api: &Api, attempt: &Attempt) -> Result<Exit, Fail> {
    let status = attempt.status(api, args, &format!("Error getting {} status", attempt.noun))?;
    if !status.get("started").and_then(Json::as_bool).unwrap_or(false) {
        let text = format!(
            "No {0} is in progress. Start a {0} process by running \"{TOOL} operator {1} -init\".",
            attempt.noun, attempt.command
        );
        return Err(Fail::usage(wrap(&text, 0)));
    }
    let asks = args.arg(0).trim().is_empty();
    let nonce = if asks {
        status.get("nonce").map(plain).unwrap_or_default()
    } else {
        args.text(&NONCE).to_owned()
    };
    let key = key(
        cx,
        args,
        &format!("{} nonce: {nonce}", attempt.noun),
        attempt.kind,
    )?;
    if nonce.is_empty() {
        return Err(Fail::usage("Missing nonce value: specify it via the -nonce flag"));
    }
    let body: Fields = [("key", key), ("nonce", nonce)].into_iter().collect();
    let sentence = "Error posting unseal key";
    let response = api
        .call("PUT", &attempt.path(args, "update"), Some(body))
        .context(sentence)?;
    let update = fields(&response).context(sentence)?;
    if !update.get("complete").and_then(Json::as_bool).unwrap_or(false) {
        return show(cx, args, api, attempt);
    }
    if args.is(&VERIFY) {
        let text = format!(
            "{} verification successful. The new keys are now active.",
            capital(attempt.noun)
        );
        cx.ui.line(&text);
        return Ok(Exit::OK);
    }
    finish(cx, api, attempt, &status, &update)
}

/// Prints the new keys, and how far their verification is if they must be verified.
fn finish(cx: &mut Cx, api: &Api, attempt: &Attempt, status: &Fields, update: &Fields) -> Result<Exit, Fail> {
    if !new_keys(cx, status, update, attempt.kind, attempt.command) {
        return Ok(Exit::OK);
    }
    let verification = api
        .get(&format!("{}/verify", attempt.base))
        .context("Error reading verification status")?;
    print_status(cx, &verification, true)
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// The key share: the argument, all of standard input for `-`, or asked for.
///
/// # Errors
/// Nobody can be asked.
pub fn key(cx: &mut Cx, args: &Args, before: &str, kind: &str) -> Result<String, Fail> {
    let given = args.arg(0).trim();
    match given {
        "-" => {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut cx.stdin(args), &mut text).map_err(|e| {
                Fail::usage(format!(
                    "Failed to read from stdin: {}",
                    conclave_client::http::plain(&e)
                ))
            })?;
            Ok(text.trim().to_owned())
        }
        "" => {
            cx.ui.line(before);
            let prompt = format!("{} Key (will be hidden): ", capital(kind));
            let asked = if cx.may_ask(args) {
                cx.ask_secret(&prompt)
            } else {
                cx.ui.line(&prompt);
                Err("file descriptor 0 is not a terminal".to_owned())
            };
            asked.map(|key| key.trim().to_owned()).map_err(|why| {
                let text = format!(
                    "An error occurred attempting to ask for the {kind} key. The raw error message is shown below, but \
                     usually this is because you attempted to pipe a value into the command or you are executing outside \
                     of a terminal (tty). If you want to pipe the value, pass \"-\" as the argument to read from stdin. \
                     The raw error was: {why}"
                );
                Fail::usage(wrap(&text, 0))
            })
        }
        key => Ok(key.to_owned()),
    }
}
