//! A node comes back when the others have let go of what it lacks.

use hutong::kafka::record_batch::Producer;
use hutong::model::ids::NodeId;
use hutong::shard::peers::visit::Change;
use hutong::shard::repair::at_start::Mended;

use crate::rig::Cluster;
use crate::rig::clients::Outcome;

/// Fifteen entries of the smallest size, behind the header.
const SEGMENT_BYTES: u64 = 64 << 10;
const RECORDS: i64 = 200;
const KEPT: i64 = 60;

fn cluster(nodes: usize) -> Cluster {
    Cluster::start_with(nodes, |_, config| {
        config.segment_bytes = SEGMENT_BYTES;
        // A cache of a few entries: what is sent is read from the disk.
        config.journal_cache_bytes = 16 << 10;
    })
}

/// A record of a producer that numbers its records. It nearly fills an entry of the smallest size.
fn produce_numbered(cluster: &mut Cluster, node: usize, sequence: i64) -> Outcome {
    let producer = Producer { id: 4711, epoch: 0, base_sequence: sequence as i32 };
    cluster.produce_as(producer, &[b'x'; 3500], node, "t", -1)
}

/// Node 0, which should lead, is dead; the others have produced, deleted, and trimmed. Returns the
/// node that leads.
fn while_one_is_away(cluster: &mut Cluster, nodes: usize) -> usize {
    while_one_misses_all(cluster, nodes, |cluster| cluster.kill(0))
}

/// The same, and node 0 is back: it has given up its journal, and nothing comes to its disk, which
/// stands still.
fn while_one_is_brought_up(cluster: &mut Cluster, nodes: usize) -> usize {
    let leader = while_one_is_away(cluster, nodes);
    cluster.stall_disk(0, true);
    cluster.restart(0);
    cluster.run_ms(3000);
    assert!(cluster.is_marked(0));
    leader
}

fn while_one_misses_all(
    cluster: &mut Cluster,
    nodes: usize,
    go_away: impl FnOnce(&mut Cluster),
) -> usize {
    cluster.create_topic("t", 1);
    assert_eq!(cluster.leader(), 0);
    for number in 0..20 {
        assert_eq!(cluster.produce(0, "t", -1), Outcome::At(number));
    }
    cluster.run_ms(200);
    go_away(cluster);
    cluster.run_ms(2000);
    let leader = cluster.leader();
    cluster.create_topic_at(leader, "meanwhile", 1);
    for number in 20..RECORDS {
        assert_eq!(produce_numbered(cluster, leader, number - 20), Outcome::At(number));
    }
    cluster.commit_offset(leader, "t", 150);
    cluster.delete_records(leader, "t", RECORDS - KEPT);
    // A stop takes a checkpoint, which lets segments go.
    for node in 1..nodes {
        cluster.run_ms(200);
        cluster.stop(node);
        cluster.restart(node);
        cluster.run_ms(3000);
    }
    cluster.run_ms(12_000);
    for node in 1..nodes {
        assert!(cluster.first_segment(node) > 5, "node {node} has let go of what was deleted");
    }
    cluster.leader()
}

/// Node 0 has all that counts, and leads, as it should.
fn assert_brought_up(cluster: &mut Cluster) {
    cluster.run_ms(12_000);
    assert!(!cluster.is_marked(0));
    assert!(cluster.assert_tails_agree() > KEPT as usize);
    assert!(cluster.first_segment(0) > 5);
    assert_eq!(cluster.leader(), 0);
    assert_eq!(cluster.fetch(0, "t", RECORDS - KEPT), Outcome::At(RECORDS));
    assert_eq!(cluster.committed_offset(0, "t"), 150);
    // What was sent again is known, and comes last as it came first.
    assert_eq!(produce_numbered(cluster, 0, RECORDS - 21), Outcome::At(RECORDS - 1));
    assert_eq!(produce_numbered(cluster, 0, RECORDS - 20), Outcome::At(RECORDS));
    // The catalog came, too.
    assert_eq!(cluster.produce(0, "meanwhile", -1), Outcome::At(0));
    cluster.run_ms(300);
    cluster.assert_tails_agree();
}

