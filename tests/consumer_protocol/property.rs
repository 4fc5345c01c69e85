//! Whatever joins, leaves, stops and dies, a partition never has two owners, and once everybody has
//! spoken each has one. What happens is drawn from a seed.

use std::collections::BTreeSet;

use super::script::Run;

const MEMBERS: [&str; 5] = ["one", "two", "three", "four", "five"];
const TOPICS: [&str; 4] = ["a", "b", "a,b", "~a|b"];
const STEPS: usize = 60;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn of<'a>(&mut self, names: &[&'a str]) -> Option<&'a str> {
        (!names.is_empty()).then(|| names[self.roll(names.len())])
    }
}

fn runs(nodes: usize, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        println!("seed {seed}");
        run(nodes, seed);
    }
}

fn run(nodes: usize, seed: u64) {
    let (mut run, mut dice) = (Run::new(nodes), Dice(seed));
    let mut alive: Vec<&str> = Vec::new();
    let mut killed = false;
    run.command("topic a 5");
    run.command("topic b 2");
    for _ in 0..STEPS {
        match dice.roll(12) {
            0..=2 => {
                let absent: Vec<&str> =
                    MEMBERS.into_iter().filter(|name| !alive.contains(name)).collect();
                let Some(name) = dice.of(&absent) else { continue };
                let is_static =
                    if dice.roll(3) == 0 { format!(" static={name}") } else { String::new() };
                run.command(&format!("join {name} {}{is_static}", TOPICS[dice.roll(TOPICS.len())]));
                // Somebody may still go by its name.
                if run.said.last().is_some_and(|said| said.contains("epoch")) {
                    alive.push(name);
                }
            }
            3..=7 => {
                let Some(name) = dice.of(&alive) else { continue };
                run.command(&format!("beat {name}"));
            }
            8 => {
                let Some(name) = dice.of(&alive) else { continue };
                alive.retain(|other| *other != name);
                run.command(&format!("{} {name}", ["leave", "die"][dice.roll(2)]));
            }
            9 => {
                run.command(&format!("wait {}", dice.roll(15)));
                alive.iter().for_each(|name| run.command(&format!("beat {name}")));
            }
            _ if nodes == 1 => run.command("reboot"),
            10 if !killed => {
                run.command("kill");
                killed = true;
            }
            _ if killed => {
                run.command("restart");
                killed = false;
            }
            _ => {}
        }
        run.check_owners();
    }
    everybody_speaks(&mut run, &mut alive);
}

/// The dead are found out, and then all partitions that anybody wants have an owner.
fn everybody_speaks(run: &mut Run, alive: &mut Vec<&str>) {
    for _ in 0..8 {
        run.command("wait 10");
        alive.iter().for_each(|name| run.command(&format!("beat {name}")));
        run.check_owners();
    }
    run.command("join last a,b");
    alive.push("last");
    run.command(&format!("settle {}", alive.join(" ")));
    run.check_owners();
    let owned: BTreeSet<(String, i32)> =
        run.members.values().flat_map(|member| member.has.clone()).collect();
    let all = (0..5).map(|number| ("a".to_owned(), number));
    let all: BTreeSet<_> = all.chain((0..2).map(|number| ("b".to_owned(), number))).collect();
    assert_eq!(owned, all, "{}", run.said.join("\n"));
}

#[test]
fn on_one_node_that_is_started_again() {
    runs(1, 0..12);
}

#[test]
fn on_three_nodes_of_which_one_is_killed() {
    runs(3, 100..108);
}
