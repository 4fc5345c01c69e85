//! Bytes that rot on one node's disk: found by readers and by the scrub, fetched from another node.

use hutong::kafka::error_code::ErrorCode;
use hutong::limits::{ENTRY_ALIGN_BYTES, READ_CHUNK_BYTES};
use hutong::model::position::Position;

use hutong::shard::repair::at_start::Mended;

use crate::rig::Cluster;
use crate::rig::clients::Outcome;

const RECORDS: i64 = 60;
const STORAGE: Outcome = Outcome::Error(ErrorCode::KAFKA_STORAGE_ERROR);
/// So fast that it goes through all there is at once.
const SCRUB: u64 = 64 << 20;
/// From the end of one round of the scrub to the next.
const SCRUB_PAUSE_MS: u64 = 3_600_000;

/// Three nodes with a cache of 16 entries, and more records than that.
fn filled(scrub_bytes_per_second: u64) -> Cluster {
    let mut cluster = Cluster::start_with(3, |_, config| {
        config.journal_cache_bytes = 64 << 10;
        config.scrub_bytes_per_second = scrub_bytes_per_second;
    });
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    for number in 0..RECORDS {
        assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(number));
    }
    cluster.run_ms(200);
    cluster
}

fn repairs(cluster: &Cluster, node: usize) -> (u64, u64) {
    let counted = cluster.snapshot(node).repairs;
    (counted.damaged, counted.repaired)
}

fn assert_silent(cluster: &Cluster) {
    for node in 0..3 {
        let said = cluster.log_of(node).join("\n");
        assert!(!said.contains("damaged"), "node {node} said: {said}");
    }
}

#[test]
fn a_consumer_gets_what_has_rotted_on_the_leader_from_another_node() {
    // In the data, in the checksum, in the size, to what there could be and to more than there is,
    // in the position, in the chain, in the magic.
    for byte in [150, 5, 9, 10, 17, 57, 0] {
        let mut cluster = filled(0);
        let leader = cluster.leader();
        let position = cluster.position_of(leader, 20);
        cluster.rot(leader, Position(position.0 + byte), 1);
        // What comes before it is given at once.
        assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(20), "byte {byte}");
        assert_eq!(cluster.fetch(leader, "t", 20), Outcome::At(RECORDS), "byte {byte}");
        assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(RECORDS), "byte {byte}");
        assert_eq!(repairs(&cluster, leader), (1, 1), "byte {byte}");
        cluster.assert_journals_agree();
        let said = cluster.log_of(leader).join("\n");
        let found = format!("damaged entry in segment 0 at position {position}: consumers wait");
        assert_eq!(said.matches(&found).count(), 1, "{said}");
        assert_eq!(said.matches("is whole again").count(), 1, "{said}");
    }
}

#[test]
fn what_the_disk_can_not_read_any_more_is_mended_for_who_asks_again() {
    let mut cluster = filled(0);
    let leader = cluster.leader();
    for offset in [10, 20] {
        let position = cluster.position_of(leader, offset);
        cluster.lose(leader, position);
    }
    // One at a time: behind the first nothing has been looked at.
    for _ in 0..2 {
        assert_eq!(cluster.fetch(leader, "t", 0), STORAGE);
        cluster.run_ms(100);
    }
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(RECORDS));
    assert_eq!(repairs(&cluster, leader), (2, 2));
    let said = cluster.log_of(leader).join("\n");
    assert_eq!(said.matches("the disk can't read it").count(), 2, "{said}");
    cluster.assert_journals_agree();
}

#[test]
fn a_reader_that_begins_at_the_damage_gets_it_too() {
    let mut cluster = filled(0);
    let leader = cluster.leader();
    let position = cluster.position_of(leader, 0);
    cluster.rot(leader, position, 100);
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(RECORDS));
    assert_eq!(repairs(&cluster, leader), (1, 1));
    cluster.assert_journals_agree();
}

