//! What docs/ci.md promises: results, packs, exit statuses under the real `git bisect run`, explorations, and traces of
//! other models. All with the demonstration kernel, so that no download is needed.

mod bisect;
mod corpus;
mod explore;
mod inputs;
mod model;
mod result;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A store of its own, and room for files.
pub struct Place {
    directory: tempfile::TempDir,
}

/// What a run of the program left.
pub struct Ran {
    /// The exit status, 128 and the number for a signal.
    pub status: i32,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
    command: String,
}

impl Place {
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command of the program, in this place, without a terminal.
    pub fn command(&self, line: &str) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_vkernel")), line)
    }

    fn prepared(&self, mut command: Command, line: &str) -> Command {
        command.args(line.split_whitespace()).current_dir(self.directory.path());
        command.env("VKERNEL_DIR", self.path("store")).stdin(Stdio::null());
        command
    }

    /// Runs the program with these words. What does not end is status 124.
    pub fn run(&self, line: &str) -> Ran {
        let mut limited = Command::new("timeout");
        limited.args(["-k", "10", "300", env!("CARGO_BIN_EXE_vkernel")]);
        let output = self.prepared(limited, line).output().expect("the program starts");
        Ran::of(output, format!("VKERNEL_DIR={} vkernel {line}", self.path("store").display()))
    }

    /// Runs the program and expects this status.
    pub fn expect(&self, status: i32, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.status, status, "{}", ran.context());
        ran
    }

    /// A result that was written here.
    pub fn json(&self, name: &str) -> Value {
        let text = std::fs::read_to_string(self.path(name)).expect("the result is there");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Names of the recordings in the store.
    pub fn recordings(&self) -> Vec<String> {
        let rows: Value = serde_json::from_str(&self.expect(0, "ls --json").out).expect("JSON");
        let rows = rows.as_array().expect("a list");
        rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    }
}

impl Ran {
    pub fn of(output: Output, command: String) -> Ran {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { status, out: text(&output.stdout), err: text(&output.stderr), command }
    }

    /// What to print when it is not what it should be.
    pub fn context(&self) -> String {
        format!("`{}` ended with {}\nstdout: {}\nstderr: {}", self.command, self.status, self.out, self.err)
    }

    /// Expects these words on stderr.
    pub fn says(&self, words: &str) -> &Ran {
        assert!(self.err.contains(words), "`{words}` is missing: {}", self.context());
        self
    }
}

/// The sources of the demonstration kernel and of what it shares.
pub fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests")
}
