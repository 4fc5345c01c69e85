//! A small language for what members of one group do, and what they are told.
//!
//! Members go by names; a member that was given an id uses it from then on. Records are applied at
//! once unless the script says `hold`. Each line is one event:
//!
//! ```text
//! join M [static=I] [knows=A,B] [session=MS] [rebalance=MS] [old | new]
//! fresh M ... (joins without its id)
//! sync M [M=ASSIGNMENT...] [generation=N] [protocol=P]                       beat M [generation=N]
//! leave M [static=I]          commit M OFFSET [generation=N]                 commit nobody OFFSET
//! wait MS                     hold | apply | lead (a new leader starts from what was applied)
//! delete                      state
//! ```
//!
//! `old` clients (JoinGroup before version 4) join at once, `new` ones (version 9) may be told not
//! to assign.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::super::*;
use crate::coordinator::live::Coordinator;
use crate::coordinator::modern::{Env, Settings, Topics};
use crate::coordinator::record::CommittedOffset;
use crate::model::ids::{PartitionKey, TopicId};
use crate::model::time::Wallclock;

const GROUP: &str = "g";

/// Runs a script and compares what it tells.
pub fn check(script: &str, expected: &str) {
    check_with(0, script, expected);
}

/// The same, where an empty group waits so many milliseconds for more members.
pub fn check_with(delay_ms: u64, script: &str, expected: &str) {
    let mut rig = Rig::new(delay_ms);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        rig.lines.push(format!("> {line}"));
        rig.command(line);
        rig.settle();
    }
    let wanted: Vec<&str> =
        expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said: Vec<&str> =
        rig.lines.iter().map(String::as_str).filter(|line| !line.starts_with('>')).collect();
    assert_eq!(said, wanted, "the whole run:\n{}", rig.lines.join("\n"));
}

/// No topic matters to a classic group.
struct NoTopics;

impl Topics for NoTopics {
    fn version(&self) -> u64 {
        0
    }

    fn partitions(&self) -> usize {
        0
    }

    fn topic(&self, _: &str) -> Option<(TopicId, i32)> {
        None
    }

    fn name(&self, _: &TopicId) -> Option<String> {
        None
    }

    fn each_name(&self, _: &mut dyn FnMut(&str)) {}
}

/// A new leader starts.
pub fn recover(store: &Store, now: Time) -> Coordinator {
    let settings = Settings::default();
    Coordinator::recover(store, &Env { now, topics: &NoTopics, settings: &settings })
}

struct Rig {
    coordinator: Coordinator,
    store: Store,
    settings: GroupSettings,
    now: Now,
    held: Option<Vec<(u64, Vec<u8>)>>,
    callers: BTreeMap<Caller, String>,
    next_caller: u64,
    /// By the members' names: id and generation.
    known: BTreeMap<String, (String, i32)>,
    lines: Vec<String>,
}

struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str, or: i64) -> i64 {
        self.value(name).map_or(or, |value| value.parse().expect("a number"))
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }
}

impl Rig {
    fn new(delay_ms: u64) -> Rig {
        let store = Store::default();
        Rig {
            coordinator: Coordinator::default(),
            store,
            settings: GroupSettings {
                initial_rebalance_delay: Duration::from_millis(delay_ms),
                session_timeout_min: Duration::from_millis(10),
                session_timeout_max: Duration::from_secs(60),
                members_max: 3,
            },
            now: Now { time: Time(0), wallclock: Wallclock(0) },
            held: None,
            callers: BTreeMap::new(),
            next_caller: 0,
            known: BTreeMap::new(),
            lines: Vec::new(),
        }
    }

