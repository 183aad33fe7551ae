//! The rotation of AWS' root key beside a small IAM that has two places for keys: whatever goes wrong in whichever step, the key
//! in use is one that works, and in the end it is the only one.

use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Action, Done, Effect, Failure, Operation, Outcome, format_time};
use serde_json::{Value, json};

use crate::script::engine;

/// What becomes of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// It is done, and we hear of it.
    Done,
    /// It is done, and its answer gets lost.
    Lost,
    /// It is done, and who asked dies.
    Crash,
    /// AWS is not reached.
    Down,
}

const FATES: [Fate; 4] = [Fate::Done, Fate::Lost, Fate::Crash, Fate::Down];

struct Iam {
    keys: Vec<(String, u64)>,
    made: usize,
    /// How often a new key is not known yet.
    slow: usize,
}

impl Iam {
    fn knows(&self, id: &str) -> bool {
        self.keys.iter().any(|(known, _)| known == id)
    }

    fn act(&mut self, effect: &Effect, now: u64) -> Result<Vec<String>, Failure> {
        let who = |url: &str| {
            let reach: Value = serde_json::from_str(url).unwrap();
            reach["access_key"].as_str().unwrap().to_owned()
        };
        let target = &effect.plan.target;
        let fallback = target.fallback.as_ref().map(|url| who(url));
        let mut asks = who(&target.url);
        if !self.knows(&asks) {
            asks = fallback.unwrap_or(asks);
        }
        if !self.knows(&asks) {
            return Err(Failure::new(Done::Denied, "InvalidClientTokenId"));
        }
        let form = match &effect.plan.action {
            Action::Check if self.slow > 0 => {
                self.slow -= 1;
                return Err(Failure::new(Done::Denied, "InvalidClientTokenId"));
            }
            Action::Check => return Ok(Vec::new()),
            Action::Run { statements } => statements[0].as_str(),
            other => panic!("{}", other.name()),
        };
        if form.contains("CreateAccessKey") {
            if self.keys.len() == 2 {
                return Err(Failure::new(Done::Refused, "LimitExceeded"));
            }
            self.made += 1;
            let id = format!("NEW{}", self.made);
            self.keys.push((id.clone(), now));
            Ok(vec![format!("AccessKeyId={id}"), "SecretAccessKey=s".to_owned()])
        } else if form.contains("ListAccessKeys") {
            let key = |(id, made): &(String, u64)| {
                let (id, made) = (
                    format!("AccessKeyId={id}"),
                    format!("CreateDate={}", format_time(*made)),
                );
                [id, made, String::new()]
            };
            Ok(self.keys.iter().flat_map(key).collect())
        } else {
            let (_, id) = form.rsplit_once("AccessKeyId=").unwrap();
            self.keys.retain(|(known, _)| known != id);
            Ok(Vec::new())
        }
    }
}

struct Scene<'e> {
    harness: Harness<'e>,
    iam: Iam,
}

impl Scene<'_> {
    fn step(&mut self, effect: &Effect, fate: Fate) {
        let answer = match fate {
            Fate::Down => Err(Failure::new(Done::Nothing, "no route")),
            _ => self.iam.act(effect, self.harness.now),
        };
        let answer = match (fate, answer) {
            (Fate::Crash, _) => return,
            (Fate::Lost, _) => Err(Failure::new(Done::Unknown, "no answer")),
            (_, answer) => answer,
        };
        let _ = self.harness.settle(effect, answer.as_deref());
        self.holds();
    }

    /// The key in use works.
    fn holds(&mut self) -> Value {
        let read = self.harness.call(Operation::Read, "config/root", Value::Null);
        let data = Value::Object(read.unwrap().data.unwrap());
        let id = data["access_key"].as_str().unwrap();
        assert!(self.iam.knows(id), "{data} {:?}", self.iam.keys);
        data
    }

    fn next(&mut self) -> Option<Box<Effect>> {
        self.harness.now += 40_000;
        self.harness.due_outside("config/root").unwrap()
    }
}

fn play(fates: &[Fate], slow: usize) {
    let engine = engine("aws");
    let mut harness = Harness::new(&*engine);
    let root = json!({"access_key": "OLD", "secret_key": "s"});
    harness.call(Operation::Update, "config/root", root).unwrap();
    let made = harness.now - 3_600_000;
    let iam = Iam {
        keys: vec![("OLD".to_owned(), made)],
        made: 0,
        slow,
    };
    let mut scene = Scene { harness, iam };
    let begun = scene
        .harness
        .ask("caller", Operation::Update, "config/rotate-root", Value::Null);
    let Outcome::Effect(mut effect) = begun.unwrap() else {
        panic!("a rotation is done outside");
    };
    // What goes wrong goes wrong first; then all is well.
    let mut fates = fates.iter().copied().chain(std::iter::repeat(Fate::Done));
    for _ in 0..40 {
        scene.step(&effect, fates.next().unwrap());
        match scene.next() {
            Some(next) => effect = next,
            None => {
                let data = scene.holds();
                assert!(data.get("rotation").is_none(), "{data}");
                assert_eq!(scene.iam.keys.len(), 1, "{:?}", scene.iam.keys);
                return;
            }
        }
    }
    panic!("it does not end: {}", scene.holds());
}

#[test]
fn whatever_goes_wrong_the_key_in_use_works() {
    const STEPS: u32 = 5;
    for slow in [0, 3, 100] {
        for number in 0..FATES.len().pow(STEPS) {
            let fates: Vec<Fate> = (0..STEPS)
                .map(|step| FATES[number / FATES.len().pow(step) % FATES.len()])
                .collect();
            play(&fates, slow);
        }
    }
}

/// A key that somebody else made stays.
#[test]
fn keys_of_others_stay() {
    let engine = engine("aws");
    let mut harness = Harness::new(&*engine);
    let root = json!({"access_key": "OLD", "secret_key": "s"});
    harness.call(Operation::Update, "config/root", root).unwrap();
    let old = harness.now - 3_600_000;
    let keys = vec![("OLD".to_owned(), old), ("THEIRS".to_owned(), old)];
    let iam = Iam {
        keys,
        made: 0,
        slow: 0,
    };
    let mut scene = Scene { harness, iam };
    for fate in FATES {
        let begun = scene
            .harness
            .ask("caller", Operation::Update, "config/rotate-root", Value::Null);
        let Outcome::Effect(effect) = begun.unwrap() else {
            panic!("a rotation is done outside");
        };
        scene.step(&effect, fate);
        while let Some(effect) = scene.next() {
            scene.step(&effect, Fate::Done);
        }
        assert_eq!(scene.holds()["access_key"], "OLD");
        assert_eq!(scene.iam.keys.len(), 2, "{fate:?}");
    }
}
