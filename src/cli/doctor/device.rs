//! The block device below a directory, as /sys tells it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::libc::{major, minor};
use serde_json::json;

use super::report::Check;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `ext4`, `xfs` and so on.
    pub kind: String,
    /// What is mounted: mostly a device's path.
    pub source: String,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The options it is mounted with.
    pub options: String,
}

/// The mount that a directory lies on.
pub fn mount_of(directory: &Path) -> Option<Mount> {
    find_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?, directory)
}

/// The longest mount point above the directory; the last of several at the same place.
fn find_mount(mountinfo: &str, directory: &Path) -> Option<Mount> {
    mountinfo
        .lines()
        .filter_map(parse_mount)
        .filter(|mount| directory.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// `27 1 254:0 / /mnt rw,relatime shared:1 - ext4 /dev/vda rw`
fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(4);
    let (point, options) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, source) = (right.next()?.to_owned(), unescape(right.next()?));
    let point = PathBuf::from(unescape(point));
    Some(Mount { kind, source, point, options: options.to_owned() })
}

/// The kernel writes blanks in paths as `\040`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// What /sys tells of a block device.
#[derive(Debug, Default)]
struct Device {
    name: String,
    write_cache: Option<String>,
    fua: Option<bool>,
    rotational: Option<bool>,
    scheduler: Option<String>,
}

/// How the device below a directory makes writes durable.
pub fn check(directory: &Path, mount: Option<&Mount>) -> Check {
    let name = "disk.device";
    let Some(device) = find(directory, mount) else {
        return Check::unknown(name, "no block device is known below this file system");
    };
    let cache = device.write_cache.as_deref().unwrap_or("unknown");
    let fua = match device.fua {
        Some(true) => "has FUA",
        Some(false) => "no FUA",
        None => "FUA unknown",
    };
    let scheduler = device.scheduler.as_deref().unwrap_or("unknown");
    let value = format!("{}, cache {cache}, {fua}, scheduler {scheduler}", device.name);
    judge(&device, &value).with(json!({
        "device": device.name,
        "write_cache": device.write_cache,
        "fua": device.fua,
        "rotational": device.rotational,
        "scheduler": device.scheduler,
    }))
}

fn judge(device: &Device, value: &str) -> Check {
    let name = "disk.device";
    // `rotational` is told but not judged: virtual disks say 1 whatever they are, and the
    // measurement finds a slow disk.
    if device.write_cache.as_deref() == Some("write back") && device.fua == Some(false) {
        let advice = "each durable write makes the disk empty its whole cache, because it takes no \
                      single write past it (FUA): a disk with power-loss protection, which shows \
                      as `write through`, answers sooner";
        return Check::warn(name, value, advice);
    }
    Check::ok(name, value)
}

/// The device that files of the directory lie on, or the one that the mount names.
fn find(directory: &Path, mount: Option<&Mount>) -> Option<Device> {
    let number = fs::metadata(directory).ok()?.dev();
    // Major 0 is a made-up number: btrfs, overlayfs and network file systems have those.
    if major(number) != 0 {
        return read_device(number);
    }
    let source = mount.map(|mount| mount.source.as_str()).filter(|s| s.starts_with("/dev/"))?;
    read_device(fs::metadata(source).ok()?.rdev())
}

fn read_device(number: u64) -> Option<Device> {
    let link = format!("/sys/dev/block/{}:{}", major(number), minor(number));
    let mut path = fs::canonicalize(link).ok()?;
    let name = path.file_name()?.to_string_lossy().into_owned();
    // A partition has no queue of its own: that is its disk's, the directory above.
    if path.join("partition").exists() {
        path.pop();
    }
    let read = |file: &str| {
        let text = fs::read_to_string(path.join("queue").join(file)).ok()?;
        Some(text.trim().to_owned())
    };
    let flag = |file: &str| read(file).map(|text| text == "1");
    Some(Device {
        name,
        write_cache: read("write_cache"),
        fua: flag("fua"),
        rotational: flag("rotational"),
        scheduler: read("scheduler").map(|text| chosen(&text)),
    })
}

/// `[none] mq-deadline` means `none`.
fn chosen(text: &str) -> String {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(text, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    const MOUNTINFO: &str = "\
        22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
        30 27 8:1 / /data\\040disk rw,noatime - xfs /dev/sda1 rw\n";

    #[test]
    fn the_longest_mount_point_wins() {
        let found = |path| find_mount(MOUNTINFO, Path::new(path)).unwrap();
        assert_eq!(found("/home/x").kind, "ext4");
        assert_eq!(found("/data disk/y").source, "/dev/sda1");
        assert_eq!(found("/data disk/y").options, "rw,noatime");
        assert_eq!(find_mount("", Path::new("/")), None);
        assert_eq!(find_mount("nonsense\n1 2 - 3\n", Path::new("/")), None);
    }

    #[test]
    fn the_chosen_scheduler_is_in_brackets() {
        assert_eq!(chosen("none [mq-deadline] kyber"), "mq-deadline");
        assert_eq!(chosen("none"), "none");
    }

    #[test]
    fn devices_are_judged() {
        let level = |cache: &str, fua| {
            let device = Device {
                write_cache: Some(cache.to_owned()),
                fua,
                rotational: Some(true),
                ..Device::default()
            };
            judge(&device, "").level
        };
        assert_eq!(level("write through", Some(false)), Level::Ok);
        assert_eq!(level("write back", Some(true)), Level::Ok);
        assert_eq!(level("write back", Some(false)), Level::Warn);
        assert_eq!(level("write back", None), Level::Ok);
    }
}
