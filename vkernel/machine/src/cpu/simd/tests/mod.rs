//! What this family promises: the same results as a processor ([`differential`]), and the exceptions.

#[expect(unsafe_code, reason = "the differential test executes instructions on the host")]
mod differential;
mod exceptions;

use crate::cpu::core::Core;
use crate::cpu::decode::decode;
use crate::cpu::exception::Exec;
use crate::cpu::state::{Mode, RDI, Vcpu, cr0, cr4};
use crate::system::System;
use boundary::{Boot, BootProtocol, PowerOn, Rules, Topology};

/// Where the guest's memory operand lies, and RDI points.
const OPERAND_PADDR: u64 = 0x2000;

/// A vCPU in 64-bit mode with SSE switched on and paging off, and a little RAM.
struct Guest {
    cpu: Vcpu,
    sys: System,
}

impl Guest {
    fn new() -> Guest {
        let power_on = PowerOn {
            model: 0,
            seed: 0,
            rtc_start_s: 0,
            ram_bytes: 2 << 20,
            topology: Topology { vcpus: 1, thread_bits: 0, core_bits: 0 },
            cpuid: Vec::new(),
            rules: Rules {
                quantum_counts: 1,
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
        cpu.cr0 = cr0::PE | cr0::NE;
        cpu.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT;
        cpu.mode = Mode::Long64;
        cpu.code_bits = 64;
        cpu.gpr[RDI] = OPERAND_PADDR;
        Guest { cpu, sys: System::new(&power_on) }
    }

    /// Executes one instruction given by its bytes.
    fn execute(&mut self, bytes: &[u8]) -> Exec {
        let instruction = decode(bytes, 0x1000, 64).expect("the test's bytes are an instruction");
        assert_eq!(instruction.len(), bytes.len());
        let mut core = Core { cpu: &mut self.cpu, sys: &mut self.sys };
        super::execute(&mut core, &instruction).expect("the instruction is of this family")
    }

    fn memory(&self) -> u128 {
        let mut bytes = [0; 16];
        assert!(self.sys.mem.read(OPERAND_PADDR, &mut bytes));
        u128::from_le_bytes(bytes)
    }

    fn set_memory(&mut self, value: u128) {
        assert!(self.sys.mem.write(OPERAND_PADDR, &value.to_le_bytes()));
    }
}

/// Every instruction of the extensions that CPUID offers is here, and none of the others.
#[test]
fn the_family_is_what_cpuid_offers() {
    use iced_x86::{Code, CpuidFeature as F, EncodingKind, Instruction, Mnemonic as M};
    let offered = [F::MMX, F::SSE, F::SSE2, F::SSE3, F::SSSE3, F::SSE4_1, F::SSE4_2, F::AES, F::PCLMULQDQ];
    for code in Code::values() {
        let mut instruction = Instruction::default();
        instruction.set_code(code);
        let elsewhere = matches!(
            code.mnemonic(),
            // Integer instructions and hints, and an x87 instruction of SSE3.
            M::Crc32
                | M::Pause
                | M::Lfence
                | M::Mfence
                | M::Sfence
                | M::Prefetchnta
                | M::Prefetcht0
                | M::Prefetcht1
                | M::Prefetcht2
                | M::Fisttp
        );
        let expected = code.encoding() == EncodingKind::Legacy
            && code.cpuid_features().iter().all(|feature| offered.contains(feature))
            && !elsewhere;
        assert_eq!(super::table::lookup(&instruction).is_some(), expected, "{code:?}");
    }
}
