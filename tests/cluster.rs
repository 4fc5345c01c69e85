//! Three nodes of one shard, by their inputs and outputs: who leads, what is acknowledged when, and
//! what is left when one dies. `cluster/rig.rs` is the network, the disks and the clients.

#[path = "cluster/rig.rs"]
mod rig;

use hutong::limits::JOURNAL_WRITES_IN_FLIGHT_MAX;
use rig::{Cluster, Outcome};

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
