//! Lowering: from decoded instructions to operations, once per block.
//!
//! An instruction gets a handler specialised by size and operand form here, or [`slow`]. Left to `slow` on
//! purpose: everything outside 64-bit mode, LOCK and REP prefixes, the high byte registers, and whatever is
//! rare on real code.

use super::block::{MAX_OPS, ModeKey};
use super::op::{Address, Base, BaseIndex, General, Handler, Op, address, handler, slow};
use super::{alu, control, data, sse};
use crate::cpu::operand::{gpr_index, operand_segment};
use crate::cpu::state::{FS, GS, SS, Vcpu};
use crate::mem::PAGE_BYTES;
use crate::system::System;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// A block before it is cached.
pub struct Lowered {
    /// Its operations.
    pub ops: Vec<Op>,
    /// The instructions behind them.
    pub instructions: Vec<Instruction>,
    /// How many bytes it was decoded from.
    pub length_bytes: usize,
}

/// Decodes and lowers from RIP, whose bytes lie at RAM offset `offset`, to the first instruction that goes
/// elsewhere, is left to the specification, reaches a stop or does not lie whole in the page.
pub fn lower_block(cpu: &Vcpu, sys: &System, offset: usize, mode: ModeKey) -> Lowered {
    let mut room = PAGE_BYTES - offset % PAGE_BYTES;
    if mode.code_bits != 64 {
        room = room.min((u64::from(mode.cs_limit) - (cpu.rip & 0xffff_ffff)) as usize + 1);
    }
    let bytes = &sys.mem.ram()[offset..offset + room];
    let mut decoder = Decoder::with_ip(u32::from(mode.code_bits), bytes, cpu.rip, DecoderOptions::NONE);
    let mut lowered = Lowered { ops: Vec::new(), instructions: Vec::new(), length_bytes: 0 };
    let mut instruction = Instruction::default();
    while lowered.ops.len() < MAX_OPS && decoder.can_decode() {
        if !lowered.ops.is_empty() && sys.stops.breaks_before(decoder.ip()) {
            break;
        }
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            break;
        }
        let mut op = if mode.code_bits == 64 { lower(&instruction) } else { Op { run: slow, ..EMPTY } };
        op.rip_offset = lowered.length_bytes as u16;
        op.index = lowered.ops.len() as u8;
        op.length = instruction.len() as u8;
        let ends = std::ptr::fn_addr_eq(op.run, slow as Handler)
            || !matches!(instruction.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
        lowered.length_bytes += instruction.len();
        lowered.ops.push(op);
        lowered.instructions.push(instruction);
        if ends {
            break;
        }
    }
    lowered
}

const EMPTY: Op = Op {
    run: slow,
    displacement: 0,
    immediate: 0,
    rip_offset: 0,
    index: 0,
    length: 0,
    a: 0,
    b: 0,
    base: 0,
    index_register: 0,
    scale_shift: 0,
    address_bits: 0,
};

/// Which [`Address`] type fits a memory operand.
#[derive(Clone, Copy)]
enum Form {
    Base,
    BaseIndex,
    General,
}

/// The handler `$function::<.., A, ..>` for the address form.
macro_rules! by_form {
    ($form:expr, $($function:ident)::+, [$($before:ty),*], [$($after:tt)*]) => {
        match $form {
            Form::Base => handler!($($function)::+::<$($before,)* Base, $($after)*>),
            Form::BaseIndex => handler!($($function)::+::<$($before,)* BaseIndex, $($after)*>),
            Form::General => handler!($($function)::+::<$($before,)* General, $($after)*>),
        }
    };
}

/// The handler for an operand size without a memory operand.
macro_rules! by_size {
    ($size:expr, $($function:ident)::+, [$($before:ty),*]) => {
        match $size {
            1 => handler!($($function)::+::<$($before,)* 1>),
            2 => handler!($($function)::+::<$($before,)* 2>),
            4 => handler!($($function)::+::<$($before,)* 4>),
            _ => handler!($($function)::+::<$($before,)* 8>),
        }
    };
}

/// The handler for an address form and an operand size.
macro_rules! by_form_and_size {
    ($form:expr, $size:expr, $($function:ident)::+, [$($before:ty),*]) => {
        match $size {
            1 => by_form!($form, $($function)::+, [$($before),*], [1]),
            2 => by_form!($form, $($function)::+, [$($before),*], [2]),
            4 => by_form!($form, $($function)::+, [$($before),*], [4]),
            _ => by_form!($form, $($function)::+, [$($before),*], [8]),
        }
    };
}

