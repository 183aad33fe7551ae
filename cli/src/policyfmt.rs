//! Layout of policy files: two spaces a level, one space around words, comments kept. Works on tokens, so that what
//! it does not understand stays as it was written.

use crate::env::Env;

/// A path with `~/` replaced by the home directory.
pub fn expand(env: &Env, path: &str) -> String {
    match (path.strip_prefix("~/"), env.plain("HOME")) {
        (Some(rest), Some(home)) => format!("{}/{rest}", home.trim_end_matches('/')),
        _ => path.to_owned(),
    }
}

/// Lays a policy out anew.
///
/// # Errors
/// The text is no HCL; the place and reason in words.
pub fn format(text: &str) -> Result<String, String> {
    conclave_hcl::parse(text).map_err(|e| e.to_string())?;
    let tokens = lex(text);
    let formatted = Printer::default().print(&tokens);
    // The layout must not change the meaning, whatever the token rules above missed.
    conclave_hcl::parse(&formatted).map_err(|e| format!("the result would not be valid: {e}"))?;
    Ok(formatted)
}

#[derive(Clone, PartialEq)]
enum Token<'a> {
    Comment(&'a str),
    Word(&'a str),
    Mark(char),
    Line,
}

fn lex(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\n' => {
                tokens.push(Token::Line);
                1
            }
            c if c.is_whitespace() => c.len_utf8(),
            '#' => comment(&mut tokens, rest, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("//") => {
                comment(&mut tokens, rest, rest.find('\n').unwrap_or(rest.len()))
            }
            '/' if rest.starts_with("/*") => {
                comment(&mut tokens, rest, rest.find("*/").map_or(rest.len(), |at| at + 2))
            }
            '{' | '}' | '[' | ']' | ',' | '=' => {
                tokens.push(Token::Mark(c));
                1
            }
            '<' if rest.starts_with("<<") => word(&mut tokens, rest, heredoc(rest)),
            '"' => word(&mut tokens, rest, string(rest)),
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "{}[],=\"#".contains(c))
                    .unwrap_or(rest.len());
                word(&mut tokens, rest, end.max(c.len_utf8()))
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

fn comment<'a>(tokens: &mut Vec<Token<'a>>, rest: &'a str, length: usize) -> usize {
    tokens.push(Token::Comment(rest.get(..length).unwrap_or_default().trim_end()));
    length
}

fn word<'a>(tokens: &mut Vec<Token<'a>>, rest: &'a str, length: usize) -> usize {
    tokens.push(Token::Word(rest.get(..length).unwrap_or_default()));
    length
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn heredoc(rest: &str) -> usize {
    let first = rest.find('\n').unwrap_or(rest.len());
    let marker = rest
        .get(..first)
        .unwrap_or_default()
        .trim_start_matches("<<")
        .trim_start_matches('-')
        .trim();
    let mut at = first + 1;
    for line in rest.get(at..).unwrap_or_default().split_inclusive('\n') {
        if line.trim() == marker {
            return (at + line.trim_end().len()).min(rest.len());
        }
        at += line.len();
    }
    rest.len()
}

/// One line of the result before `=` signs are aligned.
struct Row {
    depth: usize,
    text: String,
    /// Where the ` = ` of a one-line attribute begins.
    equals: Option<usize>,
    comment: String,
}

#[derive(Default)]
struct Printer {
    rows: Vec<Row>,
    depth: usize,
    line: String,
    equals: Option<usize>,
    /// Depth of `[` on the present line, where commas do not end an item.
    brackets: usize,
}

impl Printer {
    fn print(mut self, tokens: &[Token<'_>]) -> String {
        let mut blank = 0;
        for (i, token) in tokens.iter().enumerate() {
            match token {
                Token::Line => {
                    blank += 1;
                    if self.brackets == 0 {
                        self.end_line();
                        if blank == 2 && !self.rows.is_empty() && !closes(tokens, i) {
                            self.blank_row();
                        }
                    }
                    continue;
                }
                Token::Comment(text) => self.comment(text, blank > 0 || self.rows.is_empty()),
                Token::Word(text) => self.word(text),
                Token::Mark(mark) => self.mark(*mark, tokens.get(i + 1)),
            }
            blank = 0;
        }
        self.end_line();
        while self
            .rows
            .last()
            .is_some_and(|r| r.text.is_empty() && r.comment.is_empty())
        {
            self.rows.pop();
        }
        align(&self.rows)
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            let text = std::mem::take(&mut self.line);
            self.rows.push(Row {
                depth: self.depth,
                text,
                equals: self.equals.take(),
                comment: String::new(),
            });
        }
    }

    fn blank_row(&mut self) {
        let is_open = self
            .rows
            .last()
            .is_some_and(|r| r.text.ends_with('{') || (r.text.is_empty() && r.comment.is_empty()));
        if !is_open {
            self.rows.push(Row {
                depth: 0,
                text: String::new(),
                equals: None,
                comment: String::new(),
            });
        }
    }

