//! The envelope in which the API answers: lease, data, warnings, auth and wrapping. Knows nothing of transport.

use super::json::{Fields, Json, ParseError};

/// An answer's envelope (`{request_id, lease_id, ..., data, wrap_info, warnings, auth}`).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret {
    /// Identifier of the request in the server's audit log.
    pub request_id: String,
    /// Lease of a dynamic credential; empty if there is none.
    pub lease_id: String,
    /// Seconds the lease lasts.
    pub lease_duration: i64,
    /// Whether the lease may be renewed.
    pub renewable: bool,
    /// The engine's data.
    pub data: Option<Fields>,
    /// What the caller should know although the request succeeded.
    pub warnings: Option<Vec<String>>,
    /// The token that a login or a token creation made.
    pub auth: Option<Auth>,
    /// The wrapping token that stands for the real answer.
    pub wrap_info: Option<WrapInfo>,
}

/// A token as logins and token creations answer it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// The token itself.
    pub client_token: String,
    /// The token's accessor.
    pub accessor: String,
    /// Token and identity policies together.
    pub policies: Option<Vec<String>>,
    /// Policies of the token itself.
    pub token_policies: Option<Vec<String>>,
    /// Policies that come from the entity and its groups.
    pub identity_policies: Option<Vec<String>>,
    /// Metadata the auth method attached.
    pub metadata: Option<Fields>,
    /// Whether the token has no parent.
    pub orphan: bool,
    /// The entity behind the token.
    pub entity_id: String,
    /// Seconds the token lasts; 0 for ever.
    pub lease_duration: i64,
    /// Whether the token may be renewed.
    pub renewable: bool,
    /// The second factor asked for before the token is issued (`mfa_request_id`, `mfa_constraints`).
    pub mfa_requirement: Option<Json>,
}

/// A wrapping token and what it stands for.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct WrapInfo {
    /// The wrapping token.
    pub token: String,
    /// Its accessor.
    pub accessor: String,
    /// Seconds it lasts.
    pub ttl: i64,
    /// When it was made (RFC 3339).
    pub creation_time: String,
    /// The path whose answer is wrapped.
    pub creation_path: String,
    /// Accessor of the token inside, if the answer was a login.
    pub wrapped_accessor: String,
}

impl Secret {
    /// Reads an envelope. An empty body is no secret; a body that is no envelope (some sys endpoints) becomes the
    /// data of one; `{"errors":[...]}` alone is no secret.
    ///
    /// # Errors
    /// [`ParseError`] if the body is not JSON.
    pub fn parse(body: &[u8]) -> Result<Option<Self>, ParseError> {
        if body.is_empty() {
            return Ok(None);
        }
        let Json::Object(top) = Json::parse_first(body)? else {
            return Ok(None);
        };
        let mut secret = Self::from_fields(&top);
        if secret == Self::default() {
            if top.get("errors").is_some() {
                return Ok(None);
            }
            if !top.is_empty() {
                secret.data = Some(top);
            }
        }
        Ok(Some(secret))
    }

    /// Whether the envelope says more than that nothing was found: it has warnings or data.
    #[must_use]
    pub fn says_something(&self) -> bool {
        self.warnings.as_ref().is_some_and(|w| !w.is_empty())
            || self.data.as_ref().is_some_and(|d| !d.is_empty())
    }

    /// A field of the data.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Json> {
        self.data.as_ref()?.get(name)
    }

    fn from_fields(top: &Fields) -> Self {
        Self {
            request_id: text(top, "request_id"),
            lease_id: text(top, "lease_id"),
            lease_duration: number(top, "lease_duration"),
            renewable: truth(top, "renewable"),
            data: top.get("data").and_then(Json::as_object).cloned(),
            warnings: strings(top, "warnings"),
            auth: top.get("auth").and_then(Json::as_object).map(Auth::from_fields),
            wrap_info: top
                .get("wrap_info")
                .and_then(Json::as_object)
                .map(WrapInfo::from_fields),
        }
    }

    /// The envelope as the `vault` and `bao` tools print it: every field, in the order of their structs.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut out = Fields::new();
        out.push("request_id", self.request_id.as_str());
        out.push("lease_id", self.lease_id.as_str());
        out.push("lease_duration", self.lease_duration);
        out.push("renewable", self.renewable);
        out.push("data", self.data.clone().map_or(Json::Null, Json::Object));
        out.push("warnings", list(self.warnings.as_deref()));
        if let Some(auth) = &self.auth {
            out.push("auth", auth.to_json());
        }
        if let Some(wrap) = &self.wrap_info {
            out.push("wrap_info", wrap.to_json());
        }
        Json::Object(out)
    }
}

impl Auth {
    fn from_fields(auth: &Fields) -> Self {
        Self {
            client_token: text(auth, "client_token"),
            accessor: text(auth, "accessor"),
            policies: strings(auth, "policies"),
            token_policies: strings(auth, "token_policies"),
            identity_policies: strings(auth, "identity_policies"),
            metadata: auth.get("metadata").and_then(Json::as_object).cloned(),
            orphan: truth(auth, "orphan"),
            entity_id: text(auth, "entity_id"),
            lease_duration: number(auth, "lease_duration"),
            renewable: truth(auth, "renewable"),
            mfa_requirement: auth.get("mfa_requirement").filter(|m| !m.is_null()).cloned(),
        }
    }

    fn to_json(&self) -> Fields {
        let mut out = Fields::new();
        out.push("client_token", self.client_token.as_str());
        out.push("accessor", self.accessor.as_str());
        out.push("policies", list(self.policies.as_deref()));
        out.push("token_policies", list(self.token_policies.as_deref()));
        out.push("identity_policies", list(self.identity_policies.as_deref()));
        out.push("metadata", self.metadata.clone().map_or(Json::Null, Json::Object));
        out.push("orphan", self.orphan);
        out.push("entity_id", self.entity_id.as_str());
        out.push("lease_duration", self.lease_duration);
        out.push("renewable", self.renewable);
        out.push(
            "mfa_requirement",
            self.mfa_requirement.clone().unwrap_or_default(),
        );
        out
    }
}

impl WrapInfo {
    fn from_fields(wrap: &Fields) -> Self {
        Self {
            token: text(wrap, "token"),
            accessor: text(wrap, "accessor"),
            ttl: number(wrap, "ttl"),
            creation_time: text(wrap, "creation_time"),
            creation_path: text(wrap, "creation_path"),
            wrapped_accessor: text(wrap, "wrapped_accessor"),
        }
    }

    fn to_json(&self) -> Fields {
        let mut out = Fields::new();
        out.push("token", self.token.as_str());
        out.push("accessor", self.accessor.as_str());
        out.push("ttl", self.ttl);
        out.push("creation_time", self.creation_time.as_str());
        out.push("creation_path", self.creation_path.as_str());
        out.push("wrapped_accessor", self.wrapped_accessor.as_str());
        out
    }
}

fn text(of: &Fields, name: &str) -> String {
    of.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn number(of: &Fields, name: &str) -> i64 {
    of.get(name).and_then(Json::as_i64).unwrap_or_default()
}

fn truth(of: &Fields, name: &str) -> bool {
    of.get(name).and_then(Json::as_bool).unwrap_or_default()
}

fn strings(of: &Fields, name: &str) -> Option<Vec<String>> {
    let items = of.get(name)?.as_array()?;
    Some(items.iter().filter_map(Json::as_str).map(str::to_owned).collect())
}

fn list(items: Option<&[String]>) -> Json {
    items.map_or(Json::Null, |items| {
        items.iter().map(String::as_str).collect::<Vec<_>>().into()
    })
}
