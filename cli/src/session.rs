//! What a command works with: writer, environment, standard input, and calls to a server set up from flags and
//! variables. Knows no particular command.

use std::cell::RefCell;
use std::future::Future;
use std::io::{BufRead, Read};
use std::rc::Rc;
use std::time::Duration;

use conclave_client::http::{Answer, Client, Error, Fields, Json, Preview, Request, Response, Secret, Tls};

use crate::env::Env;
use crate::exit::Fail;
use crate::flags::{Args, Flag};
use crate::goval::{Span, parse_bool, parse_int};
use crate::token_helper::TokenFile;
use crate::ui::Ui;

/// Name of the tool, for texts.
pub const TOOL: &str = "conclave";
/// Address used if none is set.
const DEFAULT_ADDRESS: &str = "https://127.0.0.1:8200";
/// Default of `-namespace`: a value that no namespace can have.
const NOT_SET: &str = "(not set)";
/// Seconds a request may take unless `CLIENT_TIMEOUT` says otherwise.
const TIMEOUT_SECONDS: i64 = 60;

pub const ADDRESS: Flag = Flag::text(
    "address",
    "Address of the server, or several separated by commas, tried in order.",
)
.default(DEFAULT_ADDRESS)
.env("ADDR");
pub const AGENT_ADDRESS: Flag = Flag::text(
    "agent-address",
    "Address of an agent to call instead of the server.",
)
.env("AGENT_ADDR");
const CA_CERT: Flag = Flag::text(
    "ca-cert",
    "PEM file with the authority that signed the server's certificate. Takes precedence over -ca-path.",
)
.env("CACERT");
const CA_PATH: Flag = Flag::text("ca-path", "Directory of PEM files with authorities.").env("CAPATH");
const CLIENT_CERT: Flag = Flag::text(
    "client-cert",
    "PEM file with the client's certificate; needs -client-key.",
)
.env("CLIENT_CERT");
const CLIENT_KEY: Flag =
    Flag::text("client-key", "PEM file with the client's private key.").env("CLIENT_KEY");
const DISABLE_REDIRECTS: Flag =
    Flag::bool("disable-redirects", "Do not follow redirects.").env("DISABLE_REDIRECTS");
pub const HEADER: Flag = Flag::map(
    "header",
    "A header key=value for every request; names beginning with X-Vault- are refused. May be given several times.",
);
pub const MFA: Flag = Flag::list(
    "mfa",
    "Credentials of a second factor. May be given several times.",
)
.env("MFA");
const NAMESPACE: Flag = Flag::text("namespace", "Namespace of the command. -ns is its short form.")
    .default(NOT_SET)
    .env("NAMESPACE");
const NS: Flag = Flag::text("ns", "Short form of -namespace, and stronger.")
    .default(NOT_SET)
    .hidden();
const NON_INTERACTIVE: Flag = Flag::bool("non-interactive", "Never ask for input.");
pub const OUTPUT_CURL: Flag = Flag::bool(
    "output-curl-string",
    "Print the request as a curl command instead of sending it.",
);
pub const OUTPUT_POLICY: Flag = Flag::bool(
    "output-policy",
    "Print a policy that allows the request instead of sending it.",
);
pub const POLICY_OVERRIDE: Flag = Flag::bool("policy-override", "Override a soft-mandatory policy.");
const TLS_SERVER_NAME: Flag = Flag::text(
    "tls-server-name",
    "Name expected in the server's certificate and sent as SNI.",
)
.env("TLS_SERVER_NAME");
const TLS_SKIP_VERIFY: Flag = Flag::bool(
    "tls-skip-verify",
    "Accept any certificate. Whoever is on the path can then read every secret.",
)
.env("SKIP_VERIFY");
const UNLOCK_KEY: Flag = Flag::text("unlock-key", "Key that unlocks a locked namespace.");
pub const WRAP_TTL: Flag = Flag::span(
    "wrap-ttl",
    "Wrap the answer in a single-use token that lasts this long.",
)
.env("WRAP_TTL");

