//! The session as gdb's target: threads are vCPUs, monitor commands are ddb's.

use super::registers::{File, Number, X86System, value_of};
use crate::ddb::Ddb;
use crate::debugger::stops::{Entry, Kind};
use crate::debugger::target::TargetError;
use crate::debugger::{DebugError, Why};
use boundary::Operator;
use gdbstub::common::{Signal, Tid};
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadRangeStepping, MultiThreadRangeSteppingOps, MultiThreadResume,
    MultiThreadResumeOps, MultiThreadSchedulerLocking, MultiThreadSchedulerLockingOps, MultiThreadSingleStep,
    MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::reverse_exec::{
    ReplayLogPosition, ReverseCont, ReverseContOps, ReverseStep, ReverseStepOps,
};
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps, outputln};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError as StubError, TargetResult};
use machine::{Space, StopReason, Watchpoint};
use std::collections::BTreeSet;

/// What gdb wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Of a vCPU that is not there.
    Nothing,
    Continue,
    Step(usize),
    /// While RIP stays in this range.
    StepRange(usize, u64, u64),
    ContinueBack,
    StepBack(usize),
}

/// EFAULT: what a debugger is told of memory that is not there.
const FAULT: u8 = 14;
/// EPERM: what a debugger is told of the past.
const NOT_PERMITTED: u8 = 1;

/// A session with gdb.
pub struct Session<'d, 'a> {
    ddb: &'d mut Ddb<'a>,
    wanted: Wanted,
    /// The last run was ended by an interrupt.
    is_interrupted: bool,
    /// The breakpoints that gdb knows: at any other it would go on by itself.
    own: BTreeSet<u32>,
    /// The vCPU that is meant by "any": the one that stopped or was chosen last. gdb begins with it, and backwards it steps any
    /// thread, and means the one it shows.
    chosen: usize,
    /// A command was executed since the last packet began: a ^C was for that, and has ended it.
    was_commanding: bool,
    /// The last bytes that gdb has sent.
    heard: [u8; LIST_THREADS.len()],
    /// What is asked for next is the list of threads, not any thread.
    is_listing: bool,
}

/// How a packet begins that asks for the threads, by whose order gdb numbers them.
const LIST_THREADS: &[u8] = b"$qf";

/// A vCPU as gdb's thread.
fn tid(vcpu: usize) -> Tid {
    Tid::new(vcpu + 1).expect("numbers from 1 on")
}

fn vcpu(tid: Tid) -> usize {
    tid.get() - 1
}

impl<'d, 'a> Session<'d, 'a> {
    /// gdb as the face of a session.
    pub fn new(ddb: &'d mut Ddb<'a>) -> Session<'d, 'a> {
        Session {
            chosen: ddb.debugger.vcpu,
            ddb,
            wanted: Wanted::Continue,
            is_interrupted: false,
            was_commanding: false,
            own: BTreeSet::new(),
            heard: [0; LIST_THREADS.len()],
            is_listing: false,
        }
    }

    /// Hears a byte that gdb has sent, before it is handled. gdbstub asks the same question for any thread, which it takes to
    /// be the first, and for all.
    pub fn hear(&mut self, byte: u8) {
        self.was_commanding &= byte != b'$';
        self.heard.rotate_left(1);
        self.heard[LIST_THREADS.len() - 1] = byte;
        self.is_listing |= self.heard == LIST_THREADS;
    }

    /// Whether what comes now was sent while a command was executed.
    #[must_use]
    pub fn was_commanding(&self) -> bool {
        self.was_commanding
    }

    /// From now on an interrupt is for what runs next: an earlier one was in the data of a packet.
    pub fn listen_to_interrupts(&mut self) {
        self.ddb.debugger.interrupt.clear();
    }

