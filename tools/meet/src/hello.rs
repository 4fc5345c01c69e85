//! How Zhang and Li agree to meet: the first request of the connection, and its answer.
//!
//! ```text
//! request  "hutong-meet", version (u32), meets (u64), in_flight (u32), all big-endian
//! answer   0: agreed; or 1 and the reason why not, in UTF-8
//! ```

use crate::dialogue::Wrong;

/// What the talk has in common with no other version.
const VERSION: u32 = 1;
const NAME: &[u8] = b"hutong-meet";

/// Meetings that may be under way at a time.
pub const IN_FLIGHT_MAX: u32 = 1 << 16;

/// What Zhang proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many meetings there will be, at least 1.
    pub meets: u64,
    /// How many of them are under way at a time, 1 to [`IN_FLIGHT_MAX`].
    pub in_flight: u32,
}

impl Plan {
    /// As a request.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = NAME.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(self.meets.to_be_bytes());
        bytes.extend(self.in_flight.to_be_bytes());
        bytes
    }

    /// From a request. The error says what the visitor is instead.
    pub fn decode(bytes: &[u8]) -> Result<Plan, Wrong> {
        let Some((version, rest)) = bytes.strip_prefix(NAME).and_then(take::<4>) else {
            return Err(Wrong::Stranger("doesn't speak hutong-meet".to_owned()));
        };
        let version = u32::from_be_bytes(version);
        if version != VERSION {
            let why = format!("speaks version {version} of hutong-meet, and this is {VERSION}");
            return Err(Wrong::Stranger(why));
        }
        let plan = take(rest).and_then(|(meets, rest)| {
            let (in_flight, rest) = take(rest)?;
            let meets = u64::from_be_bytes(meets);
            let in_flight = u32::from_be_bytes(in_flight);
            let fits = meets > 0 && (1..=IN_FLIGHT_MAX).contains(&in_flight) && rest.is_empty();
            fits.then_some(Plan { meets, in_flight })
        });
        plan.ok_or_else(|| Wrong::Stranger("proposed no meeting that could be held".to_owned()))
    }
}

/// Li's answer; `Err` is the reason why not.
pub fn encode_answer(agreed: &Result<(), String>) -> Vec<u8> {
    match agreed {
        Ok(()) => vec![0],
        Err(why) => [&[1], why.as_bytes()].concat(),
    }
}

/// Reads Li's answer.
pub fn decode_answer(bytes: &[u8]) -> Result<(), Wrong> {
    match bytes {
        [0] => Ok(()),
        [1, why @ ..] => Err(Wrong::Refused(String::from_utf8_lossy(why).into_owned())),
        _ => Err(Wrong::Stranger("doesn't speak hutong-meet".to_owned())),
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    bytes.split_first_chunk().map(|(first, rest)| (*first, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let plan = Plan { meets: 1 << 40, in_flight: 77 };
        assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
    }

    #[test]
    fn what_is_no_plan_is_told_apart() {
        let said = |bytes: &[u8]| Plan::decode(bytes).unwrap_err().to_string();
        let mut bytes = Plan { meets: 5, in_flight: 6 }.encode();
        assert!(said(&bytes[..bytes.len() - 1]).contains("no meeting"));
        assert!(said(b"SSH-2.0").contains("doesn't speak hutong-meet"));
        bytes[NAME.len() + 3] = 9;
        assert!(said(&bytes).contains("version 9"));
        for plan in [(0, 1), (1, 0), (1, IN_FLIGHT_MAX + 1)] {
            let plan = Plan { meets: plan.0, in_flight: plan.1 };
            assert!(said(&plan.encode()).contains("no meeting"), "{plan:?}");
        }
    }

    #[test]
    fn a_refusal_keeps_its_reason() {
        assert_eq!(decode_answer(&encode_answer(&Ok(()))), Ok(()));
        let refused = Err(Wrong::Refused("it rains".to_owned()));
        assert_eq!(decode_answer(&encode_answer(&Err("it rains".to_owned()))), refused);
        assert!(matches!(decode_answer(b"\0\0"), Err(Wrong::Stranger(_))));
    }
}