/// Flags of every command that calls a server.
pub const HTTP_FLAGS: &[Flag] = &[
    ADDRESS,
    AGENT_ADDRESS,
    CA_CERT,
    CA_PATH,
    CLIENT_CERT,
    CLIENT_KEY,
    DISABLE_REDIRECTS,
    HEADER,
    MFA,
    NAMESPACE,
    NS,
    NON_INTERACTIVE,
    OUTPUT_CURL,
    OUTPUT_POLICY,
    POLICY_OVERRIDE,
    TLS_SERVER_NAME,
    TLS_SKIP_VERIFY,
    UNLOCK_KEY,
    WRAP_TTL,
];

/// What a command works with.
pub struct Cx {
    /// Where to print.
    pub ui: Ui,
    /// The environment.
    pub env: Env,
    stdin: Box<dyn Read>,
    stdin_is_terminal: bool,
    shown: Rc<RefCell<Option<String>>>,
}

impl Cx {
    /// A session over a writer, an environment and an input.
    pub fn new(ui: Ui, env: Env, stdin: Box<dyn Read>, stdin_is_terminal: bool) -> Self {
        Self {
            ui,
            env,
            stdin,
            stdin_is_terminal,
            shown: Rc::default(),
        }
    }

    /// The request that was shown instead of sent, if any.
    pub fn take_shown(&self) -> Option<String> {
        self.shown.borrow_mut().take()
    }

