//! One delivery of an event through the IDT (SDM vol. 3 ch. 6, vol. 2 INT): gates, stack switches, frames.
//!
//! A delivery happens whole or fails with the exception and the reason; what a failure leads to is decided
//! in `escalate`.

use super::debug::GD;
use super::descriptor::{self, Descriptor, is_null, rpl, selector_code};
use super::stack::Stack;
use super::task;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{Activity, CS, DS, ES, FS, GS, Mode, RSP, SS, Segment, Shadow, Vcpu, rflags};

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A fault: RIP is that of the instruction, which will be executed again.
    Fault,
    /// A trap or an instruction breakpoint: RF is stored as it is.
    Trap,
    /// INT n, INT3, INTO: subject to the gate's DPL.
    Software,
    /// An interrupt from outside, or an NMI.
    External,
}

/// What is to be delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub vector: u8,
    pub source: Source,
    pub error_code: Option<u32>,
    /// The RIP to store.
    pub rip: u64,
}

/// Why a delivery failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub exception: Exception,
    pub reason: String,
}

pub(super) type Delivery<T = ()> = Result<T, Failure>;

fn fail<T>(exception: Exception, reason: impl Into<String>) -> Delivery<T> {
    Err(Failure { exception, reason: reason.into() })
}

/// Explains a failed access.
fn because<T>(core: &Core<'_>, result: Exec<T>, what: impl FnOnce() -> String) -> Delivery<T> {
    result.map_err(|exception| {
        let mut reason = what();
        if exception.vector == 14 {
            let address = core.sys.fault_vaddr;
            let cause = page_fault_cause(exception.error_code.unwrap_or(0));
            reason.push_str(&format!(": {cause} at {address:#x}"));
        }
        Failure { exception, reason }
    })
}

/// What a page fault's error code means, in words.
pub(super) fn page_fault_cause(code: u32) -> String {
    let cause = match code {
        _ if code & 8 != 0 => "reserved bit set in a page-table entry",
        _ if code & 1 != 0 => "page protected",
        _ => "page not present",
    };
    let access = match code {
        _ if code & 2 != 0 => "write",
        _ if code & 16 != 0 => "fetch",
        _ => "read",
    };
    let who = if code & 4 != 0 { "user" } else { "supervisor" };
    format!("{cause} for a {who} {access}")
}

impl Event {
    /// The EXT bit: the failure is not the program's own doing.
    fn ext(&self) -> u32 {
        u32::from(self.source != Source::Software)
    }

    /// The error code that names the event's gate.
    fn gate_code(&self) -> u32 {
        u32::from(self.vector) * 8 + 2 + self.ext()
    }

    /// The RFLAGS to store: a fault sets RF, so that an instruction breakpoint does not hit again.
    fn stored_flags(&self, cpu: &Vcpu) -> u64 {
        cpu.rflags | if self.source == Source::Fault { rflags::RF } else { 0 }
    }
}

/// Delivers an event. RIP (and `next_rip`) are then in the handler.
pub(super) fn deliver(core: &mut Core<'_>, event: Event) -> Delivery {
    let pending = core.cpu.pending_debug;
    if event.vector == 14 && event.source == Source::Fault {
        core.cpu.cr2 = core.sys.fault_vaddr;
    }
    if core.cpu.mode == Mode::Real {
        through_ivt(core, event)?;
    } else if core.cpu.is_long_mode() {
        through_long_gate(core, event)?;
    } else {
        through_gate(core, event)?;
    }
    core.cpu.rip = core.cpu.next_rip;
    if event.vector == 1 && matches!(event.source, Source::Fault | Source::Trap) {
        core.cpu.dr[7] &= !GD;
        discharge_pending_debug(core, pending);
    }
    if core.cpu.shadow != Shadow::None {
        core.cpu.shadow = Shadow::None;
        core.recheck();
    }
    core.cpu.activity = Activity::Running;
    Ok(())
}

/// A debug exception tells of everything that was `pending` when it was raised: INT1 right after a MOV SS that met a data breakpoint is
/// one #DB, not one and then another on the first instruction of its own handler, whose IST stack it would take.
fn discharge_pending_debug(core: &mut Core<'_>, pending: u64) {
    if pending != 0 {
        core.cpu.dr[6] |= pending;
        core.cpu.pending_debug &= !pending;
        // Interrupts waited for this.
        core.recheck();
    }
}

fn check_idt_limit(core: &Core<'_>, event: &Event, entry_bytes: u32) -> Delivery {
    let last = u32::from(event.vector) * entry_bytes + entry_bytes - 1;
    if last > u32::from(core.cpu.idtr.limit) {
        let code = if core.cpu.mode == Mode::Real { 0 } else { event.gate_code() };
        let (limit, vector) = (core.cpu.idtr.limit, event.vector);
        return fail(Exception::gp(code), format!("IDT limit {limit:#x} is below vector {vector}'s gate"));
    }
    Ok(())
}

