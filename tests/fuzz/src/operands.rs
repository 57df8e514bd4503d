//! The state an instruction runs on: registers whose values make its memory operands lie in the data, and
//! data worth operating on.
//!
//! Nothing is handed out that could touch memory of this process outside the data: every access the
//! instruction may make is computed beforehand, and lies where nothing but the data is mapped.

use crate::classify::Family;
use crate::generate::{Encoding, data_address};
use crate::random::Random;
use crate::state::{DATA, DATA_BYTES, DATA_SURROUNDINGS, Data, FLAGS, Fx, State, TARGET};
use crate::values;
use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register, UsedMemory};

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RSP: usize = 4;

/// Draws states for instructions.
#[derive(Debug)]
pub struct Operands {
    info: InstructionInfoFactory,
}

impl Default for Operands {
    fn default() -> Operands {
        Operands { info: InstructionInfoFactory::new() }
    }
}

impl Operands {
    /// Draws a state for `encoding` and puts its memory operands into `data`. `None` if no harmless state
    /// was found.
    pub fn draw(&mut self, random: &mut Random, encoding: &Encoding, data: &mut Data) -> Option<State> {
        let instruction = &encoding.instruction;
        let memory: Vec<UsedMemory> = self.info.info(instruction).used_memory().to_vec();
        let mut state = registers(random, encoding.family);
        tune(random, instruction, &mut state);
        solve(random, &memory, &mut state);
        if !is_harmless(instruction, &memory, &state) {
            return None;
        }
        for access in &memory {
            let length = access.memory_size().size().clamp(8, 512);
            fill(random, encoding.family, data, address(access, &state), length);
        }
        if matches!(instruction.mnemonic(), Mnemonic::Fxrstor | Mnemonic::Fxrstor64) {
            let image = image(random, Family::X87);
            write(data, address(&memory[0], &state), &image.0[..416]);
        }
        if instruction.mnemonic() == Mnemonic::Ldmxcsr && !random.chance(20) {
            write(data, address(&memory[0], &state), &(random.next() as u32 & 0xffff).to_le_bytes());
        }
        direct(random, instruction, &memory, &mut state, data);
        compare_equal(random, instruction, &memory, &mut state, data);
        is_harmless(instruction, &memory, &state).then_some(state)
    }
}

fn registers(random: &mut Random, family: Family) -> State {
    let mut gpr = [0; 16];
    gpr.iter_mut().for_each(|register| *register = values::integer(random));
    gpr[RSP] = DATA + 0x200 + 8 * random.below(0x380);
    let mut rflags = random.next() & FLAGS;
    if family != Family::String && random.chance(80) {
        rflags &= !0x400;
    }
    State { gpr, rflags, fx: image(random, family) }
}

/// An FXSAVE image. What a family does not use stays simple, to be quick.
fn image(random: &mut Random, family: Family) -> Fx {
    let mut fx = Fx::initial();
    if matches!(family, Family::Sse | Family::Mmx) {
        for index in 0..16 {
            fx.set_xmm(index, values::vector(random));
        }
        let mxcsr = match random.below(10) {
            0..4 => 0x1f80,
            4..8 => 0x1f80 | random.next() as u32 & 0xe07f,
            _ => random.next() as u32 & 0xffff,
        };
        fx.set_mxcsr(mxcsr);
    }
    if matches!(family, Family::X87 | Family::Mmx) {
        for index in 0..8 {
            let register = match random.below(4) {
                0 if family == Family::Mmx => 0xffff << 64 | u128::from(random.next()),
                1 | 2 if family == Family::Mmx => 0xffff << 64 | u128::from(values::integer(random)),
                _ => values::extended(random),
            };
            fx.set_st(index, register);
        }
        let control = match random.below(10) {
            0..3 => 0x37f,
            3..8 => 0x7f | random.next() as u16 & 0x0f00,
            _ => 0x40 | random.next() as u16 & 0x0f3f,
        };
        fx.set_control(control);
        fx.set_valid(if random.chance(75) { 0xff } else { random.byte() });
        let mut status = random.next() as u16 & 0x7f00;
        if random.chance(30) {
            status |= random.next() as u16 & 0x7f;
        }
        // An unmasked exception is pending only now and then: then most instructions do nothing else.
        if status & !control & 0x3f != 0 {
            if random.chance(30) {
                status |= 0x8080;
            } else {
                status &= control | !0x3f;
            }
        }
        fx.set_status(status);
    }
    fx
}

