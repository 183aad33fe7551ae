//! Requests: `[~] [token=T] [ns=N] [type=T] [wrap=TTL] [mfa=M] [inline=PATH|KEY=JSON] METHOD path [body] [> NAME=/pointer/into/the/answer]`. `~` repeats until it succeeds,
//! `$NAME` stands for what was kept, `{{code URL}}` for the code that a device shows which was told this URL. Without `token=` the root token is shown, once there is one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::mask::mask;
use super::server::Server;

/// Most requests of one curl, so that a failure is told near its place.
const MOST: usize = 64;
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
    mfa: Option<String>,
    inline: Option<String>,
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
            let known = ["token", "ns", "type", "wrap", "mfa", "inline"].into_iter();
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
        let mfa = option("mfa");
        let inline = option("inline");
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
            mfa,
            inline,
            method: method.to_owned(),
            path: path.to_owned(),
            body: body.to_owned(),
            keep,
        }
    }
}

impl Request {
    /// The first of these requests, as many as can be sent before anything is kept of their answers.
    pub fn batch(requests: &[Self]) -> Vec<&Self> {
        let mut batch: Vec<&Self> = Vec::new();
        for request in requests {
            let is_free = |other: &&Self| !request.needs(other) && !other.needs(request);
            if request.waits || request.surveys || batch.len() == MOST || !batch.iter().all(is_free) {
                break;
            }
            batch.push(request);
        }
        batch
    }

