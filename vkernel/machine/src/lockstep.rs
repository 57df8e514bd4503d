//! Two engines side by side: a machine and its shadow on the reference engine, compared as they go.
//!
//! Any difference is a bug by definition. The shadow is a whole machine of its own that gets the same inputs,
//! so nothing can be shared by mistake.

use crate::cpu::state::Vcpu;
use crate::machine::{Event, Exit, Interrupt, Machine};
use crate::stop::StopSet;
use boundary::{Landmark, Mark};
use std::fmt;

/// Counts between two comparisons of memory and devices; registers are compared after every slice.
const DIGEST_COUNTS: u64 = 1 << 22;

/// Where and how the engines differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The last place at which they agreed.
    pub agreed: Mark,
    /// The place at which they were found to differ.
    pub place: Mark,
    /// What differs.
    pub what: String,
    /// The vCPU in question, by the engine under test.
    pub found: Vcpu,
    /// The same by the reference engine.
    pub expected: Vcpu,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "engines differ between {} and {}: {}", self.agreed, self.place, self.what)
    }
}

/// The shadow of a machine.
#[derive(Debug)]
pub(crate) struct Shadow {
    machine: Box<Machine>,
    /// Counts between two comparisons of registers.
    slice_counts: u64,
    next_digest: u64,
}

impl Shadow {
    pub(crate) fn new(machine: Machine, slice_counts: u64) -> Shadow {
        Shadow { machine: Box::new(machine), slice_counts, next_digest: DIGEST_COUNTS }
    }

    pub(crate) fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The end of the next slice.
    pub(crate) fn slice(&self, from: Mark, until: Mark) -> Mark {
        let end = boundary::Icount(from.icount.0.saturating_add(self.slice_counts));
        Mark::before(end).min(until)
    }

    /// Brings the shadow to where `lead`, which started at `agreed`, has come, and compares.
    pub(crate) fn follow(&mut self, lead: &mut Machine, agreed: Mark, exit: &Exit) -> Option<Box<Mismatch>> {
        let place = lead.mark();
        let mut own_landmarks = Vec::new();
        let own_exit = loop {
            let own_exit = self.machine.run(place, &StopSet::default(), &Interrupt::default());
            own_landmarks.extend(landmarks(&self.machine.take_events(), agreed));
            if own_exit != Exit::Output {
                break own_exit;
            }
        };
        let what = if landmarks(lead.events(), agreed) == own_landmarks {
            self.difference(lead, exit, &own_exit)?
        } else {
            "the interrupts that were taken".to_owned()
        };
        let cpus = lead.cpus().iter().zip(self.machine.cpus());
        let (found, expected) = cpus.clone().find(|(a, b)| a != b).or_else(|| cpus.clone().next())?;
        Some(Box::new(Mismatch { agreed, place, what, found: found.clone(), expected: expected.clone() }))
    }

    fn difference(&mut self, lead: &mut Machine, exit: &Exit, own_exit: &Exit) -> Option<String> {
        let shadow = &mut self.machine;
        if lead.mark() != shadow.mark() {
            return Some(format!(
                "the reference came to {} and said {own_exit:?}, not {exit:?}",
                shadow.mark()
            ));
        }
        for (found, expected) in lead.cpus().iter().zip(shadow.cpus()) {
            if found != expected {
                return Some(format!("vCPU {}: {}", found.id, registers_that_differ(found, expected)));
            }
        }
        if lead.now() != shadow.now() {
            return Some(format!("guest time {} and {}", lead.now(), shadow.now()));
        }
        if lead.mark().icount.0 >= self.next_digest {
            self.next_digest = lead.mark().icount.0 + DIGEST_COUNTS;
            if lead.digest() != shadow.digest() {
                return Some(memory_that_differs(lead, shadow));
            }
        }
        None
    }
}

/// The landmarks at and after `from`.
fn landmarks(events: &[(Mark, Event)], from: Mark) -> Vec<(Mark, Landmark)> {
    let landmark = |(mark, event): &(Mark, Event)| match event {
        Event::Landmark(landmark) if *mark >= from => Some((*mark, *landmark)),
        _ => None,
    };
    events.iter().filter_map(landmark).collect()
}

fn registers_that_differ(found: &Vcpu, expected: &Vcpu) -> String {
    let mut names = Vec::new();
    for index in 0..16 {
        if found.gpr[index] != expected.gpr[index] {
            names.push(format!("gpr{index} {:#x} not {:#x}", found.gpr[index], expected.gpr[index]));
        }
    }
    if found.rip != expected.rip {
        names.push(format!("rip {:#x} not {:#x}", found.rip, expected.rip));
    }
    if found.rflags != expected.rflags {
        names.push(format!("rflags {:#x} not {:#x}", found.rflags, expected.rflags));
    }
    if names.is_empty() { "registers other than the general ones".to_owned() } else { names.join(", ") }
}

fn memory_that_differs(lead: &Machine, shadow: &Machine) -> String {
    let (found, expected) = (lead.system().mem.ram(), shadow.system().mem.ram());
    match found.iter().zip(expected).position(|(a, b)| a != b) {
        Some(offset) => {
            format!("RAM offset {offset:#x}: {:#04x} not {:#04x}", found[offset], expected[offset])
        }
        None => "the state of a device".to_owned(),
    }
}
