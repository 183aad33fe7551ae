//! The rules of all policies of a token, compiled, and the decision about one request. It must not know the text of
//! policies, nor who asks.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::{Map, Value};

use conclave_engine_api::{Millis, Operation};

use super::capability::Capabilities;
use super::index::Index;
use super::keys_filter::KeysFilter;
use super::limit::{ListLimit, list_limit};
use super::parse::{Grant, Policy, Rule};
use super::pattern::Pattern;
use super::template::{Values, fill};
use crate::error::Error;

/// What a token may do. Cheap to ask, dear to make: keep it as long as the token's policies are the same and
/// [`Acl::valid_until`] has not come.
pub struct Acl {
    root: bool,
    rules: Index<Arc<Compiled>>,
    /// The rules that deny, once more, by lower-case paths.
    denies: Index<Arc<Compiled>>,
    valid_until: Option<Millis>,
}

/// All rules for one path, united.
struct Compiled {
    pattern: Pattern,
    /// The pattern in lower case, to compare with denies.
    folded: Pattern,
    grant: Grant,
    by: Vec<(Arc<str>, Capabilities)>,
}

/// One question.
pub struct CheckRequest<'a> {
    /// What is to be done.
    pub operation: Operation,
    /// The whole path without `/v1/`: `secret/data/foo`. A LIST or SCAN means the directory, with or without the `/`.
    pub path: &'a str,
    /// The body, or the query of a read.
    pub data: Option<&'a Map<String, Value>>,
    /// How long the response shall stay wrapped, if it shall be.
    pub wrap_ttl: Option<Millis>,
    /// Whether the path is root-protected.
    pub is_sudo_path: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<'a> {
    /// Whether it may be done.
    pub allowed: bool,
    /// Whether the caller is root.
    pub root: bool,
    /// Whether the rule gives `sudo`, needed here or not.
    pub sudo: bool,
    /// The path of the rule that decided, as its policy writes it.
    pub rule: Option<&'a str>,
    /// The policies that gave the capability, for audit. Empty if it is not allowed.
    pub granted_by: Vec<&'a str>,
    /// Why it is not allowed. For operators' eyes: the client hears "permission denied".
    pub missing: Option<Missing<'a>>,
    /// What the request's `limit` field must be set to before the engine sees it (0: all).
    pub limit: Option<u64>,
    /// If set, only names whose target may be read (or listed) may stay in the response.
    pub keys_filter: Option<&'a KeysFilter>,
}

/// The rule that decides about a path, for those who ask why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling<'a> {
    /// Its path, as policies write it.
    pub path: &'a str,
    /// What it grants, by name; `deny` alone if it denies.
    pub capabilities: Vec<&'static str>,
    /// The policies it is united of, each with what it adds.
    pub by: Vec<(&'a str, Vec<&'static str>)>,
}