/// The handler for one of the sixteen conditions.
macro_rules! by_condition {
    ($code:expr, |$c:ident| $handler:expr) => {
        by_condition!(@ $code, $c, $handler, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $code:expr, $c:ident, $handler:expr, $($n:literal)*) => {
        match $code {
            $($n => { const $c: u8 = $n; $handler })*
            _ => unreachable!("a condition code has four bits"),
        }
    };
}

/// Lowers one instruction of 64-bit mode; the caller fills in its place.
fn lower(instruction: &Instruction) -> Op {
    let mut op = EMPTY;
    let refused = instruction.has_lock_prefix()
        || instruction.has_rep_prefix()
        || instruction.has_repne_prefix()
        || (0..instruction.op_count()).any(|operand| is_high_byte(instruction, operand));
    if refused {
        return op;
    }
    let form = lower_address(instruction, &mut op);
    if let Some(handler) = lower_data(instruction, form, &mut op)
        .or_else(|| lower_alu(instruction, form, &mut op))
        .or_else(|| lower_control(instruction, form, &mut op))
        .or_else(|| sse::lower(instruction, &mut op))
    {
        op.run = handler;
    }
    op
}

fn is_high_byte(instruction: &Instruction, operand: u32) -> bool {
    instruction.op_kind(operand) == OpKind::Register
        && matches!(
            instruction.op_register(operand),
            Register::AH | Register::BH | Register::CH | Register::DH
        )
}

/// Fills in the memory operand, if there is one.
fn lower_address(instruction: &Instruction, op: &mut Op) -> Form {
    let base = instruction.memory_base();
    let index = instruction.memory_index();
    let has_base = !matches!(base, Register::None | Register::RIP | Register::EIP);
    op.displacement = instruction.memory_displacement64() as i64;
    op.base = if has_base { gpr_index(base).0 as u8 } else { 0 };
    op.index_register = if index == Register::None { 0 } else { gpr_index(index).0 as u8 };
    op.scale_shift = instruction.memory_index_scale().trailing_zeros() as u8;
    let segment = operand_segment(instruction);
    if segment == SS {
        op.address_bits |= address::STACK;
    }
    let narrow = base == Register::EIP
        || has_base && base.size() == 4
        || index != Register::None && index.size() == 4
        || !has_base && index == Register::None && instruction.memory_displ_size() == 4;
    let plain = !narrow && segment != FS && segment != GS;
    if has_base && plain {
        return if index == Register::None { Form::Base } else { Form::BaseIndex };
    }
    op.address_bits |= if has_base { address::HAS_BASE } else { 0 };
    op.address_bits |= if index != Register::None { address::HAS_INDEX } else { 0 };
    op.address_bits |= if narrow { address::WRAPS } else { 0 };
    op.address_bits |= match segment {
        FS => address::FS,
        GS => address::GS,
        _ => 0,
    };
    Form::General
}

/// Operand kinds, as far as lowering tells them apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Register,
    Memory,
    Immediate,
    Other,
}

fn kind(instruction: &Instruction, operand: u32) -> Kind {
    if operand >= instruction.op_count() {
        return Kind::Other;
    }
    match instruction.op_kind(operand) {
        OpKind::Register if instruction.op_register(operand).is_gpr() => Kind::Register,
        OpKind::Memory => Kind::Memory,
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Kind::Immediate,
        _ => Kind::Other,
    }
}

fn register(instruction: &Instruction, operand: u32) -> u8 {
    gpr_index(instruction.op_register(operand)).0 as u8
}

/// Size in bytes of the first operand.
fn size(instruction: &Instruction) -> usize {
    match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size(),
        _ => instruction.memory_size().size(),
    }
}

