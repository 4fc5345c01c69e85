//! Whole talks in this process: every window, every sentence, bounded buffers, and old men who
//! don't keep to what was agreed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use hutong::duplex::{Frames, Kind, Serial, put};
use hutong_meet::dialogue::{
    A_STROLL, COME_BY, EATEN, FAREWELL, JUST_NOW, MEETING, RESPECTS, WHERE_TO,
};
use hutong_meet::hello::{Plan, encode_answer};
use hutong_meet::lane::{self, Account, Manner, MeetError};
use hutong_meet::zhang::SPEAK_BYTES;

use Kind::{Answer, Request};

fn both(meets: u64, in_flight: u32, transcript: bool) -> [Account; 2] {
    let manner = Manner { transcript, ..Manner::default() };
    lane::both(Plan { meets, in_flight }, manner, manner).unwrap()
}

/// What the answers and questions of so many meetings take, on the side that says more.
fn bytes_of(meetings: u32) -> usize {
    let zhangs = [A_STROLL, RESPECTS].iter().map(|said| said.len() + 8).sum::<usize>();
    let lis = [JUST_NOW, WHERE_TO, COME_BY].iter().map(|said| said.len() + 8).sum::<usize>();
    meetings as usize * zhangs.max(lis)
}

#[test]
fn every_window_and_number_of_meetings_works() {
    for in_flight in [1, 2, 3, 7, 64, 1000, 65_536] {
        for meets in [1, 2, 63, 64, 65, 3000] {
            let [zhang, li] = both(meets, in_flight, false);
            assert_eq!((zhang.plan, li.plan), (Plan { meets, in_flight }, zhang.plan));
            assert!(zhang.elapsed > Duration::ZERO && li.elapsed > Duration::ZERO);
        }
    }
}

#[test]
fn one_at_a_time_they_speak_in_turn() {
    let [zhang, li] = both(3, 1, true);
    assert_eq!(zhang.transcript.len(), 18);
    let heard: Vec<&str> = zhang.transcript.iter().map(|spoken| spoken.sentence).collect();
    assert_eq!(heard, MEETING.repeat(3));
    // Li asks both his questions before he hears an answer.
    let heard: Vec<&str> = li.transcript.iter().map(|spoken| spoken.sentence).collect();
    assert_eq!(heard, [EATEN, JUST_NOW, WHERE_TO, COME_BY, A_STROLL, RESPECTS].repeat(3));
    assert_eq!(zhang.transcript[9].to_string(), "Zhang answers #2  嗨！吃饱了溜溜弯儿。");
}

#[test]
fn many_at_a_time_nobody_waits() {
    let [zhang, _] = both(100, 8, true);
    assert_eq!(zhang.transcript.len(), 600);
    assert!(zhang.transcript[..8].iter().all(|spoken| spoken.sentence == EATEN));
    for sentence in MEETING {
        let said = zhang.transcript.iter().filter(|spoken| spoken.sentence == sentence);
        let serials: Vec<u32> = said.map(|spoken| spoken.serial.number()).collect();
        assert_eq!(serials.len(), 100);
        assert!(serials.is_sorted() && serials.first() < serials.last());
    }
}

#[test]
fn what_waits_to_be_sent_is_bounded_by_the_window_however_many_meet() {
    for (meets, in_flight) in [(2000, 16), (300_000, 16), (300_000, 4096)] {
        for account in both(meets, in_flight, false) {
            let unsent = account.effort.unsent_bytes_max;
            assert!(unsent <= SPEAK_BYTES + bytes_of(in_flight) + 64, "{account:?}");
        }
    }
}

/// One of the two, played by hand.
struct Actor {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Actor {
    fn say(&mut self, kind: Kind, serial: u32, words: impl AsRef<[u8]>) {
        let mut out = Vec::new();
        put(&mut out, kind, Serial::new(serial), words.as_ref());
        // The other one may have gone already, as he should.
        let _ = self.stream.write_all(&out);
    }