    fn with<T>(&mut self, decide: impl FnOnce(&mut Coordinator, Context<'_>) -> T) -> T {
        let context = Context { now: self.now, settings: &self.settings, store: &self.store };
        decide(&mut self.coordinator, context)
    }

    fn caller(&mut self, name: &str) -> Caller {
        self.next_caller += 1;
        self.callers.insert(Caller(self.next_caller), name.to_owned());
        Caller(self.next_caller)
    }

    fn command(&mut self, line: &str) {
        let words = Words(line.split_whitespace().collect());
        let name = words.0.get(1).copied().unwrap_or_default();
        match words.0[0] {
            "join" => self.join(name, &words, false),
            "fresh" => self.join(name, &words, true),
            "sync" => self.sync(name, &words),
            "beat" => {
                let member = self.member(name, &words);
                let told = self.with(|c, context| c.classic.heartbeat(context, &member));
                self.tell(name, "alive", told);
            }
            "leave" => {
                let (id, instance) = match words.value("static") {
                    Some(instance) => (String::new(), Some(instance)),
                    None => (self.member(name, &words).member_id, None),
                };
                let told = self.with(|c, context| c.classic.leave(context, GROUP, &id, instance));
                self.tell(name, "left", told);
            }
            "commit" => self.commit(name, &words),
            "delete" => {
                let caller = self.caller("delete");
                let told = self.with(|c, context| c.delete_group(context, caller, GROUP.into()));
                if let Err(fault) = told {
                    self.lines.push(format!("delete: {fault:?}"));
                }
            }
            "wait" => self.wait(name.parse().expect("milliseconds")),
            "hold" => self.held = Some(Vec::new()),
            "apply" => {
                for (batch, data) in self.held.take().expect("hold comes before") {
                    self.apply(batch, &data);
                }
            }
            "lead" => {
                self.held = None;
                self.callers.clear();
                self.coordinator = recover(&self.store, self.now.time);
            }
            "state" => self.state(),
            other => panic!("{other} is no command"),
        }
    }

    fn join(&mut self, name: &str, words: &Words<'_>, fresh: bool) {
        let caller = self.caller(name);
        let known = self.known.get(name).filter(|_| !fresh);
        let knows = words.value("knows").unwrap_or("range").split(',');
        let instance_id = words.value("static").map(str::to_owned);
        let number = self.next_caller;
        let join = Join {
            caller,
            group: GROUP.to_owned(),
            member_id: known.map(|(id, _)| id.clone()).unwrap_or_default(),
            new_member_id: if self.known.contains_key(name) {
                format!("{name}#{number}")
            } else {
                name.to_owned()
            },
            instance_id,
            client_id: "client".to_owned(),
            client_host: "host".to_owned(),
            session_timeout: Duration::from_millis(words.number("session", 1000) as u64),
            rebalance_timeout: Duration::from_millis(words.number("rebalance", 5000) as u64),
            protocol_type: words.value("type").unwrap_or("consumer").to_owned(),
            protocols: knows
                .map(|protocol| (protocol.to_owned(), Bytes::from(format!("{name} {protocol}"))))
                .collect(),
            takes_id_first: !words.has("old"),
            skips_assignment: words.has("new"),
        };
        self.with(|c, context| c.classic.join(context, join));
    }

    fn member(&self, name: &str, words: &Words<'_>) -> MemberRef {
        let (member_id, generation) = self.known.get(name).cloned().unwrap_or_default();
        MemberRef {
            group: GROUP.to_owned(),
            generation: words.number("generation", generation.into()) as i32,
            member_id: words.value("id").map_or(member_id, str::to_owned),
            instance_id: words.value("static").map(str::to_owned),
        }
    }

    fn sync(&mut self, name: &str, words: &Words<'_>) {
        let assigned = words.0[2..].iter().filter_map(|word| word.split_once('='));
        let assignments = assigned
            .filter(|(to, _)| self.known.contains_key(*to))
            .map(|(to, assignment)| {
                (self.known[to].0.clone(), Bytes::copy_from_slice(assignment.as_bytes()))
            })
            .collect();
        let sync = Sync {
            caller: self.caller(name),
            member: self.member(name, words),
            protocol_type: None,
            protocol: words.value("protocol").map(str::to_owned),
            assignments,
        };
        self.with(|c, context| c.classic.sync(context, sync));
    }

    fn commit(&mut self, name: &str, words: &Words<'_>) {
        let mut member = self.member(name, words);
        if name == "nobody" {
            member.generation = words.number("generation", -1) as i32;
        }
        if let Err(fault) = self.with(|c, context| c.classic.may_commit(context, &member)) {
            return self.lines.push(format!("{name}: {fault:?}"));
        }
        let caller = self.caller(name);
        let offset = CommittedOffset {
            offset: words.0[2].parse().expect("an offset"),
            leader_epoch: -1,
            metadata: String::new(),
            committed_at: self.now.wallclock.0,
            expires_at: None,
        };
        let offsets = vec![(PartitionKey(1), offset)];
        self.with(|c, context| c.commit(context, caller, GROUP.into(), offsets))
            .expect("there is room for a group");
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now.time + Duration::from_millis(ms);
        while let Some(next) = self.coordinator.classic.next_deadline().filter(|at| *at <= end) {
            self.now.time = self.now.time.max(next);
            self.with(|c, context| c.classic.expire(context));
            self.settle();
        }
        self.now.time = end;
    }

    fn tell(&mut self, name: &str, well: &str, told: Result<(), Fault>) {
        let told = told.err().map_or(well.to_owned(), |fault| format!("{fault:?}"));
        self.lines.push(format!("{name}: {told}"));
    }

    fn state(&mut self) {
        let line = match self.coordinator.classic.group(GROUP) {
            None => match self.store.group(GROUP) {
                None => "none".to_owned(),
                Some(stored) => {
                    let offset = stored.offsets.get(&PartitionKey(1)).map(|o| o.offset);
                    let generation = stored.classic().map(|state| state.generation);
                    format!("stored, generation {generation:?}, offset {offset:?}")
                }
            },
            Some(group) => {
                let members: Vec<&str> = group.members().keys().map(String::as_str).collect();
                format!("{}, members [{}]", group.state.name(), members.join(" "))
            }
        };
        self.lines.push(line);
    }

    /// Takes what was decided as far as it goes.
    fn settle(&mut self) {
        loop {
            for (caller, answer) in self.coordinator.take_answers() {
                let name = self.callers.remove(&caller).expect("nobody is answered twice");
                let line = self.told(&name, answer);
                self.lines.push(format!("{name}: {line}"));
            }
            let Some((batch, data)) = self.coordinator.take_batch() else { return };
            match &mut self.held {
                Some(held) => held.push((batch, data)),
                None => self.apply(batch, &data),
            }
        }
    }

    fn apply(&mut self, batch: u64, data: &[u8]) {
        for record in Record::decode_all(data) {
            self.store.apply(record.expect("we have just encoded it"));
        }
        self.with(|c, context| c.applied(context, batch));
    }

    fn told(&mut self, name: &str, answer: Answer) -> String {
        match answer {
            Answer::Done => "done".to_owned(),
            Answer::Heartbeat(_) | Answer::Left(_) => unreachable!("nobody asked that"),
            Answer::Sync(Ok(synced)) => {
                format!("got {}", String::from_utf8_lossy(&synced.assignment))
            }
            Answer::Sync(Err(fault)) => format!("{fault:?}"),
            Answer::Join(joined) => {
                if matches!(joined.fault, None | Some(Fault::MemberIdRequired)) {
                    let known = (joined.member_id.clone(), joined.generation);
                    self.known.insert(name.to_owned(), known);
                }
                told_joined(&joined)
            }
        }
    }
}

fn told_joined(joined: &Joined) -> String {
    if let Some(fault) = joined.fault {
        return format!("{fault:?}");
    }
    let generation = joined.generation;
    let protocol = joined.protocol.as_deref().unwrap_or("none");
    if joined.leader != joined.member_id {
        return format!("generation {generation} of {protocol}, {} leads", joined.leader);
    }
    let members: Vec<&str> = joined.members.iter().map(|member| member.id.as_str()).collect();
    let skips = if joined.skip_assignment { ", need not assign" } else { "" };
    format!("generation {generation} of {protocol}, leads [{}]{skips}", members.join(" "))
}
