//! Reads for members that are behind: never more than a few at a time, however many members and
//! groups there are, and one after the other rather than all at once, so that the disk and the CPUs
//! are there for clients and for the tail.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::MEMBER_READS_MAX;
use crate::model::time::Time;
use crate::shard::output::Output;

/// Where nothing is known of how fast reads are, or less: bytes in a second.
const RATE_MIN: f64 = (64 << 20) as f64;
/// How much faster reads may become from one window to the next.
const GAIN: f64 = 1.5;
/// Twice the tenth of a second that disks with a limit mostly go by, and some more.
const WINDOW: Duration = Duration::from_millis(250);

/// The reads of a shard that other nodes wait for.
#[derive(Debug)]
pub struct MemberReads<P> {
    under_way: usize,
    waiting: VecDeque<(Output<P>, usize)>,
    pace: Pace,
}

impl<P> Default for MemberReads<P> {
    fn default() -> Self {
        MemberReads { under_way: 0, waiting: VecDeque::new(), pace: Pace::default() }
    }
}

impl<P> MemberReads<P> {
    /// Another read, of so many bytes.
    pub fn add(&mut self, read: Output<P>, bytes: usize) {
        self.waiting.push_back((read, bytes));
    }

    /// One is done.
    pub fn done(&mut self) {
        self.under_way -= 1;
    }

    /// The next that is to begin now, if one is.
    pub fn poll(&mut self, now: Time) -> Option<Output<P>> {
        if now < self.next_deadline()? {
            return None;
        }
        let (read, bytes) = self.waiting.pop_front()?;
        self.pace.begin(bytes, now);
        self.under_way += 1;
        Some(read)
    }

    /// When the next may begin, if it waits for nothing else.
    pub fn next_deadline(&self) -> Option<Time> {
        let waits = !self.waiting.is_empty() && self.under_way < MEMBER_READS_MAX;
        waits.then_some(self.pace.next)
    }
}

/// How soon one read follows another: so that they come a little faster than they did lately.
///
/// Disks with a limit, a cloud's or a cgroup's, hand out what may be read in a tenth of a second
/// at once. If it is read at once, too, and sent, and written by the member, then CPUs that nodes
/// share are busy with that alone for some milliseconds, ten times a second, and the tail waits.
/// Spread out it takes as much of the disk, and nobody waits. The rate is found as by BBR (Cardwell
/// et al., 2016): what was measured last, times a gain, so that more is tried until no more comes.
#[derive(Debug)]
struct Pace {
    /// Bytes in a second.
    rate: f64,
    next: Time,
    /// What was read since when.
    bytes: u64,
    since: Time,
    /// What was measured in the window before.
    measured: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { rate: RATE_MIN, next: Time(0), bytes: 0, since: Time(0), measured: 0.0 }
    }
}

impl Pace {
    /// A read of so many bytes begins.
    fn begin(&mut self, bytes: usize, now: Time) {
        let elapsed = now.since(self.since);
        if elapsed >= WINDOW {
            let measured = self.bytes as f64 / elapsed.as_secs_f64();
            // One window may hold a pause that has nothing to do with the disk.
            self.rate = RATE_MIN.max(GAIN * measured.max(self.measured));
            (self.measured, self.bytes, self.since) = (measured, 0, now);
        }
        self.bytes += bytes as u64;
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate);
        // What comes a little late is made up for.
        let late = now.since(self.next);
        self.next = if late < takes { self.next } else { now } + takes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{GroupId, ReadId, SegmentId};

    const BYTES: usize = 1 << 20;
    const STEP: Duration = Duration::from_micros(100);
    const STEPS_PER_SECOND: u32 = 10_000;

    type Reads = MemberReads<Vec<u8>>;

    fn add(reads: &mut Reads) {
        let (group, read, segment) = (GroupId(0), ReadId(0), SegmentId(0));
        reads.add(Output::ReadJournal { group, read, segment, at: 0, bytes: BYTES }, BYTES);
    }

    /// Bytes in a second, in each of these seconds, where the disk gives `mb` MB at the beginning
    /// of each 100 ms, at once. And in how many of them it gave the last of that before 50 ms.
    fn seconds(reads: &mut Reads, begin: Time, n: usize, mb: f64) -> (Vec<f64>, Vec<usize>) {
        let (mut now, mut left, mut rates, mut early) = (begin, 0.0, Vec::new(), Vec::new());
        for _ in 0..n {
            let (mut read, mut exhausted) = (0, 0);
            for step in 0..STEPS_PER_SECOND {
                if step % (STEPS_PER_SECOND / 10) == 0 {
                    left = mb * 1e6;
                }
                while left >= BYTES as f64 && reads.poll(now).is_some() {
                    left -= BYTES as f64;
                    reads.done();
                    add(reads);
                    read += BYTES;
                    let is_last = left < BYTES as f64;
                    let is_early = step % (STEPS_PER_SECOND / 10) < STEPS_PER_SECOND / 20;
                    exhausted += usize::from(is_last && is_early);
                }
                now = now + STEP;
            }
            rates.push(read as f64);
            early.push(exhausted);
        }
        (rates, early)
    }

    #[test]
    fn what_a_disk_gives_at_once_is_read_bit_by_bit() {
        let mut reads = Reads::default();
        add(&mut reads);
        let (rates, early) = seconds(&mut reads, Time(1_000_000_000), 4, 20.0);
        assert!(rates[3] > 180e6, "{rates:?}");
        assert_eq!(early, [0; 4]);
    }

    #[test]
    fn a_disk_that_is_fast_or_becomes_slow_is_found_to_be() {
        let mut reads = Reads::default();
        add(&mut reads);
        let (rates, _) = seconds(&mut reads, Time(1_000_000_000), 4, 200.0);
        assert!(rates[0] < 500e6 && rates[3] > 1.5e9, "{rates:?}");
        let (rates, early) = seconds(&mut reads, Time(5_000_000_000), 2, 20.0);
        assert!(rates[1] > 180e6, "{rates:?}");
        assert!(early[0] > 0 && early[1] == 0, "{early:?}");
    }

    #[test]
    fn a_few_are_under_way_at_a_time() {
        let mut reads = Reads::default();
        let mut now = Time(1_000_000_000);
        (0..=MEMBER_READS_MAX).for_each(|_| add(&mut reads));
        for _ in 0..MEMBER_READS_MAX {
            assert!(reads.poll(now).is_some());
            assert!(reads.poll(now).is_none());
            now = now + 200 * STEP;
        }
        assert_eq!(reads.next_deadline(), None);
        assert!(reads.poll(now).is_none());
        reads.done();
        assert!(reads.poll(now).is_some());
    }
}
