//! Who leads what, for all threads of a run: one thread asks, over and over, whenever somebody has
//! found the answer to be stale.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use hutong::cli::client::Endpoint;

use crate::routes::{Routes, look_up};

/// Between two looks at whether to ask.
const PAUSE: Duration = Duration::from_millis(50);
/// Without complaints it is asked this often all the same.
const EVERY: Duration = Duration::from_secs(5);
/// A broker that takes longer is passed over: another one may answer at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The leaders as they were last known.
#[derive(Debug)]
pub struct Leaders {
    routes: Mutex<Arc<Routes>>,
    stale: AtomicBool,
}

impl Leaders {
    /// Begins with what is known, and asks `brokers` and all that they name. The thread that asks
    /// ends when nobody holds the result any more.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(
        brokers: Vec<Endpoint>,
        topic: String,
        routes: Routes,
    ) -> anyhow::Result<Arc<Leaders>> {
        let routes = Mutex::new(Arc::new(routes));
        let leaders = Arc::new(Leaders { routes, stale: AtomicBool::new(false) });
        let weak = Arc::downgrade(&leaders);
        thread::Builder::new()
            .name("leaders".into())
            .spawn(move || keep_asking(&weak, brokers, &topic))
            .context("can't start a thread")?;
        Ok(leaders)
    }

    /// What was known last.
    pub fn routes(&self) -> Arc<Routes> {
        // Nobody panics while holding it.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something sent to a leader didn't reach it, or it said that it is none.
    pub fn are_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }
}

fn keep_asking(leaders: &Weak<Leaders>, mut brokers: Vec<Endpoint>, topic: &str) {
    let mut asked = Instant::now();
    loop {
        thread::sleep(PAUSE);
        let Some(leaders) = leaders.upgrade() else { return };
        if !leaders.stale.swap(false, Ordering::Relaxed) && asked.elapsed() < EVERY {
            continue;
        }
        asked = Instant::now();
        // Who was asked last may be the one that is wrong.
        brokers.rotate_left(1);
        match look_up(&brokers[0], topic, ANSWER_TIMEOUT) {
            Ok(Some(routes)) => {
                for broker in routes.brokers() {
                    if !brokers.contains(broker) {
                        brokers.push(broker.clone());
                    }
                }
                let routes = Arc::new(routes.or_newer(&leaders.routes()));
                *leaders.routes.lock().unwrap_or_else(PoisonError::into_inner) = routes;
            }
            // It may not have caught up yet, or is gone: the next one may know more.
            Ok(None) | Err(_) => leaders.are_stale(),
        }
    }
}
