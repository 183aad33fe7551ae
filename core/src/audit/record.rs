//! One audit record in the shape Vault's readers know. What is shown in the clear is listed here and in the schema;
//! everything else that a client or an engine said is a keyed hash, or left out where there is no key. Written straight
//! into its line: every request pays for two.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use conclave_engine_api::{Millis, Operation};

use crate::audit::filter::Subject;
use crate::audit::hashed::{Hash, HashedMap, Hasher};
use crate::audit::headers::{self, Header};
use crate::audit::quoted::hide;
use crate::audit::schema::Open;
use crate::catalog::{Category, MountRecord};
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::namespaces::NamespaceRecord;
use crate::namespaces::id::ROOT;
use crate::routes::Answer;
use crate::sys::mounts::shown_kind;
use crate::tokens::{Caller, TokenRecord};
use crate::wrapping::Wrap;

/// Room for what both records of a request say, in bytes.
const SHARED: usize = 1536;
/// Room for what a record says besides: of a request, of an answer.
const START: usize = 256;
const ANSWER: usize = 2048;

/// What both records of a request share.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Joins request and response.
    pub request_id: &'a str,
    /// The cluster's time.
    pub now: Millis,
    /// Who asked, if that is known.
    pub caller: Option<&'a Caller>,
    /// The token as shown; recorded hashed only.
    pub token: Option<&'a str>,
    /// What was asked for.
    pub operation: Operation,
    /// Of what.
    pub path: &'a str,
    /// From where.
    pub remote: Option<IpAddr>,
    /// The mount that answers.
    pub mount: Option<&'a MountRecord>,
    /// The namespace of the path; `None` for the root.
    pub namespace: Option<&'a NamespaceRecord>,
    /// Whether it was allowed, and the policies that did, once that is known.
    pub decided: Option<(bool, &'a [String])>,
    /// Version that readers take for that of the mount.
    pub version: &'a str,
    /// The headers that are recorded.
    pub headers: &'a [Header],
}

impl<'a> Head<'a> {
    /// A step that needs no token: no caller, no mount, nothing decided by policies.
    pub fn step(request_id: &'a str, now: Millis, path: &'a str, remote: Option<IpAddr>) -> Self {
        Self {
            request_id,
            now,
            caller: None,
            token: None,
            operation: Operation::Update,
            path,
            remote,
            mount: None,
            namespace: None,
            decided: None,
            version: "",
            headers: &[],
        }
    }
}

/// A record, not yet hashed: each device has its own key.
pub struct Record<'a> {
    head: Head<'a>,
    kind: &'static str,
    request: &'a Map<String, Value>,
    outcome: Option<Result<&'a Answer, &'a Error>>,
    error: Option<&'a Error>,
    told: Option<&'a Map<String, Value>>,
}

impl<'a> Record<'a> {
    /// Before anything runs.
    pub fn request(head: Head<'a>, data: &'a Map<String, Value>) -> Self {
        Self {
            head,
            kind: "request",
            request: data,
            outcome: None,
            error: None,
            told: None,
        }
    }

    /// The same for one that was refused before anything ran.
    pub fn refused(head: Head<'a>, data: &'a Map<String, Value>, error: &'a Error) -> Self {
        Self {
            error: Some(error),
            ..Self::request(head, data)
        }
    }

    /// Something that nobody asked for.
    pub fn act(head: Head<'a>, data: &'a Map<String, Value>) -> Self {
        Self {
            kind: "act",
            ..Self::request(head, data)
        }
    }

    /// Before the answer leaves.
    pub fn response(
        head: Head<'a>,
        data: &'a Map<String, Value>,
        outcome: Result<&'a Answer, &'a Error>,
    ) -> Self {
        Self {
            kind: "response",
            outcome: Some(outcome),
            // That nothing is there is an answer.
            error: outcome
                .err()
                .filter(|error| !matches!(error, Error::NotFound { .. })),
            ..Self::request(head, data)
        }
    }

    /// The same with data that core itself made of clear numbers and flags, shown as it is.
    #[must_use]
    pub fn telling(self, told: &'a Map<String, Value>) -> Self {
        Self {
            told: Some(told),
            ..self
        }
    }

    /// When it was made.
    pub fn now(&self) -> Millis {
        self.head.now
    }

