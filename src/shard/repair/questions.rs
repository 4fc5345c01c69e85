//! What other nodes and tools ask about the journals of this shard, answered from its disk.

use super::look::{Look, Looked};
use super::{Reading, limit};
use crate::journal::page::Page;
use crate::limits::{JOURNAL_QUESTIONS_MAX, READ_CHUNK_BYTES, SCRUB_READ_BYTES};
use crate::model::position::{Position, Term};
use crate::shard::Shard;
use crate::shard::follow::ReplyTo;
use crate::shard::group::Group;
use crate::shard::output::Output;
use crate::shard::peers::repair_wire::{
    EntrySum, JournalPlace, JournalQuestion, NoSums, NotHeld, Sums, put_held, put_sums,
};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The entry that follows, of those that are committed.
    Entry,
    /// The same; or of all that are on this disk, if this node leads in that term or a later one.
    Led(Term),
    /// The entry that follows, of all that are on this disk.
    Held,
    /// The checksums of those that follow.
    Sums,
}

impl Wanted {
    /// The end of what is told.
    pub(super) fn limit<P: Page>(self, group: &Group<P>) -> Position {
        match self {
            Wanted::Held => group.journal.flush_position(),
            Wanted::Led(term) if leads_since(group, term) => group.journal.flush_position(),
            Wanted::Entry | Wanted::Led(_) | Wanted::Sums => limit(group),
        }
    }
}

/// Whether this node leads a group in that term or a later one, so that its journal is what those
/// follow who know of no later term.
pub fn leads_since<P: Page>(group: &Group<P>, term: Term) -> bool {
    group.replica.is_leader() && group.replica.term() >= term
}

/// Whether what follows a place was trimmed here, and this node is the one that can give a
/// snapshot instead.
pub fn gives_snapshot<P: Page>(group: &Group<P>, place: &JournalPlace) -> bool {
    group.is_serving() && group.journal.entry_start(place.at) < group.journal.start()
}

impl<P: Page> Shard<P> {
    /// Somebody asks.
    pub(in crate::shard) fn on_journal_question(
        &mut self,
        question: JournalQuestion,
        reply: ReplyTo,
    ) {
        let (mut place, wanted) = match question {
            JournalQuestion::Entry(place) => (place, Wanted::Entry),
            JournalQuestion::Held(place) => (place, Wanted::Held),
            JournalQuestion::Led(place, term) => (place, Wanted::Led(term)),
            JournalQuestion::Sums(place) => (place, Wanted::Sums),
        };
        let sums = wanted == Wanted::Sums;
        let asked = self.repairs.reads.values();
        let waiting = asked.filter(|reading| matches!(reading, Reading::Question { .. })).count();
        let busy = waiting >= JOURNAL_QUESTIONS_MAX || self.peers.is_choked(reply.connection);
        let Some(own) = self.groups.get(place.group).filter(|_| !busy) else {
            let why = if busy { NoSums::Busy } else { NoSums::NotHere };
            return self.refuse_question(reply, wanted, why);
        };
        let start = own.journal.start();
        place.at = own.journal.entry_start(place.at);
        if place.at < start {
            let trimmed = wanted == Wanted::Held && gives_snapshot(own, &place);
            if trimmed {
                return self.peers.answer(reply, |out| put_held(Err(NotHeld::Trimmed), out));
            }
            if !sums {
                return self.peers.answer(reply, |_| {});
            }
            (place.at, place.previous_crc) = (start, None);
        }
        let bytes = if sums { READ_CHUNK_BYTES } else { SCRUB_READ_BYTES };
        let mut look = Look::new(place, bytes);
        let looked = look.begin(&own.journal, wanted.limit(own));
        self.answer_question(look, looked, reply, wanted);
    }

    /// Says why there is no answer, to who can be told.
    fn refuse_question(&mut self, reply: ReplyTo, wanted: Wanted, why: NoSums) {
        self.peers.answer(reply, |out| match wanted {
            Wanted::Sums => put_sums(Err(why), out),
            Wanted::Entry | Wanted::Led(_) | Wanted::Held => {}
        });
    }

    /// What was read for an answer is here, or can't be read.
    pub(super) fn on_question_read(
        &mut self,
        mut look: Look,
        page: Option<P>,
        reply: ReplyTo,
        wanted: Wanted,
    ) {
        // The group may have gone meanwhile.
        let Some(own) = self.groups.get(look.place.group) else {
            return self.refuse_question(reply, wanted, NoSums::NotHere);
        };
        let looked = look.on_read(&own.journal, wanted.limit(own), page);
        self.answer_question(look, looked, reply, wanted);
    }

    /// Answers, or reads on.
    fn answer_question(&mut self, look: Look, looked: Looked<P>, reply: ReplyTo, wanted: Wanted) {
        let group = look.place.group;
        let Some(own) = self.groups.get(group) else { return };
        let journal = &own.journal;
        if let Looked::Read { position, bytes } = looked {
            let (segment, at) = journal.locate(position);
            let read = self.repairs.read_id(Reading::Question { look, reply, wanted });
            return self.outputs.push_back(Output::ReadJournal { group, read, segment, at, bytes });
        }
        if wanted != Wanted::Sums {
            return self.peers.answer(reply, |out| {
                let Looked::Entries { page, heads, .. } = &looked else { return };
                let entry = &page.bytes()[..heads[0].entry_bytes()];
                match wanted {
                    Wanted::Held => put_held(Ok(entry), out),
                    Wanted::Entry | Wanted::Led(_) | Wanted::Sums => out.extend(entry),
                }
            });
        }
        let (start, limit) = (journal.start(), limit(own));
        let answer = |next: Position, is_damaged, entries| Sums {
            start,
            end: limit,
            next,
            is_damaged,
            entries,
        };
        let answer = match looked {
            Looked::Entries { heads, end, .. } => {
                let sum = heads.iter().map(|head| EntrySum {
                    position: head.header.position,
                    term: head.header.term,
                    crc: head.crc,
                });
                answer(journal.entry_start(end), false, sum.collect())
            }
            Looked::Bad { .. } => answer(journal.entry_start(look.place.at), true, Vec::new()),
            Looked::End | Looked::Read { .. } => answer(look.place.at, false, Vec::new()),
        };
        self.peers.answer(reply, |out| put_sums(Ok(&answer), out));
    }
}
