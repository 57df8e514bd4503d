//! Every instruction against the host's own, from random states.

use super::hostfp::native::{ALL, Native, State};
use super::stack::{F80, status};
use crate::cpu::core::Core;
use crate::cpu::decode::decode;
use crate::cpu::exception::Exec;
use crate::cpu::state::{Mode, RAX, RDI, Vcpu, X87, cr0, rflags};
use crate::system::System;
use boundary::{Boot, BootProtocol, PowerOn, Rules, Topology};
use iced_x86::Mnemonic;

/// Where the memory operand lies.
pub const OPERAND: usize = 0x1000;

/// A vCPU in 64-bit mode without paging, and a system with 2 MiB of RAM.
pub struct Bench {
    pub cpu: Vcpu,
    pub sys: System,
}

impl Bench {
    pub fn new() -> Bench {
        let power_on = PowerOn {
            model: 0,
            seed: 0,
            rtc_start_s: 0,
            ram_bytes: 2 << 20,
            topology: Topology { vcpus: 1, thread_bits: 0, core_bits: 0 },
            cpuid: Vec::new(),
            rules: Rules {
                quantum_counts: 1000,
                pauses_per_quantum: 1,
                pause_ns: 0,
                port_ns: 0,
                mmio_ns: 0,
                hlt_ns: 0,
                perturb: false,
            },
            acpi_hash: 0,
            boot: Boot { protocol: BootProtocol::LinuxElf, command_line: String::new(), images: Vec::new() },
        };
        let mut cpu = Vcpu::new(0);
        cpu.cr0 = cr0::PE | cr0::MP | cr0::ET | cr0::NE;
        cpu.mode = Mode::Long64;
        cpu.code_bits = 64;
        cpu.gpr[RDI] = OPERAND as u64;
        cpu.x87 = X87::default();
        Bench { cpu, sys: System::new(&power_on) }
    }

    pub fn execute(&mut self, bytes: &[u8]) -> Exec {
        let instruction = decode(bytes, 0, self.cpu.code_bits).expect("an instruction");
        let mut core = Core { cpu: &mut self.cpu, sys: &mut self.sys };
        super::execute(&mut core, &instruction).expect("an x87 instruction")
    }

    pub fn memory(&mut self) -> &mut [u8] {
        &mut self.sys.mem.ram_mut()[OPERAND..OPERAND + 512]
    }
}

/// xorshift64*: the same numbers on every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    /// A number with few set bits, all set bits, or random bits: rounding is interesting at such.
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

    /// Any 80 bits, with all classes and the boundaries between them frequent.
    pub fn extended(&mut self) -> F80 {
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
        let integer_bit = if exponent != 0 && self.below(20) != 0 { 1 << 63 } else { 0 };
        let significand = self.significand() & !(1 << 63) | integer_bit;
        let odd = if self.below(10) == 0 { self.next() & 1 << 63 } else { 0 };
        u128::from(self.next() & 1) << 79 | u128::from(exponent) << 64 | u128::from(significand ^ odd)
    }

    /// A state without pending exceptions.
    pub fn state(&mut self) -> State {
        let control = match self.below(4) {
            0 => self.next() as u16 & 0x1f3f,
            1 => self.next() as u16 & 0x1f3f | 0x3f,
            2 => self.next() as u16 & 0x0c00 | 0x37f,
            _ => self.next() as u16 & 0x0f3f | 0x3d,
        } | 0x40;
        let flags = if self.below(4) == 0 { self.next() as u16 & control & 0x3f } else { 0 };
        let conditions = self.next() as u16 & 0x4700;
        let status = flags | conditions | (self.below(8) as u16) << 11;
        let mut state = State {
            image: [0; 512],
            memory: [0; 128],
            rax: self.next(),
            rflags: 0x202 | self.next() & rflags::STATUS,
        };
        let valid = match self.below(3) {
            0 => self.next() as u8,
            1 => 0x7f_u8.rotate_left(u32::from(status >> 11 & 7)),
            _ => 0xff,
        };
        state.image[0..2].copy_from_slice(&control.to_le_bytes());
        state.image[2..4].copy_from_slice(&status.to_le_bytes());
        state.image[4] = valid;
        state.image[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        for slot in state.image[32..160].chunks_exact_mut(16) {
            slot.copy_from_slice(&self.extended().to_le_bytes());
        }
        state.memory.fill_with(|| 0);
        for chunk in state.memory.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        self.operand(&mut state.memory);
        state
    }

    /// Puts something interesting in one of the operand formats at the beginning of `memory`.
    fn operand(&mut self, memory: &mut [u8; 128]) {
        match self.below(8) {
            0 => memory[..10].copy_from_slice(&self.extended().to_le_bytes()[..10]),
            1 => {
                let exponent = [0, 0xff, 0x7f + self.below(24), self.below(256)][self.below(4) as usize];
                let bits = (exponent as u32) << 23 | self.significand() as u32 & 0x7f_ffff;
                memory[..4].copy_from_slice(&(bits | (self.next() as u32) << 31).to_le_bytes());
            }
            2 => {
                let exponent = [0, 0x7ff, 0x3ff + self.below(53), self.below(2048)][self.below(4) as usize];
                let bits = exponent << 52 | self.significand() & ((1 << 52) - 1);
                memory[..8].copy_from_slice(&(bits | self.next() << 63).to_le_bytes());
            }
            3 => memory[..8].copy_from_slice(&self.significand().to_le_bytes()),
            4 => {
                for byte in &mut memory[..10] {
                    let (tens, ones) = (self.below(10), self.below(10));
                    *byte = (tens << 4 | ones) as u8;
                }
                memory[9] = (self.next() & 0x80) as u8;
            }
            _ => {}
        }
    }
}

