//! Traces with right checks around contents that no recorder writes: refused with words, before a machine meets them.

use crate::support::program::Sandbox;
use crate::support::recording::{Demo, begin, write};
use boundary::{DiskStatus, Icount, Input, Mark, Operator, PowerOn, VirtualTime};
use machine::{EngineKind, Interrupt};
use recorder::{Event, TraceReader};
use replay::{PlayError, Player};
use std::path::Path;

fn play(demo: &Demo, path: &Path) -> Result<(), PlayError> {
    let reader = TraceReader::open(path).expect("its checks are right");
    let mut player = Player::new(&reader, &demo.images, EngineKind::Interp, Interrupt::default())?;
    player.play_to_end(&mut |_, _| {}).map(|_| ())
}

#[test]
fn a_machine_that_cannot_be_is_refused() {
    let demo = Demo::new(2);
    let directory = tempfile::tempdir().expect("a directory");
    let changes: [fn(&mut PowerOn); 12] = [
        |machine| machine.ram_bytes = 0,
        |machine| machine.ram_bytes = 4097,
        |machine| machine.ram_bytes = u64::MAX,
        |machine| machine.ram_bytes = u64::MAX << 21,
        |machine| machine.topology.vcpus = 0,
        |machine| machine.topology.vcpus = 255,
        |machine| machine.topology.core_bits = 200,
        |machine| machine.topology.thread_bits = 64,
        |machine| machine.rules.quantum_counts = 0,
        |machine| machine.rules.pauses_per_quantum = 0,
        |machine| machine.acpi_hash ^= 1,
        |machine| machine.boot.images.clear(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut power_on = demo.power_on.clone();
        change(&mut power_on);
        let path = directory.path().join(format!("{number}.vkt"));
        drop(begin(&path, &power_on));
        match play(&demo, &path) {
            Err(PlayError::PowerOn(_) | PlayError::Boot(_)) => {}
            other => panic!("change {number}: {other:?}"),
        }
    }
}

#[test]
fn any_date_and_seed_is_a_machine_that_can_be() {
    let demo = Demo::new(1);
    let directory = tempfile::tempdir().expect("a directory");
    let mut power_on = demo.power_on.clone();
    (power_on.rtc_start_s, power_on.seed) = (u64::MAX, u64::MAX);
    let odd = Demo { power_on, images: demo.images };
    let path = directory.path().join("t.vkt");
    odd.record(&path, 200_000, 50_000);
    play(&odd, &path).expect("it replays");
}

#[test]
fn an_input_that_the_machine_cannot_take_is_refused() {
    let demo = Demo::new(2);
    let directory = tempfile::tempdir().expect("a directory");
    let inputs = [
        Input::Frame { nic: 0, bytes: vec![0; 60] },
        Input::DiskStatus(DiskStatus { disk: 0, request: 0, errno: 5 }),
        Input::Operator(Operator::WriteRegister { vcpu: 2, register: 0, value: 0 }),
        Input::Operator(Operator::WriteRegister { vcpu: 0, register: 18, value: 0 }),
        Input::Operator(Operator::WriteMemory { paddr: u64::MAX, bytes: vec![0; 2] }),
    ];
    for (number, input) in inputs.into_iter().enumerate() {
        let path = directory.path().join(format!("{number}.vkt"));
        let mut writer = begin(&path, &demo.power_on);
        write(&mut writer, Mark::before(Icount(1000)), Event::Input(input.clone()));
        drop(writer);
        match play(&demo, &path) {
            Err(PlayError::Input { place, .. }) => assert_eq!(place.icount.0, 1000),
            other => panic!("{input:?}: {other:?}"),
        }
    }
}

#[test]
fn inputs_and_places_at_the_edge_of_what_there_is_do_no_harm() {
    let demo = Demo::new(1);
    let directory = tempfile::tempdir().expect("a directory");
    let cases = [
        (Mark { icount: Icount(1000), seq: u32::MAX }, Input::PowerButton),
        (Mark::before(Icount(1000)), Input::Wake(VirtualTime(u64::MAX))),
        (Mark::before(Icount(1000)), Input::Console(vec![0x1b; 1 << 20])),
        (
            Mark::before(Icount(1000)),
            Input::Operator(Operator::WriteMemory { paddr: 1 << 40, bytes: vec![1; 9] }),
        ),
    ];
    for (number, (mark, input)) in cases.into_iter().enumerate() {
        let path = directory.path().join(format!("{number}.vkt"));
        let mut writer = begin(&path, &demo.power_on);
        write(&mut writer, mark, Event::Input(input.clone()));
        drop(writer);
        match play(&demo, &path) {
            Ok(()) | Err(PlayError::Divergence(_)) => {}
            other => panic!("{input:?}: {other:?}"),
        }
    }
}

#[test]
fn a_trace_of_another_model_or_format_names_what_to_use_and_is_no_divergence() {
    let demo = Demo::new(1);
    let sandbox = Sandbox::new();
    let mut power_on = demo.power_on.clone();
    power_on.model += 1;
    let (_, kernel) = demo.images.iter().next().expect("a kernel");
    let kernel = sandbox.write("kernel", kernel.as_slice());
    let path = sandbox.file("model.vkt");
    drop(begin(&path, &power_on));
    let replay = |path: &Path| {
        sandbox.run(["replay", path.to_str().expect("UTF-8"), "--image", kernel.to_str().expect("UTF-8")])
    };
    let ran = replay(&path);
    let theirs = format!("is of model {}, recorded by vkernel", power_on.model);
    let ours = format!("is of model {};", power_on.model - 1);
    ran.expect(255, &[&theirs, &ours, "a newer one", "install vkernel"]);
    assert!(!ran.stderr.contains("diverge"), "{ran}");
    sandbox.run(["trace", "info", "./model.vkt"]).expect(0, &[]);

    // A later format: the version, and the check over it.
    let mut bytes = std::fs::read(&path).expect("a trace");
    bytes[8] = 2;
    let check = crc32(&bytes[..12]);
    bytes[12..16].copy_from_slice(&check.to_le_bytes());
    let path = sandbox.write("format.vkt", bytes);
    let ran = replay(&path);
    ran.expect(255, &["format.vkt has format version 2", "reads versions 1 to 1", "or a newer one"]);
}

/// CRC-32 of zlib and PNG, as docs/trace-format.md says.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
