//! The part of regular expressions that filters of paths are made of: letters, `.*`, `^` first and `$` last. What means the
//! same here and in RE2 is taken; everything else is refused rather than read otherwise. Time is linear in the text for each
//! piece: no pattern is slow.

/// Characters with another meaning in regular expressions.
const SPECIAL: &str = "\\.+*?()|[]{}^$";

/// A pattern, read: pieces that follow each other, with anything between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<String>,
    from_start: bool,
    to_end: bool,
}

impl Pattern {
    /// Reads a pattern; otherwise what is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let (from_start, rest) = strip(text, text.strip_prefix('^'));
        // An escaped dollar is a letter.
        let escaped = rest
            .strip_suffix('$')
            .is_some_and(|rest| rest.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1);
        let (to_end, rest) = strip(rest, rest.strip_suffix('$').filter(|_| !escaped));
        let mut pieces = vec![String::new()];
        let mut letters = rest.chars().peekable();
        while let Some(letter) = letters.next() {
            let literal = match letter {
                '\\' => letters.next().filter(char::is_ascii_punctuation),
                '.' if letters.next_if_eq(&'*').is_some() => {
                    pieces.push(String::new());
                    continue;
                }
                letter => Some(letter).filter(|letter| !SPECIAL.contains(*letter)),
            };
            let literal = literal.ok_or_else(|| {
                format!(
                    "{text:?} is not supported: patterns are made of letters, \".*\", \"^\" first and \"$\" last"
                )
            })?;
            if let Some(piece) = pieces.last_mut() {
                piece.push(literal);
            }
        }
        Ok(Self {
            pieces,
            from_start,
            to_end,
        })
    }

    /// Whether it is found in `text`.
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ ..] = self.pieces.as_slice() else {
            return true;
        };
        let Some((last, middle)) = middle.split_last() else {
            return match (self.from_start, self.to_end) {
                (true, true) => text == first,
                (true, false) => text.starts_with(first.as_str()),
                (false, true) => text.ends_with(first.as_str()),
                (false, false) => text.contains(first.as_str()),
            };
        };
        let mut rest = match self.from_start {
            true => text.strip_prefix(first.as_str()),
            false => after(text, first),
        };
        for piece in middle {
            rest = rest.and_then(|rest| after(rest, piece));
        }
        rest.is_some_and(|rest| match self.to_end {
            true => rest.ends_with(last.as_str()),
            false => rest.contains(last.as_str()),
        })
    }
}

fn strip<'t>(text: &'t str, stripped: Option<&'t str>) -> (bool, &'t str) {
    (stripped.is_some(), stripped.unwrap_or(text))
}

/// What follows the first `piece` in `text`.
fn after<'t>(text: &'t str, piece: &str) -> Option<&'t str> {
    text.split_once(piece).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_regular_expressions_do() {
        for (pattern, text, found) in [
            ("", "anything", true),
            ("^$", "", true),
            ("^$", "x", false),
            ("^a.*b.*c$", "a--b--c", true),
            ("^a.*b.*c$", "a--c--b", false),
            ("^ab.*b$", "ab", false),
            ("a.*a", "a", false),
            ("a.*a", "xaya", true),
            (".*", "", true),
            ("^.*x$", "yx", true),
            ("cost\\$", "cost$ more", true),
            ("cost\\\\$", "cost\\", true),
            ("a\\.b", "a.b", true),
            ("a\\.b", "axb", false),
        ] {
            assert_eq!(
                Pattern::read(pattern).unwrap().matches(text),
                found,
                "{pattern} {text}"
            );
        }
        for bad in [
            "a+", "a*", "a.b", "a|b", "(a)", "[a]", "a{2}", "a^b", "a$b", "\\d", "a\\",
        ] {
            assert!(Pattern::read(bad).is_err(), "{bad}");
        }
    }
}
