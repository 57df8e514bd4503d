//! Kernels of a few bytes, for verdicts: Multiboot 1 with the address override, so that no compiler is needed.

const LOAD_PADDR: u32 = 0x10_0000;
const HEADER_BYTES: u32 = 32;
const COM1: u16 = 0x3f8;
const DEBUG_EXIT: u16 = 0xf4;

/// 32-bit code being put together.
#[derive(Default)]
pub struct Tiny {
    code: Vec<u8>,
}

impl Tiny {
    /// Prints a text on COM1.
    pub fn print(mut self, text: &str) -> Tiny {
        self.load_dx(COM1);
        for byte in text.bytes() {
            // mov al, byte; out dx, al
            self.code.extend([0xb0, byte, 0xee]);
        }
        self
    }

    /// Writes `value` to the debug-exit port.
    pub fn debug_exit(mut self, value: u32) -> Vec<u8> {
        self.load_dx(DEBUG_EXIT);
        self.code.push(0xb8);
        self.code.extend(value.to_le_bytes());
        // out dx, eax
        self.code.push(0xef);
        self.hang()
    }

    /// Pulses the reset line by the keyboard controller.
    pub fn reset(mut self) -> Vec<u8> {
        // mov al, 0xfe; out 0x64, al
        self.code.extend([0xb0, 0xfe, 0xe6, 0x64]);
        self.hang()
    }

    /// Faults with no interrupt table.
    pub fn triple_fault(mut self) -> Vec<u8> {
        // lidt of six zero bytes behind the three instructions; int3
        let zeros = LOAD_PADDR + HEADER_BYTES + self.code.len() as u32 + 8;
        self.code.extend([0x0f, 0x01, 0x1d]);
        self.code.extend(zeros.to_le_bytes());
        self.code.extend([0xcc, 0, 0, 0, 0, 0, 0]);
        self.kernel()
    }

    /// Halts with interrupts off.
    pub fn hang(mut self) -> Vec<u8> {
        // cli; hlt; jmp back
        self.code.extend([0xfa, 0xf4, 0xeb, 0xfc]);
        self.kernel()
    }

    /// Runs in a circle.
    pub fn spin(mut self) -> Vec<u8> {
        self.code.extend([0xeb, 0xfe]);
        self.kernel()
    }

    /// Halts with interrupts on, and nothing that would interrupt.
    pub fn wait(mut self) -> Vec<u8> {
        // Both PICs masked, so that no timer of the firmware's comes: mov al, 0xff; out 0x21, al; out 0xa1, al
        self.code.extend([0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1]);
        // sti; hlt; jmp back
        self.code.extend([0xfb, 0xf4, 0xeb, 0xfd]);
        self.kernel()
    }

    fn load_dx(&mut self, port: u16) {
        self.code.extend([0x66, 0xba]);
        self.code.extend(port.to_le_bytes());
    }

    fn kernel(self) -> Vec<u8> {
        const MAGIC: u32 = 0x1bad_b002;
        const ADDRESSES: u32 = 1 << 16;
        let check = 0u32.wrapping_sub(MAGIC).wrapping_sub(ADDRESSES);
        let header = [MAGIC, ADDRESSES, check, LOAD_PADDR, LOAD_PADDR, 0, 0, LOAD_PADDR + HEADER_BYTES];
        let mut kernel: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        kernel.extend(self.code);
        kernel
    }
}
