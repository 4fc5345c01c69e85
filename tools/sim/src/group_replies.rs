//! What the node answers to members of consumer groups: read, and held against the rules.

use bytes::Bytes;
use hutong::kafka::error_code::ErrorCode;
use hutong::model::ids::BROKERS_PER_NODE;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatResponse, FindCoordinatorResponse, HeartbeatResponse, JoinGroupResponse,
    LeaveGroupResponse, OffsetCommitResponse, OffsetFetchResponse, SyncGroupResponse,
};

use crate::checkers::groups::Given;
use crate::clients::group_requests::{assigned, claim};
use crate::clients::member::BOTH;
use crate::connection::{Asked, Claim, PartitionId, Reply, Speaker, What};
use crate::host::Place;
use crate::lie;
use crate::wire;
use crate::world::World;

/// What a coordinator may say of itself.
const ELSEWHERE: &[ErrorCode] =
    &[ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS];
/// What it may say of a member.
const OUT_OF_STEP: &[ErrorCode] = &[
    ErrorCode::UNKNOWN_MEMBER_ID,
    ErrorCode::ILLEGAL_GENERATION,
    ErrorCode::REBALANCE_IN_PROGRESS,
    ErrorCode::FENCED_INSTANCE_ID,
];
/// What else it may say where it assigns itself.
const OUT_OF_EPOCH: &[ErrorCode] = &[
    ErrorCode::UNKNOWN_MEMBER_ID,
    ErrorCode::FENCED_MEMBER_EPOCH,
    ErrorCode::STALE_MEMBER_EPOCH,
    ErrorCode::FENCED_INSTANCE_ID,
    ErrorCode::UNRELEASED_INSTANCE_ID,
    ErrorCode::GROUP_ID_NOT_FOUND,
];
/// What is said to members that join, only.
const TO_NEW_MEMBERS: &[ErrorCode] = &[ErrorCode::MEMBER_ID_REQUIRED];

impl World {
    /// Reads the answer to a request about a consumer group.
    pub(crate) fn read_group_reply(
        &mut self,
        place: Place,
        asked: &Asked,
        frame: &Bytes,
    ) -> Result<Reply, String> {
        let version = asked.version;
        match &asked.what {
            What::FindCoordinator => coordinator(asked, &wire::response(version, frame)?),
            What::Join { .. } => {
                let joined: JoinGroupResponse = wire::response(version, frame)?;
                self.joined(asked, &joined)
            }
            What::Sync { by, generation, is_led } => {
                let synced: SyncGroupResponse = wire::response(version, frame)?;
                self.synced(place, asked, (by, *generation, *is_led), &synced)
            }
            What::Heartbeat { by } => {
                let response: HeartbeatResponse = wire::response(version, frame)?;
                let mut code = response.error_code;
                if self.is_loaded() {
                    code = lie::heard(self.lie, ErrorCode(code)).code();
                }
                // Who is to join again has what it has until it does.
                let is_member = [0, ErrorCode::REBALANCE_IN_PROGRESS.code()].contains(&code);
                if is_member && by.group.starts_with(BOTH) {
                    self.is_well(place, asked, by, None)?;
                }
                told(asked, code)
            }
            What::Beat { by } => self.beaten(place, asked, by, &wire::response(version, frame)?),
            What::Leave => {
                let response: LeaveGroupResponse = wire::response(version, frame)?;
                let member = response.members.first().map_or(0, |member| member.error_code);
                told(asked, if response.error_code == 0 { member } else { response.error_code })
            }
            What::Commit { group, offsets } => {
                let response: OffsetCommitResponse = wire::response(version, frame)?;
                self.committed(place, asked, group, offsets, &response)
            }
            What::FetchOffsets { group, wanted } => {
                let response: OffsetFetchResponse = wire::response(version, frame)?;
                self.told_offsets(place, asked, group, wanted, &response)
            }
            other => Err(format!("{other:?} is not about a consumer group")),
        }
    }

    fn joined(&mut self, asked: &Asked, joined: &JoinGroupResponse) -> Result<Reply, String> {
        let code = joined.error_code;
        allow(asked, code, &[ELSEWHERE, OUT_OF_STEP, TO_NEW_MEMBERS])?;
        let member = joined.member_id.to_string();
        let leads = code == 0 && *joined.leader == *member;
        let is_led = !joined.leader.is_empty();
        let members =
            joined.members.iter().map(|one| claim(&self.topics, &one.member_id, &one.metadata));
        let members = members.collect::<Result<Vec<Claim>, String>>()?;
        let members = leads.then_some(members);
        let (generation, skips) = (joined.generation_id, joined.skip_assignment);
        Ok(Reply::Joined { code, member, generation, is_led, members, skips })
    }

    fn synced(
        &mut self,
        place: Place,
        asked: &Asked,
        (by, generation, by_leader): (&Speaker, i32, bool),
        synced: &SyncGroupResponse,
    ) -> Result<Reply, String> {
        let code = synced.error_code;
        allow(asked, code, &[ELSEWHERE, OUT_OF_STEP])?;
        let mut owns: Vec<PartitionId> = Vec::new();
        if code == 0 {
            let bytes = lie::assignment(self.lie, &mut self.last_assignment, &synced.assignment);
            owns = assigned(&self.topics, &bytes)?;
            if by.group.starts_with(BOTH) {
                self.checks.groups.in_epoch(by, generation, &owns, asked.sent_at)?;
                let given = Given { partitions: &owns, by_leader };
                self.is_well(place, asked, by, Some(given))?;
            } else {
                self.checks.groups.synced(&by.group, generation, &by.owner, &owns)?;
            }
        }
        Ok(Reply::Synced { code, owns })
    }

