//! Lists of operations on the ring of pending responses, against a plain list.

use hutong::model::position::Position;
use hutong::model::qos::Qos;
use hutong::model::time::Time;
use hutong::shard::pending_responses::{PendingResponses, Progress};

use crate::Numbers;

/// The same by a plain list.
#[derive(Default)]
struct Model(Vec<Waiting>);

struct Waiting {
    qos: Qos,
    end: Position,
    deadline: Time,
    number: u32,
}

impl Model {
    fn take(&mut self, pick: impl Fn(&Waiting) -> bool) -> Vec<u32> {
        self.0.extract_if(.., |waiting| pick(waiting)).map(|waiting| waiting.number).collect()
    }
}

/// Carries out the operations that `data` spells, and compares what comes out after each.
pub fn pending_responses_ops(data: &[u8]) {
    let mut numbers = Numbers(data);
    let mut pending = PendingResponses::default();
    let mut model = Model::default();
    let (mut end, mut now, mut number) = (Position(0), Time(0), 0);
    let mut progress = Progress::default();
    while !numbers.is_empty() {
        let mut got = Vec::new();
        let mut expected = match numbers.byte() % 8 {
            0..4 => {
                let qos = Qos::WITH_RESPONSE[usize::from(numbers.byte() % 4)];
                let (grow, spread) = (u64::from(numbers.byte() % 3), numbers.byte());
                for n in 0..u64::from(numbers.byte()) * 3 {
                    end.0 += grow;
                    let deadline = Time(now.0 + 1 + u64::from(spread) * (n % 7) % 50);
                    pending.push(qos, end, deadline, number);
                    model.0.push(Waiting { qos, end, deadline, number });
                    number += 1;
                }
                Vec::new()
            }
            4 | 5 => {
                let mut grow = || u64::from(numbers.byte()) * 4;
                progress.append.0 += grow();
                progress.flush.0 += grow();
                progress.received.0 += grow();
                progress.commit.0 += grow();
                pending.release(&progress, |response| got.push(response));
                model.take(|waiting| waiting.end <= progress.of(waiting.qos))
            }
            6 => {
                now.0 += u64::from(numbers.byte() % 40);
                pending.expire(now, |response| got.push(response));
                model.take(|waiting| waiting.deadline <= now)
            }
            _ if numbers.byte() > 200 => {
                pending.fail_all(|response| got.push(response));
                model.take(|_| true)
            }
            _ => Vec::new(),
        };
        got.sort_unstable();
        expected.sort_unstable();
        assert_eq!(got, expected);
        compare(&pending, &model);
    }
}

fn compare(pending: &PendingResponses<u32>, model: &Model) {
    assert_eq!(pending.len(), model.0.len());
    assert_eq!(pending.is_empty(), model.0.is_empty());
    for qos in Qos::WITH_RESPONSE {
        let waiting = model.0.iter().filter(|waiting| waiting.qos == qos).count();
        assert_eq!(pending.waiting(qos), waiting);
    }
    if let Some(earliest) = model.0.iter().map(|waiting| waiting.deadline).min() {
        assert!(pending.next_deadline().is_some_and(|next| next <= earliest), "never late");
    }
}
