//! Consumer groups: Kafka's words on one side, the coordinator's on the other.
//!
//! A consumer group is kept by the Raft group that its id leads to, and coordinated by the shard
//! that leads it: `find` tells clients which one that is, and every other shard refuses. This
//! module has the coordinator of each Raft group that this shard leads, made when it begins to
//! lead and dropped when it no longer does, and who waits for what.
//!
//! An answer that depends on a record waits until the record is applied; then it is Durable.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::{
    DeleteGroupsResponse, LeaveGroupResponse, OffsetCommitResponse, OffsetDeleteResponse,
    OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::coordinator::Coordinator;
use crate::coordinator::classic::{Answer, Caller, Context, Fault, GroupSettings};
use crate::coordinator::modern::{Assignor, Env, Settings};
use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::limits::{CONSUMER_GROUP_MEMBERS_MAX, CONSUMER_GROUP_NAME_BYTES_MAX};
use crate::metadata::{Catalog, ConsumerGroupConfig};
use crate::model::ids::GroupId;
use crate::model::position::Term;
use crate::model::time::{Now, Time};
use crate::shard::cluster::Cluster;
use crate::shard::connections::{Connections, Ticket};
use crate::shard::group::{ControlItem, Group};
use crate::shard::groups::Groups;
use crate::shard::random::Random;
use topics::Known;

pub use crate::kafka::api::is_heartbeat;

mod consumer;
mod describe;
mod fetch;
mod find;
mod members;
mod offsets;
mod retention;
mod topics;

/// The coordinators of a shard, and who waits for them.
#[derive(Debug, Default)]
pub struct ConsumerGroups {
    /// By the group that each is for: where that stands in the shard changes when others come or
    /// go.
    leading: BTreeMap<GroupId, Leading>,
    waiting: BTreeMap<Caller, Waiting>,
    next_caller: u64,
    /// When offsets are looked at that may be too old.
    next_retention: Time,
}

#[derive(Debug)]
struct Leading {
    term: Term,
    coordinator: Coordinator,
}

/// A request that waits for a coordinator, or for several.
#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    header: RequestHeader,
    reply: Reply,
    /// Where it waits, once for each answer that is missing.
    missing: Vec<GroupId>,
}

/// What is answered when nothing is missing.
#[derive(Debug)]
enum Reply {
    Join,
    Sync,
    Heartbeat,
    /// Errors are filled in: of the one that leaves, or of each.
    Leave(LeaveGroupResponse),
    Commit(OffsetCommitResponse),
    DeleteGroups(DeleteGroupsResponse),
    DeleteOffsets(OffsetDeleteResponse),
    /// Read when it is answered.
    Fetch(OffsetFetchRequest),
}

/// What the handlers need of the shard.
pub struct Coordination<'a, P> {
    pub now: Now,
    pub catalog: &'a Catalog,
    pub cluster: &'a Cluster,
    pub groups: &'a mut Groups<P>,
    pub connections: &'a mut Connections<P>,
    pub random: &'a mut Random,
    pub state: &'a mut ConsumerGroups,
}

impl ConsumerGroups {
    /// When something happens here though nobody asks.
    pub fn next_deadline(&self) -> Option<Time> {
        let leading = self.leading.values();
        leading.filter_map(|leading| leading.coordinator.next_deadline()).min()
    }

    /// Hands what was decided to the journals. Whether there was anything.
    pub fn append<P: Page>(&mut self, groups: &mut Groups<P>) -> bool {
        let mut any = false;
        for (home, leading) in &mut self.leading {
            let Some(group) = groups.get_mut(*home) else { continue };
            while let Some((batch, data)) = leading.coordinator.take_batch() {
                let item = ControlItem::Coordinator { data, batch: Some(batch) };
                group.control.push(item);
                any = true;
            }
        }
        any
    }

