//! What differs between two ends of the same case, in words.

use crate::exceptions::Exempt;
use crate::state::{DATA, Data, Outcome, State};

/// How one side left the case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// The registers.
    pub state: State,
}

/// Everything in which `found` is not what `expected` says, but for what is `exempt`.
#[must_use]
pub fn differences(expected: &End, found: &End, exempt: &Exempt) -> Vec<String> {
    let mut list = Vec::new();
    if !same_outcome(expected.outcome, found.outcome) {
        list.push(format!("outcome {:x?} not {:x?}", found.outcome, expected.outcome));
    }
    if exempt.everything {
        return list;
    }
    for index in 0..16 {
        let (found, expected) = (found.state.gpr[index], expected.state.gpr[index]);
        if found != expected && exempt.gpr >> index & 1 == 0 {
            list.push(format!("gpr{index} {found:#x} not {expected:#x}"));
        }
    }
    let (flags, native) = (found.state.rflags, expected.state.rflags);
    let undefined = exempt.undefined_flags;
    if (flags ^ native) & !undefined != 0 {
        list.push(format!("rflags {flags:#x} not {native:#x} (undefined {undefined:#x})"));
    }
    if flags & undefined != 0 {
        list.push(format!("rflags {flags:#x}: {:#x} should be 0", flags & undefined));
    }
    floating(expected, found, &mut list);
    list
}

fn floating(expected: &End, found: &End, list: &mut Vec<String>) {
    let (expected, found) = (&expected.state.fx, &found.state.fx);
    if expected == found {
        return;
    }
    if expected.mxcsr() != found.mxcsr() {
        list.push(format!("mxcsr {:#x} not {:#x}", found.mxcsr(), expected.mxcsr()));
    }
    for index in 0..16 {
        if expected.xmm(index) != found.xmm(index) {
            list.push(format!("xmm{index} {:#034x} not {:#034x}", found.xmm(index), expected.xmm(index)));
        }
    }
    if expected.control() != found.control() {
        list.push(format!("fcw {:#x} not {:#x}", found.control(), expected.control()));
    }
    if expected.status() != found.status() {
        list.push(format!("fsw {:#x} not {:#x}", found.status(), expected.status()));
    }
    if expected.valid() != found.valid() {
        list.push(format!("ftw {:#x} not {:#x}", found.valid(), expected.valid()));
    }
    for index in 0..8 {
        if expected.st(index) != found.st(index) {
            list.push(format!("st{index} {:#022x} not {:#022x}", found.st(index), expected.st(index)));
        }
    }
}

/// Where Linux's half of the address space begins.
const USER_END: u64 = 0x7fff_ffff_f000;

/// The error code that Linux tells a program: above the program's half it calls every fault a protection violation, so
/// as to tell nothing of its own map (`set_signal_archinfo` in arch/x86/mm/fault.c). No processor does.
#[must_use]
pub fn told_error_code(error_code: u32, vaddr: u64) -> u32 {
    if vaddr >= USER_END { error_code | 1 } else { error_code }
}

fn same_outcome(expected: Outcome, found: Outcome) -> bool {
    let told = |outcome| match outcome {
        Outcome::Fault { vector: 14, error_code, rip, vaddr } => {
            Outcome::Fault { vector: 14, error_code: told_error_code(error_code, vaddr), rip, vaddr }
        }
        other => other,
    };
    told(expected) == told(found)
}

/// The first bytes of the data that differ.
pub fn data_difference<'a>(expected: &Data, found: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut offset = 0;
    for page in found {
        let native = &expected[offset..offset + page.len()];
        if native != page {
            let first = native.iter().zip(page).position(|(a, b)| a != b).expect("they differ");
            let end = (first + 16).min(page.len());
            return Some(format!(
                "memory at {:#x}: {:02x?} not {:02x?}",
                DATA + (offset + first) as u64,
                &page[first..end],
                &native[first..end]
            ));
        }
        offset += page.len();
    }
    None
}
