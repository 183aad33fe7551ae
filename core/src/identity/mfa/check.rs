//! Checking what a login shows against what is demanded. Every code that is looked at leaves a trace in the command: a right one
//! is taken, a wrong one counted. Which of the two reasons refused a code is not told.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use conclave_engine_api::{Millis, Txn};

use crate::catalog::Catalog;
use crate::error::Error;
use crate::identity::mfa::demand::Demand;
use crate::identity::mfa::record::{Method, Placed};
use crate::identity::mfa::tried::Tried;
use crate::identity::rows::in_rows_of;
use crate::work::Work;

/// Most methods for which a login shows something, and most it shows for one.
const MAX_SHOWN: usize = 16;
/// Longest passcode in bytes.
const MAX_CODE: usize = 256;

/// What a login shows: passcodes by the id or the name of a method.
#[derive(Default)]
pub struct Credentials(BTreeMap<String, Vec<Zeroizing<String>>>);

impl Credentials {
    /// Of headers: `METHOD[:PASSCODE]` each.
    ///
    /// # Errors
    /// A header is none.
    pub fn of_headers(headers: &[Zeroizing<String>]) -> Result<Self, Error> {
        let mut shown = Self::default();
        let wrong = |what: &str| {
            let text = "failed to parse X-Vault-MFA header: invalid data in header \"X-Vault-MFA\"; missing";
            Error::invalid(format!("{text} {what}"))
        };
        for header in headers.iter().filter(|header| !header.is_empty()) {
            let Some((method, code)) = header.split_once(':') else {
                shown.0.entry(header.to_string()).or_default();
                continue;
            };
            if method.is_empty() {
                return Err(wrong("method name or ID"));
            }
            if code.is_empty() {
                return Err(wrong("method value"));
            }
            let codes = shown.0.entry(method.to_owned()).or_default();
            codes.push(Zeroizing::new(code.to_owned()));
        }
        shown.bounded()
    }

    /// Of a body's `mfa_payload`: lists of passcodes by method.
    ///
    /// # Errors
    /// It is none.
    pub fn of_payload(payload: Option<&Map<String, Value>>) -> Result<Self, Error> {
        let wrong = || Error::invalid("invalid mfa payload");
        let mut shown = Self::default();
        for (method, codes) in payload.into_iter().flatten() {
            let codes = match codes {
                Value::Null => Vec::new(),
                codes => codes.as_array().ok_or_else(wrong)?.iter().collect(),
            };
            let codes = codes.into_iter().map(|code| match code {
                Value::String(code) => Ok(Zeroizing::new(code.clone())),
                _ => Err(wrong()),
            });
            shown.0.insert(method.clone(), codes.collect::<Result<_, _>>()?);
        }
        shown.bounded()
    }

    /// Whether nothing is shown.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bounded(self) -> Result<Self, Error> {
        let too_many = self.0.len() > MAX_SHOWN || self.0.values().any(|codes| codes.len() > MAX_SHOWN);
        match too_many || self.0.values().flatten().any(|code| code.len() > MAX_CODE) {
            true => Err(Error::invalid("too many or too long second factors")),
            false => Ok(self),
        }
    }

    fn of(&self, placed: &Placed<'_>) -> Option<&[Zeroizing<String>]> {
        let by_id = self.0.get(&placed.method.id);
        let by_name = || self.0.get(&placed.full_name()?);
        by_id.or_else(by_name).map(Vec::as_slice)
    }
}

/// The one passcode among what is shown for a method. An empty one stands for none.
fn passcode(shown: &[Zeroizing<String>]) -> Result<&str, String> {
    let mut found = "";
    for text in shown.iter().filter(|text| !text.is_empty()) {
        let code = match text.split_once('=') {
            Some(("passcode", "")) => return Err("failed to parse MFA factor, invalid passcode".to_owned()),
            Some(("passcode", code)) => code,
            Some(_) => return Err("failed to parse MFA factor, found an invalid MFA cred".to_owned()),
            None => text.as_str(),
        };
        if !found.is_empty() {
            return Err(
                "failed to parse MFA factor, found multiple passcodes for the same MFA method".to_owned(),
            );
        }
        found = code;
    }
    Ok(found)
}

/// What came of a check.
pub enum Checked {
    /// Everything that is demanded was shown.
    Passed,
    /// Something was not: what, in words for who logs in.
    Failed(String),
}