#[test]
fn a_reader_that_begins_at_damage_at_the_end_of_a_segment_asks_for_that_and_nothing_behind_it() {
    const SEGMENT_BYTES: u64 = 64 << 10;
    let mut cluster = Cluster::start_with(3, |_, config| {
        config.segment_bytes = SEGMENT_BYTES;
        config.journal_cache_bytes = 16 << 10;
        config.scrub_bytes_per_second = 0;
    });
    cluster.create_topic("t", 1);
    cluster.create_topic("beside", 1);
    let leader = cluster.leader();
    let append = |cluster: &Cluster| Position(cluster.snapshot(leader).groups[0].append);
    while append(&cluster).0 % SEGMENT_BYTES != SEGMENT_BYTES - ENTRY_ALIGN_BYTES as u64 {
        assert!(matches!(cluster.produce(leader, "beside", -1), Outcome::At(_)));
    }
    let last = append(&cluster);
    // Behind the first of its records, in the next segment, come some entries without any.
    for topic in ["t", "beside", "beside", "beside", "t"].into_iter().chain(["beside"; 20]) {
        assert!(matches!(cluster.produce(leader, topic, -1), Outcome::At(_)));
    }
    cluster.run_ms(200);
    cluster.rot(leader, last, 100);
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(2));
    assert_eq!(repairs(&cluster, leader), (1, 1));
    let said = cluster.log_of(leader).join("\n");
    assert!(said.contains(&format!("damaged entry in segment 0 at position {last}")), "{said}");
    cluster.assert_tails_agree();
}

#[test]
fn a_whole_stretch_that_has_rotted_comes_back_entry_by_entry() {
    let mut cluster = filled(0);
    let leader = cluster.leader();
    let (from, to) = (cluster.position_of(leader, 10), cluster.position_of(leader, 30));
    cluster.rot(leader, from, to.0 - from.0);
    let mut offset = 0;
    while offset < RECORDS {
        match cluster.fetch(leader, "t", offset) {
            Outcome::At(next) => offset = next,
            other => panic!("{other:?} at offset {offset}"),
        }
    }
    assert_eq!(repairs(&cluster, leader), (20, 20));
    cluster.assert_journals_agree();
}

#[test]
fn what_has_rotted_on_all_nodes_is_an_error_and_one_that_comes_back_mends_it() {
    let mut cluster = filled(0);
    let leader = cluster.leader();
    let position = cluster.position_of(leader, 20);
    (0..3).for_each(|node| cluster.rot(node, position, 1));
    assert_eq!(cluster.fetch(leader, "t", 20), STORAGE);
    assert_eq!(cluster.fetch(leader, "t", 20), STORAGE);
    assert_eq!(repairs(&cluster, leader), (1, 0));
    let said = cluster.log_of(leader).join("\n");
    assert_eq!(said.matches("no other node that can be reached has").count(), 1, "{said}");
    // Somebody puts the segment back from a copy. The leader asks again by itself.
    cluster.rot((leader + 1) % 3, position, 1);
    cluster.run_ms(11_000);
    assert_eq!(repairs(&cluster, leader), (1, 1));
    assert_eq!(cluster.fetch(leader, "t", 20), Outcome::At(RECORDS));
}

#[test]
fn without_other_nodes_the_damage_is_told_and_mended_once_they_are_back() {
    let mut cluster = filled(0);
    let leader = cluster.leader();
    let position = cluster.position_of(leader, 20);
    cluster.rot(leader, position, 1);
    cluster.cut_off(leader, true);
    // It leads still, for it hasn't noticed.
    assert_eq!(cluster.fetch(leader, "t", 20), STORAGE);
    cluster.cut_off(leader, false);
    cluster.run_ms(12_000);
    assert_eq!(repairs(&cluster, leader), (1, 1));
    cluster.assert_journals_agree();
}

#[test]
fn the_scrub_finds_what_has_rotted_before_anybody_needs_it() {
    let mut cluster = filled(SCRUB);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    cluster.skip_ms(SCRUB_PAUSE_MS);
    cluster.run_ms(3000);
    assert_silent(&cluster);
    for node in 0..3 {
        let snapshot = cluster.snapshot(node);
        assert_eq!(snapshot.scrub_rounds, 2, "node {node}");
        assert_eq!(snapshot.groups[0].scrub, snapshot.groups[0].apply, "node {node}");
        assert!(snapshot.scrub_bytes > 60 * 4096, "node {node}");
    }
    let places = [(follower, 3, 9), (follower, 20, 150), (leader, 21, 0), (leader, 22, 0)];
    // Journals are equal, and this node's stays whole.
    let whole = (leader + 2) % 3;
    for (node, offset, byte) in places {
        let position = cluster.position_of(whole, offset);
        cluster.rot(node, Position(position.0 + byte), 1);
    }
    cluster.skip_ms(SCRUB_PAUSE_MS);
    cluster.run_ms(3000);
    assert_eq!((repairs(&cluster, follower), repairs(&cluster, leader)), ((2, 2), (2, 2)));
    cluster.assert_journals_agree();
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(RECORDS));
}