/// Registers with a special part in an instruction.
fn tune(random: &mut Random, instruction: &Instruction, state: &mut State) {
    let counted = instruction.has_rep_prefix()
        || instruction.has_repne_prefix()
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne | Mnemonic::Jrcxz | Mnemonic::Jecxz
        );
    if counted {
        let garbage = if random.chance(10) { random.next() << 32 } else { 0 };
        state.gpr[RCX] = garbage
            | match random.below(8) {
                0 => random.below(300),
                _ => random.pick(&[0, 1, 2, 3, 7, 16, 40]),
            };
    } else if random.chance(30) {
        state.gpr[RCX] = state.gpr[RCX] & !0xff | random.below(70);
    }
    match instruction.mnemonic() {
        Mnemonic::Div if random.chance(80) => {
            state.gpr[RDX] = if random.chance(50) { 0 } else { random.below(100) };
            if random.chance(50) {
                state.gpr[RAX] = random.below(1 << 16);
            }
        }
        Mnemonic::Idiv if random.chance(80) => {
            state.gpr[RDX] = match random.below(3) {
                0 => 0,
                1 => u64::MAX,
                _ => (state.gpr[RAX] as i64 >> 63) as u64,
            };
        }
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
            if instruction.op0_kind() == OpKind::Memory && instruction.op1_kind() == OpKind::Register =>
        {
            let offset = random.below(4096).wrapping_sub(2048);
            set(state, instruction.op1_register(), offset);
        }
        Mnemonic::Maskmovq | Mnemonic::Maskmovdqu if random.chance(10) => {
            for index in 0..16 {
                state.fx.set_xmm(index, 0);
            }
        }
        _ => {}
    }
}

fn index_of(register: Register) -> usize {
    register.full_register().number()
}

fn set(state: &mut State, register: Register, value: u64) {
    state.gpr[index_of(register)] = value;
}

fn get(state: &State, register: Register) -> u64 {
    let value = state.gpr[index_of(register)];
    match register.size() {
        8 => value,
        4 => value & 0xffff_ffff,
        2 => value & 0xffff,
        _ => value & 0xff,
    }
}

fn is_general(register: Register) -> bool {
    register.is_gpr()
}

/// Chooses base (or else index) registers so that the accesses lie where [`data_address`] says.
fn solve(random: &mut Random, memory: &[UsedMemory], state: &mut State) {
    let mut solved = [false; 16];
    for access in memory {
        let (base, index) = (access.base(), access.index());
        let scale = access.scale() as u64;
        let mut target = data_address(random);
        if base == Register::RSP && random.chance(80) {
            target &= !7;
        }
        if is_general(index) && index.size() >= 4 && base != index && !solved[index_of(index)] {
            let small = random.chance(60);
            let value = if small { random.below(64).wrapping_sub(16) } else { values::integer(random) };
            set(state, index, value);
            solved[index_of(index)] = is_general(base);
        }
        let (register, factor, offset) = if is_general(base) && base == index {
            (base, 1 + scale, 0)
        } else if is_general(base) {
            let offset = if is_general(index) { get(state, index).wrapping_mul(scale) } else { 0 };
            (base, 1, offset)
        } else if is_general(index) && index.size() >= 4 {
            (index, scale, 0)
        } else {
            continue;
        };
        if solved[index_of(register)] {
            continue;
        }
        solved[index_of(register)] = true;
        let wanted = target.wrapping_sub(access.displacement()).wrapping_sub(offset);
        let mut value = if factor == 1 { wanted } else { wanted / factor };
        if register.size() == 4 {
            value = value & 0xffff_ffff | random.next() << 32;
        }
        set(state, register, value);
    }
}

/// The linear address of an access.
fn address(access: &UsedMemory, state: &State) -> u64 {
    let part = |register: Register| if is_general(register) { get(state, register) } else { 0 };
    let sum = access
        .displacement()
        .wrapping_add(part(access.base()))
        .wrapping_add(part(access.index()).wrapping_mul(access.scale() as u64));
    match access.address_size() {
        iced_x86::CodeSize::Code32 => sum & 0xffff_ffff,
        _ => sum,
    }
}

/// Whether nothing but the data is mapped around `address`.
fn is_ours(address: u64) -> bool {
    let first_page = address < 0x8000;
    let data = (DATA - DATA_SURROUNDINGS..DATA + DATA_SURROUNDINGS).contains(&address);
    // Not the last pages below: the vsyscall page is there, and the kernel emulates reads of it.
    let upper =
        address >= 0x7fff_ffff_f000 && !(0xffff_ffff_ff00_0000..0xffff_ffff_ffff_0000).contains(&address);
    first_page || data || upper
}

