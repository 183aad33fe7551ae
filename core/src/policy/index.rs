//! Finds the most specific pattern that matches a path without trying all of them. It must not know what it finds.

use std::collections::{BTreeMap, HashMap};

use super::pattern::Pattern;
use super::segments::Segments;

/// Patterns and what they stand for. Exact paths are a hash map. The others are grouped by their head (the text before
/// the first wildcard or glob), and each head knows the longest other head that it begins with: since a longer head is
/// always more specific, the first match on that chain is the best.
pub struct Index<T> {
    exact: HashMap<Box<str>, T>,
    heads: Vec<Head<T>>,
}

/// What stands for all patterns with one head, the most specific first.
struct Head<T> {
    text: Box<str>,
    parent: Option<usize>,
    values: Vec<T>,
    segments: Segments,
}

impl<T> Index<T> {
    /// Builds the index. Patterns must be distinct.
    pub fn new(entries: impl IntoIterator<Item = (Pattern, T)>) -> Self {
        let mut exact = HashMap::new();
        let mut groups: BTreeMap<Box<str>, Vec<(Pattern, T)>> = BTreeMap::new();
        for (pattern, value) in entries {
            if pattern.is_exact() {
                exact.insert(pattern.as_str().into(), value);
            } else {
                groups
                    .entry(pattern.head().into())
                    .or_default()
                    .push((pattern, value));
            }
        }
        Self {
            exact,
            heads: chain(groups),
        }
    }

    /// What stands for exactly this path.
    pub fn exact(&self, path: &str) -> Option<&T> {
        self.exact.get(path)
    }

    /// What stands for the most specific pattern with a wildcard or glob that matches.
    pub fn wild(&self, path: &str) -> Option<&T> {
        // In order, whatever lies between a head of `path` and `path` begins with that head too: so all heads of
        // `path` are on the chain of the last one not after it.
        let after = self.heads.partition_point(|head| *head.text <= *path);
        let mut at = after.checked_sub(1);
        while let Some(head) = at.and_then(|at| self.heads.get(at)) {
            if let Some(rest) = path.strip_prefix(&*head.text)
                && let Some(first) = head.segments.first(rest)
            {
                return head.values.get(first);
            }
            at = head.parent;
        }
        None
    }

    /// Everything in it.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        let wild = self.heads.iter().flat_map(|head| &head.values);
        self.exact.values().chain(wild)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.heads.is_empty()
    }
}

/// Sorts each group and links each head to the longest head that it begins with.
fn chain<T>(groups: BTreeMap<Box<str>, Vec<(Pattern, T)>>) -> Vec<Head<T>> {
    let mut heads = Vec::with_capacity(groups.len());
    let mut open: Vec<(usize, Box<str>)> = Vec::new();
    for (at, (text, mut patterns)) in groups.into_iter().enumerate() {
        patterns.sort_by(|(a, _), (b, _)| b.specificity(a));
        while open.last().is_some_and(|(_, outer)| !text.starts_with(&**outer)) {
            open.pop();
        }
        let parent = open.last().map(|(at, _)| *at);
        open.push((at, text.clone()));
        let mut segments = Segments::default();
        for (number, (pattern, _)) in patterns.iter().enumerate() {
            segments.insert(pattern, number);
        }
        heads.push(Head {
            text,
            parent,
            values: patterns.into_iter().map(|(_, value)| value).collect(),
            segments,
        });
    }
    heads
}