    /// Standard input as data; empty with `-non-interactive`.
    pub fn stdin(&mut self, args: &Args) -> Box<dyn Read + '_> {
        if args.is(&NON_INTERACTIVE) {
            Box::new(std::io::empty())
        } else {
            Box::new(&mut self.stdin)
        }
    }

    /// Whether a person can be asked.
    pub fn may_ask(&self, args: &Args) -> bool {
        self.stdin_is_terminal && !args.is(&NON_INTERACTIVE)
    }

    /// Asks the person at the terminal for a secret, which is not shown. See [`Cx::may_ask`].
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub fn ask_secret(&mut self, prompt: &str) -> Result<String, String> {
        self.ui.ask(prompt);
        rpassword::read_password().map_err(|e| conclave_client::http::plain(&e))
    }

    /// One line of standard input without its end.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn read_line(&mut self, args: &Args) -> Result<String, String> {
        /// Longest line read, in bytes.
        const MAX_LINE_BYTES: u64 = 1024 * 1024;
        let mut line = String::new();
        let mut reader = std::io::BufReader::with_capacity(1, self.stdin(args).take(MAX_LINE_BYTES));
        reader
            .read_line(&mut line)
            .map_err(|e| conclave_client::http::plain(&e))?;
        Ok(line.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// The token file of this user.
    ///
    /// # Errors
    /// No home directory.
    pub fn token_file(&self) -> Result<TokenFile, Fail> {
        TokenFile::locate(&self.env).map_err(Fail::remote)
    }

    /// Calls to the server, with the user's token.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn api(&self, args: &Args) -> Result<Api, Fail> {
        let mut api = self.api_without_token(args)?;
        api.client.set_token(self.token()?);
        Ok(api)
    }

    /// The user's token; empty if there is none.
    ///
    /// # Errors
    /// A token file that cannot be read.
    pub fn token(&self) -> Result<String, Fail> {
        match self.env.get("TOKEN") {
            Some(token) => Ok(token.to_owned()),
            None => self.token_file()?.read().map_err(Fail::remote),
        }
    }

    /// Calls to the server without a token, for logins.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn api_without_token(&self, args: &Args) -> Result<Api, Fail> {
        self.api_within(args, self.timeout())
    }

    /// Calls to the server whose answers may take for ever to end: what is followed.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn api_for_streams(&self, args: &Args) -> Result<Api, Fail> {
        let mut api = self.api_within(args, Ok(Duration::ZERO))?;
        api.client.set_token(self.token()?);
        Ok(api)
    }

    fn api_within(&self, args: &Args, timeout: Result<Duration, String>) -> Result<Api, Fail> {
        let env_failed = |why: String| Fail::remote(format!("failed to read environment: {why}"));
        let mut builder = Client::builder()
            .address(args.some(&AGENT_ADDRESS).unwrap_or_else(|| args.text(&ADDRESS)))
            .tls(self.tls(args).map_err(env_failed)?)
            .timeout(timeout.map_err(env_failed)?)
            .max_retries(self.retries().map_err(env_failed)?)
            .mfa(args.list(&MFA))
            .follow_redirects(!args.is(&DISABLE_REDIRECTS))
            .policy_override(args.is(&POLICY_OVERRIDE))
            .namespace(namespace(args));
        if args.span(&WRAP_TTL) != Span(0) {
            builder = builder.wrap_ttl(args.span(&WRAP_TTL).to_string());
        }
        if let Some(proxy) = self.env.get("PROXY_ADDR").or_else(|| self.env.get("HTTP_PROXY")) {
            builder = builder.proxy(proxy);
        }
        let headers = args.map(&HEADER);
        let forbidden: Vec<&str> = headers
            .keys()
            .filter(|k| k.starts_with("X-Vault-"))
            .map(String::as_str)
            .collect();
        if !forbidden.is_empty() {
            return Err(Fail::remote(format!(
                "failed to setup Headers[{}]: Header starting by 'X-Vault-' are for internal usage only",
                forbidden.join(", ")
            )));
        }
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        let preview = match (args.is(&OUTPUT_CURL), args.is(&OUTPUT_POLICY)) {
            (true, _) => Some(Preview::Curl),
            (false, true) => Some(Preview::Policy),
            (false, false) => None,
        };
        let tls_flags = [
            &CA_CERT,
            &CA_PATH,
            &CLIENT_CERT,
            &CLIENT_KEY,
            &TLS_SERVER_NAME,
            &TLS_SKIP_VERIFY,
        ];
        let client = builder.preview(preview, TOOL).build().map_err(|e| {
            let about_address = e.to_string().starts_with("invalid address");
            let step = match (about_address, tls_flags.iter().any(|f| args.given(f))) {
                (true, _) => "failed to create client",
                (false, true) => "failed to setup TLS config",
                (false, false) => "failed to read environment",
            };
            Fail::remote(format!("{step}: {e}"))
        })?;
        Api::new(client, Rc::clone(&self.shown))
    }

    /// Calls by a client that is set up otherwise.
    ///
    /// # Errors
    /// The runtime cannot be started.
    pub fn api_over(&self, client: Client) -> Result<Api, Fail> {
        Api::new(client, Rc::clone(&self.shown))
    }

    /// What to trust and show in TLS.
    ///
    /// # Errors
    /// A variable that is no truth value.
    pub fn tls(&self, args: &Args) -> Result<Tls, String> {
        if let Some(text) = self.env.get("SKIP_VERIFY") {
            parse_bool(text).map_err(|_| "could not parse BAO_SKIP_VERIFY".to_owned())?;
        }
        let path = |flag: &Flag| args.some(flag).map(std::path::PathBuf::from);
        Ok(Tls {
            ca_cert: path(&CA_CERT),
            ca_cert_bytes: self.env.get("CACERT_BYTES").map(|b| b.as_bytes().to_vec()),
            ca_path: path(&CA_PATH),
            client_cert: path(&CLIENT_CERT),
            client_key: path(&CLIENT_KEY),
            server_name: args.some(&TLS_SERVER_NAME).map(str::to_owned),
            skip_verify: args.is(&TLS_SKIP_VERIFY),
        })
    }

    /// Time for one request.
    ///
    /// # Errors
    /// A variable that is no duration.
    pub fn timeout(&self) -> Result<Duration, String> {
        let span = match self.env.get("CLIENT_TIMEOUT") {
            Some(text) => {
                Span::parse(text).map_err(|_| "could not parse \"BAO_CLIENT_TIMEOUT\"".to_owned())?
            }
            None => Span::seconds(TIMEOUT_SECONDS),
        };
        Ok(Duration::from_nanos(u64::try_from(span.0).unwrap_or(0)))
    }

    /// The command line does not retry unless told to, as the original.
    fn retries(&self) -> Result<usize, String> {
        match self.env.get("MAX_RETRIES") {
            Some(text) => parse_int(text).map(|n| usize::try_from(n).unwrap_or(0)),
            None => Ok(0),
        }
    }
}

/// The namespace with one slash at its end and none before; empty for the root.
pub fn namespace(args: &Args) -> String {
    let given = Some(args.text(&NS))
        .filter(|n| *n != NOT_SET)
        .unwrap_or_else(|| args.text(&NAMESPACE));
    let path = given.trim_matches('/');
    if given == NOT_SET || path.is_empty() || path == "root" {
        String::new()
    } else {
        format!("{path}/")
    }
}

