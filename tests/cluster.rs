//! Three nodes of one shard, by their inputs and outputs: who leads, what is acknowledged when, and
//! what is left when one dies. `cluster/rig.rs` is the network and the disks, `cluster/clients.rs`
//! the clients.

#[path = "cluster/damage.rs"]
mod damage;
#[path = "cluster/rig.rs"]
#[allow(dead_code, reason = "consumer groups ask for more: `consumer_protocol.rs`")]
mod rig;
#[path = "cluster/segment_end.rs"]
mod segment_end;
#[path = "cluster/snapshots.rs"]
mod snapshots;

use hutong::kafka::error_code::ErrorCode;
use hutong::kafka::record_batch::Producer;
use hutong::limits::JOURNAL_WRITES_IN_FLIGHT_MAX;
use hutong::model::ids::{GroupId, NodeId};
use hutong::shard::peers::visit::Change;
use rig::Cluster;
use rig::clients::{Outcome, produce_request};

/// What is written from one checkpoint to the next, where that is looked at.
const CHECKPOINT_BYTES: u64 = 64 << 10;

#[test]
fn three_nodes_elect_a_leader_and_take_records() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(0));
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(1));
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(2));
    cluster.run_ms(200);
    cluster.assert_journals_agree();
}

#[test]
fn who_does_not_lead_says_who_does() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    for node in (0..3).filter(|node| *node != leader) {
        assert_eq!(cluster.produce(node, "t", -1), Outcome::Elsewhere(leader));
        assert_eq!(cluster.fetch(node, "t", 0), Outcome::Elsewhere(leader));
    }
}

#[test]
fn a_topic_may_be_created_anywhere() {
    let mut cluster = Cluster::start(3);
    for (node, name) in ["a", "b", "c"].into_iter().enumerate() {
        cluster.create_topic_at(node, name, 2);
        let leader = cluster.leader();
        assert_eq!(cluster.produce(leader, name, -1), Outcome::At(0));
    }
}

#[test]
fn durable_waits_for_a_second_disk_and_replicated_for_a_second_memory() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    let followers: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    // The followers' disks stand still: their memory is enough for level 4 (acks=4).
    followers.iter().for_each(|node| cluster.stall_disk(*node, true));
    assert_eq!(cluster.produce(leader, "t", 4), Outcome::At(0));
    assert_eq!(cluster.produce(leader, "t", 3), Outcome::At(1));
    assert_eq!(cluster.produce(leader, "t", 5), Outcome::Nothing);
    cluster.stall_disk(followers[0], false);
    cluster.run_ms(100);
    assert_eq!(cluster.late_answers(), [Outcome::At(2)]);
    // The leader's own disk isn't needed when both others have it.
    cluster.stall_disk(followers[1], false);
    cluster.stall_disk(leader, true);
    assert_eq!(cluster.produce(leader, "t", 5), Outcome::At(3));
    assert_eq!(cluster.produce(leader, "t", 3), Outcome::Nothing);
}

#[test]
fn a_leader_that_waits_for_its_disk_takes_no_turns_for_it() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    cluster.stall_disk(leader, true);
    // All writes that may be under way, and a change of the catalog that has no room.
    for number in 0..JOURNAL_WRITES_IN_FLIGHT_MAX as i64 {
        assert_eq!(cluster.produce(leader, "t", 2), Outcome::At(number));
    }
    assert_eq!(cluster.ask_for_topic(leader, "other", 1), None);
    assert!(cluster.rests(leader));
    cluster.stall_disk(leader, false);
    cluster.run_ms(100);
    cluster.create_topic("another", 1);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_leader_dies() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    for round in 0..4 {
        let leader = cluster.leader();
        for number in 0..5 {
            assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(round * 5 + number));
        }
        cluster.kill(leader);
        cluster.run_ms(1500);
        let next = cluster.leader();
        assert_ne!(next, leader);
        assert_eq!(cluster.fetch(next, "t", 0), Outcome::At(round * 5 + 5));
        cluster.restart(leader);
        cluster.run_ms(1500);
    }
    cluster.assert_journals_agree();
}

