//! `derive-key/<name>`: a symmetric key that two parties agree on without sending it (ECDH): each has the private half of one key
//! on a curve and the public half of the other's. What comes of it is a key like one that was imported.

use conclave_engine_api::{Env, Error, Fields, Outcome, Reply, Request, Txn};

use super::ec::Curve;
use super::kind::Kind;
use super::policy::{HMAC_KEY_LEN, Material, Policy, Version, draw};
use super::public::{self, Shown};
use super::symmetric;

/// The one way to agree on a key.
const ECDH: &str = "ecdh";
/// Longest public key of the other party as text in bytes.
const MAX_PEER: usize = 8 * 1024;

/// `POST derive-key/<name>`.
pub(super) fn derive_key(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let fields = request.fields();
    let algorithm = fields
        .string("key_derivation_algorithm")?
        .unwrap_or_else(|| ECDH.to_owned());
    if algorithm != ECDH {
        return Err(Error::invalid(format!(
            "key derivation algorithm {algorithm} not supported"
        )));
    }
    let peer = fields.string("peer_public_key")?.filter(|text| !text.is_empty());
    let peer = peer.ok_or_else(|| Error::invalid("peer public key not provided"))?;
    let kind = wanted(fields)?;
    let (curve, version) = base_key(txn, fields)?;
    let point = peer_point(curve, &peer)?;
    let scalar = version.key.expose();
    let secret = env
        .heavy(|| curve.agree(scalar, &point))?
        .ok_or_else(|| Error::internal("two keys of one curve do not agree"))?;
    let mut policy = target(txn, name, kind)?;
    let material = Material {
        key: symmetric::derive(&secret, &[], kind.symmetric_bytes())?,
        hmac_key: draw(env, HMAC_KEY_LEN),
        public: Vec::new(),
    };
    policy.append(txn, material, env)?;
    Ok(Reply::empty().into())
}

/// The type of the key that is to come of it.
fn wanted(fields: Fields<'_>) -> Result<Kind, Error> {
    let name = fields
        .string("derived_key_type")?
        .unwrap_or_else(|| Kind::Aes256.name().to_owned());
    Kind::named(&name.to_lowercase())
        .filter(|kind| kind.is_symmetric())
        .ok_or_else(|| Error::invalid(format!("unknown key type {name}")))
}

/// Our half: the curve of the key that is named, and the version that is asked for.
fn base_key(txn: &mut Txn<'_>, fields: Fields<'_>) -> Result<(Curve, Version), Error> {
    let name = fields.string("base_key_name")?.unwrap_or_default();
    let asked = fields.int("base_key_version")?.unwrap_or(0);
    let policy = match name.as_str() {
        "" => None,
        name => Policy::load(txn, name)?,
    };
    let policy = policy.ok_or_else(|| Error::invalid("specified base key not found"))?;
    policy.check_usable()?;
    let curve = policy.kind.curve().ok_or_else(|| {
        Error::invalid(format!(
            "base key type {} does not support key agreement",
            policy.kind.name()
        ))
    })?;
    let refused = |why: &str| Error::invalid(format!("requested version of the base key is {why}"));
    let number = match u64::try_from(asked) {
        Err(_) => return Err(refused("negative")),
        Ok(0) => policy.latest,
        Ok(number) if number > policy.latest => return Err(refused("higher than the latest key version")),
        Ok(number) if number < policy.min_available => {
            return Err(refused("less than the minimum available key version"));
        }
        Ok(number) => number,
    };
    let version = policy.version(txn, number)?;
    version.check_private("the version of the base key does not have a private part")?;
    Ok((curve, version))
}

/// The other party's half. A point that is none of the curve would tell of our key, and is refused.
fn peer_point(curve: Curve, peer: &str) -> Result<Vec<u8>, Error> {
    let refused = |why: &str| Error::invalid(format!("failed to parse supplied peer public key PEM: {why}"));
    let info = public::of_pem("peer_public_key", peer, MAX_PEER)?;
    let shown = Shown::read(&info).ok_or_else(|| refused("it is no public key"))?;
    let kind = Kind::of_curve(curve);
    if !shown.is_like(kind) {
        return Err(Error::invalid("supplied peer public key is not an ECDSA key"));
    }
    if !shown.is_of(curve) {
        return Err(Error::invalid(format!(
            "base private key type {} does not match peer public key curve",
            kind.name()
        )));
    }
    shown
        .of_kind(kind)
        .ok_or_else(|| refused("it is no point on its curve"))
}

/// The key that gets another version, or its first. Keys that came about otherwise are not touched: whoever may derive a key
/// could make one that they know the newest version of any other.
fn target(txn: &mut Txn<'_>, name: &str, kind: Kind) -> Result<Policy, Error> {
    let Some(policy) = Policy::load(txn, name)? else {
        let mut policy = Policy::new(name, kind);
        policy.imported = true;
        return Ok(policy);
    };
    policy.check_usable()?;
    if policy.imported && policy.kind == kind && !policy.derived {
        return Ok(policy);
    }
    Err(Error::invalid(format!(
        "key {name} exists and is no imported or agreed key of type {}: versions are not added to others",
        kind.name()
    )))
}
