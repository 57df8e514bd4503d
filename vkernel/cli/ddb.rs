//! `vkernel ddb`: a recording at the prompt, opened where its guest failed.

use crate::boot::{SELF, engine, meta};
use crate::config::{BootConfig, DdbConfig, ReplayConfig};
use crate::exit::{ExitStatus, usage};
use crate::gdb_port::{Connection, GdbPort, wait_for_one};
use crate::say;
use crate::symbols::SymbolSource;
use anyhow::{Context, Result};
use boundary::{Arrival, Mark, PowerOn, World};
use ddb_shell::ddb::{Answer, Ddb, Face, Left, LineEditor, PlainLines, Words, prompt};
use ddb_shell::debugger::diversion::Diverting;
use ddb_shell::debugger::live::LiveTarget;
use ddb_shell::debugger::place::{self, Place};
use ddb_shell::debugger::target::Tell;
use ddb_shell::debugger::{Debugger, Keeper, Why};
use ddb_shell::gdb::Ended;
use ddb_shell::opening_place;
use ddb_shell::report::Scene;
use host::{Host, HostOptions};
use machine::{EngineKind, Interrupt};
use recorder::{
    CacheIdentity, CheckpointFile, Ending, FailureKind, ImageSet, Meta, StoreError, TraceReader,
    cache_directory,
};
use replay::{Budget, Outcome, ProgressReport, Timeline};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::{self, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the checkpoints of a recording may take on disk, about, before every second one is dropped.
const CACHE_LIMIT_BYTES: u64 = 1 << 30;

/// Opens a recording at the prompt.
///
/// # Errors
/// A trace that cannot be read, or a divergence on the way to where it is opened.
pub fn run(config: &DdbConfig) -> Result<ExitStatus> {
    let symbols = SymbolSource::of_replay(&config.replay)?;
    let interrupt = Interrupt::default();
    let options = HostOptions { inputs: false, interrupt: Some(interrupt.flag()), ..HostOptions::default() };
    let mut host = Host::open(options)?;
    let debugger = open_session(&config.replay, config.at.as_ref(), &symbols, interrupt)?;
    let mut ddb = Ddb::new(debugger);
    ddb.gdb_gate = Some(Box::new(|ddb, address| {
        let interrupt = ddb.debugger.interrupt.clone();
        let gdb = awaited(address, &interrupt)?;
        gdb.serve(ddb, Box::new(move || interrupt.raise())).map_err(|error| format!("{error:#}"))
    }));
    let mut face = HostFace { face: face()?, host: &mut host };
    prompt(&mut ddb, &mut face, &Why::Done, &config.commands);
    Ok(ExitStatus::Good)
}

/// A session on a recording, at a place: where its guest failed, else at its end, unless one is named.
///
/// # Errors
/// A trace that cannot be read, or a divergence on the way.
pub fn open_session<'r>(
    replay: &'r ReplayConfig,
    at: Option<&Place>,
    symbols: &'r SymbolSource,
    interrupt: Interrupt,
) -> Result<Debugger<'r>> {
    let mut inspector = symbols.guest_inspector(replay.reader.power_on().boot.protocol, false);
    let kind_of_engine = engine(replay.engine);
    let mut timeline =
        Timeline::new(&replay.reader, &replay.images, kind_of_engine, interrupt.clone(), Budget::default())?;
    match checkpoint_file(&replay.reader) {
        Ok(file) => timeline.keep_checkpoints_in(file),
        Err(trouble) => say::line(&format!("checkpoints are not kept for the next session: {trouble}")),
    }
    let tell = progress();
    let told = Rc::clone(&tell);
    timeline.on_progress = Box::new(move |report| (told.borrow_mut())(report));
    let (mut failure, kind) = failure_of(&replay.reader).unzip();
    let mut vcpu = 0;
    if let Some(place) = failure {
        timeline.seek(place)?;
        if let Some(reporting) = inspector.reporting_vcpu(timeline.machine()) {
            vcpu = reporting;
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            let known = inspector.known_symbols();
            // A panic for another reason has nothing to do with the last exception before it.
            let scene = Scene::of(timeline.machine(), vcpu, known);
            if kind == Some(FailureKind::Oops) || scene.broken_into().is_some() {
                failure = Some(opening_place(&mut timeline, place, vcpu, known, workers)?);
            }
        }
    }
    let target = Diverting::new(Box::new(timeline), &replay.images, kind_of_engine, interrupt.clone());
    let failure = failure.map(|place| (place, vcpu));
    let mut debugger = Debugger::new(Box::new(target), inspector, failure, interrupt);
    debugger.keeper = Some(keeper(replay.reader.power_on(), &replay.images));
    debugger.target.on_progress(tell);
    match (at, failure) {
        (Some(place), _) => debugger.seek(place)?,
        (None, Some(_)) => debugger.seek(&Place::Failure)?,
        (None, None) => debugger.seek(&Place::End)?,
    };
    debugger.find_symbols();
    Ok(debugger)
}

