//! By which statements accounts of a database go: those that their role has now, for these can be put right.

use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Action, Operation, Outcome};
use serde_json::{Map, Value, json};

use crate::script::engine;

fn role(harness: &mut Harness<'_>, revocation: &str, rollback: &str, db_name: &str) {
    let role = json!({
        "db_name": db_name, "creation_statements": "CREATE \"{{name}}\"",
        "revocation_statements": revocation, "rollback_statements": rollback,
    });
    harness.call(Operation::Update, "roles/app", role).unwrap();
}

/// The statements by which an account goes that is made (no session), or in the making.
fn told(harness: &mut Harness<'_>, kept: &Map<String, Value>, session: &str) -> Vec<String> {
    let plan = harness.revocation(kept, session).unwrap();
    let Action::Drop { statements, .. } = plan.action else {
        panic!("an account is dropped");
    };
    statements.iter().map(|text| text.to_string()).collect()
}

#[test]
fn statements_that_were_put_right_drop_the_accounts_from_before() {
    let engine = engine("database");
    let mut harness = Harness::new(&*engine);
    for name in ["db", "other"] {
        let config = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": "root", "password": "p",
            "connection_url": "postgresql://{{username}}:{{password}}@h/db", "verify_connection": false,
            "username_template": "a{{random 8}}",
        });
        harness
            .call(Operation::Update, &format!("config/{name}"), config)
            .unwrap();
    }
    role(&mut harness, "WRONG \"{{name}}\"", "WRONG TOO \"{{name}}\"", "db");
    let made = harness.ask("caller", Operation::Read, "creds/app", Value::Null);
    let Outcome::Effect(made) = made.unwrap() else {
        panic!("an account is made outside");
    };
    let kept = made.lease.unwrap().internal;
    let name = kept["username"].as_str().unwrap().to_owned();
    let wrong = [
        vec![format!("WRONG \"{name}\"")],
        vec![format!("WRONG TOO \"{name}\"")],
    ];
    let asked = |harness: &mut Harness<'_>| [told(harness, &kept, ""), told(harness, &kept, "session")];
    assert_eq!(asked(&mut harness), wrong);

    role(&mut harness, "RIGHT \"{{name}}\"", "RIGHT TOO \"{{name}}\"", "db");
    let right = [
        vec![format!("RIGHT \"{name}\"")],
        vec![format!("RIGHT TOO \"{name}\"")],
    ];
    assert_eq!(asked(&mut harness), right);
    // None at all: the account goes as is usual.
    role(&mut harness, "", "", "db");
    assert_eq!(asked(&mut harness), [Vec::<String>::new(), Vec::new()]);

    // A role of another database says nothing of accounts in this one, and neither does one that is gone.
    role(&mut harness, "ELSEWHERE", "ELSEWHERE", "other");
    assert_eq!(asked(&mut harness), wrong);
    harness.call(Operation::Delete, "roles/app", Value::Null).unwrap();
    assert_eq!(asked(&mut harness), wrong);

    // What was found without a lease has no role.
    let found = engine.adopted("db", &name);
    assert_eq!(told(&mut harness, &found, ""), Vec::<String>::new());
}
