//! Term and vote on disk: two slots, written in turn, so that a torn write leaves the other. With
//! them goes where the journal was cut off last, for recovery to know.

use crate::journal::format::checksum;
use crate::journal::recovery::Truncation;
use crate::limits::ENTRY_ALIGN_BYTES;
use crate::model::ids::NodeId;
use crate::model::position::{Position, Term};

/// The size of a vote file: two slots of one alignment unit each.
pub const VOTE_FILE_BYTES: usize = 2 * ENTRY_ALIGN_BYTES;

const MAGIC: [u8; 4] = *b"HTV2";
/// What slots began with that knew of no truncation.
const OLD_MAGIC: [u8; 4] = *b"HTVT";

/// What a member has promised: the highest term it has seen, and whom it voted for in that term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    pub term: Term,
    pub voted_for: Option<NodeId>,
}

/// The vote file's state: what was written last, and where the next write goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoteFile {
    pub vote: Vote,
    /// Where the journal was cut off last.
    pub truncation: Option<Truncation>,
    sequence: u64,
}

impl VoteFile {
    /// Reads a vote file. An empty one, or one of zeros, belongs to a new group.
    ///
    /// # Errors
    /// A sentence, if neither slot can be read though something was written.
    pub fn decode(file: &[u8]) -> Result<VoteFile, String> {
        let slots = file.chunks_exact(ENTRY_ALIGN_BYTES).take(2);
        if let Some(newest) = slots.filter_map(decode_slot).max_by_key(|file| file.sequence) {
            return Ok(newest);
        }
        if file.iter().all(|byte| *byte == 0) {
            return Ok(VoteFile::default());
        }
        Err("the vote file is damaged: neither of its two slots has a right checksum. \
             A node that forgot its vote may elect two leaders, so it must not start"
            .into())
    }

    /// The next slot to write: its place in the file and its bytes.
    pub fn next(&mut self, vote: Vote) -> (u64, [u8; ENTRY_ALIGN_BYTES]) {
        self.vote = vote;
        self.sequence += 1;
        let mut slot = [0; ENTRY_ALIGN_BYTES];
        slot[0..4].copy_from_slice(&MAGIC);
        slot[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        slot[16..24].copy_from_slice(&vote.term.0.to_le_bytes());
        slot[24..28].copy_from_slice(&u32::from(vote.voted_for.is_some()).to_le_bytes());
        slot[28..32].copy_from_slice(&vote.voted_for.map_or(0, |node| node.0).to_le_bytes());
        let truncation = self.truncation.map_or((0, 0), |it| (it.position.0, it.term.0));
        slot[32..40].copy_from_slice(&truncation.0.to_le_bytes());
        slot[40..48].copy_from_slice(&truncation.1.to_le_bytes());
        let crc = checksum(&slot[8..48]);
        slot[4..8].copy_from_slice(&crc.to_le_bytes());
        (self.sequence % 2 * ENTRY_ALIGN_BYTES as u64, slot)
    }
}

fn decode_slot(slot: &[u8]) -> Option<VoteFile> {
    let word = |at: usize| u32::from_le_bytes(slot[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
    let is_old = slot[0..4] == OLD_MAGIC;
    let end = if is_old { 32 } else { 48 };
    if (slot[0..4] != MAGIC && !is_old) || word(4) != checksum(&slot[8..end]) {
        return None;
    }
    let truncation = Truncation { position: Position(long(32)), term: Term(long(40)) };
    let truncation = (!is_old && truncation.position.0 > 0).then_some(truncation);
    let voted_for = (word(24) == 1).then(|| NodeId(word(28)));
    let vote = Vote { term: Term(long(16)), voted_for };
    Some(VoteFile { vote, truncation, sequence: long(8) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(term: u64) -> Vote {
        Vote { term: Term(term), voted_for: Some(NodeId(3)) }
    }

    fn write(file: &mut [u8], state: &mut VoteFile, vote: Vote) {
        let (at, slot) = state.next(vote);
        file[at as usize..at as usize + slot.len()].copy_from_slice(&slot);
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let mut file = vec![0; VOTE_FILE_BYTES];
        let mut state = VoteFile::decode(&file).unwrap();
        for term in 1..5 {
            write(&mut file, &mut state, vote(term));
            assert_eq!(VoteFile::decode(&file).unwrap().vote, vote(term));
        }
        let (at, _) = state.next(vote(5));
        file[at as usize + 20] ^= 1;
        assert_eq!(VoteFile::decode(&file).unwrap().vote, vote(4), "a torn write leaves the other");
    }

    #[test]
    fn a_truncation_stays_until_the_next() {
        let mut file = vec![0; VOTE_FILE_BYTES];
        let mut state = VoteFile::default();
        let truncation = Truncation { position: Position(8192), term: Term(4) };
        state.truncation = Some(truncation);
        for term in 4..7 {
            write(&mut file, &mut state, vote(term));
            assert_eq!(VoteFile::decode(&file).unwrap().truncation, Some(truncation));
        }
    }

    #[test]
    fn a_slot_of_the_first_format_is_read() {
        let mut file = vec![0; VOTE_FILE_BYTES];
        let slot = &mut file[4096..];
        slot[0..4].copy_from_slice(b"HTVT");
        slot[8] = 1;
        slot[16] = 9;
        let crc = checksum(&slot[8..32]);
        slot[4..8].copy_from_slice(&crc.to_le_bytes());
        let read = VoteFile::decode(&file).unwrap();
        assert_eq!((read.vote.term, read.truncation), (Term(9), None));
    }

    #[test]
    fn a_file_without_a_whole_slot_is_refused() {
        let mut file = vec![0; VOTE_FILE_BYTES];
        write(&mut file, &mut VoteFile::default(), vote(1));
        file[4096 + 20] ^= 1;
        assert!(VoteFile::decode(&file).is_err());
    }
}
