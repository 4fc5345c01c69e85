//! A consumer: reads all partitions, over whatever connections there are, and notes what it saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hutong::kafka::record_batch::{BATCH_HEADER_BYTES, BatchHeader, batches, crc_matches};

use super::evidence::View;
use super::leaders::Leaders;
use super::links::Links;
use super::record::{Value, values};
use super::runs::Run;
use crate::consume::requests::{Appetite, Part, Requests};

/// The longest wait for sockets.
const IDLE_WAIT: Duration = Duration::from_millis(5);
/// After an error a broker is left alone for so long.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Partitions asked for in one request.
const PARTITIONS_MAX: usize = 1000;

const OFFSET_OUT_OF_RANGE: i16 = 1;

/// Fetch's version: it tells where a log begins, and every broker since Kafka 2.3 takes it.
const FETCH_VERSION: i16 = 11;

/// What is asked for at once.
const APPETITE: Appetite = Appetite {
    max_wait_ms: 100,
    min_bytes: 1,
    max_bytes: 8 << 20,
    partition_max_bytes: 1 << 20,
    committed_only: true,
};

/// See the module.
pub struct Reader {
    requests: Requests,
    leaders: Arc<Leaders>,
    links: Links,
    request_timeout: Duration,
    /// By link: the request it has not answered yet.
    asked: BTreeMap<usize, Asked>,
    /// By link: when it may be asked again.
    not_before: BTreeMap<usize, Instant>,
    correlation_id: i32,
    /// Where the next request's partitions begin: there may be more than fit into one.
    first: usize,
    log: Log,
}

/// What was read so far.
struct Log {
    run: u64,
    /// By partition.
    views: Vec<View>,
    /// Where to stop, by partition.
    ends: Vec<i64>,
    /// Whether the last answer had an error that asks for other leaders.
    stale: bool,
    failed: bool,
    records: u64,
}

impl Reader {
    /// Reads the records of a run from `begins` to `ends`, both by partition.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(
        topic: &str,
        run: u64,
        leaders: Arc<Leaders>,
        request_timeout: Duration,
        begins: &[i64],
        ends: Vec<i64>,
    ) -> anyhow::Result<Reader> {
        let view = |&from: &i64| View { from, until: from, ..View::default() };
        let views = begins.iter().map(view).collect();
        Ok(Reader {
            requests: Requests::new(topic, FETCH_VERSION, APPETITE)?,
            leaders,
            links: Links::new()?,
            request_timeout,
            asked: BTreeMap::new(),
            not_before: BTreeMap::new(),
            correlation_id: 0,
            first: 0,
            log: Log { run, views, ends, stale: false, failed: false, records: 0 },
        })
    }

    /// One round: asks every broker that has nothing to answer, and takes what has come. Returns
    /// how many records of the run that was.
    ///
    /// # Errors
    /// The system can't wait for sockets.
    pub fn turn(&mut self) -> anyhow::Result<u64> {
        let now = Instant::now();
        self.ask(now);
        let before = self.log.records;
        let (asked, not_before, log) = (&mut self.asked, &mut self.not_before, &mut self.log);
        let requests = &self.requests;
        let mut late: Vec<usize> = Vec::new();
        for (&link, request) in asked.iter() {
            if now > request.sent + self.request_timeout {
                late.push(link);
            }
        }
        let mut broken = self.links.turn(IDLE_WAIT, |link, frame| {
            let correlation = Requests::correlation_of(frame)?;
            let expected = asked.remove(&link).filter(|it| it.correlation == correlation);
            let Some(request) = expected else {
                return Err(std::io::Error::other("it answered something else"));
            };
            let (_, error) = requests.read(frame, |part| log.take(part, &request))?;
            log.failed |= error != 0;
            if std::mem::take(&mut log.failed) {
                not_before.insert(link, Instant::now() + ERROR_PAUSE);
            }
            Ok(())
        })?;
        late.retain(|link| self.asked.contains_key(link));
        late.iter().for_each(|&link| self.links.cut(link, now));
        broken.extend(late);
        if std::mem::take(&mut self.log.stale) || !broken.is_empty() {
            self.leaders.are_stale();
        }
        self.asked.retain(|link, _| !broken.contains(link));
        Ok(self.log.records - before)
    }

    /// Whether all partitions have been read to where they should.
    pub fn is_done(&self) -> bool {
        self.log.views.iter().zip(&self.log.ends).all(|(view, &end)| view.until >= end)
    }

    /// How far it is, all partitions together.
    pub fn position(&self) -> i64 {
        self.log.views.iter().map(|view| view.until).sum()
    }

    /// What was seen, by partition.
    pub fn finish(mut self) -> Vec<View> {
        for (view, &end) in self.log.views.iter_mut().zip(&self.log.ends) {
            view.complete = view.until >= end;
        }
        self.log.views
    }

    fn ask(&mut self, now: Instant) {
        let routes = self.leaders.routes();
        let mut wanted: BTreeMap<usize, Vec<(u32, i64)>> = BTreeMap::new();
        let count = self.log.views.len();
        let (mut first, mut is_cut) = (0, false);
        for number in (0..count).map(|number| (number + self.first) % count) {
            let (view, end) = (&self.log.views[number], self.log.ends[number]);
            let Some(leader) = routes.leader(number as u32) else {
                self.leaders.are_stale();
                continue;
            };
            let from = wanted.entry(self.links.to(leader)).or_default();
            if view.until < end && from.len() < PARTITIONS_MAX {
                from.push((number as u32, view.until));
            } else if view.until < end && !is_cut {
                (first, is_cut) = (number, true);
            }
        }
        self.first = first;
        for (link, from) in wanted {
            let may = self.not_before.get(&link).is_none_or(|moment| now >= *moment);
            if from.is_empty() || self.asked.contains_key(&link) || !may {
                continue;
            }
            let Some(connection) = self.links.connection(link, now) else {
                self.leaders.are_stale();
                continue;
            };
            self.correlation_id = self.correlation_id.wrapping_add(1);
            self.requests.put(connection.out(), self.correlation_id, &from);
            let correlation = self.correlation_id;
            self.asked.insert(link, Asked { correlation, sent: now, from });
        }
    }
}

