//! One thread that sends and listens on its share of the connections, for clients of any kind.

mod client;
mod slot;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use anyhow::Context;

use crate::clock::{Clock, thread_cpu_nanos};
use crate::net::poller::{Poller, Ready};
use crate::pace::Arrivals;
use crate::report::{Interval, Report, Span, Trouble};
use crate::router::{Ask, Reply};
use crate::routes::{Routes, Share};
pub use client::{Client, Leads};
pub use slot::Job;
use slot::Slot;

/// Requests of an open loop that wait because the broker doesn't take them, for each client. Far
/// more than any broker gets over with; it bounds our memory, and ends the run.
const DUE_MAX: usize = 20_000_000;
/// How long answers may still come after the last request was sent.
const DRAIN: Duration = Duration::from_secs(10);
/// Between two looks at the clock and at the router when nothing happens.
const IDLE_WAIT: Duration = Duration::from_millis(5);
/// An open loop that has been busy for so long rests for a moment, so that what the kernel has to
/// do on its CPU gets done: on many disks that is the second half of each durable write, and the
/// broker would be blamed for waiting (kernel-notes/008). What is due meanwhile counts from when it
/// was due.
const BUSY_MAX_NANOS: u64 = 200_000;
const REST: Duration = Duration::from_micros(50);
/// A wait for sockets that took as long as this let others have the CPU.
const RESTED_NANOS: u64 = 20_000;
/// Between two looks at clients that nothing happens to, and between two connections of one.
const LOOK_NANOS: u64 = 100_000_000;

/// What a worker is to do, and with what.
pub struct Plan {
    pub worker: usize,
    pub jobs: Vec<Job>,
    /// Open loop: what is due for its clients.
    pub arrivals: Option<Arrivals>,
    pub span: Span,
    /// Never sleep.
    pub spin: bool,
    pub clock: Clock,
    pub router: Sender<Ask>,
    pub replies: Receiver<Reply>,
    pub reports: Sender<Report>,
    pub stop: Arc<AtomicBool>,
    /// Workers that still send what others may wait for.
    pub sending: Arc<AtomicUsize>,
}

/// See the module.
pub struct Worker {
    plan: Plan,
    poller: Poller,
    slots: Vec<Slot>,
    /// Those that are told what is due, and which of them is told next.
    paced: Vec<usize>,
    next_paced: usize,
    ready: Vec<Ready>,
    interval: Interval,
    interval_end: u64,
    /// The CPU time used when it began.
    cpu_nanos: u64,
    /// Time since then in which it spun and found nothing to do.
    spun_nanos: u64,
    /// Since when nobody else could have had its CPU.
    busy_since: u64,
    /// When to look at every client again.
    look_at: u64,
    /// When the last request was sent, once the end has come.
    sent_until: Option<u64>,
}

impl Worker {
    /// Connects its clients.
    ///
    /// # Errors
    /// A sentence: a broker can't be reached, or the system gives no more sockets.
    pub fn new(mut plan: Plan) -> anyhow::Result<Worker> {
        let poller = Poller::new().context("can't watch sockets")?;
        let jobs = std::mem::take(&mut plan.jobs).into_iter().enumerate();
        let slots = jobs.map(|(token, job)| Slot::open(job, &poller, token));
        let slots = slots.collect::<anyhow::Result<Vec<Slot>>>()?;
        let paced = (0..slots.len()).filter(|&token| slots[token].client.is_paced()).collect();
        Ok(Worker {
            interval_end: plan.span.interval_end(0),
            plan,
            poller,
            slots,
            paced,
            next_paced: 0,
            ready: Vec::new(),
            interval: Interval::default(),
            cpu_nanos: 0,
            spun_nanos: 0,
            busy_since: 0,
            look_at: 0,
            sent_until: None,
        })
    }

    /// Runs to the end of the plan, and reports.
    pub fn run(mut self) {
        let result = self.work();
        if self.sent_until.is_none() {
            self.plan.sending.fetch_sub(1, Ordering::Relaxed);
        }
        let sent_until = self.sent_until.unwrap_or_else(|| self.plan.clock.nanos());
        self.end_interval(self.plan.clock.nanos());
        let report = match result {
            Ok(()) => Report::Done { sent_until },
            Err(error) => Report::Failed { sent_until, reason: format!("{error:#}") },
        };
        // If nobody listens, the process is ending.
        let _ = self.plan.reports.send(report);
    }

