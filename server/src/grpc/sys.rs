//! `conclave.v1.Sys`: health, seal, mounts, members.

use serde_json::{Map, Value, json};
use tonic::{Request, Response, Status};

use conclave_core::{Body, Verb};
use conclave_proto::v1;
use conclave_proto::v1::unseal_request::What;

use super::call::{Answer, Calls, Head, named, open};
use super::fields::Fields;
use super::status;

/// The service.
pub struct Service(pub Calls);

type Reply<M> = Result<Response<M>, Status>;

#[tonic::async_trait]
impl v1::sys_server::Sys for Service {
    async fn health(&self, call: Request<v1::HealthRequest>) -> Reply<v1::HealthResponse> {
        let mut answer = self.read(open(call).0, "sys/health").await?;
        let has_leader = matches!(&answer.body, Body::Health(health) if health.has_leader);
        let mut fields = answer.fields()?;
        let message = v1::HealthResponse {
            initialized: fields.flag("initialized"),
            sealed: fields.flag("sealed"),
            standby: fields.flag("standby"),
            has_leader,
            version: fields.text("version"),
            conclave_version: fields.text("conclave_version"),
            cluster_name: fields.text("cluster_name"),
            cluster_id: fields.text("cluster_id"),
            server_time_seconds: fields.number("server_time_utc"),
        };
        Ok(answer.reply(message))
    }

    async fn seal_status(&self, call: Request<v1::SealStatusRequest>) -> Reply<v1::SealStatusResponse> {
        let answer = self.read(open(call).0, "sys/seal-status").await?;
        seal_status(answer)
    }

    async fn init(&self, call: Request<v1::InitRequest>) -> Reply<v1::InitResponse> {
        let (head, asked) = open(call);
        let data = object(json!({"secret_shares": asked.shares, "secret_threshold": asked.threshold}));
        let mut answer = self.0.ask(head, Verb::Write, "sys/init", data).await?;
        let mut fields = answer.fields()?;
        let message = v1::InitResponse {
            keys: fields.texts("keys"),
            root_token: fields.text("root_token"),
        };
        Ok(answer.reply(message))
    }

    async fn unseal(&self, call: Request<v1::UnsealRequest>) -> Reply<v1::SealStatusResponse> {
        let (head, asked) = open(call);
        let data = match asked.what {
            Some(What::Key(key)) => object(json!({"key": key})),
            Some(What::Reset(true)) => object(json!({"reset": true})),
            Some(What::Reset(false)) | None => return Err(status::invalid("key or reset is missing")),
        };
        let answer = self.0.ask(head, Verb::Write, "sys/unseal", data).await?;
        seal_status(answer)
    }

    async fn seal(&self, call: Request<v1::SealRequest>) -> Reply<v1::SealResponse> {
        let (head, asked) = open(call);
        let data = match asked.cluster {
            true => object(json!({"cluster": true})),
            false => Map::new(),
        };
        let answer = self.0.ask(head, Verb::Write, "sys/seal", data).await?;
        Ok(answer.reply(v1::SealResponse {}))
    }

    async fn mounts(&self, call: Request<v1::MountsRequest>) -> Reply<v1::MountsResponse> {
        let mut answer = self.read(open(call).0, "sys/mounts").await?;
        let mounts = answer.fields()?.each();
        let mounts = mounts.map(|(path, fields)| (path, mount(fields))).collect();
        Ok(answer.reply(v1::MountsResponse { mounts }))
    }

    async fn enable_mount(&self, call: Request<v1::EnableMountRequest>) -> Reply<v1::EnableMountResponse> {
        let (head, asked) = open(call);
        let path = format!("sys/mounts/{}", named("path", &asked.path)?);
        let mut config = Map::new();
        for (name, seconds) in [
            ("default_lease_ttl", asked.default_lease_ttl_seconds),
            ("max_lease_ttl", asked.max_lease_ttl_seconds),
        ] {
            if seconds > 0 {
                config.insert(name.to_owned(), seconds.into());
            }
        }
        let data = object(json!({
            "type": asked.r#type,
            "description": asked.description,
            "options": asked.options,
            "config": config,
        }));
        let answer = self.0.ask(head, Verb::Write, &path, data).await?;
        Ok(answer.reply(v1::EnableMountResponse {}))
    }

