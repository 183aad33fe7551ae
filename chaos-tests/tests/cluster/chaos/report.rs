//! What a run did: too little of anything, and the run itself fails, for it proved nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clients::{History, Stroke};
use super::faults::Fault;
use super::key::{Call, Input, Output};

/// Calls of each kind that must have been answered in a run.
const ENOUGH_OF_EACH: u64 = 20;
/// Part of all reads that must have gone through followers, in percent.
const THROUGH_FOLLOWERS: u64 = 30;
/// Calls shown around one that does not fit.
const SHOWN: usize = 12;

/// Of so many histories one may be too hard to decide.
const UNDECIDED: u64 = 10;
/// Calls of one key under way at a time that a history needs, on average.
const AT_A_TIME: f64 = 4.0;

/// A fault, and what it happened under, from when to when since the run began.
#[derive(Debug, Clone)]
pub struct Span {
    pub name: String,
    pub from: Duration,
    pub to: Duration,
}

#[derive(Default)]
pub struct Report {
    answered: BTreeMap<&'static str, u64>,
    unknown: BTreeMap<&'static str, u64>,
    refused: BTreeMap<String, u64>,
    faults: BTreeMap<Fault, u64>,
    reads: u64,
    reads_through_followers: u64,
    histories: u64,
    /// Histories that were too hard to decide, and their calls.
    undecided: u64,
    undecided_calls: u64,
    longest: usize,
    steps: u64,
    /// Time that calls of keys were under way, and time that keys had histories, in nanoseconds.
    under_way: u64,
    watched: u64,
    /// What the run is about.
    pub now: String,
    /// Answers whose audit record was looked for.
    pub recorded: u64,
    /// Events that watches told, checked.
    pub told: u64,
    /// Connections that the network carried.
    pub connections: u64,
    /// When which fault happened.
    pub spans: Vec<Span>,
    /// Every call, for the picture.
    pub strokes: Vec<Stroke>,
}

impl Report {
    pub fn fired(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub fn has_fired(&self, fault: Fault) -> bool {
        self.faults.contains_key(&fault)
    }

    /// Calls whose answers were held against what may happen.
    pub fn operations(&self) -> u64 {
        let all: u64 = self.answered.values().chain(self.unknown.values()).sum();
        all.saturating_sub(self.undecided_calls)
    }

    /// How often each fault happened, by name.
    pub fn faults(&self) -> Vec<(&'static str, u64)> {
        self.faults
            .iter()
            .map(|(fault, times)| (fault.name(), *times))
            .collect()
    }

    pub fn count(&mut self, history: &mut History) {
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
        *self.answered.entry("list").or_default() += history.lists.len() as u64;
        for (why, times) in &history.refused {
            *self.refused.entry(why.clone()).or_default() += times;
        }
        self.strokes.append(&mut history.strokes);
    }

    /// A key's history was found to be explicable.
    pub fn checked(&mut self, calls: &[Call], steps: u64) {
        self.histories += 1;
        self.longest = self.longest.max(calls.len());
        self.steps += steps;
        let first = calls.iter().map(|call| call.call).min().unwrap_or(0);
        let last = calls.iter().filter_map(|call| call.end).map(|(end, _)| end).max();
        self.watched += last.unwrap_or(first) - first;
        let own = calls.iter().filter(|call| call.input != Input::List);
        let spans = own.filter_map(|call| Some(call.end?.0 - call.call));
        self.under_way += spans.sum::<u64>();
    }

    /// A key's history was too hard to decide: too many calls without an answer at once.
    pub fn undecided(&mut self, calls: usize) {
        self.undecided += 1;
        self.undecided_calls += calls as u64;
        eprintln!("not decided: a history of {calls} calls");
    }

    fn at_a_time(&self) -> f64 {
        self.under_way as f64 / self.watched.max(1) as f64
    }

    pub fn show(&self) {
        eprintln!("answered: {:?}", self.answered);
        eprintln!("nobody knows: {:?}", self.unknown);
        eprintln!("certainly not done: {:?}", self.refused);
        eprintln!("faults: {:?}", self.faults());
        eprintln!(
            "reads: {}, {} through followers; calls of a key at a time: {:.1}",
            self.reads,
            self.reads_through_followers,
            self.at_a_time()
        );
        eprintln!(
            "histories: {}, the longest of {} calls, {} steps in all; audit records found: {}; connections: {}",
            self.histories, self.longest, self.steps, self.recorded, self.connections
        );
        eprintln!("events that watches told: {}", self.told);
    }

    /// Fails a run that could not have found anything.
    pub fn must_be_enough(&self, faults: &[Fault]) {
        assert!(self.told > 0, "A POOR RUN: no watch told anything");
        for kind in ["put", "cas", "mismatch", "get", "delete", "remove", "list"] {
            let answered = self.answered.get(kind).copied().unwrap_or(0);
            assert!(
                answered >= ENOUGH_OF_EACH,
                "A POOR RUN: only {answered} answers of kind {kind}"
            );
        }
        assert!(
            self.undecided * UNDECIDED <= self.histories,
            "A POOR RUN: {} histories were not decided",
            self.undecided
        );
        let never = faults.iter().filter(|fault| !self.faults.contains_key(fault));
        let never: Vec<&str> = never.map(|fault| fault.name()).collect();
        assert!(
            never.is_empty(),
            "A POOR RUN: never happened: {}",
            never.join(", ")
        );
        assert!(
            self.reads_through_followers * 100 >= self.reads * THROUGH_FOLLOWERS,
            "A POOR RUN: of {} reads only {} went through followers",
            self.reads,
            self.reads_through_followers
        );
        assert!(
            self.at_a_time() >= AT_A_TIME,
            "A POOR RUN: only {:.1} calls of a key were under way at a time",
            self.at_a_time()
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
