//! A thousand journeys in no order, diversions among them: wherever one arrives, the machine is that of straight replay.

use super::{Numbers, Recording};
use boundary::{Digest, Icount, Mark, Operator};
use ddb_shell::debugger::diversion::Diverting;
use ddb_shell::debugger::target::Target;
use machine::{EngineKind, Interrupt, Space, StopSet, Watchpoint};
use replay::{Arrival, Player, Query, settled};
use std::collections::BTreeMap;

const JOURNEYS: usize = 1000;

/// What to stop at on the way back: something that this vCPU does now and then.
fn stops(target: &dyn Target, vcpu: usize, numbers: &mut Numbers) -> StopSet {
    let cpu = &target.machine().cpus()[vcpu];
    let stack = Watchpoint {
        space: Space::Linear,
        address: cpu.gpr[4].wrapping_sub(8),
        length_bytes: 16,
        read: false,
        write: true,
    };
    match numbers.below(4) {
        0 => StopSet { execute: vec![cpu.rip], ..StopSet::default() },
        1 => StopSet { watch: vec![stack], ..StopSet::default() },
        2 => StopSet { interrupts: true, ..StopSet::default() },
        _ => StopSet { ports: vec![(0x3f8, 0x3ff)], ..StopSet::default() },
    }
}

/// Leaves the recording, makes the guest another one, wanders about in that, and comes back.
fn divert(target: &mut dyn Target, numbers: &mut Numbers) {
    let (here, digest) = (target.machine().mark(), target.digest());
    let vcpu = numbers.below(2) as u8;
    let register = numbers.below(16) as u8;
    target
        .write(Operator::WriteRegister { vcpu, register, value: numbers.below(1 << 40) })
        .expect("a diversion");
    let paddr = 0x10_0000 + numbers.below(1 << 20);
    target.write(Operator::WriteMemory { paddr, bytes: vec![0x5a; 9] }).expect("another write");
    assert_ne!(target.digest(), digest, "the guest is another one");
    let nothing = StopSet::default();
    let onwards = Mark::before(Icount(here.icount.0 + numbers.below(60_000)));
    target.run(Some(onwards), Query::new(&nothing)).expect("it goes on");
    let (there, other) = (target.machine().mark(), target.digest());
    for _ in 0..numbers.below(3) {
        target.past().expect("a past").step_back(vcpu, 1).expect("a step back");
    }
    target.past().expect("a past").seek(settled(Icount(here.icount.0 / 2))).expect("before it left");
    target.run(Some(there), Query::new(&nothing)).expect("its own past, again");
    if target.machine().mark() == there {
        assert_eq!(target.digest(), other, "a diversion from {here} is not the same again at {there}");
    }
    assert!(target.drop_diversion());
    assert_eq!((target.machine().mark(), target.digest()), (here, digest), "back from a diversion");
}

#[test]
fn a_thousand_journeys_arrive_at_the_machines_of_straight_replay() {
    let recording = Recording::of_demo(&["-n", "2", "--seed", "22"]);
    let timeline = recording.timeline();
    let end = timeline.end().icount.0;
    let mut target =
        Diverting::new(Box::new(timeline), &recording.images, EngineKind::Interp, Interrupt::default());
    let mut numbers = Numbers(0x7135);
    let mut arrivals: BTreeMap<Icount, Digest> = BTreeMap::new();
    for journey in 0..JOURNEYS {
        let vcpu = numbers.below(2) as u8;
        match numbers.below(8) {
            7 if journey % 4 == 0 => divert(&mut target, &mut numbers),
            0..=2 | 7 => drop(target.past().unwrap().seek(settled(Icount(numbers.below(end)))).unwrap()),
            3..=4 => drop(target.past().unwrap().step_back(vcpu, 1).unwrap()),
            5 => drop(target.step(vcpu, 1).unwrap()),
            _ => {
                let stops = stops(&target, usize::from(vcpu), &mut numbers);
                let workers = 1 + numbers.below(2) as usize;
                let arrival = target.past().unwrap().run_back(Query::new(&stops).by(workers)).unwrap();
                assert!(matches!(arrival, Arrival::Stopped { .. } | Arrival::Start), "{arrival:?}");
            }
        }
        let (place, digest) = (target.machine().mark().icount, target.digest());
        if let Some(before) = arrivals.insert(place, digest) {
            assert_eq!(digest, before, "journey {journey} to @{}", place.0);
        }
    }
    let mut player =
        Player::new(&recording.reader, &recording.images, EngineKind::Interp, Interrupt::default()).unwrap();
    assert!(arrivals.len() > JOURNEYS / 2, "{} places", arrivals.len());
    for (place, digest) in arrivals.iter().filter(|(place, _)| place.0 > 0) {
        player.play(settled(*place), &mut |_, _| {}).unwrap();
        assert_eq!(player.machine.digest(), *digest, "at @{}", place.0);
    }
}
