//! What no script shows of auth methods: that nobody costs what somebody costs, that passwords and secret ids are nowhere
//! in rows, that a role takes all it has along, and that no input breaks anything.

use conclave_engine_api::testkit::{Harness, MemoryReader, SeededEntropy};
use conclave_engine_api::{Env, Error, Operation, Outcome, Reader, Request, Txn};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::script::engine;

const PASSWORD: &str = "correct horse battery staple";

/// What a login asks to be computed before it answers anything.
fn asks(harness: &Harness<'_>, name: &str) -> Option<String> {
    let engine = engine("userpass");
    let data = json!({"password": "bad"});
    let path = format!("login/{name}");
    let request = Request {
        operation: Operation::Update,
        path: &path,
        data: data.as_object().unwrap(),
        mount: &harness.mount,
        caller: "",
        display_name: "",
        remote: harness.remote,
    };
    let mut txn = Txn::new(&harness.rows);
    let mut entropy = SeededEntropy::new(1);
    let mut env = Env::new(harness.now, &mut entropy);
    match engine.handle(&mut txn, &request, &mut env) {
        Ok(Outcome::Heavy(heavy)) => Some(heavy.name),
        _ => None,
    }
}

#[test]
fn nobody_costs_what_somebody_costs() {
    let engine = engine("userpass");
    let mut harness = Harness::new(&*engine);
    let user = json!({ "password": PASSWORD });
    harness.call(Operation::Update, "users/ada", user).unwrap();
    let bound = json!({"password": PASSWORD, "token_bound_cidrs": "10.0.0.0/8"});
    harness.call(Operation::Update, "users/far", bound).unwrap();
    // The parameters of the hash are the work; they stand before the salt.
    let work = |name: &str| {
        let asked = asks(&harness, name).expect("every login computes first");
        asked.rsplitn(3, '$').last().unwrap().to_owned()
    };
    assert_eq!(work("ada"), "verify $argon2id$v=19$m=19456,t=2,p=1");
    for name in ["nobody", "far", "ADA"] {
        assert_eq!(work(name), work("ada"), "{name}");
    }
}

#[test]
fn what_people_and_machines_show_is_in_no_row() {
    let stored = |harness: &Harness<'_>| -> String {
        let rows = harness.rows.paths().into_iter().map(|path| {
            let row = harness.rows.get(path).unwrap().unwrap();
            format!("{path} {}", String::from_utf8_lossy(&row.value))
        });
        rows.collect()
    };
    let people = engine("userpass");
    let mut people = Harness::new(&*people);
    let user = json!({ "password": PASSWORD });
    people.call(Operation::Update, "users/ada", user).unwrap();
    assert!(!stored(&people).contains("battery"));
    let machines = engine("approle");
    let mut machines = Harness::new(&*machines);
    let role = json!({"role_id": "the-role"});
    machines.call(Operation::Update, "role/app", role).unwrap();
    let made = machines.call(Operation::Update, "role/app/secret-id", json!({}));
    let secret = made.unwrap().data.unwrap()["secret_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!stored(&machines).contains(&secret));
    let custom = json!({"secret_id": "hunter2"});
    machines
        .call(Operation::Update, "role/app/custom-secret-id", custom)
        .unwrap();
    assert!(!stored(&machines).contains("hunter2"));
}

#[test]
fn a_role_takes_all_its_secret_ids_along() {
    let engine = engine("approle");
    let mut harness = Harness::new(&*engine);
    harness.call(Operation::Update, "role/app", json!({})).unwrap();
    harness.call(Operation::Update, "role/other", json!({})).unwrap();
    for number in 0..600 {
        let ttl = if number % 2 == 0 { "1h" } else { "0" };
        let body = json!({ "ttl": ttl });
        harness
            .call(Operation::Update, "role/app/secret-id", body)
            .unwrap();
    }
    harness
        .call(Operation::Update, "role/other/secret-id", json!({}))
        .unwrap();
    harness.call(Operation::Delete, "role/app", json!({})).unwrap();
    for _ in 0..10 {
        harness.advance(1).unwrap();
    }
    // Of the other role: itself, its id, one secret id and its accessor.
    assert_eq!(harness.rows.paths().len(), 4, "{:?}", harness.rows.paths());
}

