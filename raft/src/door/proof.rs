//! The leader's proof that no other led when a read began: a quorum says, after the read began, that it voted in no later
//! term (ReadIndex; Ongaro, "Consensus: Bridging Theory and Practice", section 6.4). A node that asks for a read index
//! says so for itself with its question. This file must not know the Raft core, tasks or time.

use std::collections::{BTreeMap, BTreeSet};

use crate::door::desk::{Reply, ReplyTo};
use crate::mutant;

/// A read index that is wanted.
pub struct Question {
    /// Which request of the asker.
    pub id: u64,
    /// Who asks.
    pub from: ReplyTo,
    /// Another node that asks, and what it said with the question.
    pub word: Option<Word>,
    /// Many reads wait for it: as few nodes as will do are asked. For a few all are, for the fastest answer.
    pub crowd: bool,
}

/// What a node says of its vote: that it gave none in a term after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The node.
    pub node: u64,
    /// The term of its last vote.
    pub term: u64,
}

/// What the Raft core of a leader knew at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The term it leads.
    pub term: u64,
    /// Position to apply up to: all that is committed, or the whole log while nothing of its own term is.
    pub position: u64,
    /// Voters: one set, or two while they change.
    pub voters: Vec<BTreeSet<u64>>,
}

/// At most one round under way, for all who asked before it began.
pub struct Proofs {
    node: u64,
    /// Streams of other nodes, through which they can be asked.
    streams: BTreeMap<u64, ReplyTo>,
    /// Nodes in the order in which they answered the last round that all were asked in.
    fastest: Vec<u64>,
    waiting: Vec<Question>,
    /// Counts rounds.
    number: u64,
    round: Option<Round>,
    /// How many others a quorum needed in the last round.
    needed: usize,
}

struct Round {
    questions: Vec<Question>,
    facts: Option<Facts>,
    words: Vec<Word>,
    asked: BTreeSet<u64>,
}

impl Proofs {
    /// Proofs for `node`.
    pub fn new(node: u64) -> Self {
        Self {
            node,
            streams: BTreeMap::new(),
            fastest: Vec::new(),
            waiting: Vec::new(),
            number: 0,
            round: None,
            needed: usize::MAX,
        }
    }

    /// Another node's stream is open: it can be asked. One that opens late is asked in the round under way, again if that was
    /// asked on a stream which it replaces: what was asked there may never be answered.
    pub fn opened(&mut self, node: u64, stream: ReplyTo) {
        self.streams.retain(|_, stream| !stream.replies.is_closed());
        if let Some(round) = &mut self.round {
            round.asked.insert(node);
            stream.send(Reply::Confirm { id: self.number });
        }
        self.streams.insert(node, stream);
    }

    /// Takes a question for the next round.
    pub fn ask(&mut self, question: Question) {
        self.waiting.push(question);
    }

    /// Begins a round if one is wanted and none is under way: its number. Facts of this number are needed, which must be
    /// gathered from now on.
    pub fn begin(&mut self) -> Option<u64> {
        if self.round.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.number += 1;
        self.round = Some(Round {
            questions: std::mem::take(&mut self.waiting),
            facts: None,
            words: Vec::new(),
            asked: BTreeSet::new(),
        });
        self.ask_some();
        Some(self.number)
    }

    /// Asks all for a few reads, for many as few as made a quorum lately.
    fn ask_some(&mut self) {
        let Some(round) = &self.round else { return };
        let questions = &round.questions;
        // Those who ask are part of the quorum themselves.
        let spoken = usize::from(questions.iter().all(|question| question.word.is_some()));
        let enough = match self.needed.saturating_sub(spoken) {
            0 => 0,
            few if questions.iter().any(|question| question.crowd) => few,
            _ => usize::MAX,
        };
        let streams = &self.streams;
        let first = self.fastest.iter().filter(|node| streams.contains_key(*node));
        let rest = streams.keys().filter(|node| !self.fastest.contains(node));
        let chosen: Vec<u64> = first.chain(rest).copied().take(enough).collect();
        self.put_question(&chosen);
        if chosen.len() == self.streams.len() {
            self.fastest.clear();
        }
    }

