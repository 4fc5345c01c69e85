//! Reads for members that are behind: never more than a few at a time, however many members and
//! groups there are, so that the disk is there for clients and for the tail.

use std::collections::VecDeque;

use crate::limits::MEMBER_READS_MAX;
use crate::shard::output::Output;

/// The reads of a shard that other nodes wait for.
#[derive(Debug)]
pub struct MemberReads<P> {
    under_way: usize,
    waiting: VecDeque<Output<P>>,
}

impl<P> Default for MemberReads<P> {
    fn default() -> Self {
        MemberReads { under_way: 0, waiting: VecDeque::new() }
    }
}

impl<P> MemberReads<P> {
    /// Gives the read back if it may begin now.
    pub fn begin(&mut self, read: Output<P>) -> Option<Output<P>> {
        if self.under_way == MEMBER_READS_MAX {
            self.waiting.push_back(read);
            return None;
        }
        self.under_way += 1;
        Some(read)
    }

    /// One is done: gives out the next.
    pub fn done(&mut self) -> Option<Output<P>> {
        self.under_way -= 1;
        let next = self.waiting.pop_front()?;
        self.begin(next)
    }
}
