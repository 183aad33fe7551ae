//! The calling end for everything but Raft itself: door streams, messages and questions to other nodes. This file must
//! not know how calls are handled.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_proto::internal as wire;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::command::NodeRecord;
use crate::door::desk::{Reply, ReplyTo};
use crate::door::door::PING;
use crate::door::link::{Frame, Links};
use crate::error::Error;
use crate::log::LogStore;
use crate::net::progress::Progress;
use crate::net::{Lane, Lanes, convert};
use crate::node::clock::ClusterClock;
use crate::node::offload::Offload;
use crate::replica::PeerCall;

/// A message to a peer's handler is answered within this time or has failed.
const PEER_CALL: Duration = Duration::from_secs(5);
/// Messages of a door stream on their way to the connection.
const DOOR_QUEUE: usize = 64;

/// What a node says about itself.
pub struct Found {
    /// It may take leadership.
    pub willing: bool,
    /// Position of its last log entry.
    pub last_log: u64,
    /// Its wall clock in Unix milliseconds.
    pub wall: u64,
    /// The greatest cluster version its build supports.
    pub supports: u16,
    /// The members it knows of.
    pub members: BTreeMap<u64, NodeRecord>,
}

/// The way to all other nodes.
#[derive(Clone)]
pub struct Network {
    pub(super) lanes: Arc<Lanes>,
    pub(super) progress: Arc<Progress>,
    clock: Arc<ClusterClock>,
    /// Knows this node's vote.
    log: LogStore,
    incarnation: u64,
    /// A stream is set up within this time or has failed.
    pub(super) setup: Duration,
    /// Where snapshots are read.
    pub(super) offload: Arc<dyn Offload>,
}

impl Network {
    /// Speaks for this start of this node.
    pub fn new(
        lanes: Arc<Lanes>,
        clock: Arc<ClusterClock>,
        log: LogStore,
        incarnation: u64,
        setup: Duration,
        offload: Arc<dyn Offload>,
    ) -> Self {
        Self {
            lanes,
            progress: Arc::default(),
            clock,
            log,
            incarnation,
            setup,
            offload,
        }
    }

    /// Sends a message to a peer's handler.
    ///
    /// # Errors
    /// `Error::Peer` when the peer cannot be reached, refuses, or does not answer in five seconds.
    pub async fn call(&self, node: u64, call: PeerCall) -> Result<Bytes, Error> {
        let mut client = self.lanes.client(node, Lane::Door)?;
        let request = wire::PeerRequest {
            kind: u32::from(call.kind),
            payload: call.payload,
        };
        let answer = timeout(PEER_CALL, client.peer(self.lanes.request(node, request))).await;
        let answer = answer.map_err(|_| peer(node, &"it does not answer"))?;
        Ok(answer.map_err(|e| self.refused(node, &e))?.into_inner().payload)
    }

    /// Asks a node about itself.
    ///
    /// # Errors
    /// `Error::Peer` when it cannot be reached or does not answer within an election time-out.
    pub async fn probe(&self, node: u64) -> Result<Found, Error> {
        let mut client = self.lanes.client(node, Lane::Control)?;
        let request = self.lanes.request(node, wire::ProbeRequest {});
        let answer = timeout(self.setup, client.probe(request)).await;
        let answer = answer.map_err(|_| peer(node, &"it does not answer"))?;
        let answer = answer.map_err(|e| self.refused(node, &e))?.into_inner();
        let members: Result<_, Error> = answer.members.into_iter().map(convert::member_in).collect();
        Ok(Found {
            willing: answer.willing,
            last_log: answer.last_log,
            wall: answer.wall,
            // Builds that do not say it are of the first version.
            supports: u16::try_from(answer.supports).unwrap_or(u16::MAX).max(1),
            members: members?,
        })
    }

    fn refused(&self, node: u64, status: &tonic::Status) -> Error {
        self.lanes.heed(status);
        peer(node, &status.message())
    }
}

fn peer(node: u64, detail: &dyn Display) -> Error {
    Error::Peer {
        node,
        detail: detail.to_string(),
    }
}