/// Loads a native state into a bench.
fn load(bench: &mut Bench, state: &State) {
    let word = |at: usize| u16::from_le_bytes([state.image[at], state.image[at + 1]]);
    bench.cpu.x87 = X87 { control: word(0), status: word(2), valid: state.image[4], registers: [0; 8] };
    for (index, slot) in state.image[32..160].chunks_exact(16).enumerate() {
        let register = bench.cpu.x87.physical(index);
        bench.cpu.x87.registers[register] = u128::from_le_bytes(slot.try_into().unwrap());
    }
    bench.cpu.gpr[RAX] = state.rax;
    bench.cpu.rflags = state.rflags;
    bench.memory()[..128].copy_from_slice(&state.memory);
}

fn distance(a: F80, b: F80) -> u128 {
    let key = |v: F80| {
        let m = ((v >> 64 & 0x7fff) << 63 | v & (u64::MAX >> 1) as u128) as i128;
        if v >> 79 != 0 { -m } else { m }
    };
    (key(a) - key(b)).unsigned_abs()
}

#[test]
fn probe() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut bench = Bench::new();
    let mut bad = std::collections::BTreeMap::<String, (u32, String)>::new();
    for native in ALL {
        let instruction = decode(&native.bytes, 0, 64).expect("an instruction");
        if !matches!(
            instruction.mnemonic(),
            Mnemonic::F2xm1
                | Mnemonic::Fyl2x
                | Mnemonic::Fyl2xp1
                | Mnemonic::Fptan
                | Mnemonic::Fpatan
                | Mnemonic::Fsin
                | Mnemonic::Fcos
                | Mnemonic::Fsincos
        ) {
            continue;
        }
        for _ in 0..200000 {
            let before = random.state();
            let mut after = before.clone();
            (native.run)(&mut after);
            load(&mut bench, &before);
            let mut core = Core { cpu: &mut bench.cpu, sys: &mut bench.sys };
            super::execute(&mut core, &instruction).unwrap().unwrap();
            let want = Bench::new_like(&after);
            let mut differences = String::new();
            let got = &bench.cpu.x87;
            let mask = 0x3c00 | 0x4f;
            if (got.status ^ want.status) & mask != 0 {
                differences += &format!(" status {:04x}", (got.status ^ want.status) & mask);
            }
            if got.valid != want.valid {
                differences += " tags";
            }
            for i in 0..8 {
                let d = distance(got.registers[i], want.registers[i]);
                if d > 1 {
                    differences += " dist ";
                    differences += &(if d < 10 { d.to_string() } else { "big".to_string() })
                }
            }
            if !differences.is_empty() {
                let detail = format!(
                    "cw {:02x?} sw {:02x?} valid {:02x} st0 {:02x?} st1 {:02x?} mem {:02x?}\n   want {:04x} {:02x} {:x?}\n   got  {:04x} {:02x} {:x?}",
                    &before.image[0..2],
                    &before.image[2..4],
                    before.image[4],
                    u128::from_le_bytes(before.image[32..48].try_into().unwrap()),
                    u128::from_le_bytes(before.image[48..64].try_into().unwrap()),
                    &before.memory[..16],
                    want.status,
                    want.valid,
                    want.registers,
                    bench.cpu.x87.status,
                    bench.cpu.x87.valid,
                    bench.cpu.x87.registers
                );
                let e = bad.entry(format!("{:?}{differences}", instruction.code())).or_default();
                e.0 += 1;
                e.1 = detail;
            }
        }
    }
    for (k, v) in bad {
        println!("{k}: {} \n   {}", v.0, v.1);
    }
}

impl Bench {
    fn new_like(state: &State) -> X87 {
        let word = |at: usize| u16::from_le_bytes([state.image[at], state.image[at + 1]]);
        let mut x = X87 { control: word(0), status: word(2), valid: state.image[4], registers: [0; 8] };
        for (index, slot) in state.image[32..160].chunks_exact(16).enumerate() {
            let register = x.physical(index);
            x.registers[register] = u128::from_le_bytes(slot.try_into().unwrap());
        }
        x
    }
}
