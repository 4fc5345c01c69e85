//! The journal and vote files a shard has open.
//!
//! Opened when first needed and kept; when there are too many, those that nobody uses are closed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};

use nix::libc;
use rustc_hash::FxHashMap;

use crate::model::ids::{GroupId, SegmentId};
use crate::runtime::data_dir::{group_dir, segment_path};
use crate::runtime::direct_file::DirectFile;
use crate::runtime::segment_files::failure;
use crate::runtime::zeros_ahead::ZerosAhead;
use crate::shard::input::IoFailure;

/// Files that stay open though nobody uses them.
const OPEN_FILES_MAX: usize = 256;

/// One file of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKey {
    Segment(GroupId, SegmentId),
    Vote(GroupId),
}

/// How a journal write becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Each write is, when it returns.
    Dsync,
    /// By an fdatasync after it.
    Fdatasync,
}

/// A file that is open.
#[derive(Clone)]
pub struct JournalFile {
    pub file: Rc<DirectFile>,
    pub zeros: Rc<ZerosAhead>,
}

enum Slot {
    Opening(Vec<Waker>),
    Open(JournalFile),
}

/// The open files of one shard.
pub struct JournalFiles {
    data_dir: PathBuf,
    durability: Durability,
    slots: RefCell<FxHashMap<FileKey, Slot>>,
}

impl JournalFiles {
    /// No file is opened yet. The path must be absolute.
    pub fn new(data_dir: &Path, durability: Durability) -> JournalFiles {
        JournalFiles { data_dir: data_dir.to_path_buf(), durability, slots: RefCell::default() }
    }

    /// How writes to segments become durable.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The file, opened if it isn't.
    pub async fn get(&self, key: FileKey) -> Result<JournalFile, IoFailure> {
        loop {
            match self.slots.borrow_mut().get(&key) {
                Some(Slot::Open(file)) => return Ok(file.clone()),
                Some(Slot::Opening(_)) => {}
                None => break,
            }
            self.opened(key).await;
        }
        self.slots.borrow_mut().insert(key, Slot::Opening(Vec::new()));
        let opened = self.open(key).await.map(|file| JournalFile { file, zeros: Rc::default() });
        let mut slots = self.slots.borrow_mut();
        let waiters = match slots.remove(&key) {
            Some(Slot::Opening(waiters)) => waiters,
            _ => Vec::new(),
        };
        if let Ok(file) = &opened {
            if slots.len() >= OPEN_FILES_MAX {
                slots.retain(|_, slot| !is_unused(slot));
            }
            slots.insert(key, Slot::Open(file.clone()));
        }
        waiters.into_iter().for_each(Waker::wake);
        opened
    }

    /// Closes a segment's file once its reads are done: it will be renamed or deleted. Returns what
    /// is disconnected once no zeros are on their way into it, if some are.
    pub fn forget(&self, group: GroupId, segment: SegmentId) -> Option<flume::Receiver<()>> {
        match self.slots.borrow_mut().remove(&FileKey::Segment(group, segment)) {
            Some(Slot::Open(file)) => file.zeros.until_done(),
            _ => None,
        }
    }

    /// Closes all files of a group: they will be deleted.
    pub fn forget_group(&self, group: GroupId) {
        self.slots.borrow_mut().retain(|key, _| match key {
            FileKey::Segment(of, _) | FileKey::Vote(of) => *of != group,
        });
    }

    /// Waits until somebody else has opened the file, or failed to.
    async fn opened(&self, key: FileKey) {
        let mut waited = false;
        poll_fn(|context| match self.slots.borrow_mut().get_mut(&key) {
            Some(Slot::Opening(waiters)) if !waited => {
                waited = true;
                waiters.push(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
        .await;
    }

    async fn open(&self, key: FileKey) -> Result<Rc<DirectFile>, IoFailure> {
        let (path, flags) = match (key, self.durability) {
            (FileKey::Vote(group), _) => {
                (group_dir(&self.data_dir, group).join("vote"), libc::O_DSYNC)
            }
            (FileKey::Segment(group, segment), Durability::Dsync) => {
                (segment_path(&self.data_dir, group, segment), libc::O_DSYNC)
            }
            (FileKey::Segment(group, segment), Durability::Fdatasync) => {
                (segment_path(&self.data_dir, group, segment), 0)
            }
        };
        DirectFile::open(&path, flags).await.map_err(|error| failure("open", &path, &error))
    }
}

fn is_unused(slot: &Slot) -> bool {
    matches!(slot, Slot::Open(open) if Rc::strong_count(&open.file) == 1)
}
