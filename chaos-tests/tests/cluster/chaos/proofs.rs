//! Proofs of the checker: histories that are known to be wrong, agreement with a search that tries every order, and with
//! stateright's tester.

use proptest::prelude::*;

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use super::key::{Call, Input, Key, Output, State, apply, settle};
use super::linear::{Model, Op, Verdict, check, check_by_force};

fn call(from: u64, to: u64, input: Input, output: Output) -> Call {
    Op {
        call: from,
        end: Some((to, output)),
        input,
    }
}

fn unanswered(from: u64, input: Input) -> Call {
    Op {
        call: from,
        end: None,
        input,
    }
}

fn put(value: u64) -> Input {
    Input::Put { value, cas: None }
}

fn cas(value: u64, version: u64) -> Input {
    Input::Put {
        value,
        cas: Some(version),
    }
}

fn found(version: u64, value: u64) -> Output {
    Output::Found { version, value }
}

fn is_fine(history: &[Call]) -> bool {
    match check::<Key>(history) {
        Verdict::Linearizable { .. } => true,
        Verdict::Impossible { .. } => false,
        Verdict::Undecided => panic!("small histories are decided"),
    }
}

/// A key as stateright knows objects.
#[derive(Clone, Default)]
struct Object(State);

impl SequentialSpec for Object {
    type Op = Input;
    type Ret = Output;

    fn invoke(&mut self, input: &Input) -> Output {
        let (output, next) = apply(self.0, *input);
        self.0 = next;
        output
    }
}

/// What stateright says of a history, each call of which is of a thread of its own.
fn others_say(history: &[Call]) -> bool {
    let calls = history
        .iter()
        .enumerate()
        .map(|(op, call)| (call.call, false, op));
    let ends = history.iter().enumerate();
    let ends = ends.filter_map(|(op, call)| call.end.map(|(end, _)| (end, true, op)));
    let mut events: Vec<_> = calls.chain(ends).collect();
    // At one instant calls come before answers, as they do for ours.
    events.sort_unstable();
    let mut tester = LinearizabilityTester::new(Object::default());
    for (_, is_end, op) in events {
        let heard = match history[op].end {
            Some((_, output)) if is_end => tester.on_return(op, output),
            _ => tester.on_invoke(op, history[op].input),
        };
        heard.expect("each call begins once and ends once");
    }
    tester.is_consistent()
}

#[test]
fn right_histories_pass() {
    let w = Output::Written;
    let histories: Vec<(&str, Vec<Call>)> = vec![
        ("nothing happened", vec![]),
        (
            "one after the other",
            vec![
                call(0, 1, put(7), w(1)),
                call(2, 3, Input::Get, found(1, 7)),
                call(4, 5, Input::Delete, Output::Done),
                call(6, 7, Input::Get, Output::Gone { version: 1 }),
                call(8, 9, Input::Remove, Output::Done),
                call(10, 11, Input::List, Output::Listed(false)),
                call(12, 13, cas(8, 0), w(1)),
            ],
        ),
        (
            "a read during a write sees either",
            vec![
                call(0, 10, put(7), w(1)),
                call(1, 2, Input::Get, Output::Missing),
                call(3, 4, Input::Get, found(1, 7)),
            ],
        ),
        (
            "who was answered later went first",
            vec![
                call(0, 10, put(7), w(1)),
                call(0, 5, put(8), w(2)),
                call(11, 12, Input::Get, found(2, 8)),
            ],
        ),
        (
            "a write without an answer takes effect late",
            vec![
                unanswered(0, put(7)),
                call(1, 2, Input::Get, Output::Missing),
                call(3, 4, put(8), w(1)),
                call(5, 6, Input::Get, found(2, 7)),
            ],
        ),
        (
            "a write without an answer never takes effect",
            vec![
                unanswered(0, put(7)),
                call(1, 2, put(8), w(1)),
                call(3, 4, cas(9, 1), w(2)),
            ],
        ),
        (
            "one of two wins",
            vec![
                call(0, 9, cas(7, 0), w(1)),
                call(0, 9, cas(8, 0), Output::Mismatch),
            ],
        ),
    ];
    for (what, history) in histories {
        assert!(is_fine(&history), "{what}: {:?}", check::<Key>(&history));
        assert!(check_by_force::<Key>(&history), "{what}");
        assert!(others_say(&history), "{what}");
    }
}

#[test]
fn wrong_reads_are_found() {
    let w = Output::Written;
    let histories: Vec<(&str, Vec<Call>)> = vec![
        (
            "a stale read",
            vec![
                call(0, 1, put(7), w(1)),
                call(2, 3, put(8), w(2)),
                call(4, 5, Input::Get, found(1, 7)),
            ],
        ),
        (
            "reads that go back, while a write is under way",
            vec![
                call(0, 1, put(7), w(1)),
                call(2, 20, put(8), w(2)),
                call(3, 4, Input::Get, found(2, 8)),
                call(5, 6, Input::Get, found(1, 7)),
            ],
        ),
        (
            "a lost write",
            vec![call(0, 1, put(7), w(1)), call(2, 3, Input::Get, Output::Missing)],
        ),
    ];
    are_found(&histories);
}