/// The namespace given by flag, if any: some commands name it in paths.
pub fn unlock_key(args: &Args) -> &str {
    args.text(&UNLOCK_KEY)
}

/// Calls to a server, one at a time.
pub struct Api {
    /// The client behind the calls.
    pub client: Client,
    runtime: tokio::runtime::Runtime,
    shown: Rc<RefCell<Option<String>>>,
}

impl Api {
    fn new(client: Client, shown: Rc<RefCell<Option<String>>>) -> Result<Self, Fail> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Fail::remote(format!("cannot start the runtime: {e}")))?;
        Ok(Self {
            client,
            runtime,
            shown,
        })
    }

    /// Waits for calls of the client that belong together.
    ///
    /// # Errors
    /// What they end with.
    pub fn wait<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let outcome = self.runtime.block_on(call);
        if let Err(Error::Preview(text)) = &outcome {
            *self.shown.borrow_mut() = Some(text.clone());
        }
        outcome
    }

    /// Waits.
    pub fn pause(&self, time: Duration) {
        // The timer must be made inside the runtime.
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// See [`Client::read`].
    ///
    /// # Errors
    /// The call failed.
    pub fn read(&self, path: &str) -> Result<Option<Secret>, Error> {
        self.wait(self.client.read(path, &[]))
    }

    /// See [`Client::read`].
    ///
    /// # Errors
    /// The call failed.
    pub fn read_with(&self, path: &str, query: &[(String, String)]) -> Result<Option<Secret>, Error> {
        self.wait(self.client.read(path, query))
    }

    /// See [`Client::list`].
    ///
    /// # Errors
    /// The call failed.
    pub fn list(&self, path: &str, page: Option<(&str, i64)>) -> Result<Option<Secret>, Error> {
        self.wait(self.client.list(path, page))
    }

    /// See [`Client::scan`].
    ///
    /// # Errors
    /// The call failed.
    pub fn scan(&self, path: &str, page: Option<(&str, i64)>) -> Result<Option<Secret>, Error> {
        self.wait(self.client.scan(path, page))
    }

    /// See [`Client::write`].
    ///
    /// # Errors
    /// The call failed.
    pub fn write(&self, path: &str, body: Fields) -> Result<Answer, Error> {
        self.wait(self.client.write(path, Some(body)))
    }

    /// See [`Client::patch`].
    ///
    /// # Errors
    /// The call failed.
    pub fn patch(&self, path: &str, body: Fields) -> Result<Answer, Error> {
        self.wait(self.client.patch(path, body))
    }

    /// See [`Client::delete`].
    ///
    /// # Errors
    /// The call failed.
    pub fn delete(&self, path: &str, query: &[(String, String)]) -> Result<Answer, Error> {
        self.wait(self.client.delete(path, query))
    }

    /// See [`Client::request`].
    ///
    /// # Errors
    /// The call failed, or the answer's status is an error.
    pub fn call(&self, method: &str, path: &str, body: Option<Fields>) -> Result<Response, Error> {
        self.wait(self.client.request(method, path, &[], body.map(Json::Object)))
    }

    /// The fields of a GET's answer, under `data` if it is an envelope.
    ///
    /// # Errors
    /// The call failed.
    pub fn get(&self, path: &str) -> Result<Fields, Error> {
        let secret = Secret::parse(&self.call("GET", path, None)?.body)?;
        Ok(secret.and_then(|s| s.data).unwrap_or_default())
    }

    /// As [`Api::call`] with everything a request can have.
    ///
    /// # Errors
    /// The call failed, or the answer's status is an error.
    pub fn send(&self, request: &Request) -> Result<Response, Error> {
        let (url, response) = self.send_raw(request)?;
        if (200..400).contains(&response.code) {
            return Ok(response);
        }
        Err(self.client.status_error(request, &url, &response))
    }

    /// See [`Client::send_raw`].
    ///
    /// # Errors
    /// No answer came.
    pub fn send_raw(&self, request: &Request) -> Result<(String, Response), Error> {
        self.wait(self.client.send_raw(request))
    }

    /// See [`Client::download`].
    ///
    /// # Errors
    /// The call or the sink failed.
    pub fn download(
        &self,
        request: &Request,
        sink: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.wait(self.client.download(request, sink))
    }
}
