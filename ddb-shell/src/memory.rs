//! Guest memory as expressions, unwinders and printers see it: something that can be read at a linear address; and as it is
//! searched: pages of RAM.

use machine::mem::Memory;
use machine::{Machine, PeekError};

/// Memory that can be looked at without the guest noticing.
pub trait GuestMemory {
    /// Reads at the linear address `vaddr`.
    ///
    /// # Errors
    /// The first address that is not mapped or is no RAM. `into` then holds the bytes before it.
    fn read(&self, vaddr: u64, into: &mut [u8]) -> Result<(), PeekError>;

    /// A little-endian number of `length_bytes` (at most 8).
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    fn read_number(&self, vaddr: u64, length_bytes: u64) -> Result<u64, PeekError> {
        let mut bytes = [0; 8];
        let length = length_bytes.min(8) as usize;
        self.read(vaddr, &mut bytes[..length])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The text at `vaddr` up to its final zero, at most `bytes_max` of it, and whether that is all.
    ///
    /// # Errors
    /// Not even the first byte can be read.
    fn read_text(&self, vaddr: u64, bytes_max: usize) -> Result<(Vec<u8>, bool), PeekError> {
        let mut text = vec![0; bytes_max];
        // Fewer bytes are enough at the end of what is mapped.
        if self.read(vaddr, &mut text).is_err() {
            let mut length = 0;
            let mut byte = [0];
            while length < bytes_max && self.read(vaddr.wrapping_add(length as u64), &mut byte).is_ok() {
                text[length] = byte[0];
                length += 1;
            }
            if length == 0 {
                self.read(vaddr, &mut byte)?;
            }
            text.truncate(length);
        }
        let end = text.iter().position(|&byte| byte == 0);
        text.truncate(end.unwrap_or(text.len()));
        Ok((text, end.is_some()))
    }
}

/// The RAM of a guest: its pages one behind the other, whatever holes there are between them.
pub trait GuestRam {
    /// All of it.
    fn bytes(&self) -> &[u8];
    /// Whether a page, by its number, is known to hold only zeros.
    fn is_blank(&self, page: usize) -> bool;
    /// The physical address of a page, by its number.
    fn page_paddr(&self, page: usize) -> u64;
}

impl GuestRam for Memory {
    fn bytes(&self) -> &[u8] {
        self.ram()
    }

    fn is_blank(&self, page: usize) -> bool {
        self.is_blank(page)
    }

    fn page_paddr(&self, page: usize) -> u64 {
        self.page_paddr(page)
    }
}

/// Memory as one vCPU of a machine sees it.
#[derive(Clone, Copy)]
pub struct VcpuMemory<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Whose page tables are used.
    pub vcpu: usize,
}

impl GuestMemory for VcpuMemory<'_> {
    fn read(&self, vaddr: u64, into: &mut [u8]) -> Result<(), PeekError> {
        self.machine.peek_virtual(self.vcpu, vaddr, into)
    }
}
