//! `vkernel trace vmcore`, `vkernel drgn` and `vkernel crash`: a place of a recording for the tools that read crash dumps.

use crate::config::{AnalyseConfig, PlaceConfig};
use crate::ddb::open_session;
use crate::exit::{ExitStatus, usage};
use crate::say;
use crate::symbols::SymbolSource;
use anyhow::{Context, Result};
use ddb_shell::debugger::place;
use ddb_shell::vmcore::{self, VmcoreError};
use host::{Host, HostOptions};
use machine::Interrupt;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the place to a file.
///
/// # Errors
/// A trace that cannot be read, a guest that is no Linux, or a file that cannot be written.
pub fn write(config: &PlaceConfig, output: &Path) -> Result<ExitStatus> {
    dump(config, output)?;
    Ok(ExitStatus::Good)
}

/// Does so, and gives the file of --symbols that is the running kernel's.
fn dump(config: &PlaceConfig, output: &Path) -> Result<Option<PathBuf>> {
    let interrupt = Interrupt::default();
    let options = HostOptions { inputs: false, interrupt: Some(interrupt.flag()), ..HostOptions::default() };
    let _host = Host::open(options)?;
    let symbols = SymbolSource::of_replay(&config.replay)?;
    let debugger = open_session(&config.replay, config.at.as_ref(), &symbols, interrupt)?;
    let file = File::create(output).with_context(|| format!("-o {}", output.display()))?;
    let written = vmcore::write(debugger.machine(), &mut BufWriter::new(file));
    if let Err(error) = written {
        // Half a dump is of no use to anybody.
        let _ = std::fs::remove_file(output);
        return Err(match error {
            VmcoreError::NoVmcoreinfo => usage(error.to_string()),
            VmcoreError::Io(error) => anyhow::Error::from(error).context(output.display().to_string()),
        });
    }
    say::line(&format!("wrote {} as of {}", output.display(), place::shown(debugger.now())));
    Ok(symbols.file_of(debugger.symbols()).map(Path::to_path_buf))
}

/// Opens the place in drgn.
///
/// # Errors
/// As [`write`], or drgn cannot be started.
pub fn drgn(config: &AnalyseConfig) -> Result<ExitStatus> {
    analyse(config, "drgn", |command, core, _| {
        command.arg("-c").arg(core);
        for file in config.place.replay.all_symbols() {
            command.arg("-s").arg(file);
        }
    })
}

/// Opens the place in crash.
///
/// # Errors
/// As [`write`], no --symbols was given, or crash cannot be started.
pub fn crash(config: &AnalyseConfig) -> Result<ExitStatus> {
    if config.place.replay.all_symbols().is_empty() {
        return Err(usage("crash needs the kernel's vmlinux with debug information: --symbols FILE"));
    }
    analyse(config, "crash", |command, core, vmlinux| {
        command.args(vmlinux).arg(core);
    })
}

/// Runs a tool on the place; `prepare` is given the dump and the kernel's file of --symbols.
fn analyse(
    config: &AnalyseConfig,
    tool: &str,
    prepare: impl FnOnce(&mut Command, &Path, Option<&Path>),
) -> Result<ExitStatus> {
    let directory = tempfile::tempdir().context("a directory for the dump")?;
    let core = directory.path().join("vmcore");
    let vmlinux = dump(&config.place, &core)?;
    let mut command = Command::new(tool);
    prepare(&mut command, &core, vmlinux.as_deref());
    let status = command.args(&config.arguments).status().with_context(|| {
        format!("cannot start {tool}: install it, or write the dump by vkernel trace vmcore")
    })?;
    Ok(if status.success() { ExitStatus::Good } else { ExitStatus::HostTrouble })
}
