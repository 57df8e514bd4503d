//! Runs a guest, by a script rather than by a host, and compares the ways to run it.

use crate::guest::{Guest, LIMIT_COUNTS};
use boundary::{Digest, Icount, Mark, PowerEvent};
use machine::{EngineKind, Event, Exit, Interrupt, Machine, Mismatch, Saved, StopSet};
use std::fmt;

/// Resets after which a guest has shown that it can reset.
const RESETS_MAX: u32 = 3;
/// Idle jumps without a count in between after which nothing is going to wake it.
const IDLE_JUMPS_MAX: u32 = 2000;
/// Counts between two comparisons of the registers.
const SLICE_COUNTS: u64 = 500;

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// It was still running.
    Limit,
    /// Three faults.
    TripleFault,
    /// All vCPUs halted, and nothing can wake them.
    Hang,
    /// All vCPUs halted, and timers that wake nobody.
    Idle,
    /// It switched itself off.
    Off,
    /// It wrote to the debug-exit port.
    DebugExit,
    /// It reset itself again and again.
    Resets,
}

impl Ending {
    /// All of them.
    pub const ALL: [Ending; 7] = [
        Ending::Limit,
        Ending::TripleFault,
        Ending::Hang,
        Ending::Idle,
        Ending::Off,
        Ending::DebugExit,
        Ending::Resets,
    ];
}

/// What went wrong.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The engines differ.
    Mismatch(Box<Mismatch>),
    /// Two ways to run it came to different ends.
    Differs {
        /// Which ways.
        ways: &'static str,
        /// In what.
        what: String,
    },
    /// Its recording does not replay.
    Replay(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Mismatch(mismatch) => write!(f, "{mismatch}"),
            Trouble::Differs { ways, what } => write!(f, "{ways}: {what}"),
            Trouble::Replay(error) => write!(f, "the recording: {error}"),
        }
    }
}

/// Where a run stands, beside its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    next_input: usize,
    resets: u32,
    idle_jumps: u32,
    idle_at: Mark,
}

/// A guest on its machine.
struct Driver<'a> {
    guest: &'a Guest,
    machine: Machine,
    progress: Progress,
    events: Vec<(Mark, Event)>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    ending: Ending,
    mark: Mark,
    digest: Digest,
}