    /// Whether the last run was ended by an interrupt.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.is_interrupted
    }

    fn cpus(&self) -> &[machine::cpu::state::Vcpu] {
        self.ddb.debugger.machine().cpus()
    }

    fn file(&self, vcpu: usize) -> TargetResult<File, Self> {
        let icount = self.ddb.debugger.now().icount.0;
        self.cpus().get(vcpu).map(|cpu| File::of(cpu, icount)).ok_or(StubError::Errno(FAULT))
    }

    /// Does what gdb wants, and says how it ended.
    ///
    /// # Errors
    /// The target's.
    pub fn run(&mut self) -> Result<MultiThreadStopReason<u64>, DebugError> {
        let debugger = &mut self.ddb.debugger;
        let why = match self.wanted {
            Wanted::Nothing => Why::Done,
            Wanted::Continue => debugger.run(None)?,
            Wanted::ContinueBack => debugger.run_back()?,
            Wanted::Step(vcpu) => {
                debugger.vcpu = vcpu;
                debugger.step_past_interrupts()?
            }
            Wanted::StepRange(vcpu, start, end) => {
                debugger.vcpu = vcpu;
                loop {
                    let why = debugger.step_past_interrupts()?;
                    let rip = debugger.machine().cpus()[vcpu].rip;
                    if why != Why::Done || !(start..end).contains(&rip) {
                        break why;
                    }
                }
            }
            Wanted::StepBack(vcpu) => {
                debugger.vcpu = vcpu;
                debugger.step_back_past_interrupts()?
            }
        };
        self.is_interrupted = why == Why::Interrupted;
        self.chosen = self.ddb.debugger.vcpu;
        Ok(self.reason(why))
    }

    /// A stop for gdb. Each names its vCPU: for one that does not, gdb takes the first, and reads what gdbstub has of another.
    #[must_use]
    pub fn reason(&self, why: Why) -> MultiThreadStopReason<u64> {
        let debugger = &self.ddb.debugger;
        let tid = tid(debugger.vcpu);
        let trap = MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGTRAP };
        match why {
            Why::Done => trap,
            Why::Start => MultiThreadStopReason::ReplayLog { tid: Some(tid), pos: ReplayLogPosition::Begin },
            Why::End if debugger.target.is_live() => MultiThreadStopReason::Exited(0),
            Why::End => MultiThreadStopReason::ReplayLog { tid: Some(tid), pos: ReplayLogPosition::End },
            Why::Interrupted => MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGINT },
            Why::Entry { reason, number } => match reason {
                Some(StopReason::Execute) if self.own.contains(&number) => {
                    MultiThreadStopReason::SwBreak(tid)
                }
                Some(StopReason::Watch { address, .. }) => {
                    let entry = debugger.stops.entries().iter().find(|entry| entry.number == number);
                    let kind = match entry.map(|entry| &entry.kind) {
                        Some(Kind::Watch(watch)) if watch.read && watch.write => WatchKind::ReadWrite,
                        Some(Kind::Watch(watch)) if watch.read => WatchKind::Read,
                        _ => WatchKind::Write,
                    };
                    // gdb finds its watchpoint by an address within it.
                    let watched = entry.and_then(|entry| match &entry.kind {
                        Kind::Watch(watch) => Some(address.max(watch.address)),
                        _ => None,
                    });
                    MultiThreadStopReason::Watch { tid, kind, addr: watched.unwrap_or(address) }
                }
                _ => trap,
            },
        }
    }

    /// Something of one vCPU, if there is such a one.
    fn want(&mut self, tid: Tid, wanted: impl FnOnce(usize) -> Wanted) {
        let vcpu = vcpu(tid);
        self.wanted = if vcpu < self.cpus().len() { wanted(vcpu) } else { Wanted::Nothing };
    }

    fn write_register(&mut self, vcpu: usize, register: u8, value: u64) -> TargetResult<(), Self> {
        let operator = Operator::WriteRegister { vcpu: vcpu as u8, register, value };
        self.ddb.debugger.target.write(operator).map_err(|_| StubError::Errno(NOT_PERMITTED))
    }

    fn watchpoint(address: u64, length_bytes: u64, kind: WatchKind) -> Watchpoint {
        let (read, write) = match kind {
            WatchKind::Write => (false, true),
            WatchKind::Read => (true, false),
            WatchKind::ReadWrite => (true, true),
        };
        Watchpoint { space: Space::Linear, address, length_bytes, read, write }
    }

    fn add_breakpoint(&mut self, vaddr: u64) {
        let number = self.ddb.debugger.stops.add(Kind::Execute(Box::new([vaddr]))).number;
        self.own.insert(number);
    }

    fn remove_breakpoint(&mut self, vaddr: u64) -> bool {
        let own = &self.own;
        let is_it = |entry: &Entry| {
            matches!(&entry.kind, Kind::Execute(places) if **places == [vaddr]) && own.contains(&entry.number)
        };
        self.ddb.debugger.stops.remove(is_it) > 0
    }
}

