//! `hutong serve`: run a node until a signal stops it.

use crate::config::{Config, ServeArgs};
use crate::runtime::{logging, node};

/// Runs a node.
///
/// # Errors
/// A [`crate::config::ConfigError`] inside if the settings can't be meant (exit code 2); anything
/// else is what went wrong while starting or running.
pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::from_args(&args)?;
    logging::start(config.log_format, config.log_level);
    node::run(&config)
}
