//! The file system of the data directory: its kind, its space, and whether it does O_DIRECT.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::statvfs::statvfs;
use serde_json::json;

use super::super::output::human_bytes;
use super::device::{Mount, check as device_check, mount_of};
use super::kernel::kernel_version;
use super::report::{Check, Level};
use super::scratch::ScratchFile;
use crate::limits::{ENTRY_ALIGN_BYTES, SEGMENT_BYTES_DEFAULT, SEGMENTS_AHEAD};

/// A smaller unit that many disks take; the broker itself always uses `ENTRY_ALIGN_BYTES`.
const SECTOR_BYTES: usize = 512;

/// All that can be said about the directory without measuring.
pub fn checks(directory: &Path, shards: usize) -> Vec<Check> {
    let mount = mount_of(directory);
    let filesystem = match &mount {
        Some(mount) => judge_filesystem(mount, kernel_version()),
        None => Check::unknown("disk.filesystem", "/proc/self/mountinfo doesn't tell"),
    };
    vec![
        filesystem,
        space(directory, shards as u64),
        device_check(directory, mount.as_ref()),
        direct(directory),
    ]
}

fn judge_filesystem(mount: &Mount, kernel: Option<(u32, u32)>) -> Check {
    let name = "disk.filesystem";
    let value = format!("{} on {} ({})", mount.kind, mount.point.display(), mount.options);
    let check = match filesystem_advice(&mount.kind, kernel) {
        (Level::Ok, _) => Check::ok(name, value),
        (Level::Warn, advice) => Check::warn(name, value, advice),
        (Level::Bad, advice) => Check::bad(name, value, advice),
    };
    check.with(json!({
        "type": mount.kind,
        "source": mount.source,
        "mount_point": mount.point.display().to_string(),
        "options": mount.options,
    }))
}

fn filesystem_advice(kind: &str, kernel: Option<(u32, u32)>) -> (Level, &'static str) {
    match kind {
        "xfs" if kernel.is_some_and(|version| ((6, 0)..(7, 0)).contains(&version)) => (
            Level::Warn,
            "on Linux 6, XFS hands a write that changes a file's time to a worker thread, which \
             costs microseconds: ext4 doesn't, nor does Linux 7 with the mount option lazytime",
        ),
        "ext4" | "xfs" => (Level::Ok, ""),
        "tmpfs" | "ramfs" => (
            Level::Bad,
            "this is memory: all records are gone when the host stops; put the data directory on a \
             disk",
        ),
        "overlay" => (
            Level::Warn,
            "this is a container's own layer and goes when the container goes: mount a volume",
        ),
        kind if kind.starts_with("nfs") || kind.starts_with("fuse") || kind == "cifs" => (
            Level::Warn,
            "what a network file system calls written may not be on a disk: use a local one, ext4 \
             or XFS",
        ),
        _ => (
            Level::Warn,
            "Hutong is made for and measured on ext4 and XFS; file systems that copy on write turn \
             overwriting in place into allocating",
        ),
    }
}

fn space(directory: &Path, shards: u64) -> Check {
    let name = "disk.space";
    let found = match statvfs(directory) {
        Ok(found) => found,
        Err(error) => return Check::unknown(name, error.desc()),
    };
    // These are 32 bits wide on some targets.
    #[allow(clippy::unnecessary_cast)]
    let (unit, free, all) =
        (found.fragment_size() as u64, found.blocks_available() as u64, found.blocks() as u64);
    let (free, all) = (free.saturating_mul(unit), all.saturating_mul(unit));
    judge_space(free, all, shards).with(json!({ "free_bytes": free, "total_bytes": all }))
}

fn judge_space(free: u64, all: u64, shards: u64) -> Check {
    let name = "disk.space";
    let value = format!("{} free of {}", human_bytes(free), human_bytes(all));
    let segment = human_bytes(SEGMENT_BYTES_DEFAULT);
    let needed = (SEGMENTS_AHEAD + 1) * SEGMENT_BYTES_DEFAULT * shards;
    if free < needed {
        let advice = format!(
            "a broker with {shards} shards lays out {} before the first record: free some, or \
             make the segments smaller than {segment}",
            human_bytes(needed)
        );
        return Check::bad(name, value, advice);
    }
    if free < needed.saturating_mul(2) || free < all / 10 {
        let advice = "a full disk stops the node: leave room, or set retention.bytes";
        return Check::warn(name, value, advice);
    }
    Check::ok(name, value)
}

