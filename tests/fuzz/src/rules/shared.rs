//! What processors of several vendors do otherwise than the machine, which does what was first observed: seen on
//! AMD's and on Intel's (family 6, model CFH).

use super::{
    Case, Host, Prefixes, Rule, agree_on_outcome, fault, fault_vaddr, is_canonical, leaves_canonical,
    memory_operand, page_fault,
};
use crate::compare::told_error_code;
use crate::state::Outcome;
use iced_x86::{Code, Instruction, Mnemonic as M, OpKind};

const fn rule(name: &'static str, explain: fn(&Case<'_>, &mut Host)) -> Rule {
    Rule { name, vendor: None, explain }
}

pub const RULES: &[Rule] = &[
    rule("undefined condition codes are kept", condition_codes),
    rule("inexactness beyond the range", unmasked_range),
    rule("exceptions of a dot product in stages", dot_product_stages),
    rule("MMX state before the exception", mmx_state),
    rule("address of a fault in a long operand", long_operand),
    rule("long operand beyond the canonical half", beyond_canonical),
    rule("CALL pushes before it looks at the target", call),
    rule("alignment before the stack fault", alignment_first),
    rule("CMPS reads RDI first", compare_strings),
    rule("length before opcode", too_long),
];

/// Condition codes of the x87 that the SDM calls undefined after an instruction.
fn undefined_conditions(instruction: &Instruction) -> u16 {
    const C0: u16 = 1 << 8;
    const C1: u16 = 1 << 9;
    const C2: u16 = 1 << 10;
    const C3: u16 = 1 << 14;
    match instruction.mnemonic() {
        M::Fcom
        | M::Fcomp
        | M::Fcompp
        | M::Fucom
        | M::Fucomp
        | M::Fucompp
        | M::Ficom
        | M::Ficomp
        | M::Ftst
        | M::Fxam
        | M::Fldenv
        | M::Frstor
        | M::Fninit
        | M::Fnsave => 0,
        M::Ffree | M::Ffreep | M::Fnop | M::Fnstcw | M::Fldcw | M::Fnstenv | M::Fnstsw | M::Fnclex => {
            C0 | C1 | C2 | C3
        }
        // C1 is said to be 0 after FCOMI, and after FCMOV only of a stack underflow; it is kept in both.
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => C1,
        M::Fcmovb
        | M::Fcmove
        | M::Fcmovbe
        | M::Fcmovu
        | M::Fcmovnb
        | M::Fcmovne
        | M::Fcmovnbe
        | M::Fcmovnu => C0 | C1 | C2 | C3,
        // C2 says whether the operand was in range, or the reduction complete.
        M::Fsin | M::Fcos | M::Fptan | M::Fsincos | M::Fprem | M::Fprem1 => C0 | C3,
        _ => C0 | C2 | C3,
    }
}

fn condition_codes(case: &Case<'_>, host: &mut Host) {
    let undefined = undefined_conditions(case.instruction);
    let (theirs, before) = (host.end.state.fx.status(), case.before.fx.status());
    let ours = case.found.state.fx.status();
    let is_x87 = (Code::Fadd_m32fp..=Code::Fcomip_st0_sti).contains(&case.instruction.code());
    if is_x87 && (theirs ^ before) & (theirs ^ ours) & undefined == 0 {
        host.end.state.fx.set_status(theirs & !undefined | ours & undefined);
    }
}

/// With an unmasked underflow or overflow the machine reports the inexactness of the denormal or infinite result as
/// well; others that of the result with a wider exponent, which a handler would get.
fn unmasked_range(case: &Case<'_>, host: &mut Host) {
    const OE_UE: u32 = 3 << 3;
    const PE: u32 = 1 << 5;
    let (theirs, ours) = (host.end.state.fx.mxcsr(), case.found.state.fx.mxcsr());
    let unmasked = ours & !(ours >> 7) & OE_UE != 0;
    if fault(&host.end) == Some(19) && unmasked && theirs ^ ours == PE && ours & PE != 0 {
        host.end.state.fx.set_mxcsr(ours);
    }
}

/// A dot product multiplies, then adds: elsewhere an unmasked exception of the product ends it before the sums
/// raise theirs, which here may come first by their kind.
fn dot_product_stages(case: &Case<'_>, host: &mut Host) {
    const FLAGS: u32 = 0x3f;
    let is_dot = matches!(case.instruction.mnemonic(), M::Dpps | M::Dppd);
    let (theirs, ours) = (host.end.state.fx.mxcsr(), case.found.state.fx.mxcsr());
    let unmasked = |mxcsr: u32| mxcsr & !(mxcsr >> 7) & FLAGS != 0;
    let both_raise = (fault(&host.end), fault(case.found)) == (Some(19), Some(19));
    if is_dot && both_raise && (theirs ^ ours) & !FLAGS == 0 && unmasked(theirs) && unmasked(ours) {
        host.end.state.fx.set_mxcsr(ours);
    }
}

