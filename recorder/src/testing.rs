//! Values for this crate's tests: a small power-on, and generators of everything a trace can hold.

use crate::end::{End, Ending, FailureKind};
use crate::event::{ConsoleState, Event, Meta, as_recorded};
use boundary::{
    Boot, BootProtocol, Digest, DiskStatus, External, Icount, Image, ImageId, Input, Landmark, LandmarkKind,
    Mark, Note, Operator, PowerEvent, PowerOn, Role, Rules, Topology, TripleFault, TripleFaultStep,
    VirtualTime,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A machine with one kernel image of this content.
pub(crate) fn power_on(kernel: &[u8]) -> PowerOn {
    PowerOn {
        model: 1,
        seed: 0,
        rtc_start_s: 0,
        ram_bytes: 64 << 20,
        topology: Topology { vcpus: 1, thread_bits: 0, core_bits: 0 },
        cpuid: Vec::new(),
        rules: Rules {
            quantum_counts: 100_000,
            pauses_per_quantum: 16,
            pause_ns: 40,
            port_ns: 1000,
            mmio_ns: 1000,
            hlt_ns: 1000,
            perturb: false,
        },
        acpi_hash: 0,
        boot: Boot {
            protocol: BootProtocol::Pvh,
            command_line: String::new(),
            images: vec![Image {
                role: Role::Kernel,
                id: crate::image_id(kernel),
                length_bytes: kernel.len() as u64,
                name: "kernel.elf".into(),
                command_line: String::new(),
            }],
        },
    }
}

pub(crate) fn meta(started_s: u64) -> Meta {
    Meta {
        vkernel_version: "0.1.0".into(),
        started_s,
        command_line: vec!["vkernel".into()],
        executable: None,
    }
}

pub(crate) fn power_off(mark: Mark) -> End {
    End {
        mark,
        virtual_time: VirtualTime(1_500_000_000),
        digest: Some(Digest(0x1234_5678_9abc_def0)),
        console: ConsoleState::default(),
        exit_status: 0,
        ending: Ending::PowerOff,
    }
}

pub(crate) fn failure(mark: Mark) -> End {
    let ending = Ending::Failure { kind: FailureKind::Panic, title: "Fatal exception".into(), place: mark };
    End { ending, exit_status: 1, ..power_off(mark) }
}

/// Events at growing places, as a quiet boot has them: timer interrupts, now and then a digest.
pub(crate) fn quiet_boot(landmarks: u64) -> Vec<(Mark, Event)> {
    (1..=landmarks)
        .flat_map(|n| {
            // A multiplicative generator: hashes must look like hashes to the compressor.
            let noise = blake3_u64(n);
            let mark = Mark { icount: Icount(n * 400_000 + noise % 300_000), seq: (noise % 3) as u32 };
            let landmark = Landmark {
                kind: LandmarkKind::Timer,
                vcpu: (noise % 2) as u8,
                vector: 0xec,
                registers_hash: (noise >> 32) as u32,
                reads_hash: noise as u32 & 0xffff,
            };
            let digest = (n % 100 == 0).then(|| (mark, Event::Digest(Digest(u128::from(noise) << 40))));
            std::iter::once((mark, Event::Landmark(landmark))).chain(digest)
        })
        .collect()
}

pub(crate) fn blake3_u64(n: u64) -> u64 {
    u64::from_le_bytes(*crate::image_id(&n.to_le_bytes()).0.first_chunk().unwrap())
}

/// Events as the reader returns them.
pub(crate) fn stored(events: &[(Mark, Event)]) -> Vec<(Mark, Event)> {
    let keep = |event: &Event| match event {
        Event::Landmark(landmark) => Event::Landmark(as_recorded(*landmark)),
        other => other.clone(),
    };
    events.iter().map(|(mark, event)| (*mark, keep(event))).collect()
}

fn any_mark() -> impl Strategy<Value = Mark> {
    (any::<u64>(), 0u32..64, any::<u32>(), 0u32..32)
        .prop_map(|(icount, by, seq, seq_by)| Mark { icount: Icount(icount >> by), seq: seq >> seq_by })
}

fn any_step() -> impl Strategy<Value = TripleFaultStep> {
    (any::<u8>(), any::<Option<u32>>(), any::<u64>(), any::<Option<u64>>(), ".{0,20}").prop_map(
        |(vector, error_code, rip, cr2, reason)| TripleFaultStep { vector, error_code, rip, cr2, reason },
    )
}

fn any_power() -> impl Strategy<Value = PowerEvent> {
    prop_oneof![
        Just(PowerEvent::Off),
        Just(PowerEvent::Reset),
        any::<u32>().prop_map(PowerEvent::DebugExit),
        (any::<u8>(), vec(any_step(), 0..4))
            .prop_map(|(vcpu, steps)| PowerEvent::TripleFault(TripleFault { vcpu, steps })),
    ]
}

fn any_external() -> impl Strategy<Value = External> {
    prop_oneof![
        any::<(u16, u64)>().prop_map(|(device, value)| External::Read { device, value }),
        any::<(u16, u64, Vec<u8>)>().prop_map(|(device, paddr, bytes)| External::Dma {
            device,
            paddr,
            bytes
        }),
        any::<(u16, bool)>().prop_map(|(device, asserted)| External::Interrupt { device, asserted }),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        any::<Vec<u8>>().prop_map(Input::Console),
        any::<(u8, Vec<u8>)>().prop_map(|(nic, bytes)| Input::Frame { nic, bytes }),
        any::<(u16, u16)>().prop_map(|(columns, rows)| Input::WindowSize { columns, rows }),
        Just(Input::PowerButton),
        any::<u64>().prop_map(|time| Input::Wake(VirtualTime(time))),
        any::<(u8, u64, i32)>().prop_map(|(disk, request, errno)| Input::DiskStatus(DiskStatus {
            disk,
            request,
            errno
        })),
        any::<(u64, Vec<u8>)>()
            .prop_map(|(paddr, bytes)| Input::Operator(Operator::WriteMemory { paddr, bytes })),
        any::<(u8, u8, u64)>().prop_map(|(vcpu, register, value)| Input::Operator(Operator::WriteRegister {
            vcpu,
            register,
            value
        })),
        any_external().prop_map(Input::External),
    ]
}

fn any_landmark() -> impl Strategy<Value = Landmark> {
    let kind = prop::sample::select(vec![
        LandmarkKind::Timer,
        LandmarkKind::Ipi,
        LandmarkKind::Device,
        LandmarkKind::Completion,
    ]);
    (kind, any::<u8>(), any::<u8>(), any::<u32>(), any::<u32>()).prop_map(
        |(kind, vcpu, vector, registers_hash, reads_hash)| Landmark {
            kind,
            vcpu: vcpu % 17,
            vector: vector % 5,
            registers_hash,
            reads_hash,
        },
    )
}

fn any_note() -> impl Strategy<Value = Note> {
    prop_oneof![
        Just(Note::Quit),
        Just(Note::Attach),
        Just(Note::Detach),
        ".{0,20}".prop_map(Note::Bookmark),
        any::<u64>().prop_map(Note::WallClock),
        ".{0,20}".prop_map(Note::Failure),
    ]
}

pub(crate) fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any_landmark().prop_map(Event::Landmark),
        2 => any_input().prop_map(Event::Input),
        1 => any::<u128>().prop_map(|digest| Event::Digest(Digest(digest))),
        1 => any::<(u64, u64)>().prop_map(|(length_bytes, hash)| Event::Console(ConsoleState { length_bytes, hash })),
        1 => any_power().prop_map(Event::Power),
        1 => any_note().prop_map(Event::Note),
    ]
}