    /// The coordinators of this shard, by the group that each is for.
    pub fn coordinators(&self) -> impl Iterator<Item = (GroupId, &Coordinator)> {
        self.leading.iter().map(|(home, leading)| (*home, &leading.coordinator))
    }

    fn coordinator(&self, home: GroupId) -> Option<&Coordinator> {
        self.leading.get(&home).map(|leading| &leading.coordinator)
    }
}

impl<P: Page> Coordination<'_, P> {
    /// Begins to coordinate where this shard leads now, and ends where it no longer does.
    pub fn follow_leadership(&mut self) {
        let groups = &*self.groups;
        let led = |group: &Group<P>| group.is_serving().then(|| group.replica.term());
        let known = self.state.leading.iter();
        let over =
            known.filter(|(home, known)| groups.get(**home).and_then(led) != Some(known.term));
        for home in over.map(|(home, _)| *home).collect::<Vec<GroupId>>() {
            self.state.leading.remove(&home);
            self.resign(home);
        }
        for group in self.groups.iter() {
            let Some(term) = led(group).filter(|_| !self.state.leading.contains_key(&group.id))
            else {
                continue;
            };
            let settings = modern_settings(&self.catalog.broker_config().consumer_groups);
            let env = Env { now: self.now.time, topics: &Known(self.catalog), settings: &settings };
            let coordinator = Coordinator::recover(&group.consumer_groups, &env);
            self.state.leading.insert(group.id, Leading { term, coordinator });
        }
    }

    /// Nobody here can tell what becomes of what was asked: the clients are to ask the new leader.
    /// What was decided and isn't in the journal must never get there: others decide now.
    fn resign(&mut self, home: GroupId) {
        if let Some(group) = self.groups.get_mut(home) {
            group.control.retain(|item| !matches!(item, ControlItem::Coordinator { .. }));
        }
        let waits = |waiting: &Waiting| waiting.missing.contains(&home);
        let callers: Vec<Caller> = self
            .state
            .waiting
            .iter()
            .filter(|(_, w)| waits(w))
            .map(|(caller, _)| *caller)
            .collect();
        for caller in callers {
            let Some(waiting) = self.state.waiting.remove(&caller) else { continue };
            self.refuse(waiting, ErrorCode::NOT_COORDINATOR);
        }
    }

    /// The group that keeps a consumer group, if it is coordinated here.
    fn route(&self, id: &str) -> Result<GroupId, ErrorCode> {
        if id.len() > CONSUMER_GROUP_NAME_BYTES_MAX {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let home = self.catalog.home_of_consumer_group(id);
        match self.state.coordinator(home) {
            Some(_) => Ok(home),
            None if self.groups.get(home).is_some_and(|group| self.is_loading(group)) => {
                Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
            }
            None => Err(ErrorCode::NOT_COORDINATOR),
        }
    }

    /// Whether this shard leads where consumer groups are kept, and doesn't coordinate them yet.
    fn is_loading(&self, group: &Group<P>) -> bool {
        self.state.coordinator(group.id).is_none() && group.replica.is_leader()
    }

    /// The same for what needs a name, as everything about members does.
    fn route_named(&self, id: &str) -> Result<GroupId, ErrorCode> {
        if id.is_empty() { Err(ErrorCode::INVALID_GROUP_ID) } else { self.route(id) }
    }

    /// Lets a coordinator decide something, and answers whom it answers.
    fn with<T>(
        &mut self,
        home: GroupId,
        decide: impl FnOnce(&mut Coordinator, Context<'_>) -> T,
    ) -> T {
        self.with_env(home, |coordinator, context, _| decide(coordinator, context))
    }

    /// The same, where topics matter, too.
    fn with_env<T>(
        &mut self,
        home: GroupId,
        decide: impl FnOnce(&mut Coordinator, Context<'_>, &Env<'_>) -> T,
    ) -> T {
        let config = &self.catalog.broker_config().consumer_groups;
        let (settings, modern) = (group_settings(config), modern_settings(config));
        let env = Env { now: self.now.time, topics: &Known(self.catalog), settings: &modern };
        let store = &group_of(self.groups, home).consumer_groups;
        let context = Context { now: self.now, settings: &settings, store };
        let leading = self.state.leading.get_mut(&home).expect("route has found it");
        let decided = decide(&mut leading.coordinator, context, &env);
        let answers = leading.coordinator.take_answers();
        for (caller, answer) in answers {
            self.answered(home, caller, answer);
        }
        decided
    }

    /// Has a request wait for the coordinators of these groups.
    fn wait(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        reply: Reply,
        missing: Vec<GroupId>,
    ) -> Caller {
        let caller = Caller(self.state.next_caller);
        self.state.next_caller += 1;
        self.state.waiting.insert(caller, Waiting { ticket, header, reply, missing });
        caller
    }

    /// A batch of records of a group has been applied.
    pub fn applied(&mut self, home: GroupId, batch: u64) {
        if self.state.coordinator(home).is_some() {
            self.with(home, |coordinator, context| coordinator.applied(context, batch));
        }
    }

    /// Carries out what is due.
    pub fn expire(&mut self) {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= self.now.time);
        let due = self.state.coordinators().filter(|(_, known)| is_due(known.next_deadline()));
        for home in due.map(|(home, _)| home).collect::<Vec<GroupId>>() {
            self.with_env(home, Coordinator::expire);
        }
    }

    fn answered(&mut self, home: GroupId, caller: Caller, answer: Answer) {
        let Some(waiting) = self.state.waiting.get_mut(&caller) else { return };
        if let Some(at) = waiting.missing.iter().position(|missing| *missing == home) {
            waiting.missing.swap_remove(at);
        }
        if !waiting.missing.is_empty() {
            return;
        }
        let Some(waiting) = self.state.waiting.remove(&caller) else { return };
        let Waiting { ticket, header, reply, .. } = waiting;
        match (reply, answer) {
            (Reply::Join, Answer::Join(joined)) => {
                let response = members::join_response(header.api_version, joined);
                self.connections.respond(ticket, &header, &response);
            }
            (Reply::Sync, Answer::Sync(synced)) => {
                self.connections.respond(ticket, &header, &members::sync_response(synced));
            }
            (Reply::Heartbeat, Answer::Heartbeat(beaten)) => {
                self.connections.respond(ticket, &header, &consumer::response(beaten));
            }
            (Reply::Leave(response), Answer::Left(left)) => {
                let response = members::left_response(header.api_version, response, &left);
                self.connections.respond(ticket, &header, &response);
            }
            (Reply::Commit(response), Answer::Done) => {
                self.connections.respond(ticket, &header, &response);
            }
            (Reply::DeleteGroups(response), Answer::Done) => {
                self.connections.respond(ticket, &header, &response);
            }
            (Reply::DeleteOffsets(response), Answer::Done) => {
                self.connections.respond(ticket, &header, &response);
            }
            (Reply::Fetch(request), Answer::Done) => self.answer_fetch(ticket, header, &request),
            (reply, answer) => panic!("{answer:?} is no answer for {reply:?}"),
        }
    }

    /// Answers a request whose coordinator is gone.
    fn refuse(&mut self, waiting: Waiting, code: ErrorCode) {
        let Waiting { ticket, header, reply, .. } = waiting;
        match reply {
            Reply::Join => {
                let response = members::join_refused(header.api_version, code, StrBytes::default());
                self.connections.respond(ticket, &header, &response);
            }
            Reply::Sync => {
                self.connections.respond(ticket, &header, &members::sync_refused(code));
            }
            Reply::Heartbeat => {
                self.connections.respond(ticket, &header, &consumer::refused(code, None));
            }
            Reply::Leave(_) => {
                let response = LeaveGroupResponse::default().with_error_code(code.code());
                self.connections.respond(ticket, &header, &response);
            }
            Reply::Commit(mut response) => {
                for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions)
                {
                    partition.error_code = code.code();
                }
                self.connections.respond(ticket, &header, &response);
            }
            Reply::DeleteGroups(mut response) => {
                for result in response.results.iter_mut().filter(|result| result.error_code == 0) {
                    result.error_code = code.code();
                }
                self.connections.respond(ticket, &header, &response);
            }
            Reply::DeleteOffsets(_) => {
                let response = OffsetDeleteResponse::default().with_error_code(code.code());
                self.connections.respond(ticket, &header, &response);
            }
            // What is still coordinated here can be read; the rest says that it isn't.
            Reply::Fetch(request) => self.answer_fetch(ticket, header, &request),
        }
    }
}

