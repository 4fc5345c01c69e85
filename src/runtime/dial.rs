//! Connects to a shard of another node.
//!
//! Each dial ends in just one of two ways: the core hears `ConnectionOpened`, or `DialFailed`.
//! Nothing is tried again here: when to do that is for the core to decide.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use crate::model::ids::ConnectionId;
use crate::runtime::connection::Connection;
use crate::runtime::executor::{spawn_blocking, spawn_local};
use crate::runtime::shard_io::ShardIo;
use crate::runtime::socket::Stream;
use crate::shard::input::Input;

/// How long an address has to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Begins to connect; `connection` is the number that the core knows it by.
pub fn dial(io: &Rc<ShardIo>, connection: ConnectionId, host: String, port: u16) {
    let io = io.clone();
    spawn_local(async move {
        match connect(&host, port).await {
            Ok(stream) => Connection::start(&io, connection, stream, false),
            Err(error) => {
                let reason = format!("can't connect to port {port} of {host}: {error}");
                io.inbox.push(Input::DialFailed { connection, reason });
            }
        }
    })
    .detach();
}

/// Tries the addresses of a host, one after the other.
async fn connect(host: &str, port: u16) -> io::Result<Stream> {
    let mut why_not = io::Error::other("the name has no address");
    for address in addresses(host, port).await? {
        match connect_to(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why_not = error,
        }
    }
    Err(why_not)
}

/// IPv4 comes first: a node listens there when its name has both.
async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    // To look a name up may take seconds, in which the shard must not stand still.
    let name = host.to_string();
    let look_up = move || (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
    let mut found = spawn_blocking("resolver", look_up).await??;
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(found)
}

async fn connect_to(address: SocketAddr) -> io::Result<Stream> {
    let stream = Stream::connect(address, CONNECT_TIMEOUT).await?;
    // To dial a port of this machine on which nobody listens may end in a socket that is connected
    // to itself, and that keeps the port from whom it belongs to.
    let socket = stream.socket();
    if socket.local_addr()? == socket.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    socket.set_nodelay(true)?;
    Ok(stream)
}
