//! Requests about topics, settings and the cluster: Kafka's words on one side, the catalog's on
//! the other.
//!
//! What only reads is answered at once (`describe`). What changes the catalog, or a partition's
//! log start, is an *admin request*: it has a part for each topic (or setting, or partition) it
//! names, and is answered when every part is done, or when its time is up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kafka_protocol::messages::{
    AlterConfigsResponse, CreatePartitionsResponse, CreateTopicsResponse, DeleteRecordsResponse,
    DeleteTopicsResponse, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::metadata::{Applied, CatalogError, Command};
use crate::model::time::Time;
use crate::shard::ShardConfig;
use crate::shard::cluster::Cluster;
use crate::shard::connections::{Connections, Ticket};
use crate::shard::control::{CommandWaiter, Control};
use crate::shard::groups::Groups;
use crate::shard::output::Output;
use crate::shard::peers::Peers;
use crate::shard::random::Random;

pub mod configs;
pub mod describe;
pub mod quorum;
pub mod records;
pub mod topics;

/// What admin handlers need of the shard.
pub struct Admin<'a, P> {
    pub config: &'a ShardConfig,
    pub control: &'a mut Control,
    pub cluster: &'a Cluster,
    pub peers: &'a Peers<P>,
    pub groups: &'a mut Groups<P>,
    pub connections: &'a mut Connections<P>,
    pub requests: &'a mut AdminRequests,
    pub random: &'a mut Random,
    pub outputs: &'a mut VecDeque<Output<P>>,
}

/// The admin requests under way.
#[derive(Debug, Default)]
pub struct AdminRequests {
    /// By a number that is never used twice: a part may be done long after its request timed out,
    /// and must not be taken for a part of another one.
    requests: BTreeMap<usize, AdminRequest>,
    next: usize,
    deadlines: BTreeSet<(Time, usize)>,
}

#[derive(Debug)]
struct AdminRequest {
    ticket: Ticket,
    header: RequestHeader,
    deadline: Time,
    /// Filled in part by part. Parts that aren't done say REQUEST_TIMED_OUT.
    response: Response,
    missing: usize,
}

/// The answer to an admin request.
#[derive(Debug)]
pub enum Response {
    CreateTopics(CreateTopicsResponse),
    DeleteTopics(DeleteTopicsResponse),
    CreatePartitions(CreatePartitionsResponse),
    AlterConfigs(AlterConfigsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsResponse),
    DeleteRecords(DeleteRecordsResponse),
}

/// Config changes have no time-out of their own on the wire.
const CONFIG_TIMEOUT: Duration = Duration::from_secs(30);

impl AdminRequests {
    /// Starts a request of which so many parts are under way. `settle` answers it if none is.
    fn begin<P>(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        deadline: Time,
        response: Response,
        missing: usize,
        connections: &mut Connections<P>,
    ) -> usize {
        connections.hold(ticket);
        let request = AdminRequest { ticket, header, deadline, response, missing };
        let id = self.next;
        self.next += 1;
        self.requests.insert(id, request);
        self.deadlines.insert((deadline, id));
        id
    }

    /// Answers a request that has no part under way.
    fn settle<P>(&mut self, id: usize, connections: &mut Connections<P>) {
        if self.requests.get(&id).is_some_and(|request| request.missing == 0) {
            self.finish(id, connections);
        }
    }

    /// A part is done.
    fn done<P>(
        &mut self,
        id: usize,
        connections: &mut Connections<P>,
        fill: impl FnOnce(&mut Response),
    ) {
        // A request that timed out has been answered; its commands were carried out all the same.
        let Some(request) = self.requests.get_mut(&id) else { return };
        fill(&mut request.response);
        request.missing -= 1;
        self.settle(id, connections);
    }

    /// A command for a part is done.
    pub fn command_done<P>(
        &mut self,
        id: usize,
        part: usize,
        result: &Result<Applied, CatalogError>,
        connections: &mut Connections<P>,
    ) {
        self.done(id, connections, |response| match response {
            Response::CreateTopics(response) => topics::fill_created(response, part, result),
            response => response.fill(part, result),
        });
    }

    /// A partition's log start has moved for a part.
    pub fn log_start_done<P>(
        &mut self,
        id: usize,
        part: usize,
        log_start: Option<i64>,
        connections: &mut Connections<P>,
    ) {
        self.done(id, connections, |response| {
            if let Response::DeleteRecords(response) = response {
                records::fill(response, part, log_start);
            }
        });
    }

    /// A partition's log start can't be moved here any more.
    pub fn log_start_lost<P>(&mut self, id: usize, part: usize, connections: &mut Connections<P>) {
        self.done(id, connections, |response| {
            if let Response::DeleteRecords(response) = response {
                records::fail(response, part, ErrorCode::NOT_LEADER_OR_FOLLOWER);
            }
        });
    }

