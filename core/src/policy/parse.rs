//! The text of a policy, HCL or JSON, to rules. It must not know requests. Words of errors are Vault's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Number, Value};

use conclave_engine_api::{Millis, parse_duration};
use conclave_hcl::{self as hcl, Body, Kind};

use super::capability::Capabilities;
use super::keys_filter::KeysFilter;
use super::parameters::Parameters;
use super::pattern::Pattern;
use super::template::is_template;
use crate::error::Error;

/// Most rules of one policy.
pub const MAX_RULES: usize = 10_000;
/// Longest path of a rule, in bytes: no request path is longer.
pub const MAX_PATH_BYTES: usize = 4096;

/// What a rule may say. The last two are read by OpenBao and not built here.
const RULE_KEYS: [&str; 13] = [
    "comment",
    "policy",
    "capabilities",
    "allowed_parameters",
    "denied_parameters",
    "required_parameters",
    "min_wrapping_ttl",
    "max_wrapping_ttl",
    "pagination_limit",
    "expiration",
    "list_scan_response_keys_filter_path",
    "mfa_methods",
    "control_group",
];

/// A parsed policy. Its text is kept by whoever stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    name: Arc<str>,
    /// From when on it is as if it were not there.
    expires: Option<Millis>,
    pub(super) rules: Vec<Rule>,
}

/// One `path ".." { .. }`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub pattern: Pattern,
    pub grant: Grant,
    /// From when on the rule is as if it were not there.
    pub expires: Option<Millis>,
}

/// What a rule gives, and under which conditions.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Grant {
    pub capabilities: Capabilities,
    pub min_wrap: Option<Millis>,
    pub max_wrap: Option<Millis>,
    pub parameters: Parameters,
    pub pagination_limit: Option<u64>,
    pub keys_filter: Option<KeysFilter>,
}

impl Policy {
    /// Parses a text. `name` is a label, in lower case already; whatever it is, it gives no power: not even `root`.
    /// Errors are [`Error::Invalid`] with Vault's words, or [`Error::Unsupported`] for what is not built.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let body = hcl::parse(text).map_err(|error| failed(&error.to_string()))?;
        body.only(&["name", "path"])
            .map_err(|error| failed(&listed(&error.message)))?;
        scalar(&body, "name", |value| value.text().map(drop))?;
        let sections = body
            .sections("path", 1)
            .map_err(|error| failed(&error.to_string()))?;
        if sections.len() > MAX_RULES {
            return Err(failed(&format!("more than {MAX_RULES} paths")));
        }
        let mut rules = Vec::with_capacity(sections.len());
        for section in &sections {
            let path = section.labels.first().map_or("", |label| label.name.as_str());
            let rule = rule(path, section.body).map_err(|error| at_path(path, error))?;
            rules.push(rule);
        }
        Ok(Self {
            name: name.into(),
            expires: None,
            rules,
        })
    }

    /// The same, and all of it ends at `expires`.
    #[must_use]
    pub fn until(mut self, expires: Option<Millis>) -> Self {
        self.expires = expires;
        for rule in &mut self.rules {
            rule.expires = rule.expires.into_iter().chain(expires).min();
        }
        self
    }

    /// Whether it has expired.
    pub fn is_over(&self, now: Millis) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// The name it was parsed under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name, to share.
    pub(super) fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// The paths that carry `{{..}}` templates.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        self.rules
            .iter()
            .map(|rule| rule.pattern.as_str())
            .filter(|path| is_template(path))
    }
}

/// As Go's multierror prints a single error, which the original makes of keys it does not know.
fn listed(why: &str) -> String {
    format!("1 error occurred:\n\t* {why}\n\n")
}

fn failed(why: &str) -> Error {
    Error::invalid(format!("failed to parse policy: {why}"))
}

fn at_path(path: &str, error: Error) -> Error {
    match error {
        Error::Invalid(why) => failed(&format!("path {path:?}: {why}")),
        Error::Unsupported(what) => Error::Unsupported(format!("policy with path {path:?}: {what}")),
        other => other,
    }
}

fn wrong(error: &hcl::Error) -> Error {
    Error::invalid(error.to_string())
}

fn rule(path: &str, body: &Body) -> Result<Rule, Error> {
    body.only(&RULE_KEYS)
        .map_err(|error| Error::invalid(listed(&error.message)))?;
    for key in ["control_group", "mfa_methods"] {
        if body.named(key).next().is_some() {
            return Err(Error::Unsupported(key.to_owned()));
        }
    }
    check_path(path)?;
    let expires = scalar(body, "expiration", |value| value.text())?
        .filter(|text| !text.is_empty())
        .map(|text| {
            parse_expiration(&text).ok_or_else(|| {
                Error::invalid("invalid expiration time: could not parse string as date and time")
            })
        })
        .transpose()?;
    let capabilities = capabilities(path, body)?;
    let mut grant = grant(body, capabilities)?;
    // Where access is denied nothing else counts, but what is said must still make sense.
    if capabilities.denies() {
        grant = Grant {
            capabilities,
            ..Grant::default()
        };
    }
    Ok(Rule {
        pattern: Pattern::new(path),
        grant,
        expires,
    })
}

