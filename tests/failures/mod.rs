//! Failing boots: each is seen, named, placed and explained, ends with the right status, and replays to the same
//! words. What a stock kernel with a user space of its own does is in `debian`.

mod linux;
mod small;

use recorder::{ImageSet, Store, StoreRoot, TraceReader, gather_images};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs with a store of their own.
struct Bench {
    folder: tempfile::TempDir,
}

/// A run that is over.
struct Run {
    command: String,
    status: i32,
    console: String,
    said: String,
}

impl Bench {
    fn new() -> Bench {
        Bench { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A file with these contents.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).expect("a file written");
        path
    }

    /// Runs vkernel; `typed` is a file on stdin, so that two runs are equal.
    fn run(&self, options: &str, kernel: Option<&Path>, typed: &str) -> Run {
        let stdin = fs::File::open(self.file("stdin", typed.as_bytes())).expect("stdin");
        let mut command = Command::new("timeout");
        command.arg("300").arg(env!("CARGO_BIN_EXE_vkernel")).args(words(options)).args(kernel);
        command.env("VKERNEL_DIR", self.folder.path().join("store")).stdin(Stdio::from(stdin));
        let output = command.output().expect("timeout and vkernel");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Run {
            command: format!("printf %s {typed:?} | {command:?}"),
            status: output.status.code().unwrap_or(-1),
            console: text(&output.stdout),
            said: text(&output.stderr),
        }
    }

    /// The last recording and its images, to be looked at.
    fn last_recording(&self) -> (TraceReader, ImageSet) {
        let folder = self.folder.path().join("store");
        let root = StoreRoot::choose(Some(folder.as_os_str()), None, None).expect("a root");
        let store = Store::at(root);
        let reader = TraceReader::open(&store.resolve("latest").expect("a recording")).expect("a trace");
        let images = gather_images(&reader, Some(&store.images()), &[]).expect("its images");
        (reader, images)
    }

    /// Replays the last recording: the same console, status and closing words.
    fn expect_the_same_again(&self, live: &Run) {
        let again = self.run("replay latest", None, "");
        again.expect_status(live.status);
        assert!(again.console == live.console, "another console: {again}");
        let closing = |run: &Run| {
            let lines = run.said.lines().skip_while(|line| !line.contains(" That was at @"));
            let first =
                lines.clone().next().and_then(|line| line.split(" The run is ").next()).map(str::to_owned);
            (
                first,
                lines.skip(1).filter(|line| line.starts_with("    ")).map(str::to_owned).collect::<Vec<_>>(),
            )
        };
        assert_eq!(closing(&again), closing(live), "{again}");
        again.expect_said("as recorded");
    }
}

impl Run {
    #[track_caller]
    fn expect_status(&self, status: i32) {
        assert_eq!(self.status, status, "{self}");
    }

    #[track_caller]
    fn expect_said(&self, text: &str) {
        assert!(self.said.contains(text), "vkernel never said {text:?}: {self}");
    }

    #[track_caller]
    fn expect_console(&self, text: &str) {
        assert!(self.console.contains(text), "the console never showed {text:?}: {self}");
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\n{}", self.command, self.console, self.said)
    }
}

/// Words between blanks; `'` keeps blanks together.
fn words(line: &str) -> Vec<String> {
    let mut quoted = false;
    let is_gap = |c: char| {
        quoted ^= c == '\'';
        c == ' ' && !quoted
    };
    line.split(is_gap).filter(|word| !word.is_empty()).map(|word| word.replace('\'', "")).collect()
}
