//! One path of a policy: what it matches, and which of two that match is more specific. It must not know capabilities.

use std::cmp::{Ordering, Reverse};

/// A path of a policy: exact, or ending in the glob `*`, or with segments that are the wildcard `+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As written, without a leading `/`.
    text: Box<str>,
    /// Bytes of `text` without the glob.
    body: usize,
    /// Bytes before the first wildcard or glob; all of them if the path is exact.
    head: usize,
    /// Segments that are `+`.
    wildcards: usize,
}

impl Pattern {
    /// Reads a path. `*` is a glob at the end only; `+` is a wildcard only as a whole segment.
    pub fn new(path: &str) -> Self {
        let text = path.strip_prefix('/').unwrap_or(path);
        let body = text.strip_suffix('*').unwrap_or(text);
        let (mut at, mut head, mut wildcards) = (0, body.len(), 0);
        for segment in body.split('/') {
            if segment == "+" {
                wildcards += 1;
                head = head.min(at);
            }
            at += segment.len() + 1;
        }
        Self {
            text: text.into(),
            body: body.len(),
            head,
            wildcards,
        }
    }

    /// The path as written, without a leading `/`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text before the first wildcard or glob.
    pub fn head(&self) -> &str {
        self.text.get(..self.head).unwrap_or_default()
    }

    /// The segments from the first wildcard on, without the glob; `None` without a wildcard.
    pub fn rest(&self) -> Option<&str> {
        if self.wildcards == 0 {
            return None;
        }
        self.text.get(self.head..self.body)
    }

    /// Whether only one path matches.
    pub fn is_exact(&self) -> bool {
        self.wildcards == 0 && !self.is_glob()
    }

    /// Whether `path` matches. A `+` stands for one segment, even an empty one; the glob for any rest. The plain reading, to
    /// hold what finds it faster against.
    #[cfg(test)]
    pub fn matches(&self, path: &str) -> bool {
        let body = self.text.get(..self.body).unwrap_or_default();
        if self.wildcards == 0 {
            return if self.is_glob() {
                path.starts_with(body)
            } else {
                path == body
            };
        }
        let mut wanted = body.split('/').peekable();
        let mut given = path.split('/');
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (None, Some(_)) => return self.is_glob(),
                (Some(_), None) => return false,
                (Some(want), Some(have)) if want == "+" || want == have => {}
                (Some(want), Some(have)) => {
                    return self.is_glob() && wanted.peek().is_none() && have.starts_with(want);
                }
            }
        }
    }

    /// Which of two patterns that match one path applies: `Greater` if this is more specific. The priority rules of
    /// OpenBao's policies page (concepts/policies, "Policy syntax"), with exact paths above all.
    pub fn specificity(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }

    fn rank(&self) -> (bool, usize, bool, Reverse<usize>, usize, &str) {
        let body = self.text.get(..self.body).unwrap_or_default();
        (
            self.is_exact(),
            self.head,
            !self.is_glob(),
            Reverse(self.wildcards),
            self.body,
            body,
        )
    }

    /// Whether it ends in the glob.
    pub fn is_glob(&self) -> bool {
        self.body < self.text.len()
    }
}
