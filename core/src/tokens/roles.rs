//! Token roles, `auth/token/roles/:role`: what tokens that are made by a role may be, whoever makes them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use conclave_engine_api::{Fields, Millis, Outcome, TokenSettings, TokenType, Txn};

use crate::catalog::{Category, decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::normal_names;

/// A role as stored, among the rows of the token mount at `role/<name>`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Role {
    allowed_policies: Vec<String>,
    allowed_policies_glob: Vec<String>,
    disallowed_policies: Vec<String>,
    disallowed_policies_glob: Vec<String>,
    allowed_entity_aliases: Option<Vec<String>>,
    /// Whether its tokens have no parent.
    pub orphan: bool,
    /// Whether its tokens may be renewed.
    pub renewable: bool,
    path_suffix: String,
    /// What its tokens may be.
    pub settings: TokenSettings,
    /// Given under the names these had before; 0: not.
    period: Millis,
    explicit_max_ttl: Millis,
}

impl Default for Role {
    fn default() -> Self {
        Self {
            allowed_policies: Vec::new(),
            allowed_policies_glob: Vec::new(),
            disallowed_policies: Vec::new(),
            disallowed_policies_glob: Vec::new(),
            allowed_entity_aliases: None,
            orphan: false,
            renewable: true,
            path_suffix: String::new(),
            settings: TokenSettings {
                kind: TokenType::DefaultService,
                ..TokenSettings::default()
            },
            period: 0,
            explicit_max_ttl: 0,
        }
    }
}

impl Role {
    /// The role called `name`.
    pub fn load(call: &mut Call<'_, '_>, name: &str) -> Result<Option<Self>, Error> {
        in_rows(call, |txn| {
            let stored = txn.get(&row(name)?)?;
            stored.map(|row| decode_record(&row.value)).transpose()
        })
    }

    /// Life that each renewal gives anew.
    pub fn period(&self) -> Millis {
        self.settings.period
    }

    /// Bound that no renewal passes.
    pub fn explicit_max_ttl(&self) -> Millis {
        self.settings.explicit_max_ttl
    }

    /// Where tokens of this role, called `name`, are made.
    pub fn path(&self, name: &str) -> String {
        match self.path_suffix.as_str() {
            "" => format!("auth/token/create/{name}"),
            suffix => format!("auth/token/create/{name}/{suffix}"),
        }
    }

    /// Whether tokens may stand for this name.
    pub fn allows_alias(&self, alias: &str) -> bool {
        let alias = alias.to_lowercase();
        let allowed = self.allowed_entity_aliases.as_deref().unwrap_or_default();
        allowed.iter().any(|pattern| is_like(pattern, &alias))
    }

    /// Whether the role says which policies its tokens may have.
    pub fn lists_policies(&self) -> bool {
        let lists = [
            &self.allowed_policies,
            &self.allowed_policies_glob,
            &self.disallowed_policies,
            &self.disallowed_policies_glob,
        ];
        lists.into_iter().any(|list| !list.is_empty())
    }

    /// The policies of a new token, which need not be the caller's.
    pub fn policies(&self, call: &Call<'_, '_>) -> Result<Vec<String>, Error> {
        let fields = call.fields();
        let with_default =
            !fields.bool("no_default_policy")?.unwrap_or(false) && !self.settings.no_default_policy;
        let asked = normal_names(&fields.strings("policies")?.unwrap_or_default())?;
        let bounded = !self.allowed_policies.is_empty() || !self.allowed_policies_glob.is_empty();
        let mut policies = match (asked.is_empty(), bounded) {
            (false, _) => asked,
            (true, true) => self.allowed_policies.clone(),
            (true, false) => call.caller.record.policies.clone(),
        };
        if with_default && !policies.iter().any(|policy| policy == "root") {
            policies.push("default".to_owned());
        }
        policies.sort_unstable();
        policies.dedup();
        if bounded {
            self.check_allowed(&policies, with_default)?;
        }
        let disallowed = policies.iter().find(|policy| {
            self.disallowed_policies.contains(policy)
                || self
                    .disallowed_policies_glob
                    .iter()
                    .any(|glob| is_like(glob, policy))
        });
        if let Some(policy) = disallowed {
            return Err(Error::invalid(format!(
                "token policy {policy:?} is disallowed by this role"
            )));
        }
        if policies.iter().any(|policy| policy == "root") {
            if !call.caller.acl.is_root() {
                return Err(Error::invalid(
                    "root tokens may not be created without parent token being root",
                ));
            }
            return Ok(vec!["root".to_owned()]);
        }
        Ok(policies)
    }

