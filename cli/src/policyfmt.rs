//! Layout of policy files in the style of HashiCorp's printer: two spaces a level, aligned `=`, a blank line between
//! blocks, comments kept. Works on the source's own words, so that a value is never rewritten.

use crate::env::Env;

/// Deepest nesting laid out; the parser that runs first refuses much less.
const MAX_DEPTH: usize = 64;

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
/// The text is no HCL or names what no policy has; the place and reason in words.
pub fn format(text: &str) -> Result<String, String> {
    check(&conclave_hcl::parse(text).map_err(|e| e.to_string())?)?;
    let mut reader = Reader {
        tokens: lex(text),
        at: 0,
    };
    let nodes = reader.nodes(0)?;
    let mut out = String::new();
    print_nodes(&mut out, &nodes, 0);
    out.push('\n');
    // The layout must not change the meaning, whatever the rules above missed.
    conclave_hcl::parse(&out).map_err(|e| format!("the result would not be valid: {e}"))?;
    Ok(out)
}

/// Refuses keys that no policy has.
fn check(body: &conclave_hcl::Body) -> Result<(), String> {
    const IN_PATH: [&str; 14] = [
        "comment",
        "policy",
        "capabilities",
        "allowed_parameters",
        "denied_parameters",
        "required_parameters",
        "min_wrapping_ttl",
        "max_wrapping_ttl",
        "mfa_methods",
        "control_group",
        "expiration",
        "pagination_limit",
        "list_scan_response_keys_filter_path",
        "response_keys_filter_path",
    ];
    let refuse = |key: &conclave_hcl::Key| format!("invalid key {:?} on line {}", key.name, key.pos.line);
    for item in &body.items {
        if !matches!(item.key().name.as_str(), "name" | "path") {
            return Err(refuse(item.key()));
        }
        let conclave_hcl::Item::Block(block) = item else {
            continue;
        };
        for inner in &block.body.items {
            if !IN_PATH.contains(&inner.key().name.as_str()) {
                let path = block.labels.first().map(|l| l.name.as_str()).unwrap_or_default();
                return Err(format!("path {path:?}: {}", refuse(inner.key())));
            }
        }
    }
    Ok(())
}

/// A word of the source with the lines it begins and ends on.
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    line: usize,
    end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Comment,
    Word,
    Mark,
}

fn lex(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(c) = rest.chars().next() {
        let to_line_end = rest.find('\n').unwrap_or(rest.len());
        let (kind, length) = match c {
            c if c.is_whitespace() => {
                line += usize::from(c == '\n');
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
                continue;
            }
            '#' => (Kind::Comment, to_line_end),
            '/' if rest.starts_with("//") => (Kind::Comment, to_line_end),
            '/' if rest.starts_with("/*") => (Kind::Comment, rest.find("*/").map_or(rest.len(), |at| at + 2)),
            '{' | '}' | '[' | ']' | ',' | '=' => (Kind::Mark, 1),
            '<' if rest.starts_with("<<") => (Kind::Word, heredoc(rest)),
            '"' => (Kind::Word, string(rest)),
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "{}[],=\"#".contains(c));
                (Kind::Word, end.unwrap_or(rest.len()).max(c.len_utf8()))
            }
        };
        let (word, tail) = rest.split_at(length.min(rest.len()));
        let end = line + word.matches('\n').count();
        let text = if kind == Kind::Comment {
            word.trim_end()
        } else {
            word
        };
        tokens.push(Token {
            kind,
            text,
            line,
            end,
        });
        (rest, line) = (tail, end);
    }
    tokens
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

/// A comment that stands alone, or an item with the comments before and after it.
enum Node {
    Comment(String),
    Item {
        lead: Vec<String>,
        /// The words before `=` or the value.
        head: String,
        assigns: bool,
        value: Value,
        tail: String,
        line: usize,
        end: usize,
    },
}

enum Value {
    Word(String),
    /// Items with the comments before and after each; whether they stood on several lines; comments at the end.
    List {
        items: Vec<(Vec<String>, Value, String)>,
        tall: bool,
        last: Vec<String>,
    },
    Object(Vec<Node>),
}

impl Value {
    fn is_tall(&self) -> bool {
        match self {
            Self::Word(text) => text.contains('\n'),
            Self::List { items, tall, last } => (*tall && !items.is_empty()) || !last.is_empty(),
            Self::Object(nodes) => !nodes.is_empty(),
        }
    }
}

struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token<'_>> {
        self.tokens.get(self.at)
    }

    fn is_mark(&self, mark: &str) -> bool {
        self.peek()
            .is_some_and(|t| t.kind == Kind::Mark && t.text == mark)
    }

    fn take_mark(&mut self, mark: &str) -> bool {
        let found = self.is_mark(mark);
        self.at += usize::from(found);
        found
    }

    /// The line on which the last token taken ends.
    fn end(&self) -> usize {
        self.at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map_or(0, |t| t.end)
    }

    /// A comment on the line on which the last token ends.
    fn tail(&mut self) -> String {
        let end = self.end();
        let found = self
            .peek()
            .filter(|t| t.kind == Kind::Comment && t.line == end)
            .map(|t| t.text.to_owned());
        self.at += usize::from(found.is_some());
        found.unwrap_or_default()
    }

    /// Comments up to the next token that is none, with the line on which the last of them ends.
    fn comments(&mut self) -> Vec<(String, usize, usize)> {
        let mut found = Vec::new();
        while let Some(token) = self.peek().filter(|t| t.kind == Kind::Comment) {
            found.push((token.text.to_owned(), token.line, token.end));
            self.at += 1;
        }
        found
    }

    fn nodes(&mut self, depth: usize) -> Result<Vec<Node>, String> {
        if depth > MAX_DEPTH {
            return Err("nested too deep".into());
        }
        let mut nodes = Vec::new();
        loop {
            let mut comments = self.comments();
            let next = self
                .peek()
                .filter(|t| !(t.kind == Kind::Mark && t.text == "}"))
                .map(|t| t.line);
            // Comments that touch the next item belong to it; others stand alone, block by block.
            let mut lead: Vec<String> = Vec::new();
            let mut below = next;
            while let Some((_, line, _)) = comments
                .last()
                .filter(|(_, _, end)| below.is_some_and(|b| *end + 1 >= b))
            {
                below = Some(*line);
                lead.extend(comments.pop().map(|(text, ..)| text));
            }
            lead.reverse();
            nodes.extend(alone(comments));
            if next.is_none() {
                return Ok(nodes);
            }
            nodes.push(self.item(lead, depth)?);
        }
    }

    fn item(&mut self, lead: Vec<String>, depth: usize) -> Result<Node, String> {
        let line = self.peek().map_or(0, |t| t.line);
        let mut words = Vec::new();
        while let Some(token) = self.peek().filter(|t| t.kind == Kind::Word) {
            words.push(token.text.to_owned());
            self.at += 1;
        }
        let assigns = self.take_mark("=");
        let value = self.value(depth)?;
        let end = self.end();
        self.take_mark(",");
        let tail = self.tail();
        Ok(Node::Item {
            lead,
            head: words.join(" "),
            assigns,
            value,
            tail,
            line,
            end,
        })
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("nested too deep".into());
        }
        if self.take_mark("{") {
            let nodes = self.nodes(depth + 1)?;
            self.take_mark("}");
            return Ok(Value::Object(nodes));
        }
        if self.take_mark("[") {
            return self.list(depth + 1);
        }
        let word = self
            .peek()
            .filter(|t| t.kind == Kind::Word)
            .map(|t| t.text.to_owned());
        self.at += 1;
        word.ok_or_else(|| "a value is missing".to_owned())
            .map(Value::Word)
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let open = self.end();
        let mut items: Vec<(Vec<String>, Value, String)> = Vec::new();
        loop {
            let lead: Vec<String> = self.comments().into_iter().map(|(text, ..)| text).collect();
            if self.peek().is_none() || self.take_mark("]") {
                let tall = self.end() > open || !lead.is_empty();
                return Ok(Value::List {
                    items,
                    tall,
                    last: lead,
                });
            }
            let value = self.value(depth)?;
            self.take_mark(",");
            let tail = self.tail();
            items.push((lead, value, tail));
        }
    }
}

/// Comments as nodes, those that touch each other as one.
fn alone(comments: Vec<(String, usize, usize)>) -> Vec<Node> {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for (text, line, end) in comments {
        match groups.last_mut().filter(|(_, last)| *last + 1 >= line) {
            Some((group, last)) => {
                group.push('\n');
                group.push_str(&text);
                *last = end;
            }
            None => groups.push((text, end)),
        }
    }
    groups.into_iter().map(|(text, _)| Node::Comment(text)).collect()
}

