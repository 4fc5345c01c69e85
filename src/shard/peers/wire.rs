//! What nodes say to each other: the payloads of duplex frames. `docs/peer-protocol.md` draws them.
//!
//! A request begins with a byte that says what it is. What an answer holds follows from what was
//! asked. Numbers are little-endian.

use bytes::Bytes;

use crate::metadata::Layout;
use crate::model::fields::{BadEnd, Fields};
use crate::model::ids::{GroupId, NodeId, ShardId};
use crate::model::position::{LogIndex, Term};
use crate::replica::Members;
use crate::shard::group::Chain;
use crate::shard::peers::repair_wire::{self, JournalPlace, JournalQuestion};
use crate::shard::peers::snapshot_wire::{Offer, PartHead, Standing};
use crate::shard::peers::visit::{self, Visit};

/// The version of everything here and in `replica/wire`. Nodes of different versions refuse each
/// other.
pub const PROTOCOL_VERSION: u16 = 4;

/// What the first request of a connection begins with. As the head of a Kafka request it would be
/// Produce version 0, which is refused, with a client id longer than any hello.
const MAGIC: &[u8; 8] = b"HUTONG\x7f\xff";

const RAFT: u8 = 1;
const LEADS: u8 = 2;
const PROPOSE: u8 = 3;
const WHERE: u8 = 4;
const MEMBERS: u8 = 5;
const REFUSE: u8 = 6;
const EPOCH: u8 = 7;
const LAYOUT: u8 = 8;
const OFFER: u8 = 10;
const PART: u8 = 11;
const STANDING: u8 = 12;

/// The longest text: a host, a cluster id, a reason.
const TEXT_BYTES_MAX: usize = 1024;

/// The node id in the hello of a tool, which belongs to no cluster: it may ask about journals, and
/// for nothing else.
pub const VISITOR: NodeId = NodeId(u32::MAX);

/// Bytes that mean nothing. The other side runs other code: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are no message of version {PROTOCOL_VERSION} of the peer protocol")]
pub struct NotUnderstood;

/// Who a side of a connection is, and what the cluster must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub version: u16,
    pub cluster_id: String,
    pub node: NodeId,
    pub shard: ShardId,
    /// Drawn at the start of the process: tells a restart from a second process of the same id.
    pub incarnation: u64,
    /// Drawn when its data directory was made: tells one that was wiped from the one that voted.
    pub directory: u128,
    /// Shards of the node.
    pub shards: u16,
    /// Groups that the cluster was formed with.
    pub groups: u32,
    pub segment_bytes: u64,
    /// Where clients reach its shard 0.
    pub host: String,
    pub port: u16,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Hello(Hello),
    /// Of someone who is no node.
    Visit(Visit),
    /// A message of a group's Raft, in `replica/wire`'s words, with its entries behind it.
    Raft {
        group: GroupId,
        message: &'a [u8],
    },
    /// The sender's node leads a group and serves it.
    Leads {
        group: GroupId,
        term: Term,
    },
    /// A command for the catalog, to the node that leads group 0.
    Propose {
        command: &'a [u8],
    },
    /// How far does the receiver's journal of a group reach?
    Where {
        group: GroupId,
    },
    /// Who belongs to a group that the receiver leads?
    Members {
        group: GroupId,
    },
    /// The sender goes by the layout of this epoch.
    Epoch {
        epoch: u64,
    },
    /// By which layout does the receiver go?
    Layout,
    /// The sender, who dialed, won't have the receiver: why. It hangs up.
    Refuse {
        why: String,
    },
    /// A group's leader could bring the receiver up by a snapshot.
    Offer {
        group: GroupId,
        offer: Offer,
    },
    /// A part of one; its bytes may as well be sent behind it.
    Part {
        group: GroupId,
        head: PartHead,
        bytes: &'a [u8],
    },
    /// How the sender stands with a group whose leader hasn't asked for long.
    Standing {
        group: GroupId,
        standing: Standing,
    },
    /// What does the receiver's journal of a group hold at some place?
    Journal(JournalQuestion),
    /// Which entries of a group are damaged at the receiver, and at no node that runs whole?
    Damaged {
        group: GroupId,
    },
    /// What a node holds behind one of those places, committed or not.
    Give {
        node: NodeId,
        place: JournalPlace,
        entry: &'a [u8],
    },
}

