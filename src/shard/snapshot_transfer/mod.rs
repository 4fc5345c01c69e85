//! A member that lacks what its leader has trimmed gets a snapshot: a checkpoint of the leader's,
//! and the journal from where it still begins up to the checkpoint's last entry, byte for byte at
//! the same positions. From then on it is a group like one that was opened from disk, and
//! `catch_up` and Raft bring what comes behind.
//!
//! `send` is the leader's side: it drives. It offers, and sends parts, a few at a time; each is
//! answered when it is on the member's disk, with all that the member has by then (`Standing`). So
//! the slower of the two disks sets the pace, a lost connection costs what was on its way, and
//! another leader can go on with what is missing, since committed bytes are equal everywhere.
//!
//! `fill` is the member's side. Between giving up its journal and having the whole snapshot it has
//! no Raft: what it had acknowledged may have been counted for a majority, and it has it no longer.
//! That must outlive a crash, so the checkpoint is replaced by a marker before anything is removed,
//! and the marker by the snapshot's checkpoint once all of the journal is on disk. A group that
//! opens with a marker waits for a snapshot, from the beginning. The vote file stays as it is.
//!
//! `turn` is what a shard does for both.

pub mod fill;
pub mod member_reads;
pub mod send;
mod turn;

use crate::journal::format::checksum;
use crate::model::ids::GroupId;
use crate::model::position::LogIndex;
use crate::shard::group::Chain;
use crate::shard::peers::wire::Reach;

/// What a checkpoint file begins with as long as its group is being filled.
const MARKER: [u8; 4] = *b"HTFM";

/// The file that stands in the place of a checkpoint while a group is being filled. Of what was
/// given up nothing that counts lies behind the entry `given_up`, if that is known.
pub fn marker(group: GroupId, given_up: Option<LogIndex>) -> Vec<u8> {
    let mut body = group.0.to_le_bytes().to_vec();
    body.extend(given_up.unwrap_or_default().0.to_le_bytes());
    let mut out = MARKER.to_vec();
    out.extend(checksum(&body).to_le_bytes());
    out.extend(body);
    out
}

/// Whether a checkpoint file says that its group is being filled.
pub fn is_marker(file: &[u8]) -> bool {
    file.starts_with(&MARKER)
}

/// What a marker says of what was given up. Those of before this was known say nothing.
pub fn given_up(marker: &[u8]) -> Option<LogIndex> {
    let body = marker.get(8..20)?;
    let is_whole = marker[4..8] == checksum(body).to_le_bytes();
    let index = LogIndex(u64::from_le_bytes(body[4..].try_into().expect("eight bytes")));
    (is_whole && index > LogIndex(0)).then_some(index)
}