/// Begins the recordings that diversions are kept in: of the same machine and images.
fn keeper<'r>(power_on: &'r PowerOn, images: &'r ImageSet) -> Keeper<'r> {
    Box::new(move |name| {
        let store = crate::config::store().map_err(|error| format!("{error:#}"))?;
        let said = |error: StoreError| error.to_string();
        let executable = store.executable(Path::new(SELF)).map_err(said)?;
        let meta = Meta { executable: Some(executable.id), ..meta() };
        let writer = store.record_as(name, power_on, &meta, images).map_err(said)?;
        store.keep_executable(&executable).map_err(said)?;
        Ok(writer)
    })
}

/// The checkpoints of earlier sessions, beside the trace.
fn checkpoint_file(reader: &TraceReader) -> io::Result<CheckpointFile> {
    let identity = CacheIdentity::of_files(reader.path(), Path::new(SELF))?;
    CheckpointFile::open(&cache_directory(reader.path()), identity, CACHE_LIMIT_BYTES)
}

/// What a debugger of a live guest needs.
pub struct Debuggee<'s> {
    /// Where its symbols come from.
    pub symbols: &'s SymbolSource,
    /// What it was at power-on.
    pub power_on: &'s PowerOn,
    /// The images that it was booted with.
    pub images: &'s ImageSet,
    /// What executes it.
    pub engine: EngineKind,
    /// Ends whatever takes long.
    pub interrupt: Interrupt,
}

/// Who may come to a live guest, and when it stops for them by itself.
pub struct Door<'c> {
    /// Where gdb connects.
    pub gdb: Option<&'c str>,
    /// The event of `--stop-at`.
    pub stop_at: Option<&'c str>,
    /// Whether there is somebody at a terminal.
    pub has_terminal: bool,
}

impl Door<'_> {
    /// From now on gdb can connect: not before it will be answered, for it does not wait long.
    fn open(&self) -> Result<Option<GdbPort>> {
        self.gdb.map(|address| GdbPort::open("--gdb", address, host::ask_for_debugger)).transpose()
    }
}

/// A gdb that has connected and is not served yet. That it asks for the debugger is done with by that.
fn arrived(port: Option<&GdbPort>) -> Result<Option<Connection>> {
    let gdb = port.map_or(Ok(None), |port| port.wait(Duration::ZERO))?;
    if gdb.is_some() {
        host::take_asked();
    }
    Ok(gdb)
}

/// Runs a live guest to its end, with the prompt or gdb whenever somebody asks for it.
///
/// # Errors
/// The terminal refuses the prompt, or there is nothing to stop at as `--stop-at` says.
pub fn run_live(
    mut target: LiveTarget<'_>,
    debuggee: &Debuggee<'_>,
    door: &Door<'_>,
    judge: impl FnOnce(&Ending) -> u8,
) -> Result<Outcome> {
    let mut port = None;
    let mut goes_on = true;
    match door.stop_at {
        Some(event) => goes_on = stop_at(&mut target, debuggee, door, &mut port, event)?,
        None => port = door.open()?,
    }
    while goes_on {
        let mut gdb = arrived(port.as_ref())?;
        if gdb.is_none() {
            if !target.run_freely() {
                break;
            }
            gdb = arrived(port.as_ref())?;
        }
        goes_on = if gdb.is_none() && !door.has_terminal {
            // SIGQUIT.
            target.live_mut().report();
            true
        } else {
            visit(&mut session(&mut target, debuggee), gdb, &Why::Done)?
        };
    }
    Ok(target.into_live().finish(judge))
}

