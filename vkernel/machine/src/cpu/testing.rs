//! A bench for tests of single instructions: one vCPU with flat segments and a few pages of RAM.

use super::core::Core;
use super::decode::decode;
use super::exception::Exec;
use super::state::{CS, SS, Segment, Vcpu, cr0, cr4, efer};
use crate::system::System;
use boundary::{Boot, BootProtocol, PowerOn, Rules, Topology};

/// Where the instruction under test lies.
pub const CODE: u64 = 0x7000;
/// Pages free for data: writable, and followed by [`ABSENT`].
pub const DATA: u64 = 0x8000;
/// A page that is not present in long mode.
pub const ABSENT: u64 = 0xa000;
/// A page that is not writable in long mode (CR0.WP is set).
pub const READ_ONLY: u64 = 0xb000;
/// Initial stack pointer; the page below is writable.
pub const STACK: u64 = 0xe000;

const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const TABLE: u64 = 0x4000;

/// One vCPU and its system.
pub struct Bench {
    pub cpu: Vcpu,
    pub sys: System,
}

impl Bench {
    /// 64-bit mode at CPL 0, the first 64 KiB mapped to themselves, but see [`ABSENT`] and [`READ_ONLY`].
    pub fn long() -> Bench {
        let mut bench = Bench::blank();
        for (table, entry) in [(PML4, PDPT | 7), (PDPT, DIRECTORY | 7), (DIRECTORY, TABLE | 7)] {
            bench.poke(table, &entry.to_le_bytes());
        }
        for page in 0..16 {
            let paddr = page << 12;
            let rights = match paddr {
                ABSENT => 0,
                READ_ONLY => 5,
                _ => 7,
            };
            bench.poke(TABLE + page * 8, &(paddr | rights).to_le_bytes());
        }
        bench.cpu.cr0 = cr0::PE | cr0::PG | cr0::WP;
        bench.cpu.cr3 = PML4;
        bench.cpu.cr4 = cr4::PAE;
        bench.cpu.efer = efer::LME | efer::LMA;
        bench.cpu.segments = [flat(0x93); 6];
        bench.cpu.segments[CS] = Segment { access: 0xa09b, ..flat(0) };
        bench.ready()
    }

    /// 32-bit protected mode at CPL 0 without paging.
    pub fn protected() -> Bench {
        let mut bench = Bench::blank();
        bench.cpu.cr0 = cr0::PE;
        bench.cpu.segments = [flat(0x93); 6];
        bench.cpu.segments[CS] = flat(0x9b);
        bench.ready()
    }

    /// Real mode, all segments at 0.
    pub fn real() -> Bench {
        let mut bench = Bench::blank();
        bench.cpu.segments = [Segment::real_mode(0); 6];
        bench.ready()
    }

    fn blank() -> Bench {
        Bench { cpu: Vcpu::new(0), sys: System::new(&power_on()) }
    }

    fn ready(mut self) -> Bench {
        self.cpu.gpr = [0; 16];
        self.cpu.gpr[super::state::RSP] = STACK;
        self.cpu.rip = CODE;
        self.cpu.update_mode();
        self
    }

    /// Limits the stack segment to 16-bit stack pointers.
    pub fn with_small_stack(mut self) -> Bench {
        self.cpu.segments[SS].access &= !Segment::BIG;
        self
    }

    pub fn core(&mut self) -> Core<'_> {
        Core { cpu: &mut self.cpu, sys: &mut self.sys }
    }

    /// Executes one instruction as if it lay at RIP, and goes on as an engine does.
    pub fn run(&mut self, bytes: &[u8]) -> Exec {
        let instruction =
            decode(bytes, self.cpu.rip, self.cpu.code_bits).map_err(|_| super::exception::Exception::UD)?;
        assert_eq!(instruction.len(), bytes.len(), "{bytes:02x?} is not one instruction");
        self.core().execute(&instruction)?;
        self.cpu.rip = self.cpu.next_rip;
        Ok(())
    }

    /// As [`Bench::run`], back at the same place each time.
    pub fn run_in_place(&mut self, bytes: &[u8]) -> Exec {
        let rip = self.cpu.rip;
        let result = self.run(bytes);
        self.cpu.rip = rip;
        result
    }

    pub fn poke(&mut self, paddr: u64, bytes: &[u8]) {
        self.sys.store_phys(0, paddr, bytes);
    }

    pub fn peek<const N: usize>(&mut self, paddr: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.sys.load_phys(0, paddr, &mut bytes);
        bytes
    }

    pub fn peek_u64(&mut self, paddr: u64) -> u64 {
        u64::from_le_bytes(self.peek(paddr))
    }
}

fn flat(access: u16) -> Segment {
    Segment { selector: 8, access: 0xc000 | access, limit: 0xffff_ffff, base: 0 }
}

fn power_on() -> PowerOn {
    PowerOn {
        model: 1,
        seed: 0,
        rtc_start_s: 0,
        ram_bytes: 2 << 20,
        topology: Topology { vcpus: 1, thread_bits: 0, core_bits: 0 },
        cpuid: Vec::new(),
        rules: Rules {
            quantum_counts: 10_000,
            pauses_per_quantum: 1,
            pause_ns: 0,
            port_ns: 0,
            mmio_ns: 0,
            hlt_ns: 0,
            perturb: false,
        },
        acpi_hash: 0,
        boot: Boot { protocol: BootProtocol::Multiboot1, command_line: String::new(), images: Vec::new() },
    }
}
