//! What one key of kv-v2 does when calls come one at a time. Histories of real calls are held against it.

use std::collections::HashMap;

use super::linear::{Model, Op};

/// A key.
pub struct Key;

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// Newest version; 0 while there is none.
    pub version: u64,
    /// What it holds, unless it was deleted.
    pub value: Option<u64>,
    /// Whether the key is listed.
    pub listed: bool,
}

/// A call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Writes a version, only after version `cas` if that is given.
    Put { value: u64, cas: Option<u64> },
    /// Reads the newest version.
    Get,
    /// Deletes the newest version.
    Delete,
    /// Removes the key with all its versions.
    Remove,
    /// Lists the keys beside it.
    List,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// This version was written.
    Written(u64),
    /// The newest version is another than the expected one.
    Mismatch,
    /// The newest version and what it holds.
    Found { version: u64, value: u64 },
    /// The newest version was deleted.
    Gone { version: u64 },
    /// There is no version.
    Missing,
    /// Deleted or removed.
    Done,
    /// Whether the key was listed.
    Listed(bool),
}

/// A call to a key.
pub type Call = Op<Input, Output>;

impl Model for Key {
    type State = State;
    type Input = Input;
    type Output = Output;

    fn initial() -> State {
        State::default()
    }

    fn step(state: &State, input: &Input, output: Option<&Output>) -> Option<State> {
        let (right, next) = apply(*state, *input);
        match output {
            Some(output) if *output != right => None,
            _ => Some(next),
        }
    }

    fn only_looks(input: &Input, output: &Output) -> bool {
        matches!(input, Input::Get | Input::List) || *output == Output::Mismatch
    }
}

/// The right answer, and what is known afterwards.
pub fn apply(state: State, input: Input) -> (Output, State) {
    match input {
        Input::Put { cas: Some(cas), .. } if cas != state.version => (Output::Mismatch, state),
        Input::Put { value, .. } => {
            let next = State {
                version: state.version + 1,
                value: Some(value),
                listed: true,
            };
            (Output::Written(next.version), next)
        }
        Input::Get => {
            let version = state.version;
            let read = match (version, state.value) {
                (0, _) => Output::Missing,
                (_, None) => Output::Gone { version },
                (_, Some(value)) => Output::Found { version, value },
            };
            (read, state)
        }
        Input::Delete => (Output::Done, State { value: None, ..state }),
        Input::Remove => (Output::Done, State::default()),
        Input::List => (Output::Listed(state.listed), state),
    }
}

/// Gives calls without an answer the one that somebody else saw: of values that are written once each, a read that found one tells
/// which version its write made, and that it took effect before the read was answered. Takes no order away and adds none.
pub fn settle(calls: &mut [Call]) {
    let mut seen: HashMap<u64, (u64, u64)> = HashMap::new();
    for call in calls.iter() {
        if let Some((end, Output::Found { version, value })) = call.end {
            let first = seen.entry(value).or_insert((end, version));
            *first = (*first).min((end, version));
        }
    }
    for call in calls {
        if let (Input::Put { value, .. }, None) = (call.input, &call.end)
            && let Some((end, version)) = seen.get(&value)
        {
            call.end = Some((*end, Output::Written(*version)));
        }
    }
}