    async fn disable_mount(&self, call: Request<v1::DisableMountRequest>) -> Reply<v1::DisableMountResponse> {
        let (head, asked) = open(call);
        let path = format!("sys/mounts/{}", named("path", &asked.path)?);
        let answer = self.0.ask(head, Verb::Delete, &path, Map::new()).await?;
        Ok(answer.reply(v1::DisableMountResponse {}))
    }

    async fn leader(&self, call: Request<v1::LeaderRequest>) -> Reply<v1::LeaderResponse> {
        let mut answer = self.read(open(call).0, "sys/leader").await?;
        let mut fields = answer.fields()?;
        let message = v1::LeaderResponse {
            // A development server is no cluster: it leads itself, and has no indexes to tell of.
            is_self: fields.flag("is_self") || !fields.flag("ha_enabled"),
            leader_address: fields.text("leader_address"),
            leader_cluster_address: fields.text("leader_cluster_address"),
            committed_index: fields.number("raft_committed_index"),
            applied_index: fields.number("raft_applied_index"),
        };
        Ok(answer.reply(message))
    }

    async fn members(&self, call: Request<v1::MembersRequest>) -> Reply<v1::MembersResponse> {
        let mut answer = self.read(open(call).0, "sys/ha-status").await?;
        let nodes = answer.fields()?.objects("nodes");
        let members = nodes.into_iter().map(member).collect();
        Ok(answer.reply(v1::MembersResponse { members }))
    }

    async fn make_join_token(
        &self,
        call: Request<v1::MakeJoinTokenRequest>,
    ) -> Reply<v1::MakeJoinTokenResponse> {
        let (head, asked) = open(call);
        let mut data = Map::new();
        if asked.ttl_seconds > 0 {
            data.insert("ttl".to_owned(), asked.ttl_seconds.into());
        }
        if asked.uses > 0 {
            data.insert("uses".to_owned(), asked.uses.into());
        }
        if !asked.bound_cidrs.is_empty() {
            data.insert("bound_cidrs".to_owned(), asked.bound_cidrs.into());
        }
        let path = "sys/storage/raft/join-token";
        let mut answer = self.0.ask(head, Verb::Write, path, data).await?;
        let mut fields = answer.fields()?;
        let message = v1::MakeJoinTokenResponse {
            join_token: fields.text("join_token"),
            ttl_seconds: fields.number("ttl"),
            uses: fields.small("uses"),
            bound_cidrs: fields.texts("bound_cidrs"),
        };
        Ok(answer.reply(message))
    }

    async fn approve_node(&self, call: Request<v1::ApproveNodeRequest>) -> Reply<v1::ApproveNodeResponse> {
        let (head, asked) = open(call);
        let data = object(json!({"fingerprint": asked.fingerprint}));
        let path = "sys/storage/raft/approve";
        let mut answer = self.0.ask(head, Verb::Write, path, data).await?;
        let mut fields = answer.fields()?;
        let message = v1::ApproveNodeResponse {
            fingerprint: fields.text("fingerprint"),
            ttl_seconds: fields.number("ttl"),
        };
        Ok(answer.reply(message))
    }

    async fn pending_nodes(&self, call: Request<v1::PendingNodesRequest>) -> Reply<v1::PendingNodesResponse> {
        let mut answer = self.read(open(call).0, "sys/storage/raft/pending").await?;
        let nodes = answer.fields()?.object("key_info").each();
        let nodes = nodes.map(|(fingerprint, mut fields)| v1::PendingNode {
            fingerprint,
            name: fields.text("name"),
            zone: fields.text("zone"),
            api_address: fields.text("api_addr"),
            cluster_address: fields.text("cluster_addr"),
        });
        let nodes = nodes.collect();
        Ok(answer.reply(v1::PendingNodesResponse { nodes }))
    }