fn print_nodes(out: &mut String, nodes: &[Node], depth: usize) {
    let indent = "  ".repeat(depth);
    let mut at = 0;
    while at < nodes.len() {
        if at > 0 {
            out.push_str("\n\n");
        }
        let count = 1 + nodes
            .get(at..)
            .unwrap_or_default()
            .windows(2)
            .take_while(|pair| follows(pair))
            .count();
        let group = nodes.get(at..at + count).unwrap_or_default();
        print_group(out, group, &indent, depth);
        at += count;
    }
}

/// Whether the second of two nodes continues the aligned lines of the first.
fn follows(pair: &[Node]) -> bool {
    match pair {
        [
            Node::Item {
                assigns: true,
                value: above,
                end,
                ..
            },
            Node::Item {
                assigns: true,
                value,
                lead,
                line,
                ..
            },
        ] => !above.is_tall() && !value.is_tall() && lead.is_empty() && *line == end + 1,
        _ => false,
    }
}

fn print_group(out: &mut String, group: &[Node], indent: &str, depth: usize) {
    let heads = group.iter().map(|n| {
        if let Node::Item { head, .. } = n {
            head.chars().count()
        } else {
            0
        }
    });
    let width = if group.len() > 1 {
        heads.max().unwrap_or_default()
    } else {
        0
    };
    let mut lines: Vec<(String, &str)> = Vec::new();
    for node in group {
        match node {
            Node::Comment(text) => lines.push((format!("{indent}{text}"), "")),
            Node::Item {
                lead,
                head,
                assigns,
                value,
                tail,
                ..
            } => {
                let mut line: String = lead
                    .iter()
                    .map(|comment| format!("{indent}{comment}\n"))
                    .collect();
                let sign = if *assigns { "= " } else { "" };
                line.push_str(&format!("{indent}{head:width$} {sign}"));
                print_value(&mut line, value, depth);
                lines.push((line, tail));
            }
        }
    }
    let width = |line: &str| line.lines().last().unwrap_or_default().chars().count();
    let column = lines
        .iter()
        .map(|(line, _)| width(line))
        .max()
        .unwrap_or_default();
    let column = if group.len() > 1 { column } else { 0 };
    let lines: Vec<String> = lines
        .iter()
        .map(|(line, tail)| {
            let gap = " ".repeat(column.saturating_sub(width(line)) + 1);
            if tail.is_empty() {
                line.clone()
            } else {
                format!("{line}{gap}{tail}")
            }
        })
        .collect();
    out.push_str(&lines.join("\n"));
}

fn print_value(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Word(text) => out.push_str(text),
        Value::Object(nodes) if nodes.is_empty() => out.push_str("{}"),
        Value::Object(nodes) => {
            out.push_str("{\n");
            print_nodes(out, nodes, depth + 1);
            out.push_str(&format!("\n{indent}}}"));
        }
        Value::List { items, last, .. } if value.is_tall() => {
            out.push_str("[\n");
            for (i, (lead, item, tail)) in items.iter().enumerate() {
                if i > 0 && !lead.is_empty() {
                    out.push('\n');
                }
                out.extend(lead.iter().map(|comment| format!("{indent}  {comment}\n")));
                out.push_str(&format!("{indent}  "));
                print_value(out, item, depth + 1);
                out.push(',');
                if !tail.is_empty() {
                    out.push_str(&format!(" {tail}"));
                }
                out.push('\n');
            }
            out.extend(last.iter().map(|comment| format!("{indent}  {comment}\n")));
            out.push_str(&format!("{indent}]"));
        }
        Value::List { items, .. } => {
            out.push('[');
            for (i, (_, item, _)) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                print_value(out, item, depth);
            }
            out.push(']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source and what `bao policy fmt` 2.7.2 made of it.
    const SOURCE: &str = include_str!("../tests/policy/source.hcl");
    const EXPECTED: &str = include_str!("../tests/policy/formatted.hcl");

    #[test]
    fn lays_out_as_the_original() {
        assert_eq!(format(SOURCE).unwrap(), EXPECTED);
        assert_eq!(format(EXPECTED).unwrap(), EXPECTED);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        assert!(format("zz").is_err());
        assert!(format("path \"x\" {").is_err());
        assert_eq!(
            format("foo \"a\" {}").unwrap_err(),
            "invalid key \"foo\" on line 1"
        );
        assert_eq!(
            format("path \"a\" {\n x = 1\n}").unwrap_err(),
            "path \"a\": invalid key \"x\" on line 2"
        );
    }
}
