//! `vkernel boot`: a live run, recorded unless told otherwise, with its verdict at the end.

use crate::args::boot::{Clock, Engine, FailOn, Keep, OnFail};
use crate::args::values::Limit;
use crate::config::{BootConfig, Judgement, Recording, refuse_path};
use crate::ddb::{self, Debuggee, Door};
use crate::exit::{ExitStatus, cannot_judge, usage};
use crate::gdb_port::GdbPort;
use crate::report::{self, Failed, Inspected};
use crate::result::{ResultFile, RunResult};
use crate::say;
use crate::symbols::SymbolSource;
use crate::text::bytes;
use anyhow::{Context, Result};
use boundary::{Boot, Image, PowerOn, VirtualTime, World};
use ddb_shell::debugger::live::LiveTarget;
use host::{Host, HostOptions};
use machine::boot::BootError;
use machine::{EngineKind, Interrupt, Machine};
use recorder::{
    DEFAULT_LIMIT_BYTES, Ending, Executable, ImageSet, Meta, Store, StoreError, TraceReader, TraceWriter,
    image_id,
};
use replay::{Live, LiveOptions, Outcome, Watch};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// 2026-01-01: what the real-time clock of a run under the virtual clock starts from.
pub const VIRTUAL_RTC_START_S: u64 = 1_767_225_600;
/// Counts between two comparisons in lockstep.
pub const LOCKSTEP_COUNTS: u64 = 1000;

const CTRL_D: u8 = 4;
/// The running executable, even if its file has been replaced since.
pub const SELF: &str = "/proc/self/exe";

/// A recording that is being made, or was.
pub struct Recorded {
    /// What a TRACE argument calls it.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// With the executable that is to be kept if the recording is.
    store: Option<(Store, Option<Executable>)>,
    keep: Keep,
}

/// Where a run ends, in guest time, that nobody watches and that has no `--limit`.
const UNWATCHED_LIMIT: Limit = Limit::Time(VirtualTime(600_000_000_000));

/// Boots, and notes in `result` what came of it.
///
/// # Errors
/// When the host refuses something; never for what the guest does.
pub fn run(config: BootConfig, result: &mut ResultFile) -> Result<ExitStatus> {
    let symbols = SymbolSource::open(&config.symbols, &config.images[0].bytes)?;
    let interrupt = Interrupt::default();
    // To a terminal driver the first ^D may only end an unfinished line; on an empty line it ends the input.
    let at_end_of_input = if config.has_built_in_init { vec![CTRL_D; 2] } else { Vec::new() };
    let options = HostOptions {
        at_end_of_input,
        interrupt: Some(interrupt.flag()),
        quit_character: config.escape,
        ..HostOptions::default()
    };
    let mut host = Host::open(options)?;
    let door = door(&config, &host)?;
    let clock = config.clock.unwrap_or(if host.is_live() { Clock::Host } else { Clock::Virtual });
    let images = image_set(&config);
    let power_on = power_on(&config, clock, &host);
    let mut machine = Machine::new(&power_on, &images, engine(config.engine)).map_err(refuse_boot)?;
    if config.prefault {
        machine.prefault();
    }
    let (writer, recorded) = begin_recording(&config, &power_on, &images, &mut host)?;
    if let Some(recorded) = &recorded {
        result.result.recorded(&recorded.name, &recorded.path);
        result.write()?;
    }
    let live_options = live_options(&config, clock, door.has_terminal, interrupt.clone());
    let inspected = symbols.inspector(config.protocol, config.judgement.fail_on == FailOn::Warn);
    let on_report = Box::new(|machine: &Machine| say::raw(&inspected.registers(machine)));
    let ok_exit = config.judgement.ok_exit;
    let live = Live::new(machine, Box::new(&mut host), &images, writer, live_options, on_report);
    let live = live.inspected_by(Box::new(&inspected));
    let outcome = ddb::run_live(
        LiveTarget::new(live, &images, engine(config.engine), interrupt.clone(), config.is_writable),
        &Debuggee {
            symbols: &symbols,
            power_on: &power_on,
            images: &images,
            engine: engine(config.engine),
            interrupt,
        },
        &door,
        |ending| judge(ending, ok_exit).code(),
    )?;
    drop(host);
    let status = judge(&outcome.ending, ok_exit);
    say_verdict(&outcome, status, recorded.as_ref(), &inspected);
    note(&mut result.result, &outcome, status, &inspected);
    say_what_follows(&config, &outcome.ending, status, clock);
    if let Some(trouble) = &outcome.trace_trouble {
        say::line(&format!("the recording is incomplete, what is in it replays: {trouble}"));
        // A guest that failed has failed all the same.
        return Ok(if status == ExitStatus::Good { ExitStatus::HostTrouble } else { status });
    }
    if let Some(recorded) = recorded {
        let path = recorded.path.clone();
        keep_or_remove(&config, recorded, &images, status, result)?;
        if status != ExitStatus::Good && config.judgement.on_fail == OnFail::Ddb {
            ddb::open_at_failure(&path, images, &config)?;
        }
    }
    Ok(status)
}