/// MOV and its relatives, the stack.
fn lower_data(instruction: &Instruction, form: Form, op: &mut Op) -> Option<Handler> {
    use Kind::{Immediate, Memory, Register};
    let kinds = (kind(instruction, 0), kind(instruction, 1));
    match kinds.0 {
        Register => op.a = register(instruction, 0),
        Memory if kinds.1 == Register => op.a = register(instruction, 1),
        _ => {}
    }
    if kinds == (Register, Register) {
        op.b = register(instruction, 1);
    }
    let size = size(instruction);
    Some(match (instruction.mnemonic(), kinds) {
        (Mnemonic::Mov, (Register, Register)) => by_size!(size, data::mov_reg, []),
        (Mnemonic::Mov, (Register, Immediate)) => {
            op.displacement = instruction.immediate(1) as i64;
            by_size!(size, data::mov_imm, [])
        }
        (Mnemonic::Mov, (Register, Memory)) => by_form_and_size!(form, size, data::mov_load, []),
        (Mnemonic::Mov, (Memory, Register)) => by_form_and_size!(form, size, data::mov_store, []),
        (Mnemonic::Mov, (Memory, Immediate)) => {
            op.immediate = instruction.immediate(1) as i32;
            by_form_and_size!(form, size, data::mov_store_imm, [])
        }
        (Mnemonic::Movzx | Mnemonic::Movsx | Mnemonic::Movsxd, _) => {
            return lower_extension(instruction, form);
        }
        (Mnemonic::Lea, _) => {
            op.address_bits &= !(address::FS | address::GS);
            match size {
                2 => by_form!(form, data::lea, [], [2]),
                4 => by_form!(form, data::lea, [], [4]),
                _ => by_form!(form, data::lea, [], [8]),
            }
        }
        (Mnemonic::Xchg, (Register, Register)) => by_size!(size, data::xchg_reg, []),
        (Mnemonic::Bswap, _) if size == 4 => handler!(data::bswap::<4>),
        (Mnemonic::Bswap, _) if size == 8 => handler!(data::bswap::<8>),
        (Mnemonic::Cwde, _) => handler!(data::extend_rax::<4, 2>),
        (Mnemonic::Cdqe, _) => handler!(data::extend_rax::<8, 4>),
        (Mnemonic::Cdq, _) => handler!(data::extend_into_rdx::<4>),
        (Mnemonic::Cqo, _) => handler!(data::extend_into_rdx::<8>),
        (
            Mnemonic::Nop
            | Mnemonic::Endbr64
            | Mnemonic::Endbr32
            | Mnemonic::Prefetcht0
            | Mnemonic::Prefetcht1
            | Mnemonic::Prefetcht2
            | Mnemonic::Prefetchnta
            | Mnemonic::Prefetchw
            | Mnemonic::Lfence
            | Mnemonic::Mfence
            | Mnemonic::Sfence,
            _,
        ) => handler!(data::nop),
        (Mnemonic::Push, (kind, _)) => return lower_push(instruction, kind, form, op),
        (Mnemonic::Pop, (Register, _)) if size == 8 => {
            op.address_bits = address::STACK;
            handler!(data::pop_reg)
        }
        (Mnemonic::Leave, _) if instruction.code() == Code::Leaveq => {
            op.address_bits = address::STACK;
            handler!(data::leave)
        }
        _ => return lower_conditional_move(instruction, kinds, form, size),
    })
}

fn lower_extension(instruction: &Instruction, form: Form) -> Option<Handler> {
    let to = instruction.op0_register().size();
    let memory = kind(instruction, 1) == Kind::Memory;
    let from = if memory { instruction.memory_size().size() } else { instruction.op1_register().size() };
    let sign = instruction.mnemonic() != Mnemonic::Movzx;
    macro_rules! extension {
        ($to:literal, $from:literal) => {
            match (memory, sign) {
                (false, false) => handler!(data::movzx_reg::<$to, $from>),
                (false, true) => handler!(data::movsx_reg::<$to, $from>),
                (true, false) => by_form!(form, data::movzx_load, [], [$to, $from]),
                (true, true) => by_form!(form, data::movsx_load, [], [$to, $from]),
            }
        };
    }
    Some(match (to, from) {
        (2, 1) => extension!(2, 1),
        (4, 1) => extension!(4, 1),
        (8, 1) => extension!(8, 1),
        (4, 2) => extension!(4, 2),
        (8, 2) => extension!(8, 2),
        (8, 4) => extension!(8, 4),
        _ => return None,
    })
}

fn lower_push(instruction: &Instruction, kind: Kind, form: Form, op: &mut Op) -> Option<Handler> {
    Some(match kind {
        Kind::Register if instruction.op0_register().size() == 8 => {
            op.address_bits = address::STACK;
            handler!(data::push_reg)
        }
        Kind::Immediate if matches!(instruction.code(), Code::Pushq_imm8 | Code::Pushq_imm32) => {
            op.address_bits = address::STACK;
            op.immediate = instruction.immediate(0) as i32;
            handler!(data::push_imm)
        }
        // The faults of the two accesses name different segments unless both go through SS.
        Kind::Memory if instruction.memory_size().size() == 8 && op.address_bits & address::STACK != 0 => {
            match form {
                Form::Base => handler!(data::push_mem::<Base>),
                Form::BaseIndex => handler!(data::push_mem::<BaseIndex>),
                Form::General => handler!(data::push_mem::<General>),
            }
        }
        _ => return None,
    })
}

