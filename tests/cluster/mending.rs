//! A node that can't be opened as it is: what it asks others, and how it is started then.

use bytes::Bytes;
use hutong::duplex::{Kind, Serial, put};
use hutong::journal::page::MemoryPage;
use hutong::journal::source::SegmentSource;
use hutong::model::ids::{ConnectionId, GroupId, SegmentId};
use hutong::model::position::{Position, Term};
use hutong::shard::Shard;
use hutong::shard::input::Input;
use hutong::shard::open::damage_at_start;
use hutong::shard::peers::repair_wire::{self, JournalPlace, JournalQuestion, NotHeld};
use hutong::shard::peers::wire::{Hello, Request};
use hutong::shard::repair::at_start::{Mended, OtherNode, held};

use super::{BLOCK, Cluster, Node};

/// A node as it is asked by one that can't be opened. One that doesn't run waits for the same.
struct Asked<'a> {
    cluster: &'a mut Cluster,
    node: usize,
}

impl Asked<'_> {
    fn ask(&mut self, question: JournalQuestion) -> Bytes {
        self.cluster.ask_of_journal(self.node, question)
    }
}

impl OtherNode for Asked<'_> {
    fn led(&mut self, place: JournalPlace, term: Term) -> Result<Option<Vec<u8>>, String> {
        if !self.cluster.runs(self.node) {
            return Ok(None);
        }
        let answer = self.ask(JournalQuestion::Led(place, term));
        Ok((!answer.is_empty()).then(|| answer.to_vec()))
    }

    fn held(&mut self, place: JournalPlace) -> Result<Result<Vec<u8>, NotHeld>, String> {
        if !self.cluster.runs(self.node) {
            let this = &mut self.cluster.nodes[self.node];
            let found = held(&mut this.disk, this.config.segment_bytes, place);
            return Ok(found.map(|(_, bytes)| bytes).ok_or(NotHeld::Nothing));
        }
        let answer = self.ask(JournalQuestion::Held(place));
        Ok(repair_wire::held(&answer).expect("an answer"))
    }
}

impl Node {
    fn locate(&self, position: Position) -> (SegmentId, u64) {
        let bytes = self.config.segment_bytes;
        (SegmentId(position.0 / bytes), position.0 % bytes)
    }
}

impl Cluster {
    /// Before a node is started: writes what another one has in the place of what is damaged behind
    /// its checkpoint. `None` if it has no such damage.
    pub fn mend_at_start(&mut self, node: usize, from: usize) -> Option<Result<Mended, String>> {
        let this = &mut self.nodes[node];
        let (files, mut source) = (this.disk.files(), this.disk.clone());
        let mut damage = damage_at_start(&this.config, &files, &mut source)?;
        let mut written = Vec::new();
        let mut write = |segment, at, bytes: &[u8]| {
            written.push((segment, at, bytes.to_vec()));
            Ok(())
        };
        let mut asked = Asked { cluster: self, node: from };
        let mended = damage.mend(&mut source, &mut asked, &mut write);
        for (segment, at, bytes) in written {
            self.nodes[node].disk.write(segment, at, &bytes);
        }
        Some(mended)
    }

    /// Whether a node would start from what is on its disk.
    pub fn opens(&mut self, node: usize) -> bool {
        let now = self.clocks();
        let this = &mut self.nodes[node];
        let files = vec![this.disk.files()];
        Shard::<MemoryPage>::open(this.config.clone(), files, &mut this.disk, now).is_ok()
    }

    /// The block that lies at a position on a node's disk.
    pub fn block(&mut self, node: usize, position: Position) -> Vec<u8> {
        let this = &mut self.nodes[node];
        let (segment, at) = this.locate(position);
        let mut block = vec![0; BLOCK];
        this.disk.read(GroupId(0), segment, at, &mut block).expect("it reads");
        block
    }

    /// Puts a block there.
    pub fn put_block(&mut self, node: usize, position: Position, block: &[u8]) {
        let this = &mut self.nodes[node];
        let (segment, at) = this.locate(position);
        this.disk.write(segment, at, block);
    }

    /// Has a node read its journal from the beginning.
    pub fn lose_checkpoint(&mut self, node: usize) {
        self.nodes[node].disk.checkpoint = None;
    }

    /// Starts a node that was told that the others have let go of what is damaged there.
    pub fn restart_without_journal(&mut self, node: usize) {
        self.start_from(node, true);
    }

    /// Asks a node about its journal, as one who is none.
    fn ask_of_journal(&mut self, node: usize, question: JournalQuestion) -> Bytes {
        let connection = self.new_connection(node);
        let hello = Request::Hello(Hello::of_visitor("test"));
        self.ask_as_visitor(node, connection, 0, &hello);
        let answer = self.ask_as_visitor(node, connection, 1, &Request::Journal(question));
        self.nodes[node].inputs.push_back(Input::ConnectionClosed { connection });
        answer
    }

    fn ask_as_visitor(
        &mut self,
        node: usize,
        connection: ConnectionId,
        serial: u32,
        request: &Request<'_>,
    ) -> Bytes {
        let mut payload = Vec::new();
        request.encode(&mut payload);
        let mut frames = Vec::new();
        put(&mut frames, Kind::Request, Serial::new(serial), &payload);
        self.nodes[node].inputs.push_back(Input::Frames { connection, frames: frames.into() });
        for _ in 0..1000 {
            self.run_ms(1);
            if let Some(answer) = self.take_answer(node, connection) {
                // Behind the serial.
                return answer.slice(4..);
            }
        }
        panic!("node {node} doesn't answer");
    }
}
