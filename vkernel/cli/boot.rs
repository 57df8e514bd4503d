//! `vkernel boot`.

use crate::config::BootConfig;
use crate::exit::ExitStatus;
use anyhow::{Result, bail};

/// Boots.
pub fn run(config: BootConfig) -> Result<ExitStatus> {
    bail!("boot is not wired: {config:?}")
}
