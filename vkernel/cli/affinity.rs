//! `-l`: binds this process to a processor of the host. Threads made later inherit it.

use crate::args::values::CpuLock;
use crate::exit::usage;
use anyhow::Result;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Binds the calling thread, from which all others come.
pub fn bind(lock: CpuLock) -> Result<()> {
    let CpuLock::Cpu(cpu) = lock else { return Ok(()) };
    let mut set = CpuSet::new();
    let bound = set.set(cpu.into()).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    bound.map_err(|error| {
        let allowed = allowed();
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        usage(format!(
            "-l {cpu}: cannot run on processor {cpu} ({}); this host offers {}",
            error.desc(),
            allowed.join(" ")
        ))
    })
}

/// The processors that this process may use.
fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    #[test]
    fn a_thread_is_bound_to_the_processor_asked_for() {
        let bound = std::thread::spawn(|| {
            let cpu = *allowed().last().expect("some processor runs this");
            bind(CpuLock::Cpu(cpu as u16)).unwrap();
            (cpu, allowed())
        });
        let (cpu, allowed) = bound.join().unwrap();
        assert_eq!(allowed, [cpu]);
    }

    #[test]
    fn any_changes_nothing_and_a_processor_that_is_not_there_is_refused() {
        let before = allowed();
        bind(CpuLock::Any).unwrap();
        let error = bind(CpuLock::Cpu(60_000)).unwrap_err();
        assert_eq!(ExitStatus::of_error(&error), ExitStatus::Usage);
        assert!(error.to_string().contains("this host offers"));
        assert_eq!(allowed(), before);
    }
}
