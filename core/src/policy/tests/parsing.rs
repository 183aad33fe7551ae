//! What the text of a policy may be, and the words with which it is refused (those of `bao policy write`).

use super::policy;
use crate::error::Error;
use crate::policy::{DEFAULT, MAX_PATH_BYTES, MAX_RULES, Policy, RESPONSE_WRAPPING};

fn refusal(text: &str) -> String {
    match Policy::parse("p", text) {
        Err(Error::Invalid(why)) => why,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn accepted() {
    for text in [
        "",
        "# nothing",
        "name = \"x\"",
        "name = 5",
        "path \"a\" {}",
        "path \"\" { policy = \"read\" }",
        "path \"*\" { policy = \"read\" }",
        "path \"a*b\" { policy = \"read\" }",
        "path \"a/+b\" { policy = \"read\" }",
        "path \"a\" { policy = \"\" }",
        "path \"a\" { comment = 5 capabilities = [] }",
        "path \"a\" { capabilities = [\"read\", \"read\"], policy = \"write\" }",
        "path \"a\" { min_wrapping_ttl = 60 max_wrapping_ttl = \"1h\" }",
        "path \"a\" { min_wrapping_ttl = \"1d\" }",
        "path \"a\" { pagination_limit = \"7\" }",
        "path \"a\" { pagination_limit = -1 }",
        "path \"a\" { expiration = \"2030-01-01T00:00:00Z\" }",
        "path \"a\" { expiration = 1900000000 }",
        "path \"a\" { expiration = \"\" }",
        "path \"a\" { required_parameters = [1, \"a\"] }",
        "path \"a\" { allowed_parameters { a = [] } denied_parameters = { \"b\" = [1, {c = [2.5]}] } }",
        "path \"a\" { capabilities = [\"list\"] list_scan_response_keys_filter_path = \"{{.path}}x{{ .key }}\" }",
        r#"{"path": {"a": {"policy": "read"}}}"#,
        r#"{"path": [{"a": {"capabilities": ["read"]}}, {"b": {"policy": "deny"}}], "name": null}"#,
        r#"{"path": {"a": {"expiration": null, "min_wrapping_ttl": null}}}"#,
        DEFAULT,
        RESPONSE_WRAPPING,
    ] {
        policy(text);
    }
}

/// Text, and what follows "failed to parse policy: ".
const REFUSED: &[(&str, &str)] = &[
    (
        "foo = 1",
        "1 error occurred:\n\t* invalid key \"foo\" on line 1\n\n",
    ),
    (
        "path \"a\" {\n policy = \"read\" foo = 1 }",
        "path \"a\": 1 error occurred:\n\t* invalid key \"foo\" on line 2\n\n",
    ),
    (
        "path \"a\" { capabilities = [\"bogus\"] }",
        "path \"a\": path \"a\": invalid capability \"bogus\"",
    ),
    (
        "path \"a\" { capabilities = [\"READ\"] }",
        "path \"a\": path \"a\": invalid capability \"READ\"",
    ),
    (
        "path \"a\" { capabilities = [\"root\"] }",
        "path \"a\": path \"a\": invalid capability \"root\"",
    ),
    (
        "path \"a\" { capabilities = \"read\" }",
        "path \"a\": At 1:27: expected a list, got a string",
    ),
    (
        "path \"a\" { policy = \"list\" }",
        "path \"a\": invalid policy \"list\"",
    ),
    (
        "path \"a+*\" {}",
        "path \"a+*\": invalid use of wildcards ('+*' is forbidden)",
    ),
    (
        "path \"a\" { min_wrapping_ttl = \"1h\" max_wrapping_ttl = \"1m\" }",
        "path \"a\": max_wrapping_ttl cannot be less than min_wrapping_ttl",
    ),
    (
        "path \"a\" { min_wrapping_ttl = \"soon\" }",
        "path \"a\": error parsing min_wrapping_ttl: time: invalid duration \"soon\"",
    ),
    (
        "path \"a\" { expiration = \"1h\" }",
        "path \"a\": invalid expiration time: could not parse string as date and time",
    ),
    (
        "path \"{{identity.entity.id\" {}",
        "path \"{{identity.entity.id\": failed to validate policy templating: unbalanced templating characters",
    ),
    (
        "path \"a}}\" {}",
        "path \"a}}\": failed to validate policy templating: unbalanced templating characters",
    ),
    (
        "path \"a\" { list_scan_response_keys_filter_path = \"{{.key}}\" }",
        "path \"a\": list_scan_response_keys_filter_path needs to be used on a path with the list capability",
    ),
    (
        "path \"a\" { policy = \"read\" list_scan_response_keys_filter_path = \"{{.path}}\" }",
        "path \"a\": list_scan_response_keys_filter_path resulted in same path for two different keys",
    ),
    (
        "path \"a\" { policy = \"read\" ",
        "At 1:28: object expected closing RBRACE got: EOF",
    ),
    ("path = \"x\"", "At 1:8: expected an object, got a string"),
    (
        "{\"path\": {\"a\": {\"policy\": true}}}",
        "path \"a\": At 1:27: expected a string, got a bool",
    ),
    (
        "path \"a\" { allowed_parameters = { a = 5 } }",
        "path \"a\": At 1:39: expected a list, got a number",
    ),
];

#[test]
fn refused_with_vaults_words() {
    for (text, why) in REFUSED {
        assert_eq!(refusal(text), format!("failed to parse policy: {why}"), "{text}");
    }
}

/// Upstream lets the last of two settings win, and the first of two labels: here both are mistakes.
#[test]
fn refused_here_only() {
    for text in [
        "path \"a\" { policy = \"deny\" policy = \"read\" }",
        "path \"a\" { capabilities = [\"deny\"] capabilities = [\"read\"] }",
        "path \"a\" { policy = \"deny\" max_wrapping_ttl = 5 max_wrapping_ttl = 6 }",
        "path \"a\" { denied_parameters = { x = [] x = [1] } }",
        "path \"a\" { denied_parameters = { x = [] X = [1] } }",
        "path \"a\" \"b\" { policy = \"read\" }",
        "path { policy = \"read\" }",
        r#"{"path": {"a": {"policy": "deny"}}} {"path": {"a": {"policy": "read"}}}"#,
    ] {
        assert!(refusal(text).starts_with("failed to parse policy: "), "{text}");
    }
}

#[test]
fn what_is_not_built_says_so() {
    for text in [
        "path \"a\" { control_group = { factor \"f\" {} } }",
        "path \"a\" { mfa_methods = [\"m\"] }",
        "path \"a\" { policy = \"read\" list_scan_response_keys_filter_path = \"{{ .key | trim }}\" }",
    ] {
        let error = Policy::parse("p", text).expect_err(text);
        assert!(matches!(error, Error::Unsupported(_)), "{text}: {error:?}");
    }
}

#[test]
fn limits_hold() {
    let many = "path \"a\" {}\n".repeat(MAX_RULES + 1);
    assert!(refusal(&many).contains("more than"));
    let long = "a".repeat(MAX_PATH_BYTES + 1);
    assert!(refusal(&format!("path \"{long}\" {{}}")).contains("longer"));
}