/// How far a journal reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The last entry there is.
    pub last: Chain,
    /// The last entry that is applied, so that no leader can ever have another in its place.
    pub applied: Chain,
}

/// Whether a frame's payload looks like the first of a node or a visitor.
pub fn is_hello(frame: &[u8]) -> bool {
    // In front of it is the serial of the first request, 0.
    frame.starts_with(&[0; 4])
        && (frame[4..].starts_with(MAGIC) || frame[4..].starts_with(visit::MAGIC))
}

/// Appends what comes in front of a Raft message.
pub fn put_raft(group: GroupId, out: &mut Vec<u8>) {
    out.push(RAFT);
    out.extend(group.0.to_le_bytes());
}

impl Request<'_> {
    /// Appends the request's payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Request::Hello(hello) => {
                out.extend(MAGIC);
                hello.encode(out);
            }
            Request::Raft { group, message } => {
                put_raft(*group, out);
                out.extend(*message);
            }
            Request::Leads { group, term } => {
                out.push(LEADS);
                out.extend(group.0.to_le_bytes());
                out.extend(term.0.to_le_bytes());
            }
            Request::Propose { command } => {
                out.push(PROPOSE);
                out.extend(*command);
            }
            Request::Where { group } => {
                out.push(WHERE);
                out.extend(group.0.to_le_bytes());
            }
            Request::Visit(visit) => out.extend(visit.encode()),
            Request::Members { group } => {
                out.push(MEMBERS);
                out.extend(group.0.to_le_bytes());
            }
            Request::Epoch { epoch } => {
                out.push(EPOCH);
                out.extend(epoch.to_le_bytes());
            }
            Request::Layout => out.push(LAYOUT),
            Request::Refuse { why } => {
                out.push(REFUSE);
                put_text(why, out);
            }
            Request::Offer { group, offer } => {
                out.push(OFFER);
                out.extend(group.0.to_le_bytes());
                offer.encode(out);
            }
            Request::Part { group, head, bytes } => {
                out.push(PART);
                out.extend(group.0.to_le_bytes());
                head.encode(out);
                out.extend(*bytes);
            }
            Request::Standing { group, standing } => {
                out.push(STANDING);
                out.extend(group.0.to_le_bytes());
                standing.encode(out);
            }
            Request::Journal(question) => question.encode(out),
            Request::Damaged { group } => {
                out.push(repair_wire::DAMAGED);
                out.extend(group.0.to_le_bytes());
            }
            Request::Give { node, place, entry } => {
                out.push(repair_wire::GIVE);
                out.extend(node.0.to_le_bytes());
                place.encode(out);
                out.extend(*entry);
            }
        }
    }

    /// The request in a payload.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(payload: &[u8]) -> Result<Request<'_>, NotUnderstood> {
        if let Some(hello) = payload.strip_prefix(MAGIC) {
            return Ok(Request::Hello(Hello::decode(hello)?));
        }
        if payload.starts_with(visit::MAGIC) {
            return Ok(Request::Visit(Visit::decode(payload)?));
        }
        let (kind, rest) = payload.split_first().ok_or(NotUnderstood)?;
        let mut reader = Reader::new(rest);
        Ok(match *kind {
            RAFT => Request::Raft { group: GroupId(reader.u32()?), message: reader.rest },
            LEADS => Request::Leads { group: GroupId(reader.u32()?), term: Term(reader.u64()?) },
            PROPOSE => Request::Propose { command: rest },
            WHERE => Request::Where { group: GroupId(reader.u32()?) },
            MEMBERS => Request::Members { group: GroupId(reader.u32()?) },
            EPOCH => Request::Epoch { epoch: reader.u64()? },
            LAYOUT => Request::Layout,
            REFUSE => Request::Refuse { why: reader.text()? },
            OFFER => {
                let group = GroupId(reader.u32()?);
                Request::Offer { group, offer: Offer::decode(&mut reader)? }
            }
            PART => {
                let group = GroupId(reader.u32()?);
                let head = PartHead::decode(&mut reader)?;
                Request::Part { group, head, bytes: reader.rest }
            }
            STANDING => {
                let group = GroupId(reader.u32()?);
                Request::Standing { group, standing: Standing::decode(reader.rest)? }
            }
            repair_wire::DAMAGED => {
                let group = GroupId(reader.u32()?);
                reader.end()?;
                Request::Damaged { group }
            }
            repair_wire::GIVE => {
                let node = NodeId(reader.u32()?);
                let place = JournalPlace::decode(&mut reader)?;
                Request::Give { node, place, entry: reader.rest }
            }
            kind if repair_wire::is_question(kind) => {
                Request::Journal(JournalQuestion::decode(kind, rest)?)
            }
            _ => return Err(NotUnderstood),
        })
    }
}

