//! Linear to physical translation (SDM vol. 3 ch. 4): no paging, 32-bit, PAE and 4-level, large pages, NX,
//! WP, accessed and dirty bits.
//!
//! The walker is the only reader of page tables. It caches nothing itself; it marks every page it reads an
//! entry from as a page table, so that the engines' translation caches can be kept coherent by
//! `System::store_phys` (docs/determinism.md). SMEP, SMAP, protection keys and 5-level paging are not exposed.

use super::exception::{Exception, Exec};
use super::state::{Vcpu, cr0, cr4, efer};
use crate::mem::PageTableLevel;
use crate::system::System;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
/// Physical address bits, as CPUID 80000008H says.
pub const PHYSICAL_BITS: u32 = 40;
const FRAME: u64 = ((1 << PHYSICAL_BITS) - 1) & !0xfff;
const RESERVED_HIGH: u64 = ((1 << 52) - 1) & !((1 << PHYSICAL_BITS) - 1);

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Read data.
    Read,
    /// Write data, or read it in order to write it.
    Write,
    /// Fetch an instruction.
    Fetch,
}

/// A translation, valid for the 4 KiB page around the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Physical address of the byte asked for.
    pub paddr: u64,
    /// The page may also be written with the same privilege, and its dirty bit is already set.
    pub writable: bool,
    /// The mapping is global (survives a CR3 load).
    pub global: bool,
}

/// Error code bits of a page fault.
mod code {
    pub const PROTECTION: u32 = 1;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}

/// Translates `laddr` for an access with `intent`, as user if `user`. Sets accessed and dirty bits.
///
/// # Errors
/// A page fault, with the address noted in `sys.fault_vaddr`.
pub fn translate(cpu: &Vcpu, sys: &mut System, laddr: u64, intent: Intent, user: bool) -> Exec<Translation> {
    if cpu.cr0 & cr0::PG == 0 {
        return Ok(Translation { paddr: laddr & 0xffff_ffff, writable: true, global: true });
    }
    let result = if cpu.cr4 & cr4::PAE == 0 {
        walk_legacy(cpu, sys, laddr, intent, user)
    } else {
        walk_wide(cpu, sys, laddr, intent, user)
    };
    result.map_err(|cause| {
        let nx_reported = cpu.efer & efer::NXE != 0 && cpu.cr4 & cr4::PAE != 0;
        let mut error = cause;
        error |= if intent == Intent::Write { code::WRITE } else { 0 };
        error |= if user { code::USER } else { 0 };
        error |= if intent == Intent::Fetch && nx_reported { code::FETCH } else { 0 };
        sys.fault_vaddr = laddr;
        Exception::pf(error)
    })
}

/// Permissions accumulated over the levels of a walk.
struct Rights {
    writable: bool,
    user: bool,
    no_execute: bool,
}

impl Rights {
    fn all() -> Rights {
        Rights { writable: true, user: true, no_execute: false }
    }

    fn restrict(&mut self, entry: u64, nxe: bool) {
        self.writable &= entry & WRITABLE != 0;
        self.user &= entry & USER != 0;
        self.no_execute |= nxe && entry & NO_EXECUTE != 0;
    }

    /// SDM vol. 3 4.6: whether the access is allowed.
    fn allow(&self, cpu: &Vcpu, intent: Intent, user: bool) -> bool {
        if user && !self.user {
            return false;
        }
        match intent {
            Intent::Read => true,
            Intent::Write => self.may_write(cpu, user),
            Intent::Fetch => !self.no_execute,
        }
    }

    fn may_write(&self, cpu: &Vcpu, user: bool) -> bool {
        self.writable || (!user && cpu.cr0 & cr0::WP == 0)
    }
}

/// An entry that was read on the way, to be given its accessed bit if the walk succeeds.
#[derive(Clone, Copy, Default)]
struct Visited {
    paddr: u64,
    entry: u64,
}

