//! How what a role says becomes what a database of its kind is told. For SQL that is a statement with names filled in; for
//! Redis, whose accounts are made of rules, a command as a JSON array of words.

use conclave_engine_api::{Driver, Error, Hidden};

use super::kind;
use super::statements::{Filling, fill, filled};

/// What an account of Redis may do unless its role says more, as Vault's.
const REDIS_RULES: [&str; 2] = ["~*", "+@read"];

/// What statements are for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Purpose {
    /// To make an account.
    Create,
    /// To change its password.
    Rotate,
    /// To tell it that it lives longer.
    Renew,
    /// To drop it.
    Revoke,
}

/// What a database is told: `own` statements, or those that are usual. None: there is nothing to tell, or the driver knows.
pub(super) fn told(
    driver: Driver,
    purpose: Purpose,
    own: &[String],
    filling: &Filling<'_>,
) -> Result<Vec<Hidden>, Error> {
    if driver == Driver::Redis {
        return match (purpose, own) {
            (Purpose::Create, rules) => created(rules, filling).map(|command| vec![command]),
            (Purpose::Rotate, []) => rotated(filling),
            (_, commands) => commands
                .iter()
                .map(|command| filled_words(command, filling))
                .collect(),
        };
    }
    if filling.password.contains(['\0', '"', '\'', '\\', '`']) {
        return Err(Error::invalid(
            "the password has quotes or backslashes in it, which statements cannot hold: the policy must leave them out",
        ));
    }
    let usual: &[&str] = match purpose {
        Purpose::Create if own.is_empty() => return Err(Error::invalid("empty creation statements")),
        Purpose::Create | Purpose::Revoke => &[],
        Purpose::Rotate => kind::rotate_statements(driver),
        Purpose::Renew => kind::renew_statements(driver),
    };
    if !own.is_empty() {
        return Ok(fill(own, filling));
    }
    let usual: Vec<String> = usual.iter().map(|text| (*text).to_owned()).collect();
    Ok(fill(&usual, filling))
}

/// Rules are given as a JSON array in one statement, or one a statement.
fn created(given: &[String], filling: &Filling<'_>) -> Result<Hidden, Error> {
    let listed = given
        .first()
        .and_then(|first| serde_json::from_str::<Vec<String>>(first).ok());
    let rules = match (listed, given) {
        (Some(rules), [_]) => rules,
        (Some(_), _) => {
            return Err(Error::invalid(
                "creation_statements of Redis are one JSON array of rules, or one rule each",
            ));
        }
        (None, []) => REDIS_RULES.map(str::to_owned).to_vec(),
        (None, rules) => rules.to_vec(),
    };
    let mut words = words(&["ACL", "SETUSER", filling.username, "ON"]);
    words.push(Hidden::new(format!(">{}", filling.password)));
    words.extend(rules.iter().map(|rule| filled(rule, filling)));
    command(&words)
}

/// Asked for first: `SETUSER` would make an account that is not there.
fn rotated(filling: &Filling<'_>) -> Result<Vec<Hidden>, Error> {
    let ask = command(&words(&["ACL", "GETUSER", filling.username]))?;
    let mut change = words(&["ACL", "SETUSER", filling.username, "RESETPASS"]);
    change.push(Hidden::new(format!(">{}", filling.password)));
    Ok(vec![ask, command(&change)?])
}

fn filled_words(text: &str, filling: &Filling<'_>) -> Result<Hidden, Error> {
    let words: Vec<String> = serde_json::from_str(text).map_err(|_| {
        Error::invalid("a statement of Redis is a command as a JSON array of words: [\"ACL\", \"DELUSER\", \"{{name}}\"]")
    })?;
    let words: Vec<Hidden> = words.iter().map(|word| filled(word, filling)).collect();
    command(&words)
}

fn words(words: &[&str]) -> Vec<Hidden> {
    words.iter().map(|word| Hidden::new((*word).to_owned())).collect()
}

fn command(words: &[Hidden]) -> Result<Hidden, Error> {
    let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
    serde_json::to_string(&words)
        .map(Hidden::new)
        .map_err(|_| Error::internal("a command cannot be encoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILLING: Filling<'_> = Filling {
        username: "V_X",
        password: "p\"w",
        expires: None,
    };

    fn redis(purpose: Purpose, own: &[&str]) -> Result<Vec<String>, Error> {
        let own: Vec<String> = own.iter().map(|text| (*text).to_owned()).collect();
        let told = told(Driver::Redis, purpose, &own, &FILLING)?;
        Ok(told.iter().map(|text| text.to_string()).collect())
    }

    #[test]
    fn rules_make_a_command_whatever_the_password() {
        let usual = r#"["ACL","SETUSER","V_X","ON",">p\"w","~*","+@read"]"#;
        assert_eq!(redis(Purpose::Create, &[]).unwrap(), [usual]);
        assert_eq!(redis(Purpose::Create, &[r#"["~*", "+@read"]"#]).unwrap(), [usual]);
        assert_eq!(redis(Purpose::Create, &["~*", "+@read"]).unwrap(), [usual]);
        assert_eq!(
            redis(Purpose::Create, &["~{{name}}:*"]).unwrap(),
            [r#"["ACL","SETUSER","V_X","ON",">p\"w","~V_X:*"]"#]
        );
        assert!(redis(Purpose::Create, &["[\"a\"]", "b"]).is_err());
        assert_eq!(redis(Purpose::Rotate, &[]).unwrap().len(), 2);
        assert_eq!(
            redis(Purpose::Revoke, &[r#"["ACL", "DELUSER", "{{name}}"]"#]).unwrap(),
            [r#"["ACL","DELUSER","V_X"]"#]
        );
        assert!(redis(Purpose::Revoke, &["ACL DELUSER"]).is_err());
        assert!(redis(Purpose::Revoke, &[]).unwrap().is_empty());
    }

    #[test]
    fn statements_hold_no_password_that_ends_its_quotes() {
        assert!(told(Driver::Mysql, Purpose::Rotate, &[], &FILLING).is_err());
        let filling = Filling {
            password: "p",
            ..FILLING
        };
        let said = told(Driver::Mysql, Purpose::Rotate, &[], &filling).unwrap();
        assert_eq!(said[0].as_str(), "ALTER USER 'V_X'@'%' IDENTIFIED BY 'p'");
        assert!(told(Driver::Mysql, Purpose::Create, &[], &filling).is_err());
        assert!(
            told(Driver::Mysql, Purpose::Renew, &[], &filling)
                .unwrap()
                .is_empty()
        );
    }
}
