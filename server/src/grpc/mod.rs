//! The public gRPC API, package `conclave.v1`: thin encoders around core, the same requests as HTTP's. What a request
//! means is none of its business; sockets, TLS and HTTP/2 are `http`'s.

mod call;
mod fields;
mod gate;
mod health;
mod kv;
mod logical;
mod policy;
mod status;
mod sys;
mod token;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use conclave_proto::v1;
use conclave_proto::{PUBLIC_DESCRIPTORS, v1::kv_server::KvServer, v1::logical_server::LogicalServer};
use v1::policy_server::PolicyServer;
use v1::sys_server::SysServer;
use v1::token_server::TokenServer;

use crate::error::Error;
use crate::handler::Handler;

/// Largest request in bytes: gRPC's usual limit, and four times the largest value.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Says whether the node can serve requests.
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// All services of the port: the public API, health (grpc.health.v1) and reflection (v1 and v1alpha). Health answers by
/// `ready`; what is watched ends at `stop`.
///
/// # Errors
/// If the descriptors built into the program are damaged.
pub fn routes(handler: Arc<dyn Handler>, ready: Ready, stop: CancellationToken) -> Result<Routes, Error> {
    let calls = call::Calls::new(handler);
    let routes = Routes::default()
        .add_service(
            KvServer::new(kv::Service(calls.clone(), stop.clone()))
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(SysServer::new(sys::Service(calls.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(
            TokenServer::new(token::Service(calls.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(
            PolicyServer::new(policy::Service(calls.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(LogicalServer::new(logical::Service(calls)).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(health::server(ready, stop))
        .add_service(reflection().build_v1().map_err(damaged)?)
        .add_service(reflection().build_v1alpha().map_err(damaged)?);
    let gated = routes.into_axum_router().layer(gate::Gate::default());
    Ok(Routes::from(gated).prepare())
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(PUBLIC_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn damaged(error: tonic_reflection::server::Error) -> Error {
    Error::Settings(format!("gRPC descriptors: {error}"))
}
