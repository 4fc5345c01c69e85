//! How fast a new segment is filled with zeros, and when that is given up.
//!
//! Zeros take from the disk what the journals could have, so they are written with pauses. But a
//! journal whose next segment isn't there writes nothing at all. So the pauses end when a journal
//! fills its segments nearly as fast as new ones are made, and a segment that is about to be
//! needed is handed over as it is: the rest of it is slower to write, and that is all.
//!
//! A journal that is faster than zeros are, in large writes, as that of a node that catches up,
//! gets none: they would take half of the disk, and large writes lose less than that without them.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::model::ids::{GroupId, SegmentId};

/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Where there is time, a pause is so many times as long as the zeros before it took.
const PAUSE_TIMES: u32 = 4;

/// A write of so many bytes loses less without zeros than half of what the disk does
/// (`kernel-notes/001-*`, `kernel-notes/007-*`).
const LARGE_WRITE_BYTES: usize = 512 << 10;

/// Word from a journal's writer: it is halfway through a segment.
#[derive(Clone, Copy, Debug)]
pub struct Halfway {
    pub group: GroupId,
    pub segment: SegmentId,
    /// When it was.
    pub at: Instant,
    /// How large the write was that came there. Most likely that is one of those which most of the
    /// journal comes in.
    pub bytes: usize,
}

/// What is known of the writers of all groups.
pub struct ZeroPace {
    halfway: flume::Receiver<Halfway>,
    groups: FxHashMap<GroupId, Writer>,
}

#[derive(Default)]
struct Writer {
    /// Where it was last heard of.
    halfway: Option<(SegmentId, Instant)>,
    /// How long it took for the last segment.
    segment_took: Option<Duration>,
    /// Whether it came there by a large write.
    writes_large: bool,
    /// The segment that is made for it now, or was made last; whether that is done.
    newest: Option<(SegmentId, bool)>,
}

impl Writer {
    fn hear(&mut self, Halfway { segment, at, bytes, .. }: Halfway) {
        self.segment_took = match self.halfway {
            Some((before, then)) if before.0 + 1 == segment.0 => Some(at.duration_since(then)),
            _ => None,
        };
        self.halfway = Some((segment, at));
        self.writes_large = bytes >= LARGE_WRITE_BYTES;
    }

    /// How long it takes for a segment: as for the last one, or longer if it isn't heard of.
    fn fills_in(&self) -> Option<Duration> {
        let since = self.halfway.map(|(_, at)| at.elapsed());
        self.segment_took.max(self.segment_took.and(since))
    }

    /// Whether it is halfway through the last segment that is there.
    fn needs_next(&self) -> bool {
        match (self.halfway, self.newest) {
            (Some((halfway, _)), Some((newest, made))) => halfway.0 + u64::from(!made) >= newest.0,
            _ => false,
        }
    }
}

impl ZeroPace {
    /// Listens to the writers.
    pub fn new(halfway: flume::Receiver<Halfway>) -> ZeroPace {
        ZeroPace { halfway, groups: FxHashMap::default() }
    }

    /// This segment is being made.
    pub fn begin(&mut self, group: GroupId, segment: SegmentId) {
        self.listen();
        self.groups.entry(group).or_default().newest = Some((segment, false));
    }

    /// It is there, or could not be made: then it will be asked for again.
    pub fn end(&mut self, group: GroupId, segment: SegmentId, made: bool) {
        let newest = made.then_some((segment, true));
        self.groups.entry(group).or_default().newest = newest;
    }

    /// Whether a journal comes near the end of its last segment. Whichever is being made is to be
    /// handed over: the one that is needed may come behind it.
    pub fn is_urgent(&mut self) -> bool {
        self.listen();
        self.groups.values().any(Writer::needs_next)
    }

    // For each segment, also where a spare is taken and no zeros are written: what is not heard
    // piles up.
    fn listen(&mut self) {
        for halfway in self.halfway.try_iter() {
            self.groups.entry(halfway.group).or_default().hear(halfway);
        }
    }