/// What stopped for a gdb that is gone would stop the next one, which knows nothing of it.
impl Drop for Session<'_, '_> {
    fn drop(&mut self) {
        let own = &self.own;
        self.ddb.debugger.stops.remove(|entry| own.contains(&entry.number));
    }
}

impl Target for Session<'_, '_> {
    type Arch = X86System;
    type Error = DebugError;

    fn base_ops(&mut self) -> BaseOps<'_, X86System, DebugError> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Session<'_, '_> {
    fn read_registers(&mut self, registers: &mut File, tid: Tid) -> TargetResult<(), Self> {
        *registers = self.file(vcpu(tid))?;
        Ok(())
    }

    fn write_registers(&mut self, registers: &File, tid: Tid) -> TargetResult<(), Self> {
        let old = self.file(vcpu(tid))?;
        let writes = registers.writes_over(&old).ok_or(StubError::Errno(NOT_PERMITTED))?;
        writes.into_iter().try_for_each(|(register, value)| self.write_register(vcpu(tid), register, value))
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let machine = self.ddb.debugger.machine();
        // What can be read of it, page by page.
        let mut done = 0;
        while done < data.len() {
            let at = start.wrapping_add(done as u64);
            let length = (4096 - at as usize % 4096).min(data.len() - done);
            if machine.peek_virtual(vcpu(tid), at, &mut data[done..done + length]).is_err() {
                break;
            }
            done += length;
        }
        if done == 0 && !data.is_empty() { Err(StubError::Errno(FAULT)) } else { Ok(done) }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let mut done = 0;
        while done < data.len() {
            let at = start.wrapping_add(done as u64);
            let length = (4096 - at as usize % 4096).min(data.len() - done);
            let paddr = self.ddb.debugger.machine().physical_address(vcpu(tid), at);
            let paddr = paddr.map_err(|_| StubError::Errno(FAULT))?;
            let bytes = data[done..done + length].to_vec();
            match self.ddb.debugger.target.write(Operator::WriteMemory { paddr, bytes }) {
                Ok(()) => {}
                Err(TargetError::Protected | TargetError::Unwritable) => {
                    return Err(StubError::Errno(NOT_PERMITTED));
                }
                Err(error) => return Err(StubError::Fatal(error.into())),
            }
            done += length;
        }
        Ok(())
    }

    fn list_active_threads(&mut self, thread_is_active: &mut dyn FnMut(Tid)) -> Result<(), DebugError> {
        let first = if std::mem::take(&mut self.is_listing) { 0 } else { self.chosen };
        let others = (0..self.cpus().len()).filter(|vcpu| *vcpu != first);
        std::iter::once(first).chain(others).for_each(|vcpu| thread_is_active(tid(vcpu)));
        Ok(())
    }

    fn is_thread_alive(&mut self, tid: Tid) -> Result<bool, DebugError> {
        // gdb asks when its user chooses a thread, before it shows it.
        let is_alive = vcpu(tid) < self.cpus().len();
        if is_alive {
            self.chosen = vcpu(tid);
        }
        Ok(is_alive)
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<Tid> for Session<'_, '_> {
    fn read_register(&mut self, tid: Tid, number: Number, bytes: &mut [u8]) -> TargetResult<usize, Self> {
        let file = self.file(vcpu(tid))?;
        let value = file.get(number).ok_or(StubError::Errno(FAULT))?;
        bytes[..value.len()].copy_from_slice(value);
        Ok(value.len())
    }

    fn write_register(&mut self, tid: Tid, number: Number, bytes: &[u8]) -> TargetResult<(), Self> {
        // Behind a call of a function gdb puts back what it has saved, whether it has changed or not.
        // Time goes on in a call, and is not put back.
        if number.is_time() || self.file(vcpu(tid))?.get(number) == Some(bytes) {
            return Ok(());
        }
        let register = number.writable().ok_or(StubError::Errno(NOT_PERMITTED))?;
        let value = value_of(bytes).ok_or(StubError::Errno(FAULT))?;
        Session::write_register(self, vcpu(tid), register, value)
    }
}

impl MultiThreadResume for Session<'_, '_> {
    fn resume(&mut self) -> Result<(), DebugError> {
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), DebugError> {
        self.wanted = Wanted::Continue;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, _: Tid, _: Option<Signal>) -> Result<(), DebugError> {
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<MultiThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }

    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, Tid, Self>> {
        Some(self)
    }

    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, Tid, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for Session<'_, '_> {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), DebugError> {
        self.want(tid, Wanted::Step);
        Ok(())
    }
}

/// Other vCPUs execute what the schedule gives them, whatever gdb asks for: the past cannot be had otherwise. A step is
/// one of the vCPU that it was asked for in any case.
impl MultiThreadSchedulerLocking for Session<'_, '_> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), DebugError> {
        Ok(())
    }
}

