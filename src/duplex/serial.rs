//! Numbers of requests, and what may be wrong with the number on a frame.

use std::fmt;

use thiserror::Error;

/// A request's number, counted by the side that sends it: 31 bits, and after the last comes 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serial(u32);

/// A serial that is not what was agreed. Nothing behind it can be trusted: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SerialError {
    /// The answer's request is still to be sent.
    #[error("an answer to request {0}, which was never sent")]
    NeverSent(Serial),
    /// The answer's request has had its answer.
    #[error("another answer to request {0}, which has been answered")]
    AnsweredBefore(Serial),
    /// Requests are numbered one by one.
    #[error("request {came} where request {due} was due")]
    OutOfTurn {
        /// The number it has.
        came: Serial,
        /// The number it must have.
        due: Serial,
    },
}

/// Checks the numbers of the requests that the other side sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incoming {
    due: Serial,
}

impl Serial {
    /// All numbers there are.
    pub const COUNT: u32 = 1 << 31;

    /// The serial with this number, of which only the low 31 bits count.
    pub const fn new(number: u32) -> Serial {
        Serial(number % Serial::COUNT)
    }

    /// As a number below [`Serial::COUNT`].
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The one `steps` further on.
    pub const fn after(self, steps: u32) -> Serial {
        Serial::new(self.0.wrapping_add(steps))
    }

    /// How many steps lead from `earlier` to here: below [`Serial::COUNT`], also across its end.
    pub const fn since(self, earlier: Serial) -> u32 {
        self.0.wrapping_sub(earlier.0) % Serial::COUNT
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Incoming {
    /// Checks that the number of a request that came is the next one.
    pub fn check(&mut self, came: Serial) -> Result<(), SerialError> {
        if came != self.due {
            return Err(SerialError::OutOfTurn { came, due: self.due });
        }
        self.due = came.after(1);
        Ok(())
    }
}