#[test]
fn what_only_a_lost_leader_had_is_cut_off() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let old = cluster.leader();
    assert_eq!(cluster.produce(old, "t", -1), Outcome::At(0));
    cluster.cut_off(old, true);
    // Taken in, on its own disk even, but not by a majority.
    assert_eq!(cluster.produce(old, "t", 3), Outcome::At(1));
    assert_eq!(cluster.produce(old, "t", 5), Outcome::Nothing);
    cluster.run_ms(2000);
    // It has noticed, and says so to who waits.
    assert_eq!(cluster.late_answers().len(), 1);
    let new = (0..3).find(|node| *node != old && cluster.leads(*node)).expect("a new leader");
    assert_eq!(cluster.produce(new, "t", -1), Outcome::At(1));
    cluster.cut_off(old, false);
    cluster.run_ms(2000);
    cluster.assert_journals_agree();
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(2));
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(2));
    cluster.run_ms(300);
    cluster.assert_journals_agree();
}

/// A start doesn't wait for all groups for ever: what comes later is served as well.
#[test]
fn a_lone_node_says_that_it_leads_a_group_its_disk_kept_from_the_start() {
    let mut cluster = Cluster::start(1);
    cluster.change(0, Change::AddGroups { count: 1, copies: 0 }).expect("it is added");
    cluster.run_ms(1000);
    for topic in ["a", "b"] {
        cluster.create_topic(topic, 1);
        assert_eq!(cluster.produce(0, topic, -1), Outcome::At(0));
    }
    cluster.kill(0);
    cluster.stall_group(0, Some(GroupId(1)));
    cluster.restart(0);
    cluster.run_ms(10_000);
    assert_eq!(cluster.led_partitions(0), 1);
    cluster.stall_group(0, None);
    cluster.run_ms(1000);
    assert_eq!(cluster.led_partitions(0), 2);
}

#[test]
fn a_node_that_comes_back_catches_up() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.kill(away);
    for number in 0..50 {
        assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(number));
    }
    cluster.restart(away);
    cluster.run_ms(1500);
    cluster.assert_journals_agree();
}

/// A member has in memory what its disk has no turn for yet. What it is told meanwhile doesn't have
/// that sent again.
#[test]
fn what_waits_for_a_slow_disk_is_sent_once() {
    let value = vec![7; 10_000];
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    let slow = (leader + 1) % 3;
    cluster.stall_disk(slow, true);
    let before = cluster.sent_bytes(leader, slow);
    // More than may be under way to its disk. Whatever is committed by the others, it is told.
    for number in 0..40 {
        assert_eq!(cluster.produce_value(leader, "t", -1, &value), Outcome::At(number));
    }
    cluster.stall_disk(slow, false);
    cluster.run_ms(300);
    cluster.assert_journals_agree();
    let sent = cluster.sent_bytes(leader, slow) - before;
    let entries = 40 * value.len().next_multiple_of(4096) as u64;
    assert!(sent > entries, "all of it was sent: {sent} bytes");
    assert!(sent < entries * 6 / 5, "{sent} bytes were sent of {entries}");
}

#[test]
fn a_node_that_was_away_for_long_catches_up_from_the_disk() {
    // A cache of 16 entries, so that most of what it lacks is on the leader's disk only.
    let mut cluster = Cluster::start_with(3, |_, config| config.journal_cache_bytes = 64 << 10);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.kill(away);
    for number in 0..100 {
        assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(number));
    }
    cluster.restart(away);
    // It goes on at the same time.
    for number in 100..110 {
        assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(number));
    }
    cluster.run_ms(1500);
    cluster.assert_journals_agree();
    // All it caught up with counts: it can lead.
    cluster.kill(leader);
    cluster.run_ms(1500);
    let next = cluster.leader();
    assert_eq!(cluster.produce(next, "t", -1), Outcome::At(110));
}

#[test]
fn large_entries_are_read_once_for_a_node_that_was_away() {
    // Also if that takes longer than it takes Raft to count who is there.
    for read_ms in [0, 100] {
        catch_up_by_entries_of(700_000, read_ms);
    }
}

#[test]
fn entries_of_which_a_chunk_holds_a_few_are_read_once_for_a_node_that_was_away() {
    catch_up_by_entries_of(360_000, 0);
}

fn catch_up_by_entries_of(bytes: usize, read_ms: u64) {
    let value = vec![7; bytes];
    let mut cluster = Cluster::start_with(3, |_, config| config.journal_cache_bytes = 64 << 10);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.kill(away);
    for number in 0..20 {
        assert_eq!(cluster.produce_value(leader, "t", -1, &value), Outcome::At(number));
    }
    let before = cluster.read_bytes(leader);
    cluster.slow_reads(leader, read_ms);
    cluster.restart(away);
    cluster.run_ms(2500 + 30 * read_ms);
    cluster.assert_journals_agree();
    let read = cluster.read_bytes(leader) - before;
    let written = 20 * value.len() as u64;
    assert!(read > written / 2, "it had to be read: {read} bytes");
    assert!(read < written * 6 / 5, "{read} bytes were read for {written}");
}

