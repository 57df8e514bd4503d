//! Hardware task switches (SDM vol. 3 ch. 7.3): 32-bit and 16-bit task-state segments, by JMP, CALL, IRET,
//! and task gates. Long mode has none.
//!
//! Everything that can fail in the old task is checked before anything changes. Faults of loading the new
//! task's segments are, as on hardware, raised in the new task.

use super::control::load_task_cr3;
use super::descriptor::{self, Descriptor, is_null, rpl, selector_code, system_type};
use super::far::check_target;
use super::stack::Stack;
use crate::cpu::core::{Core, Located};
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::Intent;
use crate::cpu::state::{CS, DS, ES, FS, GS, SS, Segment, cr0, rflags};

/// DR6: a task with the T flag was entered.
const BT: u64 = 1 << 15;
/// DR7: local enables, which a task switch clears.
const LOCAL_ENABLES: u64 = 0x155;
/// Where the back link lies in a TSS of either size.
const LINK: u64 = 0;

/// Where things lie in a TSS of one size.
struct Layout {
    /// Bytes of a register.
    width: usize,
    /// The instruction pointer; flags, eight registers and the segments follow.
    ip: u64,
    segments: usize,
    ldt: u64,
    /// CR3 and the T flag, in 32-bit form only.
    cr3: Option<u64>,
    trap: Option<u64>,
    last: u32,
}

const TSS32: Layout =
    Layout { width: 4, ip: 0x20, segments: 6, ldt: 0x60, cr3: Some(0x1c), trap: Some(0x64), last: 0x67 };
const TSS16: Layout =
    Layout { width: 2, ip: 0x0e, segments: 4, ldt: 0x2a, cr3: None, trap: None, last: 0x2b };

/// Segment registers in the order of a TSS.
const ORDER: [usize; 6] = [ES, CS, SS, DS, FS, GS];

impl Layout {
    fn of(access: u16) -> &'static Layout {
        if access & 8 != 0 { &TSS32 } else { &TSS16 }
    }

    /// Bytes from the instruction pointer to the last segment register.
    fn saved_bytes(&self) -> usize {
        (10 + self.segments) * self.width
    }
}

/// What starts a task switch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Jump,
    /// CALL or an interrupt: the new task is linked to the old one.
    Nested,
    Return,
}

/// A far jump or call to a TSS, directly or through a task gate.
pub(super) fn transfer(core: &mut Core<'_>, selector: u16, is_call: bool) -> Exec {
    let cause = if is_call { Cause::Nested } else { Cause::Jump };
    let (rip, flags) = (core.cpu.next_rip, core.cpu.rflags);
    switch(core, selector, cause, rip, flags, 0)
}

/// IRET with NT set: back to the task that the current one is linked to.
pub(super) fn resume(core: &mut Core<'_>) -> Exec {
    let link = u16::from_le_bytes(core.load_linear(core.cpu.tr.base.wrapping_add(LINK), false)?);
    let (rip, flags) = (core.cpu.next_rip, core.cpu.rflags & !rflags::NT);
    switch(core, link, Cause::Return, rip, flags, 0)
}

/// A task gate in the IDT. `ext` is the EXT bit of error codes.
pub(super) fn interrupt(
    core: &mut Core<'_>,
    selector: u16,
    rip: u64,
    flags: u64,
    ext: u32,
    error_code: Option<u32>,
) -> Exec {
    switch(core, selector, Cause::Nested, rip, flags, ext)?;
    let Some(code) = error_code else { return Ok(()) };
    let width = Layout::of(core.cpu.tr.access).width;
    let mut stack = Stack::current(core);
    stack.push_all(core, &[u64::from(code)], width)?;
    stack.commit(core);
    Ok(())
}

/// Reads and checks the new task's descriptor.
fn find_task(core: &mut Core<'_>, selector: u16, cause: Cause, ext: u32) -> Exec<Descriptor> {
    let raise = |code| if cause == Cause::Return { Exception::ts(code) } else { Exception::gp(code) };
    let code = selector_code(selector) | ext;
    if is_null(selector) || selector & 4 != 0 {
        return Err(raise(code));
    }
    let Some(found) = descriptor::try_read(core, selector)? else { return Err(raise(code)) };
    let busy = if cause == Cause::Return { system_type::BUSY } else { 0 };
    if found.kind() != system_type::TSS | busy && found.kind() != system_type::TSS16 | busy {
        return Err(raise(code));
    }
    if !found.is_present() {
        return Err(Exception::np(code));
    }
    if found.segment.limit < Layout::of(found.segment.access).last {
        return Err(Exception::ts(code));
    }
    Ok(found)
}