/// A request that is not answered yet.
struct Asked {
    correlation: i32,
    sent: Instant,
    /// The partitions, and from where. When leaders change two brokers may be asked for one
    /// partition, and the later answer is right by what was asked of it.
    from: Vec<(u32, i64)>,
}

impl Log {
    fn take(&mut self, part: Part<'_>, request: &Asked) {
        let asked = request.from.iter().find(|(number, _)| *number == part.partition);
        let Some(view) = self.views.get_mut(part.partition as usize) else { return };
        match part.error {
            0 => {
                let before = view.records.records();
                let from = asked.map_or(view.until, |(_, from)| *from);
                read_records(view, part, self.run, from);
                self.records += view.records.records() - before;
            }
            // What is asked for has been trimmed; or the log ends before it, for now or for good.
            OFFSET_OUT_OF_RANGE if part.log_start > view.until => {
                view.trimmed.insert(view.until as u64..part.log_start as u64);
                view.until = part.log_start;
            }
            OFFSET_OUT_OF_RANGE => self.failed = true,
            _ => (self.stale, self.failed) = (true, true),
        }
    }
}

/// Takes what a broker gave for a partition into the view of it. It was asked for what comes `from`
/// an offset on.
fn read_records(view: &mut View, part: Part<'_>, run: u64, from: i64) {
    let mut whole = 0;
    for (range, header) in batches(part.records) {
        whole = range.end;
        let batch = &part.records[range];
        let is_asked_for = header.last_offset() >= from;
        let backwards = view.backwards.len();
        read_batch(view, part.partition, batch, &header, run);
        if is_asked_for {
            // Another broker was faster.
            view.backwards.truncate(backwards);
        }
    }
    let rest = &part.records[whole..];
    // A batch that is cut off at the end is usual. What can't be the beginning of one is not.
    if rest.len() >= BATCH_HEADER_BYTES && BatchHeader::read(rest).is_none() {
        view.corrupt.insert(view.until as u64..view.until as u64 + 1);
        view.until += 1;
    }
}

