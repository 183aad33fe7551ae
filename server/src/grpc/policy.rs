//! `conclave.v1.Policy`: ACL policies.

use serde_json::{Map, Value};
use tonic::{Request, Response, Status};

use conclave_core::Verb;
use conclave_proto::v1;

use super::call::{Calls, named, open};

/// The service.
pub struct Service(pub Calls);

type Reply<M> = Result<Response<M>, Status>;

const POLICIES: &str = "sys/policies/acl";

#[tonic::async_trait]
impl v1::policy_server::Policy for Service {
    async fn read(&self, call: Request<v1::PolicyReadRequest>) -> Reply<v1::PolicyReadResponse> {
        let (head, asked) = open(call);
        let mut answer = self
            .0
            .ask(head, Verb::Read, &path(&asked.name)?, Map::new())
            .await?;
        let mut fields = answer.fields()?;
        let message = v1::PolicyReadResponse {
            name: fields.text("name"),
            text: fields.text("policy"),
        };
        Ok(answer.reply(message))
    }

    async fn write(&self, call: Request<v1::PolicyWriteRequest>) -> Reply<v1::PolicyWriteResponse> {
        let (head, asked) = open(call);
        let data = Map::from_iter([("policy".to_owned(), Value::String(asked.text))]);
        let answer = self.0.ask(head, Verb::Write, &path(&asked.name)?, data).await?;
        Ok(answer.reply(v1::PolicyWriteResponse {}))
    }

    async fn list(&self, call: Request<v1::PolicyListRequest>) -> Reply<v1::PolicyListResponse> {
        let (head, _) = open(call);
        let mut answer = self.0.ask(head, Verb::List, POLICIES, Map::new()).await?;
        let names = answer.fields()?.texts("keys");
        Ok(answer.reply(v1::PolicyListResponse { names }))
    }

    async fn delete(&self, call: Request<v1::PolicyDeleteRequest>) -> Reply<v1::PolicyDeleteResponse> {
        let (head, asked) = open(call);
        let answer = self
            .0
            .ask(head, Verb::Delete, &path(&asked.name)?, Map::new())
            .await?;
        Ok(answer.reply(v1::PolicyDeleteResponse {}))
    }
}

fn path(name: &str) -> Result<String, Status> {
    Ok(format!("{POLICIES}/{}", named("name", name)?))
}