/// The new task's state as its TSS has it.
struct NewTask {
    cr3: Option<u64>,
    rip: u64,
    flags: u64,
    gpr: [u64; 8],
    selectors: [u16; 6],
    ldt: u16,
    trap: bool,
}

fn read_task(core: &mut Core<'_>, base: u64, layout: &Layout) -> Exec<NewTask> {
    let mut read = |offset: u64, width: usize| -> Exec<u64> {
        let laddr = base.wrapping_add(offset) & 0xffff_ffff;
        let at = core.locate_linear(laddr, width, Intent::Read, false)?;
        Ok(core.load_located_sized(at))
    };
    let mut values = [0; 16];
    for (index, value) in values[..10 + layout.segments].iter_mut().enumerate() {
        *value = read(layout.ip + (index * layout.width) as u64, layout.width)?;
    }
    let mut gpr = [0; 8];
    gpr.copy_from_slice(&values[2..10]);
    let mut selectors = [0; 6];
    selectors.iter_mut().zip(&values[10..]).for_each(|(selector, value)| *selector = *value as u16);
    Ok(NewTask {
        cr3: layout.cr3.map(|offset| read(offset, 4)).transpose()?,
        rip: values[0],
        flags: values[1],
        gpr,
        selectors,
        ldt: read(layout.ldt, 2)? as u16,
        trap: layout.trap.map_or(Ok(0), |offset| read(offset, 2))? & 1 != 0,
    })
}

/// The old task's state as its TSS will have it.
fn image(core: &Core<'_>, layout: &Layout, rip: u64, flags: u64) -> [u8; 64] {
    let mut values = [0; 16];
    values[0] = rip;
    values[1] = flags;
    values[2..10].copy_from_slice(&core.cpu.gpr[..8]);
    for (value, index) in values[10..].iter_mut().zip(ORDER) {
        *value = u64::from(core.cpu.segments[index].selector);
    }
    let mut bytes = [0; 64];
    for (slot, value) in bytes.chunks_exact_mut(layout.width).zip(values) {
        slot.copy_from_slice(&value.to_le_bytes()[..layout.width]);
    }
    bytes
}

/// The type byte of a TSS descriptor in the GDT, found for writing.
fn type_byte(core: &mut Core<'_>, selector: u16) -> Exec<(Located, u64)> {
    let laddr = core.cpu.gdtr.base.wrapping_add(u64::from(selector & !7) + 5);
    let at = core.locate_linear(laddr, 1, Intent::Write, false)?;
    let value = core.load_located_sized(at);
    Ok((at, value))
}

fn switch(core: &mut Core<'_>, selector: u16, cause: Cause, rip: u64, flags: u64, ext: u32) -> Exec {
    let found = find_task(core, selector, cause, ext)?;
    let new_layout = Layout::of(found.segment.access);
    let old = core.cpu.tr;
    let old_layout = Layout::of(old.access);
    if old.limit < old_layout.last {
        return Err(Exception::ts(selector_code(old.selector) | ext));
    }
    let task = read_task(core, found.segment.base, new_layout)?;
    let save_at = old.base.wrapping_add(old_layout.ip) & 0xffff_ffff;
    let saved_bytes = old_layout.saved_bytes();
    let save = core.locate_linear(save_at, saved_bytes, Intent::Write, false)?;
    let link = core.locate_linear(found.segment.base, 2, Intent::Write, false)?;
    let (old_type_at, old_type) = type_byte(core, old.selector)?;
    let (new_type_at, new_type) = type_byte(core, selector)?;

    // From here on nothing fails in the old task.
    let bytes = image(core, old_layout, rip, flags);
    core.store_located(save, &bytes[..saved_bytes]);
    let busy = u64::from(system_type::BUSY);
    if cause == Cause::Nested {
        core.store_located_sized(link, u64::from(old.selector));
    } else {
        core.store_located_sized(old_type_at, old_type & !busy);
    }
    if cause != Cause::Return {
        core.store_located_sized(new_type_at, new_type | busy);
    }
    core.cpu.tr = Segment { access: found.segment.access | system_type::BUSY, ..found.segment };
    core.cpu.cr0 |= cr0::TS;
    core.cpu.dr[7] &= !LOCAL_ENABLES;
    let nested = if cause == Cause::Nested { rflags::NT } else { 0 };
    enter(core, &task, new_layout, nested)
}

