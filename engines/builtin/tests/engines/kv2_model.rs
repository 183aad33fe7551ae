//! KV version 2 against a naive model: keys with lists of versions, every rule written out the slow way.

use std::collections::BTreeMap;

use conclave_engine_api::outcome::Status;
use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Error, Operation, Reply};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::script::engine;

const KEYS: [&str; 4] = ["a", "a/1", "b", "a/1/1"];
const START: u64 = 1_767_225_600_000;

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: usize,
        value: u8,
        cas: Option<u8>,
    },
    Patch {
        key: usize,
        field: u8,
        value: Option<u8>,
    },
    DeleteLatest {
        key: usize,
    },
    Delete {
        key: usize,
        versions: Vec<u8>,
    },
    Undelete {
        key: usize,
        versions: Vec<u8>,
    },
    Destroy {
        key: usize,
        versions: Vec<u8>,
    },
    Settings {
        key: usize,
        max: u8,
        after: u8,
    },
    Config {
        max: u8,
        after: i8,
    },
    Forget {
        key: usize,
    },
    Advance {
        seconds: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..KEYS.len();
    let versions = || prop::collection::vec(0u8..12, 1..4);
    let step = prop_oneof![
        6 => (key.clone(), any::<u8>(), prop::option::weighted(0.4, 0u8..8))
            .prop_map(|(key, value, cas)| Step::Put { key, value, cas }),
        2 => (key.clone(), 0u8..3, any::<Option<u8>>())
            .prop_map(|(key, field, value)| Step::Patch { key, field, value }),
        1 => key.clone().prop_map(|key| Step::DeleteLatest { key }),
        1 => (key.clone(), versions()).prop_map(|(key, versions)| Step::Delete { key, versions }),
        2 => (key.clone(), versions()).prop_map(|(key, versions)| Step::Undelete { key, versions }),
        1 => (key.clone(), versions()).prop_map(|(key, versions)| Step::Destroy { key, versions }),
        1 => (key.clone(), 0u8..5, 0u8..20).prop_map(|(key, max, after)| Step::Settings { key, max, after }),
        1 => (0u8..5, -1i8..20).prop_map(|(max, after)| Step::Config { max, after }),
        1 => key.prop_map(|key| Step::Forget { key }),
        2 => (1u8..15).prop_map(|seconds| Step::Advance { seconds }),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Default, Clone)]
struct Key {
    settings: (u64, u64),
    written: u64,
    versions: BTreeMap<u64, Version>,
    oldest: u64,
}

#[derive(Clone)]
struct Version {
    data: Option<Value>,
    dies: Option<u64>,
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<&'static str, Key>,
    max: u64,
    after: i64,
    now: u64,
}

impl Model {
    fn dies(&self, key: &Key) -> Option<u64> {
        let mut shortest: Option<u64> = None;
        for after in [key.settings.1, u64::try_from(self.after).unwrap_or(0)] {
            if after > 0 && shortest.is_none_or(|found| after < found) {
                shortest = Some(after);
            }
        }
        if self.after < 0 {
            shortest = None;
        }
        shortest.map(|after| self.now + after * 1000)
    }

    fn live(&self, version: &Version) -> bool {
        version.data.is_some() && version.dies.is_none_or(|dies| dies > self.now)
    }

    fn append(&mut self, name: &'static str, data: Value) -> u64 {
        let mut key = self.keys.remove(name).unwrap_or_default();
        let dies = self.dies(&key);
        key.written += 1;
        key.versions.insert(
            key.written,
            Version {
                data: Some(data),
                dies,
            },
        );
        let kept = match self.max.max(key.settings.0) {
            0 => 10,
            kept => kept,
        };
        if key.written - key.oldest >= kept {
            key.oldest = key.written - kept + 1;
            let oldest = key.oldest;
            key.versions.retain(|number, _| *number >= oldest);
        }
        let written = key.written;
        self.keys.insert(name, key);
        written
    }

