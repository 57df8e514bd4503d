//! Tests of the unit as a whole: a bench to execute single instructions on, and the kinds of state to do it
//! in.

mod against_host;
mod golden;
mod images;
mod reporting;

use super::hostfp::native::State;
use super::stack::F80;
use crate::cpu::core::Core;
use crate::cpu::decode::decode;
use crate::cpu::exception::Exec;
use crate::cpu::state::{Mode, RDI, Vcpu, X87, cr0, rflags};
use crate::system::System;
use boundary::{Boot, BootProtocol, PowerOn, Rules, Topology};

/// Where RDI points.
const OPERAND: usize = 0x1000;

/// A vCPU in 64-bit mode without paging, and a system with 2 MiB of RAM.
struct Bench {
    cpu: Vcpu,
    sys: System,
}

impl Bench {
    fn new() -> Bench {
        let rules = Rules {
            quantum_counts: 1000,
            pauses_per_quantum: 1,
            pause_ns: 0,
            port_ns: 0,
            mmio_ns: 0,
            hlt_ns: 0,
            perturb: false,
        };
        let boot = Boot { protocol: BootProtocol::LinuxElf, command_line: String::new(), images: Vec::new() };
        let power_on = PowerOn {
            model: 0,
            seed: 0,
            rtc_start_s: 0,
            ram_bytes: 2 << 20,
            topology: Topology { vcpus: 1, thread_bits: 0, core_bits: 0 },
            cpuid: Vec::new(),
            rules,
            acpi_hash: 0,
            boot,
        };
        let mut cpu = Vcpu::new(0);
        cpu.cr0 = cr0::PE | cr0::MP | cr0::ET | cr0::NE;
        cpu.mode = Mode::Long64;
        cpu.code_bits = 64;
        cpu.gpr[RDI] = OPERAND as u64;
        cpu.x87 = X87::default();
        Bench { cpu, sys: System::new(&power_on) }
    }

    /// Executes one instruction; memory operands are encoded as `[rdi]`.
    fn execute(&mut self, bytes: &[u8]) -> Exec {
        let instruction = decode(bytes, 0, self.cpu.code_bits).expect("an instruction");
        let mut core = Core { cpu: &mut self.cpu, sys: &mut self.sys };
        super::execute(&mut core, &instruction).expect("an x87 instruction")
    }

    /// What RDI points to.
    fn memory(&mut self) -> &mut [u8; 512] {
        (&mut self.sys.mem.ram_mut()[OPERAND..OPERAND + 512]).try_into().expect("512 bytes")
    }

    fn x87(&mut self) -> &mut X87 {
        &mut self.cpu.x87
    }
}

/// xorshift64*: the same numbers on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    /// Few bits, runs of bits, or random bits: what rounding finds interesting.
    fn significand(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => 1 << self.below(64),
            2 => u64::MAX << self.below(64),
            3 => u64::MAX >> self.below(64),
            4 => self.next() & u64::MAX << self.below(64),
            _ => self.next(),
        }
    }

    /// Any 80 bits, with all classes (zeros, denormals, pseudo-denormals, unnormals, infinities, NaNs,
    /// pseudo-NaNs) and the ends of the narrower formats frequent.
    fn extended(&mut self) -> F80 {
        let exponent = match self.below(12) {
            0 => 0,
            1 => 0x7fff,
            2 => 1 + self.below(70),
            3 => 0x7ffe - self.below(70),
            4 => self.below(0x8000),
            5 => 0x3fff - 1074 + self.below(100),
            6 => 0x3fff + 960 + self.below(70),
            7 => 0x3fff - 150 + self.below(300),
            _ => 0x3fff - 8 + self.below(80),
        };
        let usual = if exponent != 0 { 1 << 63 } else { 0 };
        let integer_bit = if self.below(12) == 0 { self.next() & 1 << 63 } else { usual };
        let significand = self.significand() & !(1 << 63) | integer_bit;
        u128::from(self.next() & 1) << 79 | u128::from(exponent) << 64 | u128::from(significand)
    }

    /// Something in one of the memory formats, with random bytes behind it.
    fn operand(&mut self, memory: &mut [u8; 128]) {
        for chunk in memory.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        let sign = self.next() & 1;
        match self.below(8) {
            0 => memory[..10].copy_from_slice(&self.extended().to_le_bytes()[..10]),
            1 => {
                let exponent = [0, 0xff, 0x7f + self.below(24), self.below(256)][self.below(4) as usize];
                let bits = sign << 31 | exponent << 23 | self.significand() & 0x7f_ffff;
                memory[..4].copy_from_slice(&(bits as u32).to_le_bytes());
            }
            2 => {
                let exponent = [0, 0x7ff, 0x3ff + self.below(53), self.below(2048)][self.below(4) as usize];
                let bits = sign << 63 | exponent << 52 | self.significand() & ((1 << 52) - 1);
                memory[..8].copy_from_slice(&bits.to_le_bytes());
            }
            3 => memory[..8].copy_from_slice(&self.significand().to_le_bytes()),
            4 => {
                memory[..9].fill_with(|| (self.below(10) << 4 | self.below(10)) as u8);
                memory[9] = (sign << 7) as u8;
            }
            _ => {}
        }
    }

    /// A state without pending exceptions. Bits of the control word that do not exist are random, and so
    /// are ES and B, which FXRSTOR derives.
    fn state(&mut self) -> State {
        let control = match self.below(4) {
            0 => self.next() as u16,
            1 => self.next() as u16 | 0x3f,
            2 => self.next() as u16 & 0x0c00 | 0x37f,
            _ => self.next() as u16 | 0x3d,
        };
        let masked_flags = if self.below(4) == 0 { self.next() as u16 & control & 0x7f } else { 0 };
        let status = masked_flags | self.next() as u16 & 0xff80;
        let valid = match self.below(3) {
            0 => self.next() as u8,
            1 => 0x7f_u8.rotate_left(u32::from(status >> 11 & 7)),
            _ => 0xff,
        };
        let mut state = State {
            image: [0; 512],
            memory: [0; 128],
            rax: self.next(),
            rflags: 0x202 | self.next() & rflags::STATUS,
        };
        state.image[0..2].copy_from_slice(&control.to_le_bytes());
        state.image[2..4].copy_from_slice(&status.to_le_bytes());
        state.image[4] = valid;
        state.image[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        for slot in state.image[32..160].chunks_exact_mut(16) {
            slot.copy_from_slice(&self.extended().to_le_bytes());
        }
        self.operand(&mut state.memory);
        state
    }
}
