//! What consumers of the classic protocol say to each other: bytes that brokers carry without
//! reading them, but where a group is switched, or has members of both protocols.
//!
//! ```text
//! subscription  version i16 | topics | user data, from 1: | partitions it has, from 2: |
//!               generation i32, from 3: | rack
//! assignment    version i16 | partitions | user data
//! partitions    a list of: topic string | list of partition i32
//! ```
//!
//! Big-endian; a string has its length as i16 before it, a list and user data as i32, of which -1
//! stands for null.

use bytes::Bytes;

use super::partitions::{Partitions, TopicPartition};
use super::topics::Topics;

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// The last version there is. What comes after is read as this one.
const VERSION_MAX: i16 = 3;

/// What a consumer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said<'a> {
    /// The version it says it in.
    pub version: i16,
    /// The topics that it reads.
    pub topics: Vec<&'a str>,
    /// The partitions that it has kept. None, if it gives up all before each rebalance.
    pub owned: Vec<(&'a str, Vec<i32>)>,
    /// Where it runs.
    pub rack_id: Option<&'a str>,
}

/// A consumer's subscription. `None` if it isn't one. Of what comes behind the topics, as much as
/// can be read: there are clients that say less than their version has.
pub fn subscription(metadata: &[u8]) -> Option<Said<'_>> {
    let mut reader = Reader(metadata);
    let version = reader.i16().filter(|version| *version >= 0)?;
    let mut said = Said { version, topics: reader.list(2, Reader::text)?, ..Said::default() };
    reader.rest_of(&mut said);
    Some(said)
}

/// The partitions of an assignment; empty bytes are none. `None` if it isn't one.
pub fn assignment(bytes: &[u8]) -> Option<Vec<(&str, Vec<i32>)>> {
    let mut reader = Reader(bytes);
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    reader.i16().filter(|version| *version >= 0)?;
    reader.list(6, Reader::partitions)
}

/// What partitions that are named by their topics' names are here.
#[derive(Clone, Debug)]
pub struct Known {
    /// Those that are there, by their topics' ids.
    pub partitions: Partitions,
    /// Whether there are others. These were deleted, or this node's catalog is behind.
    pub lacks_some: bool,
}

/// Looks partitions up by their topics' names.
pub fn known(named: &[(&str, Vec<i32>)], topics: &dyn Topics) -> Known {
    let (mut there, mut lacks_some) = (Vec::new(), false);
    for (name, numbers) in named {
        let topic = topics.topic(name);
        for &partition in numbers {
            match topic.filter(|(_, count)| (0..*count).contains(&partition)) {
                Some((topic, _)) => there.push(TopicPartition { topic, partition }),
                None => lacks_some = true,
            }
        }
    }
    Known { partitions: there.into_iter().collect(), lacks_some }
}

/// The assignment of these partitions, in the words of a member that speaks this version.
pub fn to_assignment(version: i16, partitions: &Partitions, topics: &dyn Topics) -> Bytes {
    let named = partitions.by_topic().filter_map(|(id, run)| Some((topics.name(&id)?, run)));
    let named: Vec<_> = named.collect();
    let mut out = Vec::new();
    out.extend(version.clamp(0, VERSION_MAX).to_be_bytes());
    out.extend((named.len() as i32).to_be_bytes());
    for (name, run) in named {
        out.extend((name.len() as i16).to_be_bytes());
        out.extend(name.as_bytes());
        out.extend((run.len() as i32).to_be_bytes());
        run.iter().for_each(|partition| out.extend(partition.partition.to_be_bytes()));
    }
    // No user data.
    out.extend((-1i32).to_be_bytes());
    out.into()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(head)
    }

    fn i16(&mut self) -> Option<i16> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i16::from_be_bytes(*head))
    }

    fn i32(&mut self) -> Option<i32> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*head))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.i16()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// Items of at least so many bytes each.
    fn list<T>(
        &mut self,
        bytes_min: usize,
        read: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = usize::try_from(self.i32()?).ok()?;
        if count > self.0.len() / bytes_min {
            return None;
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn partitions(&mut self) -> Option<(&'a str, Vec<i32>)> {
        Some((self.text()?, self.list(4, Reader::i32)?))
    }

    /// What follows the topics of a subscription, up to where it ends.
    fn rest_of(&mut self, said: &mut Said<'a>) -> Option<()> {
        let user_data = self.i32()?;
        self.take(usize::try_from(user_data).unwrap_or(0))?;
        if said.version >= 1 {
            said.owned = self.list(6, Reader::partitions)?;
        }
        if said.version >= 2 {
            self.i32()?;
        }
        if said.version >= 3 {
            said.rack_id = self.text();
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\0\0\0\x01u\
        \0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x07\0\0\0\x05\0\x01r";

    #[test]
    fn subscriptions_are_read_and_rubbish_is_none() {
        let said = subscription(SAID).expect("it is one");
        assert_eq!((said.version, said.topics), (3, vec!["a", "bc"]));
        assert_eq!((said.owned, said.rack_id), (vec![("a", vec![0, 7])], Some("r")));
        let eager = subscription(b"\0\0\0\0\0\x01\0\x01a\xff\xff\xff\xff").expect("it is one");
        assert_eq!((eager.topics, eager.owned), (vec!["a"], vec![]));
        for end in 0..13 {
            assert_eq!(subscription(&SAID[..end]), None);
        }
        for end in 13..SAID.len() {
            assert_eq!(subscription(&SAID[..end]).expect("the topics are there").rack_id, None);
        }
        assert_eq!(subscription(b"\0\0\x7f\xff\xff\xff"), None);
        assert_eq!(subscription(b"\0\0\0\0\0\x01\0\x01\xff"), None);
        assert_eq!(subscription(b"\xff\xff\0\0\0\0"), None);
    }

    #[test]
    fn assignments_are_read() {
        let bytes = b"\0\x01\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x02\xff\xff\xff\xff";
        assert_eq!(assignment(bytes), Some(vec![("a", vec![0, 2])]));
        assert_eq!(assignment(b""), Some(vec![]));
        for end in 1..21 {
            assert_eq!(assignment(&bytes[..end]), None, "{end}");
        }
    }
}
