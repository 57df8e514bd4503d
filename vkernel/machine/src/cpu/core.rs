//! One vCPU joined with the system it is wired to: what an instruction executes on.
//!
//! Memory as an instruction sees it: segmentation (SDM vol. 3 ch. 3 and 5.3), canonical addresses,
//! alignment checks, translation, page crossing. An access either happens whole or raises an exception
//! having written nothing.

use super::exception::{Exception, Exec};
use super::mmu::{Intent, translate};
use super::state::{CS, Mode, SS, Segment, Vcpu, cr0, rflags};
use crate::mem::PAGE_BYTES;
use crate::system::System;

/// A vCPU and the system around it.
#[derive(Debug)]
pub struct Core<'a> {
    /// The vCPU that executes.
    pub cpu: &'a mut Vcpu,
    /// Memory, devices, time.
    pub sys: &'a mut System,
}

/// Where a memory operand lies in physical memory: up to two pieces, as it may cross a page.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    first: u64,
    second: u64,
    /// Bytes in the first piece.
    split: u8,
    length: u8,
}

impl Core<'_> {
    /// The linear address of `length` bytes at `offset` in a segment, checked for an access with `intent`.
    ///
    /// # Errors
    /// #GP(0), or #SS(0) for the stack segment: not canonical, beyond the limit, unusable, or not writable.
    pub fn linear(&self, segment: usize, offset: u64, length: usize, intent: Intent) -> Exec<u64> {
        let fault = || if segment == SS { Exception::ss(0) } else { Exception::gp(0) };
        let descriptor = &self.cpu.segments[segment];
        if self.cpu.mode == Mode::Long64 {
            let laddr =
                if segment >= super::state::FS { descriptor.base.wrapping_add(offset) } else { offset };
            let last = laddr.wrapping_add(length as u64 - 1);
            let ok = Vcpu::is_canonical(laddr) && Vcpu::is_canonical(last);
            return if ok { Ok(laddr) } else { Err(fault()) };
        }
        if matches!(self.cpu.mode, Mode::Protected | Mode::Compatibility) {
            let allowed = !descriptor.is_unusable()
                && match intent {
                    Intent::Read => descriptor.is_readable(),
                    Intent::Write => descriptor.is_writable(),
                    Intent::Fetch => true,
                };
            if !allowed {
                return Err(fault());
            }
        }
        let offset = offset & 0xffff_ffff;
        let last = offset + (length as u64 - 1);
        let inside = if descriptor.is_expand_down() {
            let top = if descriptor.access & Segment::BIG != 0 { 0xffff_ffff } else { 0xffff };
            offset > u64::from(descriptor.limit) && last <= top
        } else {
            last <= u64::from(descriptor.limit)
        };
        if inside { Ok(descriptor.base.wrapping_add(offset) & 0xffff_ffff) } else { Err(fault()) }
    }

    /// Whether data accesses are made with user rights.
    #[inline]
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.cpu.cpl == 3
    }

    /// Raises #AC(0) for a misaligned user access when alignment checking is on (SDM vol. 3 6.15).
    fn check_alignment(&self, laddr: u64, length: usize, user: bool) -> Exec {
        let on = user && self.cpu.flag(rflags::AC) && self.cpu.cr0 & cr0::AM != 0;
        // 10-byte and other odd sizes are checked as the doublewords or quadwords they consist of.
        let alignment = match length {
            2 | 4 | 8 => length as u64,
            10 => 8,
            _ => 1,
        };
        if on && laddr & (alignment - 1) != 0 { Err(Exception::AC) } else { Ok(()) }
    }

    /// Translates `length` bytes (1 to 64) at a linear address, both pages of them if it crosses one.
    ///
    /// # Errors
    /// #AC, or #PF of the first page that cannot be accessed.
    pub fn locate_linear(&mut self, laddr: u64, length: usize, intent: Intent, user: bool) -> Exec<Located> {
        self.check_alignment(laddr, length, user)?;
        let in_page = laddr as usize & (PAGE_BYTES - 1);
        let first = translate(self.cpu, self.sys, laddr, intent, user)?.paddr;
        let split = length.min(PAGE_BYTES - in_page);
        let mut second = 0;
        if split < length {
            let mut next = laddr.wrapping_add(split as u64);
            if self.cpu.mode != Mode::Long64 {
                next &= 0xffff_ffff;
            }
            second = translate(self.cpu, self.sys, next, intent, user)?.paddr;
            self.sys.stops.access(next, second, length - split, intent);
        }
        self.sys.stops.access(laddr, first, split, intent);
        Ok(Located { first, second, split: split as u8, length: length as u8 })
    }

    /// Finds a memory operand, with all its checks, so that using it afterwards cannot fail.
    ///
    /// # Errors
    /// As [`Core::linear`] and [`Core::locate_linear`].
    pub fn locate(&mut self, segment: usize, offset: u64, length: usize, intent: Intent) -> Exec<Located> {
        let laddr = self.linear(segment, offset, length, intent)?;
        self.locate_linear(laddr, length, intent, self.is_user())
    }

    /// Reads what was located.
    pub fn load_located(&mut self, at: Located, into: &mut [u8]) {
        debug_assert_eq!(into.len(), usize::from(at.length));
        let (head, tail) = into.split_at_mut(usize::from(at.split));
        self.load_piece(at.first, head);
        if !tail.is_empty() {
            self.load_piece(at.second, tail);
        }
    }

    fn load_piece(&mut self, paddr: u64, into: &mut [u8]) {
        self.sys.load_phys(self.cpu.id, paddr, into);
    }

    /// Writes what was located with [`Intent::Write`].
    pub fn store_located(&mut self, at: Located, bytes: &[u8]) {
        debug_assert_eq!(bytes.len(), usize::from(at.length));
        let (head, tail) = bytes.split_at(usize::from(at.split));
        self.sys.store_phys(self.cpu.id, at.first, head);
        if !tail.is_empty() {
            self.sys.store_phys(self.cpu.id, at.second, tail);
        }
    }

    /// Reads `N` bytes at `offset` in a segment.
    ///
    /// # Errors
    /// As [`Core::locate`].
    pub fn load<const N: usize>(&mut self, segment: usize, offset: u64) -> Exec<[u8; N]> {
        let laddr = self.linear(segment, offset, N, Intent::Read)?;
        self.load_linear(laddr, self.is_user())
    }

    /// Reads `N` bytes at a linear address, with user or supervisor rights.
    ///
    /// # Errors
    /// As [`Core::locate_linear`].
    pub fn load_linear<const N: usize>(&mut self, laddr: u64, user: bool) -> Exec<[u8; N]> {
        let at = self.locate_linear(laddr, N, Intent::Read, user)?;
        let mut bytes = [0; N];
        self.load_located(at, &mut bytes);
        Ok(bytes)
    }

    /// Writes bytes at a linear address, with user or supervisor rights.
    ///
    /// # Errors
    /// As [`Core::locate_linear`].
    pub fn store_linear(&mut self, laddr: u64, bytes: &[u8], user: bool) -> Exec {
        let at = self.locate_linear(laddr, bytes.len(), Intent::Write, user)?;
        self.store_located(at, bytes);
        Ok(())
    }

    /// Writes bytes at `offset` in a segment.
    ///
    /// # Errors
    /// As [`Core::locate`].
    pub fn store(&mut self, segment: usize, offset: u64, bytes: &[u8]) -> Exec {
        let at = self.locate(segment, offset, bytes.len(), Intent::Write)?;
        self.store_located(at, bytes);
        Ok(())
    }

    /// Reads an unsigned integer of `size` bytes (1, 2, 4 or 8).
    ///
    /// # Errors
    /// As [`Core::locate`].
    pub fn load_sized(&mut self, segment: usize, offset: u64, size: usize) -> Exec<u64> {
        let at = self.locate(segment, offset, size, Intent::Read)?;
        Ok(self.load_located_sized(at))
    }

    /// Reads what was located as an unsigned integer.
    pub fn load_located_sized(&mut self, at: Located) -> u64 {
        let mut bytes = [0; 8];
        let length = usize::from(at.length);
        self.load_located(at, &mut bytes[..length]);
        u64::from_le_bytes(bytes)
    }

    /// Writes the low `size` bytes (1, 2, 4 or 8) of `value`.
    ///
    /// # Errors
    /// As [`Core::locate`].
    pub fn store_sized(&mut self, segment: usize, offset: u64, size: usize, value: u64) -> Exec {
        self.store(segment, offset, &value.to_le_bytes()[..size])
    }

    /// Writes the low bytes of `value` to what was located.
    pub fn store_located_sized(&mut self, at: Located, value: u64) {
        let length = usize::from(at.length);
        self.store_located(at, &value.to_le_bytes()[..length]);
    }

    /// Fetches up to 15 instruction bytes at `cpu.rip`, as far as one page goes; gives how many.
    ///
    /// # Errors
    /// The exception of the first byte, if not even that can be fetched.
    pub fn fetch(&mut self, into: &mut [u8; 15]) -> Exec<usize> {
        self.fetch_piece(self.cpu.rip, into)
    }

    /// Fetches what of 15 instruction bytes is missing behind the first `got`; gives how many there are then. A byte
    /// that cannot be fetched just ends them; the decoder asks again by [`Core::fetch_fault`] when it needs more.
    pub fn fetch_more(&mut self, into: &mut [u8; 15], mut got: usize) -> usize {
        while got < into.len() {
            let offset = self.cpu.rip.wrapping_add(got as u64);
            match self.fetch_piece(offset, &mut into[got..]) {
                Ok(length) => got += length,
                Err(_) => break,
            }
        }
        got
    }

    /// The exception for an instruction that needs a byte more than the `got` that could be fetched.
    pub fn fetch_fault(&mut self, got: usize) -> Exception {
        if got >= 15 {
            return Exception::gp(0);
        }
        let mut byte = [0];
        match self.fetch_piece(self.cpu.rip.wrapping_add(got as u64), &mut byte) {
            Err(fault) => fault,
            Ok(_) => Exception::UD,
        }
    }

    /// Fetches from `offset` in CS to the end of its page or of `into`.
    fn fetch_piece(&mut self, offset: u64, into: &mut [u8]) -> Exec<usize> {
        let laddr = self.fetch_linear(offset)?;
        let mut length = into.len().min(PAGE_BYTES - (laddr as usize & (PAGE_BYTES - 1)));
        if self.cpu.mode != Mode::Long64 {
            let left = u64::from(self.cpu.segments[CS].limit).saturating_sub(offset & 0xffff_ffff) + 1;
            length = length.min(left as usize);
        }
        let user = self.is_user();
        let paddr = translate(self.cpu, self.sys, laddr, Intent::Fetch, user)?.paddr;
        match self.sys.mem.offset(paddr) {
            Some(at) => into[..length].copy_from_slice(&self.sys.mem.ram()[at..at + length]),
            // Code is not fetched from devices: all-ones decode to an undefined instruction.
            None => into[..length].fill(0xff),
        }
        Ok(length)
    }

    /// The linear address of `offset` in CS.
    ///
    /// # Errors
    /// #GP(0) when not canonical or beyond the limit.
    pub fn fetch_linear(&self, offset: u64) -> Exec<u64> {
        let cs = &self.cpu.segments[CS];
        if self.cpu.mode == Mode::Long64 {
            return if Vcpu::is_canonical(offset) { Ok(offset) } else { Err(Exception::gp(0)) };
        }
        let offset = offset & 0xffff_ffff;
        if offset > u64::from(cs.limit) {
            return Err(Exception::gp(0));
        }
        Ok(cs.base.wrapping_add(offset) & 0xffff_ffff)
    }

    /// Asks for a look at interrupts and timers after this instruction.
    pub fn recheck(&mut self) {
        self.sys.leave.recheck = true;
    }
}
