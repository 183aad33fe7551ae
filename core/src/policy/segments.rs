//! Finds the first of many patterns with wildcards that matches, segment by segment: policies for teams of `+/app-N/config`
//! make thousands of them, and most paths match none. It must not know what they stand for, nor which comes first.

use std::collections::HashMap;

use super::pattern::Pattern;

/// Patterns with one head, by the segments that follow it. Each has a number; of those that match, the least is found.
#[derive(Default)]
pub struct Segments {
    /// The pattern that is the head and a glob.
    all: Option<usize>,
    /// The first is the root.
    nodes: Vec<Node>,
}

/// A place between two segments.
#[derive(Default)]
struct Node {
    literal: HashMap<Box<str>, usize>,
    wildcard: Option<usize>,
    /// The pattern that ends here.
    end: Option<usize>,
    /// The pattern that ends here in a glob: `+*`.
    rest: Option<usize>,
    /// Patterns whose next segment is the last and ends in a glob, by what stands before it.
    globs: HashMap<Box<str>, usize>,
    /// Bytes of the longest key of `globs`.
    longest: usize,
}

impl Segments {
    /// Adds a pattern with the head that the others have.
    pub fn insert(&mut self, pattern: &Pattern, number: usize) {
        let Some(rest) = pattern.rest() else {
            self.all = Some(number);
            return;
        };
        let (path, last) = rest
            .rsplit_once('/')
            .map_or((None, rest), |(path, last)| (Some(path), last));
        let mut at = self.root();
        for segment in path.into_iter().flat_map(|path| path.split('/')) {
            at = self.step(at, segment);
        }
        if pattern.is_glob() && last != "+" {
            if let Some(node) = self.nodes.get_mut(at) {
                node.longest = node.longest.max(last.len());
                node.globs.insert(last.into(), number);
            }
            return;
        }
        at = self.step(at, last);
        if let Some(node) = self.nodes.get_mut(at) {
            let place = if pattern.is_glob() {
                &mut node.rest
            } else {
                &mut node.end
            };
            *place = Some(number);
        }
    }

    /// The least number of a pattern that matches `rest`, the path without the head.
    pub fn first(&self, rest: &str) -> Option<usize> {
        let mut best = self.all;
        let mut better = |found: Option<usize>| best = best.into_iter().chain(found).min();
        if self.nodes.is_empty() {
            return best;
        }
        let segments: Vec<&str> = rest.split('/').collect();
        let mut open = vec![(0, 0)];
        while let Some((node, depth)) = open.pop() {
            let Some(node) = self.nodes.get(node) else {
                continue;
            };
            better(node.rest);
            let Some(segment) = segments.get(depth) else {
                better(node.end);
                continue;
            };
            node.starts_of(segment).for_each(|found| better(Some(found)));
            let further = node.literal.get(*segment).into_iter().chain(&node.wildcard);
            open.extend(further.map(|next| (*next, depth + 1)));
        }
        best
    }

    fn root(&mut self) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        0
    }

    /// The place after `segment`, made if it is not there.
    fn step(&mut self, at: usize, segment: &str) -> usize {
        let fresh = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else {
            return at;
        };
        let next = match segment {
            "+" => *node.wildcard.get_or_insert(fresh),
            _ => *node.literal.entry(segment.into()).or_insert(fresh),
        };
        if next == fresh {
            self.nodes.push(Node::default());
        }
        next
    }
}

impl Node {
    /// The patterns whose last segment, up to its glob, `segment` begins with.
    fn starts_of<'a>(&'a self, segment: &'a str) -> impl Iterator<Item = usize> + 'a {
        let ends = if self.globs.is_empty() {
            0
        } else {
            self.longest + 1
        };
        (0..ends.min(segment.len() + 1))
            .filter_map(|end| segment.get(..end))
            .filter_map(|start| self.globs.get(start).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_matches_is_found_among_many() {
        let texts = [
            "a/+/b", "a/+/+", "a/+/c/*", "a/+/c*", "a/+/", "a/+/+*", "a/+/+/d", "a/+", "a/+*", "a/*",
        ];
        let patterns = texts.map(Pattern::new);
        let mut segments = Segments::default();
        for (number, pattern) in patterns.iter().enumerate() {
            segments.insert(pattern, number);
        }
        for path in [
            "a/",
            "a/x",
            "a/x/",
            "a/x/b",
            "a/x/y",
            "a/x/c",
            "a/x/cc",
            "a/x/c/",
            "a/x/c/z",
            "a/x/y/d",
            "a/x/y/z",
            "a//b",
            "a/x/b/",
            "a/\u{e9}/c\u{e9}",
        ] {
            let expected = patterns.iter().position(|pattern| pattern.matches(path));
            assert_eq!(
                segments.first(path.strip_prefix("a/").unwrap()),
                expected,
                "{path}"
            );
            assert!(expected.is_some());
        }
        assert_eq!(Segments::default().first("x"), None);
    }
}
