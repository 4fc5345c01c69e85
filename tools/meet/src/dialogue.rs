//! The sentences, who says them, and what is wrong when something else is said.

use std::fmt;

use hutong::duplex::{Frame, Kind, Serial, SerialError};
use thiserror::Error;

/// Zhang asks, first of all.
pub const EATEN: &str = "吃了没，您吶?";
/// Li answers that.
pub const JUST_NOW: &str = "刚吃。";
/// Li asks.
pub const WHERE_TO: &str = "您这，嘛去？";
/// Zhang answers that.
pub const A_STROLL: &str = "嗨！吃饱了溜溜弯儿。";
/// Li says, and it wants an answer.
pub const COME_BY: &str = "有空家里坐坐啊。";
/// Zhang answers that.
pub const RESPECTS: &str = "回头去给老太太请安！";
/// Both say so when all meetings are over. Not part of one, and not counted.
pub const FAREWELL: &str = "再见！";

/// A meeting, in order.
pub const MEETING: [&str; 6] = [EATEN, JUST_NOW, WHERE_TO, A_STROLL, COME_BY, RESPECTS];

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// He visits, and begins each meeting.
    Zhang,
    /// He waits.
    Li,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Who::Zhang => "Zhang",
            Who::Li => "Li",
        })
    }
}

/// What makes the one who hears it give up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// A sentence that isn't the one that belongs there.
    #[error("said {said:?} where {due:?} was due")]
    Sentence {
        /// What was said, made readable and cut short.
        said: String,
        /// What should have been said.
        due: &'static str,
    },
    /// A serial that doesn't fit.
    #[error("sent {0}")]
    Serial(#[from] SerialError),
    /// Li asks where there is no meeting.
    #[error("asked {0:?} in a meeting that had not begun")]
    TooEarly(&'static str),
    /// Zhang greets more often than he said he would.
    #[error("began another meeting while {0} were under way, the most he had announced")]
    TooMany(u32),
    /// Zhang takes his leave and owes answers.
    #[error("said farewell and left {0} questions unanswered")]
    LeavesEarly(usize),
    /// No `hutong-meet` of this version.
    #[error("{0}")]
    Stranger(String),
    /// Li does not want to.
    #[error("refused to meet: {0}")]
    Refused(String),
}

/// Checks a sentence word for word.
#[inline]
pub fn check(payload: &[u8], due: &'static str) -> Result<(), Wrong> {
    if payload == due.as_bytes() { Ok(()) } else { Err(wrong_sentence(payload, due)) }
}

#[cold]
fn wrong_sentence(payload: &[u8], due: &'static str) -> Wrong {
    let said = String::from_utf8_lossy(payload).chars().take(40).collect();
    Wrong::Sentence { said, due }
}

/// One sentence of the talk as it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Who said it.
    pub who: Who,
    /// Whether it asked or answered.
    pub kind: Kind,
    /// The request's number.
    pub serial: Serial,
    /// The words.
    pub sentence: &'static str,
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.kind {
            Kind::Request => "asks",
            Kind::Answer => "answers",
        };
        write!(f, "{:5} {verb:7} #{}  {}", self.who, self.serial, self.sentence)
    }
}

/// One of the two as the line sees him: who speaks when he may, and hears what came.
pub trait Side {
    /// The other one.
    const OTHER: Who;

    /// Says what he has to say of his own accord, if there is room for it.
    fn speak(&mut self, out: &mut Vec<u8>);

    /// Hears one frame, and says what he has to say because of it.
    ///
    /// He may not refuse to hear, so what this adds to `out` must be bounded by himself.
    fn hear(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), Wrong>;

    /// Whether nothing more will be said or heard. What is in `out` is still to be sent.
    fn is_done(&self) -> bool;

    /// How far they are, for an error that ends it.
    fn progress(&self) -> String;
}

/// How far they are, in words.
pub fn progress(complete: u64, meets: Option<u64>) -> String {
    match meets {
        None => "they had not agreed to meet yet".to_owned(),
        Some(meets) => format!("{complete} of {meets} meetings were complete"),
    }
}
