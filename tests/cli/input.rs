//! Bad input: each message names the file, the option or the offset, and says what to do.

use crate::support::program::Sandbox;
use crate::support::tiny::Tiny;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

#[test]
fn a_kernel_that_is_none_is_named_with_what_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("text", "#!/bin/sh\necho hello\n");
    sandbox.write("empty", "");
    // A bzImage by its magic, cut off in its set-up code.
    let mut image = vec![0; 0x400];
    image[0x1f1] = 4;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x200..0x202].copy_from_slice(&[0xeb, 0x66]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);
    sandbox.write("bzImage", &image);
    sandbox.write("elf", &b"\x7fELF\x02\x01\x01"[..]);
    for (kernel, said) in [
        ("./nothing", "no such file"),
        (".", "directory"),
        ("./text", "a text file"),
        ("./empty", "an empty file"),
        ("./bzImage", "bzImage"),
        ("./elf", "ELF"),
        ("/dev/zero", "memory"),
    ] {
        let ran = sandbox.run(["-m", "64m", kernel]);
        ran.expect(125, &[&format!("KERNEL {kernel}"), said]);
        assert!(ran.stderr.lines().count() == 1, "one line says it\n{ran}");
    }
    assert!(sandbox.traces().is_empty(), "nothing ran, nothing is recorded");
}

#[test]
fn options_with_wrong_values_are_named_with_what_would_be_right() {
    let sandbox = Sandbox::new();
    sandbox.write("text", "no symbols\n");
    for (options, said) in [
        (&["--limit", "nonsense"][..], &["--limit", "30s"][..]),
        (&["--limit", "0"], &["--limit"]),
        (&["-m", "12q"], &["12q", "k, m or g"]),
        (&["-n", "17"], &["1 to 16"]),
        (&["--seed", "x"], &["--seed"]),
        (&["--expect", "("], &["--expect"]),
        (&["--fail", "["], &["--fail"]),
        (&["--initrd", "./nothing"], &["--initrd ./nothing", "no such file"]),
        (&["--module", "./nothing"], &["--module ./nothing", "no such file"]),
        (&["--symbols", "./nothing"], &["--symbols ./nothing", "no such file"]),
        (&["--symbols", "./text"], &["--symbols ./text", "vmlinux"]),
        (&["--trace", "./no/where.vkt"], &["--trace ./no/where.vkt", "check the path"]),
        (&["--trace", "./text"], &["./text", "not a vkernel trace", "left alone"]),
        (&["--trace", "."], &["not a vkernel trace"]),
        (&["-r", "disk"], &["-r", "not built into this vkernel yet"]),
        (&["--engine", "jit"], &["not built into this vkernel yet"]),
        (&["-t", "--clock", "virtual"], &["-t", "--clock virtual"]),
    ] {
        sandbox.run(options.iter().chain(&["demo:"])).expect(129, said);
    }
    assert!(sandbox.traces().is_empty(), "nothing ran, nothing is recorded");
    assert_eq!(std::fs::read(sandbox.file("text")).expect("it is there"), b"no symbols\n");
}

#[test]
fn a_trace_argument_that_names_none_or_several_is_explained() {
    let sandbox = Sandbox::new();
    sandbox.run(["replay"]).expect(129, &["there is no recording in"]);
    sandbox.write("text", "no trace\n");
    for _ in 0..2 {
        sandbox.run(["-m", "64m", "--limit", "1ki", "demo:"]).expect(1, &[]);
    }
    for (trace, status, said) in [
        ("nothing", 129, &["no recording is called nothing", "vkernel ls"][..]),
        ("demo", 129, &["demo could be any of these recordings:\n  demo-"]),
        ("./nothing.vkt", 129, &["TRACE ./nothing.vkt: no such file"]),
        (".", 129, &["no recording is called ."]),
        ("./", 129, &["TRACE ./: this is a directory"]),
        ("/dev/zero", 129, &["TRACE /dev/zero: this is no regular file"]),
        ("./text", 255, &["./text is not a vkernel trace"]),
    ] {
        sandbox.run(["replay", trace]).expect(status, said);
        sandbox.run(["trace", "info", trace]).expect(status, said);
    }
    sandbox.run(["replay", "--image", "./nothing"]).expect(129, &["--image ./nothing"]);
    sandbox
        .run(["replay", "--image", "/dev/zero"])
        .expect(129, &["/dev/zero has BLAKE3", "it needs:\n  demo:"]);
    sandbox.run(["trace", "pack", "latest", "-o", "./no/where"]).expect(129, &["-o ./no/where"]);
    sandbox.run(["trace", "pack", "latest", "-o", "./text"]).expect(129, &["./text", "not a vkernel trace"]);
    sandbox.run(["trace", "events", "--kind", "keys"]).expect(129, &["`keys`", "console input"]);
}

#[test]
fn names_that_are_no_text_and_names_that_command_a_terminal_are_harmless() {
    let sandbox = Sandbox::new();
    let name = OsStr::from_bytes(b"./k\xff\x1b[2Jernel");
    std::fs::write(sandbox.path().join(name), Tiny::default().print("BUG: \x1b[31mred\n").hang())
        .expect("room");
    let ran =
        sandbox.run([OsStr::new("-m"), OsStr::new("64m"), OsStr::new("--fail-on"), OsStr::new("oops"), name]);
    ran.expect(1, &["BUG: "]);
    for shown in [ran, sandbox.run(["ls"]), sandbox.run(["trace", "info"]), sandbox.run(["replay"])] {
        let quiet = shown.stderr.clone()
            + if shown.command.contains("replay") || shown.command.contains("-m") {
                ""
            } else {
                &shown.stdout
            };
        assert!(!quiet.contains('\x1b'), "{quiet:?}");
    }
}
