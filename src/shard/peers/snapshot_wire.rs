//! How a member that lacks what its leader has trimmed is brought up by a snapshot: what the two
//! say to each other. `docs/peer-protocol.md` draws it; `shard/snapshot_transfer` gives it meaning.

use crate::model::fields::Fields;
use crate::model::ids::{GroupId, NodeId};
use crate::model::position::{LogIndex, Position, Term};
use crate::shard::group::Chain;
use crate::shard::output::Part;
use crate::shard::peers::Peers;
use crate::shard::peers::link::{Asked, Place};
use crate::shard::peers::wire::{NotUnderstood, Reach, Request};

const REACHES: u8 = 0;
const EMPTY: u8 = 1;
const FILLING: u8 = 2;

const CHECKPOINT: u8 = 0;
const JOURNAL: u8 = 1;

/// A snapshot that a leader can give: a checkpoint, and the journal from `start` up to where the
/// checkpoint's last entry ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The first position of a segment; the journal is copied from there.
    pub start: Position,
    /// The last entry that the checkpoint covers.
    pub until: Chain,
    pub checkpoint_bytes: u64,
    /// In which the one who offers it leads.
    pub term: Term,
}

/// What a part of a snapshot is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartOf {
    Checkpoint,
    Journal,
}

/// Which part it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHead {
    /// The snapshot's last entry, which tells it from others.
    pub snapshot: LogIndex,
    pub of: PartOf,
    /// Where it begins: a byte of the checkpoint, or a position.
    pub at: u64,
}

/// How far a member is with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    pub offer: Offer,
    /// Bytes of the checkpoint that it has.
    pub checkpoint: u64,
    /// The last entry that it has; index 0 as long as there is none.
    pub last: Chain,
    /// Everything before this is on its disk.
    pub flushed: Position,
}

/// How a member stands with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It doesn't have it.
    Absent,
    /// It has a journal, and takes part.
    Reaches(Reach),
    /// It gave its journal up, or is about to, and waits for a snapshot. It has acknowledged
    /// nothing in a later term than this, and nothing that counts behind the entry `given_up`, if
    /// it knows that.
    Empty { term: Term, given_up: Option<LogIndex> },
    /// It is taking one.
    Filling(Filled),
}

impl Standing {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Standing::Absent => {}
            Standing::Reaches(reach) => {
                out.push(REACHES);
                put_chain(&reach.last, out);
                put_chain(&reach.applied, out);
            }
            Standing::Empty { term, given_up } => {
                out.push(EMPTY);
                out.extend(term.0.to_le_bytes());
                // There is no entry 0.
                out.extend(given_up.unwrap_or_default().0.to_le_bytes());
            }
            Standing::Filling(filled) => {
                out.push(FILLING);
                filled.offer.encode(out);
                out.extend(filled.checkpoint.to_le_bytes());
                put_chain(&filled.last, out);
                out.extend(filled.flushed.0.to_le_bytes());
            }
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(bytes: &[u8]) -> Result<Standing, NotUnderstood> {
        let Some((kind, rest)) = bytes.split_first() else { return Ok(Standing::Absent) };
        let mut reader = Fields::new(rest);
        Ok(match *kind {
            REACHES => {
                Standing::Reaches(Reach { last: chain(&mut reader)?, applied: chain(&mut reader)? })
            }
            EMPTY => Standing::Empty {
                term: Term(reader.u64()?),
                given_up: Some(LogIndex(reader.u64()?)).filter(|index| index.0 > 0),
            },
            FILLING => Standing::Filling(Filled {
                offer: Offer::decode(&mut reader)?,
                checkpoint: reader.u64()?,
                last: chain(&mut reader)?,
                flushed: Position(reader.u64()?),
            }),
            _ => return Err(NotUnderstood),
        })
    }
}

impl Offer {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.start.0.to_le_bytes());
        put_chain(&self.until, out);
        out.extend(self.checkpoint_bytes.to_le_bytes());
        out.extend(self.term.0.to_le_bytes());
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(reader: &mut Fields<'_, NotUnderstood>) -> Result<Offer, NotUnderstood> {
        Ok(Offer {
            start: Position(reader.u64()?),
            until: chain(reader)?,
            checkpoint_bytes: reader.u64()?,
            term: Term(reader.u64()?),
        })
    }
}