#[test]
fn what_was_mended_while_the_scrub_read_it_is_no_end_of_the_scrub() {
    let mut cluster = filled(SCRUB);
    let leader = cluster.leader();
    let [first, second] = [20, 21].map(|offset| cluster.position_of(leader, offset));
    cluster.run_ms(3000);
    cluster.rot(leader, first, 1);
    cluster.skip_ms(SCRUB_PAUSE_MS);
    let reached = |cluster: &Cluster| cluster.snapshot(leader).groups[0].scrub;
    let mut waited = 0;
    while reached(&cluster) != first.0 {
        cluster.run_ms(1);
        waited += 1;
        assert!(waited < 1000, "the scrub is at {}", reached(&cluster));
    }
    // Its next read takes long enough for a consumer to have the entry mended meanwhile.
    cluster.slow_reads(leader, 500);
    cluster.run_ms(20);
    cluster.slow_reads(leader, 0);
    assert_eq!(cluster.fetch(leader, "t", 20), Outcome::At(RECORDS));
    assert_eq!(repairs(&cluster, leader), (1, 1));
    cluster.rot(leader, second, 1);
    cluster.run_ms(1000);
    assert_eq!(repairs(&cluster, leader), (3, 3));
    assert_eq!(cluster.snapshot(leader).scrub_rounds, 2);
    cluster.assert_journals_agree();
    let said = cluster.log_of(leader).join("\n");
    assert!(!said.contains("isn't damage"), "{said}");
}

#[test]
fn a_member_that_is_behind_gets_what_has_rotted_on_the_leader_as_well() {
    // In the data, in the checksum, in the size, to what there could be and to more than there is,
    // in the index, in the chain.
    for byte in [150, 5, 9, 10, 27, 57] {
        let mut cluster = filled(0);
        let leader = cluster.leader();
        let away = (leader + 1) % 3;
        cluster.kill(away);
        for number in RECORDS..RECORDS + 100 {
            assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(number));
        }
        for offset in [RECORDS + 3, RECORDS + 40] {
            let position = cluster.position_of((leader + 2) % 3, offset);
            cluster.rot(leader, Position(position.0 + byte), 1);
        }
        cluster.restart(away);
        cluster.run_ms(6000);
        assert_eq!(repairs(&cluster, leader), (2, 2), "byte {byte}");
        cluster.assert_journals_agree();
        assert_eq!(cluster.leader(), leader);
    }
}

#[test]
fn a_size_that_has_rotted_past_where_an_entry_is_known_to_begin_is_seen_by_who_catches_up() {
    let mut cluster = filled(0);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.kill(away);
    for number in RECORDS..5 * RECORDS {
        assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(number));
    }
    // All entries are of the smallest size. The first is known to begin where it does, behind the
    // segment's header, and the next one that is lies a chunk behind it.
    let before_known = READ_CHUNK_BYTES as u64;
    cluster.rot(leader, Position(before_known + 9), 1);
    cluster.restart(away);
    cluster.run_ms(6000);
    assert_eq!(repairs(&cluster, leader), (1, 1));
    cluster.assert_journals_agree();
}

#[test]
fn a_size_that_has_rotted_to_where_no_entry_begins_is_seen_by_a_reader_of_what_is_in_memory() {
    let mut cluster = Cluster::start_with(3, |_, config| {
        config.journal_cache_bytes = 64 << 10;
        config.scrub_bytes_per_second = 0;
    });
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    for number in 0..RECORDS {
        let bytes = if number == 20 { 100 } else { 10_000 };
        let outcome = cluster.produce_value(leader, "t", -1, &vec![b'x'; bytes]);
        assert_eq!(outcome, Outcome::At(number));
    }
    cluster.run_ms(200);
    // It says that it ends in the midst of another one, some entries behind it.
    let position = cluster.position_of(leader, 20);
    cluster.rot(leader, Position(position.0 + 9), 1);
    assert_eq!(cluster.fetch(leader, "t", 24), Outcome::At(RECORDS));
    assert_eq!(cluster.fetch(leader, "t", 15), Outcome::At(20));
    assert_eq!(cluster.fetch(leader, "t", 20), Outcome::At(RECORDS));
    assert_eq!(repairs(&cluster, leader), (1, 1));
    cluster.assert_journals_agree();
}