fn lower_conditional_move(
    instruction: &Instruction,
    kinds: (Kind, Kind),
    form: Form,
    size: usize,
) -> Option<Handler> {
    let code = instruction.condition_code() as u8;
    if code == 0 {
        return None;
    }
    let code = CONDITIONS[usize::from(code)];
    let name = instruction.mnemonic();
    let is_set = size == 1 && kinds == (Kind::Register, Kind::Other) && instruction.op_count() == 1;
    if is_set {
        return Some(by_condition!(code, |C| handler!(data::setcc::<C>)));
    }
    let is_move = instruction.op_count() == 2 && kinds.0 == Kind::Register && name != Mnemonic::Mov;
    match (is_move, kinds.1, size) {
        (true, Kind::Register, 2) => Some(by_condition!(code, |C| handler!(data::cmov_reg::<C, 2>))),
        (true, Kind::Register, 4) => Some(by_condition!(code, |C| handler!(data::cmov_reg::<C, 4>))),
        (true, Kind::Register, 8) => Some(by_condition!(code, |C| handler!(data::cmov_reg::<C, 8>))),
        (true, Kind::Memory, 4) => Some(by_condition!(code, |C| cmov_load::<C, 4>(form))),
        (true, Kind::Memory, 8) => Some(by_condition!(code, |C| cmov_load::<C, 8>(form))),
        _ => None,
    }
}

fn cmov_load<const C: u8, const S: usize>(form: Form) -> Handler {
    fn with<const C: u8, A: Address, const S: usize>() -> Handler {
        handler!(data::cmov_load::<C, A, S>)
    }
    match form {
        Form::Base => with::<C, Base, S>(),
        Form::BaseIndex => with::<C, BaseIndex, S>(),
        Form::General => with::<C, General, S>(),
    }
}

/// Encoding of each condition, by iced's `ConditionCode`.
const CONDITIONS: [u8; 17] = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Arithmetic.
fn lower_alu(instruction: &Instruction, form: Form, op: &mut Op) -> Option<Handler> {
    macro_rules! binary {
        ($name:ident) => {
            lower_binary::<alu::$name>(instruction, form, op)
        };
    }
    macro_rules! unary {
        ($name:ident) => {
            lower_unary::<alu::$name>(instruction, form)
        };
    }
    match instruction.mnemonic() {
        Mnemonic::Add => binary!(Add),
        Mnemonic::Sub => binary!(Sub),
        Mnemonic::Cmp => binary!(Cmp),
        Mnemonic::Adc => binary!(Adc),
        Mnemonic::Sbb => binary!(Sbb),
        Mnemonic::And => binary!(And),
        Mnemonic::Or => binary!(Or),
        Mnemonic::Xor => binary!(Xor),
        Mnemonic::Test => binary!(Test),
        Mnemonic::Inc => unary!(Inc),
        Mnemonic::Dec => unary!(Dec),
        Mnemonic::Neg => unary!(Neg),
        Mnemonic::Not => unary!(Not),
        Mnemonic::Shl | Mnemonic::Sal => lower_shift::<alu::Shl>(instruction, op),
        Mnemonic::Shr => lower_shift::<alu::Shr>(instruction, op),
        Mnemonic::Sar => lower_shift::<alu::Sar>(instruction, op),
        Mnemonic::Rol => lower_shift::<alu::Rol>(instruction, op),
        Mnemonic::Ror => lower_shift::<alu::Ror>(instruction, op),
        Mnemonic::Imul => lower_imul(instruction, form, op),
        Mnemonic::Bt if kind(instruction, 0) == Kind::Register => {
            let immediate = kind(instruction, 1) == Kind::Immediate;
            if immediate {
                op.immediate = instruction.immediate(1) as i32;
            }
            Some(match (immediate, size(instruction)) {
                (true, 4) => handler!(alu::bt::<true, 4>),
                (true, 8) => handler!(alu::bt::<true, 8>),
                (false, 4) => handler!(alu::bt::<false, 4>),
                (false, 8) => handler!(alu::bt::<false, 8>),
                _ => return None,
            })
        }
        _ => None,
    }
}

