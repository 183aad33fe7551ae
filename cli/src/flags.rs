//! Flags in Go's manner: one dash or two, `-name=value` or `-name value`, flags before arguments. Declarative
//! tables of [`Flag`]; knows no command.

use std::collections::BTreeMap;

use crate::env::Env;
use crate::goval::{Span, parse_bool, parse_int, quote};

/// A flag of a command.
#[derive(Clone, Copy)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// What values it takes.
    pub kind: Kind,
    /// Default, as its text; empty for the kind's zero.
    pub default: &'static str,
    /// Environment setting without prefix; empty for none.
    pub env: &'static str,
    /// Help, in one paragraph.
    pub usage: &'static str,
    /// Whether help and completion leave it out.
    pub hidden: bool,
}

/// What values a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `-x`, `-x=false`
    Bool,
    /// A whole number.
    Int,
    /// Any text.
    Text,
    /// A duration.
    Span,
    /// Texts, one for each use.
    List,
    /// `key=value` pairs, one for each use.
    Map,
}

impl Flag {
    const fn new(name: &'static str, kind: Kind, usage: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            kind,
            default: "",
            env: "",
            usage,
            hidden: false,
        }
    }
    /// A truth value.
    pub const fn bool(name: &'static str, usage: &'static str) -> Self {
        Self::new(name, Kind::Bool, usage)
    }
    /// A whole number.
    pub const fn int(name: &'static str, usage: &'static str) -> Self {
        Self::new(name, Kind::Int, usage)
    }
    /// A text.
    pub const fn text(name: &'static str, usage: &'static str) -> Self {
        Self::new(name, Kind::Text, usage)
    }
    /// A duration.
    pub const fn span(name: &'static str, usage: &'static str) -> Self {
        Self::new(name, Kind::Span, usage)
    }
    /// A text that may be given several times.
    pub const fn list(name: &'static str, usage: &'static str) -> Self {
        Self::new(name, Kind::List, usage)
    }
    /// A pair that may be given several times.
    pub const fn map(name: &'static str, usage: &'static str) -> Self {
        Self::new(name, Kind::Map, usage)
    }
    /// The same with a default.
    pub const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }
    /// The same, also set by the environment.
    pub const fn env(mut self, name: &'static str) -> Self {
        self.env = name;
        self
    }
    /// The same under further names.
    pub const fn alias(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }
    /// The same, left out of help.
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    fn check(&self, text: &str) -> Result<(), String> {
        match self.kind {
            Kind::Bool => parse_bool(text).map(|_| ()),
            Kind::Int => parse_int(text).map(|_| ()),
            Kind::Span => span(text).map(|_| ()),
            Kind::Map if !text.contains('=') => Err(format!("missing = in KV pair: {}", quote(text))),
            Kind::Text | Kind::List | Kind::Map => Ok(()),
        }
    }
}

/// A duration flag's value: `system` stands for "the system's default", which is -1 s.
fn span(text: &str) -> Result<Span, String> {
    if text == "system" {
        Ok(Span::seconds(-1))
    } else {
        Span::parse(text)
    }
}

/// A parsed command line: flags and what follows them.
#[derive(Default)]
pub struct Args {
    given: BTreeMap<&'static str, Vec<String>>,
    from_env: BTreeMap<&'static str, String>,
    rest: Vec<String>,
}