impl Hello {
    /// The hello of a tool: of the cluster with this id, or of whichever if it is empty.
    pub fn of_visitor(cluster_id: &str) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            cluster_id: cluster_id.into(),
            node: VISITOR,
            shard: ShardId(0),
            incarnation: 0,
            directory: 0,
            shards: 1,
            groups: 0,
            segment_bytes: 0,
            host: String::new(),
            port: 0,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_le_bytes());
        put_text(&self.cluster_id, out);
        out.extend(self.node.0.to_le_bytes());
        out.extend(self.shard.0.to_le_bytes());
        out.extend(self.incarnation.to_le_bytes());
        out.extend(self.directory.to_le_bytes());
        out.extend(self.shards.to_le_bytes());
        out.extend(self.groups.to_le_bytes());
        out.extend(self.segment_bytes.to_le_bytes());
        put_text(&self.host, out);
        out.extend(self.port.to_le_bytes());
    }

    /// A hello of another version is read as far as every version has it.
    fn decode(bytes: &[u8]) -> Result<Hello, NotUnderstood> {
        let mut reader = Reader::new(bytes);
        let version = reader.u16()?;
        let hello = Hello {
            version,
            cluster_id: reader.text()?,
            node: NodeId(reader.u32()?),
            shard: ShardId(reader.u16()?),
            incarnation: reader.u64()?,
            directory: u128::from_le_bytes(reader.array()?),
            shards: reader.u16()?,
            groups: reader.u32()?,
            segment_bytes: reader.u64()?,
            host: reader.text()?,
            port: reader.u16()?,
        };
        (version != PROTOCOL_VERSION || reader.rest.is_empty())
            .then_some(hello)
            .ok_or(NotUnderstood)
    }
}

/// The answer to a hello: the other side's, or why it won't have this one.
pub fn put_hello_answer(answer: &Result<Hello, String>, out: &mut Vec<u8>) {
    match answer {
        Ok(hello) => {
            out.push(0);
            hello.encode(out);
        }
        Err(why) => {
            out.push(1);
            put_text(why, out);
        }
    }
}

/// Reads the answer to a hello.
pub fn hello_answer(payload: &[u8]) -> Result<Result<Hello, String>, NotUnderstood> {
    let (kind, rest) = payload.split_first().ok_or(NotUnderstood)?;
    match kind {
        0 => Ok(Ok(Hello::decode(rest)?)),
        1 => Ok(Err(Reader::new(rest).text()?)),
        _ => Err(NotUnderstood),
    }
}

/// The answer to a Raft message: what the receiver has in memory now.
pub fn put_received(term: Term, index: LogIndex, out: &mut Vec<u8>) {
    out.extend(term.0.to_le_bytes());
    out.extend(index.0.to_le_bytes());
}

/// Reads the answer to a Raft message.
pub fn received(payload: &[u8]) -> Result<(Term, LogIndex), NotUnderstood> {
    let mut reader = Reader::new(payload);
    Ok((Term(reader.u64()?), LogIndex(reader.u64()?)))
}

/// The answer to a proposal: the catalog's version with it, or `None` if this node doesn't lead.
pub fn put_proposed(version: Option<u64>, out: &mut Vec<u8>) {
    if let Some(version) = version {
        out.extend(version.to_le_bytes());
    }
}

/// Reads the answer to a proposal.
pub fn proposed(payload: &[u8]) -> Result<Option<u64>, NotUnderstood> {
    match payload {
        [] => Ok(None),
        bytes => Ok(Some(Reader::new(bytes).u64()?)),
    }
}

/// Who belongs to a group, as its leader says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersTold {
    /// The layout that the leader goes by.
    pub epoch: u64,
    /// In which it leads.
    pub term: Term,
    pub members: Members,
}

/// The answer to `Members`: nothing if the group isn't led here.
pub fn put_members(told: Option<&MembersTold>, out: &mut Vec<u8>) {
    if let Some(told) = told {
        out.extend(told.epoch.to_le_bytes());
        out.extend(told.term.0.to_le_bytes());
        told.members.encode(out);
    }
}

