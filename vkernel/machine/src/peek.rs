//! Looking at guest memory without the guest noticing: what debuggers, backtraces and reports read with.
//!
//! The same walk as the processor's (SDM vol. 3 ch. 4: no paging, 32-bit, PAE and 4-level), but it reads only
//! RAM, sets no accessed bit, fills no translation cache, marks no page as a table and touches no device. It
//! leaves out access rights on purpose: an operator may look at what the guest may not. Addresses are linear,
//! so a caller outside 64-bit mode adds the segment base itself.

use crate::cpu::mmu::PHYSICAL_BITS;
use crate::cpu::state::{Vcpu, cr0, cr4};
use crate::machine::Machine;
use crate::mem::{Memory, PAGE_BYTES};

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const FRAME: u64 = ((1 << PHYSICAL_BITS) - 1) & !0xfff;

/// Why memory could not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeekError {
    /// There is no such vCPU.
    #[error("there is no vCPU {0}")]
    NoSuchVcpu(usize),
    /// The upper bits are not copies of bit 47.
    #[error("{vaddr:#x} is not a canonical address")]
    NotCanonical {
        /// The address asked for.
        vaddr: u64,
    },
    /// The page tables map nothing there.
    #[error("{vaddr:#x} is not mapped: the {} is {entry:#x}, not present", level_name(*level))]
    NotPresent {
        /// The first address that is not mapped.
        vaddr: u64,
        /// The level of the entry that is not present: 1 for a page table, 4 for the top of 4-level paging.
        level: u8,
        /// That entry.
        entry: u64,
    },
    /// The page tables themselves lead outside RAM.
    #[error("{vaddr:#x} is not mapped: its {} would lie at {paddr:#x}, which is no RAM", level_name(*level))]
    TableNotRam {
        /// The address asked for.
        vaddr: u64,
        /// The level of the entry that cannot be read.
        level: u8,
        /// Where the entry would lie.
        paddr: u64,
    },
    /// The memory is a device, or nothing: looking could change it.
    #[error("{paddr:#x} is no RAM: reading it could have effects")]
    NotRam {
        /// The first physical address that is no RAM.
        paddr: u64,
    },
}

/// What the manual calls an entry of a table of this level.
fn level_name(level: u8) -> &'static str {
    match level {
        1 => "PTE (level 1)",
        2 => "PDE (level 2)",
        3 => "PDPTE (level 3)",
        _ => "PML4E (level 4)",
    }
}

/// One entry that a walk through page tables read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkStep {
    /// 1 for a page table, 4 for the top of 4-level paging.
    pub level: u8,
    /// Where the entry lies; `None` for a PDPTE that the processor holds in a register.
    pub paddr: Option<u64>,
    /// The entry.
    pub entry: u64,
    /// Whether it maps a page, rather than leading to another table.
    pub is_leaf: bool,
}

impl WalkStep {
    /// What the manual calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        level_name(self.level)
    }
}

impl Machine {
    /// Every entry that `vcpu`'s page tables have for the linear address `vaddr`, from the top, and where they lead.
    /// Empty without paging.
    ///
    /// # Errors
    /// Says which level maps nothing; the entries before it are there.
    pub fn page_walk(&self, vcpu: usize, vaddr: u64) -> (Vec<WalkStep>, Result<u64, PeekError>) {
        let mut steps = Vec::new();
        let Some(cpu) = self.cpus().get(vcpu) else { return (steps, Err(PeekError::NoSuchVcpu(vcpu))) };
        let outcome = walk(cpu, &self.system().mem, vaddr, &mut |step| steps.push(step));
        (steps, outcome)
    }

    /// Reads memory as `vcpu` sees it at the linear address `vaddr`.
    ///
    /// # Errors
    /// The first address that is not mapped or is no RAM. `into` then holds the bytes before it.
    pub fn peek_virtual(&self, vcpu: usize, vaddr: u64, into: &mut [u8]) -> Result<(), PeekError> {
        let cpu = self.cpus().get(vcpu).ok_or(PeekError::NoSuchVcpu(vcpu))?;
        peek_virtual(cpu, &self.system().mem, vaddr, into)
    }

    /// Reads RAM at a physical address.
    ///
    /// # Errors
    /// The first address that is no RAM. `into` then holds the bytes before it.
    pub fn peek_physical(&self, paddr: u64, into: &mut [u8]) -> Result<(), PeekError> {
        peek_physical(&self.system().mem, paddr, into)
    }