impl MultiThreadRangeStepping for Session<'_, '_> {
    fn set_resume_action_range_step(&mut self, tid: Tid, start: u64, end: u64) -> Result<(), DebugError> {
        self.want(tid, |vcpu| Wanted::StepRange(vcpu, start, end));
        Ok(())
    }
}

impl ReverseCont<Tid> for Session<'_, '_> {
    fn reverse_cont(&mut self) -> Result<(), DebugError> {
        self.wanted = Wanted::ContinueBack;
        Ok(())
    }
}

impl ReverseStep<Tid> for Session<'_, '_> {
    fn reverse_step(&mut self, _tid: Tid) -> Result<(), DebugError> {
        // gdb says `any` once, and gdbstub keeps whom that was then.
        self.want(tid(self.chosen), Wanted::StepBack);
        Ok(())
    }
}

impl ThreadExtraInfo for Session<'_, '_> {
    fn thread_extra_info(&self, tid: Tid, buffer: &mut [u8]) -> Result<usize, DebugError> {
        let debugger = &self.ddb.debugger;
        let task = crate::kernel::current_task(debugger.machine(), vcpu(tid), debugger.symbols());
        let task = task.map_or_else(String::new, |task| format!(", {task}"));
        let text = format!("vCPU {}{task}", vcpu(tid));
        let length = text.len().min(buffer.len());
        buffer[..length].copy_from_slice(&text.as_bytes()[..length]);
        Ok(length)
    }
}

impl Breakpoints for Session<'_, '_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Session<'_, '_> {
    fn add_sw_breakpoint(&mut self, vaddr: u64, _: usize) -> TargetResult<bool, Self> {
        self.add_breakpoint(vaddr);
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, vaddr: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(vaddr))
    }
}

impl HwBreakpoint for Session<'_, '_> {
    fn add_hw_breakpoint(&mut self, vaddr: u64, _: usize) -> TargetResult<bool, Self> {
        self.add_breakpoint(vaddr);
        Ok(true)
    }

    fn remove_hw_breakpoint(&mut self, vaddr: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(vaddr))
    }
}

impl HwWatchpoint for Session<'_, '_> {
    fn add_hw_watchpoint(&mut self, address: u64, length: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let watch = Kind::Watch(Self::watchpoint(address, length.max(1), kind));
        self.own.insert(self.ddb.debugger.stops.add(watch).number);
        Ok(true)
    }

    fn remove_hw_watchpoint(
        &mut self,
        address: u64,
        length: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        let wanted = Self::watchpoint(address, length.max(1), kind);
        let own = &self.own;
        let is_it = |entry: &Entry| {
            matches!(&entry.kind, Kind::Watch(watch) if *watch == wanted) && own.contains(&entry.number)
        };
        Ok(self.ddb.debugger.stops.remove(is_it) > 0)
    }
}

impl MonitorCmd for Session<'_, '_> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), DebugError> {
        self.was_commanding = true;
        let before = (self.ddb.debugger.now(), self.ddb.debugger.target.diversion());
        let text = self.ddb.execute(&String::from_utf8_lossy(command));
        for line in text.lines() {
            outputln!(out, "{line}");
        }
        if before != (self.ddb.debugger.now(), self.ddb.debugger.target.diversion()) {
            outputln!(out, "(gdb has not seen that: maintenance flush register-cache makes it look again)");
        }
        Ok(())
    }
}
