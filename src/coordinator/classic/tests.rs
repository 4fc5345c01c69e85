//! Classic groups by cases, each a script, and by a property.

mod failover;
mod offsets;
mod property;
mod rebalances;
mod script;
mod static_members;
mod timeouts;