/// Lets a guest run to an event, opens the door, and waits for gdb if that is to come. Whether the guest is to go on
/// afterwards.
fn stop_at(
    target: &mut LiveTarget<'_>,
    debuggee: &Debuggee<'_>,
    door: &Door<'_>,
    port: &mut Option<GdbPort>,
    event: &str,
) -> Result<bool> {
    let mut ddb = session(target, debuggee);
    let why = ddb.run_to_event(event).map_err(|error| usage(format!("--stop-at {event}: {error}")))?;
    if why == Why::End {
        say::line(&format!("--stop-at {event}: the guest has ended before that"));
        return Ok(true);
    }
    *port = door.open()?;
    let mut gdb = None;
    if let Some(port) = port {
        let place = place::shown(ddb.debugger.now());
        say::line(&format!("the guest stands at {place} and waits for gdb at {}", port.address()));
        while gdb.is_none() && !debuggee.interrupt.is_raised() {
            gdb = port.wait(Duration::from_millis(50))?;
        }
        host::take_asked();
    }
    if gdb.is_none() && !door.has_terminal {
        // A signal, which the guest's end of the world will tell of.
        return Ok(true);
    }
    visit(&mut ddb, gdb, &why)
}

/// A session on a live guest.
fn session<'t>(target: &'t mut LiveTarget<'_>, debuggee: &'t Debuggee<'_>) -> Ddb<'t> {
    let inspector = debuggee.symbols.guest_inspector(debuggee.power_on.boot.protocol, false);
    let interrupt = debuggee.interrupt.clone();
    let target = Diverting::new(Box::new(target), debuggee.images, debuggee.engine, interrupt.clone());
    let mut debugger = Debugger::new(Box::new(target), inspector, None, interrupt);
    debugger.keeper = Some(keeper(debuggee.power_on, debuggee.images));
    debugger.target.on_progress(progress());
    let mut ddb = Ddb::new(debugger);
    ddb.gdb_gate = Some(Box::new(|ddb, address| {
        let interrupt = ddb.debugger.interrupt.clone();
        serve(awaited(address, &interrupt)?, ddb).map_err(|error| format!("{error:#}"))
    }));
    ddb
}

/// A gdb that the prompt has been told to wait for.
fn awaited(address: &str, interrupt: &Interrupt) -> Result<Connection, String> {
    let gdb = wait_for_one(address, || interrupt.is_raised()).map_err(|error| format!("{error:#}"))?;
    gdb.ok_or_else(|| "Interrupted: no gdb has come.".to_owned())
}

/// Lets in who has come: gdb, or whoever is at the terminal. Whether the guest is to go on afterwards.
fn visit(ddb: &mut Ddb<'_>, gdb: Option<Connection>, why: &Why) -> Result<bool> {
    match gdb {
        Some(gdb) => match serve(gdb, ddb) {
            Ok(ended) => Ok(ended != Ended::Killed),
            // A client that breaks off does not end the guest.
            Err(error) => {
                say::line(&error.to_string());
                Ok(true)
            }
        },
        None => Ok(prompt(ddb, face()?.as_mut(), why, &[]) != Left::Quit),
    }
}

/// Serves a gdb, whose ^C asks for the debugger.
fn serve(gdb: Connection, ddb: &mut Ddb<'_>) -> Result<Ended> {
    let is_there = Arc::new(Mutex::new(true));
    let is_it_there = Arc::clone(&is_there);
    let served = gdb.serve(
        ddb,
        Box::new(move || {
            if *is_it_there.lock().expect("nobody panics with it") {
                host::ask_for_debugger();
            }
        }),
    );
    // What it asked for last, with the end of the connection, is for nobody.
    *is_there.lock().expect("nobody panics with it") = false;
    host::take_asked();
    served
}