fn read_batch(view: &mut View, partition: u32, batch: &[u8], header: &BatchHeader, run: u64) {
    let next = header.last_offset() + 1;
    let is_new = next > view.until;
    if !crc_matches(batch) {
        if is_new {
            view.corrupt.insert(header.base_offset.max(view.until) as u64..next as u64);
            view.until = next;
        }
        return;
    }
    if header.codec() != 0 || header.is_control() {
        // Nothing of ours.
        if is_new && !header.is_control() {
            view.foreign += header.record_count.max(0) as u64;
        }
        view.until = view.until.max(next);
        return;
    }
    let mut read = 0;
    for (delta, value) in values(batch, run, partition) {
        read += 1;
        let offset = header.base_offset + delta;
        let is_asked_for = offset >= view.until;
        match value {
            Value::Foreign => view.foreign += u64::from(is_asked_for),
            Value::Damaged if is_asked_for => {
                view.corrupt.insert(offset as u64..offset as u64 + 1);
            }
            Value::Damaged => {}
            Value::Ours(stamp) => {
                let (producer, sequence) = (stamp.producer, stamp.sequence);
                let record = Run { producer, sequence, offset, count: 1 };
                if is_asked_for {
                    view.records.push(record);
                } else if !is_new {
                    // A whole batch of the past. One that holds the offset that was asked for
                    // may begin before it.
                    view.backwards.push(record);
                }
            }
        }
        view.until = view.until.max(offset + 1);
    }
    if is_new && read < header.record_count {
        view.corrupt.insert(view.until as u64..next as u64);
    }
    view.until = view.until.max(next);
}

#[cfg(test)]
mod tests {
    use super::super::record::{Stamp, batch};
    use super::*;
    use hutong::kafka::record_batch::{Producer, set_base_offset_and_epoch};

    const RUN: u64 = 5;

    fn records(sequence: u64, count: u32, offset: i64, run: u64) -> Vec<u8> {
        let first = Stamp { run, producer: 1, partition: 2, sequence };
        let mut batch = batch(first, count, 50, 0, Producer::NONE);
        set_base_offset_and_epoch(&mut batch, offset, 0);
        batch
    }

    fn read(view: &mut View, records: &[u8]) {
        let (error, high_watermark, log_start) = (0, 0, 0);
        let part = Part { partition: 2, error, high_watermark, log_start, records };
        let from = view.until;
        read_records(view, part, RUN, from);
    }

    fn runs(view: &View) -> Vec<(u64, i64, u64)> {
        view.records.iter().map(|run| (run.sequence, run.offset, run.count)).collect()
    }

    #[test]
    fn batches_are_read_from_the_asked_offset_on() {
        let mut view = View { from: 13, until: 13, ..View::default() };
        let answer = [records(0, 5, 10, RUN), records(5, 5, 15, RUN), records(9, 3, 20, 6)];
        read(&mut view, &answer.concat());
        assert_eq!(runs(&view), [(3, 13, 7)]);
        assert_eq!((view.until, view.foreign), (23, 3));
        assert!(view.backwards.is_empty());
        // The last one is cut off: it comes again with the next answer.
        let cut = records(20, 5, 23, RUN);
        read(&mut view, &cut[..cut.len() - 1]);
        assert_eq!(view.until, 23);
    }

    #[test]
    fn a_batch_of_the_past_is_noticed() {
        let mut view = View { from: 0, until: 30, ..View::default() };
        read(&mut view, &records(0, 5, 10, RUN));
        assert_eq!(view.backwards.len(), 5);
        assert_eq!(view.until, 30);
    }

    #[test]
    fn an_answer_that_came_late_is_judged_by_what_was_asked() {
        let mut view = View { from: 0, until: 30, ..View::default() };
        let records = records(0, 5, 10, RUN);
        let (error, high_watermark, log_start) = (0, 0, 0);
        let part = Part { partition: 2, error, high_watermark, log_start, records: &records };
        read_records(&mut view, part, RUN, 10);
        assert!(view.backwards.is_empty());
        assert_eq!(view.until, 30);
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let whole = records(0, 5, 10, RUN);
        for at in 61..whole.len() {
            let mut view = View { from: 10, until: 10, ..View::default() };
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            read(&mut view, &damaged);
            assert_eq!((view.corrupt.len(), view.until, runs(&view)), (5, 15, vec![]));
        }
        // A broker that damages and then makes the batch's crc anew.
        let mut damaged = whole.clone();
        let at = whole.len() - 10;
        damaged[at] ^= 1;
        hutong::kafka::record_batch::set_append_time(&mut damaged, 0);
        let mut view = View { from: 10, until: 10, ..View::default() };
        read(&mut view, &damaged);
        assert!(view.corrupt.iter().flatten().eq([14]));
        assert_eq!(runs(&view), [(0, 10, 4)]);
    }
}
