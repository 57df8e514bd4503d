//! What Intel's processors alone do differently from the machine, seen on family 6, model CFH.

use super::shared::leave_mmx_state;
use super::{Case, Host, Rule, Vendor, agree, agree_on_outcome, fault, fault_vaddr, memory_operand};
use crate::state::Outcome;
use iced_x86::{Mnemonic as M, OpKind};

const fn rule(name: &'static str, explain: fn(&Case<'_>, &mut Host)) -> Rule {
    Rule { name, vendor: Some(Vendor::Intel), explain }
}

pub const RULES: &[Rule] = &[
    rule("idle REP with a 32-bit address", idle_repeat),
    rule("flags of a repeated comparison that faults", repeated_comparison),
    rule("x87 exception before the store", store_exception),
    rule("MMX state before a store", mmx_store),
    rule("MASKMOV looks at the bytes it stores", masked_store),
];

fn is_repeated(case: &Case<'_>) -> bool {
    case.instruction.has_rep_prefix() || case.instruction.has_repne_prefix()
}

/// With a 32-bit address size Intel's write the count, and MOVS and STOS their pointers, back as 32-bit registers, with
/// the upper halves cleared, also when the count was 0 or the first iteration faults. The SDM writes no register then.
fn idle_repeat(case: &Case<'_>, host: &mut Host) {
    const RCX: usize = 1;
    const RSI: usize = 6;
    const RDI: usize = 7;
    let narrow = (0..case.instruction.op_count())
        .any(|index| matches!(case.instruction.op_kind(index), OpKind::MemorySegESI | OpKind::MemoryESEDI));
    let is_idle = case.before.gpr[RCX] as u32 == 0 || fault(case.found).is_some();
    if !is_repeated(case) || !narrow || !is_idle {
        return;
    }
    let cleared: &[usize] = match case.instruction.mnemonic() {
        M::Movsb | M::Movsw | M::Movsd | M::Movsq => &[RCX, RSI, RDI],
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => &[RCX, RDI],
        _ => &[RCX],
    };
    for &register in cleared {
        let (before, ours) = (case.before.gpr[register], case.found.state.gpr[register]);
        if ours == before && host.end.state.gpr[register] == before & 0xffff_ffff {
            host.end.state.gpr[register] = before;
        }
    }
}

/// A fault in a later iteration of CMPS or SCAS finds the flags as before the instruction (SDM vol. 2, REP) on
/// Intel's. Here each iteration is complete, as everything else of it is: what an interrupt in between would push
/// cannot depend on where the instruction was begun.
fn repeated_comparison(case: &Case<'_>, host: &mut Host) {
    let compares = matches!(
        case.instruction.mnemonic(),
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Scasb | M::Scasw | M::Scasd | M::Scasq
    );
    let both_fault = fault(&host.end).is_some() && fault(&host.end) == fault(case.found);
    if is_repeated(case) && compares && both_fault && host.end.state.rflags == case.before.rflags {
        host.end.state.rflags = case.found.state.rflags;
    }
}

/// A store of the x87 whose value raises an unmasked exception stores nothing, so that Intel's do not look at the
/// memory; here its fault comes first.
fn store_exception(case: &Case<'_>, host: &mut Host) {
    const C1: u16 = 1 << 9;
    /// Invalid operation, overflow and underflow prevent the store; SF comes with the first.
    const PREVENTING: u16 = 0x19;
    const SF: u16 = 0x40;
    const ES_B: u16 = 0x8080;
    let stores =
        matches!(case.instruction.mnemonic(), M::Fst | M::Fstp | M::Fist | M::Fistp | M::Fisttp | M::Fbstp)
            && case.instruction.op0_kind() == OpKind::Memory;
    if !stores || !matches!(fault(case.found), Some(12..=14)) || host.end.outcome != Outcome::Next {
        return;
    }
    let (before, theirs) = (case.before.fx.status(), host.end.state.fx.status());
    let raises = theirs & !case.before.fx.control() & PREVENTING != 0 && theirs & ES_B == ES_B;
    let changed = (theirs ^ before) & !C1;
    let only_raises = changed & !(PREVENTING | SF | ES_B) == 0 && changed & before == 0;
    let mut rest = host.end.state.clone();
    rest.fx.set_status(before);
    if raises && only_raises && rest == case.found.state && *host.data == *case.data {
        agree(case, host);
    }
}

/// MOVD, MOVQ and MOVNTQ to memory that fault have set TOP to 0, as MMX state has it, but no tag.
fn mmx_store(case: &Case<'_>, host: &mut Host) {
    let stores = matches!(case.instruction.mnemonic(), M::Movd | M::Movq | M::Movntq)
        && case.instruction.op0_kind() == OpKind::Memory
        && case.instruction.op1_register().is_mm();
    if stores {
        leave_mmx_state(case, host, case.found.state.fx.valid());
    }
}

