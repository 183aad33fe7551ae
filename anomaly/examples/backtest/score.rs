//! What was found of what happened: recall and delay for each kind of attack, and alerts without one.

use std::collections::{BTreeMap, HashMap};
use std::io::{Result, Write};
use std::sync::Arc;

use conclave_anomaly::{Detector, Finding, Kind, Millis, RuleSet, Subject};

use crate::attacks::{self, Attack, Sort};
use crate::random::Random;
use crate::world::{self, DAYS, FIRST, HOUR};

/// What counts as found in time: while it lasts, and this long after.
const GRACE: Millis = HOUR;

/// Figures of one or more months.
#[derive(Default)]
pub struct Score {
    months: u64,
    sorts: BTreeMap<Sort, OfSort>,
    false_alerts: BTreeMap<&'static str, u64>,
    examples: Vec<String>,
}

#[derive(Default)]
struct OfSort {
    made: u64,
    found: u64,
    delays: Vec<Millis>,
    rules: BTreeMap<&'static str, u64>,
}

/// One month.
pub fn run(seed: u64, strength: f64) -> Score {
    let mut random = Random::new(seed);
    let mut everybody = world::identities(&mut random);
    let mut facts = world::traffic(&mut random, &mut everybody);
    let attacks = attacks::attacks(&mut random, &everybody, strength);
    facts.extend(attacks.iter().flat_map(|attack| attack.facts.iter().copied()));
    facts.sort_by_key(|fact| fact.at);
    let mut detector = Detector::new(Arc::new(RuleSet::default()));
    let mut found = Vec::new();
    for (n, fact) in facts.iter().enumerate() {
        detector.observe(n as u64 % 3 + 1, fact, &mut found);
    }
    found.retain(|finding| !finding.again);
    judge(&attacks, &found)
}

fn judge(attacks: &[Attack], found: &[Finding]) -> Score {
    let mut score = Score {
        months: 1,
        ..Score::default()
    };
    let mut explained: HashMap<usize, usize> = HashMap::new();
    for (n, finding) in found.iter().enumerate() {
        let mine = |attack: &&Attack| {
            let in_time = (attack.begins()..=attack.ends() + GRACE).contains(&finding.at);
            // A canary is one thing with who read it, and nothing else is found by it.
            let about = match (finding.kind, finding.subject) {
                (Kind::CanaryRead, _) => attack.sort == Sort::Canary,
                (_, Subject::Identity) => attack.who != 0 && finding.key == attack.who,
                _ => attack.who == 0,
            };
            in_time && about
        };
        if let Some((at, _)) = attacks.iter().enumerate().find(|(_, attack)| mine(attack)) {
            explained.insert(n, at);
        }
    }
    for (at, attack) in attacks.iter().enumerate() {
        let of_sort = score.sorts.entry(attack.sort).or_default();
        of_sort.made += 1;
        let mut mine: Vec<&Finding> = explained
            .iter()
            .filter(|(_, attack)| **attack == at)
            .filter_map(|(n, _)| found.get(*n))
            .collect();
        mine.sort_by_key(|finding| finding.at);
        if let Some(first) = mine.first() {
            of_sort.found += 1;
            of_sort.delays.push(first.at - attack.begins());
            for finding in &mine {
                *of_sort.rules.entry(finding.kind.name()).or_default() += 1;
            }
        }
    }
    for (n, finding) in found.iter().enumerate() {
        if !explained.contains_key(&n) {
            *score.false_alerts.entry(finding.kind.name()).or_default() += 1;
            score
                .examples
                .push(format!("{}: {}", finding.kind.name(), finding.explanation));
        }
    }
    score
}

impl Score {
    pub fn add(&mut self, other: &Self) {
        self.months += other.months;
        for (sort, of) in &other.sorts {
            let mine = self.sorts.entry(*sort).or_default();
            mine.made += of.made;
            mine.found += of.found;
            mine.delays.extend(&of.delays);
            for (rule, count) in &of.rules {
                *mine.rules.entry(rule).or_default() += count;
            }
        }
        for (rule, count) in &other.false_alerts {
            *self.false_alerts.entry(rule).or_default() += count;
        }
        self.examples.extend(other.examples.iter().cloned());
    }

    pub fn print(&self, out: &mut impl Write, verbose: bool) -> Result<()> {
        let (mut made, mut found) = (0, 0);
        writeln!(
            out,
            "{:12} {:>6} {:>6}  {:>14} {:>14}  found by",
            "attack", "made", "found", "median delay", "worst delay"
        )?;
        for (sort, of) in &self.sorts {
            made += of.made;
            found += of.found;
            let mut delays = of.delays.clone();
            delays.sort_unstable();
            let seconds = |at: usize| {
                delays
                    .get(at)
                    .map_or_else(|| "-".to_owned(), |delay| format!("{} s", delay / 1000))
            };
            let rules: Vec<String> = of
                .rules
                .iter()
                .map(|(rule, count)| format!("{rule} {count}"))
                .collect();
            let (median, worst) = (seconds(delays.len() / 2), seconds(delays.len().saturating_sub(1)));
            writeln!(
                out,
                "{:12} {:>6} {:>6}  {median:>14} {worst:>14}  {}",
                format!("{sort:?}"),
                of.made,
                of.found,
                rules.join(", ")
            )?;
        }
        // Rules that learn are silent before: the days count on which they are not.
        let days = self.months * (DAYS - FIRST);
        let wrong: u64 = self.false_alerts.values().sum();
        writeln!(
            out,
            "recall {:.3} ({found} of {made})",
            found as f64 / made as f64
        )?;
        writeln!(
            out,
            "false alerts {:.2} a day ({wrong} in {days} days)",
            wrong as f64 / days as f64
        )?;
        for (rule, count) in &self.false_alerts {
            writeln!(out, "  {rule} {count}")?;
        }
        if verbose {
            for example in self.examples.iter().take(60) {
                writeln!(out, "    {example}")?;
            }
        }
        Ok(())
    }
}