/// Whether a snapshot that ends with `until` is of use to a member that has a journal, and safe
/// for it to take.
///
/// It gives up its own for it, and with that whatever it has told others to be on its disk. What a
/// snapshot covers is committed. A committed entry behind it has at least the term of its last one.
/// So nothing that counts is given up if the member has no entry behind it, or if those it has are
/// of earlier terms and never were committed, nor will be.
pub fn helps(until: &Chain, reach: &Reach) -> bool {
    let loses_nothing = reach.last.index <= until.index || reach.last.term < until.term;
    reach.applied.index < until.index && loses_nothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duplex::Serial;
    use crate::journal::format::SEGMENT_HEADER_BYTES;
    use crate::journal::page::MemoryPage;
    use crate::journal::source::{GroupFiles, SegmentSource};
    use crate::model::ids::{ConnectionId, NodeId, SegmentId};
    use crate::model::position::{Position, Term};
    use crate::model::time::Time;
    use crate::replica::vote::{Vote, VoteFile};
    use crate::shard::follow::ReplyTo;
    use crate::shard::group::Group;
    use crate::shard::open::open_group;
    use crate::shard::peers::snapshot_wire::{Offer, Standing};
    use crate::shard::snapshot_transfer::fill::FillWork;
    use crate::shard::{ShardConfig, checkpoint};

    fn entry(index: u64, term: u64) -> Chain {
        Chain { index: LogIndex(index), term: Term(term), crc: 1, end: Position(index << 12) }
    }

    #[test]
    fn a_marker_is_no_checkpoint() {
        for index in [None, Some(LogIndex(1 << 40))] {
            let marker = marker(GroupId(7), index);
            assert!(is_marker(&marker));
            assert!(checkpoint::decode(&marker).is_err());
            assert_eq!(given_up(&marker), index);
        }
        assert!(!is_marker(b"HTCP"));
    }

    #[test]
    fn a_marker_that_is_damaged_or_from_before_says_nothing_of_what_was_given_up() {
        let marker = marker(GroupId(7), Some(LogIndex(9)));
        for byte in 4..marker.len() {
            let mut damaged = marker.clone();
            damaged[byte] ^= 4;
            assert_eq!((is_marker(&damaged), given_up(&damaged)), (true, None), "byte {byte}");
        }
        assert_eq!(given_up(&marker[..12]), None);
    }

    struct NoFiles;

    impl SegmentSource for NoFiles {
        fn read(&mut self, _: GroupId, _: SegmentId, _: u64, _: &mut [u8]) -> Result<(), String> {
            Err("there are none".into())
        }
    }

    /// A member that has no journal any more, and knows of this term.
    fn emptied(term: Term) -> Group<MemoryPage> {
        let formed = vec![NodeId(0), NodeId(1), NodeId(2)];
        let config = ShardConfig { node: NodeId(1), formed, ..crate::shard::tests::config() };
        let (_, slot) = VoteFile::default().next(Vote { term, voted_for: None });
        let mut vote = vec![0; slot.len()];
        vote.extend(slot);
        let (group, checkpoint) = (GroupId(0), Some(marker(GroupId(0), None)));
        let files = GroupFiles { vote, checkpoint, ..GroupFiles::new(group) };
        open_group(&config, &files, &mut NoFiles).expect("it opens").group
    }

    #[test]
    fn a_member_without_a_journal_takes_no_offer_of_who_led_before() {
        let mut group = emptied(Term(9));
        let empty = Standing::Empty { term: Term(9), given_up: None };
        assert_eq!(group.standing(), empty);
        let (start, until) = (Position(SEGMENT_HEADER_BYTES), entry(20, 5));
        let offer = |term| Offer { start, until, checkpoint_bytes: 10, term: Term(term) };
        let reply = ReplyTo { connection: ConnectionId(1), serial: Serial::default() };
        // Its leader may lack what was acknowledged here in term 9.
        let work = group.on_offer(NodeId(0), offer(8), reply, Time(0));
        let refused = |work: &FillWork<_>| match work {
            FillWork::Answer { to, standing } => *to == reply && *standing == empty,
            _ => false,
        };
        assert!(matches!(&work[..], [work] if refused(work)), "{work:?}");
        let work = group.on_offer(NodeId(2), offer(9), reply, Time(0));
        assert!(work.is_empty(), "{work:?}");
        let work = group.fill(Time(0));
        let taken = |work: &FillWork<_>| match work {
            FillWork::Answer { standing: Standing::Filling(it), .. } => it.offer == offer(9),
            _ => false,
        };
        assert!(matches!(&work[..], [FillWork::Cleared, work] if taken(work)), "{work:?}");
    }

    #[test]
    fn a_member_gives_nothing_up_that_may_count() {
        let reach = |last, applied| Reach { last, applied };
        let until = entry(20, 5);
        assert!(helps(&until, &Reach::default()), "one that has nothing");
        assert!(helps(&until, &reach(entry(20, 5), entry(10, 3))));
        assert!(helps(&until, &reach(entry(30, 4), entry(10, 3))), "what was never committed");
        assert!(!helps(&until, &reach(entry(30, 5), entry(10, 3))), "that may be committed");
        assert!(!helps(&until, &reach(entry(21, 6), entry(10, 3))), "that may be, too");
        assert!(!helps(&until, &reach(entry(20, 5), entry(20, 5))), "it has all of it");
    }
}
