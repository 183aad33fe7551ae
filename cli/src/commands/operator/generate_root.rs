//! `operator generate-root`: a new root token, given by a quorum of unseal keys.

use conclave_client::http::{Error, Fields, Json, Secret};

use super::init::pgp_key;
use super::rotate_keys::{NONCE, key};
use crate::base64;
use crate::commands::{Command, Output};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::plain;
use crate::output::text::wrap;
use crate::output::{self, table};
use crate::session::{Api, Cx, OUTPUT_CURL, OUTPUT_POLICY, TOOL};

/// Where it is done by those who have a token ...
const BY_TOKEN: &str = "sys/generate-root-token";
/// ... and where without one, on a node whose configuration says so: all tokens may be lost.
const WITHOUT: &str = "sys/generate-root";
/// Length of a one-time password if the server does not say: a token's.
const DEFAULT_OTP_LENGTH: usize = 26;

const INIT: Flag = Flag::bool("init", "Begin an attempt.");
const CANCEL: Flag = Flag::bool("cancel", "Give up the attempt and forget the keys given so far.");
const STATUS: Flag = Flag::bool("status", "Print how far the attempt is.");
const DECODE: Flag = Flag::text(
    "decode",
    "Print the token in this encoded value, with -otp; - reads it from standard input.",
);
const GENERATE_OTP: Flag = Flag::bool("generate-otp", "Print a one-time password for -init.");
const RECOVERY_TOKEN: Flag = Flag::bool("recovery-token", "Make a token for a server in recovery mode.");
const OTP: Flag = Flag::text("otp", "One-time password that hides the token.");
const PGP_KEY: Flag = Flag::text("pgp-key", "File with a public PGP key to encrypt the token to.");

pub const COMMAND: Command = Command::new("operator generate-root", "[options] [KEY]", "Generates a new root token", run)
    .help(
        "Makes a root token, which a quorum of unseal keys must allow. The token is hidden by a one-time password.\n\n\
         $ conclave operator generate-root -init\n$ conclave operator generate-root\n\
         $ conclave operator generate-root -decode=ENCODED -otp=OTP",
    )
    .output(Output::Format)
    .flags(&[CANCEL, DECODE, GENERATE_OTP, INIT, NONCE, OTP, PGP_KEY, RECOVERY_TOKEN, STATUS]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.rest().len() > 1 {
        return Err(Fail::usage(format!(
            "Too many arguments (expected 0-1, got {})",
            args.rest().len()
        )));
    }
    let api = cx.api(args)?;
    if args.is(&RECOVERY_TOKEN) {
        return act(cx, args, &api, "sys/generate-recovery-token");
    }
    let done = act(cx, args, &api, BY_TOKEN);
    let is_sent = !args.is(&OUTPUT_CURL) && !args.is(&OUTPUT_POLICY);
    if done.as_ref().is_err_and(|fail| fail.exit == Exit::REMOTE) && is_sent && is_denied(&api) {
        let stranger = cx.api_without_token(args)?;
        if stranger.get(&format!("{WITHOUT}/attempt")).is_ok() {
            return act(cx, args, &stranger, WITHOUT);
        }
    }
    done
}

fn is_denied(api: &Api) -> bool {
    let asked = api.get(&format!("{BY_TOKEN}/attempt"));
    matches!(asked, Err(Error::Status(status)) if status.code == 403)
}

fn act(cx: &mut Cx, args: &Args, api: &Api, base: &str) -> Result<Exit, Fail> {
    if args.is(&GENERATE_OTP) {
        return generate(cx, api, base);
    }
    if args.given(&DECODE) {
        return decode(cx, args, api, base);
    }
    if args.is(&CANCEL) {
        return cancel(cx, args, api, base);
    }
    if args.is(&INIT) {
        return init(cx, args, api, base);
    }
    let status = attempt(api, base)?;
    if args.is(&STATUS) {
        return print(cx, &status);
    }
    provide(cx, args, api, base, &status)
}

