//! Rotations of passwords beside a small database: whatever goes wrong in whichever step, and however late a statement arrives
//! that nobody waits for any more, the password that is kept in the end is the one that the database takes.

use std::collections::BTreeMap;

use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Action, Done, Effect, Failure, Operation, Outcome};
use serde_json::{Value, json};

use crate::script::engine;

/// What becomes of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// It is done, and we hear of it.
    Done,
    /// It is done, and its answer gets lost.
    Lost,
    /// It is on its way when we wait no longer.
    Late,
    /// It is on its way when who asked dies.
    Stray,
    /// The database is not reached.
    Down,
}

const FATES: [Fate; 5] = [Fate::Done, Fate::Lost, Fate::Late, Fate::Stray, Fate::Down];

/// Whose password is rotated.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Root,
    Static,
}

impl What {
    fn row(self) -> &'static str {
        match self {
            Self::Root => "config/db",
            Self::Static => "static-role/svc",
        }
    }

    fn rotate(self) -> &'static str {
        match self {
            Self::Root => "rotate-root/db",
            Self::Static => "rotate-role/svc",
        }
    }
}

/// A database that knows its sessions by their names.
struct Database {
    passwords: BTreeMap<String, String>,
    /// Statements on their way, and in which session.
    late: Vec<(String, String)>,
}

impl Database {
    fn lets_in(&self, url: &str) -> bool {
        let (account, password) = account_of(url);
        self.passwords[account] == password
    }

    /// Logs in, and ends what else has the name of the session if it is to be alone.
    fn open(&mut self, effect: &Effect) -> Result<(), Failure> {
        let target = &effect.plan.target;
        let fallback = target.fallback.as_ref().is_some_and(|url| self.lets_in(url));
        if !self.lets_in(&target.url) && !fallback {
            return Err(Failure::new(Done::Denied, "password authentication failed"));
        }
        if let Some(session) = &effect.session {
            self.late.retain(|(late, _)| late != session);
        }
        Ok(())
    }

    fn tell(&mut self, statement: &str) {
        let mut parts = statement.split(['"', '\'']);
        let (account, password) = (parts.nth(1).unwrap(), parts.nth(1).unwrap());
        self.passwords.insert(account.to_owned(), password.to_owned());
    }

    fn act(&mut self, effect: &Effect, fate: Fate) -> Result<(), Failure> {
        if fate == Fate::Down {
            return Err(Failure::new(Done::Nothing, "no route"));
        }
        self.open(effect)?;
        let told = match &effect.plan.action {
            Action::Check => Vec::new(),
            Action::Run { statements } => statements.iter().map(|text| text.to_string()).collect(),
            other => panic!("{}", other.name()),
        };
        for statement in told {
            match fate {
                Fate::Late | Fate::Stray => {
                    let session = effect.session.clone().unwrap_or_default();
                    self.late.push((session, statement));
                }
                _ => self.tell(&statement),
            }
        }
        match fate {
            Fate::Done => Ok(()),
            _ => Err(Failure::new(Done::Unknown, "no answer")),
        }
    }

    /// What was on its way arrives.
    fn arrives(&mut self) {
        for (_, statement) in std::mem::take(&mut self.late) {
            self.tell(&statement);
        }
    }
}

fn account_of(url: &str) -> (&str, &str) {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split_once('@').unwrap().0.split_once(':').unwrap()
}

struct Scene<'e> {
    harness: Harness<'e>,
    database: Database,
    /// When all must be settled.
    end: u64,
}