fn lower_binary<O: alu::Binary>(instruction: &Instruction, form: Form, op: &mut Op) -> Option<Handler> {
    use Kind::{Immediate, Memory, Register};
    let size = size(instruction);
    if kind(instruction, 1) == Immediate {
        op.immediate = instruction.immediate(1) as i32;
    }
    Some(match (kind(instruction, 0), kind(instruction, 1)) {
        (Register, Register) => by_size!(size, alu::reg_reg, [O]),
        (Register, Immediate) => by_size!(size, alu::reg_imm, [O]),
        (Register, Memory) => by_form_and_size!(form, size, alu::reg_mem, [O]),
        (Memory, Register) => by_form_and_size!(form, size, alu::mem_reg, [O]),
        (Memory, Immediate) => by_form_and_size!(form, size, alu::mem_imm, [O]),
        _ => return None,
    })
}

fn lower_unary<O: alu::Unary>(instruction: &Instruction, form: Form) -> Option<Handler> {
    let size = size(instruction);
    Some(match kind(instruction, 0) {
        Kind::Register => by_size!(size, alu::unary_reg, [O]),
        Kind::Memory => by_form_and_size!(form, size, alu::unary_mem, [O]),
        _ => return None,
    })
}

fn lower_shift<O: alu::Shift>(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    let size = size(instruction);
    if kind(instruction, 0) != Kind::Register {
        return None;
    }
    match kind(instruction, 1) {
        Kind::Immediate => {
            op.immediate = instruction.immediate(1) as i32;
            Some(by_size!(size, alu::shift_imm, [O]))
        }
        _ => Some(by_size!(size, alu::shift_cl, [O])),
    }
}

fn lower_imul(instruction: &Instruction, form: Form, op: &mut Op) -> Option<Handler> {
    let size = size(instruction);
    match (instruction.op_count(), kind(instruction, 1), size) {
        (2, Kind::Register, 4) => Some(handler!(alu::imul_reg::<4>)),
        (2, Kind::Register, 8) => Some(handler!(alu::imul_reg::<8>)),
        (2, Kind::Memory, 4) => Some(by_form!(form, alu::imul_mem, [], [4])),
        (2, Kind::Memory, 8) => Some(by_form!(form, alu::imul_mem, [], [8])),
        (3, Kind::Register, 4 | 8) => {
            op.immediate = instruction.immediate(2) as i32;
            Some(if size == 4 { handler!(alu::imul_imm::<4>) } else { handler!(alu::imul_imm::<8>) })
        }
        _ => None,
    }
}

/// Near branches.
fn lower_control(instruction: &Instruction, form: Form, op: &mut Op) -> Option<Handler> {
    if instruction.is_jcc_short_or_near() {
        op.displacement = branch_target(instruction)?;
        let code = CONDITIONS[instruction.condition_code() as usize];
        return Some(by_condition!(code, |C| handler!(control::jcc::<C>)));
    }
    let memory = kind(instruction, 0) == Kind::Memory && instruction.memory_size().size() == 8;
    let stack = op.address_bits & address::STACK != 0;
    match instruction.mnemonic() {
        Mnemonic::Jmp if instruction.is_jmp_short_or_near() => {
            op.displacement = branch_target(instruction)?;
            Some(handler!(control::jmp))
        }
        Mnemonic::Jmp if instruction.code() == Code::Jmp_rm64 => Some(if memory {
            match form {
                Form::Base => handler!(control::jmp_mem::<Base>),
                Form::BaseIndex => handler!(control::jmp_mem::<BaseIndex>),
                Form::General => handler!(control::jmp_mem::<General>),
            }
        } else {
            handler!(control::jmp_reg)
        }),
        Mnemonic::Call if instruction.is_call_near() => {
            op.displacement = branch_target(instruction)?;
            op.address_bits = address::STACK;
            Some(handler!(control::call))
        }
        // As for PUSH: the two accesses must name the same segment in their faults.
        Mnemonic::Call if instruction.code() == Code::Call_rm64 => match (memory, stack, form) {
            (true, true, Form::Base) => Some(handler!(control::call_mem::<Base>)),
            (true, true, Form::BaseIndex) => Some(handler!(control::call_mem::<BaseIndex>)),
            (true, ..) => None,
            (false, ..) => {
                op.address_bits = address::STACK;
                Some(handler!(control::call_reg))
            }
        },
        Mnemonic::Ret if instruction.code() == Code::Retnq => {
            op.address_bits = address::STACK;
            Some(handler!(control::ret))
        }
        _ => None,
    }
}

/// A direct target that is canonical; the others are left to the specification, which raises #GP.
fn branch_target(instruction: &Instruction) -> Option<i64> {
    let target = instruction.near_branch_target();
    (instruction.op0_kind() == OpKind::NearBranch64 && Vcpu::is_canonical(target)).then_some(target as i64)
}
