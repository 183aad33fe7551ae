//! `conclave.v1.Kv`: versioned secrets, on the paths of the key-value engine's version 2.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use conclave_core::watch::{Batch, What};
use conclave_core::{Body, Error, Verb};
use conclave_proto::v1;

use super::call::{Calls, json, named, open};
use super::fields::Fields;
use super::status;

/// The service. Its watches end when the node stops.
pub struct Service(pub Calls, pub CancellationToken);

type Reply<M> = Result<Response<M>, Status>;

#[tonic::async_trait]
impl v1::kv_server::Kv for Service {
    async fn get(&self, call: Request<v1::KvGetRequest>) -> Reply<v1::KvGetResponse> {
        let (head, asked) = open(call);
        let path = path(&asked.mount, "data", &asked.path)?;
        let mut data = Map::new();
        if asked.version > 0 {
            data.insert("version".to_owned(), asked.version.into());
        }
        let mut answer = self.0.ask(head, Verb::Read, &path, data).await?;
        unreadable(&answer.body)?;
        let mut fields = answer.fields()?;
        let secret = fields.value("data").unwrap_or_default();
        let mut metadata = fields.object("metadata");
        let message = v1::KvGetResponse {
            data: serde_json::to_vec(&secret)
                .map_err(|_| status::broken())
                .map(Bytes::from)?,
            custom_metadata: metadata.pairs("custom_metadata"),
            version: Some(version(metadata)),
        };
        Ok(answer.reply(message))
    }

    async fn put(&self, call: Request<v1::KvPutRequest>) -> Reply<v1::KvPutResponse> {
        let (head, asked) = open(call);
        let path = path(&asked.mount, "data", &asked.path)?;
        let data = body(json("data", &asked.data)?, asked.cas);
        let mut answer = self.0.ask(head, Verb::Write, &path, data).await?;
        let version = Some(version(answer.fields()?));
        Ok(answer.reply(v1::KvPutResponse { version }))
    }

    async fn patch(&self, call: Request<v1::KvPatchRequest>) -> Reply<v1::KvPatchResponse> {
        let (head, asked) = open(call);
        let path = path(&asked.mount, "data", &asked.path)?;
        let data = body(json("patch", &asked.patch)?, asked.cas);
        let mut answer = self.0.ask(head, Verb::Patch, &path, data).await?;
        unreadable(&answer.body)?;
        let version = Some(version(answer.fields()?));
        Ok(answer.reply(v1::KvPatchResponse { version }))
    }

    async fn delete(&self, call: Request<v1::KvDeleteRequest>) -> Reply<v1::KvDeleteResponse> {
        let (head, asked) = open(call);
        let answer = if asked.versions.is_empty() {
            let path = path(&asked.mount, "data", &asked.path)?;
            self.0.ask(head, Verb::Delete, &path, Map::new()).await?
        } else {
            let path = path(&asked.mount, "delete", &asked.path)?;
            self.0
                .ask(head, Verb::Write, &path, versions(&asked.versions))
                .await?
        };
        Ok(answer.reply(v1::KvDeleteResponse {}))
    }

    async fn undelete(&self, call: Request<v1::KvUndeleteRequest>) -> Reply<v1::KvUndeleteResponse> {
        let (head, asked) = open(call);
        let path = path(&asked.mount, "undelete", &asked.path)?;
        let data = versions(&asked.versions);
        let answer = self.0.ask(head, Verb::Write, &path, data).await?;
        Ok(answer.reply(v1::KvUndeleteResponse {}))
    }

    async fn destroy(&self, call: Request<v1::KvDestroyRequest>) -> Reply<v1::KvDestroyResponse> {
        let (head, asked) = open(call);
        let path = path(&asked.mount, "destroy", &asked.path)?;
        let data = versions(&asked.versions);
        let answer = self.0.ask(head, Verb::Write, &path, data).await?;
        Ok(answer.reply(v1::KvDestroyResponse {}))
    }

    async fn list(&self, call: Request<v1::KvListRequest>) -> Reply<v1::KvListResponse> {
        let (head, asked) = open(call);
        let mount = named("mount", &asked.mount)?;
        let path = format!("{mount}/metadata/{}", asked.path);
        let data = asked.page.map(page).unwrap_or_default();
        let answer = self.0.ask(head, Verb::List, &path, data).await;
        let mut answer = match answer {
            // Core says "not found" of a directory without names, as Vault does.
            Err(refused) if status::is_nothing(&refused) => {
                return Ok(Response::new(v1::KvListResponse::default()));
            }
            answer => answer?,
        };
        let keys = answer.fields()?.texts("keys");
        Ok(answer.reply(v1::KvListResponse { keys }))
    }

    async fn get_metadata(
        &self,
        call: Request<v1::KvGetMetadataRequest>,
    ) -> Reply<v1::KvGetMetadataResponse> {
        let (head, asked) = open(call);
        let path = path(&asked.mount, "metadata", &asked.path)?;
        let mut answer = self.0.ask(head, Verb::Read, &path, Map::new()).await?;
        let mut fields = answer.fields()?;
        let versions = fields.object("versions").each();
        let mut versions: Vec<_> = versions
            .map(|(number, fields)| v1::KvVersion {
                version: number.parse().unwrap_or(0),
                ..version(fields)
            })
            .collect();
        versions.sort_unstable_by_key(|version| version.version);
        let message = v1::KvGetMetadataResponse {
            versions,
            current_version: fields.number("current_version"),
            oldest_version: fields.number("oldest_version"),
            created_time: fields.text("created_time"),
            updated_time: fields.text("updated_time"),
            max_versions: fields.small("max_versions"),
            cas_required: fields.flag("cas_required"),
            delete_version_after_seconds: fields.seconds("delete_version_after"),
            custom_metadata: fields.pairs("custom_metadata"),
            metadata_version: fields.number("current_metadata_version"),
        };
        Ok(answer.reply(message))
    }

