//! Which topics a group's subscriptions mean now, and noticing when that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::member::Subscription;
use super::pattern::Pattern;
use super::state::ModernState;
use crate::model::ids::TopicId;
use crate::model::time::Time;

/// The topics there are, as far as groups care. Whoever has the catalog implements it.
pub trait Topics {
    /// Another number after every change of topics or partitions.
    fn version(&self) -> u64;
    /// How many partitions all topics have together.
    fn partitions(&self) -> usize;
    /// A topic's id and how many partitions it has.
    fn topic(&self, name: &str) -> Option<(TopicId, i32)>;
    /// The name of a topic.
    fn name(&self, id: &TopicId) -> Option<String>;
    /// Shows every topic's name, in any order.
    fn each_name(&self, see: &mut dyn FnMut(&str));
}

/// How often a group's regular expressions are held against a changed catalog, as in Kafka: each
/// time means looking at all topics. A new expression is looked at right away.
const REGEX_REFRESH: Duration = Duration::from_secs(10);

/// What subscriptions meant when last looked at. Not part of the group's state: it follows from
/// the state and the catalog, so a new leader finds it out by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolution {
    /// The catalog's version that plain names were last looked up in.
    seen: Option<u64>,
    /// The one that expressions were.
    regexes_seen: Option<u64>,
    regexes_at: Time,
    regexes: BTreeMap<String, Rc<BTreeSet<String>>>,
}

impl Resolution {
    /// Whether the catalog has changed since, so that [`Resolution::refresh`] may find news.
    pub(super) fn is_stale(&self, now: Time, topics: &dyn Topics) -> bool {
        let version = Some(topics.version());
        self.seen != version || (self.regexes_seen != version && self.may_match_again(now))
    }

    fn may_match_again(&self, now: Time) -> bool {
        !self.regexes.is_empty() && now >= self.regexes_at + REGEX_REFRESH
    }

    /// Looks at the catalog again: forgets expressions that nobody has, finds what new ones mean,
    /// and all of them if it is time. Then the hash of all topics that the group means.
    pub(super) fn refresh(&mut self, state: &ModernState, now: Time, topics: &dyn Topics) -> u64 {
        let version = Some(topics.version());
        let all_again = self.regexes_seen != version && self.may_match_again(now);
        let mut regexes = BTreeMap::new();
        for regex in state.subscriptions().filter_map(|subscription| subscription.regex.as_ref()) {
            if regexes.contains_key(regex) {
                continue;
            }
            let known = self.regexes.remove(regex).filter(|_| !all_again);
            let names = known.unwrap_or_else(|| {
                // One that doesn't compile was accepted by another version: it means nothing.
                let pattern = Pattern::compile(regex).ok();
                Rc::new(pattern.map(|pattern| pattern.matching(topics)).unwrap_or_default())
            });
            regexes.insert(regex.clone(), names);
        }
        if all_again || self.regexes_seen.is_none() || regexes.is_empty() {
            (self.regexes_seen, self.regexes_at) = (version, now);
        }
        self.regexes = regexes;
        self.seen = version;
        self.hash(state, topics)
    }

    /// The topics that a subscription means: those there are, by id, with their partitions.
    pub(super) fn topics_of(
        &self,
        subscription: &Subscription,
        topics: &dyn Topics,
    ) -> BTreeMap<TopicId, i32> {
        let found = self.names_of(subscription).filter_map(|name| topics.topic(name));
        found.map(|(id, partitions)| (id, partitions.max(0))).collect()
    }

    fn names_of<'a>(&'a self, subscription: &'a Subscription) -> impl Iterator<Item = &'a String> {
        let regex = subscription.regex.as_ref().and_then(|regex| self.regexes.get(regex));
        subscription.names.iter().chain(regex.into_iter().flat_map(|names| names.iter()))
    }

    /// FNV-1a over names, ids and partitions, in order of names. 0 for no topic.
    fn hash(&self, state: &ModernState, topics: &dyn Topics) -> u64 {
        let names: BTreeSet<&String> =
            state.subscriptions().flat_map(|subscription| self.names_of(subscription)).collect();
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut any = false;
        for name in names {
            let Some((id, partitions)) = topics.topic(name) else { continue };
            any = true;
            let length = (name.len() as u32).to_le_bytes();
            let count = partitions.to_le_bytes();
            for byte in length.iter().chain(name.as_bytes()).chain(&id.0).chain(&count) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        if any { hash } else { 0 }
    }
}