impl Links for Network {
    fn open(&self, leader: u64, term: u64, to: ReplyTo) -> mpsc::UnboundedSender<Frame> {
        let (frames, waiting) = mpsc::unbounded_channel();
        let network = self.clone();
        tokio::spawn(async move {
            if let Err(error) = network.link(leader, term, &to, waiting).await {
                tracing::debug!(leader, %error, "the stream to the leader broke");
                to.send(Reply::Closed);
            }
        });
        frames
    }
}

impl Network {
    /// Carries one link until its door lets go of it (`Ok`) or it breaks.
    async fn link(
        &self,
        leader: u64,
        term: u64,
        to: &ReplyTo,
        mut frames: mpsc::UnboundedReceiver<Frame>,
    ) -> Result<(), Error> {
        let mut client = self.lanes.client(leader, Lane::Door)?;
        let (out, requests) = mpsc::channel(DOOR_QUEUE);
        let broken = |detail: &dyn Display| peer(leader, detail);
        let hello = wire::DoorHello {
            incarnation: self.incarnation,
            term,
        };
        let hello = door_request(wire::door_request::Request::Hello(hello));
        out.try_send(hello).map_err(|e| broken(&e))?;
        let request = self.lanes.request(leader, ReceiverStream::new(requests));
        let opened = timeout(self.setup, client.door(request))
            .await
            .map_err(|e| broken(&e))?;
        let mut replies = opened.map_err(|e| self.refused(leader, &e))?.into_inner();
        // What the leader asks shows that it is heard, not that it hears: only its answers do, and a ping has one each second.
        let patience = PING.max(self.setup) * 3;
        let mut unanswered: Option<Instant> = None;
        loop {
            let silent = sleep_until(unanswered.unwrap_or_else(Instant::now) + patience);
            tokio::select! {
                () = silent, if unanswered.is_some() => return Err(broken(&"it does not answer")),
                frame = frames.recv() => {
                    let Some(frame) = frame else { return Ok(()) };
                    unanswered.get_or_insert_with(Instant::now);
                    out.send(frame_out(frame, self.log.vote_term())).await.map_err(|e| broken(&e))?;
                }
                reply = replies.message() => {
                    let reply = reply.map_err(|e| broken(&e.message()))?;
                    let reply = reply.ok_or_else(|| broken(&"it ended the stream"))?;
                    self.clock.observe(reply.now);
                    match reply.reply {
                        Some(wire::door_reply::Reply::Confirm(id)) => {
                            let word = wire::DoorWord { id, term: self.log.vote_term() };
                            let word = door_request(wire::door_request::Request::Word(word));
                            out.send(word).await.map_err(|e| broken(&e))?;
                        }
                        Some(reply) => {
                            unanswered = None;
                            to.send(reply_in(reply));
                        }
                        None => {}
                    }
                }
            }
        }
    }
}

fn door_request(request: wire::door_request::Request) -> wire::DoorRequest {
    wire::DoorRequest {
        request: Some(request),
    }
}

/// `vote_term` is read after the frame was made: what it says is as new as the frame.
fn frame_out(frame: Frame, vote_term: u64) -> wire::DoorRequest {
    use wire::door_request::Request;
    door_request(match frame {
        Frame::Propose {
            term,
            frame,
            commands,
        } => {
            let commands = commands
                .into_iter()
                .map(|(sequence, command)| wire::DoorCommand { sequence, command })
                .collect();
            Request::Propose(wire::DoorPropose {
                term,
                frame,
                commands,
            })
        }
        Frame::Read { id, crowd } => Request::Read(wire::DoorRead {
            id,
            term: vote_term,
            crowd,
        }),
        Frame::Ping => Request::Ping(true),
    })
}

fn reply_in(reply: wire::door_reply::Reply) -> Reply {
    use wire::door_reply::Reply as Wire;
    match reply {
        Wire::Welcome(welcome) => Reply::Ready {
            accepted: welcome.accepted,
        },
        Wire::Accepted(accepted) => Reply::Taken {
            frame: accepted.frame,
        },
        Wire::Rejected(rejected) => Reply::Rejected {
            term: rejected.term,
            sequences: rejected.sequences,
        },
        Wire::Confirm(id) => Reply::Confirm { id },
        Wire::ReadIndex(index) => Reply::Index {
            id: index.id,
            position: (index.position != 0).then_some(index.position),
        },
    }
}
