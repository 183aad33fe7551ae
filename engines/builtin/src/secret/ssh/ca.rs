//! `config/ca` and `public_key`: the key that signs. It is made here or brought along, never shown, and never replaced: who has
//! signed with it trusts it.

use conclave_engine_api::{Env, Error, Outcome, RawBody, Reply, Request, Txn};
use serde_json::json;

use super::import;
use super::key::{Key, Wish};
use super::public::PublicKey;
use crate::record;

const FORMAT: u8 = 1;
const ROW: &str = "config/ca";

/// The key that signs.
pub(super) fn load(txn: &mut Txn<'_>) -> Result<Option<Key>, Error> {
    record::load(FORMAT, txn, ROW)
}

/// The key that signs, which everything else needs.
pub(super) fn required(txn: &mut Txn<'_>) -> Result<Key, Error> {
    load(txn)?.ok_or_else(|| Error::invalid("keys haven't been configured yet: write config/ca"))
}

/// `write config/ca`.
pub(super) fn write(txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
    let fields = request.fields();
    let text = |name: &str| Ok::<_, Error>(fields.string(name)?.unwrap_or_default());
    let (private, public) = (zeroize::Zeroizing::new(text("private_key")?), text("public_key")?);
    let generate = fields.bool("generate_signing_key")?;
    let given = match (private.is_empty(), public.is_empty(), generate) {
        (true, true, Some(false)) => return Err(Error::invalid("missing public_key")),
        (true, true, _) => false,
        (_, _, Some(true)) => {
            return Err(Error::invalid(
                "public_key and private_key must not be set when generate_signing_key is set to true",
            ));
        }
        (false, false, _) => true,
        _ => {
            return Err(Error::invalid(
                "only one of public_key and private_key set; both must be set to use, or both must be blank to auto-generate",
            ));
        }
    };
    if txn.get(ROW)?.is_some() {
        return Err(Error::invalid(
            "keys are already configured; delete them before reconfiguring",
        ));
    }
    let key = if given {
        let key = import::read(&private)?;
        if PublicKey::parse(&public)? != key.public()? {
            return Err(Error::invalid("public_key is not the public half of private_key"));
        }
        key
    } else {
        let kind = match text("key_type")? {
            none if none.is_empty() => "ssh-rsa".to_owned(),
            kind => kind,
        };
        let wish = Wish::named(&kind, fields.count("key_bits")?.unwrap_or(0))?;
        match Key::make(wish, env)? {
            Ok(key) => key,
            Err(heavy) => return Ok(Outcome::Heavy(heavy)),
        }
    };
    let line = key.public()?.line();
    txn.put(ROW, record::encode(FORMAT, &key)?)?;
    Ok(told(&line).into())
}

/// `read config/ca`: the public half.
pub(super) fn read(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    Ok(told(&required(txn)?.public()?.line()).into())
}

fn told(line: &str) -> Reply {
    Reply::json(json!({"public_key": format!("{line}\n")}))
}

/// `read public_key`: as the file that servers trust by, for anybody.
pub(super) fn public_key(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    let line = required(txn)?.public()?.line();
    Ok(Reply {
        raw: Some(RawBody {
            status: 200,
            content_type: "text/plain",
            bytes: format!("{line}\n").into_bytes(),
        }),
        ..Reply::default()
    }
    .into())
}

/// `delete config/ca`. What was signed stays signed.
pub(super) fn delete(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    txn.delete(ROW)?;
    Ok(Reply::empty().into())
}