    fn work(&mut self) -> anyhow::Result<()> {
        let clock = self.plan.clock;
        // Or a short sleep is twice as long. If it can't be set, it is.
        let _ = nix::sys::prctl::set_timerslack(1);
        // All begin together, also those that wait for nothing.
        let early = self.plan.span.begin().saturating_sub(clock.nanos());
        std::thread::sleep(Duration::from_nanos(early));
        self.cpu_nanos = thread_cpu_nanos();
        loop {
            let now = clock.nanos();
            if now >= self.interval_end {
                self.end_interval(now);
            }
            let over = now >= self.plan.span.end() || self.plan.stop.load(Ordering::Relaxed);
            if over || self.slots.iter().all(|slot| slot.client.is_done()) {
                break;
            }
            self.look(now);
            self.rest(now);
            self.take_arrivals(clock.nanos())?;
            self.turn(self.timeout(now))?;
            if self.plan.spin && self.ready.is_empty() {
                // Who never sleeps uses all of a CPU: only what it was used for tells anything.
                self.spun_nanos += clock.nanos() - now;
            }
        }
        self.drain()
    }

    /// Answers that come after the end count for the latencies: their requests were due before it.
    fn drain(&mut self) -> anyhow::Result<()> {
        let clock = self.plan.clock;
        let now = clock.nanos();
        self.sent_until = Some(now);
        self.plan.sending.fetch_sub(1, Ordering::Relaxed);
        // What is answered from here on belongs to no interval of the run.
        if self.interval_end != u64::MAX {
            self.end_interval(now);
            self.interval_end = u64::MAX;
        }
        let deadline = now + DRAIN.as_nanos() as u64;
        loop {
            let waiting = self.slots.iter().any(|slot| slot.client.is_waiting());
            let others = self.plan.sending.load(Ordering::Relaxed);
            let now = clock.nanos();
            if (!waiting && others == 0) || now > deadline {
                break;
            }
            self.look(now);
            self.turn(IDLE_WAIT)?;
        }
        let awaited = self.slots.iter().map(|slot| slot.client.awaited()).sum::<usize>();
        self.interval.trouble(Trouble::Unanswered, awaited as u64);
        let unsent = self.slots.iter().map(|slot| slot.client.unsent()).sum::<usize>();
        self.interval.trouble(Trouble::Unsent, unsent as u64);
        match self.slots.iter().find(|slot| slot.connection.is_none()) {
            Some(slot) => anyhow::bail!("the connection to {} was broken at the end", slot.broker),
            None => Ok(()),
        }
    }

    fn turn(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let began = self.plan.clock.nanos();
        ready.extend(self.poller.wait(timeout).context("can't wait for sockets")?);
        let ended = self.plan.clock.nanos();
        if ended - began >= RESTED_NANOS {
            self.busy_since = ended;
        }
        for ready in &ready {
            let now = match ready.readable {
                true => self.read(ready.token),
                false => self.plan.clock.nanos(),
            };
            self.send(ready.token, now);
        }
        self.ready = ready;
        self.take_replies()
    }

    /// Lets others have the CPU if none could for long.
    fn rest(&mut self, now: u64) {
        if self.plan.arrivals.is_some()
            && !self.plan.spin
            && now.saturating_sub(self.busy_since) >= BUSY_MAX_NANOS
        {
            std::thread::sleep(REST);
            self.busy_since = self.plan.clock.nanos();
        }
    }

