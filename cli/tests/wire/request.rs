//! Requests: `[~] [token=T] [ns=N] [type=T] [wrap=TTL] METHOD path [body] [> NAME=/pointer/into/the/answer]`. `~` repeats until it succeeds,
//! `$NAME` stands for what was kept. Without `token=` the root token is shown, once there is one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::mask::mask;
use super::server::Server;

/// How long a request may be repeated until it succeeds.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line.
pub struct Request {
    /// As it was written.
    pub line: String,
    /// Whether to repeat it until it succeeds, and compare nothing.
    pub waits: bool,
    /// Whether to go through all routes here instead of sending anything.
    pub surveys: bool,
    token: Option<String>,
    namespace: Option<String>,
    content_type: Option<String>,
    wrap_ttl: Option<String>,
    method: String,
    path: String,
    body: String,
    keep: Vec<(String, String)>,
}

impl Request {
    /// Reads a script.
    pub fn parse_all(script: &str) -> Vec<Self> {
        let lines = script
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(Self::parse).collect()
    }

    fn parse(line: &str) -> Self {
        let mut parts = line.split(" > ");
        let mut rest = parts.next().unwrap();
        let keep = parts.map(|part| part.split_once('=').unwrap());
        let keep = keep
            .map(|(name, pointer)| (name.to_owned(), pointer.to_owned()))
            .collect();
        let waits = rest.starts_with("~ ");
        rest = rest.trim_start_matches("~ ");
        let mut options = BTreeMap::new();
        while let Some((option, after)) = rest.split_once(' ') {
            let known = ["token", "ns", "type", "wrap"].into_iter();
            let mut found =
                known.filter_map(|name| Some((name, option.strip_prefix(name)?.strip_prefix('=')?)));
            let Some((name, value)) = found.next() else {
                break;
            };
            options.insert(name, value.to_owned());
            rest = after;
        }
        let mut option = |name: &str| options.remove(name);
        let token = option("token");
        let namespace = option("ns");
        let content_type = option("type");
        let wrap_ttl = option("wrap");
        let (method, rest) = rest.split_once(' ').unwrap();
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        Self {
            line: line.to_owned(),
            waits,
            surveys: method == "=",
            token,
            namespace,
            content_type,
            wrap_ttl,
            method: method.to_owned(),
            path: path.to_owned(),
            body: body.to_owned(),
            keep,
        }
    }
}

/// A request with everything filled in.
pub struct Parts {
    /// `LIST`, `SCAN` or a method, of which PUT is POST and HEAD is GET.
    pub verb: String,
    pub is_head: bool,
    pub path: String,
    pub query: String,
    /// Empty for none.
    pub token: String,
    pub namespace: Option<String>,
    pub content_type: Option<String>,
    pub wrap_ttl: Option<String>,
    pub body: String,
}

/// What a server answered.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body; null if there is none.
    pub body: Value,
}

impl Answer {
    /// The texts of a list, masked, with the product's name taken out.
    pub fn texts(&self, list: &str) -> String {
        let texts = self.body.get(list).cloned().unwrap_or_default();
        let texts = mask(&texts.to_string());
        let texts = texts
            .replace("OpenBao", "<product>")
            .replace("Conclave", "<product>");
        texts.replace("'bao ", "'conclave ")
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = self.body.to_string().chars().take(1500).collect();
        write!(f, "{} {body}", self.status)
    }
}

/// A server, and what was kept of its answers.
pub struct Side {
    address: String,
    authority: String,
    kept: BTreeMap<String, String>,
}

impl Side {
    pub fn new(server: &Server) -> Self {
        Self {
            address: server.address.clone(),
            authority: server.authority.as_ref().unwrap().display().to_string(),
            kept: BTreeMap::new(),
        }
    }

