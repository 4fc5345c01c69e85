//! The one checksum of the broker: CRC-32C (Castagnoli), as Kafka's record batches carry it.

/// The CRC-32C of some bytes.
///
/// crc-fast and not crc32c: measured 6.5 against 10.3 ns at 149 bytes, 411 against 856 ns at
/// 16 KiB. It loses at 1 KiB alone, 73 against 60 ns.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
