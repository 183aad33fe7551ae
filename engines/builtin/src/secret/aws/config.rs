//! `config/root`: as whom AWS is asked, and where. The secret key is written, used and rotated, and never shown. While a rotation
//! is under way the row keeps every key that may be the one that works.

use conclave_engine_api::{
    Driver, Env, Error, Fields, Hidden, Millis, Outcome, Reply, Request, Target, TargetTls, Txn,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rotation::Rotation;
use super::template;
use crate::record;

const FORMAT: u8 = 1;
/// The row.
pub(super) const ROW: &str = "config/root";
/// The one target of a mount.
pub(super) const TARGET: &str = "aws";
/// Where requests are signed for unless told otherwise.
const REGION: &str = "us-east-1";
/// Requests to AWS at once.
const CONNECTIONS: u32 = 8;
/// Longest text of a field in bytes.
const MAX_TEXT: usize = 1024;
/// Vault's template of names: users have 64 letters, sessions of federation 32.
const TEMPLATE: &str = r#"{{ if (eq .Type "STS") }}{{ printf "vault-%s-%s" (unix_time) (random 20) | truncate 32 }}{{ else }}{{ printf "vault-%s-%s-%s" (printf "%s-%s" (.DisplayName) (.PolicyName) | truncate 42) (unix_time) (random 20) | truncate 64 }}{{ end }}"#;
/// What every name of it begins with.
const PREFIX: &str = "vault-";

/// As stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Root {
    pub access_key: String,
    #[serde(with = "crate::wiped")]
    pub secret_key: Hidden,
    pub region: String,
    pub iam_endpoint: String,
    pub sts_endpoint: String,
    pub sts_region: String,
    pub max_retries: i64,
    pub username_template: String,
    /// What marks the users of this mount.
    pub tag: String,
    pub rotation: Rotation,
}

impl Root {
    pub fn load(txn: &mut Txn<'_>) -> Result<Option<Self>, Error> {
        record::load(FORMAT, txn, ROW)
    }

    /// The configuration that everything else needs.
    pub fn required(txn: &mut Txn<'_>) -> Result<Self, Error> {
        let root = Self::load(txn)?.filter(|root| !root.access_key.is_empty());
        root.ok_or_else(|| Error::invalid("no access_key and secret_key are configured: write config/root"))
    }

    pub fn save(&self, txn: &mut Txn<'_>, deadline: Option<Millis>) -> Result<(), Error> {
        txn.put_due(ROW, record::encode(FORMAT, self)?, deadline)
    }

    /// AWS, with the key that works.
    pub fn target(&self) -> Result<Target, Error> {
        let mut target = self.target_as(&self.access_key, &self.secret_key)?;
        if let Rotation::Retiring {
            access_key,
            secret_key,
            ..
        } = &self.rotation
        {
            // A key is not known everywhere at once: where the new one is not, the old one still is.
            target.fallback = Some(self.target_as(access_key, secret_key)?.url);
        }
        Ok(target)
    }

    /// AWS, with this key.
    pub fn target_as(&self, access_key: &str, secret_key: &str) -> Result<Target, Error> {
        let region = match self.region.as_str() {
            "" => REGION,
            region => region,
        };
        let global = match region {
            region if region.starts_with("cn-") => ("https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            region if region.starts_with("us-gov-") => ("https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
            _ => ("https://iam.amazonaws.com", REGION),
        };
        let sts_region = match self.sts_region.as_str() {
            "" => region,
            region => region,
        };
        let suffix = if sts_region.starts_with("cn-") { ".cn" } else { "" };
        let sts = match (self.region.as_str(), self.sts_region.as_str()) {
            ("", "") => "https://sts.amazonaws.com".to_owned(),
            _ => format!("https://sts.{sts_region}.amazonaws.com{suffix}"),
        };
        let own = |own: &str, usual: &str| if own.is_empty() { usual } else { own }.to_owned();
        let reach = Reach {
            access_key,
            secret_key,
            iam_region: if self.iam_endpoint.is_empty() {
                global.1
            } else {
                region
            },
            iam_endpoint: own(&self.iam_endpoint, global.0),
            sts_region,
            sts_endpoint: own(&self.sts_endpoint, &sts),
        };
        let url = serde_json::to_string(&reach).map_err(|_| Error::internal("a target cannot be written"))?;
        Ok(Target {
            name: TARGET.to_owned(),
            driver: Driver::Aws,
            url: Hidden::new(url),
            fallback: None,
            tls: TargetTls::default(),
            max_connections: CONNECTIONS,
            epoch: String::new(),
        })
    }

    /// How names are made.
    pub fn template(&self) -> &str {
        match self.username_template.as_str() {
            "" => TEMPLATE,
            own => own,
        }
    }

    /// What every name of a user begins with; empty: nothing certain.
    pub fn prefix(&self) -> &'static str {
        if self.username_template.is_empty() {
            PREFIX
        } else {
            ""
        }
    }
}

