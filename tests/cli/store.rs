//! Recordings at rest: listed, kept, removed, packed, moved, and found to lack an image.

use crate::support::program::{Sandbox, VKERNEL};
use crate::support::tiny::Tiny;
use std::path::Path;

fn names(sandbox: &Sandbox) -> Vec<String> {
    let name = |path: &std::path::PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    sandbox.traces().iter().map(name).collect()
}

fn boot(sandbox: &Sandbox, name: &str, kernel: &[u8]) {
    sandbox.write(name, kernel);
    sandbox.run(["-m", "64m", "--no-reboot", &format!("./{name}")]);
}

/// How many images are kept beside the vkernel that recorded.
fn images(sandbox: &Sandbox) -> usize {
    let program = std::fs::metadata(VKERNEL).expect("the program").len();
    let images = std::fs::read_dir(sandbox.store().join("images")).into_iter().flatten().flatten();
    images.filter(|image| image.metadata().is_ok_and(|metadata| metadata.len() != program)).count()
}

#[test]
fn recordings_are_listed_pinned_and_removed_with_the_images_that_only_they_used() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(["ls"]);
    ran.expect(0, &["no recordings in"]);
    boot(&sandbox, "good", &Tiny::default().reset());
    sandbox.run(["rm", "latest"]).expect(0, &["removed good-"]);
    assert_eq!((names(&sandbox).len(), images(&sandbox)), (0, 0));

    boot(&sandbox, "one", &Tiny::default().hang());
    boot(&sandbox, "one", &Tiny::default().hang());
    boot(&sandbox, "two", &Tiny::default().triple_fault());
    assert_eq!(images(&sandbox), 2, "one copy for each content");
    sandbox.run(["pin", "two"]).expect(0, &["pinned two-"]);
    let listed = sandbox.run(["ls"]);
    let last = listed.stdout.lines().last().expect("lines");
    assert!(last.starts_with("two-") && last.contains("pinned") && last.contains("triple fault"), "{listed}");
    assert_eq!(sandbox.run(["ls", "--json"]).stdout.matches("\"state\":\"failed\"").count(), 3);

    sandbox.run(["rm", "two"]).expect(129, &["is pinned", "vkernel pin --remove two-"]);
    sandbox.run(["pin", "--remove", "two"]).expect(0, &["unpinned two-"]);
    sandbox.run(["rm", "two", "nothing"]).expect(129, &["removed two-", "no recording is called nothing"]);
    assert_eq!((names(&sandbox).len(), images(&sandbox)), (2, 1));
    sandbox.run(["rm", "one"]).expect(129, &["could be any of these"]);
}

#[test]
fn keep_decides_which_recordings_outlive_their_run() {
    let sandbox = Sandbox::new();
    for (keep, kernel, kept) in [
        ("none", Tiny::default().hang(), 0),
        ("failed", Tiny::default().print("x").reset(), 0),
        ("failed", Tiny::default().hang(), 1),
        ("all", Tiny::default().hang(), 2),
    ] {
        sandbox.write("kernel", kernel);
        sandbox.run(["-m", "64m", "--no-reboot", "--keep", keep, "./kernel"]);
        assert_eq!(names(&sandbox).len(), kept, "--keep {keep}");
    }
}

