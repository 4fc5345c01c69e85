//! InitProducerId: ids for idempotent producers, unique in the cluster.
//!
//! Shards take blocks of ids from the catalog and hand them out; what is left of a block at a
//! restart is never used.

use std::collections::VecDeque;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::limits::PRODUCER_IDS_PER_BLOCK;
use crate::metadata::{Applied, CatalogError, Command};
use crate::shard::cluster::Cluster;
use crate::shard::connections::{Connections, Ticket};
use crate::shard::control::{CommandWaiter, Control};
use crate::shard::groups::Groups;
use crate::shard::output::Output;

/// The ids of this shard, and who waits for one.
#[derive(Debug, Default)]
pub struct ProducerIds {
    next: i64,
    left: u32,
    waiting: VecDeque<(Ticket, RequestHeader)>,
    asked: bool,
}

impl ProducerIds {
    /// Takes an InitProducerId request.
    pub fn on_request<P: Page>(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &InitProducerIdRequest,
        connections: &mut Connections<P>,
    ) {
        if request.transactional_id.is_some() {
            let code = ErrorCode::UNSUPPORTED_VERSION;
            return connections.respond(ticket, &header, &refusal(code));
        }
        // A producer that names its id wants a new epoch of it (KIP-360). A new id with epoch 0
        // serves as well, and needs no record of who had which.
        connections.hold(ticket);
        self.waiting.push_back((ticket, header));
    }

    /// Hands out ids, and asks for more when they run out.
    pub fn advance<P: Page>(
        &mut self,
        control: &mut Control,
        cluster: &Cluster,
        groups: &mut Groups<P>,
        connections: &mut Connections<P>,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        while self.left > 0
            && let Some((ticket, header)) = self.waiting.pop_front()
        {
            let response = InitProducerIdResponse::default()
                .with_producer_id(ProducerId(self.next))
                .with_producer_epoch(0);
            self.next += 1;
            self.left -= 1;
            connections.respond(ticket, &header, &response);
        }
        if !self.waiting.is_empty() && !self.asked {
            self.asked = true;
            let command = Command::AllocateProducerIds { count: PRODUCER_IDS_PER_BLOCK };
            control.propose(command, CommandWaiter::ProducerIds, cluster, groups, outputs);
        }
    }

    /// A block of ids has come, or there are no more.
    pub fn on_block<P: Page>(
        &mut self,
        result: &Result<Applied, CatalogError>,
        connections: &mut Connections<P>,
    ) {
        self.asked = false;
        match result {
            Ok(Applied::ProducerIds { first, count }) => {
                self.next = *first;
                self.left = *count;
            }
            _ => {
                for (ticket, header) in self.waiting.drain(..) {
                    let code = ErrorCode::UNKNOWN_SERVER_ERROR;
                    connections.respond(ticket, &header, &refusal(code));
                }
            }
        }
    }
}

fn refusal(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
