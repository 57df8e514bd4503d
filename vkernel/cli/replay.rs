//! `vkernel replay` and `vkernel trace verify`.

use crate::config::{ReplayConfig, VerifyConfig};
use crate::exit::ExitStatus;
use anyhow::{Result, bail};

/// Replays, printing the console.
pub fn run(config: ReplayConfig) -> Result<ExitStatus> {
    bail!("replay is not wired: {}", config.reader.path().display())
}

/// Replays silently and checks.
pub fn verify(config: VerifyConfig) -> Result<ExitStatus> {
    run(config.replay)
}