impl PartHead {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.snapshot.0.to_le_bytes());
        out.push(match self.of {
            PartOf::Checkpoint => CHECKPOINT,
            PartOf::Journal => JOURNAL,
        });
        out.extend(self.at.to_le_bytes());
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(reader: &mut Fields<'_, NotUnderstood>) -> Result<PartHead, NotUnderstood> {
        let snapshot = LogIndex(reader.u64()?);
        let of = match reader.take(1)? {
            [CHECKPOINT] => PartOf::Checkpoint,
            [JOURNAL] => PartOf::Journal,
            _ => return Err(NotUnderstood),
        };
        Ok(PartHead { snapshot, of, at: reader.u64()? })
    }
}

fn put_chain(chain: &Chain, out: &mut Vec<u8>) {
    out.extend(chain.index.0.to_le_bytes());
    out.extend(chain.term.0.to_le_bytes());
    out.extend(chain.crc.to_le_bytes());
    out.extend(chain.end.0.to_le_bytes());
}

fn chain(reader: &mut Fields<'_, NotUnderstood>) -> Result<Chain, NotUnderstood> {
    Ok(Chain {
        index: LogIndex(reader.u64()?),
        term: Term(reader.u64()?),
        crc: reader.u32()?,
        end: Position(reader.u64()?),
    })
}

impl<P> Peers<P> {
    /// Offers a member a snapshot; the answer is its standing, once it can take it. Returns whether
    /// that left.
    pub fn offer_snapshot(&mut self, to: NodeId, group: GroupId, offer: Offer) -> bool {
        let request = Request::Offer { group, offer };
        let place = self.place_of(to, group);
        self.ask(place, Asked::Where { group }, |out| request.encode(out), Vec::new())
    }

    /// Sends a part of one; the answer is the member's standing, once it is on its disk. Returns
    /// whether it left.
    pub fn send_part(&mut self, to: NodeId, group: GroupId, head: PartHead, part: Part<P>) -> bool {
        let request = Request::Part { group, head, bytes: &[] };
        let place = self.place_of(to, group);
        self.ask(place, Asked::Where { group }, |out| request.encode(out), vec![part])
    }

    /// Tells the node that leads a group how this one stands with it. Returns whether that left.
    pub fn tell_standing(&mut self, to: NodeId, group: GroupId, standing: Standing) -> bool {
        let request = Request::Standing { group, standing };
        let place = self.place_of(to, group);
        self.ask(place, Asked::Nothing, |out| request.encode(out), Vec::new())
    }

    fn place_of(&self, node: NodeId, group: GroupId) -> Place {
        Place { node, shard: self.shard_of(node, group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64) -> Chain {
        let end = Position(index << 12);
        Chain { index: LogIndex(index), term: Term(index / 2), crc: index as u32 ^ 0x55, end }
    }

    #[test]
    fn standings_come_back_as_they_were() {
        let (start, term) = (Position(4096), Term(7));
        let offer = Offer { start, until: entry(9), checkpoint_bytes: 1 << 33, term };
        let filled = Filled { offer, checkpoint: 77, last: entry(5), flushed: Position(8192) };
        for standing in [
            Standing::Absent,
            Standing::Reaches(Reach { last: entry(8), applied: entry(6) }),
            Standing::Empty { term, given_up: None },
            Standing::Empty { term, given_up: Some(LogIndex(5)) },
            Standing::Filling(filled),
        ] {
            let mut bytes = Vec::new();
            standing.encode(&mut bytes);
            assert_eq!(Standing::decode(&bytes), Ok(standing));
            if bytes.len() > 1 {
                bytes.pop();
                assert_eq!(Standing::decode(&bytes), Err(NotUnderstood));
            }
        }
        assert_eq!(Standing::decode(&[9]), Err(NotUnderstood));
    }

    #[test]
    fn requests_come_back_as_they_were() {
        let group = GroupId(6);
        let (start, term) = (Position(1 << 20), Term(2));
        let offer = Offer { start, until: entry(3), checkpoint_bytes: 400, term };
        let at = 1 << 21;
        for request in [
            Request::Offer { group, offer },
            Request::Part {
                group,
                head: PartHead { snapshot: LogIndex(3), of: PartOf::Journal, at },
                bytes: b"entries",
            },
            Request::Part {
                group,
                head: PartHead { snapshot: LogIndex(3), of: PartOf::Checkpoint, at: 0 },
                bytes: b"",
            },
            Request::Standing { group, standing: Standing::Empty { term, given_up: None } },
        ] {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            assert_eq!(Request::decode(&bytes), Ok(request));
        }
        let head = PartHead { snapshot: LogIndex(3), of: PartOf::Journal, at };
        let mut bytes = Vec::new();
        head.encode(&mut bytes);
        bytes[8] = 2;
        assert_eq!(PartHead::decode(&mut Fields::new(&bytes)), Err(NotUnderstood));
    }
}
