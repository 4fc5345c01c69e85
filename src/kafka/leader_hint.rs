//! KIP-951: an error response that says who leads now, so that the client need not ask.

use super::wire::{put_nullable_string, put_string, put_unsigned_varint, unsigned_varint_bytes};

/// Where a broker (for us: a shard) can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// The broker id.
    pub node_id: i32,
    /// The advertised host.
    pub host: &'a str,
    /// The advertised port.
    pub port: i32,
    /// The rack, if the broker has one.
    pub rack: Option<&'a str>,
}

impl NodeEndpoint<'_> {
    fn encoded_bytes(&self) -> usize {
        let string = |string: &str| {
            let bytes = string.len().min(i16::MAX as usize);
            unsigned_varint_bytes(bytes as u32 + 1) + bytes
        };
        4 + string(self.host) + 4 + self.rack.map_or(1, string) + 1
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.node_id.to_be_bytes());
        put_string(out, true, self.host.as_bytes());
        out.extend_from_slice(&self.port.to_be_bytes());
        put_nullable_string(out, true, self.rack);
        out.push(0);
    }
}

/// Appends a response's tagged fields: the endpoints (tag 0) if there are any.
pub(super) fn put_endpoints(out: &mut Vec<u8>, endpoints: &[NodeEndpoint<'_>]) {
    if endpoints.is_empty() {
        out.push(0);
        return;
    }
    let count = endpoints.len() as u32 + 1;
    let elements: usize = endpoints.iter().map(NodeEndpoint::encoded_bytes).sum();
    out.extend_from_slice(&[1, 0]);
    put_unsigned_varint(out, (unsigned_varint_bytes(count) + elements) as u32);
    put_unsigned_varint(out, count);
    for endpoint in endpoints {
        endpoint.put(out);
    }
}

/// Appends a partition's tagged fields: the current leader (id, epoch) under `tag`, if given.
#[inline]
pub(super) fn put_current_leader(out: &mut Vec<u8>, tag: u8, leader: Option<(i32, i32)>) {
    let Some((leader_id, epoch)) = leader else {
        out.push(0);
        return;
    };
    // One tagged field; its value is two int32 and an empty section of tagged fields.
    out.extend_from_slice(&[1, tag, 9]);
    out.extend_from_slice(&leader_id.to_be_bytes());
    out.extend_from_slice(&epoch.to_be_bytes());
    out.push(0);
}
