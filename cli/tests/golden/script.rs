//! Scripts: one command a line, with `NAME=value` variables before it, `< text` for standard input and `> name` to
//! keep its output as `$name` for later lines. `~ ` before it repeats it until it succeeds, `~! ` until it fails.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::mask;
use super::server::{self, Server};

/// A document that is hard on formats.
const DOCUMENT: &str = r#"{"f":1.10,"i":12345678901234567890123,"e":1e3,"n":null,"arr":[],"obj":{},"a2":[1,[2,3],{"x":1,"y":[1]}],"o2":{"z":{"k":"v"}},"nl":"a\nb\n","nl2":"a\nb\n\n","cr":"a\rb","ctl":"\u0001","big":1234567890123,"neg":-5,"z":0.00001,"tr":true}"#;
const POLICY: &str = "path \"secret/*\" {\n  capabilities = [\"read\"]\n}\n";

/// How long a command may be repeated until it succeeds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names that stand for one another.
const PRODUCTS: [&str; 8] = [
    "OpenBao",
    "Vault",
    "Conclave",
    "+builtin.bao",
    "+builtin.conclave",
    "conclave",
    "BAO_TOKEN",
    "VAULT_TOKEN",
];
/// The line of `status` that only our server causes.
const OWN_VERSION: &str = "Conclave Version ";

/// What our sealed node says beyond the original's: it replicates and votes, and may lead.
const CARETAKER: [&str; 7] = [
    "Raft Committed Index ",
    "Raft Applied Index ",
    "\"is_self\":",
    "\"leader_address\":",
    "\"leader_cluster_address\":",
    "\"raft_committed_index\":",
    "\"raft_applied_index\":",
];

/// One command.
pub struct Step {
    /// The line as it was written.
    pub line: String,
    words: Vec<String>,
    stdin: String,
    keep: Vec<Keep>,
    /// Whether to repeat the command until it succeeds (or until it fails), and compare nothing.
    pub waits: bool,
    until_it_fails: bool,
}

/// What of the output is kept for later lines: all, or the rest of the line that begins with a prefix.
struct Keep {
    name: String,
    prefix: Option<String>,
}

impl Step {
    /// Reads a script.
    pub fn parse_all(script: &str) -> Vec<Self> {
        let lines = script
            .lines()
            .filter(|l| !l.trim().is_empty() && !l.starts_with('#'));
        lines.map(Self::parse).collect()
    }

    fn parse(line: &str) -> Self {
        let is_keep = |text: &str| {
            let name = text.split('=').next().unwrap_or_default();
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        };
        let mut parts: Vec<&str> = line.split(" > ").collect();
        let mut keep = Vec::new();
        while parts.len() > 1 && is_keep(parts[parts.len() - 1]) {
            let part = parts.pop().unwrap();
            let (name, prefix) = part
                .split_once('=')
                .map_or((part, None), |(n, p)| (n, Some(p.to_owned())));
            keep.push(Keep {
                name: name.to_owned(),
                prefix,
            });
        }
        let command = parts.join(" > ");
        let (command, stdin) = command.split_once(" < ").unwrap_or((&command, ""));
        let until_it_fails = command.starts_with("~! ");
        let waits = until_it_fails || command.starts_with("~ ");
        let words = split(command.trim_start_matches(['~', '!']).trim_start());
        Self {
            line: line.to_owned(),
            words,
            stdin: stdin.replace("\\n", "\n"),
            keep,
            waits,
            until_it_fails,
        }
    }
}

/// Splits at spaces outside of quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "open quote in {line}");
    words.extend(word);
    words
}

/// What a command printed, masked.
#[derive(PartialEq, Eq)]
pub struct Outcome {
    pub code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// The same to the byte; or, where a product is named or a sealed node says more, and so lines may break elsewhere,
    /// the same words.
    pub fn same(&self, other: &Self) -> bool {
        let names = |o: &Self| {
            PRODUCTS
                .iter()
                .any(|name| o.stdout.contains(name) || o.stderr.contains(name))
        };
        let by_words = names(self) || names(other) || self.is_sealed() && other.is_sealed();
        self == other || by_words && self.words() == other.words()
    }

    fn is_sealed(&self) -> bool {
        let words: Vec<&str> = self.stdout.split_whitespace().collect();
        let sealed = [["Sealed", "true"], ["\"sealed\":", "true,"]];
        words
            .windows(2)
            .any(|pair| sealed.iter().any(|sealed| sealed == pair))
    }

