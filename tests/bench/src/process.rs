//! Running a program to its end and saying what it used, by wait4(2).

use anyhow::{Context, Result, bail};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a process used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// From start to end.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// The most memory it had at one time, in bytes.
    pub peak_rss_bytes: u64,
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

/// Runs `command` without a terminal, its output thrown away unless the caller redirected it.
pub fn measure(command: &mut Command) -> Result<(ExitStatus, Usage)> {
    let started = Instant::now();
    let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut status = 0;
    // SAFETY: all-zero is a value of this plain C structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the right type; the child is ours and is waited for
    // nowhere else.
    let waited = unsafe { libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage) };
    if waited < 0 {
        bail!("wait4: {}", std::io::Error::last_os_error());
    }
    let usage = Usage {
        wall: started.elapsed(),
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        peak_rss_bytes: usage.ru_maxrss as u64 * 1024,
    };
    Ok((ExitStatus::from_raw(status), usage))
}
