//! `namespace`: tenants within a server.

use conclave_client::http::{Body, Fields, Json, Request, Secret};

use super::logical::settle;
use super::operator::pgp_keys;
use super::{Command, FIELD, Output, at_most, exactly};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::{plain, quote};
use crate::output::text::wrap;
use crate::output::{self, SealStatus};
use crate::session::{Api, Cx, unlock_key};

const CUSTOM_METADATA: Flag = Flag::map(
    "custom-metadata",
    "A key=value that describes the namespace. May be given several times.",
);
const REMOVE_CUSTOM_METADATA: Flag = Flag::list(
    "remove-custom-metadata",
    "Custom metadata to remove. May be given several times.",
);
const SEAL_FILE: Flag = Flag::text("seal", "File with one seal stanza.");
const KEY_SHARES: Flag =
    Flag::int("key-shares", "Number of unseal keys of the namespace's own seal.").alias(&["n"]);
const KEY_THRESHOLD: Flag = Flag::int("key-threshold", "Number of unseal keys needed.").alias(&["t"]);
const PGP_KEYS: Flag = Flag::list(
    "pgp-keys",
    "Files with PGP keys, one for each share, to encrypt the shares to.",
);
const FORCE: Flag = Flag::bool("force", "Delete its children with it.");
const DETAILED: Flag = Flag::bool("detailed", "Print what is known of each namespace.");
const RESET: Flag = Flag::bool("reset", "Forget the keys given so far.");

pub const COMMANDS: &[Command] = &[
    Command::group("namespace", "Interact with namespaces", "Tenants within a server, each with its own mounts, policies and tokens.\n\n$ conclave namespace create team"),
    Command::new("namespace create", "[options] PATH", "Create a new namespace", create)
        .help("Makes a child of the namespace in use.\n\n$ conclave namespace create team\n$ conclave namespace create -namespace=team app")
        .output(Output::Field)
        .flags(&[CUSTOM_METADATA, KEY_SHARES, KEY_THRESHOLD, PGP_KEYS, SEAL_FILE]),
    Command::new("namespace list", "[options]", "List child namespaces", |cx, args| list(cx, args, false))
        .output(Output::Format)
        .flags(&[DETAILED]),
    Command::new("namespace scan", "[options]", "List all (child) namespaces recursively", |cx, args| list(cx, args, true))
        .output(Output::Format)
        .flags(&[DETAILED]),
    Command::new("namespace lookup", "[options] PATH", "Look up an existing namespace", lookup).output(Output::Format),
    Command::new("namespace patch", "[options] PATH", "Patch an existing namespace", patch)
        .output(Output::Field)
        .flags(&[CUSTOM_METADATA, REMOVE_CUSTOM_METADATA]),
    Command::new("namespace delete", "[options] PATH", "Delete an existing namespace", delete).output(Output::Format),
    Command::new("namespace lock", "[options] [PATH]", "Lock the API for particular namespaces", lock).output(Output::Format),
    Command::new("namespace unlock", "[options] [PATH]", "Unlock the API for particular namespaces", unlock)
        .output(Output::Format),
    Command::new("namespace seal", "[options] PATH", "Seals the namespace", seal),
    Command::new("namespace seal-status", "[options] PATH", "Prints the namespace seal status", seal_status)
        .output(Output::Field),
    Command::new("namespace delete-sealed", "[options] PATH", "Delete a sealed namespace", delete_sealed)
        .flags(&[FORCE]),
    Command::new("namespace unseal", "[options] PATH KEY", "Unseals the namespace", unseal)
        .output(Output::Format)
        .flags(&[RESET]),
];

/// A namespace with the fields that have a value.
fn print(cx: &mut Cx, args: &Args, found: &Fields) -> Exit {
    match args.some(&FIELD) {
        Some(name) => output::field(&mut cx.ui, found, name, "map"),
        None => output::fields(&mut cx.ui, found),
    }
}

fn data(response: &conclave_client::http::Response, sentence: &str) -> Result<Fields, Fail> {
    let secret = Secret::parse(&response.body).map_err(|e| Fail::remote(format!("{sentence}: {e}")))?;
    Ok(secret.and_then(|s| s.data).unwrap_or_default())
}