#[test]
fn wrong_writes_are_found() {
    let w = Output::Written;
    let histories: Vec<(&str, Vec<Call>)> = vec![
        (
            "a version given twice",
            vec![call(0, 9, put(7), w(1)), call(0, 9, put(8), w(1))],
        ),
        (
            "two winners of one expectation",
            vec![call(0, 9, cas(7, 0), w(1)), call(0, 9, cas(8, 0), w(2))],
        ),
        (
            "a value that nobody wrote",
            vec![call(0, 1, put(7), w(1)), call(2, 3, Input::Get, found(1, 9))],
        ),
        (
            "a mismatch without a reason",
            vec![call(0, 1, cas(7, 0), Output::Mismatch)],
        ),
        (
            "a write takes effect before it was called",
            vec![call(0, 1, Input::Get, found(1, 7)), unanswered(2, put(7))],
        ),
        (
            "one write without an answer takes effect twice",
            vec![
                unanswered(0, put(7)),
                call(1, 2, Input::Get, found(1, 7)),
                call(3, 4, Input::Remove, Output::Done),
                call(5, 6, Input::Get, found(1, 7)),
            ],
        ),
        (
            "a list without what is there",
            vec![
                call(0, 1, put(7), w(1)),
                call(2, 3, Input::List, Output::Listed(false)),
            ],
        ),
        (
            "a delete that did nothing",
            vec![
                call(0, 1, put(7), w(1)),
                call(2, 3, Input::Delete, Output::Done),
                call(4, 5, Input::Get, found(1, 7)),
            ],
        ),
    ];
    are_found(&histories);
}

fn are_found(histories: &[(&str, Vec<Call>)]) {
    for (what, history) in histories {
        assert!(!is_fine(history), "{what} is not found");
        assert!(!check_by_force::<Key>(history), "{what}");
        assert!(!others_say(history), "{what}");
    }
}

#[test]
fn long_histories_are_decided() {
    // Sixteen clients all at once, and of six hundred calls five without an answer.
    let mut state = Key::initial();
    let mut history = Vec::new();
    for number in 0..600_u64 {
        let input = match number % 3 {
            0 => put(number),
            1 => cas(number, state.version),
            _ => Input::Get,
        };
        let lost = number % 120 == 0;
        let (output, next) = apply(state, input);
        if !lost || number % 240 == 0 {
            state = next;
        }
        let from = (number * 10).saturating_sub(75);
        history.push(if lost {
            unanswered(from, input)
        } else {
            call(from, number * 10 + 75, input, output)
        });
    }
    assert!(is_fine(&history));
    // The last read sees the past.
    let end = history.len() as u64 * 10 + 1000;
    history.push(call(end, end + 1, Input::Get, found(1, 0)));
    assert!(!is_fine(&history));
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => (0..4_u64, prop::option::of(0..3_u64)).prop_map(|(value, cas)| Input::Put { value, cas }),
        3 => Just(Input::Get),
        1 => Just(Input::Delete),
        1 => Just(Input::Remove),
        1 => Just(Input::List),
    ]
}

/// A call, its moment, how long before and after that it was called and answered, and whether the answer was lost.
type Planned = (Input, u64, u64, u64, bool);

fn plans() -> impl Strategy<Value = Vec<Planned>> {
    prop::collection::vec(
        (
            inputs(),
            0..40_u64,
            0..12_u64,
            0..12_u64,
            prop::bool::weighted(0.15),
        ),
        0..7,
    )
}

/// What would really be seen if each call took effect at its moment.
fn happened(mut plans: Vec<Planned>) -> Vec<Call> {
    plans.sort_by_key(|plan| plan.1);
    let mut state = Key::initial();
    let calls = plans.into_iter().map(|(input, moment, before, after, lost)| {
        let (output, next) = apply(state, input);
        state = next;
        let from = (moment + 12).saturating_sub(before);
        if lost {
            unanswered(from, input)
        } else {
            call(from, moment + 12 + after, input, output)
        }
    });
    calls.collect()
}

/// An answer in another's place makes about half of them wrong.
fn swap_answers(history: &mut [Call], swap: &(prop::sample::Index, prop::sample::Index)) {
    if history.is_empty() {
        return;
    }
    let (one, other) = (swap.0.index(history.len()), swap.1.index(history.len()));
    let answer = |call: &Call| call.end.map(|(_, output)| output);
    let (first, second) = (answer(&history[one]), answer(&history[other]));
    for (at, output) in [(one, second), (other, first)] {
        if let (Some(end), Some(output)) = (&mut history[at].end, output) {
            end.1 = output;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_happened_is_possible(plans in plans()) {
        prop_assert!(is_fine(&happened(plans)));
    }

    #[test]
    fn what_others_saw_changes_no_verdict(plans in plans(), swap in any::<(prop::sample::Index, prop::sample::Index)>()) {
        let once = plans.into_iter().enumerate().map(|(number, (input, moment, before, after, lost))| {
            let input = match input {
                Input::Put { cas, .. } => Input::Put { value: number as u64, cas },
                other => other,
            };
            (input, moment, before, after, lost)
        });
        let mut history = happened(once.collect());
        swap_answers(&mut history, &swap);
        let possible = check_by_force::<Key>(&history);
        settle(&mut history);
        prop_assert_eq!(is_fine(&history), possible);
        prop_assert_eq!(check_by_force::<Key>(&history), possible);
    }

    #[test]
    fn both_searches_agree(plans in plans(), swap in any::<(prop::sample::Index, prop::sample::Index)>()) {
        let mut history = happened(plans);
        swap_answers(&mut history, &swap);
        prop_assert_eq!(is_fine(&history), check_by_force::<Key>(&history));
    }

    #[test]
    fn stateright_agrees(plans in plans(), swap in any::<(prop::sample::Index, prop::sample::Index)>()) {
        let mut history = happened(plans);
        swap_answers(&mut history, &swap);
        prop_assert_eq!(is_fine(&history), others_say(&history));
    }
}