/// Loads the new task's registers, then its segments.
fn enter(core: &mut Core<'_>, task: &NewTask, layout: &Layout, nested: u64) -> Exec {
    let known = 0x3f_7fd7;
    let width = if layout.width == 4 { known } else { known & 0xffff };
    core.cpu.rflags = task.flags & width | rflags::FIXED | nested;
    for (register, value) in core.cpu.gpr.iter_mut().zip(task.gpr) {
        *register = if layout.width == 4 { value } else { *register & 0xffff_0000 | value };
    }
    core.cpu.next_rip = task.rip;
    // What fails from now on is a fault of the new task's first instruction.
    core.cpu.rip = task.rip;
    for (index, selector) in ORDER.into_iter().zip(task.selectors) {
        core.cpu.segments[index] = Segment { selector, ..Segment::default() };
    }
    core.cpu.ldtr = Segment { selector: task.ldt, ..Segment::default() };
    if let Some(cr3) = task.cr3 {
        load_task_cr3(core, cr3)?;
    }
    if task.trap {
        core.cpu.pending_debug |= BT;
    }
    core.recheck();
    load_ldt(core, task.ldt)?;
    if core.cpu.flag(rflags::VM) {
        for (index, selector) in ORDER.into_iter().zip(task.selectors) {
            core.cpu.segments[index] = Segment { access: 0xf3, ..Segment::real_mode(selector) };
        }
        core.cpu.cpl = 3;
        core.cpu.update_mode();
        return Ok(());
    }
    load_segments(core, &task.selectors)?;
    check_target(core.cpu, &core.cpu.segments[CS], task.rip)
}

fn load_ldt(core: &mut Core<'_>, selector: u16) -> Exec {
    if is_null(selector) {
        return Ok(());
    }
    let code = selector_code(selector);
    let found = if selector & 4 == 0 { descriptor::try_read(core, selector)? } else { None };
    match found {
        Some(found) if found.kind() == system_type::LDT && found.is_present() => {
            core.cpu.ldtr = found.segment;
            Ok(())
        }
        _ => Err(Exception::ts(code)),
    }
}

/// Loads CS, SS and the data segments with the checks of a task switch.
fn load_segments(core: &mut Core<'_>, selectors: &[u16; 6]) -> Exec {
    let selector = selectors[1];
    let cpl = rpl(selector);
    core.cpu.cpl = cpl;
    let mut code = checked(core, selector, |found| {
        let dpl = found.segment.dpl();
        found.segment.is_code() && if found.is_conforming() { dpl <= cpl } else { dpl == cpl }
    })?;
    present(&code, Exception::np)?;
    code.set_accessed(core)?;
    core.cpu.segments[CS] = code.segment;
    core.cpu.update_mode();

    let selector = selectors[2];
    let mut stack = checked(core, selector, |found| {
        found.segment.is_writable() && found.segment.dpl() == cpl && rpl(selector) == cpl
    })?;
    present(&stack, Exception::ss)?;
    stack.set_accessed(core)?;
    core.cpu.segments[SS] = stack.segment;

    for (index, selector) in ORDER.into_iter().zip(*selectors) {
        if matches!(index, CS | SS) || is_null(selector) {
            continue;
        }
        let mut data = checked(core, selector, |found| {
            let dpl = found.segment.dpl();
            let reachable = found.is_conforming() || (cpl <= dpl && rpl(selector) <= dpl);
            !found.is_system() && found.segment.is_readable() && reachable
        })?;
        present(&data, Exception::np)?;
        data.set_accessed(core)?;
        core.cpu.segments[index] = data.segment;
    }
    Ok(())
}

/// Reads a descriptor that must satisfy `legal`, else #TS.
fn checked(core: &mut Core<'_>, selector: u16, legal: impl Fn(&Descriptor) -> bool) -> Exec<Descriptor> {
    let fault = Exception::ts(selector_code(selector));
    if is_null(selector) {
        return Err(fault);
    }
    let found = descriptor::try_read(core, selector)?.ok_or(fault)?;
    if legal(&found) { Ok(found) } else { Err(fault) }
}

fn present(found: &Descriptor, raise: fn(u32) -> Exception) -> Exec {
    if found.is_present() { Ok(()) } else { Err(raise(selector_code(found.segment.selector))) }
}