/// PAE and 4-level paging: 64-bit entries. The error is the cause part of the error code.
fn walk_wide(
    cpu: &Vcpu,
    sys: &mut System,
    laddr: u64,
    intent: Intent,
    user: bool,
) -> Result<Translation, u32> {
    let nxe = cpu.efer & efer::NXE != 0;
    let reserved = RESERVED_HIGH | if nxe { 0 } else { NO_EXECUTE };
    let mut rights = Rights::all();
    let mut visited = [Visited::default(); 4];
    let mut depth = 0;
    let (mut table, mut level) = if cpu.is_long_mode() {
        (cpu.cr3 & FRAME, 4)
    } else {
        // The PDPTEs were loaded, and their reserved bits checked, when CR3 was written.
        let pdpte = cpu.pdptes[(laddr >> 30) as usize & 3];
        if pdpte & PRESENT == 0 {
            return Err(0);
        }
        (pdpte & FRAME, 2)
    };
    loop {
        let paddr = table + (laddr >> (12 + 9 * (level - 1)) & 0x1ff) * 8;
        let entry = sys.read_page_table(
            paddr,
            8,
            if level == 1 { PageTableLevel::Leaf } else { PageTableLevel::Upper },
        );
        if entry & PRESENT == 0 {
            return Err(0);
        }
        let is_large =
            level == 4 && entry & LARGE != 0 || level == 3 && entry & LARGE != 0 && !cpu.is_long_mode();
        if entry & reserved != 0 || is_large {
            return Err(code::PROTECTION | code::RESERVED);
        }
        let leaf = level == 1 || (level <= 3 && entry & LARGE != 0);
        let span_bits = 12 + 9 * (level - 1);
        if leaf && level > 1 && entry & FRAME & ((1 << span_bits) - 1) & !0x1000 != 0 {
            return Err(code::PROTECTION | code::RESERVED);
        }
        rights.restrict(entry, nxe);
        visited[depth] = Visited { paddr, entry };
        depth += 1;
        if leaf {
            let frame = entry & FRAME & !((1 << span_bits) - 1);
            let paddr = frame | laddr & ((1 << span_bits) - 1);
            return finish(cpu, sys, &visited[..depth], &rights, paddr, intent, user, 8);
        }
        table = entry & FRAME;
        level -= 1;
    }
}

/// 32-bit paging: 32-bit entries, 4 MiB pages with PSE (with PSE-36 addresses).
fn walk_legacy(
    cpu: &Vcpu,
    sys: &mut System,
    laddr: u64,
    intent: Intent,
    user: bool,
) -> Result<Translation, u32> {
    let mut rights = Rights::all();
    let pde_paddr = (cpu.cr3 & 0xffff_f000) + (laddr >> 22 & 0x3ff) * 4;
    let pde = sys.read_page_table(pde_paddr, 4, PageTableLevel::Upper);
    if pde & PRESENT == 0 {
        return Err(0);
    }
    rights.restrict(pde, false);
    let top = Visited { paddr: pde_paddr, entry: pde };
    if pde & LARGE != 0 && cpu.cr4 & cr4::PSE != 0 {
        if pde & (1 << 21) != 0 {
            return Err(code::PROTECTION | code::RESERVED);
        }
        let frame = pde & 0xffc0_0000 | (pde >> 13 & 0xff) << 32;
        return finish(cpu, sys, &[top], &rights, frame | laddr & 0x3f_ffff, intent, user, 4);
    }
    let pte_paddr = (pde & 0xffff_f000) + (laddr >> 12 & 0x3ff) * 4;
    // A legacy table maps by 1024 entries; the coherence index assumes 512, so treat it as an upper level.
    let pte = sys.read_page_table(pte_paddr, 4, PageTableLevel::Upper);
    if pte & PRESENT == 0 {
        return Err(0);
    }
    rights.restrict(pte, false);
    let visited = [top, Visited { paddr: pte_paddr, entry: pte }];
    finish(cpu, sys, &visited, &rights, pte & 0xffff_f000 | laddr & 0xfff, intent, user, 4)
}

/// Checks rights, then sets accessed bits on the way and the dirty bit in the leaf.
#[allow(clippy::too_many_arguments, reason = "the state of one walk, used by its two forms only")]
fn finish(
    cpu: &Vcpu,
    sys: &mut System,
    visited: &[Visited],
    rights: &Rights,
    paddr: u64,
    intent: Intent,
    user: bool,
    entry_bytes: u8,
) -> Result<Translation, u32> {
    if !rights.allow(cpu, intent, user) {
        return Err(code::PROTECTION);
    }
    let (leaf, upper) = visited.split_last().expect("a walk visits at least one entry");
    for step in upper {
        if step.entry & ACCESSED == 0 {
            sys.update_page_table(step.paddr, step.entry | ACCESSED, entry_bytes);
        }
    }
    let mut entry = leaf.entry | ACCESSED;
    if intent == Intent::Write {
        entry |= DIRTY;
    }
    if entry != leaf.entry {
        sys.update_page_table(leaf.paddr, entry, entry_bytes);
    }
    Ok(Translation {
        paddr,
        writable: entry & DIRTY != 0 && rights.may_write(cpu, user),
        global: entry & GLOBAL != 0 && cpu.cr4 & cr4::PGE != 0,
    })
}
