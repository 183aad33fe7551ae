//! What a policy's rule asks of a request beyond allowing it: how many names a list may give, and which names may be in it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use conclave_engine_api::{Operation, Reply};

use crate::policy::{Acl, CheckRequest, KeysFilter};

/// The bounds a rule puts on an allowed request.
pub struct Bounds<'a> {
    acl: &'a Acl,
    limit: Option<u64>,
    filter: Option<KeysFilter>,
}

impl<'a> Bounds<'a> {
    /// Those of the rule that allowed a request.
    pub fn new(acl: &'a Acl, limit: Option<u64>, filter: Option<KeysFilter>) -> Self {
        Self { acl, limit, filter }
    }

    /// The body with the list bounded as the rule says; 0 stands for all.
    pub fn apply<'d>(&self, data: &'d Map<String, Value>) -> Cow<'d, Map<String, Value>> {
        let Some(limit) = self.limit else {
            return Cow::Borrowed(data);
        };
        let mut data = data.clone();
        data.insert("limit".to_owned(), Value::from(limit));
        Cow::Owned(data)
    }

    /// Takes names out of a list's answer that the caller could neither read nor list.
    pub fn screen(&self, operation: Operation, path: &str, reply: &mut Reply) {
        let Some(filter) = &self.filter else { return };
        if !matches!(operation, Operation::List | Operation::Scan) {
            return;
        }
        let Some(data) = reply.data.as_mut() else { return };
        let may = |name: &str| self.may_know(&filter.target(path, name), name.ends_with('/'));
        if let Some(Value::Array(keys)) = data.get_mut("keys") {
            keys.retain(|key| key.as_str().is_some_and(may));
        }
        if let Some(Value::Object(info)) = data.get_mut("key_info") {
            info.retain(|key, _| may(key));
        }
    }

    fn may_know(&self, target: &str, directory: bool) -> bool {
        let operation = if directory {
            Operation::List
        } else {
            Operation::Read
        };
        let request = CheckRequest {
            operation,
            path: target,
            data: None,
            wrap_ttl: None,
            is_sudo_path: false,
        };
        self.acl.check(&request).allowed
    }
}