/// What stood in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing<'a> {
    /// No rule matches.
    Rule,
    /// The rule denies.
    Denied,
    /// The rule lacks this capability.
    Capability(&'static str),
    /// The path is root-protected and the rule lacks `sudo`.
    Sudo,
    /// The response is not to be wrapped, or for too short or too long.
    WrapTtl,
    /// This field must be there, must not, or has a value it must not have.
    Parameter(&'a str),
}

impl Acl {
    /// Unites the policies of a token of nobody. `now` drops rules whose `expiration` has come; rules with templates say
    /// nothing.
    pub fn new(policies: &[Arc<Policy>], now: Millis) -> Result<Self, Error> {
        Self::of(policies, now, None)
    }

    /// Unites the policies of a token of somebody, for whom templates stand for these values. A rule that asks for what
    /// there is not says nothing; [`Error::Denied`] if a value would make a rule reach further than it was written.
    pub fn of(policies: &[Arc<Policy>], now: Millis, values: Option<&dyn Values>) -> Result<Self, Error> {
        let mut united: BTreeMap<Cow<'_, str>, Compiled> = BTreeMap::new();
        let mut valid_until: Option<Millis> = None;
        for policy in policies {
            for rule in &policy.rules {
                if rule.expires.is_some_and(|expires| expires <= now) {
                    continue;
                }
                let Some(path) = fill(rule.pattern.as_str(), values)? else {
                    continue;
                };
                valid_until = valid_until.into_iter().chain(rule.expires).min();
                let compiled = match united.entry(path) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(free) => {
                        let compiled = match free.key() {
                            Cow::Borrowed(_) => Compiled::new(&rule.pattern),
                            Cow::Owned(filled) => Compiled::new(&Pattern::new(filled)),
                        };
                        free.insert(compiled)
                    }
                };
                compiled.unite(rule);
                match compiled.by.last_mut() {
                    // A policy may have several blocks of one path.
                    Some((name, grant)) if **name == *policy.shared_name() => {
                        *grant = (*grant | rule.grant.capabilities).settled();
                    }
                    _ => compiled.by.push((policy.shared_name(), rule.grant.capabilities)),
                }
            }
        }
        let rules: Vec<Arc<Compiled>> = united.into_values().map(Arc::new).collect();
        // Two spellings of one denied path are one entry.
        let denies: BTreeMap<&str, &Arc<Compiled>> = rules
            .iter()
            .filter(|rule| rule.grant.capabilities.denies())
            .map(|rule| (rule.folded.as_str(), rule))
            .collect();
        let denies = Index::new(
            denies
                .into_values()
                .map(|rule| (rule.folded.clone(), rule.clone())),
        );
        let rules = Index::new(rules.into_iter().map(|rule| (rule.pattern.clone(), rule)));
        Ok(Self {
            root: false,
            rules,
            denies,
            valid_until,
        })
    }

    /// May do everything. For the one built-in policy `root`, which no text can be.
    pub fn root() -> Self {
        Self {
            root: true,
            rules: Index::new([]),
            denies: Index::new([]),
            valid_until: None,
        }
    }

    /// Whether this is [`Acl::root`].
    pub fn is_root(&self) -> bool {
        self.root
    }

    /// When the first rule expires, if any does: make the ACL anew then.
    pub fn valid_until(&self) -> Option<Millis> {
        self.valid_until
    }

    /// Whether some rule grants anything on or beneath `directory`, or on something it lies beneath: then the caller may
    /// know that a mount is there.
    pub fn reaches_beneath(&self, directory: &str) -> bool {
        self.root
            || self.rules.values().any(|rule| {
                let head = rule.pattern.head();
                !rule.grant.capabilities.denies()
                    && (head.starts_with(directory) || directory.starts_with(head))
            })
    }

    /// Every path with a rule and the names of its capabilities, as `sys/internal/ui/resultant-acl` tells them.
    pub fn rules(&self) -> impl Iterator<Item = (&str, Vec<&'static str>)> {
        let rules = self.rules.values();
        rules.map(|rule| (rule.pattern.as_str(), rule.grant.capabilities.names()))
    }

    /// Whether an update of this root-protected path is allowed.
    pub fn may_sudo(&self, path: &str) -> bool {
        let request = CheckRequest {
            operation: Operation::Update,
            path,
            data: None,
            wrap_ttl: None,
            is_sudo_path: true,
        };
        self.check(&request).allowed
    }

    /// Decides about one request.
    pub fn check<'a>(&'a self, request: &CheckRequest<'a>) -> Decision<'a> {
        let mut decision = Decision {
            allowed: true,
            root: self.root,
            sudo: self.root,
            rule: None,
            granted_by: Vec::new(),
            missing: None,
            limit: None,
            keys_filter: None,
        };
        if self.root {
            decision.granted_by.push("root");
        } else if request.operation != Operation::Help
            && let Err(missing) = self.decide(request, &mut decision)
        {
            decision.allowed = false;
            decision.missing = Some(missing);
        }
        decision
    }

    /// The names of the capabilities on a path, as `sys/capabilities` answers: `root`, or `deny`, or what is granted.
    /// A path that ends in `/` is asked about as a directory, like LIST does.
    pub fn capabilities(&self, path: &str) -> Vec<&'static str> {
        if self.root {
            return vec!["root"];
        }
        let path = path.trim_start_matches('/');
        self.find(path, path.strip_suffix('/'))
            .map_or(Capabilities::DENY, |rule| rule.grant.capabilities)
            .names()
    }

    /// The rule that decides about `operation` on `path`, and whose it is.
    pub fn ruling(&self, operation: Operation, path: &str) -> Option<Ruling<'_>> {
        let rule = self.rule_of(operation, path)?;
        let by = rule.by.iter().map(|(name, grant)| (&**name, grant.names()));
        Some(Ruling {
            path: rule.pattern.as_str(),
            capabilities: rule.grant.capabilities.names(),
            by: by.collect(),
        })
    }

    fn rule_of(&self, operation: Operation, path: &str) -> Option<&Compiled> {
        match operation {
            Operation::List | Operation::Scan => self.find_directory(path),
            _ => self.find(bare(path), None),
        }
    }

    fn decide<'a>(
        &'a self,
        request: &CheckRequest<'a>,
        decision: &mut Decision<'a>,
    ) -> Result<(), Missing<'a>> {
        let operation = request.operation;
        let lists = matches!(operation, Operation::List | Operation::Scan);
        let rule = self.rule_of(operation, request.path).ok_or(Missing::Rule)?;
        let capabilities = rule.grant.capabilities;
        decision.rule = Some(rule.pattern.as_str());
        decision.sudo = capabilities.contains(Capabilities::SUDO);
        if capabilities.denies() {
            return Err(Missing::Denied);
        }
        let needed = Capabilities::needed(operation);
        if !capabilities.contains(needed) {
            return Err(Missing::Capability(operation.name()));
        }
        if request.is_sudo_path && !decision.sudo {
            return Err(Missing::Sudo);
        }
        if !rule.grant.wrap_fits(request.wrap_ttl) {
            return Err(Missing::WrapTtl);
        }
        if lists {
            let required = &rule.grant.parameters.required;
            match list_limit(rule.grant.pagination_limit, required, request.data) {
                ListLimit::Keep => {}
                ListLimit::Set(limit) => decision.limit = Some(limit),
                ListLimit::Refuse => return Err(Missing::Parameter("limit")),
            }
            decision.keys_filter = rule.grant.keys_filter.as_ref();
        } else if operation != Operation::Delete
            && let Some(parameter) = rule.grant.parameters.refused(request.data)
        {
            return Err(Missing::Parameter(parameter));
        }
        let grants = rule.by.iter().filter(|(_, grant)| grant.contains(needed));
        decision.granted_by = grants.map(|(name, _)| &**name).collect();
        Ok(())
    }

    /// The rule for listing the directory `path`.
    fn find_directory(&self, path: &str) -> Option<&Compiled> {
        let path = bare(path);
        match path.strip_suffix('/') {
            Some(name) => self.find(path, Some(name)),
            None => self.find(&format!("{path}/"), Some(path)),
        }
    }

    /// The rule that applies to `path`. `name` is the same without its `/`, if a directory is meant: then the order is
    /// OpenBao's (exactly the directory, exactly the name, a pattern for the directory, a pattern for the name), except
    /// that a deny found by any of the four ways wins unless the other rule is more specific.
    fn find(&self, path: &str, name: Option<&str>) -> Option<&Compiled> {
        let found = self
            .rules
            .exact(path)
            .or_else(|| name.and_then(|name| self.rules.exact(name)))
            .or_else(|| self.rules.wild(path))
            .or_else(|| name.and_then(|name| self.rules.wild(name)));
        let mut best = found?;
        if self.denies.is_empty() || best.grant.capabilities.denies() {
            return Some(best);
        }
        let folded = fold(path);
        let name = name.and_then(|_| folded.strip_suffix('/'));
        for path in [Some(&*folded), name].into_iter().flatten() {
            for deny in [self.denies.exact(path), self.denies.wild(path)]
                .into_iter()
                .flatten()
            {
                if deny.folded.specificity(&best.folded) != Ordering::Less {
                    best = deny;
                }
            }
        }
        Some(best)
    }
}

