//! Which handler a request goes to.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::journal::page::Page;
use crate::kafka::api::{
    API_VERSIONS_KEY, DecodeError, PRODUCE_INDEX, Request, api_index, api_versions_response,
    decode_request,
};
use crate::kafka::frame::LENGTH_BYTES;
use crate::kafka::header::RequestHeader;
use crate::kafka::produce::PRODUCE_KEY;
use crate::model::ids::ConnectionId;
use crate::model::time::Now;
use crate::shard::Shard;
use crate::shard::admin::Admin;
use crate::shard::connections::Ticket;
use crate::shard::fetch::list_offsets;
use crate::shard::output::{LogLevel, Output};
use crate::shard::peers::wire;

/// The least time between two lines about clients' mistakes.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

impl<P: Page> Shard<P> {
    /// Takes one request. One that can't be read closes its connection, as Kafka does: there is
    /// no telling where the next one begins, or in what words to answer.
    ///
    /// The request is `frame` of `read`: with many requests to a read, none counts a reference.
    pub(super) fn on_request(
        &mut self,
        now: Now,
        ticket: Ticket,
        read: &Bytes,
        frame: Range<usize>,
    ) {
        let header = match RequestHeader::decode(&read[frame.clone()]) {
            Ok(header) => header,
            Err(_) if wire::is_hello(&read[frame.clone()]) => {
                return self.adopt_peer(ticket.connection, read, frame, now);
            }
            Err(why) => return self.refuse(now, ticket, why),
        };
        if header.api_key == PRODUCE_KEY {
            self.connections.traffic.request(PRODUCE_INDEX, frame.len());
            if let Err(why) = self.produce().on_request(now.time, ticket, header, read, frame) {
                self.refuse(now, ticket, why);
            }
            return;
        }
        if let Some(api) = api_index(header.api_key) {
            self.connections.traffic.request(api, frame.len());
        }
        let frame = read.slice(frame);
        match decode_request(&header, &frame) {
            Ok(Request::JoinGroup(request)) => {
                let client_id = header.client_id(&frame).unwrap_or_default();
                self.coordination(now).join_group(ticket, header, client_id, request);
            }
            Ok(Request::ConsumerGroupHeartbeat(request)) => {
                let client_id = header.client_id(&frame).unwrap_or_default();
                self.coordination(now).consumer_heartbeat(ticket, header, client_id, &request);
            }
            Ok(request) => self.dispatch(now, ticket, header, request),
            Err(DecodeError::UnsupportedVersion { .. }) if header.api_key == API_VERSIONS_KEY => {
                // Only this one can be answered: its version 0 is understood by every client.
                let response = api_versions_response(header.api_version, 0);
                self.connections.respond(ticket, &header, &response);
            }
            Err(why) => self.refuse(now, ticket, why),
        }
    }

    /// The connection is another node's: this was its first word.
    pub(super) fn adopt_peer(
        &mut self,
        connection: ConnectionId,
        read: &Bytes,
        frame: Range<usize>,
        now: Now,
    ) {
        self.connections.hand_over(connection);
        // With the length in front of it, as all that follows will have.
        let frame = frame.start - LENGTH_BYTES..frame.end;
        self.peers.adopt(connection, read.slice(frame), now.time);
    }

    /// Closes a connection for what its client sent. One line a second at most: clients err in
    /// crowds.
    fn refuse(&mut self, now: Now, ticket: Ticket, why: DecodeError) {
        self.metrics.bad_requests += 1;
        self.connections.close(ticket.connection);
        if now.time >= self.next_complaint {
            self.next_complaint = now.time + COMPLAINT_INTERVAL;
            let line = format!(
                "closed connection {}: {why} ({} bad requests so far)",
                ticket.connection, self.metrics.bad_requests
            );
            self.outputs.push_back(Output::Log { level: LogLevel::Warn, line });
        }
    }

