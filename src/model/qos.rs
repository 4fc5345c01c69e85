//! What an acknowledgement means: JMQ's quality-of-service levels, told honestly.

/// When the response to a produce request goes out.
///
/// On one node `Replicated` equals `Received`, and `Durable` equals `Flushed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// No response at all. Kafka `acks=0`.
    OneWay,
    /// The record is in the leader's journal cache. `acks=2`.
    Received,
    /// It is on the leader's disk. `acks=3`, and 1 unless the topic says otherwise.
    Flushed,
    /// A majority of replicas hold it in memory. `acks=4`.
    Replicated,
    /// It is on the disks of a majority: Raft's commit. `acks=5`, and -1 (all) unless the topic
    /// says otherwise.
    Durable,
}

impl Qos {
    /// The levels that have a response to wait for, weakest first.
    pub const WITH_RESPONSE: [Qos; 4] =
        [Qos::Received, Qos::Flushed, Qos::Replicated, Qos::Durable];

    /// The level that a request's `acks` names, given what its topic means by 1 and by -1.
    /// `None` for a number that names none.
    pub fn from_acks(acks: i16, one_means: Qos, all_means: Qos) -> Option<Qos> {
        match acks {
            -1 => Some(all_means),
            0 => Some(Qos::OneWay),
            1 => Some(one_means),
            2 => Some(Qos::Received),
            3 => Some(Qos::Flushed),
            4 => Some(Qos::Replicated),
            5 => Some(Qos::Durable),
            _ => None,
        }
    }

    /// The name used in topic settings, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Qos::OneWay => "one-way",
            Qos::Received => "received",
            Qos::Flushed => "flushed",
            Qos::Replicated => "replicated",
            Qos::Durable => "durable",
        }
    }

    /// The level of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Qos> {
        [Qos::OneWay, Qos::Received, Qos::Flushed, Qos::Replicated, Qos::Durable]
            .into_iter()
            .find(|qos| qos.name() == name)
    }
}
