//! What a run did: too little of anything, and the run itself fails, for it proved nothing.

use std::collections::BTreeMap;

use super::clients::History;
use super::faults::Fault;
use super::key::{Call, Input, Output};

/// Calls of each kind that must have been answered in a run.
const ENOUGH_OF_EACH: u64 = 20;
/// Part of all reads that must have gone through followers, in percent.
const THROUGH_FOLLOWERS: u64 = 30;
/// Calls shown around one that does not fit.
const SHOWN: usize = 12;

#[derive(Default)]
pub struct Report {
    answered: BTreeMap<&'static str, u64>,
    unknown: BTreeMap<&'static str, u64>,
    refused: BTreeMap<String, u64>,
    faults: BTreeMap<Fault, u64>,
    reads: u64,
    reads_through_followers: u64,
    histories: u64,
    longest: usize,
    steps: u64,
}

impl Report {
    pub fn fired(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub fn count(&mut self, history: &History) {
        for called in &history.calls {
            let kind = kind(&called.call);
            let counts = match called.call.end {
                Some(_) => &mut self.answered,
                None => &mut self.unknown,
            };
            *counts.entry(kind).or_default() += 1;
            if called.call.input == Input::Get {
                self.reads += 1;
                self.reads_through_followers += u64::from(called.through_follower);
            }
        }
        for (why, times) in &history.refused {
            *self.refused.entry(why.clone()).or_default() += times;
        }
    }

    pub fn checked(&mut self, calls: usize, steps: u64) {
        self.histories += 1;
        self.longest = self.longest.max(calls);
        self.steps += steps;
    }

    pub fn show(&self) {
        eprintln!("answered: {:?}", self.answered);
        eprintln!("nobody knows: {:?}", self.unknown);
        eprintln!("certainly not done: {:?}", self.refused);
        eprintln!("faults: {:?}", self.faults);
        eprintln!(
            "reads: {}, {} through followers",
            self.reads, self.reads_through_followers
        );
        eprintln!(
            "histories: {}, the longest of {} calls, {} steps in all",
            self.histories, self.longest, self.steps
        );
    }

    /// Fails a run that could not have found anything.
    pub fn must_be_enough(&self) {
        for kind in ["put", "cas", "mismatch", "get", "delete", "remove", "list"] {
            let answered = self.answered.get(kind).copied().unwrap_or(0);
            assert!(
                answered >= ENOUGH_OF_EACH,
                "A POOR RUN: only {answered} answers of kind {kind}"
            );
        }
        for fault in Fault::ALL {
            assert!(
                self.faults.contains_key(&fault),
                "A POOR RUN: {fault:?} never happened"
            );
        }
        assert!(
            self.reads_through_followers * 100 >= self.reads * THROUGH_FOLLOWERS,
            "A POOR RUN: of {} reads only {} went through followers",
            self.reads,
            self.reads_through_followers
        );
    }
}

fn kind(call: &Call) -> &'static str {
    match (call.input, call.end) {
        (_, Some((_, Output::Mismatch))) => "mismatch",
        (Input::Put { cas: None, .. }, _) => "put",
        (Input::Put { .. }, _) => "cas",
        (Input::Get, _) => "get",
        (Input::Delete, _) => "delete",
        (Input::Remove, _) => "remove",
        (Input::List, _) => "list",
    }
}

/// The calls around the one that fits nowhere, by time.
pub fn show_impossible(calls: &[Call], nodes: &[usize], order: &[usize], stuck: usize) {
    let mut near: Vec<usize> = order.iter().rev().take(SHOWN).copied().collect();
    near.reverse();
    eprintln!(
        "the last {} calls of the longest order that explains its answers:",
        near.len()
    );
    let line = |op: usize| {
        let call = &calls[op];
        let end = call.end.map_or("unknown".to_owned(), |(end, output)| {
            format!("{output:?} at {end}")
        });
        eprintln!("  {} node{}: {:?} -> {end}", call.call, nodes[op] + 1, call.input);
    };
    near.into_iter().for_each(line);
    eprintln!("the call that must follow and cannot:");
    line(stuck);
}
