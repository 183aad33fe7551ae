//! `operator init`: makes a cluster's keys, and prints them once.

use conclave_client::http::{Fields, Json};

use crate::commands::{Command, Output, at_most};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::quote;
use crate::output;
use crate::output::text::wrap;
use crate::session::{Api, Cx, TOOL};

const STATUS: Flag = Flag::bool(
    "status",
    "Print whether the server is initialised. The exit code is 0 if it is, 2 if not, 1 for an error.",
);
const KEY_SHARES: Flag =
    Flag::int("key-shares", "Number of unseal keys to make; 5 if not set.").alias(&["n"]);
const KEY_THRESHOLD: Flag = Flag::int(
    "key-threshold",
    "Number of unseal keys needed to unseal; 3 if not set.",
)
.alias(&["t"]);
pub const PGP_KEYS: Flag = Flag::list(
    "pgp-keys",
    "Files with public PGP keys, separated by commas, one for each key share: the shares are encrypted to them.",
);
const ROOT_TOKEN_PGP_KEY: Flag = Flag::text(
    "root-token-pgp-key",
    "File with a public PGP key to encrypt the initial root token to.",
);
const RECOVERY_SHARES: Flag =
    Flag::int("recovery-shares", "Number of recovery keys, with auto-unseal.").default("5");
const RECOVERY_THRESHOLD: Flag =
    Flag::int("recovery-threshold", "Number of recovery keys needed.").default("3");
const RECOVERY_PGP_KEYS: Flag = Flag::list("recovery-pgp-keys", "As -pgp-keys, for recovery keys.");

pub const COMMAND: Command = Command::new("operator init", "[options]", "Initializes a server", run)
    .help(
        "Makes the cluster's root key, splits it into unseal keys and prints these once with the first root token. Keep \
         the keys apart from each other.\n\n$ conclave operator init -key-shares=5 -key-threshold=3",
    )
    .output(Output::Format)
    .flags(&[
        KEY_SHARES, KEY_THRESHOLD, PGP_KEYS, RECOVERY_PGP_KEYS, RECOVERY_SHARES, RECOVERY_THRESHOLD, ROOT_TOKEN_PGP_KEY,
        STATUS,
    ]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let mut api = cx.api(args)?;
    let shown = api.client.preview();
    api.client.set_preview(None);
    let seal = api.get("sys/seal-status")?;
    api.client.set_preview(shown);
    if args.is(&STATUS) {
        return status(cx, &api);
    }
    let recovery = seal.get("recovery_seal").and_then(Json::as_bool).unwrap_or(false);
    let or = |value: i64, default: i64| if value == 0 && !recovery { default } else { value };
    let (shares, threshold) = (or(args.int(&KEY_SHARES), 5), or(args.int(&KEY_THRESHOLD), 3));
    let recovery_shares = if recovery { args.int(&RECOVERY_SHARES) } else { 0 };
    let recovery_threshold = if recovery {
        args.int(&RECOVERY_THRESHOLD)
    } else {
        0
    };
    let mut body = Fields::new();
    body.insert("secret_shares", shares);
    body.insert("secret_threshold", threshold);
    body.insert("recovery_shares", recovery_shares);
    body.insert("recovery_threshold", recovery_threshold);
    body.insert("pgp_keys", pgp_keys(args, &PGP_KEYS)?);
    body.insert("recovery_pgp_keys", pgp_keys(args, &RECOVERY_PGP_KEYS)?);
    if let Some(file) = args.some(&ROOT_TOKEN_PGP_KEY) {
        body.insert("root_token_pgp_key", pgp_key(file)?);
    }
    let answer = api
        .call("PUT", "sys/init", Some(body))
        .context("Error initializing")?;
    let answer = answer.json().context("Error initializing")?.unwrap_or_default();
    let made = Made {
        keys: strings(&answer, "keys"),
        keys_base64: strings(&answer, "keys_base64"),
        recovery_keys: strings(&answer, "recovery_keys"),
        recovery_keys_base64: strings(&answer, "recovery_keys_base64"),
        root_token: answer
            .get("root_token")
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned(),
        shares,
        threshold,
        recovery_shares,
        recovery_threshold,
    };
    if cx.ui.is_table() {
        made.print(cx);
        return Ok(Exit::OK);
    }
    Ok(output::value(&mut cx.ui, &made.document().into()))
}

fn status(cx: &mut Cx, api: &Api) -> Result<Exit, Fail> {
    let answer = api
        .get("sys/init")
        .map_err(|e| Fail::usage(format!("Error checking init status: {e}")))?;
    let is_initialized = answer.get("initialized").and_then(Json::as_bool).unwrap_or(false);
    if cx.ui.is_table() {
        cx.ui.line(if is_initialized {
            "Vault is initialized"
        } else {
            "Vault is not initialized"
        });
    } else {
        let fields: Fields = [("Initialized", is_initialized)].into_iter().collect();
        output::value(&mut cx.ui, &fields.into());
    }
    Ok(if is_initialized { Exit::OK } else { Exit::REMOTE })
}

