//! What AMD's processors alone do differently from the machine.

use super::shared::address_form_bytes;
use super::{
    Case, Host, Prefixes, Rule, Vendor, agree, agree_on_outcome, fault, leaves_canonical, memory_operand,
    vector_source,
};
use crate::state::Outcome;
use iced_x86::{Code, Instruction, Mnemonic as M, OpKind};

const fn rule(name: &'static str, explain: fn(&Case<'_>, &mut Host)) -> Rule {
    Rule { name, vendor: Some(Vendor::Amd), explain }
}

pub const RULES: &[Rule] = &[
    rule("NaN of a dot product", dot_product),
    rule("MXCSR_MASK with misaligned mode", mxcsr_mask),
    rule("MOVSXD reads 32 bits", movsxd),
    rule("PREFETCH of a register", prefetch),
    rule("PAUSE with REX.B", pause),
    rule("LOOPcc with a repeat prefix", looping),
    rule("LOCK MOV CR0", lock_mov_cr),
    rule("LOCK VERR is executed", lock_verify),
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

/// The length of LOCK VERR or LOCK VERW with a memory operand, which AMD's execute as if there were no LOCK, so that
/// nothing behind it may run.
pub fn locked_verify_bytes(bytes: &[u8]) -> Option<usize> {
    let prefixes = Prefixes::of(bytes);
    let modrm_at = prefixes.opcode + 2;
    let is_form = match bytes.get(prefixes.opcode..=modrm_at) {
        Some(&[0x0f, 0x00, modrm]) => prefixes.lock && modrm < 0xc0 && matches!(modrm >> 3 & 7, 4 | 5),
        _ => false,
    };
    is_form.then(|| (modrm_at + address_form_bytes(&bytes[modrm_at..])).min(bytes.len()))
}

/// LOCK VERR and LOCK VERW: AMD's do what they would without the prefix, up to the operand's fault or ZF.
fn lock_verify(case: &Case<'_>, host: &mut Host) {
    const ZF: u64 = 1 << 6;
    if locked_verify_bytes(case.bytes).is_none() || fault(case.found) != Some(6) {
        return;
    }
    let mut theirs = host.end.state.clone();
    theirs.rflags = theirs.rflags & !ZF | case.found.state.rflags & ZF;
    if matches!(fault(&host.end), Some(12..=14)) {
        agree_on_outcome(case, host);
    } else if host.end.outcome == Outcome::Next && theirs == case.found.state {
        agree(case, host);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Trial, page_fault, ud};
    use super::*;
    use crate::state::INSTRUCTION;

    const ZF: u64 = 1 << 6;
    const CF: u64 = 1;
    /// lock verw word ptr [rdx+0x37], and what would come next.
    const LOCK_VERW: [u8; 15] =
        [0xf0, 0x46, 0x0f, 0x00, 0x6a, 0x37, 0x72, 0x84, 0x9b, 0x3f, 2, 15, 31, 34, 0xf8];

    #[test]
    fn a_locked_verw_may_be_executed_and_change_nothing_but_zf() {
        let trial = Trial::new(Vendor::Amd, &LOCK_VERW, ud());
        assert!(trial.explains(|host| host.end.outcome = Outcome::Next));
        assert!(trial.explains(|host| {
            host.end.outcome = Outcome::Next;
            host.end.state.rflags ^= ZF;
        }));
        assert!(trial.explains(|host| host.end.outcome = page_fault(4, 0x2001_0000)));
        assert!(!trial.explains(|host| {
            host.end.outcome = Outcome::Next;
            host.end.state.rflags ^= CF;
        }));
        assert!(!trial.explains(|host| {
            host.end.outcome = Outcome::Next;
            host.end.state.gpr[2] += 1;
        }));
        assert!(!trial.explains(|host| host.end.outcome = Outcome::Taken));
        // What comes behind it must not run: its fault is no fault of this instruction.
        assert!(!trial.explains(|host| {
            host.end.outcome = Outcome::Fault { vector: 14, error_code: 4, rip: INSTRUCTION + 6, vaddr: 0 };
        }));
        let elsewhere = Trial::new(Vendor::Intel, &LOCK_VERW, ud());
        assert!(!elsewhere.explains(|host| host.end.outcome = Outcome::Next));
    }

    #[test]
    fn a_locked_verw_is_as_long_as_its_operand_says() {
        let narrow =
            [0xf0, 0x67, 0xf3, 0x48, 0x0f, 0x00, 0x6f, 0xda, 0xff, 0x4e, 0xd6, 0x4c, 0x63, 0x20, 0x65];
        assert_eq!(locked_verify_bytes(&LOCK_VERW), Some(6));
        assert_eq!(locked_verify_bytes(&narrow), Some(8));
        // /3 is LTR, /6 nothing, mod 3 a register, and without LOCK it is an instruction of everybody's.
        for (at, byte) in [(4, 0x5a), (4, 0x72), (4, 0xea), (0, 0x2e)] {
            let mut other = LOCK_VERW;
            other[at] = byte;
            assert_eq!(locked_verify_bytes(&other), None, "{other:02x?}");
        }
    }
}
