//! One thread that sends and listens on its share of the connections.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use anyhow::Context;

use super::Pace;
use super::client::{Client, Sending};
use crate::clock::{Clock, thread_cpu_nanos};
use crate::net::connection::Connection;
use crate::net::poller::{Poller, Ready};
use crate::pace::Arrivals;
use crate::payload::Pool;
use crate::report::{Interval, Report, Span, Trouble};
use crate::routes::{Ask, Reply, Routes, connect};

/// Requests of an open loop that wait because the broker doesn't take them, for each client. Far
/// more than any broker gets over with; it bounds our memory, and ends the run.
const DUE_MAX: usize = 20_000_000;
/// How long answers may still come after the last request was sent.
const DRAIN: Duration = Duration::from_secs(10);
/// Between two looks at the clock and at the router when nothing happens.
const IDLE_WAIT: Duration = Duration::from_millis(5);

/// What a worker is to do, and with what.
pub struct Plan {
    pub worker: usize,
    /// The numbers of its clients.
    pub clients: Vec<usize>,
    pub sending: Sending,
    pub pool: Arc<Pool>,
    pub span: Span,
    /// Never sleep.
    pub spin: bool,
    pub seed: u64,
    pub clock: Clock,
    pub router: Sender<Ask>,
    pub replies: Receiver<Reply>,
    pub reports: Sender<Report>,
    pub stop: Arc<AtomicBool>,
}

/// See the module.
pub struct Worker {
    plan: Plan,
    poller: Poller,
    clients: Vec<Client>,
    arrivals: Option<Arrivals>,
    /// Which client gets the next arrival.
    next_client: usize,
    ready: Vec<Ready>,
    interval: Interval,
    interval_end: u64,
    /// The CPU time used when it began.
    cpu_nanos: u64,
    /// Clients that wait for the router.
    rerouting: usize,
    /// When the last request was sent, once the end has come.
    sent_until: Option<u64>,
}

impl Worker {
    /// Connects its clients.
    ///
    /// # Errors
    /// A sentence: a broker can't be reached, or the system gives no more sockets.
    pub fn new(plan: Plan, routes: &Routes) -> anyhow::Result<Worker> {
        let poller = Poller::new().context("can't watch sockets")?;
        let mut clients = Vec::new();
        for (token, &number) in plan.clients.iter().enumerate() {
            let (broker, partitions) =
                routes.share(number).context("no partition of the topic has a leader")?;
            let connection = watch(&poller, token, connect(&broker)?)
                .with_context(|| format!("can't use a connection to {broker}"))?;
            clients.push(Client::new(number, connection, partitions));
        }
        let arrivals = match plan.sending.pace {
            Pace::Open { rate, spacing } => {
                Some(Arrivals::new(rate, spacing, plan.span.begin(), plan.seed))
            }
            Pace::Closed { .. } => None,
        };
        Ok(Worker {
            interval_end: plan.span.interval_end(0),
            plan,
            poller,
            clients,
            arrivals,
            next_client: 0,
            ready: Vec::new(),
            interval: Interval::default(),
            cpu_nanos: 0,
            rerouting: 0,
            sent_until: None,
        })
    }

    /// Runs to the end of the plan, and reports.
    pub fn run(mut self) {
        let result = self.work();
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
        self.cpu_nanos = thread_cpu_nanos();
        for client in 0..self.clients.len() {
            self.send(client, clock.nanos());
        }
        loop {
            let now = clock.nanos();
            if now >= self.interval_end {
                self.end_interval(now);
            }
            if now >= self.plan.span.end() || self.plan.stop.load(Ordering::Relaxed) {
                break;
            }
            self.take_arrivals(now)?;
            self.turn(self.timeout(now))?;
        }
        self.drain()
    }

    /// Answers that come after the end count for the latencies: their requests were due before it.
    fn drain(&mut self) -> anyhow::Result<()> {
        let clock = self.plan.clock;
        let now = clock.nanos();
        self.sent_until = Some(now);
        // What is answered from here on belongs to no interval of the run.
        while self.interval_end != u64::MAX {
            self.end_interval(now.max(self.interval_end));
        }
        let deadline = now + DRAIN.as_nanos() as u64;
        let unanswered = |clients: &[Client]| clients.iter().map(|c| c.unanswered).sum::<usize>();
        while unanswered(&self.clients) > 0 && clock.nanos() < deadline {
            self.turn(IDLE_WAIT)?;
        }
        self.interval.trouble(Trouble::Unanswered, unanswered(&self.clients) as u64);
        let unsent: usize = self.clients.iter().map(|client| client.due.len()).sum();
        self.interval.trouble(Trouble::Unsent, unsent as u64);
        Ok(())
    }