/// Checks for the entity `entity` of the namespace of `catalog`. What it leaves behind is in `txn`, over the rows that pass by,
/// and must be committed whatever came of it. `login` names a login that may be sent again: its codes are looked at once.
///
/// # Errors
/// The store's own.
pub fn check(
    work: &mut Work<'_>,
    (catalog, txn): (&Catalog, &mut Txn<'_>),
    demands: &[Demand<'_>],
    (entity, shown, login): (&str, &Credentials, Option<&str>),
    now: Millis,
) -> Result<Checked, Error> {
    // A method that two demands name is shown once.
    let mut known: BTreeMap<&str, Result<(), String>> = BTreeMap::new();
    for demand in demands {
        let asked = demand
            .methods
            .iter()
            .filter_map(|placed| Some((placed.method, shown.of(placed)?)));
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() && !demand.methods.is_empty() {
            return Ok(Checked::Failed(unanswered(demand)));
        }
        let mut errors = Vec::new();
        for (method, codes) in asked {
            let outcome = match known.get(method.id.as_str()) {
                Some(outcome) => outcome.clone(),
                None => one(work, (catalog, txn), method, (entity, codes, login), now)?,
            };
            known.insert(&method.id, outcome.clone());
            match outcome {
                Ok(()) => {
                    errors.clear();
                    break;
                }
                Err(text) => errors.push(text),
            }
        }
        if !errors.is_empty() || demand.methods.is_empty() {
            return Ok(Checked::Failed(unsatisfied(demand, errors)));
        }
    }
    Ok(Checked::Passed)
}

/// One method.
fn one(
    work: &mut Work<'_>,
    (catalog, txn): (&Catalog, &mut Txn<'_>),
    method: &Method,
    (entity, codes, login): (&str, &[Zeroizing<String>], Option<&str>),
    now: Millis,
) -> Result<Result<(), String>, Error> {
    // Not which: it would tell a guesser more than it tells others.
    let wrong = || "MFA credentials not supplied or incorrect".to_owned();
    let code = match passcode(codes) {
        Ok("") => return Ok(Err(wrong())),
        Ok(code) => code,
        Err(text) => return Ok(Err(text)),
    };
    let secret = in_rows_of(work, catalog, |rows| rows.secret(&method.id, entity))?;
    let Some(secret) = secret else {
        return Ok(Err(wrong()));
    };
    let period = secret.period();
    let tried = Tried::load(txn, (&method.id, entity), login, (period, now))?;
    if tried.is_known() {
        return Ok(Err(wrong()));
    }
    if tried.failures() >= u64::from(method.max_validation_attempts) {
        let seconds = tried.again(period).saturating_sub(now).div_ceil(1000);
        return Ok(Err(format!(
            "maximum TOTP validation attempts {} exceeded; try again in {seconds} seconds",
            method.max_validation_attempts
        )));
    }
    match secret.step(code, now)?.filter(|step| !tried.is_taken(*step)) {
        Some(step) => {
            tried.take(txn, step, secret.end_of(step))?;
            Ok(Ok(()))
        }
        None => {
            tried.fail(txn, period, now)?;
            Ok(Err(wrong()))
        }
    }
}

fn unanswered(demand: &Demand<'_>) -> String {
    let errors = demand.methods.iter().map(|placed| {
        format!(
            "failed to find MFA credentials associated with an MFA method ID {}, method name {}",
            placed.method.id,
            placed.full_name().unwrap_or_default()
        )
    });
    let errors = listed(&errors.collect::<Vec<_>>());
    format!(
        "failed to satisfy enforcement {}. error: failed to sanitize MFA creds, {errors}",
        demand.name
    )
}

fn unsatisfied(demand: &Demand<'_>, mut errors: Vec<String>) -> String {
    let ids: Vec<_> = demand
        .methods
        .iter()
        .map(|placed| placed.method.id.as_str())
        .collect();
    errors.push(format!(
        "login MFA validation failed for methodID: [{}]",
        ids.join(" ")
    ));
    format!(
        "failed to satisfy enforcement {}. error: {}",
        demand.name,
        listed(&errors)
    )
}

/// As Go's multierror prints several.
fn listed(errors: &[String]) -> String {
    let head = match errors.len() {
        1 => "1 error occurred:".to_owned(),
        count => format!("{count} errors occurred:"),
    };
    let lines: String = errors.iter().map(|error| format!("\n\t* {error}")).collect();
    format!("{head}{lines}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(texts: &[&str]) -> Vec<Zeroizing<String>> {
        texts
            .iter()
            .map(|text| Zeroizing::new((*text).to_owned()))
            .collect()
    }

    #[test]
    fn headers_name_methods_and_codes() {
        let shown = Credentials::of_headers(&texts(&["phone:1", "phone:2", "", "push"])).unwrap();
        let told: Vec<_> = shown
            .0
            .iter()
            .map(|(name, codes)| (name.as_str(), codes.len()))
            .collect();
        assert_eq!(told, [("phone", 2), ("push", 0)]);
        assert!(Credentials::of_headers(&texts(&[""])).unwrap().is_empty());
        for (wrong, what) in [(":1", "method name or ID"), ("phone:", "method value")] {
            let error = Credentials::of_headers(&texts(&[wrong]))
                .err()
                .unwrap()
                .to_string();
            assert!(error.ends_with(&format!("missing {what}")), "{error}");
        }
        assert!(Credentials::of_headers(&texts(&["phone:1"; 17])).is_err());
        assert!(
            Credentials::of_headers(&texts(&[&"x".repeat(300), &format!("a:{}", "1".repeat(300))])).is_err()
        );
    }

    #[test]
    fn payloads_are_lists_of_texts() {
        for (payload, taken) in [
            (json!({}), true),
            (json!({"a": []}), true),
            (json!({"a": null}), true),
            (json!({"a": ["1"], "b": ["2", "3"]}), true),
            (json!({"a": "1"}), false),
            (json!({"a": [1]}), false),
            (json!({"a": {"b": "1"}}), false),
        ] {
            let shown = Credentials::of_payload(payload.as_object());
            assert_eq!(shown.is_ok(), taken, "{payload}");
        }
    }

    #[test]
    fn there_is_one_passcode() {
        assert_eq!(passcode(&texts(&["123456"])), Ok("123456"));
        assert_eq!(passcode(&texts(&["", "passcode=123456"])), Ok("123456"));
        assert_eq!(passcode(&texts(&[])), Ok(""));
        for wrong in [&["1", "2"][..], &["a=b"], &["passcode="]] {
            let told = passcode(&texts(wrong)).unwrap_err();
            assert!(!told.contains("a=b"), "{told}");
        }
    }
}