fn entry_address(core: &Core<'_>, event: &Event, entry_bytes: u64) -> u64 {
    core.cpu.idtr.base.wrapping_add(u64::from(event.vector) * entry_bytes)
}

/// Real mode: four-byte vectors, three words on the stack, no error code.
fn through_ivt(core: &mut Core<'_>, event: Event) -> Delivery {
    check_idt_limit(core, &event, 4)?;
    let address = entry_address(core, &event, 4) & 0xffff_ffff;
    let entry = core.load_linear::<4>(address, false);
    let entry = because(core, entry, || format!("vector {} of the IVT cannot be read", event.vector))?;
    let (offset, selector) =
        (u16::from_le_bytes([entry[0], entry[1]]), u16::from_le_bytes([entry[2], entry[3]]));
    let mut stack = Stack::current(core);
    let frame = [event.stored_flags(core.cpu) & 0xffff, u64::from(core.cpu.segments[CS].selector), event.rip];
    let pushed = stack.push_all(core, &frame, 2);
    because(core, pushed, || format!("stack at {:#x} cannot be written", stack.pointer))?;
    stack.commit(core);
    core.cpu.segments[CS].selector = selector;
    core.cpu.segments[CS].base = u64::from(selector) << 4;
    core.cpu.rflags &= !(rflags::IF | rflags::TF | rflags::AC | rflags::RF);
    core.cpu.next_rip = u64::from(offset);
    core.cpu.update_mode();
    Ok(())
}

/// A gate of the IDT.
struct Gate {
    selector: u16,
    offset: u64,
    kind: u8,
    ist: u8,
}

/// Checks what every gate must satisfy: type, DPL against software interrupts, presence.
fn check_gate(core: &Core<'_>, event: &Event, raw: u64) -> Delivery<Gate> {
    let access = (raw >> 40) as u8;
    let kind = access & 0x1f;
    let long = core.cpu.is_long_mode();
    let known = matches!(kind, 0xe | 0xf) || (!long && matches!(kind, 5..=7));
    let (code, vector) = (event.gate_code(), event.vector);
    if !known {
        return fail(Exception::gp(code), format!("IDT entry {vector} is no gate (type {kind:#x})"));
    }
    if event.source == Source::Software && access >> 5 & 3 < core.cpu.cpl {
        return fail(Exception::gp(code), format!("IDT entry {vector} is privileged"));
    }
    if access & 0x80 == 0 {
        return fail(Exception::np(code), format!("IDT entry {vector} is not present"));
    }
    let mut offset = raw & 0xffff | raw >> 32 & 0xffff_0000;
    if matches!(kind, 6 | 7) {
        offset &= 0xffff;
    }
    Ok(Gate { selector: (raw >> 16) as u16, offset, kind, ist: (raw >> 32) as u8 & 7 })
}

/// Reads and checks the gate's code segment.
fn handler_segment(core: &mut Core<'_>, event: &Event, gate: &Gate) -> Delivery<Descriptor> {
    let (selector, vector, ext) = (gate.selector, event.vector, event.ext());
    let code = selector_code(selector) | ext;
    let what = |problem: &str| format!("code segment {selector:#x} of IDT entry {vector} {problem}");
    if is_null(selector) {
        return fail(Exception::gp(ext), what("is null"));
    }
    let found = descriptor::try_read(core, selector);
    let Some(found) = because(core, found, || what("cannot be read"))? else {
        return fail(Exception::gp(code), what("is beyond its table"));
    };
    if !found.segment.is_code() {
        return fail(Exception::gp(code), what("is not code"));
    }
    if found.segment.dpl() > core.cpu.cpl {
        return fail(Exception::gp(code), what("is less privileged than the interrupted code"));
    }
    if !found.is_present() {
        return fail(Exception::np(code), what("is not present"));
    }
    if core.cpu.is_long_mode() && found.segment.access & (Segment::LONG | Segment::BIG) != Segment::LONG {
        return fail(Exception::gp(code), what("is not 64-bit code"));
    }
    Ok(found)
}

/// What every delivery through a gate does to the flags.
fn enter_flags(cpu: &mut Vcpu, gate: &Gate) {
    cpu.rflags &= !(rflags::TF | rflags::NT | rflags::RF | rflags::VM);
    // Odd types are trap gates, which leave interrupts enabled.
    if gate.kind & 1 == 0 {
        cpu.rflags &= !rflags::IF;
    }
}