    /// Asks whoever was not asked yet: those who were do not answer in time.
    pub fn ask_all(&mut self) {
        let all: Vec<u64> = self.streams.keys().copied().collect();
        self.fastest.clear();
        self.put_question(&all);
    }

    fn put_question(&mut self, nodes: &[u64]) {
        let Some(round) = &mut self.round else { return };
        for node in nodes {
            if let Some(stream) = self.streams.get(node)
                && round.asked.insert(*node)
            {
                stream.send(Reply::Confirm { id: self.number });
            }
        }
    }

    /// What the Raft core knew after round `number` began; `None` when it does not lead.
    pub fn facts(&mut self, number: u64, facts: Option<Facts>) {
        if number != self.number {
            return;
        }
        let (Some(round), Some(facts)) = (&mut self.round, facts) else {
            self.fail();
            return;
        };
        self.needed = facts.voters.iter().map(|set| set.len() / 2).max().unwrap_or(0);
        round.facts = Some(facts);
        self.settle();
        if self.round.as_ref().is_some_and(|round| round.asked.is_empty()) {
            self.ask_all();
        }
    }

    /// A node's answer in round `number`.
    pub fn word(&mut self, number: u64, word: Word) {
        if number != self.number {
            return;
        }
        if !self.fastest.contains(&word.node) {
            self.fastest.push(word.node);
        }
        if let Some(round) = &mut self.round {
            round.words.push(word);
            self.settle();
        }
    }

    /// Whether a round waits for answers.
    pub fn is_waiting(&self) -> bool {
        self.round.is_some()
    }

    /// Ends the round under way without a proof: those who asked may ask again.
    pub fn fail(&mut self) {
        for question in self.round.take().into_iter().flat_map(|round| round.questions) {
            question.answer(None);
        }
    }

    /// Answers what is proved.
    fn settle(&mut self) {
        let Some(round) = &mut self.round else { return };
        let Some(facts) = &round.facts else { return };
        let (node, words) = (self.node, &round.words);
        let proved = |question: &mut Question| {
            let words = words.iter().chain(question.word.as_ref());
            let words = words.filter(|word| word.term <= facts.term);
            let loyal: BTreeSet<u64> = words.map(|word| word.node).chain([node]).collect();
            facts.is_quorum(&loyal)
        };
        for question in round.questions.extract_if(.., proved) {
            question.answer(Some(facts.position));
        }
        if round.questions.is_empty() {
            self.round = None;
        }
    }
}

impl Question {
    fn answer(self, position: Option<u64>) {
        let id = self.id;
        self.from.send(Reply::Index { id, position });
    }
}

