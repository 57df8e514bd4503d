//! Narrowing a divergence: from "these digests differ" to a byte of memory or one instruction.
//!
//! A trace holds hashes, not states, so the other side is made anew: the same trace is replayed by the
//! reference engine and by the engine that diverged. If they part, the first instruction at which they do is
//! the culprit. If they agree with each other and with the trace, the first replay's memory was damaged from
//! outside, and comparing it shows where.

use crate::divergence::Divergence;
use crate::player::{PlayError, Player, behind};
use boundary::{Icount, Mark, Media};
use machine::cpu::state::Vcpu;
use machine::mem::PAGE_BYTES;
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
            if pair.found.machine.mark() == from {
                // Both stand before the same disagreement with the trace.
                return Ok(Narrowed::Recording);
            }
        }
    }
    Ok(Narrowed::Recording)
}

/// Replays once more, to where the diverged machine came; if that agrees with the trace, compares their memory.
fn compare_memory(
    reader: &TraceReader,
    media: &dyn Media,
    divergence: &Divergence,
    diverged: &Machine,
) -> Result<Option<Narrowed>, PlayError> {
    let mut fresh = Player::new(reader, media, EngineKind::Reference, Interrupt::default())?;
    if !agrees(&mut fresh, diverged.mark())? {
        return Ok(None);
    }
    let memory = difference(diverged, &fresh.machine);
    // The diverged machine need not have come to the place at which it went wrong: it may have been idle for ever.
    Ok(if agrees(&mut fresh, behind(divergence.place))? { memory } else { None })
}

/// Replays to `until`; says whether all before it agrees with the trace.
fn agrees(player: &mut Player<'_>, until: Mark) -> Result<bool, PlayError> {
    match player.play(until, &mut |_, _| {}) {
        Ok(_) => Ok(true),
        Err(PlayError::Divergence(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where the memory of two machines differs.
fn difference(found: &Machine, expected: &Machine) -> Option<Narrowed> {
    let (memory, other) = (&found.system().mem, &expected.system().mem);
    let pages = memory.ram().chunks(PAGE_BYTES).zip(other.ram().chunks(PAGE_BYTES)).enumerate();
    let mut first = None;
    let mut bytes = 0;
    for (page, (found, expected)) in pages.filter(|(_, (found, expected))| found != expected) {
        for (at, (found, expected)) in found.iter().zip(expected).enumerate().filter(|(_, (a, b))| a != b) {
            bytes += 1;
            first.get_or_insert((memory.page_paddr(page) + at as u64, *found, *expected));
        }
    }
    first.map(|(paddr, found, expected)| Narrowed::Memory { paddr, found, expected, bytes })
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
