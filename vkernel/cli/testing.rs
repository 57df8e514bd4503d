//! A small recording for the tests of what is done with recordings.

use boundary::{
    Boot, BootProtocol, Icount, Image, Input, Landmark, LandmarkKind, Mark, PowerOn, Role, Rules, Topology,
    VirtualTime,
};
use recorder::{
    ConsoleState, End, Ending, Event, FailureKind, ImageSet, Meta, Store, StoreRoot, TraceReader, TraceWriter,
};
use std::path::Path;

/// A store in this directory.
pub fn store_in(directory: &Path) -> Store {
    Store::at(StoreRoot::choose(Some(directory.as_os_str()), None, None).expect("a directory is given"))
}

/// Records a run of 2.5 guest seconds and 1000 instructions that panics, with two landmarks and a typed character.
pub fn record(store: &Store) -> (String, TraceReader) {
    let mut images = ImageSet::default();
    let id = images.insert(b"kernel".to_vec());
    let image = Image {
        role: Role::Kernel,
        id,
        length_bytes: 6,
        name: "k\u{1b}ernel".into(),
        command_line: String::new(),
    };
    let power_on = PowerOn {
        model: 1,
        seed: 7,
        rtc_start_s: 1_795_230_855,
        ram_bytes: 64 << 20,
        topology: Topology { vcpus: 2, thread_bits: 0, core_bits: 1 },
        cpuid: Vec::new(),
        rules: Rules {
            quantum_counts: 100_000,
            pauses_per_quantum: 16,
            pause_ns: 40,
            port_ns: 1000,
            mmio_ns: 1000,
            hlt_ns: 1000,
            perturb: true,
        },
        acpi_hash: 0,
        boot: Boot { protocol: BootProtocol::Pvh, command_line: "root=x".into(), images: vec![image] },
    };
    let command_line = vec!["vkernel".into(), "my kernel".into()];
    let meta =
        Meta { vkernel_version: "0.1.0".into(), started_s: 1_795_230_855, command_line, executable: None };
    let (name, writer) = store.record("kernel", &power_on, &meta, &images).expect("a fresh store records");
    let path = writer.path().to_owned();
    write_run(writer);
    (name, TraceReader::open(&path).expect("what was written can be read"))
}

fn write_run(mut writer: TraceWriter) {
    let landmark =
        |kind| Event::Landmark(Landmark { kind, vcpu: 0, vector: 0xec, registers_hash: 1, reads_hash: 2 });
    let events = [
        (100, landmark(LandmarkKind::Timer)),
        (200, Event::Input(Input::Console(b"x\n".to_vec()))),
        (300, landmark(LandmarkKind::Ipi)),
    ];
    for (icount, event) in events {
        writer.event(Mark::before(Icount(icount)), &event).expect("events are in order");
    }
    let place = Mark::before(Icount(900));
    let end = End {
        mark: Mark::before(Icount(1000)),
        virtual_time: VirtualTime(2_500_000_000),
        digest: None,
        console: ConsoleState::default(),
        exit_status: 1,
        ending: Ending::Failure { kind: FailureKind::Panic, title: "no init".into(), place },
    };
    writer.finish(&end).expect("there is room for an ending");
}
