//! What the services answer, asked by generated clients.

use bytes::Bytes;
use conclave_proto::v1;
use futures::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1 as reflection;
use v1::token_ref::By;

use super::support::{PATIENCE, channel, plain, root, with};

fn place() -> (String, String) {
    ("secret".to_owned(), "app/50%/db".to_owned())
}

fn put(data: &'static str, cas: Option<u64>) -> v1::KvPutRequest {
    let (mount, path) = place();
    v1::KvPutRequest {
        mount,
        path,
        data: Bytes::from_static(data.as_bytes()),
        cas,
    }
}

fn get(version: u64) -> v1::KvGetRequest {
    let (mount, path) = place();
    v1::KvGetRequest { mount, path, version }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_kept_versioned_and_listed() {
    let server = plain().await;
    let mut kv = v1::kv_client::KvClient::new(channel(&server).await);
    let first = kv
        .put(root(put(r#"{"n":12345678901234567890,"f":1.10}"#, Some(0))))
        .await
        .unwrap();
    assert!(first.metadata().get("x-conclave-request-id").is_some());
    assert!(first.metadata().get("x-conclave-revision").is_some());
    let version = first.into_inner().version.unwrap();
    assert_eq!((version.version, version.destroyed), (1, false));
    assert!(version.created_time.starts_with("20"), "{}", version.created_time);
    let (mount, path) = place();
    let patch = Bytes::from_static(br#"{"f":null,"g":"x"}"#);
    let patch = v1::KvPatchRequest {
        mount,
        path,
        patch,
        cas: Some(1),
    };
    assert_eq!(
        kv.patch(root(patch))
            .await
            .unwrap()
            .into_inner()
            .version
            .unwrap()
            .version,
        2
    );
    let current = kv.get(root(get(0))).await.unwrap().into_inner();
    assert_eq!(&current.data[..], br#"{"g":"x","n":12345678901234567890}"#);
    let first = kv.get(root(get(1))).await.unwrap().into_inner();
    assert_eq!(&first.data[..], br#"{"f":1.10,"n":12345678901234567890}"#);

    let list = |path: &str| v1::KvListRequest {
        mount: "secret/".to_owned(),
        path: path.to_owned(),
        page: None,
    };
    assert_eq!(kv.list(root(list(""))).await.unwrap().into_inner().keys, ["app/"]);
    assert_eq!(
        kv.list(root(list("app/50%"))).await.unwrap().into_inner().keys,
        ["db"]
    );
    assert!(
        kv.list(root(list("none")))
            .await
            .unwrap()
            .into_inner()
            .keys
            .is_empty()
    );
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_deleted_brought_back_and_destroyed() {
    let server = plain().await;
    let mut kv = v1::kv_client::KvClient::new(channel(&server).await);
    for _ in 0..2 {
        kv.put(root(put("{}", None))).await.unwrap();
    }
    let (mount, path) = place();
    let delete = v1::KvDeleteRequest {
        mount,
        path,
        versions: Vec::new(),
    };
    kv.delete(root(delete)).await.unwrap();
    let gone = kv.get(root(get(0))).await.err().unwrap();
    assert_eq!(
        (gone.code(), gone.message()),
        (tonic::Code::NotFound, "version 2 is deleted")
    );
    let (mount, path) = place();
    let undelete = v1::KvUndeleteRequest {
        mount,
        path,
        versions: vec![2],
    };
    kv.undelete(root(undelete)).await.unwrap();
    kv.get(root(get(2))).await.unwrap();
    let (mount, path) = place();
    let destroy = v1::KvDestroyRequest {
        mount,
        path,
        versions: vec![1],
    };
    kv.destroy(root(destroy)).await.unwrap();
    let gone = kv.get(root(get(1))).await.err().unwrap();
    assert_eq!(gone.message(), "version 1 is destroyed");
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_key_are_changed_one_by_one() {
    let server = plain().await;
    let mut kv = v1::kv_client::KvClient::new(channel(&server).await);
    kv.put(root(put("{}", None))).await.unwrap();
    kv.put(root(put("{}", None))).await.unwrap();
    let (mount, path) = place();
    let custom = v1::kv_put_metadata_request::CustomMetadata {
        entries: [("owner".to_owned(), "me".to_owned())].into(),
    };
    let settings = v1::KvPutMetadataRequest {
        mount,
        path,
        cas_required: Some(true),
        delete_version_after_seconds: Some(12_345),
        custom_metadata: Some(custom),
        ..Default::default()
    };
    kv.put_metadata(root(settings)).await.unwrap();
    let (mount, path) = place();
    let settings = v1::KvPutMetadataRequest {
        mount,
        path,
        max_versions: Some(7),
        ..Default::default()
    };
    kv.put_metadata(root(settings)).await.unwrap();
    let (mount, path) = place();
    let asked = v1::KvGetMetadataRequest { mount, path };
    let known = kv.get_metadata(root(asked.clone())).await.unwrap().into_inner();
    assert_eq!(
        known
            .versions
            .iter()
            .map(|version| version.version)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(
        (known.current_version, known.max_versions, known.cas_required),
        (2, 7, true)
    );
    assert_eq!(known.delete_version_after_seconds, 12_345);
    assert_eq!(known.custom_metadata["owner"], "me");
    let (mount, path) = place();
    kv.delete_metadata(root(v1::KvDeleteMetadataRequest { mount, path }))
        .await
        .unwrap();
    let gone = kv.get_metadata(root(asked)).await.err().unwrap();
    assert_eq!(gone.code(), tonic::Code::NotFound);
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_policies_decide_who_may_what() {
    let server = plain().await;
    let channel = channel(&server).await;
    let mut policies = v1::policy_client::PolicyClient::new(channel.clone());
    let text = r#"path "secret/data/app/*" { capabilities = ["read"] }"#.to_owned();
    let name = "reader".to_owned();
    let write = v1::PolicyWriteRequest {
        name: name.clone(),
        text: text.clone(),
    };
    policies.write(root(write)).await.unwrap();
    let read = v1::PolicyReadRequest { name: name.clone() };
    assert_eq!(policies.read(root(read)).await.unwrap().into_inner().text, text);
    let names = policies
        .list(root(v1::PolicyListRequest {}))
        .await
        .unwrap()
        .into_inner()
        .names;
    assert_eq!(names, ["default", "reader", "root"]);

    let mut tokens = v1::token_client::TokenClient::new(channel.clone());
    let wishes = v1::TokenCreateRequest {
        policies: vec![name.clone()],
        ttl_seconds: 600,
        meta: [("app".to_owned(), "x".to_owned())].into(),
        ..Default::default()
    };
    let auth = tokens
        .create(root(wishes))
        .await
        .unwrap()
        .into_inner()
        .auth
        .unwrap();
    assert_eq!(auth.policies, ["default", "reader"]);
    assert_eq!(
        (auth.lease_duration_seconds, auth.renewable, auth.orphan),
        (600, true, false)
    );
    let bearer = format!("Bearer {}", auth.client_token);
    let own = with(
        v1::TokenLookupRequest { token: None },
        &[("authorization", &bearer)],
    );
    let known = tokens.lookup(own).await.unwrap().into_inner();
    assert_eq!(
        (known.accessor.as_str(), known.meta["app"].as_str()),
        (auth.accessor.as_str(), "x")
    );
    assert!(known.ttl_seconds > 300 && known.ttl_seconds <= 600 && !known.expire_time.is_empty());
    let token = Some(v1::TokenRef {
        by: Some(By::Accessor(auth.accessor)),
    });
    let renew = v1::TokenRenewRequest {
        token: token.clone(),
        increment_seconds: 900,
    };
    let renewed = tokens.renew(root(renew)).await.unwrap().into_inner();
    assert_eq!(renewed.auth.unwrap().lease_duration_seconds, 900);

    let mut kv = v1::kv_client::KvClient::new(channel);
    kv.put(root(put(r#"{"a":1}"#, None))).await.unwrap();
    let shown = [("x-conclave-token", auth.client_token.as_str())];
    kv.get(with(get(0), &shown)).await.unwrap();
    assert!(kv.put(with(put("{}", None), &shown)).await.is_err());
    tokens
        .revoke(root(v1::TokenRevokeRequest { token }))
        .await
        .unwrap();
    assert!(kv.get(with(get(0), &shown)).await.is_err());
    policies
        .delete(root(v1::PolicyDeleteRequest { name }))
        .await
        .unwrap();
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_tells_of_itself() {
    let server = plain().await;
    let channel = channel(&server).await;
    let mut sys = v1::sys_client::SysClient::new(channel.clone());
    let health = sys.health(v1::HealthRequest {}).await.unwrap().into_inner();
    assert!(health.initialized && !health.sealed && !health.standby && health.has_leader);
    assert!(!health.conclave_version.is_empty() && health.server_time_seconds > 0);
    let leader = sys.leader(v1::LeaderRequest {}).await.unwrap().into_inner();
    assert!(leader.is_self);
    let members = sys
        .members(root(v1::MembersRequest {}))
        .await
        .unwrap()
        .into_inner()
        .members;
    assert_eq!(members.len(), 1);
    assert!(members[0].leader);

    let mount = v1::EnableMountRequest {
        path: "team/kv".to_owned(),
        r#type: "kv".to_owned(),
        description: "d".to_owned(),
        options: [("version".to_owned(), "1".to_owned())].into(),
        default_lease_ttl_seconds: 60,
        max_lease_ttl_seconds: 120,
    };
    sys.enable_mount(root(mount)).await.unwrap();
    let mounts = sys
        .mounts(root(v1::MountsRequest {}))
        .await
        .unwrap()
        .into_inner()
        .mounts;
    assert_eq!(mounts["secret/"].options["version"], "2");
    let made = &mounts["team/kv/"];
    assert_eq!(
        (made.default_lease_ttl_seconds, made.max_lease_ttl_seconds),
        (60, 120)
    );

    sys.disable_mount(root(v1::DisableMountRequest {
        path: "team/kv/".to_owned(),
    }))
    .await
    .unwrap();
    assert!(
        !sys.mounts(root(v1::MountsRequest {}))
            .await
            .unwrap()
            .into_inner()
            .mounts
            .contains_key("team/kv/")
    );
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_path_is_reached_with_json() {
    let server = plain().await;
    let mut logical = v1::logical_client::LogicalClient::new(channel(&server).await);
    let at = |path: &str, data: &'static str| v1::LogicalRequest {
        path: path.to_owned(),
        data: Bytes::from_static(data.as_bytes()),
    };
    logical
        .write(root(at(
            "sys/mounts/team/kv",
            r#"{"type":"kv","config":{"default_lease_ttl":60}}"#,
        )))
        .await
        .unwrap();
    logical.write(root(at("team/kv/a", r#"{"k":1}"#))).await.unwrap();
    let read = logical
        .read(root(at("team/kv/a", "")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (&read.data[..], read.lease_duration_seconds),
        (&br#"{"k":1}"#[..], 60)
    );
    let listed = logical.list(root(at("team/kv", ""))).await.unwrap().into_inner();
    assert_eq!(&listed.data[..], br#"{"keys":["a"]}"#);
    logical.delete(root(at("team/kv/a", ""))).await.unwrap();
    assert_eq!(
        logical.list(root(at("team/kv", ""))).await.err().unwrap().code(),
        tonic::Code::NotFound
    );
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_the_seal() {
    let server = plain().await;
    let channel = channel(&server).await;
    let mut health = HealthClient::new(channel.clone());
    let of = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut states = health.watch(of("")).await.unwrap().into_inner();
    assert_eq!(states.next().await.unwrap().unwrap().status, 1);
    for service in ["", "conclave.v1.Kv", "conclave.v1.Sys"] {
        assert_eq!(
            health.check(of(service)).await.unwrap().into_inner().status,
            1,
            "{service}"
        );
    }
    assert_eq!(
        health.check(of("none")).await.err().unwrap().code(),
        tonic::Code::NotFound
    );
    let mut sys = v1::sys_client::SysClient::new(channel);
    sys.seal(root(v1::SealRequest::default())).await.unwrap();
    // A seal ends connections, whose buffers hold what went through them; who watches hears of it or is cut off.
    if let Some(Ok(changed)) = tokio::time::timeout(PATIENCE, states.next()).await.unwrap() {
        assert_eq!(changed.status, 2);
    }
    let channel = self::channel(&server).await;
    let mut health = HealthClient::new(channel.clone());
    let mut sys = v1::sys_client::SysClient::new(channel);
    let mut states = health.watch(of("")).await.unwrap().into_inner();
    assert_eq!(states.next().await.unwrap().unwrap().status, 2);
    for (service, state) in [("", 2), ("conclave.v1.Kv", 2), ("conclave.v1.Sys", 1)] {
        assert_eq!(
            health.check(of(service)).await.unwrap().into_inner().status,
            state,
            "{service}"
        );
    }
    let key = Some(v1::unseal_request::What::Key(server.unseal_key.to_string()));
    let open = sys
        .unseal(v1::UnsealRequest { what: key })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((open.sealed, open.threshold, open.shares), (false, 1, 1));
    let changed = tokio::time::timeout(PATIENCE, states.next()).await.unwrap();
    assert_eq!(changed.unwrap().unwrap().status, 1);
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_describes_every_service() {
    let server = plain().await;
    let channel = channel(&server).await;
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel.clone());
    use reflection::server_reflection_request::MessageRequest;
    use reflection::server_reflection_response::MessageResponse;
    let ask = |message_request| reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let asked = futures::stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("conclave.v1.Kv".to_owned())),
    ]);
    let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
    let listed = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = listed else {
        panic!("no list")
    };
    let names: Vec<_> = listed
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for name in ["Kv", "Sys", "Token", "Policy", "Logical"] {
        assert!(
            names.contains(&format!("conclave.v1.{name}").as_str()),
            "{name} in {names:?}"
        );
    }
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let file = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::FileDescriptorResponse(file) = file else {
        panic!("no file")
    };
    assert!(!file.file_descriptor_proto.is_empty());
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_let_in_and_states_compared() {
    let server = plain().await;
    let mut sys = v1::sys_client::SysClient::new(channel(&server).await);
    let wishes = v1::MakeJoinTokenRequest {
        ttl_seconds: 60,
        uses: 2,
        bound_cidrs: vec!["10.0.0.0/8".to_owned()],
    };
    let made = sys.make_join_token(root(wishes)).await.unwrap().into_inner();
    assert!(made.join_token.starts_with("cj."));
    assert_eq!((made.ttl_seconds, made.uses), (60, 2));
    assert_eq!(made.bound_cidrs, ["10.0.0.0/8"]);
    let default = sys.make_join_token(root(v1::MakeJoinTokenRequest::default()));
    let default = default.await.unwrap().into_inner();
    assert_eq!((default.ttl_seconds, default.uses), (600, 1));
    let wrong = v1::MakeJoinTokenRequest {
        bound_cidrs: vec!["10.0.0.0/33".to_owned()],
        ..Default::default()
    };
    let wrong = sys.make_join_token(root(wrong)).await.err().unwrap();
    assert_eq!(wrong.code(), tonic::Code::InvalidArgument, "{wrong}");
    assert!(wrong.message().contains("10.0.0.0/33"), "{wrong}");

    let fingerprint = "7F".repeat(32);
    let approved = v1::ApproveNodeRequest { fingerprint };
    let approved = sys.approve_node(root(approved)).await.unwrap().into_inner();
    assert_eq!(
        (approved.fingerprint, approved.ttl_seconds),
        ("7f".repeat(32), 600)
    );
    let nodes = sys.pending_nodes(root(v1::PendingNodesRequest {})).await.unwrap();
    assert!(nodes.into_inner().nodes.is_empty());
    let nobody = sys.pending_nodes(v1::PendingNodesRequest {}).await.err().unwrap();
    assert_eq!(nobody.code(), tonic::Code::Unauthenticated);

    let found = sys.compare_state(root(v1::CompareStateRequest {})).await.unwrap();
    let found = found.into_inner();
    assert!(found.decided && found.revision > 0);
    assert_eq!((found.members.len(), found.members[0].digest.len()), (1, 64));
    assert!(!found.members[0].differs);

    let asked = v1::ReconcileLeasesRequest {
        mount: "cubbyhole".to_owned(),
        ..v1::ReconcileLeasesRequest::default()
    };
    let found = sys.reconcile_leases(root(asked.clone())).await.unwrap();
    assert!(found.into_inner().targets.is_empty(), "it makes no accounts");
    let nobody = sys.reconcile_leases(asked).await.err().unwrap();
    assert_eq!(nobody.code(), tonic::Code::Unauthenticated);

    let cluster = v1::SealRequest { cluster: true };
    sys.seal(root(cluster)).await.unwrap();
    // A seal ends connections.
    let mut sys = v1::sys_client::SysClient::new(channel(&server).await);
    let status = sys.seal_status(v1::SealStatusRequest {}).await.unwrap();
    assert!(status.into_inner().sealed);
    // A mark would be left by a seal of this node alone; a seal of the cluster leaves none, and shares open it.
    let key = Some(v1::unseal_request::What::Key(server.unseal_key.to_string()));
    let open = sys.unseal(v1::UnsealRequest { what: key }).await.unwrap();
    assert!(!open.into_inner().sealed);
    server.server.stop().await;
}