fn group_of<P: Page>(groups: &Groups<P>, home: GroupId) -> &Group<P> {
    groups.get(home).expect("coordinators go with their groups")
}

fn group_settings(config: &ConsumerGroupConfig) -> GroupSettings {
    let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    GroupSettings {
        initial_rebalance_delay: millis(config.initial_rebalance_delay_ms),
        session_timeout_min: millis(config.session_timeout_ms_min),
        session_timeout_max: millis(config.session_timeout_ms_max),
        members_max: usize::try_from(config.members_max)
            .unwrap_or(0)
            .min(CONSUMER_GROUP_MEMBERS_MAX),
    }
}

fn modern_settings(config: &ConsumerGroupConfig) -> Settings {
    let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let allows = |way: &str| [way, "bidirectional"].contains(&config.consumer_migration);
    Settings {
        session_timeout: millis(config.consumer_session_timeout_ms),
        heartbeat_interval: millis(config.consumer_heartbeat_interval_ms),
        max_size: usize::try_from(config.consumer_members_max).unwrap_or(0),
        assignors: match config.consumer_assignors {
            "range" => &[Assignor::Range],
            "uniform" => &[Assignor::Uniform],
            "range,uniform" => &[Assignor::Range, Assignor::Uniform],
            _ => &Assignor::ALL,
        },
        upgrades: allows("upgrade"),
        downgrades: allows("downgrade"),
    }
}

