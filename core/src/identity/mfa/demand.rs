//! Which second factors a login must show: what enforcements of its namespace and of those above say, and what is demanded of
//! whoever was found to be unusual. It must not know what was shown.

use serde_json::{Map, Value, json};

use crate::catalog::{Catalog, MountRecord};
use crate::error::Error;
use crate::identity::mfa::record::{Enforcement, Placed, method, methods};
use crate::sys::object;

/// What the demand is called that no enforcement makes, but a rule about unusual access.
const UNUSUAL: &str = "unusual-access";
/// Said beside a login that waits, as OpenBao words it.
const WARNING: &str = "A login request was issued that is subject to MFA validation. Please make sure to validate the login by \
                       sending another request to mfa/validate endpoint.";

/// Who logs in.
#[derive(Clone, Copy)]
pub struct Who<'a> {
    /// The entity's id.
    pub entity: &'a str,
    /// Ids of all its groups.
    pub groups: &'a [String],
    /// Ids of methods it has secrets for.
    pub factors: &'a [String],
}

/// One of these methods must be shown.
pub struct Demand<'c> {
    /// What demands it.
    pub name: &'c str,
    /// Any of them will do; none: nothing does.
    pub methods: Vec<Placed<'c>>,
}

/// All that is demanded of a login at `mount` in the namespace of `catalog`.
///
/// # Errors
/// A refusal of who must show a second factor and has none.
pub fn demands<'c>(
    catalog: &'c Catalog,
    mount: &MountRecord,
    who: Who<'_>,
) -> Result<Vec<Demand<'c>>, Error> {
    let mut demands = Vec::new();
    for node in catalog.tree().way(catalog.namespace().number) {
        for enforcement in node.mfa().enforcements.values() {
            if covers(enforcement, mount, who) {
                let ids = enforcement.mfa_method_ids.iter();
                demands.push(Demand {
                    name: &enforcement.name,
                    methods: ids.filter_map(|id| method(catalog, id)).collect(),
                });
            }
        }
    }
    // Whatever an enforcement demands will do.
    if demands.is_empty() && catalog.watched.holds.of(who.entity).is_some() {
        let enrolled = |placed: &Placed<'_>| who.factors.contains(&placed.method.id);
        let methods: Vec<_> = methods(catalog).filter(enrolled).collect();
        if methods.is_empty() {
            return Err(Error::unauthenticated());
        }
        let name = UNUSUAL;
        demands.push(Demand { name, methods });
    }
    Ok(demands)
}

fn covers(enforcement: &Enforcement, mount: &MountRecord, who: Who<'_>) -> bool {
    let lists = |list: &[String], text: &str| list.iter().any(|entry| entry == text);
    lists(&enforcement.identity_entity_ids, who.entity)
        || who
            .groups
            .iter()
            .any(|group| lists(&enforcement.identity_group_ids, group))
        || lists(&enforcement.auth_method_accessors, &mount.accessor)
        || lists(&enforcement.auth_method_types, &mount.kind)
}

/// What a login that waits is told instead of a token: the name of the request, and what is demanded.
pub fn requirement(request: &str, demands: &[Demand<'_>]) -> (Map<String, Value>, String) {
    let constraints: Map<String, Value> = demands
        .iter()
        .map(|demand| {
            let any: Vec<_> = demand.methods.iter().map(describe).collect();
            (demand.name.to_owned(), json!({"any": any}))
        })
        .collect();
    let told = object(json!({
        "client_token": "",
        "accessor": "",
        "policies": null,
        "metadata": null,
        "lease_duration": 0,
        "renewable": false,
        "entity_id": "",
        "token_type": "default",
        "orphan": false,
        "mfa_requirement": {"mfa_request_id": request, "mfa_constraints": constraints},
        "num_uses": 0,
    }));
    (told, WARNING.to_owned())
}

fn describe(placed: &Placed<'_>) -> Map<String, Value> {
    let method = placed.method;
    let mut told = object(json!({"type": "totp", "id": method.id, "uses_passcode": true}));
    if !method.name.is_empty() {
        told.insert("name".to_owned(), json!(method.name));
    }
    told
}
