//! All tasks of a running Linux, and the registers of those that wait (include/linux/sched.h).
//!
//! The lists are the guest's: every walk has an end. Left out: namespaces, whose own numbers for processes are not shown.

use super::{Guest, current_address};
use crate::registers::Registers;
use crate::symbols::Symbols;
use machine::Machine;
use machine::cpu::state::{RBP, RBX, RSP, Vcpu};

/// More tasks than any guest has whose lists are sound.
const TASKS_MAX: usize = 1 << 17;
const NAME_BYTES: usize = 16;
/// `PF_KTHREAD`, the same since 2.6.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    /// Where its `struct task_struct` lies.
    pub vaddr: u64,
    /// Its own number.
    pub pid: u32,
    /// The number of its process.
    pub tgid: u32,
    /// The number of the process that made it.
    pub ppid: u32,
    /// Its state, by the letter of /proc/PID/stat.
    pub state: char,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// It has no program of its own.
    pub is_kernel_thread: bool,
    /// The vCPU that executes it.
    pub vcpu: Option<usize>,
}

/// All tasks, threads behind their leaders, in the kernel's order, after the idle tasks of all processors. `None` for another
/// system, or a kernel that does not say how its structures look.
#[must_use]
pub fn tasks(machine: &Machine, symbols: &Symbols<'_>) -> Option<Vec<TaskInfo>> {
    let reader = Reader::new(machine, symbols)?;
    let init = symbols.address_of("init_task")?;
    let mut all: Vec<TaskInfo> = reader.task(init).into_iter().collect();
    all.extend(reader.idle().into_iter().filter(|task| *task != init).filter_map(|task| reader.task(task)));
    for leader in reader.list(init, "task_struct.tasks", "task_struct.tasks") {
        all.extend(reader.task(leader));
        let signal = reader.guest.u64(reader.guest.member(leader, "task_struct.signal")?)?;
        for thread in reader.list(signal, "signal_struct.thread_head", "task_struct.thread_node") {
            if thread != leader {
                all.extend(reader.task(thread));
            }
        }
        if all.len() > TASKS_MAX {
            break;
        }
    }
    Some(all)
}

/// The registers that a task which waits will have when `__switch_to_asm` has returned to it: those that it keeps on its
/// stack (`struct inactive_task_frame`).
#[must_use]
pub fn waiting_registers(machine: &Machine, symbols: &Symbols<'_>, task: &TaskInfo) -> Option<Registers> {
    let guest = Guest::find(machine, symbols)?;
    let thread = guest.member(task.vaddr, "task_struct.thread")?;
    let stack = guest.u64(guest.member(thread, "thread_struct.sp")?)?;
    let saved = |name: &str, offset: u64| {
        let offset = guest.layout.get(&format!("inactive_task_frame.{name}")).unwrap_or(offset);
        guest.u64(stack.wrapping_add(offset))
    };
    let mut registers = Registers::of(&kernel_cpu(machine, guest.vcpu));
    registers.gpr = [None; 16];
    registers.rip = saved("ret_addr", 48)?;
    registers.gpr[RBP] = saved("bp", 40);
    registers.gpr[RBX] = saved("bx", 32);
    for (name, index, offset) in [("r12", 12, 24), ("r13", 13, 16), ("r14", 14, 8), ("r15", 15, 0)] {
        registers.gpr[index] = saved(name, offset);
    }
    registers.gpr[RSP] = Some(stack.wrapping_add(guest.layout.get("inactive_task_frame").unwrap_or(56)));
    registers.is_user = false;
    Some(registers)
}

/// A vCPU as it would be in the kernel, for what all its registers have in common.
fn kernel_cpu(machine: &Machine, vcpu: usize) -> Vcpu {
    let mut cpu = machine.cpus()[vcpu].clone();
    if cpu.cpl == 3 {
        std::mem::swap(&mut cpu.segments[machine::cpu::state::GS].base, &mut cpu.msrs.kernel_gs_base);
        cpu.cpl = 0;
        cpu.code_bits = 64;
    }
    cpu
}

struct Reader<'a, 'data> {
    guest: Guest<'a, 'data>,
    /// The task of each vCPU.
    current: Vec<Option<u64>>,
}

