//! For the tests of rules: a case, and what some host would have left of it, without that host.

use super::{Case, Host, Vendor, explain};
use crate::compare::End;
use crate::state::{DATA, DATA_BYTES, Data, Fx, INSTRUCTION, Outcome, State};
use iced_x86::{Decoder, DecoderOptions, Instruction};

/// One case: registers before, and what the machine left.
pub struct Trial {
    vendor: Vendor,
    bytes: Vec<u8>,
    instruction: Instruction,
    /// The registers before.
    pub before: State,
    /// What the machine left.
    pub found: End,
    data: Box<Data>,
}

/// #UD of the instruction.
pub fn ud() -> Outcome {
    Outcome::Fault { vector: 6, error_code: 0, rip: INSTRUCTION, vaddr: 0 }
}

/// A page fault of the instruction.
pub fn page_fault(error_code: u32, vaddr: u64) -> Outcome {
    Outcome::Fault { vector: 14, error_code, rip: INSTRUCTION, vaddr }
}

impl Trial {
    /// A case that the machine ended by `outcome`, having changed nothing; every register is [`DATA`].
    pub fn new(vendor: Vendor, bytes: &[u8], outcome: Outcome) -> Trial {
        let instruction = Decoder::with_ip(64, bytes, INSTRUCTION, DecoderOptions::NONE).decode();
        let before = State { gpr: [DATA; 16], rflags: 0, fx: Fx::initial() };
        let found = End { outcome, state: before.clone() };
        Trial { vendor, bytes: bytes.to_vec(), instruction, before, found, data: Box::new([0; DATA_BYTES]) }
    }

    /// Whether the rules explain all of what `change` makes of the machine's end.
    pub fn explains(&self, change: impl FnOnce(&mut Host)) -> bool {
        let mut host = Host { end: self.found.clone(), data: self.data.clone() };
        change(&mut host);
        assert_ne!(host.end, self.found, "the host differs");
        let case = Case {
            bytes: &self.bytes,
            instruction: &self.instruction,
            before: &self.before,
            data: &self.data,
            found: &self.found,
        };
        explain(self.vendor, &case, &mut host);
        host.end == self.found && *host.data == *self.data
    }
}
