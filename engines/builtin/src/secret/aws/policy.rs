//! Policy documents and names of policies, as far as they can be wrong without asking AWS.

use conclave_engine_api::Error;
use serde::de::IgnoredAny;

/// Longest policy document in bytes: the longest that IAM takes for anything is 10,240.
const MAX_DOCUMENT: usize = 32 * 1024;

/// A JSON text without the spaces that mean nothing.
pub(super) fn compact(document: &str) -> Result<String, Error> {
    if document.len() > MAX_DOCUMENT {
        return Err(Error::TooLarge(format!(
            "policy_document is longer than {MAX_DOCUMENT} bytes"
        )));
    }
    serde_json::from_str::<IgnoredAny>(document)
        .map_err(|error| Error::invalid(format!("cannot parse policy document: {error}")))?;
    let mut out = String::with_capacity(document.len());
    let (mut quoted, mut escaped) = (false, false);
    for letter in document.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' | '\r' | '\n' if !quoted => continue,
            _ => {}
        }
        out.push(letter);
    }
    Ok(out)
}

/// The resource of an ARN of IAM: `policy/NAME`, `role/NAME`. `None`: it is none.
pub(super) fn resource(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let (scheme, _partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (_region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    (scheme == "arn" && service == "iam").then_some(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_order_and_their_texts() {
        let document = "{ \"Version\":\t\"2012-10-17\",\n \"A\": [ \"b \\\" { c\", 1 ] }";
        assert_eq!(
            compact(document).unwrap(),
            r#"{"Version":"2012-10-17","A":["b \" { c",1]}"#
        );
        for bad in ["", "{", "{}{}", "not json"] {
            assert!(compact(bad).is_err(), "{bad}");
        }
        assert!(matches!(
            compact(&format!("\"{}\"", "x".repeat(MAX_DOCUMENT))),
            Err(Error::TooLarge(_))
        ));
    }

    #[test]
    fn arns_name_resources() {
        assert_eq!(
            resource("arn:aws:iam::aws:policy/ReadOnly"),
            Some("policy/ReadOnly")
        );
        assert_eq!(resource("arn:aws-cn:iam::1:role/a/b:c"), Some("role/a/b:c"));
        for bad in ["", "policy/x", "arn:aws:s3:::bucket", "arn:aws:iam::1"] {
            assert_eq!(resource(bad), None, "{bad}");
        }
    }
}