fn create(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = args.arg(0).trim();
    let api = cx.api(args)?;
    let mut body = Fields::new();
    body.insert(
        "custom_metadata",
        args.map(&CUSTOM_METADATA).into_iter().collect::<Fields>(),
    );
    let (shares, threshold) = (args.int(&KEY_SHARES), args.int(&KEY_THRESHOLD));
    let keys: Vec<String> = match pgp_keys(args, &PGP_KEYS)? {
        Json::Array(keys) => keys.iter().map(|key| quote(&plain(key))).collect(),
        _ => Vec::new(),
    };
    if let Some(file) = args.some(&SEAL_FILE) {
        let failed = |e: String| Fail::remote(format!("Error reading seal config file: {e}"));
        let bytes = crate::kvdata::read_file(file).map_err(failed)?;
        body.insert(
            "seal",
            String::from_utf8(bytes).map_err(|_| failed("it is not text".into()))?,
        );
    } else if shares != 0 || threshold != 0 || !keys.is_empty() {
        let keys = match keys.is_empty() {
            true => String::new(),
            false => format!("    pgp_keys = [{}]\n", keys.join(", ")),
        };
        body.insert(
            "seal",
            format!("seal \"shamir\" {{\n    shares = {shares}\n    threshold = {threshold}\n{keys}}}"),
        );
    }
    let sentence = "Error creating namespace";
    let response = api
        .call("POST", &format!("sys/namespaces/{path}"), Some(body))
        .context(sentence)?;
    let mut made = data(&response, sentence)?;
    let keys = made
        .get("key_shares")
        .and_then(Json::as_array)
        .map(<[Json]>::to_vec)
        .unwrap_or_default();
    if cx.ui.is_table() && !keys.is_empty() {
        for (i, key) in keys.iter().enumerate() {
            cx.ui.line(&format!("Unseal Key {}: {}", i + 1, plain(key)));
        }
        let threshold = made.get("key_threshold").map(plain).unwrap_or_default();
        let text = format!(
            "Namespace initialized with {} key shares and a key threshold of {threshold}. Please securely distribute the key \
             shares printed above. When the namespace is re-sealed, you must supply at least {threshold} of these keys to \
             unseal it.",
            keys.len()
        );
        cx.ui.line(&format!("\n{}\n", wrap(&text, 0)));
    }
    if (cx.ui.is_table() || keys.is_empty()) && args.some(&FIELD).is_none() {
        made.remove("key_shares");
        made.remove("key_threshold");
    }
    Ok(print(cx, args, &made))
}

fn list(cx: &mut Cx, args: &Args, deep: bool) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let found = if deep {
        api.scan("sys/namespaces", None)
    } else {
        api.list("sys/namespaces", None)
    };
    let sentence = if deep {
        "Error scanning namespaces"
    } else {
        "Error listing namespaces"
    };
    let found = found
        .context(sentence)?
        .filter(|s| s.field("keys").is_some_and(|k| k.as_array().is_some()));
    let Some(found) = found else {
        if !cx.ui.is_table() {
            output::value(&mut cx.ui, &Fields::new().into());
            return Ok(Exit::REMOTE);
        }
        return Err(Fail::remote("No namespaces found"));
    };
    if args.is(&DETAILED) && !cx.ui.is_table() {
        return Ok(output::value(
            &mut cx.ui,
            &found.field("key_info").cloned().unwrap_or_default(),
        ));
    }
    Ok(output::list(&mut cx.ui, &found))
}

fn lookup(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let found = api
        .read(&format!("sys/namespaces/{}", args.arg(0).trim()))
        .context("Error looking up namespace")?;
    let found = found
        .and_then(|s| s.data)
        .ok_or_else(|| Fail::remote("Namespace not found"))?;
    Ok(output::fields(&mut cx.ui, &found))
}

fn patch(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let mut custom: Fields = args.map(&CUSTOM_METADATA).into_iter().collect();
    for name in args.list(&REMOVE_CUSTOM_METADATA) {
        custom.insert(name, Json::Null);
    }
    if custom.is_empty() {
        return Err(Fail::usage(
            "Must supply at least one of -custom-metadata or -remove-custom-metadata",
        ));
    }
    let api = cx.api(args)?;
    let body: Fields = [("custom_metadata", custom)].into_iter().collect();
    let mut request = Request::new("PATCH", format!("sys/namespaces/{}", args.arg(0).trim()));
    request.body = Body::MergePatch(body.into());
    let sentence = "Error patching namespace";
    let response = api.send(&request).context(sentence)?;
    let found = data(&response, sentence)?;
    Ok(print(cx, args, &found))
}