/// Public keys of the files that a flag names, as base64.
///
/// # Errors
/// A file that cannot be read.
pub fn pgp_keys(args: &Args, flag: &Flag) -> Result<Json, Fail> {
    let files = args.list(flag);
    let files: Vec<&str> = files
        .iter()
        .flat_map(|f| f.split(','))
        .map(str::trim)
        .filter(|f| !f.is_empty())
        .collect();
    let keys = files
        .into_iter()
        .map(pgp_key)
        .collect::<Result<Vec<String>, Fail>>()
        .map_err(|fail| {
            let (given, flag, why) = (quote(args.list(flag).join(",").as_str()), flag.name, fail.message);
            Fail::usage(format!("invalid value {given} for flag -{flag}: {why}"))
        })?;
    Ok(if keys.is_empty() { Json::Null } else { keys.into() })
}

/// The public key in a file, binary or base64, as base64.
///
/// # Errors
/// The file cannot be read, or names a key server, which this tool does not ask.
pub fn pgp_key(file: &str) -> Result<String, Fail> {
    if file.starts_with("keybase:") {
        return Err(Fail::usage(format!(
            "{file}: keys are read from files only; fetch the key and give its file"
        )));
    }
    let path = file.strip_prefix('@').unwrap_or(file);
    let bytes = crate::kvdata::read_file(path).map_err(Fail::usage)?;
    let text = String::from_utf8_lossy(&bytes);
    let compact: String = text.split_whitespace().collect();
    let is_base64 = !compact.is_empty()
        && compact
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    Ok(if is_base64 {
        compact
    } else {
        crate::base64::encode(&bytes)
    })
}

pub fn strings(of: &Json, name: &str) -> Vec<String> {
    let items = of.get(name).and_then(Json::as_array).unwrap_or_default();
    items.iter().filter_map(Json::as_str).map(str::to_owned).collect()
}

struct Made {
    keys: Vec<String>,
    keys_base64: Vec<String>,
    recovery_keys: Vec<String>,
    recovery_keys_base64: Vec<String>,
    root_token: String,
    shares: i64,
    threshold: i64,
    recovery_shares: i64,
    recovery_threshold: i64,
}

impl Made {
    fn document(&self) -> Fields {
        // Without keys in the answer the server keeps them itself.
        let (shares, threshold) = if self.keys.is_empty() {
            (1, 1)
        } else {
            (self.shares, self.threshold)
        };
        let mut out = Fields::new();
        out.push("unseal_keys_b64", self.keys_base64.clone());
        out.push("unseal_keys_hex", self.keys.clone());
        out.push("unseal_shares", shares);
        out.push("unseal_threshold", threshold);
        out.push("recovery_keys_b64", self.recovery_keys_base64.clone());
        out.push("recovery_keys_hex", self.recovery_keys.clone());
        out.push("recovery_keys_shares", self.recovery_shares);
        out.push("recovery_keys_threshold", self.recovery_threshold);
        out.push("root_token", self.root_token.as_str());
        out
    }

    fn print(&self, cx: &mut Cx) {
        let best = |base64: &[String], hex: &[String]| {
            if base64.len() == hex.len() {
                base64.to_vec()
            } else {
                hex.to_vec()
            }
        };
        for (i, key) in best(&self.keys_base64, &self.keys).iter().enumerate() {
            cx.ui.line(&format!("Unseal Key {}: {key}", i + 1));
        }
        for (i, key) in best(&self.recovery_keys_base64, &self.recovery_keys)
            .iter()
            .enumerate()
        {
            cx.ui.line(&format!("Recovery Key {}: {key}", i + 1));
        }
        cx.ui.line(&format!("\nInitial Root Token: {}", self.root_token));
        if self.keys.is_empty() {
            cx.ui.line("\nSuccess! Vault is initialized");
        } else {
            let (shares, threshold) = (self.shares, self.threshold);
            let paragraphs = [
                format!(
                    "Vault initialized with {shares} key shares and a key threshold of {threshold}. Please securely \
                     distribute the key shares printed above. When the Vault is re-sealed, restarted, or stopped, you \
                     must supply at least {threshold} of these keys to unseal it before it can start servicing requests."
                ),
                format!(
                    "Vault does not store the generated root key. Without at least {threshold} keys to reconstruct the \
                     root key, Vault will remain permanently sealed!"
                ),
                format!(
                    "It is possible to generate new unseal keys, provided you have a quorum of existing unseal keys \
                     shares. See \"{TOOL} operator rotate-keys\" for more information."
                ),
            ];
            for paragraph in paragraphs {
                cx.ui.line(&format!("\n{}", wrap(&paragraph, 0)));
            }
        }
        if !self.recovery_keys.is_empty() {
            let text = format!(
                "Recovery key initialized with {} key shares and a key threshold of {}. Please securely distribute the \
                 key shares printed above.",
                self.recovery_shares, self.recovery_threshold
            );
            cx.ui.line(&format!("\n{}", wrap(&text, 0)));
        }
    }
}
