//! `vkernel gdb`: the real gdb on a recording, with symbols loaded and everything set.

use crate::config::GdbConfig;
use crate::ddb::open_session;
use crate::exit::ExitStatus;
use crate::gdb_port::{Connection, GdbPort};
use crate::say;
use crate::symbols::SymbolSource;
use anyhow::{Context, Result};
use ddb_shell::ddb::Ddb;
use ddb_shell::gdb::Ended;
use host::{Host, HostOptions};
use machine::Interrupt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// Has gdb know the symbols of modules.
const MODULES: &str = include_str!("gdb/modules.py");

/// Runs gdb on a recording, or serves one that comes.
///
/// # Errors
/// A trace that cannot be read, gdb that cannot be started, or a divergence.
pub fn run(config: &GdbConfig) -> Result<ExitStatus> {
    if config.launch_json {
        print!("{}", launch_json(config)?);
        return Ok(ExitStatus::Good);
    }
    let replay = &config.replay;
    let symbols = SymbolSource::of_replay(replay)?;
    let interrupt = Interrupt::default();
    let options = HostOptions { inputs: false, interrupt: Some(interrupt.flag()), ..HostOptions::default() };
    // Only for its signals: ^C at gdb's terminal reaches this process too, and is gdb's business.
    let _host = Host::open(options)?;
    let debugger = open_session(replay, config.at.as_ref(), &symbols, interrupt)?;
    let slide = debugger.symbols().slide();
    let file = symbols.file_of(debugger.symbols()).map(Path::to_path_buf);
    let mut ddb = Ddb::new(debugger);
    match &config.listen {
        Some(address) if config.arguments.is_empty() => listen(&mut ddb, address),
        _ => start(&mut ddb, config, file.as_deref(), slide),
    }
}

/// A launch.json for Microsoft's cppdbg: the recording, with this program in the place of gdb, which it starts; and a live guest,
/// over the address at which `boot --gdb` serves.
fn launch_json(config: &GdbConfig) -> Result<String> {
    let trace = std::path::absolute(config.replay.reader.path())?;
    let name = trace.file_stem().unwrap_or_default().to_string_lossy();
    let mut words = vec!["gdb".to_owned(), "--debugger".to_owned(), config.gdb.display().to_string()];
    for file in &config.replay.symbols {
        words.extend(["--symbols".to_owned(), std::path::absolute(file)?.display().to_string()]);
    }
    words.extend([trace.display().to_string(), "--".to_owned()]);
    let file = |given: &PathBuf| if given.is_dir() { given.join("vmlinux") } else { given.clone() };
    let is_kernel = |file: &PathBuf| file.is_file() && !file.to_string_lossy().contains(".ko");
    let program = match config.replay.symbols.iter().map(file).find(is_kernel) {
        Some(file) => std::path::absolute(file)?.display().to_string(),
        None => "${workspaceFolder}/vmlinux".to_owned(),
    };
    let common = |name: String| {
        serde_json::json!({
            "name": name,
            "type": "cppdbg",
            "request": "launch",
            "program": program,
            "cwd": "${workspaceFolder}",
            "MIMode": "gdb",
            // Without it, it goes on from where it is opened.
            "stopAtConnect": true,
        })
    };
    let mut recording = common(format!("vkernel: {name}"));
    recording["miDebuggerPath"] = std::env::current_exe()?.display().to_string().into();
    recording["miDebuggerArgs"] = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ").into();
    // With the commands that follow nobody connects to it. But with a server it looks for no file, opens no terminal, and
    // interrupts by gdb: the process, whose number it would send SIGINT to, is not one of this host.
    recording["miDebuggerServerAddress"] = "the recording".into();
    // In the place of those that load symbols and connect, which is done by then. An empty list is taken for none.
    recording["customLaunchSetupCommands"] = serde_json::json!([{
        "text": "-environment-cd \"${workspaceFolder}\"",
        "description": "where sources are",
    }]);
    // Only without commands of one's own it asks gdb.
    recording["targetArchitecture"] = "x86_64".into();
    recording["launchCompleteCommand"] = "None".into();
    let mut live = common("vkernel: a live guest, booted with --gdb".to_owned());
    live["miDebuggerPath"] = config.gdb.display().to_string().into();
    live["miDebuggerServerAddress"] = "localhost:1234".into();
    let all = serde_json::json!({ "version": "0.2.0", "configurations": [recording, live] });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

/// A word of a command line that .NET takes apart, which knows no quotes but double ones.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '"');
    if is_plain { word.to_owned() } else { format!("\"{}\"", word.replace('"', "\\\"")) }
}