    fn dispatch(&mut self, now: Now, ticket: Ticket, header: RequestHeader, request: Request) {
        match request {
            Request::Fetch(request) => {
                let (fetches, mut parts) = self.fetch_parts();
                fetches.on_fetch(now.time, ticket, header, &request, &mut parts);
            }
            Request::ListOffsets(request) => {
                let (fetches, mut parts) = self.fetch_parts();
                let parts = &mut parts;
                list_offsets::on_list_offsets(now.time, ticket, header, &request, fetches, parts);
            }
            Request::OffsetForLeaderEpoch(request) => {
                let (_, mut parts) = self.fetch_parts();
                list_offsets::on_leader_epoch(ticket, header, &request, &mut parts);
            }
            Request::DescribeQuorum(request) => {
                self.admin().describe_quorum(now, ticket, header, &request);
            }
            Request::InitProducerId(request) => {
                self.producer_ids.on_request(ticket, header, &request, &mut self.connections);
            }
            request => self.dispatch_coordination(now, ticket, header, request),
        }
    }

    fn dispatch_coordination(
        &mut self,
        now: Now,
        ticket: Ticket,
        header: RequestHeader,
        request: Request,
    ) {
        let mut groups = self.coordination(now);
        match request {
            Request::OffsetCommit(request) => groups.commit_offsets(ticket, header, &request),
            Request::OffsetFetch(request) => groups.fetch_offsets(ticket, header, request),
            Request::OffsetDelete(request) => groups.delete_offsets(ticket, header, &request),
            Request::FindCoordinator(request) => groups.find_coordinator(ticket, header, &request),
            Request::Heartbeat(request) => groups.heartbeat(ticket, header, &request),
            Request::SyncGroup(request) => groups.sync_group(ticket, header, request),
            Request::LeaveGroup(request) => groups.leave_group(ticket, header, &request),
            Request::DescribeGroups(request) => groups.describe_groups(ticket, header, &request),
            Request::ListGroups(request) => groups.list_groups(ticket, header, &request),
            Request::DeleteGroups(request) => groups.delete_groups(ticket, header, &request),
            Request::ConsumerGroupDescribe(request) => {
                groups.describe_consumer_groups(ticket, header, &request);
            }
            request => self.dispatch_admin(now, ticket, header, request),
        }
    }

    fn dispatch_admin(
        &mut self,
        now: Now,
        ticket: Ticket,
        header: RequestHeader,
        request: Request,
    ) {
        let now = now.time;
        let mut admin = self.admin();
        match request {
            Request::ApiVersions(request) => admin.api_versions(ticket, header, &request),
            Request::Metadata(request) => admin.metadata(ticket, header, request),
            Request::CreateTopics(request) => admin.create_topics(now, ticket, header, request),
            Request::DeleteTopics(request) => admin.delete_topics(now, ticket, header, request),
            Request::DeleteRecords(request) => admin.delete_records(now, ticket, header, request),
            Request::CreatePartitions(request) => {
                admin.create_partitions(now, ticket, header, request);
            }
            Request::DescribeConfigs(request) => admin.describe_configs(ticket, header, &request),
            Request::AlterConfigs(request) => admin.alter_configs(now, ticket, header, &request),
            Request::IncrementalAlterConfigs(request) => {
                admin.incremental_alter_configs(now, ticket, header, &request);
            }
            Request::DescribeLogDirs(request) => admin.describe_log_dirs(ticket, header, &request),
            Request::DescribeCluster(request) => admin.describe_cluster(ticket, header, &request),
            Request::DescribeTopicPartitions(request) => {
                admin.describe_topic_partitions(ticket, header, &request);
            }
            request => unreachable!("dispatched before: {request:?}"),
        }
    }

    fn admin(&mut self) -> Admin<'_, P> {
        Admin {
            config: &self.config,
            control: &mut self.control,
            cluster: &self.cluster,
            peers: &self.peers,
            groups: &mut self.groups,
            connections: &mut self.connections,
            requests: &mut self.admin_requests,
            random: &mut self.random,
            outputs: &mut self.outputs,
        }
    }
}