    /// What filters of devices may ask for.
    pub fn subject(&self) -> Subject<'a> {
        let head = self.head;
        let mount = head.mount.map(|mount| Mount::of(mount, head.namespace));
        let (mount_type, mount_point) = mount
            .map(|mount| (mount.mount_type, mount.mount_point))
            .unwrap_or_default();
        Subject {
            mount_type,
            mount_point,
            namespace: Namespace::of(head.namespace).path.unwrap_or_default(),
            operation: head.operation.name(),
            path: head.path,
        }
    }

    /// One line of JSON with its end, hashed by `hasher`. Without one, values are left out.
    pub fn encode(&self, hasher: Option<&Hasher>) -> Vec<u8> {
        self.line(&self.shared(hasher), hasher)
    }

    /// The lines of a request's two records that are written at once: what both say is made once, and a read pays for
    /// little else.
    pub fn encode_both(asked: &Self, ended: &Self, hasher: Option<&Hasher>) -> [Vec<u8>; 2] {
        let shared = asked.shared(hasher);
        let end = match ended.login() {
            // Whom an answer hands a token to is somebody else than who asked.
            Some(_) => ended.encode(hasher),
            None => ended.line(&shared, hasher),
        };
        [asked.line(&shared, hasher), end]
    }

    /// Who asked for what: the members of the line that both records of a request have, in their braces.
    fn shared(&self, hasher: Option<&Hasher>) -> Vec<u8> {
        let mut out = Vec::with_capacity(SHARED);
        let shown = self.shown(hasher);
        let shared = Shared {
            auth: self.auth(hasher, &shown),
            request: self.request_part(hasher, &shown),
        };
        // Nothing in it can fail to encode.
        serde_json::to_writer(&mut out, &shared).ok();
        out
    }

    fn line(&self, shared: &[u8], hasher: Option<&Hasher>) -> Vec<u8> {
        let room = START + self.outcome.map_or(0, |_| ANSWER);
        let mut out = Vec::with_capacity(shared.len() + room);
        let start = Start {
            time: rfc3339(self.head.now),
            kind: self.kind,
        };
        let end = End {
            response: self
                .outcome
                .map(|outcome| self.response_part(outcome.ok(), hasher)),
            error: self
                .error
                .map(|error| hide(error.to_string(), self.request, hasher)),
        };
        let made = serde_json::to_writer(&mut out, &start).is_ok()
            && join(&mut out, |out| out.write_all(shared).is_ok())
            && join(&mut out, |out| serde_json::to_writer(out, &end).is_ok());
        // Nothing in it can fail to encode; what could would be an empty line, which readers skip.
        if !made {
            out.clear();
        }
        out.push(b'\n');
        out
    }

    /// The hashes of the token shown and of its accessor, which a record tells twice.
    fn shown(&self, hasher: Option<&Hasher>) -> ShownToken {
        let hash = |text: &str| hasher.map(|hasher| hasher.hash(text.as_bytes()));
        let caller = self.head.caller.map(|caller| &caller.record);
        ShownToken {
            token: self.head.token.and_then(hash),
            accessor: caller.and_then(accessor).and_then(hash),
        }
    }

    fn auth(&self, hasher: Option<&Hasher>, shown: &ShownToken) -> Auth<'_> {
        let made = self.login();
        let handed = made.and_then(|(answer, _)| answer.auth.as_ref()?.get("client_token")?.as_str());
        let caller = self.head.caller.map(|caller| &caller.record);
        let record = made.map(|(_, record)| record).or(caller);
        let hash = |text: &str| hasher.map(|hasher| hasher.hash(text.as_bytes()));
        Auth {
            client_token: match made {
                Some(_) => handed.and_then(hash),
                None => shown.token,
            },
            accessor: match made {
                Some((_, record)) => accessor(record).and_then(hash),
                None => shown.accessor,
            },
            display_name: record.map(|record| record.display_name.as_str()),
            policies: record.map(|record| record.policies.as_slice()),
            token_policies: record.map(|record| record.policies.as_slice()),
            // What a method says of who logged in; what makers of tokens say of them is theirs.
            metadata: record
                .filter(|record| record.login.is_some() && !record.meta.is_empty())
                .map(|record| &record.meta),
            policy_results: self.head.decided.map(|(allowed, granted)| Results {
                allowed,
                granting_policies: granted
                    .iter()
                    .map(|name| Granting::by(name, self.head.caller.map(|caller| caller.namespace.as_ref())))
                    .collect(),
            }),
            token_type: record.map_or("default", |record| record.kind.name()),
            token_issue_time: caller
                .filter(|_| made.is_none())
                .map(|record| rfc3339(record.created)),
            token_ttl: record
                .map(|record| record.creation_ttl / 1000)
                .filter(|ttl| *ttl > 0),
        }
    }

    /// The token that a login made, and the answer that hands it out.
    fn login(&self) -> Option<(&'a Answer, &'a TokenRecord)> {
        let answer = self.outcome?.ok()?;
        Some((answer, answer.login.as_deref()?))
    }

    fn request_part<'s>(&'s self, hasher: Option<&'s Hasher>, shown: &ShownToken) -> RequestPart<'s> {
        let head = &self.head;
        let data = hasher.filter(|_| !self.request.is_empty());
        RequestPart {
            id: head.request_id,
            operation: head.operation.name(),
            mount: head.mount.map(|mount| Mount::of(mount, head.namespace)),
            mount_running_version: head.mount.map(|_| head.version),
            client_token: shown.token,
            client_token_accessor: shown.accessor,
            namespace: Namespace::of(head.namespace),
            path: head.path,
            data: data.map(|hasher| {
                let clear = head
                    .mount
                    .map_or(&[][..], |mount| &mount.told.audit_non_hmac_request_keys);
                HashedMap::new(hasher, self.request, self.open()).showing(clear)
            }),
            remote_address: head.remote,
            headers: headers::Shown::of(head.headers, hasher),
        }
    }

    fn response_part<'s>(
        &'s self,
        answer: Option<&'s Answer>,
        hasher: Option<&'s Hasher>,
    ) -> ResponsePart<'s> {
        let keyed = answer.zip(hasher);
        let data = keyed.and_then(|(answer, hasher)| Some((answer.reply.data.as_ref()?, hasher)));
        let warnings = keyed.map(|(answer, hasher)| {
            let hash = |text: &String| hasher.hash(text.as_bytes());
            answer.reply.warnings.iter().map(hash).collect()
        });
        ResponsePart {
            auth: keyed.and_then(|(answer, hasher)| {
                Some(Handed {
                    auth: answer.auth.as_ref()?,
                    hasher,
                    login: answer.login.is_some(),
                })
            }),
            wrap_info: keyed.and_then(|(answer, hasher)| match &answer.wrap {
                Some(Wrap::Done(info)) => Some(WrapInfo(info, hasher)),
                _ => None,
            }),
            mount: self.head.mount.map(|mount| Mount::of(mount, self.head.namespace)),
            mount_running_plugin_version: self.head.mount.map(|_| self.head.version),
            data: match (self.told, data) {
                (Some(told), _) => Some(Data::Told(told)),
                (None, Some((data, hasher))) => {
                    let mount = self.head.mount;
                    let clear = mount.map_or(&[][..], |mount| &mount.told.audit_non_hmac_response_keys);
                    let hashed = HashedMap::new(hasher, data, self.open());
                    Some(Data::Hashed(hashed.showing(clear)))
                }
                (None, None) => self.said().zip(hasher).map(|(error, hasher)| {
                    let error = hasher.hash(error.to_string().as_bytes());
                    Data::Failed(Failed { error })
                }),
            },
            warnings: warnings.unwrap_or_default(),
        }
    }

    /// An error that a handler answered with: that there is no handler is not answered by any.
    fn said(&self) -> Option<&Error> {
        let nobody = |error: &&Error| {
            matches!(
                error,
                Error::UnsupportedPath | Error::UnsupportedOperation | Error::NoRoute(_)
            )
        };
        self.error.filter(|error| !nobody(error))
    }

    fn open(&self) -> Open {
        match self.head.mount {
            // What callers wrap is theirs, whatever its members are called.
            _ if self.head.path.starts_with("sys/wrapping/") => Open::Nothing,
            _ if self.kind == "act" => Open::Act,
            Some(mount) => Open::of(&mount.kind, mount.options.get("version").map(String::as_str)),
            None => Open::Nothing,
        }
    }
}

