//! What AMD's processors do differently from Intel's, whose ways are the machine's.

use super::{
    Case, Host, Prefixes, Rule, Vendor, fault, fault_vaddr, is_canonical, leaves_canonical, memory_operand,
    vector_source,
};
use crate::state::Outcome;
use iced_x86::{Code, Instruction, Mnemonic as M, OpKind, Register};

const fn rule(name: &'static str, explain: fn(&Case<'_>, &mut Host)) -> Rule {
    Rule { name, vendor: Some(Vendor::Amd), explain }
}

pub const RULES: &[Rule] = &[
    rule("undefined condition codes are kept", condition_codes),
    rule("NaN of a dot product", dot_product),
    rule("exceptions of a dot product in stages", dot_product_stages),
    rule("inexactness beyond the range", unmasked_range),
    rule("MMX state before the exception", mmx_state),
    rule("MXCSR_MASK with misaligned mode", mxcsr_mask),
    rule("address of a fault in a long operand", long_operand),
    rule("long operand beyond the canonical half", beyond_canonical),
    rule("CALL pushes before it looks at the target", call),
    rule("flat segment override ignored", flat_segment),
    rule("alignment before the stack fault", alignment_first),
    rule("CMPS reads RDI first", compare_strings),
    rule("MOVSXD reads 32 bits", movsxd),
    rule("PREFETCH of a register", prefetch),
    rule("PAUSE with REX.B", pause),
    rule("LOOPcc with a repeat prefix", looping),
    rule("LOCK MOV CR0", lock_mov_cr),
    rule("LOCK VERR reads its operand", lock_verify),
    rule("length before opcode", too_long),
];

/// A near branch with an operand-size prefix: AMD truncates RIP to 16 bits and shortens the displacement; Intel
/// ignores the prefix (SDM vol. 2, JMP and Jcc; APM vol. 3, 1.2.2).
pub fn is_narrow_branch(bytes: &[u8], instruction: &Instruction) -> bool {
    let prefixes = Prefixes::of(bytes);
    let near = (instruction.op_count() > 0 && instruction.op0_kind() == OpKind::NearBranch64)
        || instruction.is_jmp_near_indirect()
        || instruction.is_call_near_indirect()
        || matches!(instruction.code(), Code::Retnq | Code::Retnq_imm16);
    near && prefixes.operand_size && prefixes.rex & 8 == 0
}

/// Makes the end of the host the machine's, registers included: for cases in which a fault is ended early.
fn agree(case: &Case<'_>, host: &mut Host) {
    host.end = case.found.clone();
}

/// Only how it ended is the machine's; registers must agree by themselves.
fn agree_on_outcome(case: &Case<'_>, host: &mut Host) {
    host.end.outcome = case.found.outcome;
}

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
        // C1 is said to be 0 after FCOMI, and after FCMOV only of a stack underflow; AMD keeps it in both.
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

/// Of several NaNs AMD passes on another one.
fn dot_product(case: &Case<'_>, host: &mut Host) {
    let bits = match case.instruction.mnemonic() {
        M::Dpps => 32,
        M::Dppd => 64,
        _ => return,
    };
    let Some(source) = vector_source(case) else { return };
    let register = case.instruction.op0_register().number();
    let lane = |vector: u128, index: u32| (vector >> (bits * index)) as u64 & (u64::MAX >> (64 - bits));
    let (exponent, quiet, indefinite) = match bits {
        32 => (0x7f80_0000, 1 << 22, 0xffc0_0000),
        _ => (0x7ff0_0000_0000_0000, 1 << 51, 0xfff8_0000_0000_0000),
    };
    let magnitude = |value: u64| value & (u64::MAX >> (65 - bits));
    let is_nan = |value: u64| magnitude(value) > exponent;
    let before = case.before.fx.xmm(register);
    let operands: Vec<u64> =
        (0..128 / bits).flat_map(|index| [lane(before, index), lane(source, index)]).collect();
    let candidates: Vec<u64> = operands
        .iter()
        .filter(|value| is_nan(**value))
        .map(|value| value | quiet)
        .chain([indefinite])
        .collect();
    let (theirs, ours) = (host.end.state.fx.xmm(register), case.found.state.fx.xmm(register));
    let explained = (0..128 / bits).all(|index| {
        let (theirs, ours) = (lane(theirs, index), lane(ours, index));
        theirs == ours || candidates.contains(&theirs) && candidates.contains(&ours)
    });
    if explained {
        host.end.state.fx.set_xmm(register, ours);
    }
}