#[test]
fn a_size_that_has_rotted_to_more_than_is_left_of_its_segment_is_seen_by_all_who_read_it() {
    for reader in ["consumer", "member"] {
        let mut cluster = Cluster::start_with(3, |_, config| {
            config.segment_bytes = 64 << 10;
            config.journal_cache_bytes = 16 << 10;
        });
        cluster.create_topic("t", 1);
        let leader = cluster.leader();
        let away = (leader + 1) % 3;
        cluster.kill(away);
        for number in 0..RECORDS {
            let outcome = cluster.produce_value(leader, "t", -1, &[b'x'; 3500]);
            assert_eq!(outcome, Outcome::At(number));
        }
        // It says that it has 65,000 bytes more than it has: less than come behind it.
        cluster.rot_byte(leader, 1, 3, 9);
        if reader == "member" {
            cluster.restart(away);
            cluster.run_ms(6000);
        } else {
            let first = cluster.fetch(leader, "t", 0);
            assert!(matches!(first, Outcome::At(1..RECORDS)), "{first:?}");
            let Outcome::At(next) = first else { unreachable!() };
            assert_eq!(cluster.fetch(leader, "t", next), Outcome::At(RECORDS));
            cluster.restart(away);
            cluster.run_ms(3000);
        }
        assert_eq!(repairs(&cluster, leader), (1, 1), "found by a {reader}");
        assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(RECORDS));
        cluster.assert_tails_agree();
    }
}

#[test]
fn a_node_does_not_start_without_what_is_damaged_behind_its_checkpoint() {
    for (first, last) in [(20, 20), (20, 24), (0, 30)] {
        let mut cluster = filled(0);
        let leader = cluster.leader();
        let (away, other) = ((leader + 1) % 3, (leader + 2) % 3);
        cluster.kill(away);
        for offset in first..=last {
            let position = cluster.position_of(leader, offset);
            cluster.rot(away, position, 60);
        }
        assert!(!cluster.opens(away));
        let mended = cluster.mend_at_start(away, other).expect("it is damaged");
        assert_eq!(mended, Ok(Mended::Entries((last - first + 1) as u64)));
        assert_eq!(cluster.mend_at_start(away, other), None);
        cluster.restart(away);
        cluster.run_ms(1500);
        cluster.assert_journals_agree();
    }
}

#[test]
fn nodes_that_all_have_such_damage_mend_each_other_while_none_is_open() {
    let mut cluster = filled(0);
    let places = [[10, 20, 21], [22, 30, 40], [11, 23, 39]];
    let positions = places.map(|offsets| offsets.map(|offset| cluster.position_of(0, offset)));
    for (node, positions) in positions.into_iter().enumerate() {
        cluster.kill(node);
        positions.into_iter().for_each(|position| cluster.rot(node, position, 60));
        assert!(!cluster.opens(node));
    }
    for node in 0..3 {
        let mut mended = 0;
        while let Some(told) = cluster.mend_at_start(node, (node + 1) % 3) {
            let Ok(Mended::Entries(entries)) = told else { panic!("node {node}: {told:?}") };
            mended += entries;
        }
        assert_eq!(mended, 3, "node {node}");
    }
    (0..3).for_each(|node| cluster.restart(node));
    cluster.run_ms(5000);
    cluster.assert_journals_agree();
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(RECORDS));
}

#[test]
fn a_node_that_knows_of_no_leader_gives_what_it_has_all_the_same() {
    let mut cluster = filled(0);
    let leader = cluster.leader();
    let (damaged, whole) = ((leader + 1) % 3, (leader + 2) % 3);
    (0..3).for_each(|node| cluster.kill(node));
    let position = cluster.position_of(whole, 20);
    cluster.rot(damaged, position, 60);
    // It can't be elected alone, and so doesn't know what is committed.
    cluster.restart(whole);
    cluster.run_ms(3000);
    assert_eq!(cluster.mend_at_start(damaged, whole), Some(Ok(Mended::Entries(1))));
    cluster.restart(damaged);
    cluster.run_ms(5000);
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(RECORDS));
}

/// Three nodes that have one record. The one that leads is cut off, and writes so many more, which
/// are on its own disk only.
fn cut_off_with(records: i64, scrub_bytes_per_second: u64) -> (Cluster, usize) {
    let mut cluster = Cluster::start_with(3, |_, config| {
        config.scrub_bytes_per_second = scrub_bytes_per_second;
    });
    cluster.create_topic("t", 1);
    let old = cluster.leader();
    assert_eq!(cluster.produce(old, "t", -1), Outcome::At(0));
    cluster.run_ms(100);
    cluster.cut_off(old, true);
    for offset in 1..=records {
        assert_eq!(cluster.produce(old, "t", 3), Outcome::At(offset));
    }
    (cluster, old)
}

