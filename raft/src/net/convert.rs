//! Between the wire and openraft, both ways. Reading is total: a message that lacks a field or holds an unknown value
//! is an error. This file must not know where messages come from.

use conclave_proto::internal as wire;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::command::NodeRecord;
use crate::error::Error;
use crate::log::format::{entry_from_parts, entry_parts};
use crate::log::types::{LogEntry, LogId, TypeConfig, Vote, log_id, term_of, vote};

pub fn log_id_out(id: &LogId) -> wire::LogId {
    wire::LogId {
        term: term_of(id),
        index: id.index,
    }
}

pub fn log_id_in(id: wire::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub fn vote_out(vote: &Vote) -> wire::Vote {
    wire::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub fn vote_in(found: Option<wire::Vote>) -> Result<Vote, Error> {
    let found = found.ok_or_else(|| absent("vote"))?;
    Ok(vote(found.term, found.node, found.committed))
}

fn entry_out(entry: &LogEntry) -> Result<wire::Entry, Error> {
    let (kind, payload) = entry_parts(&entry.payload)?;
    Ok(wire::Entry {
        term: term_of(&entry.log_id),
        index: entry.log_id.index,
        kind: u32::from(kind),
        payload,
    })
}

fn entry_in(entry: wire::Entry) -> Result<LogEntry, Error> {
    let kind = u8::try_from(entry.kind).map_err(|_| absent("known kind of entry"))?;
    entry_from_parts(log_id(entry.term, entry.index), kind, entry.payload)
}

pub fn append_out(request: &AppendEntriesRequest<TypeConfig>) -> Result<wire::AppendRequest, Error> {
    Ok(wire::AppendRequest {
        vote: Some(vote_out(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_out),
        entries: request.entries.iter().map(entry_out).collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.as_ref().map(log_id_out),
    })
}

pub fn append_in(request: wire::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, Error> {
    let prev_log_id = request.previous.map(log_id_in);
    let entries: Vec<LogEntry> = request
        .entries
        .into_iter()
        .map(entry_in)
        .collect::<Result<_, _>>()?;
    let first = prev_log_id.map_or(0, |id| id.index + 1);
    // openraft looks at the last entry only: a hole must not get that far.
    if entries
        .iter()
        .zip(first..)
        .any(|(entry, index)| entry.log_id.index != index)
    {
        return Err(absent("contiguous run of entries"));
    }
    Ok(AppendEntriesRequest {
        vote: vote_in(request.vote)?,
        prev_log_id,
        entries,
        leader_commit: request.leader_commit.map(log_id_in),
    })
}

pub fn appended_out(result: &StreamAppendResult<TypeConfig>) -> wire::AppendResponse {
    use wire::append_response::Result as Answer;
    let answer = match result {
        Ok(matched) => Answer::Matched(wire::Matched {
            log_id: matched.as_ref().map(log_id_out),
        }),
        Err(StreamAppendError::Conflict(id)) => Answer::Conflict(log_id_out(id)),
        Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(vote_out(vote)),
    };
    wire::AppendResponse { result: Some(answer) }
}

pub fn appended_in(response: wire::AppendResponse) -> Result<StreamAppendResult<TypeConfig>, Error> {
    use wire::append_response::Result as Answer;
    Ok(match response.result.ok_or_else(|| absent("append result"))? {
        Answer::Matched(matched) => Ok(matched.log_id.map(log_id_in)),
        Answer::Conflict(id) => Err(StreamAppendError::Conflict(log_id_in(id))),
        Answer::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_in(Some(vote))?)),
    })
}

pub fn vote_request_out(request: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(vote_out(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_out),
        leadership_transfer: request.leadership_transfer,
    }
}

pub fn vote_request_in(request: wire::VoteRequest) -> Result<VoteRequest<TypeConfig>, Error> {
    let mut read = VoteRequest::new(vote_in(request.vote)?, request.last_log_id.map(log_id_in));
    read.leadership_transfer = request.leadership_transfer;
    Ok(read)
}

pub fn vote_response_out(response: &VoteResponse<TypeConfig>) -> wire::VoteResponse {
    wire::VoteResponse {
        vote: Some(vote_out(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_out),
    }
}

pub fn vote_response_in(response: wire::VoteResponse) -> Result<VoteResponse<TypeConfig>, Error> {
    let last = response.last_log_id.map(log_id_in);
    Ok(VoteResponse::new(vote_in(response.vote)?, last, response.granted))
}

pub fn transfer_out(request: &TransferLeaderRequest<TypeConfig>) -> wire::TransferLeaderRequest {
    wire::TransferLeaderRequest {
        from: Some(vote_out(request.from_leader())),
        to: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_out),
    }
}

pub fn transfer_in(request: wire::TransferLeaderRequest) -> Result<TransferLeaderRequest<TypeConfig>, Error> {
    let last = request.last_log_id.map(log_id_in);
    Ok(TransferLeaderRequest::new(
        vote_in(request.from)?,
        request.to,
        last,
    ))
}

pub fn transferred_out(response: &TransferLeaderResponse<TypeConfig>) -> wire::TransferLeaderResponse {
    use wire::transfer_leader_response::Refusal;
    let refusal = match response {
        Ok(()) => None,
        Err(TransferLeaderError::VoteChanged { actual, .. }) => Some(Refusal::VoteChanged(vote_out(actual))),
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => Some(Refusal::LogBehind(wire::Matched {
            log_id: actual.as_ref().map(log_id_out),
        })),
    };
    wire::TransferLeaderResponse { refusal }
}

pub fn member_out(id: u64, record: NodeRecord) -> wire::Member {
    wire::Member {
        id,
        key_hash: record.key_hash.to_vec().into(),
        name: record.name,
        zone: record.zone,
        cluster_addr: record.cluster_addr,
        api_addr: record.api_addr,
    }
}

pub fn member_in(member: wire::Member) -> Result<(u64, NodeRecord), Error> {
    let key_hash = member.key_hash.as_ref().try_into();
    let record = NodeRecord {
        key_hash: key_hash.map_err(|_| absent("key hash of 32 bytes"))?,
        name: member.name,
        zone: member.zone,
        cluster_addr: member.cluster_addr,
        api_addr: member.api_addr,
    };
    Ok((member.id, record))
}

fn absent(what: &'static str) -> Error {
    Error::Corrupt {
        what: "message from a node",
        detail: format!("it has no {what}"),
    }
}