    fn hear(&mut self) -> (Kind, u32, String) {
        loop {
            let mut frames = Frames::new(&self.heard, 1000);
            if let Some(frame) = frames.cut().unwrap() {
                let words = String::from_utf8_lossy(frame.payload).into_owned();
                let heard = (frame.kind, frame.serial.number(), words);
                self.heard = frames.rest().to_vec();
                return heard;
            }
            let mut bytes = [0; 1000];
            let read = self.stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the other one went away");
            self.heard.extend(&bytes[..read]);
        }
    }
}

/// What Zhang says to someone who plays Li. `silence` is short where nothing shall be said.
fn zhang_meets(
    plan: Plan,
    silence: Duration,
    li: impl FnOnce(&mut Actor) + Send,
) -> Result<Account, MeetError> {
    let (listener, address) = listen();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut actor = Actor { stream, heard: Vec::new() };
            assert_eq!(actor.hear().1, 0);
            li(&mut actor);
            // Stay until Zhang has gone: what he hears must not be cut short.
            let _ = actor.stream.read_to_end(&mut Vec::new());
        });
        lane::visit(address, plan, Manner { silence, ..Manner::default() })
    })
}

/// What Li says to someone who plays Zhang.
fn li_meets(zhang: impl FnOnce(&mut Actor) + Send) -> String {
    let (listener, address) = listen();
    thread::scope(|scope| {
        scope.spawn(move || {
            let stream = TcpStream::connect(address).unwrap();
            let mut actor = Actor { stream, heard: Vec::new() };
            zhang(&mut actor);
            let _ = actor.stream.read_to_end(&mut Vec::new());
        });
        lane::wait(&listener, None, Manner::default()).unwrap_err().to_string()
    })
}