impl Scene<'_> {
    fn step(&mut self, effect: &Effect, fate: Fate) {
        let answer = self.database.act(effect, fate);
        if fate != Fate::Stray {
            let answer = answer.as_ref().map(|()| &[][..]);
            let _ = self.harness.settle(effect, answer);
        }
        self.lets_us_in();
    }

    fn ask(&mut self, operation: Operation, path: &str) -> Box<Effect> {
        match self.harness.ask("caller", operation, path, Value::Null).unwrap() {
            Outcome::Effect(effect) => effect,
            _ => panic!("{path} is done outside"),
        }
    }

    /// One of the passwords that are kept for the connection works, at every moment.
    fn lets_us_in(&mut self) {
        let made = self.ask(Operation::Read, "creds/app");
        assert_eq!(self.database.open(&made), Ok(()), "{:?}", self.database.passwords);
    }

    /// The passwords that are kept are those that the database takes.
    fn holds(&mut self) {
        self.lets_us_in();
        let told = self
            .harness
            .call(Operation::Read, "static-creds/svc", Value::Null);
        let told = told.unwrap().data.unwrap();
        assert_eq!(told["password"], self.database.passwords["svc"]);
    }

    /// A rotation to its end: what goes wrong goes wrong first, then all is well.
    fn rotate(&mut self, what: What, fates: &[Fate]) {
        let begun = self.ask(Operation::Update, what.rotate());
        let mut fates = fates.iter().copied().chain(std::iter::repeat(Fate::Done));
        self.step(&begun, fates.next().unwrap());
        while let Some(next) = self.due(what) {
            self.step(&next, fates.next().unwrap());
        }
    }

    /// What is open is settled.
    fn goes_on(&mut self, what: What) {
        while let Some(next) = self.due(what) {
            self.step(&next, Fate::Done);
        }
    }

    fn due(&mut self, what: What) -> Option<Box<Effect>> {
        self.harness.now += 40_000;
        assert!(self.harness.now < self.end, "it does not end");
        self.harness.due_outside(what.row()).unwrap()
    }
}

/// A connection, a role and a static role, whose first password is told.
fn begin(harness: Harness<'_>) -> Scene<'_> {
    let account = |(name, password): (&str, &str)| (name.to_owned(), password.to_owned());
    let database = Database {
        passwords: [("root", "first"), ("svc", "by-hand")].map(account).into(),
        late: Vec::new(),
    };
    let end = harness.now + 40_000 * 100;
    let mut scene = Scene {
        harness,
        database,
        end,
    };
    let alter = "ALTER \"{{name}}\" '{{password}}'";
    let config = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": "root", "password": "first",
        "connection_url": "postgresql://{{username}}:{{password}}@h/db", "verify_connection": false,
        "root_rotation_statements": alter,
    });
    let role = json!({"db_name": "db", "creation_statements": "CREATE {{name}}"});
    for (path, data) in [("config/db", config), ("roles/app", role)] {
        scene.harness.call(Operation::Update, path, data).unwrap();
    }
    let role =
        json!({"db_name": "db", "username": "svc", "rotation_period": "24h", "rotation_statements": alter});
    let made = scene
        .harness
        .ask("caller", Operation::Update, "static-roles/svc", role);
    let Outcome::Effect(made) = made.unwrap() else {
        panic!("the first password is told at once");
    };
    scene.step(&made, Fate::Done);
    scene
}

fn play(what: What, fates: &[Fate]) {
    let engine = engine("database");
    let mut scene = begin(Harness::new(&*engine));
    scene.rotate(what, fates);
    scene.database.arrives();
    scene.holds();
    // The next one is taken, and nothing of those before is heard after it.
    scene.rotate(what, fates);
    scene.rotate(what, &[]);
    scene.database.arrives();
    scene.holds();
}

#[test]
fn whatever_goes_wrong_the_password_that_is_kept_works() {
    const STEPS: u32 = 4;
    for what in [What::Root, What::Static] {
        for number in 0..FATES.len().pow(STEPS) {
            let fates: Vec<Fate> = (0..STEPS)
                .map(|step| FATES[number / FATES.len().pow(step) % FATES.len()])
                .collect();
            play(what, &fates);
        }
    }
}

/// Who told a database of a password and hears of it late says nothing of the rotation that was begun since.
#[test]
fn what_came_of_one_rotation_says_nothing_of_the_next() {
    for what in [What::Root, What::Static] {
        for fate in [Fate::Done, Fate::Down] {
            let engine = engine("database");
            let mut scene = begin(Harness::new(&*engine));
            let first = scene.ask(Operation::Update, what.rotate());
            let heard = scene.database.act(&first, fate);
            scene.goes_on(what);
            let second = scene.ask(Operation::Update, what.rotate());
            let _ = scene.database.act(&second, Fate::Late);
            let _ = scene.harness.settle(&first, heard.as_ref().map(|()| &[][..]));
            scene.lets_us_in();
            scene.goes_on(what);
            scene.database.arrives();
            scene.holds();
        }
    }
}
