//! A client's connection: frames on their way to the node, and what they are answered with.

use std::collections::VecDeque;

use bytes::Bytes;
use hutong::kafka::frame::next_frame;
use hutong::shard::peers::visit::Change;

use crate::checkers::FetchedPart;
use crate::host::Place;
use crate::wire::RecordId;

/// A partition of one incarnation of a topic.
pub type PartitionId = ([u8; 16], i32);

/// A batch that was sent.
#[derive(Clone, Debug)]
pub struct SentBatch {
    pub partition: PartitionId,
    pub first: RecordId,
    pub count: u32,
}

/// Who of a consumer group has asked.
#[derive(Clone, Debug)]
pub struct Speaker {
    pub group: String,
    /// Its id, or the name that it keeps when it comes back; empty before it has either.
    pub owner: String,
    /// This one life of it.
    pub life: String,
}

/// A member's id, and what it says that it has.
pub type Claim = (String, Vec<PartitionId>);

/// What a request was for.
#[derive(Clone, Debug)]
pub enum What {
    Produce {
        acks: i16,
        batches: Vec<SentBatch>,
    },
    Fetch {
        wanted: Vec<(PartitionId, i64)>,
        wait: u64,
    },
    ListOffsets {
        wanted: Vec<PartitionId>,
        timestamp: i64,
    },
    InitProducerId,
    Metadata,
    CreateTopic {
        name: String,
    },
    DeleteTopic {
        name: String,
    },
    Configure,
    /// A change of which nodes and groups there are.
    Change(Change),
    DeleteRecords {
        partition: PartitionId,
        offset: i64,
    },
    FindCoordinator,
    Join {
        group: String,
    },
    Sync {
        by: Speaker,
        generation: i32,
        /// A member leads, and assigns.
        is_led: bool,
    },
    Heartbeat {
        by: Speaker,
    },
    /// A heartbeat of the protocol in which the coordinator assigns.
    Beat {
        by: Speaker,
    },
    Leave,
    Commit {
        group: String,
        offsets: Vec<(PartitionId, i64)>,
    },
    /// With each partition what was acknowledged before this was asked.
    FetchOffsets {
        group: String,
        wanted: Vec<(PartitionId, i64)>,
    },
}

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub struct Asked {
    pub correlation: i32,
    pub version: i16,
    pub what: What,
    pub sent_at: u64,
    /// How long the node may take by the request's own words.
    pub timeout: Option<u64>,
    /// When the node got it.
    pub arrived_at: Option<u64>,
    /// When the node must have answered, at the latest.
    pub answer_by: Option<u64>,
}

/// An answer on its way to the client, read and checked.
#[derive(Clone, Debug)]
pub enum Reply {
    /// For each batch its error code and its base offset.
    Produce(Vec<(SentBatch, i16, i64)>),
    /// For each partition the offset to go on from, or that there is an error.
    Fetch(Vec<(PartitionId, i16, i64)>, Vec<FetchedPart>),
    /// For each partition its error code and the offset.
    ListOffsets(Vec<(PartitionId, i16, i64)>, i64),
    /// An error code and the id.
    ProducerId(i16, i64),
    /// Who coordinates a consumer group, if that is known.
    Coordinator(Option<Place>),
    /// An error code, or the member's id and generation; with all members if it leads. It assigns
    /// then, unless it `skips` that.
    Joined {
        code: i16,
        member: String,
        generation: i32,
        /// A member leads, and assigns; otherwise the coordinator does.
        is_led: bool,
        /// All of them, with what each says that it has, if this one leads.
        members: Option<Vec<Claim>>,
        skips: bool,
    },
    /// An error code, or what the member owns.
    Synced { code: i16, owns: Vec<PartitionId> },
    /// An error code, or the member's id and epoch, and what it shall own if that is told.
    Beaten { code: i16, member: String, epoch: i32, owns: Option<Vec<PartitionId>> },
    /// A member's heartbeat, commit, question or farewell was heard, or there is an error.
    Told { code: i16 },
    /// Whatever needs no more than to be over.
    Done,
}

/// One connection, both ends.
#[derive(Debug)]
pub struct Connection {
    pub client: usize,
    pub place: Place,
    /// Whoever sends rubbish on purpose may be closed, and is owed nothing.
    pub vandal: bool,
    /// A refused request without a response is answered by closing.
    pub may_be_closed: bool,
    pub paused: bool,
    /// When it was last paused or resumed.
    pub paused_at: u64,
    /// The node has asked to close it.
    pub closing: bool,
    pub to_node: VecDeque<(i32, Bytes)>,
    pub last_request_at: u64,
    pub awaiting: VecDeque<Asked>,
    pub to_client: VecDeque<(Option<Reply>, usize)>,
    pub last_response_at: u64,
    pub last_answer_by: u64,
    unread: Vec<u8>,
}

impl Connection {
    /// A connection of a client to a shard.
    pub fn new(client: usize, place: Place) -> Connection {
        Connection {
            client,
            place,
            vandal: false,
            may_be_closed: false,
            paused: false,
            paused_at: 0,
            closing: false,
            to_node: VecDeque::new(),
            last_request_at: 0,
            awaiting: VecDeque::new(),
            to_client: VecDeque::new(),
            last_response_at: 0,
            last_answer_by: 0,
            unread: Vec::new(),
        }
    }

    /// The node gave out bytes. Returns the whole frames there are now, without their lengths.
    pub fn cut(&mut self, bytes: Vec<u8>) -> Vec<Bytes> {
        if self.unread.is_empty() {
            self.unread = bytes;
        } else {
            self.unread.extend(bytes);
        }
        let mut rest = Bytes::from(std::mem::take(&mut self.unread));
        let mut frames = Vec::new();
        while let Some(frame) = next_frame(&mut rest) {
            frames.push(frame);
        }
        self.unread = rest.to_vec();
        frames
    }

    /// Whether the node has begun a response and not finished it.
    pub fn in_the_middle(&self) -> bool {
        !self.unread.is_empty()
    }
}
