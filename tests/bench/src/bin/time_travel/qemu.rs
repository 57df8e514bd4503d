//! The same questions to QEMU's record/replay: `rr=record`, then `rr=replay` with a snapshot at the start, driven as gdb
//! drives it.
//!
//! QEMU 7.2 leaves no snapshots behind by itself, so each way back begins at the start of the recording. It can neither
//! say who wrote a word last but by `reverse-continue` to a watchpoint, nor use a second processor for it.

use crate::gdb::Gdb;
use crate::{of, sample};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Places that are sought.
const PLACES: usize = 5;
/// Instructions that are taken back at each.
const STEPS: usize = 3;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// An address that the guest has, and never writes to: that of its Multiboot header.
const NEVER_WRITTEN: &str = "100000";

/// What was measured, each as it is printed.
pub struct Figures {
    /// Instructions of the recording, as QEMU counts.
    pub instructions: u64,
    /// Seconds of a straight replay.
    pub straight_s: f64,
    /// How long it takes to arrive somewhere.
    pub arriving: String,
    /// How long an instruction back takes.
    pub step_back: String,
    /// The search.
    pub search: String,
}

struct Guest {
    folder: TempDir,
    kernel: PathBuf,
    command_line: String,
}

/// How long answers took, and how many never came.
#[derive(Default)]
struct Answers {
    taken: Vec<f64>,
    missing: usize,
}

impl Answers {
    /// Takes one down; whether it came.
    fn note(&mut self, answer: Result<f64>) -> bool {
        let came = answer.is_ok();
        match answer {
            Ok(taken) => self.taken.push(taken),
            Err(_) => self.missing += 1,
        }
        came
    }

    fn text(&mut self, unit: &str) -> String {
        let answered = if self.taken.is_empty() { "none".to_owned() } else { of(&mut self.taken) };
        let all = self.taken.len() + self.missing;
        let missing = match self.missing {
            0 => String::new(),
            missing => format!("; {missing} of {all} without an answer in {} s", PATIENCE.as_secs()),
        };
        format!("{answered} {unit}{missing}")
    }
}

/// Kills what it holds.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Records the demonstration kernel under QEMU, and goes back in it.
pub fn measure(kernel: &Path, command_line: &str) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let guest = Guest { folder, kernel: kernel.to_owned(), command_line: command_line.to_owned() };
    let disk = guest.file("snapshots.qcow2");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", &disk, "4G"]).status();
    ensure!(made.context("qemu-img (qemu-utils)")?.success(), "qemu-img fails");
    let recorded = guest.command("record").arg("-no-reboot").status()?;
    ensure!(recorded.success(), "QEMU does not record: {recorded}");
    let started = Instant::now();
    let replayed = guest.command("replay").status()?;
    ensure!(replayed.success(), "QEMU does not replay: {replayed}");
    let straight_s = started.elapsed().as_secs_f64();
    let instructions = guest.length()?;
    let (mut arrivals, mut steps) = (Answers::default(), Answers::default());
    for place in sample(PLACES, instructions) {
        let (_running, mut gdb) = guest.debug()?;
        gdb.monitor(&format!("replay_break {place}"))?;
        if arrivals.note(gdb.time("vCont;c")) {
            // One that has not answered does not answer any more.
            let _ = (0..STEPS).all(|_| steps.note(gdb.time("bs").map(|seconds| seconds * 1e3)));
        }
    }
    let search = guest.search(instructions)?;
    let (arriving, step_back) = (arrivals.text("s"), steps.text("ms"));
    Ok(Figures { instructions, straight_s, arriving, step_back, search })
}

impl Guest {
    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, mode: &str) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-smp", "1"]);
        command.args(["-m", "256", "-serial", &format!("file:{}", self.file("console"))]);
        command.args(["-drive", &format!("file={},if=none,id=snapshots", self.file("snapshots.qcow2"))]);
        let log = self.file("log");
        command.args(["-icount", &format!("shift=auto,rr={mode},rrfile={log},rrsnapshot=start")]);
        command.arg("-kernel").arg(&self.kernel).args(["-append", &self.command_line]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// A replay that stands at its start and waits for gdb.
    fn debug(&self) -> Result<(Running, Gdb)> {
        let port = std::net::TcpListener::bind("localhost:0")?.local_addr()?.port();
        let mut command = self.command("replay");
        command.args(["-S", "-no-shutdown", "-gdb", &format!("tcp::{port}")]);
        let running = Running(command.spawn()?);
        Ok((running, Gdb::connect(port, PATIENCE)?))
    }

    /// Instructions to the end.
    fn length(&self) -> Result<u64> {
        let (_running, mut gdb) = self.debug()?;
        gdb.time("vCont;c")?;
        let text = gdb.monitor("info replay")?;
        let count = text.rsplit('=').next().map(str::trim).with_context(|| text.clone())?;
        count.parse().with_context(|| text.clone())
    }

    /// The last write to a word that is never written, from near the end.
    fn search(&self, instructions: u64) -> Result<String> {
        let (_running, mut gdb) = self.debug()?;
        gdb.monitor(&format!("replay_break {}", instructions / 100 * 99))?;
        gdb.time("vCont;c")?;
        gdb.ask(&format!("Z2,{NEVER_WRITTEN},8"))?;
        Ok(match gdb.time("bc") {
            Ok(seconds) => format!("{seconds:.1} s"),
            Err(_) => format!("no answer in {} s", PATIENCE.as_secs()),
        })
    }
}