    fn turn(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        ready.extend(self.poller.wait(timeout).context("can't wait for sockets")?);
        for ready in &ready {
            if ready.readable {
                self.read(ready.token);
            }
            self.send(ready.token, self.plan.clock.nanos());
        }
        self.ready = ready;
        self.take_replies()
    }

    /// Hands due arrivals to the clients in turn, and lets those send that got one.
    fn take_arrivals(&mut self, now: u64) -> anyhow::Result<()> {
        let Some(arrivals) = &mut self.arrivals else { return Ok(()) };
        let (first, clients) = (self.next_client, self.clients.len());
        let mut taken = 0;
        while let Some(due) = arrivals.pop(now) {
            // Nobody but this thread is to blame for being late here.
            self.interval.lag.saturating_record(now - due);
            let client = &mut self.clients[self.next_client];
            client.due.push_back(due);
            if client.due.len() > DUE_MAX {
                anyhow::bail!("the broker is {DUE_MAX} requests behind: lower --rate");
            }
            self.next_client = (self.next_client + 1) % clients;
            taken += 1;
        }
        for client in 0..taken.min(clients) {
            self.send((first + client) % clients, now);
        }
        Ok(())
    }

    /// How long to sleep at most.
    fn timeout(&self, now: u64) -> Duration {
        match &self.arrivals {
            _ if self.plan.spin => Duration::ZERO,
            Some(arrivals) => {
                Duration::from_nanos(arrivals.peek().saturating_sub(now)).min(IDLE_WAIT)
            }
            None => IDLE_WAIT,
        }
    }

    fn send(&mut self, token: usize, now: u64) {
        let client = &mut self.clients[token];
        if self.sent_until.is_none() {
            client.fill(&self.plan.sending, &self.plan.pool, now, &mut self.interval);
        }
        let Some(connection) = &mut client.connection else { return };
        let flushed = connection.flush().and_then(|all_left| {
            if all_left == client.watched_for_writing {
                self.poller.watch_writing(connection.socket(), token, !all_left)?;
                client.watched_for_writing = !all_left;
            }
            Ok(())
        });
        if flushed.is_err() {
            self.disconnected(token);
        }
    }

    fn read(&mut self, token: usize) {
        let client = &mut self.clients[token];
        let Some(connection) = &mut client.connection else { return };
        let result = connection.read().and_then(|_| {
            let now = self.plan.clock.nanos();
            client.take_answers(&self.plan.sending, now, &mut self.interval)
        });
        match result {
            Ok(()) if client.routes_stale => self.reroute(token),
            Ok(()) => {}
            Err(_) => self.disconnected(token),
        }
    }

    fn disconnected(&mut self, token: usize) {
        self.interval.trouble(Trouble::Disconnected, 1);
        self.reroute(token);
    }

    /// Gives the connection up and asks for one to whoever leads now.
    fn reroute(&mut self, token: usize) {
        let client = &mut self.clients[token];
        let lost = client.cut_off();
        self.interval.trouble(Trouble::Unanswered, lost as u64);
        self.rerouting += 1;
        let ask = Ask::Reroute { worker: self.plan.worker, client: client.number };
        // The router lives as long as there are workers.
        let _ = self.plan.router.send(ask);
    }

    fn take_replies(&mut self) -> anyhow::Result<()> {
        while self.rerouting > 0 {
            let Ok(reply) = self.plan.replies.try_recv() else { break };
            self.rerouting -= 1;
            match reply {
                Reply::Failed(reason) => anyhow::bail!(reason),
                Reply::Rerouted { client: number, routes, stream } => {
                    let token = self.plan.clients.iter().position(|&n| n == number);
                    let token = token.expect("the router names the client that asked");
                    let share = routes.share(number);
                    let (_, partitions) = share.expect("the router has connected it to a leader");
                    let connection =
                        watch(&self.poller, token, stream).context("can't use a new connection")?;
                    self.clients[token].reconnect(connection, partitions);
                    self.send(token, self.plan.clock.nanos());
                }
            }
        }
        Ok(())
    }

    fn end_interval(&mut self, now: u64) {
        let cpu_nanos = thread_cpu_nanos();
        self.interval.cpu_nanos = cpu_nanos - std::mem::replace(&mut self.cpu_nanos, cpu_nanos);
        let interval = Box::new(std::mem::take(&mut self.interval));
        let _ = self.plan.reports.send(Report::Interval { end: self.interval_end, interval });
        while self.interval_end <= now {
            self.interval_end = self.plan.span.interval_end(self.interval_end);
        }
    }
}

fn watch(poller: &Poller, token: usize, stream: TcpStream) -> io::Result<Connection> {
    let connection = Connection::new(stream)?;
    poller.add(connection.socket(), token)?;
    Ok(connection)
}