/// Events at places that never decrease, with many at one icount.
pub(crate) fn any_events(at_most: usize) -> impl Strategy<Value = Vec<(Mark, Event)>> {
    vec((any_mark(), 0u8..4, any_event()), 0..at_most).prop_map(|raw| {
        let mut marks: Vec<Mark> = raw.iter().map(|(mark, ..)| *mark).collect();
        marks.sort_unstable();
        for index in 1..marks.len() {
            let previous = marks[index - 1];
            match raw[index].1 {
                0 => marks[index] = previous,
                1 => marks[index] = Mark { seq: previous.seq.saturating_add(1), ..previous },
                _ => marks[index] = marks[index].max(previous),
            }
        }
        marks.into_iter().zip(raw).map(|(mark, (.., event))| (mark, event)).collect()
    })
}

pub(crate) fn any_end() -> impl Strategy<Value = End> {
    let kind = prop::sample::select(vec![
        FailureKind::Panic,
        FailureKind::Oops,
        FailureKind::Warn,
        FailureKind::TripleFault,
        FailureKind::FailText,
        FailureKind::ExpectMissing,
        FailureKind::Stuck,
        FailureKind::Sanitizer,
        FailureKind::Lockdep,
        FailureKind::ResetLoop,
    ]);
    let ending = prop_oneof![
        Just(Ending::PowerOff),
        Just(Ending::Reset),
        any::<u32>().prop_map(Ending::DebugExit),
        (kind, ".{0,40}", any_mark()).prop_map(|(kind, title, place)| Ending::Failure { kind, title, place }),
        Just(Ending::Limit),
        Just(Ending::Hang),
        Just(Ending::Quit),
        any::<u8>().prop_map(Ending::Signal),
        ".{0,40}".prop_map(|reason| Ending::HostTrouble { reason }),
    ];
    (any_mark(), any::<u64>(), any::<Option<u128>>(), any::<(u64, u64)>(), any::<u8>(), ending).prop_map(
        |(mark, time, digest, (length_bytes, hash), exit_status, ending)| End {
            mark,
            virtual_time: VirtualTime(time),
            digest: digest.map(Digest),
            console: ConsoleState { length_bytes, hash },
            exit_status,
            ending,
        },
    )
}

/// An identity that no image has.
pub(crate) const NO_IMAGE: ImageId = ImageId([0xab; 32]);