/// The token that a request came with, as records tell of it.
struct ShownToken {
    token: Option<Hash>,
    accessor: Option<Hash>,
}

/// Tokens that are stored nowhere have none.
fn accessor(record: &TokenRecord) -> Option<&str> {
    Some(record.accessor.as_str()).filter(|accessor| !accessor.is_empty())
}

/// Adds the members of the object that `write` writes to the one that `out` ends with.
fn join(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    out.pop();
    let joint = out.len();
    let written = write(out);
    match out.get_mut(joint..) {
        Some([_, b'}']) => {
            out.truncate(joint);
            out.push(b'}');
        }
        Some([brace, ..]) => *brace = b',',
        _ => return false,
    }
    written
}

/// How a line begins.
#[derive(Serialize)]
struct Start {
    time: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// What follows it.
#[derive(Serialize)]
struct Shared<'a> {
    auth: Auth<'a>,
    request: RequestPart<'a>,
}

/// How it ends.
#[derive(Serialize)]
struct End<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ResponsePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Auth<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_token: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accessor: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_policies: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_results: Option<Results<'a>>,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_issue_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ttl: Option<u64>,
}

#[derive(Serialize)]
struct Results<'a> {
    allowed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    granting_policies: Vec<Granting<'a>>,
}

#[derive(Serialize)]
struct Granting<'a> {
    name: &'a str,
    #[serde(flatten)]
    namespace: NamespaceOf<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl<'a> Granting<'a> {
    fn by(name: &'a str, namespace: Option<&'a NamespaceRecord>) -> Self {
        let Namespace { id, path } = Namespace::of(namespace);
        Self {
            name,
            namespace: NamespaceOf { id, path },
            kind: "acl",
        }
    }
}