fn delete(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let path = super::with_slash(super::sanitize(args.arg(0)));
    let sentence = "Error deleting namespace";
    let response = api
        .call("DELETE", &format!("sys/namespaces/{path}"), None)
        .context(sentence)?;
    let answer = data(&response, sentence)?;
    if answer.get("status").and_then(Json::as_str) == Some("in-progress") {
        cx.ui
            .line(&format!("Success! Namespace deletion scheduled: {path}"));
    } else {
        cx.ui.warn("Requested namespace does not exist");
    }
    Ok(Exit::OK)
}

fn lock_path(args: &Args, action: &str) -> Result<String, Fail> {
    at_most(args, 1)?;
    let path = super::sanitize(args.arg(0));
    Ok(format!("sys/namespaces/api-lock/{action}/{path}")
        .trim_end_matches('/')
        .to_owned())
}

fn lock(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let path = lock_path(args, "lock")?;
    let api = cx.api(args)?;
    let sentence = "Error locking namespace";
    let response = api.call("PUT", &path, None).context(sentence)?;
    let answer = data(&response, sentence)?;
    if !cx.ui.is_table() {
        return Ok(output::fields(&mut cx.ui, &answer));
    }
    cx.ui.line(&format!(
        "Unlock Key: {}\n\nNamespace is now locked. Please securely store the unlock key printed above.\nYou must supply the \
         unlock key to re-enable access to the namespace.\nIf the unlock key is lost, sudo capability is required to unlock \
         the namespace without it.",
        answer.get("unlock_key").map(plain).unwrap_or_default()
    ));
    Ok(Exit::OK)
}

fn unlock(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let path = lock_path(args, "unlock")?;
    let api = cx.api(args)?;
    let key = unlock_key(args);
    let body = (!key.is_empty()).then(|| Fields::from_iter([("unlock_key", key)]));
    api.call("PUT", &path, body)
        .context("Error unlocking namespace")?;
    if key.is_empty() {
        cx.ui.warn("Namespace unlocked using sudo capabilities");
    } else {
        cx.ui.line("Success! Namespace unlocked");
    }
    Ok(Exit::OK)
}

fn seal(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let path = super::sanitize(args.arg(0));
    api.call("PUT", &format!("sys/namespaces/{path}/seal"), None)
        .context("Error sealing")?;
    cx.ui
        .line(&format!("Success! Namespace {} is sealed.", quote(path)));
    Ok(Exit::OK)
}

fn seal_status(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let found = api.get(&format!(
        "sys/namespaces/{}/seal-status",
        super::sanitize(args.arg(0))
    ));
    let found = found.context("Error reading seal status")?;
    match args.some(&FIELD) {
        Some(name) => {
            let seal = found
                .get("seal_status")
                .and_then(Json::as_object)
                .unwrap_or(&found);
            Ok(output::field(&mut cx.ui, seal, name, "map"))
        }
        None => print_seal(cx, &found),
    }
}

fn delete_sealed(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let path = super::sanitize(args.arg(0));
    let force = ("force".to_owned(), "true".to_owned());
    let query: Vec<(String, String)> = args.is(&FORCE).then_some(force).into_iter().collect();
    let answer = api.delete(&format!("sys/namespaces/{path}/delete-sealed"), &query);
    let told = settle(cx, answer, "Error deleting sealed namespace")?;
    if let Some(told) = told.filter(|told| {
        told.warnings
            .as_ref()
            .is_some_and(|warnings| !warnings.is_empty())
    }) {
        output::warnings(&mut cx.ui, &told);
        return Ok(Exit::OK);
    }
    cx.ui
        .line(&format!("Success! Sealed namespace {} is deleted.", quote(path)));
    Ok(Exit::OK)
}

fn print_seal(cx: &mut Cx, found: &Fields) -> Result<Exit, Fail> {
    let seal = found
        .get("seal_status")
        .and_then(Json::as_object)
        .unwrap_or(found)
        .clone();
    Ok(output::status(&mut cx.ui, &SealStatus { seal, leader: None }))
}

fn unseal(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let reset = args.is(&RESET);
    exactly(args, if reset { 1 } else { 2 })?;
    let api: Api = cx.api(args)?;
    let body: Fields = if reset {
        [("reset", true)].into_iter().collect()
    } else {
        [("key", args.arg(1).trim())].into_iter().collect()
    };
    let sentence = match reset {
        true => "Error resetting unseal process",
        false => "Error unsealing",
    };
    let path = format!("sys/namespaces/{}/unseal", super::sanitize(args.arg(0)));
    let response = api.call("PUT", &path, Some(body)).context(sentence)?;
    print_seal(cx, &data(&response, sentence)?)
}