#[test]
fn over_its_limit_the_store_forgets_old_successes_and_nothing_else() {
    let sandbox = Sandbox::new();
    // Sparse files stand for years of recording: their length counts, and they cost nothing.
    boot(&sandbox, "failed", &Tiny::default().hang());
    let grow = |trace: &Path| {
        let file = std::fs::OpenOptions::new().write(true).open(trace).expect("a trace");
        file.set_len(3_000_000_000).expect("a sparse file");
    };
    grow(&sandbox.traces()[0]);
    for name in ["old", "pinned", "newer"] {
        sandbox.write(name, Tiny::default().print(name).reset());
        sandbox.run(["-m", "64m", "--no-reboot", &format!("./{name}")]).expect(0, &[]);
        if name == "pinned" {
            sandbox.run(["pin", "pinned"]).expect(0, &[]);
        }
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let cache = sandbox.traces()[2].with_extension("cache");
    std::fs::create_dir(&cache).expect("room");
    let big = std::fs::File::create(cache.join("big")).expect("room");
    big.set_len(3_000_000_000).expect("a sparse file");
    boot(&sandbox, "last", &Tiny::default().hang());
    let left: Vec<String> =
        names(&sandbox).iter().map(|name| name.split('-').next().expect("a part").to_owned()).collect();
    assert!(!cache.exists(), "what can be derived again goes first");
    assert_eq!(left, ["failed", "last", "newer", "old", "pinned"], "and that was enough");

    grow(&sandbox.traces()[2]);
    boot(&sandbox, "last", &Tiny::default().hang());
    let left = names(&sandbox);
    for (kept, is_kept) in
        [("failed", true), ("pinned", true), ("last", true), ("old", false), ("newer", false)]
    {
        assert_eq!(left.iter().any(|name| name.starts_with(kept)), is_kept, "{kept} in {left:?}");
    }
}

#[test]
fn a_packed_trace_replays_where_there_is_no_store() {
    let sandbox = Sandbox::new();
    sandbox.run(["-m", "64m", "demo:"]).expect(0, &[]);
    sandbox.run(["trace", "pack", "latest", "-o", "p.vkt"]).expect(0, &["wrote p.vkt", "1 images"]);
    let elsewhere = Sandbox::new();
    std::fs::copy(sandbox.file("p.vkt"), elsewhere.file("p.vkt")).expect("room");
    let replay =
        |what: &str| elsewhere.run_with([what, "./p.vkt"], |command| command.env_remove("VKERNEL_DIR"));
    let ran = replay("replay");
    ran.expect(0, &["as recorded"]);
    assert!(ran.stdout.contains("init: done"), "{ran}");
    // Packed again, over itself, and to a pipe that must stay one.
    elsewhere.run(["trace", "pack", "./p.vkt", "-o", "p.vkt"]).expect(0, &[]);
    replay("replay").expect(0, &[]);
    // A pipe of the test's own: what goes wrong here must not replace a device of the host.
    let ran = elsewhere
        .script("mkfifo pipe; cat pipe >copy.vkt & $VKERNEL trace pack ./p.vkt -o pipe; wait; test -p pipe");
    ran.expect(0, &[]);
    elsewhere.run(["trace", "verify", "./copy.vkt"]).expect(0, &[]);
    assert!(!elsewhere.store().exists(), "reading makes no store");
}

#[test]
fn a_missing_image_is_named_and_can_be_given() {
    let sandbox = Sandbox::new();
    let kernel = sandbox.write("bzImage", Tiny::default().hang());
    sandbox.run(["-m", "64m", "./bzImage"]).expect(1, &[]);
    let length = kernel.metadata().expect("a file").len();
    let mut kept = std::fs::read_dir(sandbox.store().join("images")).expect("images").flatten();
    let stored =
        kept.find(|image| image.metadata().is_ok_and(|found| found.len() == length)).expect("it is kept");
    let digest = stored.file_name().to_string_lossy().into_owned();
    std::fs::remove_file(stored.path()).expect("it can be removed");
    let missing = ["image ./bzImage of this recording", &digest, &format!("{length} bytes"), "--image FILE"];
    sandbox.run(["replay"]).expect(255, &missing);
    sandbox.run(["trace", "verify"]).expect(255, &missing);
    sandbox.run(["replay", "--image", "./bzImage"]).expect(1, &["as recorded"]);
    sandbox.write("other", "rebuilt");
    sandbox.run(["replay", "--image", "./other"]).expect(129, &["./other has BLAKE3", "it needs:", &digest]);

    // Damaged: its name says what it should be.
    std::fs::write(stored.path(), "not the kernel").expect("room");
    sandbox.run(["replay"]).expect(255, &["stored image", &digest, "is damaged", "--image FILE"]);
    sandbox.run(["replay", "--image", "./bzImage"]).expect(1, &["as recorded"]);
}

#[test]
fn many_recorders_share_one_store() {
    let sandbox = Sandbox::new();
    let start = |_| {
        let mut command = sandbox.command(VKERNEL);
        command.args(["-m", "64m", "--limit", "3Mi", "demo:"]);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("it starts")
    };
    let children: Vec<_> = (0..8).map(start).collect();
    for child in children {
        // Removing and sweeping at the same time harms none of them.
        sandbox.write("kernel", Tiny::default().hang());
        sandbox.run(["-m", "64m", "--keep", "none", "./kernel"]).expect(1, &[]);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let names = names(&sandbox);
    assert_eq!(names.len(), 8);
    assert_eq!(images(&sandbox), 1);
    for name in names {
        sandbox.run(["trace", "verify", &name]).expect(0, &[]);
    }
}

#[test]
fn a_trace_in_a_file_of_ones_own_is_listed_replayed_and_left_alone() {
    let sandbox = Sandbox::new();
    for _ in 0..2 {
        sandbox.run(["-m", "64m", "--limit", "1Mi", "--trace", "mine.vkt", "demo:"]).expect(1, &["mine.vkt"]);
    }
    assert_eq!(names(&sandbox).len(), 1, "recording over it again replaces the entry");
    sandbox.run(["replay", "latest"]).expect(1, &["as recorded"]);
    sandbox.run(["replay", "mine.vkt"]).expect(1, &["as recorded"]);
    sandbox.run(["rm", "latest"]).expect(0, &[]);
    assert!(sandbox.file("mine.vkt").is_file());
    sandbox.run(["rm", "./mine.vkt"]).expect(129, &["is not in the store", "yours to keep or delete"]);
}

#[test]
fn info_and_events_say_what_is_in_a_trace() {
    let sandbox = Sandbox::new();
    sandbox.run(["-m", "64m", "--seed", "7", "demo:"]).expect(0, &[]);
    let info = sandbox.run(["trace", "info"]).expect(0, &[]).stdout.clone();
    for line in [
        "seed          7 (schedule perturbed)",
        "memory        64 MiB",
        "outcome       power off (exit status 0)",
    ] {
        assert!(info.lines().any(|have| have == line), "{line}\n{info}");
    }
    let events = sandbox.run(["trace", "events", "--kind", "power"]);
    assert!(events.stdout.ends_with("power Off\n"), "{events}");
    let ran = sandbox.script("$VKERNEL trace events | head -n 1");
    assert!(ran.status == 0 && ran.stderr.is_empty(), "a reader that leaves is worth no word\n{ran}");
}