    fn check_allowed(&self, policies: &[String], with_default: bool) -> Result<(), Error> {
        let mut allowed = self.allowed_policies.clone();
        if with_default {
            allowed.push("default".to_owned());
        }
        allowed.sort_unstable();
        allowed.dedup();
        let may = |policy: &String| {
            allowed.contains(policy)
                || self
                    .allowed_policies_glob
                    .iter()
                    .any(|glob| is_like(glob, policy))
        };
        if policies.iter().all(may) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "token policies ({}) must be subset of the role's allowed policies ({}) or glob policies ({})",
            quoted(policies),
            quoted(&allowed),
            quoted(&self.allowed_policies_glob)
        )))
    }

    fn read(&mut self, fields: &Fields<'_>) -> Result<(), Error> {
        let lists = [
            ("allowed_policies", &mut self.allowed_policies),
            ("allowed_policies_glob", &mut self.allowed_policies_glob),
            ("disallowed_policies", &mut self.disallowed_policies),
            ("disallowed_policies_glob", &mut self.disallowed_policies_glob),
        ];
        for (name, list) in lists {
            if let Some(given) = fields.strings(name)? {
                *list = normal_names(&given)?;
            }
        }
        if let Some(aliases) = fields.strings("allowed_entity_aliases")? {
            self.allowed_entity_aliases = Some(aliases.iter().map(|alias| alias.to_lowercase()).collect());
        }
        self.orphan = fields.bool("orphan")?.unwrap_or(self.orphan);
        self.renewable = fields.bool("renewable")?.unwrap_or(self.renewable);
        if let Some(suffix) = fields.string("path_suffix")? {
            check_suffix(&suffix)?;
            self.path_suffix = suffix;
        }
        self.settings.read(fields).map_err(|error| match error {
            conclave_engine_api::Error::Invalid(text) if text.contains("token_num_uses") => {
                Error::invalid(format!("error parsing role fields: {text}"))
            }
            other => other.into(),
        })?;
        if let Some(period) = fields.duration("token_period")?.or(fields.duration("period")?) {
            self.settings.period = period;
            self.period = if fields.given("token_period") { 0 } else { period };
        }
        if let Some(max) = fields
            .duration("token_explicit_max_ttl")?
            .or(fields.duration("explicit_max_ttl")?)
        {
            self.settings.explicit_max_ttl = max;
            self.explicit_max_ttl = if fields.given("token_explicit_max_ttl") {
                0
            } else {
                max
            };
        }
        self.settings.check()?;
        self.check_batch()
    }

    fn check_batch(&self) -> Result<(), Error> {
        let wrong = match self.settings.kind {
            TokenType::Batch if !self.orphan => "non-orphan",
            TokenType::Batch if self.renewable => "renewable",
            _ => return Ok(()),
        };
        Err(Error::invalid(format!(
            "'token_type' cannot be 'batch' when role is set to generate {wrong} tokens"
        )))
    }

    fn describe(&self, name: &str) -> Map<String, Value> {
        let settings = &self.settings;
        let mut data = crate::sys::object(json!({
            "allowed_entity_aliases": self.allowed_entity_aliases,
            "allowed_policies": self.allowed_policies,
            "allowed_policies_glob": self.allowed_policies_glob,
            "disallowed_policies": self.disallowed_policies,
            "disallowed_policies_glob": self.disallowed_policies_glob,
            "explicit_max_ttl": self.explicit_max_ttl / 1000,
            "name": name,
            "orphan": self.orphan,
            "path_suffix": self.path_suffix,
            "period": self.period / 1000,
            "renewable": self.renewable,
            "token_explicit_max_ttl": settings.explicit_max_ttl / 1000,
            "token_no_default_policy": settings.no_default_policy,
            "token_period": settings.period / 1000,
            "token_type": settings.kind.name(),
        }));
        if !settings.bound_cidrs.is_empty() {
            data.insert("token_bound_cidrs".to_owned(), json!(settings.bound_cidrs));
        }
        if settings.num_uses > 0 {
            data.insert("token_num_uses".to_owned(), json!(settings.num_uses));
        }
        data
    }
}