fn is_harmless(instruction: &Instruction, memory: &[UsedMemory], state: &State) -> bool {
    let bit_offset = match instruction.mnemonic() {
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
            if instruction.op1_kind() == OpKind::Register && instruction.op0_kind() == OpKind::Memory =>
        {
            let register = instruction.op1_register();
            let unused = 64 - 8 * register.size() as u32;
            ((get(state, register) << unused) as i64 >> unused >> 3) as u64 & !7
        }
        _ => 0,
    };
    memory.iter().all(|access| {
        let at = address(access, state);
        let moved = match access.address_size() {
            iced_x86::CodeSize::Code32 => at.wrapping_add(bit_offset) & 0xffff_ffff,
            _ => at.wrapping_add(bit_offset),
        };
        is_ours(at) && is_ours(moved)
    })
}

fn write(data: &mut Data, address: u64, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        let offset = address.wrapping_add(index as u64).wrapping_sub(DATA);
        if offset < DATA_BYTES as u64 {
            data[offset as usize] = *byte;
        }
    }
}

fn read(data: &Data, address: u64) -> u64 {
    let byte = |index: u64| {
        let offset = address.wrapping_add(index).wrapping_sub(DATA);
        data.get(offset as usize).copied().unwrap_or(0)
    };
    u64::from_le_bytes(std::array::from_fn(|index| byte(index as u64)))
}

/// Puts values of the family's kinds at an operand and a little beyond.
fn fill(random: &mut Random, family: Family, data: &mut Data, at: u64, length: usize) {
    if at.wrapping_sub(DATA - 0x400) > 0x400 + DATA_BYTES as u64 {
        return;
    }
    let mut done = 0;
    while done < length {
        let piece = at.wrapping_add(done as u64);
        match family {
            Family::Sse => write(data, piece, &values::vector(random).to_le_bytes()),
            Family::X87 => match random.below(5) {
                0 => write(data, piece, &values::single(random).to_le_bytes()),
                1 => write(data, piece, &values::double(random).to_le_bytes()),
                2 => write(data, piece, &values::integer(random).to_le_bytes()),
                3 => write(data, piece, &bcd(random)),
                _ => write(data, piece, &values::extended(random).to_le_bytes()[..10]),
            },
            _ => write(data, piece, &values::integer(random).to_le_bytes()),
        }
        done += 16;
    }
}

fn bcd(random: &mut Random) -> [u8; 10] {
    let mut bytes: [u8; 10] = std::array::from_fn(|_| (random.below(10) << 4 | random.below(10)) as u8);
    bytes[9] = random.byte();
    bytes
}

/// Where an indirect branch or a return goes: to the target, or where no code is.
fn direct(
    random: &mut Random,
    instruction: &Instruction,
    memory: &[UsedMemory],
    state: &mut State,
    data: &mut Data,
) {
    let indirect = matches!(
        instruction.flow_control(),
        FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return
    );
    if !indirect {
        return;
    }
    let wild = [0, 0x8000, 0x8000_0000_0000, u64::MAX, 0xffff_8000_0000_0000, DATA + 0x10_0000];
    let target = if random.chance(90) { TARGET } else { random.pick(&wild) };
    if instruction.flow_control() != FlowControl::Return && instruction.op0_kind() == OpKind::Register {
        set(state, instruction.op0_register(), target);
    } else if let Some(access) = memory.first() {
        write(data, address(access, state), &target.to_le_bytes());
    }
}

/// Makes comparisons of CMPXCHG succeed half of the time.
fn compare_equal(
    random: &mut Random,
    instruction: &Instruction,
    memory: &[UsedMemory],
    state: &mut State,
    data: &Data,
) {
    let name = instruction.mnemonic();
    if !matches!(name, Mnemonic::Cmpxchg | Mnemonic::Cmpxchg8b | Mnemonic::Cmpxchg16b) || random.chance(50) {
        return;
    }
    if instruction.op0_kind() == OpKind::Register {
        state.gpr[RAX] = get(state, instruction.op0_register());
        return;
    }
    let Some(access) = memory.first() else { return };
    let at = address(access, state);
    let low = read(data, at);
    let uses = |register| {
        [access.base(), access.index()].iter().any(|&part| is_general(part) && index_of(part) == register)
    };
    if uses(RAX) || uses(RDX) {
        return;
    }
    match name {
        Mnemonic::Cmpxchg8b => {
            state.gpr[RAX] = low & 0xffff_ffff;
            state.gpr[RDX] = low >> 32;
        }
        Mnemonic::Cmpxchg16b => {
            state.gpr[RAX] = low;
            state.gpr[RDX] = read(data, at.wrapping_add(8));
        }
        _ => state.gpr[RAX] = low,
    }
}