/// The coordinator's refusals in Kafka's words.
fn code_of(fault: Fault) -> ErrorCode {
    match fault {
        Fault::UnknownMember => ErrorCode::UNKNOWN_MEMBER_ID,
        Fault::IllegalGeneration => ErrorCode::ILLEGAL_GENERATION,
        Fault::RebalanceInProgress => ErrorCode::REBALANCE_IN_PROGRESS,
        Fault::InconsistentProtocol => ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        Fault::FencedInstance => ErrorCode::FENCED_INSTANCE_ID,
        Fault::MemberIdRequired => ErrorCode::MEMBER_ID_REQUIRED,
        Fault::InvalidSessionTimeout => ErrorCode::INVALID_SESSION_TIMEOUT,
        Fault::GroupFull => ErrorCode::GROUP_MAX_SIZE_REACHED,
        Fault::TooManyGroups => ErrorCode::POLICY_VIOLATION,
        Fault::NoSuchGroup => ErrorCode::GROUP_ID_NOT_FOUND,
        Fault::NotEmpty => ErrorCode::NON_EMPTY_GROUP,
        Fault::AssignmentTooLarge => ErrorCode::UNKNOWN_SERVER_ERROR,
        Fault::StaleEpoch => ErrorCode::STALE_MEMBER_EPOCH,
        Fault::Loading => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        Fault::UnsupportedVersion => ErrorCode::UNSUPPORTED_VERSION,
        Fault::Invalid => ErrorCode::INVALID_REQUEST,
    }
}

fn code_of_result(result: Result<(), Fault>) -> ErrorCode {
    result.err().map_or(ErrorCode::NONE, code_of)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