#[test]
fn a_node_that_lacks_what_was_trimmed_gets_a_snapshot() {
    let mut cluster = cluster(3);
    let leader = while_one_is_away(&mut cluster, 3);
    cluster.restart(0);
    // It goes on at the same time.
    for number in 0..20 {
        assert_eq!(cluster.produce(leader, "meanwhile", -1), Outcome::At(number));
    }
    cluster.run_ms(12_000);
    assert_eq!(cluster.said(leader, "node 0 lacks what was trimmed here"), 1);
    assert_eq!(cluster.said(leader, "node 0 goes on from the snapshot"), 1);
    assert_eq!(cluster.said(0, "gives up its journal"), 1);
    assert_eq!(cluster.said(0, "goes on from the snapshot"), 1);
    assert_eq!(cluster.leader(), 0);
    assert_eq!(cluster.fetch(0, "meanwhile", 0), Outcome::At(20));
}

#[test]
fn a_snapshot_brings_records_offsets_producers_and_the_catalog() {
    let mut cluster = cluster(3);
    while_one_is_away(&mut cluster, 3);
    cluster.restart(0);
    assert_brought_up(&mut cluster);
    // And from its own disk, too.
    cluster.stop(0);
    cluster.restart(0);
    cluster.run_ms(12_000);
    assert_eq!(cluster.leader(), 0);
    assert_eq!(cluster.fetch(0, "t", RECORDS - KEPT), Outcome::At(RECORDS + 1));
}

#[test]
fn a_node_that_dies_while_it_is_brought_up_begins_again() {
    let mut cluster = cluster(3);
    while_one_is_away(&mut cluster, 3);
    let (mut marked, mut milliseconds) = (0, 0);
    // A millisecond later each time, until it has all of it.
    loop {
        cluster.restart(0);
        cluster.run_ms(milliseconds);
        let is_marked = cluster.is_marked(0);
        cluster.kill(0);
        cluster.run_ms(50);
        if marked > 0 && !is_marked {
            break;
        }
        marked += u32::from(is_marked);
        // With a marker it asks by itself, and sooner.
        milliseconds = if marked == 1 { 0 } else { milliseconds + 1 };
    }
    assert!(marked > 10, "it died {marked} times in the middle");
    cluster.restart(0);
    assert_brought_up(&mut cluster);
}

#[test]
fn a_node_that_is_being_brought_up_does_not_vote() {
    let mut cluster = cluster(3);
    let leader = while_one_is_brought_up(&mut cluster, 3);
    let other = 3 - leader;
    // It hears the leader, who goes on with it, and is no majority with one that wants to lead.
    cluster.kill(other);
    cluster.run_ms(2000);
    cluster.kill(leader);
    cluster.restart(other);
    cluster.run_ms(5000);
    assert!((0..3).all(|node| !cluster.leads(node)));
    // That it has no journal outlives its process.
    cluster.kill(0);
    cluster.stall_disk(0, false);
    cluster.restart(0);
    cluster.run_ms(5000);
    assert!(cluster.is_marked(0));
    assert!((0..3).all(|node| !cluster.leads(node)));
    assert_eq!(cluster.said(0, "takes no part in the group until it has a snapshot"), 1);
    cluster.restart(leader);
    assert_brought_up(&mut cluster);
}

#[test]
fn a_leader_that_has_no_majority_but_with_who_is_being_brought_up_goes_on_with_that() {
    let mut cluster = cluster(3);
    let leader = while_one_is_brought_up(&mut cluster, 3);
    cluster.kill(3 - leader);
    cluster.run_ms(8000);
    assert!(cluster.is_elected(leader), "nobody else can lead");
    cluster.stall_disk(0, false);
    cluster.run_ms(8000);
    assert!(!cluster.is_marked(0));
    assert_eq!(cluster.said(leader, "is offered a snapshot"), 1);
    let leader = cluster.leader();
    assert_eq!(cluster.produce(leader, "meanwhile", -1), Outcome::At(0));
}

