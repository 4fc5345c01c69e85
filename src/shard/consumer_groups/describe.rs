//! DescribeGroups, ListGroups and DeleteGroups.

use std::collections::BTreeMap;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId as ConsumerGroupId, ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Coordination, Reply, code_of, group_of, text};
use crate::coordinator::classic::{Group, State};
use crate::coordinator::modern::embedded::CONSUMER;
use crate::coordinator::{Members, StoredGroup};
use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::model::ids::GroupId;
use crate::shard::connections::Ticket;

/// From this version on, DescribeGroups says that there is no such group. Before, it was "Dead".
const NOT_FOUND_FROM: i16 = 6;
/// From this version on, ListGroups tells states.
const STATES_FROM: i16 = 4;
/// From this version on, ListGroups tells types.
const TYPES_FROM: i16 = 5;
const CLASSIC: &str = "classic";
const DEAD: &str = "Dead";

impl<P: Page> Coordination<'_, P> {
    /// Answers a DescribeGroups request.
    pub fn describe_groups(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &DescribeGroupsRequest,
    ) {
        let groups = request.groups.iter().map(|id| {
            let described = DescribedGroup::default().with_group_id(id.clone());
            // The empty name, too: simple consumers of long ago have no other.
            match self.route(id) {
                Ok(home) => self.describe(header.api_version, home, described),
                Err(code) => described.with_error_code(code.code()),
            }
        });
        let response = DescribeGroupsResponse::default().with_groups(groups.collect());
        self.connections.respond(ticket, &header, &response);
    }

    fn describe(&self, version: i16, home: GroupId, described: DescribedGroup) -> DescribedGroup {
        let id = described.group_id.to_string();
        let coordinator = self.state.coordinator(home).expect("route has found it");
        if let Some(group) = coordinator.classic.group(&id) {
            return describe_members(group, described);
        }
        let stored = group_of(self.groups, home).consumer_groups.group(&id);
        let modern = stored.is_some_and(|stored| stored.modern().is_some());
        if let Some(stored) = stored.filter(|_| !modern) {
            return described
                .with_group_state(StrBytes::from_static_str(State::Empty.name()))
                .with_protocol_type(text(protocol_type(stored)));
        }
        let described = described.with_group_state(StrBytes::from_static_str(DEAD));
        if version < NOT_FOUND_FROM {
            return described;
        }
        let what = if modern { "is not a classic group" } else { "not found" };
        let message = StrBytes::from_string(format!("Group {id} {what}."));
        described
            .with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.code())
            .with_error_message(Some(message))
    }

    /// Answers a ListGroups request: the groups that are coordinated here.
    pub fn list_groups(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &ListGroupsRequest,
    ) {
        let passes = |filter: &[StrBytes], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let mut groups = Vec::new();
        for group in self.groups.iter() {
            if self.is_loading(group) {
                // Without these the list would look whole.
                let code = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.code();
                let response = ListGroupsResponse::default().with_error_code(code);
                return self.connections.respond(ticket, &header, &response);
            }
            let listed = self.listed(group.id).into_iter();
            groups.extend(
                listed
                    .filter(|(_, told)| passes(&request.states_filter, told.state))
                    .filter(|(_, told)| passes(&request.types_filter, told.group_type))
                    .map(|(id, told)| {
                        let mut listed = ListedGroup::default()
                            .with_group_id(ConsumerGroupId(text(id)))
                            .with_protocol_type(text(told.protocol_type));
                        if header.api_version >= STATES_FROM {
                            listed.group_state = StrBytes::from_static_str(told.state);
                        }
                        if header.api_version >= TYPES_FROM {
                            listed.group_type = StrBytes::from_static_str(told.group_type);
                        }
                        listed
                    }),
            );
        }
        let response = ListGroupsResponse::default().with_groups(groups);
        self.connections.respond(ticket, &header, &response);
    }

    /// The groups of one coordinator.
    fn listed(&self, home: GroupId) -> BTreeMap<&str, Listed<'_>> {
        let Some(coordinator) = self.state.coordinator(home) else { return BTreeMap::new() };
        let stored = group_of(self.groups, home).consumer_groups.groups();
        let mut listed: BTreeMap<&str, Listed<'_>> = stored
            .map(|(id, stored)| {
                let modern = stored.modern();
                let state = modern.map_or(State::Empty.name(), |m| m.group_state().name());
                let group_type = if modern.is_some() { CONSUMER } else { CLASSIC };
                (id, Listed { state, protocol_type: protocol_type(stored), group_type })
            })
            .collect();
        for (id, group) in coordinator.classic.groups() {
            let (state, protocol_type) = (group.state.name(), &group.protocol_type);
            listed.insert(id, Listed { state, protocol_type, group_type: CLASSIC });
        }
        listed
    }

    /// Takes a DeleteGroups request.
    pub fn delete_groups(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &DeleteGroupsRequest,
    ) {
        self.connections.hold(ticket);
        let reply = Reply::DeleteGroups(DeleteGroupsResponse::default());
        let caller = self.wait(ticket, header, reply, Vec::new());
        let mut missing = Vec::new();
        let mut results = Vec::new();
        for id in &request.groups_names {
            let routed = self.route(id);
            let deleted = routed.and_then(|home| {
                let delete = self.with(home, |coordinator, context| {
                    coordinator.delete_group(context, caller, id.to_string())
                });
                delete.map(|()| missing.push(home)).map_err(code_of)
            });
            let code = deleted.err().unwrap_or(ErrorCode::NONE);
            results.push(
                DeletableGroupResult::default()
                    .with_group_id(id.clone())
                    .with_error_code(code.code()),
            );
        }
        let response = DeleteGroupsResponse::default().with_results(results);
        let Some(waiting) = self.state.waiting.get_mut(&caller) else { return };
        if missing.is_empty() {
            self.state.waiting.remove(&caller);
            return self.connections.respond(ticket, &header, &response);
        }
        waiting.missing = missing;
        waiting.reply = Reply::DeleteGroups(response);
    }
}

/// A group, as ListGroups tells of it.
struct Listed<'a> {
    state: &'static str,
    protocol_type: &'a str,
    group_type: &'static str,
}

fn protocol_type(stored: &StoredGroup) -> &str {
    match &stored.members {
        Members::None => "",
        Members::Classic(state) => &state.protocol_type,
        Members::Modern(_) => CONSUMER,
    }
}

/// Subscriptions and assignments are told when they stand.
fn describe_members(group: &Group, described: DescribedGroup) -> DescribedGroup {
    let stable = group.state == State::Stable;
    let members = group.members().iter().map(|(id, member)| {
        let mut told = DescribedGroupMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(member.instance_id.as_deref().map(text))
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&member.client_host));
        if stable {
            told.member_metadata = member.metadata(group.protocol.as_deref());
            told.member_assignment = member.assignment.clone();
        }
        told
    });
    let protocol = group.protocol.as_deref().filter(|_| stable);
    described
        .with_group_state(StrBytes::from_static_str(group.state.name()))
        .with_protocol_type(text(&group.protocol_type))
        .with_protocol_data(text(protocol.unwrap_or_default()))
        .with_members(members.collect())
}
