//! Who plays in a workload: the consumers of each subscription and the producers of each topic.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;

use super::workload::Workload;
use super::{MixedArgs, Topic};
use crate::consume::{Behind, Consumer, Reading, Requests};
use crate::e2e::{Drain, Journey};
use crate::offsets::{End, Positions, fetch_version, offsets};
use crate::produce::{Pace, Sending};
use crate::router::Ask;
use crate::routes::Share;
use crate::worker::Job;

/// See the module.
pub struct Cast {
    /// Each subscription, with the number of its topic.
    readings: Vec<(usize, Arc<Reading>)>,
    /// By topic.
    sendings: Vec<Arc<Sending>>,
    /// By topic.
    pub journeys: Vec<Arc<Journey>>,
    /// The backlog, if there is one, and its records, counted for each who reads them.
    pub drain: Option<Arc<Drain>>,
    pub backlog: u64,
}

impl Cast {
    /// All that a measured run needs. What is in the topics now, behind where consumers begin, is
    /// the backlog.
    ///
    /// # Errors
    /// A sentence: a broker can't be asked, or the batches can't be made.
    pub fn new(args: &MixedArgs, workload: &Workload, topics: &[Topic]) -> anyhow::Result<Cast> {
        let subscriptions = workload.subscriptions() as u64;
        let (mut backlog, mut partitions) = (0, 0);
        let mut behind = Vec::new();
        for topic in topics {
            let ends = offsets(&topic.wish.name, &topic.routes, End::End)?;
            let here: Vec<u64> =
                ends.iter().zip(&topic.begin).map(|(end, begin)| (end - begin) as u64).collect();
            backlog += here.iter().sum::<u64>() * subscriptions;
            partitions += here.iter().filter(|&&records| records > 0).count() as u64;
            behind.push(here);
        }
        let drain = (backlog > 0).then(|| Drain::new(partitions * subscriptions));
        let pace = match workload.request_rate() {
            Some(_) => Pace::Open,
            None => Pace::Closed { in_flight: workload.in_flight },
        };
        let run = fastrand::u64(..);
        let (mut readings, mut sendings, mut journeys) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (topic, behind)) in topics.iter().zip(&behind).enumerate() {
            let journey = Journey::new(run, subscriptions, drain.clone());
            let sending = topic.sending(args, workload, pace)?;
            sendings.push(Arc::new(Sending { journey: Some(journey.clone()), ..sending }));
            for _ in 0..subscriptions {
                let behind = drain.clone().map(|drain| Behind {
                    partitions: behind.iter().map(|&n| AtomicBool::new(n > 0)).collect(),
                    drain,
                });
                let reading = reading(args, number, topic, behind, journey.clone())?;
                readings.push((number, Arc::new(reading)));
            }
            journeys.push(journey);
        }
        Ok(Cast { readings, sendings, journeys, drain, backlog })
    }

    /// How many connections they are.
    pub fn clients(&self, topics: &[Topic]) -> usize {
        let consumers = self.readings.iter().map(|(topic, _)| topics[*topic].consumers);
        let producers = topics.iter().map(|topic| topic.producers);
        consumers.sum::<usize>() + producers.sum::<usize>()
    }

    /// The clients, for so many threads.
    pub fn jobs(&self, topics: &[Topic], threads: usize, router: &Sender<Ask>) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        for (topic, reading) in &self.readings {
            let of = topics[*topic].consumers;
            for client in 0..of {
                let worker = jobs.len() % threads;
                jobs.push(Job {
                    client: Box::new(Consumer::new(worker, reading.clone(), router.clone())),
                    topic: *topic,
                    routes: topics[*topic].routes.clone(),
                    share: Share::Part { client, of },
                });
            }
        }
        for (number, (topic, sending)) in topics.iter().zip(&self.sendings).enumerate() {
            jobs.extend(topic.producers(number, sending));
        }
        jobs
    }
}

fn reading(
    args: &MixedArgs,
    number: usize,
    topic: &Topic,
    behind: Option<Behind>,
    journey: Arc<Journey>,
) -> anyhow::Result<Reading> {
    let version = fetch_version(&topic.routes.brokers())?;
    Ok(Reading {
        topic: number,
        requests: Requests::new(&topic.wish.name, version, args.fetch.appetite())?,
        positions: Positions::new(&topic.begin),
        until: None,
        behind,
        check_crc: false,
        journey: Some(journey),
    })
}