fn listen() -> (TcpListener, SocketAddr) {
    lane::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

const PLAN: Plan = Plan { meets: 5, in_flight: 2 };
const LONG: Duration = Duration::from_secs(60);

/// Agrees, and hears the two greetings that may be under way.
fn agree(li: &mut Actor) {
    li.say(Answer, 0, encode_answer(&Ok(())));
    assert_eq!(li.hear(), (Request, 1, EATEN.to_owned()));
    assert_eq!(li.hear(), (Request, 2, EATEN.to_owned()));
}

#[track_caller]
fn zhang_complains(parts: &[&str], li: impl FnOnce(&mut Actor) + Send) {
    let said = zhang_meets(PLAN, LONG, li).unwrap_err().to_string();
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

#[test]
fn zhang_tells_what_li_did_wrong() {
    zhang_complains(
        &["Li said \"吃过了\" where \"刚吃。\" was due", "0 of 5 meetings"],
        |li| {
            agree(li);
            li.say(Answer, 1, "吃过了");
        },
    );
    zhang_complains(&["Li sent an answer to request 3, which was never sent"], |li| {
        agree(li);
        li.say(Answer, 3, JUST_NOW);
    });
    zhang_complains(&["another answer to request 1, which has been answered"], |li| {
        agree(li);
        li.say(Answer, 1, JUST_NOW);
        li.say(Answer, 1, JUST_NOW);
    });
    zhang_complains(&["Li sent request 1 where request 0 was due"], |li| {
        agree(li);
        li.say(Request, 1, WHERE_TO);
    });
    zhang_complains(&[COME_BY, WHERE_TO, "was due"], |li| {
        agree(li);
        li.say(Request, 0, COME_BY);
    });
    zhang_complains(&["in a meeting that had not begun", "had not agreed"], |li| {
        li.say(Request, 0, WHERE_TO);
    });
    zhang_complains(&["Li refused to meet: it rains"], |li| {
        li.say(Answer, 0, encode_answer(&Err("it rains".to_owned())));
    });
    zhang_complains(&["Li doesn't speak hutong-meet", "announced"], |li| {
        li.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    zhang_complains(&["Li went away in the middle of the talk; 1 of 5 meetings"], |li| {
        agree(li);
        li.say(Answer, 1, JUST_NOW);
        li.say(Request, 0, WHERE_TO);
        li.say(Request, 1, COME_BY);
        // Both answers and the third greeting: nothing is left unread, and he hangs up in order.
        for _ in 0..3 {
            li.hear();
        }
        li.stream.shutdown(std::net::Shutdown::Write).unwrap();
    });
}

#[test]
fn answers_may_come_in_any_order() {
    let met = zhang_meets(Plan { meets: 3, in_flight: 2 }, LONG, |li| {
        agree(li);
        li.say(Answer, 2, JUST_NOW);
        for (serial, question) in [WHERE_TO, COME_BY, WHERE_TO, COME_BY].iter().enumerate() {
            li.say(Request, serial as u32, question);
        }
        for (serial, answer) in [A_STROLL, RESPECTS, A_STROLL, RESPECTS].iter().enumerate() {
            assert_eq!(li.hear(), (Answer, serial as u32, (*answer).to_owned()));
        }
        // He greets again only when his oldest greeting is answered.
        li.say(Answer, 1, JUST_NOW);
        assert_eq!(li.hear(), (Request, 3, EATEN.to_owned()));
        li.say(Answer, 3, JUST_NOW);
        li.say(Request, 4, WHERE_TO);
        li.say(Request, 5, COME_BY);
        assert_eq!(li.hear(), (Answer, 4, A_STROLL.to_owned()));
        assert_eq!(li.hear(), (Answer, 5, RESPECTS.to_owned()));
        assert_eq!(li.hear(), (Request, 4, FAREWELL.to_owned()));
        li.say(Answer, 4, FAREWELL);
    });
    assert_eq!(met.unwrap().plan.meets, 3);
}

#[test]
fn who_says_nothing_is_not_waited_for_without_end() {
    let met = zhang_meets(PLAN, Duration::from_millis(20), |_| {});
    let said = met.unwrap_err().to_string();
    assert!(said.contains("Li has said nothing for 0.02 s"), "{said}");
}

#[track_caller]
fn li_complains(parts: &[&str], zhang: impl FnOnce(&mut Actor) + Send) {
    let said = li_meets(zhang);
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

fn propose(zhang: &mut Actor, meets: u64, in_flight: u32) {
    zhang.say(Request, 0, Plan { meets, in_flight }.encode());
    assert_eq!(zhang.hear(), (Answer, 0, "\0".to_owned()));
}

#[test]
fn li_tells_what_zhang_did_wrong() {
    li_complains(&["Zhang doesn't speak hutong-meet", "1195725856 bytes"], |zhang| {
        zhang.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    });
    li_complains(&["Zhang doesn't speak hutong-meet", "had not agreed"], |zhang| {
        zhang.say(Request, 0, "hutong-raft");
    });
    li_complains(&["speaks version 2 of hutong-meet"], |zhang| {
        zhang.say(Request, 0, b"hutong-meet\0\0\0\x02");
    });
    li_complains(&["said \"您好\" where \"吃了没，您吶?\" was due; 0 of 5"], |zhang| {
        propose(zhang, 5, 2);
        zhang.say(Request, 1, "您好");
    });
    li_complains(&["request 3 where request 1 was due"], |zhang| {
        propose(zhang, 5, 2);
        zhang.say(Request, 3, EATEN);
    });
    li_complains(&["an answer to request 0, which was never sent"], |zhang| {
        propose(zhang, 5, 2);
        zhang.say(Answer, 0, A_STROLL);
    });
    li_complains(&[RESPECTS, A_STROLL, "was due"], |zhang| {
        propose(zhang, 5, 2);
        zhang.say(Request, 1, EATEN);
        zhang.say(Answer, 0, RESPECTS);
    });
    li_complains(&["began another meeting while 2 were under way"], |zhang| {
        propose(zhang, 5, 2);
        (1..=3).for_each(|serial| zhang.say(Request, serial, EATEN));
    });
    li_complains(&[EATEN, FAREWELL, "was due; 0 of 1"], |zhang| {
        propose(zhang, 1, 2);
        (1..=2).for_each(|serial| zhang.say(Request, serial, EATEN));
    });
    li_complains(&["said farewell and left 2 questions unanswered"], |zhang| {
        propose(zhang, 1, 2);
        zhang.say(Request, 1, EATEN);
        zhang.say(Request, 2, FAREWELL);
    });
    li_complains(&["Zhang went away", "0 of 5 meetings"], |zhang| {
        propose(zhang, 5, 2);
        zhang.stream.shutdown(std::net::Shutdown::Write).unwrap();
    });
}
