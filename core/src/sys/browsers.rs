//! `sys/config/cors` and `sys/config/ui/headers`: from which origins pages may ask, and which headers pages have.

use conclave_engine_api::{Operation, Reply};
use serde_json::{Value, json};

use crate::browsers::{CORS, Cors, PAGE_HEADERS, PageHeaders};
use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Headers that every admitted page may send: what clients of the original send.
const USUAL: [&str; 10] = [
    "Content-Type",
    "Authorization",
    "X-Vault-Token",
    "X-Vault-MFA",
    "X-Vault-No-Request-Forwarding",
    "X-Vault-Wrap-Format",
    "X-Vault-Wrap-TTL",
    "X-Requested-With",
    "X-Vault-AWS-IAM-Server-ID",
    "X-Vault-Policy-Override",
];
/// Most origins, and most headers beside the usual ones: the latter are sent with each answer to a preflight.
const MAX_ENTRIES: usize = 100;
/// Longest origin, and longest name of a header, in bytes.
const MAX_ENTRY: usize = 256;
/// Most headers of pages.
const MAX_PAGE_HEADERS: usize = 64;
/// Longest value of one in bytes.
const MAX_VALUE: usize = 4096;
/// Headers that say where an answer ends.
const FRAMING: [&str; 6] = [
    "Connection",
    "Content-Length",
    "Keep-Alive",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// `GET sys/config/cors`.
pub fn cors(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let told = match call.work.config.get(CORS)? {
        None => json!({"enabled": false}),
        Some(row) => {
            let cors: Cors = decode_record(&row.value)?;
            json!({
                "enabled": true,
                "allowed_origins": cors.origins,
                "allowed_headers": cors.headers,
                "allow_credentials": cors.credentials,
            })
        }
    };
    Ok(Answer::at_top_level(object(told)))
}

/// `POST` and `DELETE` of the same.
pub fn change_cors(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let disable = call.operation == Operation::Delete || fields.bool("enable")? == Some(false);
    if disable {
        if call.work.config.get(CORS)?.is_some() {
            call.work.config.delete(CORS)?;
        }
        return Ok(Answer::empty());
    }
    let list = |name: &str| -> Result<Vec<String>, Error> {
        let mut list = fields.strings(name)?.unwrap_or_default();
        list.retain(|entry| !entry.is_empty());
        let fits =
            |entry: &String| entry.len() <= MAX_ENTRY && entry.bytes().all(|byte| byte.is_ascii_graphic());
        match list.len() <= MAX_ENTRIES && list.iter().all(fits) {
            true => Ok(list),
            false => Err(Error::invalid(format!(
                "{name} has at most {MAX_ENTRIES} entries of at most {MAX_ENTRY} visible characters"
            ))),
        }
    };
    let origins = list("allowed_origins")?;
    if origins.is_empty() {
        return Err(Error::invalid(
            "at least one origin or the wildcard must be provided",
        ));
    }
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        return Err(Error::invalid(
            "to allow all origins the '*' must be the only value for allowed_origins",
        ));
    }
    let more = list("allowed_headers")?;
    if let Some(wrong) = more.iter().find(|name| !is_name(name)) {
        return Err(Error::invalid(format!("{wrong:?} is no name of a header")));
    }
    let cors = Cors {
        origins,
        headers: USUAL.iter().map(|name| (*name).to_owned()).chain(more).collect(),
        credentials: fields.bool("allow_credentials")?.unwrap_or(false),
    };
    call.work.config.put(CORS, encode_record(&cors)?)?;
    Ok(Answer::empty())
}

/// `LIST sys/config/ui/headers`.
pub fn page_headers(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let names: Vec<String> = load(call)?.into_keys().collect();
    match names.is_empty() {
        true => Err(Error::NotFound { warnings: Vec::new() }),
        false => Ok(Answer::data(object(json!({"keys": names})))),
    }
}

/// One of them.
pub fn page_header(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let all = call.fields().bool("multivalue")?.unwrap_or(false);
    let headers = load(call)?;
    let values = headers.get(&canonical(call.params.get("header")));
    let values = values.ok_or(Error::NotFound { warnings: Vec::new() })?;
    Ok(Answer::data(object(match all {
        true => json!({"values": values}),
        false => json!({"value": values.first()}),
    })))
}

/// Sets one.
pub fn set_page_header(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = canonical(call.params.get("header"));
    // A text is one value, with the commas it has.
    let values = match call.fields().value("values") {
        Some(Value::String(text)) => vec![text.clone()],
        _ => call.fields().strings("values")?.unwrap_or_default(),
    };
    if values.iter().all(String::is_empty) {
        return Err(Error::invalid("header and values must be specified"));
    }
    if name.starts_with("X-Vault-") {
        return Err(Error::invalid("X-Vault headers cannot be set"));
    }
    if !is_name(&name) || name.len() > MAX_ENTRY || FRAMING.contains(&name.as_str()) {
        return Err(Error::invalid(format!(
            "{name:?} is no header that pages may have"
        )));
    }
    let is_value =
        |value: &String| value.len() <= MAX_VALUE && value.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    if values.len() > MAX_PAGE_HEADERS || !values.iter().all(is_value) {
        return Err(Error::invalid(format!(
            "values has at most {MAX_PAGE_HEADERS} entries of at most {MAX_VALUE} visible characters"
        )));
    }
    let mut headers = load(call)?;
    let warnings = match name == "Content-Security-Policy" {
        true => vec![
            "overriding default Content-Security-Policy which is secure by default, proceed with caution"
                .to_owned(),
        ],
        false => Vec::new(),
    };
    headers.insert(name, values);
    if headers.len() > MAX_PAGE_HEADERS {
        return Err(Error::invalid(format!("more than {MAX_PAGE_HEADERS} headers")));
    }
    call.work.config.put(PAGE_HEADERS, encode_record(&headers)?)?;
    Ok(Answer::from(Reply {
        warnings,
        ..Reply::default()
    }))
}

/// Removes one. What is not there is as gone as was asked for.
pub fn remove_page_header(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let mut headers = load(call)?;
    if headers.remove(&canonical(call.params.get("header"))).is_some() {
        call.work.config.put(PAGE_HEADERS, encode_record(&headers)?)?;
    }
    Ok(Answer::empty())
}

fn load(call: &mut Call<'_, '_>) -> Result<PageHeaders, Error> {
    match call.work.config.get(PAGE_HEADERS)? {
        Some(row) => decode_record(&row.value),
        None => Ok(PageHeaders::new()),
    }
}

/// As the original writes names: each part between hyphens with a capital.
fn canonical(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        format!("{}{}", first.to_ascii_uppercase(), rest.to_ascii_lowercase())
    });
    parts.collect::<Vec<_>>().join("-")
}

/// A token of RFC 9110, section 5.6.2.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_the_original_does() {
        for (given, shown) in [
            ("x-low", "X-Low"),
            ("X-FOO", "X-Foo"),
            ("a", "A"),
            ("", ""),
            ("x--y", "X--Y"),
            ("é-b", "é-B"),
        ] {
            assert_eq!(canonical(given), shown);
        }
        assert!(is_name("X-Low") && !is_name("X Low") && !is_name("") && !is_name("X:") && !is_name("é"));
    }
}
