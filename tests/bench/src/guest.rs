//! The boot that is measured, and the command lines that start it under either program.

use crate::process::{Usage, measure};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What both programs give the kernel.
const COMMAND_LINE: &str = "console=ttyS0 earlycon=uart8250,io,0x3f8,115200n8";
/// Printed at the end of the work load: without it a run was not the run that is compared.
const DONE: &str = "the work load is done";
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox --install -s /bin
export PATH=/bin
dd if=/dev/zero bs=64k count=64 2>/dev/null | sha256sum
gzip -c /bin/busybox | gunzip -c | md5sum
i=0; while [ $i -lt 30 ]; do /bin/true; i=$((i+1)); done
echo the work load is done
poweroff -f
";
/// Guest RAM in bytes.
pub const RAM_BYTES: u64 = 256 << 20;

/// How QEMU counts, if it does.
#[derive(Clone, Copy, Debug)]
pub enum Counting {
    /// Plain TCG.
    None,
    /// `-icount shift=auto`, not recorded.
    Icount,
    /// Recording.
    Record,
    /// Replaying.
    Replay,
}

/// Files of the measured boot.
pub struct Guest {
    folder: TempDir,
    kernel: PathBuf,
    initrd: PathBuf,
    vkernel: PathBuf,
    qemu: PathBuf,
}

impl Guest {
    /// Packs the initrd.
    pub fn prepare(kernel: &Path, busybox: &Path, vkernel: &Path, qemu: &Path) -> Result<Guest> {
        let folder = tempfile::tempdir()?;
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("bin"))?;
        fs::copy(busybox, tree.join("bin/busybox"))
            .with_context(|| format!("no busybox at {}: install busybox-static", busybox.display()))?;
        let init = tree.join("init");
        fs::write(&init, INIT)?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        let initrd = folder.path().join("initrd");
        fs::write(&initrd, host::initrd::pack_directory(&tree)?)?;
        ensure!(kernel.is_file(), "no kernel at {}", kernel.display());
        Ok(Guest { folder, kernel: kernel.into(), initrd, vkernel: vkernel.into(), qemu: qemu.into() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command whose output goes to the file `output`.
    fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(program);
        command.env("VKERNEL_DIR", self.file("store"));
        command.stdout(File::create(self.file("console"))?);
        command.stderr(File::create(self.file("messages"))?);
        Ok(command)
    }

    /// Runs to the end and checks that the guest did its work.
    fn complete(&self, command: &mut Command) -> Result<Usage> {
        let (status, usage) = measure(command)?;
        let console = fs::read(self.file("console"))?;
        let messages = String::from_utf8_lossy(&fs::read(self.file("messages"))?).into_owned();
        let done = String::from_utf8_lossy(&console).contains(DONE);
        ensure!(status.success() && done, "{command:?} did not do its work ({status}):\n{messages}");
        Ok(usage)
    }

    /// Boots under vkernel, recorded to the file that [`Guest::vkernel_trace`] names, or not; `more` are
    /// further options.
    pub fn vkernel(&self, record: bool, more: &[&str]) -> Result<Usage> {
        let mut command = self.command(&self.vkernel)?;
        let trace = self.vkernel_trace();
        if record {
            let _ = fs::remove_file(&trace);
            command.arg("--trace").arg(&trace);
        } else {
            command.arg("--no-record");
        }
        command.args(["-n", "1", "-m", "256m", "--append", COMMAND_LINE]).args(more);
        command.arg("--initrd").arg(&self.initrd).arg(&self.kernel);
        self.complete(&mut command)
    }

    /// The trace of the last recorded boot.
    pub fn vkernel_trace(&self) -> PathBuf {
        self.file("boot.vkt")
    }

    /// Replays the last recorded boot.
    pub fn vkernel_replay(&self) -> Result<Usage> {
        self.complete(self.command(&self.vkernel)?.arg("replay").arg(self.vkernel_trace()))
    }

    /// From start to end of a run whose limit is one instruction.
    pub fn vkernel_first_instruction(&self) -> Result<Usage> {
        let mut command = self.command(&self.vkernel)?;
        command.args(["--no-record", "--limit", "1i", "-n", "1", "-m", "256m", "--append", COMMAND_LINE]);
        let (status, usage) = measure(command.arg("--initrd").arg(&self.initrd).arg(&self.kernel))?;
        ensure!(status.code() == Some(1), "{command:?} should end at its limit with 1, not {status}");
        Ok(usage)
    }

    /// A number that `trace info` prints after `label`.
    pub fn trace_info(&self, label: &str) -> Result<u64> {
        let output =
            Command::new(&self.vkernel).args(["trace", "info"]).arg(self.vkernel_trace()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.starts_with(label)).with_context(|| text.to_string())?;
        let digits = line.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        Ok(digits[..end].parse()?)
    }

    /// Boots under QEMU; `more` are further options.
    pub fn qemu(&self, counting: Counting, more: &[&str]) -> Result<Usage> {
        let mut command = self.command(&self.qemu)?;
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        command.args(["-accel", "tcg", "-smp", "1", "-m", "256", "-serial", "stdio"]);
        let log = self.qemu_log();
        let rr = |mode| format!("shift=auto,rr={mode},rrfile={}", log.display());
        match counting {
            Counting::None => {}
            Counting::Icount => drop(command.args(["-icount", "shift=auto"])),
            Counting::Record => drop(command.arg("-icount").arg(rr("record"))),
            Counting::Replay => drop(command.arg("-icount").arg(rr("replay"))),
        }
        command.args(more).args(["-append", COMMAND_LINE]);
        self.complete(command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd))
    }

    /// QEMU's log of the last recorded boot.
    pub fn qemu_log(&self) -> PathBuf {
        self.file("qemu.rr")
    }
}