/// Long mode: 16-byte gates, 64-bit handlers, a stack from the IST or the TSS.
fn through_long_gate(core: &mut Core<'_>, event: Event) -> Delivery {
    check_idt_limit(core, &event, 16)?;
    let address = entry_address(core, &event, 16);
    let vector = event.vector;
    let entry = core.load_linear::<16>(address, false);
    let entry = because(core, entry, || format!("IDT entry {vector} cannot be read"))?;
    let entry = u128::from_le_bytes(entry);
    let mut gate = check_gate(core, &event, entry as u64)?;
    gate.offset |= ((entry >> 64) as u64 & 0xffff_ffff) << 32;
    let mut code = handler_segment(core, &event, &gate)?;
    let cpl = if code.is_conforming() { core.cpu.cpl } else { code.segment.dpl() };
    let inner = cpl < core.cpu.cpl;
    let pointer = if gate.ist != 0 {
        tss64_pointer(core, &event, 28 + 8 * u64::from(gate.ist))?
    } else if inner {
        tss64_pointer(core, &event, 4 + 8 * u64::from(cpl))?
    } else {
        core.cpu.gpr[RSP]
    };
    let mut stack = Stack::flat(pointer & !0xf, cpl);
    let frame = [
        u64::from(core.cpu.segments[SS].selector),
        core.cpu.gpr[RSP],
        event.stored_flags(core.cpu),
        u64::from(core.cpu.segments[CS].selector),
        event.rip,
        u64::from(event.error_code.unwrap_or(0)),
    ];
    let frame = &frame[..5 + usize::from(event.error_code.is_some())];
    let pushed = stack.push_all(core, frame, 8).map_err(|mut exception| {
        if exception.vector == 12 {
            exception.error_code = Some(event.ext());
        }
        exception
    });
    because(core, pushed, || format!("stack at {:#x} cannot be written", pointer & !0xf))?;
    if !Vcpu::is_canonical(gate.offset) {
        return fail(Exception::gp(event.ext()), format!("handler of IDT entry {vector} is not canonical"));
    }
    let accessed = code.set_accessed(core);
    because(core, accessed, || "the code segment's descriptor cannot be marked accessed".into())?;
    core.cpu.gpr[RSP] = stack.pointer;
    if inner {
        core.cpu.segments[SS] = Segment { selector: u16::from(cpl), ..Segment::default() };
    }
    enter_code(core, &gate, code, cpl);
    Ok(())
}

/// The last step, which cannot fail.
fn enter_code(core: &mut Core<'_>, gate: &Gate, code: Descriptor, cpl: u8) {
    let mut segment = code.segment;
    segment.selector = gate.selector & !3 | u16::from(cpl);
    core.cpu.segments[CS] = segment;
    core.cpu.cpl = cpl;
    core.cpu.next_rip = gate.offset;
    enter_flags(core.cpu, gate);
    core.cpu.update_mode();
}

/// Reads a stack pointer from the 64-bit TSS, which must itself be canonical (SDM vol. 2 INT n; vol. 3 7.7).
fn tss64_pointer(core: &mut Core<'_>, event: &Event, offset: u64) -> Delivery<u64> {
    let tr = core.cpu.tr;
    if offset + 7 > u64::from(tr.limit) {
        let code = selector_code(tr.selector) | event.ext();
        return fail(Exception::ts(code), format!("TSS limit {:#x} is below its stack pointers", tr.limit));
    }
    let pointer = core.load_linear::<8>(tr.base.wrapping_add(offset), false);
    let pointer = because(core, pointer, || format!("TSS at {:#x} cannot be read", tr.base))?;
    let pointer = u64::from_le_bytes(pointer);
    if !Vcpu::is_canonical(pointer) {
        return fail(Exception::ss(event.ext()), format!("stack {pointer:#x} of the TSS is not canonical"));
    }
    Ok(pointer)
}