/// The same, stopped and damaged in the midst of five records that no other node has.
fn damaged_in_what_nobody_else_has() -> (Cluster, usize) {
    let (mut cluster, old) = cut_off_with(5, 0);
    let position = cluster.position_of(old, 3);
    cluster.kill(old);
    cluster.rot(old, position, 60);
    (cluster, old)
}

#[test]
fn what_nobody_else_has_is_waited_for_and_what_was_never_committed_is_let_go_of() {
    let (mut cluster, old) = damaged_in_what_nobody_else_has();
    assert!(!cluster.opens(old));
    let others = [(old + 1) % 3, (old + 2) % 3];
    let mended = cluster.mend_at_start(old, others[0]);
    assert_eq!(mended, Some(Ok(Mended::Nothing)), "it has nothing there yet");
    cluster.run_ms(2000);
    let new = others.into_iter().find(|node| cluster.leads(*node)).expect("a new leader");
    for offset in 1..9 {
        assert_eq!(cluster.produce(new, "t", -1), Outcome::At(offset));
    }
    cluster.run_ms(100);
    // What it can't know to be committed while it isn't open isn't put in another's place.
    cluster.kill(new);
    assert_eq!(cluster.mend_at_start(old, new), Some(Ok(Mended::Nothing)));
    cluster.restart(new);
    cluster.run_ms(3000);
    assert!(matches!(cluster.mend_at_start(old, new), Some(Ok(Mended::Entries(1..)))));
    assert_eq!(cluster.mend_at_start(old, new), None);
    cluster.cut_off(old, false);
    cluster.restart(old);
    cluster.run_ms(2000);
    cluster.assert_journals_agree();
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(9));
}

#[test]
fn a_leader_that_needs_who_is_damaged_gives_it_what_it_can_not_commit_without() {
    let (mut cluster, old) = damaged_in_what_nobody_else_has();
    // One is elected, and who voted for it is gone before anything is committed.
    let others = [(old + 1) % 3, (old + 2) % 3];
    let new = cluster.first_that(others, Cluster::is_elected);
    let third = others[usize::from(new == others[0])];
    cluster.kill(third);
    cluster.run_ms(20);
    assert!(cluster.is_elected(new) && !cluster.leads(new), "it has no majority");
    assert!(matches!(cluster.mend_at_start(old, new), Some(Ok(Mended::Entries(1..)))));
    assert_eq!(cluster.mend_at_start(old, new), None);
    cluster.cut_off(old, false);
    cluster.restart(old);
    cluster.run_ms(3000);
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(1));
    // More than was given up.
    for offset in 1..9 {
        assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(offset));
    }
    cluster.restart(third);
    cluster.run_ms(2000);
    cluster.assert_journals_agree();
}

#[test]
fn a_leader_whose_damage_nobody_else_can_mend_gives_way_to_one_that_can_lead() {
    let (mut cluster, old) = cut_off_with(5, 0);
    let others = [(old + 1) % 3, (old + 2) % 3];
    others.into_iter().for_each(|node| cluster.kill(node));
    let position = cluster.position_of(old, 3);
    cluster.kill(old);
    cluster.cut_off(old, false);
    cluster.restart(old);
    // Its start has found all of it whole.
    cluster.rot(old, position, 60);
    cluster.restart(others[0]);
    assert_eq!(cluster.first_that([old, others[0]], Cluster::is_elected), old);
    cluster.run_ms(1000);
    assert!(!cluster.leads(old), "it can't commit what it can't send");
    cluster.restart(others[1]);
    cluster.run_ms(12_000);
    assert_eq!(cluster.said(old, "leads the group no more"), 1);
    let leader = cluster.leader();
    // What came before the damage was sent, and what lay behind it was never committed.
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(3));
    cluster.run_ms(200);
    cluster.assert_tails_agree();
}