    /// Sends a request by curl.
    pub fn send(&mut self, request: &Request) -> Answer {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--cacert", &self.authority]);
        command.args(["--write-out", "\n%{http_code}", "--request", &request.method]);
        if request.method == "HEAD" {
            command.args(["--head", "--output", "/dev/null"]);
        }
        let token = self.token(request);
        if !token.is_empty() {
            command.args(["--header", &format!("X-Vault-Token: {token}")]);
        }
        if let Some(namespace) = &request.namespace {
            command.args(["--header", &format!("X-Vault-Namespace: {namespace}")]);
        }
        if let Some(kind) = &request.content_type {
            command.args(["--header", &format!("Content-Type: {kind}")]);
        } else if request.method == "PATCH" {
            command.args(["--header", "Content-Type:"]);
        }
        if let Some(ttl) = &request.wrap_ttl {
            command.args(["--header", &format!("X-Vault-Wrap-TTL: {ttl}")]);
        }
        if !request.body.is_empty() {
            command.args(["--data-binary", "@-"]);
        }
        command.arg(format!("{}/v1/{}", self.address, self.fill(&request.path)));
        let mut curl = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let body = self.fill(&request.body);
        curl.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = curl.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        let (body, status) = text
            .rsplit_once('\n')
            .unwrap_or_else(|| panic!("{}: {complaint}", request.line));
        let body = match body.trim() {
            "" => Value::Null,
            // Some answers are texts: keys, for programs that read nothing else.
            body => serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)),
        };
        let answer = Answer {
            status: status.parse().unwrap(),
            body,
        };
        assert_ne!(answer.status, 0, "{}: {complaint}", request.line);
        self.keep(request, &answer);
        answer
    }

    fn token(&self, request: &Request) -> String {
        match &request.token {
            Some(token) => self.fill(token),
            None => self.kept.get("$ROOT").cloned().unwrap_or_default(),
        }
    }

    /// A request for those who send it otherwise than by curl.
    pub fn parts(&self, request: &Request) -> Parts {
        let filled = self.fill(&request.path);
        let (path, query) = filled.split_once('?').unwrap_or((&filled, ""));
        Parts {
            verb: self.target(request).0,
            is_head: request.method == "HEAD",
            path: path.to_owned(),
            query: query.to_owned(),
            token: self.token(request),
            namespace: request.namespace.clone(),
            content_type: request.content_type.clone(),
            wrap_ttl: request.wrap_ttl.clone(),
            body: self.fill(&request.body),
        }
    }

    /// What a request does and to what: `LIST`, `SCAN` or a method, and the path without its query.
    pub fn target(&self, request: &Request) -> (String, String) {
        let filled = self.fill(&request.path);
        let (path, query) = filled.split_once('?').unwrap_or((&filled, ""));
        let verb = match request.method.as_str() {
            "GET" if query.contains("list=true") => "LIST",
            "GET" if query.contains("scan=true") => "SCAN",
            "PUT" => "POST",
            "HEAD" => "GET",
            method => method,
        };
        (verb.to_owned(), path.trim_end_matches('/').to_owned())
    }

    /// The document that tells all routes.
    pub fn document(&self) -> Value {
        let root = self.kept.get("$ROOT").cloned().unwrap_or_default();
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--cacert", &self.authority])
            .args(["--header", &format!("X-Vault-Token: {root}")])
            .arg(format!("{}/v1/sys/internal/specs/openapi", self.address))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Sends many requests over one connection, with this token or none; their statuses and bodies.
    pub fn sweep(&self, token: Option<&str>, requests: &[(&str, String)]) -> Vec<(u16, Value)> {
        const END: &str = "\u{1}";
        let blocks = requests.iter().map(|(method, path)| {
            let mut block = format!(
                "url = \"{}/v1/{path}\"\nrequest = {method}\ncacert = \"{}\"\nsilent\nwrite-out = \"\\n%{{http_code}}{END}\"\n",
                self.address, self.authority
            );
            if let Some(token) = token {
                block += &format!("header = \"X-Vault-Token: {token}\"\n");
            }
            match *method {
                "PATCH" => block += "header = \"Content-Type: application/merge-patch+json\"\ndata = \"{}\"\n",
                "POST" => block += "data = \"{}\"\n",
                _ => {}
            }
            block
        });
        let config = blocks.collect::<Vec<_>>().join("next\n");
        let mut curl = Command::new("curl")
            .args(["--config", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = curl.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(config.as_bytes()).unwrap());
        let output = curl.wait_with_output().unwrap();
        writer.join().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let answers = text.split_terminator(END).map(|answer| {
            let (body, status) = answer.rsplit_once('\n').unwrap();
            let body = serde_json::from_str(body.trim()).unwrap_or(Value::Null);
            (status.parse().unwrap(), body)
        });
        let answers: Vec<_> = answers.collect();
        assert_eq!(answers.len(), requests.len(), "{text}");
        answers
    }

    /// Repeats a request until it succeeds.
    pub fn wait(&mut self, request: &Request) {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.send(request);
            if answer.status < 300 {
                return;
            }
            assert!(Instant::now() < end, "{}: {answer}", request.line);
        }
    }

    /// Keeps what the request's line wants kept of its answer.
    pub fn keep(&mut self, request: &Request, answer: &Answer) {
        for (name, pointer) in &request.keep {
            let found = answer.body.pointer(pointer);
            let found = found.unwrap_or_else(|| panic!("{}: no {pointer} in {answer}", request.line));
            self.kept
                .insert(format!("${name}"), found.as_str().unwrap().to_owned());
        }
    }

    /// Longer names first: `$TA` is not `$T` and an A.
    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let mut kept: Vec<_> = self.kept.iter().collect();
        kept.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, value) in kept {
            text = text.replace(name, value);
        }
        text
    }
}
