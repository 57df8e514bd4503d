//! `git bisect run` with the real git: every status of the table gives the verdict that it should.

use super::{Place, Ran, guests};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A repository whose commits are numbered from 1.
struct History<'a> {
    place: &'a Place,
}

impl History<'_> {
    fn git(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.place.path("history")).args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
        ]);
        command.args(arguments).env("VKERNEL_DIR", self.place.path("store"));
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("VKERNEL", env!("CARGO_BIN_EXE_vkernel"));
        Ran::of(command.output().expect("git is installed"), format!("git {arguments:?}"))
    }

    /// Makes commits, each by changing files.
    fn new<'a>(place: &'a Place, commits: &[&dyn Fn(&Path)]) -> History<'a> {
        let history = History { place };
        let tree = place.path("history");
        fs::create_dir(&tree).unwrap();
        assert_eq!(history.git(&["init", "-q", "-b", "main"]).status, 0);
        for (number, change) in (1..).zip(commits) {
            change(&tree);
            history.git(&["add", "-A"]);
            let made = history.git(&["commit", "-q", "--allow-empty", "-m", &format!("commit {number}")]);
            assert_eq!(made.status, 0, "{}", made.context());
            history.git(&["tag", &number.to_string()]);
        }
        history
    }

    /// Bisects from the first commit, which is good, to the last; gives what `git bisect run` made of it.
    fn bisect(&self, bad: usize, script: &str) -> Ran {
        self.git(&["bisect", "start", &bad.to_string(), "1"]);
        let ran = self.git(&["bisect", "run", "sh", "-c", script]);
        self.git(&["bisect", "reset"]);
        ran
    }
}

/// Commits that change only what the demonstration kernel is told; the third is the culprit.
fn told(place: &Place, culprit: &str) -> usize {
    let tell = |words: String| move |tree: &Path| fs::write(tree.join("words"), &words).unwrap();
    let good = |number: u32| tell(format!("rounds=0 seed={number}"));
    let bad = |number: u32| tell(format!("rounds=0 seed={number} {culprit}"));
    History::new(place, &[&good(1), &good(2), &bad(3), &bad(4), &bad(5)]);
    5
}

/// Boots what the commit says, with these options.
fn boot(options: &str) -> String {
    format!("exec \"$VKERNEL\" -m 128m --keep none {options} --append \"$(cat words)\" demo: </dev/null")
}

fn assert_culprit(ran: &Ran, number: u32) {
    let found =
        ran.out.contains("is the first bad commit") && ran.out.contains(&format!("    commit {number}\n"));
    assert!(ran.status == 0 && found, "commit {number} is the culprit; {}", ran.context());
}

#[test]
fn failures_of_the_guest_are_bad() {
    for (culprit, options) in [
        ("panic", ""),
        ("triple", ""),
        ("hang", ""),
        ("exit=16", ""),
        ("exit=3", "--ok-exit 0"),
        ("quiet", "--expect 'CPUs by'"),
        ("panic", "--fail 'requested on'"),
    ] {
        let place = Place::new();
        let bad = told(&place, culprit);
        assert_culprit(&History { place: &place }.bisect(bad, &boot(options)), 3);
    }
}

#[test]
fn an_image_that_cannot_be_judged_is_skipped() {
    let place = Place::new();
    let words = |words: &'static str| move |tree: &Path| fs::write(tree.join("words"), words).unwrap();
    let broken = |tree: &Path| {
        fs::write(tree.join("kernel"), "no kernel").unwrap();
        fs::write(tree.join("words"), "rounds=0 seed=2").unwrap();
    };
    let repaired = |tree: &Path| fs::remove_file(tree.join("kernel")).unwrap();
    let good = [words("rounds=0"), words("rounds=0 seed=4")];
    let bad = [words("panic"), words("panic seed=2"), words("panic seed=3")];
    let history = History::new(&place, &[&good[0], &broken, &repaired, &good[1], &bad[0], &bad[1], &bad[2]]);
    let script = "kernel=demo:; test -e kernel && kernel=./kernel
        exec \"$VKERNEL\" -m 128m --keep none --append \"$(cat words)\" $kernel </dev/null";
    assert_culprit(&history.bisect(7, script), 5);
    // The commit itself gives git's word for "skip".
    history.git(&["checkout", "-q", "2"]);
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .current_dir(place.path("history"))
        .env("VKERNEL", env!("CARGO_BIN_EXE_vkernel"));
    let run = Ran::of(command.output().unwrap(), script.to_owned());
    assert_eq!(run.status, 125, "{}", run.context());
}

#[test]
fn what_is_no_verdict_stops_the_bisection() {
    let place = Place::new();
    let bad = told(&place, "panic");
    let history = History { place: &place };
    let store_is_a_file = format!(
        "touch file; VKERNEL_DIR=$PWD/file; export VKERNEL_DIR; {}",
        boot("").replace("--keep none", "")
    );
    let interrupted =
        "\"$VKERNEL\" -m 128m --keep none --limit none --append 'fixed rounds=100000000' demo: </dev/null >out &
        while ! test -s out; do sleep 0.1; done; rm out; while kill -s TERM $!; do sleep 0.2; done; wait $!";
    for (status, script) in
        [(129, boot("--limit soon")), (255, store_is_a_file), (143, interrupted.to_owned())]
    {
        let ran = history.bisect(bad, &script);
        assert!(ran.status != 0 && !ran.out.contains("is the first bad commit"), "{}", ran.context());
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains(&format!("exit code {status}")), "{}", ran.context());
    }
}

#[test]
fn a_culprit_in_the_sources_is_found_past_a_commit_that_does_not_build() {
    let place = Place::new();
    let edit = |from: &'static str, to: &'static str| {
        move |tree: &Path| {
            let path = tree.join("guests/demo/main.c");
            let source = fs::read_to_string(&path).unwrap();
            assert!(source.contains(from), "{from}");
            fs::write(path, source.replacen(from, to, 1)).unwrap();
        }
    };
    let import = |tree: &Path| {
        let copied = Command::new("cp").arg("-r").arg(guests()).arg(tree.join("guests")).status();
        assert!(copied.unwrap().success());
    };
    let comment = edit("if (cmdline_has(line, \"hang\"))", "if (/* word */ cmdline_has(line, \"hang\"))");
    let broken = edit("/* word */", "/* word */ )");
    let repaired = edit("/* word */ )", "");
    let culprit = edit("if ( cmdline_has(line, \"hang\"))", "if (!cmdline_has(line, \"hang\"))");
    let later = edit("if (!cmdline_has(line, \"hang\"))", "if (/* later */ !cmdline_has(line, \"hang\"))");
    let history = History::new(&place, &[&import, &comment, &broken, &repaired, &culprit, &later]);
    let script = "sh guests/build.sh out demo >build.log 2>&1 || exit 125
        exec \"$VKERNEL\" -m 128m --keep none --append rounds=0 --expect 'init: done' out/demo.elf </dev/null";
    assert_culprit(&history.bisect(6, script), 5);
}