#[test]
fn a_tail_that_ends_within_an_entry_of_the_new_leader_is_cut_off() {
    let mut cluster = Cluster::start_with(3, |_, config| config.journal_cache_bytes = 64 << 10);
    cluster.create_topic("t", 1);
    let old = cluster.leader();
    assert_eq!(cluster.produce(old, "t", -1), Outcome::At(0));
    cluster.cut_off(old, true);
    // Two blocks that nobody else has.
    assert_eq!(cluster.produce(old, "t", 3), Outcome::At(1));
    assert_eq!(cluster.produce(old, "t", 3), Outcome::At(2));
    cluster.run_ms(2000);
    let new = (0..3).find(|node| *node != old && cluster.leads(*node)).expect("a new leader");
    // Behind the entry that begins its term, one of many blocks; then more than its cache holds.
    assert_eq!(cluster.produce_value(new, "t", -1, &[7; 20_000]), Outcome::At(1));
    for number in 2..100 {
        assert_eq!(cluster.produce(new, "t", -1), Outcome::At(number));
    }
    cluster.cut_off(old, false);
    cluster.run_ms(3000);
    cluster.assert_journals_agree();
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(100));
}

#[test]
fn a_cluster_that_was_off_goes_on_where_it_was() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    for number in 0..20 {
        assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(number));
    }
    // What only some have on disk is on no majority's, or is taken over from them.
    let last = (leader + 1) % 3;
    cluster.kill(last);
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(20));
    (0..3).filter(|node| *node != last).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.restart(node));
    cluster.run_ms(6000);
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(21));
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(21));
    cluster.run_ms(300);
    cluster.assert_journals_agree();
}

#[test]
fn a_node_of_another_cluster_is_turned_away() {
    let mut cluster = Cluster::start_with(3, |node, config| {
        if node == 2 {
            config.cluster_id = "another".into();
        }
    });
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(0));
    for node in 0..3 {
        let said = cluster.log_of(node).join("\n");
        assert!(said.contains("check --cluster-id and --peers"), "node {node} said: {said}");
    }
}

#[test]
fn a_node_is_added_has_all_there_is_and_another_is_removed() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    for number in 0..5 {
        let leader = cluster.leader();
        assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(number));
    }
    cluster.change(0, add(3)).expect("it is added");
    // It has a vote only once it is there and has everything.
    cluster.run_ms(500);
    assert_eq!(cluster.members(), (vec![0, 1, 2], vec![3]));
    cluster.join(3);
    cluster.run_ms(3000);
    assert_eq!(cluster.members(), (vec![0, 1, 2, 3], vec![]));
    assert_eq!(cluster.change(0, add(3)).unwrap_err(), "node 3 is in the cluster already");

    let gone = cluster.leader();
    cluster.change(1, Change::Remove { node: NodeId(gone as u32) }).expect("it is removed");
    cluster.run_ms(6000);
    let left: Vec<usize> = (0..4).filter(|node| *node != gone).collect();
    let leader = left.iter().copied().find(|node| cluster.leads(*node)).expect("another leads");
    assert_eq!(cluster.members(), (left.iter().map(|node| *node as u32).collect(), vec![]));
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(5));
    let notes = cluster.log_of(gone).join("\n");
    assert!(notes.contains("group 0 is held by other nodes now"), "{notes}");
    cluster.change(left[0], Change::Forget { node: NodeId(gone as u32) }).expect("it is forgotten");
    cluster.run_ms(500);

    // The new one counts for the majority: with it, one of the old ones may die.
    cluster.kill(leader);
    cluster.run_ms(1500);
    let next = left.iter().copied().find(|node| cluster.leads(*node)).expect("one of two leads");
    assert_eq!(cluster.fetch(next, "t", 0), Outcome::At(6));
    assert_eq!(cluster.produce(next, "t", -1), Outcome::At(6));
    cluster.restart(leader);
    cluster.run_ms(3000);
    assert_eq!(cluster.members().0.len(), 3);
}