/// With an unmasked underflow or overflow Intel's report the inexactness of the denormal or infinite result as
/// well; AMD's that of the result with a wider exponent, which a handler would get.
fn unmasked_range(case: &Case<'_>, host: &mut Host) {
    const OE_UE: u32 = 3 << 3;
    const PE: u32 = 1 << 5;
    let (theirs, ours) = (host.end.state.fx.mxcsr(), case.found.state.fx.mxcsr());
    let unmasked = ours & !(ours >> 7) & OE_UE != 0;
    if fault(&host.end) == Some(19) && unmasked && theirs ^ ours == PE && ours & PE != 0 {
        host.end.state.fx.set_mxcsr(ours);
    }
}

/// A dot product multiplies, then adds: an unmasked exception of the product ends it on AMD's before the sums
/// raise theirs, which on Intel's may come first by their kind.
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

/// MMX instructions that fault have entered MMX state on AMD's: TOP 0 and all registers valid.
fn mmx_state(case: &Case<'_>, host: &mut Host) {
    let enters = matches!(
        case.instruction.mnemonic(),
        M::Cvtps2pi | M::Cvttps2pi | M::Cvtpd2pi | M::Cvttpd2pi | M::Cvtpi2ps | M::Cvtpi2pd | M::Maskmovq
    );
    let theirs = host.end.state.fx;
    let entered = theirs.status() >> 11 & 7 == 0 && theirs.valid() == 0xff;
    if !enters || fault(&host.end).is_none() || !entered {
        return;
    }
    let ours = &case.found.state.fx;
    let top = usize::from(ours.status() >> 11 & 7);
    let fx = &mut host.end.state.fx;
    fx.set_status(theirs.status() | (top as u16) << 11);
    fx.set_valid(ours.valid());
    (0..8).for_each(|index| fx.set_st(index, theirs.st((top + index) & 7)));
}

