//! Memory accesses of lowered operations: the translation cache hit inline; a miss on plain RAM filled by the
//! run loop, which then executes the operation again, so that handlers call nothing and need no stack; and
//! everything else (devices, page tables, decoded code, page crossings) left to the specification, which
//! then executes the whole instruction.

use super::op::{Op, Out, address};
use crate::cpu::exception::Exception;
use crate::cpu::mmu::{Intent, translate};
use crate::cpu::state::Vcpu;
use crate::mem::PAGE_BYTES;
use crate::system::System;
use crate::tlb::Kind;

/// Reads `S` bytes of RAM.
#[inline(always)]
fn get<const S: usize>(ram: &[u8], offset: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..S].copy_from_slice(&ram[offset..offset + S]);
    u64::from_le_bytes(bytes)
}

#[inline(always)]
fn put<const S: usize>(ram: &mut [u8], offset: usize, value: u64) {
    ram[offset..offset + S].copy_from_slice(&value.to_le_bytes()[..S]);
}

/// A translation that an access needs and the cache does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Miss {
    laddr: u64,
    length: u16,
    kind: Kind,
    /// Through SS: a non-canonical address is #SS.
    stack: bool,
}

impl Default for Miss {
    fn default() -> Miss {
        Miss { laddr: 0, length: 0, kind: Kind::Read, stack: false }
    }
}

#[inline(always)]
fn find(cpu: &Vcpu, sys: &mut System, op: &Op, laddr: u64, length: usize, kind: Kind) -> Result<usize, Out> {
    if let Some(offset) = sys.tlbs.current.lookup(kind, cpu.cpl == 3, laddr, length) {
        return Ok(offset);
    }
    let stack = op.address_bits & address::STACK != 0;
    sys.scratch.miss = Miss { laddr, length: length as u16, kind, stack };
    Err(Out::Miss)
}

/// The RAM offset of `length` bytes at a linear address, for a load.
#[inline(always)]
pub fn find_read(cpu: &Vcpu, sys: &mut System, op: &Op, laddr: u64, length: usize) -> Result<usize, Out> {
    find(cpu, sys, op, laddr, length, Kind::Read)
}

/// The RAM offset of `length` bytes at a linear address, for a store that needs no noticing.
#[inline(always)]
pub fn find_write(cpu: &Vcpu, sys: &mut System, op: &Op, laddr: u64, length: usize) -> Result<usize, Out> {
    find(cpu, sys, op, laddr, length, Kind::Write)
}

/// As [`find_read`] and [`find_write`] for a data segment, outside handlers: fills the cache if need be.
pub fn find_or_fill(
    cpu: &mut Vcpu,
    sys: &mut System,
    laddr: u64,
    length: usize,
    kind: Kind,
) -> Result<usize, Out> {
    if let Some(offset) = sys.tlbs.current.lookup(kind, cpu.cpl == 3, laddr, length) {
        return Ok(offset);
    }
    sys.scratch.miss = Miss { laddr, length: length as u16, kind, stack: false };
    fill(cpu, sys)
}

/// Loads `S` bytes at a linear address.
#[inline(always)]
pub fn load<const S: usize>(cpu: &mut Vcpu, sys: &mut System, op: &Op, laddr: u64) -> Result<u64, Out> {
    let offset = find_read(cpu, sys, op, laddr, S)?;
    Ok(get::<S>(sys.mem.ram(), offset))
}

/// Stores the low `S` bytes of `value` at a linear address.
#[inline(always)]
pub fn store<const S: usize>(
    cpu: &mut Vcpu,
    sys: &mut System,
    op: &Op,
    laddr: u64,
    value: u64,
) -> Result<(), Out> {
    let offset = find_write(cpu, sys, op, laddr, S)?;
    put::<S>(sys.mem.ram_mut(), offset, value);
    Ok(())
}

/// Reads `S` bytes at a linear address, computes, and writes them back; checked for writing first.
#[inline(always)]
pub fn modify<const S: usize>(
    cpu: &mut Vcpu,
    sys: &mut System,
    op: &Op,
    laddr: u64,
    compute: impl FnOnce(&mut Vcpu, &mut System, u64) -> u64,
) -> Result<(), Out> {
    let offset = find_write(cpu, sys, op, laddr, S)?;
    let old = get::<S>(sys.mem.ram(), offset);
    let new = compute(cpu, sys, old);
    put::<S>(sys.mem.ram_mut(), offset, new);
    Ok(())
}

/// Notes the exception where the run loop finds it.
#[cold]
pub fn raise(sys: &mut System, exception: Exception) -> Out {
    sys.scratch.raised = Some(exception);
    Out::Fault
}

/// Translates what was missing and caches it, if the page is plain RAM; gives the RAM offset. Nothing has
/// happened yet that the specification would not do again in the same way.
#[cold]
#[inline(never)]
pub fn fill(cpu: &mut Vcpu, sys: &mut System) -> Result<usize, Out> {
    let Miss { laddr, length, kind, stack } = sys.scratch.miss;
    let crosses = laddr as usize % PAGE_BYTES + usize::from(length) > PAGE_BYTES;
    let user = cpu.cpl == 3;
    if crosses {
        return Err(Out::Slow);
    }
    if !Vcpu::is_canonical(laddr) {
        return Err(raise(sys, if stack { Exception::ss(0) } else { Exception::gp(0) }));
    }
    let intent = if kind == Kind::Write { Intent::Write } else { Intent::Read };
    let found = match translate(cpu, sys, laddr, intent, user) {
        Ok(found) => found,
        Err(exception) => return Err(raise(sys, exception)),
    };
    let Some(offset) = sys.mem.offset(found.paddr) else { return Err(Out::Slow) };
    if sys.stops.watches_page(laddr, found.paddr) {
        return Err(Out::Slow);
    }
    if kind == Kind::Write {
        sys.mem.mark_dirty(offset);
        if !sys.mem.is_plain(offset) {
            return Err(Out::Slow);
        }
    }
    sys.tlbs.current.insert(kind, user, laddr, offset, found.global);
    Ok(offset)
}