/// Conversions and MASKMOVQ that fault have entered MMX state elsewhere.
fn mmx_state(case: &Case<'_>, host: &mut Host) {
    let enters = matches!(
        case.instruction.mnemonic(),
        M::Cvtps2pi | M::Cvttps2pi | M::Cvtpd2pi | M::Cvttpd2pi | M::Cvtpi2ps | M::Cvtpi2pd | M::Maskmovq
    );
    if enters {
        leave_mmx_state(case, host, 0xff);
    }
}

/// Takes back that a faulting instruction entered MMX state: TOP 0, and `valid` the registers that are not empty.
pub fn leave_mmx_state(case: &Case<'_>, host: &mut Host, valid: u8) {
    let theirs = host.end.state.fx;
    let entered = theirs.status() >> 11 & 7 == 0 && theirs.valid() == valid;
    if fault(&host.end).is_none() || !entered {
        return;
    }
    let ours = &case.found.state.fx;
    let top = usize::from(ours.status() >> 11 & 7);
    let fx = &mut host.end.state.fx;
    fx.set_status(theirs.status() | (top as u16) << 11);
    fx.set_valid(ours.valid());
    (0..8).for_each(|index| fx.set_st(index, theirs.st((top + index) & 7)));
}

/// Operands longer than a register, which processors access in parts in an order of their own.
fn is_long(case: &Case<'_>) -> bool {
    const EXTENDED_BYTES: usize = 10;
    case.instruction.memory_size().size() == EXTENDED_BYTES
        || matches!(
            case.instruction.mnemonic(),
            M::Fnstenv
                | M::Fldenv
                | M::Fnsave
                | M::Frstor
                | M::Fxsave
                | M::Fxsave64
                | M::Fxrstor
                | M::Fxrstor64
                | M::Maskmovdqu
                | M::Maskmovq
        )
}

/// A page fault within a long operand names another byte that cannot be accessed, and some may have been stored.
fn long_operand(case: &Case<'_>, host: &mut Host) {
    let Some((address, length)) = memory_operand(case).filter(|_| is_long(case)) else { return };
    let (Some(theirs), Some(ours)) = (page_fault(&host.end), page_fault(case.found)) else { return };
    let inside = |vaddr: u64| vaddr.wrapping_sub(address) < length;
    // P is that of another page, if it is another one.
    let comparable = |error_code, vaddr| match (theirs.vaddr ^ ours.vaddr) >> 12 {
        0 => told_error_code(error_code, vaddr),
        _ => error_code | 1,
    };
    let (left, right) =
        (comparable(theirs.error_code, theirs.vaddr), comparable(ours.error_code, ours.vaddr));
    if inside(theirs.vaddr) && inside(ours.vaddr) && left == right {
        agree_on_outcome(case, host);
        host.data.copy_from_slice(case.data);
    }
}

/// A long operand whose end is not canonical: the fault of the page before is found first.
fn beyond_canonical(case: &Case<'_>, host: &mut Host) {
    let Some((address, length)) = memory_operand(case).filter(|_| is_long(case)) else { return };
    let refused = matches!(fault(case.found), Some(12 | 13));
    let theirs = fault_vaddr(&host.end);
    if leaves_canonical(address, length)
        && refused
        && theirs.is_some_and(|vaddr| vaddr.wrapping_sub(address) < length)
    {
        agree_on_outcome(case, host);
    }
}

/// CALL to a target that is not canonical, with a stack that cannot be written: elsewhere the push comes first.
fn call(case: &Case<'_>, host: &mut Host) {
    let pushed = case.before.gpr[4].wrapping_sub(8);
    let stack_first = match fault(&host.end) {
        Some(12) => !is_canonical(pushed) || leaves_canonical(pushed, 8),
        _ => fault_vaddr(&host.end).is_some_and(|vaddr| vaddr.wrapping_sub(pushed) < 8),
    };
    if case.instruction.is_call_near_indirect() && fault(case.found) == Some(13) && stack_first {
        agree_on_outcome(case, host);
    }
}

/// A 16-byte operand that is neither aligned nor canonical and refers to the stack: #GP is found first.
fn alignment_first(case: &Case<'_>, host: &mut Host) {
    let Some((address, length)) = memory_operand(case) else { return };
    let ends = address.wrapping_add(length.max(1) - 1);
    let outside = !is_canonical(address) || !is_canonical(ends);
    if length >= 16
        && address & 15 != 0
        && outside
        && (fault(&host.end), fault(case.found)) == (Some(13), Some(12))
    {
        agree_on_outcome(case, host);
    }
}

/// When both operands of CMPS fault, the one at RDI is reported, here the one at RSI.
fn compare_strings(case: &Case<'_>, host: &mut Host) {
    let is_compare = matches!(case.instruction.mnemonic(), M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq)
        && case.instruction.op0_kind() != OpKind::Register;
    if !is_compare || fault(case.found).is_none() {
        return;
    }
    let length = case.instruction.memory_size().size() as u64;
    let narrow = case.instruction.op1_kind() == OpKind::MemoryESEDI;
    let at = host.end.state.gpr[7] & if narrow { 0xffff_ffff } else { u64::MAX };
    let of_rdi = match host.end.outcome {
        Outcome::Fault { vector: 14, vaddr, .. } => vaddr.wrapping_sub(at) < length,
        Outcome::Fault { vector: 13, .. } => !is_canonical(at) || !is_canonical(at.wrapping_add(length - 1)),
        _ => false,
    };
    if of_rdi {
        agree_on_outcome(case, host);
    }
}