/// FXSAVE shows AMD's bit 17 of MXCSR, misaligned exceptions off, which can be set there.
fn mxcsr_mask(case: &Case<'_>, host: &mut Host) {
    let is_save = matches!(case.instruction.mnemonic(), M::Fxsave | M::Fxsave64);
    let Some((address, _)) = memory_operand(case).filter(|_| is_save) else { return };
    let at = address.wrapping_add(28).wrapping_sub(crate::state::DATA) as usize;
    if let Some(mask) = at.checked_add(4).and_then(|end| host.data.get_mut(at..end))
        && *mask == 0x2_ffff_u32.to_le_bytes()
        && host.end.outcome == Outcome::Next
    {
        mask.copy_from_slice(&0xffff_u32.to_le_bytes());
    }
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

/// A page fault within a long operand names another byte of the page that cannot be accessed.
fn long_operand(case: &Case<'_>, host: &mut Host) {
    let Some((address, length)) = memory_operand(case).filter(|_| is_long(case)) else { return };
    let (Some(theirs), Some(ours)) = (fault_vaddr(&host.end), fault_vaddr(case.found)) else { return };
    let inside = |vaddr: u64| vaddr.wrapping_sub(address) < length;
    if inside(theirs)
        && inside(ours)
        && let (Outcome::Fault { error_code: left, .. }, Outcome::Fault { error_code: right, .. }) =
            (host.end.outcome, case.found.outcome)
        && left == right
    {
        agree_on_outcome(case, host);
        host.data.copy_from_slice(case.data);
    }
}

/// A long operand whose end is not canonical: AMD finds the fault of the page before first.
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

/// CALL to a target that is not canonical, with a stack that cannot be written: AMD finds the stack first.
fn call(case: &Case<'_>, host: &mut Host) {
    let pushed = case.before.gpr[4].wrapping_sub(8);
    let stack_first = match fault(&host.end) {
        Some(12) => !is_canonical(pushed) || leaves_canonical(pushed, 8),
        _ => fault_vaddr(&host.end) == Some(pushed),
    };
    if case.instruction.is_call_near_indirect() && fault(case.found) == Some(13) && stack_first {
        agree_on_outcome(case, host);
    }
}

/// ES, CS, SS and DS overrides choose between #SS and #GP on Intel's; AMD ignores them altogether.
fn flat_segment(case: &Case<'_>, host: &mut Host) {
    let faults = (fault(&host.end), fault(case.found));
    let swapped = match Prefixes::of(case.bytes).flat_segment {
        Some(0x36) => faults == (Some(13), Some(12)),
        Some(_) => {
            matches!(
                case.instruction.memory_base(),
                Register::RSP | Register::RBP | Register::ESP | Register::EBP
            ) && faults == (Some(12), Some(13))
        }
        None => false,
    };
    if swapped {
        agree_on_outcome(case, host);
    }
}

/// A 16-byte operand that is neither aligned nor canonical and refers to the stack: AMD finds #GP first.
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

/// When both operands of CMPS fault, AMD reports the one at RDI, Intel the one at RSI.
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

/// MOVSXD with a 16-bit destination reads 16 bits by the SDM, 32 on AMD's.
fn movsxd(case: &Case<'_>, host: &mut Host) {
    let Some((address, _)) = memory_operand(case) else { return };
    if case.instruction.code() != Code::Movsxd_r16_rm16 {
        return;
    }
    let beyond = match host.end.outcome {
        Outcome::Fault { vector: 14, vaddr, .. } => vaddr.wrapping_sub(address) < 4,
        Outcome::Fault { vector: 12 | 13, .. } => leaves_canonical(address, 4),
        _ => false,
    };
    // The page, or the canonical half, must end within the four bytes.
    if beyond && address & 0xfff > 0xffc {
        agree(case, host);
    }
}

/// 0F 0D of a register does nothing on Intel's and does not exist on AMD's, where it began as 3DNow!.
fn prefetch(case: &Case<'_>, host: &mut Host) {
    let is_form = matches!(
        case.instruction.code(),
        Code::Reservednop_rm16_r16_0F0D | Code::Reservednop_rm32_r32_0F0D | Code::Reservednop_rm64_r64_0F0D
    );
    if is_form && case.instruction.op0_kind() == OpKind::Register && fault(&host.end) == Some(6) {
        agree_on_outcome(case, host);
    }
}

/// F3 REX.B 90 is PAUSE on Intel's, XCHG with R8 on AMD's.
fn pause(case: &Case<'_>, host: &mut Host) {
    let prefixes = Prefixes::of(case.bytes);
    if case.instruction.code() != Code::Pause || prefixes.rex & 1 == 0 {
        return;
    }
    let mask = match (prefixes.rex & 8 != 0, prefixes.operand_size) {
        (true, _) => u64::MAX,
        (false, true) => 0xffff,
        (false, false) => 0xffff_ffff,
    };
    let kept = if mask == 0xffff { !mask } else { 0 };
    let (rax, r8) = (case.before.gpr[0], case.before.gpr[8]);
    let exchanged = (rax & kept | r8 & mask, r8 & kept | rax & mask);
    if (host.end.state.gpr[0], host.end.state.gpr[8]) == exchanged {
        (host.end.state.gpr[0], host.end.state.gpr[8]) = (rax, r8);
    }
}

/// A repeat prefix, which the SDM reserves there, chooses the condition of LOOPcc on AMD's: F3H loops while
/// equal, F2H while not equal, whatever the opcode.
fn looping(case: &Case<'_>, host: &mut Host) {
    const ZF: u64 = 1 << 6;
    let is_loop = matches!(case.instruction.mnemonic(), M::Loope | M::Loopne);
    let Some(repeat) = Prefixes::of(case.bytes).repeat.filter(|_| is_loop) else { return };
    let narrow = matches!(case.instruction.code(), Code::Loope_rel8_64_ECX | Code::Loopne_rel8_64_ECX);
    let count = host.end.state.gpr[1] & if narrow { 0xffff_ffff } else { u64::MAX };
    let taken = count != 0 && (case.before.rflags & ZF != 0) == (repeat == 0xf3);
    if host.end.outcome == if taken { Outcome::Taken } else { Outcome::Next } {
        agree_on_outcome(case, host);
    }
}

/// LOCK MOV CR0 is AMD's other name of CR8, so it is privileged rather than undefined.
fn lock_mov_cr(case: &Case<'_>, host: &mut Host) {
    let prefixes = Prefixes::of(case.bytes);
    let opcode = case.bytes.get(prefixes.opcode..prefixes.opcode + 2);
    let is_form = prefixes.lock && matches!(opcode, Some([0x0f, 0x20 | 0x22]));
    if is_form && (fault(&host.end), fault(case.found)) == (Some(13), Some(6)) {
        agree_on_outcome(case, host);
    }
}

/// LOCK VERR and LOCK VERW: AMD's read the operand before they refuse the prefix.
fn lock_verify(case: &Case<'_>, host: &mut Host) {
    let prefixes = Prefixes::of(case.bytes);
    let modrm = match case.bytes.get(prefixes.opcode..prefixes.opcode + 3) {
        Some(&[0x0f, 0x00, modrm]) => modrm,
        _ => return,
    };
    let is_form = prefixes.lock && modrm < 0xc0 && matches!(modrm >> 3 & 7, 4 | 5);
    if is_form && matches!(fault(&host.end), Some(12..=14)) && fault(case.found) == Some(6) {
        agree_on_outcome(case, host);
    }
}

/// An encoding that does not exist and would be longer than 15 bytes: AMD's find its length first.
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
fn address_form_bytes(bytes: &[u8]) -> usize {
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