impl Grant {
    fn wrap_fits(&self, ttl: Option<Millis>) -> bool {
        match ttl {
            Some(ttl) => {
                self.min_wrap.is_none_or(|min| ttl >= min) && self.max_wrap.is_none_or(|max| ttl <= max)
            }
            None => self.min_wrap.is_none() && self.max_wrap.is_none(),
        }
    }
}

impl Compiled {
    fn new(pattern: &Pattern) -> Self {
        let folded = Pattern::new(&pattern.as_str().to_lowercase());
        Self {
            pattern: pattern.clone(),
            folded,
            grant: Grant::default(),
            by: Vec::new(),
        }
    }

    /// Adds a rule for the same path: capabilities add up, a deny wipes them, and each limit is the smaller.
    fn unite(&mut self, rule: &Rule) {
        let (grant, other) = (&mut self.grant, &rule.grant);
        grant.capabilities = (grant.capabilities | other.capabilities).settled();
        let smaller = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        grant.min_wrap = smaller(grant.min_wrap, other.min_wrap);
        grant.max_wrap = smaller(grant.max_wrap, other.max_wrap);
        grant.pagination_limit = smaller(grant.pagination_limit, other.pagination_limit);
        grant.parameters.merge(&other.parameters);
        if grant.keys_filter.is_none() {
            grant.keys_filter.clone_from(&other.keys_filter);
        }
    }
}

fn bare(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// The path in lower case.
fn fold(path: &str) -> Cow<'_, str> {
    if path.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(path.to_lowercase())
    }
}
