//! The client: one request over a list of addresses, with retries, failover and redirects that never do a write
//! twice unless the server says that it can tell. Knows HTTP and the envelope, no command and no engine.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::json::Json;
use super::preview::{self, Preview};
use super::url::Address;
use super::{Body, Builder, Error, MAX_BODY_BYTES, Request, Response, Status, TOKEN_HEADER};
use crate::entropy;

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 5;
/// Header by which a Conclave server tells that it knows `Idempotency-Key`.
const SERVER_HEADER: &str = "x-conclave-version";

/// A client of the Vault API.
pub struct Client {
    http: reqwest::Client,
    addresses: Vec<Address>,
    preferred: AtomicUsize,
    conclave: AtomicBool,
    settings: Builder,
}

impl Client {
    /// Settings with their defaults.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new(http: reqwest::Client, addresses: Vec<Address>, settings: Builder) -> Self {
        Self {
            http,
            addresses,
            preferred: AtomicUsize::new(0),
            conclave: AtomicBool::new(false),
            settings,
        }
    }

    /// The first address, as text.
    #[must_use]
    pub fn address(&self) -> String {
        self.addresses.first().map(Address::text).unwrap_or_default()
    }

    /// The token in use; empty if none.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.settings.token
    }

    /// Uses another token from now on.
    pub fn set_token(&mut self, token: impl Into<String>) {
        self.settings.token = token.into();
    }

    /// The namespace in use; empty for the root.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.settings.namespace
    }

    /// Uses another namespace from now on.
    pub fn set_namespace(&mut self, namespace: impl Into<String>) {
        self.settings.namespace = namespace.into();
    }

    /// Whether requests are shown instead of sent.
    #[must_use]
    pub fn preview(&self) -> Option<Preview> {
        self.settings.preview
    }

    /// Shows or sends from now on.
    pub fn set_preview(&mut self, preview: Option<Preview>) {
        self.settings.preview = preview;
    }

    /// Asks for wrapped answers from now on; empty for none.
    pub fn set_wrap_ttl(&mut self, ttl: impl Into<String>) {
        self.settings.wrap_ttl = ttl.into();
    }

    /// Tries this many times more from now on. See [`Builder::max_retries`].
    pub fn set_max_retries(&mut self, retries: usize) {
        self.settings.max_retries = retries;
    }

    /// Whether a server has told that it is Conclave.
    #[must_use]
    pub fn knows_conclave(&self) -> bool {
        self.conclave.load(Ordering::Relaxed)
    }

    /// Sends a request with a JSON body or none, and gives the answer if its status is no error.
    ///
    /// # Errors
    /// [`Error`], with the status and the server's messages as [`Error::Status`].
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Json>,
    ) -> Result<Response, Error> {
        let mut request = Request::new(method, path);
        request.query = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        request.body = body.map_or(Body::Empty, Body::Json);
        let response = self.send(&request).await?;
        self.settle(&request, response).await
    }

    /// As [`Client::request`], but error statuses come back as responses too.
    ///
    /// # Errors
    /// [`Error`] if no answer came.
    pub async fn send_raw(&self, request: &Request) -> Result<(String, Response), Error> {
        let (url, response) = self.send(request).await?;
        Ok((url, collect(response).await?))
    }

    /// Sends a request and hands the body of a good answer piece by piece to `sink`.
    ///
    /// # Errors
    /// [`Error`]; a failure of the sink is passed through.
    pub async fn download(
        &self,
        request: &Request,
        mut sink: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (url, mut response) = self.send(request).await?;
        if !is_good(response.status().as_u16(), &url) {
            let response = collect(response).await?;
            return Err(self.status_error(request, &url, &response));
        }
        loop {
            let chunk = response
                .chunk()
                .await
                .map_err(|e| Error::File(format!("error reading answer: {e}")))?;
            match chunk {
                Some(chunk) => sink(&chunk)?,
                None => return Ok(()),
            }
        }
    }

    /// Turns an answer with an error status into [`Error::Status`].
    #[must_use]
    pub fn status_error(&self, request: &Request, url: &str, response: &Response) -> Error {
        let namespace = response.headers.get("x-vault-namespace");
        let namespace = namespace
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        Error::Status(Status::new(
            &request.method,
            url,
            response.code,
            namespace,
            &response.body,
        ))
    }

    async fn settle(&self, request: &Request, sent: (String, reqwest::Response)) -> Result<Response, Error> {
        let (url, response) = sent;
        let response = collect(response).await?;
        if is_good(response.code, &url) {
            Ok(response)
        } else {
            Err(self.status_error(request, &url, &response))
        }
    }

    /// Attempts over addresses and time. A write goes out again only if it never left or the server tells writes
    /// apart by their key; a status that asks for a retry is honoured for every method, as in the Go client.
    async fn send(&self, request: &Request) -> Result<(String, reqwest::Response), Error> {
        check_token(&self.settings.token)?;
        let key = if request.is_write() && self.settings.preview.is_none() {
            let key = entropy::key();
            Some(key.map_err(|e| Error::Config(format!("no randomness from the system: {e}")))?)
        } else {
            None
        };
        let mut attempt = 0;
        loop {
            let outcome = self.over_addresses(request, key.as_deref()).await;
            let again = match &outcome {
                Ok((_, response)) => retry_status(response.status().as_u16()),
                Err(Error::Transport { .. }) => outcome.as_ref().is_err_and(|e| self.may_repeat(request, e)),
                Err(_) => false,
            };
            if !again || attempt >= self.settings.max_retries {
                return outcome;
            }
            attempt += 1;
            let factor = u32::try_from(attempt).unwrap_or(u32::MAX);
            tokio::time::sleep(self.settings.retry_wait.saturating_mul(factor)).await;
        }
    }

    fn may_repeat(&self, request: &Request, error: &Error) -> bool {
        error.never_sent() || !request.is_write() || self.knows_conclave()
    }

    async fn over_addresses(
        &self,
        request: &Request,
        key: Option<&str>,
    ) -> Result<(String, reqwest::Response), Error> {
        let count = self.addresses.len();
        let start = self.preferred.load(Ordering::Relaxed);
        let mut last = Err(Error::Config("no server address".into()));
        for step in 0..count {
            let at = (start + step) % count;
            let Some(address) = self.addresses.get(at) else {
                continue;
            };
            last = self.follow(request, address, key).await;
            let next = match &last {
                Ok((_, response)) => {
                    let code = response.status().as_u16();
                    retry_status(code) && code >= 500 && (!request.is_write() || self.knows_conclave())
                }
                Err(Error::Transport { .. }) => last.as_ref().is_err_and(|e| self.may_repeat(request, e)),
                Err(_) => false,
            };
            if !next {
                if last.is_ok() {
                    self.preferred.store(at, Ordering::Relaxed);
                }
                return last;
            }
        }
        last
    }

    async fn follow(
        &self,
        request: &Request,
        address: &Address,
        key: Option<&str>,
    ) -> Result<(String, reqwest::Response), Error> {
        let mut url = address.url(&request.path, &request.query);
        let headers = self.headers(request, key);
        match self.settings.preview {
            Some(Preview::Curl) => {
                let shown = preview::curl(
                    request,
                    &url,
                    &headers,
                    &self.settings.tls,
                    &self.settings.command,
                );
                return Err(Error::Preview(shown));
            }
            Some(Preview::Policy) => {
                return Err(Error::Preview(preview::policy(
                    request,
                    &address.api_path(&request.path),
                )));
            }
            None => {}
        }
        for _ in 0..=MAX_REDIRECTS {
            let response = self.once(request, address, &url, &headers).await?;
            if response.headers().contains_key(SERVER_HEADER) {
                self.conclave.store(true, Ordering::Relaxed);
            }
            if !self.settings.follow_redirects || !matches!(response.status().as_u16(), 301 | 302 | 307 | 308)
            {
                return Ok((url, response));
            }
            url = redirect(&url, &response)?;
        }
        Err(Error::Redirect(format!(
            "stopped after {MAX_REDIRECTS} redirects at {url}"
        )))
    }

    async fn once(
        &self,
        request: &Request,
        address: &Address,
        url: &str,
        headers: &[(String, String)],
    ) -> Result<reqwest::Response, Error> {
        let method = reqwest::Method::from_bytes(request.method.as_bytes())
            .map_err(|_| Error::Config(format!("invalid method {:?}", request.method)))?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let bad = || Error::Config(format!("invalid header {name:?}"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            map.append(name, HeaderValue::from_str(value).map_err(|_| bad())?);
        }
        let mut target = url.to_owned();
        if let (Some(name), true) = (&self.settings.tls.server_name, address.scheme == "https") {
            // reqwest takes the expected name from the URL; the resolver override leads it to the real host.
            target = target.replacen(&address.host, &format!("{name}:{}", address.port()), 1);
            if let Ok(host) = HeaderValue::from_str(&address.host) {
                map.insert("host", host);
            }
        }
        let mut out = self.http.request(method, &target).headers(map);
        match &request.body {
            Body::Empty => {}
            Body::Json(_) | Body::MergePatch(_) => out = out.body(request.json_text().unwrap_or_default()),
            Body::File(path) => {
                let file = tokio::fs::File::open(path).await;
                let file = file.map_err(|e| {
                    Error::File(format!("open {}: {}", path.display(), super::tls::plain(&e)))
                })?;
                out = out.body(file);
            }
        }
        out.send()
            .await
            .map_err(|e| Error::transport(&request.method, url, address, &e))
    }

    fn headers(&self, request: &Request, key: Option<&str>) -> Vec<(String, String)> {
        let settings = &self.settings;
        let mut out: Vec<(String, String)> = settings.headers.clone();
        let mut add = |name: &str, value: &str| out.push((name.to_owned(), value.to_owned()));
        add("X-Vault-Request", "true");
        if !settings.token.is_empty() {
            add(TOKEN_HEADER, &settings.token);
        }
        if !settings.namespace.is_empty() {
            add("X-Vault-Namespace", &settings.namespace);
        }
        if !request.no_wrap {
            // Wrapping data on purpose needs a TTL; the Go client sends this one if none is set.
            let wrap = request.is_write() && request.path == "sys/wrapping/wrap";
            let ttl = if wrap && settings.wrap_ttl.is_empty() {
                "5m"
            } else {
                settings.wrap_ttl.as_str()
            };
            if !ttl.is_empty() {
                add("X-Vault-Wrap-TTL", ttl);
            }
        }
        for credential in &settings.mfa {
            add("X-Vault-MFA", credential);
        }
        if settings.policy_override {
            add("X-Vault-Policy-Override", "true");
        }
        if matches!(request.body, Body::MergePatch(_)) {
            add("Content-Type", "application/merge-patch+json");
        }
        if let Some(key) = key {
            add("Idempotency-Key", key);
        }
        out
    }
}