/// Opens the recording of a boot that has failed.
///
/// # Errors
/// As [`run`].
pub fn open_at_failure(trace: &Path, images: ImageSet, config: &BootConfig) -> Result<()> {
    let reader = TraceReader::open(trace)?;
    let replay = ReplayConfig::new(reader, images, config.engine, config.symbols.clone())?;
    run(&DdbConfig { replay, at: None, commands: Vec::new() })?;
    Ok(())
}

/// Where the guest of a recording failed, and how.
fn failure_of(reader: &TraceReader) -> Option<(Mark, FailureKind)> {
    match reader.ending().map(|end| &end.ending) {
        Some(Ending::Failure { place, kind, .. }) => Some((*place, *kind)),
        _ => None,
    }
}

/// A line editor if there is a terminal, else plain lines from stdin.
fn face() -> Result<Box<dyn Face>> {
    if !io::stdin().is_terminal() {
        return Ok(Box::new(PlainLines::new(io::stdin().lock(), io::stdout())));
    }
    let open = || OpenOptions::new().read(true).write(true).open("/dev/tty").context("/dev/tty");
    let (terminal, keyboard) = (open()?, open()?);
    let keys = Box::new(move || host::read_key(&keyboard));
    Ok(Box::new(LineEditor::new(terminal, history_file(), keys).context("the terminal")?))
}

/// Where the lines of earlier sessions are kept.
fn history_file() -> Option<PathBuf> {
    let store = crate::config::store().ok()?;
    std::fs::create_dir_all(store.root()).ok()?;
    Some(store.root().join("ddb_history"))
}

/// Says how far long work has come, on a terminal, from its second second on.
fn progress() -> Tell {
    if !io::stderr().is_terminal() {
        return Rc::new(RefCell::new(|_| {}));
    }
    let mut last: Option<(Mark, Instant)> = None;
    let mut shown = Instant::now();
    Rc::new(RefCell::new(move |report: ProgressReport| {
        let began = match last {
            Some((from, began)) if from == report.from => began,
            _ => Instant::now(),
        };
        last = Some((report.from, began));
        let (from, to) = (report.from.icount.0, report.to.icount.0);
        let (done, all) = (report.at.icount.0.abs_diff(from), to.abs_diff(from));
        if began.elapsed() > Duration::from_secs(1) && shown.elapsed() > Duration::from_millis(200) && all > 0
        {
            shown = Instant::now();
            say::progress(&format!("{} {:3}%", place::shown(report.at), done.saturating_mul(100) / all));
        }
    }))
}

/// A face beside a host that listens to signals: one that ends the process ends the prompt.
struct HostFace<'h> {
    face: Box<dyn Face>,
    host: &'h mut Host,
}

impl Face for HostFace<'_> {
    fn read(&mut self, prompt: &str, words: &Words<'_>) -> Answer {
        for arrival in self.host.arrivals(Duration::ZERO) {
            // ^C has interrupted what took long, and that is all it is for.
            if let Arrival::Stop { signal, .. } = arrival
                && i32::from(signal) != nix::libc::SIGINT
            {
                return Answer::Eof;
            }
        }
        self.face.read(prompt, words)
    }

    fn print(&mut self, text: &str) {
        self.face.print(text);
    }

    fn key(&mut self) -> Option<char> {
        self.face.key()
    }

    fn has_keys(&self) -> bool {
        self.face.has_keys()
    }

    fn confirm(&mut self, question: &str) -> bool {
        self.face.confirm(question)
    }
}

/// The lines of a file of commands.
///
/// # Errors
/// It cannot be read.
pub fn commands_of(file: &Path) -> io::Result<Vec<String>> {
    let lines = io::BufRead::lines(BufReader::new(std::fs::File::open(file)?));
    let lines: io::Result<Vec<String>> = lines.collect();
    Ok(lines?.into_iter().filter(|line| !line.trim_start().starts_with('#')).collect())
}
