//! A node that can't be opened as it is: what it asks others, and how it is started then.

use bytes::Bytes;
use hutong::duplex::{Kind, Serial, put};
use hutong::journal::page::MemoryPage;
use hutong::journal::source::SegmentSource;
use hutong::model::ids::{ConnectionId, GroupId, NodeId, SegmentId};
use hutong::model::position::{Position, Term};
use hutong::shard::Shard;
use hutong::shard::input::Input;
use hutong::shard::open::damage_at_start;
use hutong::shard::peers::repair_wire::{self, JournalPlace, JournalQuestion, NotHeld};
use hutong::shard::peers::wire::{Hello, Request};
use hutong::shard::repair::at_start::{Mended, OtherNode, RunningNode, give_held, held};

use super::{BLOCK, Cluster, Node};

/// A node as it is asked by one that can't be opened. One that doesn't run waits for the same.
struct Asked<'a> {
    cluster: &'a mut Cluster,
    node: usize,
    from: NodeId,
}

impl Asked<'_> {
    fn ask(&mut self, question: JournalQuestion) -> Bytes {
        self.cluster.ask_as_who_waits(self.node, &Request::Journal(question))
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

impl RunningNode for Asked<'_> {
    fn damaged(&mut self, group: GroupId) -> Result<Vec<JournalPlace>, String> {
        let answer = self.cluster.ask_as_who_waits(self.node, &Request::Damaged { group });
        Ok(repair_wire::damaged(&answer).expect("an answer"))
    }

    fn give(&mut self, place: JournalPlace, entry: &[u8]) -> Result<(), String> {
        let request = Request::Give { node: self.from, place, entry };
        let answer = self.cluster.ask_as_who_waits(self.node, &request);
        assert_eq!(answer, "");
        Ok(())
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
        let own = this.config.node;
        let mut asked = Asked { cluster: self, node: from, from: own };
        let mended = damage.mend(&mut source, &mut asked, &mut write);
        for (segment, at, bytes) in written {
            self.nodes[node].disk.write(segment, at, &bytes);
        }
        Some(mended)
    }

    /// A node that doesn't run gives another one what is damaged there.
    pub fn give_at_start(&mut self, node: usize, to: usize) {
        let this = &self.nodes[node];
        let (from, segment_bytes) = (this.config.node, this.config.segment_bytes);
        let mut source = this.disk.clone();
        let mut asked = Asked { cluster: self, node: to, from };
        give_held(&mut source, segment_bytes, GroupId(0), &mut asked).expect("it can be asked");
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

    /// Asks a node something, as one that isn't open.
    fn ask_as_who_waits(&mut self, node: usize, request: &Request<'_>) -> Bytes {
        let connection = self.new_connection(node);
        let hello = Request::Hello(Hello::of_visitor("test"));
        self.ask_as_visitor(node, connection, 0, &hello);
        let answer = self.ask_as_visitor(node, connection, 1, request);
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
