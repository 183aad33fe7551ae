//! `sys/tools/`: random bytes and hashes for callers that have no better source.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::Digest as _;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most random bytes of one request.
const MAX_RANDOM: i64 = 128 * 1024;
/// Bytes when none are asked for.
const USUAL_RANDOM: i64 = 32;

/// `random[/<source>][/<bytes>]`: all sources are the same one.
pub fn random(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (first, second) = (call.params.get("first"), call.params.get("second"));
    let is_source = matches!(first, "platform" | "seal" | "all");
    let in_path = if is_source { second } else { first };
    let fields = call.fields();
    if !is_source && !second.is_empty() {
        return Err(Error::invalid(format!("unsupported entropy source {first:?}")));
    }
    let bytes = match in_path {
        "" => fields.int("bytes")?.unwrap_or(USUAL_RANDOM),
        text => text.parse().map_err(|_| {
            Error::invalid(format!(
                "error parsing url-set byte count: strconv.Atoi: parsing {text:?}: invalid syntax"
            ))
        })?,
    };
    if bytes < 1 {
        return Err(Error::invalid("'bytes' cannot be less than 1"));
    }
    if bytes > MAX_RANDOM {
        return Err(Error::invalid(format!(
            "'bytes' should be less than {MAX_RANDOM}"
        )));
    }
    let format = fields.string("format")?.unwrap_or_else(|| "base64".to_owned());
    if !matches!(format.as_str(), "hex" | "base64") {
        return Err(Error::invalid(format!(
            "unsupported encoding format {format:?}; must be \"hex\" or \"base64\""
        )));
    }
    let from_seal = first == "seal";
    let mut out = Zeroizing::new(vec![0; usize::try_from(bytes).unwrap_or(0)]);
    call.env.fill(&mut out);
    let mut answer = Answer::data(object(json!({"random_bytes": written(&format, &out)})));
    if from_seal {
        let warning = "no seal/entropy augmentation available, using platform entropy source";
        answer.reply.warnings.push(warning.to_owned());
    }
    Ok(answer)
}

/// `hash[/<algorithm>]`.
pub fn hash(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let input = fields.string("input")?.unwrap_or_default();
    let input = STANDARD.decode(&input).map(Zeroizing::new).map_err(|error| {
        let place = match error {
            base64::DecodeError::InvalidByte(place, _)
            | base64::DecodeError::InvalidLastSymbol(place, _)
            | base64::DecodeError::InvalidLength(place) => place,
            base64::DecodeError::InvalidPadding => input.len(),
        };
        Error::invalid(format!(
            "unable to decode input as base64: illegal base64 data at input byte {place}"
        ))
    })?;
    let format = fields.string("format")?.unwrap_or_else(|| "hex".to_owned());
    if !matches!(format.as_str(), "hex" | "base64") {
        return Err(Error::invalid(format!(
            "unsupported encoding format {format}; must be \"hex\" or \"base64\""
        )));
    }
    let mut name = call.params.get("algorithm").to_owned();
    if name.is_empty() {
        name = fields.string("algorithm")?.unwrap_or_default();
    }
    let sum = match name.as_str() {
        "sha2-224" => sha2::Sha224::digest(&*input).to_vec(),
        "" | "sha2-256" => sha2::Sha256::digest(&*input).to_vec(),
        "sha2-384" => sha2::Sha384::digest(&*input).to_vec(),
        "sha2-512" => sha2::Sha512::digest(&*input).to_vec(),
        "sha3-224" => sha3::Sha3_224::digest(&*input).to_vec(),
        "sha3-256" => sha3::Sha3_256::digest(&*input).to_vec(),
        "sha3-384" => sha3::Sha3_384::digest(&*input).to_vec(),
        "sha3-512" => sha3::Sha3_512::digest(&*input).to_vec(),
        other => return Err(Error::invalid(format!("unsupported algorithm {other}"))),
    };
    Ok(Answer::data(object(json!({"sum": written(&format, &sum)}))))
}

fn written(format: &str, bytes: &[u8]) -> String {
    match format {
        "base64" => STANDARD.encode(bytes),
        _ => hex::encode(bytes),
    }
}