    /// Now and then: clients that nothing happens to may have something to do all the same, and
    /// those that were cut off too fast wait for their turn to ask again.
    fn look(&mut self, now: u64) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_NANOS;
        for token in 0..self.slots.len() {
            match self.slots[token].ask_at {
                Some(at) if at <= now => self.ask(token, now),
                Some(at) => self.look_at = self.look_at.min(at),
                None => self.send(token, now),
            }
        }
    }

    /// Hands due arrivals to the clients in turn, and lets those send that got one.
    fn take_arrivals(&mut self, now: u64) -> anyhow::Result<()> {
        let Some(arrivals) = &mut self.plan.arrivals else { return Ok(()) };
        let (first, clients) = (self.next_paced, self.paced.len());
        let mut taken = 0;
        while let Some(due) = arrivals.pop(now) {
            // Nobody but this thread is to blame for being late here.
            self.interval.lag.saturating_record(now - due);
            let client = &mut self.slots[self.paced[self.next_paced]].client;
            if client.due(due) > DUE_MAX {
                anyhow::bail!("the broker is {DUE_MAX} requests behind: lower --rate");
            }
            self.next_paced += 1;
            if self.next_paced == clients {
                self.next_paced = 0;
            }
            taken += 1;
        }
        for client in 0..taken.min(clients) {
            self.send(self.paced[(first + client) % clients], now);
        }
        Ok(())
    }

    /// How long to sleep at most.
    fn timeout(&self, now: u64) -> Duration {
        match &self.plan.arrivals {
            _ if self.plan.spin => Duration::ZERO,
            Some(arrivals) => {
                Duration::from_nanos(arrivals.peek().saturating_sub(now)).min(IDLE_WAIT)
            }
            None => IDLE_WAIT,
        }
    }

    fn send(&mut self, token: usize, now: u64) {
        let ending = self.sent_until.is_some();
        let slot = &mut self.slots[token];
        let Some(connection) = &mut slot.connection else { return };
        slot.client.fill(connection, now, ending, &mut self.interval);
        if slot.flush(&self.poller, token).is_err() {
            self.disconnected(token);
        }
    }

    /// Returns the moment of what was read.
    fn read(&mut self, token: usize) -> u64 {
        let slot = &mut self.slots[token];
        let Some(connection) = &mut slot.connection else { return self.plan.clock.nanos() };
        let read = connection.read();
        let now = self.plan.clock.nanos();
        match read.and_then(|_| slot.client.take(connection, now, &mut self.interval)) {
            Ok(Leads::AsBefore) => {}
            Ok(Leads::Elsewhere) => self.reroute(token),
            Err(_) => self.disconnected(token),
        }
        now
    }

    fn disconnected(&mut self, token: usize) {
        self.interval.trouble(Trouble::Disconnected, 1);
        self.reroute(token);
    }

    /// Gives the connection up, to ask for one to whoever leads now.
    fn reroute(&mut self, token: usize) {
        let slot = &mut self.slots[token];
        slot.connection = None;
        slot.watched_for_writing = false;
        let lost = slot.client.cut_off();
        self.interval.trouble(Trouble::Unanswered, lost as u64);
        let now = self.plan.clock.nanos();
        if now > slot.asked + LOOK_NANOS || slot.asked == 0 {
            self.ask(token, now);
        } else {
            // Brokers need a moment to agree on who leads; until then we would only go in circles.
            slot.ask_at = Some(slot.asked + LOOK_NANOS);
            self.look_at = self.look_at.min(slot.asked + LOOK_NANOS);
        }
    }

    fn ask(&mut self, token: usize, now: u64) {
        let slot = &mut self.slots[token];
        slot.ask_at = None;
        slot.asked = now;
        let (worker, topic, share) = (self.plan.worker, slot.topic, slot.share);
        // The router lives as long as there are workers.
        let _ = self.plan.router.send(Ask::Reroute { worker, token, topic, share });
    }

    fn take_replies(&mut self) -> anyhow::Result<()> {
        while let Ok(reply) = self.plan.replies.try_recv() {
            match reply {
                Reply::Failed(reason) => anyhow::bail!(reason),
                Reply::Moved { topic, routes } => self.share_again(topic, &routes),
                Reply::Rerouted { token, routes, stream } => {
                    self.slots[token].reopen(&routes, stream, &self.poller, token)?;
                    self.send(token, self.plan.clock.nanos());
                }
            }
        }
        Ok(())
    }

    /// Partitions have moved: those that are shared out have other owners now.
    fn share_again(&mut self, topic: usize, routes: &Routes) {
        for token in 0..self.slots.len() {
            let slot = &mut self.slots[token];
            let is_part = matches!(slot.share, Share::Part { .. });
            if slot.topic != topic || !is_part || slot.connection.is_none() {
                continue;
            }
            match routes.pick(slot.share) {
                Some((broker, partitions)) if broker == slot.broker => {
                    slot.client.assign(partitions);
                    self.send(token, self.plan.clock.nanos());
                }
                _ => self.reroute(token),
            }
        }
    }

    fn end_interval(&mut self, now: u64) {
        let cpu_nanos = thread_cpu_nanos();
        let used = cpu_nanos - std::mem::replace(&mut self.cpu_nanos, cpu_nanos);
        self.interval.cpu_nanos = used.saturating_sub(std::mem::take(&mut self.spun_nanos));
        let interval = Box::new(std::mem::take(&mut self.interval));
        let _ = self.plan.reports.send(Report::Interval { end: self.interval_end, interval });
        while self.interval_end <= now {
            self.interval_end = self.plan.span.interval_end(self.interval_end);
        }
    }
}