#[derive(Serialize)]
struct RequestPart<'a> {
    id: &'a str,
    operation: &'a str,
    #[serde(flatten)]
    mount: Option<Mount<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_running_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_token: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_token_accessor: Option<Hash>,
    namespace: Namespace<'a>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<HashedMap<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<headers::Shown<'a>>,
}

#[derive(Serialize)]
struct Namespace<'a> {
    id: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

impl<'a> Namespace<'a> {
    fn of(record: Option<&'a NamespaceRecord>) -> Self {
        match record.filter(|record| !record.is_root()) {
            None => Self {
                id: Cow::Borrowed(ROOT),
                path: None,
            },
            Some(record) => Self {
                id: Cow::Owned(record.id()),
                path: Some(&record.path),
            },
        }
    }
}

/// The namespace of a policy.
#[derive(Serialize)]
struct NamespaceOf<'a> {
    #[serde(rename = "namespace_id")]
    id: Cow<'static, str>,
    #[serde(rename = "namespace_path", skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

#[derive(Serialize)]
struct Mount<'a> {
    mount_point: Cow<'a, str>,
    mount_type: Cow<'a, str>,
    mount_accessor: &'a str,
    mount_class: &'static str,
}

impl<'a> Mount<'a> {
    fn of(record: &'a MountRecord, namespace: Option<&NamespaceRecord>) -> Self {
        let above = namespace.map_or("", |namespace| namespace.path.as_str());
        let (mount_class, prefix) = match record.category {
            Category::Secret => ("secret", ""),
            Category::Auth => ("auth", "auth/"),
        };
        Self {
            mount_point: match (above, prefix) {
                ("", "") => Cow::Borrowed(&record.path),
                _ => Cow::Owned(format!("{above}{prefix}{}", record.path)),
            },
            mount_type: shown_kind(record),
            mount_accessor: &record.accessor,
            mount_class,
        }
    }
}

#[derive(Serialize)]
struct ResponsePart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Handed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrap_info: Option<WrapInfo<'a>>,
    #[serde(flatten)]
    mount: Option<Mount<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_running_plugin_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Hash>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Told(&'a Map<String, Value>),
    Hashed(HashedMap<'a>),
    Failed(Failed),
}

#[derive(Serialize)]
struct Failed {
    error: Hash,
}

/// A token that holds the answer: where it comes from and how long it lasts is shown, what it is is not.
struct WrapInfo<'a>(&'a Map<String, Value>, &'a Hasher);

impl Serialize for WrapInfo<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        const SHOWN: [&str; 3] = ["creation_path", "creation_time", "ttl"];
        let Self(info, hasher) = self;
        let mut map = out.serialize_map(None)?;
        for (name, value) in *info {
            if SHOWN.contains(&name.as_str()) {
                map.serialize_entry(name, value)?;
            } else {
                map.serialize_entry(name, &hasher.value(value))?;
            }
        }
        map.end()
    }
}

