//! `hutong serve`: run a node until a signal stops it.

use crate::config::{Config, ServeArgs};
use crate::runtime::{logging, node};

/// Runs a node.
///
/// # Errors
/// A [`crate::config::ConfigError`] inside if the settings can't be meant (exit code 2: see
/// [`exit_code`]); anything else is what went wrong while starting or running.
pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::from_args(&args)?;
    logging::start(config.log_format, config.log_level);
    node::run(&config)
}

/// 2 for settings that can't be meant, 1 for everything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<crate::config::ConfigError>() { 2 } else { 1 }
}
