//! `vkernel demo`, and the kernel `demo:`.

use crate::config::DemoConfig;
use crate::exit::ExitStatus;
use anyhow::{Result, bail};

/// Demonstrates.
pub fn run(config: DemoConfig) -> Result<ExitStatus> {
    bail!("demo is not wired: {config:?}")
}

/// The demonstration kernel.
pub fn kernel_bytes() -> Result<Vec<u8>> {
    bail!("demo is not wired")
}
