//! What Linux runs: `ps`, `show thread`.

use super::super::symbolic::label;
use super::super::{CommandError, Ddb};
use super::{Command, Group, Repeats};
use crate::kernel::{TaskInfo, tasks};
use std::fmt::Write as _;

/// `ps`
pub const PS: Command = Command {
    names: &["ps", "show all procs"],
    usage: "",
    help: "Lists the tasks of a Linux here: number, process, parent, state (the letter of /proc/PID/stat), the vCPU that executes it, where it waits, name; kernel threads in brackets.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let tasks = ddb.tasks()?;
        let _ = writeln!(ddb.out, "    pid   tgid   ppid S cpu wait                     cmd");
        for task in &tasks {
            let name = if task.is_kernel_thread { format!("[{}]", task.name) } else { task.name.clone() };
            let cpu = task.vcpu.map_or_else(String::new, |vcpu| vcpu.to_string());
            let wait = if task.vcpu.is_some() { String::new() } else { ddb.waits_in(task) };
            let _ = writeln!(
                ddb.out,
                "{:>7} {:>6} {:>6} {} {cpu:>3} {wait:<24} {name}",
                task.pid, task.tgid, task.ppid, task.state
            );
        }
        Ok(())
    },
};

/// `show thread`
pub const SHOW_THREAD: Command = Command {
    names: &["show thread", "show proc"],
    usage: "PID",
    help: "Says more of one task of a Linux, by its (decimal) number.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let pid = ddb.decimal(&mut arguments.lexer)?;
        ddb.end(&mut arguments.lexer)?;
        let pid = pid.ok_or_else(|| CommandError::said("Which? show thread PID; `ps` lists them"))?;
        let task = ddb.task_named(pid)?;
        let kind = if task.is_kernel_thread { "kernel thread" } else { "thread" };
        let _ = writeln!(ddb.out, "Task {} at {:#x}:", task.pid, task.vaddr);
        let _ = writeln!(ddb.out, " name: {} ({kind})", task.name);
        let _ = writeln!(ddb.out, " process: {}, parent: {}", task.tgid, task.ppid);
        let _ = writeln!(ddb.out, " state: {}", task.state);
        match task.vcpu {
            Some(vcpu) => {
                let _ = writeln!(ddb.out, " runs on vCPU {vcpu}");
            }
            None => {
                let wait = ddb.waits_in(&task);
                let _ = writeln!(ddb.out, " waits in {wait}");
            }
        }
        Ok(())
    },
};

impl Ddb<'_> {
    /// All tasks of the guest.
    pub(super) fn tasks(&self) -> Result<Vec<TaskInfo>, CommandError> {
        tasks(self.debugger.machine(), self.debugger.symbols())
            .ok_or_else(|| CommandError::said("No tasks of Linux are to be found here"))
    }

    /// The task with this number.
    pub(super) fn task_named(&self, pid: u64) -> Result<TaskInfo, CommandError> {
        let found = self.tasks()?.into_iter().find(|task| u64::from(task.pid) == pid && pid > 0);
        found.ok_or_else(|| CommandError::said(format!("There is no task {pid}; `ps` lists them")))
    }

    /// The function in which a task waits: the first one outside the scheduler.
    fn waits_in(&self, task: &TaskInfo) -> String {
        let frames = self.debugger.task_frames(task);
        let is_scheduler = |name: &str| {
            [
                "__schedule",
                "schedule",
                "schedule_",
                "io_schedule",
                "preempt_schedule",
                "__switch_to",
                "ret_from_fork",
            ]
            .iter()
            .any(|prefix| name == *prefix || prefix.ends_with('_') && name.starts_with(prefix))
        };
        let first = frames
            .iter()
            .find(|frame| frame.function.as_ref().is_some_and(|function| !is_scheduler(&function.name)));
        first.map_or_else(String::new, |frame| {
            let name = label(self.debugger.symbols(), frame.rip, self.variables.max_offset);
            name.split('+').next().unwrap_or_default().to_owned()
        })
    }
}
