//! `config`: where the API server is, and as whom it is asked. The token is written and used, and never shown. What marks the
//! objects of this mount stays when the rest is deleted: there may be some.

use conclave_engine_api::{
    Action, Driver, Effect, Env, Error, Failure, Fields, Hidden, Outcome, Plan, Reply, Request, Target,
    TargetTls, Txn,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::record;

const FORMAT: u8 = 1;
const ROW: &str = "config";
const MARK: &str = "mark";
/// The one target of a mount.
const TARGET: &str = "kubernetes";
/// Requests to an API server at once.
const CONNECTIONS: u32 = 8;
/// Longest text of a field in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Letters of a mark: it is the value of a label.
const MARK_BYTES: usize = 8;

/// As stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub kubernetes_host: String,
    /// Authorities to trust, PEM; empty: those of the operating system.
    pub kubernetes_ca_cert: String,
    #[serde(with = "crate::wiped")]
    pub service_account_jwt: Hidden,
    pub disable_local_ca_jwt: bool,
}

impl Config {
    pub fn load(txn: &mut Txn<'_>) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, ROW)
    }

    /// The configuration that everything else needs.
    pub fn required(txn: &mut Txn<'_>) -> Result<Self, Error> {
        Self::load(txn)?.ok_or_else(|| Error::invalid("no kubernetes_host is configured: write config"))
    }

    /// Where the API server is, as the driver reads it.
    pub fn target(&self) -> Result<Target, Error> {
        let reach = Reach {
            host: &self.kubernetes_host,
            token: &self.service_account_jwt,
        };
        let url = serde_json::to_string(&reach).map_err(|_| Error::internal("a target cannot be written"))?;
        Ok(Target {
            name: TARGET.to_owned(),
            driver: Driver::Kubernetes,
            url: Hidden::new(url),
            fallback: None,
            tls: TargetTls {
                ca: self.kubernetes_ca_cert.clone(),
                ..TargetTls::default()
            },
            max_connections: CONNECTIONS,
            epoch: String::new(),
        })
    }
}

/// As the driver reads it.
#[derive(Serialize)]
struct Reach<'a> {
    host: &'a str,
    token: &'a str,
}

/// A target for what ends by itself: nothing is asked of it.
pub(super) fn nowhere() -> Target {
    Target {
        name: TARGET.to_owned(),
        driver: Driver::Kubernetes,
        url: Hidden::default(),
        fallback: None,
        tls: TargetTls::default(),
        max_connections: CONNECTIONS,
        epoch: String::new(),
    }
}

/// What the labels of this mount's objects say.
pub(super) fn mark(txn: &mut Txn<'_>) -> Result<String, Error> {
    let mark: Option<String> = record::load(FORMAT, txn, MARK)?;
    mark.ok_or_else(|| Error::internal("what marks the objects of a mount is missing"))
}

/// `write config`: what is not given stays, as in Vault.
pub(super) fn write(txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let mut config = Config::load(txn)?.unwrap_or_default();
    if let Some(host) = text(&fields, "kubernetes_host")? {
        config.kubernetes_host = host.trim_end_matches('/').to_owned();
    }
    if let Some(ca) = text(&fields, "kubernetes_ca_cert")? {
        config.kubernetes_ca_cert = ca;
    }
    if let Some(jwt) = text(&fields, "service_account_jwt")? {
        // Files end with a line.
        config.service_account_jwt = Hidden::new(jwt.trim().to_owned());
    }
    if let Some(disabled) = fields.bool("disable_local_ca_jwt")? {
        config.disable_local_ca_jwt = disabled;
    }
    accept(&config)?;
    if txn.get(MARK)?.is_none() {
        let mark = env.hex(MARK_BYTES);
        txn.put(MARK, record::encode(FORMAT, &mark)?)?;
    }
    txn.put(ROW, record::encode(FORMAT, &config)?)?;
    Ok(Reply::empty().into())
}

fn text(fields: &Fields<'_>, name: &str) -> Result<Option<String>, Error> {
    match fields.string(name)? {
        Some(text) if text.len() > MAX_TEXT => {
            Err(Error::TooLarge(format!("{name} is longer than {MAX_TEXT} bytes")))
        }
        text => Ok(text),
    }
}

fn accept(config: &Config) -> Result<(), Error> {
    if config.kubernetes_host.is_empty() {
        return Err(Error::invalid(
            "kubernetes_host was unset and could not be determined from environment variables",
        ));
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"@?#\\%".contains(&byte);
    let rest = config.kubernetes_host.strip_prefix("https://");
    if !rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain)) {
        return Err(Error::invalid(
            "kubernetes_host must be https://HOST:PORT, without credentials or query",
        ));
    }
    let jwt = &config.service_account_jwt;
    if jwt.is_empty() {
        return Err(Error::Unsupported(
            "the token and the authority of a pod: write service_account_jwt and kubernetes_ca_cert"
                .to_owned(),
        ));
    }
    match jwt.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(Error::invalid("service_account_jwt holds what no token holds")),
    }
}

/// `read config`, without the token.
pub(super) fn read(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    let config = Config::load(txn)?.ok_or_else(Error::not_found)?;
    Ok(Reply::json(json!({
        "disable_local_ca_jwt": config.disable_local_ca_jwt,
        "kubernetes_ca_cert": config.kubernetes_ca_cert,
        "kubernetes_host": config.kubernetes_host,
    }))
    .into())
}

/// `delete config`. Leases that are due are tried until there is one again.
pub(super) fn delete(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    txn.delete(ROW)?;
    Ok(Reply::empty().into())
}

/// `read check`: the API server itself is asked.
pub(super) fn check(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    Ok(Outcome::Effect(Box::new(Effect {
        plan: Plan {
            target: Config::required(txn)?.target()?,
            action: Action::Check,
        },
        lease: None,
        reply: Reply::empty(),
        memo: Map::new(),
        session: None,
    })))
}

/// It was asked; what it told is what it does not let us do.
pub(super) fn checked(result: Result<&[String], &Failure>) -> Result<Reply, Error> {
    match result {
        Ok(told) => Ok(told
            .iter()
            .fold(Reply::empty(), |reply, text| reply.warn(text.clone()))),
        Err(failure) => Err(Error::Target(failure.text.clone())),
    }
}
