//! What happened, as one number: two runs of a seed must agree on it.

/// A running hash (FNV-1a) of all events, and their text if it is wanted.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    /// An empty trace. `print`: write each line to standard error as well.
    pub fn new(print: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, print }
    }

    /// Something happened. `line` is only made if it is wanted.
    pub fn event(&mut self, now: u64, what: &[u64], line: impl FnOnce() -> String) {
        self.number(now);
        for number in what {
            self.number(*number);
        }
        if self.print {
            eprintln!("{:>14.6} {}", now as f64 / 1e9, line());
        }
    }

    /// Bytes that went somewhere.
    pub fn bytes(&mut self, bytes: &[u8]) {
        // A sample is enough: different bytes have different lengths or ends sooner or later.
        for chunk in bytes.chunks(8).take(64) {
            let mut number = [0; 8];
            number[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(number));
        }
        self.number(bytes.len() as u64);
    }

    fn number(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
