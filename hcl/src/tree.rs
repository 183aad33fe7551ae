//! The spanned tree that both syntaxes give. It must not know the syntax it came from, nor what any key means.

use std::fmt;

use crate::error::Error;

/// A place in the text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// A list of items: a whole file, or what stands between `{` and `}`. Order and duplicates are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// The items, in the order of the text.
    pub items: Vec<Item>,
    /// Where the body begins: its `{`, or 1:1 for a file.
    pub pos: Pos,
}

/// One entry of a body.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `key = value`, and every member of a JSON object.
    Attribute(Attribute),
    /// `key "label" { .. }`, with any number of labels.
    Block(Block),
}

/// `key = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// What is set.
    pub key: Key,
    /// What it is set to.
    pub value: Value,
}

/// `key "label" { .. }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The kind of block: `path`, `listener`.
    pub key: Key,
    /// The words between the kind and the `{`.
    pub labels: Vec<Key>,
    /// What stands inside.
    pub body: Body,
}

/// A word that names something, quoted or not in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The word, without quotes.
    pub name: String,
    /// Where it stands.
    pub pos: Pos,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The value.
    pub kind: Kind,
    /// Where it begins.
    pub pos: Pos,
}

/// What a value can be.
#[derive(Clone, PartialEq)]
pub enum Kind {
    /// JSON's `null`. The HCL syntax has none.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// An integer: decimal, `0x` hexadecimal or `0` octal.
    Int(i64),
    /// A finite number with a fraction or an exponent.
    Float(f64),
    /// A quoted string or a heredoc.
    String(String),
    /// `[ .. ]`.
    List(Vec<Value>),
    /// `{ .. }`.
    Object(Body),
}

/// The kind only: values of a configuration file may be secrets.
impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(values) => values.fmt(f),
            Self::Object(body) => body.fmt(f),
            other => f.write_str(other.name()),
        }
    }
}

impl Kind {
    /// The kind in words, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl Item {
    /// The key of the attribute or the kind of the block.
    pub fn key(&self) -> &Key {
        match self {
            Self::Attribute(attribute) => &attribute.key,
            Self::Block(block) => &block.key,
        }
    }

    /// The value of an attribute. An error for a block.
    pub fn value(&self) -> Result<&Value, Error> {
        match self {
            Self::Attribute(attribute) => Ok(&attribute.value),
            Self::Block(Block { key, .. }) => {
                let message = format!("{:?} is a block; it must be set with '='", key.name);
                Err(Error::at(key.pos, message))
            }
        }
    }
}

/// A body reached by its labels, whichever way the text wrote it: see [`Body::sections`].
#[derive(Debug, Clone, PartialEq)]
pub struct Section<'a> {
    /// Exactly as many labels as were asked for.
    pub labels: Vec<&'a Key>,
    /// What stands inside.
    pub body: &'a Body,
    /// Where the section's key stands.
    pub pos: Pos,
}

impl Body {
    /// All items called `name`, in order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.key().name == name)
    }

    /// The value of attribute `name`. An error if it is set twice, or if it is a block.
    pub fn value(&self, name: &str) -> Result<Option<&Value>, Error> {
        self.one(name)?.map(Item::value).transpose()
    }

    /// The object called `name`, written `name = { .. }` or `name { .. }`. An error if it is set twice or is
    /// something else.
    pub fn object(&self, name: &str) -> Result<Option<&Self>, Error> {
        match self.one(name)? {
            None => Ok(None),
            Some(Item::Attribute(attribute)) => attribute.value.object().map(Some),
            Some(Item::Block(block)) if block.labels.is_empty() => Ok(Some(&block.body)),
            Some(Item::Block(block)) => Err(Error::at(block.key.pos, format!("{name:?} takes no label"))),
        }
    }

    /// Every section called `name` with exactly `labels` labels, in order, duplicates included. `path "a" { .. }`,
    /// `"path": {"a": { .. }}` and `"path": [{"a": { .. }}]` all give one section of one label.
    pub fn sections<'a>(&'a self, name: &'a str, labels: usize) -> Result<Vec<Section<'a>>, Error> {
        let mut found = Vec::new();
        for item in self.named(name) {
            descend(item, labels, Vec::new(), item.key().pos, &mut found)?;
        }
        Ok(found)
    }

    /// An error naming the first item whose key is not in `known`, in the words of Vault and OpenBao.
    pub fn only(&self, known: &[&str]) -> Result<(), Error> {
        for item in &self.items {
            let key = item.key();
            if !known.contains(&key.name.as_str()) {
                let message = format!("invalid key {:?} on line {}", key.name, key.pos.line);
                return Err(Error::at(key.pos, message));
            }
        }
        Ok(())
    }

    /// The only item called `name`; an error if there are two.
    fn one(&self, name: &str) -> Result<Option<&Item>, Error> {
        let mut items = self.items.iter().filter(|item| item.key().name == name);
        let first = items.next();
        match items.next() {
            None => Ok(first),
            Some(second) => Err(duplicate(second.key())),
        }
    }
}