    /// Where `vcpu`'s page tables map the linear address `vaddr`.
    ///
    /// # Errors
    /// Says which level maps nothing.
    pub fn physical_address(&self, vcpu: usize, vaddr: u64) -> Result<u64, PeekError> {
        let cpu = self.cpus().get(vcpu).ok_or(PeekError::NoSuchVcpu(vcpu))?;
        walk(cpu, &self.system().mem, vaddr, &mut |_| {})
    }
}

fn peek_virtual(cpu: &Vcpu, mem: &Memory, vaddr: u64, into: &mut [u8]) -> Result<(), PeekError> {
    let mut done = 0;
    while done < into.len() {
        let at = vaddr.wrapping_add(done as u64);
        let length = bytes_left_in_page(at).min(into.len() - done);
        let paddr = walk(cpu, mem, at, &mut |_| {})?;
        peek_physical(mem, paddr, &mut into[done..done + length])?;
        done += length;
    }
    Ok(())
}

fn peek_physical(mem: &Memory, paddr: u64, into: &mut [u8]) -> Result<(), PeekError> {
    let mut done = 0;
    while done < into.len() {
        let at = paddr.wrapping_add(done as u64);
        let length = bytes_left_in_page(at).min(into.len() - done);
        // The holes of the address map begin and end at page boundaries, so a page is RAM or it is not.
        if !mem.read(at, &mut into[done..done + length]) {
            return Err(PeekError::NotRam { paddr: at });
        }
        done += length;
    }
    Ok(())
}

fn bytes_left_in_page(address: u64) -> usize {
    PAGE_BYTES - address as usize % PAGE_BYTES
}

/// Told about every entry.
type Seen<'s> = &'s mut dyn FnMut(WalkStep);

/// The physical address of `vaddr`.
fn walk(cpu: &Vcpu, mem: &Memory, vaddr: u64, seen: Seen<'_>) -> Result<u64, PeekError> {
    let is_long = cpu.is_long_mode();
    if is_long && !Vcpu::is_canonical(vaddr) {
        return Err(PeekError::NotCanonical { vaddr });
    }
    let vaddr = if is_long { vaddr } else { vaddr & 0xffff_ffff };
    if cpu.cr0 & cr0::PG == 0 {
        return Ok(vaddr);
    }
    if is_long {
        return walk_wide(mem, vaddr, cpu.cr3 & FRAME, 4, seen);
    }
    if cpu.cr4 & cr4::PAE == 0 {
        return walk_legacy(cpu, mem, vaddr, seen);
    }
    // Outside long mode the processor uses the PDPTEs it loaded with CR3, whatever memory holds now.
    let pdpte = cpu.pdptes[(vaddr >> 30) as usize & 3];
    seen(WalkStep { level: 3, paddr: None, entry: pdpte, is_leaf: false });
    if pdpte & PRESENT == 0 {
        return Err(PeekError::NotPresent { vaddr, level: 3, entry: pdpte });
    }
    walk_wide(mem, vaddr, pdpte & FRAME, 2, seen)
}

/// From a table of 64-bit entries down.
fn walk_wide(mem: &Memory, vaddr: u64, table: u64, top_level: u8, seen: Seen<'_>) -> Result<u64, PeekError> {
    let mut table = table;
    let mut level = top_level;
    loop {
        let span_bits = 12 + 9 * u32::from(level - 1);
        let paddr = table + (vaddr >> span_bits & 0x1ff) * 8;
        let is_leaf = |entry: u64| level == 1 || (level < 4 && entry & LARGE != 0);
        let entry = read_entry::<8>(mem, vaddr, paddr, level, &is_leaf, seen)?;
        if is_leaf(entry) {
            let offset_mask = (1 << span_bits) - 1;
            return Ok(entry & FRAME & !offset_mask | vaddr & offset_mask);
        }
        table = entry & FRAME;
        level -= 1;
    }
}

/// 32-bit paging, with 4 MiB pages of up to 40 physical address bits.
fn walk_legacy(cpu: &Vcpu, mem: &Memory, vaddr: u64, seen: Seen<'_>) -> Result<u64, PeekError> {
    let directory = cpu.cr3 & 0xffff_f000;
    let is_large = |pde: u64| pde & LARGE != 0 && cpu.cr4 & cr4::PSE != 0;
    let pde = read_entry::<4>(mem, vaddr, directory + (vaddr >> 22) * 4, 2, &is_large, seen)?;
    if is_large(pde) {
        return Ok(pde & 0xffc0_0000 | (pde >> 13 & 0xff) << 32 | vaddr & 0x3f_ffff);
    }
    let paddr = (pde & 0xffff_f000) + (vaddr >> 12 & 0x3ff) * 4;
    let pte = read_entry::<4>(mem, vaddr, paddr, 1, &|_| true, seen)?;
    Ok(pte & 0xffff_f000 | vaddr & 0xfff)
}

