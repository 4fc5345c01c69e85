//! Each target with a bounded number of inputs, the same in every run: random ones, and seeds with
//! bytes changed, cut, doubled and moved. `HUTONG_FUZZ_ROUNDS` multiplies their number, and
//! `HUTONG_FUZZ_SEED` makes others.

mod seeds;

/// A small generator of numbers.
struct Random(u64);

impl Random {
    fn new() -> Random {
        Random(setting("HUTONG_FUZZ_SEED", 1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Runs a target on so many inputs. A panic prints the input that led to it.
fn fuzz(target: fn(&[u8]), seeds: &[Vec<u8>], inputs: u64, bytes_max: usize) {
    let mut random = Random::new();
    seeds.iter().for_each(|seed| run(target, seed));
    for _ in 0..inputs * setting("HUTONG_FUZZ_ROUNDS", 1) {
        let input = match random.below(4) {
            0 => {
                let count = random.below(bytes_max);
                random.bytes(count)
            }
            _ if seeds.is_empty() => {
                let count = random.below(bytes_max / 8);
                random.bytes(count)
            }
            _ => mutated(&seeds[random.below(seeds.len())], &mut random),
        };
        run(target, &input);
    }
}

fn run(target: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| target(input)) {
        eprintln!("the input: {input:02x?}");
        std::panic::resume_unwind(panic);
    }
}

fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
    const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 0x10];
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = EDGES[random.below(EDGES.len())],
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.next() as u8),
            5 => drop(bytes.remove(at)),
            _ => {
                let to = at + random.below((bytes.len() - at).min(40));
                let piece = bytes[at..to].to_vec();
                let into = random.below(bytes.len());
                bytes.splice(into..into, piece);
            }
        }
    }
    bytes
}

#[test]
fn kafka_decode() {
    fuzz(hutong_fuzz::kafka_decode, &seeds::requests(), 60_000, 200);
}

#[test]
fn record_lookup() {
    fuzz(hutong_fuzz::record_lookup, &seeds::records(), 20_000, 300);
}

#[test]
fn group_records() {
    fuzz(hutong_fuzz::group_records, &seeds::groups(), 30_000, 300);
}

#[test]
fn journal_recover() {
    fuzz(hutong_fuzz::journal_recover, &[], 4_000, 2_000);
}

#[test]
fn pending_responses_ops() {
    fuzz(hutong_fuzz::pending_responses_ops, &[], 3_000, 400);
}