/// Serves one gdb after the other at an address.
fn listen(ddb: &mut Ddb<'_>, address: &str) -> Result<ExitStatus> {
    let port = GdbPort::open("--listen", address, || {})?;
    loop {
        let Some(connection) = port.wait(Duration::from_secs(3600))? else { continue };
        match serve(ddb, connection) {
            Ok(Ended::Killed) => return Ok(ExitStatus::Good),
            Ok(_) => {}
            // A client that breaks off is no reason to leave the next one alone.
            Err(error) => say::line(&error.to_string()),
        }
    }
}

/// Serves one gdb: its ^C interrupts what takes long.
fn serve(ddb: &mut Ddb<'_>, connection: Connection) -> Result<Ended> {
    let interrupt = ddb.debugger.interrupt.clone();
    connection.serve(ddb, Box::new(move || interrupt.raise()))
}

/// Starts gdb and serves it, over a socket of its own unless it is to connect to an address when it wants.
fn start(ddb: &mut Ddb<'_>, config: &GdbConfig, file: Option<&Path>, slide: i64) -> Result<ExitStatus> {
    let directory = tempfile::tempdir().context("a directory for the socket")?;
    let port = match &config.listen {
        Some(address) => GdbPort::open("--listen", address, || {})?,
        None => GdbPort::open_silently(&directory.path().join("gdb"))?,
    };
    let symbols = symbol_file(ddb, config, file, directory.path())?;
    let mut gdb = Command::new(&config.gdb);
    gdb.args(["-q", "-ex", "set architecture i386:x86-64", "-ex", "set pagination off"]);
    // For editors, which interrupt by a command; it cannot be set any more once there is a guest.
    gdb.args(["-ex", "set mi-async on"]);
    if let Some(file) = &symbols {
        load_symbols(&mut gdb, file, slide);
        let scripts = file.with_file_name("vmlinux-gdb.py");
        if scripts.is_file() {
            gdb.arg("-ex").arg(format!("source {}", scripts.display()));
        }
    }
    // One that speaks no Python goes without.
    let modules = directory.path().join("modules.py");
    std::fs::write(&modules, MODULES).with_context(|| modules.display().to_string())?;
    gdb.arg("-ex").arg(format!("source {}", modules.display()));
    if config.listen.is_none() {
        gdb.arg("-ex").arg(format!("target remote {}", port.address()));
    }
    let mut gdb = gdb.args(&config.arguments).spawn().with_context(|| {
        format!(
            "cannot start {}: install gdb, or name it by --debugger; --listen serves one elsewhere",
            config.gdb.display()
        )
    })?;
    let served = serve_child(ddb, &port, &mut gdb);
    let status = gdb.wait().context("waiting for gdb")?;
    served?;
    Ok(if status.success() { ExitStatus::Good } else { ExitStatus::HostTrouble })
}

/// Has gdb load a file that runs `slide` from where it was linked. Linux's per-CPU variables do not slide: their addresses are
/// offsets, and the kernel's own scripts for gdb add them to each processor's base.
fn load_symbols(gdb: &mut Command, file: &Path, slide: i64) {
    let path = file.display();
    if slide == 0 {
        gdb.arg("-ex").arg(format!("symbol-file {path}"));
        return;
    }
    gdb.args(["-ex", "set confirm off", "-ex"]);
    gdb.arg(format!("add-symbol-file {path} -o {slide:#x} -s .data..percpu 0"));
    gdb.args(["-ex", "set confirm on"]);
}

/// Serves gdb as often as it connects, until it has ended.
fn serve_child(ddb: &mut Ddb<'_>, port: &GdbPort, gdb: &mut Child) -> Result<()> {
    while gdb.try_wait()?.is_none() {
        if let Some(connection) = port.wait(Duration::from_millis(20))? {
            serve(ddb, connection)?;
        }
    }
    Ok(())
}

/// The file with symbols for gdb: that of --symbols, else the kernel if it has any, else those in its memory.
fn symbol_file(
    ddb: &Ddb<'_>,
    config: &GdbConfig,
    given: Option<&Path>,
    directory: &Path,
) -> Result<Option<PathBuf>> {
    if let Some(file) = given {
        return Ok(Some(file.to_path_buf()));
    }
    let (kernel, running) = (config.replay.kernel(), ddb.debugger.symbols());
    let bytes = match (ddb_shell::Symbols::parse(&kernel), running.is_empty()) {
        (Ok(_), _) => kernel.to_vec(),
        (Err(_), false) => ddb.debugger.elf_file(),
        (Err(_), true) => return Ok(None),
    };
    let path = directory.join("kernel");
    std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    Ok(Some(path))
}
