//! The one checksum of the broker: CRC-32C (Castagnoli), as Kafka's record batches carry it.

/// The CRC-32C of some bytes.
///
/// crc-fast and not crc32c: measured 13 against 19 ns at 149 bytes, 411 against 856 ns at 16 KiB
/// (60 against 73 the other way round at 1 KiB, the one size where it loses).
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