#[test]
fn a_leader_gives_way_when_who_is_being_brought_up_is_gone_as_well() {
    let mut cluster = cluster(3);
    let leader = while_one_is_brought_up(&mut cluster, 3);
    cluster.kill(3 - leader);
    cluster.kill(0);
    cluster.run_ms(2000);
    assert!(!cluster.is_elected(leader));
}

#[test]
fn a_leader_that_is_damaged_does_not_give_way_while_only_one_other_can_vote() {
    let mut cluster = cluster(3);
    let leader = while_one_is_brought_up(&mut cluster, 3);
    let other = 3 - leader;
    cluster.kill(other);
    let mut rotten = 0;
    for offset in RECORDS..RECORDS + 40 {
        if offset == RECORDS + 20 {
            rotten = cluster.snapshot(leader).groups[0].append;
        }
        // On its own disk only.
        let outcome = cluster.produce_value(leader, "t", 3, &[b'x'; 3500]);
        assert_eq!(outcome, Outcome::At(offset));
    }
    // None of it is in memory, and its start has found all of it whole.
    cluster.kill(leader);
    cluster.restart(leader);
    cluster.rot_in(leader, rotten / SEGMENT_BYTES, rotten % SEGMENT_BYTES / 4096 - 1);
    cluster.restart(other);
    cluster.run_ms(12_000);
    assert!(cluster.is_elected(leader), "with a journal as long as that nobody else can be");
    assert_eq!(cluster.said(leader, "leads the group no more"), 0);
    cluster.stall_disk(0, false);
    cluster.run_ms(20_000);
    assert!(!cluster.is_marked(0));
    assert_eq!(cluster.said(leader, "leads the group no more"), 1);
    cluster.assert_tails_agree();
    let leader = cluster.leader();
    let end = cluster.produce(leader, "t", -1);
    assert_eq!(end, Outcome::At(RECORDS + 20), "what came before the damage was sent");
}

#[test]
fn a_node_that_has_no_journal_any_more_is_offered_all_that_it_may_have_given_up() {
    for knows in [true, false] {
        let mut cluster = cluster(3);
        let leader = while_one_is_brought_up(&mut cluster, 3);
        cluster.kill(0);
        cluster.stall_disk(0, false);
        // All before the offer that it took; or, if it doesn't know that, also what it may have
        // acknowledged before for all that the others know, and that snapshot lacks.
        if !knows {
            cluster.forget_what_was_given_up(0);
        }
        for number in 0..3 {
            assert_eq!(cluster.produce(leader, "meanwhile", -1), Outcome::At(number));
        }
        cluster.restart(0);
        cluster.run_ms(12_000);
        let offers = cluster.log_of(leader).iter().filter_map(|line| {
            let entry = line.split("is offered a snapshot as of entry ").nth(1)?;
            entry.split(',').next()?.parse::<u64>().ok()
        });
        let offers: Vec<u64> = offers.collect();
        let [first, last] = offers[..] else { panic!("{offers:?}") };
        assert!(if knows { first == last } else { last >= first + 3 }, "{offers:?}");
        cluster.assert_tails_agree();
        assert_eq!(cluster.leader(), 0);
        assert_eq!(cluster.fetch(0, "meanwhile", 0), Outcome::At(3));
    }
}

#[test]
fn a_leader_that_has_no_majority_without_it_gives_it_a_snapshot_all_the_same() {
    let mut cluster = cluster(3);
    let leader = while_one_is_away(&mut cluster, 3);
    let other = 3 - leader;
    // Both have what was acknowledged, in their checkpoints. One doesn't come back.
    cluster.stop(other);
    cluster.stop(leader);
    cluster.restart(leader);
    cluster.restart(0);
    cluster.run_ms(20_000);
    assert_eq!(cluster.said(0, "goes on from the snapshot"), 1);
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", RECORDS - KEPT), Outcome::At(RECORDS));
    assert_eq!(cluster.produce(leader, "meanwhile", -1), Outcome::At(0));
}

