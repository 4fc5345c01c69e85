//! One run from its beginning to its end: produce and consume, settle, read all, compare.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use hutong::cli::client::{Connection, Endpoint, error_name};
use kafka_protocol::messages::InitProducerIdRequest;

use super::Progress;
use super::args::VerifyArgs;
use super::checker::{Findings, Rules, check};
use super::evidence::{Partition, Told, View};
use super::leaders::Leaders;
use super::producer::{Plan, Producer};
use super::reader::Reader;
use super::report::{Report, Setting};
use super::settle::{END, offsets, settle};
use super::state::State;
use crate::routes::{TopicWish, prepare};

/// The longest we wait for a producer id.
const ID_TIMEOUT: Duration = Duration::from_secs(10);
/// When all is sent, consumers may still come to its end for so long.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// What threads of the run share.
struct Session<'a> {
    args: &'a VerifyArgs,
    topic: String,
    run: u64,
    brokers: Vec<Endpoint>,
    leaders: Arc<Leaders>,
    progress: &'a Arc<Progress>,
    partitions: usize,
}

/// Does what the arguments say.
///
/// # Errors
/// A sentence: the run could not begin or not be finished.
pub fn run(
    args: &VerifyArgs,
    progress: &Arc<Progress>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Report> {
    match &args.check {
        Some(file) => check_later(args, progress, State::load(file)?),
        None => produce_and_check(args, progress, stop),
    }
}

fn produce_and_check(
    args: &VerifyArgs,
    progress: &Arc<Progress>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Report> {
    let run = fastrand::u64(..);
    let mut state = State {
        topic: args.topic.clone(),
        run,
        idempotent: args.idempotent,
        answers_asked_for: args.acks.0 != 0,
        told: Vec::new(),
    };
    if let Some(file) = &args.state {
        // Better now than after an hour.
        state.save(file)?;
    }
    let session = Session::begin(args, progress, args.topic.clone(), run, args.partitions)?;
    // Consumers begin before the first record of this run is written.
    let begins = offsets(&session.brokers, &session.topic, session.partitions, END)?;
    let consumers_stop = Arc::new(AtomicBool::new(false));
    let consumers: Vec<_> = (0..args.consumers)
        .map(|_| session.start_consumer(&begins, &consumers_stop))
        .collect::<anyhow::Result<_>>()?;
    let producers: Vec<_> = (0..args.producers)
        .map(|number| session.start_producer(number as u32, stop))
        .collect::<anyhow::Result<_>>()?;
    state.told = producers.into_iter().map(joined).collect::<anyhow::Result<_>>()?;
    let saved = args.state.as_ref().map_or(Ok(()), |file| state.save(file));
    let mut report = session.finish(&state, || {
        thread::sleep(if args.consumers > 0 { CATCH_UP } else { Duration::ZERO });
        consumers_stop.store(true, Ordering::Relaxed);
        consumers.into_iter().map(joined).collect()
    })?;
    report.failures.extend(saved.err().map(|error| format!("{error:#}")));
    Ok(report)
}

fn check_later(
    args: &VerifyArgs,
    progress: &Arc<Progress>,
    state: State,
) -> anyhow::Result<Report> {
    let Some(told) = state.told.first() else {
        bail!("the run that kept this state did not get to the end of its sending");
    };
    let partitions = Some(told.len() as i32);
    let session = Session::begin(args, progress, state.topic.clone(), state.run, partitions)?;
    session.finish(&state, || Ok(Vec::new()))
}

fn joined<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow!("a thread has panicked"))?
}

