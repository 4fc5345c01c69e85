//! `hutong doctor`: what this host gives a broker.

use clap::Args;

#[derive(Debug, Args)]
pub struct DoctorArgs {}

pub fn run(_args: &DoctorArgs) -> anyhow::Result<()> {
    Ok(())
}