/// How the guest is to run.
fn live_options(config: &BootConfig, clock: Clock, has_terminal: bool, interrupt: Interrupt) -> LiveOptions {
    let limit = config.judgement.limit.or((!has_terminal).then_some(UNWATCHED_LIMIT));
    LiveOptions {
        clock: match clock {
            Clock::Virtual => replay::Clock::Virtual,
            Clock::Host => replay::Clock::Host,
        },
        limit: limit.and_then(|limit| match limit {
            Limit::Time(time) => Some(replay::Limit::Time(time)),
            Limit::Instructions(icount) => Some(replay::Limit::Icount(icount)),
            Limit::Never => None,
        }),
        reboot: !config.no_reboot,
        end_on_failure: config.judgement.on_fail != OnFail::Go,
        watch: watch(&config.judgement),
        has_debugger: has_terminal || config.gdb.is_some(),
        interrupt,
    }
}

/// How a debugger comes in.
fn door<'c>(config: &'c BootConfig, host: &Host) -> Result<Door<'c>> {
    let has_terminal = host.has_terminal();
    let gdb = config.gdb.as_deref();
    let stop_at = config.stop_at.as_deref();
    if let (Some(address), Some(_)) = (gdb, stop_at) {
        GdbPort::check("--gdb", address)?;
    }
    if stop_at.is_some() && gdb.is_none() && !has_terminal {
        return Err(usage("--stop-at needs a terminal for the prompt, or --gdb"));
    }
    Ok(Door { gdb, stop_at, has_terminal })
}

/// What the user may not know: a limit that was not asked for, and what a good run under the virtual clock is worth.
fn say_what_follows(config: &BootConfig, ending: &Ending, status: ExitStatus, clock: Clock) {
    if *ending == Ending::Limit && config.judgement.limit.is_none() {
        say::line(
            "that is the limit where stdin is no terminal, 10m of guest time; --limit sets another, or none",
        );
    }
    if status == ExitStatus::Good && clock == Clock::Virtual && !config.is_explored {
        say::line(&format!(
            "the same command is the same run, to the last bit; rare failures are found by: vkernel explore -- {}",
            crate::explore::arguments_to_show()
        ));
    }
}

/// What stands between a kernel and its boot. Only the host's lack of memory is no matter of the images.
fn refuse_boot(error: BootError) -> anyhow::Error {
    match error {
        BootError::NoHostMemory { .. } => error.into(),
        other => cannot_judge(other.to_string()),
    }
}