    /// How long to leave the disk alone after a block of zeros that took so long, one of `blocks`
    /// in a segment of this group: so long that the segment is made in half the time in which the
    /// writer fills one, or as long again if nothing is known of it. `None`: for good, as zeros
    /// take longer than the writer itself for as much, and it can do without.
    pub fn pause(&self, group: GroupId, blocks: u32, took: Duration) -> Option<Duration> {
        let writer = self.groups.get(&group);
        let Some((writer, filled_in)) = writer.and_then(|w| Some((w, w.fills_in()?))) else {
            return Some(took.min(PAUSE_MAX));
        };
        if writer.writes_large && took > filled_in / blocks {
            return None;
        }
        let spare = (filled_in / (2 * blocks)).saturating_sub(took);
        Some(spare.min(PAUSE_TIMES * took).min(PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SMALL: usize = 4096;
    const GROUP: GroupId = GroupId(3);

    fn pace() -> (flume::Sender<Halfway>, ZeroPace) {
        let (sender, receiver) = flume::unbounded();
        (sender, ZeroPace::new(receiver))
    }

    #[test]
    fn a_segment_is_urgent_when_the_one_before_it_is_half_full() {
        let (writers, mut pace) = pace();
        let at = Instant::now();
        let halfway =
            |group, segment| Halfway { group, segment: SegmentId(segment), at, bytes: SMALL };
        pace.begin(GROUP, SegmentId(7));
        assert!(!pace.is_urgent());
        writers.send(halfway(GROUP, 5)).unwrap();
        assert!(!pace.is_urgent());
        writers.send(halfway(GROUP, 6)).unwrap();
        assert!(pace.is_urgent());
        pace.end(GROUP, SegmentId(7), true);
        assert!(!pace.is_urgent());
        // The next is asked for behind another group's, which then makes way.
        let other = GroupId(4);
        pace.begin(other, SegmentId(1));
        assert!(!pace.is_urgent());
        writers.send(halfway(GROUP, 7)).unwrap();
        assert!(pace.is_urgent());
        pace.end(other, SegmentId(1), true);
        pace.begin(GROUP, SegmentId(8));
        assert!(pace.is_urgent());
        // What can't be made holds up nobody else.
        pace.end(GROUP, SegmentId(8), false);
        assert!(!pace.is_urgent());
    }

    #[test]
    fn pauses_end_when_the_writer_is_fast() {
        let (writers, mut pace) = pace();
        let mut at = Instant::now();
        pace.begin(GROUP, SegmentId(9));
        assert_eq!(pace.pause(GROUP, 100, MS), Some(MS), "nothing is known of the writer");
        let mut write = |segment, took: Duration| {
            at += took;
            let segment = SegmentId(segment);
            writers.send(Halfway { group: GROUP, segment, at, bytes: SMALL }).unwrap();
        };
        write(1, MS);
        write(2, 1000 * MS);
        assert!(!pace.is_urgent());
        assert_eq!(pace.pause(GROUP, 100, MS / 2), Some(2 * MS));
        assert_eq!(pace.pause(GROUP, 100, 3 * MS), Some(2 * MS));
        assert_eq!(pace.pause(GROUP, 100, 6 * MS), Some(Duration::ZERO));
        assert_eq!(pace.pause(GroupId(4), 100, 40 * MS), Some(PAUSE_MAX));
        write(3, 100 * MS);
        assert!(!pace.is_urgent());
        assert_eq!(pace.pause(GROUP, 100, MS), Some(Duration::ZERO));
        // Behind a cut the time between two halves says nothing.
        write(3, MS);
        assert!(!pace.is_urgent());
        assert_eq!(pace.pause(GROUP, 100, MS), Some(MS));
    }

    #[test]
    fn a_writer_that_is_not_heard_of_for_long_has_become_slower() {
        let (writers, mut pace) = pace();
        for (segment, ago) in [(1, 11), (2, 10)] {
            let at = Instant::now().checked_sub(ago * 1000 * MS).expect("the machine runs longer");
            let segment = SegmentId(segment);
            writers.send(Halfway { group: GROUP, segment, at, bytes: SMALL }).unwrap();
        }
        assert!(!pace.is_urgent());
        assert_eq!(pace.pause(GROUP, 100, 3 * MS), Some(12 * MS));
    }

    #[test]
    fn a_fast_writer_of_much_at_a_time_gets_no_zeros() {
        let (writers, mut pace) = pace();
        let mut at = Instant::now();
        pace.begin(GROUP, SegmentId(9));
        let mut write = |segment, bytes| {
            at += 1000 * MS;
            writers.send(Halfway { group: GROUP, segment: SegmentId(segment), at, bytes }).unwrap();
        };
        write(1, LARGE_WRITE_BYTES);
        assert!(!pace.is_urgent());
        assert_eq!(pace.pause(GROUP, 100, 40 * MS), Some(PAUSE_MAX), "how fast isn't known");
        write(2, LARGE_WRITE_BYTES);
        assert!(!pace.is_urgent());
        assert_eq!(pace.pause(GROUP, 100, 10 * MS), Some(Duration::ZERO));
        assert_eq!(pace.pause(GROUP, 100, 11 * MS), None);
        write(3, LARGE_WRITE_BYTES - SMALL);
        assert!(!pace.is_urgent());
        assert_eq!(pace.pause(GROUP, 100, 11 * MS), Some(Duration::ZERO));
    }
}
