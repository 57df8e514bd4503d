//! The demonstration kernel, built and run for tests, and debugged where it stands; and small programs that are only
//! compiled.

use crate::ddb::Ddb;
use crate::debugger::Debugger;
use crate::debugger::target::{Past, Target, TargetError, Tell};
use crate::inspector::GuestInspector;
use crate::memory::GuestMemory;
use crate::symbols::Symbols;
use boundary::{
    Boot, BootProtocol, Digest, Icount, Image, ImageId, Mark, Media, Note, Operator, Role, Topology,
};
use machine::{EngineKind, Exit, Interrupt, Machine, PeekError, StopSet};
use object::{Object, ObjectSegment};
use replay::{Arrival, Query};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};

/// `demo.elf`.
pub static DEMO: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/build.sh");
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new("sh").arg(script).arg(directory.path()).arg("demo").output().expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Arc::new(std::fs::read(directory.path().join("demo.elf")).expect("made"))
});

struct OneImage;

impl Media for OneImage {
    fn image(&self, _: ImageId) -> Option<Arc<Vec<u8>>> {
        Some(Arc::clone(&DEMO))
    }
}

/// The demonstration kernel with two vCPUs, run until it is about to execute the instruction at `stop`, or is
/// over.
pub fn demo_until(command_line: &str, stop: Option<u64>) -> (Machine, Exit) {
    let kernel = Image {
        role: Role::Kernel,
        id: ImageId([0; 32]),
        length_bytes: DEMO.len() as u64,
        name: "demo".to_owned(),
        command_line: String::new(),
    };
    let boot = Boot {
        protocol: BootProtocol::Multiboot1,
        command_line: command_line.to_owned(),
        images: vec![kernel],
    };
    let topology = Topology { vcpus: 2, thread_bits: 0, core_bits: 0 };
    let power_on = machine::power_on(topology, 64 << 20, 0, 0, boot);
    let mut machine = Machine::new(&power_on, &OneImage, EngineKind::Interp).expect("it boots");
    let stops = StopSet { execute: stop.into_iter().collect(), ..StopSet::default() };
    let until = Mark::before(Icount(100_000_000));
    loop {
        match machine.run(until, &stops, &Interrupt::default()) {
            Exit::Idle { next_deadline: Some(deadline) } => machine.advance_idle(deadline),
            Exit::Output => drop(machine.take_events()),
            exit => return (machine, exit),
        }
    }
}

/// A machine that stands still: at the end of everything, and without a past.
struct Standing(Machine);

impl Target for Standing {
    fn machine(&self) -> &Machine {
        &self.0
    }

    fn end(&self) -> Mark {
        self.0.mark()
    }

    fn is_live(&self) -> bool {
        false
    }

    fn is_in_the_past(&self) -> bool {
        false
    }

    fn run(&mut self, _: Option<Mark>, _: Query<'_>) -> Result<Arrival, TargetError> {
        Ok(Arrival::End)
    }

    fn step(&mut self, vcpu: u8, _: u64) -> Result<Arrival, TargetError> {
        assert!(usize::from(vcpu) < self.0.cpus().len(), "vCPU {vcpu}");
        Ok(Arrival::End)
    }

    fn past(&mut self) -> Result<&mut dyn Past, TargetError> {
        Err(TargetError::NoPast)
    }

    fn console(&mut self) -> Result<Vec<u8>, TargetError> {
        Err(TargetError::NoPast)
    }

    fn write(&mut self, _: Operator) -> Result<(), TargetError> {
        Err(TargetError::Protected)
    }

    fn digest(&mut self) -> Digest {
        self.0.digest()
    }

    fn note(&mut self, _: Note) {}

    fn on_progress(&mut self, _: Tell) {}
}

/// The prompt of the demonstration kernel with two vCPUs, in its panic.
pub fn ddb_in_panic() -> Ddb<'static> {
    let symbols = || Symbols::parse(&DEMO).ok();
    let stop = symbols().and_then(|symbols| symbols.address_of("panic"));
    let (machine, _) = demo_until("panic", stop);
    let inspector = GuestInspector::new(symbols, false, false);
    Ddb::new(Debugger::new(Box::new(Standing(machine)), inspector, None, Interrupt::default()))
}

/// Compiles and links a freestanding C program at 1000000H.
pub fn compile(source: &str, arguments: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("guest.c"), source).expect("written");
    let output = Command::new("gcc")
        .current_dir(directory.path())
        .args(["-ffreestanding", "-nostdlib", "-static", "-fno-pie", "-no-pie"])
        .args(["-fno-asynchronous-unwind-tables", "-Wl,-Ttext=0x1000000,--build-id=none"])
        .args(arguments)
        .args(["guest.c", "-o", "guest"])
        .output()
        .expect("gcc is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(path("guest")).expect("made")
}

/// Memory in pieces: the segments of a program, and what a test puts beside them.
#[derive(Default)]
pub struct Pieces {
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Pieces {
    /// The memory of a program that was just loaded.
    pub fn of_elf(bytes: &[u8]) -> Pieces {
        let file = object::File::parse(bytes).expect("an ELF file");
        let segments = file.segments().map(|segment| {
            let mut content = segment.data().expect("contents").to_vec();
            content.resize(segment.size() as usize, 0);
            (segment.address(), content)
        });
        Pieces { pieces: segments.collect() }
    }

    /// Adds memory at an address.
    pub fn put(&mut self, vaddr: u64, bytes: &[u8]) {
        self.pieces.push((vaddr, bytes.to_vec()));
    }
}

impl GuestMemory for Pieces {
    fn read(&self, vaddr: u64, into: &mut [u8]) -> Result<(), PeekError> {
        let found = self.pieces.iter().find_map(|(start, bytes)| {
            let at = usize::try_from(vaddr.checked_sub(*start)?).ok()?;
            bytes.get(at..at.checked_add(into.len())?)
        });
        let bytes = found.ok_or(PeekError::NotPresent { vaddr, level: 1, entry: 0 })?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}
