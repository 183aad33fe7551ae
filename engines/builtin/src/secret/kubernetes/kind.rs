//! The objects that come and go with a lease, and the requests that make them. Knows no role and no lease.

use std::collections::BTreeMap;

use conclave_engine_api::{Error, Hidden};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The label whose value says which mount made an object, and the one that says whose account an object without a namespace
/// is for. The driver finds them by these names.
const MOUNT: &str = "conclave-mount";
const NAMESPACE: &str = "conclave-namespace";
const RBAC: &str = "rbac.authorization.k8s.io";

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    ServiceAccounts,
    RoleBindings,
    ClusterRoleBindings,
    Roles,
    ClusterRoles,
}

/// In the order in which they go: without its account a token is worth nothing.
pub(super) const ALL: [Kind; 5] = [
    Kind::ServiceAccounts,
    Kind::RoleBindings,
    Kind::ClusterRoleBindings,
    Kind::Roles,
    Kind::ClusterRoles,
];

impl Kind {
    /// Where objects of this kind lie. A namespace needs no escape: it is one by then.
    pub fn path(self, namespace: &str) -> String {
        match self {
            Self::ServiceAccounts => format!("api/v1/namespaces/{namespace}/serviceaccounts"),
            Self::RoleBindings => format!("apis/{RBAC}/v1/namespaces/{namespace}/rolebindings"),
            Self::Roles => format!("apis/{RBAC}/v1/namespaces/{namespace}/roles"),
            Self::ClusterRoleBindings => format!("apis/{RBAC}/v1/clusterrolebindings"),
            Self::ClusterRoles => format!("apis/{RBAC}/v1/clusterroles"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ServiceAccounts => "ServiceAccount",
            Self::RoleBindings => "RoleBinding",
            Self::ClusterRoleBindings => "ClusterRoleBinding",
            Self::Roles => "Role",
            Self::ClusterRoles => "ClusterRole",
        }
    }
}

/// What all objects of one account are called, and bear.
pub(super) struct Named<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub mark: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub annotations: &'a BTreeMap<String, String>,
}

impl Named<'_> {
    /// Makes one; `more`: what it has besides its name.
    pub fn make(&self, kind: Kind, more: Map<String, Value>) -> Result<Hidden, Error> {
        let mut labels = self.labels.clone();
        // Ours are written last: a role says nothing else.
        for (label, value) in [
            ("app.kubernetes.io/managed-by", "conclave"),
            (MOUNT, self.mark),
            (NAMESPACE, self.namespace),
        ] {
            labels.insert(label.to_owned(), value.to_owned());
        }
        let mut metadata = Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("labels".to_owned(), json!(labels)),
        ]);
        if !self.annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(self.annotations));
        }
        if !matches!(kind, Kind::ClusterRoleBindings | Kind::ClusterRoles) {
            metadata.insert("namespace".to_owned(), json!(self.namespace));
        }
        let version = match kind {
            Kind::ServiceAccounts => "v1".to_owned(),
            _ => format!("{RBAC}/v1"),
        };
        let mut object = Map::from_iter([
            ("apiVersion".to_owned(), json!(version)),
            ("kind".to_owned(), json!(kind.name())),
            ("metadata".to_owned(), Value::Object(metadata)),
        ]);
        object.extend(more);
        post(&kind.path(self.namespace), &Value::Object(object))
    }

    /// Binds the account to a role.
    pub fn bind(&self, kind: Kind, role: Kind, name: &str) -> Result<Hidden, Error> {
        let subject = json!({"kind": "ServiceAccount", "name": self.name, "namespace": self.namespace});
        let role = json!({"apiGroup": RBAC, "kind": role.name(), "name": name});
        let more = [("subjects", json!([subject])), ("roleRef", role)];
        self.make(
            kind,
            Map::from_iter(more.map(|(name, value)| (name.to_owned(), value))),
        )
    }
}

/// A token of an account.
pub(super) fn token(
    (namespace, account): (&str, &str),
    seconds: u64,
    audiences: &[String],
) -> Result<Hidden, Error> {
    let path = format!("{}/{account}/token", Kind::ServiceAccounts.path(namespace));
    let spec = json!({"audiences": audiences, "expirationSeconds": seconds});
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    post(&path, &request)
}

/// Goes on only if the labels of a namespace are as a selector says.
pub(super) fn matching(namespace: &str, selector: &impl Serialize) -> Result<Hidden, Error> {
    statement("match", &format!("api/v1/namespaces/{namespace}"), selector)
}

fn post(path: &str, body: &Value) -> Result<Hidden, Error> {
    statement("post", path, body)
}

fn statement(verb: &str, path: &str, body: &impl Serialize) -> Result<Hidden, Error> {
    let body = serde_json::to_string(body).map_err(|_| Error::internal("a statement cannot be written"))?;
    Ok(Hidden::new(format!("{verb} {path} {body}")))
}

/// Whether this is a name of Kubernetes (a subdomain of RFC 1123): what stands for something else in a path is none.
pub(super) fn is_dns_name(name: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|first| edge(*first))
            && bytes.last().is_some_and(|last| edge(*last))
            && bytes.iter().all(|byte| edge(*byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Whether this is a name of a namespace (a label of RFC 1123).
pub(super) fn is_namespace(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.') && is_dns_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        for good in ["a", "a-b", "a.b-c.9", "v-token-app-1-x"] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            "-a",
            "a-",
            "A",
            "a_b",
            "a/b",
            "a%2e",
            "é",
            &"a".repeat(254),
        ] {
            assert!(!is_dns_name(bad), "{bad}");
        }
        assert!(is_namespace("kube-system"));
        assert!(!is_namespace("a.b") && !is_namespace(&"a".repeat(64)));
    }
}