#[test]
fn a_leader_that_does_not_know_what_is_committed_gives_it_a_snapshot_of_what_it_knows() {
    let mut cluster = cluster(3);
    let leader = while_one_is_away(&mut cluster, 3);
    cluster.kill(3 - leader);
    // Nobody else has it, and nobody is told so.
    assert_eq!(produce_numbered(&mut cluster, leader, RECORDS - 20), Outcome::Nothing);
    cluster.kill(leader);
    cluster.restart(leader);
    cluster.restart(0);
    cluster.run_ms(20_000);
    assert_eq!(cluster.said(0, "goes on from the snapshot"), 1);
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", RECORDS - KEPT), Outcome::At(RECORDS + 1));
    assert_eq!(produce_numbered(&mut cluster, 0, RECORDS - 20), Outcome::At(RECORDS));
    assert_eq!(cluster.produce(leader, "meanwhile", -1), Outcome::At(0));
}

#[test]
fn another_leader_goes_on_with_what_is_missing() {
    let mut cluster = cluster(5);
    let leader = while_one_is_brought_up(&mut cluster, 5);
    assert_eq!(cluster.said(leader, "is offered a snapshot"), 1);
    cluster.kill(leader);
    cluster.run_ms(2000);
    let next = cluster.leader();
    cluster.stall_disk(0, false);
    cluster.run_ms(12_000);
    assert_eq!(cluster.said(next, "is offered a snapshot"), 0, "it had begun already");
    assert_eq!(cluster.said(next, "node 0 goes on from the snapshot"), 1);
    assert_eq!(cluster.said(0, "gives up its journal"), 1);
    cluster.restart(leader);
    assert_brought_up(&mut cluster);
}

#[test]
fn a_node_whose_damage_lies_where_the_others_have_trimmed_gets_a_snapshot() {
    let mut cluster = cluster(3);
    let leader = while_one_is_away(&mut cluster, 3);
    let other = 3 - leader;
    cluster.rot_in(0, 0, 4);
    assert!(!cluster.opens(0));
    // Only who leads can say that it isn't needed, and has a snapshot.
    assert_eq!(cluster.mend_at_start(0, other), Some(Ok(Mended::Nothing)));
    assert_eq!(cluster.mend_at_start(0, leader), Some(Ok(Mended::Trimmed)));
    // It takes no part, and gives nothing up before it is offered one.
    cluster.kill(leader);
    cluster.restart_without_journal(0);
    cluster.run_ms(5000);
    assert!((0..3).all(|node| !cluster.leads(node)), "nobody leads without a majority");
    assert_eq!(cluster.said(0, "have let go of what is damaged here"), 1);
    assert!(!cluster.is_marked(0) && cluster.first_segment(0) == 0);
    cluster.stop(0);
    // So it can be mended by hand, and is what it was.
    cluster.rot_in(0, 0, 4);
    assert!(cluster.opens(0));
    cluster.rot_in(0, 0, 4);
    cluster.restart(leader);
    cluster.restart_without_journal(0);
    assert_brought_up(&mut cluster);
    assert_eq!(cluster.said(0, "goes on from the snapshot"), 1);
    // And from its own disk, too.
    cluster.stop(0);
    cluster.restart(0);
    cluster.run_ms(12_000);
    assert_eq!(cluster.leader(), 0);
}

#[test]
fn what_has_rotted_is_mended_before_it_is_sent() {
    // In its midst, and where it begins, before which nothing is known. In the data, and in the
    // size, to more than is left of its segment.
    for (segment, entry, byte) in [(2, 3, 150), (2, 3, 9), (0, 0, 150), (0, 0, 9)] {
        let mut cluster = cluster(3);
        let leader = while_one_is_away(&mut cluster, 3);
        let segment = cluster.first_segment(leader) + segment;
        cluster.rot_byte(leader, segment, entry, byte);
        cluster.restart(0);
        assert_brought_up(&mut cluster);
        let counted = cluster.snapshot(leader).repairs;
        assert_eq!((counted.damaged, counted.repaired), (1, 1), "{segment} {entry} {byte}");
    }
}

