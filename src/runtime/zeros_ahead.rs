//! Zeros that a shard writes ahead of its own journal, where a segment is allocated only.
//!
//! Such a segment comes of a burst: its journal needed it before it was filled with zeros. Once the
//! burst is over, each small write in the rest of it would have the file system commit what it
//! has changed of the file's extents (`kernel-notes/001-*`). So some room ahead is written at once,
//! and one write of many pays for it.
//!
//! Rules: zeros go only where nothing was ever written, as the file system says, nor is being
//! written; an entry that comes there meanwhile waits for them; and the file of a removed segment
//! isn't used again before they are done. Old entries are written again where they had rotted, so
//! a write doesn't say where the journal ends.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::model::time::Time;
use crate::runtime::direct_file::DirectFile;
use crate::runtime::disk_memory::DiskBuffer;
use crate::runtime::executor::spawn_local;
use crate::runtime::shard_io::ShardIo;

/// So much is written at once, at least and at most: all of it changes the file's extents once.
const ZEROS_BYTES_MIN: usize = 64 << 10;
const ZEROS_BYTES_MAX: usize = 2 << 20;
/// No longer should that take, as entries wait behind it: else less is written the next time.
const ZEROS_TIME_MAX: Duration = Duration::from_millis(1);
/// When so much or less is left, more follows.
const LEFT_MIN: u64 = ZEROS_BYTES_MAX as u64 / 2;
/// A write of so much or more is held up by its bytes rather than by extents, and comes in bursts.
const BURST_WRITE_BYTES: usize = 64 << 10;
/// Before the next, the disk is left alone for so many times as long as the last one took.
const REST_TIMES: u32 = 4;

/// What is known of one segment's blocks.
#[derive(Default)]
pub struct ZerosAhead {
    /// All before this was written, is being written, or is about to. Not known before the first
    /// write.
    written_to: Cell<Option<u64>>,
    /// Entries being written, or about to be.
    entries: Cell<usize>,
    under_way: RefCell<Option<UnderWay>>,
    /// How much to write the next time.
    next_bytes: Cell<usize>,
    rest_until: Cell<Time>,
}

/// Zeros on their way to the disk.
struct UnderWay {
    from: u64,
    to: u64,
    waiting: Vec<Waker>,
    /// Disconnected when they are there.
    done: flume::Receiver<()>,
}

