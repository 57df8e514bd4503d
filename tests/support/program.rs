//! The program `vkernel` under test: run in a directory of its own, with an environment of its own, never for long.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program.
pub const VKERNEL: &str = env!("CARGO_BIN_EXE_vkernel");
/// No test's guest takes this long; what does hangs.
const PATIENCE_S: &str = "60";
/// What `timeout` exits with when it had to end its command, by SIGTERM and by SIGKILL.
const TIMED_OUT: [i32; 2] = [124, 137];

/// A directory with a store, in which the program runs.
#[derive(Debug)]
pub struct Sandbox {
    directory: tempfile::TempDir,
}

/// What came of a run.
pub struct Ran {
    /// The exit status; 128 and the signal's number if one ended it, as a shell has it.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
    /// To type for the same.
    pub command: String,
}

impl Sandbox {
    /// A new one, empty.
    pub fn new() -> Sandbox {
        Sandbox { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Its directory, which is where the program runs.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, bytes).expect("room for a file");
        path
    }

    /// The store that `VKERNEL_DIR` names.
    pub fn store(&self) -> PathBuf {
        self.file("store")
    }

    /// The recordings in the store, in order of their names.
    pub fn traces(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.store().join("traces")) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "vkt"));
        paths.sort();
        paths
    }

    /// A command in this directory and with this store, and nothing of the environment of the tests but PATH. stdin is
    /// /dev/null.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("VKERNEL_DIR", self.store());
        command
    }

    /// Runs the program.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.run_with(arguments, |command| command)
    }

    /// Runs the program after `prepare` has changed how.
    pub fn run_with<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Ran {
        let mut command = self.command("timeout");
        command.args(["-k", "10", PATIENCE_S, VKERNEL]).args(arguments);
        prepare(&mut command);
        Ran::of(&mut command)
    }

    /// Runs a shell script, in which `$VKERNEL` is the program.
    pub fn script(&self, script: &str) -> Ran {
        let mut command = self.command("timeout");
        command.args(["-k", "10", PATIENCE_S, "sh", "-c", script]).env("VKERNEL", VKERNEL);
        Ran::of(&mut command)
    }

    /// Runs a shell script with mounts of its own, which vanish with it.
    pub fn script_with_mounts(&self, script: &str) -> Ran {
        let mut command = self.command("timeout");
        command.args(["-k", "10", PATIENCE_S, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]);
        Ran::of(command.arg(script).env("VKERNEL", VKERNEL))
    }
}

impl Ran {
    /// Runs a command whose first word is `timeout`.
    fn of(command: &mut Command) -> Ran {
        let Output { status, stdout, stderr } = command.output().expect("timeout is there (coreutils)");
        use std::os::unix::process::ExitStatusExt;
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<OsString> = words.map(OsStr::to_owned).collect();
        let ran = Ran {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            command: format!("{words:?}"),
        };
        assert!(!TIMED_OUT.contains(&ran.status), "it hangs\n{ran}");
        assert!(!ran.stderr.contains("panicked at"), "it panics\n{ran}");
        ran
    }

    /// Checks the status and that all of these texts are on stderr.
    #[track_caller]
    pub fn expect(&self, status: i32, said: &[&str]) -> &Ran {
        assert_eq!(self.status, status, "{self}");
        for text in said {
            assert!(self.stderr.contains(text), "not said: {text}\n{self}");
        }
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "command: {}\nstatus: {}\nstdout:\n{}\nstderr:\n{}",
            self.command, self.status, self.stdout, self.stderr
        )
    }
}
