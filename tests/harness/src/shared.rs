//! Things that are made once and then used by every test process: a folder in target/, a lock, and a command
//! that says everything when it fails.

use crate::root;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder in the build directory that `cargo clean` empties and all test processes share.
fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = target.join("test-guests");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot create {}: {error}", folder.display()));
    folder.canonicalize().expect("a folder that was just created")
}

/// The path of `name` in the shared folder; made by `make` if it is not there yet. `make` gets a scratch folder
/// of its own on the same file system and returns what shall be put in place. Only whole things ever appear, and
/// only one process makes one.
pub fn once(name: &str, make: impl FnOnce(&Path) -> PathBuf) -> PathBuf {
    let folder = folder();
    let path = folder.join(name);
    if path.exists() {
        return path;
    }
    let lock = File::create(folder.join(format!(".{name}.lock"))).expect("a lock file in target/");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("a lock");
    if !path.exists() {
        let scratch = tempfile::tempdir_in(&folder).expect("a scratch folder in target/");
        let made = make(scratch.path());
        fs::rename(&made, &path)
            .unwrap_or_else(|error| panic!("cannot move {} to {}: {error}", made.display(), path.display()));
    }
    path
}

/// Runs a command to its end and returns its stdout, or what went wrong, with the command.
pub fn run(command: &mut Command) -> Result<String, String> {
    let words = format!("{command:?}");
    let Output { status, stdout, stderr } = command.output().map_err(|error| format!("{words}: {error}"))?;
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if status.success() { Ok(stdout) } else { Err(format!("{words}: {status}\n{stdout}{stderr}")) }
}

/// The same for a command that has to work.
///
/// # Panics
/// With everything that it said, if it fails.
pub fn must(command: &mut Command) -> String {
    run(command).unwrap_or_else(|error| panic!("{error}"))
}
