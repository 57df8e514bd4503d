//! `vkernel demo`, and the kernel `demo:`: a kernel with a real race, tried under one schedule after the other
//! until one kills it, then replayed, verified and explained.

use crate::boot::{engine, judge, meta};
use crate::config::DemoConfig;
use crate::exit::ExitStatus;
use crate::report::{self, Failed, SymbolSource};
use crate::say;
use anyhow::Result;
use boundary::{Boot, BootProtocol, Image, PowerOn, Role, World};
use host::{Host, HostOptions};
use machine::{Interrupt, Machine};
use recorder::{Ending, ImageSet, TraceReader, TraceWriter, image_id};
use replay::{Clock, FailOn, Limit, Live, LiveOptions, Outcome, Player, Watch};

/// The demonstration kernel, with symbols (tests/guests/demo).
const KERNEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo.elf"));
const RAM_BYTES: u64 = 128 << 20;
/// Guest time after which a try counts as stuck; a good one takes 50 milliseconds.
const LIMIT: Limit = Limit::Time(boundary::VirtualTime(10_000_000_000));

/// Demonstrates.
///
/// # Errors
/// When the host refuses to record.
pub fn run(config: DemoConfig) -> Result<ExitStatus> {
    let mut images = ImageSet::default();
    images.insert(KERNEL.to_vec());
    say::line(&format!(
        "the demonstration kernel has a race; trying schedules on {} CPUs until one kills it",
        config.topology.vcpus
    ));
    for seed in config.first_seed..config.first_seed.saturating_add(config.tries) {
        let power_on = power_on(&config, seed);
        let (name, writer) = config.store.record("demo", &power_on, &meta(), &images)?;
        let mut console = Vec::new();
        let path = writer.path().to_path_buf();
        let outcome = try_seed(&config, &power_on, &images, writer, &mut console)?;
        match &outcome.ending {
            Ending::Failure { title, .. } => {
                say::line(&format!("seed {seed}: {title}"));
                return explain(&config, &name, &path, &images, &outcome, &console);
            }
            Ending::Signal(signal) => {
                config.store.remove(&name)?;
                return Ok(ExitStatus::Signal(*signal));
            }
            ending => {
                say::line(&format!("seed {seed}: {ending}"));
                config.store.remove(&name)?;
            }
        }
    }
    say::line(&format!("{} schedules and no failure: give --tries a larger number", config.tries));
    Ok(ExitStatus::GuestFailed)
}

fn power_on(config: &DemoConfig, seed: u64) -> PowerOn {
    let image = Image {
        role: Role::Kernel,
        id: image_id(KERNEL),
        length_bytes: KERNEL.len() as u64,
        name: "demo:".to_owned(),
        command_line: String::new(),
    };
    let boot = Boot { protocol: BootProtocol::Multiboot1, command_line: String::new(), images: vec![image] };
    machine::power_on(config.topology, RAM_BYTES, seed, crate::boot::VIRTUAL_RTC_START_S, boot)
}

/// One recorded run under one schedule, its console kept rather than printed.
fn try_seed(
    config: &DemoConfig,
    power_on: &PowerOn,
    images: &ImageSet,
    writer: TraceWriter,
    console: &mut Vec<u8>,
) -> Result<Outcome> {
    let interrupt = Interrupt::default();
    let options = HostOptions { inputs: false, interrupt: Some(interrupt.flag()), ..HostOptions::default() };
    let mut world = Quiet { host: Host::open(options)?, console };
    let machine = Machine::new(power_on, images, engine(config.engine))?;
    let live_options = LiveOptions {
        clock: Clock::Virtual,
        limit: Some(LIMIT),
        reboot: false,
        end_on_failure: true,
        watch: Watch::new(FailOn::Oops, None, None),
        interrupt,
    };
    let live = Live::new(machine, &mut world, images, Some(writer), live_options, Box::new(|_| {}));
    Ok(live.run(|ending| judge(ending, None).code()))
}

/// Shows the failure: replays the recording, verifies it, and says what to type next.
fn explain(
    config: &DemoConfig,
    name: &str,
    path: &std::path::Path,
    images: &ImageSet,
    outcome: &Outcome,
    console: &[u8],
) -> Result<ExitStatus> {
    say::block(&format!("its console:\n{}", String::from_utf8_lossy(console).trim_end()));
    let reader = TraceReader::open(path)?;
    let mut player = Player::new(&reader, images, engine(config.engine), Interrupt::default())?;
    player.full = true;
    player.play_to_end(&mut |_, _| {})?;
    say::line(&format!(
        "replayed {} instructions from {} bytes of trace: every landmark and digest agrees",
        outcome.mark.icount.0,
        reader.length_bytes()?
    ));
    let symbols = SymbolSource::open(&[], KERNEL)?;
    let inspected = symbols.inspector(BootProtocol::Multiboot1, false);
    say::raw(&report::closing_paragraph(&Failed::live(outcome, Some(name)), &inspected));
    say::block(&format!(
        "what to type next:\n  \
         vkernel replay {name}          the same run again, as often as you like\n  \
         vkernel trace verify {name}    and prove it\n  \
         vkernel trace events {name}    every interrupt of it, with its place\n  \
         vkernel boot -n 4 --seed N demo:        the same kernel under a schedule of yours\n  \
         vkernel --initrd DIR bzImage            your own kernel; every boot is recorded"
    ));
    Ok(ExitStatus::Good)
}

/// The host, with the console kept.
struct Quiet<'a> {
    host: Host,
    console: &'a mut Vec<u8>,
}

impl World for Quiet<'_> {
    fn arrivals(&mut self, wait: std::time::Duration) -> Vec<boundary::Arrival> {
        self.host.arrivals(wait)
    }

    fn emit(&mut self, output: &boundary::Output) {
        if let boundary::Output::Console(bytes) = output {
            self.console.extend_from_slice(bytes);
        }
    }

    fn notice(&mut self, message: &str) {
        self.host.notice(message);
    }

    fn is_live(&self) -> bool {
        false
    }

    fn monotonic_ns(&self) -> u64 {
        self.host.monotonic_ns()
    }

    fn wall_clock_ns(&self) -> u64 {
        self.host.wall_clock_ns()
    }
}

/// The demonstration kernel.
pub fn kernel_bytes() -> Vec<u8> {
    KERNEL.to_vec()
}