/// Protected mode and virtual-8086 mode: 8-byte gates, 16-bit or 32-bit frames.
fn through_gate(core: &mut Core<'_>, event: Event) -> Delivery {
    check_idt_limit(core, &event, 8)?;
    let address = entry_address(core, &event, 8) & 0xffff_ffff;
    let vector = event.vector;
    let entry = core.load_linear::<8>(address, false);
    let entry = because(core, entry, || format!("IDT entry {vector} cannot be read"))?;
    let gate = check_gate(core, &event, u64::from_le_bytes(entry))?;
    if gate.kind == 5 {
        return through_task_gate(core, &event, gate.selector);
    }
    let mut code = handler_segment(core, &event, &gate)?;
    let size = if gate.kind & 8 != 0 { 4 } else { 2 };
    let was_v86 = core.cpu.flag(rflags::VM);
    let cpl = if code.is_conforming() { core.cpu.cpl } else { code.segment.dpl() };
    if was_v86 && cpl != 0 {
        let error = selector_code(gate.selector) | event.ext();
        return fail(Exception::gp(error), format!("handler of IDT entry {vector} does not run at CPL 0"));
    }
    let inner = cpl < core.cpu.cpl;
    let (mut stack, new_ss) = if inner {
        let (segment, pointer) = inner_stack(core, cpl, event.ext())?;
        (Stack::other(segment, pointer, cpl, segment.selector), Some(segment))
    } else {
        (Stack::current(core), None)
    };
    let (frame, length) = protected_frame(core.cpu, &event, inner, was_v86);
    let pushed = stack.push_all(core, &frame[..length], size).map_err(|mut exception| {
        if exception.vector == 12 {
            exception.error_code = exception.error_code.map(|code| code | event.ext());
        }
        exception
    });
    because(core, pushed, || format!("stack at {:#x} cannot be written", stack.pointer))?;
    if gate.offset > u64::from(code.segment.limit) {
        let reason = format!("handler of IDT entry {vector} is beyond its code segment");
        return fail(Exception::gp(event.ext()), reason);
    }
    let accessed = code.set_accessed(core);
    because(core, accessed, || "the code segment's descriptor cannot be marked accessed".into())?;
    if let Some(segment) = new_ss {
        core.cpu.segments[SS] = segment;
    }
    if was_v86 {
        for index in [ES, DS, FS, GS] {
            core.cpu.segments[index] = Segment::default();
        }
    }
    stack.commit(core);
    enter_code(core, &gate, code, cpl);
    Ok(())
}

/// The values pushed, in order, and how many they are.
fn protected_frame(cpu: &Vcpu, event: &Event, inner: bool, was_v86: bool) -> ([u64; 10], usize) {
    let mut frame = [0; 10];
    let mut length = 0;
    let mut push = |value: u64| {
        frame[length] = value;
        length += 1;
    };
    if was_v86 {
        [GS, FS, DS, ES].into_iter().for_each(|index| push(u64::from(cpu.segments[index].selector)));
    }
    if inner {
        push(u64::from(cpu.segments[SS].selector));
        push(cpu.gpr[RSP]);
    }
    push(event.stored_flags(cpu));
    push(u64::from(cpu.segments[CS].selector));
    push(event.rip);
    if let Some(code) = event.error_code {
        push(u64::from(code));
    }
    (frame, length)
}

/// The stack of an inner level from the TSS of protected mode, its segment checked and marked accessed.
pub(super) fn inner_stack(core: &mut Core<'_>, cpl: u8, ext: u32) -> Delivery<(Segment, u64)> {
    let tr = core.cpu.tr;
    let is_wide = tr.access & 8 != 0;
    let (offset, bytes) = if is_wide { (4 + 8 * u64::from(cpl), 8) } else { (2 + 4 * u64::from(cpl), 4) };
    if offset + bytes - 1 > u64::from(tr.limit) {
        let code = selector_code(tr.selector) | ext;
        return fail(Exception::ts(code), format!("TSS limit {:#x} is below its stack pointers", tr.limit));
    }
    let laddr = tr.base.wrapping_add(offset) & 0xffff_ffff;
    let (pointer, selector) = if is_wide {
        let raw = core.load_linear::<8>(laddr, false);
        let raw = u64::from_le_bytes(because(core, raw, || "the TSS cannot be read".into())?);
        (raw & 0xffff_ffff, (raw >> 32) as u16)
    } else {
        let raw = core.load_linear::<4>(laddr, false);
        let raw = u32::from_le_bytes(because(core, raw, || "the TSS cannot be read".into())?);
        (u64::from(raw & 0xffff), (raw >> 16) as u16)
    };
    let what = |problem: &str| format!("stack segment {selector:#x} of the TSS {problem}");
    let code = selector_code(selector) | ext;
    if is_null(selector) {
        return fail(Exception::ts(ext), what("is null"));
    }
    let found = descriptor::try_read(core, selector);
    let Some(mut found) = because(core, found, || what("cannot be read"))? else {
        return fail(Exception::ts(code), what("is beyond its table"));
    };
    if rpl(selector) != cpl || found.segment.dpl() != cpl || !found.segment.is_writable() {
        return fail(Exception::ts(code), what("is not a writable segment of the new level"));
    }
    if !found.is_present() {
        return fail(Exception::ss(code), what("is not present"));
    }
    let accessed = found.set_accessed(core);
    because(core, accessed, || what("cannot be marked accessed"))?;
    Ok((found.segment, pointer))
}

/// A task gate: the handler is a task of its own.
fn through_task_gate(core: &mut Core<'_>, event: &Event, selector: u16) -> Delivery {
    let flags = event.stored_flags(core.cpu);
    let switched = task::interrupt(core, selector, event.rip, flags, event.ext(), event.error_code);
    because(core, switched, || format!("task {selector:#x} of IDT entry {} cannot start", event.vector))
}
