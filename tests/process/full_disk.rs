//! A disk that fills up, and has room again. Needs root and a loop device, and says so if it
//! can't have them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use crate::broker::{Broker, Scratch, wait_until};
use crate::raw::{RawClient, batch_of};

const DISK_BYTES: u64 = 300 << 20;
const BALLAST_BYTES: usize = 120 << 20;
const KAFKA_STORAGE_ERROR: i16 = 56;

/// An ext4 file system in a file. Unmounted in any case.
struct SmallDisk {
    mounted: Scratch,
    image: Scratch,
}

impl SmallDisk {
    /// Says why there is none.
    fn mount() -> Result<SmallDisk, String> {
        let (image, mounted) = (Scratch::new(), Scratch::new());
        let file = image.path.join("image");
        File::create(&file).unwrap().set_len(DISK_BYTES).unwrap();
        let file = file.to_str().unwrap();
        run("mkfs.ext4", &["-q", "-F", "-m", "0", file])?;
        run("mount", &["-o", "loop", file, mounted.path.to_str().unwrap()])?;
        Ok(SmallDisk { mounted, image })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: also while a killed broker's descriptors live on for a moment.
        let unmounted = run("umount", &["--lazy", self.mounted.path.to_str().unwrap()]);
        if let Err(why) = unmounted {
            eprintln!("{} stays mounted: {why}", self.image.path.display());
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}

/// A value of half a megabyte that says which it is.
fn value(number: i64) -> Vec<u8> {
    let mut value = vec![0x55; 512 << 10];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}

#[test]
fn a_full_disk_refuses_records_serves_readers_and_takes_records_when_there_is_room() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            println!("SKIPPED: the full disk can't be tested here: {why}");
            return;
        }
    };
    let ballast = disk.mounted.path.join("ballast");
    let file = File::create(&ballast).unwrap();
    for at in (0..BALLAST_BYTES).step_by(1 << 20) {
        file.write_all_at(&[1; 1 << 20], at as u64).unwrap();
    }
    drop(file);
    let flags = ["--no-pin", "--segment-bytes", "32MiB"];
    let mut broker = Broker::start_in(Scratch::below(&disk.mounted.path), 1, &flags);
    let mut client = RawClient::connect(&broker.address());
    client.create_topic("full", 1, &[]);

    let mut end = 0;
    loop {
        let (error, offset) = client.produce("full", 0, batch_of(&value(end)));
        if error != 0 {
            assert_eq!(error, KAFKA_STORAGE_ERROR);
            break;
        }
        assert_eq!(offset, end);
        end += 1;
        assert!((end as u64) << 19 < DISK_BYTES, "it took more than the disk holds");
    }
    println!("the disk is full after {} MB", end / 2);
    assert!(end > 100, "it was full too early: {end}");
    check(&mut client, end);

    // Over a restart as well, in the middle of it.
    broker.kill();
    broker.restart();
    let mut client = RawClient::connect(&broker.address());
    check(&mut client, end);
    let (error, _) = client.produce("full", 0, batch_of(&value(end)));
    assert_eq!(error, KAFKA_STORAGE_ERROR, "there is no more room than before");

    fs::remove_file(&ballast).unwrap();
    wait_until("records are taken again", Duration::from_secs(30), || {
        let (error, offset) = client.produce("full", 0, batch_of(&value(end)));
        assert!(error == 0 && offset == end || error == KAFKA_STORAGE_ERROR, "{error}");
        error == 0
    });
    end += 1;
    for _ in 0..100 {
        assert_eq!(client.produce("full", 0, batch_of(&value(end))), (0, end));
        end += 1;
    }
    check(&mut client, end);
    let (status, _) = broker.stop();
    assert!(status.success(), "{}", broker.said());
}

/// Every record up to `end` is there.
fn check(client: &mut RawClient, end: i64) {
    assert_eq!(client.offset("full", 0, -1), end);
    for offset in 0..end {
        let (error, _, _, records) = client.fetch("full", 0, offset);
        assert_eq!(error, 0);
        let number = value(offset);
        // The header's first eight bytes are the offset; the value begins behind the record's own.
        assert_eq!(records[..8], offset.to_be_bytes());
        assert!(records[61..80].windows(8).any(|window| *window == number[..8]), "{offset}");
    }
}