    fn put(&mut self, name: &'static str, data: Value, cas: Option<u8>) -> Result<u64, &'static str> {
        let current = self.keys.get(name).map_or(0, |key| key.written);
        if cas.is_some_and(|cas| u64::from(cas) != current) {
            return Err("check-and-set parameter did not match the current version");
        }
        Ok(self.append(name, data))
    }

    fn patch(&mut self, name: &'static str, field: &str, value: Option<u8>) -> Result<u64, &'static str> {
        let key = self.keys.get(name).cloned().unwrap_or_default();
        let latest = key.versions.get(&key.written).filter(|latest| self.live(latest));
        let Some(mut data) = latest.and_then(|latest| latest.data.clone()) else {
            return Err("not found");
        };
        match value {
            Some(value) => data[field] = value.into(),
            None => {
                data.as_object_mut().unwrap().remove(field);
            }
        }
        Ok(self.append(name, data))
    }

    fn each(&mut self, name: &str, numbers: &[u64], change: impl Fn(&mut Version, u64, Option<u64>)) {
        let now = self.now;
        let Some(mut key) = self.keys.get(name).cloned() else {
            return;
        };
        let dies = self.dies(&key);
        for number in numbers {
            if let Some(version) = key.versions.get_mut(number) {
                change(version, now, dies);
            }
        }
        *self.keys.get_mut(name).unwrap() = key;
    }

    fn delete(&mut self, name: &str, numbers: &[u64]) {
        self.each(name, numbers, |version, now, _| {
            if version.data.is_some() && version.dies.is_none_or(|dies| dies > now) {
                version.dies = Some(now);
            }
        });
    }
}

fn call(harness: &mut Harness<'_>, operation: Operation, path: &str, data: Value) -> Result<Reply, Error> {
    harness.call(operation, path, data)
}

/// Runs one step on both and compares the immediate answers.
fn step(harness: &mut Harness<'_>, model: &mut Model, step: &Step) {
    use Operation::{Delete, Patch, Update};
    let numbers = |versions: &[u8]| {
        versions
            .iter()
            .map(|number| u64::from(*number))
            .collect::<Vec<_>>()
    };
    match step {
        Step::Put { key, value, cas } => {
            let data = json!({"v": value});
            let body = match cas {
                Some(cas) => json!({"data": data, "options": {"cas": cas}}),
                None => json!({"data": data}),
            };
            let got = call(harness, Update, &format!("data/{}", KEYS[*key]), body);
            compare_write(got, model.put(KEYS[*key], data, *cas));
        }
        Step::Patch { key, field, value } => {
            let field = format!("f{field}");
            let body = json!({"data": {&field: value}});
            let got = call(harness, Patch, &format!("data/{}", KEYS[*key]), body);
            compare_write(got, model.patch(KEYS[*key], &field, *value));
        }
        Step::DeleteLatest { key } => {
            call(harness, Delete, &format!("data/{}", KEYS[*key]), json!({})).unwrap();
            let latest = model.keys.get(KEYS[*key]).map_or(0, |key| key.written);
            model.delete(KEYS[*key], &[latest]);
        }
        Step::Delete { key, versions } => {
            let body = json!({"versions": versions});
            call(harness, Update, &format!("delete/{}", KEYS[*key]), body).unwrap();
            model.delete(KEYS[*key], &numbers(versions));
        }
        Step::Undelete { key, versions } => {
            let body = json!({"versions": versions});
            call(harness, Update, &format!("undelete/{}", KEYS[*key]), body).unwrap();
            model.each(KEYS[*key], &numbers(versions), |version, _, dies| {
                if version.data.is_some() {
                    version.dies = dies;
                }
            });
        }
        Step::Destroy { key, versions } => {
            let body = json!({"versions": versions});
            call(harness, Update, &format!("destroy/{}", KEYS[*key]), body).unwrap();
            model.each(KEYS[*key], &numbers(versions), |version, _, _| {
                version.data = None
            });
        }
        Step::Settings { key, max, after } => {
            let body = json!({"max_versions": max, "delete_version_after": after});
            call(harness, Update, &format!("metadata/{}", KEYS[*key]), body).unwrap();
            model.keys.entry(KEYS[*key]).or_default().settings = (u64::from(*max), u64::from(*after));
        }
        Step::Config { max, after } => {
            let body = json!({"max_versions": max, "delete_version_after": after});
            call(harness, Update, "config", body).unwrap();
            (model.max, model.after) = (u64::from(*max), i64::from(*after));
        }
        Step::Forget { key } => {
            call(harness, Delete, &format!("metadata/{}", KEYS[*key]), json!({})).unwrap();
            model.keys.remove(KEYS[*key]);
        }
        Step::Advance { seconds } => {
            harness.advance(u64::from(*seconds) * 1000).unwrap();
            model.now += u64::from(*seconds) * 1000;
        }
    }
}

fn compare_write(got: Result<Reply, Error>, expected: Result<u64, &'static str>) {
    match expected {
        Ok(number) => assert_eq!(got.unwrap().data.unwrap()["version"], number),
        Err("not found") => match got {
            Err(Error::NotFound { .. }) => {}
            Ok(reply) => assert_eq!(reply.status, Status::NotFoundWithBody),
            Err(error) => panic!("{error}"),
        },
        Err(text) => assert_eq!(got.unwrap_err().to_string(), text),
    }
}

/// Compares everything that can be seen of both, and the rows that are left.
fn compare(harness: &mut Harness<'_>, model: &Model) {
    let mut rows = Vec::new();
    for name in KEYS {
        let metadata = call(harness, Operation::Read, &format!("metadata/{name}"), json!({}));
        let Some(key) = model.keys.get(name) else {
            assert_eq!(metadata.unwrap_err(), Error::not_found());
            continue;
        };
        rows.push(format!("m/{name}"));
        let metadata = metadata.unwrap().data.unwrap();
        assert_eq!(metadata["current_version"], key.written, "{name}");
        assert_eq!(metadata["oldest_version"], key.oldest, "{name}");
        let listed: Vec<u64> = metadata["versions"]
            .as_object()
            .unwrap()
            .keys()
            .map(|number| number.parse().unwrap())
            .collect();
        assert!(listed.iter().all(|number| key.versions.contains_key(number)));
        assert_eq!(listed.len(), key.versions.len());
        for number in 0..=key.written + 1 {
            let path = format!("data/{name}");
            let got = call(harness, Operation::Read, &path, json!({"version": number}));
            let asked = if number == 0 { key.written } else { number };
            match key.versions.get(&asked) {
                None => assert_eq!(got.unwrap_err(), Error::not_found()),
                Some(version) => {
                    let reply = got.unwrap();
                    let data = reply.data.unwrap();
                    assert_eq!(data["metadata"]["destroyed"], version.data.is_none());
                    assert_eq!(data["metadata"]["deletion_time"] == "", version.dies.is_none());
                    if model.live(version) {
                        assert_eq!(reply.status, Status::Done);
                        assert_eq!(&data["data"], version.data.as_ref().unwrap());
                    } else {
                        assert_eq!(reply.status, Status::NotFoundWithBody);
                        assert_eq!(data["data"], Value::Null);
                    }
                }
            }
        }
        let kept = key.versions.iter().filter(|(_, version)| version.data.is_some());
        rows.extend(kept.map(|(number, _)| format!("d/{name}/{number}")));
    }
    let mut left: Vec<&str> = harness.rows.paths();
    left.retain(|path| *path != "config");
    rows.sort();
    assert_eq!(left, rows, "a row leaked or is missing");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_the_model(steps in steps()) {
        let engine = engine("kv");
        let mut harness = Harness::new(&*engine);
        harness.mount.options.insert("version".to_owned(), "2".to_owned());
        let mut model = Model { now: START, ..Model::default() };
        for one in &steps {
            step(&mut harness, &mut model, one);
            compare(&mut harness, &model);
        }
    }
}
