//! Histories of keys are explicable, versions never fall, and what was acknowledged is found again. Lists count as a look at
//! each key: one that lacks a key whose write was acknowledged before, and that nobody removed, explains nothing.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use crate::chaos::clients::{Called, History, KEPT, LOOSE, name};
use crate::chaos::key::{Call, Input, Key, Output, settle};
use crate::chaos::linear::{self, Op, Verdict};
use crate::chaos::report::{self, Report};
use crate::harness::{Api, SOON, Seed, eventually};

/// A write that was acknowledged: path, version, value.
pub type Acknowledged = (String, u64, u64);

/// Reads at a time when acknowledged writes are looked up.
const READERS: usize = 32;
/// Acknowledged writes that are looked up at the end; of more, as many by lot.
const LOOKED_UP: usize = 5_000;

/// Fails if an answer fits no request.
pub fn are_sensible(history: &History) {
    assert!(history.absurd.is_empty(), "ABSURD ANSWERS: {:#?}", history.absurd);
}

/// Who was told of a version of a key that is never deleted must never afterwards see an older one, on any node.
pub fn versions_never_fall(history: &History) {
    for key in 0..KEPT {
        let told = history.calls.iter().filter(|called| called.key == key);
        let told = told.filter_map(|called| match called.call.end {
            Some((end, Output::Written(version) | Output::Found { version, .. })) => {
                Some((end, version, called))
            }
            Some((end, Output::Missing)) => Some((end, 0, called)),
            _ => None,
        });
        let mut by_end: Vec<_> = told.collect();
        by_end.sort_by_key(|(end, ..)| *end);
        let mut by_call = by_end.clone();
        by_call.sort_by_key(|(.., called)| called.call.call);
        let (mut newest, mut ended) = (0, by_end.iter().peekable());
        for (_, version, called) in by_call {
            while let Some((_, known, _)) = ended.next_if(|(end, ..)| *end < called.call.call) {
                newest = newest.max(*known);
            }
            assert!(
                version >= newest,
                "NOT LINEARIZABLE: {} went back from version {newest} to {version} on node{}{}: {:?}",
                name(key),
                called.node + 1,
                if called.through_follower {
                    ", a follower"
                } else {
                    ""
                },
                called.call
            );
        }
    }
}

/// Acknowledged writes of the keys that are never deleted. Each has a version of its own.
pub fn kept_versions_are_given_once(directory: &str, history: &History) -> Vec<Acknowledged> {
    let mut given = BTreeMap::new();
    for called in history.calls.iter().filter(|called| called.key < KEPT) {
        if let (Input::Put { value, .. }, Some((_, Output::Written(version)))) =
            (called.call.input, called.call.end)
        {
            let path = format!("{directory}/{}", name(called.key));
            let other = given.insert((path, version), value);
            assert_eq!(
                other,
                None,
                "NOT LINEARIZABLE: version {version} of {} was given to {value} too",
                name(called.key)
            );
        }
    }
    let given = given.into_iter();
    given
        .map(|((path, version), value)| (path, version, value))
        .collect()
}

/// What nodes tell of the versions of keys that are never deleted: the same on all, and every acknowledged version is there.
pub async fn metadata_agrees(apis: &[Api], directory: &str, acknowledged: &[Acknowledged]) {
    for key in 0..KEPT {
        let path = format!("{directory}/{}", name(key));
        // A write whose client waits no more may still take effect between two looks.
        let told = eventually("all nodes tell the same of a key's versions", SOON, async || {
            let mut told = Vec::new();
            for api in apis {
                told.push(api.get(&format!("secret/metadata/{path}")).await.body["data"].clone());
            }
            if told.iter().all(|data| *data == told[0]) {
                Ok(told.swap_remove(0))
            } else {
                Err(told)
            }
        })
        .await;
        let mut newest = 0;
        for (_, version, _) in acknowledged.iter().filter(|(of, ..)| *of == path) {
            newest = newest.max(*version);
            let one = &told["versions"][version.to_string()];
            assert!(
                one["destroyed"] == false && one["deletion_time"] == "",
                "LOST: version {version} of {path} was acknowledged and its metadata says {one}"
            );
        }
        let current = told["current_version"].as_u64().unwrap_or(0);
        let kept = told["versions"].as_object().map_or(0, |all| all.len() as u64);
        assert!(
            current >= newest && kept == current,
            "LOST: {path} has {kept} versions, the newest {current} where {newest} was acknowledged"
        );
    }
}

/// Each key's calls have an order in which every answer is right.
pub fn are_explicable(history: &History, report: &mut Report) {
    for key in 0..KEPT + LOOSE {
        let (mut calls, nodes) = of_key(history, key);
        settle(&mut calls);
        match linear::check::<Key>(&calls) {
            Verdict::Linearizable { steps } => report.checked(&calls, steps),
            Verdict::Undecided => report.undecided(calls.len()),
            Verdict::Impossible { order, stuck } => {
                report::show_impossible(&calls, &nodes, &order, stuck);
                panic!(
                    "NOT LINEARIZABLE: no order of {} calls of {} explains the answers",
                    calls.len(),
                    name(key)
                );
            }
        }
    }
}

/// A key's calls, lists among them, and through which node each went.
fn of_key(history: &History, key: usize) -> (Vec<Call>, Vec<usize>) {
    let calls = history.calls.iter().filter(|called| called.key == key);
    let calls = calls.map(|Called { call, node, .. }| {
        let Op { call, end, input } = *call;
        (Op { call, end, input }, *node)
    });
    let lists = history.lists.iter().map(|list| {
        let end = Some((list.end, Output::Listed(list.keys[key])));
        (
            Op {
                call: list.call,
                end,
                input: Input::List,
            },
            list.node,
        )
    });
    calls.chain(lists).unzip()
}

/// Acknowledged writes of the whole run are read again, each through any node.
pub async fn are_found_again(apis: &[Api], journal: &[Acknowledged], seed: &mut Seed) {
    assert!(!journal.is_empty(), "A POOR RUN: nothing was acknowledged");
    let looked_up = if journal.len() > LOOKED_UP {
        (0..LOOKED_UP).map(|_| seed.below(journal.len())).collect()
    } else {
        (0..journal.len()).collect::<Vec<_>>()
    };
    let through: Vec<usize> = looked_up.iter().map(|_| seed.below(apis.len())).collect();
    let reads = stream::iter(looked_up.iter().zip(through)).map(|(at, node)| {
        let (path, version, value) = &journal[*at];
        let api = &apis[node];
        async move {
            let reply = api.get(&format!("secret/data/{path}?version={version}")).await;
            let found = &reply.body["data"]["data"]["value"];
            assert!(
                reply.status == 200 && *found == *value,
                "LOST: version {version} of {path} was acknowledged with {value}: {}",
                reply.text()
            );
        }
    });
    reads.buffer_unordered(READERS).collect::<Vec<()>>().await;
    eprintln!(
        "journal: {} of {} acknowledged writes looked up",
        looked_up.len(),
        journal.len()
    );
}