impl<'a> Driver<'a> {
    fn new(guest: &'a Guest, engine: EngineKind) -> Driver<'a> {
        let machine = Machine::new(&guest.power_on, guest, engine).expect("the generator makes kernels");
        Driver { guest, machine, progress: Progress::default(), events: Vec::new() }
    }

    /// Runs to a count, or to an ending before.
    fn run_to(&mut self, icount: u64) -> Result<Option<Ending>, Box<Mismatch>> {
        loop {
            let here = self.machine.mark();
            if here.icount.0 >= icount {
                return Ok((icount >= LIMIT_COUNTS).then_some(Ending::Limit));
            }
            let next_input = self.guest.inputs.get(self.progress.next_input).map_or(icount, |next| next.0);
            if next_input <= here.icount.0 && next_input < icount {
                self.apply_input();
                continue;
            }
            let until = Mark::before(Icount(next_input.min(icount)));
            let exit = self.machine.run(until, &StopSet::default(), &Interrupt::default());
            self.events.extend(self.machine.take_events());
            let ending = match exit {
                Exit::Budget | Exit::Output | Exit::Interrupted | Exit::Stop { .. } => None,
                Exit::Idle { next_deadline } => self.idle(next_deadline),
                Exit::Power(event) => self.power(&event),
                Exit::Mismatch(mismatch) => return Err(mismatch),
            };
            if ending.is_some() {
                return Ok(ending);
            }
        }
    }

    fn apply_input(&mut self) {
        self.machine.apply(&self.guest.inputs[self.progress.next_input].1);
        self.progress.next_input += 1;
    }

    fn idle(&mut self, next_deadline: Option<boundary::VirtualTime>) -> Option<Ending> {
        let is_stuck = self.progress.idle_at.icount == self.machine.mark().icount;
        self.progress.idle_jumps = if is_stuck { self.progress.idle_jumps + 1 } else { 0 };
        self.progress.idle_at = self.machine.mark();
        if self.progress.idle_jumps > IDLE_JUMPS_MAX {
            return Some(Ending::Idle);
        }
        match next_deadline.filter(|_| self.machine.can_wake()) {
            Some(deadline) => self.machine.advance_idle(deadline),
            None if self.progress.next_input < self.guest.inputs.len() => self.apply_input(),
            None => return Some(Ending::Hang),
        }
        None
    }

    fn power(&mut self, event: &PowerEvent) -> Option<Ending> {
        match event {
            PowerEvent::Off => Some(Ending::Off),
            PowerEvent::DebugExit(_) => Some(Ending::DebugExit),
            PowerEvent::TripleFault(_) => Some(Ending::TripleFault),
            PowerEvent::Reset => {
                self.progress.resets += 1;
                if self.progress.resets > RESETS_MAX {
                    return Some(Ending::Resets);
                }
                self.machine.reset(self.guest).expect("it was loaded before");
                None
            }
        }
    }

    fn finish(&mut self, ending: Ending) -> Outcome {
        Outcome { ending, mark: self.machine.mark(), digest: self.machine.digest() }
    }
}

/// A run, and what it was half-way.
struct Run {
    outcome: Outcome,
    events: Vec<(Mark, Event)>,
    middle: Option<Middle>,
}

struct Middle {
    saved: Saved,
    progress: Progress,
    digest: Digest,
    /// Events before it.
    events: usize,
}

fn run_whole(guest: &Guest, engine: EngineKind) -> Result<Run, Box<Mismatch>> {
    let mut driver = Driver::new(guest, engine);
    let mut middle = None;
    let ending = match driver.run_to(LIMIT_COUNTS / 2)? {
        Some(ending) => Some(ending),
        None => {
            middle = Some(Middle {
                digest: driver.machine.digest(),
                saved: driver.machine.save(),
                progress: driver.progress.clone(),
                events: driver.events.len(),
            });
            driver.run_to(LIMIT_COUNTS)?
        }
    };
    let outcome = driver.finish(ending.expect("at the limit it ends"));
    Ok(Run { outcome, events: driver.events, middle })
}

/// Compares two ways to the end.
fn compare(ways: &'static str, left: &Outcome, right: &Outcome) -> Result<(), Trouble> {
    let differs = |what: String| Err(Trouble::Differs { ways, what });
    if (left.ending, left.mark) != (right.ending, right.mark) {
        return differs(format!("{:?} at {}, {:?} at {}", left.ending, left.mark, right.ending, right.mark));
    }
    if left.digest != right.digest {
        return differs(format!("the digests at the end, {}", left.mark));
    }
    Ok(())
}

/// Runs a guest in lockstep, then alone on the reference, then from the middle on.
///
/// # Errors
/// Any two of them differ.
pub fn run(guest: &Guest) -> Result<(Ending, u64), Trouble> {
    let lockstep = EngineKind::Lockstep { slice_counts: SLICE_COUNTS };
    let first = run_whole(guest, lockstep).map_err(|_| exact_mismatch(guest))?;
    let reference = run_whole(guest, EngineKind::Reference).map_err(Trouble::Mismatch)?;
    compare("lockstep and reference", &first.outcome, &reference.outcome)?;
    let differs = |ways, what: &str| Err(Trouble::Differs { ways, what: what.to_owned() });
    if first.events != reference.events {
        return differs("lockstep and reference", "what they put out");
    }
    if let Some(middle) = &first.middle {
        if Some(middle.digest) != reference.middle.as_ref().map(|middle| middle.digest) {
            return differs("lockstep and reference", "the digests half-way");
        }
        from_middle(guest, &first, middle)?;
    }
    Ok((first.outcome.ending, first.outcome.mark.icount.0))
}

/// Another machine goes on from what was saved.
fn from_middle(guest: &Guest, first: &Run, middle: &Middle) -> Result<(), Trouble> {
    const WAYS: &str = "straight on and from what was saved half-way";
    let mut driver = Driver::new(guest, EngineKind::Interp);
    // It has a past of its own, which must not show.
    let _ = driver.run_to(LIMIT_COUNTS / 10);
    driver.machine.load(&middle.saved);
    driver.progress = middle.progress.clone();
    driver.events.clear();
    if driver.machine.digest_from_scratch() != middle.digest {
        return Err(Trouble::Differs { ways: WAYS, what: "the digest of what was loaded".to_owned() });
    }
    let ending = driver.run_to(LIMIT_COUNTS).map_err(Trouble::Mismatch)?;
    let outcome = driver.finish(ending.expect("at the limit it ends"));
    compare(WAYS, &first.outcome, &outcome)?;
    if driver.events != first.events[middle.events..] {
        return Err(Trouble::Differs { ways: WAYS, what: "what they put out".to_owned() });
    }
    if driver.machine.digest_from_scratch() != outcome.digest {
        return Err(Trouble::Differs {
            ways: WAYS,
            what: "the digest kept and that from scratch".to_owned(),
        });
    }
    Ok(())
}

/// The mismatch again, at the very instruction.
fn exact_mismatch(guest: &Guest) -> Trouble {
    match run_whole(guest, EngineKind::Lockstep { slice_counts: 1 }) {
        Err(mismatch) => Trouble::Mismatch(mismatch),
        Ok(_) => Trouble::Differs {
            ways: "lockstep",
            what: "a mismatch that comparing after each instruction does not find".to_owned(),
        },
    }
}

/// Where the memories or devices of the two engines part, which the registers do not show.
#[must_use]
pub fn first_difference(guest: &Guest) -> String {
    let mut good = 0;
    for step in [4096, 64, 1] {
        let mut icount = good;
        let [mut found, mut expected] =
            [EngineKind::Interp, EngineKind::Reference].map(|engine| Driver::new(guest, engine));
        loop {
            icount += step;
            let endings = [found.run_to(icount), expected.run_to(icount)];
            if found.machine.digest() != expected.machine.digest() {
                break;
            }
            good = found.machine.mark().icount.0;
            if endings.iter().any(|ending| !matches!(ending, Ok(None))) {
                return format!("the engines agree, up to {}", found.machine.mark());
            }
        }
        if step == 1 {
            return describe(&found.machine, &expected.machine);
        }
    }
    unreachable!("the last step describes")
}

fn describe(found: &Machine, expected: &Machine) -> String {
    let (left, right) = (found.system().mem.ram(), expected.system().mem.ram());
    let what = match left.iter().zip(right).position(|(left, right)| left != right) {
        Some(at) => format!("RAM at {at:#x} is {:#04x} not {:#04x}", left[at], right[at]),
        None => "a device, or registers".to_owned(),
    };
    let rips: Vec<String> = found.cpus().iter().map(|cpu| format!("{:#x}", cpu.rip)).collect();
    format!("by {} {what}; the vCPUs are at {}", found.mark(), rips.join(", "))
}