/// The error for a second use of a key that may be used once, in the words of HashiCorp's parser.
pub fn duplicate(key: &Key) -> Error {
    let message = format!(
        "The argument {:?} at {}:{} was already set. Each argument can only be defined once",
        key.name, key.pos.line, key.pos.column
    );
    Error::at(key.pos, message)
}

/// Collects into `found` the bodies under `item` once `missing` more labels were seen.
fn descend<'a>(
    item: &'a Item,
    missing: usize,
    seen: Vec<&'a Key>,
    pos: Pos,
    found: &mut Vec<Section<'a>>,
) -> Result<(), Error> {
    match item {
        Item::Block(block) => {
            let Some(still) = missing.checked_sub(block.labels.len()) else {
                return Err(Error::at(
                    pos,
                    format!("{:?} has too many labels", block.key.name),
                ));
            };
            let labels = seen.into_iter().chain(&block.labels).collect();
            enter(&block.body, still, labels, pos, found)
        }
        Item::Attribute(Attribute { value, .. }) => match &value.kind {
            Kind::Object(body) => enter(body, missing, seen, pos, found),
            Kind::List(values) => values
                .iter()
                .try_for_each(|value| enter(value.object()?, missing, seen.clone(), pos, found)),
            other => Err(Error::at(
                value.pos,
                format!("expected an object, got {}", other.name()),
            )),
        },
    }
}

/// The second half of [`descend`]: each item of `body` is a label, unless none is missing.
fn enter<'a>(
    body: &'a Body,
    missing: usize,
    labels: Vec<&'a Key>,
    pos: Pos,
    found: &mut Vec<Section<'a>>,
) -> Result<(), Error> {
    let Some(still) = missing.checked_sub(1) else {
        found.push(Section { labels, body, pos });
        return Ok(());
    };
    for item in &body.items {
        let mut labels = labels.clone();
        labels.push(item.key());
        descend(item, still, labels, item.key().pos, found)?;
    }
    Ok(())
}

impl Value {
    /// A string. A number or a bool is not one.
    pub fn str(&self) -> Result<&str, Error> {
        match &self.kind {
            Kind::String(text) => Ok(text),
            _ => Err(self.unexpected("a string")),
        }
    }

    /// A string, or a number written as one, as HCL's decoder takes them.
    pub fn text(&self) -> Result<String, Error> {
        match &self.kind {
            Kind::String(text) => Ok(text.clone()),
            Kind::Int(number) => Ok(number.to_string()),
            Kind::Float(number) => Ok(number.to_string()),
            _ => Err(self.unexpected("a string")),
        }
    }

    /// A bool, or the strings `"true"`, `"false"`, `"1"`, `"0"`.
    pub fn bool(&self) -> Result<bool, Error> {
        match &self.kind {
            Kind::Bool(value) => Ok(*value),
            Kind::String(text) if text == "true" || text == "1" => Ok(true),
            Kind::String(text) if text == "false" || text == "0" => Ok(false),
            _ => Err(self.unexpected("a bool")),
        }
    }

    /// An integer, or a string that is one in decimal.
    pub fn int(&self) -> Result<i64, Error> {
        match &self.kind {
            Kind::Int(number) => Ok(*number),
            Kind::String(text) => text.parse().map_err(|_| self.unexpected("an integer")),
            _ => Err(self.unexpected("an integer")),
        }
    }

    /// A list.
    pub fn list(&self) -> Result<&[Self], Error> {
        match &self.kind {
            Kind::List(values) => Ok(values),
            _ => Err(self.unexpected("a list")),
        }
    }

    /// A list of [`Value::text`].
    pub fn texts(&self) -> Result<Vec<String>, Error> {
        self.list()?.iter().map(Self::text).collect()
    }

    /// An object.
    pub fn object(&self) -> Result<&Body, Error> {
        match &self.kind {
            Kind::Object(body) => Ok(body),
            _ => Err(self.unexpected("an object")),
        }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        Error::at(self.pos, format!("expected {wanted}, got {}", self.kind.name()))
    }
}