#[test]
fn a_node_that_was_removed_sends_those_away_who_want_something_decided() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let gone = (leader + 1) % 3;
    cluster.change(leader, Change::Remove { node: NodeId(gone as u32) }).expect("it is removed");
    cluster.run_ms(3000);
    let notes = cluster.log_of(gone).join("\n");
    assert!(notes.contains("group 0 is held by other nodes now"), "{notes}");
    assert_eq!(cluster.try_to_create_topic(gone, "t", 1), ErrorCode::NOT_CONTROLLER);
    assert_eq!(cluster.try_to_create_topic(leader, "t", 1), ErrorCode::NONE);
}

/// What the journal cache of a leader that was just started doesn't reach back to, and what the
/// member, just started as well, doesn't know to be committed.
#[test]
fn a_member_whose_last_entries_differ_is_sent_no_more_than_these() {
    let mut cluster = Cluster::start_with(3, |node, config| {
        if node > 0 {
            config.checkpoint_bytes = CHECKPOINT_BYTES;
        }
    });
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    assert_eq!(leader, 0, "it takes no checkpoint");
    let value = [b'x'; 3500];
    for number in 0..200 {
        assert_eq!(cluster.produce_value(leader, "t", -1, &value), Outcome::At(number));
    }
    cluster.run_ms(200);
    cluster.cut_off(leader, true);
    for number in 200..210 {
        assert_eq!(cluster.produce_value(leader, "t", 3, &value), Outcome::At(number));
    }
    cluster.kill(leader);
    cluster.cut_off(leader, false);
    cluster.run_ms(2000);
    let next = cluster.leader();
    assert_eq!(cluster.produce(next, "t", -1), Outcome::At(200));
    cluster.kill(3 - next);
    cluster.kill(next);
    cluster.restart(next);
    cluster.restart(leader);
    cluster.run_ms(12_000);
    let now = cluster.leader();
    assert_eq!(cluster.fetch(now, "t", 200), Outcome::At(201));
    let sent = cluster.snapshot(next).groups[0].catch_up_bytes;
    assert!(sent < 100_000, "{sent} bytes");
}

/// Entries were cut off near the end of a segment, and what came in their place did not fit there.
#[test]
fn what_is_left_over_from_before_a_cut_keeps_nobody_from_catching_up() {
    const SEGMENT_BYTES: u64 = 64 << 10;
    let mut cluster = Cluster::start_with(5, |_, config| {
        config.segment_bytes = SEGMENT_BYTES;
        config.journal_cache_bytes = 16 << 10;
    });
    cluster.create_topic("t", 1);
    assert_eq!(cluster.leader(), 0);
    let mut produced = 0;
    while cluster.snapshot(0).groups[0].append % SEGMENT_BYTES != SEGMENT_BYTES - 3 * 4096 {
        assert_eq!(cluster.produce(0, "t", -1), Outcome::At(produced));
        produced += 1;
    }
    cluster.run_ms(200);
    cluster.kill(4);
    cluster.cut_off(0, true);
    for number in produced..produced + 3 {
        assert_eq!(cluster.produce(0, "t", 3), Outcome::At(number));
    }
    cluster.kill(0);
    cluster.cut_off(0, false);
    cluster.run_ms(2000);
    // Behind the entry with which it begins there are two blocks, and this takes three.
    let other = cluster.leader();
    assert_eq!(cluster.produce_value(other, "t", -1, &[b'x'; 9000]), Outcome::At(produced));
    cluster.restart(0);
    cluster.run_ms(12_000);
    assert_eq!(cluster.leader(), 0);
    for number in produced + 1..produced + 20 {
        assert_eq!(cluster.produce(0, "t", -1), Outcome::At(number));
    }
    cluster.restart(4);
    cluster.run_ms(12_000);
    assert_eq!(cluster.said(0, "differs"), 0);
    cluster.assert_tails_agree();
    assert_eq!(cluster.snapshot(4).groups[0].apply, cluster.snapshot(0).groups[0].apply);
}

