//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Coordination, Reply, code_of, code_of_result};
use crate::coordinator::classic::{Caller, Fault, Join, Joined, MemberRef, Sync, Synced};
use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::limits::CONSUMER_GROUP_NAME_BYTES_MAX;
use crate::shard::connections::Ticket;

/// From this version on, JoinGroup clients understand to be given an id before they join.
const JOIN_ID_FIRST_FROM: i16 = 4;
/// The first JoinGroup version with a rebalance time-out of its own.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// From this version on, JoinGroup's answer has a protocol type, and no protocol may be null.
const NULL_PROTOCOL_FROM: i16 = 7;
/// From this version on, a leader can be told not to assign.
const SKIP_ASSIGNMENT_FROM: i16 = 9;
/// From this version on, LeaveGroup names many members.
const MANY_LEAVE_FROM: i16 = 3;

impl<P: Page> Coordination<'_, P> {
    /// Takes a JoinGroup request.
    pub fn join_group(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        client_id: &str,
        request: JoinGroupRequest,
    ) {
        let home = match self.route_named(&request.group_id) {
            Ok(_) if names_too_long(&request) => Err(ErrorCode::INVALID_REQUEST),
            routed => routed,
        };
        let home = match home {
            Ok(home) => home,
            Err(code) => {
                let response = join_refused(header.api_version, code, request.member_id);
                return self.connections.respond(ticket, &header, &response);
            }
        };
        self.connections.hold(ticket);
        let caller = self.wait(ticket, header, Reply::Join, vec![home]);
        let mut join = self.word_join(caller, &header, client_id, request);
        join.client_host = self.connections.host(ticket.connection).to_string();
        self.with_env(home, |coordinator, context, env| coordinator.join(context, env, join));
    }

    fn word_join(
        &mut self,
        caller: Caller,
        header: &RequestHeader,
        client_id: &str,
        request: JoinGroupRequest,
    ) -> Join {
        let instance_id = request.group_instance_id.as_deref().map(str::to_owned);
        let random = uuid::Uuid::from_bytes(self.random.uuid());
        let new_member_id = format!("{}-{random}", instance_id.as_deref().unwrap_or(client_id));
        let session_timeout = millis(request.session_timeout_ms);
        let own_timeout = header.api_version >= REBALANCE_TIMEOUT_FROM;
        let protocols = request.protocols.iter();
        Join {
            caller,
            group: request.group_id.to_string(),
            member_id: request.member_id.to_string(),
            instance_id,
            client_id: client_id.to_owned(),
            client_host: String::new(),
            session_timeout,
            rebalance_timeout: if own_timeout {
                millis(request.rebalance_timeout_ms)
            } else {
                session_timeout
            },
            protocol_type: request.protocol_type.to_string(),
            // Copied: what a group keeps must not keep the frame it came in.
            protocols: protocols
                .map(|p| (p.name.to_string(), Bytes::copy_from_slice(&p.metadata)))
                .collect(),
            takes_id_first: header.api_version >= JOIN_ID_FIRST_FROM,
            skips_assignment: header.api_version >= SKIP_ASSIGNMENT_FROM,
            new_member_id,
        }
    }

    /// Takes a SyncGroup request.
    pub fn sync_group(&mut self, ticket: Ticket, header: RequestHeader, request: SyncGroupRequest) {
        let home = match self.route_named(&request.group_id) {
            Ok(home) => home,
            Err(code) => {
                return self.connections.respond(ticket, &header, &sync_refused(code));
            }
        };
        self.connections.hold(ticket);
        let caller = self.wait(ticket, header, Reply::Sync, vec![home]);
        let assignments = request.assignments.iter();
        let sync = Sync {
            caller,
            member: MemberRef {
                group: request.group_id.to_string(),
                generation: request.generation_id,
                member_id: request.member_id.to_string(),
                instance_id: owned(&request.group_instance_id),
            },
            protocol_type: owned(&request.protocol_type),
            protocol: owned(&request.protocol_name),
            assignments: assignments
                .map(|a| (a.member_id.to_string(), Bytes::copy_from_slice(&a.assignment)))
                .collect(),
        };
        self.with_env(home, |coordinator, context, env| coordinator.sync(context, env, sync));
    }

    /// Answers a Heartbeat request.
    pub fn heartbeat(&mut self, ticket: Ticket, header: RequestHeader, request: &HeartbeatRequest) {
        let code = match self.route_named(&request.group_id) {
            Ok(home) => {
                let member = MemberRef {
                    group: request.group_id.to_string(),
                    generation: request.generation_id,
                    member_id: request.member_id.to_string(),
                    instance_id: owned(&request.group_instance_id),
                };
                let result = self.with_env(home, |coordinator, context, env| {
                    coordinator.heartbeat(context, env, &member)
                });
                code_of_result(result)
            }
            Err(code) => code,
        };
        let response = HeartbeatResponse::default().with_error_code(code.code());
        self.connections.respond(ticket, &header, &response);
    }

    /// Takes a LeaveGroup request.
    pub fn leave_group(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &LeaveGroupRequest,
    ) {
        let home = match self.route_named(&request.group_id) {
            Ok(home) => home,
            Err(code) => {
                let response = LeaveGroupResponse::default().with_error_code(code.code());
                return self.connections.respond(ticket, &header, &response);
            }
        };
        let mut response = LeaveGroupResponse::default();
        let leaving: Vec<(&str, Option<&str>)> = if header.api_version < MANY_LEAVE_FROM {
            vec![(request.member_id.as_str(), None)]
        } else {
            let told = request.members.iter().map(|member| {
                MemberResponse::default()
                    .with_member_id(member.member_id.clone())
                    .with_group_instance_id(member.group_instance_id.clone())
            });
            response.members = told.collect();
            let all = request.members.iter();
            all.map(|m| (m.member_id.as_str(), m.group_instance_id.as_deref())).collect()
        };
        self.connections.hold(ticket);
        let caller = self.wait(ticket, header, Reply::Leave(response), vec![home]);
        self.with_env(home, |coordinator, context, env| {
            coordinator.leave(context, env, caller, &request.group_id, &leaving);
        });
    }
}