fn check_path(path: &str) -> Result<(), Error> {
    if path.len() > MAX_PATH_BYTES {
        return Err(Error::invalid(format!(
            "path is longer than {MAX_PATH_BYTES} bytes"
        )));
    }
    if path.contains("+*") {
        return Err(Error::invalid("invalid use of wildcards ('+*' is forbidden)"));
    }
    let mut pieces = path.split("{{");
    let before = pieces.next().unwrap_or_default();
    if before.contains("}}") || pieces.any(|piece| piece.split("}}").count() != 2) {
        return Err(Error::invalid(
            "failed to validate policy templating: unbalanced templating characters",
        ));
    }
    Ok(())
}

fn capabilities(path: &str, body: &Body) -> Result<Capabilities, Error> {
    let mut all = Capabilities::NONE;
    if let Some(keyword) = scalar(body, "policy", |value| value.text())?.filter(|word| !word.is_empty()) {
        all |= Capabilities::legacy(&keyword)
            .ok_or_else(|| Error::invalid(format!("invalid policy {keyword:?}")))?;
    }
    if let Some(list) = body.value("capabilities").map_err(|error| wrong(&error))? {
        for name in list.texts().map_err(|error| wrong(&error))? {
            all |= Capabilities::named(&name)
                .ok_or_else(|| Error::invalid(format!("path {path:?}: invalid capability {name:?}")))?;
        }
    }
    Ok(all.settled())
}

fn grant(body: &Body, capabilities: Capabilities) -> Result<Grant, Error> {
    let (min_wrap, max_wrap) = (ttl(body, "min_wrapping_ttl")?, ttl(body, "max_wrapping_ttl")?);
    if let (Some(min), Some(max)) = (min_wrap, max_wrap)
        && max < min
    {
        return Err(Error::invalid(
            "max_wrapping_ttl cannot be less than min_wrapping_ttl",
        ));
    }
    let required = match body.value("required_parameters").map_err(|error| wrong(&error))? {
        Some(list) => list.texts().map_err(|error| wrong(&error))?.into_iter().collect(),
        None => BTreeSet::new(),
    };
    let parameters = Parameters {
        required,
        allowed: constraints(body, "allowed_parameters")?,
        denied: constraints(body, "denied_parameters")?,
    };
    let keys_filter = scalar(body, "list_scan_response_keys_filter_path", |value| value.text())?
        .filter(|template| !template.is_empty())
        .map(|template| KeysFilter::parse(&template))
        .transpose()?;
    if keys_filter.is_some() && !capabilities.denies() && !capabilities.contains(Capabilities::LIST) {
        return Err(Error::invalid(
            "list_scan_response_keys_filter_path needs to be used on a path with the list capability",
        ));
    }
    // Negative and zero limits are none, as upstream.
    let pagination_limit = scalar(body, "pagination_limit", |value| value.int())?
        .and_then(|limit| u64::try_from(limit).ok())
        .filter(|limit| *limit > 0);
    Ok(Grant {
        capabilities,
        min_wrap,
        max_wrap,
        parameters,
        pagination_limit,
        keys_filter,
    })
}

/// A value read by `read`, or `None` if it is not set or JSON's `null`.
fn scalar<T>(
    body: &Body,
    name: &str,
    read: impl Fn(&hcl::Value) -> Result<T, hcl::Error>,
) -> Result<Option<T>, Error> {
    let value = body.value(name).map_err(|error| wrong(&error))?;
    value
        .filter(|value| value.kind != Kind::Null)
        .map(read)
        .transpose()
        .map_err(|error| wrong(&error))
}

fn ttl(body: &Body, name: &str) -> Result<Option<Millis>, Error> {
    let Some(text) = scalar(body, name, |value| value.text())? else {
        return Ok(None);
    };
    let ttl =
        parse_duration(&text).map_err(|error| Error::invalid(format!("error parsing {name}: {error}")))?;
    Ok(Some(ttl).filter(|ttl| *ttl > 0))
}

/// An absolute time: RFC 3339, or seconds since the Unix epoch. A time before the epoch is as long past as the epoch.
pub fn parse_expiration(text: &str) -> Option<Millis> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text
            .parse::<u64>()
            .ok()
            .and_then(|seconds| seconds.checked_mul(1000));
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

fn constraints(body: &Body, name: &str) -> Result<BTreeMap<String, Vec<Value>>, Error> {
    let mut constraints = BTreeMap::new();
    let Some(object) = body.object(name).map_err(|error| wrong(&error))? else {
        return Ok(constraints);
    };
    for item in &object.items {
        let list = item
            .value()
            .and_then(hcl::Value::list)
            .map_err(|error| wrong(&error))?;
        let values = list.iter().map(to_json).collect::<Result<_, _>>()?;
        let key = item.key();
        if constraints.insert(key.name.to_lowercase(), values).is_some() {
            return Err(wrong(&hcl::duplicate(key)));
        }
    }
    Ok(constraints)
}

fn to_json(value: &hcl::Value) -> Result<Value, Error> {
    Ok(match &value.kind {
        Kind::Null => Value::Null,
        Kind::Bool(flag) => Value::Bool(*flag),
        Kind::Int(number) => Value::from(*number),
        Kind::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Kind::String(text) => Value::String(text.clone()),
        Kind::List(values) => Value::Array(values.iter().map(to_json).collect::<Result<_, _>>()?),
        Kind::Object(body) => {
            let mut members = Map::new();
            for item in &body.items {
                let value = to_json(item.value().map_err(|error| wrong(&error))?)?;
                let key = item.key();
                if members.insert(key.name.clone(), value).is_some() {
                    return Err(wrong(&hcl::duplicate(key)));
                }
            }
            Value::Object(members)
        }
    })
}
