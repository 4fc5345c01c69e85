//! Three leaders in a row, at the end of a segment: the first one's entry doesn't fit there, the
//! second one's does and lies on its own disk only, and the third one has the first one's.

use hutong::model::position::Position;
use hutong::shard::repair::at_start::Mended;

use crate::rig::Cluster;
use crate::rig::clients::Outcome;

const SEGMENT_BYTES: u64 = 64 << 10;
/// How much the segment has left: room for the second leader's entry.
const LEFT_BYTES: u64 = 8 << 10;

/// What has come of it: all run, the first leads again, and the second has given up its entry.
struct Replaced {
    cluster: Cluster,
    first: usize,
    second: usize,
    third: usize,
    /// Where what was cut off began, and what that was.
    end: Position,
    cut: Vec<u8>,
    /// Of the next record.
    offset: i64,
}

fn replaced() -> Replaced {
    let mut cluster = Cluster::start_with(3, |_, config| config.segment_bytes = SEGMENT_BYTES);
    cluster.create_topic("t", 1);
    let first = cluster.leader();
    let others = [(first + 1) % 3, (first + 2) % 3];
    let mut offset = 0;
    while cluster.snapshot(first).groups[0].append % SEGMENT_BYTES != SEGMENT_BYTES - LEFT_BYTES {
        assert_eq!(cluster.produce(first, "t", -1), Outcome::At(offset));
        offset += 1;
    }
    cluster.run_ms(100);
    let end = Position(cluster.snapshot(first).groups[0].append);
    cluster.cut_off(first, true);
    let value = [b'x'; LEFT_BYTES as usize];
    assert_eq!(cluster.produce_value(first, "t", 3, &value), Outcome::At(offset));

    let second = cluster.first_that(others, Cluster::is_elected);
    let third = others[usize::from(second == others[0])];
    cluster.kill(third);
    cluster.run_ms(20);
    let cut = cluster.block(second, end);
    assert_eq!(cut[..4], *b"HTJE", "its first entry");
    cluster.kill(second);
    cluster.run_ms(2000);
    cluster.cut_off(first, false);
    cluster.restart(third);
    cluster.run_ms(3000);
    assert!(cluster.leads(first), "it has more than the other");
    cluster.restart(second);
    cluster.run_ms(3000);
    Replaced { cluster, first, second, third, end, cut, offset: offset + 1 }
}

#[test]
fn what_was_cut_off_is_not_taken_for_what_came_in_its_place() {
    let Replaced { mut cluster, first, second, third, offset, .. } = replaced();
    // What only these two have must outlive a crash of both.
    cluster.kill(third);
    assert_eq!(cluster.produce(first, "t", -1), Outcome::At(offset));
    cluster.kill(first);
    cluster.kill(second);
    cluster.restart(second);
    cluster.restart(third);
    cluster.run_ms(3000);
    assert!(cluster.leads(second), "it has what was acknowledged");
    assert_eq!(cluster.fetch(second, "t", 0), Outcome::At(offset + 1));
    cluster.restart(first);
    cluster.run_ms(2000);
    cluster.assert_tails_agree();
}

#[test]
fn where_it_was_left_in_the_way_another_node_mends_that() {
    let Replaced { mut cluster, first, second, end, cut, mut offset, .. } = replaced();
    // Enough behind it to prove that something else was there.
    for _ in 0..10 {
        assert_eq!(cluster.produce(first, "t", -1), Outcome::At(offset));
        offset += 1;
    }
    cluster.kill(second);
    cluster.lose_checkpoint(second);
    // As it is in journals of before, which were not cleared there.
    assert!(cluster.block(second, end).iter().all(|byte| *byte == 0));
    cluster.put_block(second, end, &cut);
    assert!(!cluster.opens(second));
    assert_eq!(cluster.mend_at_start(second, first), Some(Ok(Mended::Entries(1))));
    assert_eq!(cluster.mend_at_start(second, first), None);
    cluster.restart(second);
    cluster.run_ms(2000);
    cluster.assert_tails_agree();
}
