//! A core for tests of the runtime: journals what clients send, and echoes it once it is on disk.
//!
//! A frame whose payload begins with `!` is an order: `!close`, `!pause` (for 50 ms), `!read`
//! (answers with the first block of the journal), `!vote`, `!again` (the next segment), `!dial HOST
//! PORT` (answers `dialed`, or why not; says `hello` there, and then echoes as to any client).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::journal::page::{Page, align_up};
use crate::limits::JOURNAL_WRITES_IN_FLIGHT_MAX;
use crate::model::ids::{ConnectionId, DIALED_CONNECTION, GroupId, ReadId, SegmentId, WriteId};
use crate::model::position::Position;
use crate::model::time::{Now, Time};
use crate::runtime::driver::Core;
use crate::runtime::journal_page::JournalPage;
use crate::shard::input::Input;
use crate::shard::output::{Output, Part};

const GROUP: GroupId = GroupId(0);
/// Bytes that one write takes.
const WRITE_BYTES_MAX: usize = 512 << 10;

/// Frames of one connection, to be echoed when they are on disk.
type Echo = (ConnectionId, Bytes);

/// See the module.
pub struct EchoCore {
    segment_bytes: u64,
    segment: SegmentId,
    at: u64,
    waiting: VecDeque<Echo>,
    in_flight: VecDeque<(WriteId, bool, Vec<Echo>)>,
    writes: u64,
    outputs: VecDeque<Output<JournalPage>>,
    readers: VecDeque<ConnectionId>,
    paused: Option<(ConnectionId, Time)>,
    dials: u64,
    pub sent: usize,
    pub closed: usize,
    stopping: bool,
}

impl EchoCore {
    /// A core over one group whose segments have this size.
    pub fn new(segment_bytes: u64) -> EchoCore {
        let header = Bytes::from_static(b"header");
        let create = Output::CreateSegment { group: GROUP, segment: SegmentId(0), header };
        EchoCore {
            segment_bytes,
            segment: SegmentId(0),
            at: 4096,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            writes: 0,
            outputs: VecDeque::from([create]),
            readers: VecDeque::new(),
            paused: None,
            dials: 0,
            sent: 0,
            closed: 0,
            stopping: false,
        }
    }

    fn order(&mut self, now: Now, connection: ConnectionId, order: &[u8]) {
        match order {
            b"!close" => self.outputs.push_back(Output::CloseConnection { connection }),
            b"!pause" => {
                self.outputs.push_back(Output::PauseReading { connection });
                self.paused = Some((connection, now.time + Duration::from_millis(50)));
            }
            b"!read" => {
                self.readers.push_back(connection);
                self.outputs.push_back(Output::ReadJournal {
                    group: GROUP,
                    read: ReadId(1),
                    segment: self.segment,
                    at: 0,
                    bytes: 4096,
                });
            }
            b"!vote" => {
                self.readers.push_back(connection);
                let page = JournalPage::build(4096, |bytes| bytes.fill(7));
                let write = WriteId(1);
                self.outputs.push_back(Output::WriteVote { group: GROUP, write, at: 4096, page });
            }
            b"!again" => {
                let (group, segment) = (GROUP, self.segment);
                self.outputs.push_back(Output::RemoveSegment { group, segment });
                self.segment = SegmentId(segment.0 + 1);
                self.at = 4096;
                let header = Bytes::from_static(b"header of the next");
                self.readers.push_back(connection);
                let segment = self.segment;
                self.outputs.push_back(Output::CreateSegment { group, segment, header });
                let bytes = Bytes::from_static(b"checkpoint");
                self.outputs.push_back(Output::WriteCheckpoint {
                    group,
                    position: Position(1),
                    bytes,
                });
            }
            _ => match order.strip_prefix(b"!dial ") {
                Some(address) => self.dial(connection, address),
                None => self.outputs.push_back(Output::Fatal { reason: "unknown order".into() }),
            },
        }
    }

    fn dial(&mut self, asked_by: ConnectionId, address: &[u8]) {
        let address = std::str::from_utf8(address).expect("tests write text");
        let (host, port) = address.split_once(' ').expect("tests give both");
        self.readers.push_back(asked_by);
        self.dials += 1;
        self.outputs.push_back(Output::Dial {
            connection: ConnectionId(DIALED_CONNECTION | self.dials),
            host: host.to_string(),
            port: port.parse().expect("a port"),
        });
    }