/// What waits there for its disk isn't answered, and a connection asks only so much behind that.
#[test]
fn a_disk_that_stands_still_for_minutes_does_not_silence_its_node() {
    let mut cluster = Cluster::start_with(3, |_, config| config.segment_bytes = 64 << 10);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    // A group that the other node leads: it is heard all the time.
    cluster.change(leader, Change::AddGroups { count: 1, copies: 0 }).expect("it is added");
    let stalled = (leader + 1) % 3;
    let transfer = Change::Transfer { group: GroupId(1), to: NodeId(stalled as u32) };
    cluster.change(leader, transfer).expect("it is transferred");
    cluster.run_ms(10_000);
    assert!(cluster.snapshot(stalled).groups[1].leads);
    cluster.stall_disk(stalled, true);
    for number in 0..60 {
        let outcome = cluster.produce_value(leader, "t", -1, &[b'x'; 3500]);
        assert_eq!(outcome, Outcome::At(number));
    }
    cluster.run_ms(140_000);
    assert_eq!(cluster.said(leader, "has not answered one of the last 4096 requests"), 1);
    cluster.stall_disk(stalled, false);
    cluster.run_ms(3000);
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(60));
    cluster.run_ms(300);
    cluster.assert_tails_agree();
}

/// One that were missing would keep the connection from asking anything after a while.
#[test]
fn a_node_that_was_removed_answers_what_waited_for_room_on_its_disk() {
    let mut cluster = Cluster::start_with(3, |_, config| config.segment_bytes = 64 << 10);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    let gone = (leader + 1) % 3;
    cluster.stall_disk(gone, true);
    for number in 0..60 {
        let outcome = cluster.produce_value(leader, "t", -1, &[b'x'; 3500]);
        assert_eq!(outcome, Outcome::At(number));
    }
    let fewest = |cluster: &mut Cluster| {
        let counts = (0..100).map(|_| {
            cluster.run_ms(1);
            cluster.snapshot(leader).peer_requests
        });
        counts.min()
    };
    assert!(fewest(&mut cluster) > Some(1), "they wait");
    cluster.change(leader, Change::Remove { node: NodeId(gone as u32) }).expect("it is removed");
    cluster.run_ms(1000);
    cluster.stall_disk(gone, false);
    cluster.run_ms(3000);
    let notes = cluster.log_of(gone).join("\n");
    assert!(notes.contains("group 0 is held by other nodes now"), "{notes}");
    assert_eq!(fewest(&mut cluster), Some(0));
}

#[test]
fn who_was_away_finds_those_who_came_meanwhile() {
    let mut cluster = Cluster::start(3);
    let away = 0;
    cluster.kill(away);
    cluster.run_ms(1500);
    cluster.change(1, add(3)).expect("it is added");
    cluster.join(3);
    cluster.run_ms(3000);
    let to = NodeId(3);
    cluster.change(1, Change::Transfer { group: GroupId(0), to }).expect("it may lead");
    cluster.run_ms(6000);
    assert!(cluster.leads(3));
    // It doesn't know of the only one who could tell it.
    cluster.restart(away);
    cluster.run_ms(6000);
    cluster.create_topic_at(away, "t", 1);
    assert_eq!(cluster.produce(3, "t", -1), Outcome::At(0));
    cluster.kill(1);
    cluster.run_ms(1500);
    assert_eq!(cluster.produce(3, "t", -1), Outcome::At(1), "it counts");
}

#[test]
fn who_was_cut_off_while_it_was_removed_is_told_so() {
    let mut cluster = Cluster::start(3);
    cluster.change(0, add(3)).expect("it is added");
    cluster.join(3);
    cluster.run_ms(3000);
    let leader = cluster.leader();
    assert_ne!(leader, 3);
    cluster.cut_off(3, true);
    cluster.change(leader, Change::Remove { node: NodeId(3) }).expect("it is removed");
    cluster.run_ms(3000);
    assert_eq!(cluster.members().0, [0, 1, 2]);
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.restart(node));
    cluster.cut_off(3, false);
    cluster.run_ms(6000);
    let notes = cluster.log_of(3).join("\n");
    assert!(notes.contains("group 0 is held by other nodes now"), "{notes}");
    assert_eq!(cluster.groups_of(3), 0);
}

#[test]
fn who_is_forgotten_before_it_has_heard_that_it_is_out_hears_it_all_the_same() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let gone = (leader + 1) % 3;
    let node = NodeId(gone as u32);
    cluster.change(leader, Change::Remove { node }).expect("it is removed");
    while cluster.members().0.contains(&node.0) {
        cluster.run_ms(1);
    }
    cluster.change(leader, Change::Forget { node }).expect("it is forgotten");
    assert_eq!(cluster.groups_of(gone), 1, "it has had no time");
    cluster.run_ms(3000);
    assert_eq!(cluster.groups_of(gone), 0);
    cluster.run_ms(12_000);
    assert!(cluster.said(leader, "isn't of this cluster any more") > 0);
}

