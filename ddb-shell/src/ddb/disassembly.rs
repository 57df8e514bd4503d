//! Instructions as text: AT&T syntax as ddb prints it, Intel's on request.
//!
//! Capstone renders for people; what executes is decoded by another library (crates.md 6). Targets of calls and jumps
//! are printed as symbols.

use super::symbolic;
use crate::debugger::Debugger;
use crate::debugger::stepping::linear_rip;
use capstone::arch::x86::{ArchMode, ArchSyntax};
use capstone::prelude::*;
use iced_x86::{Decoder, DecoderOptions, OpKind};

const INSTRUCTION_BYTES_MAX: usize = 15;

/// Renders instructions of all widths.
#[derive(Default)]
pub struct Disassembler {
    /// Intel syntax rather than AT&T.
    pub is_intel: bool,
    /// By bits of the code, and syntax.
    handles: Vec<(u8, bool, Capstone)>,
}

impl Disassembler {
    fn handle(&mut self, bits: u8) -> Option<&Capstone> {
        let wanted = (bits, self.is_intel);
        if !self.handles.iter().any(|(bits, intel, _)| (*bits, *intel) == wanted) {
            let mode = match bits {
                16 => ArchMode::Mode16,
                32 => ArchMode::Mode32,
                _ => ArchMode::Mode64,
            };
            let syntax = if self.is_intel { ArchSyntax::Intel } else { ArchSyntax::Att };
            let handle = Capstone::new().x86().mode(mode).syntax(syntax).build().ok()?;
            self.handles.push((bits, self.is_intel, handle));
        }
        self.handles.iter().find(|(bits, intel, _)| (*bits, *intel) == wanted).map(|(.., handle)| handle)
    }

    /// The instruction at a linear address as a vCPU sees it, and its length; of what is none, one byte.
    pub fn at(&mut self, debugger: &Debugger<'_>, vcpu: usize, vaddr: u64) -> (String, usize) {
        let machine = debugger.machine();
        let mut bytes = [0; INSTRUCTION_BYTES_MAX];
        let readable = (1..=INSTRUCTION_BYTES_MAX)
            .rev()
            .find(|&length| machine.peek_virtual(vcpu, vaddr, &mut bytes[..length]).is_ok());
        let Some(readable) = readable else {
            let error = machine.peek_virtual(vcpu, vaddr, &mut bytes[..1]);
            let reason = error.err().map_or_else(String::new, |error| error.to_string());
            return (format!("<{reason}>"), 1);
        };
        let bits = machine.cpus()[vcpu].code_bits;
        self.text(&bytes[..readable], vaddr, bits, &|target| {
            symbolic::named(debugger.symbols(), target, u64::MAX)
        })
    }

    /// Where a vCPU is: symbol, colon, instruction, and the source line.
    pub fn location(&mut self, debugger: &Debugger<'_>, vcpu: usize, max_offset: u64) -> String {
        let rip = linear_rip(&debugger.machine().cpus()[vcpu]);
        let label = symbolic::label(debugger.symbols(), rip, max_offset);
        let line = symbolic::source_line(debugger.symbols(), rip);
        format!("{label}:\t{}{line}", self.at(debugger, vcpu, rip).0)
    }

    /// Renders the first instruction of `bytes`.
    pub fn text(
        &mut self,
        bytes: &[u8],
        vaddr: u64,
        bits: u8,
        name: &dyn Fn(u64) -> Option<String>,
    ) -> (String, usize) {
        let bad = ("<bad instruction>".to_owned(), 1);
        let Some(handle) = self.handle(bits) else { return bad };
        let Ok(instructions) = handle.disasm_count(bytes, vaddr, 1) else { return bad };
        let Some(instruction) = instructions.iter().next() else { return bad };
        let mnemonic = instruction.mnemonic().unwrap_or("?");
        let operands = instruction.op_str().unwrap_or_default();
        let target = branch_target(bytes, vaddr, bits).and_then(name);
        let operands = target.unwrap_or_else(|| operands.replace(", ", ","));
        let text = if operands.is_empty() { mnemonic.to_owned() } else { format!("{mnemonic}\t{operands}") };
        (text, instruction.len())
    }
}

/// Where a direct call or jump goes.
fn branch_target(bytes: &[u8], vaddr: u64, bits: u8) -> Option<u64> {
    let instruction = Decoder::with_ip(u32::from(bits), bytes, vaddr, DecoderOptions::NONE).decode();
    let is_near = instruction.op_count() > 0
        && matches!(
            instruction.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        );
    is_near.then(|| instruction.near_branch_target())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], is_intel: bool) -> String {
        let mut disassembler = Disassembler { is_intel, ..Disassembler::default() };
        let name = |target| (target == 0x1005).then(|| "main+0x5".to_owned());
        disassembler.text(bytes, 0x1000, 64, &name).0
    }

    #[test]
    fn instructions_read_as_ddb_prints_them() {
        assert_eq!(text(&[0x48, 0x89, 0xe5], false), "movq\t%rsp,%rbp");
        assert_eq!(text(&[0x48, 0x89, 0xe5], true), "mov\trbp,rsp");
        assert_eq!(text(&[0xe8, 0, 0, 0, 0], false), "callq\tmain+0x5");
        assert_eq!(text(&[0xeb, 0x10], false), "jmp\t0x1012");
        assert_eq!(text(&[0xc3], false), "retq");
        assert_eq!(text(&[0x06], false), "<bad instruction>");
    }

    #[test]
    fn both_libraries_agree_on_lengths() {
        let mut disassembler = Disassembler::default();
        for bytes in [
            &[0x0f, 0x05][..],
            &[0xf3, 0x48, 0xab],
            &[0x66, 0x0f, 0x6f, 0x00],
            &[0xc8, 1, 0, 2],
            &[0xff, 0x25, 0, 0, 0, 0],
        ] {
            let iced = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode().len();
            assert_eq!(disassembler.text(bytes, 0, 64, &|_| None).1, iced, "{bytes:x?}");
        }
    }
}