impl<'a> Session<'a> {
    fn begin(
        args: &'a VerifyArgs,
        progress: &'a Arc<Progress>,
        topic: String,
        run: u64,
        partitions: Option<i32>,
    ) -> anyhow::Result<Session<'a>> {
        let wish = TopicWish {
            brokers: args.brokers.clone(),
            name: topic.clone(),
            partitions,
            replication: args.replication,
        };
        let routes = prepare(&wish)?;
        let partitions = routes.partitions();
        let mut brokers = args.brokers.clone();
        for broker in routes.brokers() {
            if !brokers.contains(broker) {
                brokers.push(broker.clone());
            }
        }
        let leaders = Leaders::start(brokers.clone(), topic.clone(), routes)?;
        Ok(Session { args, topic, run, brokers, leaders, progress, partitions })
    }

    fn start_producer(
        &self,
        number: u32,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<Vec<Told>>>> {
        let args = self.args;
        let producer_id = match args.idempotent {
            true => Some(self.producer_id()?),
            false => None,
        };
        let plan = Plan {
            number,
            producer_id,
            run: self.run,
            topic: self.topic.clone(),
            partitions: self.partitions,
            acks: args.acks.0,
            rate: args.rate.map(|rate| rate / args.producers as f64),
            in_flight: args.in_flight,
            record_bytes: args.record_bytes,
            batch_records: args.batch_records as u32,
            request_timeout: args.request_timeout,
            delivery_timeout: args.delivery_timeout,
            end: Instant::now() + args.duration,
            stop: stop.clone(),
        };
        let producer = Producer::new(plan, self.leaders.clone(), self.progress.clone())?;
        thread::Builder::new()
            .name(format!("producer-{number}"))
            .spawn(move || producer.run())
            .context("can't start a thread")
    }

    /// Asks for a new producer id, of any broker.
    fn producer_id(&self) -> anyhow::Result<i64> {
        let deadline = Instant::now() + ID_TIMEOUT;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(ID_TIMEOUT.as_millis() as i32);
        for broker in self.brokers.iter().cycle() {
            let answer = Connection::open(broker, ID_TIMEOUT)
                .and_then(|mut connection| connection.send(&request));
            let failure = match answer {
                Ok(answer) if answer.error_code == 0 => return Ok(*answer.producer_id),
                Ok(answer) => anyhow!("{broker}: {}", error_name(answer.error_code)),
                Err(error) => error.into(),
            };
            if Instant::now() > deadline {
                return Err(failure.context("can't get a producer id"));
            }
            thread::sleep(PAUSE);
        }
        bail!("no broker is named")
    }

    fn start_consumer(
        &self,
        begins: &[i64],
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<Vec<View>>>> {
        let mut reader = self.reader(begins, vec![i64::MAX; self.partitions])?;
        let (stop, progress) = (stop.clone(), self.progress.clone());
        thread::Builder::new()
            .name("consumer".into())
            .spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    progress.consumed(reader.turn()?);
                }
                Ok(reader.finish())
            })
            .context("can't start a thread")
    }

    fn reader(&self, begins: &[i64], ends: Vec<i64>) -> anyhow::Result<Reader> {
        let timeout = self.args.request_timeout;
        Reader::new(&self.topic, self.run, self.leaders.clone(), timeout, begins, ends)
    }

    /// Settles, lets the consumers end, reads all and compares.
    fn finish(
        &self,
        state: &State,
        end_consumers: impl FnOnce() -> anyhow::Result<Vec<Vec<View>>>,
    ) -> anyhow::Result<Report> {
        let setting = Setting {
            topic: state.topic.clone(),
            run: state.run,
            idempotent: state.idempotent,
            answers_asked_for: state.answers_asked_for,
        };
        let mut report = Report::new(&setting, &state.told);
        self.progress.next_phase();
        let acked_ends = state.acked_ends(self.partitions);
        let settled = settle(&self.brokers, &self.topic, &acked_ends, self.args.settle);
        let live = end_consumers()?;
        report.consumed(&live);
        self.progress.next_phase();
        let at_rest = match settled {
            Ok(span) => self.read_all(&span.begins, span.ends)?,
            Err(error) => {
                report.failures.push(format!("nothing could be compared: {error:#}"));
                return Ok(report);
            }
        };
        self.progress.next_phase();
        let mut findings = Findings::default();
        let by_partition = state.by_partition(self.partitions);
        for (number, (told, at_rest)) in by_partition.iter().zip(&at_rest).enumerate() {
            let live: Vec<&View> = live.iter().map(|views| &views[number]).collect();
            let partition = Partition { number: number as i32, told, at_rest, live: &live };
            check(&partition, Rules { idempotent: state.idempotent }, &mut findings);
        }
        report.found(&findings, &at_rest);
        Ok(report)
    }

    /// Reads from the beginning to the end, as long as it gets on.
    fn read_all(&self, begins: &[i64], ends: Vec<i64>) -> anyhow::Result<Vec<View>> {
        let mut reader = self.reader(begins, ends)?;
        let mut moved = Instant::now();
        let mut at = reader.position();
        while !reader.is_done() && moved.elapsed() < self.args.settle {
            reader.turn()?;
            if reader.position() != at {
                (at, moved) = (reader.position(), Instant::now());
            }
        }
        Ok(reader.finish())
    }
}