impl Facts {
    fn is_quorum(&self, nodes: &BTreeSet<u64>) -> bool {
        // The mutant: a leader that is cut off does not notice that another was elected.
        if mutant::is("unasked-read") {
            return true;
        }
        let most = |set: &BTreeSet<u64>| set.intersection(nodes).count() > set.len() / 2;
        !self.voters.is_empty() && self.voters.iter().all(most)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    type Heard = mpsc::UnboundedReceiver<(u64, Reply)>;

    fn stream() -> (ReplyTo, Heard) {
        let (replies, heard) = mpsc::unbounded_channel();
        (ReplyTo { link: 0, replies }, heard)
    }

    fn said(heard: &mut Heard) -> Vec<Reply> {
        std::iter::from_fn(|| heard.try_recv().ok())
            .map(|(_, reply)| reply)
            .collect()
    }

    fn facts(term: u64, voters: &[&[u64]]) -> Option<Facts> {
        let voters = voters.iter().map(|set| set.iter().copied().collect()).collect();
        Some(Facts {
            term,
            position: 40,
            voters,
        })
    }

    /// A leader 1 with the streams of these nodes.
    fn leader(nodes: &[u64]) -> (Proofs, Vec<Heard>) {
        let mut proofs = Proofs::new(1);
        let mut all = Vec::new();
        for node in nodes {
            let (to, heard) = stream();
            proofs.opened(*node, to);
            all.push(heard);
        }
        (proofs, all)
    }

    fn question(id: u64, word: Option<Word>) -> (Question, Heard) {
        let (from, heard) = stream();
        let crowd = false;
        (
            Question {
                id,
                from,
                word,
                crowd,
            },
            heard,
        )
    }

    fn index(id: u64, position: Option<u64>) -> Vec<Reply> {
        vec![Reply::Index { id, position }]
    }

    const fn word(node: u64, term: u64) -> Word {
        Word { node, term }
    }

    #[test]
    fn a_read_of_the_leader_waits_for_one_of_two() {
        let (mut proofs, mut heard) = leader(&[2, 3]);
        let (asked, mut answer) = question(7, None);
        proofs.ask(asked);
        let number = proofs.begin().unwrap();
        assert_eq!(proofs.begin(), None, "one round at a time");
        proofs.facts(number, facts(5, &[&[1, 2, 3]]));
        assert_eq!(said(&mut answer), []);
        assert!(
            heard
                .iter_mut()
                .all(|node| said(node) == [Reply::Confirm { id: number }])
        );
        proofs.word(number, word(3, 5));
        assert_eq!(said(&mut answer), index(7, Some(40)));
        assert!(!proofs.is_waiting());
    }

    #[test]
    fn a_voter_of_a_later_term_proves_nothing() {
        let (mut proofs, _heard) = leader(&[2, 3]);
        let (asked, mut answer) = question(7, None);
        proofs.ask(asked);
        let number = proofs.begin().unwrap();
        proofs.facts(number, facts(5, &[&[1, 2, 3]]));
        proofs.word(number, word(3, 6));
        assert_eq!(said(&mut answer), []);
        proofs.fail();
        assert_eq!(said(&mut answer), index(7, None));
    }

    #[test]
    fn words_without_facts_and_of_other_rounds_prove_nothing() {
        let (mut proofs, _heard) = leader(&[2, 3]);
        let (asked, mut answer) = question(7, None);
        proofs.ask(asked);
        let number = proofs.begin().unwrap();
        proofs.word(number, word(2, 5));
        assert_eq!(said(&mut answer), [], "what is committed is not known yet");
        proofs.facts(number - 1, facts(5, &[&[1, 2, 3]]));
        assert_eq!(said(&mut answer), [], "facts of the round before");
        proofs.facts(number, facts(5, &[&[1, 2, 3]]));
        assert_eq!(said(&mut answer), index(7, Some(40)));

        let (later, mut answer) = question(8, None);
        proofs.ask(later);
        let next = proofs.begin().unwrap();
        proofs.facts(next, facts(5, &[&[1, 2, 3]]));
        proofs.word(number, word(2, 5));
        assert_eq!(said(&mut answer), [], "the word of the round before");
    }

    #[test]
    fn whoever_asks_speaks_for_itself_alone() {
        let (mut proofs, mut heard) = leader(&[2, 3]);
        proofs.needed = 1;
        let (theirs, mut their_answer) = question(1, Some(word(2, 5)));
        proofs.ask(theirs);
        let number = proofs.begin().unwrap();
        proofs.facts(number, facts(5, &[&[1, 2, 3]]));
        assert_eq!(said(&mut their_answer), index(1, Some(40)));
        assert!(
            heard.iter_mut().all(|node| said(node).is_empty()),
            "nobody else is asked"
        );

        let (theirs, mut their_answer) = question(2, Some(word(2, 5)));
        let (ours, mut our_answer) = question(3, None);
        proofs.ask(theirs);
        proofs.ask(ours);
        let number = proofs.begin().unwrap();
        proofs.facts(number, facts(5, &[&[1, 2, 3]]));
        assert_eq!(said(&mut their_answer), index(2, Some(40)));
        assert_eq!(
            said(&mut our_answer),
            [],
            "its word may be older than our question"
        );
        proofs.word(number, word(2, 5));
        assert_eq!(said(&mut our_answer), index(3, Some(40)));
    }

    #[test]
    fn five_voters_need_two_others_and_joint_sets_need_both() {
        let (mut proofs, _heard) = leader(&[2, 3, 4, 5]);
        let (theirs, mut answer) = question(1, Some(word(2, 5)));
        proofs.ask(theirs);
        let number = proofs.begin().unwrap();
        proofs.facts(number, facts(5, &[&[1, 2, 3, 4, 5]]));
        assert_eq!(said(&mut answer), []);
        proofs.word(number, word(4, 5));
        assert_eq!(said(&mut answer), index(1, Some(40)));

        let (ours, mut answer) = question(2, None);
        proofs.ask(ours);
        let number = proofs.begin().unwrap();
        proofs.facts(number, facts(5, &[&[1, 2, 3], &[1, 4, 5]]));
        proofs.word(number, word(2, 5));
        proofs.word(number, word(3, 5));
        assert_eq!(said(&mut answer), []);
        proofs.word(number, word(5, 4));
        assert_eq!(said(&mut answer), index(2, Some(40)));
    }

    #[test]
    fn a_crowd_is_asked_of_the_fastest_and_then_of_all() {
        let (mut proofs, mut heard) = leader(&[2, 3]);
        let (first, _answer) = question(1, None);
        proofs.ask(first);
        let number = proofs.begin().unwrap();
        proofs.word(number, word(3, 5));
        proofs.facts(number, facts(5, &[&[1, 2, 3]]));
        proofs.word(number, word(2, 5));
        heard.iter_mut().for_each(|node| drop(said(node)));

        let (asked, mut answer) = question(2, None);
        proofs.ask(Question { crowd: true, ..asked });
        let number = proofs.begin().unwrap();
        let (two, three) = heard.split_at_mut(1);
        assert_eq!(said(&mut three[0]), [Reply::Confirm { id: number }]);
        assert_eq!(said(&mut two[0]), []);
        proofs.facts(number, facts(5, &[&[1, 2, 3]]));
        proofs.ask_all();
        assert_eq!(said(&mut two[0]), [Reply::Confirm { id: number }]);
        proofs.word(number, word(2, 5));
        assert_eq!(said(&mut answer), index(2, Some(40)));
    }

    #[test]
    fn one_voter_needs_nobody_and_a_late_stream_is_asked() {
        let mut proofs = Proofs::new(1);
        let (asked, mut answer) = question(1, None);
        proofs.ask(asked);
        let number = proofs.begin().unwrap();
        proofs.facts(number, facts(1, &[&[1]]));
        assert_eq!(said(&mut answer), index(1, Some(40)));

        let (asked, mut answer) = question(2, None);
        proofs.ask(asked);
        let number = proofs.begin().unwrap();
        proofs.facts(number, facts(1, &[&[1, 2]]));
        let (to, mut heard) = stream();
        proofs.opened(2, to);
        assert_eq!(said(&mut heard), [Reply::Confirm { id: number }]);
        proofs.word(number, word(2, 1));
        assert_eq!(said(&mut answer), index(2, Some(40)));
    }

    #[test]
    fn a_question_that_was_lost_with_its_stream_is_put_again() {
        let (mut proofs, heard) = leader(&[2]);
        let (asked, mut answer) = question(1, None);
        proofs.ask(asked);
        let number = proofs.begin().unwrap();
        proofs.facts(number, facts(5, &[&[1, 2, 3]]));
        drop(heard);
        let (to, mut heard) = stream();
        proofs.opened(2, to);
        assert_eq!(said(&mut heard), [Reply::Confirm { id: number }]);
        proofs.word(number, word(2, 5));
        assert_eq!(said(&mut answer), index(1, Some(40)));
    }

    #[test]
    fn who_does_not_lead_proves_nothing() {
        let (mut proofs, _heard) = leader(&[2, 3]);
        let (asked, mut answer) = question(1, Some(word(2, 5)));
        proofs.ask(asked);
        let number = proofs.begin().unwrap();
        proofs.facts(number, None);
        assert_eq!(said(&mut answer), index(1, None));
        assert!(!proofs.is_waiting());
    }
}
