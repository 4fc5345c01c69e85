//! The bytes of a frame, streams cut anywhere, lengths that can't be, and serials that go round.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const PAYLOAD_BYTES_MAX: usize = 64;

/// A frame that owns its payload.
type Said = (Kind, Serial, Vec<u8>);

fn frames() -> impl Strategy<Value = Vec<Said>> {
    let kind = prop_oneof![Just(Kind::Request), Just(Kind::Answer)];
    let serial = any::<u32>().prop_map(Serial::new);
    vec((kind, serial, vec(any::<u8>(), 0..=PAYLOAD_BYTES_MAX)), 0..20)
}

fn bytes_of(frames: &[Said]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, serial, payload) in frames {
        put(&mut out, *kind, *serial, payload);
    }
    out
}

/// Cuts all that can be cut, and says what is left.
fn cut_all(bytes: &[u8]) -> Result<(Vec<Said>, &[u8]), FrameError> {
    let mut frames = Frames::new(bytes, PAYLOAD_BYTES_MAX);
    let mut cut = Vec::new();
    while let Some(frame) = frames.cut()? {
        cut.push((frame.kind, frame.serial, frame.payload.to_vec()));
    }
    Ok((cut, frames.rest()))
}

#[test]
fn a_frame_is_drawn_right() {
    let mut out = Vec::new();
    put(&mut out, Kind::Request, Serial::new(7), b"hi");
    put(&mut out, Kind::Answer, Serial::new(0x0102_0304), b"");
    assert_eq!(out, [0, 0, 0, 6, 0, 0, 0, 7, b'h', b'i', 0, 0, 0, 4, 0x81, 2, 3, 4]);
    assert_eq!(head(Kind::Request, Serial::new(7), 2), out[..HEAD_BYTES]);
}

#[test]
fn a_payload_is_not_copied() {
    let bytes = bytes_of(&[(Kind::Request, Serial::new(1), vec![5; 9])]);
    let frame = Frames::new(&bytes, 9).cut().unwrap().unwrap();
    assert_eq!(frame.payload.as_ptr_range(), bytes[HEAD_BYTES..].as_ptr_range());
}

#[test]
fn a_bad_length_is_told_before_anything_behind_it_is_there() {
    for length in 0..4_u32 {
        assert_eq!(cut_all(&length.to_be_bytes()), Err(FrameError::TooShort(length)));
    }
    let longest = 4 + PAYLOAD_BYTES_MAX as u32;
    assert_eq!(cut_all(&longest.to_be_bytes()).unwrap().0, []);
    for length in [longest + 1, u32::from_be_bytes(*b"GET "), u32::MAX] {
        let error = cut_all(&length.to_be_bytes()).unwrap_err();
        assert_eq!(error, FrameError::TooLong { bytes: length, bytes_max: longest as usize });
        assert!(error.to_string().contains(&length.to_string()), "{error}");
    }
}

#[test]
fn frames_before_a_bad_length_can_be_cut() {
    let mut bytes = bytes_of(&[(Kind::Request, Serial::new(0), vec![1])]);
    bytes.extend([0; 4]);
    let mut frames = Frames::new(&bytes, PAYLOAD_BYTES_MAX);
    assert!(frames.cut().unwrap().is_some());
    assert_eq!(frames.cut(), Err(FrameError::TooShort(0)));
    // And it stays wrong.
    assert_eq!(frames.cut(), Err(FrameError::TooShort(0)));
}

#[test]
fn requests_come_one_by_one() {
    let mut incoming = Incoming::default();
    assert_eq!(incoming.check(Serial::new(0)), Ok(()));
    assert_eq!(incoming.check(Serial::new(1)), Ok(()));
    for wrong in [0, 1, 3, Serial::COUNT - 1] {
        let wrong = Serial::new(wrong);
        let error = SerialError::OutOfTurn { came: wrong, due: Serial::new(2) };
        assert_eq!(incoming.check(wrong), Err(error));
    }
    assert_eq!(incoming.check(Serial::new(2)), Ok(()));
}

#[test]
fn serials_go_round() {
    let last = Serial::new(Serial::COUNT - 1);
    assert_eq!(last.after(1), Serial::new(0));
    assert_eq!(last.after(3).since(last), 3);
    assert_eq!(Serial::new(u32::MAX), last);
    assert_eq!(Serial::new(0).since(last), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wherever_the_stream_is_split_the_frames_are_the_same(
        said in frames(),
        splits in vec(1..40_usize, 1..8),
    ) {
        let stream = bytes_of(&said);
        let mut heard = Vec::new();
        let (mut kept, mut at) = (Vec::new(), 0);
        for step in splits.iter().cycle() {
            let end = stream.len().min(at + step);
            kept.extend_from_slice(&stream[at..end]);
            let (cut, rest) = cut_all(&kept).unwrap();
            heard.extend(cut);
            kept = rest.to_vec();
            at = end;
            if at == stream.len() {
                break;
            }
        }
        prop_assert_eq!(heard, said);
        prop_assert!(kept.is_empty());
    }

    #[test]
    fn whatever_bytes_come_they_are_frames_or_an_error(
        said in frames(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        more in vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = bytes_of(&said);
        bytes.extend(more);
        let changes = if bytes.is_empty() { Vec::new() } else { changes };
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok((cut, rest)) = cut_all(&bytes) {
            let mut again = bytes_of(&cut);
            again.extend(rest);
            prop_assert_eq!(again, bytes);
        }
    }
}
