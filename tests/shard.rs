//! The shard by its inputs and outputs, as text. `shard/script.rs` explains the words.

#[path = "shard/script.rs"]
mod script;

use script::{check, check_with};

#[test]
fn received_waits_for_nothing_and_flushed_and_durable_for_the_disk() {
    // Write 1 was Raft's own, write 2 made the topic.
    check("produce 1 acks=2", "1: produced at 0");
    check("produce 1 acks=4", "1: produced at 0");
    for acks in [1, 3, 5, -1] {
        check(&format!("produce 1 acks={acks}"), "");
        check(&format!("produce 1 acks={acks}\n written 3"), "1: produced at 0");
    }
    check("produce 1 acks=0\n written 3", "");
}

#[test]
fn a_write_counts_when_all_before_it_are_done() {
    check("produce 1 acks=3\n produce 1 acks=3\n written 4", "");
    check(
        "produce 1 acks=3\n produce 1 acks=3\n written 4\n written 3",
        "1: produced at 0\n 1: produced at 1",
    );
}

#[test]
fn responses_leave_in_the_order_of_requests() {
    // The second is ready at once, and waits for the first.
    check("produce 1 acks=3\n produce 1 acks=2\n written 3", "1: produced at 0\n 1: produced at 1");
    // Those of another connection don't.
    check(
        "connect 2\n produce 1 acks=3\n produce 2 acks=2\n written 3",
        "2: produced at 1\n 1: produced at 0",
    );
}

#[test]
fn a_deadline_fires_while_the_disk_stands_still_and_nothing_is_answered_twice() {
    check(
        "produce 1 acks=5 timeout=100
         wait 99
         wait 1
         written 3
         fetch 1 from=0",
        "1: REQUEST_TIMED_OUT
         1: fetched 0..1",
    );
}

#[test]
fn what_waits_in_the_queue_expires_too() {
    let eight = "produce 1 acks=0\n".repeat(8);
    check(
        &format!("{eight} produce 1 acks=3 timeout=100\n wait 100\n written all\n fetch 1 from=8"),
        "1: REQUEST_TIMED_OUT\n 1: fetched nothing of 8",
    );
}

#[test]
fn a_full_queue_pauses_reading_until_there_is_room() {
    // Eight writes are out; 32 MiB more fill the queue.
    let flood = "produce 1 acks=0 bytes=4194304\n".repeat(16);
    check(&format!("{flood} produce 1 acks=2"), "1: paused");
    check(
        &format!("{flood} produce 1 acks=2\n written all"),
        "1: paused\n 1: resumed\n 1: produced at 16",
    );
}

#[test]
fn a_full_queue_that_expires_resumes_by_itself() {
    let flood = "produce 1 acks=0 bytes=4194304 timeout=100\n".repeat(16);
    check(
        &format!("{flood} produce 1 acks=3 timeout=500\n wait 100\n wait 500"),
        "1: paused\n 1: resumed\n 1: REQUEST_TIMED_OUT",
    );
}

#[test]
fn a_long_poll_is_woken_by_the_commit_and_by_the_clock() {
    check(
        "connect 2
         fetch 2 from=0 wait=1000
         produce 1 acks=2
         wait 500
         written 3
         fetch 2 from=1 wait=1000
         wait 999
         wait 1",
        "1: produced at 0
         2: fetched 0..1
         2: fetched nothing of 1",
    );
}

#[test]
fn another_shards_partition_is_refused_with_its_leader() {
    check_with(
        2,
        "produce 1 acks=3 partition=1",
        "1: NOT_LEADER_OR_FOLLOWER, 1 leads, 1 is host:9093",
    );
}

#[test]
fn a_full_disk_refuses_records_still_serves_and_recovers() {
    // Three segments are there. 14 MiB at a time: two fit into each, and the reserve is kept.
    let fill = "produce 1 acks=0 bytes=14680064\n written all\n".repeat(6);
    check(
        &format!(
            "disk full
             {fill}
             produce 1 acks=3
             fetch 1 from=5
             disk free
             wait 1000
             produce 1 acks=3
             written all"
        ),
        "1: KAFKA_STORAGE_ERROR
         1: fetched 5..6
         1: produced at 6",
    );
}

#[test]
fn a_duplicate_is_answered_with_its_first_offset() {
    check(
        "produce 1 acks=2
         produce 1 acks=3 pid=7 seq=0 records=2
         produce 1 acks=3 pid=7 seq=0 records=2
         written 3 4
         produce 1 acks=3 pid=7 seq=9
         produce 1 acks=2 pid=7 seq=2",
        "1: produced at 0
         1: produced at 1
         1: produced at 1
         1: OUT_OF_ORDER_SEQUENCE_NUMBER
         1: produced at 3",
    );
}

#[test]
fn a_failed_write_is_fatal() {
    check("produce 1 acks=3\n failed 3", "fatal");
}