/// Reads an entry of `BYTES` bytes that must be present.
fn read_entry<const BYTES: usize>(
    mem: &Memory,
    vaddr: u64,
    paddr: u64,
    level: u8,
    is_leaf: &dyn Fn(u64) -> bool,
    seen: Seen<'_>,
) -> Result<u64, PeekError> {
    let mut bytes = [0; 8];
    if !mem.read(paddr, &mut bytes[..BYTES]) {
        return Err(PeekError::TableNotRam { vaddr, level, paddr });
    }
    let entry = u64::from_le_bytes(bytes);
    seen(WalkStep { level, paddr: Some(paddr), entry, is_leaf: is_leaf(entry) });
    if entry & PRESENT == 0 {
        return Err(PeekError::NotPresent { vaddr, level, entry });
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::state::efer;

    /// RAM of 16 MiB and a vCPU without paging.
    fn bench() -> (Vcpu, Memory) {
        (Vcpu::new(0), Memory::new(16 << 20))
    }

    fn translate(cpu: &Vcpu, mem: &Memory, vaddr: u64) -> Result<u64, PeekError> {
        walk(cpu, mem, vaddr, &mut |_| {})
    }

    fn put(mem: &mut Memory, paddr: u64, entry: u64) {
        assert!(mem.write(paddr, &entry.to_le_bytes()));
    }

    fn put_narrow(mem: &mut Memory, paddr: u64, entry: u32) {
        assert!(mem.write(paddr, &entry.to_le_bytes()));
    }

    /// 4-level paging with a PML4 at 1000H, PDPT at 2000H, directory at 3000H and table at 4000H. None of the
    /// entries has its accessed bit set.
    fn long_mode() -> (Vcpu, Memory) {
        let (mut cpu, mut mem) = bench();
        cpu.cr0 |= cr0::PE | cr0::PG;
        cpu.cr4 |= cr4::PAE;
        cpu.efer |= efer::LME | efer::LMA;
        cpu.cr3 = 0x1000;
        put(&mut mem, 0x1000 + 0x1ff * 8, 0x2001);
        put(&mut mem, 0x2000 + 0x1fe * 8, 0x3001);
        put(&mut mem, 0x3000, 0x4001);
        (cpu, mem)
    }

    const TOP: u64 = 0xffff_ffff_8000_0000;

    #[test]
    fn bytes_across_two_pages_come_from_both_frames() {
        let (cpu, mut mem) = long_mode();
        put(&mut mem, 0x4000, 0x9001);
        put(&mut mem, 0x4008, 0x6001 | 1 << 63);
        assert!(mem.write(0x9ffe, b"ab") && mem.write(0x6000, b"cd"));
        let mut bytes = [0; 4];
        assert_eq!(peek_virtual(&cpu, &mem, TOP + 0xffe, &mut bytes), Ok(()));
        assert_eq!(&bytes, b"abcd");
    }

    #[test]
    fn looking_changes_nothing() {
        let (cpu, mut mem) = long_mode();
        put(&mut mem, 0x4000, 0x9001);
        let before = (mem.ram().to_vec(), mem.dirty_pages().to_vec());
        assert!(!before.1.is_empty());
        peek_virtual(&cpu, &mem, TOP, &mut [0; 16]).expect("mapped");
        assert!(mem.ram() == before.0 && mem.dirty_pages() == before.1);
        assert!(!mem.page(0x4000).leaf_table && !mem.page(0x1000).upper_table);
    }

    #[test]
    fn large_pages_of_2_mib_and_1_gib_are_followed() {
        let (cpu, mut mem) = long_mode();
        put(&mut mem, 0x3008, 0x40_0000 | LARGE | PRESENT);
        assert_eq!(translate(&cpu, &mem, TOP + 0x20_0000 + 0x1_2345), Ok(0x41_2345));
        let mut levels = Vec::new();
        let seen = &mut |step: WalkStep| levels.push((step.level, step.is_leaf));
        assert!(walk(&cpu, &mem, TOP + 0x20_0000, seen).is_ok());
        assert_eq!(levels, [(4, false), (3, false), (2, true)]);
        put(&mut mem, 0x2000 + 0x1ff * 8, 0x4000_0000 | LARGE | PRESENT);
        assert_eq!(translate(&cpu, &mem, 0xffff_ffff_c123_4567), Ok(0x4123_4567));
    }

    #[test]
    fn what_is_not_present_is_said_with_its_level() {
        let (cpu, mut mem) = long_mode();
        put(&mut mem, 0x4000, 0x9001);
        put(&mut mem, 0x4008, 0xdead_0000);
        let mut bytes = *b"........";
        let error = peek_virtual(&cpu, &mem, TOP + 0xffc, &mut bytes).expect_err("the second page is absent");
        assert_eq!(error, PeekError::NotPresent { vaddr: TOP + 0x1000, level: 1, entry: 0xdead_0000 });
        assert_eq!(&bytes, b"\0\0\0\0....");
        assert_eq!(
            error.to_string(),
            "0xffffffff80001000 is not mapped: the PTE (level 1) is 0xdead0000, not present"
        );
        let level = |vaddr| match translate(&cpu, &mem, vaddr) {
            Err(PeekError::NotPresent { level, .. }) => level,
            other => panic!("{other:?}"),
        };
        assert_eq!(level(TOP + 0x20_0000), 2);
        assert_eq!(level(0xffff_ffff_c000_0000), 3);
        assert_eq!(level(0), 4);
        assert_eq!(translate(&cpu, &mem, 1 << 47), Err(PeekError::NotCanonical { vaddr: 1 << 47 }));
    }

    #[test]
    fn tables_and_pages_outside_ram_are_errors_and_not_read() {
        let (mut cpu, mut mem) = long_mode();
        put(&mut mem, 0x4000, 0xfee0_0001);
        assert_eq!(
            peek_virtual(&cpu, &mem, TOP + 0x20, &mut [0; 4]),
            Err(PeekError::NotRam { paddr: 0xfee0_0020 })
        );
        put(&mut mem, 0x3000, 0xb_8001);
        assert_eq!(
            translate(&cpu, &mem, TOP),
            Err(PeekError::TableNotRam { vaddr: TOP, level: 1, paddr: 0xb_8000 })
        );
        cpu.cr3 = FRAME;
        let top = FRAME + 0x1ff * 8;
        assert_eq!(
            translate(&cpu, &mem, TOP),
            Err(PeekError::TableNotRam { vaddr: TOP, level: 4, paddr: top })
        );
    }

    #[test]
    fn legacy_paging_maps_small_and_4_mib_pages() {
        let (mut cpu, mut mem) = bench();
        cpu.cr0 |= cr0::PE | cr0::PG;
        cpu.cr4 |= cr4::PSE;
        cpu.cr3 = 0x1000;
        put_narrow(&mut mem, 0x1000 + 0x300 * 4, 0x2001);
        put_narrow(&mut mem, 0x2000 + 4, 0x7001);
        put_narrow(&mut mem, 0x1000 + 0x301 * 4, 0x40_0081);
        assert_eq!(translate(&cpu, &mem, 0xc000_1abc), Ok(0x7abc));
        assert_eq!(translate(&cpu, &mem, 0xc041_2345), Ok(0x41_2345));
        let absent = PeekError::NotPresent { vaddr: 0xc000_2000, level: 1, entry: 0 };
        assert_eq!(translate(&cpu, &mem, 0xc000_2000), Err(absent));
        cpu.cr4 &= !cr4::PSE;
        assert_eq!(
            translate(&cpu, &mem, 0xc040_0000),
            Err(PeekError::NotPresent { vaddr: 0xc040_0000, level: 1, entry: 0 })
        );
    }

    #[test]
    fn pae_paging_starts_from_the_loaded_pdptes() {
        let (mut cpu, mut mem) = bench();
        cpu.cr0 |= cr0::PE | cr0::PG;
        cpu.cr4 |= cr4::PAE;
        cpu.pdptes[3] = 0x2001;
        put(&mut mem, 0x2000 + 8, 0x40_0000 | LARGE | PRESENT);
        assert_eq!(translate(&cpu, &mem, 0xc020_0010), Ok(0x40_0010));
        assert_eq!(
            translate(&cpu, &mem, 0x1000),
            Err(PeekError::NotPresent { vaddr: 0x1000, level: 3, entry: 0 })
        );
    }

    #[test]
    fn without_paging_addresses_are_physical_and_ram_has_an_end() {
        let (cpu, mut mem) = bench();
        assert!(mem.write(0xff_fffe, b"xy"));
        let mut bytes = [0; 4];
        assert_eq!(
            peek_virtual(&cpu, &mem, 0xff_fffe, &mut bytes),
            Err(PeekError::NotRam { paddr: 0x100_0000 })
        );
        assert_eq!(&bytes, b"xy\0\0");
    }
}