/// MASKMOVQ and MASKMOVDQU whose operand lies partly in addresses that are not canonical: the machine looks at all
/// of it, Intel's at what the mask selects.
fn masked_store(case: &Case<'_>, host: &mut Host) {
    let is_masked = matches!(case.instruction.mnemonic(), M::Maskmovq | M::Maskmovdqu);
    let Some((address, length)) = memory_operand(case).filter(|_| is_masked) else { return };
    let is_inside = |vaddr: u64| vaddr.wrapping_sub(address) < length;
    if fault(case.found) == Some(13) && fault_vaddr(&host.end).is_some_and(is_inside) {
        agree_on_outcome(case, host);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Trial, page_fault};
    use super::*;
    use crate::state::DATA;

    const HIGH: u64 = 0x1234_5678_0000_0000;

    fn trial(bytes: &[u8], outcome: Outcome, change: impl Fn(&mut crate::state::State)) -> Trial {
        let mut trial = Trial::new(Vendor::Intel, bytes, outcome);
        change(&mut trial.before);
        change(&mut trial.found.state);
        trial
    }

    #[test]
    fn an_idle_rep_may_clear_the_upper_halves_that_its_instruction_uses() {
        // rep movsb and rep lodsb with 32-bit addresses, count 0.
        for (opcode, clears_pointers) in [(0xa4, true), (0xac, false)] {
            let set = |state: &mut crate::state::State| {
                (state.gpr[1], state.gpr[6], state.gpr[7]) = (HIGH, HIGH | DATA, HIGH | DATA);
            };
            let trial = trial(&[0x67, 0xf3, opcode], Outcome::Next, set);
            assert!(trial.explains(|host| host.end.state.gpr[1] = 0));
            assert_eq!(trial.explains(|host| host.end.state.gpr[6] = DATA), clears_pointers);
            assert!(!trial.explains(|host| host.end.state.gpr[7] = DATA + 1));
            assert!(!trial.explains(|host| host.end.state.gpr[0] = 0));
        }
        // With a count there is something to do.
        let busy = trial_with_count(1);
        assert!(!busy.explains(|host| host.end.state.gpr[6] = DATA));
    }

    fn trial_with_count(count: u64) -> Trial {
        trial(&[0x67, 0xf3, 0xa4], Outcome::Next, |state| {
            (state.gpr[1], state.gpr[6], state.gpr[7]) = (HIGH | count, HIGH | DATA, HIGH | DATA);
        })
    }

    #[test]
    fn a_repeated_comparison_that_faults_may_keep_the_flags_of_before_and_no_others() {
        let mut trial = trial(&[0xf2, 0xae], page_fault(4, DATA + 0x2000), |state| state.gpr[1] = 4);
        trial.found.state.rflags = 0x85;
        assert!(trial.explains(|host| host.end.state.rflags = trial.before.rflags));
        assert!(!trial.explains(|host| host.end.state.rflags = 0x40));
        assert!(!trial.explains(|host| {
            host.end.state.rflags = trial.before.rflags;
            host.end.outcome = Outcome::Next;
        }));
    }

    #[test]
    fn an_x87_store_may_raise_its_exception_before_the_fault_of_its_memory() {
        // fstp dword ptr [rax], everything unmasked.
        let trial = trial(&[0xd9, 0x18], page_fault(6, DATA - 2), |state| {
            state.gpr[0] = DATA - 2;
            state.fx.set_control(0x340);
            state.fx.set_status(0x3800);
        });
        let with_status = |status: u16| {
            trial.explains(|host| {
                host.end.outcome = Outcome::Next;
                host.end.state.fx.set_status(status);
            })
        };
        assert!(with_status(0xb881), "invalid operation");
        assert!(with_status(0xb890), "underflow");
        assert!(!with_status(0x3801), "it is summarised");
        assert!(!with_status(0xb8a0), "inexactness does not prevent the store");
        assert!(!with_status(0x8081), "nothing is popped");
        assert!(!trial.explains(|host| host.end.outcome = Outcome::Next));
    }

    #[test]
    fn a_faulting_store_of_mmx_may_set_top_to_0_but_no_tag() {
        // movq [rax], mm1
        let trial = trial(&[0x0f, 0x7f, 0x08], page_fault(6, DATA + 0x2000), |state| {
            state.gpr[0] = DATA + 0x2000;
            state.fx.set_status(5 << 11);
            state.fx.set_valid(0x0f);
            (0..8).for_each(|index| state.fx.set_st(index, index as u128 + 1));
        });
        let entered = |valid: u8| {
            trial.explains(|host| {
                host.end.state.fx.set_status(0);
                host.end.state.fx.set_valid(valid);
                // What was ST(0) is R5.
                (0..8).for_each(|index| host.end.state.fx.set_st((index + 5) & 7, index as u128 + 1));
            })
        };
        assert!(entered(0x0f));
        assert!(!entered(0xff));
        assert!(!trial.explains(|host| host.end.state.fx.set_status(0)), "the registers move with TOP");
    }
}
