//! Rust source seen just well enough for the rules: code without comments and literals, and which lines are tests.

/// The text with every comment and the inside of every string and character literal turned into spaces.
/// Lines keep their numbers. A lexer of that much only: it need not reject bad Rust, rustc does.
pub fn code(text: &str) -> String {
    let mut lexer = Lexer {
        rest: text,
        out: String::with_capacity(text.len()),
        word: false,
    };
    while !lexer.rest.is_empty() {
        lexer.step();
    }
    lexer.out
}

/// For each line, whether it belongs to tests: all lines of a file below a `tests` folder or of a test crate,
/// otherwise those of `#[cfg(test)]` items that start in the first column (rustfmt puts their end there too).
pub fn test_lines(path: &str, code: &str) -> Vec<bool> {
    let whole = path
        .split('/')
        .any(|part| part == "tests" || part == "chaos-tests" || part == "tests.rs");
    let mut inside = false;
    let mut marked = false;
    code.lines()
        .map(|line| {
            marked |= line.starts_with("#[cfg(test)]");
            inside |= marked && line.ends_with('{');
            let test = whole || marked || inside;
            if (inside && line.starts_with('}')) || (marked && !inside && line.ends_with(';')) {
                (marked, inside) = (false, false);
            }
            test
        })
        .collect()
}

/// Lines, from 1, whose code holds `word` as a whole identifier.
pub fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let numbered = code.lines().enumerate();
    numbered
        .filter(|(_, line)| has_word(line, word))
        .map(|(index, _)| index + 1)
        .collect()
}

/// Whether `word` occurs in `line` with no letter, digit or underscore beside it.
pub fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

struct Lexer<'a> {
    rest: &'a str,
    out: String,
    /// Whether the last character taken could belong to a name, so that `r` in `for"` opens no raw string.
    word: bool,
}

impl Lexer<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.blank(end);
        } else if self.rest.starts_with("/*") {
            let end = block_comment_end(self.rest);
            self.blank(end);
        } else if let Some(end) = literal_end(self.rest, self.word) {
            self.blank(end);
        } else if let Some(next) = self.rest.chars().next() {
            self.word = next.is_alphanumeric() || next == '_';
            self.out.push(next);
            self.rest = self.rest.get(next.len_utf8()..).unwrap_or("");
        }
    }

    fn blank(&mut self, end: usize) {
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.out
            .extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
        self.word = false;
    }
}

/// Length of the block comment that `text` starts with; they nest.
fn block_comment_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" if depth == 1 => return at + 2,
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

/// Length of the string or character literal that `text` starts with, prefix included.
fn literal_end(text: &str, after_word: bool) -> Option<usize> {
    let quote = if after_word {
        0
    } else {
        text.find(|c| !matches!(c, 'b' | 'c' | 'r'))
            .filter(|at| *at <= 2)?
    };
    let (prefix, body) = text.split_at_checked(quote)?;
    if prefix.contains('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let inner = body.get(hashes..)?.strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = inner.find(&close).map_or(inner.len(), |at| at + close.len());
        return Some(quote + hashes + 1 + end);
    }
    match body.chars().next()? {
        '"' => Some(quote + quoted_end(body, '"')),
        '\'' if is_char_literal(body) => Some(quote + quoted_end(body, '\'')),
        _ => None,
    }
}

/// A quote opens a character literal, not a lifetime, if an escape follows or the quote after next closes it.
fn is_char_literal(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    let first = chars.next();
    first == Some('\\') || (first.is_some() && chars.next() == Some('\''))
}

fn quoted_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        let text = "a /* x /* y */ z */ b // c\n\"d\\\"e\" f r#\"g\"h\"# 'i' '\\'' 'life b\"j\" xr k";
        assert_eq!(
            code(text).split_whitespace().collect::<Vec<_>>(),
            ["a", "b", "f", "'life", "xr", "k"]
        );
        assert_eq!(code(text).lines().count(), 2);
    }

    #[test]
    fn an_open_literal_or_comment_ends_with_the_text() {
        for text in ["\"abc", "/* abc", "r#\"abc", "'\\", "b", "r#type"] {
            assert!(!code(text).contains("abc"), "{text}");
        }
    }

    #[test]
    fn test_lines_of_an_inline_module_and_of_a_test_file() {
        let text = "fn a() {\n}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}\n";
        let expected = [false, false, true, true, true, true, false, true, true, false];
        assert_eq!(test_lines("core/src/a.rs", text), expected);
        assert!(test_lines("core/tests/a.rs", text).iter().all(|test| *test));
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("x.sleep(1)", "sleep"));
        assert!(!has_word("asleep() sleeper sleep_ms", "sleep"));
    }
}