    fn words(&self) -> (Option<i32>, String, String) {
        let is_sealed = self.is_sealed();
        let plain = |text: &str| {
            let says_more = |line: &&str| {
                let line = line.trim_start();
                line.starts_with(OWN_VERSION)
                    || is_sealed && CARETAKER.iter().any(|start| line.starts_with(start))
            };
            let lines: Vec<&str> = text.lines().filter(|line| !says_more(line)).collect();
            let mut text = lines.join(" ");
            for name in PRODUCTS {
                text = text.replace(name, "<product>");
            }
            let words = text.split_whitespace().map(|word| word.trim_end_matches(','));
            words.collect::<Vec<_>>().join(" ")
        };
        (self.code, plain(&self.stdout), plain(&self.stderr))
    }

    /// Both sides, for people.
    pub fn difference(&self, other: &Self) -> String {
        let show = |o: &Self| {
            format!(
                "exit {:?}\n--stdout--\n{}\n--stderr--\n{}\n",
                o.code, o.stdout, o.stderr
            )
        };
        format!("=== expected: {}=== got: {}", show(self), show(other))
    }
}

/// A program with the server it talks to and a home of its own.
pub struct Side {
    program: PathBuf,
    address: String,
    authority: Option<PathBuf>,
    home: tempfile::TempDir,
    kept: BTreeMap<String, String>,
}

impl Side {
    pub fn new(program: PathBuf, server: &Server) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("FILE"), DOCUMENT).unwrap();
        std::fs::write(home.path().join("HCL"), POLICY).unwrap();
        std::fs::write(
            home.path().join("other.pem"),
            server::authority("other authority").0,
        )
        .unwrap();
        std::fs::create_dir(home.path().join("authorities")).unwrap();
        if let Some(authority) = &server.authority {
            std::fs::copy(authority, home.path().join("authorities/ca.pem")).unwrap();
        }
        let authority = server.authority.clone();
        Self {
            program,
            address: server.address.clone(),
            authority,
            home,
            kept: BTreeMap::new(),
        }
    }

    pub fn run(&mut self, step: &Step) -> Outcome {
        let words: Vec<String> = step.words.iter().map(|w| self.fill(w)).collect();
        let is_variable = |w: &&String| {
            w.split_once('=')
                .is_some_and(|(n, _)| n.ends_with(|c: char| c.is_ascii_uppercase()) && !n.contains('-'))
        };
        let variables: Vec<&String> = words.iter().take_while(is_variable).collect();
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("VAULT_ADDR", &self.address)
            .env("VAULT_TOKEN", "root")
            .envs(self.authority.iter().map(|path| ("VAULT_CACERT", path)))
            .current_dir(self.home.path())
            .args(&words[variables.len()..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for variable in &variables {
            let (name, value) = variable.split_once('=').unwrap();
            command.env(name, value);
        }
        let mut child = command.spawn().unwrap();
        // A command that does not read its input closes it early.
        let _ = child
            .stdin
            .take()
            .unwrap()
            .write_all(self.fill(&step.stdin).as_bytes());
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        for Keep { name, prefix } in &step.keep {
            let value = match prefix {
                None => stdout.trim(),
                Some(prefix) => {
                    let line = stdout.lines().find_map(|l| l.strip_prefix(prefix.as_str()));
                    line.unwrap_or_else(|| panic!("no line {prefix:?} in {stdout}{stderr}"))
                        .trim()
                }
            };
            self.kept.insert(format!("${name}"), value.to_owned());
        }
        let home = self.home.path().to_str().unwrap();
        let mask = |text: &str| mask::mask(&text.replace(&self.address, "<address>").replace(home, "<home>"));
        Outcome {
            code: output.status.code(),
            stdout: mask(&stdout),
            stderr: mask(&stderr),
        }
    }

    /// Repeats a command until it succeeds, or until it fails.
    pub fn wait(&mut self, step: &Step) {
        let end = Instant::now() + PATIENCE;
        while (self.run(step).code != Some(0)) != step.until_it_fails {
            assert!(Instant::now() < end, "never came true: {}", step.line);
        }
    }

    fn fill(&self, word: &str) -> String {
        let mut word = word.to_owned();
        for (name, value) in self.kept.iter().rev() {
            word = word.replace(name, value);
        }
        word
    }
}
