//! The demonstration kernel, built and run for tests.

use boundary::{Boot, BootProtocol, Icount, Image, ImageId, Mark, Media, Role, Topology};
use machine::{EngineKind, Exit, Interrupt, Machine, StopSet};
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
