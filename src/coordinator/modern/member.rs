//! A member: what it wants, what it may read, and how far it is on the way to its target.

use std::rc::Rc;

use super::partitions::Partitions;

/// The epoch with which a member joins.
pub const JOIN_EPOCH: i32 = 0;
/// The epoch with which a member leaves for good.
pub const LEAVE_EPOCH: i32 = -1;
/// The epoch with which a static member says that it will be back.
pub const LEAVE_STATIC_EPOCH: i32 = -2;

/// What a member subscribes to: names, and a regular expression over names. Equal subscriptions
/// of a group's members are kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscription {
    /// Topic names, sorted, each once. There need not be such topics.
    pub names: Vec<String>,
    /// In RE2's syntax; must fit a whole name. Never empty.
    pub regex: Option<String>,
}

impl Subscription {
    /// Of names in any order. An empty expression is none.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>, regex: Option<&str>) -> Self {
        let mut names: Vec<_> = names.into_iter().map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        let regex = regex.filter(|regex| !regex.is_empty()).map(str::to_owned);
        Subscription { names, regex }
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let names = self.names.iter().map(|name| name.len() + size_of::<String>());
        names.sum::<usize>() + self.regex.as_ref().map_or(0, String::len)
    }
}

/// What is known of a member that speaks the classic protocol in a group that has moved on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMember {
    /// Its session timeout: classic members choose it themselves.
    pub session_timeout_ms: i32,
    /// Its protocols with their metadata bytes, best first, kept for the way back.
    pub protocols: Vec<(String, Vec<u8>)>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Rc<str>>,
    /// `client.rack`.
    pub rack_id: Option<Rc<str>>,
    /// As the client calls itself.
    pub client_id: Rc<str>,
    /// Where it speaks from.
    pub client_host: Rc<str>,
    /// What it wants to read.
    pub subscription: Rc<Subscription>,
    /// The assignor it would like best.
    pub server_assignor: Option<Rc<str>>,
    /// How long it may take to give up partitions.
    pub rebalance_timeout_ms: i32,
    /// Set for a member that speaks the classic protocol.
    pub classic: Option<ClassicMember>,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// It has all that its epoch's target gives it.
    #[default]
    Stable,
    /// It must give up partitions before it goes on.
    UnrevokedPartitions,
    /// It waits for partitions that others have not given up yet.
    UnreleasedPartitions,
}

/// What a member has, in which epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// The epoch that the member was last told; [`LEAVE_STATIC_EPOCH`] while a static member is
    /// away.
    pub epoch: i32,
    /// The epoch before it, in case the answer with the new one was lost.
    pub previous_epoch: i32,
    /// How far it is.
    pub state: MemberState,
    /// What it may read.
    pub assigned: Partitions,
    /// What it was told to give up and has not given up yet. Nobody else gets these.
    pub pending: Partitions,
}

impl Current {
    /// Whether nothing is left to do to reach that epoch.
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// All that the member holds, given up or not.
    pub fn held(&self) -> impl Iterator<Item = &super::partitions::TopicPartition> {
        self.assigned.iter().chain(self.pending.iter())
    }

    /// The same in another epoch; the one before is remembered if it is another.
    pub fn at_epoch(&self, epoch: i32) -> (i32, i32) {
        if epoch == self.epoch { (epoch, self.previous_epoch) } else { (epoch, self.epoch) }
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it says of itself.
    pub profile: Profile,
    /// What it has.
    pub current: Current,
}

impl Member {
    /// Whether it speaks the classic protocol.
    pub fn is_classic(&self) -> bool {
        self.profile.classic.is_some()
    }
}
