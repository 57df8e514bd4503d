//! What a debugger stops at: breakpoints, watchpoints and events, numbered, with counts and conditions.
//!
//! A list becomes a [`StopSet`] for the machine, and a stop of the machine becomes an entry of the list again.

use super::stepping::linear_rip;
use machine::{Machine, StopReason, StopSet, Watchpoint};
use regex::bytes::Regex;
use std::fmt;
use std::sync::Arc;

/// Whether a stop counts, by what the machine is like there. Asked by several searchers at once.
pub type Holds = Arc<dyn Fn(&Machine, usize) -> bool + Send + Sync>;

/// What an entry of the list stops at.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Before the instruction at any of these linear addresses.
    Execute(Box<[u64]>),
    /// Behind an access.
    Watch(Watchpoint),
    /// Behind the delivery of one of these exceptions, bit n for vector n.
    Exceptions(u32),
    /// Behind the delivery of an interrupt; with a vector, only of that one.
    Interrupts(Option<u8>),
    /// Behind a system call; with a number, only that one.
    Syscalls(Option<u64>),
    /// Behind an access to a port of this range.
    Ports(u16, u16),
    /// Behind an access to an MSR of this range.
    Msrs(u32, u32),
    /// When the console has printed this.
    Text(Box<Regex>),
}

/// A condition of an entry.
#[derive(Clone)]
pub struct Condition {
    /// As it was written.
    pub text: String,
    /// Whether it holds.
    pub holds: Holds,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An entry of the list.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number, never given again.
    pub number: u32,
    /// At what it stops.
    pub kind: Kind,
    /// Under which condition.
    pub condition: Option<Condition>,
    /// Stops only every so many hits when running forwards.
    pub every: u64,
    /// Hits since the last stop.
    pub passed: u64,
    /// All hits that counted, forwards.
    pub hits: u64,
}

/// The list.
#[derive(Clone, Debug, Default)]
pub struct StopList {
    entries: Vec<Entry>,
    last_number: u32,
}

impl StopList {
    /// Adds an entry and gives its number.
    pub fn add(&mut self, kind: Kind) -> &mut Entry {
        self.last_number += 1;
        let number = self.last_number;
        let entry = Entry { number, kind, condition: None, every: 1, passed: 0, hits: 0 };
        self.entries.push(entry);
        self.entries.last_mut().expect("one was just added")
    }

    /// Removes every entry for which `is_it`; gives how many.
    pub fn remove(&mut self, is_it: impl Fn(&Entry) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| !is_it(entry));
        before - self.entries.len()
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this number.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.number == number)
    }

    /// The texts to stop at.
    pub fn texts(&self) -> impl Iterator<Item = (u32, &Regex)> {
        self.entries.iter().filter_map(|entry| match &entry.kind {
            Kind::Text(regex) => Some((entry.number, &**regex)),
            _ => None,
        })
    }

    /// What the machine is to stop at.
    #[must_use]
    pub fn set(&self) -> StopSet {
        let mut set = StopSet::default();
        for entry in &self.entries {
            match &entry.kind {
                Kind::Execute(places) => set.execute.extend(places),
                Kind::Watch(watch) => set.watch.push(*watch),
                Kind::Exceptions(vectors) => set.exceptions |= vectors,
                Kind::Interrupts(_) => set.interrupts = true,
                Kind::Syscalls(_) => set.syscalls = true,
                Kind::Ports(first, last) => set.ports.push((*first, *last)),
                Kind::Msrs(first, last) => set.msrs.push((*first, *last)),
                Kind::Text(_) => {}
            }
        }
        set
    }

    /// The entries that a stop of the machine belongs to, whatever their conditions.
    pub fn entries_of(
        &self,
        machine: &Machine,
        vcpu: u8,
        reason: StopReason,
    ) -> impl Iterator<Item = &Entry> {
        let watches = self.entries.iter().filter(|entry| matches!(entry.kind, Kind::Watch(_)));
        let watch = match reason {
            StopReason::Watch { index, .. } => watches.clone().nth(index).map(|entry| entry.number),
            _ => None,
        };
        let rip = linear_rip(&machine.cpus()[usize::from(vcpu)]);
        self.entries.iter().filter(move |entry| match (&entry.kind, reason) {
            (Kind::Execute(places), StopReason::Execute) => places.contains(&rip),
            (Kind::Watch(_), StopReason::Watch { .. }) => Some(entry.number) == watch,
            (Kind::Exceptions(vectors), StopReason::Exception { vector, .. }) => vectors >> vector & 1 != 0,
            (Kind::Interrupts(wanted), StopReason::Interrupt { vector }) => {
                wanted.is_none_or(|wanted| wanted == vector)
            }
            (Kind::Syscalls(wanted), StopReason::Syscall { number }) => {
                wanted.is_none_or(|wanted| wanted == number)
            }
            (Kind::Ports(first, last), StopReason::Port { port, .. }) => (first..=last).contains(&&port),
            (Kind::Msrs(first, last), StopReason::Msr { index, .. }) => (first..=last).contains(&&index),
            _ => false,
        })
    }

    /// The entry that a stop of the machine belongs to, if its condition holds there.
    #[must_use]
    pub fn entry_of(&self, machine: &Machine, vcpu: u8, reason: StopReason) -> Option<&Entry> {
        let holds = |entry: &&Entry| {
            entry.condition.as_ref().is_none_or(|when| (when.holds)(machine, usize::from(vcpu)))
        };
        self.entries_of(machine, vcpu, reason).find(holds)
    }

    /// Counts a hit of an entry when running forwards: whether it is one to stop at.
    pub fn count(&mut self, number: u32) -> bool {
        let Some(entry) = self.get_mut(number) else { return true };
        entry.hits += 1;
        entry.passed += 1;
        let stops = entry.passed >= entry.every;
        if stops {
            entry.passed = 0;
        }
        stops
    }
}
