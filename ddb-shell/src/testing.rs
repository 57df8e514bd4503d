//! The demonstration kernel, built and run for tests; and small programs that are only compiled.

use crate::memory::GuestMemory;
use boundary::{Boot, BootProtocol, Icount, Image, ImageId, Mark, Media, Role, Topology};
use machine::{EngineKind, Exit, Interrupt, Machine, PeekError, StopSet};
use object::{Object, ObjectSegment};
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
