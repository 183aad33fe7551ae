//! `transit`: takes keys of others to a server. A key is wrapped on this machine, under a key that only the server opens.

use conclave_client::http::{Fields, Json};

use super::Command;
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::session::{Api, Cx};
use crate::{base64, entropy, kvdata};

/// Exit code of the original for whatever the server refuses here.
const REFUSED: Exit = Exit(3);

pub const COMMANDS: &[Command] = &[
    Command::group(
        "transit",
        "Interact with the Transit Secrets Engine",
        "Takes keys of others to a mount of the transit engine.\n\n$ conclave transit import transit/keys/mine @path/to/key type=rsa-2048",
    ),
    Command::new(
        "transit import",
        "[options] PATH KEY [DATA K=V...]",
        "Import a key into the Transit secrets engines.",
        |cx, args| import(cx, args, "import"),
    )
    .help(
        "Makes a key of what is given in base64, or read from a file by @: raw bytes for a symmetric key, PKCS#8 in DER for another. \
         It leaves this machine wrapped for the server alone. What follows goes with it, as to 'write'.\n\n\
         $ conclave transit import transit/keys/mine @path/to/key type=rsa-2048",
    ),
    Command::new(
        "transit import-version",
        "[options] PATH KEY [DATA K=V...]",
        "Import key material into a new key version in the Transit secrets engines.",
        |cx, args| import(cx, args, "import_version"),
    )
    .help(
        "Adds a version to a key that was imported, as 'transit import' makes its first one.\n\n\
         $ conclave transit import-version transit/keys/mine @path/to/key",
    ),
];

fn import(cx: &mut Cx, args: &Args, what: &str) -> Result<Exit, Fail> {
    let [path, key, more @ ..] = args.rest() else {
        let got = args.rest().len();
        return Err(Fail::usage(format!(
            "Incorrect argument count (expected 2+, got {got}). Wanted PATH to import into and KEY material."
        )));
    };
    let (mount, name) = place(path)?;
    let key = material(key)?;
    let mut body = kvdata::parse(&mut cx.stdin(args), more)
        .map_err(|why| Fail::usage(format!("Failed to parse extra K=V data: {why}")))?;
    let api = cx.api(args)?;
    cx.ui.line("Retrieving wrapping key.");
    let public = wrapping_key(&api, mount)?;
    cx.ui.line("Wrapping source key with ephemeral key.");
    let ephemeral = entropy::key().map_err(Fail::usage)?;
    cx.ui.line("Encrypting ephemeral key with wrapping key.");
    let hash = match body.get("hash_function") {
        Some(Json::String(hash)) => hash.as_str(),
        _ => "",
    };
    let wrapped = conclave_server::wrap_key(&public, &key, &ephemeral, hash)
        .map_err(|why| Fail::usage(format!("failed to wrap the key: {why}")))?;
    body.insert("ciphertext", base64::encode(&wrapped));
    cx.ui.line("Submitting wrapped key.");
    api.call("PUT", &format!("{mount}/keys/{name}/{what}"), Some(body))
        .map_err(|error| refused(format!("failed to call import:{error}")))?;
    cx.ui.line("Success!");
    Ok(Exit::OK)
}

fn refused(message: String) -> Fail {
    Fail {
        exit: REFUSED,
        message,
    }
}

/// Mount and name of a key.
fn place(path: &str) -> Result<(&str, &str), Fail> {
    let parts = super::sanitize(path).rsplit_once("/keys/");
    parts
        .filter(|(mount, name)| !mount.is_empty() && !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| Fail::usage("expected transit path and key name in the form :path:/keys/:name:"))
}

fn material(given: &str) -> Result<Vec<u8>, Fail> {
    let text = match given.strip_prefix('@') {
        None => given.to_owned(),
        Some(file) => {
            let failed = |why: String| Fail::usage(format!("error reading key material file: {why}"));
            let bytes = kvdata::read_file(file).map_err(failed)?;
            String::from_utf8(bytes).map_err(|_| failed("it is not text".to_owned()))?
        }
    };
    base64::decode(text.trim())
        .ok_or_else(|| Fail::usage("error base64 decoding source key material: it is no base64"))
}

fn wrapping_key(api: &Api, mount: &str) -> Result<String, Fail> {
    let sentence = "failed to fetch wrapping key";
    let found = api
        .read(&format!("{mount}/wrapping_key"))
        .map_err(|error| refused(format!("{sentence}: error fetching wrapping key: {error}")))?;
    let data: Option<Fields> = found.and_then(|secret| secret.data);
    let data = data.ok_or_else(|| refused(format!("{sentence}: no mount found at {mount}: <nil>")))?;
    match data.get("public_key") {
        Some(Json::String(public)) => Ok(public.clone()),
        _ => Err(refused(format!("{sentence}: the answer has none"))),
    }
}
