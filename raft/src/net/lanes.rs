//! Connections to peers, one per kind of traffic, so that a snapshot or a full replication stream cannot delay a proof
//! of leadership. This file must not know what is sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conclave_proto::internal::node_client::NodeClient;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::command::NodeRecord;
use crate::error::Error;
use crate::log::Fatal;
use crate::net::peers::Start;
use crate::net::{CONNECTION_WINDOW, MAX_MESSAGE, Peers, STREAM_WINDOW, Transport};

/// Metadata key of the cluster id.
pub(crate) const CLUSTER: &str = "conclave-cluster";
/// Metadata key of the sender's node id.
pub(crate) const FROM: &str = "conclave-from";
/// Metadata key of the receiver's node id.
pub(crate) const TO: &str = "conclave-to";
/// Metadata key of the sender's start, also on answers that depend on the answering node's disk.
pub(crate) const START: &str = "conclave-start";
/// What a node is told whose disk was set back or copied; it must stop.
pub(crate) const SET_BACK: &str = "rolled-back or cloned disk: rejoin under a new id";

/// A kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The replication stream.
    Append,
    /// Heartbeats, votes and other small questions of consensus.
    Control,
    /// Snapshots.
    Bulk,
    /// Proposals, read indexes and messages of the layers above.
    Door,
}

/// The connections of one node.
pub struct Lanes {
    transport: Arc<dyn Transport>,
    peers: Arc<Peers>,
    fatal: Fatal,
    /// A connection that has been silent this long is probed, and closed if it stays silent as long again.
    silence: Duration,
    /// Ordered, so that they also close in order.
    open: Mutex<BTreeMap<(u64, Lane), (NodeRecord, Channel)>>,
}

impl Lanes {
    /// No connection is open yet.
    pub fn new(transport: Arc<dyn Transport>, peers: Arc<Peers>, silence: Duration, fatal: Fatal) -> Self {
        Self {
            transport,
            peers,
            fatal,
            silence,
            open: Mutex::default(),
        }
    }

    /// A client for `node`; it connects when first used and again after failures.
    ///
    /// # Errors
    /// `Error::Peer` when the node is not known.
    pub fn client(&self, node: u64, lane: Lane) -> Result<NodeClient<Channel>, Error> {
        let record = self.peers.get(node).ok_or_else(|| Error::Peer {
            node,
            detail: "it is not a member".to_owned(),
        })?;
        let mut open = self.open.lock();
        let channel = match open.get(&(node, lane)) {
            // A member that moved or got another key needs another connection.
            Some((known, channel)) if *known == record => channel.clone(),
            _ => {
                let channel = self.dial(record.clone());
                open.insert((node, lane), (record, channel.clone()));
                channel
            }
        };
        let client = NodeClient::new(channel);
        Ok(client
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE))
    }

    /// Addresses a message to `node`.
    pub fn request<T>(&self, node: u64, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let metadata = request.metadata_mut();
        if let Ok(cluster) = MetadataValue::try_from(self.peers.cluster()) {
            metadata.insert(CLUSTER, cluster);
        }
        if let Ok(start) = MetadataValue::try_from(self.peers.start().to_text()) {
            metadata.insert(START, start);
        }
        metadata.insert(FROM, MetadataValue::from(self.peers.node()));
        metadata.insert(TO, MetadataValue::from(node));
        request
    }

    /// Looks at a refusal: a member says that this node's disk was set back, and it must stop.
    pub fn heed(&self, status: &Status) {
        if status.code() == Code::FailedPrecondition && status.message() == SET_BACK {
            (self.fatal)(SET_BACK);
        }
    }

    /// Whether an answer came from a start of `node` that must not count.
    pub fn is_set_back(&self, node: u64, answer: &MetadataMap) -> bool {
        let start = answer.get(START).and_then(|value| value.to_str().ok());
        start
            .and_then(Start::from_text)
            .is_none_or(|start| self.peers.is_set_back(node, start))
    }

    fn dial(&self, record: NodeRecord) -> Channel {
        let transport = Arc::clone(&self.transport);
        // The address is the transport's business; HTTP only needs some authority.
        Endpoint::from_static("http://node.conclave")
            .http2_keep_alive_interval(self.silence)
            .keep_alive_timeout(self.silence)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let connecting = transport.connect(&record);
                async move { connecting.await.map(TokioIo::new) }
            }))
    }
}
