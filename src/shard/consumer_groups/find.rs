//! FindCoordinator: which broker coordinates a consumer group.

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Coordination, text};
use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::shard::connections::Ticket;

/// From this version on, a request names many keys.
const MANY_KEYS_FROM: i16 = 4;
const CONSUMER_GROUP: i8 = 0;

impl<P: Page> Coordination<'_, P> {
    /// Answers a FindCoordinator request. Any shard knows.
    pub fn find_coordinator(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &FindCoordinatorRequest,
    ) {
        let mut response = FindCoordinatorResponse::default();
        if header.api_version >= MANY_KEYS_FROM {
            let keys = request.coordinator_keys.iter();
            response.coordinators = keys.map(|key| self.find(request.key_type, key)).collect();
        } else {
            let found = self.find(request.key_type, &request.key);
            response.error_code = found.error_code;
            response.error_message = found.error_message;
            response.node_id = found.node_id;
            response.host = found.host;
            response.port = found.port;
        }
        self.connections.respond(ticket, &header, &response);
    }

    fn find(&self, key_type: i8, key: &StrBytes) -> Coordinator {
        let found = Coordinator::default().with_key(key.clone());
        let (code, why) = match (key_type, self.coordinator_of(key)) {
            (CONSUMER_GROUP, Some((id, host, port))) => {
                return found.with_node_id(BrokerId(id)).with_host(text(host)).with_port(port);
            }
            (CONSUMER_GROUP, None) => {
                (ErrorCode::COORDINATOR_NOT_AVAILABLE, "the group's coordinator is being elected")
            }
            _ => (ErrorCode::INVALID_REQUEST, "only consumer groups have coordinators here"),
        };
        found
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(code.code())
            .with_error_message(Some(StrBytes::from_static_str(why)))
    }

    fn coordinator_of(&self, id: &str) -> Option<(i32, &str, i32)> {
        let leader = self.cluster.leader(self.catalog.home_of_consumer_group(id));
        let endpoint = self.cluster.hint(leader)?;
        Some((endpoint.node_id, endpoint.host, endpoint.port))
    }
}