/// An encoding that does not exist and would be longer than 15 bytes: elsewhere its length is found first.
fn too_long(case: &Case<'_>, host: &mut Host) {
    let at = Prefixes::of(case.bytes).opcode;
    let body = &case.bytes[at..];
    if (fault(&host.end), fault(case.found)) != (Some(13), Some(6)) || case.bytes.len() < 15 {
        return;
    }
    // The undefined forms with the longest operands: C6 and C7 with /reg other than 0, and 8F with a /reg of
    // which AMD's made XOP, a prefix of three bytes before opcode and ModRM.
    let (opcode_bytes, immediate) = match *body {
        [0xc6, ..] => (1, 1),
        [0xc7, ..] if Prefixes::of(case.bytes).operand_size => (1, 2),
        [0xc7, ..] => (1, 4),
        [0x8f, map, ..] if map & 0x1f == 8 => (4, 1),
        [0x8f, map, ..] if map & 0x1f == 10 => (4, 4),
        [0x8f, map, ..] if map & 0x1f > 8 => (4, 0),
        _ => return,
    };
    let length = at + opcode_bytes + body.get(opcode_bytes..).map_or(15, address_form_bytes) + immediate;
    if length > 15 {
        agree_on_outcome(case, host);
    }
}

/// How long ModRM, SIB and displacement are.
pub fn address_form_bytes(bytes: &[u8]) -> usize {
    let Some(&modrm) = bytes.first() else { return 15 };
    let (form, low) = (modrm >> 6, modrm & 7);
    let sib = if form != 3 && low == 4 { bytes.get(1).copied() } else { None };
    let displacement = match form {
        0 if low == 5 || sib.is_some_and(|sib| sib & 7 == 5) => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    1 + usize::from(form != 3 && low == 4) + displacement
}

#[cfg(test)]
mod tests {
    use super::super::Vendor;
    use super::super::testing::{Trial, page_fault};
    use crate::state::DATA;

    const VENDORS: [Vendor; 3] = [Vendor::Intel, Vendor::Amd, Vendor::Other];
    /// fxrstor [rax]
    const FXRSTOR: [u8; 3] = [0x0f, 0xae, 0x08];
    /// The host's kernel, where Linux calls every fault one of protection.
    const KERNEL: u64 = 0xffff_ffff_8100_0000;

    fn fxrstor(vendor: Vendor, address: u64) -> Trial {
        let mut trial = Trial::new(vendor, &FXRSTOR, page_fault(4, address));
        (trial.before.gpr[0], trial.found.state.gpr[0]) = (address, address);
        trial
    }

    #[test]
    fn a_fault_of_a_long_operand_may_name_its_last_byte_and_what_linux_makes_of_the_kernels_map() {
        for vendor in VENDORS {
            let trial = fxrstor(vendor, KERNEL);
            assert!(trial.explains(|host| host.end.outcome = page_fault(5, KERNEL + 0x1ff)));
            assert!(trial.explains(|host| host.end.outcome = page_fault(4, KERNEL + 0x1ff)));
            // Not beyond the operand, nor as a write, nor with a register changed.
            assert!(!trial.explains(|host| host.end.outcome = page_fault(5, KERNEL + 0x200)));
            assert!(!trial.explains(|host| host.end.outcome = page_fault(7, KERNEL + 0x1ff)));
            assert!(!trial.explains(|host| {
                host.end.outcome = page_fault(5, KERNEL + 0x1ff);
                host.end.state.gpr[3] = 1;
            }));
        }
    }

    #[test]
    fn in_the_programs_half_the_p_bit_of_a_fault_is_compared() {
        for vendor in VENDORS {
            let trial = fxrstor(vendor, DATA + 0x2000);
            // Its end may be in another page.
            let crossing = fxrstor(vendor, DATA + 0x1f00);
            assert!(crossing.explains(|host| host.end.outcome = page_fault(5, DATA + 0x20ff)));
            assert!(!crossing.explains(|host| host.end.outcome = page_fault(6, DATA + 0x20ff)));
            assert!(trial.explains(|host| host.end.outcome = page_fault(4, DATA + 0x21ff)));
            assert!(!trial.explains(|host| host.end.outcome = page_fault(5, DATA + 0x21ff)));
        }
    }

    #[test]
    fn a_short_operand_names_its_first_byte() {
        // mov eax, [rax]
        let mut trial = Trial::new(Vendor::Intel, &[0x8b, 0x00], page_fault(4, KERNEL));
        (trial.before.gpr[0], trial.found.state.gpr[0]) = (KERNEL, KERNEL);
        assert!(!trial.explains(|host| host.end.outcome = page_fault(5, KERNEL + 3)));
    }
}