#[test]
fn who_has_no_catalog_any_more_still_hands_over_what_only_it_holds() {
    let mut cluster = Cluster::start(3);
    let change = Change::AddGroups { count: 1, copies: 1 };
    cluster.change(0, change).expect("a group is added");
    cluster.run_ms(1000);
    let held = |cluster: &Cluster| [0, 1, 2].map(|node| cluster.groups_of(node));
    assert_eq!(held(&cluster), [2, 1, 1]);
    // Its successor has no room for the group yet.
    cluster.fill_disk(1, true);
    cluster.change(0, Change::Remove { node: NodeId(0) }).expect("it is removed");
    cluster.run_ms(6000);
    assert_eq!(held(&cluster), [1, 1, 1], "it has let go of group 0 only");
    // From here on it knows its groups by their journals, and the layout by nothing of its own.
    cluster.kill(0);
    cluster.restart(0);
    cluster.run_ms(1000);
    cluster.fill_disk(1, false);
    cluster.run_ms(12_000);
    assert_eq!(held(&cluster), [0, 2, 1]);
    assert!(cluster.leads(1));
}

#[test]
fn a_group_that_goes_while_the_scrub_reads_it_leaves_the_shard_at_rest() {
    // It reads one group after the other, each for so long that one of them goes meanwhile.
    const READ_MS: u64 = 20_000;
    for group in 0..3 {
        let mut cluster = Cluster::start_with(3, |_, config| {
            config.groups = 3;
            config.scrub_bytes_per_second = 64 << 20;
        });
        (0..3).for_each(|node| cluster.slow_reads(node, READ_MS));
        cluster.skip_ms(3_600_000);
        cluster.run_ms(group * READ_MS + 1000);
        cluster.change(0, add(3)).expect("it is added");
        cluster.join(3);
        cluster.run_ms(2 * READ_MS);
        for node in 0..3 {
            assert!(cluster.rests(node), "node {node} takes turns without end");
        }
        assert!((0..3).any(|node| cluster.groups_of(node) == 2), "one of three has gone");
    }
}

#[test]
fn one_node_grows_to_three() {
    let mut cluster = Cluster::start(1);
    cluster.create_topic("t", 1);
    assert_eq!(cluster.produce(0, "t", -1), Outcome::At(0));
    for node in 1..3 {
        cluster.change(0, add(node)).expect("it is added");
        cluster.join(node as usize);
        cluster.run_ms(3000);
    }
    assert_eq!(cluster.members(), (vec![0, 1, 2], vec![]));
    let leader = cluster.leader();
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(1));
    // And any one may die, also the one that was alone.
    cluster.kill(leader);
    cluster.run_ms(1500);
    let next = cluster.leader();
    assert_eq!(cluster.fetch(next, "t", 0), Outcome::At(2));
    // It is told where the others are by what it kept.
    cluster.restart(leader);
    cluster.run_ms(3000);
    let leader = cluster.leader();
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(2));
    cluster.run_ms(200);
    cluster.assert_journals_agree();
}

#[test]
fn leaders_go_where_they_are_wanted_and_leave_who_is_drained() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let to = (cluster.leader() + 1) % 3;
    let node = NodeId(to as u32);
    cluster.change(0, Change::Transfer { group: GroupId(0), to: node }).expect("it may lead");
    cluster.run_ms(1000);
    assert_eq!(cluster.leader(), to);
    assert_eq!(cluster.produce(to, "t", -1), Outcome::At(0));
    cluster.change(0, Change::Drain { node, drains: true }).expect("it may be drained");
    cluster.run_ms(1000);
    let leader = cluster.leader();
    assert_ne!(leader, to);
    let refused = cluster.change(0, Change::Transfer { group: GroupId(0), to: node });
    assert!(refused.unwrap_err().contains("drained"));
    cluster.change(0, Change::Drain { node, drains: false }).expect("it may lead again");
    cluster.run_ms(1000);
    assert_eq!(cluster.leader(), to);
}

#[test]
fn what_would_cost_a_majority_is_refused() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    cluster.kill(others[0]);
    cluster.run_ms(300);
    let id = |node: usize| NodeId(node as u32);
    let refused = cluster.change(leader, Change::Remove { node: id(others[1]) }).unwrap_err();
    assert!(refused.contains("no majority"), "{refused}");
    cluster.change(leader, Change::Remove { node: id(others[0]) }).expect("the dead one may go");
    cluster.run_ms(1000);
    let (voters, _) = cluster.members();
    assert_eq!(voters.len(), 2);
}