    fn say(&mut self, connection: ConnectionId, text: impl Into<Bytes>) {
        let parts = vec![Part::Bytes(text.into())];
        self.outputs.push_back(Output::Respond { connection, parts });
    }

    fn answer(&mut self, text: impl Into<Bytes>) {
        if let Some(connection) = self.readers.pop_front() {
            self.say(connection, text);
        }
    }

    fn write(&mut self) {
        while !self.waiting.is_empty() && self.in_flight.len() < JOURNAL_WRITES_IN_FLIGHT_MAX {
            let mut echoes = Vec::new();
            let mut bytes = 0;
            while let Some((_, frames)) = self.waiting.front() {
                if bytes > 0 && bytes + frames.len() > WRITE_BYTES_MAX {
                    break;
                }
                bytes += frames.len();
                echoes.extend(self.waiting.pop_front());
            }
            let page = JournalPage::build(align_up(bytes), |page| {
                let mut at = 0;
                for (_, frames) in &echoes {
                    page[at..at + frames.len()].copy_from_slice(frames);
                    at += frames.len();
                }
                page[at..].fill(0);
            });
            if self.at + page.bytes().len() as u64 > self.segment_bytes {
                self.at = 4096;
            }
            self.writes += 1;
            let write = WriteId(self.writes);
            let at = self.at;
            self.at += page.bytes().len() as u64;
            self.in_flight.push_back((write, false, echoes));
            let segment = self.segment;
            self.outputs.push_back(Output::WriteJournal { group: GROUP, write, segment, at, page });
        }
    }
}

impl Core for EchoCore {
    fn handle(&mut self, now: Now, input: Input<JournalPage>) {
        match input {
            Input::Frames { connection, frames } => {
                if frames.get(4) == Some(&b'!') {
                    self.order(now, connection, &frames[4..]);
                } else {
                    self.waiting.push_back((connection, frames));
                }
            }
            Input::JournalWritten { write, result, .. } => {
                result.expect("the disk takes it");
                for (id, done, _) in &mut self.in_flight {
                    *done |= *id == write;
                }
                while self.in_flight.front().is_some_and(|(_, done, _)| *done) {
                    for (connection, frames) in self.in_flight.pop_front().expect("is there").2 {
                        let parts = vec![Part::Bytes(frames)];
                        self.outputs.push_back(Output::Respond { connection, parts });
                    }
                }
            }
            Input::JournalRead { result, .. } => {
                let page = result.expect("the disk gives it");
                if let Some(connection) = self.readers.pop_front() {
                    let parts = vec![Part::Page { page, start: 0, end: 10 }];
                    self.outputs.push_back(Output::Respond { connection, parts });
                }
            }
            Input::VoteWritten { result, .. } => {
                result.expect("the disk takes it");
                self.answer("voted");
            }
            Input::SegmentCreated { segment: SegmentId(0), result, .. } => {
                result.expect("there is space");
                self.outputs.push_back(Output::Ready);
            }
            Input::SegmentCreated { result, .. } => {
                result.expect("there is space");
                self.answer("again");
            }
            Input::CheckpointWritten { result, .. } => result.expect("there is space"),
            Input::GroupCreated { result, .. } => drop(result.expect("there is space")),
            Input::Sent { bytes, .. } => self.sent += bytes,
            Input::ConnectionClosed { .. } => self.closed += 1,
            Input::Shutdown => self.stopping = true,
            Input::ConnectionOpened { connection, .. } if connection.0 & DIALED_CONNECTION != 0 => {
                self.say(connection, "hello");
                self.answer("dialed");
            }
            Input::DialFailed { connection, reason } => {
                assert_eq!(connection, ConnectionId(DIALED_CONNECTION | self.dials));
                self.answer(reason);
            }
            Input::ConnectionOpened { .. } | Input::FromShard { .. } => {}
        }
    }

    fn advance(&mut self, now: Now) {
        self.write();
        if let Some((connection, until)) = self.paused
            && now.time >= until
        {
            self.paused = None;
            self.outputs.push_back(Output::ResumeReading { connection });
        }
        if self.stopping && self.in_flight.is_empty() && self.waiting.is_empty() {
            self.outputs.push_back(Output::Stopped);
        }
    }

    fn poll_output(&mut self) -> Option<Output<JournalPage>> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Time> {
        self.paused.map(|(_, until)| until)
    }
}
