//! What a worker's loop asks of a client: the owner of one connection.

use std::io;

use crate::net::connection::Connection;
use crate::report::Interval;

/// Whether the broker that was asked is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    AsBefore,
    /// Somebody else leads now: ask again who.
    Elsewhere,
}

/// One client. The worker has its connection, and lends it.
pub trait Client: Send {
    /// The partitions it has to do with from now on, all led by the broker it is connected to.
    fn assign(&mut self, partitions: Vec<u32>);

    /// Puts requests into the output, as many as there are to be sent and as fit. Once the run is
    /// `ending`, only those without which others would never be answered.
    fn fill(&mut self, to: &mut Connection, now: u64, ending: bool, interval: &mut Interval);

    /// Takes all answers that have been read.
    ///
    /// # Errors
    /// The broker sent something else than the next answer: the connection is of no more use.
    fn take(
        &mut self,
        from: &mut Connection,
        now: u64,
        interval: &mut Interval,
    ) -> io::Result<Leads>;

    /// The connection is gone. Returns how many answers will never come.
    fn cut_off(&mut self) -> usize;

    /// Open loop: something is due at this moment. Returns how much waits now.
    fn due(&mut self, moment: u64) -> usize {
        let _ = moment;
        0
    }

    /// Whether it wants to be told what is [`Client::due`].
    fn is_paced(&self) -> bool {
        false
    }

    /// Whether it has done all that it ever will.
    fn is_done(&self) -> bool {
        false
    }

    /// Whether the end of the run should wait for something that it is to get.
    fn is_waiting(&self) -> bool;

    /// Answers that have not come.
    fn awaited(&self) -> usize {
        0
    }

    /// What was due, and is not sent.
    fn unsent(&self) -> usize {
        0
    }
}
