//! A place of the guest's history as a crash dump: an ELF core file as kdump and QEMU write them, for drgn and crash.
//!
//! ELF64 for x86-64 (ELF gABI, core files): one PT_NOTE with the notes of each vCPU (`notes.rs`) and Linux's VMCOREINFO, found in
//! its memory; one PT_LOAD for each stretch of RAM, by physical address. Left out: virtual addresses, which the tools find
//! through the page tables that VMCOREINFO names.

mod notes;

use crate::elf::{HEADER_BYTES, Header, PROGRAM_HEADER_BYTES};
use crate::kernel::find_vmcoreinfo;
use machine::Machine;
use std::io::{self, Write};

const ET_CORE: u16 = 4;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PAGE_BYTES: u64 = 4096;

/// Why there is no crash dump.
#[derive(Debug, thiserror::Error)]
pub enum VmcoreError {
    /// The guest's memory has no VMCOREINFO.
    #[error(
        "this guest has no VMCOREINFO in its memory here, which drgn and crash need: it is no Linux, or has not come so far in its boot"
    )]
    NoVmcoreinfo,
    /// The file.
    #[error("writing the dump: {0}")]
    Io(#[from] io::Error),
}

/// A stretch of RAM in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    paddr: u64,
    /// Where its bytes begin in the machine's RAM.
    offset: usize,
    length_bytes: u64,
}

/// Writes the machine as it is.
///
/// # Errors
/// The guest is none that the tools could read, or the file cannot be written.
pub fn write(machine: &Machine, out: &mut dyn Write) -> Result<(), VmcoreError> {
    let vmcoreinfo = find_vmcoreinfo(machine).ok_or(VmcoreError::NoVmcoreinfo)?;
    let notes = notes::all(machine.cpus(), &vmcoreinfo);
    let stretches = stretches(machine);
    let program_headers = 1 + stretches.len() as u16;
    let headers = HEADER_BYTES + PROGRAM_HEADER_BYTES * u64::from(program_headers);
    out.write_all(&Header { kind: ET_CORE, program_headers, section_headers: (0, 0) }.bytes())?;
    out.write_all(&phdr(PT_NOTE, headers, 0, notes.len() as u64))?;
    let mut at = (headers + notes.len() as u64).next_multiple_of(PAGE_BYTES);
    for stretch in &stretches {
        out.write_all(&phdr(PT_LOAD, at, stretch.paddr, stretch.length_bytes))?;
        at += stretch.length_bytes;
    }
    out.write_all(&notes)?;
    let unused = (headers + notes.len() as u64).next_multiple_of(PAGE_BYTES) - headers - notes.len() as u64;
    out.write_all(&vec![0; unused as usize])?;
    let ram = machine.system().mem.ram();
    for stretch in &stretches {
        out.write_all(&ram[stretch.offset..][..stretch.length_bytes as usize])?;
    }
    Ok(out.flush()?)
}

/// All RAM by physical address: what lies below and above the hole for devices.
fn stretches(machine: &Machine) -> Vec<Stretch> {
    let mem = &machine.system().mem;
    let mut found: Vec<Stretch> = Vec::new();
    for page in 0..mem.ram().len() / PAGE_BYTES as usize {
        let (paddr, offset) = (mem.page_paddr(page), page * PAGE_BYTES as usize);
        match found.last_mut() {
            Some(last) if last.paddr + last.length_bytes == paddr => last.length_bytes += PAGE_BYTES,
            _ => found.push(Stretch { paddr, offset, length_bytes: PAGE_BYTES }),
        }
    }
    found
}

fn phdr(kind: u32, offset: u64, paddr: u64, length_bytes: u64) -> Vec<u8> {
    const READ_WRITE_EXECUTE: u32 = 7;
    let flags = if kind == PT_LOAD { READ_WRITE_EXECUTE } else { 0 };
    let mut bytes = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
    for word in [offset, 0, paddr, length_bytes, length_bytes, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_its_length() {
        assert_eq!(phdr(PT_LOAD, 0, 0, 0).len() as u64, PROGRAM_HEADER_BYTES);
    }
}