#[test]
fn what_has_rotted_and_nobody_needs_any_more_is_not_waited_for() {
    let mut cluster = cluster(5);
    let leader = while_one_is_brought_up(&mut cluster, 5);
    // It keeps for node 0 what the others let go of.
    for number in RECORDS..RECORDS + KEPT {
        assert_eq!(produce_numbered(&mut cluster, leader, number - 20), Outcome::At(number));
    }
    cluster.delete_records(leader, "t", RECORDS + KEPT);
    for node in (1..5).filter(|node| *node != leader) {
        cluster.stop(node);
        cluster.restart(node);
        cluster.run_ms(3000);
    }
    cluster.run_ms(12_000);
    // The first that isn't on its way yet.
    let rotten = cluster.first_segment(leader) + 4;
    for node in (1..5).filter(|node| *node != leader) {
        assert!(cluster.first_segment(node) > rotten, "{} on {node}", cluster.first_segment(node));
    }
    assert_eq!(cluster.leader(), leader);
    cluster.rot_in(leader, rotten, 3);
    cluster.stall_disk(0, false);
    cluster.run_ms(25_000);
    assert_eq!(cluster.said(leader, "no other node that can be reached has the damaged entry"), 1);
    assert!(!cluster.is_marked(0));
    cluster.assert_tails_agree();
}

#[test]
fn a_lost_connection_costs_what_was_on_its_way() {
    let mut cluster = cluster(3);
    let leader = while_one_is_brought_up(&mut cluster, 3);
    cluster.cut_off(0, true);
    cluster.run_ms(500);
    cluster.stall_disk(0, false);
    cluster.cut_off(0, false);
    assert_brought_up(&mut cluster);
    assert_eq!(cluster.said(leader, "is offered a snapshot"), 1);
    assert_eq!(cluster.said(0, "gives up its journal"), 1);
}

#[test]
fn a_node_that_was_cut_off_gets_a_snapshot_while_it_serves() {
    let mut cluster = cluster(3);
    let leader = while_one_misses_all(&mut cluster, 3, |cluster| {
        cluster.cut_off(0, true);
        // Taken in by a leader that isn't one any more: nobody was told that it is durable.
        assert_eq!(cluster.produce(0, "t", 3), Outcome::At(20));
        assert_eq!(cluster.produce(0, "t", 5), Outcome::Nothing);
    });
    assert_eq!(cluster.late_answers().len(), 1);
    cluster.cut_off(0, false);
    assert_brought_up(&mut cluster);
    assert_eq!(cluster.said(leader, "node 0 goes on from the snapshot"), 1);
}

#[test]
fn a_node_that_joins_gets_a_snapshot_and_then_a_vote() {
    let mut cluster = cluster(3);
    while_one_is_away(&mut cluster, 3);
    cluster.restart(0);
    assert_brought_up(&mut cluster);
    let (host, node) = ("3".to_string(), NodeId(3));
    cluster.change(0, Change::Add { node, host, port: 9092 }).expect("it is added");
    cluster.join(3);
    cluster.run_ms(6000);
    assert_eq!(cluster.said(3, "goes on from the snapshot"), 1);
    assert_eq!(cluster.members(), (vec![0, 1, 2, 3], vec![]));
    // Its vote is needed now.
    cluster.kill(0);
    cluster.run_ms(3000);
    let leader = cluster.leader();
    assert_eq!(cluster.fetch(leader, "t", RECORDS - KEPT), Outcome::At(RECORDS + 1));
    assert_eq!(cluster.produce(leader, "t", -1), Outcome::At(RECORDS + 1));
    cluster.restart(0);
    cluster.run_ms(6000);
    cluster.assert_tails_agree();
}