/// Reads the answer to `Members`.
pub fn members(payload: &[u8]) -> Result<Option<MembersTold>, NotUnderstood> {
    if payload.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(payload);
    let (epoch, term) = (reader.u64()?, Term(reader.u64()?));
    let members = Members::decode(&mut reader.rest).map_err(|_| NotUnderstood)?;
    Ok(Some(MembersTold { epoch, term, members }))
}

/// The answer to `Layout`: nothing if none is known here.
pub fn put_layout(layout: Option<&Layout>, out: &mut Vec<u8>) {
    if let Some(layout) = layout {
        layout.encode(out);
    }
}

/// Reads the answer to `Layout`.
pub fn layout(payload: &[u8]) -> Result<Option<Layout>, NotUnderstood> {
    if payload.is_empty() {
        return Ok(None);
    }
    Layout::from_bytes(payload).map(Some).map_err(|_| NotUnderstood)
}

/// The part of `frames` that `payload`, a slice of it, is: shares the memory.
pub fn share(frames: &Bytes, payload: &[u8]) -> Bytes {
    frames.slice_ref(payload)
}

pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend((end as u16).to_le_bytes());
    out.extend(&text.as_bytes()[..end]);
}

pub(super) type Reader<'a> = Fields<'a, NotUnderstood>;

impl From<BadEnd> for NotUnderstood {
    fn from(_: BadEnd) -> NotUnderstood {
        NotUnderstood
    }
}

impl Reader<'_> {
    pub(super) fn text(&mut self) -> Result<String, NotUnderstood> {
        let length = usize::from(self.u16()?);
        if length > TEXT_BYTES_MAX {
            return Err(NotUnderstood);
        }
        std::str::from_utf8(self.take(length)?).map(str::to_owned).map_err(|_| NotUnderstood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::header::RequestHeader;

    fn hello() -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            cluster_id: "c".repeat(30),
            node: NodeId(3),
            shard: ShardId(1),
            incarnation: 77,
            directory: 1 << 100,
            shards: 2,
            groups: 6,
            segment_bytes: 1 << 27,
            host: "localhost".into(),
            port: 9092,
        }
    }

    #[test]
    fn requests_come_back_as_they_were() {
        for request in [
            Request::Hello(hello()),
            Request::Raft { group: GroupId(5), message: b"raft" },
            Request::Leads { group: GroupId(5), term: Term(9) },
            Request::Propose { command: b"create" },
            Request::Where { group: GroupId(5) },
            Request::Members { group: GroupId(5) },
            Request::Refuse { why: "another directory".into() },
            Request::Epoch { epoch: 1 << 40 },
            Request::Layout,
        ] {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            assert_eq!(Request::decode(&bytes), Ok(request));
        }
        assert_eq!(Request::decode(&[]), Err(NotUnderstood));
        assert_eq!(Request::decode(&[99]), Err(NotUnderstood));
    }

    #[test]
    fn answers_come_back_as_they_were() {
        for answer in [Ok(hello()), Err("another cluster".to_string())] {
            let mut bytes = Vec::new();
            put_hello_answer(&answer, &mut bytes);
            assert_eq!(hello_answer(&bytes), Ok(answer));
        }
        let members = Members::formed(vec![NodeId(1), NodeId(2)]);
        for told in [None, Some(MembersTold { epoch: 7, term: Term(9), members })] {
            let mut bytes = Vec::new();
            put_members(told.as_ref(), &mut bytes);
            assert_eq!(super::members(&bytes), Ok(told));
        }
        for told in [None, Some(Layout::formed(3, &[NodeId(1), NodeId(2)]))] {
            let mut bytes = Vec::new();
            put_layout(told.as_ref(), &mut bytes);
            assert_eq!(layout(&bytes), Ok(told));
            bytes.push(1);
            assert_eq!(layout(&bytes), Err(NotUnderstood));
        }
        for version in [None, Some(7)] {
            let mut bytes = Vec::new();
            put_proposed(version, &mut bytes);
            assert_eq!(proposed(&bytes), Ok(version));
        }
    }

    #[test]
    fn a_hello_is_no_kafka_request() {
        let mut frame = vec![0; 4];
        Request::Hello(hello()).encode(&mut frame);
        assert!(is_hello(&frame));
        assert!(RequestHeader::decode(&frame).is_err());
        assert!(!is_hello(b"\0\0\0"));
    }
}