/// Without a token the nonce says that it is the caller's attempt.
fn cancel(cx: &mut Cx, args: &Args, api: &Api, base: &str) -> Result<Exit, Fail> {
    let nonce = args.some(&NONCE).filter(|_| base == WITHOUT);
    let body = nonce.map(|nonce| [("nonce", nonce)].into_iter().collect());
    api.call("DELETE", &format!("{base}/attempt"), body)
        .context("Error canceling root token generation")?;
    cx.ui
        .line("Success! Root token generation canceled (if it was started)");
    Ok(Exit::OK)
}

fn attempt(api: &Api, base: &str) -> Result<Fields, Fail> {
    api.get(&format!("{base}/attempt"))
        .context("Error getting root generation status")
}

fn otp_length(status: &Fields) -> usize {
    let given = status
        .get("otp_length")
        .and_then(Json::as_i64)
        .and_then(|n| usize::try_from(n).ok());
    given.filter(|n| *n > 0).unwrap_or(DEFAULT_OTP_LENGTH)
}

fn generate(cx: &mut Cx, api: &Api, base: &str) -> Result<Exit, Fail> {
    let length = otp_length(&attempt(api, base)?);
    let otp = crate::entropy::base62(length).map_err(Fail::remote)?;
    if cx.ui.is_table() {
        cx.ui.value(&otp);
        return Ok(Exit::OK);
    }
    let mut out = Fields::new();
    out.push("otp", otp);
    out.push("otp_length", u64::try_from(length).unwrap_or_default());
    Ok(output::value(&mut cx.ui, &out.into()))
}

fn decode(cx: &mut Cx, args: &Args, api: &Api, base: &str) -> Result<Exit, Fail> {
    let otp = args.text(&OTP);
    if otp.is_empty() {
        return Err(Fail::usage("Missing otp: use -otp to supply it"));
    }
    if args.text(&DECODE).is_empty() {
        return Err(Fail::usage(
            "Missing encoded value: use -decode=<string> to supply it",
        ));
    }
    // Asked before anything is read: without a token it is asked twice, and read once.
    let length = otp_length(&attempt(api, base)?);
    let encoded = match args.text(&DECODE) {
        "-" => cx
            .read_line(args)
            .map_err(|e| Fail::usage(format!("Failed to read from stdin: {e}")))?,
        given => given.to_owned(),
    };
    let failed = |why: &str| Fail::usage(format!("Error decoding root token: {why}"));
    let bytes = base64::decode(encoded.trim()).ok_or_else(|| failed("it is not base64"))?;
    if bytes.len() != otp.len() {
        return Err(failed(&format!(
            "the value has {} bytes, the one-time password {}",
            bytes.len(),
            otp.len()
        )));
    }
    if otp.len() != length {
        cx.ui.warn(&format!(
            "The one-time password has {} characters; this server's have {length}.",
            otp.len()
        ));
    }
    let token: Vec<u8> = bytes.iter().zip(otp.bytes()).map(|(a, b)| a ^ b).collect();
    let token = String::from_utf8_lossy(&token).into_owned();
    if cx.ui.is_table() {
        cx.ui.value(&token);
        return Ok(Exit::OK);
    }
    let out: Fields = [("token", token)].into_iter().collect();
    Ok(output::value(&mut cx.ui, &out.into()))
}

fn fields(response: &conclave_client::http::Response, sentence: &str) -> Result<Fields, Fail> {
    let secret = Secret::parse(&response.body).map_err(|e| Fail::remote(format!("{sentence}: {e}")))?;
    Ok(secret.and_then(|s| s.data).unwrap_or_default())
}

fn init(cx: &mut Cx, args: &Args, api: &Api, base: &str) -> Result<Exit, Fail> {
    let mut body: Fields = [("otp", args.text(&OTP))].into_iter().collect();
    if let Some(file) = args.some(&PGP_KEY) {
        if args.some(&OTP).is_some() {
            return Err(Fail::usage(
                "Error initializing: cannot specify both -otp and -pgp-key",
            ));
        }
        body.insert("pgp_key", pgp_key(file)?);
    }
    let sentence = "Error initializing root generation";
    let response = api
        .call("PUT", &format!("{base}/attempt"), Some(body))
        .context(sentence)?;
    print(cx, &fields(&response, sentence)?)
}