#[test]
fn a_leader_that_dies_before_the_checkpoint_is_there_is_followed_by_one_that_begins_anew() {
    let mut cluster = cluster(5);
    let leader = while_one_is_away(&mut cluster, 5);
    let mut next = leader;
    cluster.restart(0);
    // The marker is written in the turn in which the offer comes.
    while !cluster.is_marked(0) {
        cluster.run_ms(1);
    }
    cluster.kill(leader);
    while next == leader {
        cluster.run_ms(100);
        next = cluster.leader_if_any().unwrap_or(leader);
    }
    cluster.run_ms(12_000);
    assert_eq!(cluster.said(next, "is offered a snapshot"), 1);
    assert_eq!(cluster.said(next, "node 0 goes on from the snapshot"), 1);
    cluster.restart(leader);
    assert_brought_up(&mut cluster);
}

/// What happens, drawn from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Appends records, if somebody leads.
fn append(cluster: &mut Cluster, count: u64, acknowledged: &mut i64) {
    for _ in 0..count {
        let Some(leader) = cluster.leader_if_any() else { return cluster.run_ms(300) };
        let outcome = cluster.produce_as(Producer::NONE, &[b'x'; 3500], leader, "t", -1);
        if let Outcome::At(offset) = outcome {
            assert!(offset >= *acknowledged, "{offset} was given twice");
            *acknowledged = offset + 1;
        }
    }
}

/// Something happens while a node is being brought up.
fn disturb(cluster: &mut Cluster, dice: &mut Dice, victim: usize) {
    let node = if dice.roll(2) == 0 { victim } else { dice.roll(3) as usize };
    match dice.roll(6) {
        0 if cluster.runs(node) => cluster.kill(node),
        1 if cluster.runs(node) => cluster.stop(node),
        2 => cluster.cut_off(node, true),
        3 => (0..3).for_each(|node| cluster.cut_off(node, false)),
        4 => cluster.stall_disk(victim, true),
        _ => cluster.stall_disk(victim, false),
    }
    cluster.run_ms(dice.roll(40));
    let down = (0..3).find(|node| !cluster.runs(*node));
    if let Some(down) = down.filter(|_| dice.roll(2) == 0) {
        cluster.restart(down);
    }
    let pause = [1, 5, 10, 100, 1500][dice.roll(5) as usize];
    cluster.run_ms(pause);
}

fn calm_down(cluster: &mut Cluster) {
    for node in 0..3 {
        cluster.cut_off(node, false);
        cluster.stall_disk(node, false);
        if !cluster.runs(node) {
            cluster.restart(node);
        }
    }
    cluster.run_ms(12_000);
}

#[test]
fn whatever_happens_meanwhile_what_was_acknowledged_is_there() {
    let mut snapshots = 0;
    for seed in 0..10 {
        let mut dice = Dice(seed);
        let mut cluster = cluster(3);
        cluster.create_topic("t", 1);
        let mut acknowledged = 0;
        for _ in 0..3 {
            let victim = dice.roll(3) as usize;
            cluster.kill(victim);
            cluster.run_ms(2000);
            append(&mut cluster, 80, &mut acknowledged);
            let leader = cluster.leader();
            cluster.delete_records(leader, "t", acknowledged - 20);
            for node in (0..3).filter(|node| *node != victim) {
                cluster.run_ms(200);
                cluster.stop(node);
                cluster.restart(node);
                cluster.run_ms(3000);
            }
            cluster.run_ms(11_000);
            cluster.restart(victim);
            cluster.run_ms(600 + dice.roll(100));
            for _ in 0..8 {
                disturb(&mut cluster, &mut dice, victim);
                let count = dice.roll(3);
                append(&mut cluster, count, &mut acknowledged);
            }
            calm_down(&mut cluster);
            assert!((0..3).all(|node| !cluster.is_marked(node)), "seed {seed}");
            cluster.assert_tails_agree();
            let leader = cluster.leader();
            let outcome = cluster.fetch(leader, "t", acknowledged - 10);
            let Outcome::At(end) = outcome else { panic!("seed {seed}: {outcome:?}") };
            assert!(end >= acknowledged, "seed {seed}: {end} of {acknowledged}");
        }
        let goes_on = "goes on from the snapshot of";
        snapshots += (0..3).map(|node| cluster.said(node, goes_on)).sum::<usize>();
    }
    assert!(snapshots >= 30, "{snapshots} snapshots");
}
