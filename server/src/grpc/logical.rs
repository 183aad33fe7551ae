//! `conclave.v1.Logical`: any path, with JSON bodies.

use bytes::Bytes;
use serde_json::{Map, Value};
use tonic::{Request, Response, Status};

use conclave_core::{Body, Envelope, Verb};
use conclave_proto::v1;

use super::call::{Calls, json, open};
use super::fields::Fields;
use super::status;

/// The service.
pub struct Service(pub Calls);

type Reply = Result<Response<v1::LogicalResponse>, Status>;
type Call = Request<v1::LogicalRequest>;

#[tonic::async_trait]
impl v1::logical_server::Logical for Service {
    async fn read(&self, call: Call) -> Reply {
        self.run(Verb::Read, call).await
    }

    async fn write(&self, call: Call) -> Reply {
        self.run(Verb::Write, call).await
    }

    async fn patch(&self, call: Call) -> Reply {
        self.run(Verb::Patch, call).await
    }

    async fn delete(&self, call: Call) -> Reply {
        self.run(Verb::Delete, call).await
    }

    async fn list(&self, call: Call) -> Reply {
        self.run(Verb::List, call).await
    }

    async fn scan(&self, call: Call) -> Reply {
        self.run(Verb::Scan, call).await
    }
}

impl Service {
    async fn run(&self, verb: Verb, call: Call) -> Reply {
        let (head, asked) = open(call);
        let data = json("data", &asked.data)?;
        let mut answer = self.0.ask(head, verb, &asked.path, data).await?;
        let body = std::mem::replace(&mut answer.body, Body::Empty);
        let message = encode(body).await?;
        Ok(answer.reply(message))
    }
}

async fn encode(body: Body) -> Result<v1::LogicalResponse, Status> {
    Ok(match body {
        Body::Empty => v1::LogicalResponse::default(),
        Body::Envelope(envelope) | Body::InPart { envelope, .. } => of_envelope(*envelope)?,
        Body::Accepted(envelope) => v1::LogicalResponse {
            accepted: true,
            ..of_envelope(*envelope)?
        },
        Body::NotFound(envelope) => v1::LogicalResponse {
            missing: true,
            ..of_envelope(*envelope)?
        },
        Body::Plain(object) => of_data(&object)?,
        Body::Health(health) => of_data(&health.object)?,
        Body::Raw {
            status,
            content_type,
            bytes,
        } => v1::LogicalResponse {
            data: bytes.into(),
            missing: status == 404,
            content_type: content_type.to_owned(),
            ..Default::default()
        },
        Body::Lines(_) => return Err(status::unsupported("the log is followed by HTTP only")),
        Body::Watch(_) => return Err(status::unsupported("keys are watched by the service Kv")),
        Body::File { .. } => return Err(status::unsupported("files are sent by HTTP only")),
    })
}

fn of_envelope(envelope: Envelope) -> Result<v1::LogicalResponse, Status> {
    Ok(v1::LogicalResponse {
        warnings: envelope.warnings,
        auth: envelope.auth.map(|auth| Fields::new(auth).auth()),
        lease_id: envelope.lease_id,
        renewable: envelope.renewable,
        lease_duration_seconds: envelope.lease_duration,
        ..match &envelope.data {
            Some(data) => of_data(data)?,
            None => v1::LogicalResponse::default(),
        }
    })
}

fn of_data(data: &Map<String, Value>) -> Result<v1::LogicalResponse, Status> {
    let data = serde_json::to_vec(data).map_err(|_| status::broken())?;
    Ok(v1::LogicalResponse {
        data: Bytes::from(data),
        ..Default::default()
    })
}