#[test]
fn rubbish_closes_its_connection_and_no_other() {
    check("connect 2\n rubbish 2\n produce 1 acks=2", "2: closed\n 1: produced at 0");
}

#[test]
fn a_restart_keeps_what_is_on_disk_and_its_offsets() {
    check(
        "produce 1 acks=3
         written 3
         produce 1 acks=3
         restart
         fetch 1 from=0
         produce 1 acks=3 pid=7 seq=0
         written all
         restart
         produce 1 acks=3 pid=7 seq=0
         fetch 1 from=0",
        "1: produced at 0
         1: fetched 0..1
         1: produced at 1
         1: produced at 1
         1: fetched 0..2",
    );
}

#[test]
fn a_checkpoint_holds_the_commands_that_it_covers() {
    // The command is applied in the very turn in which the last checkpoint is taken.
    check(
        "grow 2
         stop
         written all
         restart
         produce 1 acks=2 partition=1",
        "1: grown
         stopped
         1: produced at 0",
    );
}

#[test]
fn a_stopping_shard_does_not_spin_when_retention_is_due() {
    check("produce 1 acks=3\n stop\n wait 10000\n written 3", "1: produced at 0\n stopped");
}

#[test]
fn a_late_command_is_not_taken_for_that_of_another_request() {
    // The first request times out; its command is done while the second one waits.
    check(
        "grow 2 timeout=1
         wait 1
         grow 3
         written 3",
        "1: REQUEST_TIMED_OUT",
    );
}

#[test]
fn a_reader_goes_on_where_a_full_segment_ends() {
    // The second one fills the first segment to its last byte, and the cache is small.
    check(
        "produce 1 acks=0 bytes=16772000
         produce 1 acks=0 bytes=16768000
         produce 1 acks=0 bytes=3000000
         written all
         fetch 1 from=1
         fetch 1 from=2",
        "1: fetched 1..2
         1: fetched 2..3",
    );
}

#[test]
fn a_reader_takes_nothing_that_recovery_has_cut() {
    // Of two writes the second is on disk, and cut at the restart for lack of the first. One entry
    // goes over the first; the next doesn't fit into what is left of the segment, so the second
    // stays there, whole, with three records that never were.
    check(
        "connect 2
         produce 2 acks=3 bytes=16772000
         written all
         grow 2
         produce 2 acks=0 records=3
         written 5
         restart
         produce 1 acks=3 bytes=16768000
         written all
         fetch 1 from=0
         fetch 1 from=1",
        "2: produced at 0
         1: produced at 1
         1: fetched 0..1
         1: fetched 1..2",
    );
}

#[test]
fn a_journal_is_read_once_for_all_who_are_behind() {
    // 19 MiB of journal each time, the last of which is cached.
    let all = "drained 1600 records by 3 fetches, 18 MiB read, 3 at once";
    check("fill 1600\ndrain 1", "drained 1600 records by 16 fetches, 18 MiB read, 3 at once");
    check("grow 16\nfill 100 partitions=16\ndrain 1 partitions=16", all);
    check("grow 64\nfill 25 partitions=64\ndrain 1 partitions=64", all);
}

#[test]
fn where_entries_begin_is_not_known_after_a_restart() {
    // Then each chunk tells where the next one begins.
    check(
        "fill 1600
         restart
         drain 1",
        "drained 1600 records by 16 fetches, 18 MiB read, 1 at once",
    );
}

#[test]
fn who_looks_for_a_time_that_is_let_go_meanwhile_finds_what_is_left() {
    check(
        "connect 2
         fill 400
         reads held
         list 1 at=1
         delete 2 before=50
         written all
         reads done",
        "2: begins at 50
         1: found at 50",
    );
    check(
        "connect 2
         fill 400
         reads held
         list 1 at=1
         delete 2 before=400
         written all
         reads done",
        "2: begins at 400
         1: found at -1",
    );
    // The file goes before the read reaches it.
    check(
        "fill 4000
         stop
         written all
         restart
         written all
         connect 2
         reads held
         list 1 at=1
         delete 2 before=3500
         written all
         reads done",
        "stopped
         2: begins at 3500
         1: found at 3500",
    );
}

#[test]
fn a_landmark_in_a_segment_that_is_gone_leads_to_what_is_left() {
    // Both records of the first partition are so near each other that one landmark serves both. It
    // stands at the one that goes, with the first segment, and is all that a restart knows.
    let fill = "produce 1 acks=0 partition=1 bytes=14680064\n written all\n".repeat(3);
    check(
        &format!(
            "grow 2
             written all
             produce 1 acks=3
             written all
             {fill}
             produce 1 acks=3
             written all
             delete 1 before=1
             written all
             delete 1 before=3 partition=1
             written all
             stop
             written all
             restart
             wait 600000
             fetch 1 from=1"
        ),
        "1: grown
         1: produced at 0
         1: produced at 1
         1: begins at 1
         1: begins at 3
         stopped
         1: fetched 1..2",
    );
}