    async fn put_metadata(
        &self,
        call: Request<v1::KvPutMetadataRequest>,
    ) -> Reply<v1::KvPutMetadataResponse> {
        let (head, asked) = open(call);
        let path = path(&asked.mount, "metadata", &asked.path)?;
        let mut data = Map::new();
        let mut give = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                data.insert(name.to_owned(), value);
            }
        };
        give("max_versions", asked.max_versions.map(Value::from));
        give("cas_required", asked.cas_required.map(Value::from));
        give(
            "delete_version_after",
            asked.delete_version_after_seconds.map(Value::from),
        );
        give("metadata_cas", asked.metadata_cas.map(Value::from));
        give(
            "custom_metadata",
            asked.custom_metadata.map(|custom| json!(custom.entries)),
        );
        let mut answer = self.0.ask(head, Verb::Write, &path, data).await?;
        let warnings = answer.envelope()?.warnings;
        Ok(answer.reply(v1::KvPutMetadataResponse { warnings }))
    }

    async fn delete_metadata(
        &self,
        call: Request<v1::KvDeleteMetadataRequest>,
    ) -> Reply<v1::KvDeleteMetadataResponse> {
        let (head, asked) = open(call);
        let path = path(&asked.mount, "metadata", &asked.path)?;
        let answer = self.0.ask(head, Verb::Delete, &path, Map::new()).await?;
        Ok(answer.reply(v1::KvDeleteMetadataResponse {}))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::KvWatchResponse, Status>> + Send>>;

    async fn watch(&self, call: Request<v1::KvWatchRequest>) -> Reply<Self::WatchStream> {
        let (head, asked) = open(call);
        let mount = named("mount", &asked.mount)?;
        let path = format!("sys/watch/{mount}/{}", asked.path);
        let data = Map::from_iter([("after".to_owned(), asked.after.into())]);
        let mut answer = self.0.ask(head, Verb::Read, &path, data).await?;
        let Body::Watch(watching) = std::mem::replace(&mut answer.body, Body::Empty) else {
            return Err(status::broken());
        };
        let told = watching.map(|batch| batch.map(watched).map_err(status::of));
        let stopping = || status::of(Error::NoLeader("this node is stopping".to_owned()));
        let told = told
            .take_until(self.1.clone().cancelled_owned())
            .chain(stream::once(async move { Err(stopping()) }));
        let told: Self::WatchStream = Box::pin(told);
        Ok(answer.reply(told))
    }
}

fn watched(batch: Batch) -> v1::KvWatchResponse {
    let events = batch.events.into_iter().map(|event| v1::KvEvent {
        revision: event.revision,
        mount: event.mount,
        path: event.path,
        kind: match event.what {
            What::Written => v1::KvEventKind::Written,
            What::Changed => v1::KvEventKind::Changed,
            What::Destroyed => v1::KvEventKind::Destroyed,
            What::Removed => v1::KvEventKind::Removed,
        }
        .into(),
        versions: event.versions,
    });
    v1::KvWatchResponse {
        events: events.collect(),
        revision: batch.revision,
    }
}

fn path(mount: &str, area: &str, key: &str) -> Result<String, Status> {
    if key.is_empty() {
        return Err(status::invalid("path is missing"));
    }
    Ok(format!("{}/{area}/{key}", named("mount", mount)?))
}

fn body(data: Map<String, Value>, cas: Option<u64>) -> Map<String, Value> {
    let mut body = Map::from_iter([("data".to_owned(), Value::Object(data))]);
    if let Some(cas) = cas {
        body.insert("options".to_owned(), json!({"cas": cas}));
    }
    body
}

fn versions(numbers: &[u64]) -> Map<String, Value> {
    Map::from_iter([("versions".to_owned(), numbers.into())])
}

fn page(page: v1::Page) -> Map<String, Value> {
    Map::from_iter([
        ("after".to_owned(), page.after.into()),
        ("limit".to_owned(), page.limit.into()),
    ])
}

fn version(mut fields: Fields) -> v1::KvVersion {
    v1::KvVersion {
        version: fields.number("version"),
        created_time: fields.text("created_time"),
        deletion_time: fields.text("deletion_time"),
        destroyed: fields.flag("destroyed"),
    }
}

/// Says of a version that is there and cannot be read, why.
fn unreadable(body: &Body) -> Result<(), Status> {
    let Body::NotFound(envelope) = body else {
        return Ok(());
    };
    let data = envelope.data.as_ref();
    // A read has the version's metadata beside the data, a patch has it alone.
    let metadata = data.map(|data| match data.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => data,
    });
    let member = |name: &str| metadata.and_then(|metadata| metadata.get(name));
    let number = member("version").and_then(Value::as_u64).unwrap_or(0);
    let destroyed = member("destroyed").and_then(Value::as_bool).unwrap_or(false);
    let what = if destroyed { "destroyed" } else { "deleted" };
    Err(status::not_found(&format!("version {number} is {what}")))
}