    fn comment(&mut self, text: &str, own_line: bool) {
        if own_line && self.line.is_empty() {
            self.rows.push(Row {
                depth: self.depth,
                text: String::new(),
                equals: None,
                comment: text.to_owned(),
            });
        } else if self.line.is_empty() || self.brackets > 0 && text.starts_with("/*") {
            self.word(text);
        } else {
            let line = std::mem::take(&mut self.line);
            self.rows.push(Row {
                depth: self.depth,
                text: line,
                equals: self.equals.take(),
                comment: text.to_owned(),
            });
        }
    }

    fn word(&mut self, text: &str) {
        // A word after a complete attribute begins the next one: `a = 1 b = 2` on one line.
        if self.brackets == 0 && self.equals.is_some() && !self.line.ends_with("= ") {
            self.end_line();
        }
        if !self.line.is_empty() && !self.line.ends_with([' ', '[']) {
            self.line.push(' ');
        }
        self.line.push_str(text);
    }

    fn mark(&mut self, mark: char, next: Option<&Token<'_>>) {
        match mark {
            '{' => {
                if !self.line.is_empty() && !self.line.ends_with(' ') {
                    self.line.push(' ');
                }
                self.line.push('{');
                if next == Some(&Token::Mark('}')) {
                    return;
                }
                self.equals = None;
                self.end_line();
                self.depth += 1;
            }
            '}' if self.line.ends_with('{') => {
                self.line.push('}');
                self.end_line();
            }
            '}' => {
                self.end_line();
                self.depth = self.depth.saturating_sub(1);
                self.line.push('}');
                self.end_line();
            }
            '[' => {
                self.brackets += 1;
                if !self.line.is_empty() && !self.line.ends_with([' ', '[']) {
                    self.line.push(' ');
                }
                self.line.push('[');
            }
            ']' => {
                self.brackets = self.brackets.saturating_sub(1);
                if self.line.ends_with(", ") {
                    self.line.truncate(self.line.len() - 2);
                }
                self.line.push(']');
            }
            ',' if self.brackets > 0 => self.line.push_str(", "),
            ',' => self.end_line(),
            '=' => {
                self.equals = Some(self.line.len());
                self.line.push_str(" = ");
            }
            other => self.line.push(other),
        }
    }
}

/// Whether the next token that is not a line end closes a block.
fn closes(tokens: &[Token<'_>], at: usize) -> bool {
    let next = tokens.iter().skip(at + 1).find(|t| **t != Token::Line);
    next.is_none_or(|t| *t == Token::Mark('}'))
}

/// Aligns the `=` of attributes on lines that follow each other.
fn align(rows: &[Row]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while let Some(row) = rows.get(at) {
        let group: Vec<&Row> = rows
            .iter()
            .skip(at)
            .take_while(|r| r.equals.is_some() && r.depth == row.depth)
            .collect();
        let width = group.iter().filter_map(|r| r.equals).max().unwrap_or_default();
        for row in rows.iter().skip(at).take(group.len().max(1)) {
            let indent = "  ".repeat(row.depth);
            let text = match row.equals {
                Some(equals) => {
                    let (name, value) = row.text.split_at(equals);
                    format!("{name:width$}{value}")
                }
                None => row.text.clone(),
            };
            let gap = if text.is_empty() || row.comment.is_empty() {
                ""
            } else {
                " "
            };
            out.push_str(format!("{indent}{text}{gap}{}", row.comment).trim_end());
            out.push('\n');
        }
        at += group.len().max(1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_out_and_keeps_comments() {
        let source = "# top\npath   \"secret/*\" { capabilities=[\"read\",\n\"list\",] } // tail\n\n\n\npath \"a\" {\n\n  \
                      min_wrapping_ttl = \"1s\" # why\n  x=1\n}\n";
        let expected = "# top\npath \"secret/*\" {\n  capabilities = [\"read\", \"list\"]\n}\n// tail\n\npath \"a\" {\n  \
                        min_wrapping_ttl = \"1s\" # why\n  x                = 1\n}\n";
        assert_eq!(format(source).unwrap(), expected);
        assert_eq!(format(expected).unwrap(), expected);
    }

    #[test]
    fn two_attributes_on_a_line_become_two_lines() {
        let source = "path \"a\" { capabilities = [\"read\"] allowed_parameters = { \"x\" = [] } }";
        let expected =
            "path \"a\" {\n  capabilities = [\"read\"]\n  allowed_parameters = {\n    \"x\" = []\n  }\n}\n";
        assert_eq!(format(source).unwrap(), expected);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        assert!(format("zz").is_err());
        assert!(format("path \"x\" {").is_err());
    }
}
