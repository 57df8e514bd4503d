//! Narrowing a divergence: from "these digests differ" to a byte of memory or one instruction.
//!
//! A trace holds hashes, not states, so the other side is made anew: the same trace is replayed by the
//! reference engine and by the engine that diverged. If they part, the first instruction at which they do is
//! the culprit. If they agree with each other and with the trace, the first replay's memory was damaged from
//! outside, and comparing it shows where.

use crate::divergence::Divergence;
use crate::player::{PlayError, Player};
use boundary::{Icount, Mark, Media};
use machine::cpu::state::Vcpu;
use machine::{EngineKind, Interrupt, Machine};
use recorder::TraceReader;
use std::fmt;

/// What a divergence comes down to.
#[derive(Debug)]
pub enum Narrowed {
    /// A second replay agrees with the trace: the first one's memory had been changed behind its back.
    Memory {
        /// Physical address of the first byte that differs.
        paddr: u64,
        /// What the diverged replay has there.
        found: u8,
        /// What it should be.
        expected: u8,
        /// How many bytes differ in all.
        bytes: usize,
    },
    /// The engines part at this instruction.
    Instruction {
        /// The place before it.
        place: Mark,
        /// The vCPU after it, by the engine that diverged.
        found: Box<Vcpu>,
        /// The vCPU after it, by the reference engine.
        expected: Box<Vcpu>,
    },
    /// Every replay agrees with every other, and none with the trace: it was recorded by something else.
    Recording,
}

/// Counts between two comparisons, from coarse to exact.
const STEPS: [u64; 5] = [1 << 24, 1 << 18, 1 << 12, 1 << 6, 1];

/// Finds what `divergence`, which left a machine in the state of `diverged`, comes down to.
///
/// # Errors
/// The trace or an image can no longer be read.
pub fn narrow(
    reader: &TraceReader,
    media: &dyn Media,
    engine: EngineKind,
    divergence: &Divergence,
    diverged: &Machine,
) -> Result<Narrowed, PlayError> {
    if let Some(memory) = compare_memory(reader, media, divergence, diverged)? {
        return Ok(memory);
    }
    let mut agreed = Mark::default();
    for step in STEPS {
        let mut pair = Pair::at(reader, media, engine, agreed)?;
        loop {
            let from = pair.found.machine.mark();
            if from >= divergence.place {
                return Ok(Narrowed::Recording);
            }
            let to = Mark::before(Icount(from.icount.0 + step)).min(divergence.place);
            if !pair.advance(to)? {
                agreed = from;
                if step == 1 {
                    return Ok(pair.first_difference(from));
                }
                break;
            }
        }
    }
    Ok(Narrowed::Recording)
}

/// Replays once more; if that agrees with the trace, compares the memory of the two replays.
fn compare_memory(
    reader: &TraceReader,
    media: &dyn Media,
    divergence: &Divergence,
    diverged: &Machine,
) -> Result<Option<Narrowed>, PlayError> {
    let mut fresh = Player::new(reader, media, EngineKind::Reference, Interrupt::default())?;
    let beyond = Mark { seq: divergence.place.seq + 1, ..divergence.place };
    match fresh.play(beyond, &mut |_, _| {}) {
        Ok(_) => {}
        Err(PlayError::Divergence(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    let (found, expected) = (&diverged.system().mem, &fresh.machine.system().mem);
    let differing = |at: &usize| found.ram()[*at] != expected.ram()[*at];
    let bytes = (0..found.ram().len()).filter(differing).count();
    Ok((0..found.ram().len()).find(differing).map(|at| Narrowed::Memory {
        paddr: found.page_paddr(at / 4096) + (at % 4096) as u64,
        found: found.ram()[at],
        expected: expected.ram()[at],
        bytes,
    }))
}

/// The same trace, replayed twice side by side.
struct Pair<'a> {
    found: Player<'a>,
    expected: Player<'a>,
}

impl<'a> Pair<'a> {
    fn at(
        reader: &TraceReader,
        media: &'a dyn Media,
        engine: EngineKind,
        mark: Mark,
    ) -> Result<Pair<'a>, PlayError> {
        let mut pair = Pair {
            found: Player::new(reader, media, engine, Interrupt::default())?,
            expected: Player::new(reader, media, EngineKind::Reference, Interrupt::default())?,
        };
        pair.advance(mark)?;
        Ok(pair)
    }

    /// Replays both to `to`; says whether they still agree.
    fn advance(&mut self, to: Mark) -> Result<bool, PlayError> {
        for player in [&mut self.found, &mut self.expected] {
            match player.play(to, &mut |_, _| {}) {
                Ok(_) | Err(PlayError::Divergence(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let (found, expected) = (&mut self.found.machine, &mut self.expected.machine);
        Ok(found.mark() == expected.mark()
            && found.cpus() == expected.cpus()
            && found.digest() == expected.digest())
    }

    fn first_difference(&self, place: Mark) -> Narrowed {
        let (found, expected) = (self.found.machine.cpus(), self.expected.machine.cpus());
        let vcpu = (0..found.len()).find(|&vcpu| found[vcpu] != expected[vcpu]).unwrap_or(0);
        Narrowed::Instruction {
            place,
            found: Box::new(found[vcpu].clone()),
            expected: Box::new(expected[vcpu].clone()),
        }
    }
}

impl fmt::Display for Narrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Narrowed::Memory { paddr, found, expected, bytes } => write!(
                f,
                "memory was changed from outside: physical address {paddr:#x} holds {found:#04x}, should hold \
                 {expected:#04x} ({bytes} bytes differ); a second replay agrees with the trace"
            ),
            Narrowed::Instruction { place, found, expected } => {
                writeln!(f, "the engines part at the instruction at {place} on vCPU {}:", found.id)?;
                writeln!(f, "{:>8} {:>18} {:>18}", "", "this engine", "reference")?;
                for (name, found, expected) in rows(found, expected) {
                    let sign = if found == expected { ' ' } else { '*' };
                    writeln!(f, "{name:>8} {found:#018x} {expected:#018x} {sign}")?;
                }
                Ok(())
            }
            Narrowed::Recording => write!(
                f,
                "every replay agrees with every other, and none with the trace: it was recorded by another vkernel \
                 that claims the same model"
            ),
        }
    }
}

/// The registers people look at, of both sides.
fn rows(found: &Vcpu, expected: &Vcpu) -> Vec<(&'static str, u64, u64)> {
    const NAMES: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15",
    ];
    let general = (0..16).map(|index| (NAMES[index], found.gpr[index], expected.gpr[index]));
    let special = [
        ("rip", found.rip, expected.rip),
        ("rflags", found.rflags, expected.rflags),
        ("cr0", found.cr0, expected.cr0),
        ("cr2", found.cr2, expected.cr2),
        ("cr3", found.cr3, expected.cr3),
        ("cr4", found.cr4, expected.cr4),
    ];
    general.chain(special).collect()
}
