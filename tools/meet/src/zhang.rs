//! Zhang: visits, begins each meeting, and has the clock.

use std::time::{Duration, Instant};

use hutong::duplex::{Frame, Incoming, Kind, Outstanding, Serial, put};

use crate::dialogue::{
    A_STROLL, COME_BY, EATEN, FAREWELL, JUST_NOW, RESPECTS, Side, Spoken, WHERE_TO, Who, Wrong,
    check, progress,
};
use crate::hello::{Plan, decode_answer};

/// He begins no more meetings while this much of what he said is not sent. So what he sends and
/// what he hears stay in the CPU's cache, and answers don't queue behind a long row of greetings.
pub const SPEAK_BYTES: usize = 64 << 10;

/// What one of his requests was.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Hello,
    Eaten,
    Farewell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Arriving,
    Agreeing,
    Meeting,
    Leaving,
    Gone,
}

/// His side of the talk.
#[derive(Debug)]
pub struct Zhang {
    plan: Plan,
    stage: Stage,
    asked: Outstanding<Asked>,
    incoming: Incoming,
    /// Meetings he has begun, answers to that, and Li's questions he has answered.
    begun: u64,
    answers: u64,
    questions: u64,
    clock: Instant,
    elapsed: Duration,
    transcript: Option<Vec<Spoken>>,
}

impl Zhang {
    /// On his way to meet. With `transcript` he remembers every sentence.
    pub fn new(plan: Plan, transcript: bool) -> Zhang {
        Zhang {
            plan,
            stage: Stage::Arriving,
            asked: Outstanding::new(plan.in_flight),
            incoming: Incoming::default(),
            begun: 0,
            answers: 0,
            questions: 0,
            clock: Instant::now(),
            elapsed: Duration::ZERO,
            transcript: transcript.then(Vec::new),
        }
    }

    /// From before the first sentence until Li has said that he has heard the last.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// What was said, in the order in which he said and heard it.
    pub fn transcript(&self) -> &[Spoken] {
        self.transcript.as_deref().unwrap_or_default()
    }

    /// Meetings in which he has heard all, and said all that he has to.
    fn complete(&self) -> u64 {
        self.answers.min(self.questions / 2)
    }

    fn ask(&mut self, what: Asked, words: &[u8], out: &mut Vec<u8>) -> Serial {
        let serial = self.asked.ask(what).expect("he looks for room before he asks");
        put(out, Kind::Request, serial, words);
        serial
    }

    fn note(&mut self, who: Who, kind: Kind, serial: Serial, sentence: &'static str) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(Spoken { who, kind, serial, sentence });
        }
    }

    fn hear_answer(&mut self, frame: Frame<'_>) -> Result<(), Wrong> {
        match self.asked.answered(frame.serial)? {
            Asked::Eaten => {
                check(frame.payload, JUST_NOW)?;
                self.note(Who::Li, Kind::Answer, frame.serial, JUST_NOW);
                self.answers += 1;
            }
            Asked::Hello => {
                decode_answer(frame.payload)?;
                self.stage = Stage::Meeting;
                self.clock = Instant::now();
            }
            Asked::Farewell => {
                check(frame.payload, FAREWELL)?;
                self.elapsed = self.clock.elapsed();
                self.stage = Stage::Gone;
            }
        }
        Ok(())
    }

    fn hear_question(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
        self.incoming.check(frame.serial)?;
        let (question, answer) = if self.questions.is_multiple_of(2) {
            (WHERE_TO, A_STROLL)
        } else {
            (COME_BY, RESPECTS)
        };
        check(frame.payload, question)?;
        if self.questions / 2 >= self.begun {
            return Err(Wrong::TooEarly(question));
        }
        self.questions += 1;
        put(out, Kind::Answer, frame.serial, answer.as_bytes());
        self.note(Who::Li, Kind::Request, frame.serial, question);
        self.note(Who::Zhang, Kind::Answer, frame.serial, answer);
        Ok(())
    }
}

impl Side for Zhang {
    const OTHER: Who = Who::Li;

    fn speak(&mut self, out: &mut Vec<u8>) {
        match self.stage {
            Stage::Arriving => {
                self.ask(Asked::Hello, &self.plan.encode(), out);
                self.stage = Stage::Agreeing;
            }
            Stage::Meeting if self.complete() == self.plan.meets => {
                self.ask(Asked::Farewell, FAREWELL.as_bytes(), out);
                self.stage = Stage::Leaving;
            }
            Stage::Meeting => {
                let end = self.complete() + u64::from(self.plan.in_flight);
                let end = end.min(self.plan.meets);
                // Full before that, if Li lets the oldest greeting wait and answers newer ones.
                while self.begun < end && !self.asked.is_full() && out.len() < SPEAK_BYTES {
                    let serial = self.ask(Asked::Eaten, EATEN.as_bytes(), out);
                    self.note(Who::Zhang, Kind::Request, serial, EATEN);
                    self.begun += 1;
                }
            }
            Stage::Agreeing | Stage::Leaving | Stage::Gone => {}
        }
    }

    #[inline]
    fn hear(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
        match frame.kind {
            Kind::Request => self.hear_question(frame, out),
            Kind::Answer => self.hear_answer(frame),
        }
    }

    fn is_done(&self) -> bool {
        self.stage == Stage::Gone
    }

    fn progress(&self) -> String {
        let agreed = !matches!(self.stage, Stage::Arriving | Stage::Agreeing);
        progress(self.complete(), agreed.then_some(self.plan.meets))
    }
}