impl<'a, 'data> Reader<'a, 'data> {
    fn new(machine: &'a Machine, symbols: &'a Symbols<'data>) -> Option<Reader<'a, 'data>> {
        let guest = Guest::find(machine, symbols)?;
        guest.layout.get("task_struct.tasks")?;
        let current = (0..machine.cpus().len()).map(|vcpu| current_address(machine, vcpu, symbols)).collect();
        Some(Reader { guest, current })
    }

    /// What each processor executes when there is nothing to do: no list has these tasks (kernel/smpboot.c).
    fn idle(&self) -> Vec<u64> {
        let symbols = (self.guest.layout.get("idle_threads()"), self.guest.layout.get("__per_cpu_offset()"));
        let (Some(variable), Some(bases)) = symbols else { return Vec::new() };
        let of_processor = |number: u64| {
            let base = self.guest.u64(bases.wrapping_add(8 * number))?;
            self.guest.u64(base.wrapping_add(variable)).filter(|task| *task != 0)
        };
        (0..self.current.len() as u64).filter_map(of_processor).collect()
    }

    /// What is in a list whose head is a member of `owner`, by the member that links it.
    fn list(&self, owner: u64, head: &str, link: &str) -> Vec<u64> {
        let offsets = (self.guest.layout.get(head), self.guest.layout.get(link));
        let (Some(head), Some(link)) = offsets else { return Vec::new() };
        let head = owner.wrapping_add(head);
        let mut found = Vec::new();
        let mut at = self.guest.u64(head);
        while let Some(next) = at.filter(|next| *next != head && found.len() < TASKS_MAX) {
            found.push(next.wrapping_sub(link));
            at = self.guest.u64(next);
        }
        found
    }

    fn task(&self, vaddr: u64) -> Option<TaskInfo> {
        let guest = &self.guest;
        let number = |member: &str| guest.u32(guest.member(vaddr, member)?);
        let name: [u8; NAME_BYTES] = guest.read(guest.member(vaddr, "task_struct.comm")?)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
        let parent = guest.member(vaddr, "task_struct.real_parent").and_then(|at| guest.u64(at));
        let parent = parent.and_then(|parent| guest.u32(guest.member(parent, "task_struct.tgid")?));
        // Until 5.13 it was called `state`.
        let state = number("task_struct.__state").or_else(|| number("task_struct.state"))?;
        let exit_state = number("task_struct.exit_state").unwrap_or(0);
        Some(TaskInfo {
            vaddr,
            pid: number("task_struct.pid")?,
            tgid: number("task_struct.tgid")?,
            ppid: parent.unwrap_or(0),
            state: state_letter(state, exit_state),
            name: String::from_utf8_lossy(&name[..end]).into_owned(),
            is_kernel_thread: number("task_struct.flags").is_some_and(|flags| flags & KERNEL_THREAD != 0),
            vcpu: self.current.iter().position(|current| *current == Some(vaddr)),
        })
    }
}

/// The letter of a state, as /proc/PID/stat has it.
fn state_letter(state: u32, exit_state: u32) -> char {
    const NOT_COUNTED_AS_LOAD: u32 = 0x400;
    match (exit_state, state) {
        (exit, _) if exit & 0x20 != 0 => 'Z',
        (exit, _) if exit & 0x10 != 0 => 'X',
        (_, 0) => 'R',
        (_, state) if state & 1 != 0 => 'S',
        (_, state) if state & 2 != 0 && state & NOT_COUNTED_AS_LOAD != 0 => 'I',
        (_, state) if state & 2 != 0 => 'D',
        (_, state) if state & 4 != 0 => 'T',
        (_, state) if state & 8 != 0 => 't',
        (_, state) if state & 0x40 != 0 => 'P',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_letters_of_proc() {
        let states =
            [(0, 0), (1, 0), (2, 0), (0x402, 0), (4, 0), (8, 0), (0x40, 0), (0x80, 0x20), (0x80, 0x10)];
        let letters: String = states.into_iter().map(|(state, exit)| state_letter(state, exit)).collect();
        assert_eq!(letters, "RSDITtPZX");
    }
}
