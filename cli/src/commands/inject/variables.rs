//! Which secrets become which variables. Asks the server; knows no shell and no process.

use std::collections::BTreeMap;

use conclave_client::http::{Fields, Json};

use super::PREFIX;
use crate::commands::kv::place::Place;
use crate::commands::sanitize;
use crate::exit::{Context as _, Fail};
use crate::flags::Args;
use crate::goval::plain;
use crate::session::Api;

/// Reads what the words ask for: `PATH` gives every field a variable of its name in capitals, `NAME=PATH#FIELD` one.
///
/// # Errors
/// A word that asks for nothing, or a secret that cannot be read.
pub fn read(api: &mut Api, args: &Args, words: &[String]) -> Result<BTreeMap<String, String>, Fail> {
    if words.is_empty() {
        return Err(Fail::usage("Name at least one secret, such as secret/app"));
    }
    let mut variables = BTreeMap::new();
    let mut known: BTreeMap<String, Fields> = BTreeMap::new();
    for word in words {
        let (name, path, field) = wish(word)?;
        if !known.contains_key(path) {
            known.insert(path.to_owned(), secret(api, args, path)?);
        }
        let Some(fields) = known.get(path) else { continue };
        match (name, field) {
            (Some(name), Some(field)) => {
                let value = fields.get(field);
                let value = value.ok_or_else(|| Fail::remote(format!("No field {field} at {path}")))?;
                set(&mut variables, name.to_owned(), value)?;
            }
            _ => {
                for (field, value) in fields.iter() {
                    set(&mut variables, variable(args.text(&PREFIX), field), value)?;
                }
            }
        }
    }
    Ok(variables)
}

/// Name, path and field of a word.
fn wish(word: &str) -> Result<(Option<&str>, &str, Option<&str>), Fail> {
    match (word.split_once('='), word.rsplit_once('#')) {
        (None, None) => Ok((None, word, None)),
        (Some((name, place)), Some(_)) if is_name(name) => {
            let (path, field) = place.rsplit_once('#').unwrap_or((place, ""));
            Ok((Some(name), path, Some(field)))
        }
        _ => Err(Fail::usage(format!("{word}: neither PATH nor NAME=PATH#FIELD"))),
    }
}

fn secret(api: &mut Api, args: &Args, path: &str) -> Result<Fields, Fail> {
    let place = Place::find_at(api, args, sanitize(path))?;
    let path = place.or_plain("data");
    let found = api.read(&path).context(&format!("Error reading {path}"))?;
    let data = found.and_then(|secret| secret.data);
    let data = match data {
        Some(data) if place.v2 => data.get("data").and_then(Json::as_object).cloned(),
        data => data,
    };
    data.ok_or_else(|| Fail::remote(format!("No value found at {path}")))
}

/// Variables that decide what a program loads or runs: a secret must not become one by the name of its field.
const DANGEROUS: [&str; 5] = ["PATH", "IFS", "ENV", "BASH_ENV", "SHELL"];

fn set(variables: &mut BTreeMap<String, String>, name: String, value: &Json) -> Result<(), Fail> {
    if !is_name(&name) || DANGEROUS.contains(&name.as_str()) || name.starts_with("LD_") {
        return Err(Fail::usage(format!(
            "{name} cannot be the name of a variable for a secret; choose another by NAME=PATH#FIELD or -prefix"
        )));
    }
    let text = plain(value);
    if text.contains('\0') {
        return Err(Fail::usage(format!(
            "the value for {name} holds a zero byte, which no variable can"
        )));
    }
    if variables.insert(name.clone(), text).is_some() {
        return Err(Fail::usage(format!("{name} is given twice")));
    }
    Ok(())
}

/// `db-password` is `DB_PASSWORD`.
fn variable(prefix: &str, field: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    format!("{prefix}{}", field.chars().map(letter).collect::<String>())
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names() {
        assert!(matches!(wish("secret/app"), Ok((None, "secret/app", None))));
        assert!(matches!(
            wish("A=secret/app#x"),
            Ok((Some("A"), "secret/app", Some("x")))
        ));
        assert!(wish("secret/app#x").is_err() && wish("A=secret/app").is_err() && wish("a-b=c#d").is_err());
        assert_eq!(variable("APP_", "db.password-1"), "APP_DB_PASSWORD_1");
        let mut variables = BTreeMap::new();
        for bad in ["PATH", "LD_PRELOAD", "1A", ""] {
            assert!(
                set(&mut variables, bad.to_owned(), &Json::from("x")).is_err(),
                "{bad}"
            );
        }
        assert!(set(&mut variables, "A".to_owned(), &Json::from("x")).is_ok());
        assert!(set(&mut variables, "A".to_owned(), &Json::from("x")).is_err());
    }
}