/// Whether O_DIRECT works, and in what units.
fn direct(directory: &Path) -> Check {
    let name = "disk.direct_io";
    let scratch = match ScratchFile::create(directory) {
        Ok(scratch) => scratch,
        Err(error) => {
            let advice = "the broker must be able to make files there: check the owner and the \
                          mount options";
            return Check::bad(name, format!("can't make a file: {error}"), advice);
        }
    };
    let sector = write_direct(&scratch, SECTOR_BYTES);
    let page = write_direct(&scratch, ENTRY_ALIGN_BYTES);
    let said = File::open(scratch.path()).ok().and_then(|file| alignment(&file));
    let data = json!({
        "works": page.is_ok(),
        "smallest_bytes": if sector.is_ok() { SECTOR_BYTES } else { ENTRY_ALIGN_BYTES },
        "memory_align_bytes": said.map(|(memory, _)| memory),
        "offset_align_bytes": said.map(|(_, offset)| offset),
    });
    let check = match page {
        Ok(()) => {
            let unit = if sector.is_ok() { SECTOR_BYTES } else { ENTRY_ALIGN_BYTES };
            let kernel = said.map_or_else(String::new, |(memory, offset)| {
                format!("; the kernel says memory {memory}, offsets {offset}")
            });
            Check::ok(name, format!("works in units of {unit} bytes{kernel}"))
        }
        Err(error) => {
            let advice = "Hutong writes past the page cache in units of 4096 bytes: use ext4 or \
                          XFS on a disk whose blocks are not larger";
            Check::bad(name, format!("does not work: {error}"), advice)
        }
    };
    check.with(data)
}

/// Writes one block at its own alignment, in memory and in the file.
fn write_direct(scratch: &ScratchFile, block: usize) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
        .open(scratch.path())?;
    // Two pages more than needed: one to align to, one to step off a larger alignment by a block.
    let memory = vec![0u8; block + 2 * ENTRY_ALIGN_BYTES];
    let aligned = memory.as_ptr().align_offset(ENTRY_ALIGN_BYTES);
    let start = aligned + block % ENTRY_ALIGN_BYTES;
    let bytes = memory
        .get(start..start + block)
        .ok_or_else(|| io::Error::other("no aligned memory could be had"))?;
    file.write_all_at(bytes, block as u64)
}

/// What the kernel says O_DIRECT needs, in memory and in the file. Since Linux 6.1.
fn alignment(file: &File) -> Option<(u32, u32)> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is an empty C string, which with AT_EMPTY_PATH means the descriptor, and
    // the kernel writes no more than one `statx` to `found`, which outlives the call.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            found.as_mut_ptr(),
        )
    };
    Errno::result(result).ok()?;
    // SAFETY: all zeros is a valid `statx`, and the kernel wrote over it.
    let found = unsafe { found.assume_init() };
    let told = found.stx_mask & libc::STATX_DIOALIGN != 0 && found.stx_dio_offset_align != 0;
    told.then_some((found.stx_dio_mem_align, found.stx_dio_offset_align))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filesystem(kind: &str, kernel: (u32, u32)) -> Level {
        let mount = Mount {
            kind: kind.to_owned(),
            source: "/dev/sda".to_owned(),
            point: "/".into(),
            options: "rw".to_owned(),
        };
        judge_filesystem(&mount, Some(kernel)).level
    }

    #[test]
    fn file_systems_are_judged() {
        assert_eq!(filesystem("ext4", (6, 8)), Level::Ok);
        assert_eq!(filesystem("xfs", (5, 15)), Level::Ok);
        assert_eq!(filesystem("xfs", (6, 18)), Level::Warn);
        assert_eq!(filesystem("xfs", (7, 0)), Level::Ok);
        assert_eq!(filesystem("tmpfs", (6, 8)), Level::Bad);
        assert_eq!(filesystem("nfs4", (6, 8)), Level::Warn);
        assert_eq!(filesystem("btrfs", (6, 8)), Level::Warn);
    }

    #[test]
    fn space_is_judged() {
        let gib = 1u64 << 30;
        assert_eq!(judge_space(gib / 8, 100 * gib, 2).level, Level::Bad);
        assert_eq!(judge_space(gib, 4 * gib, 2).level, Level::Warn);
        assert_eq!(judge_space(5 * gib, 100 * gib, 2).level, Level::Warn);
        assert_eq!(judge_space(50 * gib, 100 * gib, 2).level, Level::Ok);
    }
}
