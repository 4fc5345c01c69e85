//! Li: waits in the lane, answers, and asks two questions of his own in each meeting.

use std::time::{Duration, Instant};

use hutong::duplex::{Frame, Incoming, Kind, Outstanding, Serial, put};

use crate::dialogue::{
    A_STROLL, COME_BY, EATEN, FAREWELL, JUST_NOW, RESPECTS, Side, Spoken, WHERE_TO, Who, Wrong,
    check, progress,
};
use crate::hello::{Plan, encode_answer};

/// The most meetings he remembers word for word.
pub const TRANSCRIPT_MEETS_MAX: u64 = 1000;

/// What one of his requests was.
#[derive(Clone, Copy, Debug)]
enum Asked {
    WhereTo,
    ComeBy,
}

/// His side of the talk.
#[derive(Debug)]
pub struct Li {
    /// The number of meetings he insists on.
    meets: Option<u64>,
    plan: Option<Plan>,
    asked: Outstanding<Asked>,
    incoming: Incoming,
    /// Meetings that Zhang has begun, and answers he has given.
    begun: u64,
    answers: u64,
    /// Why he would not meet.
    refused: Option<String>,
    done: bool,
    clock: Instant,
    elapsed: Duration,
    transcript: Option<Vec<Spoken>>,
}

impl Li {
    /// Waiting, for so many meetings if given, else for as many as Zhang likes. With `transcript`
    /// he remembers every sentence, and will have no more than [`TRANSCRIPT_MEETS_MAX`] meetings.
    pub fn new(meets: Option<u64>, transcript: bool) -> Li {
        Li {
            meets,
            plan: None,
            // He asks nothing before there is a plan, and then in place of this.
            asked: Outstanding::new(1),
            incoming: Incoming::default(),
            begun: 0,
            answers: 0,
            refused: None,
            done: false,
            clock: Instant::now(),
            elapsed: Duration::ZERO,
            transcript: transcript.then(Vec::new),
        }
    }

    /// What was agreed.
    pub fn plan(&self) -> Option<Plan> {
        self.plan
    }

    /// Why he would not meet, if so.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// From when he agreed to meet until he returned the farewell.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// What was said, in the order in which he said and heard it.
    pub fn transcript(&self) -> &[Spoken] {
        self.transcript.as_deref().unwrap_or_default()
    }

    fn note(&mut self, who: Who, kind: Kind, serial: Serial, sentence: &'static str) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(Spoken { who, kind, serial, sentence });
        }
    }

    /// Whether he will have that many meetings.
    fn agree(&self, plan: Plan) -> Result<(), String> {
        match self.meets {
            Some(meets) if meets != plan.meets => {
                Err(format!("Zhang wants {} meetings, and Li waits for {meets}", plan.meets))
            }
            _ if self.transcript.is_some() && plan.meets > TRANSCRIPT_MEETS_MAX => Err(format!(
                "Zhang wants {} meetings, and Li prints, which he does for up to \
                 {TRANSCRIPT_MEETS_MAX}",
                plan.meets
            )),
            _ => Ok(()),
        }
    }

    fn hear_hello(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let plan = Plan::decode(frame.payload)?;
        let agreed = self.agree(plan);
        put(out, Kind::Answer, frame.serial, &encode_answer(&agreed));
        self.done = agreed.is_err();
        self.refused = agreed.err();
        self.asked = Outstanding::new(2 * plan.in_flight);
        self.plan = Some(plan);
        self.clock = Instant::now();
        Ok(())
    }

    fn hear_question(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
        self.incoming.check(frame.serial)?;
        let Some(plan) = self.plan else { return self.hear_hello(frame, out) };
        if self.begun == plan.meets {
            check(frame.payload, FAREWELL)?;
            if !self.asked.is_empty() {
                return Err(Wrong::LeavesEarly(self.asked.len()));
            }
            put(out, Kind::Answer, frame.serial, FAREWELL.as_bytes());
            self.elapsed = self.clock.elapsed();
            self.done = true;
            return Ok(());
        }
        check(frame.payload, EATEN)?;
        let under_way = || Wrong::TooMany(plan.in_flight);
        let where_to = self.asked.ask(Asked::WhereTo).ok_or_else(under_way)?;
        let come_by = self.asked.ask(Asked::ComeBy).ok_or_else(under_way)?;
        put(out, Kind::Answer, frame.serial, JUST_NOW.as_bytes());
        put(out, Kind::Request, where_to, WHERE_TO.as_bytes());
        put(out, Kind::Request, come_by, COME_BY.as_bytes());
        self.begun += 1;
        self.note(Who::Zhang, Kind::Request, frame.serial, EATEN);
        self.note(Who::Li, Kind::Answer, frame.serial, JUST_NOW);
        self.note(Who::Li, Kind::Request, where_to, WHERE_TO);
        self.note(Who::Li, Kind::Request, come_by, COME_BY);
        Ok(())
    }

    fn hear_answer(&mut self, frame: Frame<'_>) -> Result<(), Wrong> {
        let due = match self.asked.answered(frame.serial)? {
            Asked::WhereTo => A_STROLL,
            Asked::ComeBy => RESPECTS,
        };
        check(frame.payload, due)?;
        self.answers += 1;
        self.note(Who::Zhang, Kind::Answer, frame.serial, due);
        Ok(())
    }
}

impl Side for Li {
    const OTHER: Who = Who::Zhang;

    /// He speaks when he is greeted.
    fn speak(&mut self, _: &mut Vec<u8>) {}

    #[inline]
    fn hear(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
        match frame.kind {
            Kind::Request => self.hear_question(frame, out),
            Kind::Answer => self.hear_answer(frame),
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn progress(&self) -> String {
        progress(self.answers / 2, self.plan.map(|plan| plan.meets))
    }
}
