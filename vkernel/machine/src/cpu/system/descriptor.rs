//! Segment descriptors in the GDT and LDT (SDM vol. 3 3.4.5, 3.5, 7.2).

use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{Segment, Vcpu};

/// A descriptor as found in a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    /// As it is loaded into a segment register.
    pub segment: Segment,
    /// Its linear address.
    pub laddr: u64,
    /// Its first eight bytes.
    pub raw: u64,
}

/// System descriptor types, as in the low four bits of `access`.
pub(super) mod system_type {
    pub const TSS16: u16 = 1;
    pub const LDT: u16 = 2;
    pub const CALL16: u16 = 4;
    pub const TASK_GATE: u16 = 5;
    pub const TSS: u16 = 9;
    pub const CALL: u16 = 12;
    /// Added to a TSS's type while it is in use.
    pub const BUSY: u16 = 2;
}

/// The error code that names a selector: its index and table.
pub(super) fn selector_code(selector: u16) -> u32 {
    u32::from(selector & !3)
}

/// A null selector, whatever its RPL.
pub(super) fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// Requested privilege level.
pub(super) fn rpl(selector: u16) -> u8 {
    (selector & 3) as u8
}

/// Unpacks eight descriptor bytes.
pub(super) fn unpack(selector: u16, raw: u64) -> Segment {
    let access = (raw >> 40 & 0xf0ff) as u16;
    let short = (raw & 0xffff | raw >> 32 & 0xf_0000) as u32;
    let limit = if access & Segment::GRANULAR != 0 { short << 12 | 0xfff } else { short };
    let base = raw >> 16 & 0xff_ffff | raw >> 32 & 0xff00_0000;
    Segment { selector, access, limit, base }
}

impl Descriptor {
    /// The type and S bit: the low five bits of `access`.
    pub fn kind(&self) -> u16 {
        self.segment.access & 0x1f
    }

    /// Whether it describes a system segment or gate.
    pub fn is_system(&self) -> bool {
        self.segment.access & Segment::CODE_OR_DATA == 0
    }

    /// Whether P is set.
    pub fn is_present(&self) -> bool {
        self.segment.access & Segment::PRESENT != 0
    }

    /// A conforming code segment.
    pub fn is_conforming(&self) -> bool {
        self.segment.access & 0x1c == 0x1c
    }

    /// Sets the accessed bit in the table and in the copy.
    pub fn set_accessed(&mut self, core: &mut Core<'_>) -> Exec {
        if self.segment.access & 1 == 0 {
            self.segment.access |= 1;
            core.store_linear(self.laddr.wrapping_add(5), &[self.segment.access as u8], false)?;
        }
        Ok(())
    }
}

/// The linear address of `length` bytes of a selector's descriptor, if they lie within its table.
fn find(cpu: &Vcpu, selector: u16, length: u64) -> Option<u64> {
    let (base, limit) = if selector & 4 == 0 {
        (cpu.gdtr.base, u64::from(cpu.gdtr.limit))
    } else if cpu.ldtr.is_unusable() {
        return None;
    } else {
        (cpu.ldtr.base, u64::from(cpu.ldtr.limit))
    };
    let offset = u64::from(selector & !7);
    (offset + length - 1 <= limit).then(|| base.wrapping_add(offset))
}

/// Reads a descriptor; `None` when the selector is beyond its table.
pub(super) fn try_read(core: &mut Core<'_>, selector: u16) -> Exec<Option<Descriptor>> {
    let Some(laddr) = find(core.cpu, selector, 8) else { return Ok(None) };
    let raw = u64::from_le_bytes(core.load_linear(laddr, false)?);
    Ok(Some(Descriptor { segment: unpack(selector, raw), laddr, raw }))
}

/// Reads a descriptor.
///
/// # Errors
/// `raise(selector)` when the selector is beyond its table, or a page fault.
pub(super) fn read(core: &mut Core<'_>, selector: u16, raise: fn(u32) -> Exception) -> Exec<Descriptor> {
    try_read(core, selector)?.ok_or_else(|| raise(selector_code(selector)))
}

/// Reads the second half of a 16-byte system descriptor of long mode.
///
/// # Errors
/// `raise(selector)` when it is beyond its table or its type field is not 0, or a page fault.
pub(super) fn read_upper(core: &mut Core<'_>, selector: u16, raise: fn(u32) -> Exception) -> Exec<u64> {
    let fault = raise(selector_code(selector));
    let laddr = find(core.cpu, selector, 16).ok_or(fault)?.wrapping_add(8);
    let upper = u64::from_le_bytes(core.load_linear(laddr, false)?);
    if upper >> 40 & 0x1f != 0 { Err(fault) } else { Ok(upper) }
}