    fn finish<P>(&mut self, id: usize, connections: &mut Connections<P>) {
        let Some(request) = self.requests.remove(&id) else { return };
        let AdminRequest { ticket, header, deadline, response, .. } = request;
        self.deadlines.remove(&(deadline, id));
        match &response {
            Response::CreateTopics(response) => connections.respond(ticket, &header, response),
            Response::DeleteTopics(response) => connections.respond(ticket, &header, response),
            Response::CreatePartitions(response) => connections.respond(ticket, &header, response),
            Response::AlterConfigs(response) => connections.respond(ticket, &header, response),
            Response::IncrementalAlterConfigs(response) => {
                connections.respond(ticket, &header, response);
            }
            Response::DeleteRecords(response) => connections.respond(ticket, &header, response),
        }
    }

    /// Answers the requests whose time is up.
    pub fn expire<P>(&mut self, now: Time, connections: &mut Connections<P>) {
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.finish(id, connections);
        }
    }

    /// When the next one's time is up.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}

impl<P: Page> Admin<'_, P> {
    /// Checks commands, one for each part, and proposes those that pass. `None` stands for a part
    /// that was refused before.
    fn run(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        deadline: Time,
        mut response: Response,
        commands: Vec<Option<Command>>,
        validate_only: bool,
    ) {
        let mut proposed = Vec::new();
        for (part, command) in commands.into_iter().enumerate() {
            let Some(command) = command else { continue };
            let checked = self.control.catalog.check(&command);
            if checked.is_ok() && !validate_only {
                proposed.push((part, command));
            } else {
                response.fill(part, &checked);
            }
        }
        let missing = proposed.len();
        let requests = &mut *self.requests;
        let id = requests.begin(ticket, header, deadline, response, missing, self.connections);
        for (part, command) in proposed {
            let waiter = CommandWaiter::Admin { request: id, part };
            self.control.propose(command, waiter, self.cluster, self.groups, self.outputs);
        }
        self.requests.settle(id, self.connections);
    }
}

impl Response {
    /// Puts the result of a command, or of its check, in its part's place.
    fn fill<T>(&mut self, part: usize, result: &Result<T, CatalogError>) {
        let (code, message) = match self {
            Response::CreateTopics(response) => {
                let topic = &mut response.topics[part];
                (&mut topic.error_code, &mut topic.error_message)
            }
            Response::DeleteTopics(response) => {
                let topic = &mut response.responses[part];
                (&mut topic.error_code, &mut topic.error_message)
            }
            Response::CreatePartitions(response) => {
                let topic = &mut response.results[part];
                (&mut topic.error_code, &mut topic.error_message)
            }
            Response::AlterConfigs(response) => {
                let resource = &mut response.responses[part];
                (&mut resource.error_code, &mut resource.error_message)
            }
            Response::IncrementalAlterConfigs(response) => {
                let resource = &mut response.responses[part];
                (&mut resource.error_code, &mut resource.error_message)
            }
            // Its parts are log starts, not commands: see `records`.
            Response::DeleteRecords(_) => return,
        };
        (*code, *message) = outcome(result);
    }
}

/// A part's result, as most responses have it.
fn outcome<T>(result: &Result<T, CatalogError>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(_) => (ErrorCode::NONE.code(), None),
        Err(error) => (error_code(error).code(), Some(text(error))),
    }
}

/// The catalog's refusals in Kafka's words.
pub fn error_code(error: &CatalogError) -> ErrorCode {
    match error {
        CatalogError::TopicExists(_) => ErrorCode::TOPIC_ALREADY_EXISTS,
        CatalogError::UnknownTopic(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        CatalogError::InvalidName(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        CatalogError::InvalidTopicId(_) | CatalogError::InvalidProducerIds(_) => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        CatalogError::InvalidPartitions(_) => ErrorCode::INVALID_PARTITIONS,
        CatalogError::LayoutChanged | CatalogError::InvalidLayout(_) => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        CatalogError::InvalidReplicationFactor(_) => ErrorCode::INVALID_REPLICATION_FACTOR,
        CatalogError::InvalidConfig(_) => ErrorCode::INVALID_CONFIG,
        CatalogError::NoLeader => ErrorCode::NOT_CONTROLLER,
        CatalogError::TooManyPartitions(_) => ErrorCode::POLICY_VIOLATION,
    }
}

fn text(message: &impl ToString) -> StrBytes {
    StrBytes::from_string(message.to_string())
}

fn deadline_after(now: Time, timeout_ms: i32) -> Time {
    now + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}
