//! `random` and `hash`: what needs no key.

use conclave_engine_api::{Env, Error, Outcome, Reply, Request};
use serde_json::json;
use zeroize::Zeroizing;

use super::hash::Hash;
use super::text;

/// Most random bytes of one request.
const MAX_RANDOM: i64 = 128 * 1024;
/// Bytes when none are asked for.
const USUAL_RANDOM: i64 = 32;

/// `POST random[/<source>][/<bytes>]`. All sources are the same one.
pub(super) fn random(path: &[&str], request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let (source, bytes) = match path {
        [source @ ("platform" | "seal" | "all"), rest @ ..] => (*source, rest.first()),
        [bytes, ..] => ("platform", Some(bytes)),
        [] => ("platform", None),
    };
    let fields = request.fields();
    let bytes = match bytes {
        Some(text) => text.parse().map_err(|_| {
            Error::invalid(format!(
                "error parsing url-set byte count: strconv.Atoi: parsing {text:?}: invalid syntax"
            ))
        })?,
        None => fields.int("bytes")?.unwrap_or(USUAL_RANDOM),
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
    let mut out = Zeroizing::new(vec![0; usize::try_from(bytes).unwrap_or(0)]);
    let written = match format.as_str() {
        "hex" | "base64" => {
            env.fill(&mut out);
            written(&format, &out)
        }
        other => {
            return Err(Error::invalid(format!(
                "unsupported encoding format {other:?}; must be \"hex\" or \"base64\""
            )));
        }
    };
    let reply = Reply::json(json!({"random_bytes": written}));
    Ok(if source == "seal" {
        reply.warn("no seal/entropy augmentation available, using platform entropy source")
    } else {
        reply
    }
    .into())
}

/// `POST hash[/<algorithm>]`.
pub(super) fn hash(in_path: &str, request: &Request<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let input = fields.string("input")?.unwrap_or_default();
    let input = text::decode(&input)
        .map_err(|error| Error::invalid(format!("unable to decode input as base64: {error}")))?;
    let format = fields.string("format")?.unwrap_or_else(|| "hex".to_owned());
    if !matches!(format.as_str(), "hex" | "base64") {
        return Err(Error::invalid(format!(
            "unsupported encoding format {format}; must be \"hex\" or \"base64\""
        )));
    }
    let mut name = in_path.to_owned();
    if name.is_empty() {
        name = fields.string("algorithm")?.unwrap_or_default();
    }
    let hash = match name.as_str() {
        "" => Hash::Sha256,
        "sha1" => return Err(Error::invalid("unsupported algorithm sha1")),
        name => Hash::named(name).ok_or_else(|| Error::invalid(format!("unsupported algorithm {name}")))?,
    };
    let sum = written(&format, &hash.digest(&[&input]));
    Ok(Reply::json(json!({"sum": sum})).into())
}

fn written(format: &str, bytes: &[u8]) -> String {
    if format == "base64" {
        return text::encode(bytes);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
