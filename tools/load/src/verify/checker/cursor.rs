//! Walking two lists of runs side by side, by offset.

use std::iter::Peekable;

use crate::verify::runs::{Run, Runs};

/// A place in runs that are ordered by offset.
pub struct Cursor<'a> {
    runs: &'a Runs,
    rest: Peekable<Box<dyn Iterator<Item = Run> + 'a>>,
    /// Runs that end at or before this offset are behind it.
    passed: i64,
}

impl<'a> Cursor<'a> {
    pub fn new(runs: &'a Runs) -> Cursor<'a> {
        let all: Box<dyn Iterator<Item = Run> + 'a> = Box::new(runs.iter());
        Cursor { runs, rest: all.peekable(), passed: i64::MIN }
    }

    /// Cuts `run` where what the cursor's runs hold at its offsets changes, and shows each piece
    /// with the piece that is there: as long, or none. Fast as long as offsets go up.
    pub fn compare(&mut self, run: Run, mut show: impl FnMut(Run, Option<Run>)) {
        if run.offset < self.passed {
            *self = Cursor::new(self.runs);
        }
        let mut done = 0;
        while done < run.count {
            let at = run.offset + done as i64;
            while self.rest.next_if(|there| there.end() <= at).is_some() {}
            self.passed = at;
            let left = run.count - done;
            let (length, there) = match self.rest.peek() {
                Some(there) if there.offset <= at => {
                    let skip = (at - there.offset) as u64;
                    let length = left.min(there.count - skip);
                    (length, Some(there.part(skip, length)))
                }
                Some(there) => (left.min((there.offset - at) as u64), None),
                None => (left, None),
            };
            show(run.part(done, length), there);
            done += length;
        }
    }
}
