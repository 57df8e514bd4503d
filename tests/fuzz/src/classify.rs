//! Which instructions may run on the host under a test, and which family they belong to.
//!
//! Left out: what needs privilege or enters the kernel, what reads clocks, identity or entropy, loads of
//! segment registers and FS-relative accesses (FS holds the thread pointer of this process), far transfers,
//! and whatever the machine's CPUID does not offer (x86-64-v2 with AES and PCLMULQDQ) although the host may
//! execute it. Also the encodings of TZCNT and LZCNT, which older processors take for BSF and BSR.

use iced_x86::{CodeSize, CpuidFeature, FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::fmt;
use std::str::FromStr;

/// A part of the instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// General registers, flags, near branches, the stack.
    Integer,
    /// String instructions.
    String,
    /// SSE to SSE4.2, AES, PCLMULQDQ on XMM registers; FXSAVE.
    Sse,
    /// Whatever uses MMX registers.
    Mmx,
    /// x87.
    X87,
    /// Encodings without a meaning.
    Illegal,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 6] =
        [Family::Integer, Family::String, Family::Sse, Family::Mmx, Family::X87, Family::Illegal];

    fn name(self) -> &'static str {
        match self {
            Family::Integer => "integer",
            Family::String => "string",
            Family::Sse => "sse",
            Family::Mmx => "mmx",
            Family::X87 => "x87",
            Family::Illegal => "illegal",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Family, String> {
        Family::ALL.into_iter().find(|family| family.name() == text).ok_or_else(|| {
            let names: Vec<_> = Family::ALL.iter().map(|family| family.name()).collect();
            format!("no family is called {text:?}; there are {}", names.join(", "))
        })
    }
}

/// The family of an instruction that may be tested; `None` for one that may not.
#[must_use]
pub fn family(instruction: &Instruction) -> Option<Family> {
    if instruction.is_invalid() {
        return Some(Family::Illegal);
    }
    let refused = instruction.is_privileged()
        || instruction.segment_prefix() == Register::FS
        || !instruction.cpuid_features().iter().all(|&feature| is_offered(feature))
        || !is_confined(instruction)
        || is_refused(instruction);
    if refused {
        return None;
    }
    Some(if is_string(instruction) {
        Family::String
    } else if uses(instruction, Register::is_mm) || instruction.mnemonic() == Mnemonic::Emms {
        Family::Mmx
    } else if instruction.cpuid_features().iter().any(|feature| is_x87(*feature)) {
        Family::X87
    } else if uses(instruction, Register::is_xmm)
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Fxsave
                | Mnemonic::Fxsave64
                | Mnemonic::Fxrstor
                | Mnemonic::Fxrstor64
                | Mnemonic::Ldmxcsr
                | Mnemonic::Stmxcsr
        )
    {
        Family::Sse
    } else {
        Family::Integer
    })
}

fn uses(instruction: &Instruction, is_kind: fn(Register) -> bool) -> bool {
    (0..instruction.op_count()).any(|operand| {
        instruction.op_kind(operand) == OpKind::Register && is_kind(instruction.op_register(operand))
    })
}

fn is_x87(feature: CpuidFeature) -> bool {
    matches!(feature, CpuidFeature::FPU | CpuidFeature::FPU287 | CpuidFeature::FPU387)
}

fn is_offered(feature: CpuidFeature) -> bool {
    use CpuidFeature as F;
    is_x87(feature)
        || matches!(
            feature,
            F::INTEL8086
                | F::INTEL186
                | F::INTEL286
                | F::INTEL386
                | F::INTEL486
                | F::X64
                | F::CMOV
                | F::CX8
                | F::CMPXCHG16B
                | F::POPCNT
                | F::MULTIBYTENOP
                | F::PAUSE
                | F::CET_IBT
                | F::PREFETCHW
                | F::CLFSH
                | F::FXSR
                | F::MMX
                | F::SSE
                | F::SSE2
                | F::SSE3
                | F::SSSE3
                | F::SSE4_1
                | F::SSE4_2
                | F::AES
                | F::PCLMULQDQ
        )
}

/// Whether it goes on at the next instruction or at a target that the generator can choose.
fn is_confined(instruction: &Instruction) -> bool {
    use FlowControl as C;
    match instruction.flow_control() {
        C::Next => true,
        C::ConditionalBranch | C::UnconditionalBranch | C::Call => {
            instruction.op0_kind() == OpKind::NearBranch64
        }
        C::IndirectBranch | C::IndirectCall => {
            instruction.is_jmp_near_indirect() || instruction.is_call_near_indirect()
        }
        C::Return => {
            matches!(instruction.code(), iced_x86::Code::Retnq | iced_x86::Code::Retnq_imm16)
        }
        C::Exception => true,
        _ => false,
    }
}

/// What the kernel emulates or may trap, and what shows the host's own state.
fn is_refused(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    let segment_load = instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register().is_segment_register()
        && instruction.mnemonic() != M::Push;
    segment_load
        || instruction.code_size() != CodeSize::Code64
        || matches!(
            instruction.mnemonic(),
            M::Sgdt
                | M::Sidt
                | M::Sldt
                | M::Str
                | M::Smsw
                | M::Lar
                | M::Lsl
                | M::Verr
                | M::Verw
                | M::In
                | M::Out
                | M::Insb
                | M::Insw
                | M::Insd
                | M::Outsb
                | M::Outsw
                | M::Outsd
                | M::Syscall
                | M::Sysenter
                | M::Popf
                | M::Popfd
                | M::Popfq
                | M::Pushf
                | M::Pushfq
                | M::Lss
                | M::Lfs
                | M::Lgs
                | M::Cli
                | M::Sti
                | M::Hlt
                | M::Tzcnt
                | M::Lzcnt
                | M::Cpuid
                | M::Rdtsc
                | M::Rdpmc
        )
}

fn is_string(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    let name = matches!(
        instruction.mnemonic(),
        M::Movsb
            | M::Movsw
            | M::Movsd
            | M::Movsq
            | M::Stosb
            | M::Stosw
            | M::Stosd
            | M::Stosq
            | M::Lodsb
            | M::Lodsw
            | M::Lodsd
            | M::Lodsq
            | M::Scasb
            | M::Scasw
            | M::Scasd
            | M::Scasq
            | M::Cmpsb
            | M::Cmpsw
            | M::Cmpsd
            | M::Cmpsq
    );
    // MOVSD and CMPSD are also names of SSE instructions.
    name && !uses(instruction, Register::is_xmm)
}
