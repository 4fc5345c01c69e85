//! One core of the caller's own behind our sockets, without files: for tools that need a broker's
//! runtime and no broker.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::model::ids::ShardId;
use crate::runtime::clock::Clock;
use crate::runtime::driver::{Core, Milestone, drive};
use crate::runtime::executor::{spawn_local, start_executor};
use crate::runtime::host;
use crate::runtime::journal_files::{Durability, JournalFiles};
use crate::runtime::listener::{accept_clients, bind_all};
use crate::runtime::mesh::receive_mail;
use crate::runtime::segment_files::FileHelper;
use crate::runtime::shard_io::ShardIo;

/// Enough for the executor itself.
const IO_MEMORY_BYTES: usize = 1 << 20;
const CONNECTIONS_MAX: usize = 20_000;

/// Serves clients from one thread until the core stops or fails. `make` is given the address that
/// is listened on. The core must ask for no files.
///
/// # Errors
/// A sentence: why it could not start, or why the core gave up.
pub fn serve_alone<C: Core>(
    listen: SocketAddr,
    cpu: Option<usize>,
    make: impl FnOnce(SocketAddr) -> C + Send + 'static,
) -> Result<()> {
    host::raise_open_files();
    host::check_io_uring()?;
    let (sockets, address) = bind_all(listen, 1)?;
    let socket = sockets.into_iter().next().context("there is one socket")?;
    // Neither writes before it is asked to.
    let no_files = Path::new("/");
    let helper = FileHelper::start(no_files, 0).context("can't start the file threads")?;
    let (mailbox, mail) = flume::unbounded();
    let io_memory = host::io_memory(IO_MEMORY_BYTES, 1)?;
    let executor = start_executor("sink", cpu, io_memory, move || async move {
        let files = JournalFiles::new(no_files, Durability::Dsync);
        let mailboxes = vec![mailbox];
        let io =
            ShardIo::new(ShardId(0), Clock::start(), CONNECTIONS_MAX, files, helper, mailboxes);
        spawn_local(receive_mail(io.clone(), mail)).detach();
        spawn_local(accept_clients(io.clone(), socket)).detach();
        let mut reason = None;
        drive(io, make(address), |milestone| {
            if let Milestone::Fatal(why) = milestone {
                reason = Some(why);
            }
        })
        .await;
        reason
    })
    .context("can't start a thread")?;
    match executor.join() {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => bail!(reason),
        Err(_) => bail!("its thread has panicked"),
    }
}
