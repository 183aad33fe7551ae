//! Statements for a database, put together from a role's text and a name that a template made: what is filled in ends no quote,
//! everything else stands as it was written.

use std::sync::{Arc, OnceLock};

use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Action, Engine, Operation, Outcome};
use serde_json::json;

/// What can end a quoted text or name in some database.
const QUOTES: [char; 4] = ['"', '\'', '`', '\\'];

fn database() -> &'static Arc<dyn Engine> {
    static ENGINE: OnceLock<Arc<dyn Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut engines = conclave_engines::secret_engines().into_iter();
        engines
            .find(|engine| engine.kind() == "database")
            .expect("an engine of databases")
    })
}

/// `template of names, or nothing | line feed | name of the role | line feed | statement`.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\n');
    let (template, role) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let statement = parts.next().unwrap_or_default();
    let mut harness = Harness::new(database().as_ref());
    let config = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "verify_connection": false,
        "connection_url": "postgresql://{{username}}:{{password}}@h/db", "username": "u", "password": "p",
        "username_template": template,
    });
    if harness.call(Operation::Update, "config/db", config).is_err() {
        return;
    }
    let of_role = json!({"db_name": "db", "creation_statements": [statement]});
    if harness
        .call(Operation::Update, &format!("roles/{role}"), of_role)
        .is_err()
    {
        return;
    }
    let asked = harness.ask("caller", Operation::Read, &format!("creds/{role}"), json!({}));
    let Ok(Outcome::Effect(effect)) = asked else {
        return;
    };
    let Action::Make { account, statements } = &effect.plan.action else {
        panic!("credentials that make no account");
    };
    assert!(
        !account.contains(QUOTES) && !account.contains('\0'),
        "{account:?}"
    );
    let Some(made) = statements.first().filter(|_| !statement.trim().is_empty()) else {
        return;
    };
    // Base64 is meant as what it says. Nothing in such a text could be filled in.
    let of_base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/=".contains(letter);
    if statement.trim().chars().all(of_base64) {
        return;
    }
    let quotes = |text: &str| text.matches(QUOTES).count();
    assert_eq!(
        quotes(made.as_str()),
        quotes(statement),
        "{statement:?} as {account:?}"
    );
    let data = effect.reply.data.as_ref();
    let told = data
        .and_then(|data| data.get("password"))
        .and_then(|text| text.as_str());
    if !statement.contains("{{expiration}}") {
        assert_eq!(
            made.as_str(),
            naively(statement, account, told.expect("a password"))
        );
    }
}

/// The same letter by letter.
fn naively(statement: &str, account: &str, password: &str) -> String {
    let names = [
        ("{{name}}", account),
        ("{{username}}", account),
        ("{{password}}", password),
    ];
    let mut out = String::new();
    let mut at = 0;
    while let Some(letter) = statement.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = statement.get(at..).unwrap_or_default();
        // A pair of braces that is no name stands, and what follows it is looked at anew.
        match names.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out.push_str(value);
                at += name.len();
            }
            None if rest.starts_with("{{") => {
                out.push_str("{{");
                at += 2;
            }
            None => {
                out.push(letter);
                at += letter.len_utf8();
            }
        }
    }
    out
}