#[test]
fn a_group_that_found_no_room_comes_when_there_is_some() {
    let mut cluster = Cluster::start(1);
    cluster.fill_disk(0, true);
    cluster.change(0, Change::AddGroups { count: 1, copies: 0 }).expect("it is added");
    cluster.run_ms(20_000);
    assert_eq!(cluster.groups_of(0), 1);
    let notes = cluster.log_of(0).join("\n");
    assert_eq!(notes.matches("no space left").count(), 1, "it says so once: {notes}");
    cluster.fill_disk(0, false);
    cluster.run_ms(6000);
    assert_eq!(cluster.groups_of(0), 2);
}

#[test]
fn a_node_whose_disk_is_lost_is_refused_its_old_place() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(0));
    let lost = (leader + 1) % 3;
    cluster.kill(lost);
    cluster.wipe(lost);
    cluster.restart(lost);
    cluster.run_ms(2000);
    let notes = cluster.log_of(lost).join("\n");
    assert!(notes.contains("comes with another data directory"), "{notes}");
    // So it can't vote for anybody: with the only other one gone, nothing goes on.
    let third = 3 - leader - lost;
    cluster.kill(third);
    cluster.run_ms(2000);
    assert!(!cluster.leads(leader) && !cluster.leads(lost));
    cluster.restart(third);
    cluster.run_ms(2000);
    let leader = [leader, third].into_iter().find(|node| cluster.leads(*node)).expect("one leads");
    assert_eq!(cluster.fetch(leader, "t", 0), Outcome::At(1));
}

/// While entries keep coming there is no moment at which none is under way.
#[test]
fn checkpoints_are_taken_everywhere_while_the_writer_goes_on() {
    let mut cluster =
        Cluster::start_with(3, |_, config| config.checkpoint_bytes = CHECKPOINT_BYTES);
    cluster.create_topic("t", 1);
    let leader = cluster.leader();
    let request = produce_request(Producer::NONE, b"record", "t", -1);
    let mut under_way = [0; 3];
    for _ in 0..200 {
        cluster.send(leader, 11, &request);
        cluster.run_ms(1);
        for (node, count) in under_way.iter_mut().enumerate() {
            let group = &cluster.snapshot(node).groups[0];
            *count += u32::from(group.apply < group.append);
            assert!(group.checkpoint + 2 * CHECKPOINT_BYTES > group.append, "node {node}");
        }
    }
    assert!(under_way.iter().all(|count| *count > 100), "{under_way:?}");
    assert!(cluster.snapshot(leader).groups[0].checkpoint > 5 * CHECKPOINT_BYTES);
    // Each is what a start needs not read the journal for.
    for node in 0..3 {
        cluster.kill(node);
        cluster.restart(node);
        cluster.run_ms(3000);
    }
    let leader = cluster.leader();
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(200));
    cluster.assert_tails_agree();
}

fn add(node: u32) -> Change {
    Change::Add { node: NodeId(node), host: node.to_string(), port: 9092 }
}

/// Who waits for records where none will be written asks the new leader at once, which it is told.
#[test]
fn a_long_poll_is_sent_on_when_another_node_leads() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("t", 1);
    let old = cluster.leader();
    assert_eq!(cluster.produce(old, "t", -1), Outcome::At(0));
    cluster.run_ms(100);
    let waiting = cluster.send_fetch(old, "t", 1, 60_000);
    cluster.run_ms(500);
    assert_eq!(cluster.fetched(old, waiting, 1), None);
    let new = (old + 1) % 3;
    let transfer = Change::Transfer { group: GroupId(0), to: NodeId(new as u32) };
    cluster.change(old, transfer).expect("it is transferred");
    cluster.run_ms(1000);
    assert!(cluster.leads(new));
    let moved = cluster.fetched(old, waiting, 1).expect("an answer");
    assert_eq!(moved, Outcome::Elsewhere(new));
    let waiting = cluster.send_fetch(new, "t", 1, 60_000);
    cluster.run_ms(100);
    assert_eq!(cluster.produce(new, "t", -1), Outcome::At(1));
    assert_eq!(cluster.fetched(new, waiting, 1), Some(Outcome::At(2)));
}
