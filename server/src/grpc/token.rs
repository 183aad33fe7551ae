//! `conclave.v1.Token`: making, looking up, renewing and revoking tokens.

use serde_json::{Map, Value, json};
use tonic::{Request, Response, Status};

use conclave_core::Verb;
use conclave_proto::v1;
use conclave_proto::v1::token_ref::By;

use super::call::{Calls, open};
use super::fields::Fields;

/// The service.
pub struct Service(pub Calls);

type Reply<M> = Result<Response<M>, Status>;

#[tonic::async_trait]
impl v1::token_server::Token for Service {
    async fn create(&self, call: Request<v1::TokenCreateRequest>) -> Reply<v1::TokenCreateResponse> {
        let (head, asked) = open(call);
        let mut answer = self
            .0
            .ask(head, Verb::Write, "auth/token/create", wishes(asked))
            .await?;
        let envelope = answer.envelope()?;
        let message = v1::TokenCreateResponse {
            auth: envelope.auth.map(|auth| Fields::new(auth).auth()),
            warnings: envelope.warnings,
        };
        Ok(answer.reply(message))
    }

    async fn lookup(&self, call: Request<v1::TokenLookupRequest>) -> Reply<v1::TokenLookupResponse> {
        let (head, asked) = open(call);
        let (path, data) = target("lookup", asked.token);
        // One's own is read: a policy may allow that alone.
        let verb = if data.is_empty() { Verb::Read } else { Verb::Write };
        let mut answer = self.0.ask(head, verb, &path, data).await?;
        let mut fields = answer.fields()?;
        let message = v1::TokenLookupResponse {
            id: fields.text("id"),
            accessor: fields.text("accessor"),
            policies: fields.texts("policies"),
            meta: fields.pairs("meta"),
            display_name: fields.text("display_name"),
            path: fields.text("path"),
            creation_time_seconds: fields.number("creation_time"),
            creation_ttl_seconds: fields.number("creation_ttl"),
            expire_time: fields.text("expire_time"),
            ttl_seconds: fields.number("ttl"),
            explicit_max_ttl_seconds: fields.number("explicit_max_ttl"),
            period_seconds: fields.number("period"),
            num_uses: fields.number("num_uses"),
            orphan: fields.flag("orphan"),
            renewable: fields.flag("renewable"),
            r#type: fields.text("type"),
        };
        Ok(answer.reply(message))
    }

    async fn renew(&self, call: Request<v1::TokenRenewRequest>) -> Reply<v1::TokenRenewResponse> {
        let (head, asked) = open(call);
        let (path, mut data) = target("renew", asked.token);
        if asked.increment_seconds > 0 {
            data.insert("increment".to_owned(), asked.increment_seconds.into());
        }
        let mut answer = self.0.ask(head, Verb::Write, &path, data).await?;
        let envelope = answer.envelope()?;
        let message = v1::TokenRenewResponse {
            auth: envelope.auth.map(|auth| Fields::new(auth).auth()),
            warnings: envelope.warnings,
        };
        Ok(answer.reply(message))
    }

    async fn revoke(&self, call: Request<v1::TokenRevokeRequest>) -> Reply<v1::TokenRevokeResponse> {
        let (head, asked) = open(call);
        let (path, data) = target("revoke", asked.token);
        let answer = self.0.ask(head, Verb::Write, &path, data).await?;
        Ok(answer.reply(v1::TokenRevokeResponse {}))
    }
}

/// The path of an operation on the token that is meant, and the body that names it.
fn target(operation: &str, token: Option<v1::TokenRef>) -> (String, Map<String, Value>) {
    let (suffix, name, value) = match token.and_then(|token| token.by) {
        None => return (format!("auth/token/{operation}-self"), Map::new()),
        Some(By::Token(token)) => ("", "token", token),
        Some(By::Accessor(accessor)) => ("-accessor", "accessor", accessor),
    };
    (
        format!("auth/token/{operation}{suffix}"),
        Map::from_iter([(name.to_owned(), Value::String(value))]),
    )
}

fn wishes(asked: v1::TokenCreateRequest) -> Map<String, Value> {
    let mut data = Map::new();
    let mut give = |name: &str, given: bool, value: Value| {
        if given {
            data.insert(name.to_owned(), value);
        }
    };
    give("policies", !asked.policies.is_empty(), asked.policies.into());
    give("ttl", asked.ttl_seconds > 0, asked.ttl_seconds.into());
    give(
        "explicit_max_ttl",
        asked.explicit_max_ttl_seconds > 0,
        asked.explicit_max_ttl_seconds.into(),
    );
    give("period", asked.period_seconds > 0, asked.period_seconds.into());
    give("num_uses", asked.num_uses > 0, asked.num_uses.into());
    give("renewable", asked.renewable.is_some(), asked.renewable.into());
    give("no_parent", asked.no_parent, true.into());
    give("no_default_policy", asked.no_default_policy, true.into());
    give(
        "display_name",
        !asked.display_name.is_empty(),
        asked.display_name.into(),
    );
    give("meta", !asked.meta.is_empty(), json!(asked.meta));
    give("id", !asked.id.is_empty(), asked.id.into());
    data
}
