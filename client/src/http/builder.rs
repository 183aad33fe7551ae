//! How a client is set up. Knows what the settings mean, makes no call.

use std::time::Duration;

use super::preview::Preview;
use super::tls::Tls;
use super::url::Address;
use super::{Client, Error};

/// How the client calls. See [`Client::builder`].
#[derive(Clone)]
pub struct Builder {
    pub(super) addresses: Vec<String>,
    pub(super) token: String,
    pub(super) namespace: String,
    pub(super) tls: Tls,
    pub(super) timeout: Duration,
    pub(super) max_retries: usize,
    pub(super) retry_wait: Duration,
    pub(super) headers: Vec<(String, String)>,
    pub(super) mfa: Vec<String>,
    pub(super) wrap_ttl: String,
    pub(super) follow_redirects: bool,
    pub(super) policy_override: bool,
    pub(super) proxy: Option<String>,
    pub(super) preview: Option<Preview>,
    pub(super) command: String,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            token: String::new(),
            namespace: String::new(),
            tls: Tls::default(),
            timeout: Duration::from_secs(60),
            max_retries: 2,
            retry_wait: Duration::from_secs(1),
            headers: Vec::new(),
            mfa: Vec::new(),
            wrap_ttl: String::new(),
            follow_redirects: true,
            policy_override: false,
            proxy: None,
            preview: None,
            command: "conclave".into(),
        }
    }
}

impl Builder {
    /// Servers in order of preference. The text may be a list separated by commas.
    #[must_use]
    pub fn address(mut self, list: &str) -> Self {
        self.addresses.extend(
            list.split(',')
                .map(|a| a.trim().to_owned())
                .filter(|a| !a.is_empty()),
        );
        self
    }
    /// The token sent as `X-Vault-Token`.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }
    /// The namespace sent as `X-Vault-Namespace`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }
    /// What to trust and show in TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }
    /// Time for one attempt, answer included; zero for no limit. The default is 60 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
    /// Further attempts after 412, 429, 5xx other than 501, and failed connections. The default is 2.
    #[must_use]
    pub fn max_retries(mut self, retries: usize) -> Self {
        self.max_retries = retries;
        self
    }
    /// Pause before the first retry; the n-th waits n times as long. The default is 1 s.
    #[must_use]
    pub fn retry_wait(mut self, wait: Duration) -> Self {
        self.retry_wait = wait;
        self
    }
    /// A further header on every request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
    /// Credentials of second factors sent as `X-Vault-MFA`.
    #[must_use]
    pub fn mfa(mut self, credentials: Vec<String>) -> Self {
        self.mfa = credentials;
        self
    }
    /// Asks for wrapped answers that last this long (a duration such as `5m`); empty for none.
    #[must_use]
    pub fn wrap_ttl(mut self, ttl: impl Into<String>) -> Self {
        self.wrap_ttl = ttl.into();
        self
    }
    /// Whether redirects are followed. The default is yes.
    #[must_use]
    pub fn follow_redirects(mut self, follow: bool) -> Self {
        self.follow_redirects = follow;
        self
    }
    /// Whether `X-Vault-Policy-Override` is sent.
    #[must_use]
    pub fn policy_override(mut self, yes: bool) -> Self {
        self.policy_override = yes;
        self
    }
    /// A proxy for all requests instead of those of the environment.
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }
    /// Shows requests instead of sending them; `command` is the tool's name in the curl line.
    #[must_use]
    pub fn preview(mut self, preview: Option<Preview>, command: &str) -> Self {
        self.preview = preview;
        self.command = command.into();
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// [`Error::Config`] for an address, a file or a header that cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let addresses: Vec<Address> = self
            .addresses
            .iter()
            .map(|a| Address::parse(a))
            .collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(Error::Config("no server address".into()));
        }
        // Another part of the process may have installed the same provider before: that is fine.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .pool_max_idle_per_host(8);
        if !self.timeout.is_zero() {
            http = http.timeout(self.timeout);
        }
        http = self.tls.apply(http)?;
        if let Some(proxy) = &self.proxy {
            let proxy =
                reqwest::Proxy::all(proxy).map_err(|e| Error::Config(format!("invalid proxy: {e}")))?;
            http = http.proxy(proxy);
        }
        if let (Some(name), Some(first)) = (&self.tls.server_name, addresses.first()) {
            http = http.resolve_to_addrs(name, &resolve(first)?);
        }
        let http = http
            .build()
            .map_err(|e| Error::Config(format!("cannot set up HTTP: {e}")))?;
        Ok(Client::new(http, addresses, self))
    }
}

fn resolve(address: &Address) -> Result<Vec<std::net::SocketAddr>, Error> {
    use std::net::ToSocketAddrs as _;
    let found = (address.host_name(), address.port()).to_socket_addrs();
    let found = found
        .map_err(|_| Error::Config(format!("dial tcp: lookup {}: no such host", address.host_name())))?;
    Ok(found.collect())
}