/// What those are told that left.
pub(super) fn left_response(
    version: i16,
    response: LeaveGroupResponse,
    left: &[Result<(), Fault>],
) -> LeaveGroupResponse {
    let codes = left.iter().map(|left| code_of_result(*left).code());
    if version < MANY_LEAVE_FROM {
        return response.with_error_code(codes.sum());
    }
    let members = response.members.iter().zip(codes);
    let members = members.map(|(member, code)| member.clone().with_error_code(code)).collect();
    response.with_members(members)
}

fn names_too_long(request: &JoinGroupRequest) -> bool {
    let protocols = request.protocols.iter().map(|protocol| &protocol.name);
    protocols
        .chain([&request.protocol_type])
        .chain(&request.group_instance_id)
        .any(|name| name.len() > CONSUMER_GROUP_NAME_BYTES_MAX)
}

/// What a member that asked to join is told.
pub(super) fn join_response(version: i16, joined: Joined) -> JoinGroupResponse {
    if let Some(fault) = joined.fault {
        let member_id = StrBytes::from_string(joined.member_id);
        return join_refused(version, code_of(fault), member_id);
    }
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(StrBytes::from_string(member.id))
            .with_group_instance_id(member.instance_id.map(StrBytes::from_string))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(StrBytes::from_string(joined.protocol_type)))
        .with_protocol_name(Some(StrBytes::from_string(joined.protocol.unwrap_or_default())))
        .with_leader(StrBytes::from_string(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(StrBytes::from_string(joined.member_id))
        .with_members(members.collect())
}

/// What a member that may not join is told.
pub(super) fn join_refused(
    version: i16,
    code: ErrorCode,
    member_id: StrBytes,
) -> JoinGroupResponse {
    let no_protocol = (version < NULL_PROTOCOL_FROM).then(StrBytes::default);
    JoinGroupResponse::default()
        .with_error_code(code.code())
        .with_generation_id(-1)
        .with_protocol_name(no_protocol)
        .with_member_id(member_id)
}

/// What a member that asked for its assignment is told.
pub(super) fn sync_response(synced: Result<Synced, Fault>) -> SyncGroupResponse {
    match synced {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(Some(StrBytes::from_string(synced.protocol_type)))
            .with_protocol_name(Some(StrBytes::from_string(synced.protocol)))
            .with_assignment(synced.assignment),
        Err(fault) => sync_refused(code_of(fault)),
    }
}

/// What a member that gets no assignment is told.
pub(super) fn sync_refused(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code.code())
}

fn owned(text: &Option<StrBytes>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