impl Args {
    /// Reads flags from the front of `words`. The arguments read so far come back with an error too.
    pub fn parse(flags: &[&'static [Flag]], words: &[String], env: &Env) -> (Self, Result<(), String>) {
        let mut args = Self::default();
        for flag in flags.iter().copied().flatten().filter(|f| !f.env.is_empty()) {
            // A variable that does not parse is ignored here; the session complains about those that matter.
            if let Some(value) = env.get(flag.env).filter(|v| flag.check(v).is_ok()) {
                args.from_env.insert(flag.name, value.to_owned());
            }
        }
        let mut words = words.iter();
        let outcome = args.read(flags, &mut words);
        args.rest.extend(words.cloned());
        (args, outcome)
    }

    fn read(
        &mut self,
        flags: &[&'static [Flag]],
        words: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), String> {
        while let Some(word) = words.as_slice().first() {
            if word.len() < 2 || !word.starts_with('-') {
                return Ok(());
            }
            if word == "--" {
                words.next();
                return Ok(());
            }
            let body = word
                .strip_prefix("--")
                .or_else(|| word.strip_prefix('-'))
                .unwrap_or_default();
            if body.is_empty() || body.starts_with('-') || body.starts_with('=') {
                return Err(format!("bad flag syntax: {word}"));
            }
            words.next();
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            let flag = flags
                .iter()
                .copied()
                .flatten()
                .find(|f| f.name == name || f.aliases.contains(&name));
            let flag = flag.ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
            let value = match (value, flag.kind) {
                (Some(value), _) => value,
                (None, Kind::Bool) => "true".to_owned(),
                (None, _) => words
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("flag needs an argument: -{name}"))?,
            };
            if let Err(why) = flag.check(&value) {
                let kind = if flag.kind == Kind::Bool {
                    "boolean value"
                } else {
                    "value"
                };
                let before = if flag.kind == Kind::Bool { "" } else { "flag " };
                return Err(format!(
                    "invalid {kind} {} for {before}-{name}: {why}",
                    quote(&value)
                ));
            }
            self.given.entry(flag.name).or_default().push(value);
        }
        Ok(())
    }

    /// What follows the flags.
    pub fn rest(&self) -> &[String] {
        &self.rest
    }

    /// The argument at `index` after the flags; empty if there is none.
    pub fn arg(&self, index: usize) -> &str {
        self.rest.get(index).map(String::as_str).unwrap_or_default()
    }

    /// Whether the flag stands on the command line.
    pub fn given(&self, flag: &Flag) -> bool {
        self.given.contains_key(flag.name)
    }

    /// The flag's text: from the command line, else the environment, else the default.
    pub fn text(&self, flag: &Flag) -> &str {
        let given = self.given.get(flag.name).and_then(|v| v.last());
        given
            .or_else(|| self.from_env.get(flag.name))
            .map_or(flag.default, String::as_str)
    }

    /// The flag's text if it is not empty.
    pub fn some(&self, flag: &Flag) -> Option<&str> {
        Some(self.text(flag)).filter(|t| !t.is_empty())
    }

    /// A truth value.
    pub fn is(&self, flag: &Flag) -> bool {
        parse_bool(self.text(flag)).unwrap_or(false)
    }

    /// A whole number; 0 without default.
    pub fn int(&self, flag: &Flag) -> i64 {
        parse_int(self.text(flag)).unwrap_or(0)
    }

    /// A duration; 0 without default.
    pub fn span(&self, flag: &Flag) -> Span {
        span(self.text(flag)).unwrap_or_default()
    }

    /// All values of a list flag, trimmed; those of the environment are separated by commas.
    pub fn list(&self, flag: &Flag) -> Vec<String> {
        match (self.given.get(flag.name), self.from_env.get(flag.name)) {
            (Some(values), _) => values.iter().map(|v| v.trim().to_owned()).collect(),
            (None, Some(text)) => text.split(',').map(|v| v.trim().to_owned()).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// The pairs of a map flag, ordered by key, the last of equal keys winning.
    pub fn map(&self, flag: &Flag) -> BTreeMap<String, String> {
        let given = self.given.get(flag.name).map(Vec::as_slice).unwrap_or_default();
        given
            .iter()
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::bool("force", "").alias(&["f"]),
        Flag::int("cas", "").default("-1"),
        Flag::text("mount", "").env("MOUNT"),
        Flag::list("versions", ""),
        Flag::map("meta", ""),
        Flag::span("ttl", ""),
    ];

    fn parse(words: &[&str]) -> (Args, Result<(), String>) {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Args::parse(&[FLAGS], &words, &Env::of([("VAULT_MOUNT", "env")]))
    }

    fn flag(name: &str) -> &'static Flag {
        FLAGS.iter().find(|f| f.name == name).unwrap()
    }

    #[test]
    fn reads_gos_spellings() {
        let (args, outcome) = parse(&[
            "-f",
            "--cas=3",
            "-mount",
            "kv",
            "-versions=1",
            "-versions",
            "2,3",
            "-meta=a=b=c",
            "x",
            "-f",
        ]);
        assert_eq!(outcome, Ok(()));
        assert!(args.is(flag("force")));
        assert_eq!(args.int(flag("cas")), 3);
        assert_eq!(args.text(flag("mount")), "kv");
        assert_eq!(args.list(flag("versions")), ["1", "2,3"]);
        assert_eq!(args.map(flag("meta")).get("a").unwrap(), "b=c");
        assert_eq!(args.rest(), ["x", "-f"]);
    }

    #[test]
    fn defaults_and_environment() {
        let (args, _) = parse(&["--", "-f"]);
        assert_eq!((args.int(flag("cas")), args.text(flag("mount"))), (-1, "env"));
        assert_eq!(args.rest(), ["-f"]);
        assert!(!args.given(flag("cas")));
    }

    #[test]
    fn complains_as_go() {
        let complaint = |words: &[&str]| parse(words).1.unwrap_err();
        assert_eq!(complaint(&["-nosuch"]), "flag provided but not defined: -nosuch");
        assert_eq!(complaint(&["-mount"]), "flag needs an argument: -mount");
        assert_eq!(complaint(&["---x"]), "bad flag syntax: ---x");
        assert_eq!(
            complaint(&["-f=zz"]),
            "invalid boolean value \"zz\" for -f: strconv.ParseBool: parsing \"zz\": invalid syntax"
        );
        assert_eq!(
            complaint(&["-cas=abc"]),
            "invalid value \"abc\" for flag -cas: strconv.ParseInt: parsing \"abc\": invalid syntax"
        );
        assert_eq!(
            complaint(&["-meta=x"]),
            "invalid value \"x\" for flag -meta: missing = in KV pair: \"x\""
        );
    }
}