/// A token handed out: who it is for and how long is shown, what it is is not.
struct Handed<'a> {
    auth: &'a Map<String, Value>,
    hasher: &'a Hasher,
    /// Whether a login made it: then its metadata say who that was.
    login: bool,
}

impl Serialize for Handed<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        const SHOWN: [&str; 4] = ["policies", "token_policies", "identity_policies", "token_type"];
        let Self { auth, hasher, login } = self;
        let mut map = out.serialize_map(None)?;
        for name in ["client_token", "accessor"] {
            if let Some(value) = auth.get(name) {
                map.serialize_entry(name, &hasher.value(value))?;
            }
        }
        for name in SHOWN {
            if let Some(value) = auth.get(name) {
                map.serialize_entry(name, value)?;
            }
        }
        if let Some(meta) = auth.get("metadata").filter(|meta| *login && meta.is_object()) {
            map.serialize_entry("metadata", meta)?;
        }
        if let Some(life) = auth.get("lease_duration").filter(|life| life.is_number()) {
            map.serialize_entry("token_ttl", life)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_engine_api::Reply;
    use serde_json::json;

    #[test]
    fn two_records_made_at_once_are_those_made_one_by_one() {
        let data = json!({"password": "hunter2"});
        let data = data.as_object().unwrap();
        let mut answer = Answer {
            reply: Reply::data(data.clone()).warn("w4rning"),
            ..Answer::default()
        };
        let head = Head {
            token: Some("s.token"),
            ..Head::step("r", 0, "secret/data/\"x\"", None)
        };
        let key = Hasher::new(b"salt");
        let agree = |answer: &Answer| {
            let asked = Record::request(head, data);
            for ended in [
                Record::response(head, data, Ok(answer)),
                Record::response(head, data, Err(&Error::denied())),
            ] {
                for hasher in [Some(&key), None] {
                    let both = Record::encode_both(&asked, &ended, hasher);
                    assert_eq!(both, [asked.encode(hasher), ended.encode(hasher)]);
                    for line in both {
                        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
                        let line: Value = serde_json::from_slice(&line).unwrap();
                        assert_eq!(line["request"]["path"], "secret/data/\"x\"");
                    }
                }
            }
        };
        agree(&answer);
        answer.auth = json!({"client_token": "s.new"}).as_object().cloned();
        let made = json!({"accessor": "acc", "parent": null, "policies": ["p"], "path": "auth/userpass/login/ann", "meta": {},
            "display_name": "ann", "num_uses": 0, "created": 0, "creation_ttl": 60_000, "renewed": 0, "expires": 60_000,
            "explicit_max_ttl": 0, "period": 0, "renewable": true});
        answer.login = Some(serde_json::from_value(made).unwrap());
        agree(&answer);
    }

    #[test]
    fn no_value_is_in_the_clear() {
        let data = json!({"password": "hunter2", "pin": 90125, "nested": {"list": ["s3cret", true]}});
        let data = data.as_object().unwrap();
        let answer = Answer {
            reply: Reply::data(data.clone()).warn("w4rning"),
            auth: Some(data.clone()),
            ..Answer::default()
        };
        let head = Head {
            token: Some("s.token"),
            ..Head::step("r", 0, "secret/data/x", None)
        };
        let records = || {
            [
                Record::request(head, data),
                Record::response(head, data, Ok(&answer)),
            ]
        };
        let key = Hasher::new(b"salt");
        for record in records() {
            let line = String::from_utf8(record.encode(Some(&key))).unwrap();
            for secret in ["hunter2", "90125", "s3cret", "true", "s.token", "w4rning"] {
                assert!(!line.contains(secret), "{secret} in {line}");
            }
            assert!(line.contains("secret/data/x") && line.contains("hmac-sha256:"));
        }
        let one = Record::request(head, data).encode(Some(&Hasher::new(b"one")));
        let two = Record::request(head, data).encode(Some(&Hasher::new(b"two")));
        assert_ne!(one, two, "keys matter");
        for record in records() {
            let line = String::from_utf8(record.encode(None)).unwrap();
            assert!(
                !line.contains("hmac") && !line.contains("password"),
                "nothing of the values without a key: {line}"
            );
            assert!(line.contains("secret/data/x") && line.ends_with("}\n"));
        }
    }
}
