//! `vkernel trace pack`: one self-contained file.

use crate::config::{PackConfig, refuse};
use crate::exit::ExitStatus;
use crate::say;
use anyhow::Result;

/// Writes the file and says what is in it.
pub fn run(config: &PackConfig) -> Result<ExitStatus> {
    recorder::pack(&config.reader, &config.images, &config.attachments, &config.output).map_err(refuse)?;
    let length_bytes = std::fs::metadata(&config.output).map_or(0, |metadata| metadata.len());
    let count = config.images.iter().count();
    let mut said =
        format!("wrote {} ({length_bytes} bytes): the trace, {count} images", config.output.display());
    for attachment in &config.attachments {
        said.push_str(&format!(", {}", attachment.name));
    }
    say::line(&said);
    Ok(ExitStatus::Good)
}
