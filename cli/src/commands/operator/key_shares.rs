//! How attempts at new key shares and the shares themselves are printed. Makes no call.

use conclave_client::http::{Fields, Json};

use super::init::strings;
use crate::exit::{Exit, Fail};
use crate::goval::plain;
use crate::output::text::wrap;
use crate::output::{self, table};
use crate::session::{Cx, TOOL};

/// Fields of an attempt in the order of the original's struct.
const STATUS: &[&str] = &[
    "nonce",
    "started",
    "t",
    "n",
    "progress",
    "required",
    "pgp_fingerprints",
    "backup",
    "verification_required",
    "verification_nonce",
];
const VERIFICATION: &[&str] = &["nonce", "started", "t", "n", "progress"];
const UPDATE: &[&str] = &[
    "nonce",
    "complete",
    "keys",
    "keys_base64",
    "pgp_fingerprints",
    "backup",
    "verification_required",
];

/// Prints how far an attempt is.
///
/// # Errors
/// Never; the type is that of a command's body.
pub fn status(cx: &mut Cx, status: &Fields, verify: bool) -> Result<Exit, Fail> {
    if !cx.ui.is_table() {
        let names = if verify { VERIFICATION } else { STATUS };
        return Ok(output::value(&mut cx.ui, &document(status, names).into()));
    }
    let lines = if verify {
        verification_lines(status)
    } else {
        attempt_lines(status)
    };
    cx.ui.line(&table::with_header(&lines, "|"));
    Ok(Exit::OK)
}

fn document(from: &Fields, names: &[&str]) -> Fields {
    let mut out = Fields::new();
    for name in names {
        let is_truth = matches!(*name, "started" | "complete" | "backup" | "verification_required");
        let zero = if is_truth { Json::Bool(false) } else { Json::Null };
        out.push(*name, from.get(name).cloned().unwrap_or(zero));
    }
    out
}

fn text(of: &Fields, name: &str) -> String {
    of.get(name)
        .filter(|v| !v.is_null())
        .map(plain)
        .unwrap_or_default()
}

fn truth(of: &Fields, name: &str) -> bool {
    of.get(name).and_then(Json::as_bool).unwrap_or(false)
}

fn verification_lines(status: &Fields) -> Vec<String> {
    vec![
        "Key | Value".to_owned(),
        format!("Started | {}", truth(status, "started")),
        format!("New Shares | {}", text(status, "n")),
        format!("New Threshold | {}", text(status, "t")),
        format!("Verification Nonce | {}", text(status, "nonce")),
        format!(
            "Verification Progress | {}/{}",
            text(status, "progress"),
            text(status, "t")
        ),
    ]
}

fn attempt_lines(status: &Fields) -> Vec<String> {
    let mut lines = vec![
        "Key | Value".to_owned(),
        format!("Nonce | {}", text(status, "nonce")),
        format!("Started | {}", truth(status, "started")),
    ];
    if truth(status, "started") {
        let (progress, required) = (text(status, "progress"), text(status, "required"));
        let more = if progress == required {
            " (verification in progress)"
        } else {
            ""
        };
        lines.push(format!("Progress | {progress}/{required}{more}"));
        for (title, name) in [("New Shares", "n"), ("New Threshold", "t")] {
            if status.get(name).and_then(Json::as_i64).is_some_and(|n| n > 0) {
                lines.push(format!("{title} | {}", text(status, name)));
            }
        }
        lines.push(format!(
            "Verification Required | {}",
            truth(status, "verification_required")
        ));
        let nonce = text(status, "verification_nonce");
        if !nonce.is_empty() {
            lines.push(format!("Verification Nonce | {nonce}"));
        }
    }
    let prints = status
        .get("pgp_fingerprints")
        .and_then(Json::as_array)
        .unwrap_or_default();
    if !prints.is_empty() {
        lines.push(format!("PGP Fingerprints | {}", text(status, "pgp_fingerprints")));
        lines.push(format!("Backup | {}", truth(status, "backup")));
    }
    lines
}

/// Prints new keys and what to do with them. Whether they must be verified, which is still to be printed.
pub fn new_keys(cx: &mut Cx, status: &Fields, update: &Fields, kind: &str, command: &str) -> bool {
    if !cx.ui.is_table() {
        let mut out = document(update, UPDATE);
        if !text(update, "verification_nonce").is_empty() {
            out.push("verification_nonce", text(update, "verification_nonce"));
        }
        output::value(&mut cx.ui, &out.into());
        return false;
    }
    if !print_keys(cx, update) {
        cx.ui.line("\nBarrier root key rotated using recovery keys.");
        return false;
    }
    let nonce = text(update, "nonce");
    if !nonce.is_empty() {
        cx.ui.line(&format!("\nOperation nonce: {nonce}"));
    }
    let (shares, threshold) = (text(status, "n"), text(status, "t"));
    if truth(status, "verification_required") {
        let text = format!(
            "New {kind} keys were made: {shares} key shares with a key threshold of {threshold}. They do not count before \
             they are verified by \"{TOOL} operator {command} -verify\". Keep the present keys until then."
        );
        cx.ui.line(&format!("\n{}\n", wrap(&text, 0)));
        return true;
    }
    let text = format!(
        "The {kind} keys are now {shares} key shares with a key threshold of {threshold}. Please securely distribute the key \
         shares printed above. When the server is re-sealed, restarted, or stopped, you must supply at least {threshold} of \
         these keys to unseal it before it can start servicing requests."
    );
    cx.ui.line(&format!("\n{}", wrap(&text, 0)));
    false
}

/// Prints the keys; whether there are any.
fn print_keys(cx: &mut Cx, update: &Fields) -> bool {
    let json = Json::Object(update.clone());
    let (hex, base64) = (strings(&json, "keys"), strings(&json, "keys_base64"));
    let prints = strings(&json, "pgp_fingerprints");
    let keys = if base64.len() == hex.len() { base64 } else { hex };
    cx.ui.line("");
    for (i, key) in keys.iter().enumerate() {
        let number = i + 1;
        cx.ui.line(&match prints.get(i) {
            Some(print) => format!("Key {number} fingerprint: {print}; value: {key}"),
            None => format!("Key {number}: {key}"),
        });
    }
    !keys.is_empty()
}