async fn collect(mut response: reqwest::Response) -> Result<Response, Error> {
    let mut body = Vec::new();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|e| Error::File(format!("error reading answer: {e}")))?;
        let Some(chunk) = chunk else { break };
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Error::TooLarge {
                limit: MAX_BODY_BYTES,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response {
        code: response.status().as_u16(),
        headers: response.headers().clone(),
        body,
    })
}

/// 429 is the health of a standby; elsewhere it is a quota.
pub(super) fn is_good(code: u16, url: &str) -> bool {
    (200..400).contains(&code)
        || (code == 429
            && url
                .split('?')
                .next()
                .is_some_and(|u| u.ends_with("/v1/sys/health")))
}

fn retry_status(code: u16) -> bool {
    code == 412 || code == 429 || (code >= 500 && code != 501)
}

fn check_token(token: &str) -> Result<(), Error> {
    if token
        .chars()
        .all(|c| c.is_ascii_graphic() || (c.is_alphanumeric() && !c.is_control()))
    {
        return Ok(());
    }
    Err(Error::Config(
        "configured Vault token contains non-printable characters and cannot be used".into(),
    ))
}

fn redirect(from: &str, response: &reqwest::Response) -> Result<String, Error> {
    let location = response.headers().get("location").and_then(|v| v.to_str().ok());
    let location = location.ok_or_else(|| Error::Redirect("http: no Location header in response".into()))?;
    if from.starts_with("https://") && !location.starts_with("https://") && !location.starts_with('/') {
        return Err(Error::Redirect("redirect would cause protocol downgrade".into()));
    }
    if location.starts_with('/') && !location.starts_with("//") {
        let origin: Vec<&str> = from.splitn(4, '/').take(3).collect();
        return Ok(format!("{}{location}", origin.join("/")));
    }
    if location.starts_with("http://") || location.starts_with("https://") {
        return Ok(location.to_owned());
    }
    Err(Error::Redirect(format!(
        "cannot follow a redirect to {location:?}"
    )))
}