impl ZerosAhead {
    /// An entry is about to be written at `at`: notes that, and waits for zeros that are on their
    /// way there.
    pub async fn make_way(&self, file: &DirectFile, at: u64, bytes: usize) {
        let end = at + bytes as u64;
        self.entries.update(|count| count + 1);
        // Where that can't be told, nothing is known of holes, and no zeros are written.
        let known = self.written_to.get();
        let known = known.unwrap_or_else(|| file.hole(at, 0).map_or(u64::MAX, |hole| hole.start));
        self.written_to.set(Some(known.max(end)));
        poll_fn(|context| match &mut *self.under_way.borrow_mut() {
            Some(zeros) if at < zeros.to && zeros.from < end => {
                zeros.waiting.push(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
        .await;
    }

    /// The entry that way was made for, of so many bytes up to `end`, was written, or could not be.
    /// If no other is being written, and zeros behind it are worth it, they begin to be: a journal
    /// that has more to write at the same time needs the disk for that.
    pub fn look_ahead(
        self: &Rc<Self>,
        io: &Rc<ShardIo>,
        file: &Rc<DirectFile>,
        end: u64,
        bytes: usize,
    ) {
        self.entries.update(|count| count - 1);
        let Some(from) = self.written_to.get() else { return };
        if from >= io.helper.segment_bytes()
            || from.saturating_sub(end) > LEFT_MIN
            || bytes >= BURST_WRITE_BYTES
            || self.entries.get() > 0
            || self.under_way.borrow().is_some()
            || io.clock.time() < self.rest_until.get()
        {
            return;
        }
        let bytes = self.next_bytes.get().max(ZEROS_BYTES_MIN);
        let Ok(Range { start: from, end: to }) = file.hole(from, bytes as u64) else {
            return self.written_to.set(Some(u64::MAX));
        };
        if from == to {
            return self.written_to.set(Some(to));
        }
        let (ends, done) = flume::bounded::<()>(0);
        *self.under_way.borrow_mut() = Some(UnderWay { from, to, waiting: Vec::new(), done });
        self.written_to.set(Some(to));
        let (ahead, io, file) = (self.clone(), io.clone(), file.clone());
        spawn_local(async move {
            let began = io.clock.time();
            let zeros = DiskBuffer::zeroed((to - from) as usize);
            if let Err(error) = file.write_at(Rc::new(zeros), from).await {
                // Whoever writes entries there is told the same, and says so.
                tracing::debug!(shard = io.shard.0, "can't write zeros ahead: {error}");
                ahead.written_to.set(Some(u64::MAX));
            }
            let now = io.clock.time();
            let took = now.since(began);
            ahead.next_bytes.set(next_bytes(bytes, took));
            ahead.rest_until.set(now + REST_TIMES * took.min(Duration::from_secs(1)));
            let over = ahead.under_way.take();
            drop(ends);
            over.into_iter().flat_map(|zeros| zeros.waiting).for_each(Waker::wake);
        })
        .detach();
    }

    /// What is disconnected once no zeros are on their way, if some are.
    pub fn until_done(&self) -> Option<flume::Receiver<()>> {
        self.under_way.borrow().as_ref().map(|zeros| zeros.done.clone())
    }
}

/// How much to write after so many bytes that took so long.
fn next_bytes(bytes: usize, took: Duration) -> usize {
    let next = match took {
        _ if took > ZEROS_TIME_MAX => bytes / 2,
        _ if took < ZEROS_TIME_MAX / 2 => bytes * 2,
        _ => bytes,
    };
    next.clamp(ZEROS_BYTES_MIN, ZEROS_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::ShardId;
    use crate::runtime::aligned::open_direct;
    use crate::runtime::clock::Clock;
    use crate::runtime::executor::{sleep, start_executor};
    use crate::runtime::journal_files::{Durability, JournalFiles};
    use crate::runtime::segment_files::FileHelper;
    use nix::fcntl::{FallocateFlags, fallocate};
    use std::path::{Path, PathBuf};

    const SEGMENT_BYTES: u64 = 12 << 20;

    /// A shard, and a segment of which all is allocated and nothing written.
    async fn with_segment<F: Future>(
        dir: PathBuf,
        test: impl FnOnce(Rc<ShardIo>, Rc<DirectFile>) -> F,
    ) -> F::Output {
        let helper = FileHelper::start(&dir, SEGMENT_BYTES).unwrap();
        let files = JournalFiles::new(&dir, Durability::Dsync);
        let io = ShardIo::new(ShardId(0), Clock::start(), 1, files, helper, Vec::new());
        let path = dir.join("segment");
        let file = open_direct(&path, true, 0).unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, SEGMENT_BYTES as i64).unwrap();
        let file = DirectFile::open(&path, 0).await.unwrap();
        test(io, file).await
    }

    fn run<F: Future<Output: Send + 'static> + 'static>(
        name: &str,
        test: impl FnOnce(Rc<ShardIo>, Rc<DirectFile>) -> F + Send + 'static,
    ) -> F::Output {
        let dir = std::env::temp_dir().join(format!("hutong-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let of = dir.clone();
        let main = move || with_segment(of, test);
        let ended = start_executor("zeros", None, 8 << 20, main).unwrap().join().unwrap();
        std::fs::remove_dir_all(Path::new(&dir)).unwrap();
        ended
    }

    fn first_hole(file: &DirectFile) -> u64 {
        file.hole(0, 1).unwrap().start
    }

    async fn no_zeros_under_way(ahead: &ZerosAhead) {
        while ahead.until_done().is_some() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn write(
        ahead: &Rc<ZerosAhead>,
        io: &Rc<ShardIo>,
        file: &Rc<DirectFile>,
        at: u64,
        n: usize,
    ) {
        ahead.make_way(file, at, n).await;
        let mut entry = DiskBuffer::take(n);
        entry.bytes_mut().fill((at >> 12) as u8 | 1);
        assert_eq!(file.write_at(Rc::new(entry), at).await.unwrap(), n);
        ahead.look_ahead(io, file, at + n as u64, n);
    }

    #[test]
    fn entries_stay_whatever_zeros_are_on_their_way_beside_them() {
        run("beside-zeros", |io, file| async move {
            let ahead = Rc::new(ZerosAhead::default());
            let (mut at, mut under_way) = (4096, Vec::new());
            let mut entries = Vec::new();
            for nth in 0.. {
                let n = [4096, 12_288, BURST_WRITE_BYTES, 4096][nth % 4];
                if at + n as u64 > SEGMENT_BYTES {
                    break;
                }
                entries.push((at, n));
                let (of, io, file) = (ahead.clone(), io.clone(), file.clone());
                under_way.push(spawn_local(async move { write(&of, &io, &file, at, n).await }));
                at += n as u64;
                if under_way.len() == 3 {
                    under_way.remove(0).await;
                    // Or else no zeros were ever written again.
                    ahead.rest_until.set(Time(0));
                }
            }
            for write in under_way {
                write.await;
            }
            no_zeros_under_way(&ahead).await;
            for (at, n) in entries {
                let read = file.read_at(at, n).await.unwrap();
                assert!(read.bytes().iter().all(|byte| *byte == (at >> 12) as u8 | 1), "at {at}");
            }
        });
    }

    #[test]
    fn as_much_is_written_as_takes_no_longer_than_it_may() {
        let long = ZEROS_TIME_MAX + Duration::from_nanos(1);
        assert_eq!(next_bytes(1 << 20, long), 512 << 10);
        assert_eq!(next_bytes(1 << 20, ZEROS_TIME_MAX), 1 << 20);
        assert_eq!(next_bytes(512 << 10, ZEROS_TIME_MAX / 3), 1 << 20);
        assert_eq!(next_bytes(ZEROS_BYTES_MAX, Duration::ZERO), ZEROS_BYTES_MAX);
        assert_eq!(next_bytes(ZEROS_BYTES_MIN, 100 * ZEROS_TIME_MAX), ZEROS_BYTES_MIN);
    }

    #[test]
    fn what_lies_behind_a_hole_is_left_alone() {
        run("behind-a-hole", |io, file| async move {
            // As in a copy that was made without its zeros.
            let later = DiskBuffer::zeroed(4096);
            file.write_at(Rc::new(later), 1 << 20).await.unwrap();
            let ahead = Rc::new(ZerosAhead::default());
            ahead.next_bytes.set(ZEROS_BYTES_MAX);
            write(&ahead, &io, &file, 0, 4096).await;
            let under_way = ahead.under_way.borrow().as_ref().map(|zeros| zeros.from..zeros.to);
            assert_eq!(under_way, Some(4096..1 << 20));
            no_zeros_under_way(&ahead).await;
            ahead.rest_until.set(Time(0));
            write(&ahead, &io, &file, 4096, 4096).await;
            let under_way = ahead.under_way.borrow().as_ref().map(|zeros| zeros.from);
            assert_eq!(under_way, Some((1 << 20) + 4096));
            no_zeros_under_way(&ahead).await;
        });
    }

    #[test]
    fn a_small_write_has_room_written_behind_it_and_a_large_one_has_not() {
        run("room-behind", |io, file| async move {
            let ahead = Rc::new(ZerosAhead::default());
            ahead.next_bytes.set(ZEROS_BYTES_MAX);
            assert_eq!(first_hole(&file), 0);
            write(&ahead, &io, &file, 0, BURST_WRITE_BYTES).await;
            assert!(ahead.until_done().is_none());
            let at = BURST_WRITE_BYTES as u64;
            write(&ahead, &io, &file, at, 4096).await;
            let done = ahead.until_done().expect("zeros are on their way");
            assert!(done.recv_async().await.is_err());
            let written_to = at + 4096 + ZEROS_BYTES_MAX as u64;
            assert_eq!(first_hole(&file), written_to);
            // There is room, and then there is little, but the disk is left alone for a while.
            write(&ahead, &io, &file, at + 4096, 4096).await;
            assert!(ahead.until_done().is_none());
            ahead.rest_until.set(Time::NEVER);
            write(&ahead, &io, &file, written_to - 4096, 4096).await;
            assert!(ahead.until_done().is_none());
            ahead.rest_until.set(Time(0));
            write(&ahead, &io, &file, written_to, 4096).await;
            assert!(ahead.until_done().is_some());
            // Another that finds the same segment finds where it goes on.
            let again = Rc::new(ZerosAhead::default());
            let ahead_to = ahead.written_to.get();
            no_zeros_under_way(&ahead).await;
            again.make_way(&file, at, 4096).await;
            assert_eq!(again.written_to.get(), ahead_to);
        });
    }
}
