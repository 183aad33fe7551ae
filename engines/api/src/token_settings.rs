//! The `token_*` parameters that every auth method's users and roles carry: read, checked and shown in one place. Knows no
//! tokens and no mounts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cidr::check_cidrs;
use crate::env::Millis;
use crate::error::Error;
use crate::fields::Fields;

/// How a token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenType {
    /// As the mount says.
    #[default]
    Default,
    /// As the mount says, else stored.
    DefaultService,
    /// As the mount says, else self-contained.
    DefaultBatch,
    /// Stored, renewable, revocable.
    Service,
    /// Self-contained: nothing is stored.
    Batch,
}

impl TokenType {
    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "" | "default" => Self::Default,
            "default-service" => Self::DefaultService,
            "default-batch" => Self::DefaultBatch,
            "service" => Self::Service,
            "batch" => Self::Batch,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::DefaultService => "default-service",
            Self::DefaultBatch => "default-batch",
            Self::Service => "service",
            Self::Batch => "batch",
        }
    }

    /// Whether a token of this type may turn out self-contained without the mount's saying.
    fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::DefaultBatch)
    }
}

/// What the tokens of a user or role may be. Lives are in milliseconds, 0 standing for the mount's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// Names of policies, as given.
    pub policies: Vec<String>,
    /// Life without a wish.
    pub ttl: Millis,
    /// Longest life through renewals.
    pub max_ttl: Millis,
    /// Bound no renewal passes and no later setting moves.
    pub explicit_max_ttl: Millis,
    /// Life that each renewal gives anew, without end.
    pub period: Millis,
    /// 0: unlimited.
    pub num_uses: u64,
    /// Whether `default` is not added.
    pub no_default_policy: bool,
    /// Networks the token is good from; empty for all.
    pub bound_cidrs: Vec<String>,
    /// Whether it is good from the address of the login alone.
    pub strictly_bind_ip: bool,
    /// How it lives.
    pub kind: TokenType,
}

impl TokenSettings {
    /// Takes over what `fields` give and checks the whole. On an error nothing has changed.
    ///
    /// # Errors
    /// A field is mistyped, or settings contradict each other.
    pub fn read(&mut self, fields: &Fields<'_>) -> Result<(), Error> {
        let mut new = self.clone();
        if let Some(cidrs) = fields.strings("token_bound_cidrs")? {
            new.bound_cidrs = check_cidrs(cidrs)?;
        }
        let lives = [
            ("token_explicit_max_ttl", &mut new.explicit_max_ttl),
            ("token_max_ttl", &mut new.max_ttl),
            ("token_period", &mut new.period),
            ("token_ttl", &mut new.ttl),
        ];
        for (name, life) in lives {
            *life = fields.duration(name)?.unwrap_or(*life);
        }
        new.no_default_policy = fields
            .bool("token_no_default_policy")?
            .unwrap_or(new.no_default_policy);
        new.strictly_bind_ip = fields
            .bool("token_strictly_bind_ip")?
            .unwrap_or(new.strictly_bind_ip);
        if let Some(policies) = fields.strings("token_policies")? {
            new.policies = policies;
        }
        if let Some(kind) = fields.string("token_type")? {
            let unknown = || Error::invalid(format!("invalid 'token_type' value {kind:?}"));
            new.kind = TokenType::parse(&kind).ok_or_else(unknown)?;
        }
        if let Some(uses) = fields.int("token_num_uses")? {
            let negative = |_| Error::invalid("'token_num_uses' cannot be negative");
            new.num_uses = u64::try_from(uses).map_err(negative)?;
        }
        new.check()?;
        *self = new;
        Ok(())
    }

    /// Whether the settings fit each other.
    ///
    /// # Errors
    /// They do not; the text is OpenBao's.
    pub fn check(&self) -> Result<(), Error> {
        if self.kind.is_batch() && self.period > 0 {
            return Err(Error::invalid(
                "'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens",
            ));
        }
        if self.kind.is_batch() && self.num_uses > 0 {
            return Err(Error::invalid(
                "'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count",
            ));
        }
        if self.max_ttl > 0 && self.ttl > self.max_ttl {
            return Err(Error::invalid(
                "'token_ttl' cannot be greater than 'token_max_ttl'",
            ));
        }
        Ok(())
    }

    /// Adds the settings to what is shown of a user or role.
    pub fn describe(&self, data: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
        put("token_bound_cidrs", json!(self.bound_cidrs));
        put("token_explicit_max_ttl", json!(self.explicit_max_ttl / 1000));
        put("token_max_ttl", json!(self.max_ttl / 1000));
        put("token_no_default_policy", json!(self.no_default_policy));
        put("token_num_uses", json!(self.num_uses));
        put("token_period", json!(self.period / 1000));
        put("token_policies", json!(self.policies));
        put("token_strictly_bind_ip", json!(self.strictly_bind_ip));
        put("token_ttl", json!(self.ttl / 1000));
        put("token_type", json!(self.kind.name()));
    }

    /// Whether tokens with `policies` are what these settings would give: the same, whether or not `default` is among them.
    pub fn gives(&self, policies: &[String]) -> bool {
        let normal = |names: &[String]| {
            let mut names: Vec<String> = names
                .iter()
                .map(|name| name.trim().to_lowercase())
                .filter(|name| !name.is_empty() && name != "default")
                .collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        normal(&self.policies) == normal(policies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(body: &Value) -> Result<TokenSettings, Error> {
        let mut settings = TokenSettings::default();
        settings.read(&Fields::new(body.as_object().unwrap()))?;
        Ok(settings)
    }

    #[test]
    fn contradictions_are_refused_and_change_nothing() {
        for (body, text) in [
            (json!({"token_type": "batch", "token_period": 1}), "periodic"),
            (
                json!({"token_type": "default-batch", "token_num_uses": 1}),
                "limited use",
            ),
            (json!({"token_ttl": 2, "token_max_ttl": 1}), "greater"),
            (json!({"token_num_uses": -1}), "negative"),
            (json!({"token_ttl": -1}), "negative"),
            (json!({"token_type": "zz"}), "invalid 'token_type' value \"zz\""),
            (json!({"token_bound_cidrs": "999.1.1.1/8"}), "CIDR"),
        ] {
            let error = settings(&body).unwrap_err().to_string();
            assert!(error.contains(text), "{body}: {error}");
        }
        let mut known = settings(&json!({"token_max_ttl": "1h"})).unwrap();
        let more = json!({"token_policies": "a", "token_ttl": "2h"});
        assert!(known.read(&Fields::new(more.as_object().unwrap())).is_err());
        assert!(known.policies.is_empty(), "nothing of a refused change is kept");
    }

    #[test]
    fn the_default_policy_does_not_tell_two_lists_apart() {
        let settings = settings(&json!({"token_policies": "B,a"})).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(settings.gives(&names(&["a", "b", "default"])));
        assert!(settings.gives(&names(&["a", "b"])));
        assert!(!settings.gives(&names(&["a", "default"])));
        assert!(!settings.gives(&names(&["a", "b", "c"])));
    }
}