#[test]
fn damaged_rows_are_errors() {
    for (kind, path, operation, row) in [
        ("userpass", "login/ada", Operation::Update, "user/ada"),
        ("userpass", "users/ada", Operation::Read, "user/ada"),
        ("approle", "role/app", Operation::Read, "role/app"),
        ("approle", "role/app/secret-id", Operation::Update, "role/app"),
    ] {
        for damage in ["", "\u{1}", "\u{1}{}", "\u{2}{}", "\u{1}{\"hash\":\"hunter2\"}"] {
            let engine = engine(kind);
            let mut harness = Harness::new(&*engine);
            harness.rows = MemoryReader::with([(row, damage)]);
            let error = harness
                .call(operation, path, json!({"password": "x"}))
                .unwrap_err();
            assert!(matches!(error, Error::Internal(_)), "{kind} {path}: {error}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}

const PARAMETERS: [&str; 14] = [
    "password",
    "password_hash",
    "role_id",
    "secret_id",
    "secret_id_accessor",
    "metadata",
    "num_uses",
    "ttl",
    "cidr_list",
    "secret_id_num_uses",
    "token_policies",
    "token_bound_cidrs",
    "token_ttl",
    "token_type",
];
const PLACES: [&str; 14] = [
    "users/ada",
    "users/ada/password",
    "users/ada/policies",
    "role/app",
    "role/app/role-id",
    "role/app/secret-id",
    "role/app/custom-secret-id",
    "role/app/secret-id/lookup",
    "role/app/secret-id-accessor/destroy",
    "role/app/policies",
    "role/app/period",
    "role/app/bound-cidr-list",
    "tidy/secret-id",
    "login",
];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,40}".prop_map(Value::from),
        Just(json!("/../..")),
        Just(json!(["a", 1, null])),
        Just(json!({"a": {"b": []}})),
        Just(json!("batch")),
        Just(json!("10.0.0.0/8")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_input_breaks_a_method(
        kind in prop_oneof![Just("userpass"), Just("approle")],
        calls in proptest::collection::vec(
            (0..PLACES.len(), 0..5_usize, proptest::collection::vec((0..PARAMETERS.len(), value()), 0..4)),
            1..6,
        ),
    ) {
        const METHODS: [Operation; 5] = [
            Operation::Update, Operation::Update, Operation::Read, Operation::Delete, Operation::List,
        ];
        let engine = engine(kind);
        let mut harness = Harness::new(&*engine);
        for (place, method, body) in calls {
            let mut data = json!({});
            for (name, value) in body {
                // Hashing is tested elsewhere and takes its time.
                if PARAMETERS[name] != "password" {
                    data[PARAMETERS[name]] = value;
                }
            }
            if let Err(Error::Internal(text)) = harness.ask("", METHODS[method], PLACES[place], data) {
                prop_assert!(false, "{text}");
            }
        }
    }
}

/// The role that a login names.
fn named(harness: &Harness<'_>, kind: &str, path: &str, data: &Value) -> Result<Option<String>, Error> {
    let request = Request {
        operation: Operation::Update,
        path,
        data: data.as_object().unwrap(),
        mount: &harness.mount,
        caller: "",
        display_name: "",
        remote: harness.remote,
    };
    engine(kind).login_role(&mut Txn::new(&harness.rows), &request)
}

#[test]
fn a_login_names_its_role_before_anything_is_verified() {
    let approle = engine("approle");
    let mut harness = Harness::new(&*approle);
    harness.call(Operation::Update, "role/Web", json!({})).unwrap();
    let chosen = json!({"role_id": "chosen"});
    harness
        .call(Operation::Update, "role/web/role-id", chosen)
        .unwrap();
    for (path, data, wanted) in [
        ("login", json!({"role_id": "chosen"}), Some("web")),
        (
            "login",
            json!({"role_id": "chosen", "secret_id": "wrong"}),
            Some("web"),
        ),
        ("role/web", json!({"role_id": "chosen"}), None),
        ("login", json!({"role_id": "web"}), None),
        ("login", json!({"role_id": ""}), None),
        ("login", json!({"role_id": ["chosen"]}), None),
        ("login", json!({"role_id": {"a": 1}}), None),
        ("login", json!({"role_id": null}), None),
        ("login", json!({}), None),
    ] {
        let named = named(&harness, "approle", path, &data).unwrap();
        assert_eq!(named.as_deref(), wanted, "{path} {data}");
    }
    assert_eq!(approle.role_name("WEB").unwrap().as_deref(), Some("web"));
    assert!(approle.role_name("a b").is_err());
    // Where logins are of people, there are no roles.
    let userpass = engine("userpass");
    let harness = Harness::new(&*userpass);
    assert_eq!(userpass.role_name("web").unwrap(), None);
    let nobody = named(&harness, "userpass", "login/ada", &json!({"role_id": "chosen"}));
    assert_eq!(nobody.unwrap(), None);
}