/// Puts the outcome into the result.
fn note(result: &mut RunResult, outcome: &Outcome, status: ExitStatus, inspected: &Inspected<'_>) {
    result.ended(&outcome.ending);
    result.end = Some(outcome.mark.to_string());
    result.instructions = outcome.mark.icount.0;
    result.guest_time_ns = outcome.virtual_time.0;
    result.digest = Some(outcome.digest.to_string());
    result.console_bytes = outcome.console.length_bytes;
    if status == ExitStatus::Good {
        return;
    }
    let place = match outcome.ending {
        Ending::Failure { place, .. } => place,
        _ => outcome.mark,
    };
    let scene = report::scene(&Failed::live(outcome, None), inspected);
    result.place = Some(place.to_string());
    result.cpu = Some(scene.vcpu);
    result.task = scene.task.as_ref().map(ToString::to_string).or_else(|| outcome.task.clone());
    result.symbol = scene.frames.first().and_then(|frame| frame.function.as_ref()).map(ToString::to_string);
    result.backtrace = scene
        .frames
        .iter()
        .flat_map(|frame| frame.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
}

/// How a choice on the command line is called in the machine.
pub fn engine(engine: Engine) -> EngineKind {
    match engine {
        Engine::Interp => EngineKind::Interp,
        Engine::Reference => EngineKind::Reference,
        Engine::Lockstep => EngineKind::Lockstep { slice_counts: LOCKSTEP_COUNTS },
    }
}

fn image_set(config: &BootConfig) -> ImageSet {
    let mut images = ImageSet::default();
    for file in &config.images {
        images.insert(file.bytes.clone());
    }
    images
}

/// The description of the machine.
fn power_on(config: &BootConfig, clock: Clock, host: &Host) -> PowerOn {
    let image = |file: &crate::config::LoadedFile| Image {
        role: file.role,
        id: image_id(&file.bytes),
        length_bytes: file.bytes.len() as u64,
        name: file.name.clone(),
        command_line: file.command_line.clone(),
    };
    let boot = Boot {
        protocol: config.protocol,
        command_line: config.command_line.clone(),
        images: config.images.iter().map(image).collect(),
    };
    let rtc_start_s = match clock {
        Clock::Virtual => VIRTUAL_RTC_START_S,
        Clock::Host => host.wall_clock_ns() / 1_000_000_000,
    };
    machine::power_on(config.topology, config.ram_bytes, config.seed, rtc_start_s, boot)
}

fn watch(judgement: &Judgement) -> Watch {
    let fail_on = match judgement.fail_on {
        FailOn::Panic => replay::FailOn::Panic,
        FailOn::Oops => replay::FailOn::Oops,
        FailOn::Warn => replay::FailOn::Warn,
    };
    let fail: Vec<_> = judgement.fail.iter().map(|pattern| pattern.regex.clone()).collect();
    let fail: Option<replay::Pattern> = if fail.is_empty() {
        None
    } else {
        Some(Box::new(move |line| fail.iter().any(|regex| regex.is_match(line))))
    };
    let expect = judgement.expect.as_ref().map(|pattern| pattern.regex.clone());
    let expect = expect.map(|regex| -> replay::Pattern { Box::new(move |line| regex.is_match(line)) });
    Watch::new(fail_on, fail, expect)
}

/// What this recording is, for people.
pub fn meta() -> Meta {
    let started_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Meta {
        vkernel_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_s,
        command_line: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        executable: None,
    }
}

/// What this recording is, with the executable that makes it, which the store is to keep.
fn meta_in(store: &Store, host: &mut Host) -> (Meta, Option<Executable>) {
    match store.executable(Path::new(SELF)) {
        Ok(executable) => (Meta { executable: Some(executable.id), ..meta() }, Some(executable)),
        Err(trouble) => {
            host.notice(&format!("this vkernel is not kept for replaying with later ones: {trouble}"));
            (meta(), None)
        }
    }
}

fn begin_recording(
    config: &BootConfig,
    power_on: &PowerOn,
    images: &ImageSet,
    host: &mut Host,
) -> Result<(Option<TraceWriter>, Option<Recorded>)> {
    // The demonstration kernel is no file, and its colon is not for a name.
    let kernel_name = config.images[0].name.trim_end_matches(':');
    let advice = "--no-record runs without a recording; VKERNEL_DIR names another place for it";
    let (name, writer, store, keep) = match &config.recording {
        Recording::Off => return Ok((None, None)),
        Recording::InStore { store, keep } => {
            let (meta, executable) = meta_in(store, host);
            let (name, writer) = store
                .record(kernel_name, power_on, &meta, images)
                .with_context(|| format!("cannot record ({advice})"))?;
            // With another --keep it is copied only once the recording is to stay.
            let (now, later) = if *keep == Keep::All { (executable, None) } else { (None, executable) };
            keep_executable(store, now.as_ref(), host);
            (name, writer, Some((store.clone(), later)), *keep)
        }
        Recording::InFile { path, store: Some(store), keep } => {
            let (meta, executable) = meta_in(store, host);
            let (writer, trouble) = store
                .record_at(path, kernel_name, power_on, &meta, images)
                .map_err(|error| refuse_path("--trace", error))?;
            keep_executable(store, executable.as_ref(), host);
            if let Some(trouble) = trouble {
                host.notice(&format!("the images are not kept, replaying needs --image: {trouble}"));
            }
            (path.display().to_string(), writer, None, *keep)
        }
        Recording::InFile { path, store: None, keep } => {
            let writer = TraceWriter::replace(path, power_on, &meta())?;
            host.notice("there is no store to keep the images in: replaying this trace needs --image");
            (path.display().to_string(), writer, None, *keep)
        }
    };
    let path = writer.path().to_path_buf();
    Ok((Some(writer), Some(Recorded { name, path, store, keep })))
}

fn keep_executable(store: &Store, executable: Option<&Executable>, host: &mut Host) {
    if let Some(Err(trouble)) = executable.map(|executable| store.keep_executable(executable)) {
        host.notice(&format!("this vkernel is not kept for replaying with later ones: {trouble}"));
    }
}

/// The exit status that an ending means.
pub fn judge(ending: &Ending, ok_exit: Option<u32>) -> ExitStatus {
    match ending {
        Ending::PowerOff | Ending::Reset => ExitStatus::Good,
        Ending::DebugExit(value) => ExitStatus::of_debug_exit(*value, ok_exit),
        Ending::Failure { .. } | Ending::Limit | Ending::Hang => ExitStatus::GuestFailed,
        Ending::Quit => ExitStatus::Good,
        Ending::Signal(signal) => ExitStatus::Signal(*signal),
        Ending::HostTrouble { .. } => ExitStatus::HostTrouble,
    }
}

/// Says on stderr what came of it: one line for a good run, the closing paragraph for a failed one.
fn say_verdict(
    outcome: &Outcome,
    status: ExitStatus,
    recorded: Option<&Recorded>,
    inspected: &Inspected<'_>,
) {
    let name = recorded.map(|recorded| recorded.name.as_str());
    if status == ExitStatus::Good {
        let kept = name.map_or_else(String::new, |name| format!("; recorded as {name}"));
        say::line(&format!("{} at {} ({}){kept}", outcome.ending, outcome.mark, outcome.virtual_time));
    } else {
        say::raw(&report::closing_paragraph(&Failed::live(outcome, name), inspected));
    }
}

/// `--keep` and `--pack`, and the store's limit.
fn keep_or_remove(
    config: &BootConfig,
    recorded: Recorded,
    images: &ImageSet,
    status: ExitStatus,
    result: &mut ResultFile,
) -> Result<()> {
    let Recorded { name, path, store, keep } = recorded;
    let is_kept = match keep {
        Keep::All => true,
        Keep::Failed => status != ExitStatus::Good,
        Keep::None => false,
    };
    if let (true, Some(pack)) = (is_kept, &config.pack) {
        recorder::pack(&TraceReader::open(&path)?, images, &[], pack)
            .map_err(|error| refuse_path("--pack", error))?;
        result.result.packed(pack);
    }
    let tidied = match (is_kept, store) {
        (true, Some((store, executable))) => keep_in(config, &store, executable.as_ref()),
        (true, None) => Ok(()),
        (false, store) => remove(config, &name, &path, store.map(|(store, _)| store), result),
    };
    if let Err(error) = tidied {
        // No fault of the guest, and nothing is lost.
        say::line(&format!("the store cannot be tidied up: {error:#}"));
    }
    Ok(())
}

/// What the store does for a recording that is kept.
fn keep_in(config: &BootConfig, store: &Store, executable: Option<&Executable>) -> Result<()> {
    executable.map(|executable| store.keep_executable(executable)).transpose()?;
    if config.is_explored { Ok(()) } else { say_swept(store) }
}

/// Removes a recording that is not kept.
fn remove(
    config: &BootConfig,
    name: &str,
    path: &Path,
    store: Option<Store>,
    result: &mut ResultFile,
) -> Result<()> {
    let Some(store) = store else {
        result.result.not_kept();
        return std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()));
    };
    match store.remove(name) {
        // Somebody wants to keep it.
        Err(StoreError::Pinned { .. }) => return Ok(()),
        removed => removed?,
    };
    result.result.not_kept();
    if !config.is_explored {
        store.sweep_images(meta().started_s)?;
    }
    Ok(())
}

/// Brings the store down to its limit, and says if that cannot be done.
pub fn say_swept(store: &Store) -> Result<()> {
    let swept = store.retain(DEFAULT_LIMIT_BYTES, meta().started_s)?;
    if swept.over_bytes > 0 {
        say::line(&format!(
            "the recordings take {} more than the {} they may; failed and pinned ones are never removed unasked: \
             see vkernel ls and vkernel rm",
            bytes(swept.over_bytes),
            bytes(DEFAULT_LIMIT_BYTES)
        ));
    }
    Ok(())
}
