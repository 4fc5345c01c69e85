//! What consumers say of themselves to their assignors: the topics they read.
//!
//! Brokers need not understand it, but for two questions: whether offsets may be deleted, and
//! whether they may grow old.

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// The topics in a consumer's subscription (Kafka's ConsumerProtocolSubscription, any version).
/// `None` if it isn't one.
pub(super) fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let (version, rest) = metadata.split_first_chunk()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk()?;
    let mut topics = Vec::new();
    for _ in 0..u32::try_from(i32::from_be_bytes(*count)).ok()? {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (topic, after) = after.split_at_checked(length)?;
        topics.push(std::str::from_utf8(topic).ok()?.to_owned());
        rest = after;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_any_version_and_rubbish_is_none() {
        let bytes = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(subscribed_topics(bytes), Some(vec!["a".to_owned(), "bc".to_owned()]));
        for end in 0..13 {
            assert_eq!(subscribed_topics(&bytes[..end]), None);
        }
        assert_eq!(subscribed_topics(b"\0\0\x7f\xff\xff\xff"), None);
        assert_eq!(subscribed_topics(b"\0\0\0\0\0\x01\0\x01\xff"), None);
    }
}
