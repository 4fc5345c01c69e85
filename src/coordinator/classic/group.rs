//! One classic group as its coordinator sees it: members, what they wait for, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::coordinator::classic::Caller;
use crate::coordinator::record::{ClassicMember, ClassicState};
use crate::model::time::Time;

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no members.
    Empty,
    /// Members are asked to join again; those that don't in time are let go.
    PreparingRebalance,
    /// All have joined, and wait for the leader's assignment.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
}

impl State {
    /// The name that Kafka's tools know it by.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Given by the user, of a static member.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Without a heartbeat for so long it is let go.
    pub session_timeout: Duration,
    /// How long it may take to join again.
    pub rebalance_timeout: Duration,
    /// The assignors it knows, the one it likes best first, with what it says of itself to each.
    pub protocols: Vec<(String, Bytes)>,
    /// What the leader gave it in this generation.
    pub assignment: Bytes,
    /// Who waits for the rebalance on its behalf.
    pub joining: Option<Caller>,
    /// Who waits for its assignment.
    pub syncing: Option<Caller>,
    /// It has joined for the first time and doesn't know its id yet.
    pub is_new: bool,
    /// When it is let go if nothing is heard of it. `None` while it waits for an answer of ours.
    pub deadline: Option<Time>,
}

impl Member {
    /// What it says of itself to an assignor.
    pub fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let said = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        said.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

/// The bytes of what a member says of itself.
pub fn protocol_bytes(protocols: &[(String, Bytes)]) -> usize {
    protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
}

/// A group with its members.
#[derive(Clone, Debug)]
pub struct Group {
    pub state: State,
    /// Counts rebalances.
    pub generation: i32,
    /// What its members have in common: `consumer`, `connect`, ... Empty if it never had any.
    pub protocol_type: String,
    /// The assignor chosen for this generation.
    pub protocol: Option<String>,
    /// The member that assigns.
    pub leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Members that have a name of their own for themselves, by it.
    instances: BTreeMap<String, String>,
    /// Ids given to members that are to join with them, and when they are forgotten.
    pub pending: BTreeMap<String, Time>,
    /// Members of this generation that have not asked for their assignment.
    pub unsynced: BTreeSet<String>,
    /// How many members know each assignor.
    support: BTreeMap<String, usize>,
    joining: usize,
    protocol_bytes: usize,
    /// When a rebalance goes on without those who have not joined.
    pub join_deadline: Option<Time>,
    /// Of the first rebalance of an empty group: how much longer it may be put off.
    pub first_wait_left: Option<Duration>,
    /// Of the first rebalance: somebody has joined since it was last put off.
    pub newcomers: bool,
    /// When members that don't ask for their assignment are let go.
    pub sync_deadline: Option<Time>,
    /// The leader's assignment is on its way into the journal.
    pub storing: bool,
    /// That it has no members any more is on its way into the journal.
    pub emptying: bool,
    /// When it got into this state, in milliseconds since 1970.
    pub changed_at: i64,
    /// When the coordinator looks at it next.
    pub timer: Option<Time>,
}

impl Group {
    /// A group without members, as the journal knows it, or a new one.
    pub fn empty(stored: Option<&ClassicState>) -> Group {
        Group {
            state: State::Empty,
            generation: stored.map_or(0, |state| state.generation),
            protocol_type: stored.map(|state| state.protocol_type.clone()).unwrap_or_default(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            support: BTreeMap::new(),
            joining: 0,
            protocol_bytes: 0,
            join_deadline: None,
            first_wait_left: None,
            newcomers: false,
            sync_deadline: None,
            storing: false,
            emptying: false,
            changed_at: stored.map_or(0, |state| state.changed_at),
            timer: None,
        }
    }

    /// A group whose members the journal knows. Each has a whole session to be heard of.
    pub fn recovered(stored: &ClassicState, now: Time) -> Group {
        let mut group = Group::empty(Some(stored));
        if stored.members.is_empty() {
            return group;
        }
        group.state = State::Stable;
        group.protocol = stored.protocol.clone();
        group.leader = stored.leader.clone();
        let protocol = stored.protocol.clone().unwrap_or_default();
        for member in &stored.members {
            let session_timeout = millis(member.session_timeout_ms);
            let recovered = Member {
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_timeout,
                rebalance_timeout: millis(member.rebalance_timeout_ms),
                protocols: vec![(protocol.clone(), member.subscription.clone())],
                assignment: member.assignment.clone(),
                joining: None,
                syncing: None,
                is_new: false,
                deadline: Some(now + session_timeout),
            };
            group.insert(member.id.clone(), recovered);
        }
        if stored.leader.is_none() {
            group.state = State::PreparingRebalance;
            group.join_deadline = Some(now + group.rebalance_timeout());
        }
        group
    }

    /// What the journal is to know of it.
    pub fn to_stored(&self) -> ClassicState {
        let protocol = self.protocol.as_deref();
        let members = self.members.iter().map(|(id, member)| ClassicMember {
            id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout_ms: member.session_timeout.as_millis() as i32,
            rebalance_timeout_ms: member.rebalance_timeout.as_millis() as i32,
            subscription: member.metadata(protocol),
            assignment: member.assignment.clone(),
        });
        ClassicState {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            changed_at: self.changed_at,
            members: members.collect(),
        }
    }

    /// Its members, by their ids.
    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// A member.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// A member, to change anything but what it waits for and its protocols.
    pub fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    /// All members, to change anything but what they wait for and their protocols.
    pub fn members_mut(&mut self) -> impl Iterator<Item = (&String, &mut Member)> {
        self.members.iter_mut()
    }

    /// The member that is the static member of this name now.
    pub fn instance(&self, instance_id: &str) -> Option<&str> {
        self.instances.get(instance_id).map(String::as_str)
    }

    /// Adds a member. The first one leads.
    pub fn insert(&mut self, id: String, member: Member) {
        self.count(&member, true);
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.pending.remove(&id);
        self.members.insert(id, member);
    }

    /// Takes a member out. If it led, the first of the others leads.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending.remove(id);
        self.unsynced.remove(id);
        let member = self.members.remove(id)?;
        self.count(&member, false);
        if let Some(instance) = &member.instance_id
            && self.instance(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a member another id, as a static member gets each time it comes back.
    pub fn rename(&mut self, id: &str, new_id: String) {
        let led = self.leader.as_deref() == Some(id);
        let unsynced = self.unsynced.contains(id);
        let Some(member) = self.remove(id) else { return };
        self.insert(new_id.clone(), member);
        if unsynced {
            self.unsynced.insert(new_id.clone());
        }
        if led {
            self.leader = Some(new_id);
        }
    }

    fn count(&mut self, member: &Member, add: bool) {
        // A protocol that a member names twice counts twice on both ways.
        for (name, _) in &member.protocols {
            let count = self.support.entry(name.clone()).or_default();
            *count = if add { *count + 1 } else { *count - 1 };
            if *count == 0 {
                self.support.remove(name);
            }
        }
        let joining = usize::from(member.joining.is_some());
        self.joining = if add { self.joining + joining } else { self.joining - joining };
        let bytes = protocol_bytes(&member.protocols);
        self.protocol_bytes =
            if add { self.protocol_bytes + bytes } else { self.protocol_bytes - bytes };
    }

    /// A member says anew what it knows.
    pub fn set_protocols(&mut self, id: &str, protocols: Vec<(String, Bytes)>) {
        let Some(mut member) = self.members.remove(id) else { return };
        self.count(&member, false);
        member.protocols = protocols;
        self.count(&member, true);
        self.members.insert(id.to_owned(), member);
    }

    /// A member waits for the rebalance from now on, or no more. Gives who waited before.
    pub fn set_joining(&mut self, id: &str, caller: Option<Caller>) -> Option<Caller> {
        let member = self.members.get_mut(id)?;
        self.joining += usize::from(caller.is_some());
        let before = std::mem::replace(&mut member.joining, caller);
        self.joining -= usize::from(before.is_some());
        before
    }

    /// How many members wait for the rebalance.
    pub fn joining(&self) -> usize {
        self.joining
    }

    /// Whether nobody is missing in the rebalance.
    pub fn all_joined(&self) -> bool {
        self.joining == self.members.len() && self.pending.is_empty()
    }

    /// The bytes of what its members say of themselves.
    pub fn protocol_bytes(&self) -> usize {
        self.protocol_bytes
    }

    /// The bytes of what its members were assigned.
    pub fn assignment_bytes(&self) -> usize {
        self.members.values().map(|member| member.assignment.len()).sum()
    }

    /// How long the slowest member may take to join again.
    pub fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Whether a member with these protocols fits to the others.
    pub fn accepts(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let all = self.members.len();
        self.protocol_type == protocol_type
            && protocols.iter().any(|(name, _)| self.support.get(name) == Some(&all))
    }

    /// The assignor that most members like best among those all know. Of equally many votes, the
    /// first by name wins.
    pub fn elect_protocol(&self) -> Option<String> {
        let all = self.members.len();
        let known = |name: &str| self.support.get(name) == Some(&all);
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|(name, _)| known(name));
            if let Some((name, _)) = choice {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }

    /// Whether the store knows all that is to be known of it.
    pub fn is_idle(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty() && !self.emptying
    }

    /// The earliest of all that it waits for.
    pub fn next_deadline(&self) -> Option<Time> {
        let members = self.members.values().filter_map(|member| member.deadline);
        let pending = self.pending.values().copied();
        let group = [self.join_deadline, self.sync_deadline];
        members.chain(pending).chain(group.into_iter().flatten()).min()
    }
}

/// Milliseconds as the wire has them. Less than none is none.
pub fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