/// Names of all roles.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let page = call.fields().page()?;
    let names = in_rows(call, |txn| Ok(txn.list("role/", &page)?))?;
    match Outcome::listing(names)? {
        Outcome::Reply(reply) => Ok(reply.into()),
        _ => Err(Error::internal("a list is no reply")),
    }
}

/// One role.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = call.params.get("role").to_owned();
    let role = Role::load(call, &name)?;
    let role = role.ok_or(Error::NotFound { warnings: Vec::new() })?;
    Ok(Answer::data(role.describe(&name)))
}

/// Makes or changes a role. Tokens it made stay what they are.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = call.params.get("role").to_owned();
    let mut role = Role::load(call, &name)?.unwrap_or_default();
    role.read(&call.fields().unprefixed())?;
    in_rows(call, |txn| Ok(txn.put(&row(&name)?, encode_record(&role)?)?))?;
    Ok(Answer::empty())
}

/// Deletes a role. Tokens it made stay what they are.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = call.params.get("role").to_owned();
    in_rows(call, |txn| Ok(txn.delete(&row(&name)?)?))?;
    Ok(Answer::empty())
}

/// Runs `then` on the rows of the token mount.
fn in_rows<T>(
    call: &mut Call<'_, '_>,
    then: impl FnOnce(&mut Txn<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mount = call.work.catalog.mounts(Category::Auth).get("token/");
    let mount = mount.ok_or_else(|| Error::internal("the mount of tokens is missing"))?;
    let space = mount.space();
    let reader = call.work.opened().space(space);
    let mut txn = Txn::new(&reader);
    let done = then(&mut txn)?;
    call.work.draft.include(space, txn.into_changes())?;
    Ok(done)
}

/// Names are words, with dots and dashes inside.
fn row(name: &str) -> Result<String, Error> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ends = name.chars().next().zip(name.chars().next_back());
    let is_name = name.len() <= 512
        && ends.is_some_and(|(first, last)| word(first) && word(last))
        && name.chars().all(|c| word(c) || matches!(c, '-' | '.'));
    if !is_name {
        return Err(Error::UnsupportedPath);
    }
    Ok(format!("role/{name}"))
}

fn check_suffix(suffix: &str) -> Result<(), Error> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ends = suffix.chars().next().zip(suffix.chars().next_back());
    let fits = suffix.len() >= 3
        && suffix.len() <= 512
        && ends.is_some_and(|(first, last)| word(first) && word(last))
        && suffix.chars().all(|c| word(c) || matches!(c, '-' | '.'));
    if suffix.is_empty() || fits {
        return Ok(());
    }
    Err(Error::invalid(
        "given role path suffix contains invalid characters; must match \\w[\\w-.]+\\w",
    ))
}

/// Whether `text` is what `pattern` says, `*` standing for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(last)
}

/// As Go prints a list of texts.
fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", names.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, wanted) in [
            ("p*", "p", true),
            ("p*", "pz", true),
            ("p*", "xp", false),
            ("*", "", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "abcb", false),
            ("a*a", "a", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(is_like(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn names_and_suffixes_are_words() {
        for name in ["a", "a-b", "a.b", "A_9"] {
            assert!(row(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a.", "a/b", "a b", "ä"] {
            assert!(row(name).is_err(), "{name}");
        }
        for suffix in ["", "sfx", "a-b"] {
            assert!(check_suffix(suffix).is_ok(), "{suffix}");
        }
        for suffix in ["a", "ab", " x", "a/../b", "a/b"] {
            assert!(check_suffix(suffix).is_err(), "{suffix}");
        }
    }
}