    /// Whether anything in it stands for what is kept of another's answer.
    fn needs(&self, other: &Self) -> bool {
        let token = self.token.as_deref().unwrap_or("$ROOT");
        let mfa = self.mfa.as_deref().unwrap_or_default();
        let texts = [token, &self.path, &self.body, mfa];
        let mut kept = other.keep.iter().map(|(name, _)| format!("${name}"));
        kept.any(|name| texts.iter().any(|text| text.contains(&name)))
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
    pub mfa: Option<String>,
    /// A login in headers: what only HTTP has.
    pub inline: Option<String>,
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

/// The headers of a login: its path, then its parameters; one without a key is sent as it is.
fn headers_of(login: &str) -> Vec<String> {
    let mut parts = login.split('|');
    let path = format!("X-Vault-Inline-Auth-Path: {}", parts.next().unwrap_or_default());
    let parameters = parts.enumerate().map(|(number, parameter)| {
        let encoded = match parameter.split_once('=') {
            Some((key, value)) => {
                let value: Value = serde_json::from_str(value).unwrap();
                URL_SAFE_NO_PAD.encode(json!({"key": key, "value": value}).to_string())
            }
            None => parameter.to_owned(),
        };
        format!("X-Vault-Inline-Auth-Parameter-{number}: {encoded}")
    });
    std::iter::once(path).chain(parameters).collect()
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
        self.send_all(&[request]).remove(0)
    }

    /// Sends requests by one curl, over one connection: none may need what is kept of another's answer.
    pub fn send_all(&mut self, requests: &[&Request]) -> Vec<Answer> {
        let blocks = requests.iter().map(|request| self.block(request)).collect();
        let answers = requests.iter().zip(self.curl(blocks));
        answers
            .map(|(request, (status, body, complaint))| {
                assert_ne!(status, 0, "{}: {complaint}", request.line);
                let answer = Answer { status, body };
                self.keep(request, &answer);
                answer
            })
            .collect()
    }

    /// A request as curl's configuration has it.
    fn block(&self, request: &Request) -> String {
        let mut block = String::new();
        let mut set = |name: &str, value: &str| block += &format!("{name} = {}\n", quoted(value));
        set(
            "url",
            &format!("{}/v1/{}", self.address, self.fill(&request.path)),
        );
        set("request", &request.method);
        if request.method == "HEAD" {
            set("output", "/dev/null");
        }
        let token = self.token(request);
        if !token.is_empty() {
            set("header", &format!("X-Vault-Token: {token}"));
        }
        if let Some(namespace) = &request.namespace {
            set("header", &format!("X-Vault-Namespace: {namespace}"));
        }
        if let Some(kind) = &request.content_type {
            set("header", &format!("Content-Type: {kind}"));
        } else if request.method == "PATCH" {
            set("header", "Content-Type:");
        }
        if let Some(ttl) = &request.wrap_ttl {
            set("header", &format!("X-Vault-Wrap-TTL: {ttl}"));
        }
        if let Some(shown) = &request.mfa {
            set("header", &format!("X-Vault-MFA: {}", self.fill(shown)));
        }
        for header in request.inline.iter().flat_map(|login| headers_of(login)) {
            set("header", &header);
        }
        if !request.body.is_empty() {
            assert!(!request.body.starts_with('@'), "{}: that is a file", request.line);
            set("data-binary", &self.fill(&request.body));
        }
        if request.method == "HEAD" {
            block += "head\n";
        }
        block
    }

    /// Statuses and bodies of what these blocks of curl's configuration ask for, and what curl complained of.
    fn curl(&self, blocks: Vec<String>) -> Vec<(u16, Value, String)> {
        const END: &str = "\u{1}";
        let each = format!(
            "cacert = {}\nwrite-out = \"\\n%{{http_code}}{END}\"\n",
            quoted(&self.authority)
        );
        let count = blocks.len();
        let blocks = blocks.into_iter().map(|block| block + &each);
        let config = blocks.collect::<Vec<_>>().join("next\n");
        let mut curl = Command::new("curl")
            .args(["--silent", "--show-error", "--config", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = curl.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(config.as_bytes()).unwrap());
        let output = curl.wait_with_output().unwrap();
        writer.join().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        let answers = text.split_terminator(END).map(|answer| {
            let (body, status) = answer.rsplit_once('\n').unwrap();
            let body = match body.trim() {
                "" => Value::Null,
                // Some answers are texts: keys, for programs that read nothing else.
                body => serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)),
            };
            (status.parse().unwrap(), body, complaint.to_string())
        });
        let answers: Vec<_> = answers.collect();
        assert_eq!(answers.len(), count, "{complaint}{text}");
        answers
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
            mfa: request.mfa.clone(),
            inline: request.inline.clone(),
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

    /// Sends many requests with this token or none; their statuses and bodies.
    pub fn sweep(&self, token: Option<&str>, requests: &[(&str, String)]) -> Vec<(u16, Value)> {
        let blocks = requests.iter().map(|(method, path)| {
            let url = quoted(&format!("{}/v1/{path}", self.address));
            let mut block = format!("url = {url}\nrequest = {method}\n");
            if let Some(token) = token {
                block += &format!("header = \"X-Vault-Token: {token}\"\n");
            }
            match *method {
                "PATCH" => {
                    block += "header = \"Content-Type: application/merge-patch+json\"\ndata = \"{}\"\n"
                }
                "POST" => block += "data = \"{}\"\n",
                _ => {}
            }
            block
        });
        let answers = self.curl(blocks.collect()).into_iter();
        answers.map(|(status, body, _)| (status, body)).collect()
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
        while let Some((before, rest)) = text.split_once("{{code ") {
            let (url, after) = rest.split_once("}}").unwrap();
            text = format!("{before}{}{after}", code(url));
        }
        text
    }
}

/// What a device shows now that was told this URL.
fn code(url: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
    let secret = pairs.find(|(name, _)| *name == "secret").unwrap().1;
    let now = Command::new("date").arg("+%s").output().unwrap().stdout;
    let now: u64 = String::from_utf8(now).unwrap().trim().parse().unwrap();
    let totp = Builder::new().with_secret(Secret::try_from_base32(secret).unwrap());
    totp.build().unwrap().generate(now).to_string()
}

/// A text as curl's configuration has it.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n"))
}