fn provide(cx: &mut Cx, args: &Args, api: &Api, base: &str, status: &Fields) -> Result<Exit, Fail> {
    if !status.get("started").and_then(Json::as_bool).unwrap_or(false) {
        let text = format!(
            "No root generation is in progress. Start a root generation by running \"{TOOL} operator generate-root -init\"."
        );
        cx.ui.error(&wrap(&text, 0));
        let text = format!(
            "If starting root generation using the OTP method and generating your own OTP, the length of the OTP string \
             needs to be {} characters in length.",
            otp_length(status)
        );
        cx.ui.warn(&wrap(&text, 0));
        return Ok(Exit::USAGE);
    }
    let asks = args.arg(0).trim().is_empty();
    let nonce = if asks {
        status.get("nonce").map(plain).unwrap_or_default()
    } else {
        args.text(&NONCE).to_owned()
    };
    let key = key(cx, args, &format!("Operation nonce: {nonce}"), "unseal")?;
    if nonce.is_empty() {
        return Err(Fail::usage("Missing nonce value: specify it via the -nonce flag"));
    }
    let body: Fields = [("key", key), ("nonce", nonce)].into_iter().collect();
    let sentence = "Error posting unseal key";
    let response = api
        .call("PUT", &format!("{base}/update"), Some(body))
        .context(sentence)?;
    print(cx, &fields(&response, sentence)?)
}

fn print(cx: &mut Cx, status: &Fields) -> Result<Exit, Fail> {
    const FIELDS: [(&str, Zero); 10] = [
        ("nonce", Zero::Text),
        ("started", Zero::False),
        ("progress", Zero::Number),
        ("required", Zero::Number),
        ("complete", Zero::False),
        ("encoded_token", Zero::Text),
        ("encoded_root_token", Zero::Text),
        ("pgp_fingerprint", Zero::Text),
        ("otp", Zero::Text),
        ("otp_length", Zero::Number),
    ];
    if !cx.ui.is_table() {
        let mut out = Fields::new();
        for (name, zero) in FIELDS {
            out.push(
                name,
                status
                    .get(name)
                    .filter(|v| !v.is_null())
                    .cloned()
                    .unwrap_or_else(|| zero.json()),
            );
        }
        return Ok(output::value(&mut cx.ui, &out.into()));
    }
    let text = |name: &str| {
        status
            .get(name)
            .filter(|v| !v.is_null())
            .map(plain)
            .unwrap_or_default()
    };
    let mut lines = vec![
        format!("Nonce | {}", text("nonce")),
        format!("Started | {}", text("started")),
        format!("Progress | {}/{}", text("progress"), text("required")),
        format!("Complete | {}", text("complete")),
    ];
    let mut some = |title: &str, name: &str| {
        let value = text(name);
        if !value.is_empty() && value != "0" {
            lines.push(format!("{title} | {value}"));
        }
    };
    some("PGP Fingerprint", "pgp_fingerprint");
    if text("encoded_token").is_empty() {
        some("Encoded Root Token", "encoded_root_token");
    } else {
        some("Encoded Token", "encoded_token");
    }
    some("OTP", "otp");
    some("OTP Length", "otp_length");
    if !text("otp").is_empty() {
        let warning = "A One-Time-Password has been generated for you and is shown in the OTP field. You will need this \
                       value to decode the resulting root token, so keep it safe.";
        cx.ui.warn(&wrap(warning, 0));
    }
    cx.ui.line(&table::columns(&lines, "|"));
    Ok(Exit::OK)
}

#[derive(Clone, Copy)]
enum Zero {
    Text,
    False,
    Number,
}

impl Zero {
    fn json(self) -> Json {
        match self {
            Self::Text => "".into(),
            Self::False => Json::Bool(false),
            Self::Number => 0_i64.into(),
        }
    }
}