/// As the driver reads it.
#[derive(Serialize)]
struct Reach<'a> {
    access_key: &'a str,
    secret_key: &'a str,
    iam_endpoint: String,
    iam_region: &'a str,
    sts_endpoint: String,
    sts_region: &'a str,
}

/// A target for what ends by itself: nothing is asked of it.
pub(super) fn nowhere() -> Target {
    Target {
        name: TARGET.to_owned(),
        driver: Driver::Aws,
        url: Hidden::default(),
        fallback: None,
        tls: TargetTls::default(),
        max_connections: CONNECTIONS,
        epoch: String::new(),
    }
}

/// `write config/root`: what is not given is as if it had never been, as in Vault.
pub(super) fn write(txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let before = Root::load(txn)?;
    if before.as_ref().is_some_and(|before| before.rotation.is_open()) {
        return Err(Error::invalid(
            "a rotation of the access key is under way; try again when it is done",
        ));
    }
    for name in [
        "role_arn",
        "identity_token_audience",
        "identity_token_key",
        "rotation_schedule",
        "rotation_period",
        "rotation_window",
    ] {
        let given = fields
            .value(name)
            .is_some_and(|value| !matches!(value, serde_json::Value::String(text) if text.is_empty()));
        if given {
            return Err(Error::Unsupported(format!("{name} of config/root")));
        }
    }
    let root = Root {
        access_key: text(&fields, "access_key")?,
        secret_key: Hidden::new(text(&fields, "secret_key")?),
        region: region(&fields, "region")?,
        iam_endpoint: endpoint(&fields, "iam_endpoint")?,
        sts_endpoint: endpoint(&fields, "sts_endpoint")?,
        sts_region: region(&fields, "sts_region")?,
        max_retries: fields.int("max_retries")?.unwrap_or(-1),
        username_template: fields
            .string("username_template")?
            .filter(|own| own != TEMPLATE)
            .unwrap_or_default(),
        tag: match before {
            Some(before) => before.tag,
            None => env.hex(8),
        },
        rotation: Rotation::None,
    };
    if root.access_key.is_empty() != root.secret_key.is_empty() {
        return Err(Error::invalid("access_key and secret_key belong together"));
    }
    let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !word(&root.access_key) || root.access_key.contains('/') || !word(&root.secret_key) {
        return Err(Error::invalid("access_key or secret_key holds what no key holds"));
    }
    let names = template::Names {
        display_name: "token",
        role_name: "role",
        more: &[("PolicyName", "role"), ("Type", "IAM")],
    };
    template::fresh(root.template(), &names, env)?;
    root.save(txn, None)?;
    Ok(Reply::empty().into())
}

fn text(fields: &Fields<'_>, name: &str) -> Result<String, Error> {
    let text = fields.string(name)?.unwrap_or_default();
    match text.len() > MAX_TEXT {
        true => Err(Error::TooLarge(format!("{name} is longer than {MAX_TEXT} bytes"))),
        false => Ok(text),
    }
}

/// A region goes into names of hosts.
fn region(fields: &Fields<'_>, name: &str) -> Result<String, Error> {
    let region = text(fields, name)?;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match region.len() <= 32 && region.bytes().all(fits) {
        true => Ok(region),
        false => Err(Error::invalid(format!("{name} is no region"))),
    }
}

/// Where a service is: `https://`, or `http://` where somebody says so.
fn endpoint(fields: &Fields<'_>, name: &str) -> Result<String, Error> {
    let endpoint = text(fields, name)?;
    if endpoint.is_empty() {
        return Ok(endpoint);
    }
    let rest = endpoint
        .strip_prefix("https://")
        .or_else(|| endpoint.strip_prefix("http://"));
    let is_one = rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"@?#\\".contains(&byte))
    });
    match is_one {
        true => Ok(endpoint),
        false => Err(Error::invalid(format!(
            "{name} must be https://HOST or http://HOST, without credentials or query"
        ))),
    }
}

/// `read config/root`, without the secret key.
pub(super) fn read(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    let root = Root::load(txn)?.ok_or_else(Error::not_found)?;
    let mut data = json!({
        "access_key": root.access_key,
        "region": root.region,
        "iam_endpoint": root.iam_endpoint,
        "sts_endpoint": root.sts_endpoint,
        "sts_region": root.sts_region,
        "max_retries": root.max_retries,
        "username_template": root.template(),
    });
    if let (Some(state), Some(data)) = (root.rotation.told(), data.as_object_mut()) {
        data.insert("rotation".to_owned(), json!(state));
    }
    Ok(Reply::json(data).into())
}
