//! The thread that finds leaders, offsets and connections for workers, which must not wait.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use anyhow::Context;

use crate::offsets::{Positions, reset};
use crate::routes::{GIVE_UP_AFTER, RETRY_PAUSE, Routes, Share, TopicWish, connect, prepare};

/// What a worker asks for.
pub enum Ask {
    /// The leaders of a topic as they are now, and a connection for the client with this token to
    /// the broker that is its then.
    Reroute { worker: usize, token: usize, topic: usize, share: Share },
    /// What a consumer was to read next is gone: let it go on with the first record there is.
    Reset { worker: usize, topic: usize, partition: u32, positions: Arc<Positions> },
}

/// What it gets.
pub enum Reply {
    /// New leaders, and a connection to the one that is this client's.
    Rerouted { token: usize, routes: Arc<Routes>, stream: TcpStream },
    /// New leaders, which somebody else has asked for.
    Moved { topic: usize, routes: Arc<Routes> },
    /// It can't be had: the run is over.
    Failed(String),
}

/// Starts the thread. It ends when the last sender of asks is gone.
///
/// # Errors
/// The system refused a thread.
pub fn start_router(
    wishes: Vec<TopicWish>,
    workers: Vec<Sender<Reply>>,
) -> anyhow::Result<Sender<Ask>> {
    let (asks, inbox) = channel();
    let router = Router { wishes, workers, known: BTreeMap::new() };
    thread::Builder::new()
        .name("router".into())
        .spawn(move || router.run(&inbox))
        .context("can't start a thread")?;
    Ok(asks)
}

struct Router {
    wishes: Vec<TopicWish>,
    workers: Vec<Sender<Reply>>,
    /// By topic, with the moment when it was so.
    known: BTreeMap<usize, (Instant, Arc<Routes>)>,
}

impl Router {
    fn run(mut self, inbox: &Receiver<Ask>) {
        while let Ok(ask) = inbox.recv() {
            let deadline = Instant::now() + GIVE_UP_AFTER;
            loop {
                match self.answer(&ask) {
                    Ok(()) => break,
                    Err(error) if Instant::now() > deadline => {
                        let seconds = GIVE_UP_AFTER.as_secs();
                        let reason = format!("{error:#}, for {seconds} seconds now");
                        let (Ask::Reroute { worker, .. } | Ask::Reset { worker, .. }) = &ask;
                        self.tell(*worker, Reply::Failed(reason));
                        break;
                    }
                    Err(_) => {
                        self.known.clear();
                        thread::sleep(RETRY_PAUSE);
                    }
                }
            }
        }
    }

    /// A worker that is gone asks for nothing any more.
    fn tell(&self, worker: usize, reply: Reply) {
        let _ = self.workers[worker].send(reply);
    }

    fn answer(&mut self, ask: &Ask) -> anyhow::Result<()> {
        match ask {
            &Ask::Reroute { worker, token, topic, share } => {
                let routes = self.routes(topic)?;
                let (broker, _) = routes.pick(share).context("no partition has a leader")?;
                let stream = connect(&broker)?;
                self.tell(worker, Reply::Rerouted { token, routes, stream });
                Ok(())
            }
            Ask::Reset { topic, partition, positions, .. } => {
                let routes = self.routes(*topic)?;
                reset(&self.wishes[*topic].name, &routes, *partition, positions)
            }
        }
    }

    /// What is known for a moment only is asked once for all clients that were cut off together.
    fn routes(&mut self, topic: usize) -> anyhow::Result<Arc<Routes>> {
        if let Some((at, routes)) = self.known.get(&topic)
            && at.elapsed() < RETRY_PAUSE
        {
            return Ok(routes.clone());
        }
        let routes = Arc::new(prepare(&self.wishes[topic])?);
        let before = self.known.insert(topic, (Instant::now(), routes.clone()));
        if before.is_none_or(|(_, before)| before != routes) {
            for worker in 0..self.workers.len() {
                self.tell(worker, Reply::Moved { topic, routes: routes.clone() });
            }
        }
        Ok(routes)
    }
}