#[test]
fn a_leader_that_was_replaced_has_nothing_for_who_knows_a_later_term() {
    let (mut cluster, old) = cut_off_with(3, 0);
    let others = [(old + 1) % 3, (old + 2) % 3];
    let new = cluster.first_that(others, Cluster::leads);
    for offset in 1..6 {
        assert_eq!(cluster.produce(new, "t", -1), Outcome::At(offset));
    }
    let position = cluster.position_of(new, 3);
    cluster.kill(new);
    cluster.rot(new, position, 60);
    assert!(!cluster.opens(new));
    assert!(cluster.is_elected(old), "it doesn't know that it was replaced");
    assert_eq!(cluster.mend_at_start(new, old), Some(Ok(Mended::Nothing)));
    let third = others[usize::from(new == others[0])];
    assert_eq!(cluster.mend_at_start(new, third), Some(Ok(Mended::Entries(1))));
    cluster.cut_off(old, false);
    cluster.restart(new);
    cluster.run_ms(3000);
    cluster.assert_journals_agree();
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(6));
}

#[test]
fn what_only_a_node_has_that_waits_is_given_to_one_that_runs() {
    let last = RECORDS - 1;
    // In the data, so that the damaged entry still says what it was; or in its magic, its checksum,
    // its position, its chain, so that only what comes behind it may, or that it was the last.
    for (byte, offsets) in [
        (150, vec![20, 30, last]),
        (0, vec![20]),
        (5, vec![20]),
        (17, vec![20]),
        (57, vec![20]),
        (0, vec![last]),
        (5, vec![last]),
    ] {
        let case = format!("byte {byte} at {offsets:?}");
        let mut cluster = filled(SCRUB);
        let runs = cluster.leader();
        let (waits, away) = ((runs + 1) % 3, (runs + 2) % 3);
        cluster.kill(waits);
        cluster.kill(away);
        for offset in &offsets {
            let position = cluster.position_of(away, *offset);
            cluster.rot(runs, Position(position.0 + byte), 1);
        }
        // This is what it waits for.
        let position = cluster.position_of(away, 30);
        cluster.rot(waits, position, 60);
        assert!(!cluster.opens(waits));
        cluster.skip_ms(SCRUB_PAUSE_MS);
        cluster.run_ms(3000);
        let damaged = offsets.len() as u64;
        let had = offsets.iter().filter(|offset| **offset != 30).count() as u64;
        assert_eq!(repairs(&cluster, runs), (damaged, 0), "{case}");
        for _ in 0..2 {
            cluster.give_at_start(waits, runs);
            cluster.run_ms(100);
            assert_eq!(repairs(&cluster, runs), (damaged, had), "{case}");
        }
        let said = format!("is whole again: node {waits} had it");
        assert_eq!(cluster.said(runs, &said) as u64, had, "{case}");

        cluster.restart(away);
        assert_eq!(cluster.mend_at_start(waits, away), Some(Ok(Mended::Entries(1))));
        cluster.restart(waits);
        cluster.run_ms(3000);
        // The others are asked again after a while.
        cluster.skip_ms(SCRUB_PAUSE_MS);
        cluster.run_ms(3000);
        assert_eq!(repairs(&cluster, runs), (damaged, damaged), "{case}");
        cluster.assert_journals_agree();
    }
}

#[test]
fn what_was_never_committed_is_given_and_not_taken() {
    // What it was is still said by the damaged entry, or by the one behind it.
    for byte in [27, 5] {
        let (mut cluster, old) = cut_off_with(5, SCRUB);
        let others = [(old + 1) % 3, (old + 2) % 3];
        let new = cluster.first_that(others, Cluster::leads);
        for offset in 1..6 {
            assert_eq!(cluster.produce(new, "t", -1), Outcome::At(offset));
        }
        cluster.run_ms(100);
        // Where the first entry lies that both have written since.
        let common = cluster.position_of(new, 0);
        let position = Position(common.0 + cluster.block(new, common).len() as u64);
        let others = [cluster.block(new, position), cluster.block(old, position)];
        assert_ne!(others[0][4..8], others[1][4..8]);
        (0..3).filter(|node| *node != new).for_each(|node| cluster.kill(node));
        cluster.rot(new, Position(position.0 + byte), 1);
        let damaged = cluster.block(new, position);
        cluster.skip_ms(SCRUB_PAUSE_MS);
        cluster.run_ms(3000);
        assert_eq!(repairs(&cluster, new), (1, 0), "byte {byte}");
        cluster.give_at_start(old, new);
        cluster.run_ms(100);
        assert_eq!(repairs(&cluster, new), (1, 0), "byte {byte}");
        assert!(cluster.block(new, position) == damaged, "byte {byte}");
    }
}
