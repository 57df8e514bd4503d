//! What an instruction of a user program can see, and where its code and data lie, on the host and in the
//! machine alike.

/// Address of the page of code.
pub const CODE: u64 = 0x1000_0000;
/// Address of the instruction under test.
pub const INSTRUCTION: u64 = CODE + 0x100;
/// Where all its branches go.
pub const TARGET: u64 = INSTRUCTION + 0x40;
/// Address of the data: writable pages, with nothing before or after them.
pub const DATA: u64 = 0x2000_0000;
/// Bytes that can be written at [`DATA`].
pub const DATA_BYTES: usize = 0x2000;
/// Address of a page that can only be read.
pub const READ_ONLY: u64 = DATA + 0x4000;
/// Addresses this close to [`DATA`] hold nothing else of the host's process.
pub const DATA_SURROUNDINGS: u64 = 0x10_0000;

/// The flags that are compared: status flags and DF.
pub const FLAGS: u64 = 0xcd5;

/// The bytes at [`DATA`].
pub type Data = [u8; DATA_BYTES];

/// Registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// General registers in encoding order.
    pub gpr: [u64; 16],
    /// RFLAGS, as far as [`FLAGS`] goes.
    pub rflags: u64,
    /// x87, MMX and SSE.
    pub fx: Fx,
}

/// An FXSAVE image without FOP, FIP, FDP and MXCSR_MASK, which are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Fx(pub [u8; 512]);

impl Fx {
    /// The state after FNINIT, all registers 0.
    #[must_use]
    pub fn initial() -> Fx {
        let mut fx = Fx([0; 512]);
        fx.set_control(0x37f);
        fx.set_mxcsr(0x1f80);
        fx
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    /// x87 control word.
    #[must_use]
    pub fn control(&self) -> u16 {
        self.word(0)
    }

    /// Sets the x87 control word.
    pub fn set_control(&mut self, control: u16) {
        self.0[0..2].copy_from_slice(&control.to_le_bytes());
    }

    /// x87 status word.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.word(2)
    }

    /// Sets the x87 status word.
    pub fn set_status(&mut self, status: u16) {
        self.0[2..4].copy_from_slice(&status.to_le_bytes());
    }

    /// Abridged tags: bit n is set when R(n) is not empty.
    #[must_use]
    pub fn valid(&self) -> u8 {
        self.0[4]
    }

    /// Sets the abridged tags.
    pub fn set_valid(&mut self, valid: u8) {
        self.0[4] = valid;
    }

    /// MXCSR.
    #[must_use]
    pub fn mxcsr(&self) -> u32 {
        u32::from(self.word(24)) | u32::from(self.word(26)) << 16
    }

    /// Sets MXCSR.
    pub fn set_mxcsr(&mut self, mxcsr: u32) {
        self.0[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    }

    /// ST(`index`), 80 bits.
    #[must_use]
    pub fn st(&self, index: usize) -> u128 {
        self.register(32 + 16 * index)
    }

    /// Sets ST(`index`) to the low 80 bits of `value`.
    pub fn set_st(&mut self, index: usize, value: u128) {
        self.0[32 + 16 * index..][..10].copy_from_slice(&value.to_le_bytes()[..10]);
    }

    /// XMM(`index`).
    #[must_use]
    pub fn xmm(&self, index: usize) -> u128 {
        self.register(160 + 16 * index)
    }

    /// Sets XMM(`index`).
    pub fn set_xmm(&mut self, index: usize, value: u128) {
        self.0[160 + 16 * index..][..16].copy_from_slice(&value.to_le_bytes());
    }

    fn register(&self, at: usize) -> u128 {
        u128::from_le_bytes(self.0[at..at + 16].try_into().expect("sixteen bytes"))
    }

    /// Clears what is not compared.
    pub fn canonicalise(&mut self) {
        self.0[5..24].fill(0);
        self.0[28..32].fill(0);
        self.0[416..].fill(0);
    }
}

/// How an instruction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Execution continues behind it.
    Next,
    /// Execution continues at [`TARGET`].
    Taken,
    /// It raised an exception.
    Fault {
        /// The vector.
        vector: u8,
        /// The error code, 0 for vectors without one.
        error_code: u32,
        /// The RIP that the exception reports.
        rip: u64,
        /// For page faults, the address.
        vaddr: u64,
    },
}

impl Outcome {
    /// Whether it is an exception.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self, Outcome::Fault { .. })
    }
}