    fn beaten(
        &mut self,
        place: Place,
        asked: &Asked,
        by: &Speaker,
        beaten: &ConsumerGroupHeartbeatResponse,
    ) -> Result<Reply, String> {
        let code = beaten.error_code;
        allow(asked, code, &[ELSEWHERE, OUT_OF_EPOCH])?;
        let owns = beaten.assignment.as_ref().map(|assignment| {
            let topics = assignment.topic_partitions.iter().flat_map(|topic| {
                topic.partitions.iter().map(|number| (*topic.topic_id.as_bytes(), *number))
            });
            lie::owned(self.lie, &mut self.last_owned, topics.collect())
        });
        let member = beaten.member_id.as_deref().unwrap_or_default().to_string();
        let epoch = beaten.member_epoch;
        if code == 0 && epoch >= 0 {
            let mut by = by.clone();
            if by.owner.is_empty() {
                by.owner.clone_from(&member);
            }
            if let Some(owns) = &owns {
                self.checks.groups.in_epoch(&by, epoch, owns, asked.sent_at)?;
            }
            let given = owns.as_deref().map(|partitions| Given { partitions, by_leader: false });
            self.is_well(place, asked, &by, given)?;
        }
        Ok(Reply::Beaten { code, member, epoch, owns })
    }

    /// A member is told that all is well, and maybe what it shall own.
    fn is_well(
        &mut self,
        place: Place,
        asked: &Asked,
        by: &Speaker,
        owns: Option<Given<'_>>,
    ) -> Result<(), String> {
        let leads = self.leads_since(place, &by.group, asked.sent_at);
        let times = (asked.sent_at, self.now);
        self.checks.groups.beaten(&by.group, &by.life, owns, times, leads)
    }

    /// Whether nobody else has led since a moment where a consumer group is kept.
    fn leads_since(&self, place: Place, group: &str, since: u64) -> bool {
        let home = self.checks.consensus.home_of(group);
        home.is_some_and(|home| self.checks.consensus.led_since(place.node, home, since))
    }

    fn committed(
        &mut self,
        place: Place,
        asked: &Asked,
        group: &str,
        offsets: &[(PartitionId, i64)],
        response: &OffsetCommitResponse,
    ) -> Result<Reply, String> {
        let parts: Vec<_> = response.topics.iter().flat_map(|topic| &topic.partitions).collect();
        if parts.len() != offsets.len() {
            return Err(format!("responses: {} parts for {asked:?}", parts.len()));
        }
        let mut code = 0;
        for ((partition, offset), part) in offsets.iter().zip(parts) {
            let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.code();
            if part.error_code == unknown {
                self.allowed(asked, &partition.0, unknown)?;
            } else if part.error_code != 0 {
                code = part.error_code;
            } else if self.topics.is_live(&partition.0) {
                self.checks.groups.committed(place.node, group, *partition, *offset);
            }
        }
        told(asked, code)
    }

    fn told_offsets(
        &mut self,
        place: Place,
        asked: &Asked,
        group: &str,
        wanted: &[(PartitionId, i64)],
        response: &OffsetFetchResponse,
    ) -> Result<Reply, String> {
        let mut code = response.error_code;
        let mut found = Vec::new();
        for part in response.topics.iter().flat_map(|topic| &topic.partitions) {
            code = if part.error_code == 0 { code } else { part.error_code };
            found.push(part.committed_offset);
        }
        for group in &response.groups {
            code = if group.error_code == 0 { code } else { group.error_code };
            let parts = group.topics.iter().flat_map(|topic| &topic.partitions);
            found.extend(parts.map(|part| part.committed_offset));
        }
        if code == 0 && found.len() != wanted.len() {
            return Err(format!("responses: {} parts for {asked:?}", found.len()));
        }
        let leads = self.leads_since(place, group, asked.sent_at);
        for (wanted, offset) in wanted.iter().zip(found) {
            if code == 0 && self.topics.is_live(&wanted.0.0) {
                self.checks.groups.fetched(place.node, group, *wanted, offset, leads)?;
            }
        }
        told(asked, code)
    }
}

fn coordinator(asked: &Asked, found: &FindCoordinatorResponse) -> Result<Reply, String> {
    let first = found.coordinators.first();
    let code = first.map_or(found.error_code, |first| first.error_code);
    allow(asked, code, &[&[ErrorCode::COORDINATOR_NOT_AVAILABLE]])?;
    let broker = first.map_or(found.node_id, |first| first.node_id).0;
    let place = Place {
        node: (broker / BROKERS_PER_NODE) as usize,
        shard: (broker % BROKERS_PER_NODE) as u16,
    };
    Ok(Reply::Coordinator((code == 0).then_some(place)))
}

fn told(asked: &Asked, code: i16) -> Result<Reply, String> {
    let is_modern = matches!(asked.what, What::Commit { .. }) && asked.version > 8;
    let of_epochs = if is_modern { OUT_OF_EPOCH } else { &[] };
    allow(asked, code, &[ELSEWHERE, OUT_OF_STEP, of_epochs])?;
    Ok(Reply::Told { code })
}

fn allow(asked: &Asked, code: i16, allowed: &[&[ErrorCode]]) -> Result<(), String> {
    let code = ErrorCode(code);
    if code.is_none() || allowed.iter().any(|codes| codes.contains(&code)) {
        return Ok(());
    }
    Err(format!("responses: {} in answer to {:?}", code.name(), asked.what))
}