    async fn compare_state(&self, call: Request<v1::CompareStateRequest>) -> Reply<v1::CompareStateResponse> {
        let (head, _) = open(call);
        let path = "sys/storage/raft/compare";
        let mut answer = self.0.ask(head, Verb::Write, path, Map::new()).await?;
        let mut fields = answer.fields()?;
        let members = fields.objects("members").into_iter();
        let members = members.map(|mut fields| v1::MemberDigest {
            name: fields.text("node_id"),
            digest: fields.text("digest"),
            differs: fields.flag("differs"),
            error: fields.text("error"),
        });
        let message = v1::CompareStateResponse {
            members: members.collect(),
            revision: fields.number("revision"),
            decided: fields.flag("decided"),
        };
        Ok(answer.reply(message))
    }

    async fn reconcile_leases(
        &self,
        call: Request<v1::ReconcileLeasesRequest>,
    ) -> Reply<v1::ReconcileLeasesResponse> {
        let (head, asked) = open(call);
        let mount = named("mount", &asked.mount)?;
        let data = object(json!({"mount": mount, "dry_run": asked.dry_run, "unmarked": asked.unmarked}));
        let mut answer = self
            .0
            .ask(head, Verb::Write, "sys/leases/reconcile", data)
            .await?;
        let targets = answer.fields()?.objects("targets").into_iter();
        let targets = targets.map(|mut fields| v1::ReconciledTarget {
            name: fields.text("target"),
            listed: fields.number("listed"),
            certain: fields.flag("certain"),
            orphans: fields.texts("orphans"),
            dropped: fields.number("dropped"),
            error: fields.text("error"),
        });
        let targets = targets.collect();
        Ok(answer.reply(v1::ReconcileLeasesResponse { targets }))
    }
}

impl Service {
    async fn read(&self, head: Head, path: &str) -> Result<Answer, Status> {
        self.0.ask(head, Verb::Read, path, Map::new()).await
    }
}

fn seal_status(mut answer: Answer) -> Reply<v1::SealStatusResponse> {
    let mut fields = answer.fields()?;
    let message = v1::SealStatusResponse {
        initialized: fields.flag("initialized"),
        sealed: fields.flag("sealed"),
        threshold: fields.small("t"),
        shares: fields.small("n"),
        progress: fields.small("progress"),
        nonce: fields.text("nonce"),
        r#type: fields.text("type"),
        version: fields.text("version"),
        conclave_version: fields.text("conclave_version"),
        storage_type: fields.text("storage_type"),
        cluster_name: fields.text("cluster_name"),
        cluster_id: fields.text("cluster_id"),
    };
    Ok(answer.reply(message))
}

fn mount(mut fields: Fields) -> v1::Mount {
    let mut config = fields.object("config");
    v1::Mount {
        r#type: fields.text("type"),
        description: fields.text("description"),
        accessor: fields.text("accessor"),
        uuid: fields.text("uuid"),
        options: fields.pairs("options"),
        default_lease_ttl_seconds: config.number("default_lease_ttl"),
        max_lease_ttl_seconds: config.number("max_lease_ttl"),
        local: fields.flag("local"),
        seal_wrap: fields.flag("seal_wrap"),
    }
}

fn member(mut fields: Fields) -> v1::Member {
    v1::Member {
        name: fields.text("hostname"),
        zone: fields.text("redundancy_zone"),
        api_address: fields.text("api_address"),
        cluster_address: fields.text("cluster_address"),
        leader: fields.flag("active_node"),
        last_contact_time: fields.text("last_echo"),
        version: fields.text("version"),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
